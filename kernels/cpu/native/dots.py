"""A matrix times a single row: W x + bias, a dot product for each row of W, a range per thread.

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
        total = x.dtype.type(0)
        for k in range(np.uint64(row.size)):
            total += x[k] * row[k]
        out[j] = total + bias[j] if bias.size else total


@jit
def dots(x, w, bias, out, nt):
    """out = w x + bias, for bias with a number per row of w, or none at all."""
    ranges(_dots, (x, w, bias, out), len(w), nt)
