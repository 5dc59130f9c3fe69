"""ASGD: stochastic gradient descent whose iterates are averaged."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import array_module
from ..primitive import primitive
from ..tensor import Tensor
from .optimizer import Optimizer, Params, number, numbers
from .update import blocks, cast, descent, largest
from .update import number as number_of

__all__ = ["ASGD", "asgd_update"]


@primitive
def asgd_update(xp, p, g, ax, mu, eta, step, lr, *, lambd, alpha, t0, weight_decay, maximize):
    """One step of ASGD, in place: p -= eta * (g + lambd * p), and ax moves towards p by mu.

    `eta` and `mu` are those of this step; they leave as those of the next.
    """
    step += 1
    t, lr, rate, share = (number_of(xp, x) for x in (step, lr, eta, mu))
    kept, first = cast(p, 1 - lambd * rate), share == 1
    rate, share = cast(p, rate), cast(p, share)
    changed = bool(weight_decay or maximize)
    whole, pieces = p, blocks(xp, 1 + changed, p, g, ax)
    for p, g, ax, s, *extra in pieces:
        if changed:
            g = descent(xp, g, p, weight_decay, maximize, extra[0])
        xp.multiply(p, kept, out=p)
        xp.multiply(g, rate, out=s)
        xp.subtract(p, s, out=p)
        if first is True:
            ax[...] = p
        else:
            xp.subtract(p, ax, out=s)
            xp.multiply(s, share, out=s)
            xp.add(ax, s, out=ax)
            if first is not False:                     # a GPU decides
                xp.copyto(ax, p, where=first)
    eta[...] = lr / (1 + lambd * lr * t) ** alpha
    mu[...] = 1 / largest(xp, 1.0, t - t0)
    return whole
asgd_update.writes = (0, 2, 3, 4, 5)


class ASGD(Optimizer):
    """Averaged stochastic gradient descent (Polyak and Juditsky 1992).

    p -= eta_t (g + lambd p) with eta_{t+1} = lr / (1 + lambd lr t)^alpha; from step t0 on,
    `state[p]["ax"]` is the mean of p over the steps, which is what is to be used in the end.

    Args:
        params: the parameters, or dictionaries of them with options of their own.
        lr: the learning rate.
        lambd: the decay term.
        alpha: the power with which the rate falls.
        t0: the step at which averaging begins.
        weight_decay: adds weight_decay * p to the gradient.
        maximize: climb instead of descend.
        foreach, capturable: taken, and change nothing; `differentiable=True` is refused.
    """

    rule = asgd_update
    scalars = ("step", "eta", "mu")

    def __init__(self, params: Params, lr: float = 1e-2, lambd: float = 1e-4, alpha: float = 0.75,
                 t0: float = 1e6, weight_decay: float = 0.0, foreach: bool | None = None,
                 maximize: bool = False, differentiable: bool = False, capturable: bool = False):
        super().__init__(params, dict(
            lr=lr, lambd=lambd, alpha=alpha, t0=t0, weight_decay=weight_decay, foreach=foreach,
            maximize=maximize, differentiable=differentiable, capturable=capturable))

    def check(self, group: dict[str, Any]) -> None:
        numbers(self, group, "lr", "weight_decay")
        for name in ("lambd", "alpha", "t0"):
            number(self, group, name, low=None)

    def slots(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return ("ax", "mu", "eta", "step")

    def initial(self, name: str, p: Tensor, group: dict[str, Any]) -> Any:
        if name in ("eta", "mu"):
            value = float(group["lr"]) if name == "eta" else 1.0
            return array_module(p.data).full((), value, np.float32)
        return super().initial(name, p, group)

    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        return {k: group[k] for k in ("lambd", "alpha", "t0", "weight_decay", "maximize")}
