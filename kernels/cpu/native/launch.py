"""Compiled functions called by their address, and one parallel loop for all of them.

A function that another one calls is compiled again in every caller, and in every loop around
it. The register tile takes a second each time, and attention, which uses it in many places, took a
minute. Here a function is compiled once per type: its callers, and the parallel loop, which is the
same for all, only know its address.

Such a function takes the type of its numbers (np.float32 or np.float64) and whole numbers, and
returns nothing: `f(kind, a, b, ...)`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .base import jit
from .pool import fork

__all__ = ["call", "entry", "launch", "size_of"]

_i64, _pointer = ir.IntType(64), ir.IntType(8).as_pointer()


def entry(function: Any, kind: Any, arguments: int) -> int:
    """The address of `function(kind, ...)` for so many whole numbers; compiles it if need be."""
    single = np.dtype(kind).itemsize == 4
    kinds = (types.NumberClass(types.float32 if single else types.float64),
             *[types.int64] * arguments)
    function.compile(kinds)
    made = function.overloads[kinds]
    return int(made.library.get_pointer_to_function(made.fndesc.llvm_func_name))


@intrinsic
def call(typingctx, code, arguments):
    """Call the function at address `code` with a tuple of whole numbers; its status, 0 if well."""
    def codegen(context, builder, signature, args):
        numbers = cgutils.unpack_tuple(builder, args[1])
        result = cgutils.alloca_once(builder, _pointer)
        error = cgutils.alloca_once(builder, _pointer)
        kind = ir.FunctionType(ir.IntType(32), [_pointer.as_pointer()] * 2
                               + [_pointer] + [_i64] * len(numbers))
        status = builder.call(builder.inttoptr(args[0], kind.as_pointer()), [
            result, error, ir.Constant(_pointer, None), *numbers])
        return builder.sext(status, _i64)
    return types.int64(types.int64, arguments), codegen


@intrinsic
def size_of(typingctx, kind):
    """Bytes in a number."""
    def codegen(context, builder, signature, args):
        return ir.Constant(_i64, kind.dtype.bitwidth // 8)
    return types.int64(kind), codegen


@jit
def _one(code, p, failed, t, nt):
    failed[t] = call(code, (p,))


@jit
def launch(code, p, nt):
    """Run the function at address `code` with the argument `p`, nt times at once.

    Returns:
        0, or something else where one of them ran out of memory.
    """
    failed = np.zeros(nt, np.int64)
    fork(_one, (code, p, failed), nt)
    return failed.sum()
