"""Rows of a matrix (rows, n) normalised by their own mean and variance, or by their mean square.

Residual networks normalise the sum of two matrices, and on the way back add the gradient that goes
past the norm to that of the norm: both additions are made where the row is in the cache anyway.

A row is read from memory once, and from the cache for its further passes. Sums run over SPAN
elements in the arrays' own type, on vectors, and from there in float64: rows of any length keep
their digits. The variance is that of the elements with their mean taken out, never E[x^2] - E[x]^2.
"""

from __future__ import annotations

import math

import numpy as np

from .base import FAST, inline, jit
from .borrow import borrowed
from .pool import ranges

__all__ = ["norm", "norm_of_sum", "norm_of_sum_vjp", "norm_vjp"]

SPAN = 1024


@inline(fastmath=FAST)
def row_sum(row):
    """The sum of a row, in float64."""
    total = 0.0
    for start in range(0, row.size, SPAN):
        span = row[start:start + SPAN]
        part = row.dtype.type(0)
        for j in range(span.size):
            part += span[j]
        total += part
    return total


@inline(fastmath=FAST)
def row_added(row, other, out):
    """out = row + other, and the sum of that, in float64."""
    total = 0.0
    for start in range(0, row.size, SPAN):
        a, b, c = row[start:start + SPAN], other[start:start + SPAN], out[start:start + SPAN]
        part = row.dtype.type(0)
        for j in range(a.size):
            c[j] = a[j] + b[j]
            part += c[j]
        total += part
    return total


@inline(fastmath=FAST)
def row_squares(row, mean):
    """The sum of (x - mean)^2 over a row, in float64."""
    total = 0.0
    for start in range(0, row.size, SPAN):
        span = row[start:start + SPAN]
        part = row.dtype.type(0)
        for j in range(span.size):
            d = span[j] - mean
            part += d * d
        total += part
    return total


@jit
def _norm_rows(x, other, total, adds, weight, bias, affine, centred, eps, y, mean, rstd, lo, hi):
    """Rows lo to hi: their mean (if `centred`), their mean square around it, then the result.

    If it `adds`, the rows are those of total = x + other, which is written first.
    `affine`: 0 leaves the rows as they are, 1 multiplies them by the weight, 2 adds the bias too.
    """
    share = 1.0 / max(1, x.shape[1])
    x, y, other, total = borrowed(x), borrowed(y), borrowed(other), borrowed(total)
    for i in range(lo, hi):
        row, out, m = x[i], y[i], x.dtype.type(0)
        if adds:
            s = row_added(row, other[i], total[i])
            row = total[i]
        elif centred:
            s = row_sum(row)
        if centred:
            m = x.dtype.type(s * share)
            mean[i] = m
        r = x.dtype.type(1.0 / math.sqrt(row_squares(row, m) * share + eps))
        rstd[i] = r
        if affine == 2:
            for j in range(row.size):
                out[j] = (row[j] - m) * r * weight[j] + bias[j]
        elif affine == 1:
            for j in range(row.size):
                out[j] = (row[j] - m) * r * weight[j]
        else:
            for j in range(row.size):
                out[j] = (row[j] - m) * r


@jit
def norm(x, weight, bias, affine, centred, eps, y, mean, rstd, nt):
    """`_norm_rows` over all rows, a range of them per thread."""
    ranges(_norm_rows, (x, x, x, False, weight, bias, affine, centred, eps, y, mean, rstd), len(x),
           nt)


@jit
def norm_of_sum(x, other, total, weight, bias, affine, centred, eps, y, mean, rstd, nt):
    """The same for the rows of total = x + other, and total."""
    ranges(_norm_rows, (x, other, total, True, weight, bias, affine, centred, eps, y, mean, rstd),
           len(x), nt)


@inline(fastmath=FAST)
def _plain_sums(g, x, m, r):
    """Sums of g and of g * hat over a row, hat being (x - m) * r; in float64."""
    first = second = 0.0
    for start in range(0, x.size, SPAN):
        gs, xs = g[start:start + SPAN], x[start:start + SPAN]
        p = q = x.dtype.type(0)
        for j in range(xs.size):
            p += gs[j]
            q += gs[j] * ((xs[j] - m) * r)
        first += p
        second += q
    return first, second


