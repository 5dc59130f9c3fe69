"""Random numbers of a stream on the device, and dropout: the mask is never in memory.

`tinygen/philox.py` defines the numbers, `tinygen/random/drop.py` the mask.
"""

from __future__ import annotations

import math
from typing import Any

import cupy
import numpy as np

from tinygen.philox import Stream
from tinygen.primitive import kernel
from tinygen.random.drop import limit_of

from .launch import EMPTY, HALVES, NOT_FLOAT, SUFFIXES, Source, blocks, plain

__all__: list[str] = []

native = Source("random")

FOUR = 1024         # elements that a block of 256 threads draws
ANOTHER = "a stream that is not tinygen.philox's"


def _drawn(name: str, generator: Any, shape: Any, dtype: Any) -> Any:
    kind = np.dtype(dtype)
    suffix, n = SUFFIXES.get(kind), math.prod(shape)
    if suffix is None:
        return NOT_FLOAT
    if not n:
        return EMPTY
    if not isinstance(generator.stream, Stream):
        return ANOTHER
    y = cupy.empty(shape, kind)
    native(f"{name}_{suffix}", blocks(n, FOUR), 256, generator.stream.state, y, np.uint64(n))
    return y


@kernel("random_uniform", cupy.ndarray, dtypes=HALVES)
def _(*, generator: Any, shape: Any, dtype: Any) -> Any:
    return _drawn("draw_uniform", generator, shape, dtype)


@kernel("random_normal", cupy.ndarray, dtypes=HALVES)
def _(*, generator: Any, shape: Any, dtype: Any) -> Any:
    return _drawn("draw_normal", generator, shape, dtype)


@kernel("random_integers", cupy.ndarray, dtypes=("int64", "uint64"))
def _(*, generator: Any, shape: Any, low: int, high: int, dtype: Any) -> Any:
    n = math.prod(shape)
    if not n:
        return EMPTY
    if np.dtype(dtype) != np.int64 or high > 2 ** 63:
        return "integers other than int64"
    return _integers(generator, shape, low, high - low)


@kernel("random_key", cupy.ndarray, dtypes=("uint64",))
def _(*, generator: Any) -> Any:
    bits = _integers(generator, (), 0, 0)
    return bits if isinstance(bits, str) else bits.view(np.uint64)


def _integers(generator: Any, shape: Any, low: int, span: int) -> Any:
    """Integers in [low, low + span); a span of 0 means all 64 bits."""
    if not isinstance(generator.stream, Stream):
        return ANOTHER
    n = math.prod(shape)
    y = cupy.empty(shape, np.int64)
    native("draw_integers", blocks(n, 512), 256, generator.stream.state, y, np.uint64(n), low,
           np.uint64(span))
    return y


@kernel("dropout", cupy.ndarray, dtypes=HALVES)
def _(x: Any, key: Any, *, p: float) -> Any:
    suffix = SUFFIXES.get(x.dtype)
    if suffix is None:
        return NOT_FLOAT
    if not x.size:
        return EMPTY
    x = plain(x)
    y = cupy.empty_like(x)
    native(f"drop_{suffix}", blocks(x.nbytes, 4096), 256, x, key, y, np.uint64(x.size),
           np.uint32(limit_of(p)), float(1 / (1 - p)))
    return y
