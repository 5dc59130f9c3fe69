"""`cupy_backends.cuda.libs.cublas`: one product of matrices, as strict as the library.

Matrices lie in columns, as cuBLAS sees them. What the library leaves to chance raises here: a
leading dimension that is too small, operands that reach past their allocation, results that
overlap, factors that do not lie on the host.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from . import capture, memory
from .counting import count

__all__ = ["CUBLASError", "calls", "factor", "gemmStridedBatchedEx", "matrices", "multiply"]

MOST = 2**31 - 1
R_32F, R_64F, R_16F, R_16BF = 0, 1, 2, 14
COMPUTE_32F, COMPUTE_64F, COMPUTE_32F_FAST_TF32 = 68, 70, 77
# What may be multiplied: (A and B, C, computed) types.
_SUPPORTED = {(R_64F, R_64F, COMPUTE_64F), (R_32F, R_32F, COMPUTE_32F),
              (R_32F, R_32F, COMPUTE_32F_FAST_TF32),
              *((half, c, COMPUTE_32F) for half in (R_16F, R_16BF) for c in (half, R_32F))}

calls: list[dict[str, Any]] = []     # the sizes of each product since a test emptied the list


class CUBLASError(RuntimeError):
    """What the library would refuse, or compute from numbers that are none of its business."""


def _type(number: int) -> np.dtype:
    if number == R_16BF:
        import ml_dtypes
        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype({R_32F: np.float32, R_64F: np.float64, R_16F: np.float16}[number])


def factor(address: int, compute: int) -> float:
    """alpha or beta."""
    try:
        memory.find(address, 4)
    except memory.OutOfBounds:
        kind = ctypes.c_double if compute == COMPUTE_64F else ctypes.c_float
        return kind.from_address(address).value
    raise CUBLASError("a factor lies on the device; the handle's pointer mode is host")


def matrices(name: str, address: int, number: int, rows: int, columns: int, ld: int, step: int,
              batch: int) -> np.ndarray:
    """(batch, rows, columns) at a device address; raises where they reach past the allocation."""
    kind = _type(number)
    if not max(1, rows) <= ld <= MOST:
        raise CUBLASError(f"the leading dimension {ld} of {name} is less than its {rows} rows")
    if address % kind.itemsize or step < 0:
        raise CUBLASError(f"{name} is not aligned, or its stride {step} is negative")
    reach = ((batch - 1) * step + (columns - 1) * ld + rows) * kind.itemsize
    raw = memory.find(address, reach)
    strides = (step * kind.itemsize, kind.itemsize, ld * kind.itemsize)
    return np.ndarray((batch, rows, columns), kind, buffer=raw, strides=strides)


def _offsets(x: np.ndarray) -> np.ndarray:
    """Where each element lies, in bytes from the first."""
    i, j, k = np.ogrid[tuple(map(slice, x.shape))]
    return i * x.strides[0] + j * x.strides[1] + k * x.strides[2]


def _rounded(x: np.ndarray, compute: int) -> np.ndarray:
    """What is multiplied: float32 for 16 bits, 10 bits of float32 for TF32."""
    if compute == COMPUTE_64F:
        return x
    x = x.astype(np.float32)
    if compute == COMPUTE_32F_FAST_TF32:
        bits = x.view(np.uint32)
        x = ((bits + 0xFFF + (bits >> 13 & 1)) & np.uint32(0xFFFFE000)).view(np.float32)
    return x


def gemmStridedBatchedEx(handle: int, transa: int, transb: int, m: int, n: int, k: int,
                         alpha: int, A: int, Atype: int, lda: int, strideA: int, B: int,
                         Btype: int, ldb: int, strideB: int, beta: int, C: int, Ctype: int,
                         ldc: int, strideC: int, batchCount: int, computeType: int,
                         algo: int) -> None:
    """C_i = alpha op(A_i) op(B_i) + beta C_i, for matrices that lie in columns."""
    if capture.current:
        raise NotImplementedError("calling cuBLAS API during stream capture is currently "
                                  "unsupported")
    if not handle or algo != -1 or transa not in (0, 1) or transb not in (0, 1):
        raise CUBLASError(f"handle {handle}, operations {transa} and {transb}, algorithm {algo}")
    if not (0 < m <= MOST and 0 < n <= MOST and 0 < k <= MOST and 0 < batchCount <= MOST):
        raise CUBLASError(f"sizes ({m}, {n}, {k}) and a batch of {batchCount}")
    if Atype != Btype or (Atype, Ctype, computeType) not in _SUPPORTED:
        raise CUBLASError(f"types {Atype}, {Btype} and {Ctype} with computation {computeType}")
    a = matrices("A", A, Atype, *((k, m) if transa else (m, k)), lda, strideA, batchCount)
    b = matrices("B", B, Btype, *((n, k) if transb else (k, n)), ldb, strideB, batchCount)
    c = matrices("C", C, Ctype, m, n, ldc, strideC, batchCount)
    if len(np.unique(_offsets(c))) < c.size:
        raise CUBLASError(f"results overlap: {m} x {n}, {ldc} and {strideC} apart")
    al, be = factor(alpha, computeType), factor(beta, computeType)
    calls.append({"m": n, "n": m, "k": k, "batch": batchCount, "compute": computeType})
    multiply(a.swapaxes(1, 2) if transa else a, b.swapaxes(1, 2) if transb else b, c, al, be,
             computeType)


def multiply(a: np.ndarray, b: np.ndarray, c: np.ndarray, alpha: float, beta: float,
             compute: int) -> None:
    """c = alpha a b + beta c, for stacks of matrices; now, or when a captured graph is launched."""
    count("launches", "gemm")

    def run() -> None:
        with np.errstate(all="ignore"):
            y = alpha * np.matmul(_rounded(a, compute), _rounded(b, compute))
            c[...] = y if beta == 0 else y + beta * c.astype(y.dtype)
    capture.do(run)
