"""Products of a few rows with a matrix whose rows are as long: x W^T + bias, a dot for each number.

    for each row of W, a range of them per thread      read once, from wherever it is
        for each row of x                              there are few, and they stay in the cache
            their dot product                          in vectors

Weights that are used once are bound by how fast they are read, which two cores do twice as fast.
"""

from __future__ import annotations

import numpy as np

from .base import jit
from .pool import ranges

__all__ = ["dots"]


@jit
def _dots(x, w, bias, out, first, last):
    for j in range(first, last):
        row = w[j]
        more = bias[j] if bias.size else x.dtype.type(0)
        for i in range(len(x)):
            given = x[i]
            total = x.dtype.type(0)
            for k in range(np.uint64(row.size)):
                total += given[k] * row[k]
            out[i, j] = total + more


@jit
def dots(x, w, bias, out, nt):
    """out = x w^T + bias, for bias with a number per row of w, or none at all."""
    ranges(_dots, (x, w, bias, out), len(w), nt)
