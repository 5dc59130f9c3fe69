"""Convolutions that mix no channels (groups = channels): vectors along the channels.

    for each thread: a range of the rows of the grid of windows
        for each band of its rows
            copy the rows of the image that it sees to a scratch, with zeros around
            for each vector of channels
                forward: 14 windows in registers, summed over the taps; a tap's weights are loaded
                    once for all of them
                weight: 14 taps in registers, summed over the windows
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .base import jit
from .conv import band_bytes, fill_band, find_windows, place_rows, read_grid
from .conv_weight import gather
from .pool import fork
from .tile import ROWS, VECTOR_BYTES, _each_height, _i64, _Tile, address, keep

__all__ = ["depth"]


def _entry(tile, table, index):
    return tile.load(tile.b.add(table, tile.b.shl(index, ir.Constant(_i64, 3))), 0, _i64)


@intrinsic
def _window_tile(typingctx, dtype, m, a, rows, taps, offsets, w, step, bias, c, places, n):
    """m windows of n <= 1 vector of channels: bias + sum over taps; weights are `step` apart."""
    kind = dtype.dtype

    def codegen(context, builder, signature, args):
        m, a0, rows, taps, offsets, w0, step, bias, c, places, n = args[1:]

        def emit(height):
            tile = _Tile(builder, kind, height, 1)
            mask = tile.masks(n)[0]
            starts = [builder.add(a0, tile.load(rows, 8 * i, _i64)) for i in range(height)]

            def tap(s):
                sums, w, q = s[:-2], s[-2], s[-1]
                weight, shift = tile.load(w, 0, tile.vector), _entry(tile, offsets, q)
                new = [tile.fma(tile.masked("load", tile.at(start, shift, tile.vector), mask),
                                weight, old) for start, old in zip(starts, sums)]
                return [*new, builder.add(w, step), builder.add(q, ir.Constant(_i64, 1))]
            first = tile.load(bias, 0, tile.vector)
            sums = tile.loop(taps, 1, [first] * height + [w0, ir.Constant(_i64, 0)], tap)
            for i in range(height):
                place = builder.add(c, tile.load(places, 8 * i, _i64))
                tile.masked("store", tile.at(place, 0, tile.vector), mask, sums[i])
        _each_height(builder, m, emit)
        return context.get_dummy_value()
    return types.none(dtype, *[types.int64] * 11), codegen


@intrinsic
def _tap_tile(typingctx, dtype, m, a, offsets, rows, count, g, step, c, ldc, n, add):
    """m taps of n <= 1 vector of channels: sums over `count` windows, whose g are `step` apart."""
    kind = dtype.dtype

    def codegen(context, builder, signature, args):
        m, a0, offsets, rows, count, g0, step, c, ldc, n, add = args[1:]

        def emit(height):
            tile = _Tile(builder, kind, height, 1)
            mask = tile.masks(n)[0]
            shifts = [builder.add(a0, tile.load(offsets, 8 * i, _i64)) for i in range(height)]

            def window(s):
                sums, g, q = s[:-2], s[-2], s[-1]
                value = tile.masked("load", tile.at(g, 0, tile.vector), mask)
                row = _entry(tile, rows, q)
                new = [tile.fma(tile.masked("load", tile.at(shift, row, tile.vector), mask),
                                value, old) for shift, old in zip(shifts, sums)]
                return [*new, builder.add(g, step), builder.add(q, ir.Constant(_i64, 1))]
            zero = ir.Constant(tile.vector, None)
            sums = tile.loop(count, 1, [zero] * height + [g0, ir.Constant(_i64, 0)], window)
            tile.store(sums[:height], c, ldc, n, add)
        _each_height(builder, m, emit)
        return context.get_dummy_value()
    return types.none(dtype, *[types.int64] * 11), codegen


@jit
def _depth(like, x, w, bias, g, planes, out, one, numbers, phases, offsets, band, total, t, parts):
    """Forward where g is 0, else sums for the weight: both walk over the same bands."""
    out, g0, g1 = out + t * one, total * t // parts, total * (t + 1) // parts
    grid = read_grid(numbers)
    size = np.int64(like.itemsize)
    width, pixel = VECTOR_BYTES // size, grid.c * size
    padded = (grid.c + width - 1) // width * VECTOR_BYTES
    bands = (g1 - g0 + band - 1) // band
    most, kinds = band * grid.wide, len(phases)
    row_of = np.empty(band, np.int64)
    rows, places = np.empty((kinds, most), np.int64), np.empty((kinds, most), np.int64)
    counts = np.empty(kinds, np.int64)
    buffer = np.empty(1 if grid.direct else band_bytes(grid, band, size), np.uint8)
    gathered = np.empty((most + 16) * pixel + 4 * VECTOR_BYTES if g else 1, np.uint8)
    base = x if grid.direct else address(buffer)
    for i in range(bands):
        u0 = g0 + (g1 - g0) * i // bands
        u1 = g0 + (g1 - g0) * (i + 1) // bands
        if grid.direct:
            place_rows(size, grid, u0, u1, row_of)
        else:
            fill_band(like, x, grid, base, u0, u1, row_of)
        for p in range(kinds):
            counts[p] = find_windows(size, grid, phases[p], row_of, u0, u1, rows[p], places[p])
        if g:
            gather(like, g, address(gathered), grid, planes, u0, u1, 0, grid.c, pixel)
        for c0 in range(0, grid.c, width):
            n, at = min(width, grid.c - c0), c0 * size
            for p in range(kinds):
                taps, tap, count = phases[p, 6], phases[p, 7], counts[p]
                if g:
                    for q in range(0, taps, ROWS):
                        _tap_tile(like.dtype, min(ROWS, taps - q), base + at,
                                  address(offsets) + q * 8, address(rows), count,
                                  address(gathered) + at, pixel, out + q * padded + at, padded,
                                  n, np.int64(i > 0))
                    continue
                tiles = (count + ROWS - 1) // ROWS
                for t in range(tiles):
                    r, end = count * t // tiles, count * (t + 1) // tiles
                    _window_tile(like.dtype, end - r, base + at, address(rows) + (p * most + r) * 8,
                                 taps, address(offsets) + tap * 8, w + phases[p, 9] * padded + at,
                                 padded, bias + at, out + at,
                                 address(places) + (p * most + r) * 8, n)
    keep(buffer)


@jit
def depth(like, x, w, bias, g, planes, out, one, numbers, phases, offsets, band, total, nt):
    """One kernel per channel. All but arrays are addresses; weights and bias have whole vectors.

    With g: sums for the weight, a set of `one` bytes for each thread, taps by channels.
    """
    fork(_depth, (like, x, w, bias, g, planes, out, one, numbers, phases, offsets, band, total), nt)
