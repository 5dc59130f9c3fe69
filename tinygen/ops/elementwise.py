"""Elementwise arithmetic and mathematics: each op with its derivative beside it.

Rules may return a gradient in the broadcast shape: the walker sums it down. Constants come from
`math`, because NumPy's scalars would promote float32 to float64.
"""

from __future__ import annotations

import math
from typing import Any

from ..primitive import primitive

# -- arithmetic ---------------------------------------------------------------------------------


@primitive(elementwise=True, direct="add")
def add(xp, x, y):
    """x + y."""
    return xp.add(x, y)
add.vjp(lambda g, out, x, y: g, lambda g, out, x, y: g)


@primitive(elementwise=True, direct="subtract")
def subtract(xp, x, y):
    """x - y."""
    return xp.subtract(x, y)
subtract.vjp(lambda g, out, x, y: g, lambda g, out, x, y: -g)


@primitive(elementwise=True, direct="multiply")
def multiply(xp, x, y):
    """x * y."""
    return xp.multiply(x, y)
multiply.vjp(lambda g, out, x, y: times(g, y), lambda g, out, x, y: times(g, x))


LARGE = 1 << 16     # elements for which a product is worth asking a kernel


def times(g: Any, x: Any) -> Any:
    """g * x in a rule: by the primitive where it is large, as bare arrays know no kernels."""
    return multiply(g, x) if g.size >= LARGE else g * x


@primitive(elementwise=True, direct="divide")
def divide(xp, x, y):
    """x / y; integers give float32."""
    return xp.divide(x, y)
divide.vjp(lambda g, out, x, y: g / y, lambda g, out, x, y: -g * out / y)


@primitive(elementwise=True, direct="floor_divide")
def floor_divide(xp, x, y):
    """The floor of x / y; its derivative is zero."""
    return xp.floor_divide(x, y)


@primitive(elementwise=True, direct="remainder")
def remainder(xp, x, y):
    """x - y * floor(x / y), with the sign of y."""
    return xp.remainder(x, y)
remainder.vjp(lambda g, out, x, y: g, lambda g, out, x, y: -g * floor_divide(x, y))


@primitive(elementwise=True, direct="power")
def power(xp, x, y):
    """x ** y. The gradient to y is y * log(x), taken as 0 where x is 0."""
    return xp.power(x, y)
power.vjp(
    lambda g, out, x, y: g * y * power(x, where(equal(y, 0), 1, y - 1) if hasattr(y, "shape")
                                       else (y - 1 if y else 1)),
    lambda g, out, x, y: g * out * log(where(greater(x, 0), x, 1)),
)


@primitive(elementwise=True, direct="square")
def square(xp, x):
    """x * x."""
    return xp.square(x)
square.vjp(lambda g, out, x: 2 * g * x)


@primitive(elementwise=True, direct="negative")
def negative(xp, x):
    """-x."""
    return xp.negative(x)
negative.vjp(lambda g, out, x: -g)


@primitive(elementwise=True, direct="positive")
def positive(xp, x):
    """+x: a new node with the same value."""
    return xp.positive(x)
positive.vjp(lambda g, out, x: g)


@primitive(elementwise=True)
def reciprocal(xp, x):
    """1 / x."""
    return xp.divide(1, x)
reciprocal.vjp(lambda g, out, x: -g * out * out)


@primitive(elementwise=True, direct="absolute")
def absolute(xp, x):
    """|x|; the subgradient at 0 is 0."""
    return xp.absolute(x)
absolute.vjp(lambda g, out, x: g * sign(x))


@primitive(elementwise=True, direct="sign")
def sign(xp, x):
    """-1, 0 or 1."""
    return xp.sign(x)


# -- rounding: the derivative is zero almost everywhere -----------------------------------------


@primitive(elementwise=True, direct="floor")
def floor(xp, x):
    """The largest integer not above x."""
    return xp.floor(x)


@primitive(elementwise=True, direct="ceil")
def ceil(xp, x):
    """The smallest integer not below x."""
    return xp.ceil(x)


@primitive(elementwise=True, direct="trunc")
def trunc(xp, x):
    """The integer part of x."""
    return xp.trunc(x)


@primitive(elementwise=True, name="round")
def round_(xp, x, *, decimals=0):
    """x rounded to `decimals` places, halves to even."""
    return xp.round(x, decimals)


