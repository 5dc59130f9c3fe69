"""Gradients of a recurrence's weights: one product over all steps for both of them.

The loop nest of one thread, which has a range of the rows of both results:

    for each block of k (step, row of the batch)
        pack the panels of x and of the states          they stay in L2
        for each strip of columns of d                  turned around, so that k is contiguous
            for each panel of x, then of the states     in L1
                for each tile of the strip              its sums in registers

The gradients d are read once for both, in pieces of whole cache lines: their rows are often a
power of two apart, so each piece is in another page and the processor foresees nothing.
"""

from __future__ import annotations

import numpy as np

from .base import jit
from .gemm import LINE, PANEL_BYTES, aligned, pack_panel
from .launch import call
from .pool import fork
from .tile import ROWS, VECTOR_BYTES, address, keep, transpose_tile

__all__ = ["weights"]

DEEP = 256            # rows of a panel: 32 KB of the first cache
STRIP = 8 * ROWS      # columns of d that are turned at once: 7 whole lines, as 14 * 8 is 16 * 7


@jit
def _panels(x, top, deep, room, target):
    """Pack rows top to top + deep of x; returns the address behind its panels."""
    size, n = np.int64(x.itemsize), x.shape[1]
    wide = PANEL_BYTES // size
    for j in range(0, n, wide):
        pack_panel(x, address(x) + (top * n + j) * size, deep, n * size, min(wide, n - j), False,
                   target)
        target += room
    return target


@jit
def _turned(d, top, deep, left, m, target, length):
    """Columns left to left + m of d as rows `length` bytes apart."""
    size, n = np.int64(d.itemsize), d.shape[1]
    width = VECTOR_BYTES // size
    source, stride = address(d) + (top * n + left) * size, n * size
    for j in range(0, deep, width):
        for i in range(0, m, width):
            transpose_tile(d.dtype, source + j * stride + i * size, stride, deep - j, m - i,
                           target + i * length + j * size, length)


@jit
def _weights(product, d, x, gx, h, gh, part, parts):
    """A range of the rows of gx = d.T x and gh = d.T h; either may have no columns."""
    size, (k, n) = np.int64(d.itemsize), d.shape
    left = n * part // parts // 16 * 16
    right = n if part + 1 == parts else n * (part + 1) // parts // 16 * 16
    wide, width = PANEL_BYTES // size, VECTOR_BYTES // size
    blocks = (k + DEEP - 1) // DEEP
    most = (k + blocks - 1) // blocks
    room = (most + width - 1) // width * width * PANEL_BYTES
    count = (x.shape[1] + wide - 1) // wide + (h.shape[1] + wide - 1) // wide
    buffer = np.empty(count * room + LINE, np.uint8)
    length = (most + 2 * width) * size
    strip = np.empty((STRIP + width) * length + LINE, np.uint8)
    table = np.empty(STRIP, np.int64)
    first, turned, places = aligned(buffer), aligned(strip), address(table)
    for i in range(STRIP):
        table[i] = turned + i * length
    x_row, h_row = gx.shape[1] * size, gh.shape[1] * size
    for b in range(blocks):
        top = k * b // blocks
        deep, add = k * (b + 1) // blocks - top, np.int64(b > 0)
        second = _panels(x, top, deep, room, first)
        _panels(h, top, deep, room, second)
        for i in range(left, right, STRIP):
            m = min(STRIP, right - i)
            _turned(d, top, deep, i, m, turned, length)
            call(product, (places, m, deep, first, room, address(gx) + i * x_row, x_row,
                           gx.shape[1], add))
            call(product, (places, m, deep, second, room, address(gh) + i * h_row, h_row,
                           gh.shape[1], add))
    keep(buffer)
    keep(strip)
    keep(table)


@jit
def weights(product, d, x, gx, h, gh, nt):
    """gx = d.T x and gh = d.T h for matrices with a row per step and row of the batch.

    Either of x and h may have no columns. `product` is `product_code` of the dtype.
    """
    fork(_weights, (product, d, x, gx, h, gh), nt)
