"""Sums of planes (N, C, H, W), a range of them for each thread: the gradient of a bias."""

from __future__ import annotations

import numpy as np

from .base import jit
from .pool import ranges

__all__ = ["plane_sums"]


@jit
def _planes(x, out, first, last):
    for r in range(first, last):
        row = x[r]
        total = x.dtype.type(0)
        for k in range(np.uint64(row.size)):
            total += row[k]
        out[r] = total


@jit
def plane_sums(x, out, nt):
    """out becomes the sums of x's rows."""
    ranges(_planes, (x, out), len(x), nt)
