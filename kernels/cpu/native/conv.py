"""Convolutions on the register tile: patches are read where they lie, without im2col.

A convolution and a transposed convolution are the same loops over a *grid* of windows (N, M, L):

    for each thread: a range of the N * M rows of the grid, or of the panels of output channels
        for each band of its rows
            copy the rows of the image that it sees to a scratch of (rows, W, C) with zeros around
            for each panel of output channels (2 vectors, packed weights)
                for each phase of the output (one; stride x stride of them when transposed)
                    for each tile of 14 windows: 14 x 32 outputs in registers, summed over
                    the pieces (kw * C contiguous numbers per row of the kernel) of each patch

The scratch and the packed panel stay in L2. Tiles span rows and images, so small maps fill them.
What the loops need to know stands in arrays of integers that `kernels/cpu/conv_plan.py` makes.
"""

from __future__ import annotations

import numpy as np

from ..conv_plan import Grid
from .base import inline, jit
from .conv_tile import clear, move, patch_tile
from .pool import fork, ranges
from .tile import COLUMNS, ROWS, VECTOR_BYTES, address, keep, transpose_tile

__all__ = ["band_bytes", "correlate", "fill_band", "find_windows", "pack_weights", "place_rows",
           "read_grid"]

PANEL_BYTES = COLUMNS * VECTOR_BYTES


@jit
def _pack(like, w, into, shape, taps, first, last):
    """Panels first..last of the weights: for each tap and channel a row of 32 output channels.

    Runs of numbers (channels and taps, or taps alone) are contiguous in w, output channels are
    `step` apart: squares are transposed to a stage, and their rows go where the tap belongs.
    """
    size = np.int64(like.itemsize)
    channels, outs, run, outer, outer_step, step, group_step, kk = shape
    width = VECTOR_BYTES // size
    wide = COLUMNS * width
    per_group = (outs + wide - 1) // wide
    stage = np.empty(width * wide * size + VECTOR_BYTES, np.uint8)
    place = (address(stage) + VECTOR_BYTES - 1) // VECTOR_BYTES * VECTOR_BYTES
    for panel in range(first, last):
        group, j = panel // per_group, panel % per_group * wide
        target = into + panel * channels * kk * PANEL_BYTES
        for z in range(outer):
            source = w + (group * group_step + z * outer_step + j * step) * size
            for e in range(0, run, width):
                for v in range(COLUMNS):
                    transpose_tile(like.dtype, source + (v * width * step + e) * size, step * size,
                                   outs - j - v * width, run - e, place + v * VECTOR_BYTES,
                                   PANEL_BYTES)
                for r in range(min(width, run - e)):
                    row = taps[(e + r) % kk] * channels + z + (e + r) // kk
                    move(place + r * PANEL_BYTES, target + row * PANEL_BYTES, PANEL_BYTES)
    keep(stage)


@jit
def pack_weights(like, w, into, shape, taps, panels, nt):
    """Pack all panels of the weights at address w, each thread a range of them."""
    ranges(_pack, (like, w, into, shape, taps), panels, nt)


@inline
def read_grid(a):
    """The plan's numbers by name."""
    return Grid(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12],
                a[13], a[14], a[15], a[16], a[17], a[18], a[19], a[20], a[21], a[22])


@inline
def band_bytes(grid, rows, size):
    """Room for what `rows` rows of the grid see, wherever images begin and end among them."""
    images = rows // grid.high + 2
    lines = rows * grid.step_h + images * grid.span
    return (lines * grid.row + 16 * VECTOR_BYTES * grid.c) * size + 16 * VECTOR_BYTES


