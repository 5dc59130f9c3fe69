"""Steps by the sign of the gradient: Rprop and Lion."""

from __future__ import annotations

from typing import Any

from ..backend import array_module
from ..primitive import primitive
from ..tensor import Tensor
from .optimizer import Optimizer, Params, check_betas, numbers
from .update import blocks, cast, descent, signed
from .update import number as number_of

__all__ = ["Lion", "Rprop", "lion_update", "rprop_update"]


@primitive
def rprop_update(xp, p, g, prev, size, step, lr, *, shrink, grow, smallest, largest, maximize):
    """One step of Rprop, in place: each element moves by its own `size`, against its sign of g.

    A size grows while the sign stays, and shrinks, skipping a step, where it turned.
    """
    step += 1
    whole, pieces = p, blocks(xp, 1 + maximize, p, g, prev, size)
    for p, g, prev, size, s, *extra in pieces:
        if maximize:
            g = xp.negative(g, out=extra[0])
        xp.multiply(g, prev, out=s)
        turned = s < 0
        kind = s.dtype.type
        xp.multiply(size, xp.where(turned, kind(shrink), xp.where(
            s > 0, kind(grow), kind(1))), out=size)
        xp.clip(size, smallest, largest, out=size)
        prev[...] = xp.where(turned, kind(0), g)
        xp.subtract(p, signed(xp, prev, size, s), out=p)
    return whole
rprop_update.writes = (0, 2, 3, 4)


@primitive
def lion_update(xp, p, g, m, lr, *, beta1, beta2, weight_decay, maximize):
    """One step of Lion, in place: p -= lr * sign(beta1 m + (1 - beta1) g), then m follows g."""
    lr = cast(p, number_of(xp, lr))
    whole, pieces = p, blocks(xp, 1 + maximize, p, g, m)
    for p, g, m, s, *extra in pieces:
        if maximize:
            g = descent(xp, g, p, 0.0, maximize, extra[0])
        if weight_decay:
            xp.multiply(p, 1 - lr * weight_decay, out=p)
        xp.subtract(g, m, out=s)                      # m + (1 - beta1) * (g - m)
        xp.multiply(s, 1 - beta1, out=s)
        xp.add(m, s, out=s)
        xp.subtract(p, signed(xp, s, lr, s), out=p)
        xp.subtract(g, m, out=s)                      # m += (1 - beta2) * (g - m)
        xp.multiply(s, 1 - beta2, out=s)
        xp.add(m, s, out=m)
    return whole
lion_update.writes = (0, 2)


class Rprop(Optimizer):
    """Resilient backpropagation, for full batches (Riedmiller and Braun 1993).

    Args:
        params: the parameters, or dictionaries of them with options of their own.
        lr: the first step size of every element; it is not read again.
        etas: the factors by which a step size shrinks and grows, 0 < etas[0] < 1 < etas[1].
        step_sizes: the smallest and the largest step size.
        maximize: climb instead of descend.
        capturable, foreach: taken, and change nothing; `differentiable=True` is refused.
    """

    rule = rprop_update

    def __init__(self, params: Params, lr: float = 1e-2, etas: tuple[float, float] = (0.5, 1.2),
                 step_sizes: tuple[float, float] = (1e-6, 50), *, capturable: bool = False,
                 foreach: bool | None = None, maximize: bool = False,
                 differentiable: bool = False):
        super().__init__(params, dict(
            lr=lr, etas=etas, step_sizes=step_sizes, foreach=foreach, maximize=maximize,
            differentiable=differentiable, capturable=capturable))

    def check(self, group: dict[str, Any]) -> None:
        numbers(self, group, "lr")
        for name in ("etas", "step_sizes"):
            try:
                low, high = map(float, group[name])
            except (TypeError, ValueError):
                raise TypeError(f"[{self.name}] {name} must be two numbers, "
                                f"got {group[name]!r}") from None
            group[name] = (low, high)
        shrink, grow = group["etas"]
        if not 0 < shrink < 1 < grow:
            raise ValueError(f"[{self.name}] etas must be 0 < etas[0] < 1 < etas[1], got "
                             f"{group['etas']!r}")

    def slots(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return ("prev", "step_size", "step")

    def initial(self, name: str, p: Tensor, group: dict[str, Any]) -> Any:
        if name == "step_size":
            return array_module(p.data).full_like(p.data, float(group["lr"]))
        return super().initial(name, p, group)

    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        (shrink, grow), (smallest, largest) = group["etas"], group["step_sizes"]
        return {"shrink": shrink, "grow": grow, "smallest": smallest, "largest": largest,
                "maximize": group["maximize"]}


class Lion(Optimizer):
    """Lion, "evolved sign momentum" (Chen et al. 2023, arXiv:2302.06675, algorithm 2).

    p -= lr * (sign(beta1 m + (1 - beta1) g) + weight_decay * p),  m = beta2 m + (1 - beta2) g.
    PyTorch has none; learning rates a third to a tenth of Adam's are usual.

    Args:
        params: the parameters, or dictionaries of them with options of their own.
        lr: the learning rate, which is also the size of every element's step.
        betas: how much of m the step is made of, and how much of it the step keeps.
        weight_decay: shrinks p by lr * weight_decay.
        maximize: climb instead of descend.

    >>> import tinygen as tg
    >>> w = tg.Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = Lion([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    Tensor([ 0.9, -1.9], dtype=float32, requires_grad=True)
    """

    rule = lion_update

    def __init__(self, params: Params, lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99),
                 weight_decay: float = 0.0, *, maximize: bool = False):
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay,
                                      maximize=maximize))

    def check(self, group: dict[str, Any]) -> None:
        numbers(self, group, "lr", "weight_decay")
        check_betas(self, group)

    def slots(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return ("exp_avg",)

    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        beta1, beta2 = group["betas"]
        return {"beta1": beta1, "beta2": beta2, "weight_decay": group["weight_decay"],
                "maximize": group["maximize"]}
