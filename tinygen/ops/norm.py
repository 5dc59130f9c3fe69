"""Softmax, layer and root-mean-square normalisation; `batchnorm.py` has the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import backend
from ..primitive import primitive
from ..tensor import Tensor
from .elementwise import exp, rsqrt
from .reduce import mean_p
from .shape import as_shape, normalize_axis

__all__ = ["layer_norm", "log_softmax", "rms_norm", "softmax"]

TILE = 1 << 16   # elements of a tile of the normalisations

# -- softmax ------------------------------------------------------------------------------------


@primitive(name="softmax")
def softmax_p(xp, x, *, axis):
    """exp(x) / sum(exp(x)), shifted by the maximum so that nothing overflows."""
    if not x.size:
        return x.copy()         # NumPy has no maximum of nothing
    with np.errstate(invalid="ignore"):          # rows of -inf, all masked, are NaN
        y = xp.exp(x - x.max(axis=axis, keepdims=True))
    y /= y.sum(axis=axis, keepdims=True)
    return y
softmax_p.vjp(lambda g, y, x, axis: softmax_grad(g, y, axis=axis))


@primitive
def softmax_grad(xp, g, y, *, axis):
    """(g - sum(g y)) y: from the gradient of a softmax y to that of its input."""
    return (g - (g * y).sum(axis=axis, keepdims=True)) * y
softmax_grad.vjp(
    lambda h, out, g, y, axis: softmax_grad(h, y, axis=axis),
    lambda h, out, g, y, axis: (h * (g - (g * y).sum(axis=axis, keepdims=True))
                                - g * (h * y).sum(axis=axis, keepdims=True)),
)


def softmax(x: Any, axis: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along `axis`: positive numbers that sum to 1."""
    return softmax_p(_floating(x, "softmax"), axis=normalize_axis(axis, x.ndim, "softmax"))


@primitive(name="log_softmax")
def log_softmax_p(xp, x, *, axis):
    """x - log(sum(exp(x)))."""
    if not x.size:
        return x.copy()
    with np.errstate(invalid="ignore"):
        y = x - x.max(axis=axis, keepdims=True)
    y -= xp.log(xp.exp(y).sum(axis=axis, keepdims=True))
    return y
log_softmax_p.vjp(lambda g, y, x, axis: log_softmax_grad(g, y, axis=axis))


@primitive
def log_softmax_grad(xp, g, y, *, axis):
    """g - exp(y) sum(g): from the gradient of a log-softmax y to that of its input."""
    return g - xp.exp(y) * g.sum(axis=axis, keepdims=True)
log_softmax_grad.vjp(
    lambda h, out, g, y, axis: h - (h * exp(y)).sum(axis=axis, keepdims=True),
    lambda h, out, g, y, axis: -h * exp(y) * g.sum(axis=axis, keepdims=True),
)


def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """log(softmax(x)) along `axis`, exact where softmax would round to 0."""
    return log_softmax_p(_floating(x, "log_softmax"),
                         axis=normalize_axis(axis, x.ndim, "log_softmax"))


def _floating(x: Any, op: str) -> Any:
    if x.dtype.kind not in "fV":
        raise TypeError(f"[{op}] x must be floating point, got {x.dtype} {tuple(x.shape)}")
    return x


# -- layer normalisation ------------------------------------------------------------------------


def _layer_norm_definition(x, weight=None, bias=None, *, axes, eps):
    mean = mean_p(x, axis=axes, keepdims=True)
    centred = x - mean
    rstd = rsqrt(mean_p(centred * centred, axis=axes, keepdims=True) + eps)
    y = centred * rstd
    if weight is not None:
        y = y * weight
    return (y if bias is None else y + bias), mean, rstd


