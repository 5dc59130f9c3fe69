"""Products of matrices by cuBLAS: one strided batched GEMM for every layout, without copies.

    out = alpha a b + beta out

over the last two axes; leading axes broadcast. `cupy.matmul` copies transposed operands with three
axes and more, widens float16 and refuses bfloat16. Here transposition, leading dimensions and the
distance of neighbours in a batch are read from the strides: queries and keys that are slices of one
projection, or a gradient that lies transposed, are used where they lie. Batch axes that are one run
in memory become one; what all of a batch is multiplied by is used once, for more rows. Only a
matrix of which no axis has neighbours, or whose rows overlap, is copied.

Sums are float32 for 16-bit floats and float32, float64 for float64. `TINYGEN_TF32=1` lets float32
products round their inputs to 10 bits for tensor cores (PyTorch's `allow_tf32`, off there too).
"""

from __future__ import annotations

import functools
import importlib
import os
from typing import Any, NamedTuple

import cupy
import numpy as np
from cupy.cuda.device import get_cublas_handle

from tinygen.primitive import Unavailable

from . import cublaslt

__all__ = ["NAMES", "Product", "allow_tf32", "gemm", "multiply", "products"]

NAMES = ("float16", "bfloat16", "float32", "float64")
# cudaDataType and cublasComputeType by name: the library's numbers, which never change.
DATA = {"float16": 2, "bfloat16": 14, "float32": 0, "float64": 1}
COMPUTE_32F, COMPUTE_32F_TF32, COMPUTE_64F = 68, 77, 70
DEFAULT_ALGORITHM = -1
MOST = 2**31 - 1               # sizes are ints there

allow_tf32 = [os.environ.get("TINYGEN_TF32", "") == "1"]


class Product(NamedTuple):
    """One call of cuBLAS, as seen by row-major eyes: C (m, n) = A (m, k) B (k, n), `batch` times.

    Addresses and distances in a batch; `turned` operands lie transposed. cuBLAS, which thinks in
    columns, is asked for the transpose C^T = B^T A^T.
    """

    m: int
    n: int
    k: int
    a: tuple[int, bool, int, int]        # offset in bytes, turned, leading dimension, stride
    b: tuple[int, bool, int, int]
    c: tuple[int, int, int]              # offset in bytes, leading dimension, stride
    batch: int


# -- layouts ---------------------------------------------------------------------------------------


def _lies(x: Any) -> tuple[bool, int] | None:
    """Whether the last two axes lie transposed, and the leading dimension; None: neither fits."""
    (rows, columns), one = x.shape[-2:], x.itemsize
    down, across = x.strides[-2:]
    if (columns == 1 or across == one) and (rows == 1 or _steps(down, one, columns)):
        return False, down // one if rows > 1 else max(1, columns)
    if (rows == 1 or down == one) and (columns == 1 or _steps(across, one, rows)):
        return True, across // one if columns > 1 else max(1, rows)
    return None


def _steps(stride: int, one: int, inner: int) -> bool:
    return stride % one == 0 and inner <= stride // one <= MOST


def _batch_strides(x: Any, lead: tuple[int, ...]) -> list[int]:
    """The strides of the leading axes in elements; 0 where x is broadcast."""
    missing = len(lead) + 2 - x.ndim
    return [0] * missing + [s // x.itemsize if n > 1 else 0
                            for n, s in zip(x.shape[:-2], x.strides[:-2])]


def _even(x: Any) -> bool:
    return all(n == 1 or (s % x.itemsize == 0 and s >= 0) for n, s in zip(x.shape, x.strides))


def _axes(lead: tuple[int, ...], *strides: list[int]) -> list[list[int]]:
    """[size, stride of a, b, c] of the batch axes, those that are one run joined."""
    found: list[list[int]] = []
    for axis in zip(lead, *strides):
        if axis[0] == 1:
            continue
        if found and all(outer == inner * axis[0] for outer, inner in zip(found[-1][1:], axis[1:])):
            found[-1] = [found[-1][0] * axis[0], *axis[1:]]
        else:
            found.append(list(axis))
    return found


def products(a: Any, b: Any, out: Any) -> list[Product] | None:
    """The calls that multiply a (..., m, k) by b (..., k, n) into out (..., m, n).

    None where an operand must be copied first, or is too large.
    """
    (m, n), k = out.shape[-2:], a.shape[-1]
    of_a, of_b, of_c = _lies(a), _lies(b), _lies(out)
    if of_a is None or of_b is None or of_c is None or of_c[0] or not (
            _even(a) and _even(b) and _even(out)):
        return None
    (turned_a, lda), (turned_b, ldb), ldc = of_a, of_b, of_c[1]
    lead = out.shape[:-2]
    axes = _axes(lead, *(_batch_strides(x, lead) for x in (a, b, out)))
    if axes and axes[-1][2] == 0 and not turned_a:       # the same b: more rows of a
        size, next_a, _, next_c = axes[-1]
        if m == 1 and next_a >= k and next_c >= n:
            m, lda, ldc = size, next_a, next_c
            axes.pop()
        elif next_a == m * lda and next_c == m * ldc:
            m *= size
            axes.pop()
    if max(m, n, k, lda, ldb, ldc) > MOST:
        return None
    axes.sort()                                          # one call for the longest axis
    batch, *step = axes.pop() if axes else [1, 0, 0, 0]
    calls = []
    for index in np.ndindex(*(axis[0] for axis in axes)):
        at = [sum(i * axis[j] for i, axis in zip(index, axes)) for j in (1, 2, 3)]
        calls.append(Product(m, n, k, (at[0] * a.itemsize, turned_a, lda, step[0]),
                             (at[1] * b.itemsize, turned_b, ldb, step[1]),
                             (at[2] * out.itemsize, ldc, step[2]), batch))
    return calls


