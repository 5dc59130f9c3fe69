"""Gradient clipping, and parameters as one vector."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ... import ops
from ...autograd import no_grad
from ...primitive import primitive
from ...tensor import Tensor

__all__ = ["clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm",
           "parameters_to_vector", "vector_to_parameters"]

# -- clipping: primitives, so that kernels can replace them and a tape sees them ------------------

CHUNK = 1 << 15      # squares are summed in the array's precision this far, in float64 beyond


@primitive
def total_norm(xp, *arrays, order):
    """The norm of all elements of all arrays together, in float32 or wider."""
    wide = xp.float64 if any(a.dtype == xp.float64 for a in arrays) else xp.float32
    if xp is not np:
        return _device_norm(xp, arrays, order).astype(wide)
    if order == 2:
        total = sum(_squares(xp, a, wide) for a in arrays)
        if not math.isfinite(total):                  # float32 overflows at 1.8e19 squared
            total = sum(_squares(xp, a, xp.float64) for a in arrays)
        total = math.sqrt(total)
    elif order == math.inf:
        total = max([xp.abs(a).max() for a in arrays if a.size], default=0.0)
    else:
        total = sum((xp.abs(a).astype(xp.float64) ** order).sum() for a in arrays) ** (1 / order)
    return xp.asarray(total, wide)


def _device_norm(xp: Any, arrays: Any, order: float) -> Any:
    """The same on a GPU: all in float64, and nothing waits."""
    parts = [xp.abs(a).astype(xp.float64) for a in arrays if a.size]
    if order == math.inf:
        return xp.stack([a.max() for a in parts]).max() if parts else xp.zeros(())
    total = xp.zeros(())
    for a in parts:
        total = total + (a * a if order == 2 else a ** order).sum()
    return xp.sqrt(total) if order == 2 else total ** (1 / order)


def _squares(xp: Any, a: Any, wide: Any) -> float:
    flat, total = a.reshape(-1), 0.0
    for i in range(0, flat.size, CHUNK):
        part = flat[i:i + CHUNK].astype(wide, copy=False)
        total += float(xp.dot(part, part))
    return total


@primitive
def scale_to_norm(xp, total, *arrays, max_norm):
    """Multiply the arrays, in place, by max_norm / (total + 1e-6) if that is below 1."""
    if xp is not np:
        scale = max_norm / (total.astype(xp.float64) + 1e-6)
        scale = xp.where(scale >= 1, 1, scale)
        for a in arrays:
            xp.multiply(a, scale.astype(a.dtype), out=a)
        return total
    scale = max_norm / (float(total) + 1e-6)
    if not scale >= 1:                                # NaN goes on into the arrays
        for a in arrays:
            xp.multiply(a, scale, out=a)
    return total
scale_to_norm.writes = slice(1, None)


@primitive
def clip_in_place(xp, x, *, limit):
    """Limit every element of x, in place, to [-limit, limit]."""
    return xp.clip(x, -limit, limit, out=x)
clip_in_place.writes = (0,)


def _gradients(name: str, parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    tensors = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    for p in tensors:
        if not isinstance(p, Tensor):
            raise TypeError(f"[{name}] parameters must be tensors, got a {type(p).__name__}")
    return [p.grad for p in tensors if p.grad is not None]


def get_total_norm(tensors: Tensor | Iterable[Tensor], norm_type: float = 2.0,
                   error_if_nonfinite: bool = False) -> Tensor:
    """The norm of all tensors as one vector, (sum |x|^norm_type)^(1/norm_type): a 0-d tensor.

    Raises:
        ValueError: `norm_type` is not positive (`math.inf` is the largest absolute value).
        RuntimeError: the norm is infinite or NaN, and `error_if_nonfinite` is true.
    """
    return _norm("get_total_norm", [tensors] if isinstance(tensors, Tensor) else list(tensors),
                 norm_type, error_if_nonfinite)


def _norm(name: str, tensors: list[Tensor], order: float, error_if_nonfinite: bool) -> Tensor:
    if not order > 0:
        raise ValueError(f"[{name}] norm_type must be positive, got {order!r}")
    if not tensors:
        return ops.zeros(())
    with no_grad(), np.errstate(all="ignore"):
        total = total_norm(*tensors, order=float(order))
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise RuntimeError(f"[{name}] the norm of order {order} is {total.item()}; nothing was "
                           "changed")
    return total


def clip_grad_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0,
                    error_if_nonfinite: bool = False) -> Tensor:
    """Scale all gradients down, in place, so that their joint norm is at most `max_norm`.

    g *= min(1, max_norm / (norm + 1e-6)). Parameters without a gradient are passed over.

    Returns:
        The norm before, a 0-d tensor (0 if there are no gradients).

    Raises:
        ValueError: `max_norm` or `norm_type` is out of range.
        RuntimeError: the norm is infinite or NaN, and `error_if_nonfinite` is true.

    >>> import tinygen as tg
    >>> w = tg.Tensor([0.0, 0.0], requires_grad=True)
    >>> (w * tg.Tensor([3.0, 4.0])).sum().backward()
    >>> clip_grad_norm_([w], max_norm=1.0)
    Tensor(5., dtype=float32)
    >>> w.grad
    Tensor([0.6, 0.8], dtype=float32)
    """
    if not max_norm >= 0:
        raise ValueError(f"[clip_grad_norm_] max_norm must be at least 0, got {max_norm!r}")
    grads = _gradients("clip_grad_norm_", parameters)
    total = _norm("clip_grad_norm_", grads, norm_type, error_if_nonfinite)
    _scale(grads, total, max_norm)
    return total


def _scale(grads: list[Tensor], total: Tensor, max_norm: float) -> None:
    if grads:
        with no_grad(), np.errstate(all="ignore"):
            scale_to_norm(total, *grads, max_norm=float(max_norm))
        for g in grads:
            g.touch()


def clip_grads_with_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float,
                          total_norm: Tensor) -> None:
    """`clip_grad_norm_` with a norm that is known already, as from `get_total_norm`.

    Raises:
        ValueError: `max_norm` is negative or NaN.
    """
    if not max_norm >= 0:
        raise ValueError(f"[clip_grads_with_norm_] max_norm must be at least 0, got {max_norm!r}")
    _scale(_gradients("clip_grads_with_norm_", parameters), total_norm, max_norm)


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit every element of every gradient, in place, to [-clip_value, clip_value].

    Raises:
        ValueError: `clip_value` is negative or NaN.
    """
    if not clip_value >= 0:
        raise ValueError(f"[clip_grad_value_] clip_value must be at least 0, got {clip_value!r}")
    with no_grad():
        for g in _gradients("clip_grad_value_", parameters):
            clip_in_place(g, limit=float(clip_value))
            g.touch()


# -- parameters as one vector ---------------------------------------------------------------------


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters one after another, as one vector through which gradients flow."""
    return ops.concat([ops.reshape(p, (-1,)) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Overwrite parameters, in place, with consecutive pieces of `vec`."""
    targets = list(parameters)
    wanted = sum(p.size for p in targets)
    if vec.ndim != 1 or vec.size != wanted:
        raise ValueError(f"[vector_to_parameters] the parameters hold {wanted} elements, vec has "
                         f"shape {vec.shape}")
    values: Any = vec.data
    start = 0
    for p in targets:
        p.assign_(values[start:start + p.size].reshape(p.shape))
        start += p.size
