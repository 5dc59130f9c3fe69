"""The gamma function and its kin: lgamma, digamma, polygamma, zeta, beta."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from ...primitive import primitive
from ...tensor import Tensor
from ..elementwise import equal, exp, floor, greater, logical_and, remainder, sin, where
from ..floating import copysign
from .common import BERNOULLI, bernoulli_series, in_double, polynomial

__all__ = ["beta", "betaln", "digamma", "gamma", "gammasgn", "lgamma", "multigammaln", "polygamma",
           "rgamma", "zeta"]

# -- the logarithm of the gamma function --------------------------------------------------------

# lgamma(2 + e) = c[0] e + c[1] e^2 + ...: 1 - Euler's constant, then (-1)^k (zeta(k) - 1) / k.
_AROUND_TWO = (
    0.42278433509846713, 0.3224670334241132, -0.0673523010531981, 0.020580808427784546,
    -0.007385551028673986, 0.0028905103307415234, -0.001192753911703261, 0.0005096695247430425,
    -0.00022315475845357939, 9.945751278180853e-05, -4.492623673813314e-05, 2.050721277567069e-05,
    -9.439488275268397e-06, 4.374866789907488e-06, -2.039215753801366e-06, 9.55141213040742e-07,
    -4.492469198764566e-07, 2.1207184805554665e-07, -1.0043224823968099e-07,
    4.7698101693639804e-08, -2.2711094608943164e-08, 1.0838659214896955e-08,
    -5.183475041970047e-09, 2.4836745438024785e-09, -1.1921401405860912e-09, 5.731367241678862e-10,
    -2.7595228851242334e-10, 1.330476437424449e-10, -6.4229645638381e-11,
)


def lgamma_near_two(e: Any) -> Any:
    """lgamma(2 + e) for |e| <= 1/2, exact to the last digits at the zero e = 0 too."""
    return e * polynomial(e, _AROUND_TWO)


def lgamma_one_plus(xp: Any, e: Any) -> Any:
    """lgamma(1 + e) for -1/2 <= e <= 1/2, without rounding 1 + e."""
    return lgamma_near_two(e) - xp.log1p(e)


def lgamma_core(xp: Any, x: Any) -> Any:
    """log|Gamma(x)|: a Taylor series around 2 after steps down, Stirling's series from 8 on."""
    p = xp.where(x < 0, 1 - x, x)
    large = xp.maximum(p, 8)
    out = (large * (xp.log(large) - 1) - 0.5 * xp.log(large) + 0.5 * math.log(2 * math.pi)
           + bernoulli_series(large))
    middle = xp.clip(p, 1.5, 8)
    steps = xp.floor(middle - 1.5)
    product = 1.0
    for k in range(1, 7):
        product = product * xp.where(k <= steps, middle - k, 1)
    out = xp.where(p < 8, lgamma_near_two(middle - steps - 2) + xp.log(product), out)
    near = xp.clip(p - 1, -0.5, 0.5)
    out = xp.where(p <= 1.5, lgamma_one_plus(xp, near), out)
    low = xp.clip(p, 0, 0.5)
    out = xp.where(p < 0.5, lgamma_one_plus(xp, low) - xp.log(low), out)
    out = xp.where(xp.isinf(p), math.inf, out)
    reflected = xp.log(math.pi / xp.absolute(xp.sin(math.pi * (x - xp.round(x))))) - out
    pole = (x <= 0) & (x == xp.floor(x))
    return xp.where(xp.isnan(x), x, xp.where(pole, math.inf, xp.where(x < 0, reflected, out)))


@primitive(elementwise=True)
@in_double
def lgamma(xp, x):
    """log|Gamma(x)|, the logarithm of the absolute value of the gamma function; inf at poles."""
    return lgamma_core(xp, x)
lgamma.vjp(lambda g, out, x: g * digamma(x))


@primitive(elementwise=True)
@in_double
def gamma(xp, x):
    """The gamma function, (x - 1)! for whole x; NaN at negative integers."""
    whole = x == xp.floor(x)
    odd = xp.remainder(xp.floor(x), 2) == 1
    out = xp.exp(lgamma_core(xp, x)) * xp.where((x < 0) & odd, -1, 1)
    exact = whole & (x > 0) & (x < 24)          # products of small integers are exact
    out = xp.where(exact, xp.round(out), out)
    return xp.where(x == 0, xp.copysign(math.inf, x), xp.where(whole & (x < 0), math.nan, out))
gamma.vjp(lambda g, out, x: g * out * digamma(x))

# -- its derivatives ----------------------------------------------------------------------------

