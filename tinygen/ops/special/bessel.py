"""Bessel functions of order 0 and 1: Chebyshev sums close to 0, and of 1/x further out."""

from __future__ import annotations

import math
from typing import Any

from ...primitive import primitive
from ..elementwise import equal, sign, where
from . import tables as t
from .common import chebyshev, in_double

__all__ = ["bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1", "i0", "i0e", "i1", "i1e", "k0",
           "k0e", "k1", "k1e"]


def _over(x):
    """x, and 1 where x is 0: what 1/x is multiplied with is 0 there, or is replaced."""
    return where(equal(x, 0), 1, x)


# -- modified, first kind: grow like exp(x) -----------------------------------------------------


def _i0e(xp: Any, x: Any) -> Any:
    a = xp.absolute(x)
    near, far = xp.minimum(a, 8), xp.maximum(a, 8)
    return xp.where(a <= 8, chebyshev(near / 4 - 1, t.I0_NEAR),
                    chebyshev(16 / far - 1, t.I0_FAR) / xp.sqrt(far))


def _i1e(xp: Any, x: Any) -> Any:
    a = xp.absolute(x)
    near, far = xp.minimum(a, 8), xp.maximum(a, 8)
    out = xp.where(a <= 8, near * chebyshev(near / 4 - 1, t.I1_NEAR),
                   chebyshev(16 / far - 1, t.I1_FAR) / xp.sqrt(far))
    return xp.copysign(out, x)


def _grown(xp: Any, x: Any, scaled: Any) -> Any:
    """scaled * exp(|x|), in two steps: exp(|x|) overflows before the product does."""
    half = xp.exp(0.5 * xp.absolute(x))
    return xp.where(xp.isinf(x), xp.copysign(math.inf, scaled), scaled * half * half)


@primitive(elementwise=True)
@in_double
def i0e(xp, x):
    """exp(-|x|) I0(x), the scaled modified Bessel function of order 0."""
    return _i0e(xp, x)
i0e.vjp(lambda g, out, x: g * (i1e(x) - sign(x) * out))


@primitive(elementwise=True)
@in_double
def i1e(xp, x):
    """exp(-|x|) I1(x), the scaled modified Bessel function of order 1."""
    return _i1e(xp, x)
i1e.vjp(lambda g, out, x: g * (i0e(x) - out * sign(x) - where(equal(x, 0), 0.5, out / _over(x))))


@primitive(elementwise=True)
@in_double
def i0(xp, x):
    """The modified Bessel function of the first kind, order 0."""
    return _grown(xp, x, _i0e(xp, x))
i0.vjp(lambda g, out, x: g * i1(x))


@primitive(elementwise=True)
@in_double
def i1(xp, x):
    """The modified Bessel function of the first kind, order 1."""
    return _grown(xp, x, _i1e(xp, x))
i1.vjp(lambda g, out, x: g * (i0(x) - where(equal(x, 0), 0.5, out / _over(x))))


# -- modified, second kind: fall like exp(-x) ---------------------------------------------------


def _k(xp: Any, x: Any, order: int, scaled: bool) -> Any:
    near, far = xp.clip(x, 0, 2), xp.maximum(x, 2)
    w = near * near / 2 - 1
    i = _grown(xp, near, _i1e(xp, near) if order else _i0e(xp, near))
    if order:
        close = chebyshev(w, t.K1_NEAR) / near + xp.log(near / 2) * i
    else:
        close = chebyshev(w, t.K0_NEAR) - xp.log(near / 2) * i
    away = chebyshev(4 / far - 1, t.K1_FAR if order else t.K0_FAR) / xp.sqrt(far)
    close, away = (close * xp.exp(near), away) if scaled else (close, away * xp.exp(-far))
    out = xp.where(x <= 2, close, away)
    return xp.where(x == 0, math.inf, xp.where(x < 0, math.nan, out))


@primitive(elementwise=True)
@in_double
def k0(xp, x):
    """The modified Bessel function of the second kind, order 0, for x > 0."""
    return _k(xp, x, 0, False)
