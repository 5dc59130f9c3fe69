"""Columns of (samples, rows, columns): means, sums and results, several rows at a time.

A part is a block of rows and a tile of columns. What belongs to a column, a sum or a factor, is
read and written once for up to four rows: the loops are bound by how many vectors they move. More
rows would be more arrays than the compiler is willing to tell apart before a loop.
"""

from __future__ import annotations

from .base import FAST, inline, jit

__all__ = ["TILE", "column_gradient", "column_means", "column_scale", "column_sums",
           "place"]

TILE = 1024     # columns of a part: with its rows it stays in the second cache


@inline
def place(k, x, rows):
    """Part k: sample, block, first and last row, first and last column."""
    tiles = (x.shape[2] + TILE - 1) // TILE
    blocks = (x.shape[1] + rows - 1) // rows
    start, b = k % tiles * TILE, k // tiles % blocks
    return (k // (tiles * blocks), b, b * rows, min((b + 1) * rows, x.shape[1]), start,
            min(start + TILE, x.shape[2]))


@inline(fastmath=FAST)
def _add_rows(x, s, top, end, left, right, total):
    """Add rows top to end to the totals of their columns."""
    i = top
    while i + 4 <= end:
        a, b = x[s, i][left:right], x[s, i + 1][left:right]
        c, d = x[s, i + 2][left:right], x[s, i + 3][left:right]
        for j in range(total.size):
            total[j] += (a[j] + b[j]) + (c[j] + d[j])
        i += 4
    while i < end:
        a = x[s, i][left:right]
        for j in range(total.size):
            total[j] += a[j]
        i += 1


@inline(fastmath=FAST)
def _add_squares(x, s, top, end, left, right, mean, total):
    """Add the squares of rows top to end, their means taken out, to the totals of the columns."""
    i = top
    while i + 4 <= end:
        a, b = x[s, i][left:right], x[s, i + 1][left:right]
        c, d = x[s, i + 2][left:right], x[s, i + 3][left:right]
        for j in range(total.size):
            m = mean[j]
            p, q, u, v = a[j] - m, b[j] - m, c[j] - m, d[j] - m
            total[j] += (p * p + q * q) + (u * u + v * v)
        i += 4
    while i < end:
        a = x[s, i][left:right]
        for j in range(total.size):
            p = a[j] - mean[j]
            total[j] += p * p
        i += 1


@inline(fastmath=FAST)
def _add_products(g, x, s, top, end, left, right, mean, total):
    """Add g * (x - mean) of rows top to end to the totals of the columns."""
    i = top
    while i + 3 <= end:
        a, b, c = x[s, i][left:right], x[s, i + 1][left:right], x[s, i + 2][left:right]
        p, q, r = g[s, i][left:right], g[s, i + 1][left:right], g[s, i + 2][left:right]
        for j in range(total.size):
            m = mean[j]
            total[j] += p[j] * (a[j] - m) + (q[j] * (b[j] - m) + r[j] * (c[j] - m))
        i += 3
    while i < end:
        a, p = x[s, i][left:right], g[s, i][left:right]
        for j in range(total.size):
            total[j] += p[j] * (a[j] - mean[j])
        i += 1


@jit
def column_means(x, mean, square, rows, lo, hi):
    """Of parts lo to hi: the mean of each column, and the sum of squares around it."""
    blocks = (x.shape[1] + rows - 1) // rows
    for k in range(lo, hi):
        s, b, top, end, left, right = place(k, x, rows)
        m, q = mean[s * blocks + b][left:right], square[s * blocks + b][left:right]
        m[:] = 0
        q[:] = 0
        _add_rows(x, s, top, end, left, right, m)
        share = x.dtype.type(1.0 / (end - top))
        for j in range(m.size):
            m[j] *= share
        _add_squares(x, s, top, end, left, right, m, q)


@jit
def column_scale(x, scale, shift, mean, y, rows, lo, hi):
    """(x - mean) * scale + shift of parts lo to hi."""
    for k in range(hi - 1, lo - 1, -1):
        s, _, top, end, left, right = place(k, x, rows)
        a, d, m = scale[s][left:right], shift[s][left:right], mean[s][left:right]
        for i in range(top, end):
            row, out = x[s, i][left:right], y[s, i][left:right]
            for j in range(a.size):
                out[j] = (row[j] - m[j]) * a[j] + d[j]


@jit
def column_sums(g, x, mean, total, inner, rows, lo, hi):
    """Of parts lo to hi: the sums of g and of g * (x - mean) of each column."""
    blocks = (x.shape[1] + rows - 1) // rows
    for k in range(lo, hi):
        s, b, top, end, left, right = place(k, x, rows)
        p, q = total[s * blocks + b][left:right], inner[s * blocks + b][left:right]
        p[:] = 0
        q[:] = 0
        m = mean[s][left:right]
        i = top
        while i < end:      # twelve rows of both arrays stay in the first cache for both loops
            stop = min(i + 12, end)
            _add_rows(g, s, i, stop, left, right, p)
            _add_products(g, x, s, i, stop, left, right, m, q)
            i = stop


@jit
def column_gradient(g, x, scale, slope, shift, gx, rows, lo, hi):
    """g * scale + x * slope + shift of parts lo to hi."""
    for k in range(hi - 1, lo - 1, -1):
        s, _, top, end, left, right = place(k, x, rows)
        a, f, d = scale[s][left:right], slope[s][left:right], shift[s][left:right]
        for i in range(top, end):
            row, grow, out = x[s, i][left:right], g[s, i][left:right], gx[s, i][left:right]
            for j in range(a.size):
                out[j] = grow[j] * a[j] + (row[j] * f[j] + d[j])
