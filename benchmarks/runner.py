"""Runs the rows: each side in a process of its own, with the same threads, in alternating rounds.

Two thread pools in one process slow each other down more than tenfold, and machines get faster and
slower while one measures: so the sides are separate processes that take turns, one works while the
others wait, and what counts is the fastest and the median round of each.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from .results import JIT, OURS, Ceiling, Measurement, Result
from .rows import Row

__all__ = ["PEERS", "ChildError", "Plan", "Session", "missing_peers", "run"]

# Generated kernels have a digest of their text in their name.
_GENERATED = re.compile(r"_[0-9a-f]{16}(?![0-9a-f])")
# Peer -> the module that it needs.
PEERS = {"torch": "torch", "torch-compile": "torch", "jax": "jax"}
# Threads of OpenBLAS and OpenMP go on spinning for up to 25 ms after their work: not into the
# next side's turn.
_PAUSE = 0.03
_ROOT = Path(__file__).resolve().parents[1]
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS",
            "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "TINYGEN_NUM_THREADS",
            "NPROC", "PJRT_NPROC")                                      # the last two: XLA's


class ChildError(RuntimeError):
    """A child process ended instead of answering."""


class Session:
    """A child process and the conversation with it."""

    def __init__(self, side: str, threads: int, cache: Path | None = None):
        env = {**os.environ, **{name: str(threads) for name in _THREADS}}
        env["PYTHONPATH"] = os.pathsep.join([str(_ROOT), *filter(None, [env.get("PYTHONPATH")])])
        if cache is not None:
            env["TINYGEN_CACHE"] = str(cache)
        env.pop("PYTHONDONTWRITEBYTECODE", None)     # installed packages have theirs, tinygen too
        self.side = side
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed in __exit__)
        self.started = perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.child", side], cwd=_ROOT, env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            start_new_session=True)       # Ctrl-C is for the parent, which ends its children

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send a request and wait for the answer.

        Raises:
            ChildError: the process died; the message holds the end of what it said.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            status = self._process.wait()
            self._errors.seek(0)
            said = self._errors.read().strip().splitlines()
            raise ChildError(f"{self.side} ended with status {status}: "
                             + (said[-1] if said else "it said nothing"))
        return json.loads(line)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None and not stream.closed:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue       # a request that the dead process never read


def missing_peers(peers: Iterable[str]) -> dict[str, str]:
    """Why each of these peers cannot be measured here; peers that can be are left out."""
    reasons = {}
    for peer in peers:
        if peer not in PEERS:
            reasons[peer] = f"unknown; known peers: {', '.join(PEERS)}"
        elif importlib.util.find_spec(PEERS[peer]) is None:
            reasons[peer] = f"not installed (pip install {PEERS[peer]})"
    return reasons


@dataclass
class Plan:
    """How the rows are measured.

    Args:
        rounds: how often each side takes its turn.
        seconds: how long a turn should last; it has at least one step.
        threads: of each side.
        quick: rows of smaller size, see `rows.rows`.
        jit: whether tinygen is measured under `tg.jit`, too.
    """

    rounds: int = 7
    seconds: float = 0.5
    threads: int = 2
    quick: bool = False
    jit: bool = True
    progress: Callable[[str], None] = lambda text: None


def run(rows: list[Row], peers: list[str], plan: Plan) -> tuple[list[Result], Ceiling]:
    """Measure all rows; returns them with the machine's limits, the highest of the whole run.

    Interrupted (Ctrl-C), it returns the rows that were finished.
    """
    results, limit, sides = [], Ceiling(), [*OURS[:1 + plan.jit], *peers]
    with Session("ceiling", plan.threads) as machine, Shared(plan.threads) as shared:
        row_name = "the first row"
        try:
            idle = _idle(sides, plan) if any(r.group != "micro" for r in rows) else {}
            for row in rows:
                row_name = row.name
                plan.progress(f"{row.name}: starting")
                _measure_ceiling(limit, machine)
                results.append(_run_row(row, sides, plan, shared, idle))
            _measure_ceiling(limit, machine)
        except KeyboardInterrupt:
            plan.progress(f"interrupted in {row_name}")
    return results, limit


def _measure_ceiling(limit: Ceiling, machine: Session) -> None:
    found = machine.ask("ceilings")
    limit.gflops = max(limit.gflops, found["gflops"])
    limit.bandwidth = max(limit.bandwidth, found["bandwidth"])


def _idle(sides: list[str], plan: Plan) -> dict[str, int]:
    """Peak memory of a process that takes a step of the smallest model: the library, loaded."""
    found = {}
    for side in sides:
        plan.progress(f"{side}: memory of the library")
        with Session(side, plan.threads) as session:
            try:
                session.ask("load", row="micro-mlp", quick=plan.quick)
                found[side] = session.ask("memory")["bytes"]
            except ChildError:
                continue         # the rows will say why
    return found


class Shared:
    """Processes that stay from one micro row to the next: nothing of theirs is kept but time."""

    def __init__(self, threads: int):
        self._threads = threads
        self._sessions: dict[str, Session] = {}

    def session(self, side: str) -> Session:
        """The process of a side, started if there is none."""
        if side not in self._sessions:
            self._sessions[side] = Session(side, self._threads).__enter__()
        return self._sessions[side]

    def drop(self, side: str) -> None:
        """End a process that failed."""
        if side in self._sessions:
            self._sessions.pop(side).__exit__()

    def __enter__(self) -> Shared:
        return self

    def __exit__(self, *_: object) -> None:
        for side in list(self._sessions):
            self.drop(side)


def _run_row(row: Row, sides: list[str], plan: Plan, shared: Shared,
             idle: dict[str, int]) -> Result:
    result = Result(row)
    with ExitStack() as stack:
        sessions: dict[str, Session] = {}
        counts: dict[str, int] = {}
        for side in sides:
            if side == JIT and row.group == "micro":
                continue
            try:
                cache, cold = None, 0.0
                if side == JIT and row.group == "macro":
                    cache = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                    cold = _cold(row, plan, cache)
                sessions[side] = (shared.session(side) if row.group == "micro" else
                                  stack.enter_context(Session(side, plan.threads, cache)))
                found = _prepare(sessions[side], row, plan)
                if isinstance(found, str):
                    result.unsupported[side] = found
                    del sessions[side]
                else:
                    result.sides[side], counts[side] = found
                    result.sides[side].cold = cold
            except ChildError as error:
                _give_up(result, sessions, side, error, shared)
        for i in range(plan.rounds):
            plan.progress(f"{row.name}: round {i + 1} of {plan.rounds}")
            for side in list(sessions)[::1 if i % 2 else -1]:
                try:
                    _take_turn(result.sides[side], sessions[side], counts[side])
                except ChildError as error:
                    _give_up(result, sessions, side, error, shared)
                sleep(_PAUSE)
        if row.group != "micro":
            for side, session in sessions.items():
                m = result.sides[side]
                m.memory = session.ask("memory")["bytes"]
                m.above_idle = max(0, m.memory - idle[side]) if side in idle else 0
    _check_same_model(result)
    return result


def _cold(row: Row, plan: Plan, cache: Path) -> float:
    """Seconds from the first call to the end of the second step, with no generated kernel on disk.

    The kernels that tinygen comes with stay compiled, as the libraries of the peers are; the next
    process with this cache finds the generated ones.
    """
    _link_kernels(cache)
    with Session(JIT, plan.threads, cache) as session:
        loaded = session.ask("load", row=row.name, quick=plan.quick)
        return loaded["call"] + session.ask("steps", count=1)["seconds"]


def _link_kernels(cache: Path) -> None:
    """Fill a cache with links to all compiled kernels but those that jit generated."""
    root = Path(os.environ.get("TINYGEN_CACHE") or "~/.cache/tinygen").expanduser() / "kernels"
    for file in root.rglob("*"):
        target = cache / "kernels" / file.relative_to(root)
        if file.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif not _GENERATED.search(file.name):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(file.resolve())


def _take_turn(m: Measurement, session: Session, count: int) -> None:
    before, start = _busy(), perf_counter()
    turn = session.ask("steps", count=count)
    after, wall = _busy(), perf_counter() - start
    m.rounds.append(turn["seconds"] / count)
    if before is not None and after is not None:
        m.others.append(max(0.0, after - before - turn["cpu"]) / wall)


def _busy() -> float | None:
    """Seconds that all cores together have worked, or were kept from us by other machines."""
    try:
        user, nice, system, _, _, irq, soft, steal = map(
            int, Path("/proc/stat").read_text(encoding="ascii").split(None, 9)[1:9])
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def _prepare(session: Session, row: Row, plan: Plan) -> tuple[Measurement, int] | str:
    """Load the row and find out how many steps a turn shall have; in words why it cannot be."""
    loaded = session.ask("load", row=row.name, quick=plan.quick)
    if "unsupported" in loaded:
        return loaded["unsupported"]
    alone = row.group != "micro"
    m = Measurement(first_step=perf_counter() - session.started if alone else loaded["seconds"],
                    building=loaded["seconds"], parameters=loaded["parameters"],
                    version=loaded["version"])
    m.two_steps = loaded["call"] + session.ask("steps", count=1)["seconds"]
    # The second step may compile, and says nothing about those that follow
    count, spent = 1, session.ask("steps", count=1)["seconds"]
    while spent < plan.seconds / 4:           # warms up, too
        count *= 2
        spent = session.ask("steps", count=count)["seconds"]
    return m, max(1, round(count * plan.seconds / spent))


def _give_up(result: Result, sessions: dict[str, Session], side: str, error: ChildError,
             shared: Shared) -> None:
    result.failures[side] = str(error)
    sessions.pop(side, None)
    result.sides.pop(side, None)
    shared.drop(side)


def _check_same_model(result: Result) -> None:
    counts = {side: m.parameters for side, m in result.sides.items()}
    for side, count in counts.items():
        if count != counts.get("tinygen", count):
            result.failures[side] = (f"{side} does not train the same model: {count} parameters, "
                                     f"tinygen has {counts['tinygen']}")
            del result.sides[side]
