"""Pooling and resizing of images: maxima and means of windows, banded matrices along an axis.

Images and windows may have any strides. Results lie as their input does: planes, or channels last.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import cupy
import numpy as np

from tinygen.primitive import kernel

from .division import DIVISOR, LIMIT
from .division import divisor as prepared
from .launch import EMPTY, HALVES, MIXED, NOT_FLOAT, SUFFIXES, Source, blocks, plain

__all__: list[str] = []

native = Source("windows")

MANY = 256                      # taps of a window beyond which their numbers need four bytes
LARGE = "2^31 elements or more"
NOT_IMAGES = "neither signals (N, C, L) nor images (N, C, H, W)"

# The struct Windows of source/windows.cu.
_LAYOUT = np.dtype([(n, "i8") for n in ("image", "channel", "row", "column")])
_FIELDS = ("images", "channels", "height", "width", "high", "wide", "kh", "kw", "sh", "sw", "top",
           "left", "dh", "dw", "channels_last", "include_pad")
_DIVISORS = ("by_channels", "by_height", "by_width", "by_high", "by_wide")
WINDOWS = np.dtype([("x", _LAYOUT), ("y", _LAYOUT), *((n, "i4") for n in _FIELDS),
                    *((n, DIVISOR) for n in _DIVISORS), ("divisor", "f4")])


def _unfit(x: Any, *others: Any) -> str | None:
    if x.ndim not in (3, 4):
        return NOT_IMAGES
    if x.dtype not in SUFFIXES:
        return NOT_FLOAT
    if not x.size or any(math.prod(shape) == 0 for shape in others):
        return EMPTY
    if max(x.size, *(math.prod(shape) for shape in others)) >= LIMIT:
        return LARGE
    return None


def _wide(x: Any) -> Any:
    """Signals as images of one row."""
    return x[:, :, None] if x.ndim == 3 else x


def _pair(sizes: Any, of_row: int) -> tuple[int, int]:
    """Two axes' sizes; signals have one row, whose size is `of_row`."""
    return (of_row, sizes[0]) if len(sizes) == 1 else tuple(sizes)


def _channels_last(x: Any) -> bool:
    """Whether channels of images (N, C, H, W) are neighbours in memory, and pixels are not."""
    return x.shape[1] > 1 and x.strides[1] == x.itemsize and x.strides[3] != x.itemsize


