"""The random numbers of dropout: one key from the generator, and a counter that spreads it.

A mask of its own for every call would be drawn, written and kept until the backward pass. Here a
call takes 64 bits, the key, from its generator, and element i of the mask is a function of key
and i alone: the backward pass makes it again, and so does a kernel on any number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import Generator
from ..primitive import primitive
from .draws import _stream

__all__ = ["draw_key", "dropout_p"]

# SplitMix64: G. Steele, D. Lea and C. Flood, "Fast Splittable Pseudorandom Number Generators",
# OOPSLA 2014. Its state is a counter in steps of the golden ratio; a mixing function makes each
# value random. A 64-bit word serves two elements.
STEP, MIX_1, MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB

PIECE = 1 << 15     # elements at a time, so that what is computed of them stays in the cache


@primitive(name="random_key")
def key_p(xp, *, generator):
    """64 random bits."""
    if xp is np:        # `integers` takes 6 us for one number
        return np.array(generator.stream.bit_generator.random_raw(), np.uint64)
    return generator.stream.integers(0, 2 ** 64 - 1, (), np.uint64, endpoint=True)


def draw_key(generator: Generator | None, device: Any) -> Any:
    """A key for `dropout_p` from a generator, or from the default one of a device."""
    return key_p(generator=_stream(generator, device))


def limit_of(p: float) -> int:
    """The 32-bit number below which an element is dropped."""
    return min(round(p * 2 ** 32), 2 ** 32 - 1)


def bits(xp: Any, key: Any, start: int, stop: int) -> Any:
    """Numbers `start` (even) to `stop` of the 32-bit stream that belongs to a key."""
    z = xp.arange(start // 2 + 1, (stop + 1) // 2 + 1, dtype=np.uint64)
    z *= np.uint64(STEP)
    z += key
    z ^= z >> np.uint64(30)
    z *= np.uint64(MIX_1)
    z ^= z >> np.uint64(27)
    z *= np.uint64(MIX_2)
    z ^= z >> np.uint64(31)
    return z.astype("<u8", copy=False).view("<u4")[:stop - start]


@primitive(name="dropout")
def dropout_p(xp, x, key, *, p):
    """x / (1 - p), and 0 where the number of an element in the key's stream is below p.

    Elements are numbered in C order, whatever the memory order of x is.
    """
    keep = xp.empty(x.size, x.dtype if x.dtype.kind in "fV" else np.float32)
    piece = PIECE if xp is np else max(1, x.size)
    for i in range(0, x.size, piece):
        stop = min(i + piece, x.size)
        keep[i:stop] = bits(xp, key, i, stop) >= np.uint32(limit_of(p))
    keep *= 1 / (1 - p)
    return x * keep.reshape(x.shape)
dropout_p.vjp(lambda g, out, x, key, p: dropout_p(g, key, p=p))
