"""The gradient of a convolution to its weight: for each tap, a sum over all windows.

    dw[piece + i, o] = sum over windows of image[window, piece + i] * g[window, o]

    for each thread: a range of the rows of the grid of windows, or of what g is multiplied with
        for each band of its rows
            copy what its windows see of the images to a scratch, with zeros around
            for each panel of 32 channels of g: copy it to a scratch of (windows, 32)
                for each piece (row of the kernel) and 14 numbers of it: a tile of 14 x 32 sums,
                which stay in registers while the windows go by

With few channels in g the lanes of the vectors would be empty. Then the two sides change places:
a tile is 14 channels of g (or as many as there are) times 32 numbers of a piece.

Sums of threads are added in their order: results are the same from run to run.
"""

from __future__ import annotations

import numpy as np

from .base import jit
from .conv import (
    PANEL_BYTES,
    band_bytes,
    fill_band,
    place_rows,
    read_grid,
)
from .conv_tile import move, strip_tile
from .pool import fork, ranges
from .tile import COLUMNS, ROWS, VECTOR_BYTES, address, copy_row, keep, transpose_tile

__all__ = ["finish_weight", "gather", "weight_sums"]


@jit
def _sums(like, rows, a, a_offsets, lda, pieces, kc, b, b_offsets, ldb, c, ldc, n, add):
    """All tiles of a product: `rows` rows of A against n <= 32 columns of B."""
    size = np.int64(like.itemsize)
    tiles = (rows + ROWS - 1) // ROWS
    for t in range(tiles):
        i = rows * t // tiles
        m = rows * (t + 1) // tiles - i
        strip_tile(like.dtype, m, a + i * size, a_offsets, lda, pieces, kc, b, b_offsets, ldb,
                   c + i * ldc, ldc, n, add)


