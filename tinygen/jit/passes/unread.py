"""What nobody reads need not be kept: derivative rules are given results that some never look at.

The rule of a product is handed the product's result and has no use for it; that of relu is handed
the sum in front and needs its sign alone, which the result has too. Without these rows reading
them, such arrays are given back as soon as the forward pass is done with them. No bit of the
results changes.

>>> import tinygen as tg
>>> from tinygen.jit import capture
>>> def f(x):
...     x = x.detach().requires_grad_()
...     tg.relu(x * 2).sum().backward()
...     return x.grad
>>> program = capture(f, tg.ones((3,)))
>>> program
inputs %0 float32 3
%1 = multiply(%0, 2)               float32 3
%2 = relu(%1)                      float32 3
%3 = sum(%2)                       float32 scalar
%4 = reshape(const:scalar)         float32 1
%5 = broadcast_to(%4)              float32 3
%6 = relu_grad(%5, %1)             float32 3
%7 = multiply(%6, 2)               float32 3
outputs %7
>>> drop_unread(program)
inputs %0 float32 3
%1 = multiply(%0, 2)               float32 3
%2 = relu(%1)                      float32 3
%3 = sum(%2)                       float32 scalar
%4 = reshape(const:scalar)         float32 1
%5 = broadcast_to(%4)              float32 3
%6 = relu_grad(%5, %2)             float32 3
%7 = multiply(%6, 2)               float32 3
outputs %7
"""

from __future__ import annotations

from typing import Any

from ..program import Known, Program, Row

__all__ = ["UNREAD", "drop_unread"]

# Rules that never look at the result that they are given, which comes behind the gradient.
UNREAD = frozenset({"linear_vjp", "layer_norm_vjp", "rms_norm_vjp", "batch_norm_vjp",
                    "group_norm_vjp", "scale_channels_vjp"})
_SIGNS = {"relu": "relu_grad", "leaky_relu": "leaky_relu_grad"}


def drop_unread(program: Program) -> Program:
    """The program with rows that read only what they use."""
    results: dict[Any, int] = {}
    rows = []
    for row in program.rows:
        if row.op.name in _SIGNS and isinstance(row.inputs[0], int) and row.outputs[0] is not None:
            if 0 <= row.attrs.get("slope", 0.0) <= 1 and not _changes(program, row.outputs[0]):
                results[_SIGNS[row.op.name], row.inputs[0], _slope(row)] = row.outputs[0]
        elif row.op.name in _SIGNS.values() and row.inputs[0] != row.inputs[1]:
            y = results.get((row.op.name, row.inputs[1], _slope(row)))
            row = row if y is None else row.renamed([row.inputs[0], y])
        elif row.op.name in UNREAD:
            row = row.renamed([row.inputs[0], Known(None, True, None), *row.inputs[2:]])
        rows.append(row)
    return program.with_rows(rows)


def _slope(row: Row) -> float:
    return float(row.attrs.get("slope", 0.0))


def _changes(program: Program, slot: int) -> bool:
    """Is the memory of a slot ever changed in place?"""
    return any(program.kinds[slot][2] in program.written(row) for row in program.rows
               if row.op.writes)
