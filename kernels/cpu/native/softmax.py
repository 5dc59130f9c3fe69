"""Softmax, log-softmax and cross entropy: each row is read from memory once, forward and backward.

Rows lie along the last axis, or along an axis with others inside it: then a tile of columns is
worked on side by side. Sums of exponentials run over SPAN elements in the arrays' own type, and
from there in float64.
"""

from __future__ import annotations

import math

import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from .base import FAST, inline, jit
from .borrow import borrowed
from .pool import ranges
from .rows import SPAN, row_sum
from .vecmath import exp

__all__ = ["cross_entropy", "cross_entropy_and_gradient", "cross_entropy_vjp", "softmax",
           "softmax_grad"]

TILE = 256      # columns side by side: three tiles of float32 are 3 KB of the first cache


@intrinsic
def larger(typingctx, x, y):
    """The larger of two numbers, NaN if one is: an instruction that the compiler can turn into
    vectors in a loop, which it does not do with `x if x > y else y`."""
    def generate(context, builder, signature, values):
        kind = values[0].type
        maximum = builder.module.declare_intrinsic("llvm.maximum", [kind],
                                                   ir.FunctionType(kind, [kind, kind]))
        return builder.call(maximum, values, fastmath=("nsz",))
    return x(x, x), generate


@inline
def less(x, top, shift):
    """(x - top) - shift in this order: top + shift first would lose the digits of shift."""
    return (x - top) - shift


@inline(fastmath=FAST)
def row_max(row):
    """The largest element of a row."""
    top = row[0]
    for j in range(row.size):
        top = larger(row[j], top)
    return top


@inline(fastmath=FAST)
def _exp_sum(row, top):
    """The sum of exp(x - top) over a row, in float64."""
    total = 0.0
    for start in range(0, row.size, SPAN):
        span = row[start:start + SPAN]
        part = row.dtype.type(0)
        for j in range(span.size):
            part += exp(span[j] - top)
        total += part
    return total


@inline(fastmath=FAST)
def _exp_into(row, top, out):
    """The same, with the exponentials kept in `out`."""
    total = 0.0
    for start in range(0, row.size, SPAN):
        span, to = row[start:start + SPAN], out[start:start + SPAN]
        part = row.dtype.type(0)
        for j in range(span.size):
            e = exp(span[j] - top)
            to[j] = e
            part += e
        total += part
    return total


@inline(fastmath=FAST)
def _row(row, log, out):
    """(Log-)softmax of a row: its maximum, its sum of exponentials, the result."""
    top = row_max(row)
    if log:
        shift = row.dtype.type(math.log(_exp_sum(row, top)))
        for j in range(row.size):
            out[j] = less(row[j], top, shift)
    else:
        scale = row.dtype.type(1.0 / _exp_into(row, top, out))
        for j in range(row.size):
            out[j] *= scale


@jit
def _columns(x, log, y, o, start, stop):
    """The same of columns start to stop of (n, inner), x[o], with a row's columns side by side."""
    kind, n, width = x.dtype.type, x.shape[1], stop - start
    top, total = np.empty(width, x.dtype), np.zeros(width)
    top[:] = x[o, 0][start:stop]
    for i in range(n):
        row = x[o, i][start:stop]
        for j in range(width):
            top[j] = larger(row[j], top[j])
    for i in range(n):
        row, to = x[o, i][start:stop], y[o, i][start:stop]
        for j in range(width):
            e = exp(row[j] - top[j])
            to[j] = e
            total[j] += e
    shift = np.empty(width, x.dtype)
    for j in range(width):
        shift[j] = kind(math.log(total[j])) if log else kind(1.0 / total[j])
    for i in range(n):
        row, to = x[o, i][start:stop], y[o, i][start:stop]
        if log:
            for j in range(width):
                to[j] = less(row[j], top[j], shift[j])
        else:
            for j in range(width):
                to[j] *= shift[j]


