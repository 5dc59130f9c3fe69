"""Updates of many arrays in one pass: the steps of SGD and Adam, averages, norms and factors.

The arrays come as a table of their ids, a row for each kind (parameters, gradients, ...): what
Numba would do to take hundreds of arrays as arguments costs more than a step. Their elements are
numbered through as if they lay end to end, and each thread updates a range of the numbers, so
arrays of all sizes balance. Each element is computed alone, and without fused multiply-adds,
which come out differently in vectors and in what is left over: the bits are those of NumPy's code.
"""

from __future__ import annotations

import ctypes

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from .base import inline, jit
from .pool import ranges

__all__ = ["adam", "mix", "sgd", "squares"]

# In CPython an id is an address, and an array object begins with a head and the pointer to its
# elements: reading it takes 1 ns, and `ndarray.ctypes.data` 1.4 us.
HEAD = object.__basicsize__
BLOCK = 1 << 12     # elements whose squares are summed before the sum is added to others
STRIP = 1 << 10     # elements of five arrays that stay in the first cache


def _check() -> None:
    x = np.zeros(2)
    if ctypes.c_void_p.from_address(id(x) + HEAD).value != x.ctypes.data:
        raise ImportError("NumPy's arrays are not laid out as known")


_check()


@intrinsic
def _pointer(_, address):
    """An integer as an address."""
    def make(context, builder, signature, args):
        return builder.inttoptr(args[0], ir.IntType(8).as_pointer())
    return numba.types.voidptr(address), make


@inline
def _elements(number, start, stop, like):
    """Elements start to stop of the array with this id, as one axis."""
    address = numba.carray(_pointer(number + HEAD), 1, np.int64)[0]
    return numba.carray(_pointer(address + start * like.itemsize), stop - start, like.dtype)


@jit(fastmath=False)
def _adam_range(table, ends, how, like, start, stop):
    kind = like.dtype.type
    keep, coupled, sign, near1, far2, near2, size, floor = how
    keep, coupled, sign, near1 = kind(keep), kind(coupled), kind(sign), kind(near1)
    far2, near2, size, floor = kind(far2), kind(near2), kind(size), kind(floor)
    i = begin = 0
    while start < stop:
        if ends[i] > start:
            a, b = start - begin, min(stop, ends[i], start + STRIP) - begin
            p = _elements(table[0, i], a, b, like)
            g = _elements(table[1, i], a, b, like)
            m = _elements(table[2, i], a, b, like)
            v = _elements(table[3, i], a, b, like)
            if len(table) == 4:
                for j in range(b - a):
                    d = sign * g[j]
                    if coupled != 0:
                        d += coupled * p[j]
                    mean = m[j] + near1 * (d - m[j])
                    square = v[j] * far2 + (d * d) * near2
                    m[j] = mean
                    v[j] = square
                    p[j] = keep * p[j] - size * (mean / (np.sqrt(square) + floor))
            else:
                most = _elements(table[4, i], a, b, like)
                for j in range(b - a):
                    d = sign * g[j]
                    if coupled != 0:
                        d += coupled * p[j]
                    m[j] += near1 * (d - m[j])
                    v[j] = v[j] * far2 + (d * d) * near2
                for j in range(b - a):
                    most[j] = v[j] if v[j] > most[j] or v[j] != v[j] else most[j]
                for j in range(b - a):
                    p[j] = keep * p[j] - size * (m[j] / (np.sqrt(most[j]) + floor))
            start = begin + b
        if start >= ends[i]:
            begin = ends[i]
            i += 1


@jit
def adam(table, ends, how, like, parts):
    """For every element: m and v follow the gradient, then p moves by m / sqrt(v).

    Rows of the table: p, g, m, v and, for amsgrad, the largest v so far. That runs in three loops
    over strips that stay in the first cache: of more arrays in a loop than four the compiler does
    not check whether they overlap, and uses no vectors.
    """
    ranges(_adam_range, (table, ends, how, like), ends[-1], parts)


@jit(fastmath=False)
def _sgd_range(table, ends, how, nesterov, like, start, stop):
    kind = like.dtype.type
    coupled, sign, momentum, share, lr = how
    coupled, sign, momentum = kind(coupled), kind(sign), kind(momentum)
    share, lr = kind(share), kind(lr)
    i = begin = 0
    while start < stop:
        if ends[i] > start:
            a, b = start - begin, min(stop, ends[i]) - begin
            p = _elements(table[0, i], a, b, like)
            g = _elements(table[1, i], a, b, like)
            if len(table) == 2:
                for j in range(b - a):
                    d = sign * g[j]
                    if coupled != 0:
                        d += coupled * p[j]
                    p[j] -= lr * d
            else:
                m = _elements(table[2, i], a, b, like)
                for j in range(b - a):
                    d = sign * g[j]
                    if coupled != 0:
                        d += coupled * p[j]
                    mean = m[j] * momentum + d * share
                    m[j] = mean
                    if nesterov:
                        mean = mean * momentum + d
                    p[j] -= lr * mean
            start = begin + b
        begin = ends[i]
        i += 1


@jit
def sgd(table, ends, how, nesterov, like, parts):
    """For every element: the buffer, where the table has a third row, follows g; then p moves."""
    ranges(_sgd_range, (table, ends, how, nesterov, like), ends[-1], parts)


@jit(fastmath=False)
def _mix_range(table, ends, weight, like, start, stop):
    weight = like.dtype.type(weight)
    i = begin = 0
    while start < stop:
        if ends[i] > start:
            a, b = start - begin, min(stop, ends[i]) - begin
            x = _elements(table[0, i], a, b, like)
            if len(table) == 2:
                y = _elements(table[1, i], a, b, like)
                for j in range(b - a):
                    x[j] += weight * (y[j] - x[j])
            else:
                for j in range(b - a):
                    x[j] *= weight
            start = begin + b
        begin = ends[i]
        i += 1


@jit
def mix(table, ends, weight, like, parts):
    """x += weight * (y - x) for every element of x and y, or x *= weight where there is no y."""
    ranges(_mix_range, (table, ends, weight, like), ends[-1], parts)


@jit
def _squares_range(table, ends, like, sums, start, stop):
    i = begin = 0
    for k in range(start, stop):
        low, high = k * BLOCK, min((k + 1) * BLOCK, ends[-1])
        total = 0.0
        while low < high:
            if ends[i] > low:
                b = min(high, ends[i])
                x = _elements(table[0, i], low - begin, b - begin, like)
                part = 0.0
                for j in range(len(x)):
                    part += np.float64(x[j]) * np.float64(x[j])
                total += part
                low = b
            if ends[i] <= high:
                begin = ends[i]
                i += 1
        sums[k] = total


@jit
def squares(table, ends, like, parts):
    """The sum of the squares of all elements, in float64: of each block, then of the blocks."""
    sums = np.empty((ends[-1] + BLOCK - 1) // BLOCK)
    ranges(_squares_range, (table, ends, like, sums), len(sums), parts)
    return sums.sum()
