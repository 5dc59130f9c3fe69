"""Loops over rows, built from vectors: what attention needs besides panels.

Also the register tile for one vector of columns, which a head narrower than a panel leaves.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .panel import CLEAR, HIDDEN, WIDTH, _masked_load, _nothing, _Panel
from .tile import _UNROLL, VECTOR_BYTES, _each_height, _i1, _i32, _i64, _Tile

__all__ = ["columns_narrow", "row_dot", "row_of_bytes", "row_of_numbers", "rows_scale"]


@intrinsic
def columns_narrow(typingctx, dtype, m, a, lda, kc, b, ldb, c, ldc, n, add):
    """`columns_tile` for n <= 1 vector of columns: half the arithmetic."""
    kind = dtype.dtype

    def codegen(context, builder, signature, args):
        m, a0, lda, kc, b0, ldb, c, ldc, n, add = args[1:]

        def emit(rows):
            tile = _Tile(builder, kind, rows, 1)
            state = [ir.Constant(tile.vector, None)] * rows + [a0, b0]

            def turns(unroll):
                def body(s):
                    sums, a, b = list(s[:-2]), s[-2], s[-1]
                    for _ in range(unroll):
                        sums = tile.step(sums, lambda i, a=a: tile.load(
                            a, i * tile.size, tile.scalar), b)
                        a, b = builder.add(a, lda), builder.add(b, ldb)
                    return [*sums, a, b]
                return body
            state = tile.loop(kc, _UNROLL, state, turns(_UNROLL))
            rest = builder.urem(kc, ir.Constant(_i64, _UNROLL))
            state = tile.loop(rest, 1, state, turns(1))
            tile.store(state[:-2], c, ldc, n, add)
        _each_height(builder, m, emit)
        return _nothing(context)
    return types.none(dtype, *[types.int64] * 10), codegen


def _row_test(what: str, of_bytes: bool) -> Any:
    """An intrinsic (dtype, place, n): HIDDEN if all of a row of a mask hides, CLEAR if none of it
    does anything, as bits."""
    def made(typingctx, dtype, place, n):
        def codegen(context, builder, signature, args):
            p, (place, n) = _Panel(builder, dtype.dtype), args[1:]
            bits = ir.VectorType(_i1, p.lanes)
            none, low = ir.Constant(bits, None), p.constant(0.0 if of_bytes else -math.inf)
            step = p.lanes * (1 if of_bytes else p.size)

            def body(state):
                seen, busy, at, left = state
                here = p.lanes_below(left)
                x = _masked_load(p, builder.inttoptr(at, p.vector.as_pointer()), here, of_bytes)
                shows = builder.fcmp_unordered("!=", x, low)
                acts = builder.fcmp_unordered("==" if of_bytes else "!=", x, p.constant(0.0))
                return [builder.or_(seen, builder.and_(shows, here)),
                        builder.or_(busy, builder.and_(acts, here)),
                        builder.add(at, ir.Constant(_i64, step)),
                        builder.sub(left, ir.Constant(_i64, p.lanes))]
            state = p.loop(_vectors(p, n), 1, [none, none, place, n], body)
            whole = ir.IntType(p.lanes)
            found = [builder.icmp_unsigned("==", builder.bitcast(x, whole), ir.Constant(whole, 0))
                     for x in state[:2]]
            return builder.or_(
                builder.select(found[0], ir.Constant(_i64, HIDDEN), ir.Constant(_i64, 0)),
                builder.select(found[1], ir.Constant(_i64, CLEAR), ir.Constant(_i64, 0)))
        return types.int64(dtype, *[types.int64] * 2), codegen
    made.__name__ = what
    return intrinsic(made)


row_of_numbers = _row_test("row_of_numbers", False)
row_of_bytes = _row_test("row_of_bytes", True)


@intrinsic
def rows_scale(typingctx, dtype, y, ystep, x, xstep, rows, n, factors):
    """y[i, j] = x[i, j] * factors[i] for i < rows and j < n; y may be x."""
    def codegen(context, builder, signature, args):
        p, (y, ystep, x, xstep, rows, n, factors) = _Panel(builder, dtype.dtype), args[1:]
        whole = ir.Constant(_i64, WIDTH // p.size)
        turns = builder.udiv(builder.add(n, ir.Constant(_i64, WIDTH // p.size - 1)), whole)

        def row(state):
            y, x, factor = state
            by = p.splat(p.load(factor, 0, p.scalar))

            def vectors(state):
                y, x, left = state
                for j, here in enumerate(p.masks(left)):
                    value = p.masked("load", p.at(x, VECTOR_BYTES * j, p.vector), here)
                    p.masked("store", p.at(y, VECTOR_BYTES * j, p.vector), here,
                             builder.fmul(value, by))
                return [builder.add(y, ir.Constant(_i64, WIDTH)),
                        builder.add(x, ir.Constant(_i64, WIDTH)), builder.sub(left, whole)]
            p.loop(turns, 1, [y, x, n], vectors)
            return [builder.add(y, ystep), builder.add(x, xstep),
                    builder.add(factor, ir.Constant(_i64, p.size))]
        p.loop(rows, 1, [y, x, factors], row)
        return _nothing(context)
    return types.none(dtype, *[types.int64] * 7), codegen


def _vectors(p: _Panel, n: Any) -> Any:
    """In how many vectors n numbers fit."""
    return p.b.udiv(p.b.add(n, ir.Constant(_i64, p.lanes - 1)), ir.Constant(_i64, p.lanes))


@intrinsic
def row_dot(typingctx, dtype, x, y, n):
    """The sum of x[j] * y[j] over j < n."""
    kind = dtype.dtype

    def codegen(context, builder, signature, args):
        p, (x, y, n) = _Panel(builder, kind), args[1:]

        def body(state):
            total, x, y, left = state
            here = p.lanes_below(left)
            a, b = (p.masked("load", builder.inttoptr(z, p.vector.as_pointer()), here)
                    for z in (x, y))
            step = ir.Constant(_i64, VECTOR_BYTES)
            return [p.fma(a, b, total), builder.add(x, step), builder.add(y, step),
                    builder.sub(left, ir.Constant(_i64, p.lanes))]
        total = p.loop(_vectors(p, n), 1, [p.constant(0.0), x, y, n], body)[0]
        width = p.lanes
        while width > 1:                       # halves on halves
            width //= 2
            places = [(i + width) % p.lanes for i in range(p.lanes)]
            total = builder.fadd(total, p.shuffle(total, total, places))
        return builder.extract_element(total, ir.Constant(_i32, 0))
    return kind(dtype, *[types.int64] * 3), codegen
