"""A linear layer with its activation: what is done to a product, forward and backward, in one pass.

The product itself is cuBLAS's (`gemm`). Forward the bias is added and the activation applied in
place; backward the slope of the activation, and the sums for the bias, take one pass over g and y.
"""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from tinygen.primitive import KERNELS, kernel

from .gemm import gemm
from .launch import (
    EMPTY,
    F32,
    HALVES,
    MIXED,
    NOT_FLOAT,
    SUFFIXES,
    WIDE,
    Source,
    blocks,
    plain,
    processors,
)

__all__ = ["COLUMNS", "LANES", "partition", "summed"]

native = Source("linear")
ACTIVATIONS = {"relu": 1, "leaky_relu": 2, "tanh": 3, "sigmoid": 4}
COLUMNS, LANES = 32, 8           # of a block in linear.cu
MISFIT = "sizes do not fit"
TOO_WIDE = "2^31 columns or more"


def partition(rows: int, n: int) -> tuple[int, int]:
    """(parts, rows of a part) in which columns are summed: four blocks to a processor are busy.

    At least 64 rows to a part, so that its sum is little beside what it read.
    """
    wanted = max(1, 4 * processors() // blocks(n, COLUMNS))
    size = max(64, blocks(rows, wanted))
    return blocks(rows, size), size


def summed(x: Any, dtype: Any = None) -> Any:
    """The sums of the columns of x (rows, n), as `dtype` or x's own; the bits do not vary."""
    rows, n = x.shape
    dtype = x.dtype if dtype is None else dtype
    parts, size = partition(rows, n)
    if parts > 1 or dtype != F32:
        made = cupy.empty((parts, n), F32)
        native(f"column_sums_{SUFFIXES[x.dtype]}", (blocks(n, COLUMNS), parts), COLUMNS * LANES,
               plain(x), made, rows, np.int32(n), size)
        return _total(made, dtype)
    out = cupy.empty(n, F32)
    native(f"column_sums_{SUFFIXES[x.dtype]}", blocks(n, COLUMNS), COLUMNS * LANES, plain(x), out,
           rows, np.int32(n), rows)
    return out


def _total(parts: Any, dtype: Any) -> Any:
    """The sum of the parts, in one block for 32 columns."""
    count, n = parts.shape
    out = cupy.empty(n, dtype)
    suffix = "f32" if dtype == F32 else f"f32_{SUFFIXES[dtype]}"
    native(f"column_sums_{suffix}", blocks(n, COLUMNS), COLUMNS * LANES, parts, out, count,
           np.int32(n), count)
    return out


def _misfit(x: Any, weight: Any, bias: Any) -> str | None:
    """Why a call is left to CuPy, or to its error."""
    if type(weight) is not type(x) or x.dtype != weight.dtype:
        return MIXED
    if x.dtype not in SUFFIXES:
        return NOT_FLOAT
    if weight.ndim != 2 or not x.ndim or x.shape[-1] != weight.shape[1]:
        return MISFIT
    if not x.size or not weight.size:
        return EMPTY
    if bias is not None and (bias.dtype != x.dtype or bias.shape != weight.shape[:1]):
        return MISFIT
    return None if len(weight) < 1 << 31 else TOO_WIDE


@kernel("linear_activation", cupy.ndarray, dtypes=HALVES)
def linear_activation(x: Any, weight: Any, bias: Any = None, *, activation: str,
                      slope: float) -> Any:
    """The product, and one pass over it in place."""
    why = _misfit(x, weight, bias)
    if why:
        return why
    n, k = weight.shape
    y = gemm(x.reshape(-1, k), weight.T)
    wide = WIDE[x.dtype]
    packs = n % wide == 0
    native(f"bias_activation_{SUFFIXES[x.dtype]}", blocks(y.size, 256 * (wide if packs else 1)),
           256, y, None if bias is None else plain(bias), y.size, np.int32(n),
           np.int32(ACTIVATIONS[activation]), float(slope), packs)
    return y.reshape(*x.shape[:-1], n)


@kernel("linear_activation_vjp", cupy.ndarray, dtypes=HALVES)
def linear_activation_vjp(g: Any, y: Any, x: Any, weight: Any, bias: Any = None, *, needs: Any,
                          activation: str, slope: float) -> Any:
    """g f'(y) and its sums over the rows in one pass; then the gradients of the product."""
    why = _misfit(x, weight, bias)
    if why or g.dtype != x.dtype or y.dtype != x.dtype:
        return why or MIXED
    n = len(weight)
    g, y = plain(g).reshape(-1, n), plain(y).reshape(-1, n)
    rows, wanted = len(g), len(needs) > 2 and needs[2]
    parts, size = partition(rows, n)
    inner = cupy.empty(g.shape, g.dtype)
    sums = cupy.empty((parts, n), F32) if wanted else None
    native(f"activation_grad_{SUFFIXES[x.dtype]}", (blocks(n, COLUMNS), parts), COLUMNS * LANES,
           g, y, inner, sums, rows, np.int32(n), size, np.int32(ACTIVATIONS[activation]),
           float(slope))
    found = KERNELS["linear_vjp", cupy.ndarray](inner, None, x, weight, None,
                                                needs=(needs[0], needs[1], False))
    if found is NotImplemented:
        return MISFIT
    return found[0], found[1], None if sums is None else _total(sums, x.dtype)
