"""Softmax and the normalisations."""

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

TILE = 1 << 16   # elements of a tile of the normalisations

# -- softmax ------------------------------------------------------------------------------------


@primitive(name="softmax")
def softmax_p(xp, x, *, axis):
    """exp(x) / sum(exp(x)), shifted by the maximum so that nothing overflows."""
    if not x.size:
        return x.copy()         # NumPy has no maximum of nothing
    y = xp.exp(x - x.max(axis=axis, keepdims=True))
    y /= y.sum(axis=axis, keepdims=True)
    return y
softmax_p.vjp(lambda g, y, x, axis: (g - (g * y).sum(axis=axis, keepdims=True)) * y)


def softmax(x: Any, axis: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along `axis`: positive numbers that sum to 1."""
    return softmax_p(_floating(x, "softmax"), axis=normalize_axis(axis, x.ndim, "softmax"))


@primitive(name="log_softmax")
def log_softmax_p(xp, x, *, axis):
    """x - log(sum(exp(x)))."""
    if not x.size:
        return x.copy()
    y = x - x.max(axis=axis, keepdims=True)
    y -= xp.log(xp.exp(y).sum(axis=axis, keepdims=True))
    return y
log_softmax_p.vjp(lambda g, y, x, axis: g - exp(y) * g.sum(axis=axis, keepdims=True))


def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """log(softmax(x)) along `axis`, exact where softmax would round to 0."""
    return log_softmax_p(_floating(x, "log_softmax"),
                         axis=normalize_axis(axis, x.ndim, "log_softmax"))


def _floating(x: Any, op: str) -> Any:
    if x.dtype.kind != "f":
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
    last = as_shape(normalized_shape)
    if not last or tuple(x.shape[-len(last):]) != last:
        raise ValueError(f"[layer_norm] x has shape {tuple(x.shape)}, which does not end in "
                         f"normalized_shape {last}")
    for name, p in (("weight", weight), ("bias", bias)):
        if p is not None and tuple(p.shape) != last:
            raise ValueError(f"[layer_norm] {name} has shape {tuple(p.shape)}, normalized_shape "
                             f"is {last}")
    if x.dtype.itemsize == 2:  # half precision: too few digits for sums
        return layer_norm(x.astype("float32"), last, weight, bias, eps).astype(x.dtype)
    axes = tuple(range(x.ndim - len(last), x.ndim))
    return layer_norm_p(_floating(x, "layer_norm"), weight, bias, axes=axes, eps=eps)[0]


# -- batch normalisation ------------------------------------------------------------------------


def _spatial(x: Any) -> tuple[int, ...]:
    return (0, *range(2, x.ndim))


def _per_channel(v: Any, ndim: int) -> Any:
    return v.reshape((1, v.shape[0]) + (1,) * (ndim - 2))


def _batch_norm_definition(x, weight=None, bias=None, *, eps):
    mean = mean_p(x, axis=_spatial(x), keepdims=True)
    centred = x - mean
    var = mean_p(centred * centred, axis=_spatial(x), keepdims=True)
    y = centred * rsqrt(var + eps)
    if weight is not None:
        y = y * _per_channel(weight, x.ndim)
    if bias is not None:
        y = y + _per_channel(bias, x.ndim)
    return y, mean.reshape((-1,)), var.reshape((-1,))


@primitive(name="batch_norm", composite=_batch_norm_definition, outputs=3, differentiable=1)
def batch_norm_p(xp, x, weight=None, bias=None, *, eps):
    """Each channel with the batch's mean and variance taken out; also these two, (C,)."""
    a, restore = _channels(xp, x)
    n, parts = x.size // x.shape[1], _parts(xp, a)
    buffer = xp.empty_like(a[parts[0]])
    # Both sums in one pass, around a first guess of the mean: the guess is off by at most
    # sqrt(tiles * var), so that little is lost where the squares are subtracted.
    guess = (_sum(xp, a[parts[0]]) / (buffer.size // x.shape[1])).astype(a.dtype)
    first, second = xp.zeros(x.shape[1], "float64"), xp.zeros(x.shape[1], "float64")
    for part in parts:
        d = xp.subtract(a[part], _beside(guess, a), out=buffer[:len(a[part])])
        first += _sum(xp, d)
        d *= d
        second += _sum(xp, d)
    first /= n
    mean = (guess + first).astype(a.dtype)
    var = xp.maximum(second / n - first * first, 0).astype(a.dtype)
    scale = 1 / xp.sqrt(var + eps)
    if weight is not None:
        scale *= weight
    shift = -mean * scale if bias is None else bias - mean * scale
    y = xp.empty_like(a)
    for part in parts:
        into = xp.multiply(a[part], _beside(scale, a), out=y[part])
        into += _beside(shift, a)
    return restore(y), mean, var


@batch_norm_p.vjp_joint
def _(needs, gs, ys, x, weight=None, bias=None, *, eps):
    xp = backend.array_module(x)
    a, restore = _channels(xp, x)
    g = _channels(xp, gs[0], like=a)[0]
    mean, rstd = ys[1], 1 / xp.sqrt(ys[2] + eps)
    n, parts = x.size // x.shape[1], _parts(xp, a)
    buffer = xp.empty_like(a[parts[0]])
    total, inner = xp.zeros(x.shape[1], "float64"), xp.zeros(x.shape[1], "float64")
    for part in parts:
        d = xp.subtract(a[part], _beside(mean, a), out=buffer[:len(a[part])])
        d *= g[part]
        inner += _sum(xp, d)
        total += _sum(xp, g[part])
    total, inner = total.astype(a.dtype), inner.astype(a.dtype) * rstd   # inner: sum of g * hat
    gx = None
    if needs[0]:
        # dx = scale (g - mean(g) - hat mean(g hat)) = scale g + slope x + shift
        scale = rstd if weight is None else rstd * weight
        slope = scale * rstd * inner * (-1 / n)
        shift = scale * total * (-1 / n) - slope * mean
        gx = xp.empty_like(a)
        for part in parts:
            into = xp.multiply(a[part], _beside(slope, a), out=gx[part])
            into += xp.multiply(g[part], _beside(scale, a), out=buffer[:len(into)])
            into += _beside(shift, a)
        gx = restore(gx)
    return gx, inner, total


def _channels(xp: Any, x: Any, like: Any = None) -> tuple[Any, Any]:
    """(N, C, ...) as (rows, C) where memory is channels-last, else as (N, C, L); and the way back.

    Neither copies an array that lies in memory in one of these two orders.
    """
    last = x.transpose(0, *range(2, x.ndim), 1)
    planes = len(like.shape) == 3 if like is not None else not last.flags.c_contiguous
    if planes:
        flat = xp.ascontiguousarray(x).reshape(*x.shape[:2], math.prod(x.shape[2:]))
        return flat, lambda y: y.reshape(x.shape)
    back = (0, x.ndim - 1, *range(1, x.ndim - 1))
    return (xp.ascontiguousarray(last).reshape(-1, x.shape[1]),
            lambda y: y.reshape(last.shape).transpose(back))


def _beside(v: Any, a: Any) -> Any:
    """A number per channel, shaped to broadcast against (rows, C) or (N, C, L)."""
    return v if a.ndim == 2 else v[:, None]


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


def batch_norm(x: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None,
               bias: Any = None, training: bool = False, momentum: float = 0.1,
               eps: float = 1e-5) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias, per channel (axis 1) of (N, C, ...).

    In training the statistics are the batch's own (biased variance), and the running ones, where
    given, move towards them in place: r <- (1 - momentum) r + momentum * batch, with the unbiased
    variance. Otherwise the running statistics are used.

    Source: S. Ioffe and C. Szegedy, "Batch Normalization", ICML 2015.
    """
    if x.ndim < 2:
        raise ValueError(f"[batch_norm] x must be (N, C, ...), got {tuple(x.shape)}")
    for name, p in (("weight", weight), ("bias", bias), ("running_mean", running_mean),
                    ("running_var", running_var)):
        if p is not None and tuple(p.shape) != (x.shape[1],):
            raise ValueError(f"[batch_norm] {name} has shape {tuple(p.shape)}; x {tuple(x.shape)} "
                             f"has {x.shape[1]} channels")
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("[batch_norm] running_mean and running_var are needed when "
                             "training=False")
        return _normalise(x, running_mean, running_var, weight, bias, eps)
    if x.dtype.itemsize == 2:  # half precision: too few digits for sums
        return batch_norm(x.astype("float32"), running_mean, running_var, weight, bias, True,
                          momentum, eps).astype(x.dtype)
    count = x.size // max(1, x.shape[1])
    if count < 2:
        raise ValueError(f"[batch_norm] x: {tuple(x.shape)}: training needs more than one value "
                         "per channel")
    y, mean, var = batch_norm_p(_floating(x, "batch_norm"), weight, bias, eps=eps)
    unbiased = var.data * (count / (count - 1))
    for running, new in ((running_mean, mean.data), (running_var, unbiased)):
        if running is not None:
            running.data[...] = (1 - momentum) * running.data + momentum * new
            running.touch()
    return y


def _normalise(x: Any, mean: Any, var: Any, weight: Any, bias: Any, eps: float) -> Tensor:
    """Fixed statistics: one scale and one shift per channel."""
    scale = rsqrt(var + eps)
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    return x * _per_channel(scale, x.ndim) + _per_channel(shift, x.ndim)
