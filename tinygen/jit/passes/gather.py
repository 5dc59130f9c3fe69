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

import numpy as np

from ...primitive import Kernel
from ..program import Known, Program, Row
from .together import Waiting, has_kernel, kind, put_together

__all__ = ["gather_small"]

# Numbers that a row, and a group, may compute: on one thread some 10 us, and 50.
ROW, GROUP = 1 << 15, 1 << 18


def gather_small(program: Program) -> Program:
    """The program with groups of small rows as one row each."""
    from ..bind import array_type

    kernel = has_kernel() if array_type(program) is np.ndarray else None
    if kernel is None:
        return program
    costs = {row.number: _cost(kernel, program, row) for row in program.rows}
    return put_together(program, "small", costs, _joins)


def _joins(waiting: Waiting, row: Row, label: tuple[int, Any]) -> bool:
    """Is there room for the row, and does it compute with numbers of the same type?"""
    cost, dtype = label
    return sum(c for c, _ in waiting.labels) + cost <= GROUP and dtype == waiting.labels[0][1]


def _cost(kernel: Kernel, program: Program, row: Row) -> tuple[int, Any] | None:
    """How many numbers a row computes, and of which type, if it may be in a group."""
    if not row.op.writes and any(isinstance(x, Known) and x.read for x in row.inputs):
        return None              # only learning rates may be numbers that are read anew
    given = [kind(program, x) for x in row.inputs]
    made = [None if o is None else program.kinds[o][:2] for o in row.outputs]
    if any(prod(k[1]) > ROW for k in (*given, *made) if k is not None):
        return None
    function: Any = kernel.function
    count = function.cost(row.op.name, row.attrs, given, made)
    dtype = next((k[0] for k in given if k is not None), None)
    return None if count is None or count > ROW else (count, dtype)
