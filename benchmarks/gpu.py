"""One command for a machine with an NVIDIA GPU: are the numbers right, and how fast is it?

    make gpu                              # installs what is needed and runs this
    python -m benchmarks.gpu              # numerics, compute-sanitizer, benchmark
    python -m benchmarks.gpu --look       # only says whether there is a GPU (needs nothing)
    python -m benchmarks.gpu --device cpu --quick --out FOLDER    # tries the program out

In under ten minutes: the tests marked `gpu` (results on the card against float64), the kernel
tests under compute-sanitizer where that is installed, and every row of `gpu_rows.py` against
PyTorch, eager and compiled, on the same card. Writes benchmarks/results/DATE-CARD.md and .json.
Without a GPU it says what is missing, writes nothing and ends with status 2.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

if __package__ in (None, ""):                      # `python benchmarks/gpu.py`
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "benchmarks"

__all__ = ["Child", "Deadline", "benchmark", "main", "missing", "run_step"]

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 570.0                # of the ten minutes
NUMERICS, SANITIZER = 200.0, 80.0
ROW_SECONDS = 0.4
COMPILED = "torch-compile"     # takes a minute for some rows: they come when all others are done
COPY_BYTES = 1 << 30
NO_GPU = 2                     # the exit status


# -- what there is --------------------------------------------------------------------------------


def missing() -> str | None:
    """What stands in the way of using a GPU, in words; nothing but Python is needed to ask."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ("no NVIDIA driver: libcuda.so.1 is not there. Install the driver of the card "
                "(nvidia-smi must list it)")
    status = driver.cuInit(0)
    count = ctypes.c_int()
    if status == 0:
        status = driver.cuDeviceGetCount(ctypes.byref(count))
    if status != 0:
        return f"the NVIDIA driver does not start: cuInit gives error {status}"
    return None if count.value else "the NVIDIA driver is there, and no device"


def unready() -> str | None:
    """The same with the packages that tinygen needs."""
    reason = missing()
    if reason is None:
        from tinygen.backend import unavailable_reason
        reason = unavailable_reason()
    return reason


def card() -> tuple[str, str]:
    """(name, driver version) of the first GPU."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    asked = subprocess.run(command, capture_output=True, text=True, check=True)
    name, driver = asked.stdout.splitlines()[0].split(",")
    return name.strip(), driver.strip()


class Deadline:
    """The time that is left of a whole."""

    def __init__(self, seconds: float, clock: Callable[[], float] = perf_counter):
        self._clock, self._start, self._seconds = clock, clock(), seconds

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start

    @property
    def left(self) -> float:
        """Seconds to the end; below 0 after it."""
        return self._seconds - self.spent


# -- tests ----------------------------------------------------------------------------------------


def run_step(command: Sequence[str], limit: float,
             say: Callable[[str], None]) -> tuple[bool | None, str]:
    """Run a command for so many seconds at most; (whether it succeeded, its last line).

    None: it was not done in time.
    """
    say(f"{' '.join(command)}  (at most {limit:.0f} s)")
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit,
                              check=False)
    except subprocess.TimeoutExpired:
        return None, f"not done after {limit:.0f} s"
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    last = lines[-1].strip("= ") if lines else "it said nothing"
    if done.returncode:
        say("\n".join(lines[-40:]))
    return done.returncode == 0, last


def tests(say: Callable[[str], None]) -> tuple[bool, list[tuple[str, str]]]:
    """The tests marked `gpu`, and those of kernels under compute-sanitizer."""
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    # Four processes: CuPy compiles a kernel for each type of each operation when it is first used.
    passed, last = run_step([*pytest, "-n", "4", "-m", "gpu", "tests/gpu"], NUMERICS, say)
    good = bool(passed)
    found = [("numerics against float64 (pytest -m gpu)", last)]
    tool = shutil.which("compute-sanitizer") or shutil.which(
        "/usr/local/cuda/bin/compute-sanitizer")
    if tool is None:
        return good, [*found, ("compute-sanitizer", "not installed, not run")]
    kernels = [*pytest, "-n", "0", "-m", "gpu", "tests/gpu/test_on_device.py",
               "-k", "kernel and bfloat16"]
    for name in ("memcheck", "racecheck"):
        passed, last = run_step([tool, "--tool", name, "--error-exitcode", "9", *kernels],
                                SANITIZER / 2, say)
        good = good and passed is not False          # it slows kernels down a hundredfold
        found.append((f"compute-sanitizer --tool {name}, kernel tests", last))
    return good, found


# -- benchmark ------------------------------------------------------------------------------------


class Child:
    """A side in a process of its own; see `gpu_child.py`."""

    def __init__(self, side: str, device: str):
        self.side = side
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.gpu_child", side, device], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def ask(self, **request: Any) -> dict[str, Any]:
        """The answer to a request; `failed` says why there is none."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            assert self._process.stderr is not None
            said = self._process.stderr.read().strip().splitlines()
            return {"failed": f"the process ended: {said[-1] if said else 'it said nothing'}"}
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()


