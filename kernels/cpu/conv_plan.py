"""What the convolution kernels need to know before they run: a plan for each combination of sizes.

Both directions are sums over *pieces* of padded images. A convolution's window (m, l) starts at row
`stride * m` of the padded image; its pieces are the rows of the kernel. A transposed convolution
falls into stride x stride *phases* of its output: those pixels whose distance to the edge leaves
the same remainder see the same taps of the kernel, at windows that are a step of 1 apart, so each
phase is a convolution with a small kernel, and none multiplies with zeros.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Grid", "Layout", "Plan", "forward", "transposed"]

Pair = tuple[int, int]
Edges = tuple[Pair, Pair]


class Layout(NamedTuple):
    """How images lie in memory: as (N, H, W, C), or as planes (N, C, H, W)."""

    c: int
    h: int
    w: int
    planes: int      # 1 or 0


class Grid(NamedTuple):
    """The windows of a plan, and the padded image that they lie on. Numbers are elements."""

    c: int           # channels of the image
    h: int
    w: int
    planes: int      # is it (N, C, H, W) in memory, else (N, H, W, C)
    image: int       # from image to image
    line: int        # from row to row
    plane: int       # from channel to channel
    high: int        # windows in a column and in a row
    wide: int
    step_h: int      # from window to window
    step_w: int
    top: int         # rows and columns of zeros in front; negative: cropped
    left: int
    span: int        # rows that a window sees
    row: int         # elements in a row of the padded image
    direct: int      # no copy is needed: the windows lie on the image itself
    groups: int
    outs: int        # channels per group of what the windows are multiplied with
    depth: int       # rows of a packed panel
    out_h: int       # the output's size, and the steps in it from window to window
    out_w: int
    out_step_h: int
    out_step_w: int


class Plan(NamedTuple):
    grid: np.ndarray          # a Grid as an array of int64
    phases: np.ndarray        # (P, 10): first output row and column, windows m0, m1, l0, l1,
    #                           pieces, the first of them, their length, first row in the panel
    offsets: np.ndarray       # of pieces, in bytes
    taps: np.ndarray          # for each tap of the kernel its place in a panel
    band: int                 # rows of the grid whose images fit the scratch
    windows: Pair             # rows of the grid for each image, and windows in a row
    out: Pair                 # size of the output
    seen: int                 # columns of the padded image


BAND = 384 << 10     # bytes of images in a band: with a panel, they stay in L2


@functools.lru_cache(maxsize=1024)
def forward(layout: Layout, kernel: Pair, outs: int, stride: Pair, padding: Edges,
            dilation: Pair, groups: int, size: int, copy: str = "") -> Plan:
    """conv2d of images with `outs` output channels in all; numbers have `size` bytes.

    With a `copy`, images are copied even where windows could be read where they lie: as "pixels",
    or as "planes", and then each tap is a piece of its own.
    """
    (kh, kw), (d, e) = kernel, dilation
    (top, bottom), (left, right) = padding
    high = (layout.h + top + bottom - d * (kh - 1) - 1) // stride[0] + 1
    wide = (layout.w + left + right - e * (kw - 1) - 1) // stride[1] + 1
    rows = [(u * d, u) for u in range(kh)]
    columns = [(v * e, v) for v in range(kw)]
    phase = (0, 0, 0, high, 0, wide, rows, columns)
    return _plan(layout, kernel, outs, stride, (top, left), (high, wide), [phase], groups, size,
                 (high, wide), (1, 1), copy)


@functools.lru_cache(maxsize=1024)
def transposed(layout: Layout, kernel: Pair, outs: int, stride: Pair, padding: Edges,
               dilation: Pair, groups: int, size: int, out: Pair,
               copy: str = "") -> Plan:
    """conv_transpose2d of images to `outs` channels in all, of size `out`."""
    axes = [_phases(k, s, d, p, m)
            for k, s, d, (p, _), m in zip(kernel, stride, dilation, padding, out)]
    (row_phases, high, top), (column_phases, wide, left) = axes
    phases = [(r[0], c[0], *r[1:3], *c[1:3], r[3], c[3])
              for r in row_phases for c in column_phases]
    return _plan(layout, kernel, outs, (1, 1), (top, left), (high, wide), phases, groups, size,
                 out, stride, copy)


def _phases(kernel: int, stride: int, dilation: int, before: int,
            out: int) -> tuple[list[Any], int, int]:
    """The phases of one axis of a transposed convolution, the windows and the zeros in front.

    Output y meets tap u at the input's (y + before - dilation * u) / stride, where that is whole:
    with y + before = stride * m + r, for the taps with dilation * u = stride * back + r.
    """
    taps: list[list[Pair]] = [[] for _ in range(stride)]
    for u in range(kernel):
        back, r = divmod(dilation * u, stride)
        taps[r].append((back, u))
    reach = dilation * (kernel - 1) // stride
    low, high = before // stride, (out - 1 + before) // stride
    phases = []
    for r in range(stride):
        first = stride * low + r - before                     # the output of window 0
        m0 = 0 if first >= 0 else 1
        m1 = (out - 1 - first) // stride + 1
        if m1 > m0:
            phases.append((first, m0, m1, sorted((reach - back, u) for back, u in taps[r])))
    return phases, high - low + 1, reach - low


def _plan(layout: Layout, kernel: Pair, outs: int, step: Pair, before: Pair, windows: Pair,
          phases: list[Any], groups: int, size: int, out: Pair, out_step: Pair,
          copy: str) -> Plan:
    c, h, w, planes = layout
    (high, wide), (top, left) = windows, before
    span = 1 + max((o for p in phases for o, _ in p[6]), default=0)
    reach = 1 + max((o for p in phases for o, _ in p[7]), default=0)
    seen = (wide - 1) * step[1] + reach
    direct = int(not (planes or copy) and top <= 0 and left <= 0 and seen - left <= w
                 and (high - 1) * step[0] + span - top <= h)
    row = w * c if direct else seen * c
    table, offsets, taps, depth = [], [], np.full(kernel, -1), 0
    order = 0
    for *where, rows, columns in phases:
        joined = groups == 1 and copy != "planes" and all(
            b[0] - a[0] == 1 for a, b in zip(columns, columns[1:]))
        starts = columns[:1] if joined else columns
        length = c // groups * (len(columns) if joined else 1)
        table.append((*where, len(rows) * len(starts), len(offsets), length, depth))
        offsets += [(r * row + q * c) * size for r, _ in rows for q, _ in starts]
        for _, u in rows:
            for _, v in columns:
                taps[u, v] = order
                order += 1
        depth = order * (c // groups)
    unused = taps < 0                 # by a phase without outputs: they are packed last
    taps[unused] = np.arange(order, taps.size)
    total = c // groups * kernel[0] * kernel[1]
    grid = Grid(c, h, w, planes, c * h * w, w if planes else w * c, h * w if planes else 1, high,
                wide, *step, top, left, span, row, direct, groups, outs // groups, total, *out,
                *out_step)
    return Plan(np.array(grid, np.int64), np.array(table, np.int64).reshape(-1, 10),
                np.array(offsets or [0], np.int64), taps.reshape(-1),
                max(1, BAND // (step[0] * row * size)), windows, out, seen)
