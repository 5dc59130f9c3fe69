"""Pooling and resizing of images: maxima and means of windows, banded matrices along an axis."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygen.primitive import kernel

from .lazy import F32, F64, NOT_FLOAT, Native, threads_for

__all__: list[str] = []

native = Native("windows")
banded = Native("resample")

SMALL = 1 << 11     # below this a call is cheap either way, and not worth importing Numba
GRAIN = 1 << 13     # elements for which one more thread pays, at 0.5 to 1 ns each
NOT_IMAGES = "not images (N, C, H, W)"
EMPTY = "empty"
MANY_TAPS = "more than 256 taps"


def _lying(x: Any) -> tuple[Any, int, int]:
    """(N, C, H, W) as it lies in memory, the number of planes, and the depth; copied if need be.

    In NCHW memory planes are N * C and the depth 1, channels-last N and C.
    """
    n, c = x.shape[:2]
    last = x.transpose(0, 2, 3, 1)
    if c > 1 and last.flags.c_contiguous:
        return last, n, c
    return np.ascontiguousarray(x), n * c, 1


def _like(x: Any, shape: tuple[int, ...], dtype: Any, depth: int) -> Any:
    """An uninitialised (N, C, H, W) array that lies channels-last where the depth is not 1."""
    n, c, h, w = shape
    if depth == 1:
        return np.empty(shape, dtype)
    return np.empty((n, h, w, c), dtype).transpose(0, 3, 1, 2)


def _rows(x: Any, depth: int) -> Any:
    """(N, C, H, W) of known layout as a matrix of image rows."""
    lying = x if depth == 1 else x.transpose(0, 2, 3, 1)
    return lying.reshape(-1, x.shape[3] * depth)


def _unfit(x: Any) -> str | None:
    if x.ndim != 4:
        return NOT_IMAGES
    if x.dtype != F32 and x.dtype != F64:
        return NOT_FLOAT
    return None if x.size else EMPTY


def _taken(x: Any, planes: int, depth: int) -> Any:
    """The rows of what `_lying` returned."""
    return x.reshape(planes * x.shape[-2 if depth == 1 else 1], -1)


@kernel("max_pool", np.ndarray, smallest=SMALL)
def _(x: Any, *, kernel: Any, stride: Any, padding: Any, dilation: Any, size: Any) -> Any:
    reason = _unfit(x)
    if reason or math.prod(size) == 0 or math.prod(kernel) > 256:
        return reason or (MANY_TAPS if math.prod(size) else EMPTY)
    lying, planes, depth = _lying(x)
    shape = (*x.shape[:2], *size)
    y, tap = _like(x, shape, x.dtype, depth), _like(x, shape, np.uint8, depth)
    native.max_pool(_taken(lying, planes, depth), _rows(y, depth), _rows(tap, depth),
                    (*x.shape[2:], *size, depth), (*kernel, *stride, *padding, *dilation),
                    threads_for(y.size * math.prod(kernel), 2 * GRAIN))
    return y, tap


@kernel("max_unpool", np.ndarray, smallest=SMALL // 4)
def _(g: Any, tap: Any, *, shape: Any, kernel: Any, stride: Any, padding: Any, dilation: Any,
      size: Any) -> Any:
    reason = _unfit(g)
    if reason or tap.dtype != np.uint8 or math.prod(shape) == 0:
        return reason or (MANY_TAPS if math.prod(shape) else EMPTY)
    depth = _lying(tap)[2]
    out = _like(g, shape, g.dtype, depth)
    given, taps = (_rows(_as_depth(a, depth), depth) for a in (g, tap))
    native.max_unpool(given, taps, _rows(out, depth), (*shape[2:], *size, depth),
                      (*kernel, *stride, *padding, *dilation), threads_for(out.size, GRAIN))
    return out


def _as_depth(x: Any, depth: int) -> Any:
    """x in the layout that `depth` says, copied if it lies otherwise."""
    if depth == 1:
        return np.ascontiguousarray(x)
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def _shares(dtype: Any, image: Any, kernel: Any, stride: Any, padding: Any, size: Any,
            include_pad: bool, divisor: Any) -> tuple[Any, Any]:
    """For rows and columns of windows: 1 / the number of elements that each counts."""
    if divisor is not None:
        return np.full(size[0], 1 / divisor, dtype), np.ones(size[1], dtype)
    found = []
    for n, k, s, p, m in zip(image, kernel, stride, padding, size):
        start = np.arange(m) * s - p
        end = np.minimum(start + k, n + p)
        count = end - start if include_pad else np.minimum(end, n) - np.maximum(start, 0)
        found.append((1 / np.maximum(count, 1)).astype(dtype))
    return found[0], found[1]


@kernel("avg_pool", np.ndarray, smallest=SMALL)
def _(x: Any, *, kernel: Any, stride: Any, padding: Any, size: Any, include_pad: bool,
      divisor: Any) -> Any:
    reason = _unfit(x)
    if reason or math.prod(size) == 0:
        return reason or EMPTY
    lying, planes, depth = _lying(x)
    y = _like(x, (*x.shape[:2], *size), x.dtype, depth)
    shares = _shares(x.dtype, x.shape[2:], kernel, stride, padding, size, include_pad, divisor)
    native.avg_pool(_taken(lying, planes, depth), _rows(y, depth), *shares,
                    (*x.shape[2:], *size, depth), (*kernel, *stride, *padding),
                    threads_for(x.size, 2 * GRAIN))
    return y


@kernel("avg_unpool", np.ndarray, smallest=SMALL // 4)
def _(g: Any, *, image: Any, kernel: Any, stride: Any, padding: Any, size: Any, include_pad: bool,
      divisor: Any) -> Any:
    reason = _unfit(g)
    if reason or math.prod(image) == 0:
        return reason or EMPTY
    lying, planes, depth = _lying(g)
    out = _like(g, (*g.shape[:2], *image), g.dtype, depth)
    shares = _shares(g.dtype, image, kernel, stride, padding, size, include_pad, divisor)
    native.avg_unpool(_taken(lying, planes, depth), _rows(out, depth), *shares,
                      (*image, *size, depth), (*kernel, *stride, *padding),
                      threads_for(out.size, 2 * GRAIN))
    return out


# -- resizing -----------------------------------------------------------------------------------


@kernel("resample", np.ndarray, smallest=SMALL)
def _(x: Any, matrix: Any, *, axis: int) -> Any:
    if (x.dtype != F32 and x.dtype != F64) or matrix.dtype != x.dtype:
        return NOT_FLOAT
    if not x.size or not matrix.size:
        return EMPTY
    order = sorted(range(x.ndim), key=lambda a: -abs(x.strides[a]) if x.shape[a] > 1 else 0)
    at = order.index(axis)
    lying = np.ascontiguousarray(x.transpose(order))
    trail = math.prod(lying.shape[at + 1:])
    m, n = matrix.shape
    y = np.empty((*lying.shape[:at], m, *lying.shape[at + 1:]), x.dtype)
    flat, out = ((a.reshape(-1, trail) if trail > 1 else a.reshape(-1, k))
                 for a, k in ((lying, n), (y, m)))
    if not banded.apply(flat, np.ascontiguousarray(matrix), out, n if trail > 1 else 0,
                        threads_for(y.size, GRAIN)):
        return "rows that mix more than eight elements"
    return y.transpose(sorted(range(x.ndim), key=order.__getitem__))
