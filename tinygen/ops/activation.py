"""Activation functions as primitives: one node each, with the derivative beside it.

Where a derivative takes several passes over memory, the gradient is a primitive of its own,
`NAME_grad(g, x)`, so that a kernel can do it in one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..primitive import primitive
from ..tensor import Tensor
from .elementwise import (
    absolute,
    exp,
    greater,
    greater_equal,
    less_equal,
    logical_not,
    logical_or,
    tanh,
    where,
)
from .pieces import in_pieces


@primitive(elementwise=True)
def relu(xp, x):
    """max(x, 0); the derivative at 0 is 0."""
    return xp.maximum(x, 0)
relu.vjp(lambda g, out, x: relu_grad(g, x))


@primitive(elementwise=True)
def relu_grad(xp, g, x):
    """g where x > 0, 0 elsewhere."""
    return g * (x > 0)
relu_grad.vjp(lambda h, out, g, x: relu_grad(h, x))


# np.where on a mask of random signs mispredicts every other branch: 19 ms for 2 M floats, where
# multiplying by the mask takes 3. The rules of this file multiply.


@primitive(elementwise=True, name="leaky_relu")
@in_pieces
def leaky_relu_p(xp, x, *, slope):
    """x where x > 0, slope * x elsewhere."""
    if 0 <= slope <= 1:
        return xp.maximum(x, slope * x)
    return xp.where(x > 0, x, slope * x)
leaky_relu_p.vjp(lambda g, out, x, slope: leaky_relu_grad(g, x, slope=slope))


@primitive(elementwise=True)
@in_pieces
def leaky_relu_grad(xp, g, x, *, slope):
    """g where x > 0, slope * g elsewhere."""
    return g * ((x > 0).astype(g.dtype) * (1 - slope) + slope)
leaky_relu_grad.vjp(lambda h, out, g, x, slope: leaky_relu_grad(h, x, slope=slope))


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Tensor:
    """x where x > 0, negative_slope * x elsewhere."""
    return leaky_relu_p(x, slope=negative_slope)


@primitive(elementwise=True)
def hardtanh(xp, x, *, low, high):
    """x limited to [low, high]; the derivative at the limits is 0 (that of `clip` is 1)."""
    return xp.clip(x, low, high)
hardtanh.vjp(lambda g, out, x, low, high:
             g * logical_not(logical_or(less_equal(x, low), greater_equal(x, high))))


@primitive(elementwise=True)
def softshrink(xp, x, *, lambd):
    """x moved towards 0 by lambd, and 0 where |x| <= lambd."""
    return x - xp.clip(x, -lambd, lambd)
softshrink.vjp(lambda g, out, x, lambd: g * logical_not(less_equal(absolute(x), lambd)))


@primitive(elementwise=True, name="elu")
@in_pieces
def elu_p(xp, x, *, alpha):
    """x where x > 0, alpha * (exp(x) - 1) elsewhere."""
    return xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0)))
elu_p.vjp(lambda g, out, x, alpha: elu_grad(g, x, alpha=alpha))


@primitive(elementwise=True)
@in_pieces
def elu_grad(xp, g, x, *, alpha):
    """g where x > 0, g * alpha * exp(x) elsewhere."""
    return g * xp.where(x > 0, 1, alpha * xp.exp(xp.minimum(x, 0)))
elu_grad.vjp(lambda h, out, g, x, alpha: elu_grad(h, x, alpha=alpha),
             lambda h, out, g, x, alpha: where(greater(x, 0), 0, h * out))


def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """x where x > 0, alpha * (exp(x) - 1) elsewhere."""
    return elu_p(x, alpha=alpha)


@primitive(elementwise=True)
@in_pieces
def sigmoid(xp, x):
    """1 / (1 + exp(-x)); its relative error is small far below 0 too, so that its log exists."""
    with np.errstate(over="ignore"):       # exp(-x) = inf means 0
        return 1 / (1 + xp.exp(-1.0 * x))     # -x would refuse booleans
sigmoid.vjp(lambda g, out, x: sigmoid_grad(g, out))


@primitive(elementwise=True)
@in_pieces
def sigmoid_grad(xp, g, y):
    """g y (1 - y): the gradient of sigmoid in terms of its result."""
    return g * (y * (1 - y))
sigmoid_grad.vjp(lambda h, out, g, y: sigmoid_grad(h, y),
                 lambda h, out, g, y: h * g * (1 - 2 * y))


@primitive(elementwise=True)
@in_pieces
def log_sigmoid(xp, x):
    """log(sigmoid(x)) = min(x, 0) - log1p(exp(-|x|))."""
    return xp.minimum(x, 0) - xp.log1p(xp.exp(-xp.absolute(x)))
log_sigmoid.vjp(lambda g, out, x: log_sigmoid_grad(g, x))


@primitive(elementwise=True)
@in_pieces
def log_sigmoid_grad(xp, g, x):
    """g sigmoid(-x)."""
    with np.errstate(over="ignore"):
        return g / (1 + xp.exp(x))
log_sigmoid_grad.vjp(lambda h, out, g, x: log_sigmoid_grad(h, x),
                     lambda h, out, g, x: sigmoid_grad(-h * g, sigmoid(x)))


@primitive(elementwise=True, name="softplus")
@in_pieces
def softplus_p(xp, x, *, beta, threshold):
    """log(1 + exp(beta x)) / beta, linear where beta x is above the threshold."""
    z = beta * x
    soft = xp.maximum(z, 0) + xp.log1p(xp.exp(-xp.absolute(z)))
    return xp.where(z > threshold, x, soft / beta)
softplus_p.vjp(lambda g, out, x, beta, threshold: softplus_grad(g, x, beta=beta,
                                                               threshold=threshold))


@primitive(elementwise=True)
@in_pieces
def softplus_grad(xp, g, x, *, beta, threshold):
    """g sigmoid(beta x), and g where beta x is above the threshold."""
    z = beta * x
    with np.errstate(over="ignore"):
        return g * xp.where(z > threshold, 1, 1 / (1 + xp.exp(-z)))
softplus_grad.vjp(
    lambda h, out, g, x, beta, threshold: softplus_grad(h, x, beta=beta, threshold=threshold),
    lambda h, out, g, x, beta, threshold: where(
        greater(beta * x, threshold), 0, sigmoid_grad(h * g * beta, sigmoid(beta * x))))


def softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta; the identity where beta x > threshold, as in PyTorch."""
    return softplus_p(x, beta=beta, threshold=threshold)


