"""The gradient of a convolution to its weight by Winograd's algorithm.

    for each of the T * T values: sums (channels, 32) = sum over tiles of
        values of pixels (tiles, channels) * values of the gradient of outputs (tiles, 32)

and one transform at the end. Two ways to share the work:

* `sum_apart`: each thread has tiles and sums of its own; both stay in L2. For few channels.
* `turn_both`, `sum_products`: values of many tiles are kept, then threads share the sums, of which
  there is one set. The sums of many channels do not fit L2, and are read and written once.

Values of pixels lie as vectors of channels, tile after tile: memory is read in its order.
"""

from __future__ import annotations

import numpy as np

from .atomics import next_part
from .base import inline, jit
from .conv import PANEL_BYTES, band_bytes, fill_band
from .tile import ROWS, VECTOR_BYTES, address, columns_tile, keep, stays_apart
from .winograd import (
    KIND_OUTS,
    KIND_TILES,
    LINE,
    grid_at,
    read_job,
    square,
    steps,
    turn_pixels,
)
from .winograd_tile import of_gradient

__all__ = ["sum_apart", "sum_products", "turn_both"]


@inline
def _tables(job, grid, of_g, table):
    """Offsets: of pixels in a tile, of their values, of outputs in a tile, of their values."""
    tile, m = KIND_TILES[job.kind], KIND_OUTS[job.kind]
    squares = tile * tile
    square(table, tile, job.step * grid.row * 4, job.step * grid.c * 4)
    steps(table[squares:], squares, job.values)
    square(table[2 * squares:], m, of_g.row * 4, of_g.c * 4)
    steps(table[3 * squares:], squares, job.grads)


@jit
def _turn(kind, job, grid, of_g, like, bands, row_of, table, g0, g1, seen, given):
    """Values of rows g0..g1 of tiles; `bands` are two scratches for images."""
    stays_apart()
    tile, m, c = KIND_TILES[job.kind], KIND_OUTS[job.kind], of_g.c
    squares, lanes, width = tile * tile, VECTOR_BYTES // 4, PANEL_BYTES // 4
    fill_band(like, job.x, grid, bands[0], g0, g1, row_of)
    turn_pixels(kind, job, grid, bands[0], row_of, g1 - g0, seen, table, table[squares:])
    fill_band(like, job.g, of_g, bands[1], g0, g1, row_of)
    for r in range(g1 - g0):
        for j in range(grid.wide):
            source = bands[1] + row_of[r] + j * m * c * 4
            target = given + (r * grid.wide + j) * PANEL_BYTES
            for v in range(0, job.panels * width, lanes):       # zeros beyond the last channel
                of_gradient(kind, job.kind, max(0, min(lanes, c - v)), source + v * 4,
                            address(table) + 16 * squares,
                            target + v // width * squares * job.grads + v % width * 4,
                            address(table) + 24 * squares)


@jit
def _multiply(kind, job, c, squares, t, panel, tiles, seen, given, sums, add):
    """The sums of one value in one panel over so many tiles."""
    stays_apart()
    depth, width, lanes = job.step * job.step * c, PANEL_BYTES // 4, VECTOR_BYTES // 4
    chunks = (c + lanes - 1) // lanes
    b = given + (panel * squares + t) * job.grads
    into = sums + (panel * squares + t) * (depth | 1) * PANEL_BYTES
    for chunk in range(job.step * job.step * chunks):
        a = seen + t * job.values + chunk * job.chunk
        row = chunk // chunks * c + chunk % chunks * lanes
        rows = min(lanes, c - chunk % chunks * lanes)
        heights = (rows + ROWS - 1) // ROWS
        for h in range(heights):
            i = rows * h // heights
            columns_tile(kind, rows * (h + 1) // heights - i, a + i * 4, VECTOR_BYTES, tiles, b,
                         PANEL_BYTES, into + (row + i) * PANEL_BYTES, PANEL_BYTES, width, add)


@jit
def turn_both(kind, place):
    """Pixels and the gradient of outputs -> values, for some rows of tiles."""
    job = read_job(place)
    grid, of_g = grid_at(job.grid), grid_at(job.grid_g)
    like, row_of = np.empty(1, kind), np.empty(job.band, np.int64)
    room = band_bytes(grid, job.band, 4) + LINE
    buffer = np.empty(room + band_bytes(of_g, job.band, 4), np.uint8)
    bands = (address(buffer), address(buffer) + room)
    table = np.empty(5 * KIND_TILES[job.kind] ** 2, np.int64)
    _tables(job, grid, of_g, table)
    while True:
        task = next_part(place)
        if task >= job.tasks:
            break
        first, last = job.total * task // job.bands, job.total * (task + 1) // job.bands
        at = first * grid.wide
        _turn(kind, job, grid, of_g, like, bands, row_of, table, job.start + first,
              job.start + last, job.seen + at * job.rows, job.given + at * PANEL_BYTES)
    keep(buffer)
    keep(table)


@jit
def sum_products(kind, place):
    """The sums of all values that are kept; a task is one value in one panel."""
    job = read_job(place)
    grid, squares = grid_at(job.grid), KIND_TILES[job.kind] ** 2
    while True:
        task = next_part(place)
        if task >= job.tasks:
            break
        _multiply(kind, job, grid.c, squares, task // job.panels, task % job.panels,
                  job.total * grid.wide, job.seen, job.given, job.turned, job.add)


@jit
def sum_apart(kind, place):
    """A task is a share of the rows of tiles, with sums of its own, `apart` bytes for each."""
    job = read_job(place)
    grid, of_g = grid_at(job.grid), grid_at(job.grid_g)
    squares = KIND_TILES[job.kind] ** 2
    like, row_of = np.empty(1, kind), np.empty(job.band, np.int64)
    room = (band_bytes(grid, job.band, 4) + LINE) // LINE * LINE
    room_g = (band_bytes(of_g, job.band, 4) + LINE) // LINE * LINE
    buffer = np.empty(room + room_g + squares * (job.values + job.panels * job.grads)
                      + 2 * PANEL_BYTES, np.uint8)
    base = (address(buffer) + LINE - 1) // LINE * LINE
    bands = (base, base + room)
    seen = base + room + room_g
    given = seen + squares * job.values
    table = np.empty(5 * squares, np.int64)
    _tables(job, grid, of_g, table)
    while True:
        task = next_part(place)
        if task >= job.tasks:
            break
        first, last = job.total * task // job.tasks, job.total * (task + 1) // job.tasks
        sums, count = job.turned + task * job.apart, (last - first + job.band - 1) // job.band
        for i in range(count):
            g0 = first + (last - first) * i // count
            g1 = first + (last - first) * (i + 1) // count
            _turn(kind, job, grid, of_g, like, bands, row_of, table, g0, g1, seen, given)
            for t in range(squares):
                for panel in range(job.panels):
                    _multiply(kind, job, grid.c, squares, t, panel, (g1 - g0) * grid.wide, seen,
                              given, sums, np.int64(i > 0))
    keep(buffer)
    keep(table)
