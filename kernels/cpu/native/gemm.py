"""Matrix products on the register tile: C = f(A B + bias), transposed operands as flags.

The loop nest, from the outside in (K. Goto and R. van de Geijn, "Anatomy of High-Performance
Matrix Multiplication", ACM TOMS 34(3), 2008, but A is read where it lies):

    for each block of columns and of k       of B: packed, it stays in L2
        for each tile of rows of A           what the block needs of them stays in L1
            for each panel of columns of B   k rows of 2 vectors, one behind the other
                C += A B in registers
            f, if there is one, of these rows of C while they are in L1

Threads get ranges of columns, or of rows, whichever divides more evenly, and share nothing. Where A
lies transposed, as in the gradient of weights, they get ranges of k, and their results are added.
"""

from __future__ import annotations

import numpy as np

from .base import inline, jit
from .loops import run_loop
from .pool import fork
from .tile import (
    COLUMNS,
    ROWS,
    VECTOR_BYTES,
    address,
    copy_row,
    keep,
    narrow_tile,
    rows_tile,
    stays_apart,
    transpose_tile,
)

__all__ = ["PANEL_BYTES", "aligned", "column_sums", "gemm", "pack_panel", "tiles_of"]

PANEL_BYTES = COLUMNS * VECTOR_BYTES     # a row of a packed panel
KC = 384              # rows of a panel: a tile's 14 rows of A then take 21 KB of L1
BLOCK = 768 << 10     # bytes of packed B, of the 1 to 2 MB of L2 that one core has
# Bytes of B that threads which take rows pack together, first. Less is packed by each for itself,
# sooner than a second launch begins; more would not stay in the cache.
SHARED_LEAST, SHARED_MOST = 256 << 10, 8 << 20
SHALLOW = 128         # rows of a thread's range of k, at the least
FEW = 6               # tiles of rows for which B is read where it lies: 64^3 takes 3.6 us, not 5.8
PART = 1 << 21        # products of a part, where there are more parts than threads
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


@inline
def _apply(f, place, stride, m, n):
    """f of n numbers of each of m rows, which are `stride` bytes apart."""
    none = np.int64(0)
    for r in range(m):
        run_loop(f[0], place + r * stride, none, none, none, n, f[1], 0.0, 0.0)


