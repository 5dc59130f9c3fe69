"""Convolutions with one kernel for each channel, for `conv`.

Images are dense, channels last, and have fewer than 2^31 elements.
"""

from __future__ import annotations

import functools
from typing import Any

import cupy
import numpy as np

from .division import DIVISOR, divisor
from .launch import F32, SUFFIXES, Source, blocks, plain, processors
from .linear import summed

__all__ = ["depthwise", "depthwise_spread", "depthwise_weight"]

native = Source("depthwise")
Pair = tuple[int, int]

# The struct Depthwise of source/depthwise.cu.
STRUCT = np.dtype(
    [(name, "i4") for name in ("channels", "height", "width", "high", "wide", "kh", "kw", "sh",
                               "sw", "dh", "dw", "top", "left")]
    + [(f"by_{name}", DIVISOR) for name in ("channels", "height", "width", "high", "wide")])


@functools.lru_cache(maxsize=1024)
def _struct(channels: int, size: Pair, windows: Pair, kernel: Pair, stride: Pair, dilation: Pair,
            before: Pair) -> np.ndarray:
    divided = map(divisor, (channels, *size, *windows))
    return np.array([(channels, *size, *windows, *kernel, *stride, *dilation, *before, *divided)],
                    STRUCT)


def _call(image: Any, windows: Any, kernel: Any, stride: Pair, padding: Any,
          dilation: Pair) -> np.ndarray:
    return _struct(image.shape[3], image.shape[1:3], windows.shape[1:3], tuple(kernel), stride,
                   dilation, (padding[0][0], padding[1][0]))


def depthwise(x: Any, weight: Any, bias: Any, y: Any, stride: Pair, padding: Any,
              dilation: Pair) -> None:
    """y (N, oh, ow, C) of x (N, H, W, C), weights (C, 1, kh, kw) and a bias (C,) or None."""
    native(f"depthwise_{SUFFIXES[x.dtype]}", blocks(y.size, 256), 256,
           _call(x, y, weight.shape[2:], stride, padding, dilation), x, plain(weight),
           None if bias is None else plain(bias), y, np.int32(y.size))


def depthwise_spread(y: Any, weight: Any, bias: Any, x: Any, stride: Pair, padding: Any,
                     dilation: Pair) -> None:
    """The transpose: x (N, H, W, C) of y (N, oh, ow, C)."""
    native(f"depthwise_spread_{SUFFIXES[x.dtype]}", blocks(x.size, 256), 256,
           _call(x, y, weight.shape[2:], stride, padding, dilation), y, plain(weight),
           None if bias is None else plain(bias), x, np.int32(x.size))


def depthwise_weight(x: Any, g: Any, kernel: Pair, stride: Pair, padding: Any,
                     dilation: Pair) -> Any:
    """The gradient (C, 1, kh, kw) to the weights, from x (N, H, W, C) and g (N, oh, ow, C).

    The windows are cut into parts, so that every processor has work, of 64 windows at least.
    """
    channels, taps = x.shape[3], kernel[0] * kernel[1]
    windows = g.size // channels
    wanted = max(1, 4 * processors() // (blocks(channels, 32) * taps))
    of_part = max(64, blocks(windows, wanted))
    parts = blocks(windows, of_part)
    sums = cupy.empty((parts, channels * taps), F32)
    native(f"depthwise_weight_{SUFFIXES[x.dtype]}", (blocks(channels, 32), taps, parts), 256,
           _call(x, g, kernel, stride, padding, dilation), x, g, sums, np.int32(windows),
           np.int32(of_part))
    if parts > 1 or x.dtype != F32:
        sums = summed(sums, x.dtype)
    return sums.reshape(channels, 1, *kernel)