k0.vjp(lambda g, out, x: -g * k1(x))


@primitive(elementwise=True)
@in_double
def k1(xp, x):
    """The modified Bessel function of the second kind, order 1, for x > 0."""
    return _k(xp, x, 1, False)
k1.vjp(lambda g, out, x: -g * (k0(x) + out / x))


@primitive(elementwise=True)
@in_double
def k0e(xp, x):
    """exp(x) K0(x)."""
    return _k(xp, x, 0, True)
k0e.vjp(lambda g, out, x: g * (out - k1e(x)))


@primitive(elementwise=True)
@in_double
def k1e(xp, x):
    """exp(x) K1(x)."""
    return _k(xp, x, 1, True)
k1e.vjp(lambda g, out, x: g * (out - k0e(x) - out / x))


# -- oscillating --------------------------------------------------------------------------------


def _wave(xp: Any, x: Any, order: int, second: bool) -> Any:
    """J or Y from x = 8 on: P cos(a) - Q/x sin(a), P sin(a) + Q/x cos(a), over sqrt(pi x / 2).

    With a = x - pi/4 - order pi/2 written out in sin(x) and cos(x): x is not rounded once more.
    """
    x = xp.maximum(x, 8)
    w = 128 / (x * x) - 1
    p = chebyshev(w, t.P1_FAR if order else t.P0_FAR)
    q = chebyshev(w, t.Q1_FAR if order else t.Q0_FAR) / x
    c, s = xp.cos(x), xp.sin(x)
    cos_a, sin_a = (s - c, -(s + c)) if order else (c + s, s - c)      # times sqrt(2)
    out = p * sin_a + q * cos_a if second else p * cos_a - q * sin_a
    return xp.where(x == math.inf, 0, out / xp.sqrt(math.pi * x))


def _j(xp: Any, x: Any, order: int) -> Any:
    a = xp.absolute(x)
    near = xp.minimum(a, 8)
    close = chebyshev(near * near / 32 - 1, t.J1_NEAR if order else t.J0_NEAR)
    out = xp.where(a <= 8, close * near if order else close, _wave(xp, a, order, False))
    return xp.where(x < 0, -out, out) if order else out


def _y(xp: Any, x: Any, order: int) -> Any:
    near = xp.clip(x, 0, 8)
    w, log = near * near / 32 - 1, xp.log(near)
    if order:
        close = near * chebyshev(w, t.Y1_NEAR) + 2 / math.pi * (log * _j(xp, near, 1) - 1 / near)
    else:
        close = chebyshev(w, t.Y0_NEAR) + 2 / math.pi * log * _j(xp, near, 0)
    out = xp.where(x <= 8, close, _wave(xp, x, order, True))
    return xp.where(x == 0, -math.inf, xp.where(x < 0, math.nan, out))


@primitive(elementwise=True)
@in_double
def bessel_j0(xp, x):
    """The Bessel function of the first kind, order 0."""
    return _j(xp, x, 0)
bessel_j0.vjp(lambda g, out, x: -g * bessel_j1(x))


@primitive(elementwise=True)
@in_double
def bessel_j1(xp, x):
    """The Bessel function of the first kind, order 1."""
    return _j(xp, x, 1)
bessel_j1.vjp(lambda g, out, x: g * (bessel_j0(x) - where(equal(x, 0), 0.5, out / _over(x))))


@primitive(elementwise=True)
@in_double
def bessel_y0(xp, x):
    """The Bessel function of the second kind, order 0, for x > 0."""
    return _y(xp, x, 0)
bessel_y0.vjp(lambda g, out, x: -g * bessel_y1(x))


@primitive(elementwise=True)
@in_double
def bessel_y1(xp, x):
    """The Bessel function of the second kind, order 1, for x > 0."""
    return _y(xp, x, 1)
bessel_y1.vjp(lambda g, out, x: g * (bessel_y0(x) - out / x))
