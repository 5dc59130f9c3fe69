"""Timing on a device: marks in its stream, read after the work, so that nobody waits in between.

What a mark is, the side says (`Marks`): CUDA events, or clock readings where the device is a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol

__all__ = ["ClockMarks", "Marks", "Timing", "measure"]

WARM_CALLS, WARM_SECONDS = 3, 0.1
GROUP_SECONDS = 0.005       # an event is good to 0.5 us: a group of steps is long beside it
GROUPS = 20


class Marks(Protocol):
    """Points in time on a device."""

    def mark(self) -> Any:
        """A mark behind all work that was given to the device so far."""

    def wait(self) -> None:
        """Return when the device has done all of it."""

    def seconds(self, start: Any, end: Any) -> float:
        """The time between two marks; only after `wait`."""


class ClockMarks:
    """Marks where work is done when a call returns."""

    def mark(self) -> float:
        """Now."""
        return perf_counter()

    def wait(self) -> None:
        """Nothing is under way."""

    def seconds(self, start: float, end: float) -> float:
        """The difference."""
        return end - start


@dataclass
class Timing:
    """Seconds per step in each group of steps."""

    groups: list[float] = field(default_factory=list)
    steps: int = 0                    # in a group

    @property
    def best(self) -> float:
        """The fastest group."""
        return min(self.groups)

    @property
    def typical(self) -> float:
        """The median group."""
        return sorted(self.groups)[len(self.groups) // 2]


def measure(step: Callable[[], Any], marks: Marks, seconds: float = 1.0,
            clock: Callable[[], float] = perf_counter) -> Timing:
    """Time `step` for about `seconds`: a warm-up, then groups of steps between two marks.

    All steps of a group are given to the device before the group's time is read, as a training
    loop does: where launching takes longer than the work, launching is what is measured.
    """
    start, calls = clock(), 0
    while calls < WARM_CALLS or clock() - start < min(WARM_SECONDS, seconds / 4):
        step()
        calls += 1
        marks.wait()
    one = _group(step, marks, 1)
    count = max(1, round(GROUP_SECONDS / max(one, 1e-7)))
    found = Timing(steps=count)
    start = clock()
    while len(found.groups) < 3 or (len(found.groups) < GROUPS and clock() - start < seconds):
        found.groups.append(_group(step, marks, count))
    return found


def _group(step: Callable[[], Any], marks: Marks, count: int) -> float:
    before = marks.mark()
    for _ in range(count):
        step()
    after = marks.mark()
    marks.wait()
    return marks.seconds(before, after) / count
