"""The error function's kin: erfc, erfcx, erfinv, and the normal distribution function."""

from __future__ import annotations

import math
from typing import Any

from ...primitive import primitive
from ..activation import _erf
from ..elementwise import exp
from .common import chebyshev, in_double
from .tables import ERFCX

__all__ = ["erfc", "erfcinv", "erfcx", "erfinv", "log_ndtr", "ndtr", "ndtri"]

_SPLIT = float(1 << 27) + 1


def _exp_minus_square(xp: Any, x: Any, factor: float = 1.0) -> Any:
    """exp(-factor x^2): x is split in two halves, because rounding x^2 would cost digits."""
    x = xp.clip(x, -1e3, 1e3)
    head = x * _SPLIT
    head = head - (head - x)
    return xp.exp(-factor * (head * head)) * xp.exp(-factor * ((x - head) * (x + head)))


def erfcx_positive(x: Any) -> Any:
    """exp(x^2) erfc(x) for x >= 0, one Chebyshev sum.

    M. Shepherd and J. Laframboise, "Chebyshev Approximation of (1 + 2x) exp(x^2) erfc x",
    Math. Comp. 36, 1981.
    """
    return chebyshev(1 - 7.5 / (x + 3.75), ERFCX) / (1 + 2 * x)


def erfc_core(xp: Any, x: Any) -> Any:
    """1 - erf(x), with all digits where it is small."""
    tail = _exp_minus_square(xp, x) * erfcx_positive(xp.absolute(x))
    return xp.where(x < 0, 2 - tail, tail)


def _ndtr(xp: Any, x: Any) -> Any:
    tail = 0.5 * _exp_minus_square(xp, x, 0.5) * erfcx_positive(xp.absolute(x) * math.sqrt(0.5))
    return xp.where(x < 0, tail, 1 - tail)


def _log_ndtr(xp: Any, x: Any) -> Any:
    left = xp.minimum(x, 0)
    tail = xp.log(0.5 * erfcx_positive(-left * math.sqrt(0.5))) - 0.5 * left * left
    return xp.where(x < -1, tail, xp.log1p(-_ndtr(xp, -x)))


@primitive(elementwise=True)
@in_double
def erfc(xp, x):
    """The complementary error function, 1 - erf(x), with all digits for large x."""
    return erfc_core(xp, x)
erfc.vjp(lambda g, out, x: g * (-2 / math.sqrt(math.pi)) * exp(-x * x))


@primitive(elementwise=True)
@in_double
def erfcx(xp, x):
    """The scaled complementary error function, exp(x^2) erfc(x)."""
    right = erfcx_positive(xp.absolute(x))
    return xp.where(x < 0, 2 * _exp_minus_square(xp, x, -1.0) - right, right)
erfcx.vjp(lambda g, out, x: g * (2 * x * out - 2 / math.sqrt(math.pi)))


@primitive(elementwise=True)
@in_double
def ndtr(xp, x):
    """The standard normal distribution function: the area of the bell curve left of x."""
    return _ndtr(xp, x)
ndtr.vjp(lambda g, out, x: g * exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi)))


@primitive(elementwise=True)
@in_double
def log_ndtr(xp, x):
    """log(ndtr(x)), without underflow for very negative x."""
    return _log_ndtr(xp, x)
log_ndtr.vjp(lambda g, out, x: g * (math.sqrt(2 / math.pi) / erfcx(x * -math.sqrt(0.5))))


# -- inverses -----------------------------------------------------------------------------------


def _first_guess(xp: Any, log_one_minus: Any) -> Any:
    """|erfinv(y)| to three digits from log(1 - y^2).

    S. Winitzki, "A handy approximation for the error function and its inverse", 2008.
    """
    a = 0.147
    h, r = 2 / (math.pi * a) + 0.5 * log_one_minus, -log_one_minus / a
    root = xp.sqrt(h * h + r)
    return xp.sqrt(xp.where(h > 0, r / (root + xp.absolute(h)), root - h))


def _erfinv_centre(xp: Any, y: Any) -> Any:
    """The u with erf(u) = y for |y| <= 0.96: Halley's steps, which cube the error."""
    u = xp.copysign(_first_guess(xp, xp.log1p(-y * y)), y)
    for _ in range(2):
        f = (_erf(xp, u) - y) * xp.exp(u * u) * (0.5 * math.sqrt(math.pi))
        u = u - f / (1 + u * f)
    return u


def _ndtri_tail(xp: Any, p: Any) -> Any:
    """The x with ndtr(x) = p for 0 < p <= 0.02: Halley's steps on the logarithm."""
    target = xp.log(p)
    x = -math.sqrt(2) * _first_guess(xp, math.log(4) + target + xp.log1p(-p))
    for _ in range(3):
        f = _log_ndtr(xp, x) - target
        h = math.sqrt(2 / math.pi) / erfcx_positive(-x * math.sqrt(0.5))    # d log_ndtr / dx
        x = x - 2 * f / (2 * h + f * (h + x))
    return xp.where(p > 0, x, -math.inf)


@primitive(elementwise=True)
@in_double
def erfinv(xp, y):
    """The inverse of erf on (-1, 1); infinite at the ends, NaN outside."""
    size = xp.absolute(y)
    tail = -math.sqrt(0.5) * _ndtri_tail(xp, xp.clip(0.5 * (1 - size), 0, 0.02))
    out = xp.where(size < 0.96, _erfinv_centre(xp, xp.clip(y, -0.96, 0.96)), xp.copysign(tail, y))
    return xp.where(size <= 1, out, math.nan)
erfinv.vjp(lambda g, out, y: g * (0.5 * math.sqrt(math.pi)) * exp(out * out))


def _ndtri(xp: Any, p: Any) -> Any:
    tail = _ndtri_tail(xp, xp.clip(xp.minimum(p, 1 - p), 0, 0.02))
    centre = math.sqrt(2) * _erfinv_centre(xp, xp.clip(2 * (p - 0.5), -0.96, 0.96))
    out = xp.where(p < 0.02, tail, xp.where(p > 0.98, -tail, centre))
    return xp.where((p >= 0) & (p <= 1), out, math.nan)


@primitive(elementwise=True)
@in_double
def ndtri(xp, p):
    """The inverse of ndtr, the normal quantile: -inf at 0, inf at 1, NaN outside [0, 1]."""
    return _ndtri(xp, p)
ndtri.vjp(lambda g, out, p: g * math.sqrt(2 * math.pi) * exp(0.5 * out * out))


@primitive(elementwise=True)
@in_double
def erfcinv(xp, y):
    """The inverse of erfc on (0, 2)."""
    return -math.sqrt(0.5) * _ndtri(xp, 0.5 * y)
erfcinv.vjp(lambda g, out, y: g * (-0.5 * math.sqrt(math.pi)) * exp(out * out))
