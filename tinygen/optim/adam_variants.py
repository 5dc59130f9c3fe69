"""Adam's relatives: Adamax, NAdam and RAdam."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..backend import array_module
from ..primitive import primitive
from ..tensor import Tensor
from .optimizer import Optimizer, Params, check_betas, numbers
from .update import blocks, cast, descent, number, square_towards, towards

__all__ = ["Adamax", "NAdam", "RAdam", "adamax_update", "nadam_update", "radam_update"]


@primitive
def adamax_update(xp, p, g, m, u, step, lr, *, beta1, beta2, eps, weight_decay, maximize):
    """One step of Adamax, in place: u = max(beta2 * u, |g| + eps), p -= lr * m^ / u."""
    step += 1
    size = cast(p, number(xp, lr) / (1 - beta1 ** number(xp, step)))
    changed = bool(weight_decay or maximize)
    whole, pieces = p, blocks(xp, 1 + changed, p, g, m, u)
    for p, g, m, u, s, *extra in pieces:
        if changed:
            g = descent(xp, g, p, weight_decay, maximize, extra[0])
        towards(xp, m, g, beta1, s)
        xp.multiply(u, beta2, out=u)
        xp.add(xp.absolute(g, out=s), eps, out=s)
        xp.maximum(u, s, out=u)
        xp.divide(m, u, out=s)
        xp.multiply(s, size, out=s)
        xp.subtract(p, s, out=p)
    return whole
adamax_update.writes = (0, 2, 3, 4)


@primitive
def nadam_update(xp, p, g, m, v, mu_product, step, lr, *, beta1, beta2, eps, weight_decay,
                 momentum_decay, decoupled, maximize):
    """One step of NAdam, in place: Adam's, with Nesterov's momentum and a schedule mu_t for it."""
    step += 1
    t, lr = number(xp, step), number(xp, lr)
    mu = beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))
    mu_next = beta1 * (1 - 0.5 * 0.96 ** ((t + 1) * momentum_decay))
    mu_product *= cast(mu_product, mu)
    product = number(xp, mu_product)
    of_g = cast(p, lr * (1 - mu) / (1 - product))
    of_m = cast(p, lr * mu_next / (1 - product * mu_next))
    bias2, kept = cast(p, 1 - beta2 ** t), cast(p, 1 - lr * weight_decay)
    coupled = 0.0 if decoupled else weight_decay
    changed = bool(coupled or maximize)
    whole, pieces = p, blocks(xp, 2 + changed, p, g, m, v)
    for p, g, m, v, s, d, *extra in pieces:
        if changed:
            g = descent(xp, g, p, coupled, maximize, extra[0])
        if decoupled and weight_decay:
            xp.multiply(p, kept, out=p)
        towards(xp, m, g, beta1, s)
        square_towards(xp, v, g, beta2, s)
        xp.sqrt(xp.divide(v, bias2, out=d), out=d)
        xp.add(d, eps, out=d)
        # One quotient for each term: where d overflows or vanishes, so do they, each on its own
        xp.divide(g, d, out=s)
        xp.multiply(s, of_g, out=s)
        xp.subtract(p, s, out=p)
        xp.divide(m, d, out=s)
        xp.multiply(s, of_m, out=s)
        xp.subtract(p, s, out=p)
    return whole
nadam_update.writes = (0, 2, 3, 4, 5)


@primitive
def radam_update(xp, p, g, m, v, step, lr, *, beta1, beta2, eps, weight_decay, decoupled,
                 maximize):
    """One step of RAdam, in place: Adam's, rectified, or without v while v is too uncertain."""
    step += 1
    t, lr = number(xp, step), number(xp, lr)
    size, rectified = _rectified(xp, t, beta1, beta2)
    size, kept = cast(p, size * lr), cast(p, 1 - lr * weight_decay)
    coupled = 0.0 if decoupled else weight_decay
    changed = bool(coupled or maximize)
    whole, pieces = p, blocks(xp, 1 + changed, p, g, m, v)
    for p, g, m, v, s, *extra in pieces:
        if changed:
            g = descent(xp, g, p, coupled, maximize, extra[0])
        if decoupled and weight_decay:
            xp.multiply(p, kept, out=p)
        towards(xp, m, g, beta1, s)
        square_towards(xp, v, g, beta2, s)
        if rectified is not False:
            xp.add(xp.sqrt(v, out=s), eps, out=s)
            if rectified is not True:                  # a GPU decides: divide by 1 if not
                xp.copyto(s, 1, where=~rectified)
            xp.divide(m, s, out=s)
            xp.multiply(s, size, out=s)
        else:
            xp.multiply(m, size, out=s)
        xp.subtract(p, s, out=p)
    return whole
radam_update.writes = (0, 2, 3, 4)


def _rectified(xp: Any, t: Any, beta1: float, beta2: float) -> tuple[Any, Any]:
    """The factor of m at step t, and whether m is divided by sqrt(v) there."""
    bias1, bias2 = 1 - beta1 ** t, 1 - beta2 ** t
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * t * beta2 ** t / bias2     # of the mean that v is, as a plain mean
    if isinstance(t, float) and length <= 5:
        return 1 / bias1, False
    rect = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    if isinstance(t, float):
        return math.sqrt(bias2 * rect) / bias1, True
    certain = length > 5
    return xp.where(certain, xp.sqrt(xp.maximum(bias2 * rect, 0)), 1) / bias1, certain


