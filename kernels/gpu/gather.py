"""Rows of tables by number (embeddings), and gradients added up by number."""

from __future__ import annotations

import math
from typing import Any

import cupy
import numpy as np

from tinygen.ops.index import SLOT
from tinygen.primitive import kernel

from .launch import EMPTY, HALVES, NOT_FLOAT, SUFFIXES, Source, blocks, plain

__all__: list[str] = []

native = Source("gather")

OTHER = "an index that is more than numbers of rows"
COLUMNS = 1024      # of a row, to a block
# Numbers to a launch: each is compared with all, so twice as many take four times as long, but read
# and write the rows of the table half as often.
BATCH = 8192


def _flat(numbers: Any) -> Any:
    """Indices as one axis of int64."""
    return plain(numbers.astype(np.int64, copy=False)).reshape(-1)


@kernel("look_up", cupy.ndarray, dtypes=HALVES)
def _(table: Any, numbers: Any) -> Any:
    """A warp copies a row. The host does not wait to check the numbers: the rows of those that the
    table has not are NaN."""
    suffix = SUFFIXES.get(table.dtype)
    if suffix is None:
        return NOT_FLOAT
    if not isinstance(numbers, cupy.ndarray) or numbers.dtype.kind not in "iu":
        return OTHER
    width = math.prod(table.shape[1:])
    if not numbers.size or not width:
        return EMPTY
    table, flat = plain(table), _flat(numbers)
    out = cupy.empty((*numbers.shape, *table.shape[1:]), table.dtype)
    native(f"take_rows_{suffix}", blocks(flat.size, 8), 256, table, flat, out, flat.size,
           len(table), width, width % 4 == 0)
    return out


@kernel("scatter_index", cupy.ndarray, dtypes=HALVES)
def _(g: Any, *arrays: Any, template: Any, shape: Any) -> Any:
    """The block of a row's first number adds up the gradients of all its numbers, in order."""
    if len(template) != 1 or template[0] is not SLOT or arrays[0].dtype.kind not in "iu":
        return OTHER
    (numbers,) = arrays
    suffix = SUFFIXES.get(g.dtype)
    if suffix is None:
        return NOT_FLOAT
    if g.shape != (*numbers.shape, *shape[1:]):
        return "values that broadcast"
    if not g.size:
        return EMPTY
    width = math.prod(shape[1:])
    if blocks(width, COLUMNS) > 65535:
        return "rows of more than 2^26 numbers"
    out = cupy.zeros(shape, g.dtype)
    flat, rows = _flat(numbers), plain(g).reshape(-1, width)
    for start in range(0, flat.size, BATCH):
        count = min(BATCH, flat.size - start)
        native(f"add_rows_{suffix}", (count, blocks(width, COLUMNS)), 256, rows[start:],
               flat[start:], out, np.int32(count), shape[0], width)
    return out
