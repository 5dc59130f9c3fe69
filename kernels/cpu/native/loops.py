"""A compiled elementwise loop, called by its address from inside another compiled function."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["run_loop"]


@intrinsic
def run_loop(typingctx, address, out, x, y, z, n, a, b, c):
    """Call the loop at `address` (see pointwise.py) on n elements, with three constants."""
    def generate(context, builder, signature, values):
        pointer, long, double = ir.IntType(8).as_pointer(), ir.IntType(64), ir.DoubleType()
        takes = ir.FunctionType(ir.VoidType(), [pointer] * 4 + [long] + [double] * 3)
        f = builder.inttoptr(values[0], takes.as_pointer())
        places = [builder.inttoptr(v, pointer) for v in values[1:5]]
        builder.call(f, [*places, *values[5:]])
        return context.get_dummy_value()
    return types.void(*[types.int64] * 6, *[types.float64] * 3), generate
