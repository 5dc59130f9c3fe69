"""Losses: how far a prediction is from its target, as one number or one per element."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import backend
from ..primitive import primitive
from ..tensor import Tensor
from .activation import sigmoid, sigmoid_grad
from .elementwise import (
    absolute,
    equal,
    exp,
    greater,
    less,
    log,
    maximum,
    not_equal,
    where,
)
from .index import take_along_axis_p
from .norm import log_softmax_p
from .pieces import in_pieces
from .reduce import mean_p, sum_p
from .shape import moveaxis

REDUCTIONS = ("mean", "sum", "none")


def checked(reduction: str, op: str, allowed: tuple[str, ...] = REDUCTIONS) -> str:
    if reduction not in allowed:
        raise ValueError(f"[{op}] reduction must be one of {', '.join(allowed)}, got {reduction!r}")
    return reduction


def reduced(loss: Any, reduction: str) -> Any:
    if reduction == "none":
        return loss
    return mean_p(loss) if reduction == "mean" else sum_p(loss)


def _same_shape(x: Any, target: Any, op: str) -> tuple[Any, Any]:
    """Prediction and target as tensors of one shape (a number serves for all elements)."""
    x = x if hasattr(x, "shape") else Tensor(x)
    target = target if hasattr(target, "shape") else Tensor(target, dtype=x.dtype)
    if x.shape != target.shape and target.shape != ():
        raise ValueError(f"[{op}] the input has shape {tuple(x.shape)}, the target "
                         f"{tuple(target.shape)}; they must be equal")
    return x, target


# -- classes ------------------------------------------------------------------------------------


def _cross_entropy_definition(logits, target, weight=None, *, ignore_index, reduction,
                              label_smoothing):
    logp = log_softmax_p(logits, axis=1)
    loss, share = _pick_loss(logp, target, weight, ignore_index, label_smoothing)
    return _weighted(loss, share, reduction), None


def _pick_loss(logp, target, weight, ignore_index, smoothing):
    """-q . logp for each row, and the weight with which the row counts in the mean."""
    used = not_equal(target, ignore_index)
    classes = where(used, target, 0)
    share = used.astype(logp.dtype)
    if weight is not None:
        share = share * weight[classes]
    loss = -take_along_axis_p(logp, classes[:, None], axis=1)[:, 0] * share
    if smoothing:
        spread = logp if weight is None else logp * weight
        spread = -spread.sum(axis=1) * used
        loss = loss * (1 - smoothing) + spread * (smoothing / logp.shape[1])
    return loss, share


def _weighted(loss, share, reduction):
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    total = share.sum()
    nothing = equal(total, 0)       # only ignored rows: not a number, and no slope
    not_a_number = where(nothing, math.nan, 0).astype(loss.dtype, copy=False)
    return loss.sum() / where(nothing, 1, total) + not_a_number


@primitive(name="cross_entropy", composite=_cross_entropy_definition, outputs=2, differentiable=1)
def cross_entropy_p(xp, logits, target, weight=None, *, ignore_index, reduction, label_smoothing):
    """-log softmax(logits)[target] of each row (N, C), reduced.

    And, for its rule, the maximum of each row and the log of its sum of exp(x - maximum), (N, 2):
    to compute the softmax from them again takes less time than to write it and read it.
    """
    top = logits.max(axis=1, keepdims=True)
    p = logits - top
    rows = xp.arange(p.shape[0])
    used = target != ignore_index
    classes = xp.where(used, target, 0)
    share = used.astype(p.dtype)
    if weight is not None:
        share *= weight[classes]
    at = p[rows, classes]
    spread = None
    if label_smoothing:
        every = p if weight is None else p * weight
        spread = every.sum(axis=1)
    xp.exp(p, out=p)
    lse = xp.log(p.sum(axis=1))
    kept = xp.stack([top[:, 0], lse], axis=1)
    loss = (lse - at) * share
    if spread is not None:
        sum_w = p.shape[1] if weight is None else weight.sum()
        spread = (lse * sum_w - spread) * used
        loss = loss * (1 - label_smoothing) + spread * (label_smoothing / p.shape[1])
    if reduction == "none":
        return loss, kept
    loss = loss.sum()
    if reduction == "mean":
        with np.errstate(invalid="ignore"):     # only ignored rows: 0 / 0
            loss = loss / share.sum()
    return loss, kept


@cross_entropy_p.vjp_joint
def _(needs, gs, ys, logits, target, weight=None, *, ignore_index, reduction, label_smoothing):
    (g,), (_, kept) = gs, ys
    xp = backend.array_module(logits)
    n, c = logits.shape
    p = logits - kept[:, :1]
    p -= kept[:, 1:]
    xp.exp(p, out=p)
    used = target != ignore_index
    classes = target * used
    share = used.astype(p.dtype)
    if weight is not None:
        share = share * weight[classes]
    if reduction == "mean":
        total = share.sum()
        g = g / (total + (total == 0))      # only ignored rows: no slope
    # gradient of -q . log softmax: softmax * sum(q) - q, with q = (1 - e) w_t at t, e w / C around
    own = share * ((1 - label_smoothing) * g)                     # (N,)
    around = used * (g * (label_smoothing / c)) if label_smoothing else None
    if around is None:
        gx = p * own[:, None]
    else:
        all_w = c if weight is None else weight.sum()
        gx = p * (own + around * all_w)[:, None]
        gx -= around[:, None] if weight is None else around[:, None] * weight
    gx[xp.arange(n), classes] -= own
    return gx.astype(p.dtype, copy=False), None, None


def cross_entropy(logits: Any, target: Any, weight: Any = None, ignore_index: int = -100,
                  reduction: str = "mean", label_smoothing: float = 0.0) -> Tensor:
    """-sum(q log softmax(logits)) over the classes (axis 1).

    Args:
        logits: (N, C), (N, C, d1, ...) or (C,): unnormalised log-probabilities.
        target: class numbers (N,), (N, d1, ...) or (); or probabilities of the logits' shape.
        weight: (C,) a factor for each class; the mean is then weighted too.
        ignore_index: rows with this class number count neither in the sum nor in the mean.
        label_smoothing: how much of q is spread evenly over all classes.

    Raises:
        ValueError: a class number is not in [0, C); the message has both.
    """
    op = "cross_entropy"
    checked(reduction, op)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"[{op}] label_smoothing must be in [0, 1], got {label_smoothing}")
    target = target if hasattr(target, "shape") else Tensor(target)
    if target.dtype.kind in "fV":
        if ignore_index >= 0:
            raise ValueError(f"[{op}] ignore_index={ignore_index} has no meaning for target "
                             "probabilities")
        return _soft_cross_entropy(logits, target, weight, reduction, label_smoothing)
    rows, flat, shape = _rows(logits, target, weight, ignore_index, op)
    loss = cross_entropy_p(rows, flat, weight, ignore_index=ignore_index, reduction=reduction,
                           label_smoothing=label_smoothing)[0]
    return loss.reshape(shape) if reduction == "none" else loss


def _soft_cross_entropy(logits, target, weight, reduction, smoothing):
    if tuple(logits.shape) != tuple(target.shape):
        raise ValueError(f"[cross_entropy] logits {tuple(logits.shape)} and target probabilities "
                         f"{tuple(target.shape)} must have one shape; class numbers are integers")
    axis = 1 if logits.ndim > 1 else 0
    classes = logits.shape[axis]
    if smoothing:
        target = target * (1 - smoothing) + smoothing / classes
    logp = log_softmax_p(logits, axis=axis)
    if weight is not None:
        logp = logp * weight.reshape((classes,) + (1,) * (logits.ndim - 1 - axis))
    loss = -(logp * target).sum(axis=axis)
    if reduction == "mean":
        return loss.sum() / (logits.size // classes)
    return reduced(loss, reduction)


def _rows(x, target, weight, ignore_index, op):
    """(N, C, d1, ...) and (N, d1, ...) as (rows, C) and (rows,), with the class numbers checked."""
    if target.dtype.kind not in "iu":
        raise TypeError(f"[{op}] the target must hold integers, got {target.dtype}")
    shape = tuple(target.shape)
    axis = 1 if x.ndim > 1 else 0
    if x.ndim == 0 or tuple(x.shape[:axis]) + tuple(x.shape[axis + 1:]) != shape:
        raise ValueError(f"[{op}] the input has shape {tuple(x.shape)}, the target {shape}; "
                         "(N, C, ...) and (N, ...) fit together")
    classes = x.shape[axis]
    if weight is not None and tuple(weight.shape) != (classes,):
        raise ValueError(f"[{op}] weight has shape {tuple(weight.shape)}; the input "
                         f"{tuple(x.shape)} has {classes} classes")
    values = target.data if isinstance(target, Tensor) else target
    if isinstance(values, np.ndarray):                     # a GPU is not waited for
        _check_classes(values, classes, ignore_index, op)
    if x.ndim == 2:
        return x, target, shape
    if x.ndim > 2:
        x = moveaxis(x, 1, -1)
    return x.reshape((-1, classes)), target.reshape((-1,)), shape


def _check_classes(values: Any, classes: int, ignore_index: int, op: str) -> None:
    size = values.dtype.itemsize        # read as unsigned numbers, those below 0 are the largest
    limit = classes if values.dtype.kind == "u" else min(classes, 1 << 8 * size - 1)
    bad = values.view(f"u{size}") >= limit
    if bad.any() and (bad := bad & (values != ignore_index)).any():
        raise ValueError(f"[{op}] the target holds class {values[bad].ravel()[0]}, but there are "
                         f"{classes} classes (0 to {classes - 1})")


def nll_loss(log_probs: Any, target: Any, weight: Any = None, ignore_index: int = -100,
             reduction: str = "mean") -> Tensor:
    """-log_probs[target] for each row: `cross_entropy` for inputs that are log-probabilities.

    Shapes and arguments as in `cross_entropy`.
    """
    checked(reduction, "nll_loss")
    target = target if hasattr(target, "shape") else Tensor(target)
    rows, flat, shape = _rows(log_probs, target, weight, ignore_index, "nll_loss")
    loss, share = _pick_loss(rows, _as_tensor(flat), _as_tensor(weight), ignore_index, 0)
    return loss.reshape(shape) if reduction == "none" else _weighted(loss, share, reduction)


def _as_tensor(x: Any) -> Any:
    return x if x is None or isinstance(x, Tensor) else Tensor.wrap(x)


# -- probabilities of two classes ---------------------------------------------------------------


@primitive(name="bce_with_logits")
def bce_with_logits_p(xp, x, target, *, reduction):
    """max(x, 0) - x t + log(1 + exp(-|x|)): -t log p - (1 - t) log(1 - p) with p = sigmoid(x)."""
    loss = xp.log1p(xp.exp(-xp.absolute(x)))
    loss += xp.maximum(x, 0)
    loss -= x * target
    if reduction == "none":
        return loss
    return _total(loss, reduction)
bce_with_logits_p.vjp(
    lambda g, out, x, target, reduction: bce_with_logits_grad(x, target, _share(g, x, reduction)),
    lambda g, out, x, target, reduction: -x * _share(g, x, reduction),
)


@primitive(elementwise=True)
@in_pieces
def bce_with_logits_grad(xp, x, target, g):
    """g (sigmoid(x) - target)."""
    with np.errstate(over="ignore"):
        return g * (1 / (1 + xp.exp(-x)) - target)
bce_with_logits_grad.vjp(
    lambda h, out, x, target, g: sigmoid_grad(h * g, sigmoid(x)),
    lambda h, out, x, target, g: -h * g,
    lambda h, out, x, target, g: bce_with_logits_grad(x, target, h),
)


def _total(loss, reduction):
    """The sum or the mean of an array; the mean of nothing is NaN, without NumPy's warning."""
    total = loss.sum() if reduction == "sum" or not loss.size else loss.mean()
    return total if loss.size or reduction == "sum" else total / math.nan


