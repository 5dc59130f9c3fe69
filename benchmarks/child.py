"""The child process: one side of the comparison, told by its parent what to do.

Started as `python -m benchmarks.child SIDE`. Each line on standard input is a JSON request, each
line on standard output the JSON answer; what libraries print goes to standard error.

    {"do": "load", "row": NAME, "quick": BOOL}   builds the row and takes one step
    {"do": "steps", "count": N}                  takes N steps -> {"seconds": of all N, "cpu": used}
    {"do": "memory"}                             -> {"bytes": peak resident memory so far}
    {"do": "ceilings"}                           -> {"gflops", "bandwidth"} on the side "ceiling"
"""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from .operations import Unsupported, Work
from .rows import rows

__all__ = ["SIDES", "main", "peak_memory"]

# Side -> the module with `load(row)` and `version()`. "ceiling" measures the machine itself.
SIDES = {"tinygen": "benchmarks.workloads", "tinygen-jit": "benchmarks.jitted",
         "torch": "benchmarks.peers.torch_workloads",
         "torch-compile": "benchmarks.peers.torch_compiled",
         "jax": "benchmarks.peers.jax_workloads", "ceiling": "tinygen.jit.ceilings"}


def peak_memory() -> int:
    """The most memory that this process has had resident, in bytes; 0 where nobody counts."""
    try:                           # on Linux ru_maxrss starts at the size of the parent
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        resource = importlib.import_module("resource")
    except ImportError:            # not a Unix
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Child:
    """What the requests act on: the side's module and the row that is loaded."""

    def __init__(self, side: str):
        self.module: Any = importlib.import_module(SIDES[side])
        self.work: Work | None = None

    def load(self, row: str, quick: bool) -> dict[str, Any]:
        """Build a row and take its first step; a loss must come out finite."""
        (chosen,) = (r for r in rows(quick) if r.name == row)
        self.work = None                 # the row before makes room
        start = perf_counter()
        try:
            self.work = self.module.load(chosen)
            called = perf_counter()
            loss = self.work.step()
        except Unsupported as reason:
            return {"unsupported": str(reason)}
        if loss is not None and not math.isfinite(loss):
            raise ValueError(f"{row}: the first loss is {loss}")
        end = perf_counter()
        return {"parameters": self.work.parameters, "version": self.module.version(),
                "loss": loss, "seconds": end - start, "call": end - called}

    def steps(self, count: int) -> dict[str, Any]:
        """Take `count` steps."""
        if self.work is None:
            raise RuntimeError("steps before load")
        step = self.work.step
        used, start = process_time(), perf_counter()
        for _ in range(count):
            step()
        return {"seconds": perf_counter() - start, "cpu": process_time() - used}

    def memory(self) -> dict[str, Any]:
        """The peak of this process."""
        return {"bytes": peak_memory()}

    def ceilings(self) -> dict[str, Any]:
        """The speed of sgemm and of copying now, on the side "ceiling"."""
        return {"gflops": self.module.gflops(), "bandwidth": self.module.bandwidth()}


def main(side: str) -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    child = Child(side)
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(child, request.pop("do"))(**request)
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
