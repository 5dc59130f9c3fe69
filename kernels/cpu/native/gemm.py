"""Matrix products on the register tile: C = A B + bias, transposed operands as flags.

The loop nest, from the outside in (K. Goto and R. van de Geijn, "Anatomy of High-Performance
Matrix Multiplication", ACM TOMS 34(3), 2008, but A is read where it lies):

    for each block of columns and of k       of B: packed, it stays in L2
        for each tile of rows of A           what the block needs of them stays in L1
            for each panel of columns of B   k rows of 2 vectors, one behind the other
                C += A B in registers

Threads get ranges of columns, or of rows, whichever divides more evenly, and share nothing.
"""

from __future__ import annotations

import numpy as np

from .base import inline, jit, parallel, prange
from .tile import (
    COLUMNS,
    ROWS,
    VECTOR_BYTES,
    address,
    copy_row,
    rows_tile,
    stays_apart,
    transpose_tile,
)

__all__ = ["PANEL_BYTES", "aligned", "column_sums", "gemm", "pack_panel", "tiles_of"]

PANEL_BYTES = COLUMNS * VECTOR_BYTES     # a row of a packed panel
KC = 256              # rows of a panel: a tile's 14 rows of A then take 14 KB of L1
BLOCK = 768 << 10     # bytes of packed B, of the 1 to 2 MB of L2 that one core has
LINE = 64


@inline
def aligned(buffer):
    """The first address in a buffer that starts a cache line; room for 64 more bytes is needed."""
    return (address(buffer) + LINE - 1) // LINE * LINE


@inline
def tiles_of(rows):
    """In how many tiles `rows` rows are cut; made even, none of them has more than ROWS."""
    return (rows + ROWS - 1) // ROWS


@jit
def pack_panel(like, source, k, stride, n, transposed, target):
    """Copy k rows of n numbers of B from address `source` to `target`, one behind the other.

    Only 2 vectors of each are copied where n is more, and what is beyond column n becomes 0. Rows
    are `stride` bytes apart; where `transposed`, columns are, and rows are side by side. The target
    needs room for k rounded up to a whole vector. `like` gives the type.
    """
    stays_apart()
    size = np.int64(like.itemsize)
    width = VECTOR_BYTES // size
    if transposed:
        for j in range(0, COLUMNS * width, width):
            for i in range(0, k, width):
                transpose_tile(like.dtype, source + j * stride + i * size, stride,
                               n - j, k - i, target + i * PANEL_BYTES + j * size, PANEL_BYTES)
    else:
        for i in range(k):
            copy_row(like.dtype, source + i * stride, target + i * PANEL_BYTES, n)


@jit
def _turn(like, source, stride, k, m, target, length):
    """Write m <= ROWS columns of k numbers, `stride` bytes apart, as rows `length` bytes long."""
    stays_apart()
    size = np.int64(like.itemsize)
    width = VECTOR_BYTES // size
    for i in range(0, m, width):
        for j in range(0, k, width):
            transpose_tile(like.dtype, source + j * stride + i * size, stride, k - j, m - i,
                           target + i * length + j * size, length)


