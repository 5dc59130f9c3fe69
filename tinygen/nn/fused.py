"""Pairs of layers that run as one operation: a linear layer and the activation behind it."""

from __future__ import annotations

from typing import Any

from .. import ops
from . import functional as F
from .activation import LeakyReLU, ReLU, Sigmoid, Tanh
from .linear import Linear

__all__ = ["activated"]

_LAYERS = {ReLU: "relu", LeakyReLU: "leaky_relu", Tanh: "tanh", Sigmoid: "sigmoid"}
_FUNCTIONS = {id(f): name for name in ("relu", "tanh", "sigmoid")
              for f in (getattr(F, name), getattr(ops, name))}


def activated(layer: Any, activation: Any, x: Any) -> Any:
    """activation(layer(x)): one operation for a Linear and relu, leaky_relu, tanh or sigmoid.

    The sum between the two is then not kept for the backward pass. Layers that are watched by
    hooks, or are not what their class says, run one after the other, and so does everything else.
    """
    name = _LAYERS.get(type(activation))
    if name is None:
        name = _FUNCTIONS.get(id(activation))
    elif not _plain(activation):
        name = None
    if name is None or type(layer) is not Linear or not _plain(layer):
        return activation(layer(x))
    slope = activation.negative_slope if name == "leaky_relu" else 0.0
    if not 0 <= slope <= 1:
        return activation(layer(x))
    try:
        return ops.linear_activation(x, layer.weight, layer.bias, activation=name, slope=slope)
    except Exception:
        return activation(layer(x))     # the same, and the error names the layer


def _plain(layer: Any) -> bool:
    return not (layer._hooks or layer._pre_hooks or "forward" in layer.__dict__)
