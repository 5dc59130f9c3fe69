"""Signals, images and volumes of another size: interpolation.

Along each axis, resizing is a product with a sparse matrix: row i says how output i is mixed of
the inputs around its place. Place i lies at (i + 1/2) s - 1/2 in the input, s being the number of
inputs per output, or at i (n - 1) / (m - 1) with `align_corners`.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ... import ops
from ...ops.arguments import LETTERS, whole_numbers
from ...ops.pool import enlarge
from ...ops.resample import resample
from ...tensor import Tensor

__all__ = ["interpolate", "upsample", "upsample_bilinear", "upsample_nearest"]

MODES = {"nearest": (1, 2, 3), "nearest-exact": (1, 2, 3), "area": (1, 2, 3), "linear": (1,),
         "bilinear": (2,), "bicubic": (2,), "trilinear": (3,)}   # mode -> numbers of axes
CUBIC, CUBIC_ANTIALIAS = -0.75, -0.5                             # Keys' free parameter


def interpolate(input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
                align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
                antialias: bool = False) -> Tensor:
    """(N, C, L), (N, C, H, W) or (N, C, D, H, W) resized to `size` or by `scale_factor`.

    Args:
        size: an int, or one per axis.
        scale_factor: a number, or one per axis; the sizes are rounded down.
        mode: ``"nearest"``, ``"nearest-exact"``, ``"area"`` (adaptive means), ``"linear"``,
            ``"bilinear"``, ``"bicubic"`` or ``"trilinear"``.
        align_corners: the first and last elements keep their places (linear and cubic modes).
        recompute_scale_factor: places follow from the sizes, not from `scale_factor`.
        antialias: when an image shrinks, the kernel widens (``"bilinear"``, ``"bicubic"``).

    Source for cubic: R. Keys, "Cubic convolution interpolation", 1981.

    >>> import tinygen as tg
    >>> interpolate(tg.Tensor([[[0.0, 4.0]]]), size=4, mode="linear").tolist()
    [[[0.0, 1.0, 3.0, 4.0]]]
    """
    axes = _check(input, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)
    image = tuple(input.shape[2:])
    new, factors = _sizes(image, size, scale_factor)
    if recompute_scale_factor or mode == "area":
        factors = [None] * axes
    if mode == "area":
        return getattr(ops, f"adaptive_avg_pool{axes}d")(input, new)
    corners = bool(align_corners)
    if mode.startswith("nearest") and input.dtype.kind in "fV" and all(
            m % n == 0 and factor in (None, m // n)
            for n, m, factor in zip(image, new, factors, strict=True)):
        return enlarge(input, tuple(m // n for n, m in zip(image, new, strict=True)))
    # PyTorch's kernel for small images ignores a factor near 1 or 2, its kernel for others does not
    exact = mode == "nearest" and axes == 2 and sum(new) <= 128
    for axis, n, m, factor in zip(range(2, axes + 2), image, new, factors, strict=True):
        if n == m and (antialias or exact):
            continue                               # as PyTorch: a copy, whatever the factor
        if exact and m == 2 * n:
            factor = 2.0
        if mode in ("nearest", "nearest-exact"):
            input = _nearest(input, axis, n, m, factor, 0.5 if mode == "nearest-exact" else 0.0)
        elif antialias:
            input = resample(input, _antialiased(n, m, factor, mode, corners), axis)
        elif mode == "bicubic":
            input = resample(input, _cubic(n, m, factor, corners), axis)
        elif n != m:
            input = resample(input, _linear(n, m, factor, corners), axis)
    return input


def _check(x: Any, size: Any, scale_factor: Any, mode: str, align_corners: Any, recompute: Any,
           antialias: bool) -> int:
    """The number of axes to resize, if the arguments make sense together."""
    if mode not in MODES:
        raise ValueError(f"[interpolate] mode must be one of {', '.join(MODES)}, got {mode!r}")
    if x.ndim - 2 not in MODES[mode]:
        fits = " or ".join(f"(N, C, {LETTERS[k]})" for k in MODES[mode])
        raise ValueError(f"[interpolate] input: mode {mode!r} needs {fits}, got {tuple(x.shape)}")
    if align_corners is not None and "linear" not in mode and "cubic" not in mode:
        raise ValueError(f"[interpolate] align_corners has no meaning in mode {mode!r}: it needs "
                         "linear, bilinear, bicubic or trilinear")
    if (size is None) == (scale_factor is None):
        raise ValueError("[interpolate] give either size or scale_factor")
    if recompute and size is not None:
        raise ValueError("[interpolate] recompute_scale_factor has no meaning with a size")
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(f"[interpolate] antialias needs mode 'bilinear' or 'bicubic', got "
                         f"{mode!r}")
    if x.dtype.kind not in "fV" and not mode.startswith("nearest"):
        raise ValueError(f"[interpolate] input: mode {mode!r} needs floating point numbers, got "
                         f"{x.dtype}")
    return x.ndim - 2


def _sizes(image: tuple[int, ...], size: Any, scale_factor: Any) -> tuple[list[int], list[Any]]:
    """The new size of each axis, and the factors they were made with (or None)."""
    axes = len(image)
    if size is not None:
        new = list(whole_numbers(size) or ())
        new = new * axes if not hasattr(size, "__iter__") else new
        if len(new) != axes or min(new) < 1:
            raise ValueError(f"[interpolate] size must be a positive int or one for each of {axes} "
                             f"axes, got {size!r}")
        return new, [None] * axes
    factors = [float(f) for f in (scale_factor if hasattr(scale_factor, "__iter__")
                                  else (scale_factor,) * axes)]
    if len(factors) != axes or min(factors) <= 0:
        raise ValueError(f"[interpolate] scale_factor must be a positive number or one for each of "
                         f"{axes} axes, got {scale_factor!r}")
    new = [math.floor(n * f) for n, f in zip(image, factors, strict=True)]
    if min(new) < 1:
        raise ValueError(f"[interpolate] scale_factor {scale_factor!r} leaves nothing of {image}")
    return new, factors


def _nearest(x: Any, axis: int, n: int, m: int, factor: float | None, shift: float) -> Any:
    # in float32, as PyTorch: the rounding decides which neighbour is nearest
    step = np.float32(1 / factor) if factor is not None else np.float32(n) / np.float32(m)
    places = np.floor((np.arange(m, dtype=np.float32) + np.float32(shift)) * step)
    return ops.take(x, Tensor(np.minimum(places, n - 1).astype(np.int64), device=x.device), axis)


def _places(n: int, m: int, factor: float | None, corners: bool) -> np.ndarray:
    """Where the m outputs lie among the n inputs."""
    if corners:
        return np.arange(m) * ((n - 1) / (m - 1) if m > 1 else 0.0)
    return (np.arange(m) + 0.5) * (1 / factor if factor is not None else n / m) - 0.5


@functools.lru_cache(maxsize=64)
def _linear(n: int, m: int, factor: float | None, corners: bool) -> np.ndarray:
    """The (m, n) matrix that interpolates linearly."""
    at = np.clip(_places(n, m, factor, corners), 0, None)
    low = np.minimum(np.floor(at).astype(int), n - 1)
    far = np.clip(at - low, 0, 1)
    return _matrix(n, np.stack([low, low + 1], 1), np.stack([1 - far, far], 1))


@functools.lru_cache(maxsize=64)
def _cubic(n: int, m: int, factor: float | None, corners: bool) -> np.ndarray:
    """The (m, n) matrix that interpolates with Keys' cubic through four neighbours."""
    at = _places(n, m, factor, corners)
    taps = np.floor(at).astype(int)[:, None] + np.arange(-1, 3)
    return _matrix(n, taps, keys_cubic(at[:, None] - taps, CUBIC))


