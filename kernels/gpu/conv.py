"""Convolution on a GPU as a product of matrices: patches by a kernel of `columns`, then cuBLAS.

Images lie as they come; results lie channels last, (N, H, W, C) in memory, so that the next
convolution reads whole pixels. With few channels the patches are made plane by plane instead. A 1x1
convolution needs no patches, and neither layout is copied for it. Tiles of images keep the patches
below `TILE` bytes; gradients to the weights add up over tiles in float32, inside of the product.
One kernel for each channel has kernels of its own (`depthwise`). Where cuDNN is installed it is
asked first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import cupy
import numpy as np

from tinygen.ops.patches import PLANES, kernel_size, out_size
from tinygen.primitive import kernel

from . import cudnn
from .columns import patches, patches_by_plane, sum_patches, sum_patches_by_plane
from .depthwise import depthwise, depthwise_spread, depthwise_weight
from .gemm import gemm
from .launch import EMPTY, F32, MIXED, NOT_FLOAT, SUFFIXES
from .matmul import add_bias

__all__: list[str] = []

HALVES = ("float32", "bfloat16", "float16")
TILE = 1 << 28            # bytes of patches at a time
Pair = tuple[int, int]


def _why_not(*arrays: Any) -> str | None:
    """A reason to leave a call to CuPy's version."""
    dtype = arrays[0].dtype
    if dtype not in SUFFIXES:
        return NOT_FLOAT
    for x in arrays:
        if x is None:
            continue
        if type(x) is not cupy.ndarray or x.dtype != dtype:
            return MIXED
        if not x.size:
            return EMPTY
    return None


def _last(x: Any) -> Any:
    """Images as (N, H, W, C), dense: a copy if they lie otherwise."""
    return cupy.ascontiguousarray(x.transpose(0, 2, 3, 1))


