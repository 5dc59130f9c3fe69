"""`matmul`, `linear` and its gradients through `gemm`: no operand is copied or widened."""

from __future__ import annotations

from typing import Any

import cupy

from tinygen.primitive import kernel

from .gemm import NAMES, gemm
from .launch import MIXED

__all__: list[str] = []

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
        y += bias
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
            rows.sum(axis=0) if len(needs) > 2 and needs[2] else None)


def _misfit(x: Any, weight: Any, bias: Any) -> str | None:
    """Why a layer is left to CuPy, or to its error."""
    if type(weight) is not type(x) or x.dtype != weight.dtype or x.dtype.name not in NAMES:
        return NO_ARRAYS
    if weight.ndim != 2 or not x.ndim or not weight.size or x.shape[-1] != weight.shape[1]:
        return MISFIT
    if bias is not None and (bias.dtype != x.dtype or bias.shape != weight.shape[:1]):
        return MISFIT
    return None