# -- multiplying -----------------------------------------------------------------------------------


def gemm(a: Any, b: Any, out: Any = None, alpha: float = 1.0, beta: float = 0.0) -> Any:
    """alpha a b + beta out, for a (..., m, k) and b (..., k, n) of one floating point type.

    Args:
        out: (..., m, n), of that type, or float32 for 16-bit operands; it is written to and
            returned. A new array if None. beta = 1 adds to it: how gradients of tiles are summed.

    Raises:
        TypeError: the types are not among `NAMES`, or differ.
        ValueError: the shapes do not fit.
    """
    if a.dtype.name not in DATA or a.dtype != b.dtype:
        raise TypeError(f"[gemm] a and b must have one of the types {', '.join(NAMES)}, got "
                        f"{a.dtype} and {b.dtype}")
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
        raise ValueError(f"[gemm] {a.shape} and {b.shape}: a (..., m, k) and b (..., k, n) fit")
    shape = (*_together(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
    if out is None:
        out = cupy.empty(shape, a.dtype)
        beta = 0.0
    elif out.shape != shape or not (out.dtype == a.dtype or (
            out.dtype == np.float32 and a.itemsize == 2)):
        raise ValueError(f"[gemm] out is {out.dtype} {out.shape}; {a.dtype} {shape} fits")
    if not out.size:
        return out
    if not a.shape[-1]:
        if beta == 0:
            out.fill(0)
        elif beta != 1:
            out *= beta
        return out
    turned = _lies(out)
    if turned is not None and turned[0]:                 # out lies transposed: so is the product
        return gemm(b.swapaxes(-1, -2), a.swapaxes(-1, -2), out.swapaxes(-1, -2), alpha,
                    beta).swapaxes(-1, -2)
    a, b = (x if _lies(x) and _even(x) else cupy.ascontiguousarray(x) for x in (a, b))
    calls = products(a, b, out)
    if calls is None:
        whole = gemm(a, b, cupy.empty(shape, out.dtype), alpha)
        out[...] = whole if beta == 0 else whole + beta * out
        return out
    for call in calls:
        multiply(call, a, b, out, alpha, beta)
    return out


def _together(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    if a == b or not b:
        return a
    return np.broadcast_shapes(a, b) if a else b


# The factors lie where cuBLAS can read them while it is called: on the host.
_FACTORS: dict[tuple[float, str], Any] = {}


def factor(value: float, kind: str) -> int:
    """The address of a number of cuBLAS's scalar type."""
    kept = _FACTORS.get((value, kind))
    if kept is None:
        kept = _FACTORS[value, kind] = np.array(value, np.float64 if kind == "float64" else
                                                np.float32)
    return int(kept.ctypes.data)


@functools.cache
def _cublas() -> Any:
    """CuPy's binding, which loads the library.

    Raises:
        Unavailable: it is not installed; CuPy's own code stays in charge.
    """
    try:
        return importlib.import_module("cupy_backends.cuda.libs").cublas
    except (AttributeError, ImportError) as error:
        raise Unavailable(f"cuBLAS does not work here: {error}") from error


def compute_type(kind: str) -> int:
    """How a product of arrays of this type is computed."""
    if kind == "float64":
        return COMPUTE_64F
    return COMPUTE_32F_TF32 if kind == "float32" and allow_tf32[0] else COMPUTE_32F


def multiply(call: Product, a: Any, b: Any, out: Any, alpha: float, beta: float) -> None:
    """Run one product on the current stream: by cuBLASLt while it captures, else by cuBLAS."""
    kind = a.dtype.name
    (at_a, turned_a, lda, step_a), (at_b, turned_b, ldb, step_b) = call.a, call.b
    at_c, ldc, step_c = call.c
    of_a, of_b, of_c = a.data.ptr + at_a, b.data.ptr + at_b, out.data.ptr + at_c
    data, of_out, compute = DATA[kind], DATA[out.dtype.name], compute_type(kind)
    try:
        _cublas().gemmStridedBatchedEx(
            get_cublas_handle(), int(turned_b), int(turned_a), call.n, call.m, call.k,
            factor(alpha, kind), of_b, data, ldb, step_b, of_a, data, lda, step_a,
            factor(beta, kind), of_c, of_out, ldc, step_c, call.batch, compute, DEFAULT_ALGORITHM)
    except NotImplementedError:           # CuPy: not while the stream captures
        if not cublaslt.ready():
            raise
        scale = DATA["float64" if kind == "float64" else "float32"]
        cublaslt.run(call, of_a, of_b, of_c, factor(alpha, kind), factor(beta, kind),
                     (data, of_out, scale), compute)

