"""Everything in nn that has no state, under PyTorch's names, argument names and defaults.

These are the functions of `tinygen.ops` as a PyTorch user calls them (`dim` instead of `axis`).
`inplace=True` is accepted where PyTorch has it and changes nothing: results are new tensors.
"""

# ruff: noqa: I001  (re-exports, several to a line)
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import backend, ops, random
from ..backend import Generator
from ..tensor import Tensor
from .functional_activation import (
    elu, gelu, gumbel_softmax, hardtanh, leaky_relu, log_softmax, logsigmoid, mish, relu, relu6,
    selu, sigmoid, silu, softmax, softmin, softplus, softsign, tanh,
)
from .functional_loss import (
    binary_cross_entropy, binary_cross_entropy_with_logits, cross_entropy, huber_loss, kl_div,
    l1_loss, mse_loss, nll_loss, smooth_l1_loss,
)

__all__ = [
    "adaptive_avg_pool2d", "avg_pool2d", "batch_norm", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "conv2d", "conv_transpose2d", "cosine_similarity",
    "cross_entropy", "dropout", "dropout2d", "elu", "embedding", "gelu", "group_norm",
    "gumbel_softmax", "hardtanh", "huber_loss", "interpolate", "kl_div", "l1_loss", "layer_norm",
    "leaky_relu", "linear", "log_softmax", "logsigmoid", "max_pool2d", "mish", "mse_loss",
    "nll_loss", "normalize", "one_hot", "pad", "pixel_shuffle", "relu", "relu6", "selu", "sigmoid",
    "silu", "smooth_l1_loss", "softmax", "softmin", "softplus", "softsign", "tanh",
]

# -- products and convolutions -------------------------------------------------------------------


def linear(input: Any, weight: Any, bias: Any = None) -> Tensor:
    """input @ weight.T + bias: (..., in), weight (out, in), bias (out,) -> (..., out)."""
    return ops.linear(input, weight) if bias is None else ops.linear(input, weight, bias)


def conv2d(input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
           dilation: Any = 1, groups: int = 1) -> Tensor:
    """Convolution of (N, C, H, W), or (C, H, W), with weight (O, C / groups, kh, kw).

    `padding` is an int, two ints, ``"valid"`` or ``"same"``.
    """
    return ops.conv2d(input, weight, bias, stride, padding, dilation, groups)


def conv_transpose2d(input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
                     output_padding: Any = 0, groups: int = 1, dilation: Any = 1) -> Tensor:
    """Transposed convolution of (N, C, H, W) with weight (C, O / groups, kh, kw)."""
    return ops.conv_transpose2d(input, weight, bias, stride, padding, output_padding, groups,
                                dilation)


# -- pooling, padding, resizing ------------------------------------------------------------------


def max_pool2d(input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
               dilation: Any = 1, ceil_mode: bool = False) -> Tensor:
    """The largest element of each window of (N, C, H, W)."""
    return ops.max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode)


def avg_pool2d(input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
               ceil_mode: bool = False, count_include_pad: bool = True) -> Tensor:
    """The mean of each window of (N, C, H, W)."""
    return ops.avg_pool2d(input, kernel_size, stride, padding, ceil_mode, count_include_pad)


def adaptive_avg_pool2d(input: Any, output_size: Any) -> Tensor:
    """Means over a grid of windows: (N, C, H, W) -> (N, C, *output_size)."""
    return ops.adaptive_avg_pool2d(input, output_size)


_PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad(input: Any, pad: Sequence[int], mode: str = "constant",
        value: float | None = None) -> Tensor:
    """`input` with elements added around its last axes, the last one first.

    Args:
        pad: (before, after) of the last axis, then of the one before it, and so on.
        mode: ``"constant"`` (filled with `value`, 0 by default), ``"reflect"``, ``"replicate"``
            or ``"circular"``.

    >>> import tinygen as tg
    >>> pad(tg.zeros((1, 1, 4, 4)), (1, 2, 0, 0)).shape
    (1, 1, 4, 7)
    """
    width = tuple(pad)
    if len(width) % 2 or len(width) > 2 * input.ndim:
        raise ValueError(f"[pad] pad must hold pairs (before, after) for the last axes of the "
                         f"input {tuple(input.shape)}, got {width}")
    if mode not in _PAD_MODES:
        raise ValueError(f"[pad] mode must be one of {', '.join(_PAD_MODES)}, got {mode!r}")
    if value is not None and value != 0 and mode != "constant":
        raise ValueError(f"[pad] value={value} has no meaning in mode {mode!r}")
    if not any(width):
        return input
    pairs = [(width[i], width[i + 1]) for i in range(0, len(width), 2)][::-1]
    full = [(0, 0)] * (input.ndim - len(pairs)) + pairs
    return ops.pad(input, full, mode=_PAD_MODES[mode], constant_values=value or 0)


