"""Loops over panels, built from vectors as the register tile is.

A panel is a matrix with as many columns as the register tile has, `COLUMNS` vectors: row k of it
lies at `address + k * step` bytes, step being WIDTH or a multiple. Attention keeps the scores of a
block of queries so, one query per column and one key per row: its maximum and its sum over the keys
then never cross lanes.
Numba's loops over so few columns spend more time in checks for overlap than in the work.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .tile import COLUMNS, VECTOR_BYTES, _i1, _i32, _i64, _Tile

__all__ = ["CLEAR", "HIDDEN", "WIDTH", "panel_add", "panel_add_keys", "panel_causal",
           "panel_exp", "panel_gradient", "panel_hide", "panel_hide_keys", "panel_inner",
           "panel_max", "panel_scale", "panel_times", "panel_zero", "transpose_block",
           "transpose_bytes"]

WIDTH = COLUMNS * VECTOR_BYTES      # bytes in a row of a panel
HIDDEN, CLEAR = 1, 2                # what holds for all of a row of a mask; bits

_i8 = ir.IntType(8)

# exp(r) for |r| <= log(2) / 2, lowest power first: mpmath's Chebyshev fits, error 2e-9 and 3e-18
_EXP32 = (1.0, 1.000000038, 0.5000000047, 0.1666641551, 0.0416663529, 0.008375126398,
          0.001394110843)
_EXP64 = (1.0, 0.99999999999999999976, 0.50000000000000183855, 0.16666666666666680806,
          0.041666666666488095495, 0.0083333333333196006109, 0.0013888888952314774652,
          1.9841269890047113707e-4, 2.4801485482328492419e-5, 2.7557240918578969823e-6,
          2.7632639639041029749e-7, 2.5110037605963777712e-8)


class _Panel(_Tile):
    """Vector code for panels: a row is a list of COLUMNS vectors."""

    def __init__(self, builder: Any, dtype: Any):
        super().__init__(builder, dtype, 1, COLUMNS)
        self.ints = ir.VectorType(ir.IntType(self.size * 8), self.lanes)

    def constant(self, x: float) -> Any:
        return ir.Constant(self.vector, [x] * self.lanes)

    def row(self, base: Any) -> list[Any]:
        return [self.load(base, VECTOR_BYTES * j, self.vector) for j in range(COLUMNS)]

    def put(self, base: Any, row: list[Any]) -> None:
        for j, x in enumerate(row):
            self.b.store(x, self.at(base, VECTOR_BYTES * j, self.vector), align=self.size)

    def rows(self, base: Any, step: Any, count: Any, state: list[Any], body: Any) -> list[Any]:
        """state = body(address, state) for each row of the panel."""
        def turn(s):
            return [*body(s[-1], s[:-1]), self.b.add(s[-1], step)]
        return self.loop(count, 1, [*state, base], turn)[:-1]

    def exp(self, x: Any) -> Any:
        """exp(x) for x <= 0 or not far above; 0 where it would be below the normal numbers."""
        b, single = self.b, self.size == 4
        magic = self.constant(1.5 * 2.0 ** (23 if single else 52))
        t = self.fma(x, self.constant(1 / math.log(2)), magic)
        n = b.fsub(t, magic)
        high = 0.693145751953125 if single else 0.6931471803691238
        low = math.log(2) - high if single else 1.9082149292705877e-10
        r = self.fma(n, self.constant(-high), x)
        r = self.fma(n, self.constant(-low), r)
        coefficients = _EXP32 if single else _EXP64
        y = self.constant(coefficients[-1])
        for c in coefficients[-2::-1]:
            y = self.fma(y, r, self.constant(c))
        bits = ir.Constant(self.ints, [23 if single else 52] * self.lanes)
        power = b.shl(b.bitcast(t, self.ints), bits)
        y = b.bitcast(b.add(b.bitcast(y, self.ints), power), self.vector)
        tiny = b.fcmp_ordered("<", x, self.constant(-87.0 if single else -708.0))
        return b.select(tiny, self.constant(0.0), y)

    def lanes_below(self, count: Any) -> Any:
        """Which lanes of one vector have a number below `count`."""
        index = ir.VectorType(_i32, self.lanes)
        limit = self.splat_int(self.b.trunc(count, _i32), index)
        return self.b.icmp_signed("<", ir.Constant(index, list(range(self.lanes))), limit)

    def splat_int(self, x: Any, kind: Any) -> Any:
        one = self.b.insert_element(ir.Constant(kind, ir.Undefined), x, ir.Constant(_i32, 0))
        zeros = ir.Constant(ir.VectorType(_i32, self.lanes), [0] * self.lanes)
        return self.b.shuffle_vector(one, ir.Constant(kind, ir.Undefined), zeros)

    def transposed(self, rows: list[Any]) -> list[Any]:
        """A square of lanes x lanes numbers, turned: log2(lanes) rounds of exchanges in pairs."""
        n, step = self.lanes, 1
        while step < n:
            out = list(rows)
            for i in range(n):
                if i & step:
                    continue
                x, y = rows[i], rows[i + step]
                low = [j if not j & step else n + j - step for j in range(n)]
                high = [j + step if not j & step else n + j for j in range(n)]
                out[i], out[i + step] = self.shuffle(x, y, low), self.shuffle(x, y, high)
            rows, step = out, 2 * step
        return rows

    def shuffle(self, x: Any, y: Any, places: list[int]) -> Any:
        return self.b.shuffle_vector(x, y, ir.Constant(ir.VectorType(_i32, self.lanes), places))


def _nothing(context: Any) -> Any:
    return context.get_dummy_value()


@intrinsic
def panel_max(typingctx, dtype, s, step, rows, top):
    """top[j] = max(top[j], s[k, j] over k): NaN is passed over."""
    def codegen(context, builder, signature, args):
        p, (s, step, rows, top) = _Panel(builder, dtype.dtype), args[1:]

        def body(row, best):
            return [builder.select(builder.fcmp_ordered(">", x, t), x, t)
                    for x, t in zip(p.row(row), best, strict=True)]
        p.put(top, p.rows(s, step, rows, p.row(top), body))
        return _nothing(context)
    return types.none(dtype, *[types.int64] * 4), codegen


@intrinsic
def panel_zero(typingctx, dtype, s, step, rows):
    """s[k, j] = 0."""
    def codegen(context, builder, signature, args):
        p, (s, step, rows) = _Panel(builder, dtype.dtype), args[1:]

        def body(row, state):
            p.put(row, [p.constant(0.0)] * COLUMNS)
            return []
        p.rows(s, step, rows, [], body)
        return _nothing(context)
    return types.none(dtype, *[types.int64] * 3), codegen


@intrinsic
def panel_inner(typingctx, dtype, p, dp, step, rows, inner):
    """inner[j] = the sum of p[k, j] * dp[k, j] over k."""
    def codegen(context, builder, signature, args):
        p, (weights, dp, step, rows, inner) = _Panel(builder, dtype.dtype), args[1:]

        def body(row, sums):
            w = p.row(builder.add(weights, builder.sub(row, dp)))
            return [p.fma(a, x, t) for a, x, t in zip(w, p.row(row), sums, strict=True)]
        p.put(inner, p.rows(dp, step, rows, [p.constant(0.0)] * COLUMNS, body))
        return _nothing(context)
    return types.none(dtype, *[types.int64] * 5), codegen


@intrinsic
def panel_exp(typingctx, dtype, s, step, rows, shift, total):
    """s[k, j] = exp(s[k, j] - shift[j]), and total[j] += their sum over k."""
    def codegen(context, builder, signature, args):
        p, (s, step, rows, shift, total) = _Panel(builder, dtype.dtype), args[1:]
        less = p.row(shift)

        def body(row, sums):
            new = [p.exp(builder.fsub(x, t)) for x, t in zip(p.row(row), less, strict=True)]
            p.put(row, new)
            return [builder.fadd(a, x) for a, x in zip(sums, new, strict=True)]
        p.put(total, p.rows(s, step, rows, p.row(total), body))
        return _nothing(context)
    return types.none(dtype, *[types.int64] * 5), codegen


@intrinsic
def panel_scale(typingctx, dtype, s, step, rows, factor):
    """s[k, j] *= factor[j]."""
    def codegen(context, builder, signature, args):
        p, (s, step, rows, factor) = _Panel(builder, dtype.dtype), args[1:]
        by = p.row(factor)

        def body(row, state):
            p.put(row, [builder.fmul(x, f) for x, f in zip(p.row(row), by, strict=True)])
            return []
        p.rows(s, step, rows, [], body)
        return _nothing(context)
    return types.none(dtype, *[types.int64] * 4), codegen


def _with_panel(what: str, combine: Any) -> Any:
    """An intrinsic (dtype, x, step, rows, y, into): into[k, j] = combine(x[k, j], y[k, j]).

    The rows of y are back to back.
    """
    def made(typingctx, dtype, x, step, rows, y, into):
        def codegen(context, builder, signature, args):
            p, (x, step, rows, y, into) = _Panel(builder, dtype.dtype), args[1:]

            def body(row, state):
                p.put(builder.add(into, builder.sub(row, x)),
                      [combine(p, a, b) for a, b in zip(p.row(row), p.row(state[0]), strict=True)])
                return [builder.add(state[0], ir.Constant(_i64, WIDTH))]
            p.rows(x, step, rows, [y], body)
            return _nothing(context)
        return types.none(dtype, *[types.int64] * 5), codegen
    made.__name__, made.__doc__ = what, f"{what}: one number of a mask per score."
    return intrinsic(made)


def _hidden(p: _Panel, x: Any, m: Any) -> Any:
    seen = p.b.fcmp_unordered("!=", m, p.constant(0.0))
    return p.b.select(seen, x, p.constant(-math.inf))


panel_hide = _with_panel("panel_hide", _hidden)
panel_add = _with_panel("panel_add", lambda p, x, m: p.b.fadd(x, m))
panel_times = _with_panel("panel_times", lambda p, x, m: p.b.fmul(x, m))


@intrinsic
def panel_hide_keys(typingctx, dtype, s, step, rows, seen):
    """s[k, :] = -inf where byte k at address `seen` is 0."""
    def codegen(context, builder, signature, args):
        p, (s, step, rows, seen) = _Panel(builder, dtype.dtype), args[1:]

        def body(row, state):
            byte = builder.load(p.at(state[0], 0, _i8))
            low = p.constant(-math.inf)
            visible = builder.icmp_unsigned("!=", byte, ir.Constant(_i8, 0))
            p.put(row, [builder.select(visible, x, low) for x in p.row(row)])
            return [builder.add(state[0], ir.Constant(_i64, 1))]
        p.rows(s, step, rows, [seen], body)
        return _nothing(context)
    return types.none(dtype, *[types.int64] * 4), codegen


@intrinsic
def panel_add_keys(typingctx, dtype, s, step, rows, numbers):
    """s[k, :] += number k at address `numbers`."""
    def codegen(context, builder, signature, args):
        p, (s, step, rows, numbers) = _Panel(builder, dtype.dtype), args[1:]

        def body(row, state):
            more = p.splat(p.load(state[0], 0, p.scalar))
            p.put(row, [builder.fadd(x, more) for x in p.row(row)])
            return [builder.add(state[0], ir.Constant(_i64, p.size))]
        p.rows(s, step, rows, [numbers], body)
        return _nothing(context)
    return types.none(dtype, *[types.int64] * 4), codegen


@intrinsic
def panel_gradient(typingctx, dtype, p, dp, step, rows, inner, scale):
    """dp[k, j] = p[k, j] * (dp[k, j] - inner[j]) * scale: from weights to products of q and k."""
    kind = dtype.dtype

    def codegen(context, builder, signature, args):
        p, (weights, dp, step, rows, inner, scale) = _Panel(builder, kind), args[1:]
        less, by = p.row(inner), p.splat(scale)

        def body(row, state):
            w = p.row(builder.add(weights, builder.sub(row, dp)))
            p.put(row, [builder.fmul(builder.fmul(a, by), builder.fsub(x, t))
                        for a, x, t in zip(w, p.row(row), less, strict=True)])
            return []
        p.rows(dp, step, rows, [], body)
        return _nothing(context)
    return types.none(dtype, *[types.int64] * 5, kind), codegen


@intrinsic
def panel_causal(typingctx, dtype, s, step, rows, first):
    """s[k, j] = -inf where j < k + first: query j does not see key k yet."""
    def codegen(context, builder, signature, args):
        p, (s, step, rows, first) = _Panel(builder, dtype.dtype), args[1:]

        def body(row, state):
            hidden = [p.lanes_below(builder.sub(state[0], ir.Constant(_i64, j * p.lanes)))
                      for j in range(COLUMNS)]
            p.put(row, [builder.select(h, p.constant(-math.inf), x)
                        for h, x in zip(hidden, p.row(row), strict=True)])
            return [builder.add(state[0], ir.Constant(_i64, 1))]
        p.rows(s, step, rows, [first], body)
        return _nothing(context)
    return types.none(dtype, *[types.int64] * 4), codegen


def _masked_load(p: _Panel, place: Any, mask: Any, of_bytes: bool) -> Any:
    """A vector of numbers, or of bytes turned into numbers; 0 where the mask is off."""
    if not of_bytes:
        return p.masked("load", place, mask)
    kind = ir.VectorType(_i8, p.lanes)
    load = ir.FunctionType(kind, [kind.as_pointer(), _i32, mask.type, kind])
    name = f"llvm.masked.load.v{p.lanes}i8.p0"
    fn = cgutils.get_or_insert_function(p.b.module, load, name)
    got = p.b.call(fn, [p.b.bitcast(place, kind.as_pointer()), ir.Constant(_i32, 1), mask,
                        ir.Constant(kind, None)])
    return p.b.uitofp(got, p.vector)


def _transposer(what: str, of_bytes: bool) -> Any:
    def made(typingctx, dtype, x, step, rows, columns, y, ystep, width):
        kind = dtype.dtype

        def codegen(context, builder, signature, args):
            p, (x, step, rows, columns, y, ystep, width) = _Panel(builder, kind), args[1:]
            present, none = p.lanes_below(columns), ir.Constant(ir.VectorType(_i1, p.lanes), None)
            got = []
            for i in range(p.lanes):
                here = builder.icmp_signed("<", ir.Constant(_i64, i), rows)
                place = builder.inttoptr(x, p.vector.as_pointer())
                got.append(_masked_load(p, place, builder.select(here, present, none), of_bytes))
                x = builder.add(x, step)
            written = p.lanes_below(width)
            for j, line in enumerate(p.transposed(got)):
                here = builder.icmp_signed("<", ir.Constant(_i64, j), columns)
                place = builder.inttoptr(y, p.vector.as_pointer())
                p.masked("store", place, builder.select(here, written, none), line)
                y = builder.add(y, ystep)
            return _nothing(context)
        return types.none(dtype, *[types.int64] * 7), codegen
    made.__name__ = what
    made.__doc__ = """y[j, i] = x[i, j] for i < rows and j < columns, as far as they fit in lanes.

    `width` lanes of each row of y are written; those from `rows` on are 0. Steps are in bytes.
    """
    return intrinsic(made)


transpose_block = _transposer("transpose_block", False)
transpose_bytes = _transposer("transpose_bytes", True)
