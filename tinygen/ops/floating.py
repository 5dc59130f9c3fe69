"""What floating point numbers have beside their value: signs, steps, remainders, NaN, infinity."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..primitive import primitive
from ..tensor import Tensor
from . import elementwise as ew
from .reduce import all as all_true
from .shape import as_tensor

__all__ = ["allclose", "around", "array_equal", "array_equiv", "cbrt", "copysign", "deg2rad",
           "degrees", "divmod", "fabs", "fix", "float_power", "fmax", "fmin", "fmod", "frexp",
           "heaviside", "hypot", "isclose", "isneginf", "isposinf", "ldexp", "lerp", "modf",
           "nan_to_num", "nextafter", "rad2deg", "radians", "rint", "round", "signbit"]


# -- signs and steps ----------------------------------------------------------------------------


@primitive(elementwise=True)
def copysign(xp, x, y):
    """|x| with the sign of y; the sign of a zero counts."""
    return xp.copysign(x, y)
copysign.vjp(lambda g, out, x, y: g * ew.sign(x) * ew.sign(out))


@primitive(elementwise=True)
def signbit(xp, x):
    """True where x is negative, -0.0 included."""
    return xp.signbit(x)


@primitive(elementwise=True)
def nextafter(xp, x, y):
    """The floating point number next to x on the way to y."""
    return xp.nextafter(x, y)
nextafter.vjp(lambda g, out, x, y: ew.where(ew.not_equal(x, y), g, 0))


@primitive(elementwise=True)
def heaviside(xp, x, y):
    """0 where x < 0, y where x = 0, 1 where x > 0."""
    return xp.heaviside(x, y)


@primitive(name="frexp", outputs=2, differentiable=1)
def frexp_p(xp, x):
    """x = mantissa * 2^exponent with the mantissa in [1/2, 1)."""
    return xp.frexp(x)
frexp_p.vjp(lambda g, outs, x: ldexp(g[0], -outs[1]))


def frexp(x: Any) -> tuple[Tensor, Tensor]:
    """(mantissa, exponent) of x = mantissa * 2^exponent, the mantissa in [1/2, 1)."""
    return frexp_p(x)


@primitive(name="ldexp", elementwise=True)
def ldexp_p(xp, x, exponent):
    """x * 2^exponent for whole exponents, exactly."""
    return xp.ldexp(x, exponent)
ldexp_p.vjp(lambda g, out, x, exponent: ldexp_p(g, exponent))


def ldexp(x: Any, exponent: Any) -> Any:
    """x * 2^exponent; a floating exponent receives a gradient too."""
    kind = getattr(exponent, "dtype", None)
    if (kind is not None and kind.kind in "fV") or isinstance(exponent, float):
        return x * ew.exp2(exponent)
    return ldexp_p(x, exponent)


# -- remainders, lengths, angles -----------------------------------------------------------------


@primitive(elementwise=True)
def fmod(xp, x, y):
    """x - y * trunc(x / y): the remainder with the sign of x (C's fmod)."""
    return xp.fmod(x, y)
fmod.vjp(lambda g, out, x, y: g, lambda g, out, x, y: -g * ew.trunc(x / y))


@primitive(elementwise=True)
def hypot(xp, x, y):
    """sqrt(x^2 + y^2) without overflow."""
    return xp.hypot(x, y)
hypot.vjp(lambda g, out, x, y: g * (x / out), lambda g, out, x, y: g * (y / out))


def deg2rad(x: Any) -> Tensor:
    """Degrees as radians: x * pi / 180."""
    return ew.multiply(x, math.pi / 180)


def rad2deg(x: Any) -> Tensor:
    """Radians as degrees: x * 180 / pi."""
    return ew.multiply(x, 180 / math.pi)


radians, degrees = deg2rad, rad2deg


def lerp(start: Any, end: Any, weight: Any) -> Tensor:
    """Linear interpolation, start + weight * (end - start): `start` at weight 0, `end` at 1."""
    start = start if isinstance(start, Tensor) else Tensor(start)
    gap = ew.subtract(end, start)
    if isinstance(weight, (int, float)):     # from the nearer end: exact at both
        return start + gap * weight if weight < 0.5 else end - gap * (1 - weight)
    return ew.where(ew.less(weight, 0.5), start + gap * weight, end - gap * (1 - weight))


# -- NaN and infinity ----------------------------------------------------------------------------


@primitive(elementwise=True)
def fmax(xp, x, y):
    """The larger of x and y; a NaN gives way to a number. Of equal values x has the gradient."""
    return xp.fmax(x, y)
fmax.vjp(lambda g, out, x, y: ew.where(_first_wins(x, y, ew.greater_equal), g, 0),
         lambda g, out, x, y: ew.where(_first_wins(x, y, ew.greater_equal), 0, g))


@primitive(elementwise=True)
def fmin(xp, x, y):
    """The smaller of x and y; a NaN gives way to a number. Of equal values x has the gradient."""
    return xp.fmin(x, y)
fmin.vjp(lambda g, out, x, y: ew.where(_first_wins(x, y, ew.less_equal), g, 0),
         lambda g, out, x, y: ew.where(_first_wins(x, y, ew.less_equal), 0, g))


def _first_wins(x: Any, y: Any, compare: Any) -> Any:
    return ew.logical_or(compare(x, y), ew.isnan(y))


def isposinf(x: Any) -> Tensor:
    """True where x is +inf."""
    return ew.equal(x, math.inf)


def isneginf(x: Any) -> Tensor:
    """True where x is -inf."""
    return ew.equal(x, -math.inf)


@primitive(name="nan_to_num", elementwise=True)
def nan_to_num_p(xp, x, *, nan, posinf, neginf):
    """x with NaN and the infinities replaced by numbers."""
    return xp.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)