def _like(x: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """An empty (N, C, H, W) array that lies as x does."""
    n, c, h, w = shape
    if _channels_last(x):
        return cupy.empty((n, h, w, c), dtype).transpose(0, 3, 1, 2)
    return cupy.empty(shape, dtype)


@functools.lru_cache(maxsize=1024)
def _struct(shape: Any, of_x: Any, of_y: Any, size: Any, kernel: Any, stride: Any, padding: Any,
            dilation: Any, channels_last: bool, include_pad: bool, divisor: Any) -> np.ndarray:
    n, c, h, w = shape
    return np.array((of_x, of_y, n, c, h, w, *size, *kernel, *stride, *padding, *dilation,
                     channels_last, include_pad, *map(prepared, (c, h, w, *size)),
                     divisor or 0), WINDOWS)


def _steps(x: Any) -> tuple[int, ...]:
    return tuple([s // x.itemsize for s in x.strides])


def _call(x: Any, y: Any, result: Any, size: Any, kernel: Any, stride: Any, padding: Any,
          dilation: Any = (1,), include_pad: bool = True, divisor: Any = None) -> np.ndarray:
    """The struct for images x and windows y, one of which is the result."""
    return _struct(x.shape, _steps(x), _steps(y), _pair(size, 1), _pair(kernel, 1),
                   _pair(stride, 1), _pair(padding, 0), _pair((*dilation, 1)[:len(kernel)], 1),
                   _channels_last(result), include_pad, divisor)


def _run(name: str, suffix: str, call: np.ndarray, n: int, *arrays: Any) -> None:
    native(f"{name}_{suffix}", blocks(n, 256), 256, call, *arrays, np.uint32(n))


def _back(y: Any, images: int) -> Any:
    """Images of one row as signals again, where the input was that."""
    return y[:, :, 0] if images == 3 else y


# -- the largest element --------------------------------------------------------------------------


@kernel("max_pool", cupy.ndarray, dtypes=HALVES)
def _(x: Any, *, kernel: Any, stride: Any, padding: Any, dilation: Any, size: Any) -> Any:
    reason = _unfit(x, size)
    if reason:
        return reason
    images, axes = _wide(x), x.ndim
    many = math.prod(kernel) > MANY
    shape = (*images.shape[:2], *_pair(size, 1))
    y = _like(images, shape, x.dtype)
    taps = _like(images, shape, np.int32 if many else np.uint8)
    _run(f"max_pool{'_many' * many}", SUFFIXES[x.dtype],
         _call(images, y, y, size, kernel, stride, padding, dilation), y.size, images, y, taps)
    return _back(y, axes), _back(taps, axes)


@kernel("max_unpool", cupy.ndarray, dtypes=HALVES)
def _(g: Any, tap: Any, *, shape: Any, kernel: Any, stride: Any, padding: Any, dilation: Any,
      size: Any) -> Any:
    reason = _unfit(g, shape)
    if reason or tap.dtype not in (np.uint8, np.int32):
        return reason or "taps of another type"
    taps, gs = _wide(tap), _wide(g)
    if gs.strides != tuple([s // taps.itemsize * gs.itemsize for s in taps.strides]):
        same = _like(taps, taps.shape, g.dtype)       # laid out as the taps are
        same[...] = gs
        taps, gs = _lying(taps), same
    x = _like(taps, (*taps.shape[:2], *_pair(shape[2:], 1)), g.dtype)
    _run(f"max_unpool{'_many' * (tap.dtype == np.int32)}", SUFFIXES[g.dtype],
         _call(x, gs, x, size, kernel, stride, padding, dilation), x.size, gs, taps, x)
    return _back(x, g.ndim)


def _lying(taps: Any) -> Any:
    """Taps without gaps in memory."""
    same = _like(taps, taps.shape, taps.dtype)
    if same.strides == taps.strides:
        return taps
    same[...] = taps
    return same


# -- the mean -------------------------------------------------------------------------------------


@kernel("avg_pool", cupy.ndarray, dtypes=HALVES)
def _(x: Any, *, kernel: Any, stride: Any, padding: Any, size: Any, include_pad: bool,
      divisor: Any) -> Any:
    reason = _unfit(x, size)
    if reason:
        return reason
    images = _wide(x)
    y = _like(images, (*images.shape[:2], *_pair(size, 1)), x.dtype)
    call = _call(images, y, y, size, kernel, stride, padding, (1, 1), include_pad, divisor)
    _run("avg_pool", SUFFIXES[x.dtype], call, y.size, images, y)
    return _back(y, x.ndim)


@kernel("avg_unpool", cupy.ndarray, dtypes=HALVES)
def _(g: Any, *, image: Any, kernel: Any, stride: Any, padding: Any, size: Any, include_pad: bool,
      divisor: Any) -> Any:
    reason = _unfit(g, image)
    if reason:
        return reason
    gs = _wide(g)
    x = _like(gs, (*gs.shape[:2], *_pair(image, 1)), g.dtype)
    call = _call(x, gs, x, size, kernel, stride, padding, (1, 1), include_pad, divisor)
    _run("avg_unpool", SUFFIXES[g.dtype], call, x.size, gs, x)
    return _back(x, g.ndim)


# -- resizing -------------------------------------------------------------------------------------


@kernel("resample", cupy.ndarray, dtypes=HALVES)
def _(x: Any, matrix: Any, *, axis: int) -> Any:
    """First the band of each row of the matrix, on the device; then products over the bands."""
    suffix = SUFFIXES.get(x.dtype)
    if suffix is None:
        return NOT_FLOAT
    if matrix.dtype != x.dtype:
        return MIXED
    m, n = matrix.shape
    if not x.size or not m:
        return EMPTY
    if x.size // n * m >= LIMIT:
        return LARGE
    order = sorted(range(x.ndim), key=lambda a: -abs(x.strides[a]) if x.shape[a] > 1 else 0)
    lying, at = plain(x.transpose(order)), order.index(axis)
    trail = math.prod(lying.shape[at + 1:])
    y = cupy.empty((*lying.shape[:at], m, *lying.shape[at + 1:]), x.dtype)
    steps, bands = _steps(matrix), cupy.empty((m, 2), np.int32)
    native(f"bands_{suffix}", blocks(m, 8), 256, matrix, *steps, np.int32(m), np.int32(n), bands)
    native(f"resample_{suffix}", blocks(y.size, 256), 256, matrix, *steps, bands, lying, y,
           *map(np.uint32, (y.size, m, n, trail)))
    return y.transpose(sorted(range(x.ndim), key=order.__getitem__))
