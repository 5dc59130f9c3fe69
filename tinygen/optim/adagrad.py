"""Adagrad and Adadelta: steps scaled by what the squares of the gradient have summed up to."""

from __future__ import annotations

from typing import Any

from ..backend import array_module
from ..primitive import primitive
from ..tensor import Tensor
from .optimizer import Optimizer, Params, number, numbers
from .update import blocks, cast, descent
from .update import number as number_of

__all__ = ["Adadelta", "Adagrad", "adadelta_update", "adagrad_update"]


@primitive
def adagrad_update(xp, p, g, total, step, lr, *, lr_decay, eps, weight_decay, maximize):
    """One step of Adagrad, in place: total += g^2, p -= lr_t * g / (sqrt(total) + eps)."""
    step += 1
    rate = cast(p, number_of(xp, lr) / (1 + (number_of(xp, step) - 1) * lr_decay))
    changed = bool(weight_decay or maximize)
    whole, pieces = p, blocks(xp, 1 + changed, p, g, total)
    for p, g, total, s, *extra in pieces:
        if changed:
            g = descent(xp, g, p, weight_decay, maximize, extra[0])
        xp.multiply(g, g, out=s)
        xp.add(total, s, out=total)
        xp.sqrt(total, out=s)
        xp.add(s, eps, out=s)
        xp.divide(g, s, out=s)
        xp.multiply(s, rate, out=s)
        xp.subtract(p, s, out=p)
    return whole
adagrad_update.writes = (0, 2, 3)


@primitive
def adadelta_update(xp, p, g, v, u, step, lr, *, rho, eps, weight_decay, maximize):
    """One step of Adadelta, in place: v follows g^2, u the squares of the steps."""
    step += 1
    lr = cast(p, number_of(xp, lr))
    changed = bool(weight_decay or maximize)
    whole, pieces = p, blocks(xp, 2 + changed, p, g, v, u)
    for p, g, v, u, d, s, *extra in pieces:
        if changed:
            g = descent(xp, g, p, weight_decay, maximize, extra[0])
        _follow(xp, v, g, rho, s)
        xp.sqrt(xp.add(u, eps, out=d), out=d)          # d = sqrt(u + eps) / sqrt(v + eps) * g
        xp.sqrt(xp.add(v, eps, out=s), out=s)
        xp.divide(d, s, out=d)
        xp.multiply(d, g, out=d)
        _follow(xp, u, d, rho, s)
        xp.multiply(d, lr, out=d)
        xp.subtract(p, d, out=p)
    return whole
adadelta_update.writes = (0, 2, 3, 4)


def _follow(xp: Any, mean: Any, x: Any, rho: float, s: Any) -> None:
    """mean = rho * mean + (1 - rho) * x^2, in place."""
    xp.multiply(mean, rho, out=mean)
    xp.multiply(x, x, out=s)
    xp.multiply(s, 1 - rho, out=s)
    xp.add(mean, s, out=mean)


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer 2011, JMLR 12).

    total += g^2,  p -= lr / (1 + (t - 1) lr_decay) * g / (sqrt(total) + eps).

    Args:
        params: the parameters, or dictionaries of them with options of their own.
        lr: the learning rate.
        lr_decay: how fast the learning rate falls with the number of steps t.
        weight_decay: adds weight_decay * p to the gradient.
        initial_accumulator_value: where `total` begins, in all groups (as in PyTorch).
        eps: keeps the division finite where gradients vanish.
        maximize: climb instead of descend.
        foreach, fused: taken, and change nothing; `differentiable=True` is refused.
    """

    rule = adagrad_update

    def __init__(self, params: Params, lr: float = 1e-2, lr_decay: float = 0.0,
                 weight_decay: float = 0.0, initial_accumulator_value: float = 0.0,
                 eps: float = 1e-10, foreach: bool | None = None, *, maximize: bool = False,
                 differentiable: bool = False, fused: bool | None = None):
        super().__init__(params, dict(
            lr=lr, lr_decay=lr_decay, eps=eps, weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value, foreach=foreach,
            maximize=maximize, differentiable=differentiable, fused=fused))
        for group in self.param_groups:           # PyTorch's state exists from the beginning too
            for p in group["params"]:
                self._complete_state(p, group, self.slots(group))

    def check(self, group: dict[str, Any]) -> None:
        numbers(self, group, "lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")

    def slots(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return ("sum", "step")

    def initial(self, name: str, p: Tensor, group: dict[str, Any]) -> Any:
        if name == "step":
            return super().initial(name, p, group)
        start = self.defaults["initial_accumulator_value"]
        return array_module(p.data).full_like(p.data, start)

    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        return {k: group[k] for k in ("lr_decay", "eps", "weight_decay", "maximize")}


class Adadelta(Optimizer):
    """Adadelta (Zeiler 2012, arXiv:1212.5701).

    v = rho v + (1 - rho) g^2,  d = sqrt(u + eps) / sqrt(v + eps) g,
    u = rho u + (1 - rho) d^2,  p -= lr * d.

    Args:
        params: the parameters, or dictionaries of them with options of their own.
        lr: scales d before it is applied.
        rho: how much of v and u a step keeps.
        eps: added to both under the roots; it sets the size of the first steps.
        weight_decay: adds weight_decay * p to the gradient.
        maximize: climb instead of descend.
        foreach, capturable: taken, and change nothing; `differentiable=True` is refused.
    """

    rule = adadelta_update

    def __init__(self, params: Params, lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6,
                 weight_decay: float = 0.0, foreach: bool | None = None, *,
                 capturable: bool = False, maximize: bool = False, differentiable: bool = False):
        super().__init__(params, dict(
            lr=lr, rho=rho, eps=eps, weight_decay=weight_decay, maximize=maximize,
            capturable=capturable, foreach=foreach, differentiable=differentiable))

    def check(self, group: dict[str, Any]) -> None:
        numbers(self, group, "lr", "eps", "weight_decay")
        number(self, group, "rho", 0.0, 1.0)

    def slots(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return ("square_avg", "acc_delta", "step")

    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        return {k: group[k] for k in ("rho", "eps", "weight_decay", "maximize")}
