"""Elementwise fusion: a chain of operations on large arrays becomes one loop over the elements.

Each operation by itself reads its arrays from memory and writes its result there. In a chain, what
only the next operation needs stays in a register. Sums and means of all elements, or of rows, may
end a chain.
Results agree with those of single rows to rounding: a * b + c may be rounded once, and sums have
another order.

>>> import tinygen as tg
>>> from tinygen.jit import capture
>>> program = capture(lambda x: tg.tanh(x * 2) * x, tg.ones((300, 300)))
>>> program
inputs %0 float32 300x300
%1 = multiply(%0, 2)               float32 300x300
%2 = tanh(%1)                      float32 300x300
%3 = multiply(%2, %0)              float32 300x300
outputs %3
>>> chained = fuse_elementwise(program)            # without kernels, it stays as it is
>>> len(chained.rows) if has_kernel() else 1
1
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..program import Known, Program, Row
from .together import Waiting, has_kernel, kind, put_together

__all__ = ["fuse_elementwise"]

# Elements from which on a pass over memory costs more than the start of a loop, and, for a chain
# that is new to this machine, its compilation (0.5 s). On a GPU two launches cost more than one.
LARGE = 1 << 15


def fuse_elementwise(program: Program) -> Program:
    """The program with chains of elementwise rows as one row each."""
    from ..bind import array_type, row_types

    arrays, kinds = array_type(program), row_types(program) or []
    kernel = has_kernel(arrays)
    if kernel is None:
        return program
    least = LARGE if arrays is np.ndarray else 1
    function: Any = kernel.function
    shapes = {}
    for row, place in zip(program.rows, kinds, strict=True):
        if place is not arrays:          # on the host, in a program of a device
            continue
        given = [kind(program, x) for x in row.inputs]
        made = [None if o is None else program.kinds[o][:2] for o in row.outputs]
        known = not any(isinstance(x, Known) and x.read for x in row.inputs)
        shape = function.chain_cost(row.op.name, row.attrs, given, made) if known else None
        if shape is not None and prod(shape) >= least:
            shapes[row.number] = shape, made[0] is not None and made[0][1] != shape
    return put_together(program, "chain", shapes, _joins)


def _joins(waiting: Waiting, row: Row, label: tuple[tuple[int, ...], bool]) -> bool:
    """Does the row go over the same elements, and read what the others read or make?

    What a sum has added up is known only when the loop is over.
    """
    if label[0] != waiting.labels[0][0]:
        return False
    sums = {o for r, (_, adds) in zip(waiting.rows, waiting.labels, strict=True)
            if adds for o in r.outputs}
    near = {x for r in waiting.rows for x in (*r.slots(), *r.outputs)}
    return bool(near.intersection(row.slots())) and not sums.intersection(row.slots())