@primitive(name="layer_norm", composite=_layer_norm_definition, outputs=3, differentiable=1)
def layer_norm_p(xp, x, weight=None, bias=None, *, axes, eps):
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes; also mean and 1/std."""
    n = math.prod(x.shape[axes[0]:])
    rows = x.reshape(x.size // n, n)
    y, mean, rstd = xp.empty_like(rows), xp.empty_like(rows[:, :1]), xp.empty_like(rows[:, :1])
    average = xp.full((n, 1), 1 / n, x.dtype)
    for part in _parts(xp, rows):
        xp.matmul(rows[part], average, out=mean[part])
        centred = xp.subtract(rows[part], mean[part], out=y[part])
        var = _row_dots(xp, centred, centred) * (1 / n)
        rstd[part] = 1 / xp.sqrt(var + eps)
        centred *= rstd[part]
        if weight is not None:
            centred *= weight.reshape(n)
        if bias is not None:
            centred += bias.reshape(n)
    kept = x.shape[:axes[0]] + (1,) * len(axes)
    return y.reshape(x.shape), mean.reshape(kept), rstd.reshape(kept)


@layer_norm_p.vjp_joint
def _(needs, gs, ys, x, weight=None, bias=None, *, axes, eps):
    n = math.prod(x.shape[axes[0]:])
    xp = backend.array_module(x)
    rows, g = x.reshape(x.size // n, n), gs[0].reshape(x.size // n, n)
    mean, rstd = ys[1].reshape(-1, 1), ys[2].reshape(-1, 1)
    gx, g_weight, g_bias = xp.empty_like(rows), xp.zeros(n, x.dtype), xp.zeros(n, x.dtype)
    average, parts = xp.full((n, 1), 1 / n, x.dtype), _parts(xp, rows)
    buffers = xp.empty((2, *rows[parts[0]].shape), x.dtype) if parts else None
    for part in parts:
        into = gx[part]
        hat, spare = buffers[0, :len(into)], buffers[1, :len(into)]
        xp.subtract(rows[part], mean[part], out=hat)
        hat *= rstd[part]
        if bias is not None:
            g_bias += _sum(xp, g[part])
        if weight is None:
            xp.multiply(g[part], rstd[part], out=into)
        else:
            g_weight += _sum(xp, xp.multiply(g[part], hat, out=spare))
            xp.multiply(g[part], weight.reshape(n), out=into)
            into *= rstd[part]
        # dx = rstd (wg - mean(wg) - hat mean(wg hat))
        hat *= _row_dots(xp, into, hat) * (1 / n)
        into -= into @ average
        into -= hat
    if weight is not None:
        g_weight = g_weight.reshape(weight.shape)
    if bias is not None:
        g_bias = g_bias.reshape(bias.shape)
    return gx.reshape(x.shape), g_weight, g_bias


def layer_norm(x: Any, normalized_shape: int | Sequence[int], weight: Any = None, bias: Any = None,
               eps: float = 1e-5) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias, with statistics over the last axes of `x`.

    Args:
        normalized_shape: the shape of those last axes; `weight` and `bias` have it too.

    Source: J. Ba, J. Kiros and G. Hinton, "Layer Normalization", 2016.
    """
    last = _last_axes("layer_norm", x, normalized_shape, weight, bias)
    if not x.size:
        return _of_nothing(x, weight, bias)
    dtype, ndim = x.dtype, x.ndim
    if dtype.kind not in "fV":
        _floating(x, "layer_norm")
    axes = (ndim - 1,) if len(last) == 1 else tuple(range(ndim - len(last), ndim))
    return layer_norm_p(x, weight, bias, axes=axes, eps=eps)[0]


# -- root-mean-square normalisation -------------------------------------------------------------


def _rms_norm_definition(x, weight=None, *, axes, eps):
    rstd = rsqrt(mean_p(x * x, axis=axes, keepdims=True) + eps)
    y = x * rstd
    return (y if weight is None else y * weight), rstd


