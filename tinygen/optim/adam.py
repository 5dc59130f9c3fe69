"""Adam and AdamW: steps scaled by running means of the gradient and of its square."""

from __future__ import annotations

from typing import Any

from ..primitive import primitive
from .optimizer import Optimizer, Params, check_betas, numbers
from .update import blocks, cast, descent, number, sqrt, square_towards, towards

__all__ = ["Adam", "AdamW", "adam_update"]


@primitive
def adam_update(xp, p, g, m, v, v_max, step, lr, *, beta1, beta2, eps, weight_decay,
                decoupled, maximize):
    """One step of Adam, in place: p -= lr * m^ / (sqrt(v^) + eps), with m and v moved towards g."""
    step += 1
    t, lr = number(xp, step), number(xp, lr)
    bias1, root = 1 - beta1 ** t, sqrt(xp, 1 - beta2 ** t)
    # m / bias1 / (sqrt(v) / root + eps), with the two numbers drawn out of the passes
    size, floor = cast(p, lr * root / bias1), cast(p, eps * root)
    kept = cast(p, 1 - lr * weight_decay)
    coupled = 0.0 if decoupled else weight_decay
    changed = bool(coupled or maximize)
    whole, pieces = p, blocks(xp, 1 + changed, p, g, m, v, v_max)
    for p, g, m, v, v_max, s, *extra in pieces:
        if changed:
            g = descent(xp, g, p, coupled, maximize, extra[0])
        if decoupled and weight_decay:
            xp.multiply(p, kept, out=p)
        towards(xp, m, g, beta1, s)
        square_towards(xp, v, g, beta2, s)
        if v_max is not None:
            v = xp.maximum(v_max, v, out=v_max)
        xp.sqrt(v, out=s)                             # p -= size * m / (sqrt(v) + floor)
        xp.add(s, floor, out=s)
        xp.divide(m, s, out=s)
        xp.multiply(s, size, out=s)
        xp.subtract(p, s, out=p)
    return whole
adam_update.writes = (0, 2, 3, 4, 5)


class Adam(Optimizer):
    """Adam (Kingma and Ba 2014, arXiv:1412.6980).

    m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2,
    p -= lr * m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps).

    Args:
        params: the parameters, or dictionaries of them with options of their own.
        lr: the learning rate.
        betas: how much of m and of v a step keeps.
        eps: keeps the division finite where gradients vanish.
        weight_decay: adds weight_decay * p to the gradient.
        amsgrad: divide by the largest v so far (Reddi et al. 2018, arXiv:1904.09237).
        maximize: climb instead of descend.
        decoupled_weight_decay: shrink p by lr * weight_decay instead, as `AdamW` does.
        foreach, capturable, fused: taken, and change nothing; `differentiable=True` is refused.

    >>> import tinygen as tg
    >>> w = tg.Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = Adam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    Tensor([ 0.9, -1.9], dtype=float32, requires_grad=True)
    """

    rule = adam_update

    def __init__(self, params: Params, lr: float = 1e-3,
                 betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0.0, amsgrad: bool = False, *,
                 foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
                 differentiable: bool = False, fused: bool | None = None,
                 decoupled_weight_decay: bool = False):
        super().__init__(params, dict(
            lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad,
            maximize=maximize, foreach=foreach, capturable=capturable,
            differentiable=differentiable, fused=fused,
            decoupled_weight_decay=decoupled_weight_decay))

    def check(self, group: dict[str, Any]) -> None:
        numbers(self, group, "lr", "eps", "weight_decay")
        check_betas(self, group)

    def slots(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return ("exp_avg", "exp_avg_sq", "max_exp_avg_sq" if group["amsgrad"] else None, "step")

    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        beta1, beta2 = group["betas"]
        return {"beta1": beta1, "beta2": beta2, "eps": group["eps"],
                "weight_decay": group["weight_decay"],
                "decoupled": group["decoupled_weight_decay"], "maximize": group["maximize"]}


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2017, arXiv:1711.05101).

    p -= lr * weight_decay * p before Adam's step, so that the decay is not scaled by v.
    """

    def __init__(self, params: Params, lr: float = 1e-3,
                 betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False,
                 foreach: bool | None = None, capturable: bool = False,
                 differentiable: bool = False, fused: bool | None = None):
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach,
                         maximize=maximize, capturable=capturable, differentiable=differentiable,
                         fused=fused, decoupled_weight_decay=True)

    def check(self, group: dict[str, Any]) -> None:
        super().check(group)
        group["decoupled_weight_decay"] = True       # also when Adam's state is loaded

