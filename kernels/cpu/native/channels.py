"""Batch, group and instance norm: statistics of channels, in both memory orders.

Arrays come as *planes* (N, C, L), where each plane is contiguous, or as *columns* (S, M, W): S
samples of M rows, each with W columns that fall into groups of neighbours. Channels-last memory is
columns; `fold` of its rows are taken as one where channels are few. Short planes are columns too,
(1, N, C * L) with groups of L. So loops are long, and sums run over whole vectors.

Every part of an array has its own sums, in its own place, and the parts are added up in order and
in float64: the result does not depend on the number of threads. A part is small enough to stay in
the cache while its mean is found first, then its variance around that mean. The pass that makes
the result begins with the parts that were read last: of 4 MB on two threads half are still in L2.
"""

from __future__ import annotations

import math

import numpy as np

from .base import jit
from .borrow import borrowed
from .columns import TILE, column_gradient, column_means, column_scale, column_sums
from .pool import ranges
from .rows import add_rows, row_squares, row_sum

__all__ = ["channel_norm", "channel_norm_vjp", "coefficients", "columns_of", "parts",
           "scale_channels", "scale_channels_vjp", "statistics"]

MEANS, SCALE, SUMS, GRADIENT = 0, 1, 2, 3


# -- planes -------------------------------------------------------------------------------------


