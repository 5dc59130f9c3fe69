"""Arithmetic and sums of 16-bit floats: which calls the CUDA kernels take.

CuPy has one launch for each of these in float32, and keeps it. Which of its functions know bfloat16
depends on its version; where one does not, the engine casts each operand to float32 and the result
back, three or four launches. These are one, and sums have one order.
"""

from __future__ import annotations

import math
from typing import Any

import cupy
import numpy as np

from tinygen.primitive import kernel

from .launch import EMPTY, F32, MIXED, SUFFIXES, WIDE, Source, blocks, plain, processors
from .linear import summed
from .updates import dense

__all__: list[str] = []

native, sums = Source("arithmetic"), Source("reduce")
TWO_BYTES = ("bfloat16", "float16")
NOT_HALF = "neither bfloat16 nor float16"
BROADCAST = "shapes that broadcast otherwise than over the first axes"
AXES = "axes that are neither the last nor, for a sum, the first"


def _suffix(x: Any) -> str | None:
    return SUFFIXES.get(x.dtype) if x.dtype is not F32 and x.dtype.itemsize == 2 else None


# -- elementwise -----------------------------------------------------------------------------------


def _unary(name: str) -> None:
    def call(x: Any) -> Any:
        suffix = _suffix(x)
        if suffix is None:
            return NOT_HALF
        if not x.size:
            return EMPTY
        if not dense(x) or x.data.ptr % 16:
            x = plain(x)
        y = cupy.empty_like(x)
        packs = x.size % WIDE[x.dtype] == 0
        native(f"{name}_{suffix}", blocks(x.size, 256 * (WIDE[x.dtype] if packs else 1)), 256, x, y,
               x.size, packs)
        return y
    call.__doc__ = f"{name}: 16 bytes to a thread."
    kernel(name, cupy.ndarray, dtypes=TWO_BYTES)(call)


def _operand(x: Any, shape: tuple[int, ...], lead: Any) -> tuple[Any, int] | None:
    """The array in the lead's memory order, and its period or 0; None where it does not fit."""
    if x.shape == shape:
        if x.strides == lead.strides and x.data.ptr % 16 == 0:
            return x, 0
        same = cupy.empty_like(lead)
        same[...] = x
        return same, 0
    ends = x.shape
    while ends and ends[0] == 1:
        ends = ends[1:]
    if ends != shape[len(shape) - len(ends):] or not lead.flags.c_contiguous:
        return None
    return plain(x), x.size


def _binary(name: str) -> None:
    def call(a: Any, b: Any) -> Any:
        arrays = [x for x in (a, b) if isinstance(x, cupy.ndarray)]
        suffix = _suffix(arrays[0])
        if suffix is None:
            return NOT_HALF
        if arrays[-1].dtype != arrays[0].dtype:
            return MIXED
        lead = max(arrays, key=lambda x: x.size)
        if not lead.size:
            return EMPTY
        shape = lead.shape
        if len(arrays) == 2 and max(a.ndim, b.ndim) > len(shape):
            return BROADCAST
        if not dense(lead) or lead.data.ptr % 16:
            lead = plain(lead)
        number, given, periods = 0.0, [], []
        for x in (a, b):
            if isinstance(x, np.ndarray):
                return MIXED                 # of the host: CuPy says so
            if not isinstance(x, cupy.ndarray):
                number = float(x)
                given.append(None)
                periods.append(0)
                continue
            found = _operand(x, shape, lead)
            if found is None:
                return BROADCAST
            given.append(found[0])
            periods.append(found[1])
        y, wide = cupy.empty_like(lead), WIDE[lead.dtype]
        packs = not any(n % wide for n in (lead.size, *periods))
        native(f"{name}_{suffix}", blocks(lead.size, 256 * (wide if packs else 1)), 256, *given, y,
               lead.size, *periods, number, packs)
        return y
    call.__doc__ = f"{name}: 16 bytes of each operand to a thread."
    kernel(name, cupy.ndarray, dtypes=TWO_BYTES)(call)


for _name in ("negative", "absolute", "square", "relu", "exp", "log", "sqrt", "rsqrt", "tanh"):
    _unary(_name)
for _name in ("add", "subtract", "multiply", "divide", "maximum", "minimum"):
    _binary(_name)


# -- sums ------------------------------------------------------------------------------------------


def _row_sums(x: Any, rows: int, n: int, scale: float) -> Any:
    """scale * the sums of rows of n values; in two steps where there are few and long ones."""
    suffix, wide = SUFFIXES[x.dtype], WIDE[x.dtype]
    out = cupy.empty(rows, x.dtype)
    # Blocks for all processors, each with 64 KB at least.
    parts = max(1, min(blocks(n, 1 << 15), blocks(8 * processors(), rows)))
    if parts == 1:
        _launch(suffix, x, out, rows, n, n, scale, n % wide == 0)
        return out
    size = blocks(blocks(n, parts), wide) * wide
    parts = blocks(n, size)
    made = cupy.empty((rows, parts), F32)
    _launch(f"{suffix}_f32", x, made, rows, n, size, 1.0, n % wide == 0)
    _launch(f"f32_{suffix}", made, out, rows, parts, parts, scale, parts % WIDE[F32] == 0)
    return out


def _launch(suffix: str, x: Any, out: Any, rows: int, n: int, size: int, scale: float,
            packs: bool) -> None:
    block = (32, 8) if size <= 1024 else (256, 1)
    parts = blocks(n, size)
    sums(f"sum_rows_{suffix}", blocks(rows * parts, block[1]), block, x, out, rows, n, size, parts,
         scale, packs)


def _reduce(x: Any, axis: Any, keepdims: bool, mean: bool) -> Any:
    if _suffix(x) is None:
        return NOT_HALF
    if not x.size or not x.ndim:
        return EMPTY
    given = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    axes = sorted({a % x.ndim for a in given})
    first, last = axes == list(range(len(axes))), axes == list(range(x.ndim - len(axes), x.ndim))
    if not axes or not (last or (first and not mean)):
        return AXES
    kept = [1 if i in axes else n for i, n in enumerate(x.shape)]
    shape = kept if keepdims else [n for i, n in enumerate(x.shape) if i not in axes]
    n = math.prod(x.shape[i] for i in axes)
    x = plain(x)
    if last:
        return _row_sums(x, x.size // n, n, 1 / n if mean else 1.0).reshape(shape)
    return summed(x.reshape(n, -1)).reshape(shape)


@kernel("sum", cupy.ndarray, dtypes=TWO_BYTES)
def sum_(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    """In float32, in an order that does not vary, rounded once."""
    return _reduce(x, axis, keepdims, False)


@kernel("mean", cupy.ndarray, dtypes=TWO_BYTES)
def mean(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    """As sum, divided before it is rounded."""
    return _reduce(x, axis, keepdims, True)
