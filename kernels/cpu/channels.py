"""Batch, group and instance norm: which calls the channel kernels take, and in what form."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from tinygen.primitive import kernel

from .lazy import F32, F64, NOT_FLOAT, Native, threads_for
from .rows import EMPTY, MIXED, plain

native, activated, turns = Native("channels"), Native("activated"), Native("turn")

GRAIN = 16384       # elements that pay for one more thread
SHORT = 512         # planes below are columns: a sum of its own costs a plane as much as 300 adds
PART = 65536        # elements of a part of columns: 256 KB of float32 stay in the second cache
WIDE = 1024         # columns that pay for the start of a loop: with 64, it takes half of the time


class _Form:
    """How an array is handed over: its memory order, its shape there, and how it is divided."""

    __slots__ = ("fold", "length", "m", "order", "repeat", "rows", "shape")

    def __init__(self, x: Any, alone: bool):
        """`alone`: the examples have statistics of their own."""
        n, c = x.shape[:2]
        size = math.prod(x.shape[2:])
        self.order, self.repeat, self.fold = _order(x, size), 1, 1
        if self.order is not None:
            examples, m = (n, size) if alone else (1, n * size)
            self.fold = k = _divisor(m, WIDE // c)
            self.shape = (examples, m // k, k * c)
        elif alone or size >= SHORT:
            self.shape, self.rows, self.length = (n, c, size), 0, size
            self.m = size if alone else n * size
            return
        else:
            self.shape, self.repeat = (1, n, c * size), size
        self.m = self.shape[1]
        # 16 to 512 rows in a running sum: fewer would be many parts, more lose digits in float32
        self.rows = self.length = max(16, min(512, PART // min(WIDE, self.shape[2])))

    def view(self, a: Any) -> Any:
        """An array that lies in this order, in the kernels' shape."""
        return (a if self.order is None else a.transpose(self.order)).reshape(self.shape)

    def take(self, a: Any) -> Any:
        """Any array of the same shape, in the kernels' shape."""
        a = a if self.order is None else a.transpose(self.order)
        return _contiguous(a).reshape(self.shape)


def _contiguous(a: Any) -> Any:
    """The array in C order: as it is, or turned from planes to channels last or back, or copied.

    2 MB of planes of 4x4 take 0.45 ms copied by NumPy, and 0.09 turned.
    """
    if a.flags.carray or a.ndim < 3 or a.size < 2 * GRAIN:
        return plain(a)
    n, lanes = len(a), turns.VECTOR_BYTES // a.itemsize
    for order in ((0, *range(2, a.ndim), 1), (0, a.ndim - 1, *range(1, a.ndim - 1))):
        x = a.transpose(order)
        if x.flags.carray:
            c = a.shape[1] if order[-1] == 1 else a.shape[-1]
            size = a.size // (n * c)
            if size % lanes or c % lanes:
                break
            y = np.empty(a.shape, a.dtype)
            before, after = ((size, c), (c, size)) if order[-1] == 1 else ((c, size), (size, c))
            turns.turn(x.reshape(n, *before), y.reshape(n, *after), threads_for(a.size, GRAIN))
            return y
    return plain(a)


@functools.lru_cache(maxsize=256)
def _divisor(m: int, most: int) -> int:
    """The largest divisor of `m` that is not above `most`; 1 if there is none."""
    return next((k for k in range(min(m, most), 1, -1) if m % k == 0), 1)


def _order(x: Any, size: int) -> tuple[int, ...] | None:
    """The axes of channels-last memory; None where planes are contiguous, or neither is so."""
    if size == 1:
        return None
    if x.flags.carray:
        return None
    order = (0, *range(2, x.ndim), 1)
    return order if x.transpose(order).flags.carray else None


def _like(x: Any, form: _Form) -> Any:
    """A new array in the memory order of the form, which owns its memory."""
    return np.empty(x.shape, x.dtype) if form.order is None else np.empty_like(x)


def _param(v: Any, channels: int, missing: float, dtype: Any) -> Any:
    return np.full(channels, missing, dtype) if v is None else plain(v)


def _refuse(x: Any, *others: Any) -> str | None:
    dtype = x.dtype
    if dtype is not F32 and dtype is not F64:
        return NOT_FLOAT
    if not x.size:
        return EMPTY
    for v in others:
        if v is not None and v.dtype is not dtype:
            return MIXED
    return None


def _norm(x: Any, weight: Any, bias: Any, groups: int, alone: bool, eps: float) -> Any:
    why = _refuse(x, weight, bias)
    if why:
        return why
    form, c = _Form(x, alone), x.shape[1]
    y = _like(x, form)
    kept = (x.shape[0] if alone else 1, groups)
    mean, var = np.empty(kept, x.dtype), np.empty(kept, x.dtype)
    native.channel_norm(form.take(x), _param(weight, c, 1, x.dtype), _param(bias, c, 0, x.dtype),
                        form.repeat, form.fold, eps, form.length, form.m, form.rows, mean, var,
                        form.view(y), threads_for(x.size, GRAIN))
    return y, mean, var


def _norm_vjp(needs: Any, g: Any, mean: Any, var: Any, x: Any, weight: Any, groups: int,
              alone: bool, eps: float) -> Any:
    why = _refuse(x, g, weight, mean)
    if why:
        return why
    form, c = _Form(x, alone), x.shape[1]
    gx, params = _like(x, form), np.empty((2, c), x.dtype)
    kept = (x.shape[0] if alone else 1, groups)
    native.channel_norm_vjp(form.take(g), form.take(x), _param(weight, c, 1, x.dtype),
                            form.repeat, form.fold, eps, form.length, form.m, form.rows,
                            plain(mean).reshape(kept), plain(var).reshape(kept), form.view(gx),
                            params, needs[0], threads_for(x.size, GRAIN))
    return gx if needs[0] else None, params[0].copy(), params[1].copy()


