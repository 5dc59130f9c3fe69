"""Batch norm and relu or leaky relu behind it, in one pass over the elements, and its gradient.

Arrays come as in `channels.py`, planes or columns, of one sample. The gradient's sums need that of
the activation, g where the norm's result z is positive and slope * g elsewhere. z is computed again
from x, with the same numbers and in the same order as in front of the activation: two operations on
what is read anyway, where keeping and reading a third array would cost more than all of them.

As in `channels.py`, a thread's second pass goes backwards over the parts of its first.
"""

from __future__ import annotations

import numpy as np

from .base import FAST, inline, jit
from .borrow import borrowed
from .channels import coefficients, columns_of, parts, statistics
from .columns import TILE, place
from .pool import ranges

__all__ = ["norm_activation", "norm_activation_vjp"]

SCALE, SUMS, GRADIENT = 0, 1, 2
PIECE = 1024    # of a plane, whose sums are of its own type


@inline
def _activate(row, out, mean, scale, shift, slope):
    """A row of columns: z where it is positive, slope * z elsewhere. (0 * -inf would be NaN.)"""
    none = row.dtype.type(0)
    if slope == none:
        for j in range(row.size):
            z = (row[j] - mean[j]) * scale[j] + shift[j]
            out[j] = none if z <= none else z
    else:
        for j in range(row.size):
            z = (row[j] - mean[j]) * scale[j] + shift[j]
            out[j] = z if z > none else z * slope


@inline
def _through(g, z, slope):
    """g where z is positive, slope * g elsewhere."""
    return g if z > 0 else g * slope


@inline(fastmath=FAST)
def _add_four(g, x, i, left, right, kept, slope):
    """Add g, having come through, and g * (x - mean) of rows i to i + 4 to what is kept."""
    x0, x1 = x[i][left:right], x[i + 1][left:right]
    x2, x3 = x[i + 2][left:right], x[i + 3][left:right]
    g0, g1 = g[i][left:right], g[i + 1][left:right]
    g2, g3 = g[i + 2][left:right], g[i + 3][left:right]
    for j in range(right - left):
        m, a, b = kept[j], kept[j + TILE], kept[j + 2 * TILE]
        d0, d1, d2, d3 = x0[j] - m, x1[j] - m, x2[j] - m, x3[j] - m
        v0, v1 = _through(g0[j], d0 * a + b, slope), _through(g1[j], d1 * a + b, slope)
        v2, v3 = _through(g2[j], d2 * a + b, slope), _through(g3[j], d3 * a + b, slope)
        kept[j + 3 * TILE] += (v0 + v1) + (v2 + v3)
        kept[j + 4 * TILE] += (v0 * d0 + v1 * d1) + (v2 * d2 + v3 * d3)


@inline(fastmath=FAST)
def _add_one(g, x, i, left, right, kept, slope):
    """The same with row i alone."""
    row, grow = x[i][left:right], g[i][left:right]
    for j in range(right - left):
        d = row[j] - kept[j]
        v = _through(grow[j], d * kept[j + TILE] + kept[j + 2 * TILE], slope)
        kept[j + 3 * TILE] += v
        kept[j + 4 * TILE] += v * d


@inline
def _keep(kept, line, left, right):
    """Mean, scale and shift of a tile of columns, at fixed distances from each other.

    So the compiler has one array to tell apart from the rows, where it would give up on five.
    """
    kept[:right - left] = line[0][left:right]
    kept[TILE:TILE + right - left] = line[1][left:right]
    kept[2 * TILE:2 * TILE + right - left] = line[2][left:right]


# -- planes -------------------------------------------------------------------------------------


@jit
def _plane_scale(x, line, slope, y, lo, hi):
    """The activation's result of planes lo to hi."""
    c, none = x.shape[1], x.dtype.type(0)
    for k in range(hi - 1, lo - 1, -1):
        n, j = k // c, k % c
        row, out, m, a, b = x[n, j], y[n, j], line[0, j], line[1, j], line[2, j]
        for i in range(row.size):
            z = (row[i] - m) * a + b
            out[i] = none if z <= none and slope == none else (z if z > none else z * slope)


@jit
def _plane_sums(g, x, line, slope, total, inner, lo, hi):
    """Of planes lo to hi: the sums of g and of g * (x - mean), g having come through."""
    c, none = x.shape[1], x.dtype.type(0)
    for k in range(lo, hi):
        n, j = k // c, k % c
        row, grow, m, a, b = x[n, j], g[n, j], line[0, j], line[1, j], line[2, j]
        first = second = 0.0
        for start in range(0, row.size, PIECE):
            xs, gs = row[start:start + PIECE], grow[start:start + PIECE]
            p = q = none
            for i in range(xs.size):
                d = xs[i] - m
                v = _through(gs[i], d * a + b, slope)
                p += v
                q += v * d
            first += p
            second += q
        total[n, j] = first
        inner[n, j] = second


@jit
def _plane_gradient(g, x, line, slope, factors, gx, lo, hi):
    """g * scale + x * slope + shift of planes lo to hi, g having come through."""
    c = x.shape[1]
    for k in range(hi - 1, lo - 1, -1):
        n, j = k // c, k % c
        row, grow, out, m, a, b = x[n, j], g[n, j], gx[n, j], line[0, j], line[1, j], line[2, j]
        of_g, of_x, rest = factors[0, j], factors[1, j], factors[2, j]
        for i in range(row.size):
            v = _through(grow[i], (row[i] - m) * a + b, slope)
            out[i] = v * of_g + (row[i] * of_x + rest)


