"""Random numbers on a GPU: Philox4x32-10, a function of (seed, number of the draw).

A counter-based generator has no state but the seed and the next number: saving is two integers, and
any number of threads draw at once. `words` is the definition, in operations of NumPy or CuPy; the
kernels of kernels/gpu draw the same bits. The state lies on the device, so that nothing waits for
it and a captured graph draws anew at every replay: (seed, next number, 0), uint64.

Number n of the counter gives four words w0 to w3 of 32 bits. Elements take them in C order:

* float32, float16 and bfloat16, uniform: one word each, its upper 24, 11 or 8 bits over 2^bits;
* the same, normal: two words (v, w) make two, sqrt(-2 log((v + 1/2) / 2^32)) times cos and sin of
  2 pi w / 2^32 (G. Box and M. Muller, 1958);
* float64, uniform: two words each, the upper 53 bits of w1 w0 over 2^53; normal: in pairs as above;
* integers below r: two words each, the upper half of r times the 64 bits w1 w0.

Source: J. Salmon, M. Moraes, R. Dror and D. Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3",
SC 2011.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np

from .backend import home

__all__ = ["BITS", "Stream", "integers", "new_state", "normal", "uniform", "words"]

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)      # what the two halves of the key grow by in each round
BITS = {"float32": 24, "float16": 11, "bfloat16": 8, "float64": 53}
LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)


def new_state(xp: Any, seed: int, number: int = 0) -> Any:
    """The state of a stream: (seed, next number, 0)."""
    return xp.asarray(np.array([seed % 2 ** 64, number, 0], np.uint64))


def words(xp: Any, state: Any, numbers: int) -> Any:
    """The words of the next `numbers` numbers, (numbers, 4) uint32; the state moves on."""
    counter = xp.arange(numbers, dtype=np.uint64) + state[1]
    k0, k1 = state[0] & LOW, state[0] >> HALF
    a, b = counter & LOW, counter >> HALF
    c = d = xp.zeros(numbers, np.uint64)
    for _ in range(ROUNDS):
        one, two = a * np.uint64(MULTIPLIERS[0]), c * np.uint64(MULTIPLIERS[1])
        a, b, c, d = (two >> HALF) ^ b ^ k0, two & LOW, (one >> HALF) ^ d ^ k1, one & LOW
        k0, k1 = (k0 + np.uint64(WEYL[0])) & LOW, (k1 + np.uint64(WEYL[1])) & LOW
    state[1:2] += np.uint64(numbers)
    return xp.stack([a, b, c, d], axis=1).astype(np.uint32)


def _halves(xp: Any, state: Any, size: int) -> Any:
    """`size` words of 32 bits."""
    return words(xp, state, -(-size // 4)).reshape(-1)[:size]


def _wholes(xp: Any, state: Any, size: int) -> Any:
    """`size` words of 64 bits."""
    w = words(xp, state, -(-size // 2)).astype(np.uint64).reshape(-1, 2)
    return (w[:, 0] | w[:, 1] << HALF)[:size]


def uniform(xp: Any, state: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Numbers in [0, 1)."""
    size, bits = math.prod(shape), BITS[dtype.name]
    if dtype.itemsize == 8:
        whole = _wholes(xp, state, size) >> np.uint64(64 - bits)
        return (whole.astype(np.float64) * 2.0 ** -bits).reshape(shape)
    upper = _halves(xp, state, size) >> np.uint32(32 - bits)
    return (upper.astype(np.float32) * np.float32(2.0 ** -bits)).astype(dtype).reshape(shape)


