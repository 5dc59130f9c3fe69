"""A banded matrix applied along one axis: linear and cubic interpolation, and their transposes."""

from __future__ import annotations

import numpy as np

from .base import EXACT, jit
from .pool import ranges

__all__ = ["apply", "bands"]


@jit(fastmath=EXACT)
def bands(matrix):
    """Where the band of each row begins, and the bands (width, rows), all of one width."""
    m, n = matrix.shape
    starts, width = np.zeros(m, np.int64), 1
    for i in range(m):
        first, last = -1, 0
        for j in range(n):
            if matrix[i, j] != 0:
                first, last = j if first < 0 else first, j
        starts[i] = max(first, 0)
        width = max(width, last - first + 1 if first >= 0 else 1)
    weights = np.empty((width, m), matrix.dtype)
    for i in range(m):
        starts[i] = min(starts[i], n - width)               # the band stays inside
        for k in range(width):
            weights[k, i] = matrix[i, starts[i] + k]
    return starts, weights


@jit(fastmath=EXACT)
def _pieces(x, starts, weights, out, n, begin, end):
    """Rows begin to end of (lead * m, trail), from x (lead * n, trail)."""
    width, m = weights.shape
    for r in range(begin, end):
        i = r % m
        top, to = r // m * n + starts[i], out[r]
        one, a = x[top], weights[0, i]
        if width == 1:
            for j in range(len(to)):
                to[j] = a * one[j]
            continue
        two, b = x[top + 1], weights[1, i]
        if width < 4:
            for j in range(len(to)):
                to[j] = a * one[j] + b * two[j]
            k = 2
        else:
            three, four, c, d = x[top + 2], x[top + 3], weights[2, i], weights[3, i]
            for j in range(len(to)):
                to[j] = a * one[j] + b * two[j] + c * three[j] + d * four[j]
            k = 4
        while k < width:
            piece, a = x[top + k], weights[k, i]
            for j in range(len(to)):
                to[j] += a * piece[j]
            k += 1


@jit(fastmath=EXACT)
def _numbers(x, starts, weights, out, begin, end):
    """Rows begin to end of (lead, m), from x (lead, n)."""
    width, m = weights.shape
    for r in range(begin, end):
        row, to, a = x[r], out[r], weights[0]
        for i in range(m):
            to[i] = a[i] * row[np.uint64(starts[i])]
        for k in range(1, width):
            a = weights[k]
            for i in range(m):
                to[i] += a[i] * row[np.uint64(starts[i] + k)]


@jit
def _apply(x, starts, weights, out, n, parts):
    if n:
        ranges(_pieces, (x, starts, weights, out, n), len(out), parts)
    else:
        ranges(_numbers, (x, starts, weights, out), len(out), parts)


def apply(x, matrix, out, n, parts):
    """Each row of `out` is a weighted sum of a few rows of x, of which n belong together.

    With n = 0 the axis is the last one in memory: each *number* of a row is a sum of a few numbers
    of the same row of x. False if the matrix has rows that mix more than eight.
    """
    starts, weights = bands(matrix)
    if len(weights) > 8:
        return False
    _apply(x, starts, weights, out, n, parts)
    return True
