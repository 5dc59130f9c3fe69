"""`nvmath.bindings.cublasLt`: descriptions of products, and the products, computed by NumPy.

Names and arguments are those of `nvmath-python` 1.0.0. Descriptions hold what was written into them
from memory of exactly the right size; a product is checked as `cublas` checks it.
"""

from __future__ import annotations

import ctypes
import enum
import itertools
from typing import Any

import numpy as np

from . import cublas, memory

MatmulDescAttribute = enum.IntEnum("MatmulDescAttribute", {"TRANSA": 3, "TRANSB": 4})
MatrixLayoutAttribute = enum.IntEnum("MatrixLayoutAttribute",
                                     {"BATCH_COUNT": 5, "STRIDED_BATCH_OFFSET": 6})
MatmulPreferenceAttribute = enum.IntEnum(
    "MatmulPreferenceAttribute",
    {"MAX_WORKSPACE_BYTES": 1, "MIN_ALIGNMENT_A_BYTES": 5, "MIN_ALIGNMENT_B_BYTES": 6,
     "MIN_ALIGNMENT_C_BYTES": 7, "MIN_ALIGNMENT_D_BYTES": 8})
_TYPES = {"BATCH_COUNT": np.int32, "STRIDED_BATCH_OFFSET": np.int64, "TRANSA": np.int32,
          "TRANSB": np.int32, "MAX_WORKSPACE_BYTES": np.uint64}
matmul_heuristic_result_dtype = np.dtype(
    [("algo", [("data_", "<u8", (8,))]), ("workspace_size", "<u8"), ("state", "<i4"),
     ("waves_count", "<f4"), ("reserved", "<i4", (4,))])
HANDLE, MAGIC = 0x17, 0xA160
_kept: dict[int, dict[Any, Any]] = {}
_numbers = itertools.count(1)


def _make(**what: Any) -> int:
    number = next(_numbers)
    _kept[number] = what
    return number


def get_version() -> int:
    """Of the library."""
    return 130100


def create() -> int:
    """A handle."""
    return HANDLE


def matmul_desc_create(compute_type: int, scale_type: int) -> int:
    """The description of an operation."""
    wanted = cublas.R_64F if compute_type == cublas.COMPUTE_64F else cublas.R_32F
    if scale_type != wanted:
        raise cublas.CUBLASError(f"factors of type {scale_type} with computation {compute_type}")
    return _make(compute=compute_type)


def matrix_layout_create(type: int, rows: int, cols: int, ld: int) -> int:
    """The description of a matrix."""
    return _make(type=type, rows=rows, cols=cols, ld=ld)


def matmul_preference_create() -> int:
    """What an algorithm may use."""
    return _make(preference=True)


def _set(which: int, attribute: Any, buf: int, size_in_bytes: int) -> None:
    kind = np.dtype(_TYPES.get(attribute.name, np.uint32))
    if size_in_bytes != kind.itemsize:
        raise cublas.CUBLASError(f"{attribute.name} takes {kind.itemsize} bytes")
    raw = (ctypes.c_char * size_in_bytes).from_address(buf)
    _kept[which][attribute.name] = int(np.frombuffer(raw, kind)[0])


matmul_desc_set_attribute = matrix_layout_set_attribute = matmul_preference_set_attribute = _set


def matmul_algo_get_heuristic(light_handle: int, operation_desc: int, adesc: int, bdesc: int,
                              cdesc: int, ddesc: int, preference: int, requested_algo_count: int,
                              heuristic_results_array: int, return_algo_count: int) -> None:
    """Write one algorithm, the only one there is."""
    wishes = _kept[preference]
    if light_handle != HANDLE or requested_algo_count != 1 or not wishes["preference"]:
        raise cublas.CUBLASError("heuristic")
    if len(wishes) != 1 + len(MatmulPreferenceAttribute):
        raise cublas.CUBLASError("alignments are 256 unless they are told")
    ctypes.c_uint64.from_address(heuristic_results_array).value = MAGIC + operation_desc
    ctypes.c_int.from_address(return_algo_count).value = 1


def matmul(light_handle: int, compute_desc: int, alpha: int, a: int, adesc: int, b: int, bdesc: int,
           beta: int, c: int, cdesc: int, d: int, ddesc: int, algo: int, workspace: int,
           workspace_size_in_bytes: int, stream: int) -> None:
    """D = alpha op(A) op(B) + beta C, in columns."""
    operation = _kept[compute_desc]
    if light_handle != HANDLE or ctypes.c_uint64.from_address(algo).value != MAGIC + compute_desc:
        raise cublas.CUBLASError("the algorithm is of another operation")
    if (c, cdesc) != (d, ddesc):
        raise cublas.CUBLASError("C and D differ")
    memory.find(workspace, workspace_size_in_bytes)
    read = []
    for name, address, desc in (("A", a, adesc), ("B", b, bdesc), ("C", c, cdesc)):
        of = _kept[desc]
        read.append(cublas.matrices(
            name, address, of["type"], of["rows"], of["cols"], of["ld"],
            of["STRIDED_BATCH_OFFSET"], of["BATCH_COUNT"]))
    for i, name in enumerate(("TRANSA", "TRANSB")):
        if operation[name]:
            read[i] = read[i].swapaxes(1, 2)
    compute = operation["compute"]
    cublas.multiply(*read, cublas.factor(alpha, compute), cublas.factor(beta, compute), compute)
