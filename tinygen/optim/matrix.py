"""Optimizers that know a parameter's matrix shape: Adafactor and Muon."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..primitive import primitive
from ..tensor import Tensor
from .optimizer import Optimizer, Params, numbers
from .update import cast, largest, least, number, sqrt

__all__ = ["Adafactor", "Muon", "adafactor_update", "muon_update"]


@primitive
def adafactor_update(xp, p, g, row, col, var, step, lr, *, beta2_decay, eps1, eps2, d,
                     weight_decay, maximize):
    """One step of Adafactor, in place; a matrix keeps row and column means of g^2, not g^2."""
    step += 1
    if not p.size:
        return p
    t, lr = number(xp, step), number(xp, lr)
    share = cast(p, t ** beta2_decay)                  # of the new g^2: 1 - beta2
    size = largest(xp, eps2, _rms(xp, p)) * least(xp, lr, 1 / sqrt(xp, t))
    floor = float(xp.finfo(p.dtype).eps) if eps1 is None else eps1
    if weight_decay:
        xp.multiply(p, cast(p, 1 - lr * weight_decay), out=p)
    squares = g * g
    if row is None:
        var += share * (squares - var)
        estimate = var
    else:
        row += share * (squares.mean(axis=-1, keepdims=True) - row)
        col += share * (squares.mean(axis=-2, keepdims=True) - col)
        estimate = row * col / xp.maximum(row.mean(axis=-2, keepdims=True), floor)
    update = xp.divide(g, xp.sqrt(xp.maximum(estimate, floor * floor)))
    size = size / largest(xp, 1.0, _rms(xp, update) / d)     # no update larger than d, as an rms
    p -= cast(p, -size if maximize else size) * update
    return p
adafactor_update.writes = (0, 2, 3, 4, 5)


@primitive
def muon_update(xp, p, g, buf, lr, *, momentum, nesterov, weight_decay, coefficients, eps,
                steps, adjust):
    """One step of Muon, in place: p moves against the orthogonal matrix nearest to its momentum."""
    lr = cast(p, number(xp, lr))
    buf += (1 - momentum) * (g - buf)
    update = buf - (1 - momentum) * (buf - g) if nesterov else buf
    rows, cols = p.shape
    ratio = 0.2 * math.sqrt(max(rows, cols)) if adjust == "match_rms_adamw" else (
        math.sqrt(max(1.0, rows / cols)) if cols else 1.0)
    p *= 1 - lr * weight_decay
    if p.size:
        p -= lr * ratio * _orthogonal(xp, update, coefficients, eps, steps).astype(p.dtype)
    return p
muon_update.writes = (0, 2)


def _rms(xp: Any, x: Any) -> Any:
    if x.dtype == np.float16:               # squares and sums of these overflow at 65504
        x = x.astype(np.float32)
    return sqrt(xp, number(xp, xp.vdot(x, x)) / x.size)


def _orthogonal(xp: Any, x: Any, coefficients: tuple[float, float, float], eps: float,
                steps: int) -> Any:
    """About U V^T where x = U S V^T, by `steps` of a quintic Newton-Schulz iteration.

    X <- a X + (b A + c A A) X with A = X X^T pushes all singular values towards 1. Every result
    is rounded to bfloat16, which is how PyTorch computes it, and plenty: with the usual
    coefficients singular values end anywhere in [0.7, 1.2].
    """
    a, b, c = coefficients
    x = _bfloat16(xp, x)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    norm = _bfloat16(xp, xp.sqrt(xp.sum(x * x, keepdims=True)))
    x = _bfloat16(xp, x / xp.maximum(norm, _bfloat16(xp, xp.full((1, 1), eps, np.float32))))
    for _ in range(steps):
        gram = _bfloat16(xp, x @ x.T)
        gram = _bfloat16(xp, b * gram + c * (gram @ gram))
        x = _bfloat16(xp, a * x + gram @ x)
    return x.T if tall else x


def _bfloat16(xp: Any, x: Any) -> Any:
    """float32 rounded to the 8 significant bits of bfloat16, half to even."""
    x = xp.ascontiguousarray(x, dtype=np.float32)
    bits = x.view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) & 0xFFFF0000
    return xp.where(xp.isfinite(x), rounded.astype(np.uint32).view(np.float32), x)


class Adafactor(Optimizer):
    """Adafactor (Shazeer and Stern 2018, arXiv:1804.04235), with PyTorch's use of `lr`.

    A matrix (the last two axes of a parameter) keeps the means R and C of g^2 along its rows and
    columns, and V = R C / mean(R) stands for the mean of g^2; a vector keeps V itself. With
    rho = min(lr, 1 / sqrt(t)) and U = g / max(sqrt(V), eps1)

    p -= lr * weight_decay * p,  p -= max(eps2, rms(p)) rho U / max(1, rms(U) / d).

    Args:
        params: the parameters, or dictionaries of them with options of their own.
        lr: the largest relative step rho.
        beta2_decay: means forget with beta2 = 1 - t^beta2_decay.
        eps: (eps1, eps2); eps1 None is the dtype's machine epsilon.
        d: the largest rms that an update may have.
        weight_decay: shrinks p by lr * weight_decay.
        foreach: taken, and changes nothing.
        maximize: climb instead of descend.
    """

    rule = adafactor_update
    packs = False

    def __init__(self, params: Params, lr: float = 1e-2, beta2_decay: float = -0.8,
                 eps: tuple[float | None, float] = (None, 1e-3), d: float = 1.0,
                 weight_decay: float = 0.0, *, foreach: bool | None = None,
                 maximize: bool = False):
        super().__init__(params, dict(lr=lr, beta2_decay=beta2_decay, eps=eps, d=d,
                                      weight_decay=weight_decay, foreach=foreach,
                                      maximize=maximize))

    def check(self, group: dict[str, Any]) -> None:
        numbers(self, group, "lr", "weight_decay")
        if not group["beta2_decay"] <= 0:
            raise ValueError(f"[{self.name}] beta2_decay must be at most 0, got "
                             f"{group['beta2_decay']!r}")
        if not group["d"] >= 1:
            raise ValueError(f"[{self.name}] d must be at least 1, got {group['d']!r}")
        try:
            eps1, eps2 = group["eps"]
        except (TypeError, ValueError):
            raise TypeError(f"[{self.name}] eps must be two numbers, the first of which may be "
                            f"None, got {group['eps']!r}") from None
        if (eps1 is not None and not eps1 >= 0) or not eps2 >= 0:
            raise ValueError(f"[{self.name}] eps must not be negative, got {group['eps']!r}")
        group["eps"] = (eps1, eps2)

    def slots(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return ("row_var", "col_var", "variance", "step")

    def shape_of(self, name: str, p: Tensor) -> tuple[int, ...] | None:
        if name == "step":
            return ()
        if (name == "variance") == (p.ndim > 1):
            return None
        return {"row_var": (*p.shape[:-1], 1), "col_var": (*p.shape[:-2], 1, *p.shape[-1:]),
                "variance": p.shape}[name]

    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        eps1, eps2 = group["eps"]
        return {"eps1": eps1, "eps2": eps2,
                **{k: group[k] for k in ("beta2_decay", "d", "weight_decay", "maximize")}}


class Muon(Optimizer):
    """Muon, momentum made orthogonal, for the matrices of hidden layers (Jordan et al. 2024).

    buf = momentum buf + (1 - momentum) g, O = the orthogonal factor of buf (with `nesterov` of
    (1 - momentum) g + momentum buf) by Newton-Schulz iterations in bfloat16,
    p -= lr * weight_decay * p,  p -= lr * ratio * O.

    Args:
        params: matrices only; biases, gains and embeddings want another optimizer.
        lr: the learning rate.
        weight_decay: shrinks p by lr * weight_decay.
        momentum: how much of buf a step keeps.
        nesterov: look ahead by one step of the momentum.
        ns_coefficients: the coefficients (a, b, c) of the iteration.
        eps: the least norm that the momentum is divided by before the iteration.
        ns_steps: how many iterations, below 100.
        adjust_lr_fn: "original" (the default): ratio = sqrt(max(1, rows / columns));
            "match_rms_adamw": ratio = 0.2 sqrt(max(rows, columns)) (Liu et al. 2025,
            arXiv:2502.16982).

    Source: https://kellerjordan.github.io/posts/muon/
    """

    rule = muon_update
    packs = False

    def __init__(self, params: Params, lr: float = 1e-3, weight_decay: float = 0.1,
                 momentum: float = 0.95, nesterov: bool = True,
                 ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
                 eps: float = 1e-7, ns_steps: int = 5, adjust_lr_fn: str | None = None):
        super().__init__(params, dict(
            lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov,
            ns_coefficients=ns_coefficients, eps=eps, ns_steps=ns_steps,
            adjust_lr_fn=adjust_lr_fn))

    def check(self, group: dict[str, Any]) -> None:
        numbers(self, group, "lr", "weight_decay", "momentum")
        for p in group["params"]:
            if p.ndim != 2:
                raise ValueError(f"[{self.name}] takes matrices only, not a parameter that is "
                                 f"{p.dtype} {p.shape}; give it to another optimizer, AdamW for "
                                 "instance")
        if group["adjust_lr_fn"] not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"[{self.name}] adjust_lr_fn must be None, 'original' or "
                             f"'match_rms_adamw', got {group['adjust_lr_fn']!r}")
        steps = group["ns_steps"]
        if not isinstance(steps, int) or not 0 <= steps < 100:
            raise ValueError(f"[{self.name}] ns_steps must be an integer in [0, 100), got "
                             f"{steps!r}")
        try:
            a, b, c = map(float, group["ns_coefficients"])
        except (TypeError, ValueError):
            raise ValueError(f"[{self.name}] ns_coefficients must be three numbers, got "
                             f"{group['ns_coefficients']!r}") from None
        group["ns_coefficients"] = (a, b, c)

    def slots(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return ("momentum_buffer",)

    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        return {"coefficients": group["ns_coefficients"], "steps": group["ns_steps"],
                "adjust": group["adjust_lr_fn"],
                **{k: group[k] for k in ("momentum", "nesterov", "weight_decay", "eps")}}