class _Betas(Optimizer):
    """What the three share: betas, eps and weight decay."""

    def check(self, group: dict[str, Any]) -> None:
        numbers(self, group, "lr", "eps", "weight_decay")
        check_betas(self, group)

    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        beta1, beta2 = group["betas"]
        return {"beta1": beta1, "beta2": beta2,
                **{k: group[k] for k in ("eps", "weight_decay", "maximize")}}


class Adamax(_Betas):
    """Adamax: Adam with the infinity norm (Kingma and Ba 2014, arXiv:1412.6980, section 7).

    m = beta1 m + (1 - beta1) g,  u = max(beta2 u, |g| + eps),  p -= lr / (1 - beta1^t) * m / u.

    Args:
        params: the parameters, or dictionaries of them with options of their own.
        lr: the learning rate.
        betas: how much of m and of u a step keeps.
        eps: keeps the division finite where gradients vanish.
        weight_decay: adds weight_decay * p to the gradient.
        maximize: climb instead of descend.
        foreach, capturable: taken, and change nothing; `differentiable=True` is refused.
    """

    rule = adamax_update

    def __init__(self, params: Params, lr: float = 2e-3,
                 betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0.0, foreach: bool | None = None, *,
                 maximize: bool = False, differentiable: bool = False, capturable: bool = False):
        super().__init__(params, dict(
            lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, foreach=foreach,
            maximize=maximize, differentiable=differentiable, capturable=capturable))

    def slots(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return ("exp_avg", "exp_inf", "step")


class NAdam(_Betas):
    """NAdam: Adam with Nesterov's momentum (Dozat 2016).

    mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2), and with m and v as Adam has them
    p -= lr * ((1 - mu_t) g / (1 - mu_1 ... mu_t) + mu_{t+1} m / (1 - mu_1 ... mu_{t+1})) /
    (sqrt(v / (1 - beta2^t)) + eps).

    Args:
        params: the parameters, or dictionaries of them with options of their own.
        lr: the learning rate.
        betas: how much of m and of v a step keeps.
        eps: keeps the division finite where gradients vanish.
        weight_decay: adds weight_decay * p to the gradient.
        momentum_decay: how fast the momentum mu_t rises to beta1.
        decoupled_weight_decay: shrink p by lr * weight_decay instead, as `AdamW` does.
        maximize: climb instead of descend.
        foreach, capturable: taken, and change nothing; `differentiable=True` is refused.
    """

    rule = nadam_update
    scalars = ("step", "mu_product")

    def __init__(self, params: Params, lr: float = 2e-3,
                 betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0.0, momentum_decay: float = 4e-3,
                 decoupled_weight_decay: bool = False, *, foreach: bool | None = None,
                 maximize: bool = False, capturable: bool = False, differentiable: bool = False):
        super().__init__(params, dict(
            lr=lr, betas=betas, eps=eps, weight_decay=weight_decay,
            momentum_decay=momentum_decay, decoupled_weight_decay=decoupled_weight_decay,
            maximize=maximize, foreach=foreach, capturable=capturable,
            differentiable=differentiable))

    def check(self, group: dict[str, Any]) -> None:
        super().check(group)
        numbers(self, group, "momentum_decay")

    def slots(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return ("exp_avg", "exp_avg_sq", "mu_product", "step")

    def initial(self, name: str, p: Tensor, group: dict[str, Any]) -> Any:
        if name == "mu_product":
            return array_module(p.data).ones((), np.float32)
        return super().initial(name, p, group)

    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        return {**super().options(group), "momentum_decay": group["momentum_decay"],
                "decoupled": group["decoupled_weight_decay"]}


class RAdam(_Betas):
    """RAdam: rectified Adam (Liu et al. 2019, arXiv:1908.03265).

    Adam's step times r_t while the mean v rests on enough steps (an effective length rho_t > 5),
    and p -= lr * m / (1 - beta1^t) before: a warm-up without a schedule.

    Args:
        params: the parameters, or dictionaries of them with options of their own.
        lr: the learning rate.
        betas: how much of m and of v a step keeps.
        eps: keeps the division finite where gradients vanish.
        weight_decay: adds weight_decay * p to the gradient.
        decoupled_weight_decay: shrink p by lr * weight_decay instead, as `AdamW` does.
        maximize: climb instead of descend.
        foreach, capturable: taken, and change nothing; `differentiable=True` is refused.
    """

    rule = radam_update

    def __init__(self, params: Params, lr: float = 1e-3,
                 betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0.0, decoupled_weight_decay: bool = False, *,
                 foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
                 differentiable: bool = False):
        super().__init__(params, dict(
            lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, maximize=maximize,
            foreach=foreach, capturable=capturable,
            decoupled_weight_decay=decoupled_weight_decay, differentiable=differentiable))

    def slots(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return ("exp_avg", "exp_avg_sq", "step")

    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        return {**super().options(group), "decoupled": group["decoupled_weight_decay"]}
