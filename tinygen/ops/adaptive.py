"""Pooling with a wanted output size: adaptive and fractional windows."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..tensor import Tensor
from .arguments import NUMBERS, Sizes, as_tensor, batched, each_axis
from .creation import zeros
from .index import getitem, take_along_axis
from .pool import _positions as tap_positions
from .pool import max_pool_p
from .reduce import argmax, mean_p
from .resample import resample
from .shape import astype, broadcast_to, concat, expand_dims, reshape, reshape_p, squeeze

__all__ = ["adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
           "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
           "fractional_max_pool2d", "fractional_max_pool2d_with_indices",
           "fractional_max_pool3d", "fractional_max_pool3d_with_indices"]

# -- adaptive: window i of m spans elements floor(i n / m) to ceil((i + 1) n / m) ----------------


def adaptive_avg_pool1d(input: Any, output_size: Any) -> Tensor:
    """Means over `output_size` windows that cover the signals (N, C, L): `adaptive_avg_pool2d`."""
    return _adaptive_mean(1, "adaptive_avg_pool1d", input, output_size)


def adaptive_avg_pool2d(input: Any, output_size: Any) -> Tensor:
    """Means over a grid of windows that covers the image: (N, C, H, W) -> (N, C, *output_size).

    Window i of m spans rows floor(i H / m) to ceil((i + 1) H / m). None keeps a size.
    """
    return _adaptive_mean(2, "adaptive_avg_pool2d", input, output_size)


def adaptive_avg_pool3d(input: Any, output_size: Any) -> Tensor:
    """Means over windows that cover the volumes (N, C, D, H, W): see `adaptive_avg_pool2d`."""
    return _adaptive_mean(3, "adaptive_avg_pool3d", input, output_size)


def adaptive_max_pool1d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima over `output_size` windows that cover the signals: see `adaptive_max_pool2d`."""
    return _adaptive_max(1, "adaptive_max_pool1d", input, output_size, return_indices)


def adaptive_max_pool2d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima over the windows of `adaptive_avg_pool2d`, and their places in the image if wanted."""
    return _adaptive_max(2, "adaptive_max_pool2d", input, output_size, return_indices)


def adaptive_max_pool3d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima over windows that cover the volumes: see `adaptive_max_pool2d`."""
    return _adaptive_max(3, "adaptive_max_pool3d", input, output_size, return_indices)


