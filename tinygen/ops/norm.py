"""Softmax and the normalisations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..primitive import primitive
from ..tensor import Tensor
from .elementwise import exp, rsqrt
from .reduce import mean_p
from .shape import as_shape, normalize_axis

# -- softmax -----------------------------------------------------------------------------------------


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


# -- layer normalisation ---------------------------------------------------------------------------------


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
    shape, n = x.shape, math.prod(x.shape[axes[0]:])
    x = x.reshape(-1, n)
    mean = x.mean(axis=1, keepdims=True)
    y = x - mean
    rstd = 1 / xp.sqrt(xp.einsum("ij,ij->i", y, y)[:, None] * (1 / n) + eps)
    y *= rstd
    if weight is not None:
        y *= weight.reshape(-1)
    if bias is not None:
        y += bias.reshape(-1)
    kept = shape[:axes[0]] + (1,) * len(axes)
    return y.reshape(shape), mean.reshape(kept), rstd.reshape(kept)


@layer_norm_p.vjp_joint
def _(needs, gs, ys, x, weight=None, bias=None, *, axes, eps):
    (g,), (_, mean, rstd) = gs, ys
    shape, n = x.shape, math.prod(x.shape[axes[0]:])
    lead = tuple(range(axes[0]))
    g_bias = g.sum(axis=lead) if len(needs) > 2 and needs[2] else None
    hat = (x - mean) * rstd                                       # (..., *normalized)
    g_weight = (g * hat).sum(axis=lead) if len(needs) > 1 and needs[1] else None
    gx = None
    if needs[0]:
        gx = g if weight is None else g * weight
        inner = (gx * hat).sum(axis=axes, keepdims=True) * (1 / n)
        hat *= inner
        gx = gx - gx.mean(axis=axes, keepdims=True)
        gx -= hat
        gx *= rstd
    return gx, g_weight, g_bias


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
    axes = tuple(range(x.ndim - len(last), x.ndim))
    return layer_norm_p(_floating(x, "layer_norm"), weight, bias, axes=axes, eps=eps)[0]


# -- batch normalisation -----------------------------------------------------------------------------------


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
    axes = _spatial(x)
    mean = x.mean(axis=axes)
    y = x - _per_channel(mean, x.ndim)
    var = (y * y).mean(axis=axes)
    scale = 1 / xp.sqrt(var + eps)
    y *= _per_channel(scale if weight is None else scale * weight, x.ndim)
    if bias is not None:
        y += _per_channel(bias, x.ndim)
    return y, mean, var


@batch_norm_p.vjp_joint
def _(needs, gs, ys, x, weight=None, bias=None, *, eps):
    (g,), (_, mean, var) = gs, ys
    axes = _spatial(x)
    n = x.size // x.shape[1]
    rstd = (var + eps) ** -0.5
    centred = x - _per_channel(mean, x.ndim)
    total = g.sum(axis=axes)                                      # (C,)
    inner = (g * centred).sum(axis=axes) * rstd                   # sum of g * x_hat
    gx = None
    if needs[0]:
        scale = rstd if weight is None else rstd * weight
        centred *= _per_channel(inner * rstd * (-1 / n), x.ndim)
        gx = g + centred
        gx -= _per_channel(total * (1 / n), x.ndim)
        gx *= _per_channel(scale, x.ndim)
    return gx, inner, total


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
    count = x.size // max(1, x.shape[1])
    if count < 2:
        raise ValueError(f"[batch_norm] x: {tuple(x.shape)}: training needs more than one value "
                         "per channel")
    y, mean, var = batch_norm_p(_floating(x, "batch_norm"), weight, bias, eps=eps)
    for running, new in ((running_mean, mean.data), (running_var, var.data * (count / (count - 1)))):
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
