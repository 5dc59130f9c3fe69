"""Memory that several threads read and write at once: what the thread pool is made of.

Places are addresses of whole numbers of 64 bits. Every access is sequentially consistent: all
threads see all of them in one order.
"""

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .base import inline

__all__ = ["add", "exchange", "foreign", "invoke", "load", "next_part", "pause", "store", "symbol"]

_i64, _byte = ir.IntType(64), ir.IntType(8)
_ORDER = "seq_cst"
_INTEL = platform.machine().lower() in ("x86_64", "amd64")


def _place(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, _i64.as_pointer())


@intrinsic
def load(typingctx, place):
    """The number at a place."""
    def codegen(context, builder, signature, args):
        return builder.load_atomic(_place(builder, args[0]), _ORDER, 8)
    return types.int64(types.int64), codegen


@intrinsic
def store(typingctx, place, value):
    """Write a number to a place."""
    def codegen(context, builder, signature, args):
        builder.store_atomic(args[1], _place(builder, args[0]), _ORDER, 8)
        return context.get_dummy_value()
    return types.none(types.int64, types.int64), codegen


@intrinsic
def add(typingctx, place, value):
    """Add to the number at a place; what was there before."""
    def codegen(context, builder, signature, args):
        return builder.atomic_rmw("add", _place(builder, args[0]), args[1], _ORDER)
    return types.int64(types.int64, types.int64), codegen


@inline
def next_part(counter):
    """The number at a place, which is one more afterwards: tasks for whoever asks first."""
    return add(counter, 1)


@intrinsic
def exchange(typingctx, place, old, new):
    """Write `new` where `old` stands; whether it stood there."""
    def codegen(context, builder, signature, args):
        pair = builder.cmpxchg(_place(builder, args[0]), args[1], args[2], _ORDER, _ORDER)
        return builder.extract_value(pair, 1)
    return types.boolean(types.int64, types.int64, types.int64), codegen


@intrinsic
def pause(typingctx):
    """Wait some 10 to 50 ns, and leave the processor's units to whoever shares them."""
    def codegen(context, builder, signature, args):
        name, numbers = ("llvm.x86.sse2.pause", []) if _INTEL else (
            "llvm.aarch64.hint", [ir.Constant(ir.IntType(32), 1)])
        kind = ir.FunctionType(ir.VoidType(), [n.type for n in numbers])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, name), numbers)
        return context.get_dummy_value()
    return types.none(), codegen


@intrinsic
def invoke(typingctx, code, data, part):
    """Call the function at address `code` with two numbers; it returns one."""
    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(_i64, [_i64, _i64])
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
    return types.int64(types.int64, types.int64, types.int64), codegen


@intrinsic(prefer_literal=True)
def symbol(typingctx, name):
    """The address of the memory that the linker knows under a name."""
    text = name.literal_value

    def codegen(context, builder, signature, args):
        there = builder.module.globals.get(text)
        if there is None:
            there = ir.GlobalVariable(builder.module, _byte, text)
        return builder.ptrtoint(there, _i64)
    return types.int64(name), codegen


@intrinsic(prefer_literal=True)
def foreign(typingctx, name, arguments):
    """Call the C function that the linker knows under a name with a tuple of whole numbers."""
    text = name.literal_value

    def codegen(context, builder, signature, args):
        numbers = cgutils.unpack_tuple(builder, args[1])
        kind = ir.FunctionType(ir.IntType(32), [_i64] * len(numbers))
        code = cgutils.get_or_insert_function(builder.module, kind, text)
        return builder.sext(builder.call(code, numbers), _i64)
    return types.int64(name, types.unliteral(arguments)), codegen