@jit
def _fill_row(like, source, target, grid):
    """One row of a padded image: zeros, the row's pixels as (W, C), zeros."""
    size = np.int64(like.itemsize)
    c, left, row = grid.c, grid.left, grid.row
    skip, start = max(0, -left), min(max(0, left), row // c)
    count = max(0, min(grid.w - skip, row // c - start))
    clear(target, start * c * size)
    into = target + start * c * size
    if grid.planes:
        # Whole squares are written: what lies beyond a channel or a pixel is written after it.
        width = VECTOR_BYTES // size
        for i in range(0, count, width):
            for k in range((c - 1) // width * width, -1, -width):
                transpose_tile(like.dtype, source + (k * grid.plane + skip + i) * size,
                               grid.plane * size, c - k, count - i, into + (i * c + k) * size,
                               c * size)
    else:
        move(source + skip * c * size, into, count * c * size)
    clear(into + count * c * size, (row - (start + count) * c) * size)


@jit
def fill_band(like, x, grid, scratch, g0, g1, row_of):
    """Copy what rows g0..g1 of the grid see of the images; row_of is where each of them starts."""
    size = np.int64(like.itemsize)
    target, g, row = scratch, g0, grid.row * size
    while g < g1:
        n, m = g // grid.high, g % grid.high
        count = min(g1 - g, grid.high - m)
        for i in range(count):
            row_of[g - g0 + i] = target - scratch + i * grid.step_h * row
        for r in range((count - 1) * grid.step_h + grid.span):
            y = m * grid.step_h + r - grid.top
            if 0 <= y < grid.h:
                _fill_row(like, x + (n * grid.image + y * grid.line) * size, target, grid)
            else:
                clear(target, row)
            target += row
        g += count


@inline
def place_rows(size, grid, g0, g1, row_of):
    """Where rows g0..g1 of the grid start in images that are read where they lie."""
    for g in range(g0, g1):
        n, m = g // grid.high, g % grid.high
        row_of[g - g0] = (n * grid.image + (m * grid.step_h - grid.top) * grid.line
                          - grid.left * grid.c) * size


@jit
def find_windows(size, grid, phase, row_of, g0, g1, rows, places):
    """The windows of a phase in rows g0..g1: where their patches and their outputs are."""
    top, left, m0, m1, l0, l1 = phase[0], phase[1], phase[2], phase[3], phase[4], phase[5]
    pixel = grid.groups * grid.outs * size
    count = 0
    for g in range(g0, g1):
        n, m = g // grid.high, g % grid.high
        if m0 <= m < m1:
            place = ((n * grid.out_h + m * grid.out_step_h + top) * grid.out_w + left) * pixel
            for i in range(l0, l1):
                rows[count] = row_of[g - g0] + i * grid.step_w * grid.c * size
                places[count] = place + i * grid.out_step_w * pixel
                count += 1
    return count


@jit
def _correlate(like, x, packed, bias, out, numbers, phases, offsets, band, g0, g1, first, last):
    grid = read_grid(numbers)
    size = np.int64(like.itemsize)
    lanes = PANEL_BYTES // size
    per_group = (grid.outs + lanes - 1) // lanes
    bands = (g1 - g0 + band - 1) // band
    most, kinds = band * grid.wide, len(phases)
    row_of = np.empty(band, np.int64)
    rows = np.empty((kinds, most), np.int64)
    places = np.empty((kinds, most), np.int64)
    counts = np.empty(kinds, np.int64)
    buffer = np.empty(1 if grid.direct else band_bytes(grid, band, size), np.uint8)
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
        for panel in range(first, last):
            group, j = panel // per_group, panel % per_group * lanes
            n = min(lanes, grid.outs - j)
            a = base + group * (grid.c // grid.groups) * size
            c = out + (group * grid.outs + j) * size
            for p in range(kinds):
                b = packed + (panel * grid.depth + phases[p, 9]) * PANEL_BYTES
                tiles = (counts[p] + ROWS - 1) // ROWS
                for tile in range(tiles):
                    r = counts[p] * tile // tiles
                    m = counts[p] * (tile + 1) // tiles - r
                    patch_tile(like.dtype, m, a, address(rows) + (p * most + r) * 8, phases[p, 6],
                               address(offsets) + phases[p, 7] * 8, phases[p, 8], b,
                               bias + panel * PANEL_BYTES, c,
                               address(places) + (p * most + r) * 8, n)
    keep(buffer)


@jit
def _correlate_part(like, x, packed, bias, out, numbers, phases, offsets, band, total, by_rows,
                    panels, by_panels, t, parts):
    r, p = t // by_panels, t % by_panels
    _correlate(like, x, packed, bias, out, numbers, phases, offsets, band,
               total * r // by_rows, total * (r + 1) // by_rows,
               panels * p // by_panels, panels * (p + 1) // by_panels)


@jit
def correlate(like, x, packed, bias, out, numbers, phases, offsets, band, total, by_rows, panels,
              by_panels):
    """The convolution of a plan; x, packed weights, bias and out are addresses.

    Threads share `total` rows of the grid in `by_rows` parts, and panels in `by_panels` parts.
    """
    fork(_correlate_part, (like, x, packed, bias, out, numbers, phases, offsets, band, total,
                           by_rows, panels, by_panels), by_rows * by_panels)
