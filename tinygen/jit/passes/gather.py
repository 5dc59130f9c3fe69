"""Small rows together: rows whose call costs more than their arithmetic become one call.

A call of Python takes 4 to 30 us, and a compiled function does 32 x 16 x 16 products in one. Rows
that a backend has rules for, on arrays small enough for one thread, are gathered into groups; what
stands between them and does not depend on them is done before. Results agree with those of single
rows to rounding: sums have another order, and a * b + c may be rounded once.

>>> import tinygen as tg
>>> from tinygen.jit import capture
>>> program = capture(lambda x: (tg.exp(x) * 2).sum(), tg.ones((3,)))
>>> program
inputs %0 float32 3
%1 = exp(%0)                       float32 3
%2 = multiply(%1, 2)               float32 3
%3 = sum(%2)                       float32 scalar
outputs %3
>>> grouped = gather_small(program)            # without kernels, it stays as it is
>>> len(grouped.rows) if has_kernel() else 1
1
"""

from __future__ import annotations

from math import prod
from typing import Any

from ...primitive import Kernel
from ..program import Known, Program, Row
from .together import Waiting, has_kernel, kind, put_together

__all__ = ["gather_small"]

# Numbers that a row, and a group, may compute: on one thread some 10 us, and 50.
ROW, GROUP = 1 << 15, 1 << 18

def gather_small(program: Program) -> Program:
    """The program with groups of small rows as one row each."""
    from ..bind import fits

    kernel = has_kernel()
    if kernel is None or not fits(program):
        return program
    costs = {row.number: _cost(kernel, program, row) for row in program.rows}
    return put_together(program, "small", costs, _joins)


def _joins(waiting: Waiting, row: Row, cost: int) -> bool:
    return sum(waiting.labels) + cost <= GROUP


def _cost(kernel: Kernel, program: Program, row: Row) -> int | None:
    """How many numbers a row computes, if it may be in a group."""
    if not row.op.writes and any(isinstance(x, Known) and x.read for x in row.inputs):
        return None              # only learning rates may be numbers that are read anew
    given = [kind(program, x) for x in row.inputs]
    made = [None if o is None else program.kinds[o][:2] for o in row.outputs]
    if any(prod(k[1]) > ROW for k in (*given, *made) if k is not None):
        return None
    function: Any = kernel.function
    count = function.cost(row.op.name, row.attrs, given, made)
    return None if count is None or count > ROW else count
