"""Winograd convolutions: short kernels on tiles of 4 x 4 or 6 x 6 pixels.

    for each thread, as long as there are tasks: some rows of tiles, and some panels of outputs
        copy what the tiles see of the images to a scratch of (rows, W, C) with zeros around
        turn each tile and 16 channels of it into T * T values, which lie as T * T matrices
            (tiles, channels)
        for each panel of 32 output channels
            T * T products of those matrices with the turned weights, on the register tile
            turn the T * T sums of each tile into its outputs

Values of pixels and sums of a panel stay in L2. The order of every sum is the same for any number
of threads. `kernels/cpu/winograd_plan.py` says what the numbers of a task mean.
"""

from __future__ import annotations

import numpy as np

from ..winograd_plan import KINDS, Job
from .atomics import next_part
from .base import inline, jit
from .conv import PANEL_BYTES, band_bytes, fill_band, read_grid
from .conv_tile import patch_tile
from .tile import ROWS, VECTOR_BYTES, address, keep
from .winograd_tile import of_pixels, of_taps, to_outputs, to_taps, word

__all__ = ["KIND_OUTS", "KIND_TILES", "convolve", "grid_at", "read_job", "square", "steps",
           "turn_pixels", "turn_sums", "turn_weights"]

KIND_TILES = np.array([known.tile for known in KINDS])
KIND_OUTS = np.array([known.outs for known in KINDS])
KIND_TAPS = np.array([known.taps for known in KINDS])
LINE = 64


@inline
def read_job(p):
    """The numbers of a task by name."""
    return Job(word(p, 0), word(p, 1), word(p, 2), word(p, 3), word(p, 4), word(p, 5), word(p, 6),
               word(p, 7), word(p, 8), word(p, 9), word(p, 10), word(p, 11), word(p, 12),
               word(p, 13), word(p, 14), word(p, 15), word(p, 16), word(p, 17), word(p, 18),
               word(p, 19), word(p, 20), word(p, 21), word(p, 22), word(p, 23), word(p, 24),
               word(p, 25), word(p, 26), word(p, 27), word(p, 28), word(p, 29), word(p, 30),
               word(p, 31))


@inline
def grid_at(place):
    """The grid at an address."""
    numbers = np.empty(23, np.int64)
    for i in range(23):
        numbers[i] = word(place, i)
    return read_grid(numbers)


@inline
def steps(table, count, step):
    """table[i] = i * step."""
    for i in range(count):
        table[i] = i * step


@inline
def square(table, count, line, step):
    """table[i, j] = i * line + j * step."""
    for i in range(count):
        for j in range(count):
            table[i * count + j] = i * line + j * step