def keys_cubic(x: Any, a: float) -> Any:
    """Keys' cubic kernel: 1 at 0, 0 at the other whole numbers, 0 beyond 2."""
    x = abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return ops.where(x <= 1, near, far) if isinstance(x, Tensor) else np.where(
        x <= 1, near, np.where(x < 2, far, 0))


def _matrix(n: int, taps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Rows that mix the inputs at `taps` (m, k), of which those outside stand for the edge."""
    out = np.zeros((len(taps), n))
    np.add.at(out, (np.arange(len(taps))[:, None], np.clip(taps, 0, n - 1)), weights)
    return out


@functools.lru_cache(maxsize=64)
def _antialiased(n: int, m: int, factor: float | None, mode: str, corners: bool) -> np.ndarray:
    """The (m, n) matrix of a kernel that is as wide as an output, with weights that sum to 1."""
    if corners:
        step = (n - 1) / (m - 1) if m > 1 else 0.0
    else:
        step = 1 / factor if factor is not None else n / m
    wide = max(step, 1.0)
    support = (1 if mode == "bilinear" else 2) * wide
    out = np.zeros((m, n))
    for i in range(m):
        center = step * (i + 0.5)
        low = max(int(center - support + 0.5), 0)
        high = min(int(center + support + 0.5), n)
        x = (np.arange(low, high) - center + 0.5) / wide
        weights = (np.maximum(1 - abs(x), 0) if mode == "bilinear"
                   else keys_cubic(x, CUBIC_ANTIALIAS))
        out[i, low:high] = weights / (weights.sum() or 1)
    return out


def upsample(input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
             align_corners: bool | None = None) -> Tensor:
    """`interpolate` under its old name."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Any, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` with mode ``"nearest"``, under its old name."""
    return interpolate(input, size, scale_factor, mode="nearest")


def upsample_bilinear(input: Any, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` with mode ``"bilinear"`` and `align_corners`, under its old name."""
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)
