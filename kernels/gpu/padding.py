"""Padding: one launch for all axes; its transpose, one for each axis that was padded."""

from __future__ import annotations

import math
from typing import Any

import cupy
import numpy as np

from tinygen.primitive import kernel

from .division import DIVISOR, LIMIT, divisor
from .launch import EMPTY, HALVES, NOT_FLOAT, SUFFIXES, Source, blocks, plain

__all__: list[str] = []

native = Source("pad")

MODES = {name: i for i, name in enumerate(("constant", "edge", "wrap", "symmetric", "reflect"))}
PAD = np.dtype([("n", "i4", 4), ("before", "i4", 4), ("padded", DIVISOR, 4), ("mode", "i4"),
                ("value", "f4")])


def _unfit(x: Any, size: int) -> str | None:
    if x.dtype not in SUFFIXES:
        return NOT_FLOAT
    if not x.size or not size:
        return EMPTY
    return None if max(x.size, size) < LIMIT else "2^31 elements or more"


def _lying(x: Any, width: Any) -> tuple[Any, list[int], list[Any]]:
    """x as it lies in memory, the order of its axes there, and their widths."""
    order = sorted(range(x.ndim), key=lambda a: -abs(x.strides[a]) if x.shape[a] > 1 else 0)
    return plain(x.transpose(order)), order, [width[a] for a in order]


def _back(y: Any, order: list[int]) -> Any:
    return y.transpose(sorted(range(len(order)), key=order.__getitem__))


def _merged(shape: Any, width: Any) -> list[tuple[int, int, int]]:
    """(size, before, after) of axes; neighbours that are not padded are one."""
    axes: list[tuple[int, int, int]] = []
    for n, (before, after) in zip(shape, width):
        if axes and not (before or after or axes[-1][1] or axes[-1][2]):
            axes[-1] = (axes[-1][0] * n, 0, 0)
        else:
            axes.append((n, before, after))
    return axes


@kernel("pad", cupy.ndarray, dtypes=HALVES)
def _(x: Any, *, width: Any, mode: str, value: Any) -> Any:
    shape = [n + a + b for n, (a, b) in zip(x.shape, width)]
    reason = _unfit(x, math.prod(shape))
    if reason:
        return reason
    if not isinstance(value, (int, float)) or min(map(min, width), default=0) < 0:
        return "neither a number nor sizes to pad with"
    lying, order, widths = _lying(x, width)
    axes = _merged(lying.shape, widths)
    if len(axes) > 4:
        return "more than four axes"
    axes = [(1, 0, 0)] * (4 - len(axes)) + axes
    how = np.array(([n for n, _, _ in axes], [a for _, a, _ in axes],
                    [divisor(sum(axis)) for axis in axes], MODES[mode], value), PAD)
    y = cupy.empty([n + a + b for n, (a, b) in zip(lying.shape, widths)], x.dtype)
    native(f"pad_{SUFFIXES[x.dtype]}", blocks(y.size, 256), 256, how, lying, y, np.uint32(y.size))
    return _back(y, order)


@kernel("unpad", cupy.ndarray, dtypes=HALVES)
def _(g: Any, *, width: Any, mode: str) -> Any:
    if mode == "constant":
        return "a view"
    shape = [n - a - b for n, (a, b) in zip(g.shape, width)]
    reason = _unfit(g, math.prod(shape))
    if reason:
        return reason
    lying, order, widths = _lying(g, width)
    suffix = SUFFIXES[g.dtype]
    for axis, (before, after) in enumerate(widths):
        if before or after:
            total, trail = lying.shape[axis], math.prod(lying.shape[axis + 1:])
            n = total - before - after
            y = cupy.empty((*lying.shape[:axis], n, *lying.shape[axis + 1:]), g.dtype)
            native(f"unpad_{suffix}", blocks(y.size, 256), 256, lying, y, np.uint32(y.size),
                   np.array(divisor(n), DIVISOR), np.array(divisor(trail), DIVISOR),
                   np.int32(before), np.int32(total), np.int32(MODES[mode]))
            lying = y
    return _back(lying, order)
