"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from typing import Any

from ..backend import array_module
from ..primitive import primitive
from ..tensor import Tensor
from .optimizer import Optimizer, Params, number, numbers
from .update import blocks, cast, descent
from .update import number as number_of

__all__ = ["SGD", "sgd_update"]


@primitive
def sgd_update(xp, p, g, buf, lr, *, momentum, dampening, weight_decay, nesterov, maximize):
    """One step of SGD, in place: buf = momentum * buf + (1 - dampening) * g, p -= lr * buf."""
    lr = cast(p, number_of(xp, lr))
    changed = bool(weight_decay or maximize)
    whole, pieces = p, blocks(xp, 1 + changed, p, g, buf)
    for p, g, buf, s, *extra in pieces:
        if changed:
            g = descent(xp, g, p, weight_decay, maximize, extra[0])
        if buf is not None:
            xp.multiply(buf, momentum, out=buf)
            xp.add(buf, xp.multiply(g, 1 - dampening, out=s) if dampening else g, out=buf)
            if nesterov:                                # look ahead: g + momentum * buf
                xp.multiply(buf, momentum, out=s)
                g = xp.add(g, s, out=s)
            else:
                g = buf
        xp.multiply(g, lr, out=s)
        xp.subtract(p, s, out=p)
    return whole
sgd_update.writes = (0, 2)


class SGD(Optimizer):
    """Stochastic gradient descent, optionally with momentum (Sutskever et al. 2013).

    p -= lr * g; with momentum: buf = momentum * buf + (1 - dampening) * g (the first buf is g),
    p -= lr * buf, and with `nesterov` p -= lr * (g + momentum * buf).

    Args:
        params: the parameters, or dictionaries of them with options of their own.
        lr: the learning rate.
        momentum: how much of buf a step keeps.
        dampening: how much of the gradient is left out of buf.
        weight_decay: adds weight_decay * p to the gradient.
        nesterov: Nesterov's momentum; needs momentum > 0 and dampening 0.
        maximize: climb instead of descend.
        foreach, fused: taken, and change nothing; `differentiable=True` is refused.

    >>> import tinygen as tg
    >>> w = tg.Tensor([1.0, -2.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> SGD([w], lr=0.1).step()
    >>> w
    Tensor([ 0.8, -1.6], dtype=float32, requires_grad=True)
    """

    rule = sgd_update

    def __init__(self, params: Params, lr: float = 1e-3, momentum: float = 0.0,
                 dampening: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False, *,
                 maximize: bool = False, foreach: bool | None = None,
                 differentiable: bool = False, fused: bool | None = None):
        super().__init__(params, dict(
            lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay,
            nesterov=nesterov, maximize=maximize, foreach=foreach, differentiable=differentiable,
            fused=fused))

    def check(self, group: dict[str, Any]) -> None:
        numbers(self, group, "lr", "momentum", "weight_decay")
        number(self, group, "dampening", low=None)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(f"[{self.name}] nesterov needs momentum > 0 and dampening 0, got "
                             f"momentum={group['momentum']}, dampening={group['dampening']}")

    def slots(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return ("momentum_buffer" if group["momentum"] else None,)

    def initial(self, name: str, p: Tensor, group: dict[str, Any]) -> Any:
        buf = super().initial(name, p, group)
        if group["dampening"]:
            # The first buf is to be g, undamped: momentum * buf + (1 - dampening) * g == g.
            xp = array_module(p.data)
            g = descent(xp, p.grad.data, p.data,  # type: ignore[union-attr]
                        group["weight_decay"], group["maximize"], xp.empty_like(p.data))
            xp.multiply(g, group["dampening"] / group["momentum"], out=buf)
        return buf

    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        return {k: group[k]
                for k in ("momentum", "dampening", "weight_decay", "nesterov", "maximize")}