def _share(g, x, reduction):
    return g * (1 / max(1, x.size)) if reduction == "mean" else g


def binary_cross_entropy_with_logits(logits: Any, target: Any, weight: Any = None,
                                     pos_weight: Any = None, reduction: str = "mean") -> Tensor:
    """-t log(p) - (1 - t) log(1 - p) with p = sigmoid(logits), without overflow.

    Args:
        weight: a factor for each element (broadcast).
        pos_weight: a factor for the first term (broadcast), for example one per class.
    """
    op = "binary_cross_entropy_with_logits"
    checked(reduction, op)
    logits, target = _same_shape(logits, target, op)
    if weight is None and pos_weight is None:
        return bce_with_logits_p(logits, target, reduction=reduction)
    if pos_weight is None:
        loss = bce_with_logits_p(logits, target, reduction="none")
    else:
        soft = bce_with_logits_p(logits, 1.0, reduction="none")     # log(1 + exp(-x))
        loss = (1 - target) * logits + (1 + (pos_weight - 1) * target) * soft
    return reduced(loss if weight is None else loss * weight, reduction)


BCE_EPSILON = 9.999999960041972e-13     # PyTorch's: 1e-12, rounded to float32


@primitive(name="bce", elementwise=True)
def bce_p(xp, p, target):
    """-t log(p) - (1 - t) log(1 - p), the logarithms not below -100."""
    with np.errstate(divide="ignore"):
        return (target - 1) * xp.maximum(xp.log1p(-p), -100) - target * xp.maximum(xp.log(p), -100)
