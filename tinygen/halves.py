"""Floats of 16 bits, float16 and bfloat16: a way to keep numbers, not to compute with them.

An operation on them is computed in float32 and its result rounded once, as PyTorch does: sums and
statistics are those of float32, and NumPy runs on its fast types. `wrapped` puts that around the
implementation of every primitive, from the moment at which the first such number is seen; before
that no call knows of it.

A kernel that names the type among its `dtypes` is given the arrays as they are. Operations that
only move values (`MOVES`) move 16 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import backend
from .backend import FLOATS

__all__ = ["KEEPS", "MOVES", "half_of", "in_float32", "wrapped"]

_F32, _F64 = np.dtype(np.float32), np.dtype(np.float64)

# They take values from one place to another.
MOVES = frozenset((
    "astype", "broadcast_to", "concat", "flip", "getitem", "look_up", "permute_dims", "pick",
    "reshape", "restack", "roll", "split_heads", "split_heads_vjp", "take_along_axis", "transfer",
    "unstack"))

JOINS = ("concat", "restack")       # of these, what is of one type

# Their rules are one call of a primitive, one product, or the gradient itself, so the walker has
# nothing to widen for them: a gradient of 16 bits reaches the kernels of a GPU as it is.
KEEPS = MOVES | {
    "add", "avg_pool", "channel_sum", "conv2d", "conv2d_weight", "conv_transpose2d", "dropout",
    "gelu_exact", "gelu_tanh", "leaky_relu", "log_softmax", "matmul", "max_pool", "multiply",
    "negative", "pad", "positive", "relu", "sigmoid", "silu", "softmax", "subtract", "tanh"}

# On a GPU a copy in float32 costs more than the work: these add up in float32 as they read.
_SUMS = {"sum": lambda x, **how: x.sum(dtype=_F32, **how),
         "mean": lambda x, **how: x.mean(dtype=_F32, **how)}

# The result has the type of the first input, whatever that of statistics and weights is.
_LIKE_FIRST = frozenset(("batch_norm", "batch_norm_activation", "scale_channels"))


def half_of(dtypes: Sequence[np.dtype]) -> np.dtype | None:
    """The type of 16 bits that floats of these types have together, or None: a wider one.

    float16 holds what bfloat16 does not and the other way round: both give float32.
    """
    first: np.dtype | None = None
    for d in dtypes:
        if d.kind in FLOATS:
            if d.itemsize != 2 or (first is not None and d != first):
                return None
            first = d
    return first


def in_float32(value: Any) -> Any:
    """An array or tensor of 16-bit floats as float32, in tuples too; all else as it is."""
    if type(value) is tuple or type(value) is list:
        return type(value)([in_float32(v) for v in value])
    dtype = getattr(value, "dtype", None)
    return value.astype(_F32) if dtype is not None and backend.is_half(dtype) else value


def wrapped(op: Any, run: Callable[..., Any], kernel: Any = None) -> Callable[..., Any]:
    """`run`, an implementation of `op`, on arrays among which floats of 16 bits may be.

    Args:
        run: takes float32 and wider.
        kernel: a `Kernel` that is asked first where it takes these types.
    """
    direct = [op.name in _SUMS or (op.elementwise and type(op.direct) is str)]
    ask = None if kernel is None else kernel.or_else(lambda *_, **__: NotImplemented)

    def call(*arrays: Any, **attrs: Any) -> Any:
        for a in arrays:                # most calls have none: 0.1 us for each array
            dtype = getattr(a, "dtype", None)
            if dtype is not None and dtype.itemsize == 2 and dtype.kind in FLOATS:
                break
        else:
            return run(*arrays, **attrs)
        found = [a.dtype for a in arrays if hasattr(a, "dtype") and not isinstance(a, np.generic)]
        half = half_of(found)
        if ask and all(d.name in kernel.dtypes for d in found if d.kind in FLOATS):
            y = ask(*arrays, **attrs)
            if y is not NotImplemented:
                return y
        alike = len(set(found)) == 1
        if half is not None and alike and direct[0] and not _on_host(arrays):
            try:
                return _narrowed(op, _directly(op, run, arrays, attrs), half)
            except TypeError:               # CuPy has nothing of its own for this type
                direct[0] = False
        if op.name in MOVES and half is not None and (op.name not in JOINS or alike):
            return run(*arrays, **attrs)
        wide = [in_float32(a) for a in arrays]
        y = run(*wide, **attrs)
        if op.writes:
            _write_back(op, arrays, wide, attrs)
            y = _given(y, arrays, wide)
        if op.name in _LIKE_FIRST and backend.is_half(arrays[0].dtype):
            half = arrays[0].dtype
        return y if half is None else _narrowed(op, y, half)
    return call


def _on_host(arrays: Sequence[Any]) -> bool:
    return any(isinstance(a, np.ndarray) for a in arrays)


def _directly(op: Any, run: Callable[..., Any], arrays: Sequence[Any],
              attrs: dict[str, Any]) -> Any:
    """CuPy's own function, which computes in float32 and rounds once."""
    summed = _SUMS.get(op.name)
    return summed(*arrays, **attrs) if summed and arrays[0].size else run(*arrays, **attrs)


def _narrowed(op: Any, y: Any, half: np.dtype) -> Any:
    """Results in 16 bits; statistics that an operation keeps for its rule stay as they are.

    So do all that a joint rule gives: the walker turns gradients into the types of the inputs.
    """
    if type(y) is not tuple:
        return y.astype(half) if getattr(y, "dtype", None) in (_F32, _F64) else y
    if op.name.endswith("_vjp"):
        return y
    return tuple([_narrowed(op, part, half) if i < op.differentiable else part
                  for i, part in enumerate(y)])


def _write_back(op: Any, arrays: Sequence[Any], wide: Sequence[Any],
                attrs: dict[str, Any]) -> None:
    """Put what an operation wrote into float32 copies into the arrays that it was given."""
    places = op.writes(**attrs) if callable(op.writes) else op.writes
    if isinstance(places, slice):
        places = range(len(arrays))[places]
    for i in places:
        if i < len(arrays) and wide[i] is not arrays[i]:
            arrays[i][...] = wide[i]


def _given(y: Any, arrays: Sequence[Any], wide: Sequence[Any]) -> Any:
    """The array that a copy was made of, where an operation returns the copy."""
    if type(y) is tuple:
        return tuple([_given(part, arrays, wide) for part in y])
    return next((given for given, copy in zip(arrays, wide, strict=True) if y is copy), y)
