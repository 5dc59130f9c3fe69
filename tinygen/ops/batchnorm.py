"""Batch and instance normalisation, and the running statistics that they keep."""

from __future__ import annotations

import math
from typing import Any

from .. import backend
from ..primitive import primitive
from ..tensor import Tensor
from .activation import leaky_relu_p, relu
from .creation import zeros
from .elementwise import rsqrt
from .norm import _floating, _of_nothing, _parts, _sum, layer_norm_p
from .reduce import mean_p
from .shape import reshape

__all__ = ["batch_norm", "instance_norm"]

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
    scale, shift = _scale_and_shift(xp, mean, var, weight, bias, eps)
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


# -- with the activation behind it ----------------------------------------------------------------


def _batch_norm_activation_definition(x, weight=None, bias=None, *, eps, slope):
    y, mean, var = _batch_norm_definition(x, weight, bias, eps=eps)
    return leaky_relu_p(y, slope=slope) if slope else relu(y), mean, var


@primitive(composite=_batch_norm_activation_definition, outputs=3, differentiable=1)
def batch_norm_activation(xp, x, weight=None, bias=None, *, eps, slope):
    """leaky_relu(batch_norm(x)), `slope` within [0, 1] and 0 for relu; also mean and variance.

    The gradient looks at x alone, not at the result.
    """
    y, mean, var = batch_norm_p.fn(xp, x, weight, bias, eps=eps)
    for part in _parts(xp, y):
        xp.maximum(y[part], slope * y[part] if slope else 0, out=y[part])
    return y, mean, var


@batch_norm_activation.vjp_joint
def _(needs, gs, ys, x, weight=None, bias=None, *, eps, slope):
    xp = backend.array_module(x)
    a, restore = _channels(xp, x)
    scale, shift = _scale_and_shift(xp, ys[1], ys[2], weight, bias, eps)
    g = _channels(xp, gs[0], like=a)[0]
    through = xp.empty_like(a)
    for part in _parts(xp, a):
        z = xp.multiply(a[part], _beside(scale, a), out=through[part])
        z += _beside(shift, a)
        xp.multiply(g[part], (z > 0).astype(a.dtype) * (1 - slope) + slope, out=z)
    assert batch_norm_p.joint is not None
    return batch_norm_p.joint.fn(xp, restore(through), None, *ys[1:], x, weight, bias, eps=eps,
                                 needs=needs)


def _scale_and_shift(xp: Any, mean: Any, var: Any, weight: Any, bias: Any, eps: float) -> Any:
    """What the norm multiplies x by, and then adds: one of each per channel."""
    scale = 1 / xp.sqrt(var + eps)
    if weight is not None:
        scale *= weight
    return scale, -mean * scale if bias is None else bias - mean * scale


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


# -- group normalisation ------------------------------------------------------------------------


def _group_norm_definition(x, weight=None, bias=None, *, groups, eps):
    rows = reshape(x, (x.shape[0], groups, -1))
    mean = mean_p(rows, axis=2, keepdims=True)
    centred = rows - mean
    var = mean_p(centred * centred, axis=2, keepdims=True)
    y = reshape(centred * rsqrt(var + eps), x.shape)
    if weight is not None:
        y = y * _per_channel(weight, x.ndim)
    if bias is not None:
        y = y + _per_channel(bias, x.ndim)
    return y, mean[:, :, 0], var[:, :, 0]


@primitive(name="group_norm", composite=_group_norm_definition, outputs=3, differentiable=1)
def group_norm_p(xp, x, weight=None, bias=None, *, groups, eps):
    """Each group of channels of each example with its mean and variance taken out; also these."""
    rows = x.reshape(x.shape[0], groups, -1)
    y, mean, rstd = layer_norm_p.fn(xp, rows, axes=(2,), eps=eps)
    y = y.reshape(x.shape)
    if weight is not None:
        y *= _per_channel(weight, x.ndim)
    if bias is not None:
        y += _per_channel(bias, x.ndim)
    var = xp.maximum(rstd[:, :, 0] ** -2 - eps, 0)
    return y, mean[:, :, 0], var


@group_norm_p.vjp_joint
def _(needs, gs, ys, x, weight=None, bias=None, *, groups, eps):
    xp = backend.array_module(x)
    g, mean, rstd = gs[0], ys[1][:, :, None], 1 / xp.sqrt(ys[2][:, :, None] + eps)
    rows = x.reshape(x.shape[0], groups, -1)
    g_weight = g_bias = None
    if weight is not None:
        hat = ((rows - mean) * rstd).reshape(x.shape)
        g_weight = (g * hat).sum(axis=_spatial(x))
    if bias is not None:
        g_bias = g.sum(axis=_spatial(x))
    if weight is not None:
        g = g * _per_channel(weight, x.ndim)
    gx = layer_norm_p.joint.fn(xp, g.reshape(rows.shape), None, mean, rstd, rows, axes=(2,),
                               eps=eps, needs=(True,))[0]
    return gx.reshape(x.shape), g_weight, g_bias


# -- one scale and one shift per channel --------------------------------------------------------


def _scale_channels_definition(x, scale, shift):
    return x * _per_channel(scale, x.ndim) + _per_channel(shift, x.ndim)


@primitive(composite=_scale_channels_definition)
def scale_channels(xp, x, scale, shift):
    """x * scale + shift, with one of each per channel (axis 1)."""
    y = x * _per_channel(scale, x.ndim)
    y += _per_channel(shift, x.ndim)
    return y


@scale_channels.vjp_joint
def _(needs, g, y, x, scale, shift):
    return (g * _per_channel(scale, x.ndim) if needs[0] else None,
            (g * x).sum(axis=_spatial(x)) if needs[1] else None,
            g.sum(axis=_spatial(x)) if needs[2] else None)


