"""Images sampled at the places that a grid names: spatial transformers.

Source: M. Jaderberg et al., "Spatial Transformer Networks", 2015.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from ... import ops
from ...constants import beside
from ...tensor import Tensor
from .resize import CUBIC, keys_cubic

__all__ = ["affine_grid", "grid_sample"]


def affine_grid(theta: Any, size: Any, align_corners: bool | None = None) -> Tensor:
    """Where an affine map takes the elements of an image: a grid for `grid_sample`.

    Args:
        theta: (N, 2, 3) maps of (x, y, 1), or (N, 3, 4) maps of (x, y, z, 1).
        size: (N, C, H, W) or (N, C, D, H, W) of the output.
        align_corners: -1 and 1 are the centres of the outermost elements, else their outer edges.

    Returns:
        (N, H, W, 2) or (N, D, H, W, 3) coordinates between -1 and 1 where theta is the identity.
    """
    size = tuple(size)
    n = len(size) - 2
    if n not in (2, 3) or tuple(theta.shape) != (size[0], n, n + 1):
        raise ValueError(f"[affine_grid] theta must be (N, 2, 3) for size (N, C, H, W), or "
                         f"(N, 3, 4) for (N, C, D, H, W); got {tuple(theta.shape)} and {size}")
    if min(size) < 1:
        raise ValueError(f"[affine_grid] size must be positive, got {size}")
    lines = [_line(m, np.dtype(theta.dtype).type, bool(align_corners)) for m in size[2:]]
    mesh = np.meshgrid(*lines, indexing="ij")[::-1]               # x first
    base = np.stack([*mesh, np.ones(size[2:], theta.dtype)], axis=-1).reshape(-1, n + 1)
    points = Tensor.wrap(beside(base, theta))
    return ops.reshape(ops.matmul(points, ops.swapaxes(theta, 1, 2)), (size[0], *size[2:], n))


def _line(m: int, kind: Any, corners: bool) -> np.ndarray:
    """m places between -1 and 1, counted from both ends as PyTorch does: the middle is exact."""
    if m == 1:
        return np.zeros(1, kind)
    i, step = np.arange(m).astype(kind), kind(2) / kind(m - 1)
    line = np.where(i < m // 2, i * step - 1, 1 - (m - 1 - i) * step)
    return line if corners else line * kind(m - 1) / kind(m)


def grid_sample(input: Any, grid: Any, mode: str = "bilinear", padding_mode: str = "zeros",
                align_corners: bool | None = None) -> Tensor:
    """`input` at the places of `grid`: (N, C, H, W) and (N, H', W', 2) -> (N, C, H', W').

    Args:
        input: images (N, C, H, W) or volumes (N, C, D, H, W).
        grid: coordinates (x, y) or (x, y, z) in the last axis; -1 and 1 are the image's ends.
        mode: ``"bilinear"`` (trilinear in volumes), ``"nearest"``, ``"bicubic"`` (images).
        padding_mode: what lies outside: ``"zeros"``, the ``"border"``, or a ``"reflection"``.
        align_corners: -1 and 1 are the centres of the outermost elements, else their outer edges.
    """
    n = _check(input, grid, mode, padding_mode)
    image = tuple(input.shape[2:])
    places = tuple(grid.shape[1:-1])
    # one row per pixel, so that taking pixels is taking rows
    order = (0, *range(2, n + 2), 1)
    rows = input.shape[0] * math.prod(image)
    pixels = ops.reshape(ops.permute_dims(input, order), (rows, input.shape[1]))
    first = Tensor.wrap(beside(np.arange(input.shape[0])[:, None] * math.prod(image), input))
    grid = ops.reshape(grid, (grid.shape[0], math.prod(places), n))
    corners = bool(align_corners)
    coordinates = [_pixels_from(grid[..., n - 1 - axis], image[axis], corners)
                   for axis in range(n)]
    taps = [_taps(c, m, mode, padding_mode, corners) for c, m in zip(coordinates, image,
                                                                     strict=True)]
    y: Any = 0
    for row in taps[0]:                # all taps of a row at once: their gradients are added once
        rows, weights = [], []
        for chosen in itertools.product([row], *taps[1:]):
            index, weight = first, 1.0
            for axis, (place, share) in enumerate(chosen):
                index = index + place * math.prod(image[axis + 1:])
                weight = weight * share
            rows.append(index)
            weights.append(weight)
        picked = pixels[ops.stack(rows)]                          # (taps, N, H'*W', C)
        y = y + (picked * ops.expand_dims(ops.stack(weights), -1)).sum(axis=0)
    y = ops.reshape(y, (grid.shape[0], *places, input.shape[1]))
    return ops.permute_dims(y, (0, n + 1, *range(1, n + 1)))


def _check(x: Any, grid: Any, mode: str, padding_mode: str) -> int:
    n = x.ndim - 2
    if n not in (2, 3) or grid.ndim != x.ndim or grid.shape[0] != x.shape[0] or (
            grid.shape[-1] != n):
        raise ValueError(f"[grid_sample] input (N, C, H, W) needs grid (N, H', W', 2), and (N, C, "
                         f"D, H, W) needs (N, D', H', W', 3); got {tuple(x.shape)} and "
                         f"{tuple(grid.shape)}")
    if 0 in x.shape[2:]:
        raise ValueError(f"[grid_sample] input {tuple(x.shape)} is empty")
    if x.dtype != grid.dtype:
        raise ValueError(f"[grid_sample] input and grid must have one dtype, got {x.dtype} and "
                         f"{grid.dtype}")
    if mode not in ("bilinear", "nearest", "bicubic") or (mode == "bicubic" and n == 3):
        raise ValueError(f"[grid_sample] mode must be 'bilinear', 'nearest', or 'bicubic' for "
                         f"images; got {mode!r} for {tuple(x.shape)}")
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(f"[grid_sample] padding_mode must be 'zeros', 'border' or 'reflection', "
                         f"got {padding_mode!r}")
    return n


def _pixels_from(c: Any, n: int, corners: bool) -> Any:
    """Coordinates between -1 and 1 as places among n elements."""
    return (c + 1) / 2 * (n - 1) if corners else ((c + 1) * n - 1) / 2


def _taps(c: Any, n: int, mode: str, padding_mode: str, corners: bool) -> list[tuple[Any, Any]]:
    """Along one axis: which elements a sample mixes, as pairs (index, weight)."""
    if mode == "bicubic":
        c = _inside(c, n, padding_mode, corners) if padding_mode == "zeros" else c
        low = ops.floor(c)
        far = c - low
        return [_element(_inside(low + k, n, padding_mode, corners), n, keys_cubic(far - k, CUBIC))
                for k in range(-1, 3)]
    c = _inside(c, n, padding_mode, corners)
    if mode == "nearest":
        return [_element(c.round(), n, ops.where(c == c, 1.0, c))]   # the grid's gradient is 0
    low = ops.floor(c)
    far = c - low
    return [_element(low, n, 1 - far), _element(low + 1, n, far)]


def _element(place: Any, n: int, weight: Any) -> tuple[Any, Any]:
    """An index, and the weight if the place is one of the n elements (0 if not)."""
    outside = ops.logical_not(ops.logical_and(place >= 0, place <= n - 1))
    index = ops.astype(ops.where(outside, 0.0, place).detach(), "int64")
    return index, ops.where(outside, 0.0, weight)


def _inside(c: Any, n: int, padding_mode: str, corners: bool) -> Any:
    """Places outside the n elements brought to the border, or reflected."""
    if padding_mode == "zeros":
        return ops.clip(c, -3, n + 2)                 # from there on no tap meets an element
    if padding_mode == "reflection":
        c = _reflected(c, 0.0, n - 1.0) if corners else _reflected(c, -0.5, n - 0.5)
    # no gradient at the ends themselves either
    return ops.where(c <= 0, 0.0, ops.where(c >= n - 1, float(n - 1), c))


def _reflected(c: Any, low: float, high: float) -> Any:
    """Places thrown back and forth between two mirrors."""
    span = high - low
    if span == 0:
        return ops.where(c == c, 0.0, c)              # one element: everything is it
    c = c - low
    c = ops.where(c < 0, -c, c)
    flips = ops.floor(c.detach() / span)
    rest = c - flips * span
    return ops.where(flips % 2 == 0, rest, span - rest) + low
