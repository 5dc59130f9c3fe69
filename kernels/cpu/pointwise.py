"""Elementwise functions and their derivatives: one pass over memory, on all threads where large.

Arrays may have any memory order without gaps: a channels-last result stays channels-last.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygen.primitive import kernel

from .lazy import F32, F64, NOT_FLOAT, Native, threads_for

native = Native("pointwise")

GAPS = "neither contiguous nor a permutation of contiguous axes"
SHAPES = "shapes differ"
TYPES = "types differ"


def _address(array: Any) -> int:
    return array.__array_interface__["data"][0]


def _number(v: Any, lead: Any) -> float | None:
    """`v` as one number, if it is one, or an array that repeats one over the shape of `lead`."""
    if isinstance(v, np.ndarray):
        if v.ndim and (any(v.strides) or v.shape != lead.shape or not v.size):
            return None
        return float(v.item(0))
    return float(v) if type(v) is float or (type(v) is int and abs(v) < 1 << 53) else None


def run(name: str, lead: Any, inputs: tuple[Any, ...], a: float = 0.0, b: float = 0.0,
        grain: int = 1 << 16, copies: bool = True) -> Any:
    """The result of a formula of `native/pointwise.py`, in the memory order of `lead`, or why not.

    Args:
        lead: the input whose shape and type are those of the result.
        inputs: all of them, arrays or numbers (also as arrays without strides, as gradients of
            sums are); one in another memory order is copied, unless `copies` is false.
        a, b: constants of the formula.
        grain: how many elements pay for one more thread.
    """
    dtype = lead.dtype
    if dtype is not F32 and dtype is not F64:
        return NOT_FLOAT
    out = np.empty_like(lead)
    contiguous = lead.flags.c_contiguous
    if not contiguous and lead.strides != out.strides:
        return GAPS
    places, numbers, constants, keep = [_address(out)], "", [a, b, 0.0], []
    for v, letter in zip(inputs, "xyz", strict=False):
        if v is not lead and isinstance(v, np.ndarray) and v.dtype is not dtype:
            return TYPES
        number = None if v is lead else _number(v, lead)
        if number is not None:
            numbers += letter
            constants = [*constants[1:], number] if len(numbers) > 1 else [a, b, number]
            places.append(0)
            continue
        if not isinstance(v, np.ndarray):
            return TYPES
        if v.shape != lead.shape:
            return SHAPES
        if v.strides != lead.strides and not (contiguous and v.flags.c_contiguous):
            if not copies:
                return GAPS
            same = np.empty_like(lead)
            same[...] = v
            keep.append(same)
            v = same
        places.append(_address(v))
    places += [0] * (4 - len(places))
    address, serial = native.loop(name, dtype, numbers)
    parts = threads_for(out.size, grain)
    if parts == 1:
        serial(*places, out.size, *constants)
    else:
        native.launch(address, *places, dtype.itemsize, out.size, *constants, parts)
    return out


# From which size a kernel is asked, and how many elements pay for a thread. A call costs 7 us, and
# 2 us more on two threads. Where NumPy has a vector loop of its own (exp, tanh), only the threads
# win: 90 us against 73 for 262144 tanh, 23 against 37 for a quarter of that. Where it takes
# several passes (gelu, and every gradient) one pass wins from a few thousand elements on. What is
# as quick as memory (add, relu) needs arrays that leave the second-level cache.
_VECTOR, _PASSES, _MEMORY = (1 << 17, 1 << 15), (1 << 13, 1 << 15), (1 << 18, 1 << 17)


def _register(name: str, sizes: tuple[int, int], attrs: tuple[str, ...] = (), lead: int = 0,
              copies: bool = True) -> None:
    smallest, grain = sizes

    def call(*inputs: Any, **given: Any) -> Any:
        first = inputs[lead]
        if not isinstance(first, np.ndarray):
            return TYPES
        constants = [float(given[key]) for key in attrs]
        return run(name, first, inputs, *constants, grain=grain, copies=copies)
    call.__doc__ = f"{name}: one loop over the elements, cut into one part per thread."
    kernel(name, np.ndarray, smallest=smallest)(call)


for _name in ("exp", "expm1", "log", "log1p", "tanh"):
    _register(_name, _VECTOR)
for _name in ("sigmoid", "log_sigmoid", "silu", "mish", "erf", "gelu_exact", "gelu_tanh"):
    _register(_name, _PASSES)
_register("leaky_relu", _PASSES, ("slope",))
_register("elu", _PASSES, ("alpha",))
_register("softplus", _PASSES, ("beta", "threshold"))
for _name in ("sqrt", "rsqrt", "relu"):
    _register(_name, _MEMORY)
for _name in ("add", "subtract", "multiply", "divide"):
    _register(_name, _MEMORY, copies=False)

for _name in ("tanh", "relu", "sigmoid", "log_sigmoid", "silu", "mish", "gelu_exact", "gelu_tanh"):
    _register(f"{_name}_grad", _PASSES, lead=1)
_register("leaky_relu_grad", _PASSES, ("slope",), lead=1)
_register("elu_grad", _PASSES, ("alpha",), lead=1)
_register("softplus_grad", _PASSES, ("beta", "threshold"), lead=1)