# -- columns ------------------------------------------------------------------------------------


@jit
def _column_scale(x, line, slope, y, rows, lo, hi):
    """The activation's result of parts lo to hi."""
    for k in range(hi - 1, lo - 1, -1):
        s, _, top, end, left, right = place(k, x, rows)
        m, a, b = line[0][left:right], line[1][left:right], line[2][left:right]
        for i in range(top, end):
            _activate(x[s, i][left:right], y[s, i][left:right], m, a, b, slope)


@jit
def _column_sums(g, x, line, slope, total, inner, rows, lo, hi):
    """Of parts lo to hi: the sums of g and of g * (x - mean) of each column, g having come through.
    """
    kept = np.empty(5 * TILE, x.dtype)
    for k in range(lo, hi):
        s, block, top, end, left, right = place(k, x, rows)
        width = right - left
        _keep(kept, line, left, right)
        kept[3 * TILE:] = 0
        i = top
        while i + 4 <= end:
            _add_four(g[s], x[s], i, left, right, kept, slope)
            i += 4
        while i < end:
            _add_one(g[s], x[s], i, left, right, kept, slope)
            i += 1
        total[block][left:right] = kept[3 * TILE:3 * TILE + width]
        inner[block][left:right] = kept[4 * TILE:4 * TILE + width]


@jit
def _column_gradient(g, x, line, slope, factors, gx, rows, lo, hi):
    """g * scale + x * slope + shift of parts lo to hi, g having come through.

    That scale is the one of the norm itself.
    """
    kept = np.empty(5 * TILE, x.dtype)
    for k in range(hi - 1, lo - 1, -1):
        s, _, top, end, left, right = place(k, x, rows)
        width = right - left
        _keep(kept, line, left, right)
        kept[3 * TILE:3 * TILE + width] = factors[1][left:right]
        kept[4 * TILE:4 * TILE + width] = factors[2][left:right]
        for i in range(top, end):
            row, grow, out = x[s, i][left:right], g[s, i][left:right], gx[s, i][left:right]
            for j in range(width):
                v, a = row[j], kept[j + TILE]
                passed = _through(grow[j], (v - kept[j]) * a + kept[j + 2 * TILE], slope)
                out[j] = passed * a + (v * kept[j + 3 * TILE] + kept[j + 4 * TILE])


# -- on threads ---------------------------------------------------------------------------------


@jit
def _work(stage, g, x, line, slope, factors, total, inner, out, rows, lo, hi):
    """Parts lo to hi of a stage."""
    g, x, out, line = borrowed(g), borrowed(x), borrowed(out), borrowed(line)
    factors, total, inner = borrowed(factors), borrowed(total), borrowed(inner)
    if rows == 0:
        if stage == SCALE:
            _plane_scale(x, line, slope, out, lo, hi)
        elif stage == SUMS:
            _plane_sums(g, x, line, slope, total, inner, lo, hi)
        else:
            _plane_gradient(g, x, line, slope, factors, out, lo, hi)
    elif stage == SCALE:
        _column_scale(x, line, slope, out, rows, lo, hi)
    elif stage == SUMS:
        _column_sums(g, x, line, slope, total, inner, rows, lo, hi)
    else:
        _column_gradient(g, x, line, slope, factors, out, rows, lo, hi)


@jit
def _line(x, weight, bias, repeat, fold, eps, rows, group_mean, group_var):
    """Mean, scale and shift of each column or channel: (3, columns)."""
    line = np.empty((3, x.shape[1] if rows == 0 else x.shape[2]), x.dtype)
    columns_of(group_mean, group_var, weight, bias, repeat, fold, eps, line[0:1], line[1:2],
               line[2:3])
    return line


@jit
def norm_activation(x, weight, bias, repeat, fold, eps, slope, length, m, rows, group_mean,
                    group_var, y, nt):
    """leaky_relu((x - mean) / sqrt(var + eps) * weight + bias), as `channel_norm` of one sample."""
    statistics(x, y, fold, length, m, rows, group_mean, group_var, nt)
    line = _line(x, weight, bias, repeat, fold, eps, rows, group_mean, group_var)
    ranges(_work, (SCALE, x, x, line, x.dtype.type(slope), line, line, line, y, rows),
           parts(x, rows), nt)


@jit
def norm_activation_vjp(g, x, weight, bias, repeat, fold, eps, slope, length, m, rows, group_mean,
                        group_var, gx, g_params, wanted, nt):
    """Gradients of `norm_activation`, as `channel_norm_vjp` of one sample."""
    line = _line(x, weight, bias, repeat, fold, eps, rows, group_mean, group_var)
    leak = x.dtype.type(slope)
    columns, n = line.shape[1], parts(x, rows)
    blocks = (m + length - 1) // length
    total, inner = np.empty((blocks, columns), x.dtype), np.empty((blocks, columns), x.dtype)
    factors = np.empty((3, columns), x.dtype)
    ranges(_work, (SUMS, g, x, line, leak, factors, total, inner, gx, rows), n, nt)
    coefficients(total, inner, weight, repeat, fold, eps, m, group_mean, group_var, factors[0:1],
                 factors[1:2], factors[2:3], g_params)
    if wanted:
        ranges(_work, (GRADIENT, g, x, line, leak, factors, total, inner, gx, rows), n, nt)