@primitive(elementwise=True)
@in_pieces
def silu(xp, x):
    """x * sigmoid(x), also called swish."""
    with np.errstate(over="ignore"):
        return x / (1 + xp.exp(-1.0 * x))
silu.vjp(lambda g, out, x: silu_grad(g, x))


@primitive(elementwise=True)
@in_pieces
def silu_grad(xp, g, x):
    """g s (1 + x (1 - s)), with s = sigmoid(x)."""
    with np.errstate(over="ignore"):
        s = 1 / (1 + xp.exp(-x))
    return g * (s + x * (s * (1 - s)))


@in_pieces
def _silu_grad_slope(h, out, g, x):
    s = sigmoid(x)
    slope = s * (1 - s)
    return h * g * slope * (2 + x * (1 - 2 * s))
silu_grad.vjp(lambda h, out, g, x: silu_grad(h, x), _silu_grad_slope)


@primitive(elementwise=True)
@in_pieces
def mish(xp, x):
    """x tanh(softplus(x)).

    Source: D. Misra, "Mish: A Self Regularized Non-Monotonic Activation Function", 2019.
    """
    return x * xp.tanh(xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.absolute(x))))
mish.vjp(lambda g, out, x: mish_grad(g, x))


@primitive(elementwise=True)
@in_pieces
def mish_grad(xp, g, x):
    """g (t + x (1 - t^2) sigmoid(x)), with t = tanh(softplus(x))."""
    t = xp.tanh(xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.absolute(x))))
    with np.errstate(over="ignore"):
        return g * (t + x * ((1 - t * t) / (1 + xp.exp(-x))))


@in_pieces
def _mish_grad_slope(h, out, g, x):
    t, s = tanh(softplus(x)), sigmoid(x)
    slope = (1 - t * t) * s
    return h * g * slope * (2 + x * (1 - s - 2 * t * s))
mish_grad.vjp(lambda h, out, g, x: mish_grad(h, x), _mish_grad_slope)


# -- erf and gelu -------------------------------------------------------------------------------


@primitive(elementwise=True)
@in_pieces
def erf(xp, x):
    """The error function, 2/sqrt(pi) * integral of exp(-t^2) from 0 to x."""
    return _erf(xp, x)
erf.vjp(in_pieces(lambda g, out, x: g * (2 / math.sqrt(math.pi)) * exp(-x * x)))