@primitive(name="rms_norm", composite=_rms_norm_definition, outputs=2, differentiable=1)
def rms_norm_p(xp, x, weight=None, *, axes, eps):
    """x / sqrt(mean(x^2) + eps) * weight over the last axes; also the factor of each row."""
    n = math.prod(x.shape[axes[0]:])
    rows = x.reshape(x.size // n, n)
    y, rstd = xp.empty_like(rows), xp.empty_like(rows[:, :1])
    for part in _parts(xp, rows):
        squares = _row_dots(xp, rows[part], rows[part]) * (1 / n)
        rstd[part] = 1 / xp.sqrt(squares + eps)
        into = xp.multiply(rows[part], rstd[part], out=y[part])
        if weight is not None:
            into *= weight.reshape(n)
    kept = x.shape[:axes[0]] + (1,) * len(axes)
    return y.reshape(x.shape), rstd.reshape(kept)


@rms_norm_p.vjp_joint
def _(needs, gs, ys, x, weight=None, *, axes, eps):
    n = math.prod(x.shape[axes[0]:])
    xp = backend.array_module(x)
    rows, g = x.reshape(x.size // n, n), gs[0].reshape(x.size // n, n)
    rstd = ys[1].reshape(-1, 1)
    gx, g_weight = xp.empty_like(rows), xp.zeros(n, x.dtype)
    for part in _parts(xp, rows):
        hat = rows[part] * rstd[part]
        if weight is None:
            into = xp.multiply(g[part], rstd[part], out=gx[part])
        else:
            g_weight += _sum(xp, g[part] * hat)
            into = xp.multiply(g[part], weight.reshape(n), out=gx[part])
            into *= rstd[part]
        # dx = rstd (wg - hat mean(wg hat))
        hat *= _row_dots(xp, into, hat) * (1 / n)
        into -= hat
    return gx.reshape(x.shape), None if weight is None else g_weight.reshape(weight.shape)


def rms_norm(x: Any, normalized_shape: int | Sequence[int], weight: Any = None,
             eps: float | None = None) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight, with the mean over the last axes of `x`.

    Args:
        normalized_shape: the shape of those last axes; `weight` has it too.
        eps: None for the machine epsilon of the dtype (of float32 for floats of 16 bits, which are
            computed in float32).

    Source: B. Zhang and R. Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019.
    """
    last = _last_axes("rms_norm", x, normalized_shape, weight)
    if not x.size:
        return _of_nothing(x, weight)
    axes = tuple(range(x.ndim - len(last), x.ndim))
    if eps is None:
        eps = float(np.finfo(np.promote_types(_floating(x, "rms_norm").dtype, np.float32)).eps)
    return rms_norm_p(x, weight, axes=axes, eps=eps)[0]


def _of_nothing(x: Any, weight: Any, bias: Any = None) -> Tensor:
    """An empty tensor, through which the parameters get their gradients: zeros."""
    y = x * 1.0 if weight is None else x * weight
    return y if bias is None else y + bias


def _last_axes(op: str, x: Any, normalized_shape: Any, weight: Any,
               bias: Any = None) -> tuple[int, ...]:
    """`normalized_shape` as a tuple, checked against the end of x and the parameters."""
    last = normalized_shape if type(normalized_shape) is tuple else as_shape(normalized_shape)
    shape = tuple(x.shape)
    if not last or shape[-len(last):] != last:
        raise ValueError(f"[{op}] x has shape {shape}, which does not end in "
                         f"normalized_shape {last}")
    for name, p in (("weight", weight), ("bias", bias)):
        if p is not None and tuple(p.shape) != last:
            raise ValueError(f"[{op}] {name} has shape {tuple(p.shape)}, normalized_shape "
                             f"is {last}")
    return last


# -- of the sum of two arrays, as residual networks have it ---------------------------------------


def _add_layer_norm_definition(x, other, weight=None, bias=None, *, axes, eps):
    total = x + other
    return total, *_layer_norm_definition(total, weight, bias, axes=axes, eps=eps)


@primitive(composite=_add_layer_norm_definition, outputs=4, differentiable=2)
def add_layer_norm(xp, x, other, weight=None, bias=None, *, axes, eps):
    """x + other, and layer_norm of that; also mean and 1/std.

    The gradient looks at the sum alone, not at x and other.
    """
    total = x + other
    return total, *layer_norm_p.fn(xp, total, weight, bias, axes=axes, eps=eps)


@add_layer_norm.vjp_joint
def _(needs, gs, ys, x, other, weight=None, bias=None, *, axes, eps):
    total, _, mean, rstd = ys
    assert layer_norm_p.joint is not None
    gx, *params = layer_norm_p.joint.fn(backend.array_module(total), gs[1], None, mean, rstd, total,
                                        weight, bias, axes=axes, eps=eps, needs=needs[1:])
    gx += gs[0]
    return gx, gx, *params


def _add_rms_norm_definition(x, other, weight=None, *, axes, eps):
    total = x + other
    return total, *_rms_norm_definition(total, weight, axes=axes, eps=eps)


@primitive(composite=_add_rms_norm_definition, outputs=3, differentiable=2)
def add_rms_norm(xp, x, other, weight=None, *, axes, eps):
    """x + other, and rms_norm of that; also the factor of each row.

    The gradient looks at the sum alone, not at x and other.
    """
    total = x + other
    return total, *rms_norm_p.fn(xp, total, weight, axes=axes, eps=eps)


@add_rms_norm.vjp_joint
def _(needs, gs, ys, x, other, weight=None, *, axes, eps):
    total, _, rstd = ys
    assert rms_norm_p.joint is not None
    gx, *params = rms_norm_p.joint.fn(backend.array_module(total), gs[1], None, rstd, total,
                                      weight, axes=axes, eps=eps, needs=needs[1:])
    gx += gs[0]
    return gx, gx, *params


# -- sums over tiles ----------------------------------------------------------------------------


def _parts(xp: Any, a: Any) -> list[slice]:
    """Cuts along the first axis, so that a tile passes through several steps in the cache."""
    n = max(1, len(a))
    step = max(1, TILE * n // max(1, a.size)) if xp is np else n
    return [slice(i, i + step) for i in range(0, len(a), step)]


def _sum(xp: Any, a: Any) -> Any:
    """Sums per channel of (rows, C) or (N, C, L).

    By products with ones, which run twice as fast as `sum(axis=0)`; 512 rows at a time, because
    float32 loses digits in long running sums.
    """
    if a.ndim == 3:
        return a.sum(axis=2).sum(axis=0)
    whole = len(a) // 512 * 512
    total = xp.ones((1, len(a) - whole), a.dtype) @ a[whole:]
    if whole:
        blocks = a[:whole].reshape(-1, 512, a.shape[1])
        total = total + xp.matmul(xp.ones((1, 512), a.dtype), blocks).sum(axis=0)
    return total[0]


def _row_dots(xp: Any, a: Any, b: Any) -> Any:
    """The dot product of each row of a with that of b: (rows, 1)."""
    return (np.vecdot(a, b) if xp is np else xp.einsum("ij,ij->i", a, b))[:, None]
