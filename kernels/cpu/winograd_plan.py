"""Winograd's short convolutions: what they multiply by, and the plan of a call.

A tile of m x m outputs of a kernel of r x r taps depends on T x T pixels, T = m + r - 1. Seen as
polynomials, pixels and taps are multiplied by their values at T points (one of them infinity):

    outputs = A^T [ (G taps G^T) * (B^T pixels B) ] A

so that T^2 products, summed over channels, do the work of m^2 r^2. A convolution with a step of s
falls into s x s convolutions of every s-th pixel, with kernels of 1/s the size: s^2 times the
channels. A transposed one makes its s x s phases so: s^2 times the output channels.

The points decide how much rounding costs. 0, 1, -1, infinity (T = 4; without -1, T = 3) only ever
add; the error is that of the direct sum. For T = 6 we take 0, 3/4, -3/4, 3/2, -3/2, infinity: with
256 channels the largest error is 2.5e-6 of the largest output (3.6e-6 in a gradient of pixels), the
direct sum's 0.4e-6, and that of the usual points 0, 1, -1, 2, -2 is 9e-6. The bound: |error| <=
k eps sum over the tile of |pixels| |taps|.

T = 4 and T = 3 serve the same kernels: tiles of 3 x 3 outputs take 16 products, those of 2 x 2 take
9, which is less on maps of 4 x 4.

Source: A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016;
B. Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd Convolution", TOMS 2020.
"""

from __future__ import annotations

import functools
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from .conv_plan import Grid, Layout, Pair

__all__ = ["KINDS", "Job", "Kind", "Plan", "plan"]

Matrix = tuple[tuple[float, ...], ...]


class Kind(NamedTuple):
    """A size of tile and of kernel, with its three matrices."""

    tile: int
    taps: int
    outs: int
    of_outputs: Matrix      # A^T, (outs, tile)
    of_taps: Matrix         # G, (tile, taps)
    of_pixels: Matrix       # B^T, (tile, tile)


def _product(roots: list[Fraction]) -> list[Fraction]:
    """Coefficients of the polynomial with these roots, lowest power first."""
    found = [Fraction(1)]
    for root in roots:
        found = [a - root * b for a, b in zip([Fraction(0), *found], [*found, Fraction(0)])]
    return found


def _kind(points: list[Fraction], taps: int) -> Kind:
    tile = len(points) + 1
    outs = tile - taps + 1
    last = [Fraction(0)] * (tile - 1) + [Fraction(1)]
    a = [[p ** i for p in points] + [Fraction(int(i == outs - 1))] for i in range(outs)]
    g, b = [], []
    for j, p in enumerate(points):
        others = points[:j] + points[j + 1:]
        scale = _product(others)
        at_p = sum((c * p ** k for k, c in enumerate(scale)), Fraction(0))
        g.append([p ** k / at_p for k in range(taps)])
        b.append([*scale, Fraction(0)])
    g.append(last[tile - taps:])
    b.append(_product(points))

    def numbers(rows: list[list[Fraction]]) -> Matrix:
        return tuple(tuple(float(x) for x in row) for row in rows)
    return Kind(tile, taps, outs, numbers(a), numbers(g), numbers(b))


_THREE = [Fraction(0), Fraction(1)]
_FOUR = [Fraction(0), Fraction(1), Fraction(-1)]
_SIX = [Fraction(0), Fraction(3, 4), Fraction(-3, 4), Fraction(3, 2), Fraction(-3, 2)]
KINDS = (_kind(_FOUR, 2), _kind(_SIX, 3), _kind(_SIX, 5), _kind(_THREE, 2))


