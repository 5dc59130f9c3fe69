"""What the recurrent kernels share: weights packed in panels, and products of rows with them."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .base import inline, jit
from .gemm import PANEL_BYTES, pack_panel, tiles_of
from .launch import call, entry, size_of
from .tile import VECTOR_BYTES, address, rows_tile

__all__ = ["bytes_of", "pack", "product_code", "row_at", "times", "units"]


DEEP = 1024     # rows of a panel: the rows of A that a tile needs then about fit into L1


@inline
def _blocks(k):
    """In how many blocks k is cut."""
    return max(1, (k + DEEP - 1) // DEEP)


@inline
def _room(k, size):
    """Bytes from one packed panel to the next: the rows of a block, rounded up to whole vectors."""
    width, blocks = VECTOR_BYTES // size, _blocks(k)
    return ((k + blocks - 1) // blocks + width - 1) // width * width * PANEL_BYTES


@inline
def bytes_of(k, n, size):
    """Bytes of n packed columns of k numbers."""
    return (n * size + PANEL_BYTES - 1) // PANEL_BYTES * _blocks(k) * _room(k, size)


@jit
def pack(w, first, last, transposed, target):
    """Pack w[:, first:last], or w[first:last].T where `transposed` is 1; the address behind it.

    The panels of a block of k lie together.
    """
    size = np.int64(w.itemsize)
    wide, stride = PANEL_BYTES // size, w.shape[1] * size
    k = w.shape[1] if transposed else w.shape[0]
    blocks, room = _blocks(k), _room(k, size)
    for b in range(blocks):
        top = k * b // blocks
        for j in range(first, last, wide):
            source = address(w) + (j * stride + top * size if transposed else
                                   top * stride + j * size)
            pack_panel(w, source, k * (b + 1) // blocks - top, stride, min(wide, last - j),
                       transposed != 0, target)
            target += room
    return target


@jit
def _product(kind, table, m, k, panels, room, c, ldc, n, add):
    """C[0:m, 0:n] (+)= A W: the rows of A are at the addresses in `table`, panels `room` apart."""
    size = size_of(kind)
    wide, count = PANEL_BYTES // size, tiles_of(m)
    for j in range(0, n, wide):
        for t in range(count):
            i = m * t // count
            rows_tile(kind, m * (t + 1) // count - i, table + 8 * i, k, panels, PANEL_BYTES,
                      c + i * ldc + j * size, ldc, min(wide, n - j), add)
        panels += room


@functools.cache
def product_code(dtype: Any) -> int:
    """The address of `_product`, which is compiled once for all its callers."""
    return entry(_product, dtype.type, 9)


@jit
def times(product, table, x, first, panels, c, ldc, n, add):
    """C (+)= A W for rows of x from `first` on, as many as the table has, and a packed W."""
    size, k = np.int64(x.itemsize), x.shape[1]
    blocks, room = _blocks(k), _room(k, size)
    for b in range(blocks):
        top = k * b // blocks
        for i in range(table.size):
            table[i] = address(x) + ((first + i) * k + top) * size
        call(product, (address(table), table.size, k * (b + 1) // blocks - top, panels, room, c,
                       ldc, n, np.int64(1) if b else add))
        panels += (n * size + PANEL_BYTES - 1) // PANEL_BYTES * room


@inline
def row_at(x, i):
    return address(x) + i * x.shape[1] * np.int64(x.itemsize)


@inline
def units(h, size, t, parts):
    """The units of a part, in whole panels."""
    wide = PANEL_BYTES // size
    panels = (h + wide - 1) // wide
    return panels * t // parts * wide, min(h, panels * (t + 1) // parts * wide)