@jit
def _plane_means(x, mean, square, lo, hi):
    """Of planes lo to hi: the mean, and the sum of squares around it."""
    c = x.shape[1]
    for k in range(lo, hi):
        row = x[k // c, k % c]
        m = x.dtype.type(row_sum(row) / row.size)
        mean[k // c, k % c] = m
        square[k // c, k % c] = row_squares(row, m)


@jit
def _plane_scale(x, scale, shift, mean, y, lo, hi):
    """(x - mean) * scale + shift of planes lo to hi."""
    c = x.shape[1]
    for k in range(hi - 1, lo - 1, -1):
        n, j = k // c, k % c
        s = n if mean.shape[0] > 1 else 0
        row, out, a, b, m = x[n, j], y[n, j], scale[s, j], shift[s, j], mean[s, j]
        for i in range(row.size):
            out[i] = (row[i] - m) * a + b


@jit
def _plane_sums(g, x, mean, total, inner, lo, hi):
    """Of planes lo to hi: the sums of g and of g * (x - mean)."""
    c = x.shape[1]
    for k in range(lo, hi):
        n, j = k // c, k % c
        row, grow, m = x[n, j], g[n, j], mean[n if mean.shape[0] > 1 else 0, j]
        first = second = 0.0
        for start in range(0, row.size, 1024):
            xs, gs = row[start:start + 1024], grow[start:start + 1024]
            p = q = x.dtype.type(0)
            for i in range(xs.size):
                p += gs[i]
                q += gs[i] * (xs[i] - m)
            first += p
            second += q
        total[n, j] = first
        inner[n, j] = second


@jit
def _plane_gradient(g, x, scale, slope, shift, gx, lo, hi):
    """g * scale + x * slope + shift of planes lo to hi."""
    c = x.shape[1]
    for k in range(hi - 1, lo - 1, -1):
        n, j = k // c, k % c
        s = n if scale.shape[0] > 1 else 0
        row, grow, out, a, b, d = x[n, j], g[n, j], gx[n, j], scale[s, j], slope[s, j], shift[s, j]
        for i in range(row.size):
            out[i] = grow[i] * a + (row[i] * b + d)


# -- parts on threads ---------------------------------------------------------------------------


@jit
def parts(x, rows):
    """How many parts there are, `rows` being 0 for planes."""
    if rows == 0:
        return x.shape[0] * x.shape[1]
    return x.shape[0] * ((x.shape[1] + rows - 1) // rows) * ((x.shape[2] + TILE - 1) // TILE)


@jit
def _work(stage, g, x, a, b, c, out, rows, lo, hi):
    """Parts lo to hi of a stage; a, b and c are what it reads or finds for each column or plane."""
    g, x, out = borrowed(g), borrowed(x), borrowed(out)
    a, b, c = borrowed(a), borrowed(b), borrowed(c)
    if rows == 0:
        if stage == MEANS:
            _plane_means(x, a, b, lo, hi)
        elif stage == SCALE:
            _plane_scale(x, a, b, c, out, lo, hi)
        elif stage == SUMS:
            _plane_sums(g, x, c, a, b, lo, hi)
        else:
            _plane_gradient(g, x, a, b, c, out, lo, hi)
    elif stage == MEANS:
        column_means(x, a, b, rows, lo, hi)
    elif stage == SCALE:
        column_scale(x, a, b, c, out, rows, lo, hi)
    elif stage == SUMS:
        column_sums(g, x, c, a, b, rows, lo, hi)
    else:
        column_gradient(g, x, a, b, c, out, rows, lo, hi)


@jit
def _run(stage, g, x, a, b, c, out, rows, nt):
    """A stage over all parts, a range of them per thread."""
    ranges(_work, (stage, g, x, a, b, c, out, rows), parts(x, rows), nt)


# -- statistics of groups -----------------------------------------------------------------------


@jit
def _fold(total, inner):
    """Add what lies beyond the first `inner` numbers to these."""
    for start in range(inner, total.size, inner):
        for i in range(inner):
            total[i] += total[start + i]


@jit
def _unfold(rows, inner):
    """Repeat the first `inner` numbers of each row over the rest of it."""
    for s in range(rows.shape[0]):
        for start in range(inner, rows.shape[1], inner):
            rows[s, start:start + inner] = rows[s, :inner]


@jit
def _combine(mean, square, length, m, fold, group_mean, group_var):
    """Means and variances of (samples, groups) from those of the parts.

    `length` of the `m` elements of a column are in a part, fewer in the last block of rows. The
    mean of the means comes first, then the squares of the parts and of their means around it.
    """
    samples, groups = group_mean.shape
    blocks, columns = mean.shape[0] // samples, mean.shape[1]
    inner = columns // fold
    width = inner // groups
    count = float(m) * width * fold
    total, centre = np.empty(columns), np.empty((1, columns))
    for s in range(samples):
        total[:] = 0
        for b in range(blocks):
            part, n = mean[s * blocks + b], float(min(length, m - b * length))
            for i in range(columns):
                total[i] += n * part[i]
        _fold(total, inner)
        for j in range(groups):
            centre[0, j * width:(j + 1) * width] = total[j * width:(j + 1) * width].sum() / count
            group_mean[s, j] = centre[0, j * width]
        _unfold(centre, inner)
        around = centre[0]
        total[:] = 0
        for b in range(blocks):
            part, n = mean[s * blocks + b], float(min(length, m - b * length))
            squares = square[s * blocks + b]
            for i in range(columns):
                d = part[i] - around[i]
                total[i] += n * d * d + squares[i]
        _fold(total, inner)
        for j in range(groups):
            group_var[s, j] = total[j * width:(j + 1) * width].sum() / count


@jit
def statistics(x, y, fold, length, m, rows, group_mean, group_var, nt):
    """Mean and variance of each group of each sample, by way of those of parts; y stays as it is.

    `m` elements of each column are a sample's, `length` of them in a part.
    """
    columns = x.shape[1] if rows == 0 else x.shape[2]
    blocks = group_mean.shape[0] * ((m + length - 1) // length)
    part_mean, part_square = np.empty((blocks, columns), x.dtype), np.empty((blocks, columns),
                                                                            x.dtype)
    _run(MEANS, x, x, part_mean, part_square, part_mean, y, rows, nt)
    _combine(part_mean, part_square, length, m, fold, group_mean, group_var)


@jit
def columns_of(group_mean, group_var, weight, bias, repeat, fold, eps, mean, scale, shift):
    """What (x - mean) * scale + shift takes of each column, from the numbers of its group.

    Column i has weight i // repeat.
    """
    samples, groups = group_mean.shape
    inner = mean.shape[1] // fold
    width = inner // groups
    for s in range(samples):
        for j in range(groups):
            r = 1.0 / math.sqrt(group_var[s, j] + eps)
            for i in range(j * width, (j + 1) * width):
                mean[s, i] = group_mean[s, j]
                scale[s, i] = r * weight[i // repeat]
                shift[s, i] = bias[i // repeat]
    for numbers in (mean, scale, shift):
        _unfold(numbers, inner)


@jit
def channel_norm(x, weight, bias, repeat, fold, eps, length, m, rows, group_mean, group_var, y, nt):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, with mean and var of (samples, groups).

    Three steps: means of the parts on all threads, their combination, the result on all threads.
    """
    statistics(x, y, fold, length, m, rows, group_mean, group_var, nt)
    kept = group_mean.shape[0], x.shape[1] if rows == 0 else x.shape[2]
    mean, scale, shift = np.empty(kept, x.dtype), np.empty(kept, x.dtype), np.empty(kept, x.dtype)
    columns_of(group_mean, group_var, weight, bias, repeat, fold, eps, mean, scale, shift)
    _run(SCALE, x, x, scale, shift, mean, y, rows, nt)


@jit
def coefficients(part_total, part_inner, weight, repeat, fold, eps, m, group_mean, group_var,
                 scale, slope, shift, g_params):
    """scale, slope and shift of each column in gx = scale g + slope x + shift, from sums of parts.

    gx = r (w g - mean(w g) - hat mean(w g hat)), hat being (x - mean) * r. `g_params` gets the
    gradients of weight and bias.
    """
    samples, groups = group_mean.shape
    columns = scale.shape[1]
    blocks, inner = len(part_total) // samples, columns // fold
    width = inner // groups
    params = np.zeros(g_params.shape)
    total, product = np.empty(columns), np.empty(columns)
    for s in range(samples):
        total[:] = 0
        product[:] = 0
        for b in range(s * blocks, (s + 1) * blocks):
            p, q = part_total[b], part_inner[b]
            for i in range(columns):
                total[i] += p[i]
                product[i] += q[i]
        _fold(total, inner)
        _fold(product, inner)
        for j in range(groups):
            r = 1.0 / math.sqrt(group_var[s, j] + eps)
            first = second = 0.0
            for i in range(j * width, (j + 1) * width):
                w = weight[i // repeat]
                first += w * total[i]
                second += w * product[i]
                params[0, i // repeat] += product[i] * r
                params[1, i // repeat] += total[i]
            share = r / (float(m) * width * fold)
            for i in range(j * width, (j + 1) * width):
                scale[s, i] = r * weight[i // repeat]
                b = slope.dtype.type(-second * r * r * share)
                slope[s, i] = b
                shift[s, i] = -first * share - np.float64(b) * group_mean[s, j]
    for numbers in (scale, slope, shift):
        _unfold(numbers, inner)
    for j in range(g_params.shape[1]):
        g_params[0, j] = params[0, j]
        g_params[1, j] = params[1, j]


@jit
def channel_norm_vjp(g, x, weight, repeat, fold, eps, length, m, rows, group_mean, group_var, gx,
                     g_params, wanted, nt):
    """Gradients of `channel_norm`: sums on all threads, per group, then gx on all threads."""
    samples, groups = group_mean.shape
    columns = x.shape[1] if rows == 0 else x.shape[2]
    blocks, inner = samples * ((m + length - 1) // length), columns // fold
    width = inner // groups
    mean = np.empty((samples, columns), x.dtype)
    for s in range(samples):
        for j in range(groups):
            mean[s, j * width:(j + 1) * width] = group_mean[s, j]
    _unfold(mean, inner)
    total, product = np.empty((blocks, columns), x.dtype), np.empty((blocks, columns), x.dtype)
    _run(SUMS, g, x, total, product, mean, gx, rows, nt)
    kept = samples, columns
    scale, slope, shift = np.empty(kept, x.dtype), np.empty(kept, x.dtype), np.empty(kept, x.dtype)
    coefficients(total, product, weight, repeat, fold, eps, m, group_mean, group_var, scale, slope,
                 shift, g_params)
    if wanted:
        _run(GRADIENT, g, x, scale, slope, shift, gx, rows, nt)


@jit
def scale_channels(x, scale, shift, y, rows, nt):
    """x * scale + shift, with one of each per column or plane, on all threads."""
    _run(SCALE, x, x, scale, shift, np.zeros_like(scale), y, rows, nt)


@jit
def scale_channels_vjp(g, x, scale, gx, g_params, wanted, rows, nt):
    """Gradients of `scale_channels`: sums of g * x and of g, and g * scale."""
    zero = np.zeros_like(scale)
    if g_params.size:
        n = x.shape[0] if rows == 0 else (x.shape[1] + rows - 1) // rows
        total, inner = np.empty((n, scale.size), x.dtype), np.empty((n, scale.size), x.dtype)
        _run(SUMS, g, x, total, inner, zero, gx, rows, nt)
        add_rows(inner, g_params[0])
        add_rows(total, g_params[1])
    if wanted:
        _run(SCALE, g, g, scale, zero, zero, gx, rows, nt)