class Job(NamedTuple):
    """What the compiled functions are told: addresses, counts, strides in bytes."""

    next: int        # the task that is taken next
    tasks: int
    kind: int        # place in KINDS
    x: int
    packed: int      # weights, or sums for their gradient: panels of (phase, tap, channel, 32)
    turned: int      # the same as panels of (T * T, channel, 32)
    bias: int
    out: int
    bad: int         # becomes 1 where a result is not finite
    bands: int       # parts of the rows of tiles; the most rows that one has
    band: int
    total: int       # rows of tiles; the first of them, of a part of the images
    start: int
    panels: int      # of 32 output channels; all phases count
    splits: int      # parts of the panels
    step: int        # step of the convolution
    phases: int      # of the output: step^2 of a transposed convolution, else 1
    first_h: int     # output row and column of the first window
    first_w: int
    rows: int        # values of pixels: from tile to tile, from vector to vector of channels,
    chunk: int       # from phase to phase, and from value to value
    phase: int
    values: int
    grads: int       # values of the gradient: from value to value
    g: int           # the gradient of the output
    seen: int        # where values of pixels, and of the gradient, are kept
    given: int
    add: int         # are there sums already?
    apart: int       # bytes of the sums of a task
    aligned: int     # do the tiles of each phase begin at its own first window?
    grid: int        # addresses of two grids: of the images, and of the gradient
    grid_g: int


class Plan(NamedTuple):
    kind: int
    grid: np.ndarray        # a Grid whose windows are tiles
    taps: np.ndarray        # for each tap of the kernel its place in a panel
    step: int
    phases: int
    first: Pair
    rows: int               # rows of tiles in an image
    wide: int               # tiles in a row
    out: Pair
    aligned: int


@functools.lru_cache(maxsize=1024)
def plan(layout: Layout, kernel: Pair, outs: int, stride: Pair, before: Pair, out: Pair,
         transposed: bool) -> Plan | None:
    """The plan of a convolution to images of size `out`, or None where there is none."""
    k, s = kernel[0], stride[0]
    taps = k // s
    if kernel != (k, k) or stride != (s, s) or k % s:
        return None
    found = [_plan(layout, k, s, i, outs, before, out, transposed)
             for i, known in enumerate(KINDS) if known.taps == taps]
    return min(found, key=lambda p: p.rows * p.wide * KINDS[p.kind].tile ** 2, default=None)


def _plan(layout: Layout, k: int, s: int, kind: int, outs: int, before: Pair, out: Pair,
          transposed: bool) -> Plan:
    taps, tile, m = k // s, KINDS[kind].tile, KINDS[kind].outs
    within = 1 if transposed else s               # from window to window of the images
    lows = [p // s if transposed else 0 for p in before]
    counts = [(n - 1 + p) // s - low + 1 if transposed else n
              for n, p, low in zip(out, before, lows)]
    top, left = ((taps - 1 - low) if transposed else p for p, low in zip(before, lows))
    aligned = int(transposed and tile == 3)
    if aligned:
        counts = [-(-n // s) for n in out]
    high, wide = (-(-n // m) for n in counts)
    c, h, w, planes = layout
    seen = ((wide - 1) * m + tile) * within + aligned
    jump = m * within
    grid = Grid(c, h, w, planes, c * h * w, w if planes else w * c, h * w if planes else 1, high,
                wide, jump, jump, top, left,
                tile * within + aligned, seen * c, 0, 1, outs, 0, *out, 1, 1)
    first = tuple(s * low - p if transposed else 0 for p, low in zip(before, lows))
    return Plan(kind, np.array(grid, np.int64), _order(k, s, taps, transposed), s,
                s * s if transposed else 1, (first[0], first[1]), high, wide, out, aligned)


def _order(k: int, s: int, taps: int, transposed: bool) -> np.ndarray:
    """Taps by phase, then by row and column within the kernel of the phase."""
    found = np.empty((k, k), np.int64)
    for u in range(k):
        for v in range(k):
            (a, i), (b, j) = divmod(u, s), divmod(v, s)
            if transposed:
                a, b = taps - 1 - a, taps - 1 - b
            found[u, v] = ((i * s + j) * taps + a) * taps + b
    return found.reshape(-1)
