"""Softmax, log-softmax and cross entropy: which calls the CUDA kernels take."""

from __future__ import annotations

import math
from typing import Any

import cupy
import numpy as np

from tinygen.primitive import kernel

from .launch import EMPTY, HALVES, MIXED, NOT_FLOAT, SUFFIXES, Source, blocks, plain, team

native, losses = Source("softmax"), Source("loss")
TOO_LONG = "rows of 2^31 values or more"


def _softmax(name: str, arrays: tuple[Any, ...], axis: int, log: bool) -> Any:
    """One of the kernels on arrays of one shape: a team to a row, or a thread to a column."""
    x = arrays[0]
    suffix = SUFFIXES.get(x.dtype)
    if suffix is None:
        return NOT_FLOAT
    if not x.size:
        return EMPTY
    if any(a.dtype != x.dtype or a.shape != x.shape for a in arrays):
        return MIXED
    axis %= x.ndim
    n, inner = x.shape[axis], math.prod(x.shape[axis + 1:])
    if n >= 1 << 31:
        return TOO_LONG
    y = cupy.empty(x.shape, x.dtype)
    given = (*map(plain, arrays), y)
    if inner == 1:
        block = team(n, x.dtype)
        native(f"{name}_{suffix}", blocks(x.size // n, block[1]), block, *given, x.size // n,
               np.int32(n), log)
    else:
        columns = x.size // n
        native(f"{name}_columns_{suffix}", blocks(columns, 256), 256, *given, columns,
               np.int32(n), inner, log)
    return y


@kernel("softmax", cupy.ndarray, dtypes=HALVES)
def softmax(x: Any, *, axis: int) -> Any:
    """Maximum, sum of exponentials and result of a row that is read once."""
    return _softmax("softmax", (x,), axis, False)


@kernel("log_softmax", cupy.ndarray, dtypes=HALVES)
def log_softmax(x: Any, *, axis: int) -> Any:
    """As softmax, with the logarithm of the sum taken away."""
    return _softmax("softmax", (x,), axis, True)


@kernel("softmax_grad", cupy.ndarray, dtypes=HALVES)
def softmax_grad(g: Any, y: Any, *, axis: int) -> Any:
    """The dot product of g and y, and the gradient, of rows that are read once."""
    return _softmax("softmax_grad", (g, y), axis, False)


@kernel("log_softmax_grad", cupy.ndarray, dtypes=HALVES)
def log_softmax_grad(g: Any, y: Any, *, axis: int) -> Any:
    """The sum of g, and the gradient, of rows that are read once."""
    return _softmax("softmax_grad", (g, y), axis, True)


# -- cross entropy ---------------------------------------------------------------------------------


def _loss_inputs(logits: Any, target: Any, weight: Any) -> Any:
    """(suffix, logits, class numbers, weights) as the kernels take them, or why not."""
    suffix = SUFFIXES.get(logits.dtype)
    if suffix is None:
        return NOT_FLOAT
    if not logits.size:
        return EMPTY
    if logits.shape[1] >= 1 << 31:
        return TOO_LONG
    if weight is not None:
        weight = plain(weight.astype(logits.dtype, copy=False))
    return suffix, plain(logits), plain(target.astype(np.int64, copy=False)), weight


@kernel("cross_entropy", cupy.ndarray, dtypes=HALVES)
def cross_entropy(logits: Any, target: Any, weight: Any = None, *, ignore_index: int,
                  reduction: str, label_smoothing: float) -> Any:
    """Maximum and sum of exponentials of a row that is read once; two numbers of it are kept."""
    found = _loss_inputs(logits, target, weight)
    if type(found) is str:
        return found
    suffix, x, target, weight = found
    rows, n = x.shape
    loss, kept = cupy.empty(rows, np.float32), cupy.empty((rows, 2), np.float32)
    block = team(n, x.dtype)
    losses(f"cross_entropy_{suffix}", blocks(rows, block[1]), block, x, target, weight, loss, kept,
           rows, np.int32(n), int(ignore_index), float(label_smoothing))
    if reduction == "none":
        return loss.astype(x.dtype, copy=False), kept
    total = cupy.empty((), x.dtype)
    losses(f"cross_entropy_total_{suffix}", 1, 1024, loss, target, weight, total, None, rows,
           np.int32(n), int(ignore_index), reduction == "mean")
    return total, kept


@kernel("cross_entropy_vjp", cupy.ndarray, dtypes=HALVES)
def cross_entropy_vjp(g: Any, loss: Any, kept: Any, logits: Any, target: Any, weight: Any = None,
                      *, needs: Any, ignore_index: int, reduction: str,
                      label_smoothing: float) -> Any:
    """The softmax of a row again, scaled, and less the target: one pass over the logits."""
    found = _loss_inputs(logits, target, weight)
    if type(found) is str:
        return found
    if kept.dtype != np.float32:
        return MIXED
    suffix, x, target, weight = found
    rows, n = x.shape
    sums, gx = cupy.empty(2, np.float32), cupy.empty(x.shape, x.dtype)
    losses(f"cross_entropy_total_{suffix}", 1, 1024, None, target, weight, None, sums, rows,
           np.int32(n), int(ignore_index), False)
    block = team(n, x.dtype)
    losses(f"cross_entropy_grad_{suffix}", blocks(rows, block[1]), block,
           plain(g.astype(x.dtype, copy=False)), plain(kept), x, target, weight, sums, gx, rows,
           np.int32(n), int(ignore_index), float(label_smoothing), reduction == "mean",
           reduction == "none")
    return gx, None, None