@kernel("batch_norm", np.ndarray)
def batch_norm(x: Any, weight: Any = None, bias: Any = None, *, eps: float) -> Any:
    """Statistics of planes or columns in parts, added up in order; then the result by parts."""
    found = _norm(x, weight, bias, x.shape[1], False, eps)
    return found if type(found) is str else (found[0], found[1].reshape(-1), found[2].reshape(-1))


@kernel("batch_norm_vjp", np.ndarray)
def batch_norm_vjp(g: Any, y: Any, mean: Any, var: Any, x: Any, weight: Any = None,
                   bias: Any = None, *, needs: Any, eps: float) -> Any:
    """Sums of planes or columns in parts, added up in order; then the gradient, part by part."""
    return _norm_vjp(needs, g, mean, var, x, weight, x.shape[1], False, eps)


@kernel("batch_norm_activation", np.ndarray)
def batch_norm_activation(x: Any, weight: Any = None, bias: Any = None, *, eps: float,
                          slope: float) -> Any:
    """As batch norm; the activation is part of its second pass."""
    why = _refuse(x, weight, bias)
    if why:
        return why
    form, c = _Form(x, False), x.shape[1]
    y, mean, var = _like(x, form), np.empty((1, c), x.dtype), np.empty((1, c), x.dtype)
    activated.norm_activation(form.take(x), _param(weight, c, 1, x.dtype),
                              _param(bias, c, 0, x.dtype), form.repeat, form.fold, eps,
                              float(slope), form.length, form.m, form.rows, mean, var,
                              form.view(y), threads_for(x.size, GRAIN))
    return y, mean.reshape(-1), var.reshape(-1)


@kernel("batch_norm_activation_vjp", np.ndarray)
def batch_norm_activation_vjp(g: Any, y: Any, mean: Any, var: Any, x: Any, weight: Any = None,
                              bias: Any = None, *, needs: Any, eps: float, slope: float) -> Any:
    """As batch norm's; each of its passes finds the activation's gradient for itself."""
    why = _refuse(x, g, weight, bias, mean)
    if why:
        return why
    form, c = _Form(x, False), x.shape[1]
    gx, params = _like(x, form), np.empty((2, c), x.dtype)
    activated.norm_activation_vjp(form.take(g), form.take(x), _param(weight, c, 1, x.dtype),
                                  _param(bias, c, 0, x.dtype), form.repeat, form.fold, eps,
                                  float(slope), form.length, form.m, form.rows,
                                  plain(mean).reshape(1, c), plain(var).reshape(1, c),
                                  form.view(gx), params, needs[0], threads_for(x.size, GRAIN))
    return gx if needs[0] else None, params[0].copy(), params[1].copy()


@kernel("group_norm", np.ndarray)
def group_norm(x: Any, weight: Any = None, bias: Any = None, *, groups: int, eps: float) -> Any:
    """As batch norm, with the statistics of each example and group of channels."""
    return _norm(x, weight, bias, groups, True, eps)


@kernel("group_norm_vjp", np.ndarray)
def group_norm_vjp(g: Any, y: Any, mean: Any, var: Any, x: Any, weight: Any = None,
                   bias: Any = None, *, needs: Any, groups: int, eps: float) -> Any:
    """As batch norm, with the sums of each example and group of channels."""
    return _norm_vjp(needs, g, mean, var, x, weight, groups, True, eps)


def _spread(v: Any, form: _Form) -> Any:
    """A number per channel as one per column of the form, (1, columns)."""
    if form.repeat > 1:
        v = np.repeat(v, form.repeat)
    return plain(np.tile(v, form.fold) if form.fold > 1 else v).reshape(1, -1)


@kernel("scale_channels", np.ndarray, smallest=4096)
def scale_channels(x: Any, scale: Any, shift: Any) -> Any:
    """A multiplication and an addition per element, with the numbers of its plane or column."""
    why = _refuse(x, scale, shift)
    if why:
        return why
    form = _Form(x, False)
    y = _like(x, form)
    native.scale_channels(form.take(x), _spread(scale, form), _spread(shift, form), form.view(y),
                          form.rows, threads_for(x.size, GRAIN))
    return y


@kernel("scale_channels_vjp", np.ndarray)
def scale_channels_vjp(g: Any, y: Any, x: Any, scale: Any, shift: Any, *, needs: Any) -> Any:
    """Sums in parts, added up in order; and g times the scale."""
    why = _refuse(x, g, scale)
    if why:
        return why
    form, c = _Form(x, False), x.shape[1]
    gx = _like(x, form)
    columns = c * form.repeat * form.fold if needs[1] or needs[2] else 0
    params = np.empty((2, columns), x.dtype)
    native.scale_channels_vjp(form.take(g), form.take(x), _spread(scale, form), form.view(gx),
                              params, needs[0], form.rows, threads_for(x.size, GRAIN))
    if columns > c:
        params = params.reshape(2, form.fold, c, form.repeat).sum(axis=(1, 3))
    gx = gx if needs[0] else None
    return (gx, params[0].copy(), params[1].copy()) if params.size else (gx, None, None)
