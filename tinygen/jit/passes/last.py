"""Updates last: what is changed in place is changed as late as what reads it allows.

As long as nothing has been changed, a row that fails (a number out of range, no memory) leaves
everything as it was. What cannot wait, such as the update of a discriminator whose judgement the
generator learns from, is kept by `tinygen.jit.undo`; of rows at the end the largest comes last.

>>> import tinygen as tg
>>> from tinygen import optim
>>> from tinygen.jit import capture
>>> mean = tg.zeros((2,))
>>> def f(x):
...     optim.ema.mix_update(mean, x, weight=0.5)
...     return tg.exp(x)
>>> program = capture(f, tg.ones((2,)))
>>> program
inputs %0 float32 2
%1 = mix_update(outside:2, %0)     float32 2
%2 = exp(%0)                       float32 2
outputs %2
>>> updates_last(program)
inputs %0 float32 2
%2 = exp(%0)                       float32 2
%1 = mix_update(outside:2, %0)     float32 2
outputs %2
"""

from __future__ import annotations

from math import prod

from ..program import Program, Row

__all__ = ["updates_last"]


def updates_last(program: Program) -> Program:
    """The program with rows that change something in place moved towards its end."""
    rows: list[Row] = []
    waiting: list[Row] = []          # updates that nothing has needed yet, in their order
    for row in program.rows:
        due = [row]
        for held in waiting[::-1]:                      # and what has to come before those
            if any(_meet(program, held, later) for later in due):
                due.insert(0, held)
        rows += due[:-1]
        waiting = [w for w in waiting if w not in due]
        if program.written(row) and "generator" not in row.attrs:
            waiting.append(row)
        else:
            rows.append(row)
    if not any(_meet(program, a, b) for i, a in enumerate(waiting) for b in waiting[i + 1:]):
        waiting.sort(key=lambda row: _size(program, row))
    return program.with_rows(rows + waiting)


def _meet(program: Program, first: Row, later: Row) -> bool:
    """Must `first` stay before `later`? It changes what that one reads, or the reverse."""
    if set(later.slots()) & {o for o in first.outputs if o is not None}:
        return True
    writes, others = program.written(first), program.written(later)
    return bool(writes & (_memories(program, later) | others) or others & _memories(program, first))


def _memories(program: Program, row: Row) -> set[int | None]:
    """What a row reads, and makes."""
    made = [program.kinds[o][2] for o in row.outputs if o is not None]
    return {*map(program.memory, row.inputs), *made} - {None}


def _size(program: Program, row: Row) -> int:
    """The bytes of what a row is given."""
    total = 0
    for x in row.inputs:
        if isinstance(x, int):
            total += prod(program.kinds[x][1])
        elif x.memory is not None:
            total += x.value.size
    return total
