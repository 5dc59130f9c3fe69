"""Convolutions to a few channels (the image that a generator makes): pixels go on the lanes.

With 3 output channels 29 of 32 lanes of `conv.py`'s tiles would be idle. Here

    for each thread: a range of the rows of the grid of windows
        for each band of its rows
            copy the rows of the image that it sees to a scratch of planes (C, rows * W)
            for each phase of the output and each 32 neighbouring pixels of it
                a tile of (output channels) x 32 sums in registers, over taps and channels

A step of one tap is a shift by that many numbers in every plane, so that pixels of a row and of
the next, with the border between them, are one long row; what stands at the border is dropped.
"""

from __future__ import annotations

import numpy as np

from .base import jit
from .conv import PANEL_BYTES, read_grid
from .conv_tile import clear, move, strip_tile
from .pool import ranges
from .tile import ROWS, VECTOR_BYTES, address, keep, transpose_tile

__all__ = ["few"]


@jit
def _planes(like, x, grid, scratch, plane, u0, u1):
    """Copy what rows u0..u1 of the grid, all of one image, see of it, `plane` bytes a channel."""
    size = np.int64(like.itemsize)
    wide, width, c = grid.row // grid.c, VECTOR_BYTES // size, grid.c
    n, m = u0 // grid.high, u0 % grid.high
    skip, start = max(0, -grid.left), min(max(0, grid.left), wide)
    count = max(0, min(grid.w - skip, wide - start))
    for r in range(u1 - u0 + grid.span - 1):
        y = m + r - grid.top
        into = scratch + r * wide * size
        if not 0 <= y < grid.h:
            for k in range(c):
                clear(into + k * plane, wide * size)
            continue
        source = x + (n * grid.image + y * grid.line) * size
        for k in range(c):
            clear(into + k * plane, start * size)
        if grid.planes:
            for k in range(c):
                move(source + (k * grid.plane + skip) * size, into + k * plane + start * size,
                     count * size)
        else:        # whole squares are written; what lies beyond them is written after them
            for i in range(0, count, width):
                for k in range(0, c, width):
                    transpose_tile(like.dtype, source + ((skip + i) * c + k) * size, c * size,
                                   count - i, c - k, into + k * plane + (start + i) * size, plane)
        for k in range(c):
            clear(into + k * plane + (start + count) * size, (wide - start - count) * size)


@jit
def _few(like, x, packed, bias, out, last, numbers, phases, offsets, band, g0, g1):
    grid = read_grid(numbers)
    size, c, outs = np.int64(like.itemsize), grid.c, grid.outs
    lanes, wide = PANEL_BYTES // size, grid.row // grid.c
    width = VECTOR_BYTES // size
    # An odd number of cache lines between planes: they fall into different sets of the cache.
    lines = ((band + grid.span) * wide * size + 2 * PANEL_BYTES + 15 * size * width) // 64 | 1
    plane = lines * 64
    buffer = np.empty((c + width) // width * width * plane + PANEL_BYTES, np.uint8)
    scratch = (address(buffer) + 63) // 64 * 64
    taps = np.empty(phases[:, 6].sum() + 1, np.int64)
    shifts = np.empty(len(taps), np.int64)
    for q in range(len(taps) - 1):
        shifts[q] = offsets[q] // c
        taps[q] = q * c * PANEL_BYTES
    tile = np.empty((outs, lanes), like.dtype)
    image, across, down = grid.out_h * grid.out_w, grid.out_step_w, grid.out_step_h
    pixel, plane_step = (outs, 1) if last else (1, image)
    u0 = g0
    while u0 < g1:
        n, first = u0 // grid.high, u0 % grid.high
        u1 = min(g1, u0 + min(band, grid.high - first))
        _planes(like, x, grid, scratch, plane, u0, u1)
        for p in range(len(phases)):
            top, left, m0, m1, l0, l1, pieces, piece = phases[p, :8]
            for start in range(0, (u1 - u0) * wide, lanes):
                count = min(lanes, (u1 - u0) * wide - start)
                for i in range(0, outs, ROWS):
                    strip_tile(like.dtype, min(ROWS, outs - i), packed + i * size,
                               address(taps) + piece * 8, PANEL_BYTES, pieces, c,
                               scratch + start * size, address(shifts) + piece * 8, plane,
                               address(tile) + i * PANEL_BYTES, PANEL_BYTES, count, 0)
                for o in range(outs):
                    line = tile[o]
                    j = 0
                    while j < count:               # one row of the grid after the other
                        r, a = (start + j) // wide, (start + j) % wide
                        b = min(wide, a + count - j)
                        m = first + r
                        if m0 <= m < m1:
                            at = (n * outs * image + o * plane_step
                                  + ((m * down + top) * grid.out_w + left) * pixel)
                            for k in range(max(a, l0), min(b, l1)):
                                out[at + k * across * pixel] = line[j + k - a] + bias[o]
                        j += b - a
        u0 = u1
    keep(buffer)


@jit
def few(like, x, packed, bias, out, last, numbers, phases, offsets, band, total, nt):
    """The convolution of a plan with steps of 1: out and bias are arrays, flat.

    The output lies as (N, H, W, C) where `last`, else as planes.
    """
    ranges(_few, (like, x, packed, bias, out, last, numbers, phases, offsets, band), total, nt)
