"""Patches of images as matrices, and back: what a convolution as a matrix product needs.

These are functions for other kernels, not kernels of primitives. Images (N, C, H, W) may have any
strides; `padding` is ((top, bottom), (left, right)), negative where an image is cropped.
"""

from __future__ import annotations

import functools
from typing import Any

import cupy
import numpy as np

from .division import DIVISOR, LIMIT, divisor
from .launch import SUFFIXES, Source, blocks

__all__ = ["patches", "patches_by_plane", "sum_patches", "sum_patches_by_plane"]

native = Source("columns")

Pair = tuple[int, int]

# The struct Patches of source/columns.cu.
_FIELDS = ("images", "channels", "height", "width", "high", "wide", "kh", "kw", "sh", "sw", "dh",
           "dw", "top", "left", "packs", "windows")
_DIVISORS = ("by_high", "by_wide", "by_height", "by_width", "by_kw", "by_chunks")
STRUCT = np.dtype([*((n, "i8") for n in ("image", "channel", "row", "column")),
                   *((n, "i4") for n in _FIELDS), *((n, DIVISOR) for n in _DIVISORS)])


@functools.lru_cache(maxsize=1024)
def _struct(shape: Any, strides: Any, kernel: Pair, stride: Pair, padding: Any, dilation: Pair,
            size: Pair, groups: int, packs: bool) -> np.ndarray:
    n, c, h, w = shape
    windows, channels = n * size[0] * size[1], c // groups
    if max(windows, n * h * w) >= LIMIT:
        raise ValueError(f"[patches] {shape}: images and windows must have fewer than {LIMIT} "
                         "pixels together; divide the batch")
    values = (n, channels, h, w, *size, *kernel, *stride, *dilation, padding[0][0], padding[1][0],
              packs, windows)
    return np.array((*strides, *values, *map(divisor, (
        *size, h, w, kernel[1], channels // 4 if packs else channels))), STRUCT)


def _call(x: Any, channels: int, *how: Any) -> np.ndarray:
    """The struct for images x; four channels are moved at a time where they lie side by side."""
    strides = tuple([s // x.itemsize for s in x.strides])
    packs = (strides[1] == 1 and channels % 4 == 0 and x.data.ptr % (4 * x.itemsize) == 0
             and not any(s % 4 for s in (strides[0], *strides[2:])))
    return _struct(x.shape, strides, *how, packs)


def patches(x: Any, kernel: Pair, stride: Pair, padding: Any, dilation: Pair, size: Pair,
            groups: int = 1) -> Any:
    """The patches (groups, N oh ow, kh kw C / groups) of images (N, C, H, W)."""
    n, c = x.shape[:2]
    windows = n * size[0] * size[1]
    cols = cupy.empty((groups, windows, kernel[0] * kernel[1] * (c // groups)), x.dtype)
    if cols.size:
        p = _call(x, c // groups, kernel, stride, padding, dilation, size, groups)
        native(f"patches_last_{SUFFIXES[x.dtype]}", (blocks(windows, 8), groups), 256, p, x, cols)
    return cols


def patches_by_plane(x: Any, kernel: Pair, stride: Pair, padding: Any, dilation: Pair,
                     size: Pair) -> Any:
    """The patches (C kh kw, N oh ow) of images (N, C, H, W): quicker for a few channels."""
    n, c = x.shape[:2]
    windows = n * size[0] * size[1]
    cols = cupy.empty((c * kernel[0] * kernel[1], windows), x.dtype)
    if cols.size:
        p = _call(x, 1, kernel, stride, padding, dilation, size, 1)
        native(f"patches_planes_{SUFFIXES[x.dtype]}", (blocks(windows, 256), len(cols)), 256, p, x,
               cols)
    return cols


def sum_patches(cols: Any, out: Any, kernel: Pair, stride: Pair, padding: Any, dilation: Pair,
                size: Pair, groups: int = 1) -> Any:
    """The transpose of `patches`: images `out` (N, C, H, W), every element of which is written."""
    n, c, h, w = out.shape
    if out.size:
        p = _call(out, c // groups, kernel, stride, padding, dilation, size, groups)
        native(f"sum_patches_last_{SUFFIXES[out.dtype]}", (blocks(n * h * w, 8), groups), 256, p,
               cols, out)
    return out


def sum_patches_by_plane(cols: Any, out: Any, kernel: Pair, stride: Pair, padding: Any,
                         dilation: Pair, size: Pair) -> Any:
    """The transpose of `patches_by_plane`: images `out` (N, C, H, W), all of which is written."""
    n, c, h, w = out.shape
    if out.size:
        p = _call(out, 1, kernel, stride, padding, dilation, size, 1)
        native(f"sum_patches_planes_{SUFFIXES[out.dtype]}", (blocks(n * h * w, 256), c), 256, p,
               cols, out)
    return out