def _adaptive_mean(axes: int, op: str, x: Any, output_size: Any) -> Tensor:
    x, has_batch = batched(x, axes, op)
    if x.dtype.kind not in "fV":
        raise ValueError(f"[{op}] input: a mean needs floating point numbers, got {x.dtype}")
    size = _wanted(axes, op, x, output_size)
    image, where = tuple(x.shape[2:]), tuple(range(2, axes + 2))
    if 1 == max(size) == min(size):
        y = mean_p(x, axis=where, keepdims=True)
    elif all(m and n % m == 0 for n, m in zip(image, size)):
        split = [v for n, m in zip(image, size) for v in (m, n // m)]
        y = mean_p(reshape_p(x, shape=(*x.shape[:2], *split)),
                   axis=tuple(range(3, 2 * axes + 3, 2)))
    else:
        y = x
        for axis, n, m in zip(where, image, size):
            if m != n:
                y = resample(y, _bands(m, n), axis)
    return y if has_batch else squeeze(y, 0)


def _adaptive_max(axes: int, op: str, x: Any, output_size: Any, return_indices: bool) -> Any:
    x, has_batch = batched(x, axes, op)
    size = _wanted(axes, op, x, output_size)
    image = tuple(x.shape[2:])
    if 0 in size:                                                 # nothing is asked for
        y = _adaptive_mean(axes, op, x, size)
        places: Any = zeros(y.shape, dtype="int64", device=x.device)
    elif all(n % m == 0 for n, m in zip(image, size)):
        kernel = tuple(n // m for n, m in zip(image, size))
        how = {"kernel": kernel, "stride": kernel, "padding": (0,) * axes,
               "dilation": (1,) * axes, "size": size}
        y, tap = max_pool_p(x, **how)
        places = tap_positions(tap, image, how) if return_indices else None
    else:
        tables = [_windows_of(m, n) for n, m in zip(image, size)]
        flat = Tensor(_flat(tables, image), device=x.device)      # (*size, taps)
        y, places = _largest(x, broadcast_to(flat, (*x.shape[:2], *flat.shape)))
    if not return_indices:
        return y if has_batch else squeeze(y, 0)
    return (y, places) if has_batch else (squeeze(y, 0), squeeze(places, 0))


def _wanted(axes: int, op: str, x: Any, output_size: Any) -> Sizes:
    wish = tuple(output_size) if hasattr(output_size, "__iter__") else (output_size,) * axes
    wish = wish * axes if len(wish) == 1 else wish
    if len(wish) != axes:
        raise ValueError(f"[{op}] output_size must be an int or {NUMBERS[axes]}, got "
                         f"{output_size!r}")
    if 0 in x.shape[1:]:
        raise ValueError(f"[{op}] input {tuple(x.shape)} is empty")
    return each_axis([m if m is not None else n for m, n in zip(wish, x.shape[2:])], axes, op,
                     "output_size", 0)


@functools.lru_cache(maxsize=64)
def _bands(m: int, n: int) -> np.ndarray:
    """A matrix (m, n) whose row i averages the elements of window i."""
    bands = np.zeros((m, n))
    for i in range(m):
        start, end = i * n // m, -(-(i + 1) * n // m)
        bands[i, start:end] = 1 / (end - start)
    return bands


def _windows_of(m: int, n: int) -> np.ndarray:
    """The places in each window, (m, longest); shorter windows repeat their last place."""
    i = np.arange(m)
    start, end = i * n // m, -(-(i + 1) * n // m)
    return np.minimum(start[:, None] + np.arange((end - start).max()), end[:, None] - 1)


def _flat(tables: list[np.ndarray], image: Sizes) -> np.ndarray:
    """One table of places per axis -> places in the flattened image, (*size, taps)."""
    n, total = len(tables), np.zeros((), int)
    for axis, table in enumerate(tables):
        shape = [1] * (2 * n)
        shape[axis], shape[n + axis] = table.shape
        total = total + table.reshape(shape) * math.prod(image[axis + 1:])
    return total.reshape(*(len(t) for t in tables), -1)


def _largest(x: Any, places: Any) -> tuple[Any, Any]:
    """The largest of x's elements at `places` (N, C, *size, taps), and where it is."""
    n, c = x.shape[:2]
    size = tuple(places.shape[2:-1])
    flat = reshape(places, (n, c, math.prod(places.shape[2:])))
    found = take_along_axis(reshape(x, (n, c, math.prod(x.shape[2:]))), flat, axis=2)
    found = reshape(found, tuple(places.shape))
    best = expand_dims(argmax(found, axis=-1), -1)
    where = reshape(take_along_axis(places, best, axis=-1), (n, c, *size))
    return reshape(take_along_axis(found, best, axis=-1), (n, c, *size)), where


# -- fractional ---------------------------------------------------------------------------------


def fractional_max_pool2d(input: Any, kernel_size: Any, output_size: Any = None,
                          output_ratio: Any = None, return_indices: bool = False,
                          _random_samples: Any = None) -> Any:
    """Maxima over windows at pseudo-random places, so that sizes shrink by any fraction.

    Args:
        input: (N, C, H, W) or (C, H, W).
        output_size: the wanted (H', W'); or
        output_ratio: the wanted H' / H and W' / W, between 0 and 1.
        return_indices: give the places in the flattened image too.
        _random_samples: (N, C, 2) numbers from [0, 1) to place the windows with, column offsets
            first; drawn if None.

    Source: B. Graham, "Fractional Max-Pooling", 2014.
    """
    y, places = _fractional(2, "fractional_max_pool2d", input, kernel_size, output_size,
                            output_ratio, _random_samples)
    return (y, places) if return_indices else y


def fractional_max_pool3d(input: Any, kernel_size: Any, output_size: Any = None,
                          output_ratio: Any = None, return_indices: bool = False,
                          _random_samples: Any = None) -> Any:
    """`fractional_max_pool2d` for volumes (N, C, D, H, W), with samples (N, C, 3)."""
    y, places = _fractional(3, "fractional_max_pool3d", input, kernel_size, output_size,
                            output_ratio, _random_samples)
    return (y, places) if return_indices else y


def fractional_max_pool2d_with_indices(input: Any, kernel_size: Any, output_size: Any = None,
                                       output_ratio: Any = None, return_indices: bool = False,
                                       _random_samples: Any = None) -> tuple[Any, Any]:
    """`fractional_max_pool2d` with `return_indices`."""
    return _fractional(2, "fractional_max_pool2d", input, kernel_size, output_size, output_ratio,
                       _random_samples)


def fractional_max_pool3d_with_indices(input: Any, kernel_size: Any, output_size: Any = None,
                                       output_ratio: Any = None, return_indices: bool = False,
                                       _random_samples: Any = None) -> tuple[Any, Any]:
    """`fractional_max_pool3d` with `return_indices`."""
    return _fractional(3, "fractional_max_pool3d", input, kernel_size, output_size, output_ratio,
                       _random_samples)


def _fractional(axes: int, op: str, x: Any, kernel_size: Any, output_size: Any,
                output_ratio: Any, samples: Any) -> tuple[Any, Any]:
    x, has_batch = batched(x, axes, op)
    image = tuple(x.shape[2:])
    kernel = each_axis(kernel_size, axes, op, "kernel_size")
    size = fractional_size(axes, op, image, output_size, output_ratio)
    for n, k, m in zip(image, kernel, size):
        if m + k - 1 > n:
            raise ValueError(f"[{op}] input {tuple(x.shape)}: {m} windows of {k} do not fit {n} "
                             f"(output_size + kernel_size - 1 may be at most the input's size)")
    if samples is None:
        from .. import random  # it is made of ops itself
        samples = random.rand(*x.shape[:2], axes, dtype=x.dtype, device=x.device)
    samples = as_tensor(samples)
    if samples.ndim != 3 or len(samples) < len(x) or tuple(samples.shape[1:]) != (x.shape[1], axes):
        raise ValueError(f"[{op}] _random_samples must have shape {(*x.shape[:2], axes)}, got "
                         f"{tuple(samples.shape)}")
    samples = samples[:len(x)]
    total: Any = 0
    for axis, (n, k, m) in enumerate(zip(image, kernel, size)):
        # PyTorch's samples are in the order (width, height), but (depth, height, width)
        sample = getitem(samples, (..., slice(-1 - axis, -axis or None) if axes == 2
                                   else slice(axis, axis + 1)))
        places = expand_dims(_starts(sample, n, k, m), -1) + Tensor(np.arange(k),
                                                                    device=x.device)
        shape = [1] * (2 * axes)
        shape[axis], shape[axes + axis] = m, k
        total = reshape(places, (*x.shape[:2], *shape)) * math.prod(image[axis + 1:]) + total
    y, where = _largest(x, reshape(total, (*x.shape[:2], *size, math.prod(kernel))))
    return (y, where) if has_batch else (squeeze(y, 0), squeeze(where, 0))


def _starts(sample: Any, n: int, k: int, m: int) -> Any:
    """Where the m windows of an axis start, from (N, C, 1) samples: (N, C, m) integers."""
    last = Tensor(np.full((*sample.shape[:2], 1), n - k), device=sample.device)
    if m == 1:
        return last
    kind = np.dtype(sample.dtype).type
    alpha = kind(n - k) / kind(m - 1)
    steps = Tensor(np.arange(m - 1).astype(sample.dtype), device=sample.device)
    starts = astype((steps + sample) * alpha, "int64") - astype(sample * alpha, "int64")
    return concat([starts, last], axis=2)


def fractional_size(axes: int, op: str, image: Sizes, output_size: Any,
                    output_ratio: Any) -> Sizes:
    """The wanted size, from one of the two arguments that say it."""
    if (output_size is None) == (output_ratio is None):
        raise ValueError(f"[{op}] give either output_size or output_ratio")
    if output_size is not None:
        return each_axis(output_size, axes, op, "output_size")
    ratios = check_ratio(output_ratio, axes, op)
    return each_axis([int(n * r) for n, r in zip(image, ratios)], axes, op, "output size")


def check_ratio(output_ratio: Any, axes: int, op: str) -> tuple[float, ...]:
    """A number between 0 and 1 for each axis."""
    ratios = (tuple(output_ratio) if isinstance(output_ratio, Sequence)
              else (output_ratio,) * axes)
    if len(ratios) != axes or not all(0 < r < 1 for r in ratios):
        raise ValueError(f"[{op}] output_ratio must be between 0 and 1 for each of {axes} axes, "
                         f"got {output_ratio!r}")
    return ratios
