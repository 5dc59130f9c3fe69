"""Rows of a table by number, and their transpose: rows added up by number."""

from __future__ import annotations

from .base import EXACT, jit, parallel, prange

__all__ = ["rows", "scatter"]


@jit(fastmath=EXACT)
def _in_range(numbers, count):
    low, high = numbers[0], numbers[0]
    for i in range(len(numbers)):
        low, high = min(low, numbers[i]), max(high, numbers[i])
    return -count <= low and high < count


@jit(fastmath=EXACT)
def _copy_rows(table, numbers, out, start, stop):
    n = len(table)
    for i in range(start, stop):
        k = numbers[i]
        row, to = table[k + n if k < 0 else k], out[i]
        for j in range(len(to)):
            to[j] = row[j]


@parallel(fastmath=EXACT)
def _copy_parts(table, numbers, out, parts):
    n = len(out)
    for t in prange(parts):
        _copy_rows(table, numbers, out, n * t // parts, n * (t + 1) // parts)


def rows(table, numbers, out, parts):
    """out[i] = table[numbers[i]], each thread a range of i; false if a number is out of range."""
    if not _in_range(numbers, len(table)):
        return False
    if parts == 1:
        _copy_rows(table, numbers, out, 0, len(out))
    else:
        _copy_parts(table, numbers, out, parts)
    return True


@jit(fastmath=EXACT)
def _add_columns(g, numbers, out, start, stop):
    n = len(out)
    for i in range(len(numbers)):
        k = numbers[i]
        to, row = out[k + n if k < 0 else k][start:stop], g[i][start:stop]
        for j in range(stop - start):
            to[j] += row[j]


@parallel(fastmath=EXACT)
def _add_parts(g, numbers, out, width, parts):
    n = g.shape[1]
    for t in prange(parts):
        _add_columns(g, numbers, out, min(n, t * width), min(n, (t + 1) * width))


def scatter(g, numbers, out, parts):
    """out[numbers[i]] += g[i], in the order of i; false if a number is out of range.

    Each thread takes some of the columns, for all rows: a row that occurs often (a space, a
    padding) is no burden for one thread, and sums are added up in the same order by any number.
    """
    if not _in_range(numbers, len(out)):
        return False
    if parts == 1:
        _add_columns(g, numbers, out, 0, g.shape[1])
    else:
        width = -(-g.shape[1] // (16 * parts)) * 16         # whole cache lines
        _add_parts(g, numbers, out, width, parts)
    return True
