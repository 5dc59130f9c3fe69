"""Rows of a table by number, and their transpose: rows added up by number."""

from __future__ import annotations

from .base import EXACT, jit
from .borrow import borrowed
from .pool import ranges

__all__ = ["rows", "scatter"]

LINE = 16      # numbers in a cache line of 64 bytes


@jit(fastmath=EXACT)
def _in_range(numbers, least, count):
    low, high = numbers[0], numbers[0]
    for i in range(len(numbers)):
        low, high = min(low, numbers[i]), max(high, numbers[i])
    return least <= low and high < count


@jit(fastmath=EXACT)
def _copy_rows(table, numbers, out, start, stop):
    n, table, out = len(table), borrowed(table), borrowed(out)
    for i in range(start, stop):
        k = numbers[i]
        row, to = table[k + n if k < 0 else k], out[i]
        for j in range(len(to)):
            to[j] = row[j]


@jit
def rows(table, numbers, out, least, parts):
    """out[i] = table[numbers[i]], each thread a range of i; false if a number is out of range.

    Numbers may be from `least` to the number of rows - 1.
    """
    if not _in_range(numbers, least, len(table)):
        return False
    ranges(_copy_rows, (table, numbers, out), len(out), parts)
    return True


@jit(fastmath=EXACT)
def _add_columns(g, numbers, out, first, last):
    start, stop = first * LINE, min(last * LINE, g.shape[1])
    n, g, out = len(out), borrowed(g), borrowed(out)
    for i in range(len(numbers)):
        k = numbers[i]
        to, row = out[k + n if k < 0 else k][start:stop], g[i][start:stop]
        for j in range(stop - start):
            to[j] += row[j]


@jit
def scatter(g, numbers, out, parts):
    """out[numbers[i]] += g[i], in the order of i; false if a number is out of range.

    Each thread takes some of the columns, for all rows: a row that occurs often (a space, a
    padding) is no burden for one thread, and sums are added up in the same order by any number.
    """
    if not _in_range(numbers, -len(out), len(out)):
        return False
    ranges(_add_columns, (g, numbers, out), (g.shape[1] + LINE - 1) // LINE, parts)
    return True
