"""Residual connections: a sum and its norm become one operation; so do their gradients.

`x + f(x)` is read by the norm that follows and by the next connection. On the way back the gradient
of the norm is added to that of the connection. Both additions are made in the norm's kernel, while
a row is in the cache, and save an array as large as the activations from being read once more.

>>> import tinygen as tg
>>> from tinygen.jit import capture
>>> def f(x, y, w):
...     x = x.detach().requires_grad_()
...     z = x + y
...     (tg.layer_norm(z, (4,), w, w) * z).sum().backward()
...     return x.grad
>>> program = capture(f, tg.ones((3, 4)), tg.ones((3, 4)), tg.ones((4,)))
>>> program = program.optimized(fuse=False)
>>> program
inputs %0 float32 3x4, %1 float32 3x4, %2 float32 4
%3 = add(%0, %1)                   float32 3x4
%4, %5, %6 = layer_norm(%3, %2, %2) float32 3x4, float32 3x1, float32 3x1
%11 = multiply(const:3x4, %3)      float32 3x4
%12 = multiply(const:3x4, %4)      float32 3x4
%13, %14, %15 = layer_norm_vjp(%11, None, %5, %6, %3, %2, %2) float32 3x4, float32 4, float32 4
%16 = add(%12, %13)                float32 3x4
outputs %16
>>> joined = join_residuals(program)               # without kernels, it stays as it is
>>> expected = ["add_layer_norm", "multiply", "multiply", "add_layer_norm_vjp"]
>>> [row.op.name for row in joined.rows] == expected or not has_kernels(program)
True
"""

from __future__ import annotations

import numpy as np

from ...ops.norm import add_layer_norm, add_rms_norm
from ..program import Known, Program, Row
from .rewriting import Rewriting, has_kernels
from .together import kind

__all__ = ["join_residuals"]

NORMS = {"layer_norm": add_layer_norm, "rms_norm": add_rms_norm}
RULES = {f"{name}_vjp": op for name, op in NORMS.items()}
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def join_residuals(program: Program) -> Program:
    """The program with sums and their norms as one row, on the CPU's kernels; gradients too."""
    if not has_kernels(program, *NORMS.values()):
        return program
    residuals = _Residuals(program)
    return residuals.run(residuals.forward, residuals.backward)


class _Residuals(Rewriting):
    def _adds(self, row: Row) -> bool:
        """Is it the sum of two arrays of one shape and type, which kernels take?"""
        if row.op.name != "add" or row.outputs[0] is None:
            return False
        made = self.program.kinds[row.outputs[0]][:2]
        return made[0] in FLOATS and all(kind(self.program, x) == made for x in row.inputs)

    def _may_wait(self, k: int, i: int) -> bool:
        """Could row k be done where row i stands? Nothing between needs it, or changes its inputs.
        """
        made = {o for o in self.rows[k].outputs if o is not None}
        return not self.changed(self.rows[k].inputs, k, i) and not any(
            made.intersection(self.rows[j].slots())
            for j in range(k + 1, i) if j not in self.gone)

    def forward(self, i: int, norm: Row) -> None:
        """norm(x + other) becomes one row, where the norm stands; it makes the sum as well."""
        total = norm.inputs[0] if norm.op.name in NORMS else None
        k = self.makers.get(total) if isinstance(total, int) else None
        if k is None or not self._adds(self.rows[k]) or not self._may_wait(k, i):
            return
        added = self.rows[k]
        self.put(i, Row(NORMS[norm.op.name], [*added.inputs, *norm.inputs[1:]], norm.attrs,
                         [*added.outputs, *norm.outputs], norm.line, parts=(added, norm)))
        self.gone.add(k)

    def backward(self, i: int, added: Row) -> None:
        """A norm's gradient plus what goes past the norm becomes one row, where the norm's stands,
        or where the sum does if what is added is made in between."""
        if not self._adds(added):
            return
        for gx, past in (added.inputs, added.inputs[::-1]):
            k = self.only_read_by(i, gx)
            if k is None or self.rows[k].op.name not in RULES or self.rows[k].outputs[0] != gx:
                continue
            ready = self.makers.get(past, -1) < k if isinstance(past, int) else True
            if ready and not self.changed([past], k, i):
                place, other = k, i
            elif self._may_wait(k, i):
                place, other = i, k
            else:
                continue
            self.put(place, _with_sum(self.rows[k], added, past))
            self.gone.add(other)
            return


def _with_sum(rule: Row, added: Row, past: int | Known) -> Row:
    """The rule of a norm, and the sum of its gradient and another, as one row."""
    op, none = RULES[rule.op.name], Known(None, True, None)
    assert op.joint is not None
    g, _, *rest = rule.inputs
    stats, (total, *params) = rest[:op.outputs - 2], rest[op.outputs - 2:]
    needs = rule.attrs["needs"]
    return Row(op.joint, [past, g, total, none, *stats, none, none, *params],
               {**rule.attrs, "needs": (needs[0], *needs)},
               [added.outputs[0], None, *rule.outputs[1:]], rule.line, parts=(rule, added))
