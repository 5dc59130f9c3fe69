"""The linear layer as one node: x W^T + b, alone or with the activation behind it."""

from __future__ import annotations

from typing import Any

from ..primitive import primitive
from .activation import leaky_relu_p, relu, sigmoid
from .elementwise import add, tanh
from .linalg import _mT, _rows, matmul


def _linear_definition(x, weight, bias=None):
    y = matmul(x, _mT(weight))
    return y if bias is None else add(y, bias)


@primitive(composite=_linear_definition)
def linear(xp, x, weight, bias=None):
    """x @ weight.T + bias, with weight (out, in): the layer's product in one node."""
    if weight.ndim != 2:
        raise ValueError("weight must have two axes (out, in)")
    if x is not None and x.ndim > 2 and x.size:    # one product, where matmul makes many small
        y = x.reshape(-1, x.shape[-1]).dot(weight.T)
    else:
        y = xp.matmul(x, weight.T)
    if bias is not None:
        y += bias
    return y.reshape(*x.shape[:-1], len(weight))


@linear.vjp_joint
def _linear_rule(needs, g, y, x, weight, bias=None):
    rows = _rows(g)                                                       # (N, out)
    return (matmul(g, weight) if needs[0] else None,
            matmul(rows.T, _rows(x)) if needs[1] else None,
            rows.sum(axis=0) if len(needs) > 2 and needs[2] else None)


@linear.explains
def _(x, weight, bias=None, **activation):
    if not hasattr(x, "shape"):
        return f"x must be a tensor, got {type(x).__name__}"
    if len(weight.shape) != 2:
        return f"weight must have two axes (out, in), got {tuple(weight.shape)}"
    if not x.shape or x.shape[-1] != weight.shape[1]:
        return (f"the last axis of x is {x.shape[-1] if x.shape else 'missing'}, "
                f"weight (out, in) expects {weight.shape[1]}")
    if bias is not None and tuple(bias.shape) != (weight.shape[0],):
        return f"bias must have shape ({weight.shape[0]},), got {tuple(bias.shape)}"
    return None


# Activations whose derivative follows from their result: the sum in front of them need not be kept.
ACTIVATIONS: dict[str, Any] = {
    "relu": lambda z, slope: relu(z),
    "leaky_relu": lambda z, slope: leaky_relu_p(z, slope=slope),
    "tanh": lambda z, slope: tanh(z),
    "sigmoid": lambda z, slope: sigmoid(z),
}
_SLOPES: dict[str, Any] = {     # the derivative, from the result: bare arrays only
    "relu": lambda y, slope: y > 0,
    "leaky_relu": lambda y, slope: (y > 0).astype(y.dtype) * (1 - slope) + slope,
    "tanh": lambda y, slope: 1 - y * y,
    "sigmoid": lambda y, slope: y * (1 - y),
}


def _activation_definition(x, weight, bias=None, *, activation, slope):
    return ACTIVATIONS[activation](linear(x, weight, bias), slope)


@primitive(composite=_activation_definition)
def linear_activation(xp, x, weight, bias=None, *, activation, slope):
    """f(x @ weight.T + bias): a hidden layer in one node, which keeps one array and not two.

    `activation` is a name in `ACTIVATIONS`; `slope` is that of leaky_relu, within [0, 1].
    """
    y = linear.fn(xp, x, weight, bias)
    if activation == "relu":
        return xp.maximum(y, 0, out=y)
    if activation == "leaky_relu":
        return xp.maximum(y, slope * y, out=y)
    return xp.tanh(y, out=y) if activation == "tanh" else sigmoid.fn(xp, y)


@linear_activation.vjp_joint
def _(needs, g, y, x, weight, bias=None, *, activation, slope):
    return _linear_rule(needs, g * _SLOPES[activation](y, slope), y, x, weight, bias)


linear_activation.explains(linear.reason)
