"""What `vecmath` is made of: constants by type, polynomials, and the bits of floats.

Numba promotes float32 to float64 wherever a Python float or an integer meets it, and its own int32
arithmetic is 64 bits wide: both halve the speed of a vector loop. Here constants are taken in the
type of the number that they meet, and integers stay as wide as the float whose bits they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

__all__ = ["both", "by_type", "copysign", "fabs", "high_bits", "like", "multiply_add", "polynomial",
           "power_of_two", "split", "times_normal", "times_two_to"]

Pair = tuple[tuple[np.float32, ...], tuple[np.float64, ...]]


def both(single: tuple[float, ...], double: tuple[float, ...] | None = None) -> Pair:
    """Constants for float32 and for float64, of which `by_type` takes those that fit."""
    return tuple(map(np.float32, single)), tuple(map(np.float64, double or single))


def by_type(x: Any, pair: Pair) -> Any:
    """The constants of `pair` that have the type of `x`."""
    return pair[0] if isinstance(x, np.float32) else pair[1]


@overload(by_type, jit_options={"forceinline": True})
def _(x, pair):
    if x == types.float32:
        return lambda x, pair: pair[0]
    return lambda x, pair: pair[1]


def like(x: Any, value: Any) -> Any:
    """`value` in the type of `x`: `like(x, 0.5)` keeps float32 what it is."""
    return type(x)(value)


@overload(like, jit_options={"forceinline": True})
def _(x, value):
    if x == types.float32:
        return lambda x, value: np.float32(value)
    return lambda x, value: np.float64(value)


class _Layout:
    """Where the parts of a float32 or float64 are."""

    def __init__(self, kind: Any):
        single = kind == types.float32
        self.float = ir.FloatType() if single else ir.DoubleType()
        self.int = ir.IntType(32 if single else 64)
        self.mantissa = 23 if single else 52
        self.bias = 127 if single else 1023
        self.round = 1.5 * 2.0 ** self.mantissa        # added to x, it leaves round(x) at the end
        self.low = 12 if single else 27                # the bits that `high_bits` clears
        self.half_root = int(np.sqrt(np.float32(0.5)).view(np.int32)) if single else (
            int(np.sqrt(np.float64(0.5)).view(np.int64)))
        self.tiny = float(np.finfo(np.float32 if single else np.float64).tiny)

    def constant(self, value: int) -> Any:
        return ir.Constant(self.int, value)

    def bits(self, builder: Any, x: Any) -> Any:
        return builder.bitcast(x, self.int)

    def number(self, builder: Any, bits: Any) -> Any:
        return builder.bitcast(bits, self.float)


def _instruction(name: str) -> Any:
    """Code for an instruction of the compiler on numbers of one type."""
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = values[0].type
        takes = ir.FunctionType(kind, [kind] * len(values))
        return builder.call(builder.module.declare_intrinsic(name, [kind], takes), values)
    return generate


@intrinsic
def fabs(typingctx, x):
    """|x|."""
    return x(x), _instruction("llvm.fabs")


@intrinsic
def copysign(typingctx, x, sign):
    """|x| with the sign of `sign`, which may be -0."""
    return x(x, sign), _instruction("llvm.copysign")


@intrinsic
def polynomial(typingctx, x, coefficients):
    """((c0 x + c1) x + c2) ..., unrolled; a product and a sum may become one instruction."""
    def generate(context, builder, signature, values):
        x, table = values
        y = builder.extract_value(table, 0)
        for i in range(1, len(signature.args[1])):
            y = builder.fmul(y, x, flags=("contract",))
            y = builder.fadd(y, builder.extract_value(table, i), flags=("contract",))
        return y
    return x(x, coefficients), generate


@intrinsic
def multiply_add(typingctx, x, y, z):
    """x * y + z in one instruction, rounded once, where the processor has it.

    Written as such, a product that is used twice may be worked out, and rounded, by itself.
    """
    def generate(context, builder, signature, values):
        kind = values[0].type
        takes = ir.FunctionType(kind, [kind] * 3)
        return builder.call(builder.module.declare_intrinsic("llvm.fmuladd", [kind], takes), values)
    return x(x, y, z), generate


def _scales(context: Any) -> bool:
    """Whether the processor has an instruction for x * 2 ** k that LLVM uses in loops."""
    return "+avx512f" in context.codegen().magic_tuple()[2].split(",")


@intrinsic
def times_two_to(typingctx, x, power):
    """x * 2 ** k, where `power` is k + 1.5 * 2 ** 23 (52 for float64) and x is near 1.

    Results beyond the range of normal numbers are rounded once: by the processor's own
    instruction (float32 with AVX-512, 4 operations), or in two steps (9).
    """
    def generate(context, builder, signature, values):
        at = _Layout(signature.args[0])
        k = builder.sub(at.bits(builder, values[1]),
                        at.bits(builder, ir.Constant(at.float, at.round)))
        if at.mantissa == 23 and _scales(context):
            takes = ir.FunctionType(at.float, [at.float, at.int])
            scale = builder.module.declare_intrinsic("llvm.ldexp", [at.float, at.int], takes)
            return builder.call(scale, [values[0], k])
        one = at.constant(1)
        half = builder.ashr(k, one)
        y = values[0]
        for part in (half, builder.sub(k, half)):
            exponent = builder.add(part, at.constant(at.bias))
            y = builder.fmul(y, at.number(builder, builder.shl(exponent,
                                                               at.constant(at.mantissa))))
        return y
    return x(x, power), generate


@intrinsic
def times_normal(typingctx, x, power):
    """`times_two_to` for results that are normal numbers: k is added to the exponent of x."""
    def generate(context, builder, signature, values):
        at = _Layout(signature.args[0])
        k = builder.shl(at.bits(builder, values[1]), at.constant(at.mantissa))
        return at.number(builder, builder.add(at.bits(builder, values[0]), k))
    return x(x, power), generate


@intrinsic
def power_of_two(typingctx, power):
    """2 ** k for k from -126 to 127 (-1022 to 1023), `power` as in `times_two_to`."""
    def generate(context, builder, signature, values):
        at = _Layout(signature.args[0])
        k = builder.sub(at.bits(builder, values[0]),
                        at.bits(builder, ir.Constant(at.float, at.round)))
        return at.number(builder, builder.shl(builder.add(k, at.constant(at.bias)),
                                              at.constant(at.mantissa)))
    return power(power), generate


@intrinsic
def split(typingctx, x):
    """(m, k) with x = m * 2 ** k and m from sqrt(1/2) to sqrt(2), for x > 0, denormals too."""
    def generate(context, builder, signature, values):
        at = _Layout(signature.args[0])
        width = at.constant(at.mantissa)
        small = builder.fcmp_ordered("<", values[0], ir.Constant(at.float, at.tiny))
        grown = builder.fmul(values[0], ir.Constant(at.float, 2.0 ** at.mantissa))
        bits = at.bits(builder, builder.select(small, grown, values[0]))
        k = builder.ashr(builder.sub(bits, at.constant(at.half_root)), width)
        m = at.number(builder, builder.sub(bits, builder.shl(k, width)))
        k = builder.sub(k, builder.select(small, width, at.constant(0)))
        return context.make_tuple(builder, signature.return_type,
                                  (m, builder.sitofp(k, at.float)))
    return types.UniTuple(x, 2)(x), generate


@intrinsic
def high_bits(typingctx, x):
    """x without the lower half of its digits: its square is exact."""
    def generate(context, builder, signature, values):
        at = _Layout(signature.args[0])
        mask = at.constant(-(1 << at.low))
        return at.number(builder, builder.and_(at.bits(builder, values[0]), mask))
    return x(x), generate