# -- exponentials and roots ---------------------------------------------------------------------


@primitive(elementwise=True, direct="exp")
def exp(xp, x):
    """e ** x."""
    return xp.exp(x)
exp.vjp(lambda g, out, x: times(g, out))


@primitive(elementwise=True, direct="expm1")
def expm1(xp, x):
    """exp(x) - 1, exact near 0."""
    return xp.expm1(x)
expm1.vjp(lambda g, out, x: g * (out + 1))


@primitive(elementwise=True, direct="exp2")
def exp2(xp, x):
    """2 ** x."""
    return xp.exp2(x)
exp2.vjp(lambda g, out, x: g * out * math.log(2))


@primitive(elementwise=True, direct="log")
def log(xp, x):
    """The natural logarithm."""
    return xp.log(x)
log.vjp(lambda g, out, x: divide(g, x) if g.size >= LARGE else g / x)


@primitive(elementwise=True, direct="log1p")
def log1p(xp, x):
    """log(1 + x), exact near 0."""
    return xp.log1p(x)
log1p.vjp(lambda g, out, x: g / (1 + x))


@primitive(elementwise=True, direct="log2")
def log2(xp, x):
    """The logarithm to base 2."""
    return xp.log2(x)
log2.vjp(lambda g, out, x: g / (x * math.log(2)))


@primitive(elementwise=True, direct="log10")
def log10(xp, x):
    """The logarithm to base 10."""
    return xp.log10(x)
log10.vjp(lambda g, out, x: g / (x * math.log(10)))


@primitive(elementwise=True, direct="sqrt")
def sqrt(xp, x):
    """The square root."""
    return xp.sqrt(x)
sqrt.vjp(lambda g, out, x: g * 0.5 / out)


@primitive(elementwise=True)
def rsqrt(xp, x):
    """1 / sqrt(x)."""
    return xp.divide(1, xp.sqrt(x))
rsqrt.vjp(lambda g, out, x: -0.5 * g * out * out * out)


# -- trigonometric and hyperbolic functions, and their inverses ---------------------------------


@primitive(elementwise=True, direct="sin")
def sin(xp, x):
    """The sine of x radians."""
    return xp.sin(x)
sin.vjp(lambda g, out, x: g * cos(x))


@primitive(elementwise=True, direct="cos")
def cos(xp, x):
    """The cosine of x radians."""
    return xp.cos(x)
cos.vjp(lambda g, out, x: -g * sin(x))


@primitive(elementwise=True, direct="tan")
def tan(xp, x):
    """The tangent of x radians."""
    return xp.tan(x)
tan.vjp(lambda g, out, x: g * (1 + out * out))


@primitive(elementwise=True, direct="arcsin")
def asin(xp, x):
    """The arc sine, in radians."""
    return xp.arcsin(x)
asin.vjp(lambda g, out, x: g * rsqrt(1 - x * x))


@primitive(elementwise=True, direct="arccos")
def acos(xp, x):
    """The arc cosine, in radians."""
    return xp.arccos(x)
acos.vjp(lambda g, out, x: -g * rsqrt(1 - x * x))


@primitive(elementwise=True, direct="arctan")
def atan(xp, x):
    """The arc tangent, in radians."""
    return xp.arctan(x)
atan.vjp(lambda g, out, x: g / (1 + x * x))


@primitive(elementwise=True, direct="arctan2")
def atan2(xp, y, x):
    """The angle of the point (x, y), in radians from -pi to pi."""
    return xp.arctan2(y, x)
atan2.vjp(lambda g, out, y, x: g * x / (x * x + y * y),
          lambda g, out, y, x: -g * y / (x * x + y * y))


@primitive(elementwise=True, direct="sinh")
def sinh(xp, x):
    """The hyperbolic sine."""
    return xp.sinh(x)
sinh.vjp(lambda g, out, x: g * cosh(x))


@primitive(elementwise=True, direct="cosh")
def cosh(xp, x):
    """The hyperbolic cosine."""
    return xp.cosh(x)
cosh.vjp(lambda g, out, x: g * sinh(x))


@primitive(elementwise=True, direct="tanh")
def tanh(xp, x):
    """The hyperbolic tangent."""
    return xp.tanh(x)
tanh.vjp(lambda g, out, x: tanh_grad(g, out))


