"""Runs the rows: each side in a process of its own, with the same threads, in alternating rounds.

Two thread pools in one process slow each other down more than tenfold, and machines get faster and
slower while one measures: so the sides are separate processes that take turns, one works while the
others wait, and what counts is the fastest and the median round of each.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from .rows import Row

__all__ = ["ChildError", "Measurement", "Result", "Session", "missing_peers", "run"]

PEERS = {"torch": "torch"}     # peer -> the module that it needs
_ROOT = Path(__file__).resolve().parents[1]
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS",
            "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class ChildError(RuntimeError):
    """A child process ended instead of answering."""


@dataclass
class Measurement:
    """One side of one row; times are in seconds per step."""

    rounds: list[float] = field(default_factory=list)
    first_step: float = 0.0      # from the start of the process to the end of its first step
    memory: int = 0              # peak resident bytes; 0 where the process is shared or unknown
    parameters: int = 0
    version: str = ""

    @property
    def best(self) -> float:
        """The fastest round."""
        return min(self.rounds)

    @property
    def typical(self) -> float:
        """The median round."""
        return median(self.rounds)


@dataclass
class Result:
    """All sides of one row; `failures` says in words which sides gave no figures, and why."""

    row: Row
    sides: dict[str, Measurement] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def ratio(self, peer: str) -> float | None:
        """The peer's time divided by ours, fastest rounds: above 1, tinygen is faster."""
        if peer not in self.sides or "tinygen" not in self.sides:
            return None
        return self.sides[peer].best / self.sides["tinygen"].best

    def paired_ratio(self, peer: str) -> float | None:
        """The same from neighbouring rounds: the median of their ratios."""
        if peer not in self.sides or "tinygen" not in self.sides:
            return None
        return median(theirs / ours for ours, theirs in zip(self.sides["tinygen"].rounds,
                                                            self.sides[peer].rounds))

    def speed(self, side: str) -> float | None:
        """GFLOP/s of the fastest round, where the FLOPs are known."""
        if self.row.flops is None or side not in self.sides:
            return None
        return self.row.flops / self.sides[side].best * 1e-9


class Session:
    """A child process and the conversation with it."""

    def __init__(self, side: str, threads: int):
        env = {**os.environ, **{name: str(threads) for name in _THREADS}}
        env["PYTHONPATH"] = os.pathsep.join([str(_ROOT), *filter(None, [env.get("PYTHONPATH")])])
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


def run(rows: list[Row], peers: list[str], *, rounds: int, seconds: float, threads: int,
        quick: bool = False,
        progress: Callable[[str], None] = lambda text: None) -> tuple[list[Result], float]:
    """Measure all rows; returns them with the machine's GFLOP/s, the fastest of the whole run.

    Interrupted (Ctrl-C), it returns the rows that were finished.

    Args:
        rounds: how often each side takes its turn.
        seconds: how long a turn should last; it has at least one step.
        threads: of each side.
        quick: rows of smaller size, see `rows.select`.
    """
    results = []
    with Session("ceiling", threads) as machine:
        limit = machine.ask("gflops")["gflops"]
        try:
            for row in rows:
                progress(f"{row.name}: starting")
                results.append(_run_row(row, ["tinygen", *peers], rounds, seconds, threads, quick,
                                        progress))
                limit = max(limit, machine.ask("gflops")["gflops"])
        except KeyboardInterrupt:
            progress(f"interrupted in {row.name}")
    return results, limit


def _run_row(row: Row, sides: list[str], rounds: int, seconds: float, threads: int, quick: bool,
             progress: Callable[[str], None]) -> Result:
    result = Result(row)
    with ExitStack() as stack:
        sessions: dict[str, Session] = {}
        counts: dict[str, int] = {}
        for side in sides:
            session = stack.enter_context(Session(side, threads))
            try:
                result.sides[side], counts[side] = _prepare(session, row, seconds, quick)
                sessions[side] = session
            except ChildError as error:
                result.failures[side] = str(error)
        for i in range(rounds):
            progress(f"{row.name}: round {i + 1} of {rounds}")
            for side in list(sessions)[::1 if i % 2 else -1]:
                _take_turn(result, sessions, side, counts[side])
        for side, session in sessions.items():
            result.sides[side].memory = session.ask("memory")["bytes"]
    _check_same_model(result)
    return result


def _prepare(session: Session, row: Row, seconds: float, quick: bool) -> tuple[Measurement, int]:
    """Load the row and find out how many steps a turn shall have."""
    loaded = session.ask("load", row=row.name, quick=quick)
    m = Measurement(first_step=perf_counter() - session.started, parameters=loaded["parameters"],
                    version=loaded["version"])
    count, spent = 1, session.ask("steps", count=1)["seconds"]
    while spent < seconds / 4:           # warms up, too
        count *= 2
        spent = session.ask("steps", count=count)["seconds"]
    return m, max(1, round(count * seconds / spent))


def _take_turn(result: Result, sessions: dict[str, Session], side: str, count: int) -> None:
    try:
        spent = sessions[side].ask("steps", count=count)["seconds"]
        result.sides[side].rounds.append(spent / count)
    except ChildError as error:
        result.failures[side] = str(error)
        del sessions[side], result.sides[side]


def _check_same_model(result: Result) -> None:
    counts = {side: m.parameters for side, m in result.sides.items()}
    if len(set(counts.values())) > 1:
        raise RuntimeError(f"{result.row.name}: the sides do not train the same model: {counts}")
