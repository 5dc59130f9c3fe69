"""Rows of tables by number (embeddings), and gradients added up by number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygen.ops.index import SLOT
from tinygen.primitive import kernel

from .lazy import F32, F64, NOT_FLOAT, Native, threads_for

__all__: list[str] = []

native = Native("gather")

GRAIN = 1 << 15          # numbers moved for which one more thread pays, at 0.3 ns each
OTHER = "an index that is more than numbers of rows"
RANGE = "a number that is out of range"
FEW = "few numbers"
SCATTERED = "not contiguous"


@kernel("getitem", np.ndarray, smallest=1 << 11)
def _(x: Any, *arrays: Any, template: Any) -> Any:
    if len(template) != 1 or template[0] is not SLOT:
        return OTHER
    return _rows(x, arrays[0], -len(x))


@kernel("look_up", np.ndarray, smallest=1 << 11)
def _(table: Any, numbers: Any) -> Any:
    return _rows(table, numbers, 0)


def _rows(x: Any, numbers: Any, least: int) -> Any:
    """Rows of x by numbers of at least `least`."""
    if numbers.size * (x.size // len(x)) < GRAIN or x.ndim < 2:
        return FEW
    if numbers.dtype.kind not in "iu":
        return OTHER
    width = math.prod(x.shape[1:])
    if x.dtype != F32 and x.dtype != F64:
        return NOT_FLOAT
    if not x.flags.c_contiguous:
        return SCATTERED
    out = np.empty((*numbers.shape, *x.shape[1:]), x.dtype)
    fits = native.rows(x.reshape(-1, width), _flat(numbers), out.reshape(-1, width),
                       least, threads_for(out.size, GRAIN))
    return out if fits else RANGE


def _flat(numbers: Any) -> Any:
    """Indices as one axis of int64: one type for the compiler."""
    return np.ascontiguousarray(numbers, np.int64).reshape(-1)


@kernel("scatter_index", np.ndarray, smallest=1 << 9)
def _(g: Any, *arrays: Any, template: Any, shape: Any) -> Any:
    if len(template) != 1 or template[0] is not SLOT or arrays[0].dtype.kind not in "iu":
        return OTHER
    (numbers,) = arrays
    if g.shape != (*numbers.shape, *shape[1:]):
        return "values that broadcast"
    if g.dtype != F32 and g.dtype != F64:
        return NOT_FLOAT
    if not g.size:
        return FEW
    width = math.prod(shape[1:])
    out = np.zeros(shape, g.dtype)
    parts = min(threads_for(g.size, GRAIN), max(1, width // 16))
    fits = native.scatter(np.ascontiguousarray(g).reshape(-1, width), _flat(numbers),
                          out.reshape(-1, width), parts)
    return out if fits else RANGE