@jit
def _softmax_part(x, log, y, lo, hi):
    """Rows lo to hi of (rows, n, 1), or tiles of columns lo to hi of (outer, n, inner)."""
    x, y = borrowed(x), borrowed(y)
    inner = x.shape[2]
    if inner == 1:
        rows, out = x.reshape(x.shape[0], x.shape[1]), y.reshape(x.shape[0], x.shape[1])
        for i in range(lo, hi):
            _row(rows[i], log, out[i])
        return
    tiles = (inner + TILE - 1) // TILE
    for k in range(lo, hi):
        start = k % tiles * TILE
        _columns(x, log, y, k // tiles, start, min(start + TILE, inner))


@jit
def softmax(x, log, y, nt):
    """Softmax, or its logarithm, along the middle axis of (outer, n, inner)."""
    n = x.shape[0] * ((x.shape[2] + TILE - 1) // TILE)
    ranges(_softmax_part, (x, log, y), n, nt)


@inline(fastmath=FAST)
def _row_dot(a, b):
    total = 0.0
    for start in range(0, a.size, SPAN):
        p, q = a[start:start + SPAN], b[start:start + SPAN]
        part = a.dtype.type(0)
        for j in range(p.size):
            part += p[j] * q[j]
        total += part
    return total


@inline(fastmath=FAST)
def _row_grad(g, y, log, out):
    """y (g - sum(g y)) of a row; g - exp(y) sum(g) for the logarithm."""
    if log:
        total = g.dtype.type(row_sum(g))
        for j in range(g.size):
            out[j] = g[j] - exp(y[j]) * total
    else:
        total = g.dtype.type(_row_dot(g, y))
        for j in range(g.size):
            out[j] = (g[j] - total) * y[j]


@jit
def _columns_grad(g, y, log, gx, o, start, stop):
    """The same of columns start to stop of (n, inner), with a row's columns side by side."""
    n, width = g.shape[1], stop - start
    wide = np.zeros(width)
    for i in range(n):
        gs, ys = g[o, i][start:stop], y[o, i][start:stop]
        if log:
            for j in range(width):
                wide[j] += gs[j]
        else:
            for j in range(width):
                wide[j] += gs[j] * ys[j]
    total = wide.astype(g.dtype)
    for i in range(n):
        gs, ys, to = g[o, i][start:stop], y[o, i][start:stop], gx[o, i][start:stop]
        if log:
            for j in range(width):
                to[j] = gs[j] - exp(ys[j]) * total[j]
        else:
            for j in range(width):
                to[j] = (gs[j] - total[j]) * ys[j]


@jit
def _grad_part(g, y, log, gx, lo, hi):
    g, y, gx = borrowed(g), borrowed(y), borrowed(gx)
    n, inner = g.shape[1], g.shape[2]
    if inner == 1:
        gs, ys, out = g.reshape(-1, n), y.reshape(-1, n), gx.reshape(-1, n)
        for i in range(lo, hi):
            _row_grad(gs[i], ys[i], log, out[i])
        return
    tiles = (inner + TILE - 1) // TILE
    for k in range(lo, hi):
        start = k % tiles * TILE
        _columns_grad(g, y, log, gx, k // tiles, start, min(start + TILE, inner))


@jit
def softmax_grad(g, y, log, gx, nt):
    """The gradient with respect to what `softmax` was given, from that of its result y."""
    n = g.shape[0] * ((g.shape[2] + TILE - 1) // TILE)
    ranges(_grad_part, (g, y, log, gx), n, nt)


# -- cross entropy ------------------------------------------------------------------------------


@inline(fastmath=FAST)
def _smoothed(row, top, weight, weighted):
    """The sum of x - top over a row, each times the weight of its class, in float64."""
    total = 0.0
    for j in range(row.size):
        d = row[j] - top
        total += d * weight[j] if weighted else d
    return total


@jit
def _loss_rows(x, target, weight, weighted, total_weight, ignored, smoothing, loss, kept, lo, hi):
    """Rows lo to hi: the loss of each, and what the gradient needs: (maximum, log of the sum)."""
    kind, x = x.dtype.type, borrowed(x)
    for i in range(lo, hi):
        row, t = x[i], target[i]
        top = row_max(row)
        lse = math.log(_exp_sum(row, top))
        kept[i, 0] = top
        kept[i, 1] = kind(lse)
        share = 1.0 if t != ignored else 0.0
        if t == ignored:
            t = 0
        if weighted:
            share *= weight[t]
        value = (lse - (row[t] - top)) * share
        if smoothing:
            spread = lse * total_weight - _smoothed(row, top, weight, weighted)
            value *= 1.0 - smoothing
            if target[i] != ignored:
                value += spread * (smoothing / row.size)
        loss[i] = kind(value)


@jit
def _shares(target, weight, weighted, ignored, classes):
    """The sum of the weights of the rows, or -1 where a row has no such class."""
    total = 0.0
    for i in range(target.size):
        t = target[i]
        if t == ignored:
            continue
        if t < 0 or t >= classes:
            return -1.0
        total += weight[t] if weighted else 1.0
    return total


@inline
def _classes_weight(x, weight, weighted):
    """The sum of the weights of all classes."""
    total = 0.0
    for j in range(x.shape[1]):
        total += weight[j] if weighted else 1.0
    return total


@inline
def _total(loss, share, mean):
    total = 0.0
    for i in range(loss.size):
        total += loss[i]
    return total / share if mean else total


@jit
def cross_entropy(x, target, weight, weighted, ignored, smoothing, mean, loss, kept, nt):
    """The loss of each row, and their sum, or their `mean` by weight; NaN for a class too many.

    Returns:
        The total, and whether all class numbers are in their range (nothing is done otherwise).
    """
    n = x.shape[0]
    share = _shares(target, weight, weighted, ignored, x.shape[1])
    if share < 0:
        return 0.0, False
    total_weight = _classes_weight(x, weight, weighted)
    ranges(_loss_rows, (x, target, weight, weighted, total_weight, ignored, smoothing, loss, kept),
           n, nt)
    return _total(loss, share, mean), True


@jit
def _loss_rows_vjp(g, x, kept, target, weight, weighted, total_weight, ignored, smoothing, factor,
                   gx, lo, hi):
    """Rows lo to hi: softmax * sum(q) - q, where q is what the loss weighs log softmax with."""
    kind, x, gx = x.dtype.type, borrowed(x), borrowed(gx)
    for i in range(lo, hi):
        row, out, t = x[i], gx[i], target[i]
        if t == ignored:
            out[:] = 0
            continue
        gi = g[i if g.size > 1 else 0] * factor
        own = gi * (1.0 - smoothing)
        if weighted:
            own *= weight[t]
        around = kind(gi * smoothing / row.size)
        scale = kind(own + around * total_weight)
        top, lse = kept[i, 0], kept[i, 1]
        if not smoothing:
            for j in range(row.size):
                out[j] = exp(less(row[j], top, lse)) * scale
        elif weighted:
            for j in range(row.size):
                out[j] = exp(less(row[j], top, lse)) * scale - around * weight[j]
        else:
            for j in range(row.size):
                out[j] = exp(less(row[j], top, lse)) * scale - around
        out[t] -= kind(own)


@jit
def cross_entropy_vjp(g, x, kept, target, weight, weighted, ignored, smoothing, mean, gx, nt):
    """The gradient of all rows; false, with nothing done, for a class number out of range."""
    n = x.shape[0]
    share = _shares(target, weight, weighted, ignored, x.shape[1])
    if share < 0:
        return False
    factor = 1.0
    if mean:
        factor = 1.0 / share if share else 1.0      # only ignored rows: no slope
    total_weight = _classes_weight(x, weight, weighted)
    ranges(_loss_rows_vjp, (g, x, kept, target, weight, weighted, total_weight, ignored, smoothing,
                            factor, gx), n, nt)
    return True


@inline(fastmath=FAST)
def _exp_in_place(row, top):
    """exp(x - top) of a row in place; their sum, in float64."""
    total = 0.0
    for start in range(0, row.size, SPAN):
        span = row[start:start + SPAN]
        part = row.dtype.type(0)
        for j in range(span.size):
            e = exp(span[j] - top)
            span[j] = e
            part += e
        total += part
    return total


@inline(fastmath=FAST)
def _scaled(out, scale, around, weight, smoothing, weighted):
    """scale * out - around * weight of a row in place; around is 0 without `smoothing`."""
    if not smoothing:
        for j in range(out.size):
            out[j] *= scale
    elif weighted:
        for j in range(out.size):
            out[j] = out[j] * scale - around * weight[j]
    else:
        for j in range(out.size):
            out[j] = out[j] * scale - around


@jit
def _both_rows(g, x, target, weight, weighted, total_weight, ignored, smoothing, factor, in_place,
               loss, gx, lo, hi):
    """Rows lo to hi: the loss of each and its gradient, from one exponential of each logit."""
    kind, x, gx = x.dtype.type, borrowed(x), borrowed(gx)
    for i in range(lo, hi):
        row, out, t = x[i], gx[i], target[i]
        top = row_max(row)
        if t == ignored:
            loss[i] = (row[0] - top) * kind(0)      # not a number where `cross_entropy` has none
            out[:] = 0
            continue
        at = row[t] - top
        spread = _smoothed(row, top, weight, weighted) if smoothing else 0.0
        if not in_place:
            for j in range(row.size):
                out[j] = row[j]
        total = _exp_in_place(out, top)
        lse = math.log(total)
        value = (lse - at) * (weight[t] if weighted else 1.0)
        if smoothing:
            value = (value * (1.0 - smoothing)
                     + (lse * total_weight - spread) * (smoothing / row.size))
        loss[i] = kind(value)
        gi = g[i if g.size > 1 else 0] * factor
        own = gi * (1.0 - smoothing)
        if weighted:
            own *= weight[t]
        around = kind(gi * smoothing / row.size)
        _scaled(out, kind((own + around * total_weight) / total), around, weight, smoothing,
                weighted)
        out[t] -= kind(own)


@jit
def cross_entropy_and_gradient(g, x, target, weight, weighted, ignored, smoothing, mean, in_place,
                               loss, gx, nt):
    """`cross_entropy` and `cross_entropy_vjp` in one pass; gx is x itself where `in_place`.

    Returns:
        The total, and whether all class numbers are in their range (nothing is done otherwise).
    """
    share = _shares(target, weight, weighted, ignored, x.shape[1])
    if share < 0:
        return 0.0, False
    factor = 1.0 / share if mean and share else 1.0       # only ignored rows: no slope
    total_weight = _classes_weight(x, weight, weighted)
    ranges(_both_rows, (g, x, target, weight, weighted, total_weight, ignored, smoothing, factor,
                        in_place, loss, gx), x.shape[0], nt)
    return _total(loss, share, mean), True
