"""Elementwise functions and their gradients, each in one launch where CuPy makes several.

Functions that CuPy computes in one launch (add, exp, tanh, ...) stay CuPy's.
"""

from __future__ import annotations

from typing import Any

import cupy

from tinygen.primitive import kernel

from .launch import EMPTY, HALVES, MIXED, NOT_FLOAT, SUFFIXES, Source, blocks
from .updates import dense

__all__ = ["CONSTANTS", "same_order"]

native = Source("pointwise")

NUMBER = "a number in place of an array"
SHAPES = "shapes differ"

# The static arguments that a formula has as its constants a and b.
CONSTANTS = {"leaky_relu": ("slope",), "leaky_relu_grad": ("slope",), "elu": ("alpha",),
             "elu_grad": ("alpha",), "softplus": ("beta", "threshold"),
             "softplus_grad": ("beta", "threshold")}


def same_order(x: Any, lead: Any) -> Any:
    """x in the memory order of `lead`, copied if it lies otherwise."""
    if [s * lead.itemsize for s in x.strides] == [s * x.itemsize for s in lead.strides] and (
            dense(x)):
        return x
    same = cupy.empty_like(lead, dtype=x.dtype)
    same[...] = x
    return same


def _register(name: str) -> None:
    attrs = CONSTANTS.get(name, ())

    def call(*given: Any, **how: Any) -> Any:
        lead = given[-1]                   # of a gradient, the function's input
        if not all(isinstance(x, cupy.ndarray) for x in given):
            return NUMBER
        suffix = SUFFIXES.get(lead.dtype)
        if suffix is None:
            return NOT_FLOAT
        if any(x.dtype != lead.dtype for x in given):
            return MIXED
        if any(x.shape != lead.shape for x in given):
            return SHAPES
        if not lead.size:
            return EMPTY
        if not dense(lead):
            lead = cupy.array(lead, order="C")
        given = (*[same_order(x, lead) for x in given[:-1]], lead)
        y = cupy.empty_like(lead)
        packs = not any(x.data.ptr % 16 for x in (*given, y))
        constants = [float(how[key]) for key in attrs]
        native(f"{name}_{suffix}", blocks(lead.size * lead.itemsize, 4096), 256, *given, y,
               lead.size, packs, *(constants + [0.0, 0.0])[:2])
        return y
    call.__doc__ = f"{name}: 16 bytes to a thread."
    kernel(name, cupy.ndarray, dtypes=HALVES)(call)


_SMOOTH = ("sigmoid", "log_sigmoid", "silu", "mish", "gelu_exact", "gelu_tanh", "leaky_relu", "elu",
           "softplus")
for _name in (*_SMOOTH, "erf"):
    _register(_name)
for _name in (*_SMOOTH, "tanh", "relu"):
    _register(f"{_name}_grad")
