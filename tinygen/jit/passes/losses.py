"""Cross entropy and its gradient become one row, where the gradient to come is known beforehand.

The gradient of a loss that is minimised is a constant, mostly 1. With it, the maximum of a row of
logits, its exponentials and their sum serve both: each logit is read once and has one exponential
in place of two. Where nobody reads the logits afterwards, the gradient is written over them.

>>> import tinygen as tg
>>> from tinygen.jit import capture
>>> def f(x, target):
...     x = x.detach().requires_grad_()
...     tg.cross_entropy(x, target).backward()
...     return x.grad
>>> program = capture(f, tg.ones((2, 3)), tg.asarray([0, 2]))
>>> [row.op.name for row in program.rows]
['cross_entropy', 'cross_entropy_vjp']
>>> joined = loss_gradients(program)               # without kernels, it stays as it is
>>> joined.rows[0].op.name if len(joined.rows) == 1 else "cross_entropy_and_gradient"
'cross_entropy_and_gradient'
"""

from __future__ import annotations

from ...mode import RAW, local
from ...ops.loss import cross_entropy_p
from ...primitive import primitive
from ..program import Program, Row
from .rewriting import changed, has_kernels
from .together import same_inputs

__all__ = ["cross_entropy_and_gradient", "loss_gradients"]


@primitive(outputs=2)
def cross_entropy_and_gradient(xp, logits, g, target, weight=None, **attrs):
    """The loss of `cross_entropy` and, for the loss's gradient g, that of the logits (N, C)."""
    before, local.mode = local.mode, RAW
    try:
        loss, kept = cross_entropy_p.fn(xp, logits, target, weight, **attrs)
        gx, *_ = cross_entropy_p.joint.fn(xp, g, loss, kept, logits, target, weight,
                                          needs=(True, False, False), **attrs)
    finally:
        local.mode = before
    return loss, gx


def loss_gradients(program: Program) -> Program:
    """The program with cross entropies and their gradients as one row, on the CPU's kernels."""
    if not has_kernels(program, cross_entropy_and_gradient):
        return program
    rows: list[Row | None] = list(program.rows)
    makers = {o: i for i, row in enumerate(program.rows) for o in row.outputs if o is not None}
    for i, row in enumerate(program.rows):
        if row.op is not cross_entropy_p.joint:
            continue
        k = _before(program, i, row, makers)
        if k is not None:
            loss = program.rows[k]
            rows[i] = None
            rows[k] = Row(cross_entropy_and_gradient,
                          [loss.inputs[0], row.inputs[0], *loss.inputs[1:]], loss.attrs,
                          [loss.outputs[0], row.outputs[0]], loss.line, parts=(loss, row))
    return program.with_rows([row for row in rows if row is not None])


def _before(program: Program, i: int, row: Row, makers: dict[int, int]) -> int | None:
    """The cross entropy whose gradient row i is, if both can be had where that one stands."""
    g, _, kept, *given = row.inputs
    k = makers.get(kept) if isinstance(kept, int) else None
    if k is None or row.outputs[0] is None:
        return None
    loss = program.rows[k]
    if loss.op is not cross_entropy_p or loss.outputs[1] != kept:
        return None
    others = any(kept in other.inputs for j, other in enumerate(program.rows) if j != i)
    attrs = {name: value for name, value in row.attrs.items() if name != "needs"}
    if (others or kept in program.outputs or attrs != loss.attrs
            or not same_inputs(given, loss.inputs)
            or (isinstance(g, int) and makers.get(g, -1) >= k)):
        return None
    return None if changed(program, row.inputs, program.rows[k + 1:i]) else k
