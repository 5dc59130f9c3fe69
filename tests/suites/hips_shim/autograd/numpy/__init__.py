"""NumPy outside of traces, tinygen inside: one wrapper for every function."""

import sys
import types

import numpy as onp

import tinygen as tg

from ..core import Complex, as_tensor, leaves, traced


def _array(data, *args, **kwargs):
    """np.array of nested lists of numbers, arrays and tensors."""
    if isinstance(data, tg.Tensor):
        return data * 1
    return tg.stack([_array(v) if isinstance(v, (list, tuple)) else as_tensor(v) for v in data])


def _where(condition, x, y):
    return tg.where(condition, as_tensor(x), as_tensor(y))


def _tile(x, reps):
    return tg.tile(x, reps)


def _split(name):
    def call(x, parts, *axis, **named):
        if not isinstance(parts, int):
            parts = [int(p) for p in parts]
        return getattr(tg, name)(x, parts, *axis, **named)
    return call


def _ddof(name):
    def call(x, axis=None, ddof=0, keepdims=False):
        return getattr(tg, name)(x, axis=axis, correction=ddof, keepdims=keepdims)
    return call


def _full(shape, value, dtype=None):
    return tg.broadcast_to(value, shape)


def _dot(a, b):
    """NumPy's dot: the last axis of a with the last but one of b."""
    a, b = as_tensor(a), as_tensor(b)
    if not a.ndim or not b.ndim:
        return a * b
    return tg.tensordot(a, b, ([a.ndim - 1], [max(b.ndim - 2, 0)]))


def _repeat(x, repeats, axis=None):
    return tg.repeat(x, repeats, axis)


def _trace(x, offset=0):
    return tg.sum(tg.diagonal(x, offset), axis=-1)


def _concatenate(xs, axis=0):
    return tg.concat([as_tensor(x) for x in xs], axis)


def _pad(x, width, mode="constant", **named):
    return tg.pad(x, width, mode, **named)


def _clip(x, a_min=None, a_max=None):
    return tg.clip(x, a_min, a_max)


def _cross(a, b, axisa=-1, axisb=-1, axisc=-1, axis=None):
    """NumPy's cross: axes for both arguments and for the result."""
    if axis is not None:
        axisa = axisb = axisc = axis
    c = tg.cross(tg.moveaxis(as_tensor(a), axisa, -1), tg.moveaxis(as_tensor(b), axisb, -1))
    return tg.moveaxis(c, -1, axisc)


def _make_diagonal(x, offset=0, axis1=0, axis2=1):
    """autograd's own function: the last axis along a diagonal of two new axes."""
    return tg.diag_embed(x, offset, axis1, axis2)


def _linspace(start, stop, num=50):
    return tg.linspace(as_tensor(start), as_tensor(stop), num, dtype="float64")


_LISTS = """concatenate stack hstack vstack dstack column_stack row_stack array einsum select
    broadcast_arrays meshgrid"""
LISTS = _LISTS.split()
SPECIAL = {
    "clip": _clip, "cross": _cross, "make_diagonal": _make_diagonal, "linspace": _linspace,
    "array": _array, "where": _where, "tile": _tile, "var": _ddof("var"), "std": _ddof("std"),
    "nanvar": _ddof("nanvar"), "nanstd": _ddof("nanstd"), "full": _full, "dot": _dot,
    "repeat": _repeat, "trace": _trace, "concatenate": _concatenate, "pad": _pad,
    "split": _split("split"), "array_split": _split("array_split"),
    "vsplit": _split("vsplit"), "hsplit": _split("hsplit"), "dsplit": _split("dsplit"),
    "shape": lambda x: x.shape, "ndim": lambda x: x.ndim,
    "size": lambda x: x.size, "copy": lambda x: x * 1, "isscalar": lambda x: False,
    "iscomplexobj": lambda x: False,
    "iscomplex": lambda x: tg.not_equal(x * 0, 0), "result_type": lambda *xs: onp.dtype(float),
    "asarray": lambda x, *a: x, "real": lambda x: x * 1, "conj": lambda x: x * 1,
    "conjugate": lambda x: x * 1, "real_if_close": lambda x: x * 1, "imag": lambda x: x * 0,
}


def function(name, original, spaces):
    """NumPy's function, or tinygen's of the same name where an argument is traced."""
    def call(*args, **kwargs):
        if not traced(args) and not traced(kwargs):
            return original(*args, **kwargs)
        for value in leaves(list(args)):
            if onp.iscomplexobj(value) and not isinstance(value, tg.Tensor):
                raise Complex("complex numbers are outside of tinygen")
        if name not in LISTS:
            args = [_array(a) if isinstance(a, (list, tuple)) and traced(a) else a for a in args]
        if name in SPECIAL and spaces[0] is tg:
            return SPECIAL[name](*args, **kwargs)
        for space in spaces:
            if name in dir(space):
                return getattr(space, name)(*args, **kwargs)
        raise AttributeError(f"tinygen has no {name!r}")
    call.__name__ = name
    return call


class Wrapped(types.ModuleType):
    """A module whose functions look at their arguments first."""

    def __init__(self, name, original, spaces):
        super().__init__(name)
        self._original, self._spaces = original, spaces

    def __getattr__(self, name):
        value = getattr(self._original, name)
        if isinstance(value, type) or not callable(value):
            return value
        return function(name, value, self._spaces)


linalg = Wrapped(f"{__name__}.linalg", onp.linalg, [tg.linalg])
fft = Wrapped(f"{__name__}.fft", onp.fft, [])
random = onp.random
sys.modules |= {f"{__name__}.linalg": linalg, f"{__name__}.fft": fft,
                f"{__name__}.random": random}


def _plain_where(condition, *xs, **named):
    return onp.where(condition, *xs, *(named[k] for k in ("x", "y") if k in named))


def _plain_diagonal(x, offset=0, axis1=0, axis2=1):
    return _make_diagonal(tg.Tensor(x), offset, axis1, axis2).numpy()


ORIGINALS = {"where": _plain_where, "make_diagonal": _plain_diagonal}


def __getattr__(name):
    value = ORIGINALS.get(name) or getattr(onp, name)
    if isinstance(value, type) or not callable(value):
        return value
    return function(name, value, [tg, tg.linalg, tg.special])
