"""exp, log, tanh, erf, gelu and their relatives, written so that loops over them use vectors.

Each function takes a float32 or a float64 and is meant for the inside of a `@jit` loop. Ranges are
reduced and a polynomial does the rest; what others decide with branches is a choice between two
computed numbers. The bounds in the docstrings are in units in the last place (ulp) of the result,
and hold for every number: denormal ones, zeros with their sign, infinities and NaN included.
Products with x (silu, gelu, mish) may be off by x times the smallest number besides. Slopes, which
pass through 0, are within 4 ulp of the result plus 3 of 1. `tests/kernels/test_vecmath.py` measures
all of them against mpmath. The polynomials are mpmath's Chebyshev fits.

W. J. Cody and W. Waite, "Software Manual for the Elementary Functions", 1980, has the reductions;
P. T. P. Tang, "Table-driven implementation of the logarithm function", 1990, the form of log.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from .base import EXACT, inline
from .bits import (
    both,
    by_type,
    copysign,
    fabs,
    high_bits,
    like,
    multiply_add,
    polynomial,
    power_of_two,
    split,
    times_normal,
    times_two_to,
)

__all__ = ["elu", "erf", "exp", "expm1", "gelu", "gelu_slope", "gelu_tanh", "gelu_tanh_slope",
           "like", "log", "log1p", "log_sigmoid", "mish", "mish_slope", "sigmoid", "silu",
           "silu_slope", "softplus", "tanh"]

# -- exponentials -------------------------------------------------------------------------------

# log2(e); log(2) in two parts, whose first has trailing zeros, so that k times it is exact
_REDUCE = both((math.log2(math.e), 0.693359375, -2.12194440e-4, 1.5 * 2.0 ** 23),
               (math.log2(math.e), 6.93147180369123816490e-1, 1.90821492927058770002e-10,
                1.5 * 2.0 ** 52))
_EXP_RANGE = both((-104.0, 89.0), (-746.0, 710.0))     # beyond it: 0 and infinity
_EXPM1 = both(      # (exp(r) - 1 - r) / r^2 for |r| <= log(2) / 2, errors of exp 3e-9 and 1.4e-18
    (0.0013814585, 0.00836872336, 0.0416683887, 0.166665206, 0.499999934),
    (2.09146945603515916e-9, 2.51052276365517591e-8, 2.75572736248664763e-7,
     2.75572553746587421e-6, 0.0000248015873255621258, 0.000198412698748407686,
     0.00138888888888837442, 0.00833333333332612936, 0.0416666666666666698, 0.16666666666666671,
     0.5))
_EXP = both((*_EXPM1[0], 1.0, 1.0), (*_EXPM1[1], 1.0, 1.0))


@inline
def _limited(x, low, high):
    """x limited to [low, high]; NaN stays."""
    y = low if x < low else x
    return high if y > high else y


@inline
def _exp(y):
    """exp(y) of a y within _EXP_RANGE."""
    log2e, high, low, turn = by_type(y, _REDUCE)
    power = y * log2e + turn
    k = power - turn
    r = (y - k * high) - k * low
    return times_two_to(polynomial(r, by_type(y, _EXP)), power)


@inline
def exp(x):
    """e ** x within 1 ulp; denormal results are rounded correctly within that."""
    least, most = by_type(x, _EXP_RANGE)
    return _exp(_limited(x, least, most))


@inline
def _exp_down(x):
    """exp(-|x|)."""
    least, _ = by_type(x, _EXP_RANGE)
    y = -fabs(x)
    return _exp(least if y < least else y)


@inline
def _decay(x):
    """exp(-x^2) for x >= 0 within 2 ulp, however large x is.

    The square is taken in two parts: rounded to one number, an error of 1 ulp of 80 would be
    40 of the result.
    """
    log2e, high, low, turn = by_type(x, _REDUCE)
    a = high_bits(x)
    y = -(a * a)
    power = y * log2e + turn
    k = power - turn
    r = ((y - k * high) - k * low) - (x - a) * (x + a)
    return times_two_to(polynomial(r, by_type(x, _EXP)), power)


_EXPM1_RANGE = both((-30.0, 89.0, 1e-9), (-60.0, 710.0, 1e-17))


@inline
def expm1(x):
    """exp(x) - 1 within 2 ulp, near 0 too."""
    log2e, high, low, turn = by_type(x, _REDUCE)
    least, most, small = by_type(x, _EXPM1_RANGE)
    y = _limited(x, least, most)
    power = y * log2e + turn
    k = power - turn
    r = (y - k * high) - k * low
    half = like(x, 0.5)
    scale = power_of_two(power - like(x, 1))        # 2^k may overflow where the result does not
    p = r + r * r * polynomial(r, by_type(x, _EXPM1))
    y = scale * p + (scale - half)
    return x if fabs(x) < small else y + y


@inline
def sigmoid(x):
    """1 / (1 + exp(-x)) within 2.5 ulp, as small as exp(x) far below 0."""
    one = like(x, 1)
    e = _exp_down(x)
    return (e if x < like(x, 0) else one) / (one + e)


# 1.5 * 2^23 (2^52): added, it rounds; -2 log2(e); log(2) / 2 with fewer digits than above needs;
# the polynomial of expm1 for exp(-2 r)
_TANH = both((1.5 * 2.0 ** 23, 22.0, -2 * math.log2(math.e), 0.5 * math.log(2)),
             (1.5 * 2.0 ** 52, 45.0, -2 * math.log2(math.e), 0.5 * math.log(2)))
_TANH_EXPM1 = both(*(tuple(float(c) * -2 * (-2) ** (len(row) - 1 - i) for i, c in enumerate(row))
                     for row in _EXPM1))


@inline
def tanh(x):
    """The hyperbolic tangent within 3 ulp: h / (1 - h), with h = (1 - exp(-2 |x|)) / 2."""
    one, half = like(x, 1), like(x, 0.5)
    turn, most, factor, half_log2 = by_type(x, _TANH)
    a = fabs(x)
    a = most if a > most else a
    power = multiply_add(a, factor, turn)
    k = power - turn
    r = multiply_add(k, half_log2, a)
    scale = times_normal(one, power)
    p = multiply_add(r * r, polynomial(r, by_type(x, _TANH_EXPM1)), r)
    h = multiply_add(scale, p, half - half * scale)
    return copysign(h / (one - h), x)


@inline
def silu(x):
    """x * sigmoid(x) within 3.5 ulp."""
    return x * sigmoid(x)


@inline
def silu_slope(x):
    """The derivative of silu: s + x s (1 - s), with s = sigmoid(x)."""
    one = like(x, 1)
    e = _exp_down(x)
    below = x < like(x, 0)
    share = one / (one + e)
    s = (e if below else one) * share
    rest = (one if below else e) * share         # 1 - s without cancellation
    return s * (one + x * rest)


@inline
def elu(x, alpha):
    """x above 0, alpha * (exp(x) - 1) below."""
    return x if x > like(x, 0) else alpha * expm1(x)


# -- logarithms ---------------------------------------------------------------------------------

_LN2 = both((0.693359375, -2.12194440e-4),
            (6.93147180369123816490e-1, 1.90821492927058770002e-10))
_LOG = both(        # (log((1 + s) / (1 - s)) / s - 2) / z, z = s^2 <= 0.0295, error 1e-9 and 3e-16
    (0.233316145, 0.285507786, 0.400001222, 0.666666666),
    (0.146178071534173248, 0.153316117220550079, 0.181828924325368712, 0.222222110893794962,
     0.285714286262538376, 0.399999999998988905, 0.666666666666666971))


@inline
def _log_parts(f, k, correction):
    """k log(2) + log(1 + f) + correction, for 1 + f from sqrt(1/2) to sqrt(2)."""
    high, low = by_type(f, _LN2)
    s = f / (like(f, 2) + f)
    z = s * s
    half_square = like(f, 0.5) * f * f
    rest = s * (half_square + z * polynomial(z, by_type(f, _LOG)))
    return k * high - ((half_square - (rest + (k * low + correction))) - f)


@inline
def _log_limits(x, zero, y):
    """y, except where `zero` (the argument of the logarithm) has no finite one."""
    y = y if zero > like(x, 0) else like(x, math.nan)
    y = like(x, -math.inf) if zero == like(x, 0) else y
    return y if zero < like(x, math.inf) else x + x


@inline
def log(x):
    """The natural logarithm within 1 ulp, of denormal numbers too."""
    m, k = split(x)
    return _log_limits(x, x, _log_parts(m - like(x, 1), k, like(x, 0)))


@inline
def log1p(x):
    """log(1 + x) within 2 ulp, near 0 too."""
    one, small = like(x, 1), like(x, 1e-20)
    u = one + x
    m, k = split(u)
    lost = one - (u - x) if x > one else x - (u - one)     # what rounding took from 1 + x
    y = _log_parts(m - one, k, lost / u)
    return x if fabs(x) < small else _log_limits(x, u, y)


_RISE = both(       # (log(1 + e) - e) / e^2 for e from 0 to 1, error 5e-9 and 6e-17
    (-0.00331846964, 0.0202045719, -0.0576644199, 0.106805531, -0.153553949, 0.196954001,
     -0.249585873, 0.333305113, -0.499999328),
    (0.0000349649999951775279, -0.000387011110858030387, 0.0020308462484097632,
     -0.0067614194988498022, 0.0161774482920837739, -0.0300062489220241489,
     0.0457183288742196421, -0.060245718496051139, 0.072060527838905025,
     -0.0816358369873179002, 0.0904403840581878174, -0.0998994097833761753,
     0.111094697271044939, -0.124998021936408679, 0.142856973681769039,
     -0.166666656967697302, 0.199999999658224018, -0.249999999993596206,
     0.333333333333285468, -0.49999999999999994))


@inline
def softplus(x):
    """log(1 + exp(x)) within 2.5 ulp."""
    zero = like(x, 0)
    e = _exp_down(x)
    return (x if x > zero else zero) + (e + e * e * polynomial(e, by_type(x, _RISE)))


@inline
def log_sigmoid(x):
    """log(sigmoid(x)) within 2.5 ulp."""
    return -softplus(-x)


# -- the normal distribution --------------------------------------------------------------------

_ERF = both(        # erf(a) / a - 1 in a^2 <= 1, error 1.3e-9 and 8e-18
    (7.87587506e-5, -0.000801686429, 0.00518908742, -0.026854212, 0.112835947, -0.376126267,
     0.128379166),
    (-7.79589882700214224e-10, 1.37200645467776856e-8, -1.62084838018717059e-7,
     1.64474247033173624e-6, -0.0000149247369074196603, 0.000120552949048397079,
     -0.000854832597538969208, 0.00522397760711642273, -0.0268661706432377704,
     0.112837916709450063, -0.376126389031835404, 0.128379167095512567))
_TAIL = both(       # exp(a^2) erfc(a) / t in u = 2 t - 1, t = 2 / (2 + a), error 9e-9 and 5e-17
    (4.42884147e-5, -3.67643616e-5, -0.000304719086, 0.000431040022, 0.00153384704,
     -0.00324373307, -0.0107533109, 0.0182217491, 0.139735946, 0.343580313, 0.510791353),
    (-9.74311575491408142e-10, -1.89831857179007993e-9, 1.26830803160456759e-8,
     6.44359792504665299e-9, -6.81807659906556887e-8, 3.62016832609387957e-8,
     1.76301815171054866e-7, -3.26547497920038591e-7, -1.13196135095213927e-8,
     1.03085658380961523e-6, -1.81670790247911873e-6, -5.77822298179878042e-7,
     8.05865461413892915e-6, -0.0000108429100583954416, -0.0000170740251517084809,
     0.0000722341675923938921, -0.0000171857818523117683, -0.000331536573085982607,
     0.000418648036929319064, 0.00154530601373183425, -0.00323959253412977848,
     -0.0107553309440170101, 0.018221115753444061, 0.139736046278014349, 0.343580342206905284,
     0.510791352621011526))
_FAR = both((10.5,), (27.5,))          # erfc is 0 from here on
# From here on exp(-x^2 / 2) is no normal number; 1.5 * 2^23 (2^52): added, it rounds; -log2(e) / 2;
# (2^f - 1) / f for |f| <= 1/2, errors of 2^f 2e-9 and 6e-18.
_NORMAL = both((13.1, 1.5 * 2.0 ** 23, -0.5 * math.log2(math.e)),
               (37.5, 1.5 * 2.0 ** 52, -0.5 * math.log2(math.e)))
_EXP2 = both(
    (0.000153533613, 0.00133988746, 0.00961843736, 0.0555033247, 0.240226479, 0.693147203),
    (4.45496059818651839e-10, 7.0725859492692237e-9, 1.01780624458457735e-7,
     1.32154425879216897e-6, 0.0000152527338298361184, 0.000154035304417360502,
     0.00133335581464169353, 0.00961812910760688853, 0.0555041086648215943, 0.240226506959100982,
     0.693147180559945309))
_MILLS = ((4.2017782e-07, 0.0129484004, 0.101160757, 0.327575707, 0.499999979),
          (0.0325013235, 0.252778017, 0.861700322, 1.45303336, 1))
_ABOVE, _BELOW = (tuple(map(np.float32, row)) for row in _MILLS)


@inline
def _scaled_tail(a):
    """exp(a^2) erfc(a) for a >= 0."""
    one, two = like(a, 1), like(a, 2)
    t = two / (two + a)
    return t * polynomial(two * t - one, by_type(a, _TAIL))


def _mills(a: Any, bell: Any) -> Any:
    """bell * exp(a^2 / 2) Phi(-a) for a >= 0.

    For float32 a ratio of polynomials, error 4e-8 times 1 + a^2 / 8. It also makes up for what
    float32 takes from log2(e) / 2 in `bell`.
    """
    if isinstance(a, np.float32):
        return bell * polynomial(a, _ABOVE) / polynomial(a, _BELOW)
    return 0.5 * bell * _scaled_tail(a * math.sqrt(0.5))


@overload(_mills, jit_options={"forceinline": True, "fastmath": EXACT})
def _(a, bell):
    if a == types.float32:
        return lambda a, bell: bell * polynomial(a, _ABOVE) / polynomial(a, _BELOW)
    return lambda a, bell: 0.5 * bell * _scaled_tail(a * math.sqrt(0.5))


@inline
def erf(x):
    """The error function within 2 ulp."""
    one = like(x, 1)
    far, = by_type(x, _FAR)
    a = fabs(x)
    a = far if a > far else a
    b = one if a > one else a
    near = b + b * polynomial(b * b, by_type(x, _ERF))
    tail = one - _decay(a) * _scaled_tail(a)
    return copysign(tail if a > one else near, x)


@inline
def _normal(x):
    """(Phi(x), exp(-x^2 / 2)): the normal distribution function and its bell.

    Within 4 + x^2 / 2 ulp for x < 0, as the square is rounded, and 2 above; 0 below -13 (-37).
    """
    far, turn, factor = by_type(x, _NORMAL)
    a = fabs(x)
    inside = not a > far
    a = a if inside else far
    square = a * a
    power = multiply_add(square, factor, turn)
    k = power - turn
    f = multiply_add(square, factor, -k)
    bell = times_normal(like(x, 1) + f * polynomial(f, by_type(x, _EXP2)), power)
    bell = bell if inside else like(x, 0)
    tail = _mills(a, bell)
    return (tail if x < like(x, 0) else like(x, 1) - tail), bell


@inline
def gelu(x):
    """x Phi(x) within 5.5 ulp, and x^2 / 2 more below 0, where 1 + erf has no digits left."""
    phi, _ = _normal(x)
    return x * phi


@inline
def gelu_slope(x):
    """The derivative of gelu: Phi(x) + x exp(-x^2 / 2) / sqrt(2 pi)."""
    phi, bell = _normal(x)
    far, _, _ = by_type(x, _NORMAL)
    return phi + _limited(x, -far, far) * bell * like(x, 1 / math.sqrt(2 * math.pi))


_CUBE = 0.044715
_DOUBLE = 2 * math.sqrt(2 / math.pi)


@inline
def gelu_tanh(x):
    """0.5 x (1 + tanh(u)) = x sigmoid(2 u), with u = sqrt(2 / pi) (x + 0.044715 x^3).

    Within 4 ulp plus one of 1: far below 0, rounding u takes digits from the result.
    """
    return x * sigmoid(like(x, _DOUBLE) * (x + like(x, _CUBE) * x * x * x))


@inline
def gelu_tanh_slope(x):
    """The derivative of gelu_tanh: s + x s (1 - s) 2 u', with s = sigmoid(2 u)."""
    one = like(x, 1)
    square = x * x
    v = like(x, _DOUBLE) * (x + like(x, _CUBE) * square * x)
    e = _exp_down(v)
    below = v < like(x, 0)
    share = one / (one + e)
    s = (e if below else one) * share
    rest = (one if below else e) * share
    return s * (one + x * rest * like(x, _DOUBLE) * (one + like(x, 3 * _CUBE) * square))


# -- mish ---------------------------------------------------------------------------------------


@inline
def mish(x):
    """x tanh(softplus(x)) within 5 ulp.

    With w = exp(x), tanh(log(1 + w)) = w (w + 2) / (w^2 + 2 w + 2).
    """
    one, two = like(x, 1), like(x, 2)
    e = _exp_down(x)
    n = e * (e + two) if x < like(x, 0) else one + two * e
    d = two if x < like(x, 0) else two * e * e
    return x * (n / (n + d))


@inline
def mish_slope(x):
    """The derivative of mish: t + x (1 - t^2) sigmoid(x), with t = tanh(softplus(x))."""
    one, two = like(x, 1), like(x, 2)
    e = _exp_down(x)
    below = x < like(x, 0)
    n = e * (e + two) if below else one + two * e
    d = two if below else two * e * e
    share = one / (n + d)
    t = n * share
    rest = d * share                                  # 1 - t
    return t + x * rest * (one + t) * ((e if below else one) / (one + e))
