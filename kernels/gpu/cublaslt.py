"""Products of matrices by cuBLASLt, which a capturing stream allows: for CUDA graphs.

CuPy refuses cuBLAS while a stream captures, because a handle of cuBLAS takes workspace of its own.
cuBLASLt is handed one, here 32 MB for each stream, which stays where it is, so that a graph finds
it again at every launch. The bindings are those of `nvmath-python`.

Written against version 1.0.0 of the bindings, and tested with a double of them: **this file has not
run on a GPU yet.**
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any

import cupy
import numpy as np

if TYPE_CHECKING:
    from .gemm import Product

__all__ = ["prepare", "ready", "run"]

WORKSPACE = 32 << 20           # what NVIDIA recommends for Hopper


@functools.cache
def ready() -> bool:
    """Are the bindings and the library here?"""
    try:
        return _bindings().get_version() > 0
    except (ImportError, OSError, RuntimeError):
        return False


@functools.cache
def _bindings() -> Any:
    return importlib.import_module("nvmath.bindings.cublasLt")


@functools.cache
def _handle(device: int) -> int:
    return _bindings().create()


@functools.cache
def _workspace(device: int, stream: int) -> Any:
    """Kept for good: graphs remember its address."""
    return cupy.empty(WORKSPACE, "uint8")


def prepare() -> None:
    """Make the workspace of the current stream before it captures, while memory can be had."""
    _workspace(cupy.cuda.runtime.getDevice(), cupy.cuda.get_current_stream().ptr)


# -- descriptions ----------------------------------------------------------------------------------


def _set(change: Any, where: int, attribute: Any, dtype: Any, value: int) -> None:
    kept = np.array(value, dtype)
    change(where, attribute, kept.ctypes.data, kept.nbytes)


def _layout(kind: int, rows: int, columns: int, ld: int, batch: int, step: int) -> int:
    lt = _bindings()
    made = lt.matrix_layout_create(kind, rows, columns, ld)
    attributes = lt.MatrixLayoutAttribute
    _set(lt.matrix_layout_set_attribute, made, attributes.BATCH_COUNT, np.int32, batch)
    _set(lt.matrix_layout_set_attribute, made, attributes.STRIDED_BATCH_OFFSET, np.int64, step)
    return made


class _Plan:
    """Descriptions and the algorithm of a product. They live as long as the process."""

    def __init__(self, call: Product, data: int, of_out: int, compute: int, scale: int,
                 aligned: tuple[int, int, int]):
        lt = _bindings()
        (_, turned_a, lda, step_a), (_, turned_b, ldb, step_b), (_, ldc, step_c) = (
            call.a, call.b, call.c)
        m, n, k, batch = call.n, call.m, call.k, call.batch      # by columns: B^T A^T
        self.operation = lt.matmul_desc_create(compute, scale)
        for attribute, turned in ((lt.MatmulDescAttribute.TRANSA, turned_b),
                                  (lt.MatmulDescAttribute.TRANSB, turned_a)):
            _set(lt.matmul_desc_set_attribute, self.operation, attribute, np.int32, int(turned))
        self.a = _layout(data, *((k, m) if turned_b else (m, k)), ldb, batch, step_b)
        self.b = _layout(data, *((n, k) if turned_a else (k, n)), lda, batch, step_a)
        self.c = _layout(of_out, m, n, ldc, batch, step_c)
        self.algorithm = self._choose(aligned)

    def _choose(self, aligned: tuple[int, int, int]) -> np.ndarray:
        lt = _bindings()
        wishes, names = lt.matmul_preference_create(), lt.MatmulPreferenceAttribute
        change = lt.matmul_preference_set_attribute
        _set(change, wishes, names.MAX_WORKSPACE_BYTES, np.uint64, WORKSPACE)
        of_a, of_b, of_c = aligned
        for operand, size in (("A", of_b), ("B", of_a), ("C", of_c), ("D", of_c)):
            name = getattr(names, f"MIN_ALIGNMENT_{operand}_BYTES")
            _set(change, wishes, name, np.uint32, size)
        found, count = np.zeros(1, lt.matmul_heuristic_result_dtype), np.zeros(1, np.int32)
        lt.matmul_algo_get_heuristic(_handle(cupy.cuda.runtime.getDevice()), self.operation, self.a,
                                     self.b, self.c, self.c, wishes, 1, found.ctypes.data,
                                     count.ctypes.data)
        if not count[0]:
            raise RuntimeError("cuBLASLt has no algorithm for a product of these layouts")
        return found


_plans: dict[Any, _Plan] = {}


def _alignment(address: int) -> int:
    """The largest power of two up to 256 that divides an address."""
    return min(256, address & -address)


def run(call: Product, a: int, b: int, out: int, alpha: int, beta: int, kinds: tuple[int, ...],
        compute: int) -> None:
    """One product; addresses of the operands, of the factors on the host, and cuBLAS's types.

    Args:
        kinds: of the operands, of the result, of the factors.
    """
    device, stream = cupy.cuda.runtime.getDevice(), cupy.cuda.get_current_stream().ptr
    aligned = _alignment(a), _alignment(b), _alignment(out)
    key = (device, call.m, call.n, call.k, call.a[1:], call.b[1:], call.c[1:], call.batch, kinds,
           compute, aligned)
    plan = _plans.get(key)
    if plan is None:
        data, of_out, scale = kinds
        plan = _plans[key] = _Plan(call, data, of_out, compute, scale, aligned)
    room = _workspace(device, stream)
    _bindings().matmul(_handle(device), plan.operation, alpha, b, plan.a, a, plan.b, beta, out,
                       plan.c, out, plan.c, plan.algorithm.ctypes.data, room.data.ptr, WORKSPACE,
                       stream)
