"""What device code costs, in counts: launches, copies to and from the device, synchronisations.

A launch is counted per function of CuPy that computes. That is a lower bound: some of them start
two or three kernels. Views are free.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Counts", "count", "counted", "counts"]

KINDS = ("launches", "h2d", "d2h", "syncs")
_HERE = os.path.dirname(__file__)
_MOVERS = ("tinygen/backend.py", "tinygen/constants.py", "tinygen/tensor.py",
           "contextlib.py")


class Counts:
    """Numbers of events by kind, and by what caused them: `counts.by["h2d"]["asarray"]`."""

    def __init__(self) -> None:
        self.by: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
        self.places: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}

    def __getattr__(self, kind: str) -> int:
        if kind not in KINDS:
            raise AttributeError(kind)
        return sum(self.by[kind].values())

    def __repr__(self) -> str:
        rows = [f"{kind}={getattr(self, kind)}" for kind in KINDS]
        rows += [f"  {kind} at {place}: {n}" for kind in KINDS if kind != "launches"
                 for place, n in self.places[kind].most_common()]
        return "Counts(" + ", ".join(rows[:len(KINDS)]) + ")" + "\n".join(["", *rows[4:]])


counts = Counts()             # of the whole process
_open: list[Counts] = []      # of the blocks that are being counted now


def count(kind: str, name: str) -> None:
    """Note that the call `name` made a launch, a copy or a synchronisation."""
    counts.by[kind][name] += 1
    for each in _open:
        each.by[kind][name] += 1
        if kind != "launches":
            each.places[kind][f"{_place()} ({name})"] += 1


def _place() -> str:
    """The line of the tested code that is running: the first outside of the doubles, and of
    the file of tinygen that moves arrays for all others."""
    frame = sys._getframe(2)
    while frame.f_back is not None and (os.path.dirname(frame.f_code.co_filename) == _HERE
                                        or frame.f_code.co_filename.endswith(_MOVERS)):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


@contextmanager
def counted() -> Iterator[Counts]:
    """Count what the block does: `with counted() as seen: ...; assert seen.syncs == 0`."""
    seen = Counts()
    _open.append(seen)
    try:
        yield seen
    finally:
        _open.remove(seen)