def normal(xp: Any, state: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Standard normal numbers."""
    size, wide = math.prod(shape), dtype.itemsize == 8
    drawn = (_wholes if wide else _halves)(xp, state, size + size % 2)
    kind, unit = (np.float64, 2.0 ** -64) if wide else (np.float32, 2.0 ** -32)
    pairs = drawn.astype(kind).reshape(-1, 2)
    radius = xp.sqrt(xp.log((pairs[:, 0] + kind(0.5)) * kind(unit)) * kind(-2))
    # the angle in double precision: float32 loses what is left of a turn times 2 pi
    angle = drawn.reshape(-1, 2)[:, 1].astype(np.float64) * (2 * math.pi * unit)
    z = xp.stack([radius * xp.cos(angle), radius * xp.sin(angle)], axis=1)
    return z.reshape(-1)[:size].astype(dtype).reshape(shape)


def integers(xp: Any, state: Any, shape: tuple[int, ...], low: int, span: int, dtype: Any) -> Any:
    """Integers in [low, low + span); `span` 2^64 gives all 64 bits."""
    drawn = _wholes(xp, state, math.prod(shape))
    if span < 2 ** 64:
        drawn = _upper_product(drawn, span)
    if low:
        drawn = drawn.astype(np.int64) + low
    return drawn.astype(dtype).reshape(shape)


def _upper_product(x: Any, span: int) -> Any:
    """The upper 64 bits of x times a number below 2^64, by halves."""
    s1, s0 = np.uint64(span >> 32), np.uint64(span & 0xFFFFFFFF)
    x1, x0 = x >> HALF, x & LOW
    middle = x1 * s0 + (x0 * s0 >> HALF)
    return x1 * s1 + (middle >> HALF) + ((middle & LOW) + x0 * s1 >> HALF)


class Stream:
    """A stream on a device, with the methods that draws ask NumPy's `Generator` for.

    Laws with a rejection (gamma, Poisson, ...) are CuPy's, each draw from a stream of its own,
    seeded by this one's seed and the number of such draws so far: nothing more has to be saved.
    """

    def __init__(self, seed: int, number: int = 0, others: int = 0):
        self.xp = importlib.import_module("cupy")
        self.seed, self.others = seed, others
        self.state = new_state(self.xp, seed, number)

    def position(self) -> dict[str, int]:
        """Where the stream is: this waits for the device."""
        with home(self.state):
            return {"number": int(self.state[1]), "others": self.others}

    def snapshot(self) -> tuple[Any, int]:
        """Where the stream is, kept on the device: nothing waits."""
        with home(self.state):
            return self.state.copy(), self.others

    def restore(self, kept: tuple[Any, int]) -> None:
        """Go back to a snapshot."""
        with home(self.state):
            self.state[...] = kept[0]
        self.others = kept[1]

    def random(self, size: Any, dtype: Any = np.float64) -> Any:
        """Numbers in [0, 1)."""
        return uniform(self.xp, self.state, tuple(size), np.dtype(dtype))

    def standard_normal(self, size: Any, dtype: Any = np.float64) -> Any:
        """Normal numbers with mean 0 and deviation 1."""
        return normal(self.xp, self.state, tuple(size), np.dtype(dtype))

    def integers(self, low: int, high: int, size: Any, dtype: Any = np.int64,
                 endpoint: bool = False) -> Any:
        """Whole numbers in [low, high), or in [low, high]."""
        return integers(self.xp, self.state, tuple(size), low, high - low + endpoint, dtype)

    def permutation(self, n: int) -> Any:
        """The numbers 0 to n - 1 in random order: as 64 random bits of each sort them."""
        return self.xp.argsort(_wholes(self.xp, self.state, n))

    def _other(self) -> Any:
        mixed = np.random.SeedSequence([self.seed, self.others]).generate_state(1, np.uint64)
        self.others += 1
        return self.xp.random.Generator(self.xp.random.Philox4x3210(int(mixed[0]) >> 1))

    def standard_gamma(self, shape: Any) -> Any:
        """Gamma numbers with scale 1."""
        return self._other().standard_gamma(shape)

    def poisson(self, lam: Any) -> Any:
        """How many events came."""
        return self._other().poisson(lam)

    def geometric(self, p: Any) -> Any:
        """The number of the first success."""
        return self._other().geometric(p)

    def binomial(self, n: Any, p: Any) -> Any:
        """How many of n trials succeeded."""
        return self._other().binomial(n, p)

    def vonmises(self, mu: float, kappa: Any) -> Any:
        """Angles of the circular normal law."""
        mixed = np.random.SeedSequence([self.seed, self.others]).generate_state(1)
        self.others += 1
        return self.xp.random.RandomState(int(mixed[0])).vonmises(mu, kappa)
