"""The memory plan of a program: which arrays live at which row, and how much they take together."""

from __future__ import annotations

import math
from typing import NamedTuple

from .program import Known, Program

__all__ = ["Life", "lives", "outside", "totals"]


class Life(NamedTuple):
    """An array that rows make: the slots that lie in it, its size, the rows it lives through.

    `place` is where it would lie if each array took the lowest gap that fits when it is made.
    """

    slots: tuple[int, ...]
    bytes: int
    first: int
    last: int
    place: int


def lives(program: Program) -> list[Life]:
    """The arrays that rows make, in the order in which they are made.

    Slots in one memory (views, updates in place) are one array, that lives until the last of them
    is read; results live to the end. Arrays of arguments and from outside are left out.

    >>> import tinygen as tg
    >>> from tinygen.jit import capture
    >>> program = capture(lambda x: (x * 2 + 1).sum(), tg.ones((4,)))
    >>> for life in lives(program):
    ...     print(life)
    Life(slots=(1,), bytes=16, first=0, last=1, place=0)
    Life(slots=(2,), bytes=16, first=1, last=2, place=16)
    Life(slots=(3,), bytes=4, first=2, last=2, place=0)
    """
    known = outside(program)
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    slots: dict[int, dict[int, int]] = {}         # memory -> slot -> its bytes
    for i, row in enumerate(program.rows):
        made = [o for o in row.outputs if o is not None]
        for slot in [*row.slots(), *made]:
            memory = program.kinds[slot][2]
            if memory not in known:
                first.setdefault(memory, i)
                last[memory] = i
                slots.setdefault(memory, {})[slot] = _bytes(program, slot)
    for y in program.outputs:
        if isinstance(y, int) and program.kinds[y][2] in first:
            last[program.kinds[y][2]] = len(program.rows) - 1
    found = sorted(first, key=lambda m: (first[m], m))
    sizes = [max(slots[m].values()) for m in found]
    places = _places([(first[m], last[m]) for m in found], sizes)
    return [Life(tuple(slots[m]), size, first[m], last[m], place)
            for m, size, place in zip(found, sizes, places, strict=True)]


def totals(program: Program, found: list[Life]) -> list[int]:
    """The bytes of the arrays that live at each row."""
    change = [0] * (len(program.rows) + 1)
    for life in found:
        change[life.first] += life.bytes
        change[life.last + 1] -= life.bytes
    now, sums = 0, []
    for c in change[:-1]:
        now += c
        sums.append(now)
    return sums


def outside(program: Program) -> dict[int, int]:
    """The memories that are there before the first row, with their bytes."""
    found: dict[int, int] = {}
    for slot in program.inputs:
        memory = program.kinds[slot][2]
        found[memory] = max(found.get(memory, 0), _bytes(program, slot))
    for row in program.rows:
        for x in row.inputs:
            if isinstance(x, Known) and x.memory is not None:
                found[x.memory] = max(found.get(x.memory, 0), x.value.nbytes)
    return found


def _bytes(program: Program, slot: int) -> int:
    dtype, shape, _ = program.kinds[slot]
    return math.prod(shape) * dtype.itemsize


def _places(spans: list[tuple[int, int]], sizes: list[int]) -> list[int]:
    """Offsets by first fit: each array the lowest gap between those that live when it is made."""
    living: list[tuple[int, int, int]] = []       # (place, end, last row), by place
    places = []
    for (first, last), size in zip(spans, sizes, strict=True):
        living = [x for x in living if x[2] >= first]
        place, at = 0, len(living)
        for k, (start, end, _) in enumerate(living):
            if start - place >= size:
                at = k
                break
            place = end
        living.insert(at, (place, place + size, last))
        places.append(place)
    return places