@jit
def _part(a, b, c, bias, ta, tb, k, row, rows, column, columns, lda, ldb, ldc):
    """C[row:row+rows, column:column+columns] = A B + bias, by one thread.

    a, b and c are addresses; lda, ldb and ldc strides in bytes between the rows as they lie.
    """
    stays_apart()
    kind = bias.dtype
    size = np.int64(bias.itemsize)
    wide = PANEL_BYTES // size
    deepest = min(k, KC)
    room = (deepest + 16) * PANEL_BYTES                       # of one panel
    most = max(1, min(BLOCK // room, (columns + wide - 1) // wide))
    buffer = np.empty(most * room + LINE, np.uint8)
    table = np.empty(ROWS, np.int64)
    # A that lies transposed is turned around tile by tile.
    length = (deepest + 16) * size
    strip = np.empty(ROWS * length + 16 * length + LINE if ta else 0, np.uint8)
    panels, places, copied = aligned(buffer), address(table), aligned(strip)
    count = tiles_of(rows)
    for k0 in range(0, k, KC):
        deep = min(KC, k - k0)
        for left in range(column, column + columns, most * wide):
            right = min(left + most * wide, column + columns)
            for j in range(left, right, wide):
                source = b + (j * ldb + k0 * size if tb else k0 * ldb + j * size)
                panel = panels + (j - left) // wide * room
                pack_panel(bias, source, deep, ldb, right - j, tb, panel)
            for t in range(count):
                i = row + rows * t // count
                m = row + rows * (t + 1) // count - i
                if ta:
                    _turn(bias, a + k0 * lda + i * size, lda, deep, m, copied, length)
                for r in range(m):
                    table[r] = copied + r * length if ta else a + (i + r) * lda + k0 * size
                for j in range(left, right, wide):
                    panel, into = panels + (j - left) // wide * room, c + i * ldc + j * size
                    add = 1 if k0 else address(bias) + j * size if bias.size else 0
                    rows_tile(kind, m, places, deep, panel, PANEL_BYTES, into, ldc, right - j,
                              np.int64(add))


@jit
def _share(a, b, c, bias, ta, tb, batch, t, nt):
    """What thread t of nt does: whole matrices of the stack, or columns or rows of the only one."""
    stays_apart()
    size = np.int64(a.itemsize)
    m, n = c.shape[0] // batch, c.shape[1]
    k = a.shape[0] // batch if ta else a.shape[1]
    one, last = (batch * t // nt, batch * (t + 1) // nt) if batch > 1 else (0, 1)
    top, end, left, right = 0, m, 0, n
    if batch == 1:
        wide = PANEL_BYTES // size
        panels, tiles = (n + wide - 1) // wide, tiles_of(m)
        if (panels + nt - 1) // nt * tiles < (tiles + nt - 1) // nt * panels or m < n:
            left, right = panels * t // nt * wide, min(n, panels * (t + 1) // nt * wide)
        else:
            top, end = m * t // nt, m * (t + 1) // nt
    for s in range(one, last):
        _part(address(a) + s * m * k * size, address(b) + s * k * n * size,
              address(c) + s * m * n * size, bias, ta, tb, k, top, end - top, left, right - left,
              a.shape[1] * size, b.shape[1] * size, n * size)


@parallel
def gemm(a, b, c, bias, ta, tb, batch, nt):
    """C = A B + bias for 2-D C-contiguous arrays, each a stack of `batch` matrices.

    Where `ta` (`tb`) is true, the matrices of a (b) lie transposed. bias has a number per column,
    or none at all.
    """
    if nt == 1:
        _share(a, b, c, bias, ta, tb, batch, np.int64(0), np.int64(1))
    else:
        for t in prange(nt):
            _share(a, b, c, bias, ta, tb, batch, np.int64(t), np.int64(nt))


@jit
def _sums(g, out, left, right):
    """out[left:right] = the sum of the rows of g, in blocks of 64 rows, added up in float64."""
    block = np.empty(right - left, g.dtype)
    total = np.zeros(right - left, np.float64)
    for top in range(0, g.shape[0], 64):
        block[:] = 0
        for i in range(top, min(top + 64, g.shape[0])):
            row = g[i]
            for j in range(left, right):
                block[j - left] += row[j]
        for j in range(right - left):
            total[j] += block[j]
    for j in range(left, right):
        out[j] = total[j - left]


@parallel
def column_sums(g, out, nt):
    """out = g.sum(axis=0) for a 2-D array; each thread sums a range of columns."""
    n = g.shape[1]
    if nt == 1:
        _sums(g, out, 0, n)
    else:
        for t in prange(nt):
            last = n if t + 1 == nt else n * (t + 1) // nt // 16 * 16
            _sums(g, out, n * t // nt // 16 * 16, last)
