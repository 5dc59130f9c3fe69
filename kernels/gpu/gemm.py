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

__all__ = ["NAMES", "Product", "allow_tf32", "gemm", "products"]

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

    None where an operand must be copied first.
    """
    (m, n), k = out.shape[-2:], a.shape[-1]
    of_a, of_b, of_c = _lies(a), _lies(b), _lies(out)
    if of_a is None or of_b is None or of_c is None or of_c[0] or not (
            _even(a) and _even(b) and _even(out)):
        return None
    (turned_a, lda), (turned_b, ldb), ldc = of_a, of_b, of_c[1]
    lead = out.shape[:-2]
    axes = _axes(lead, *(_batch_strides(x, lead) for x in (a, b, out)))
    if axes and axes[-1][2] == 0 and not turned_a and m * axes[-1][0] <= MOST:
        size, next_a, _, next_c = axes[-1]               # the same b: more rows of a
        if m == 1 and next_a >= k and next_c >= n:
            m, lda, ldc = size, next_a, next_c
            axes.pop()
        elif next_a == m * lda and next_c == m * ldc:
            m *= size
            axes.pop()
    axes.sort()                                          # one call for the longest axis
    batch, *step = axes.pop() if axes else [1, 0, 0, 0]
    calls = []
    for index in np.ndindex(*(axis[0] for axis in axes)):
        at = [sum(i * axis[j] for i, axis in zip(index, axes)) for j in (1, 2, 3)]
        calls.append(Product(m, n, k, (at[0] * a.itemsize, turned_a, lda, step[0]),
                             (at[1] * b.itemsize, turned_b, ldb, step[1]),
                             (at[2] * out.itemsize, ldc, step[2]), batch))
    return calls


class _Layout(NamedTuple):
    """What is asked of an array before its address."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    itemsize: int
    ndim: int


class _Plan(NamedTuple):
    """What a call of `gemm` comes to, by the layouts of its operands."""

    shape: tuple[int, ...]
    kind: str                          # the operands' type
    copies: bool                       # one of them fits no leading dimension
    turned: bool                       # the result lies transposed
    calls: tuple[Product, ...] | None  # None: the result fits no leading dimension either


Told = tuple[tuple[int, ...], tuple[int, ...], Any]      # shape, strides, type


@functools.lru_cache(maxsize=4096)     # 1 us; making a plan takes 20
def _plan(a: Told, b: Told, out: Told | None) -> _Plan:
    (of_a, _, kind), (of_b, _, other) = a, b
    if kind != other or kind.name not in DATA:
        raise TypeError(f"[gemm] a and b must have one of the types {', '.join(NAMES)}, got "
                        f"{kind} and {other}")
    if len(of_a) < 2 or len(of_b) < 2 or of_a[-1] != of_b[-2]:
        raise ValueError(f"[gemm] {of_a} and {of_b}: a (..., m, k) and b (..., k, n) fit")
    shape = (*_together(of_a[:-2], of_b[:-2]), of_a[-2], of_b[-1])
    if max(*shape, of_a[-1]) > MOST:
        raise ValueError(f"[gemm] {of_a} and {of_b}: cuBLAS takes sizes below 2^31")
    if out is None:
        out = shape, _dense(shape, kind.itemsize), kind
    elif out[0] != shape or not (out[2] == kind or (out[2] == np.float32 and kind.itemsize == 2)):
        raise ValueError(f"[gemm] out is {out[2]} {out[0]}; {kind} {shape} fits")
    if 0 in shape or not of_a[-1]:
        return _Plan(shape, kind.name, False, False, ())
    x, y, z = (_Layout(s, strides, t.itemsize, len(s)) for s, strides, t in (a, b, out))
    turned = _lies(z)
    copies = not all(_lies(m) and _even(m) for m in (x, y))
    calls = None if copies else products(x, y, z)
    return _Plan(shape, kind.name, copies, turned is not None and turned[0],
                 None if calls is None else tuple(calls))


def _dense(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """The strides of a new array."""
    strides = [itemsize]
    for n in shape[:0:-1]:
        strides.append(strides[-1] * n)
    return tuple(strides[::-1])


def _together(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    if a == b or not b:
        return a
    return np.broadcast_shapes(a, b) if a else b


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
    plan = _plan((a.shape, a.strides, a.dtype), (b.shape, b.strides, b.dtype),
                 None if out is None else (out.shape, out.strides, out.dtype))
    if out is None:
        out, beta = cupy.empty(plan.shape, a.dtype), 0.0
    if plan.calls:
        for call in plan.calls:
            _multiply(call, plan.kind, a, b, out, alpha, beta)
    elif plan.calls is not None:                         # nothing to multiply
        if out.size and beta == 0:
            out.fill(0)
        elif out.size and beta != 1:
            out *= beta
    elif plan.copies:
        a, b = (x if _lies(x) and _even(x) else cupy.ascontiguousarray(x) for x in (a, b))
        return gemm(a, b, out, alpha, beta)
    elif plan.turned:                                    # so is the product
        gemm(b.swapaxes(-1, -2), a.swapaxes(-1, -2), out.swapaxes(-1, -2), alpha, beta)
    else:
        whole = gemm(a, b, cupy.empty(plan.shape, out.dtype), alpha)
        out[...] = whole if beta == 0 else whole + beta * out
    return out


# The factors lie where cuBLAS can read them while it is called: on the host.
_FACTORS: dict[tuple[float, str], tuple[int, Any]] = {}


def factor(value: float, kind: str) -> int:
    """The address of a number of cuBLAS's scalar type."""
    kept = _FACTORS.get((value, kind))
    if kept is None:
        number = np.array(value, np.float64 if kind == "float64" else np.float32)
        kept = _FACTORS[value, kind] = number.ctypes.data, number
    return kept[0]


@functools.cache
def data_type(dtype: Any) -> int:
    """cuBLAS's number of a type."""
    return DATA[dtype.name]


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


def _multiply(call: Product, kind: str, a: Any, b: Any, out: Any, alpha: float,
              beta: float) -> None:
    """Run one product on the current stream: by cuBLASLt while it captures, else by cuBLAS."""
    (at_a, turned_a, lda, step_a), (at_b, turned_b, ldb, step_b) = call.a, call.b
    at_c, ldc, step_c = call.c
    of_a, of_b, of_c = a.data.ptr + at_a, b.data.ptr + at_b, out.data.ptr + at_c
    data, of_out, compute = DATA[kind], data_type(out.dtype), compute_type(kind)
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