nan_to_num_p.vjp(lambda g, out, x, nan, posinf, neginf: ew.where(ew.isfinite(x), g, 0))


def nan_to_num(x: Any, nan: float = 0.0, posinf: float | None = None,
               neginf: float | None = None) -> Tensor:
    """`x` with NaN and the infinities replaced, by 0 and the largest numbers of its type."""
    return nan_to_num_p(x, nan=nan, posinf=posinf, neginf=neginf)


def isclose(x: Any, y: Any, rtol: float = 1e-5, atol: float = 1e-8,
            equal_nan: bool = False) -> Tensor:
    """True where |x - y| <= atol + rtol |y|; infinities are close to themselves."""
    finite = ew.logical_and(ew.isfinite(x), ew.isfinite(y))
    near = ew.less_equal(ew.absolute(ew.subtract(_numbers(x), _numbers(y))),
                         ew.add(atol, ew.multiply(rtol, ew.absolute(_numbers(y)))))
    close = ew.logical_or(ew.equal(x, y), ew.logical_and(finite, near))
    return ew.logical_or(close, ew.logical_and(ew.isnan(x), ew.isnan(y))) if equal_nan else close


def _numbers(x: Any) -> Any:
    """0 in place of infinities and NaN, so that their differences make no new ones."""
    return ew.where(ew.isfinite(x), x, 0)


def allclose(x: Any, y: Any, rtol: float = 1e-5, atol: float = 1e-8,
             equal_nan: bool = False) -> bool:
    """Are all elements close, |x - y| <= atol + rtol |y|?"""
    return bool(all_true(isclose(x, y, rtol, atol, equal_nan)))


def array_equal(x: Any, y: Any) -> bool:
    """Do both have one shape and equal elements?"""
    x, y = (as_tensor(v) for v in (x, y))
    return x.shape == y.shape and bool(all_true(ew.equal(x, y)))


def array_equiv(x: Any, y: Any) -> bool:
    """Are all elements equal after broadcasting?"""
    try:
        return bool(all_true(ew.equal(x, y)))
    except ValueError:
        return False


# -- rounding and powers under NumPy's names ------------------------------------------------------


def round(x: Any, decimals: int = 0) -> Tensor:
    """The nearest number with so many decimals; halves go to the even neighbour."""
    return ew.round_(x, decimals=decimals)


around = round


def rint(x: Any) -> Tensor:
    """The nearest whole number; halves go to the even one."""
    return ew.round_(x, decimals=0)


def fix(x: Any) -> Tensor:
    """The next whole number towards zero."""
    return ew.trunc(x)


def fabs(x: Any) -> Tensor:
    """|x|, as a floating point number."""
    return ew.absolute(ew.multiply(x, 1.0))


def divmod(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    """(floor_divide(x, y), remainder(x, y))."""
    return ew.floor_divide(x, y), ew.remainder(x, y)


def modf(x: Any) -> tuple[Tensor, Tensor]:
    """(the part after the point, the whole part), both with the sign of x."""
    whole = ew.trunc(x)
    return ew.subtract(x, whole), whole


@primitive(elementwise=True)
def cbrt(xp, x):
    """The cube root, of negative numbers too."""
    return xp.cbrt(x)
cbrt.vjp(lambda g, out, x: g / (3 * out * out))


def float_power(x: Any, y: Any) -> Tensor:
    """x ** y in float64."""
    wide = [v.astype(np.float64) if isinstance(v, Tensor) else Tensor(v, dtype=np.float64)
            for v in (x, y)]
    return ew.power(*wide)
