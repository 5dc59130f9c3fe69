"""RMSprop: steps scaled by a running mean of the squared gradient."""

from __future__ import annotations

from typing import Any

from ..primitive import primitive
from .optimizer import Optimizer, Params, numbers
from .update import blocks, cast, descent, number

__all__ = ["RMSprop", "rmsprop_update"]


@primitive
def rmsprop_update(xp, p, g, v, mean, buf, step, lr, *, alpha, eps, weight_decay, momentum,
                   maximize):
    """One step of RMSprop, in place: v moves towards g^2, p -= lr * g / (sqrt(v) + eps)."""
    step += 1
    lr = cast(p, number(xp, lr))
    changed = bool(weight_decay or maximize)
    whole, pieces = p, blocks(xp, 1 + changed, p, g, v, mean, buf)
    for p, g, v, mean, buf, s, *extra in pieces:
        if changed:
            g = descent(xp, g, p, weight_decay, maximize, extra[0])
        xp.multiply(v, alpha, out=v)                  # v = alpha * v + (1 - alpha) * g * g
        xp.multiply(g, g, out=s)
        xp.multiply(s, 1 - alpha, out=s)
        xp.add(v, s, out=v)
        if mean is None:
            xp.sqrt(v, out=s)
        else:                                         # the variance: v minus the mean squared
            xp.subtract(g, mean, out=s)
            xp.multiply(s, 1 - alpha, out=s)
            xp.add(mean, s, out=mean)
            xp.multiply(mean, mean, out=s)
            xp.subtract(v, s, out=s)
            xp.sqrt(xp.maximum(s, 0, out=s), out=s)   # rounding can leave it below zero
        xp.add(s, eps, out=s)
        xp.divide(g, s, out=s)
        if buf is not None:
            xp.multiply(buf, momentum, out=buf)
            xp.add(buf, s, out=buf)
            xp.multiply(buf, lr, out=s)
        else:
            xp.multiply(s, lr, out=s)
        xp.subtract(p, s, out=p)
    return whole
rmsprop_update.writes = (0, 2, 3, 4, 5)


class RMSprop(Optimizer):
    """RMSprop (Hinton, lecture 6e of "Neural networks for machine learning", 2012).

    v = alpha v + (1 - alpha) g^2,  p -= lr * g / (sqrt(v) + eps); with `centered` the mean of
    the gradient is subtracted, v - mean^2 (Graves 2013, arXiv:1308.0850).

    Args:
        params: the parameters, or dictionaries of them with options of their own.
        lr: the learning rate.
        alpha: how much of v a step keeps.
        eps: keeps the division finite where gradients vanish.
        weight_decay: adds weight_decay * p to the gradient.
        momentum: buf = momentum * buf + g / (sqrt(v) + eps), p -= lr * buf.
        centered: divide by the standard deviation of the gradient instead of its rms.
        maximize: climb instead of descend.
        capturable, foreach: taken, and change nothing; `differentiable=True` is refused.
    """

    rule = rmsprop_update

    def __init__(self, params: Params, lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
                 weight_decay: float = 0.0, momentum: float = 0.0, centered: bool = False,
                 capturable: bool = False, foreach: bool | None = None, maximize: bool = False,
                 differentiable: bool = False):
        super().__init__(params, dict(
            lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum,
            centered=centered, maximize=maximize, capturable=capturable, foreach=foreach,
            differentiable=differentiable))

    def check(self, group: dict[str, Any]) -> None:
        numbers(self, group, "lr", "alpha", "eps", "weight_decay", "momentum")

    def slots(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return ("square_avg", "grad_avg" if group["centered"] else None,
                "momentum_buffer" if group["momentum"] else None, "step")

    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        return {k: group[k] for k in ("alpha", "eps", "weight_decay", "momentum", "maximize")}
