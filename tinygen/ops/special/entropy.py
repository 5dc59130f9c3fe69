"""Functions with logarithms inside that are safe at their edges: xlogy, entr, logit, logaddexp."""

from __future__ import annotations

import math
from functools import wraps
from typing import Any

import numpy as np

from ...primitive import primitive
from ...tensor import Tensor
from ..activation import sigmoid
from ..elementwise import clip_p, equal, isinf, less_equal, log, logical_and, where

__all__ = ["entr", "logaddexp", "logaddexp2", "logit", "sinc", "spherical_bessel_j0", "xlog1py",
           "xlogy"]


def _quiet(fn: Any) -> Any:
    """0 log 0 and the like are replaced afterwards: NumPy need not warn."""
    @wraps(fn)
    def run(xp: Any, *xs: Any, **attrs: Any) -> Any:
        with np.errstate(all="ignore"):
            return fn(xp, *xs, **attrs)
    return run


@primitive(elementwise=True)
@_quiet
def xlogy(xp, x, y):
    """x log(y), and 0 where x is 0 (unless y is NaN)."""
    return xp.where((x == 0) & ~xp.isnan(y), 0, x * xp.log(y))
xlogy.vjp(
    lambda g, out, x, y: where(logical_and(equal(x, 0), less_equal(y, 0)), 0, xlogy(g, y)),
    lambda g, out, x, y: g * x / y)


@primitive(elementwise=True)
@_quiet
def xlog1py(xp, x, y):
    """x log(1 + y), and 0 where x is 0 (unless y is NaN)."""
    return xp.where((x == 0) & ~xp.isnan(y), 0, x * xp.log1p(y))
xlog1py.vjp(
    lambda g, out, x, y: where(logical_and(equal(x, 0), less_equal(y, -1)), 0, xlog1py(g, y)),
    lambda g, out, x, y: g * x / (y + 1))


@primitive(elementwise=True)
@_quiet
def entr(xp, x):
    """-x log(x), the summand of an entropy; 0 at 0, -inf below."""
    return xp.where(x == 0, 0, xp.where(x < 0, -math.inf, -x * xp.log(x))).astype(
        x.dtype if x.dtype.kind in "fV" else "float32")
entr.vjp(lambda g, out, x: g * (-1 - log(x)))


@primitive(elementwise=True, name="logit")
@_quiet
def logit_p(xp, x):
    """log(x / (1 - x)); close to 1/2 through log1p, which keeps its digits there."""
    near = xp.absolute(x - 0.5) < 0.25
    return xp.where(near, xp.log1p(xp.where(near, (2 * x - 1) / (1 - x), 0)),
                    xp.log(x) - xp.log1p(-x))
logit_p.vjp(lambda g, out, x: g / (x * (1 - x)))


def logit(x: Any, eps: float | None = None) -> Tensor:
    """The inverse of sigmoid, log(x / (1 - x)), with x limited to [eps, 1 - eps] if given."""
    return logit_p(x if eps is None else clip_p(x, low=eps, high=1 - eps))


def _shares(x, y):
    """The difference x - y, 0 where both are the same infinity."""
    tie = logical_and(equal(x, y), isinf(x))
    return where(tie, 0, x) - where(tie, 0, y)


@primitive(elementwise=True)
def logaddexp(xp, x, y):
    """log(exp(x) + exp(y)), without overflow."""
    return xp.logaddexp(x, y)
logaddexp.vjp(lambda g, out, x, y: g * sigmoid(_shares(x, y)),
              lambda g, out, x, y: g * sigmoid(_shares(y, x)))


@primitive(elementwise=True)
def logaddexp2(xp, x, y):
    """log2(2^x + 2^y), without overflow."""
    return xp.logaddexp2(x, y)
logaddexp2.vjp(lambda g, out, x, y: g * sigmoid(_shares(x, y) * math.log(2)),
               lambda g, out, x, y: g * sigmoid(_shares(y, x) * math.log(2)))


# -- sin(x) / x ---------------------------------------------------------------------------------


@primitive(elementwise=True, name="spherical_bessel_j0")
@_quiet
def spherical_bessel_j0_p(xp, x, *, order):
    """The derivative of `order` of sin(x) / x, smooth at 0.

    From x f = sin(x): x f^(n) + n f^(n-1) = sin^(n)(x) = sin(x + n pi/2); close to 0, where that
    loses digits, the Taylor series.
    """
    kind = x.dtype if x.dtype.kind in "fV" else np.dtype("float32")
    x = xp.asarray(x, dtype="float64")
    safe = xp.where(x == 0, 1, x)
    turns = (xp.sin(safe), xp.cos(safe), -xp.sin(safe), -xp.cos(safe))
    far = turns[0] / safe
    for n in range(1, order + 1):
        far = (turns[n % 4] - n * far) / safe
    limit = order + 2.0
    z = xp.clip(x, -limit, limit)
    near: Any = 0.0          # sin(x) / x = sum over k of (-1)^k x^(2k) / (2k + 1)!, differentiated
    for k in range(order // 2 + order % 2, order + 24):
        power = 2 * k - order
        near = near + (-1) ** k / ((2 * k + 1) * math.factorial(power)) * z ** power
    far = xp.where(xp.isinf(x), 0, far)
    return xp.where(xp.absolute(x) < limit, near, far).astype(kind)
spherical_bessel_j0_p.vjp(
    lambda g, out, x, order: g * spherical_bessel_j0_p(x, order=order + 1))


def spherical_bessel_j0(x: Any) -> Tensor:
    """sin(x) / x, and 1 at 0."""
    return spherical_bessel_j0_p(x, order=0)


def sinc(x: Any) -> Tensor:
    """sin(pi x) / (pi x), and 1 at 0; smooth there in every derivative."""
    return spherical_bessel_j0_p(x * math.pi, order=0)