def _erf(xp: Any, x: Any) -> Any:
    """NumPy has no erf: rational approximations on three ranges, good to double precision.

    W. J. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23, 1969.
    Small float32 and float16 arrays take the same path: the polynomials are exact enough in
    float32 arithmetic (measured error below 3e-7).
    """
    if x.dtype.kind not in "fV":
        x = x.astype("float32")
    elif x.dtype.itemsize == 2:
        return _erf(xp, x.astype("float32")).astype(x.dtype)
    a = xp.absolute(x)
    small = xp.minimum(a, 0.5)
    middle = xp.clip(a, 0.46875, 4.0)
    large = xp.clip(a, 4.0, 10.0)
    near = small * _ratio(small * small, _NEAR_P, _NEAR_Q)
    decay = xp.exp(-middle * middle)
    mid = 1 - decay * _ratio(middle, _MID_P, _MID_Q)
    w = 1 / (large * large)
    tail = (1 / math.sqrt(math.pi) - w * _ratio(w, _FAR_P, _FAR_Q)) / large
    far = 1 - xp.exp(-large * large) * tail
    out = xp.where(a <= 0.46875, near, xp.where(a <= 4.0, mid, far))
    return xp.where(xp.isnan(x), x, xp.copysign(out, x))


def _ratio(x: Any, p: tuple[float, ...], q: tuple[float, ...]) -> Any:
    top: Any = p[0]
    bottom: Any = q[0]
    for a, b in zip(p[1:], q[1:], strict=True):
        top = top * x + a
        bottom = bottom * x + b
    return top / bottom


_NEAR_P = (1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2,
           3.77485237685302021e2, 3.20937758913846947e3)
_NEAR_Q = (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3,
           2.84423683343917062e3)
_MID_P = (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0,
          6.61191906371416295e1, 2.98635138197400131e2, 8.81952221241769090e2,
          1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3)
_MID_Q = (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2,
          1.62138957456669019e3, 3.29079923573345963e3, 4.36261909014324716e3,
          3.43936767414372164e3, 1.23033935480374942e3)
_FAR_P = (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1,
          1.25781726111229246e-1, 1.60837851487422766e-2, 6.58749161529837803e-4)
_FAR_Q = (1.0, 2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1,
          6.05183413124413191e-2, 2.33520497626869185e-3)

_C = math.sqrt(2 / math.pi)


@primitive(elementwise=True)
@in_pieces
def gelu_exact(xp, x):
    """x * Phi(x), with the standard normal distribution function Phi."""
    return x * (0.5 * (1 + _erf(xp, x * math.sqrt(0.5))))
gelu_exact.vjp(lambda g, out, x: gelu_exact_grad(g, x))


@primitive(elementwise=True)
@in_pieces
def gelu_exact_grad(xp, g, x):
    """g (Phi(x) + x phi(x)), with the normal density phi."""
    return g * (0.5 * (1 + _erf(xp, x * math.sqrt(0.5)))
                + x * xp.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi)))
gelu_exact_grad.vjp(
    lambda h, out, g, x: gelu_exact_grad(h, x),
    in_pieces(lambda h, out, g, x:
              h * g * (2 - x * x) * exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))))


@primitive(elementwise=True)
@in_pieces
def gelu_tanh(xp, x):
    """0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), the approximation that GPT-2 used."""
    return 0.5 * x * (1 + xp.tanh(_C * (x + 0.044715 * x * x * x)))
gelu_tanh.vjp(lambda g, out, x: gelu_tanh_grad(g, x))


@primitive(elementwise=True)
@in_pieces
def gelu_tanh_grad(xp, g, x):
    """g 0.5 (1 + t + x (1 - t^2) u'), with t = tanh(u) as in gelu_tanh."""
    t = xp.tanh(_C * (x + 0.044715 * x * x * x))
    return g * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * _C * (1 + 3 * 0.044715 * x * x))


@in_pieces
def _gelu_tanh_grad_slope(h, out, g, x):
    t = tanh(_C * (x + 0.044715 * x * x * x))
    rise = _C * (1 + 3 * 0.044715 * x * x)
    return h * g * (1 - t * t) * (rise - x * t * rise * rise + (3 * 0.044715 * _C) * x * x)
gelu_tanh_grad.vjp(lambda h, out, g, x: gelu_tanh_grad(h, x), _gelu_tanh_grad_slope)


def gelu(x: Any, approximate: str = "none") -> Tensor:
    """The Gaussian error linear unit, exact (``"none"``) or ``"tanh"``.

    Source: D. Hendrycks and K. Gimpel, "Gaussian Error Linear Units", 2016.
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"[gelu] approximate must be 'none' or 'tanh', got {approximate!r}")
    return gelu_exact(x) if approximate == "none" else gelu_tanh(x)
