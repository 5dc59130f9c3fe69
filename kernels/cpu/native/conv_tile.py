"""The register tile for convolutions: sums over pieces of patches that lie apart in memory.

A patch of an image is a few runs of contiguous numbers, one for each row of the kernel. These
forms of `tile.py` sum over all of its runs while the tile stays in registers:

    C[i, j] = start[i, j] + sum over pieces p, k < kc of A[i, p, k] * B[p * kc + k, j]

Pieces of A (and of B, where it is the image) are found by tables of offsets, in bytes.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .tile import _UNROLL, COLUMNS, VECTOR_BYTES, _each_height, _i32, _i64, _Tile

__all__ = ["clear", "move", "patch_tile", "strip_tile"]


_AHEAD = 4096


@intrinsic
def move(typingctx, source, target, size):
    """Copy `size` bytes between two addresses."""
    def codegen(context, builder, signature, args):
        kind = ir.IntType(8).as_pointer()
        cgutils.raw_memcpy(builder, builder.inttoptr(args[1], kind),
                           builder.inttoptr(args[0], kind), args[2], 1)
        return context.get_dummy_value()
    return types.none(*[types.int64] * 3), codegen


@intrinsic
def clear(typingctx, target, size):
    """Make `size` bytes zero."""
    def codegen(context, builder, signature, args):
        cgutils.memset(builder, builder.inttoptr(args[0], ir.IntType(8).as_pointer()), args[1], 0)
        return context.get_dummy_value()
    return types.none(*[types.int64] * 2), codegen


def _pieces(tile: Any, count: Any, state: list[Any], inside: Any) -> list[Any]:
    """For each piece, `inside(index, state)`; the piece's number is the last of the state."""
    def body(s):
        return [*inside(s[-1], list(s[:-1])), tile.b.add(s[-1], ir.Constant(_i64, 1))]
    return tile.loop(count, 1, [*state, ir.Constant(_i64, 0)], body)[:-1]


def _both(tile: Any, kc: Any, state: list[Any], turns: Any) -> list[Any]:
    """kc steps: `_UNROLL` at a time, then one by one."""
    state = tile.loop(kc, _UNROLL, state, turns(_UNROLL))
    return tile.loop(tile.b.urem(kc, ir.Constant(_i64, _UNROLL)), 1, state, turns(1))


def _entry(tile: Any, table: Any, index: Any) -> Any:
    return tile.load(tile.b.add(table, tile.b.shl(index, ir.Constant(_i64, 3))), 0, _i64)


def _soon(tile: Any, b: Any) -> None:
    """Ask for the row of B that is read 32 steps from now: from L3, the processor's own guesses
    end with each page of 4 KB."""
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), _i32, _i32, _i32])
    fn = cgutils.get_or_insert_function(tile.b.module, kind, "llvm.prefetch.p0")
    for j in range(COLUMNS):
        place = tile.at(b, _AHEAD + VECTOR_BYTES * j, ir.IntType(8))
        tile.b.call(fn, [place, *(ir.Constant(_i32, v) for v in (0, 3, 1))])


@intrinsic
def patch_tile(typingctx, dtype, m, a, rows, pieces, offsets, kc, b, bias, c, places, n):
    """C = bias + patches times a packed panel: row i of A is the patch at a + rows[i].

    Its pieces lie at a + rows[i] + offsets[p]; row i of C is at c + places[i]. The panel b and the
    bias have whole vectors. All but `dtype` are int64, tables are given by their addresses.
    """
    kind = dtype.dtype

    def codegen(context, builder, signature, args):
        m, a0, rows, pieces, offsets, kc, b0, bias, c, places, n = args[1:]

        def emit(height):
            tile = _Tile(builder, kind, height, COLUMNS)
            line = VECTOR_BYTES * COLUMNS
            first = [tile.load(bias, VECTOR_BYTES * j, tile.vector) for j in range(COLUMNS)]
            starts = [builder.add(a0, tile.load(rows, 8 * i, _i64)) for i in range(height)]

            def piece(index, state):
                def turns(unroll):
                    def body(s):
                        sums, b, k = list(s[:-2]), s[-2], s[-1]
                        for u in range(unroll):
                            _soon(tile, b)
                            sums = tile.step(sums, lambda i, u=u: tile.load(
                                builder.add(starts[i], k), u * tile.size, tile.scalar), b)
                            b = builder.add(b, ir.Constant(_i64, line))
                        return [*sums, b, builder.add(k, ir.Constant(_i64, unroll * tile.size))]
                    return body
                return _both(tile, kc, [*state, _entry(tile, offsets, index)], turns)[:-1]
            sums = _pieces(tile, pieces, [*first * height, b0], piece)[:-1]
            masks = tile.masks(n)
            for i in range(height):
                row = builder.add(c, tile.load(places, 8 * i, _i64))
                for j in range(COLUMNS):
                    tile.masked("store", tile.at(row, VECTOR_BYTES * j, tile.vector), masks[j],
                                sums[i * COLUMNS + j])
        _each_height(builder, m, emit)
        return context.get_dummy_value()
    return types.none(dtype, *[types.int64] * 11), codegen


@intrinsic
def strip_tile(typingctx, dtype, m, a, a_offsets, lda, pieces, kc, b, b_offsets, ldb, c, ldc, n,
               add):
    """C (+)= sum over pieces p and k of A[p, k, i] * B[p, k, j]: rows of A lie side by side.

    Piece p of A starts at a + a_offsets[p] and has a step of k every `lda` bytes; B likewise. Of B
    whole vectors are read. All but `dtype` are int64; tables are given by their addresses.
    """
    kind = dtype.dtype

    def codegen(context, builder, signature, args):
        m, a0, a_offsets, lda, pieces, kc, b0, b_offsets, ldb, c, ldc, n, add = args[1:]

        def emit(height):
            tile = _Tile(builder, kind, height, COLUMNS)
            zero = ir.Constant(tile.vector, None)

            def piece(index, state):
                def turns(unroll):
                    def body(s):
                        sums, a, b = list(s[:-2]), s[-2], s[-1]
                        for _ in range(unroll):
                            sums = tile.step(sums, lambda i, a=a: tile.load(
                                a, i * tile.size, tile.scalar), b)
                            a, b = builder.add(a, lda), builder.add(b, ldb)
                        return [*sums, a, b]
                    return body
                start = [builder.add(a0, _entry(tile, a_offsets, index)),
                         builder.add(b0, _entry(tile, b_offsets, index))]
                return _both(tile, kc, [*state, *start], turns)[:-2]
            sums = _pieces(tile, pieces, [zero] * (height * COLUMNS), piece)
            tile.store(sums, c, ldc, n, add)
        _each_height(builder, m, emit)
        return context.get_dummy_value()
    return types.none(dtype, *[types.int64] * 13), codegen