_ROOT, _ROOT_REST = 1.4616321449683622, 9.549995429965697e-17   # digamma(_ROOT + _ROOT_REST) = 0
# digamma(root + e) = c[0] e + c[1] e^2 + ...: (-1)^(k+1) zeta(k + 1, root).
_AROUND_ROOT = (
    0.9676722454476212, -0.4427631689835921, 0.258499760955651, -0.16394270544240652,
    0.10782405069126237, -0.07219956125645471, 0.04880428816414311, -0.03316112647484736,
    0.022597648232218104, -0.01542476590494896, 0.010538791616612175, -0.007204534386356869,
    0.004926781395729853, -0.003369801655439328, 0.002305126326734928, -0.0015769367714301972,
    0.0010788252019162967, -0.0007380709389960052, 0.000504953265834602, -0.0003454680251063077,
    0.00023635601564027053, -0.00016170622091974803, 0.0001106337276874741, -7.569179582195066e-05,
    5.178575795222081e-05, -3.5430070947659604e-05,
)
_DIGAMMA = tuple(b / (2 * k) for k, b in enumerate(BERNOULLI[:9], 1))


def digamma_core(xp: Any, x: Any) -> Any:
    """Steps up to 10, then the asymptotic series; a Taylor series around the positive root."""
    p = xp.where(x < 0, 1 - x, x)
    e = xp.clip((p - _ROOT) - _ROOT_REST, -0.3, 0.3)
    q, total = p, xp.zeros_like(p)
    for _ in range(10):
        low = q < 10
        total = total - xp.where(low, 1 / q, 0)
        q = xp.where(low, q + 1, q)
    w = 1 / (q * q)
    out = total + xp.log(q) - 0.5 / q - w * polynomial(w, _DIGAMMA)
    out = xp.where(xp.absolute(p - _ROOT) < 0.3, e * polynomial(e, _AROUND_ROOT), out)
    out = xp.where(p == math.inf, p, out)
    reflected = out - math.pi / xp.tan(math.pi * (x - xp.round(x)))
    pole = (x < 0) & (x == xp.floor(x))
    out = xp.where(pole, math.nan, xp.where(x < 0, reflected, out))
    return xp.where(x == 0, -xp.copysign(math.inf, x), out)


@primitive(elementwise=True)
@in_double
def digamma(xp, x):
    """The derivative of log(Gamma(x)); -inf at 0, NaN at negative integers."""
    return digamma_core(xp, x)
digamma.vjp(lambda g, out, x: g * polygamma_p(x, n=1))

_EULER_MACLAURIN = tuple(b / math.factorial(2 * k) for k, b in enumerate(BERNOULLI, 1))


def _hurwitz(xp: Any, s: Any, q: Any) -> Any:
    """sum((q + k)^-s) for s > 1, q > 0: ten terms, then the Euler-Maclaurin formula."""
    total = q ** -s
    for k in range(1, 10):
        total = total + (q + k) ** -s
    w, t = q + 10, xp.minimum(s, 1e4)
    power = w ** -t
    total = total + w ** (1 - t) / (s - 1) + 0.5 * power
    term = t * power / w
    for j, c in enumerate(_EULER_MACLAURIN, 1):
        total = total + c * term
        term = term * ((t + (2 * j - 1)) * (t + 2 * j)) / (w * w)
    return xp.where(q == math.inf, 0, total)


def zeta_core(xp: Any, s: Any, q: Any) -> Any:
    """The Hurwitz zeta function; to the left of 0 (whole s only) it is folded over.

    With f the fractional part of q < 0: the terms (q + k)^-s below 0 are those of 1 - f up to -q,
    with the sign (-1)^s.
    """
    f = q - xp.floor(q)
    right = _hurwitz(xp, s, xp.where(q > 0, q, f))
    if xp is not np or (q < 0).any():           # a GPU is not waited for
        sign = xp.where(xp.remainder(s, 2) == 1, -1, 1)
        below = _hurwitz(xp, s, 1 - f) - _hurwitz(xp, s, 1 - xp.minimum(q, 0))
        right = xp.where(q < 0, right + sign * below, right)
        right = xp.where((q < 0) & (s != xp.floor(s)), math.nan, right)
    right = xp.where((q <= 0) & (q == xp.floor(q)), math.inf, right)
    right = xp.where(s > 1, right, xp.where(s == 1, math.inf, math.nan))
    return xp.where(xp.isnan(s) | xp.isnan(q), math.nan, right)


@primitive(elementwise=True, name="zeta")
@in_double
def zeta_p(xp, x, q):
    """The Hurwitz zeta function, sum over k >= 0 of (q + k)^-x, for x > 1."""
    return zeta_core(xp, x, q)


def _no_slope(g, out, x, q):
    raise NotImplementedError("[zeta] the derivative with respect to x is not implemented; detach "
                              "x (the derivative with respect to q is -x * zeta(x + 1, q))")


