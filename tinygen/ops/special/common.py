"""What the special functions share: double precision inside, series, Chebyshev sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

__all__ = ["bernoulli_series", "chebyshev", "in_double", "log1p_minus", "polynomial"]

PIECE = 1 << 14   # elements at a time on the CPU: some twenty temporaries stay in the cache


def in_double(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Make `fn(xp, *xs)` on flat float64 arrays a function of arrays that broadcast.

    The result has the widest floating type among the inputs (float32 for integers). Working in
    float64 gives float32 its last digit; overflow to infinity and poles are results here, so NumPy
    does not warn about them.
    """
    @wraps(fn)
    def run(xp: Any, *xs: Any, **attrs: Any) -> Any:
        kind = _float_type(xs)
        arrays = xp.broadcast_arrays(*[xp.asarray(x, dtype="float64") for x in xs])
        shape = arrays[0].shape
        flat = [a.reshape(-1) for a in arrays]
        with np.errstate(all="ignore"):
            if xp is not np or flat[0].size <= PIECE:
                return fn(xp, *flat, **attrs).astype(kind).reshape(shape)
            out = np.empty(flat[0].size, kind)
            for i in range(0, out.size, PIECE):
                out[i:i + PIECE] = fn(np, *[a[i:i + PIECE] for a in flat], **attrs)
        return out.reshape(shape)
    return run


def _float_type(xs: Sequence[Any]) -> np.dtype:
    """The widest floating type among the arrays; Python numbers and NumPy scalars do not count."""
    kinds = [x.dtype for x in xs if hasattr(x, "dtype") and not isinstance(x, np.generic)]
    if not kinds:
        kinds = [x.dtype for x in xs if hasattr(x, "dtype")]
    floats = [k for k in kinds if k.kind in "fV"]
    return max(floats, key=lambda k: k.itemsize) if floats else np.dtype(np.float32)


def polynomial(x: Any, coefficients: Sequence[float]) -> Any:
    """c[0] + c[1] x + c[2] x^2 + ..., by Horner's rule."""
    total: Any = coefficients[-1]
    for c in coefficients[-2::-1]:
        total = total * x + c
    return total


def chebyshev(t: Any, coefficients: Sequence[float]) -> Any:
    """c[0] T0(t) + c[1] T1(t) + ... for -1 <= t <= 1, by Clenshaw's recurrence."""
    twice = 2 * t
    b0: Any = coefficients[-1]
    b1: Any = 0.0
    for c in coefficients[-2:0:-1]:
        b0, b1 = twice * b0 - b1 + c, b0
    return t * b0 - b1 + coefficients[0]


# B(2k), the Bernoulli numbers.
BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510,
             43867 / 798, -174611 / 330, 854513 / 138, -236364091 / 2730)
_STIRLING = tuple(b / ((2 * k) * (2 * k - 1)) for k, b in enumerate(BERNOULLI[:9], 1))


def bernoulli_series(x: Any) -> Any:
    """log(Gamma(x)) - ((x - 1/2) log(x) - x + log(2 pi) / 2), for x >= 8: Stirling's series."""
    return polynomial(1 / (x * x), _STIRLING) / x


def log1p_minus(xp: Any, m: Any) -> Any:
    """log(1 + m) - m, without the cancellation near 0.

    log(1 + m) = 2 atanh(r) with r = m / (2 + m), and 2 r - m = -m r.
    """
    small = xp.clip(m, -0.4, 0.4)
    r = small / (2 + small)
    w = r * r
    series = 2 * r * w * polynomial(w, tuple(1 / (2 * k + 3) for k in range(12))) - small * r
    return xp.where(xp.absolute(m) <= 0.4, series, xp.log1p(m) - m)