def benchmark(device: str, quick: bool, deadline: Deadline, say: Callable[[str], None],
              start: Callable[[str, str], Any] = Child) -> tuple[list[Any], float, list[str]]:
    """(results, bytes copied per second, versions). Rows that time runs out for say so.

    Sides take turns, each twice but for the compiled one, which would compile again.
    """
    from .gpu_report import GpuResult
    from .gpu_rows import SIDES, gpu_rows

    sides = [s for s in SIDES if s.startswith("tinygen") or _has("torch")]
    results = [GpuResult(row) for row in gpu_rows(quick)]
    seconds = 0.02 if quick else ROW_SECONDS
    with ExitStack() as stack:
        children: dict[str, Any] = {}
        versions = [f"Python {platform.python_version()}"]
        for side in sides:
            children[side] = start(side, device)
            stack.callback(children[side].close)
            told = children[side].ask(about=True)
            versions.append(told.get("version", f"{side}: {told.get('failed')}"))
        copy = children["tinygen"].ask(copy=1 << 20 if quick else COPY_BYTES)
        eager = [s for s in children if s != COMPILED]
        for turn in (eager, [s for s in children if s == COMPILED], eager[::-1]):
            for result in results:
                chosen = [s for s in turn if s in result.row.sides]
                for side in chosen:
                    _one_turn(result, side, children, quick, seconds, deadline)
                if chosen and turn != eager[::-1]:
                    say(_told(result))
    for result in results:
        for side in result.row.sides:
            if side not in children:
                result.failures[side] = "PyTorch is not installed"
    return results, copy.get("bytes_per_second", 0.0), versions


def _one_turn(result: Any, side: str, children: dict[str, Any], quick: bool, seconds: float,
              deadline: Deadline) -> None:
    from .gpu_timing import Timing

    if side in result.failures:
        return
    if deadline.left < 0:
        if side not in result.sides:
            result.failures[side] = "no time was left"
        return
    got = children[side].ask(row=result.row.name, quick=quick, seconds=seconds)
    if "failed" in got:
        result.failures[side] = got["failed"]
        result.sides.pop(side, None)
        return
    known = result.sides.setdefault(side, Timing([], got["steps"]))
    known.groups += got["groups"]
    if got["loss"] is not None:
        result.losses[side] = got["loss"]


def _told(result: Any) -> str:
    times = ", ".join(f"{s} {t.best * 1e6:.1f} us" for s, t in result.sides.items())
    failed = ", ".join(f"{s}: {why}" for s, why in result.failures.items())
    return f"{result.row.name}: {'; '.join(filter(None, (times, failed)))}"


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


# -- all of it ------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Run everything; 0 if the numerics were right, 2 if there is no GPU."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--look", action="store_true", help="only say whether there is a GPU")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="small sizes, no tests")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args(argv)
    reason = None if args.device == "cpu" else missing() if args.look else unready()
    if reason:
        print(f"make gpu: {reason}. Nothing was measured or written.", file=sys.stderr)
        return NO_GPU
    if args.look:
        return 0
    from .gpu_report import GpuReport, page, write

    def say(text: str) -> None:
        print(text, flush=True)
    deadline = Deadline(SECONDS)
    name, driver = card() if args.device == "cuda" else ("CPU, a dry run", "none")
    good, steps = (True, []) if args.quick else tests(say)
    results, copy, versions = benchmark(args.device, args.quick, deadline, say)
    report = GpuReport(name, driver, datetime.now(UTC).date().isoformat(), versions, copy, results,
                       steps, deadline.spent, args.quick)
    say("\n" + page(report))
    for path in write(report, args.out):
        say(f"written: {path}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
