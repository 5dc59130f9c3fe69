"""Batch norm and the relu, or leaky relu, behind it become one operation; so do their gradients.

Between the two lies an array as large as the images, which is written and read again; on the way
back another one. The kernel applies the activation where the norm's result is in a register, and
its gradient finds the sign of that result anew from x, which the norm reads anyway.

>>> import tinygen as tg
>>> from tinygen.jit import capture
>>> def f(x):
...     return tg.relu(tg.batch_norm(x, training=True))
>>> program = capture(f, tg.ones((8, 3, 4, 4)))
>>> program
inputs %0 float32 8x3x4x4
%1, %2, %3 = batch_norm(%0, None, None) float32 8x3x4x4, float32 3, float32 3
%4 = relu(%1)                      float32 8x3x4x4
outputs %4
>>> activated = norm_activations(program)          # without kernels, it stays as it is
>>> len(activated.rows) if has_kernel() else 1
1
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ops.batchnorm import batch_norm_activation
from ...primitive import KERNELS
from ..program import Known, Program, Row
from .together import has_kernel, same_inputs

__all__ = ["norm_activations"]

FORWARD = {"relu": "relu_grad", "leaky_relu": "leaky_relu_grad"}
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def norm_activations(program: Program) -> Program:
    """The program with batch norms and their activations as one row, on the CPU's kernels."""
    from ..bind import array_type

    if array_type(program) is not np.ndarray or has_kernel() is None or (
            (batch_norm_activation.name, np.ndarray) not in KERNELS):
        return program
    return _Norms(program).run()


class _Norms:
    """The rows of a program, some of them replaced."""

    def __init__(self, program: Program):
        self.program, self.rows = program, list(program.rows)
        self.readers: dict[int, list[int]] = {}
        self.makers: dict[int, int] = {}
        self.gone: set[int] = set()
        for i, row in enumerate(self.rows):
            self.makers.update((o, i) for o in row.outputs if o is not None)
            for x in row.slots():
                self.readers.setdefault(x, []).append(i)
        for y in program.outputs:
            if isinstance(y, int):
                self.readers.setdefault(y, []).append(len(self.rows))

    def run(self) -> Program:
        """First what goes forward, then the gradients of that."""
        for change in (self._forward, self._backward):
            for i in range(len(self.rows)):
                change(i, self.rows[i])
        return self.program.with_rows([row for i, row in enumerate(self.rows)
                                       if i not in self.gone])

    def _only_read_by(self, i: int, x: Any) -> int | None:
        """The number of the row that made x, if row i alone reads it."""
        alone = isinstance(x, int) and self.readers[x] == [i]
        return self.makers.get(x) if alone else None

    def _changed(self, first: int, last: int, sources: list[int | Known]) -> bool:
        """Is memory that these lie in changed by a row between the two?"""
        read = {self.program.memory(x) for x in sources} - {None}
        return any(read & self.program.written(row) for row in self.rows[first + 1:last]
                   if row.op.writes)

    def _forward(self, i: int, row: Row) -> None:
        """f(batch_norm(x)) becomes one row, where the norm stands: others may read its statistics.
        """
        if row.op.name not in FORWARD or not 0 <= row.attrs.get("slope", 0.0) <= 1:
            return
        k = self._only_read_by(i, row.inputs[0])
        y = row.outputs[0]
        if k is None or y is None or self.rows[k].op.name != "batch_norm":
            return
        norm = self.rows[k]
        dtype = self.program.kinds[y][0]
        if norm.outputs[0] != row.inputs[0] or dtype not in FLOATS:
            return
        self.rows[k] = Row(batch_norm_activation, norm.inputs,
                           {**norm.attrs, "slope": float(row.attrs.get("slope", 0.0))},
                           [y, *norm.outputs[1:]], norm.line, parts=(norm, row))
        self.makers[y] = k
        self.gone.add(i)

    def _backward(self, i: int, row: Row) -> None:
        """batch_norm_vjp of the gradient of such an activation becomes the rule of both."""
        k = self._only_read_by(i, row.inputs[0]) if row.op.name == "batch_norm_vjp" else None
        if k is None or self.rows[k].op.name not in FORWARD.values():
            return
        inner = self.rows[k]
        g, y = inner.inputs
        made = self.makers.get(y) if isinstance(y, int) else None
        if made is None or self.rows[made].op is not batch_norm_activation:
            return
        before = self.rows[made]
        _, _, mean, var, *given = row.inputs
        own = before.outputs[1]
        if (own is not None and before.outputs[0] == y
                and FORWARD[before.parts[1].op.name] == inner.op.name
                and inner.attrs.get("slope", 0.0) == before.attrs["slope"]
                and self.program.memory(mean) == self.program.memory(own)
                and var == before.outputs[2] and row.attrs["eps"] == before.attrs["eps"]
                and same_inputs(given, before.inputs)
                and not self._changed(made, i, before.inputs)
                and not self._changed(k, i, [g])):
            joint = batch_norm_activation.joint
            assert joint is not None
            self.rows[i] = Row(joint, [g, Known(None, True, None), mean, var, *given],
                               {**before.attrs, "needs": row.attrs["needs"]}, row.outputs,
                               inner.line, parts=(inner, row))
            self.gone.add(k)
