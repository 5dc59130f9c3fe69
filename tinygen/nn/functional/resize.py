"""Images of another size: interpolation and the shuffling of pixels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import ops
from ...tensor import Tensor

__all__ = ["interpolate", "pixel_shuffle"]


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
