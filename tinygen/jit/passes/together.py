"""What passes that put rows together share: which rows can wait for each other, and their group.

Rows of a group run where its last one stands. What comes between them is done before, if it
depends on none of them; if it does, the group ends there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...primitive import KERNELS, Kernel, kernel_status
from ..group import Group, Step, fused
from ..program import Known, Program, Row, changed_inputs

__all__ = ["Waiting", "has_kernel", "kind", "put_together", "same_inputs"]

VIEWS = ("reshape", "permute_dims", "broadcast_to")


def has_kernel(kind: type | None = np.ndarray) -> Kernel | None:
    """The kernel for groups on arrays of a type, if there is one; for None there is none."""
    if kind is None:
        return None
    kernel_status(kind)
    return KERNELS.get(("fused", kind))


def put_together(program: Program, form: str, labels: Mapping[int, Any],
                 joins: Callable[[Waiting, Row, Any], bool]) -> Program:
    """The program with groups of rows as one row each.

    Args:
        form: what kind of kernel the groups are for.
        labels: by the number of a row; rows without one, or with None, are in no group.
        joins: whether a row with such a label may be part of a group that waits.
    """
    apart: set[int] = set()
    while True:         # views that leave their group are rows of their own: they share memory
        planned = _planned(program, labels, joins, apart)
        last = _last_readers(program, planned)
        found = _escaping(program, planned, last)
        if not found:
            break
        apart |= found
    rows: list[Row] = []
    for k, part in enumerate(planned):
        worth = sum(row.op.name not in VIEWS for row in part) > 1
        rows += [_grouped(program, part, last, k, form)] if worth else part
    return program.with_rows(rows)


def kind(program: Program, x: int | Known) -> Any:
    """(dtype, shape) of an array; None for a number."""
    if isinstance(x, int):
        return program.kinds[x][:2]
    return None if x.memory is None else (x.array.dtype, x.array.shape)


def same_inputs(a: list[int | Known], b: list[int | Known]) -> bool:
    """Are these the same slots and the same arrays from outside?"""
    return [_key(x) for x in a] == [_key(x) for x in b]


# -- which rows ------------------------------------------------------------------------------------


def _planned(program: Program, labels: Mapping[int, Any],
             joins: Callable[[Waiting, Row, Any], bool], apart: set[int]) -> list[list[Row]]:
    """The rows in their new order, cut into groups (of one row, where it stands alone)."""
    planned: list[list[Row]] = []
    waiting = Waiting(program)
    for row in program.rows:
        label = None if row.number in apart else labels.get(row.number)
        if label is not None and (not waiting.rows or joins(waiting, row, label)):
            waiting.add(row, label)
            continue
        if waiting.rows and (label is not None or waiting.concerns(row)):
            planned.append(waiting.rows)
            waiting = Waiting(program)
        if label is None:
            planned.append([row])
        else:
            waiting.add(row, label)
    return [*planned, waiting.rows] if waiting.rows else planned


class Waiting:
    """Rows of a group that is not finished."""

    def __init__(self, program: Program):
        self.program = program
        self.rows: list[Row] = []
        self.labels: list[Any] = []
        self.touched: set[int | None] = set()      # memories that they read or make
        self.changed: set[int | None] = set()      # that they make or write

    def add(self, row: Row, label: Any) -> None:
        """One more row."""
        self.rows.append(row)
        self.labels.append(label)
        self.touched |= _memories(self.program, row)
        self.changed |= self.program.written(row)
        self.changed |= {self.program.kinds[o][2] for o in row.outputs if o is not None}

    def concerns(self, row: Row) -> bool:
        """Would it matter if this row were done before those that wait?"""
        return bool(_memories(self.program, row) & self.changed
                    or self.program.written(row) & self.touched)


def _memories(program: Program, row: Row) -> set[int | None]:
    found = {program.memory(x) for x in row.inputs}
    return (found | {program.kinds[o][2] for o in row.outputs if o is not None}) - {None}


def _last_readers(program: Program, planned: list[list[Row]]) -> dict[int, int]:
    """For each slot the number of the last part that reads it; results are read after all."""
    found = {x: k for k, part in enumerate(planned) for row in part for x in row.slots()}
    return found | {y: len(planned) for y in program.outputs if isinstance(y, int)}


def _escaping(program: Program, planned: list[list[Row]], last: dict[int, int]) -> set[int]:
    """Views in groups that somebody else needs."""
    found = set()
    for k, part in enumerate(planned):
        for row in part if len(part) > 1 else []:
            y = row.outputs[0]
            if row.op.name in VIEWS and y is not None and last.get(y, k) > k and (
                    program.memory(row.inputs[0]) == program.kinds[y][2]):
                found.add(row.number)
    return found


# -- the group -------------------------------------------------------------------------------------


def _grouped(program: Program, rows: list[Row], last: dict[int, int], part: int,
             form: str) -> Row:
    """One row for several, which are part number `part`."""
    made = dict.fromkeys(o for row in rows for o in row.outputs if o is not None)
    inputs: dict[Any, int | Known] = {}
    for arrays in (True, False):                     # numbers that are read anew come last
        for x in (x for row in rows for x in row.inputs):
            given = x not in made if isinstance(x, int) else _is_given(x)
            if given and (isinstance(x, int) or x.memory is not None) == arrays:
                inputs.setdefault(_key(x), x)
    number = {key: i for i, key in enumerate(inputs)}
    kinds = [kind(program, x) for x in inputs.values()]
    for o in made:
        number[o] = len(kinds)
        kinds.append(program.kinds[o][:2])
    steps = [Step(row.op.name, tuple(
        _source(x, number) for x in row.inputs), row.attrs,
        tuple(None if o is None else number[o] for o in row.outputs)) for row in rows]
    written, aliases = _changes(rows, number, len(inputs))
    outputs = [o for o in made if last.get(o, part) > part]
    group = Group(steps, [k and (k[0].name, k[1]) for k in kinds], len(inputs),
                  [number[o] for o in outputs], written, aliases, form)
    return Row(fused, list(inputs.values()), {"group": group}, list(outputs), rows[0].line,
               parts=tuple(rows))


def _is_given(x: Known) -> bool:
    """Is it an array or a number that is read anew, and no constant?"""
    return x.memory is not None or x.read is not None


def _key(x: int | Known) -> Any:
    """What is the same for two inputs that are one."""
    if isinstance(x, int):
        return x
    return ("read", id(x.read)) if x.read is not None else ("array", id(x.array))


def _changes(rows: list[Row], number: dict[Any, int],
             given: int) -> tuple[tuple[int, ...], dict[int, int]]:
    """The inputs that are changed in place; and the results that are such an input."""
    written: set[int] = set()
    aliases: dict[int, int] = {}
    for row in rows:
        for x in changed_inputs(row.op, row.inputs, row.attrs):
            if isinstance(x, int) or x.value is not None:
                written.add(aliases.get(number[_key(x)], number[_key(x)]))
        if row.op.writes and row.outputs[0] is not None:
            first = number[_key(row.inputs[0])]
            aliases[number[row.outputs[0]]] = aliases.get(first, first)
    return tuple(sorted(i for i in written if i < given)), aliases


def _source(x: int | Known, number: dict[Any, int]) -> int | tuple[Any, ...]:
    """What a step reads: a value of the group, or a constant."""
    found = number.get(_key(x))
    return (x.value,) if found is None and isinstance(x, Known) else number[_key(x)]
