"""The incomplete gamma and beta functions, and how their quantiles move with the parameters."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import Any

from ...primitive import primitive
from ..elementwise import exp, log1p
from .common import bernoulli_series, in_double, log1p_minus, polynomial
from .entropy import xlogy
from .error import erfc_core
from .gamma import betaln, betaln_core, digamma_core, lgamma, lgamma_core, lgamma_one_plus

__all__ = ["betainc", "gammainc", "gammaincc"]

EPS = 4e-16
STEPS = 20_000    # a bound on the sums below: they take some 9 sqrt(a) terms near x = a


# -- three ways to sum the gamma function's tails -----------------------------------------------


def _density(xp: Any, a: Any, x: Any) -> Any:
    """x^a exp(-x) / Gamma(a), without large terms that cancel."""
    big = xp.maximum(a, 10)
    m = (x - big) / big
    bend = xp.where(m < -0.4, xp.log(x / big) - m, log1p_minus(xp, m))
    far = xp.sqrt(big / (2 * math.pi)) * xp.exp(big * bend - bernoulli_series(big))
    return xp.where(a < 10, xp.exp(a * xp.log(x) - x - lgamma_core(xp, a)), far)


def _series(xp: Any, a: Any, x: Any) -> tuple[Any, Any]:
    """S = 1 + x/(a+1) + x^2/((a+1)(a+2)) + ... and dS/da; P(a, x) = density S / a."""
    term = total = xp.ones_like(x)
    lost = slope = xp.zeros_like(x)                     # d log(term) / da and dS/da
    for n in range(1, STEPS):
        term = term * (x / (a + n))
        lost = lost - 1 / (a + n)
        total, slope = total + term, slope + term * lost
        if n % 8 == 0 and not bool((term * (1 - lost) > EPS * total).any()):
            break
    return total, slope


def _fraction(xp: Any, a: Any, x: Any) -> tuple[Any, Any]:
    """F = 1/(x+1-a - 1(1-a)/(x+3-a - 2(2-a)/(x+5-a - ...))) and dF/da; Q(a, x) = density F.

    Numerators and denominators by their recurrence, scaled to a denominator of 1 at each step.
    """
    b = x + 1 - a
    top0, top1 = xp.zeros_like(x), 1 / b                # of two steps, over the last denominator
    low0, low1 = 1 / b, xp.ones_like(x)
    dtop0, dtop1 = xp.zeros_like(x), xp.zeros_like(x)
    dlow0, dlow1 = xp.zeros_like(x), -1 / b
    value, slope, going = top1, -dlow1 * top1, x == x
    for j in range(1, STEPS):
        b, c = x + (2 * j + 1) - a, -j * (j - a)        # db/da = -1, dc/da = j
        low = b * low1 + c * low0
        dlow = b * dlow1 - low1 + c * dlow0 + j * low0
        top = b * top1 + c * top0
        dtop = b * dtop1 - top1 + c * dtop0 + j * top0
        scale = 1 / low
        top0, low0, dtop0, dlow0 = (v * scale for v in (top1, low1, dtop1, dlow1))
        top1, low1, dtop1, dlow1 = top * scale, xp.ones_like(x), dtop * scale, dlow * scale
        change, turn = top1 - value, dtop1 - top1 * dlow1 - slope
        value, slope = value + going * change, slope + going * turn
        # rounding adds up in the recurrence, so what has settled is left alone
        going = going & (xp.absolute(change) + xp.absolute(turn)
                         > 2.5 * EPS * (value + xp.absolute(slope)))
        if j % 8 == 0 and not bool(going.any()):
            break
    return value, slope


@lru_cache
def _temme_table(orders: int = 8, terms: int = 18) -> tuple[tuple[float, ...], ...]:
    """The Taylor coefficients d[k][n] of c_k(eta), exact in rational arithmetic, then rounded.

    m - log(1 + m) = eta^2 / 2 gives m as a power series a[n] eta^n; d[0] are the coefficients of
    1/m - 1/eta, and d[k][n] = (-1)^k g[k] d[0][n] + (n + 2) d[k-1][n+2], with the coefficients g
    of Gamma(a) sqrt(a / 2 pi) e^a a^-a in powers of 1/a.
    """
    count = terms + 2 * orders + 3
    a = [Fraction(0), Fraction(1)]
    for n in range(3, count + 2):
        known = sum((a[i] * a[n - i] for i in range(2, n - 1)), Fraction(0))
        a.append(a[n - 2] / n - known / 2)
    inverse = [Fraction(1)]
    for n in range(1, count):
        inverse.append(-sum((a[i + 1] * inverse[n - i] for i in range(1, n + 1)), Fraction(0)))
    stirling = {1: Fraction(1, 12), 3: Fraction(-1, 360), 5: Fraction(1, 1260),
                7: Fraction(-1, 1680)}
    g = [Fraction(1)]
    for k in range(1, orders):
        known = sum((j * s * g[k - j] for j, s in stirling.items() if j <= k), Fraction(0))
        g.append(known / k)
    rows = [inverse[1:]]
    for k in range(1, orders):
        last = rows[-1]
        rows.append([(-1) ** k * g[k] * rows[0][n] + (n + 2) * last[n + 2]
                     for n in range(len(last) - 2)])
    return tuple(tuple(float(d) for d in row[:terms]) for row in rows)


def _uniform(xp: Any, a: Any, x: Any) -> tuple[Any, Any, Any]:
    """Q(a, x), P(a, x) and dx/da at fixed P, for a >= 200 and |x - a| <= 0.3 a.

    Q = erfc(eta sqrt(a/2)) / 2 + exp(-a eta^2/2) / sqrt(2 pi a) * sum of c_k(eta) a^-k.
    N. Temme, "The asymptotic expansion of the incomplete gamma functions", SIAM J. Math. Anal.
    10, 1979.
    """
    m = (x - a) / a
    excess = -log1p_minus(xp, m)
    eta = xp.copysign(xp.sqrt(2 * excess), m)
    g, g_a, dg = 0.0, 0.0, 0.0                # the sum, d/da of its powers, d/d(eta)
    for k, row in enumerate(_temme_table()):
        c = polynomial(eta, row) * a ** -k
        g, g_a = g + c, g_a - k * c / a
        dg = dg + polynomial(eta, tuple(n * d for n, d in enumerate(row))[1:]) * a ** -k
    rest = xp.exp(-a * excess) / xp.sqrt(2 * math.pi * a) * g
    y = eta * xp.sqrt(a / 2)
    log_ratio, safe = xp.log1p(m), xp.where(eta == 0, 1, eta)
    d_eta = xp.where(eta == 0, -1 / a, -m / (a * safe))
    inner = (xp.where(eta == 0, 1, log_ratio / safe) + log_ratio * g - g / (2 * a)
             + g_a + dg * d_eta)
    slope = x / a * xp.exp(bernoulli_series(a)) * inner
    return 0.5 * erfc_core(xp, y) + rest, 0.5 * erfc_core(xp, -y) - rest, slope


def _small(xp: Any, a: Any, x: Any) -> Any:
    """Q(a, x) for x <= 1.1 where P is close to 1: 1 - x^a / Gamma(1 + a) * (1 - ...)."""
    total, term = 0.0, xp.ones_like(x)
    for n in range(1, 26):
        term = term * (-x / n)
        total = total + term * (a / (a + n))
    low = xp.minimum(a, 0.5)
    log_scale = a * xp.log(x) - xp.where(a <= 0.5, lgamma_one_plus(xp, low),
                                         lgamma_core(xp, a + 1))
    return -xp.expm1(log_scale) - xp.exp(log_scale) * total


def _near(xp: Any, a: Any, x: Any) -> Any:
    return (a >= 200) & (xp.absolute(x - a) <= 0.3 * a)


def _gamma_tails(xp: Any, a: Any, x: Any) -> tuple[Any, Any]:
    """P(a, x) and Q(a, x), each with its digits where it is small."""
    p, q = xp.full_like(x, math.nan), xp.full_like(x, math.nan)
    fits = (a > 0) & (x > 0) & (x < math.inf) & (a < math.inf)
    near = fits & _near(xp, a, x)
    tiny = fits & (x <= 1.1) & xp.where(x <= 0.5, a < -0.4 / xp.log(x), a < x * 1.1)
    upper = fits & ~near & ~tiny & (x > 1.1) & (x > a)
    lower = fits & ~near & ~tiny & ~upper
    if bool(near.any()):
        q[near], p[near], _ = _uniform(xp, a[near], x[near])
    if bool(tiny.any()):
        q[tiny] = _small(xp, a[tiny], x[tiny])
        p[tiny] = _density(xp, a[tiny], x[tiny]) * _series(xp, a[tiny], x[tiny])[0] / a[tiny]
    if bool(upper.any()):
        q[upper] = _density(xp, a[upper], x[upper]) * _fraction(xp, a[upper], x[upper])[0]
        p[upper] = 1 - q[upper]
    if bool(lower.any()):
        p[lower] = (_density(xp, a[lower], x[lower]) * _series(xp, a[lower], x[lower])[0]
                    / a[lower])
        q[lower] = 1 - p[lower]
    valid = (a >= 0) & (x >= 0)
    all_below = valid & ~fits & ((a < x) | ((a == 0) & (x > 0)))       # P = 1
    none_below = valid & ~fits & ((x == 0) | (a == math.inf)) & ~((a == 0) & (x == 0))
    none_below &= ~((a == math.inf) & (x == math.inf))
    p = xp.where(none_below, 0, xp.where(all_below, 1, p))
    return p, xp.where(none_below, 1, xp.where(all_below, 0, q))


@primitive(elementwise=True)
@in_double
def gammainc(xp, a, x):
    """The regularised lower incomplete gamma function, P(a, x): the gamma distribution's cdf.

    P(a, x) = 1 / Gamma(a) * integral of t^(a-1) exp(-t) from 0 to x.
    """
    return _gamma_tails(xp, a, x)[0]


@primitive(elementwise=True)
@in_double
def gammaincc(xp, a, x):
    """The regularised upper incomplete gamma function, Q(a, x) = 1 - P(a, x)."""
    return _gamma_tails(xp, a, x)[1]


@primitive(elementwise=True)
@in_double
def gamma_quantile_slope(xp, a, x):
    """dx/da at fixed P(a, x): how a standard gamma sample moves with its concentration.

    Implicit differentiation: dx/da = -(dP/da) / (dP/dx). M. Figurnov, S. Mohamed and A. Mnih,
    "Implicit Reparameterization Gradients", NeurIPS 2018.
    """
    out = xp.where((a > 0) & (x == 0), 0, xp.full_like(x, math.nan))
    fits = (a > 0) & (x > 0) & (x < math.inf) & (a < math.inf)
    near = fits & _near(xp, a, x)
    upper = fits & ~near & (x > a + 1)
    lower = fits & ~near & ~upper
    if bool(near.any()):
        out[near] = _uniform(xp, a[near], x[near])[2]
    if bool(upper.any()):
        b, y = a[upper], x[upper]
        value, slope = _fraction(xp, b, y)
        out[upper] = y * ((xp.log(y) - digamma_core(xp, b)) * value + slope)
    if bool(lower.any()):
        b, y = a[lower], x[lower]
        total, slope = _series(xp, b, y)
        out[lower] = -y / b * ((xp.log(y) - digamma_core(xp, b + 1)) * total + slope)
    return out


def _refuse(name: str, message: str) -> Any:
    def rule(*args, **attrs):
        raise NotImplementedError(f"[{name}] {message}")
    return rule


gamma_quantile_slope.vjp(*[_refuse("gammainc", "second derivatives with respect to a, and those "
                                   "of a gamma sample, are not implemented")] * 2)


def _gamma_pdf(a, x):
    return exp(xlogy(a - 1, x) - x - lgamma(a))


gammainc.vjp(lambda g, out, a, x: -g * gamma_quantile_slope(a, x) * _gamma_pdf(a, x),
             lambda g, out, a, x: g * _gamma_pdf(a, x))
gammaincc.vjp(lambda g, out, a, x: g * gamma_quantile_slope(a, x) * _gamma_pdf(a, x),
              lambda g, out, a, x: -g * _gamma_pdf(a, x))


# -- the incomplete beta function ---------------------------------------------------------------


def _beta_series(xp: Any, a: Any, b: Any, x: Any, falling: bool) -> tuple[Any, Any]:
    """S = sum of (a+b)(a+b+1).../((a+1)(a+2)...) x^n, and its derivative to a (or to b).

    I_x(a, b) = x^a (1-x)^b / (a B(a, b)) S. With `falling` the derivative is to a, whose factors
    below the line it counts; without, to b.
    """
    term = total = xp.ones_like(x)
    gained = slope = xp.zeros_like(x)
    for n in range(STEPS):
        term = term * ((a + b + n) / (a + 1 + n) * x)
        gained = gained + (1 / (a + b + n) - (1 / (a + 1 + n) if falling else 0))
        total, slope = total + term, slope + term * gained
        if n % 8 == 7 and not bool((term * (1 + xp.absolute(gained)) > EPS * total).any()):
            break
    return total, slope


@primitive(elementwise=True)
@in_double
def betainc(xp, a, b, x):
    """The regularised incomplete beta function I_x(a, b): the beta distribution's cdf.

    I_x(a, b) = 1 / B(a, b) * integral of t^(a-1) (1-t)^(b-1) from 0 to x.
    """
    valid = (a > 0) & (b > 0) & (x >= 0) & (x <= 1)
    out = xp.where(valid, xp.where(x >= 1, 1.0, 0.0), math.nan)
    fits = valid & (x > 0) & (x < 1) & (a < math.inf) & (b < math.inf)
    lower = fits & (x <= (a + 1) / (a + b + 2))
    upper = fits & ~lower
    if bool(lower.any()):
        p, q, z = a[lower], b[lower], x[lower]
        out[lower] = _beta_density(xp, p, q, z) / p * _beta_series(xp, p, q, z, True)[0]
    if bool(upper.any()):
        p, q, z = a[upper], b[upper], x[upper]
        out[upper] = 1 - _beta_density(xp, p, q, z) / q * _beta_series(xp, q, p, 1 - z, True)[0]
    return out


def _beta_density(xp: Any, a: Any, b: Any, x: Any) -> Any:
    """x^a (1-x)^b / B(a, b)."""
    return xp.exp(a * xp.log(x) + b * xp.log1p(-x) - betaln_core(xp, a, b))


@primitive(elementwise=True)
@in_double
def beta_quantile_slope(xp, a, b, x):
    """dx/da at fixed I_x(a, b): how a beta sample moves with its first concentration."""
    out = xp.where((a > 0) & (b > 0) & ((x == 0) | (x == 1)), 0, xp.full_like(x, math.nan))
    fits = (a > 0) & (b > 0) & (x > 0) & (x < 1)
    lower = fits & (x <= (a + 1) / (a + b + 2))
    upper = fits & ~lower
    if bool(lower.any()):
        p, q, z = a[lower], b[lower], x[lower]
        total, slope = _beta_series(xp, p, q, z, True)
        drift = xp.log(z) - digamma_core(xp, p + 1) + digamma_core(xp, p + q)
        out[lower] = -z * (1 - z) / p * (drift * total + slope)
    if bool(upper.any()):
        p, q, z = a[upper], b[upper], x[upper]
        total, slope = _beta_series(xp, q, p, 1 - z, False)
        drift = xp.log(z) - digamma_core(xp, p) + digamma_core(xp, p + q)
        out[upper] = z * (1 - z) / q * (drift * total + slope)
    return out


beta_quantile_slope.vjp(*[_refuse("betainc", "second derivatives with respect to a and b, and "
                                  "those of a beta sample, are not implemented")] * 3)


def _beta_pdf(a, b, x):
    return exp(xlogy(a - 1, x) + (b - 1) * log1p(-x) - betaln(a, b))


betainc.vjp(
    lambda g, out, a, b, x: -g * beta_quantile_slope(a, b, x) * _beta_pdf(a, b, x),
    lambda g, out, a, b, x: g * beta_quantile_slope(b, a, 1 - x) * _beta_pdf(a, b, x),
    lambda g, out, a, b, x: g * _beta_pdf(a, b, x))