def interpolate(input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
                align_corners: bool | None = None) -> Tensor:
    """Images (N, C, H, W) resized to `size` or by `scale_factor`: nearest or bilinear.

    Bilinear resizing is two products with sparse matrices, one per axis; output pixel i lies at
    (i + 1/2) H / H' - 1/2, or at i (H - 1) / (H' - 1) with `align_corners`.
    """
    if input.ndim != 4:
        raise ValueError(f"[interpolate] images (N, C, H, W) are needed, got {tuple(input.shape)}")
    if mode not in ("nearest", "bilinear"):
        raise ValueError(f"[interpolate] mode must be 'nearest' or 'bilinear', got {mode!r}")
    if align_corners is not None and mode == "nearest":
        raise ValueError("[interpolate] align_corners needs mode='bilinear'")
    if (size is None) == (scale_factor is None):
        raise ValueError("[interpolate] give either size or scale_factor")
    steps: list[float]
    if size is not None:
        new = [int(n) for n in (size if hasattr(size, "__iter__") else (size, size))]
        steps = [n / m for n, m in zip(input.shape[2:], new, strict=True)]
    else:
        factors = scale_factor if hasattr(scale_factor, "__iter__") else (scale_factor,) * 2
        new = [math.floor(n * f) for n, f in zip(input.shape[2:], factors, strict=True)]
        steps = [1 / f for f in factors]
    if mode == "nearest":
        return _nearest(input, new, steps)
    h, w = (_blend(n, m, step, bool(align_corners), input)
            for n, m, step in zip(input.shape[2:], new, steps, strict=True))
    return ops.matmul(ops.matmul(h, input), w.T)