zeta_p.vjp(_no_slope, lambda g, out, x, q: -g * x * zeta_p(x + 1, q))


def zeta(x: Any, q: Any = 1.0) -> Tensor:
    """The zeta function of Riemann (q = 1) or Hurwitz: sum over k >= 0 of (q + k)^-x, x > 1.

    NaN for x < 1, inf at x = 1 and at q = 0, -1, ... Gradients flow to q alone.
    """
    return zeta_p(x, q)


@primitive(elementwise=True, name="polygamma")
@in_double
def polygamma_p(xp, x, *, n):
    """The n-th derivative of digamma, n >= 1: (-1)^(n+1) n! zeta(n + 1, x)."""
    scale = math.factorial(n) if n < 171 else math.inf
    return (scale if n % 2 else -scale) * zeta_core(xp, xp.full_like(x, n + 1), x)
polygamma_p.vjp(lambda g, out, x, n: g * polygamma_p(x, n=n + 1))


def polygamma(n: int, x: Any) -> Tensor:
    """The n-th derivative of digamma: polygamma(0, x) is digamma, polygamma(1, x) trigamma."""
    order = operator.index(n)
    if order < 0:
        raise ValueError(f"[polygamma] n must not be negative, got {n}")
    return polygamma_p(x, n=order) if order else digamma(x)


# -- the beta function --------------------------------------------------------------------------


def betaln_core(xp: Any, a: Any, b: Any) -> Any:
    """log|B(a, b)|; for large arguments through Stirling's series, whose large terms cancel."""
    low, high = xp.minimum(a, b), xp.maximum(a, b)
    plain = lgamma_core(xp, a) + (lgamma_core(xp, b) - lgamma_core(xp, a + b))
    h = xp.maximum(high, 10)
    small = xp.maximum(low, 0)                 # lgamma(h) - lgamma(small + h), term by term:
    step = (bernoulli_series(h) - bernoulli_series(small + h)
            - (h - 0.5) * xp.log1p(small / h) + small)
    mixed = lgamma_core(xp, low) + step - small * xp.log(small + h)
    s = xp.maximum(low, 10)
    both = (0.5 * math.log(2 * math.pi) - 0.5 * xp.log(s) + bernoulli_series(s)
            + step - small - small * xp.log1p(h / s))
    return xp.where((high < 10) | ~(low > 0), plain, xp.where(low < 10, mixed, both))


@primitive(elementwise=True)
@in_double
def betaln(xp, a, b):
    """log|B(a, b)| = lgamma(a) + lgamma(b) - lgamma(a + b)."""
    return betaln_core(xp, a, b)
betaln.vjp(lambda g, out, a, b: g * (digamma(a) - digamma(a + b)),
           lambda g, out, a, b: g * (digamma(b) - digamma(a + b)))


def beta(a: Any, b: Any) -> Tensor:
    """The beta function Gamma(a) Gamma(b) / Gamma(a + b), for a, b > 0."""
    return exp(betaln(a, b))


def multigammaln(a: Any, d: int) -> Tensor:
    """The logarithm of the d-variate gamma function (PyTorch's `mvlgamma`).

    d (d - 1) / 4 log(pi) + sum over i < d of lgamma(a - i / 2), for a > (d - 1) / 2.
    """
    d = operator.index(d)
    if d < 1:
        raise ValueError(f"[multigammaln] d must be at least 1, got {d}")
    total = lgamma(a)
    for i in range(1, d):
        total = total + lgamma(a - 0.5 * i)
    return total + d * (d - 1) / 4 * math.log(math.pi)


def gammasgn(x: Any) -> Tensor:
    """The sign of the gamma function: 1 above 0, alternating below; nan at the poles there.

    At 0 it is the sign of the zero.
    """
    x = x if isinstance(x, Tensor) else Tensor(x)
    below = floor(x)
    sign = 1 - 2 * remainder(below, 2)
    pole = logical_and(equal(x, below), greater(0, x))
    return where(equal(x, 0), copysign(1 + x, x),
                 where(greater(x, 0), 1, where(pole, math.nan, sign)))


def rgamma(x: Any) -> Tensor:
    """1 / Gamma(x), smooth everywhere: Gamma(1 - x) sin(pi x) / pi below 1/2, 0 at the poles."""
    x = x if isinstance(x, Tensor) else Tensor(x)
    low = greater(0.5, x)
    below = where(low, x, 0)
    nearest = floor(below + 0.5)
    wave = sin(math.pi * (below - nearest)) * (1 - 2 * remainder(nearest, 2))
    zero = equal(wave, 0)
    reflected = gamma(where(logical_and(zero, greater(-150, below)), 1, 1 - below)) * wave
    return where(low, reflected / math.pi, exp(-lgamma(where(low, 1, x))))