@inline
def _share(job, grid, task):
    """A task of weights: the panel, the phase and the range of its channels."""
    part, whole = task % job.splits, task // job.splits
    phases = job.step * job.step
    return (whole // phases, whole % phases, grid.c * part // job.splits,
            grid.c * (part + 1) // job.splits)


@inline
def _place_of(job, grid, squares, panel, phase):
    """Where the values of a phase of a panel of weights are, and how many channels are summed."""
    if job.phases == 1:
        depth = job.step * job.step * grid.c
        row = panel * squares * (depth | 1) + phase * grid.c
    else:
        depth = grid.c
        row = (phase * (job.panels // job.phases) + panel) * squares * (depth | 1)
    return job.turned + row * PANEL_BYTES, depth


@jit
def turn_weights(kind, place):
    """Packed weights -> T * T values."""
    job = read_job(place)
    grid = grid_at(job.grid)
    taps, squares = KIND_TAPS[job.kind] ** 2, KIND_TILES[job.kind] ** 2
    table = np.empty(taps + squares, np.int64)
    sources, targets = address(table), address(table) + taps * 8
    steps(table, taps, grid.c * PANEL_BYTES)
    while True:
        task = next_part(place)
        if task >= job.tasks:
            break
        panel, phase, first, last = _share(job, grid, task)
        target, depth = _place_of(job, grid, squares, panel, phase)
        steps(table[taps:], squares, (depth | 1) * PANEL_BYTES)
        source = job.packed + (task // job.splits) * taps * grid.c * PANEL_BYTES
        for at in range(first * PANEL_BYTES, last * PANEL_BYTES, VECTOR_BYTES):
            of_taps(kind, job.kind, VECTOR_BYTES // 4, source + at, sources, target + at, targets)
    keep(table)


@jit
def turn_sums(kind, place):
    """Sums of values -> sums for packed weights."""
    job = read_job(place)
    grid = grid_at(job.grid)
    taps, squares = KIND_TAPS[job.kind] ** 2, KIND_TILES[job.kind] ** 2
    table = np.empty(taps + squares, np.int64)
    targets, sources = address(table), address(table) + taps * 8
    numbers = np.zeros(2 * VECTOR_BYTES // 4, kind)
    none, check = address(numbers), address(numbers) + VECTOR_BYTES
    steps(table, taps, grid.c * PANEL_BYTES)
    while True:
        task = next_part(place)
        if task >= job.tasks:
            break
        panel, phase, first, last = _share(job, grid, task)
        source, depth = _place_of(job, grid, squares, panel, phase)
        steps(table[taps:], squares, (depth | 1) * PANEL_BYTES)
        target = job.packed + (task // job.splits) * taps * grid.c * PANEL_BYTES
        for at in range(first * PANEL_BYTES, last * PANEL_BYTES, VECTOR_BYTES):
            to_taps(kind, job.kind, VECTOR_BYTES // 4, source + at, sources, target + at, targets,
                    none, check)
    _tell(numbers, job.bad)
    keep(table)
    keep(numbers)


@jit
def _tell(numbers, bad):
    """Note that something was not finite: its product with 0 has been added to these numbers."""
    total = numbers[0]
    for i in range(1, len(numbers)):
        total += numbers[i]
    if total != 0:
        next_part(bad)


@inline
def turn_pixels(kind, job, grid, base, row_of, rows, into, sources, targets):
    """Values of the pixels of all tiles of a band, which is at address `base`."""
    lanes = VECTOR_BYTES // 4
    within = 1 if job.phases > 1 else job.step
    for r in range(rows):
        for j in range(grid.wide):
            tile = base + row_of[r] + j * grid.step_w * grid.c * 4
            target = into + (r * grid.wide + j) * job.rows
            for phase in range(within * within):
                origin = tile + (phase // within * grid.row + phase % within * grid.c) * 4
                place = target + phase * job.phase
                for c in range(0, grid.c, lanes):
                    of_pixels(kind, job.kind, min(lanes, grid.c - c), origin + c * 4,
                              address(sources), place, address(targets))
                    place += job.chunk


@inline
def shift(job, phase):
    """By how many pixels the tiles of a phase of the output begin later."""
    if not job.aligned:
        return 0, 0
    return (int(job.first_h + phase // job.step < 0), int(job.first_w + phase % job.step < 0))


@jit
def _find_outputs(job, grid, m, g0, g1, beyond, places):
    """Where the outputs of each tile of a band go, phase by phase; `beyond` is for nothing."""
    steps = job.step if job.phases > 1 else 1
    count = (g1 - g0) * grid.wide
    for phase in range(job.phases):
        down, right = shift(job, phase)
        first_h = job.first_h + phase // steps + down * steps
        first_w = job.first_w + phase % steps + right * steps
        for r in range(g1 - g0):
            n, i = (g0 + r) // grid.high, (g0 + r) % grid.high
            for j in range(grid.wide):
                at = ((phase * count) + r * grid.wide + j) * m * m
                for a in range(m):
                    y = first_h + (i * m + a) * steps
                    for b in range(m):
                        x = first_w + (j * m + b) * steps
                        inside = 0 <= y < grid.out_h and 0 <= x < grid.out_w
                        pixel = (n * grid.out_h + y) * grid.out_w + x
                        places[at + a * m + b] = pixel * grid.outs * 4 if inside else beyond


@jit
def convolve(kind, place):
    """Forward, and the gradient to the input."""
    job = read_job(place)
    grid = grid_at(job.grid)
    like = np.empty(1, kind)
    tile, m = KIND_TILES[job.kind], KIND_OUTS[job.kind]
    within = 1 if job.phases > 1 else job.step
    depth, squares = within * within * grid.c, tile * tile
    count = job.band * grid.wide
    panels, width, lanes = job.panels // job.phases, PANEL_BYTES // 4, VECTOR_BYTES // 4
    of_sums = (2 * count | 1) * LINE
    numbers = np.zeros(width + lanes, kind)
    none, check = address(numbers), address(numbers) + PANEL_BYTES
    buffer = np.empty(squares * (job.values + of_sums) + (panels + 4) * PANEL_BYTES
                      + band_bytes(grid, job.band, 4), np.uint8)
    values = (address(buffer) + LINE - 1) // LINE * LINE
    sums = values + squares * job.values + LINE
    beyond = sums + squares * of_sums
    band = beyond + (panels + 1) * PANEL_BYTES
    row_of, zero = np.empty(job.band, np.int64), np.zeros(1, np.int64)
    table = np.empty(3 * squares + 2 * count, np.int64)
    sources, targets, of_tile = table, table[squares:], table[2 * squares:]
    rows, places = table[3 * squares:], table[3 * squares + count:]
    outputs = np.empty(job.phases * count * m * m, np.int64)
    square(sources, tile, within * grid.row * 4, within * grid.c * 4)
    steps(targets, squares, job.values)
    steps(of_tile, squares, of_sums)
    steps(rows, count, job.rows)
    steps(places, count, PANEL_BYTES)
    while True:
        task = next_part(place)
        if task >= job.tasks:
            break
        part, split = task // job.splits, task % job.splits
        g0 = job.total * part // job.bands
        g1 = job.total * (part + 1) // job.bands
        fill_band(like, job.x, grid, band, g0, g1, row_of)
        _find_outputs(job, grid, m, g0, g1, beyond - job.out, outputs)
        here = (g1 - g0) * grid.wide
        heights = (here + ROWS - 1) // ROWS
        first = job.panels * split // job.splits
        for panel in range(first, job.panels * (split + 1) // job.splits):
            if panel == first or (job.aligned and panel % panels == 0):
                down, right = shift(job, panel // panels)
                turn_pixels(kind, job, grid, band + (down * grid.row + right * grid.c) * 4, row_of,
                            g1 - g0, values, sources, targets)
            for t in range(squares):
                b = job.turned + (panel * squares + t) * (depth | 1) * PANEL_BYTES
                for h in range(heights):
                    i = here * h // heights
                    patch_tile(kind, here * (h + 1) // heights - i, values + t * job.values,
                               address(rows) + i * 8, 1, address(zero), depth, b, none,
                               sums + t * of_sums, address(places) + i * 8, width)
            phase, j = panel // panels, panel % panels * width
            for v in range(j, min(j + width, grid.outs), lanes):
                for i in range(here):
                    to_outputs(kind, job.kind, min(lanes, grid.outs - v),
                               sums + i * PANEL_BYTES + (v - j) * 4, address(of_tile),
                               job.out + v * 4, address(outputs) + (phase * here + i) * m * m * 8,
                               job.bias + v * 4, check)
    _tell(numbers[width:], job.bad)
    keep(buffer)
    keep(numbers)
    keep(row_of)
    keep(zero)
    keep(table)
    keep(outputs)


