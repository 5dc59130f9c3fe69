"""Winograd's transforms on vectors: M X M^T for a square X of vectors, one number of X per lane.

X is read by a table of offsets and the result written by another, so that the same code serves
pixels of an image, taps of packed weights, and values of tiles. `kind` is a place in KINDS.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..winograd_plan import KINDS
from .tile import _i64, _Tile

__all__ = ["of_gradient", "of_pixels", "of_taps", "to_outputs", "to_taps", "word"]

Matrix = Any


@intrinsic
def word(typingctx, place, index):
    """The whole number at a place in a table."""
    def codegen(context, builder, signature, args):
        at = builder.add(args[0], builder.shl(args[1], ir.Constant(_i64, 3)))
        return builder.load(builder.inttoptr(at, _i64.as_pointer()))
    return types.int64(types.int64, types.int64), codegen


class _Square(_Tile):
    """Emits sums with constant factors."""

    def __init__(self, builder: Any, dtype: Any):
        super().__init__(builder, dtype, 0, 1)

    def constant(self, x: float) -> Any:
        return ir.Constant(self.vector, [x] * self.lanes)

    def combine(self, factors: list[float], xs: list[Any]) -> Any:
        """The sum of factor * x, or None where all factors are 0."""
        terms = sorted(((f, x) for f, x in zip(factors, xs, strict=True) if f),
                       key=lambda term: term[0] != 1)
        if not terms:
            return None
        (f, total), *rest = terms
        total = total if f == 1 else self.b.fmul(self.constant(f), total)
        for f, x in rest:
            if f == 1:
                total = self.b.fadd(total, x)
            elif f == -1:
                total = self.b.fsub(total, x)
            else:
                total = self.fma(self.constant(f), x, total)
        return total

    def times(self, matrix: Matrix, xs: list[Any]) -> list[Any]:
        """matrix xs. Columns, and then rows, that differ by signs alone share their work."""
        rows, xs = [list(row) for row in matrix], list(xs)
        for j in range(len(xs)):
            for k in range(j + 1, len(xs)):
                pairs = [(row[j], row[k]) for row in rows]
                if len(rows) > 2 and all(a == b or a == -b for a, b in pairs) and any(
                        a == -b != 0 for a, b in pairs) and any(a == b != 0 for a, b in pairs):
                    xs[j], xs[k] = self.b.fadd(xs[j], xs[k]), self.b.fsub(xs[j], xs[k])
                    for row, (a, b) in zip(rows, pairs, strict=True):
                        row[j], row[k] = (a, 0.0) if a == b else (0.0, a)
        out: list[Any] = [None] * len(rows)
        for i, row in enumerate(rows):
            if out[i] is not None:
                continue
            twin = next((k for k in range(i + 1, len(rows)) if out[k] is None and all(
                a in (b, -b) for a, b in zip(row, rows[k], strict=True))), None)
            if twin is None:
                out[i] = self.combine(row, xs)
                continue
            same = [a if a == b else 0.0 for a, b in zip(row, rows[twin], strict=True)]
            even = self.combine(same, xs)
            odd = self.combine([a - b for a, b in zip(row, same, strict=True)], xs)
            if even is None or odd is None:
                out[i] = self.combine(row, xs)
                continue
            out[i], out[twin] = self.b.fadd(even, odd), self.b.fsub(even, odd)
        return out

    def sandwich(self, matrix: Matrix, load: Any, store: Any) -> None:
        """store(M X M^T): columns of X first, then rows."""
        n, size = len(matrix[0]), len(matrix)
        columns = [self.times(matrix, [load(i * n + j) for i in range(n)]) for j in range(n)]
        for i in range(size):
            row = self.times(matrix, [column[i] for column in columns])
            for j, x in enumerate(row):
                store(i * size + j, x)

    def entry(self, table: Any, index: int) -> Any:
        return self.load(table, 8 * index, _i64)


def _each_kind(builder: Any, kind: Any, emit: Any) -> None:
    end = builder.append_basic_block("end")
    blocks = [builder.append_basic_block(f"kind{i}") for i in range(len(KINDS))]
    choice = builder.switch(kind, end)
    for i, block in enumerate(blocks):
        choice.add_case(ir.Constant(_i64, i), block)
        builder.position_at_end(block)
        emit(KINDS[i])
        builder.branch(end)
    builder.position_at_end(end)


def _turned(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))


def _transform(what: str, matrix_of: Any) -> Any:
    """An intrinsic (dtype, kind, n, source, sources, target, targets): n <= 1 vector is read, and
    whole vectors are written, 0 beyond n."""
    def made(typingctx, dtype, kind, n, source, sources, target, targets):
        def codegen(context, builder, signature, args):
            kind, n, source, sources, target, targets = args[1:]
            square = _Square(builder, dtype.dtype)
            mask = square.masks(n)[0]

            def emit(known):
                def load(i):
                    place = square.at(source, square.entry(sources, i), square.vector)
                    return square.masked("load", place, mask)

                def store(i, x):
                    builder.store(x, square.at(target, square.entry(targets, i), square.vector),
                                  align=square.size)
                square.sandwich(matrix_of(known), load, store)
            _each_kind(builder, kind, emit)
            return context.get_dummy_value()
        return types.none(dtype, *[types.int64] * 6), codegen
    made.__name__, made.__doc__ = what, f"{what}: whole vectors."
    return intrinsic(made)


of_pixels = _transform("of_pixels", lambda known: known.of_pixels)
of_taps = _transform("of_taps", lambda known: known.of_taps)
of_gradient = _transform("of_gradient", lambda known: _turned(known.of_outputs))


def _ending(what: str, matrix_of: Any) -> Any:
    """An intrinsic with a bias, that writes n numbers, and looks whether all are finite:
    (dtype, kind, n, source, sources, target, targets, bias, check)."""
    def made(typingctx, dtype, kind, n, source, sources, target, targets, bias, check):
        def codegen(context, builder, signature, args):
            kind, n, source, sources, target, targets, bias, check = args[1:]
            square = _Square(builder, dtype.dtype)
            mask = square.masks(n)[0]
            more = square.load(bias, 0, square.vector)
            zero = ir.Constant(square.vector, None)

            def emit(known):
                state = [square.load(check, 0, square.vector)]

                def load(i):
                    return square.load(square.b.add(source, square.entry(sources, i)), 0,
                                       square.vector)

                def store(i, x):
                    x = builder.fadd(x, more)
                    state[0] = square.fma(x, zero, state[0])
                    place = square.at(target, square.entry(targets, i), square.vector)
                    square.masked("store", place, mask, x)
                square.sandwich(matrix_of(known), load, store)
                builder.store(state[0], square.at(check, 0, square.vector), align=square.size)
            _each_kind(builder, kind, emit)
            return context.get_dummy_value()
        return types.none(dtype, *[types.int64] * 8), codegen
    made.__name__, made.__doc__ = what, f"{what}: with a bias, n numbers."
    return intrinsic(made)


to_outputs = _ending("to_outputs", lambda known: known.of_outputs)
to_taps = _ending("to_taps", lambda known: _turned(known.of_taps))