bce_p.vjp(
    lambda g, out, p, target: g * (p - target) / maximum((1 - p) * p, BCE_EPSILON),
    lambda g, out, p, target: g * (_log(1 - p) - _log(p)),
)


def _log(x: Any) -> Any:
    """max(log(x), -100), with a slope that stays finite at 0."""
    return maximum(log(maximum(x, 1e-44)), -100)


def binary_cross_entropy(p: Any, target: Any, weight: Any = None,
                         reduction: str = "mean") -> Tensor:
    """-t log(p) - (1 - t) log(1 - p) for probabilities `p`; the logarithms stop at -100.

    `binary_cross_entropy_with_logits` is faster and exact for extreme predictions.
    """
    op = "binary_cross_entropy"
    checked(reduction, op)
    p, target = _same_shape(p, target, op)
    values = p.data if isinstance(p, Tensor) else p
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(f"[{op}] probabilities must be in [0, 1]; got values from "
                         f"{values.min()} to {values.max()}")
    loss = bce_p(p, target)
    return reduced(loss if weight is None else loss * weight, reduction)


# -- distances ----------------------------------------------------------------------------------


@primitive(name="mse_loss")
def mse_loss_p(xp, x, target, *, reduction):
    """(x - target)^2, reduced."""
    d = x - target
    d *= d
    if reduction == "none":
        return d
    return _total(d, reduction)
