"""Softmax, cross entropy, layer and root-mean-square norm: which calls the row kernels take."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygen.primitive import kernel

from .lazy import F32, F64, NOT_FLOAT, Native, threads_for
from .pointwise import pieces

native, soft = Native("rows"), Native("softmax")

EMPTY = "nothing to do"
MIXED = "inputs of several types"
UNLIKE = "what is added has another type or shape"
I64 = np.dtype(np.int64)
OUT_OF_RANGE = "a class number is out of range"

NORM_GRAIN, EXP_GRAIN = 8192, 4096      # elements that pay for one more thread, awake in 1 us


def _parts(x: Any, grain: int) -> int:
    """Into how many ranges of rows to cut `x`: of more than threads, a slow one takes fewer."""
    return pieces(threads_for(x.size, grain)) if x.size >= 2 * grain else 1


def plain(x: Any) -> Any:
    """`x`, or a copy of it that lies in memory in order, is aligned and may be written to."""
    return x if x.flags.carray else np.array(x, order="C")


# -- softmax and cross entropy ------------------------------------------------------------------


def _sides(shape: Any, axis: int) -> tuple[int, int, int]:
    """(outer, n, inner): what lies before the axis, along it and inside it."""
    axis %= len(shape)
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1:])


def _softmax(x: Any, axis: int, log: bool) -> Any:
    dtype = x.dtype
    if dtype is not F32 and dtype is not F64:
        return NOT_FLOAT
    if not x.size:
        return EMPTY
    x, sides = plain(x), _sides(x.shape, axis)
    y = np.empty(x.shape, dtype)
    soft.softmax(x.reshape(sides), log, y.reshape(sides), _parts(x, EXP_GRAIN))
    return y


def _softmax_grad(g: Any, y: Any, axis: int, log: bool) -> Any:
    dtype = y.dtype
    if dtype is not F32 and dtype is not F64:
        return NOT_FLOAT
    if g.dtype is not dtype or g.shape != y.shape:
        return MIXED
    if not y.size:
        return EMPTY
    g, y, sides = plain(g), plain(y), _sides(y.shape, axis)
    gx = np.empty(y.shape, dtype)
    soft.softmax_grad(g.reshape(sides), y.reshape(sides), log, gx.reshape(sides),
                      _parts(y, EXP_GRAIN))
    return gx


@kernel("softmax", np.ndarray)
def softmax(x: Any, *, axis: int) -> Any:
    """Maximum, exponentials with their sum, and scale of a row while it is in the cache."""
    return _softmax(x, axis, False)


@kernel("softmax_grad", np.ndarray)
def softmax_grad(g: Any, y: Any, *, axis: int) -> Any:
    """The dot product of g and y, and the gradient, of a row while it is in the cache."""
    return _softmax_grad(g, y, axis, False)


@kernel("log_softmax", np.ndarray)
def log_softmax(x: Any, *, axis: int) -> Any:
    """Maximum, sum of exponentials and difference of a row while it is in the cache."""
    return _softmax(x, axis, True)


@kernel("log_softmax_grad", np.ndarray)
def log_softmax_grad(g: Any, y: Any, *, axis: int) -> Any:
    """The sum of g, and the gradient, of a row while it is in the cache."""
    return _softmax_grad(g, y, axis, True)


def _loss_inputs(x: Any, target: Any, weight: Any) -> Any:
    """Logits, class numbers and weights as the kernels take them, or why not."""
    dtype = x.dtype
    if dtype is not F32 and dtype is not F64:
        return NOT_FLOAT
    if not x.size:
        return EMPTY
    if target.dtype is not I64:
        target = target.astype(I64)
    x, target = plain(x), plain(target)
    return x, target, x[0] if weight is None else _vector(weight, dtype)


@kernel("cross_entropy", np.ndarray)
def cross_entropy(logits: Any, target: Any, weight: Any = None, *, ignore_index: int,
                  reduction: str, label_smoothing: float) -> Any:
    """Maximum and sum of exponentials of a row while it is in the cache; nothing else is kept."""
    found = _loss_inputs(logits, target, weight)
    if type(found) is str:
        return found
    x, target, w = found
    loss, kept = np.empty(len(x), x.dtype), np.empty((len(x), 2), x.dtype)
    total, valid = soft.cross_entropy(x, target, w, weight is not None, ignore_index,
                                      float(label_smoothing), reduction == "mean", loss, kept,
                                      _parts(x, EXP_GRAIN))
    if not valid:
        return OUT_OF_RANGE
    return loss if reduction == "none" else x.dtype.type(total), kept


@kernel("cross_entropy_vjp", np.ndarray)
def cross_entropy_vjp(g: Any, loss: Any, kept: Any, logits: Any, target: Any, weight: Any = None,
                      *, needs: Any, ignore_index: int, reduction: str,
                      label_smoothing: float) -> Any:
    """The softmax of a row again, scaled, and less the target: one pass over the logits."""
    found = _loss_inputs(logits, target, weight)
    if type(found) is str:
        return found
    x, target, w = found
    g = plain(np.asarray(g, x.dtype)).reshape(-1)
    gx = np.empty(x.shape, x.dtype)
    valid = soft.cross_entropy_vjp(g, x, plain(kept), target, w, weight is not None, ignore_index,
                                   float(label_smoothing), reduction == "mean", gx,
                                   _parts(x, EXP_GRAIN))
    return (gx, None, None) if valid else OUT_OF_RANGE


# -- layer and root-mean-square normalisation ---------------------------------------------------


def _norm(x: Any, weight: Any, bias: Any, axes: Any, eps: float, centred: bool,
          other: Any = None) -> Any:
    """Result, mean and 1/std; with `other`, of x + other, which comes in front of these."""
    dtype, shape = x.dtype, x.shape
    if dtype is not F32 and dtype is not F64:
        return NOT_FLOAT
    if not x.size:
        return EMPTY
    if other is not None and (other.dtype != dtype or other.shape != shape):
        return UNLIKE
    x = plain(x)
    kept = shape[:axes[0]] + (1,) * len(axes)
    n = shape[-1] if len(axes) == 1 else math.prod(shape[axes[0]:])
    m = x.size // n
    y, rstd = np.empty(shape, dtype), np.empty(m, dtype)
    mean = np.empty(m, dtype) if centred else rstd
    affine = 0
    if weight is not None or bias is not None:
        affine = 1 if bias is None else 2
        weight = np.ones(n, dtype) if weight is None else _vector(weight, dtype)
        bias = weight if bias is None else _vector(bias, dtype)
    else:
        weight = bias = rstd
    if other is None:
        native.norm(x.reshape(m, n), weight, bias, affine, centred, eps, y.reshape(m, n), mean,
                    rstd, _parts(x, NORM_GRAIN))
        return y, mean.reshape(kept), rstd.reshape(kept)
    total = np.empty(shape, dtype)
    native.norm_of_sum(x.reshape(m, n), plain(other).reshape(m, n), total.reshape(m, n), weight,
                       bias, affine, centred, eps, y.reshape(m, n), mean, rstd,
                       _parts(x, NORM_GRAIN))
    return total, y, mean.reshape(kept), rstd.reshape(kept)


def _vector(v: Any, dtype: Any) -> Any:
    if v.ndim == 1 and v.dtype is dtype and v.flags.carray:
        return v
    return plain(v if v.dtype == dtype else v.astype(dtype)).reshape(-1)


def _norm_vjp(g: Any, mean: Any, rstd: Any, x: Any, weight: Any, bias: Any,
              past: Any = None) -> Any:
    """Gradients of x, to which `past` is added where it is given, and of the parameters."""
    dtype = x.dtype
    if dtype is not F32 and dtype is not F64:
        return NOT_FLOAT
    if not x.size:
        return EMPTY
    if g.dtype != dtype or rstd.dtype != dtype:
        return MIXED
    if past is not None and (past.dtype != dtype or past.shape != x.shape):
        return UNLIKE
    g, x, rstd = plain(g), plain(x), plain(rstd).reshape(-1)
    mean = rstd if mean is None else plain(mean).reshape(-1)
    m = rstd.size
    n = x.size // m
    affine = weight is not None or bias is not None
    # At most 512 rows in a running sum of float32; at least 32, so that the sums of the blocks
    # are little beside the rows; in between blocks of 64 KB, which several threads can share.
    size = max(32, min(512, 16384 // n))
    blocks = -(-m // size)
    if affine:
        weight = np.ones(n, dtype) if weight is None else _vector(weight, dtype)
        g_params, sums = np.empty((2, n), dtype), np.empty((2, blocks, n), dtype)
    else:
        weight, g_params, sums = rstd, np.empty((2, 0), dtype), np.empty((2, blocks, 0), dtype)
    gx = np.empty(x.shape, dtype)
    parts = min(blocks, _parts(x, NORM_GRAIN))
    if past is None:
        native.norm_vjp(g.reshape(m, n), x.reshape(m, n), weight, affine, mean is not rstd, mean,
                        rstd, gx.reshape(m, n), g_params, sums, size, parts)
    else:
        native.norm_of_sum_vjp(g.reshape(m, n), x.reshape(m, n), plain(past).reshape(m, n), weight,
                               affine, mean is not rstd, mean, rstd, gx.reshape(m, n), g_params,
                               sums, size, parts)
    return gx, g_params


def _like(v: Any, of: Any) -> Any:
    """Gradients of a parameter, in its shape and in memory of their own; None without one."""
    return None if of is None else v.reshape(of.shape).copy()


@kernel("layer_norm", np.ndarray)
def layer_norm(x: Any, weight: Any = None, bias: Any = None, *, axes: Any, eps: float) -> Any:
    """Mean, variance and result of a row while it is in the cache."""
    return _norm(x, weight, bias, axes, eps, True)


@kernel("layer_norm_vjp", np.ndarray)
def layer_norm_vjp(g: Any, y: Any, mean: Any, rstd: Any, x: Any, weight: Any = None,
                   bias: Any = None, *, needs: Any, axes: Any, eps: float) -> Any:
    """The gradient of a row while it is in the cache, and running sums for the parameters."""
    found = _norm_vjp(g, mean, rstd, x, weight, bias)
    if type(found) is str:
        return found
    gx, params = found
    return gx, _like(params[0], weight), _like(params[1], bias)


@kernel("rms_norm", np.ndarray)
def rms_norm(x: Any, weight: Any = None, *, axes: Any, eps: float) -> Any:
    """Mean square and result of a row while it is in the cache."""
    found = _norm(x, weight, None, axes, eps, False)
    return found if type(found) is str else (found[0], found[2])


@kernel("rms_norm_vjp", np.ndarray)
def rms_norm_vjp(g: Any, y: Any, rstd: Any, x: Any, weight: Any = None, *, needs: Any, axes: Any,
                 eps: float) -> Any:
    """The gradient of a row while it is in the cache, and running sums for the weight."""
    found = _norm_vjp(g, None, rstd, x, weight, None)
    return found if type(found) is str else (found[0], _like(found[1][0], weight))


@kernel("add_layer_norm", np.ndarray)
def add_layer_norm(x: Any, other: Any, weight: Any = None, bias: Any = None, *, axes: Any,
                   eps: float) -> Any:
    """As layer norm; a row of the sum is in the cache when it is added up."""
    return _norm(x, weight, bias, axes, eps, True, other)


@kernel("add_layer_norm_vjp", np.ndarray)
def add_layer_norm_vjp(past: Any, g: Any, total: Any, y: Any, mean: Any, rstd: Any, x: Any,
                       other: Any, weight: Any = None, bias: Any = None, *, needs: Any, axes: Any,
                       eps: float) -> Any:
    """As layer norm's; its last loop adds the sum's own gradient."""
    found = _norm_vjp(g, mean, rstd, total, weight, bias, past)
    if type(found) is str:
        return found
    gx, params = found
    return gx, gx, _like(params[0], weight), _like(params[1], bias)


@kernel("add_rms_norm", np.ndarray)
def add_rms_norm(x: Any, other: Any, weight: Any = None, *, axes: Any, eps: float) -> Any:
    """As root-mean-square norm; a row of the sum is in the cache when it is squared."""
    found = _norm(x, weight, None, axes, eps, False, other)
    return found if type(found) is str else (found[0], found[1], found[3])


@kernel("add_rms_norm_vjp", np.ndarray)
def add_rms_norm_vjp(past: Any, g: Any, total: Any, y: Any, rstd: Any, x: Any, other: Any,
                     weight: Any = None, *, needs: Any, axes: Any, eps: float) -> Any:
    """As root-mean-square norm's; its last loop adds the sum's own gradient."""
    found = _norm_vjp(g, None, rstd, total, weight, None, past)
    if type(found) is str:
        return found
    return found[0], found[0], _like(found[1][0], weight)
