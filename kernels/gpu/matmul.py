"""`matmul`, `linear` and its gradients through `gemm`: no operand is copied or widened."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from tinygen.primitive import kernel

from .gemm import NAMES, gemm
from .launch import MIXED, SUFFIXES, WIDE, blocks, plain
from .linear import native, summed

__all__ = ["add_bias"]

NO_ARRAYS = "not two arrays of one floating point type"
MISFIT = "sizes do not fit"


@kernel("matmul", cupy.ndarray, dtypes=NAMES)
def _(a: Any, b: Any) -> Any:
    if type(b) is not type(a) or a.dtype != b.dtype or a.dtype.name not in NAMES:
        return NO_ARRAYS
    if not a.ndim or not b.ndim or a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        return MISFIT
    left = a[None] if a.ndim == 1 else a
    y = gemm(left, b[:, None] if b.ndim == 1 else b)
    if b.ndim == 1:
        y = y[..., 0]
    if a.ndim == 1:
        y = y[..., 0, :] if b.ndim > 1 else y[..., 0]
    return y


@kernel("linear", cupy.ndarray, dtypes=NAMES)
def _(x: Any, weight: Any, bias: Any = None) -> Any:
    why = _misfit(x, weight, bias)
    if why:
        return why
    y = gemm(x if x.ndim > 1 else x[None], weight.T)
    if bias is not None:
        add_bias(y, bias)
    return y if x.ndim > 1 else y[0]


@kernel("linear_vjp", cupy.ndarray, dtypes=NAMES)
def _(g: Any, y: Any, x: Any, weight: Any, bias: Any = None, *, needs: tuple[bool, ...]) -> Any:
    if g.dtype != x.dtype:
        return MIXED
    why = _misfit(x, weight, bias)
    if why:
        return why
    rows = g.reshape(-1, weight.shape[0])
    return (gemm(rows, weight).reshape(x.shape) if needs[0] else None,
            gemm(rows.T, x.reshape(-1, weight.shape[1])) if needs[1] else None,
            _column_sums(rows) if len(needs) > 2 and needs[2] else None)


def add_bias(y: Any, bias: Any) -> None:
    """y (..., n) += bias (n,), for a dense y of its own memory."""
    if not y.size:
        return
    if y.dtype not in SUFFIXES:            # float64
        y += bias
        return
    wide, n = WIDE[y.dtype], y.shape[-1]
    packs = n % wide == 0
    native(f"bias_activation_{SUFFIXES[y.dtype]}", blocks(y.size, 256 * (wide if packs else 1)),
           256, y, plain(bias), y.size, np.int32(n), np.int32(0), 0.0, packs)


def _column_sums(rows: Any) -> Any:
    return summed(rows) if rows.size and rows.dtype in SUFFIXES else rows.sum(axis=0)


def _misfit(x: Any, weight: Any, bias: Any) -> str | None:
    """Why a layer is left to CuPy, or to its error."""
    if type(weight) is not type(x) or x.dtype != weight.dtype or x.dtype.name not in NAMES:
        return NO_ARRAYS
    if weight.ndim != 2 or not x.ndim or not weight.size or x.shape[-1] != weight.shape[1]:
        return MISFIT
    if bias is not None and (bias.dtype != x.dtype or bias.shape != weight.shape[:1]):
        return MISFIT
    return None