@jit
def gather(like, g, into, grid, planes, g0, g1, first, count, step):
    """Channels first..first+count of rows g0..g1 of g as (windows, channels), `step` apart."""
    size = np.int64(like.itemsize)
    channels = grid.groups * grid.outs
    image = grid.high * grid.wide
    if not planes:
        source = g + (g0 * grid.wide * channels + first) * size
        if count == channels and step == channels * size:
            move(source, into, (g1 - g0) * grid.wide * step)
            return
        for i in range((g1 - g0) * grid.wide):
            copy_row(like.dtype, source + i * channels * size, into + i * step, count)
        return
    width = VECTOR_BYTES // size
    p0 = g0
    while p0 < g1:
        n, m = p0 // grid.high, p0 % grid.high
        rows = min(g1 - p0, grid.high - m)
        source = g + ((n * channels + first) * image + m * grid.wide) * size
        target = into + (p0 - g0) * grid.wide * step
        for i in range(0, rows * grid.wide, width):
            for k in range((count - 1) // width * width, -1, -width):
                transpose_tile(like.dtype, source + (k * image + i) * size, image * size,
                               count - k, rows * grid.wide - i, target + i * step + k * size, step)
        p0 += rows


@jit
def _weight(like, x, g, planes, into, numbers, phases, offsets, swapped, band, g0, g1, first,
            last):
    """Sums over rows g0..g1 of the grid; panels first..last of g, or of pieces where swapped."""
    grid = read_grid(numbers)
    size = np.int64(like.itemsize)
    lanes = PANEL_BYTES // size
    per_group = (grid.outs + lanes - 1) // lanes
    bands = (g1 - g0 + band - 1) // band
    row_of = np.empty(band, np.int64)
    of_g = np.empty(band, np.int64)
    buffer = np.empty(1 if grid.direct else band_bytes(grid, band, size), np.uint8)
    outs = grid.groups * grid.outs
    step = outs * size if swapped else PANEL_BYTES
    gathered = np.empty(((band * grid.wide + 16) * step) + 4 * PANEL_BYTES, np.uint8)
    rows = (address(gathered) + VECTOR_BYTES - 1) // VECTOR_BYTES * VECTOR_BYTES
    base = x if grid.direct else address(buffer)
    pieces, kc = phases[0, 6], phases[0, 8]
    for i in range(bands):
        u0 = g0 + (g1 - g0) * i // bands
        u1 = g0 + (g1 - g0) * (i + 1) // bands
        if grid.direct:
            place_rows(size, grid, u0, u1, row_of)
        else:
            fill_band(like, x, grid, base, u0, u1, row_of)
        count, long, pixel = u1 - u0, grid.wide, grid.step_w * grid.c * size
        for r in range(count):
            of_g[r] = r * grid.wide * step
        if count > 1:
            apart = row_of[1] - row_of[0]
            even = grid.wide == 1 or apart == grid.wide * pixel
            for r in range(2, count):
                even &= row_of[r] - row_of[r - 1] == apart
            if even:                    # all windows are as far apart: they make one long sum
                count, long, pixel = 1, count * grid.wide, apart // grid.wide
        add = np.int64(i > 0)
        if swapped:
            gather(like, g, rows, grid, planes, u0, u1, 0, outs, step)
            for panel in range(first, last):
                q, j = panel // swapped, panel % swapped * lanes
                _sums(like, outs, rows, address(of_g), step, count, long,
                      base + offsets[q] + j * size, address(row_of), pixel,
                      into + (q * kc + j) * size, grid.depth * size, min(lanes, kc - j), add)
        else:
            for panel in range(first, last):
                group, j = panel // per_group, panel % per_group * lanes
                n = min(lanes, grid.outs - j)
                gather(like, g, rows, grid, planes, u0, u1, group * grid.outs + j, n, step)
                for q in range(pieces):
                    _sums(like, kc, base + offsets[q] + group * (grid.c // grid.groups) * size,
                          address(row_of), pixel, count, long, rows, address(of_g), step,
                          into + (panel * grid.depth + q * kc) * PANEL_BYTES, PANEL_BYTES, n, add)
    keep(buffer)
    keep(gathered)


@jit
def _weight_part(like, x, g, planes, into, one, numbers, phases, offsets, swapped, band, total,
                 by_rows, panels, by_panels, t, parts):
    r, p = t // by_panels, t % by_panels
    _weight(like, x, g, planes, into + r * one, numbers, phases, offsets, swapped, band,
            total * r // by_rows, total * (r + 1) // by_rows,
            panels * p // by_panels, panels * (p + 1) // by_panels)


@jit
def weight_sums(like, x, g, planes, into, one, numbers, phases, offsets, swapped, band, total,
                by_rows, panels, by_panels):
    """The gradient as packed panels, one set of `one` bytes for each of `by_rows` parts of rows.

    x, g and into are addresses; `planes` says how g lies. `swapped` is the number of panels of a
    piece where a tile's columns are those of the image, else 0.
    """
    fork(_weight_part, (like, x, g, planes, into, one, numbers, phases, offsets, swapped, band,
                        total, by_rows, panels, by_panels), by_rows * by_panels)


@jit
def _finish(like, sums, parts, dw, shape, taps, first, last):
    """Squares first..last of the gradient: add up the parts, and put channels before taps."""
    size = np.int64(like.itemsize)
    channels, outs, run, kk = shape
    width = VECTOR_BYTES // size
    wide = COLUMNS * width
    per_group = (outs + wide - 1) // wide
    squares = (run + width - 1) // width
    stage, turned = np.zeros((width, wide), like.dtype), np.empty((width, width), like.dtype)
    for square in range(first, last):
        panel, e = square // squares, square % squares * width
        group, j = panel // per_group, panel % per_group * wide
        high = min(width, run - e)
        for r in range(high):
            row = panel * channels * kk + taps[(e + r) % kk] * channels + (e + r) // kk
            line = stage[r]
            for k in range(wide):
                line[k] = sums[0, row * wide + k]
            for part in range(1, parts):
                more = sums[part, row * wide:(row + 1) * wide]
                for k in range(wide):
                    line[k] += more[k]
        for v in range(0, min(wide, outs - j), width):
            transpose_tile(like.dtype, address(stage) + v * size, PANEL_BYTES, width, width,
                           address(turned), VECTOR_BYTES)
            for k in range(min(width, outs - j - v)):
                move(address(turned) + k * VECTOR_BYTES,
                     dw + (((group * outs + j + v + k) * run) + e) * size, high * size)


@jit
def finish_weight(like, sums, dw, shape, taps, squares, nt):
    """Panels of sums, (parts, numbers), added up and transposed into dw (O, C / g, kh, kw)."""
    ranges(_finish, (like, sums, sums.shape[0], dw, shape, taps), squares, nt)