# -- running statistics -------------------------------------------------------------------------


@primitive
def update_statistics(xp, mean, var, running_mean, running_var, tracked=None, *, momentum,
                      correction):
    """In place: tracked += 1 and r <- (1 - momentum) r + momentum * batch, for mean and variance.

    The batch's biased variance is multiplied by `correction` first. Momentum None weighs all
    batches alike: it is 1 / tracked then. Any of the three may be None.
    """
    if tracked is not None:
        tracked += 1
        if momentum is None:
            momentum = 1 / tracked.astype("float64")
    for running, new in ((running_mean, mean), (running_var, var * correction)):
        if running is not None:
            running *= 1 - momentum
            running += momentum * new
    return mean
update_statistics.writes = (2, 3, 4)


def _follow(mean: Any, var: Any, running: tuple[Any, Any, Any], momentum: float | None,
            count: int) -> None:
    """Move the running statistics towards those of a batch of `count` values per channel."""
    if all(r is None for r in running):
        return
    if momentum is None and running[2] is None:
        raise ValueError("[batch_norm] momentum=None averages all batches and needs "
                         "num_batches_tracked, the tensor that counts them")
    update_statistics(mean, var, *running, momentum=momentum, correction=count / (count - 1))
    for r in running:
        if r is not None:
            r.touch()


def batch_norm(x: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None,
               bias: Any = None, training: bool = False, momentum: float | None = 0.1,
               eps: float = 1e-5, num_batches_tracked: Any = None) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias, per channel (axis 1) of (N, C, ...).

    In training the statistics are the batch's own (biased variance), and the running ones, where
    given, move towards them in place: r <- (1 - momentum) r + momentum * batch, with the unbiased
    variance. Otherwise the running statistics are used.

    Args:
        num_batches_tracked: an integer tensor that counts the batches, in place; with
            `momentum=None` the running statistics are the plain average over them.

    Source: S. Ioffe and C. Szegedy, "Batch Normalization", ICML 2015.
    """
    _check_channels("batch_norm", x, weight=weight, bias=bias, running_mean=running_mean,
                    running_var=running_var)
    if not training:
        return _normalise("batch_norm", "training=False", x, running_mean, running_var, weight,
                          bias, eps)
    count = x.size // max(1, x.shape[1])
    if count == 1:
        raise ValueError(f"[batch_norm] x: {tuple(x.shape)}: training needs more than one value "
                         "per channel")
    if not x.size:              # an empty batch has no statistics and moves none, but it counts
        if num_batches_tracked is not None:
            nothing = zeros((x.shape[1],), dtype=x.dtype, device=x.device)
            update_statistics(nothing, nothing, None, None, num_batches_tracked, momentum=0.0,
                              correction=1.0)
            num_batches_tracked.touch()
        return of_no_examples(_floating(x, "batch_norm"), weight, bias)
    y, mean, var = batch_norm_p(_floating(x, "batch_norm"), weight, bias, eps=eps)
    _follow(mean, var, (running_mean, running_var, num_batches_tracked), momentum, count)
    return y


def instance_norm(x: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None,
                  bias: Any = None, use_input_stats: bool = True, momentum: float = 0.1,
                  eps: float = 1e-5) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias, per example and channel of (N, C, ...).

    Running statistics, where given, follow the average over the examples; with
    `use_input_stats=False` they are used instead of the examples' own.

    Source: D. Ulyanov, A. Vedaldi and V. Lempitsky, "Instance Normalization", 2016.
    """
    _check_channels("instance_norm", x, weight=weight, bias=bias, running_mean=running_mean,
                    running_var=running_var)
    if not use_input_stats:
        return _normalise("instance_norm", "use_input_stats=False", x, running_mean, running_var,
                          weight, bias, eps)
    count = math.prod(x.shape[2:])
    if count == 1:
        raise ValueError(f"[instance_norm] x: {tuple(x.shape)}: the statistics of an example need "
                         "more than one value per channel")
    if not x.size:
        return of_no_examples(_floating(x, "instance_norm"), weight, bias)
    y, mean, var = group_norm_p(_floating(x, "instance_norm"), weight, bias, groups=x.shape[1],
                                eps=eps)
    if running_mean is not None or running_var is not None:
        mean, var = mean_p(mean, axis=0), mean_p(var, axis=0)
        _follow(mean, var, (running_mean, running_var, None), momentum, count)
    return y


def _check_channels(op: str, x: Any, **params: Any) -> None:
    if x.ndim < 2:
        raise ValueError(f"[{op}] x must be (N, C, ...), got {tuple(x.shape)}")
    for name, p in params.items():
        if p is not None and tuple(p.shape) != (x.shape[1],):
            raise ValueError(f"[{op}] {name} has shape {tuple(p.shape)}; x {tuple(x.shape)} "
                             f"has {x.shape[1]} channels")


def _normalise(op: str, when: str, x: Any, mean: Any, var: Any, weight: Any, bias: Any,
               eps: float) -> Tensor:
    """Fixed statistics: one scale and one shift per channel."""
    if mean is None or var is None:
        raise ValueError(f"[{op}] running_mean and running_var are needed when {when}")
    scale = rsqrt(var + eps)
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    return scale_channels(x, scale, shift).astype(x.dtype, copy=False)


def of_no_examples(x: Any, weight: Any, bias: Any) -> Tensor:
    """An empty result, through which the parameters get their gradients: zeros."""
    return _of_nothing(x, *(p if p is None else _per_channel(p, x.ndim) for p in (weight, bias)))