@primitive(elementwise=True)
def tanh_grad(xp, g, y):
    """g (1 - y^2): the gradient of tanh in terms of its result."""
    return g * (1 - y * y)
tanh_grad.vjp(lambda h, out, g, y: tanh_grad(h, y), lambda h, out, g, y: -2 * h * g * y)


@primitive(elementwise=True, direct="arcsinh")
def asinh(xp, x):
    """The inverse hyperbolic sine."""
    return xp.arcsinh(x)
asinh.vjp(lambda g, out, x: g * rsqrt(1 + x * x))


@primitive(elementwise=True, direct="arccosh")
def acosh(xp, x):
    """The inverse hyperbolic cosine, for x >= 1."""
    return xp.arccosh(x)
acosh.vjp(lambda g, out, x: g * rsqrt(x - 1) * rsqrt(x + 1))


@primitive(elementwise=True, direct="arctanh")
def atanh(xp, x):
    """The inverse hyperbolic tangent, for |x| < 1."""
    return xp.arctanh(x)
atanh.vjp(lambda g, out, x: g / (1 - x * x))


# -- choosing -----------------------------------------------------------------------------------


@primitive(elementwise=True, direct="where")
def where(xp, condition, x, y):
    """x where the condition holds, y elsewhere."""
    return xp.where(condition, x, y)
where.vjp(None,
          lambda g, out, condition, x, y: where(condition, g, 0),
          lambda g, out, condition, x, y: where(condition, 0, g))


def _winner(g, out, x, y, wins):
    """The gradient to x of max or min: all where it wins, half where both are equal."""
    return where(wins(x, y), g, where(equal(x, y), g * 0.5, 0))


@primitive(elementwise=True, direct="maximum")
def maximum(xp, x, y):
    """The larger of x and y; equal values share the gradient."""
    return xp.maximum(x, y)
maximum.vjp(lambda g, out, x, y: _winner(g, out, x, y, greater),
            lambda g, out, x, y: _winner(g, out, y, x, greater))


@primitive(elementwise=True, direct="minimum")
def minimum(xp, x, y):
    """The smaller of x and y; equal values share the gradient."""
    return xp.minimum(x, y)
minimum.vjp(lambda g, out, x, y: _winner(g, out, x, y, less),
            lambda g, out, x, y: _winner(g, out, y, x, less))


@primitive(elementwise=True, name="clip")
def clip_p(xp, x, *, low, high):
    """x limited to [low, high]; the gradient passes where low <= x <= high, as in PyTorch."""
    if low is None and high is None:
        raise ValueError("no bounds")
    return xp.clip(x, low, high)


@clip_p.explains
def _(x, low, high):
    if low is None and high is None:
        return "give min, max or both"
    return None


def _inside(x, low, high):
    if low is None:
        return less_equal(x, high)
    if high is None:
        return greater_equal(x, low)
    return logical_and(greater_equal(x, low), less_equal(x, high))


clip_p.vjp(lambda g, out, x, low, high: where(_inside(x, low, high), g, 0))


# -- comparison and logic: integer or boolean results carry no gradient -------------------------


def _comparison(name: str, text: str) -> Any:
    def fn(xp, x, y):
        return getattr(xp, name)(x, y)
    fn.__name__, fn.__doc__ = name, text
    return primitive(fn, elementwise=True)


equal: Any = _comparison("equal", "True where x == y.")
not_equal: Any = _comparison("not_equal", "True where x != y.")
less: Any = _comparison("less", "True where x < y.")
less_equal: Any = _comparison("less_equal", "True where x <= y.")
greater: Any = _comparison("greater", "True where x > y.")
greater_equal: Any = _comparison("greater_equal", "True where x >= y.")
logical_and: Any = _comparison("logical_and", "True where x and y are true.")
logical_or: Any = _comparison("logical_or", "True where x or y is true.")
logical_xor: Any = _comparison("logical_xor", "True where exactly one of x and y is true.")


def _predicate(name: str, text: str) -> Any:
    def fn(xp, x):
        return getattr(xp, name)(x)
    fn.__name__, fn.__doc__ = name, text
    return primitive(fn, elementwise=True)


logical_not: Any = _predicate("logical_not", "True where x is false.")
isnan: Any = _predicate("isnan", "True where x is not a number.")
isinf: Any = _predicate("isinf", "True where x is infinite.")
isfinite: Any = _predicate("isfinite", "True where x is neither infinite nor NaN.")
