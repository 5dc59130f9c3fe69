"""Planes to channels-last memory, or back: each of a stack of matrices transposed.

NumPy walks such a copy number by number, on one thread. Here squares of vectors are turned around
in registers, and threads share the rows of the result.
"""

from __future__ import annotations

import numpy as np

from .base import jit
from .pool import ranges
from .tile import VECTOR_BYTES, address, transpose_tile

__all__ = ["turn"]


@jit
def _turn(x, y, first, last):
    """Bands first..last of y, each a vector's width of rows: as many make a matrix."""
    size = np.int64(x.itemsize)
    width = VECTOR_BYTES // size
    rows, columns = y.shape[1], y.shape[2]
    bands = rows // width
    line, step = rows * size, columns * size
    for k in range(first, last):
        s, i = k // bands, k % bands * width
        source = address(x) + s * rows * step + i * size
        target = address(y) + (s * rows + i) * step
        for j in range(0, columns, width):
            transpose_tile(x.dtype, source + j * line, line, width, width, target + j * size, step)


@jit
def turn(x, y, nt):
    """y[s, i, j] = x[s, j, i] for contiguous stacks whose sizes are whole vectors."""
    ranges(_turn, (x, y), y.shape[0] * (y.shape[1] * x.itemsize // VECTOR_BYTES), nt)