@inline(fastmath=FAST)
def _affine_sums(g, x, weight, m, r, weight_total, bias_total):
    """The same for g * weight; and g * hat and g are added to the totals of the columns."""
    first = second = 0.0
    for start in range(0, x.size, SPAN):
        gs, xs, ws = g[start:start + SPAN], x[start:start + SPAN], weight[start:start + SPAN]
        at_w, at_b = weight_total[start:start + SPAN], bias_total[start:start + SPAN]
        p = q = x.dtype.type(0)
        for j in range(xs.size):
            hat = (xs[j] - m) * r
            wg = gs[j] * ws[j]
            p += wg
            q += wg * hat
            at_w[j] += gs[j] * hat
            at_b[j] += gs[j]
        first += p
        second += q
    return first, second


@inline
def _gradient(g, x, weight, past, affine, adds, m, r, c1, c2, out):
    """A row's gradient from its two means, and `past` added to it if it `adds`."""
    if affine and adds:
        for j in range(x.size):
            out[j] = (g[j] * weight[j] - c1 - (x[j] - m) * r * c2) * r + past[j]
    elif affine:
        for j in range(x.size):
            out[j] = (g[j] * weight[j] - c1 - (x[j] - m) * r * c2) * r
    elif adds:
        for j in range(x.size):
            out[j] = (g[j] - c1 - (x[j] - m) * r * c2) * r + past[j]
    else:
        for j in range(x.size):
            out[j] = (g[j] - c1 - (x[j] - m) * r * c2) * r


@jit
def _norm_vjp_rows(g, x, past, adds, weight, affine, centred, mean, rstd, gx, sums, size, lo, hi):
    """Blocks lo to hi, of `size` rows each: gx row by row, and the block's sums for the parameters.

    gx = r (wg - mean(wg) - hat mean(wg hat)): a pass for the two means, and one for the result.
    """
    share = 1.0 / max(1, x.shape[1])
    g, x, gx, sums, past = borrowed(g), borrowed(x), borrowed(gx), borrowed(sums), borrowed(past)
    for b in range(lo, hi):
        weight_total, bias_total = sums[0, b], sums[1, b]
        weight_total[:] = 0
        bias_total[:] = 0
        for i in range(b * size, min((b + 1) * size, x.shape[0])):
            row, grow, out = x[i], g[i], gx[i]
            r, m = rstd[i], x.dtype.type(0)
            if centred:
                m = mean[i]
            if affine:
                first, second = _affine_sums(grow, row, weight, m, r, weight_total, bias_total)
            else:
                first, second = _plain_sums(grow, row, m, r)
            c1, c2 = x.dtype.type(0), x.dtype.type(second * share)
            if centred:
                c1 = x.dtype.type(first * share)
            _gradient(grow, row, weight, past[i], affine, adds, m, r, c1, c2, out)


@jit
def add_rows(parts, out):
    """The sum over the blocks (blocks, n) of each column, in float64 and in order."""
    total = np.zeros(out.size)
    for b in range(parts.shape[0]):
        part = parts[b]
        for j in range(out.size):
            total[j] += part[j]
    for j in range(out.size):
        out[j] = total[j]


@inline
def _vjp(g, x, past, adds, weight, affine, centred, mean, rstd, gx, g_params, sums, size, nt):
    """`_norm_vjp_rows` over all blocks of rows; then the blocks' sums for weight and bias added up.

    The blocks depend on the shape alone, so the sums do not depend on the number of threads.
    """
    ranges(_norm_vjp_rows, (g, x, past, adds, weight, affine, centred, mean, rstd, gx, sums, size),
           sums.shape[1], nt)
    if affine:
        add_rows(sums[0], g_params[0])
        add_rows(sums[1], g_params[1])


@jit
def norm_vjp(g, x, weight, affine, centred, mean, rstd, gx, g_params, sums, size, nt):
    """Gradients of `norm`: gx, and in `g_params` those of the weight and of the bias."""
    _vjp(g, x, x, False, weight, affine, centred, mean, rstd, gx, g_params, sums, size, nt)


@jit
def norm_of_sum_vjp(g, x, past, weight, affine, centred, mean, rstd, gx, g_params, sums, size, nt):
    """The same, with the gradient `past` added to gx."""
    _vjp(g, x, past, True, weight, affine, centred, mean, rstd, gx, g_params, sums, size, nt)