mse_loss_p.vjp(
    lambda g, out, x, target, reduction: (x - target) * _share(2 * g, x, reduction),
    lambda g, out, x, target, reduction: (target - x) * _share(2 * g, x, reduction),
)


def mse_loss(x: Any, target: Any, reduction: str = "mean") -> Tensor:
    """(x - target)^2, averaged over all elements, summed, or as it is."""
    x, target = _same_shape(x, target, "mse_loss")
    return mse_loss_p(x, target, reduction=checked(reduction, "mse_loss"))


def l1_loss(x: Any, target: Any, reduction: str = "mean") -> Tensor:
    """|x - target|, averaged over all elements, summed, or as it is."""
    x, target = _same_shape(x, target, "l1_loss")
    return reduced(absolute(x - target), checked(reduction, "l1_loss"))


def huber_loss(x: Any, target: Any, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """d^2 / 2 where d = |x - target| is below delta, delta (d - delta / 2) elsewhere."""
    checked(reduction, "huber_loss")
    if delta <= 0:
        raise ValueError(f"[huber_loss] delta must be positive, got {delta}")
    x, target = _same_shape(x, target, "huber_loss")
    return reduced(_huber(absolute(x - target), delta), reduction)


def _huber(d: Any, delta: float) -> Any:
    return where(less(d, delta), 0.5 * d * d, delta * (d - 0.5 * delta))


def smooth_l1_loss(x: Any, target: Any, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """d^2 / (2 beta) where d = |x - target| is below beta, d - beta / 2 elsewhere."""
    checked(reduction, "smooth_l1_loss")
    if beta < 0:
        raise ValueError(f"[smooth_l1_loss] beta must not be negative, got {beta}")
    x, target = _same_shape(x, target, "smooth_l1_loss")
    d = absolute(x - target)
    return reduced(d if beta == 0 else _huber(d, beta) / beta, reduction)


def kl_div(log_q: Any, target: Any, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """target * (log(target) - log_q), elementwise, reduced: the divergence from q to the target.

    Args:
        log_q: log-probabilities.
        target: probabilities, or their logarithms if `log_target`.
        reduction: ``"batchmean"`` divides the sum by the length of the first axis and gives the
            mathematical divergence per row; ``"mean"`` divides by the number of elements.
    """
    checked(reduction, "kl_div", (*REDUCTIONS, "batchmean"))
    log_q, target = _same_shape(log_q, target, "kl_div")
    if log_target:
        loss = exp(target) * (target - log_q)
    else:
        positive = greater(target, 0)
        loss = where(positive, target * log(where(positive, target, 1)), 0) - target * log_q
    if reduction == "batchmean":
        return sum_p(loss) / (max(1, log_q.shape[0]) if log_q.ndim else 1)
    return reduced(loss, reduction)