def _rows(last: Any, groups: int) -> Any:
    """Pixels of (N, H, W, C) as rows of matrices (groups, N H W, C / groups), a view."""
    return last.reshape(-1, groups, last.shape[3] // groups).swapaxes(0, 1)


def _columns(x: Any, groups: int) -> Any:
    """Pixels of dense planes (N, C, H, W) as columns of matrices (groups, N, C / groups, H W)."""
    n, c, h, w = x.shape
    return x.reshape(n, groups, c // groups, h * w).swapaxes(0, 1)


def _channels_last(n: int, size: tuple[int, ...], c: int, dtype: Any) -> Any:
    """An array (N, C, H, W) that lies as (N, H, W, C)."""
    return cupy.empty((n, *size, c), dtype).transpose(0, 3, 1, 2)


def _tiles(n: int, bytes_each: int) -> Iterator[slice]:
    step = max(1, TILE // max(1, bytes_each))
    for i in range(0, n, step):
        yield slice(i, min(n, i + step))


def _is_product(kernel: Any, stride: Pair, padding: Any) -> bool:
    """Is each pixel its own patch?"""
    return tuple(kernel) == (1, 1) == tuple(stride) and not np.any(padding)


def _depthwise(groups: int, channels: int, outs: int, *sizes: int) -> bool:
    """Does no channel mix with another?"""
    return 1 < groups == channels == outs and max(sizes) < 1 << 31


def _keeps_planes(x: Any, bias: Any, kernel: Any, stride: Pair, padding: Any) -> bool:
    """Can planes (N, C, H, W) be multiplied where they lie, and give planes?"""
    return bias is None and x.flags.c_contiguous and _is_product(kernel, stride, padding)


def _few(channels: int, groups: int) -> bool:
    return groups == 1 and channels <= PLANES


@kernel("conv2d", cupy.ndarray, dtypes=HALVES)
def _(x: Any, weight: Any, bias: Any = None, *, stride: Pair, padding: Any, dilation: Pair,
      groups: int) -> Any:
    (n, c), (outs, per_group, *kernel) = x.shape[:2], weight.shape
    why = _why_not(x, weight, bias)
    if why:
        return why
    size = out_size(x.shape[2:], tuple(kernel), stride, padding, dilation)
    depth = _depthwise(groups, c, outs, x.size, n * outs * size[0] * size[1])
    if _keeps_planes(x, bias, kernel, stride, padding) and not depth:
        out = cupy.empty((n, outs, *size), x.dtype)
        gemm(weight.reshape(groups, 1, -1, per_group), _columns(x, groups), _columns(out, groups))
        return out
    out = _channels_last(n, size, outs, x.dtype)
    how, pixels = (tuple(kernel), stride, padding, dilation, size), size[0] * size[1]
    rows = _rows(out.transpose(0, 2, 3, 1), groups)                # (g, N oh ow, O / g)
    if cudnn.conv2d(x, weight, out, stride=stride, padding=padding, dilation=dilation):
        pass
    elif depth:
        depthwise(_last(x), weight, bias, out.transpose(0, 2, 3, 1), stride, padding, dilation)
        return out
    elif _is_product(kernel, stride, padding):
        gemm(_rows(_last(x), groups), _taps(weight, groups), rows)
    elif _few(c, groups):
        flat = weight.reshape(outs, -1)
        for part in _tiles(n, pixels * flat.shape[1] * x.itemsize):
            cols = patches_by_plane(x[part], *how)                 # (C kh kw, N oh ow)
            gemm(cols.T, flat.T, rows[0, pixels * part.start:pixels * part.stop])
    else:
        taps, x = _taps(weight, groups), _last(x).transpose(0, 3, 1, 2)
        for part in _tiles(n, groups * pixels * taps.shape[1] * x.itemsize):
            gemm(patches(x[part], *how, groups), taps,
                 rows[:, pixels * part.start:pixels * part.stop])
    if bias is not None:
        add_bias(out.transpose(0, 2, 3, 1), bias)
    return out


def _taps(weight: Any, groups: int) -> Any:
    """(O, C / g, kh, kw) as matrices (g, kh kw C / g, O / g), a patch's order along the rows."""
    outs = weight.shape[0]
    last = cupy.ascontiguousarray(weight.transpose(0, 2, 3, 1))
    return last.reshape(groups, outs // groups, -1).swapaxes(-1, -2)


@kernel("conv_transpose2d", cupy.ndarray, dtypes=HALVES)
def _(x: Any, weight: Any, bias: Any = None, *, stride: Pair, padding: Any, dilation: Pair,
      groups: int) -> Any:
    (n, c, *windows), (_, per_group, *kernel) = x.shape, weight.shape
    outs = per_group * groups
    why = _why_not(x, weight, bias)
    if why:
        return why
    size = [(m - 1) * s + d * (k - 1) + 1 - a - b for m, s, d, k, (a, b) in
            zip(windows, stride, dilation, kernel, padding)]
    if min(size) < 1:
        return EMPTY
    depth = _depthwise(groups, c, outs, x.size, n * outs * size[0] * size[1])
    if _keeps_planes(x, bias, kernel, stride, padding) and not depth:
        out = cupy.empty((n, outs, *size), x.dtype)
        gemm(weight.reshape(groups, 1, -1, per_group).swapaxes(-1, -2), _columns(x, groups),
             _columns(out, groups))
        return out
    out = _channels_last(n, tuple(size), outs, x.dtype)
    how, pixels = (tuple(kernel), stride, padding, dilation, tuple(windows)), math.prod(windows)
    inner, few = per_group * kernel[0] * kernel[1], _few(outs, groups)
    if cudnn.conv_transpose2d(x, weight, out, stride=stride, padding=padding, dilation=dilation):
        pass
    elif depth:
        depthwise_spread(_last(x), weight, bias, out.transpose(0, 2, 3, 1), stride, padding,
                         dilation)
        return out
    elif _is_product(kernel, stride, padding):
        gemm(_rows(_last(x), groups), _spread_taps(weight, groups),
             _rows(out.transpose(0, 2, 3, 1), groups))
    else:
        last = _last(x)
        taps = weight.reshape(c, -1) if few else _spread_taps(weight, groups)
        for part in _tiles(n, groups * pixels * inner * x.itemsize):
            rows = _rows(last[part], groups)                       # (g, N oh ow, C / g)
            if few:
                sum_patches_by_plane(gemm(taps.T, rows[0].T), out[part], *how)
            else:
                sum_patches(gemm(rows, taps), out[part], *how, groups)
    if bias is not None:
        add_bias(out.transpose(0, 2, 3, 1), bias)
    return out


def _spread_taps(weight: Any, groups: int) -> Any:
    """(C, O / g, kh, kw) as matrices (g, C / g, kh kw O / g)."""
    last = cupy.ascontiguousarray(weight.transpose(0, 2, 3, 1))
    return last.reshape(groups, weight.shape[0] // groups, -1)


@kernel("conv2d_weight", cupy.ndarray, dtypes=HALVES)
def _(x: Any, g: Any, *, stride: Pair, padding: Any, dilation: Pair, groups: int) -> Any:
    (n, c), (outs, *size) = x.shape[:2], g.shape[1:]
    why = _why_not(x, g)
    if why:
        return why
    kernel = kernel_size(x.shape[2:], tuple(size), stride, padding, dilation)
    how = (kernel, stride, padding, dilation, tuple(size))
    inner, few = c // groups * kernel[0] * kernel[1], _few(c, groups)
    product = _is_product(kernel, stride, padding)
    if cudnn.ready():
        made = _channels_last(outs, kernel, c // groups, x.dtype)
        if cudnn.conv2d_weight(x, g, made, stride=stride, padding=padding, dilation=dilation):
            return cupy.ascontiguousarray(made)
    last, wide = _last(g), x if few else _last(x)
    if _depthwise(groups, c, outs, x.size, g.size):
        return depthwise_weight(wide, last, kernel, stride, padding, dilation)
    tiles = list(_tiles(n, groups * size[0] * size[1] * inner * x.itemsize))
    dw = cupy.empty((groups, outs // groups, inner), x.dtype if len(tiles) == 1 else F32)
    for part in tiles:
        rows = _rows(last[part], groups)                           # (g, N oh ow, O / g)
        if few:
            cols = patches_by_plane(x[part], *how)[None].swapaxes(-1, -2)
        elif product:
            cols = _rows(wide[part], groups)
        else:
            cols = patches(wide[part].transpose(0, 3, 1, 2), *how, groups)
        gemm(rows.swapaxes(-1, -2), cols, dw, beta=1.0 if part.start else 0.0)
    dw = dw if dw.dtype == x.dtype else dw.astype(x.dtype)
    if few or product:
        return dw.reshape(outs, c // groups, *kernel)
    return cupy.ascontiguousarray(
        dw.reshape(outs, *kernel, c // groups).transpose(0, 3, 1, 2))
