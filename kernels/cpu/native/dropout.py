"""Dropout in one pass: the mask is made from the key while the numbers go by."""

from __future__ import annotations

import numpy as np

from tinygen.random import drop

from .base import inline, jit
from .pool import ranges

_STEP, _MIX_1, _MIX_2 = np.uint64(drop.STEP), np.uint64(drop.MIX_1), np.uint64(drop.MIX_2)
_HALF = np.uint64(32)
_LOW = np.uint64(2 ** 32 - 1)


@inline
def _word(key, j):
    z = key + (j + np.uint64(1)) * _STEP
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


@jit(fastmath={"contract"})
def _pairs(x, out, key, limit, scale, first, last):
    """Elements 2 first to 2 last: word j of the stream has the numbers of two neighbours."""
    zero = x.dtype.type(0)
    for j in range(np.uint64(first), np.uint64(last)):
        z = _word(key, j)
        i = j + j
        out[i] = x[i] * (scale if (z & _LOW) >= limit else zero)
        out[i + np.uint64(1)] = x[i + np.uint64(1)] * (scale if (z >> _HALF) >= limit else zero)


@jit
def dropout(x, out, key, limit, scale, parts):
    """out = x * scale where the element's number is not below the limit, x * 0 elsewhere.

    One loop over pairs of elements, cut into one range per thread; a last odd element by itself.
    """
    pairs = len(x) // 2
    ranges(_pairs, (x, out, key, limit, scale), pairs, parts)
    if len(x) % 2:
        z = _word(key, np.uint64(pairs))
        out[-1] = x[-1] * (scale if (z & _LOW) >= limit else x.dtype.type(0))