def _nearest(x: Any, new: list[int], steps: list[float]) -> Any:
    for axis, m, step in zip((2, 3), new, steps, strict=True):
        n = x.shape[axis]
        if m % n == 0 and abs(step * m - n) < 1e-9:
            x = ops.repeat(x, m // n, axis)   # a broadcast, whose gradient is a plain sum
        else:
            from_ = np.minimum(np.floor(np.arange(m) * step), n - 1).astype(int)
            x = ops.take(x, Tensor(from_, device=x.device), axis)
    return x


def _blend(n: int, m: int, step: float, align_corners: bool, like: Any) -> Any:
    """The (m, n) matrix that interpolates n samples at m places."""
    if align_corners:
        at = np.arange(m) * ((n - 1) / (m - 1) if m > 1 else 0.0)
    else:
        at = np.clip((np.arange(m) + 0.5) * step - 0.5, 0, n - 1)
    low = np.minimum(np.floor(at).astype(int), n - 1)
    out = np.zeros((m, n))
    np.add.at(out, (np.arange(m), low), 1 - (at - low))
    np.add.at(out, (np.arange(m), np.minimum(low + 1, n - 1)), at - low)
    return Tensor(out, dtype=like.dtype, device=like.device)


def pixel_shuffle(input: Any, upscale_factor: int) -> Tensor:
    """Channels become pixels: (N, C r^2, H, W) -> (N, C, H r, W r)."""
    *lead, c, h, w = input.shape
    r = upscale_factor
    if c % (r * r):
        raise ValueError(f"[pixel_shuffle] {c} channels of {tuple(input.shape)} are no multiple of "
                         f"{r} squared")
    k = len(lead)
    x = ops.reshape(input, (*lead, c // (r * r), r, r, h, w))
    x = ops.permute_dims(x, (*range(k), k, k + 3, k + 1, k + 4, k + 2))
    return ops.reshape(x, (*lead, c // (r * r), h * r, w * r))


# -- normalisation -------------------------------------------------------------------------------


def batch_norm(input: Any, running_mean: Any, running_var: Any, weight: Any = None,
               bias: Any = None, training: bool = False, momentum: float = 0.1,
               eps: float = 1e-5) -> Tensor:
    """Each channel (axis 1) with its mean taken out and divided by its standard deviation.

    In training the batch's statistics are used and the running ones updated in place.
    """
    return ops.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def layer_norm(input: Any, normalized_shape: Sequence[int], weight: Any = None, bias: Any = None,
               eps: float = 1e-5) -> Tensor:
    """The last axes, of shape `normalized_shape`, normalised; then * weight + bias."""
    return ops.layer_norm(input, normalized_shape, weight, bias, eps)


def group_norm(input: Any, num_groups: int, weight: Any = None, bias: Any = None,
               eps: float = 1e-5) -> Tensor:
    """Groups of channels of (N, C, ...) normalised, each example alone.

    Source: Y. Wu and K. He, "Group Normalization", ECCV 2018.
    """
    n, c = input.shape[:2]
    if num_groups < 1 or c % num_groups:
        raise ValueError(f"[group_norm] {c} channels of {tuple(input.shape)} do not fall into "
                         f"{num_groups} groups")
    rows = ops.reshape(input, (n, num_groups, -1))
    y = ops.reshape(ops.layer_norm(rows, rows.shape[-1:], eps=eps), tuple(input.shape))
    per_channel = (c,) + (1,) * (input.ndim - 2)
    if weight is not None:
        y = y * ops.reshape(weight, per_channel)
    return y if bias is None else y + ops.reshape(bias, per_channel)


def normalize(input: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """Vectors along `dim` divided by their p-norm (by `eps` where it is smaller)."""
    return input / ops.clip(_norm(input, p, dim, keepdims=True), eps)


def _norm(x: Any, p: float, axis: int, keepdims: bool = False) -> Any:
    if p == math.inf:
        return ops.max(ops.absolute(x), axis=axis, keepdims=keepdims)
    if p == 1:
        return ops.sum(ops.absolute(x), axis=axis, keepdims=keepdims)
    if p != 2:
        return ops.sum(ops.absolute(x) ** p, axis=axis, keepdims=keepdims) ** (1 / p)
    total = ops.sum(ops.square(x), axis=axis, keepdims=keepdims)
    # the root of 0 has an infinite slope: a zero vector gets gradient 0 instead, as in PyTorch
    zero = ops.equal(total, 0)
    return ops.where(zero, 0, ops.sqrt(ops.where(zero, 1, total)))


def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1 . x2 / (|x1| |x2|) along `dim`; a norm below `eps` counts as `eps`."""
    dot = ops.sum(x1 * x2, axis=dim)
    return dot / (ops.clip(_norm(x1, 2, dim), eps) * ops.clip(_norm(x2, 2, dim), eps))


# -- dropout -------------------------------------------------------------------------------------


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False,
            generator: Generator | None = None) -> Tensor:
    """Each element zero with probability `p`, the others divided by 1 - p; nothing if not training.

    Source: N. Srivastava et al., "Dropout", JMLR 2014.
    """
    return _drop(input, tuple(input.shape), p, training, generator, "dropout")


def dropout2d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False,
              generator: Generator | None = None) -> Tensor:
    """Whole channels of (N, C, H, W), or (C, H, W), zero with probability `p`."""
    if input.ndim not in (3, 4):
        raise ValueError(f"[dropout2d] images (N, C, H, W) or (C, H, W) are needed, got "
                         f"{tuple(input.shape)}")
    return _drop(input, (*input.shape[:-2], 1, 1), p, training, generator, "dropout2d")


def _drop(x: Any, shape: tuple[int, ...], p: float, training: bool, generator: Generator | None,
          op: str) -> Any:
    if not 0 <= p <= 1:
        raise ValueError(f"[{op}] p must be in [0, 1], got {p}")
    if not training or p == 0:
        return x
    if p == 1:
        return x * 0.0
    keep = random.bernoulli(1 - p, shape, dtype=x.dtype, device=x.device, generator=generator)
    return x * (keep * (1 / (1 - p)))


# -- tables --------------------------------------------------------------------------------------


def embedding(input: Any, weight: Any, padding_idx: int | None = None,
              max_norm: float | None = None, norm_type: float = 2.0) -> Tensor:
    """Rows of `weight` (rows, dim) by number: (...,) -> (..., dim).

    Args:
        padding_idx: this row gets no gradient.
        max_norm: rows that are looked up are first scaled down, in place, to this norm.

    Raises:
        IndexError: a number is not in [0, rows); the message has both.
    """
    input = input if hasattr(input, "shape") else Tensor(input)
    array = input.data if isinstance(input, Tensor) else input
    rows = weight.shape[0]
    if array.dtype.kind not in "iu":
        raise TypeError(f"[embedding] input must hold integers, got {array.dtype} "
                        f"{tuple(array.shape)}")
    if array.size and (array.min() < 0 or array.max() >= rows):
        raise IndexError(f"[embedding] input has numbers from {array.min()} to {array.max()}, "
                         f"weight {tuple(weight.shape)} has rows 0 to {rows - 1}")
    if max_norm is not None:
        _limit_rows(weight, array, max_norm, norm_type)
    out = ops.take(weight, input, axis=0)
    if padding_idx is None:
        return out
    padding = padding_idx % rows
    is_pad = ops.equal(input, padding).reshape((*array.shape, 1))
    return ops.where(is_pad, weight.data[padding], out)


def _limit_rows(weight: Tensor, rows: Any, max_norm: float, norm_type: float) -> None:
    xp = backend.array_module(weight.data)
    used = xp.unique(rows)
    norms = xp.linalg.norm(weight.data[used], norm_type, axis=1, keepdims=True)
    scale = xp.where(norms > max_norm, max_norm / (norms + 1e-7), 1)
    weight.data[used] *= scale.astype(weight.dtype)
    weight.touch()


def one_hot(tensor: Any, num_classes: int = -1) -> Tensor:
    """Classes as rows with a single 1: (...,) -> (..., num_classes), int64.

    By default there are as many classes as the largest number needs.
    """
    classes = tensor if isinstance(tensor, Tensor) else Tensor(tensor)
    if num_classes == -1:
        if not classes.size:
            raise ValueError("[one_hot] num_classes must be given for an empty tensor")
        num_classes = int(classes.data.max()) + 1
    return ops.one_hot(classes, num_classes)
