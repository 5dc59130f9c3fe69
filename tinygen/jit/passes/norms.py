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
>>> len(activated.rows) if has_kernels(program) else 1
1
"""

from __future__ import annotations

import numpy as np

from ...ops.batchnorm import batch_norm_activation
from ..program import Known, Program, Row
from .rewriting import Rewriting, has_kernels
from .together import same_inputs

__all__ = ["norm_activations"]

FORWARD = {"relu": "relu_grad", "leaky_relu": "leaky_relu_grad"}
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def norm_activations(program: Program) -> Program:
    """The program with batch norms and their activations as one row, on the CPU's kernels."""
    if not has_kernels(program, batch_norm_activation):
        return program
    norms = _Norms(program)
    return norms.run(norms.forward, norms.backward)     # first what goes forward, then gradients


class _Norms(Rewriting):
    def forward(self, i: int, row: Row) -> None:
        """f(batch_norm(x)) becomes one row, where the norm stands: others may read its statistics.
        """
        if row.op.name not in FORWARD or not 0 <= row.attrs.get("slope", 0.0) <= 1:
            return
        k = self.only_read_by(i, row.inputs[0])
        y = row.outputs[0]
        if k is None or y is None or self.rows[k].op.name != "batch_norm":
            return
        norm = self.rows[k]
        dtype = self.program.kinds[y][0]
        if norm.outputs[0] != row.inputs[0] or dtype not in FLOATS:
            return
        self.put(k, Row(batch_norm_activation, norm.inputs,
                        {**norm.attrs, "slope": float(row.attrs.get("slope", 0.0))},
                        [y, *norm.outputs[1:]], norm.line, parts=(norm, row)))
        self.gone.add(i)

    def backward(self, i: int, row: Row) -> None:
        """batch_norm_vjp of the gradient of such an activation becomes the rule of both."""
        k = self.only_read_by(i, row.inputs[0]) if row.op.name == "batch_norm_vjp" else None
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
                and not self.changed(before.inputs, made, i)
                and not self.changed([g], k, i)):
            joint = batch_norm_activation.joint
            assert joint is not None
            self.put(i, Row(joint, [g, Known(None, True, None), mean, var, *given],
                            {**before.attrs, "needs": row.attrs["needs"]}, row.outputs,
                            inner.line, parts=(inner, row)))
            self.gone.add(k)