@inline
def _depth(k):
    """Rows of a panel: k in equal parts of at most KC."""
    parts = max(1, (k + KC - 1) // KC)
    return (k + parts * 16 - 1) // (parts * 16) * 16


@inline
def _room(k):
    """Bytes of a packed panel."""
    return (_depth(k) + 16) * PANEL_BYTES


@jit
def _part(a, b, c, bias, f, ta, tb, k, row, rows, column, columns, lda, ldb, ldc, packed, panels):
    """C[row:row+rows, column:column+columns] = f(A B + bias), by one thread.

    a, b and c are addresses; lda, ldb and ldc strides in bytes between the rows as they lie. Where
    `packed` is not 0, all `panels` panels of B are at that address, those of a block of k together.
    """
    stays_apart()
    kind, none = bias.dtype, np.int64(0)
    size = np.int64(bias.itemsize)
    width, wide = VECTOR_BYTES // size, PANEL_BYTES // size
    depth, room = _depth(k), _room(k)
    most = max(1, min(BLOCK // room, (columns + wide - 1) // wide))
    buffer = np.empty(0 if packed else most * room + LINE, np.uint8)
    table = np.empty(ROWS, np.int64)
    # A that lies transposed is turned around tile by tile.
    length = (depth + 16) * size
    strip = np.empty(ROWS * length + 16 * length + LINE if ta else 0, np.uint8)
    block, places, copied = aligned(buffer), address(table), aligned(strip)
    count = tiles_of(rows)
    # Packing pays when it is used often, or when steps of k share few places in the cache.
    direct = not tb and not packed and count <= FEW and ldb % 4096 != 0
    for k0 in range(0, k, depth):
        deep = min(depth, k - k0)
        for left in range(column, column + columns, most * wide):
            right = min(left + most * wide, column + columns)
            whole = left + (right - left) // wide * wide if direct else none
            if packed:
                block = packed + (k0 // depth * panels + left // wide) * room
            else:
                _pack(bias, b, tb, k0, deep, max(left, whole), right, ldb, block, room)
            for t in range(count):
                i = row + rows * t // count
                m = row + rows * (t + 1) // count - i
                if ta:
                    _turn(bias, a + k0 * lda + i * size, lda, deep, m, copied, length)
                for r in range(m):
                    table[r] = copied + r * length if ta else a + (i + r) * lda + k0 * size
                for j in range(left, right, wide):
                    panel, step, into = block, np.int64(PANEL_BYTES), c + i * ldc + j * size
                    if j < whole:
                        panel, step = b + k0 * ldb + j * size, ldb
                    elif not direct:
                        panel += (j - left) // wide * room
                    add = 1 if k0 else address(bias) + j * size if bias.size else 0
                    add = np.int64(add)
                    if right - j <= width:
                        narrow_tile(kind, m, places, deep, panel, step, into, ldc, right - j, add)
                    else:
                        rows_tile(kind, m, places, deep, panel, step, into, ldc, right - j, add)
                if f[0] and k0 + depth >= k:
                    _apply(f, c + i * ldc + left * size, ldc, m, right - left)
    keep(buffer)
    keep(table)
    keep(strip)


@jit
def _pack(like, b, tb, k0, deep, left, right, ldb, block, room):
    """Pack the panels from column `left` to `right` of one block of k."""
    size = np.int64(like.itemsize)
    wide = PANEL_BYTES // size
    for j in range(left, right, wide):
        source = b + (j * ldb + k0 * size if tb else k0 * ldb + j * size)
        pack_panel(like, source, deep, ldb, right - j, tb, block + (j - left) // wide * room)


@inline
def _by_rows(m, n, wide, nt):
    """Whether threads get ranges of rows, rather than of columns.

    By columns each thread reads (and turns around) all of A; by rows each packs all of B, or
    packs a part of it for all and waits for the others. What divides much more evenly wins. For
    512^3 columns take 4% less where the cores share a cache closely, and rows 9% less where not.
    """
    panels, tiles = (n + wide - 1) // wide, tiles_of(m)
    by_columns, by_rows = (panels + nt - 1) // nt * tiles, (tiles + nt - 1) // nt * panels
    return not (by_columns * 8 < by_rows * 7 or (m < n and by_columns <= by_rows))


@jit
def _share(a, b, c, bias, f, ta, tb, batch, by_rows, packed, t, parts):
    """Part t of the work: whole matrices of the stack, or rows or columns of the only one."""
    stays_apart()
    size = np.int64(a.itemsize)
    wide = PANEL_BYTES // size
    m, n = c.shape[0] // batch, c.shape[1]
    k = a.shape[0] // batch if ta else a.shape[1]
    one, last = (batch * t // parts, batch * (t + 1) // parts) if batch > 1 else (0, 1)
    top, end, left, right = 0, m, 0, n
    panels = (n + wide - 1) // wide
    if batch == 1 and by_rows:
        top, end = m * t // parts, m * (t + 1) // parts
    elif batch == 1:
        left, right = panels * t // parts * wide, min(n, panels * (t + 1) // parts * wide)
    for s in range(one, last):
        _part(address(a) + s * m * k * size, address(b) + s * k * n * size,
              address(c) + s * m * n * size, bias, f, ta, tb, k, top, end - top, left, right - left,
              a.shape[1] * size, b.shape[1] * size, n * size, packed, panels)


@inline
def _by_depth(m, n, k, ta, tb, f, nt):
    """Whether threads get ranges of k: where C is small beside what they would all read or pack.

    Two threads, 128x128 of 768 rows 128 -> 96 us, 512x128 407 -> 345, 256x256 of 1024 597 -> 448.
    """
    return (nt > 1 and ta and not tb and f[0] == 0 and k >= SHALLOW * nt
            and m * (nt - 1) <= k)


@jit
def _deep_share(a, b, c, rest, bias, t, nt):
    """The products of range t of nt of k, into C or a matrix of the rest."""
    stays_apart()
    size = np.int64(a.itemsize)
    m, n, k = c.shape[0], c.shape[1], a.shape[0]
    first, last = k * t // nt // 16 * 16, k if t + 1 == nt else k * (t + 1) // nt // 16 * 16
    into, more = address(c), bias
    if t:
        into, more = address(rest) + (t - 1) * m * n * size, bias[:0]
    lda, ldb = a.shape[1] * size, b.shape[1] * size
    _part(address(a) + first * lda, address(b) + first * ldb, into, more, (0, 0.0), True, False,
          last - first, 0, m, 0, n, lda, ldb, n * size, 0, 0)


@jit
def _add_share(c, rest, t, nt):
    """Part t of nt of the sum of C and the matrices of the rest."""
    first, last = c.size * t // nt, c.size * (t + 1) // nt
    total = c.reshape(-1)[first:last]
    for r in range(rest.shape[0]):
        more = rest[r, first:last]
        for i in range(total.size):
            total[i] += more[i]


@jit
def _pack_share(b, n, k, tb, block, t, nt):
    """Thread t of nt packs its part of the panels of B, of all blocks of k."""
    size = np.int64(b.itemsize)
    wide = PANEL_BYTES // size
    panels, depth, room = (n + wide - 1) // wide, _depth(k), _room(k)
    first, last = panels * t // nt, panels * (t + 1) // nt
    for k0 in range(0, k, depth):
        _pack(b[0], address(b), tb, k0, min(depth, k - k0), first * wide, min(n, last * wide),
              b.shape[1] * size, block + (k0 // depth * panels + first) * room, room)


@jit
def gemm(a, b, c, bias, f, ta, tb, batch, nt):
    """C = f(A B + bias) for 2-D C-contiguous arrays, each a stack of `batch` matrices.

    Where `ta` (`tb`) is true, the matrices of a (b) lie transposed. bias has a number per column,
    or none at all. f is the address of an elementwise loop in place, 0 for none, and its constant.
    """
    wide = PANEL_BYTES // np.int64(a.itemsize)
    m, n, k = c.shape[0] // batch, c.shape[1], a.shape[0] // batch if ta else a.shape[1]
    if batch == 1 and _by_depth(m, n, k, ta, tb, f, nt):
        rest = np.empty((nt - 1, m * n), c.dtype)
        fork(_deep_share, (a, b, c, rest, bias), nt)
        fork(_add_share, (c, rest), nt)
        return
    panels = (n + wide - 1) // wide
    room = panels * ((k + KC - 1) // KC) * _room(k)
    by_rows = batch == 1 and _by_rows(m, n, wide, nt)
    shared = nt > 1 and by_rows and SHARED_LEAST <= room <= SHARED_MOST
    buffer = np.empty(room + LINE if shared else 0, np.uint8)
    block = aligned(buffer) if shared else 0
    if shared:
        fork(_pack_share, (b, n, k, tb, block), nt)
    parts = nt
    if nt > 1:
        # More parts than threads, so that a thread on a slower core takes fewer, where that costs
        # little: parts of less than 8 panels would read A more often.
        most = batch if batch > 1 else panels // 8 if not by_rows else (
            tiles_of(m) // 2 if shared else nt)
        parts = max(1, min(most, 4 * nt, batch * m * n * k // PART) // nt) * nt
    fork(_share, (a, b, c, bias, f, ta, tb, batch, by_rows, block), parts)
    keep(buffer)


@jit
def _sums(g, out, t, nt):
    """Part t of nt columns of out = the sum of the rows of g: 64 at a time, those in float64."""
    n = g.shape[1]
    left, right = n * t // nt // 16 * 16, n if t + 1 == nt else n * (t + 1) // nt // 16 * 16
    width = np.uint64(right - left)
    block, total = np.empty(width, g.dtype), np.zeros(width, np.float64)
    for top in range(0, g.shape[0], 64):
        block[:] = 0
        for i in range(top, min(top + 64, g.shape[0])):
            row = g[i, left:right]
            for j in range(width):
                block[j] += row[j]
        for j in range(width):
            total[j] += block[j]
    for j in range(width):
        out[left + j] = total[j]


@jit
def column_sums(g, out, nt):
    """out = g.sum(axis=0) for a 2-D array; each thread sums a range of columns."""
    fork(_sums, (g, out), nt)
