"""Losses with a margin: scores that have to lie apart by some distance, and no further."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import backend, ops
from ...mode import reads
from ...ops.loss import checked, reduced
from ...tensor import Tensor
from .loss import chosen

__all__ = ["cosine_embedding_loss", "hinge_embedding_loss", "hinge_loss", "margin_ranking_loss",
           "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss",
           "soft_margin_loss", "triplet_margin_loss", "triplet_margin_with_distance_loss"]


def _tensors(op: str, **named: Any) -> list[Any]:
    """Arguments as tensors that broadcast together."""
    made = [x if hasattr(x, "shape") else Tensor(x) for x in named.values()]
    try:
        np.broadcast_shapes(*(tuple(x.shape) for x in made))
    except ValueError:
        shown = ", ".join(f"{n}: {tuple(x.shape)}" for n, x in zip(named, made, strict=True))
        raise ValueError(f"[{op}] {shown}: the shapes must be equal or broadcast") from None
    return made


def _rows(input: Any, target: Any, op: str, least: int = 1) -> tuple[Any, Any, bool]:
    """Scores (N, C) and targets with a first axis; the flag tells whether there was one."""
    input, target = (x if hasattr(x, "shape") else Tensor(x) for x in (input, target))
    if input.ndim < 2:
        return (ops.reshape(input, (1, -1)), ops.reshape(target, (1, -1) if least else (1,)),
                False)
    if input.ndim != 2 or target.shape[:1] != input.shape[:1]:
        raise ValueError(f"[{op}] the input has shape {tuple(input.shape)}, the target "
                         f"{tuple(target.shape)}; (N, C) and N targets fit together")
    return input, target, True


# -- two classes ----------------------------------------------------------------------------------


def soft_margin_loss(input: Any, target: Any, size_average: None = None, reduce: None = None,
                     reduction: str = "mean") -> Tensor:
    """log(1 + exp(-target * input)) for targets 1 and -1."""
    chosen("soft_margin_loss", size_average, reduce, reduction)
    input, target = _tensors("soft_margin_loss", input=input, target=target)
    return reduced(-ops.log_sigmoid(target * input), reduction)


def hinge_loss(input: Any, target: Any, margin: float = 1.0, reduction: str = "mean",
               squared: bool = False) -> Tensor:
    """max(0, margin - target * input) for targets 1 and -1: the support vector machine's loss.

    Source: C. Cortes and V. Vapnik, "Support-Vector Networks", Machine Learning 20, 1995.
    """
    checked(reduction, "hinge_loss")
    input, target = _tensors("hinge_loss", input=input, target=target)
    loss = ops.relu(margin - target * input)
    return reduced(ops.square(loss) if squared else loss, reduction)


def hinge_embedding_loss(input: Any, target: Any, margin: float = 1.0, size_average: None = None,
                         reduce: None = None, reduction: str = "mean") -> Tensor:
    """The distance itself for target 1, max(0, margin - distance) for target -1."""
    chosen("hinge_embedding_loss", size_average, reduce, reduction)
    input, target = _tensors("hinge_embedding_loss", input=input, target=target)
    apart = ops.where(ops.not_equal(target, 1), ops.clip(margin - input, min=0), 0)
    near = ops.where(ops.not_equal(target, -1), input, 0)
    return reduced(apart + near, reduction)


def margin_ranking_loss(input1: Any, input2: Any, target: Any, margin: float = 0,
                        size_average: None = None, reduce: None = None,
                        reduction: str = "mean") -> Tensor:
    """max(0, -target * (input1 - input2) + margin): the first ranks higher for target 1."""
    chosen("margin_ranking_loss", size_average, reduce, reduction)
    input1, input2, target = _tensors("margin_ranking_loss", input1=input1, input2=input2,
                                      target=target)
    return reduced(ops.clip(-target * (input1 - input2) + margin, min=0), reduction)


def cosine_embedding_loss(input1: Any, input2: Any, target: Any, margin: float = 0,
                          size_average: None = None, reduce: None = None,
                          reduction: str = "mean") -> Tensor:
    """1 - cos(input1, input2) for target 1, max(0, cos - margin) for target -1.

    Inputs are (N, D) with targets (N,), or (D,) with one target.
    """
    op = "cosine_embedding_loss"
    chosen(op, size_average, reduce, reduction)
    input1, input2 = _tensors(op, input1=input1, input2=input2)
    target = target if hasattr(target, "shape") else Tensor(target)
    if input1.ndim not in (1, 2) or target.ndim != input1.ndim - 1:
        raise ValueError(f"[{op}] inputs {tuple(input1.shape)} and target {tuple(target.shape)}: "
                         "(N, D) and (N,), or (D,) and () fit together")
    dot = ops.sum(input1 * input2, axis=-1)
    lengths = [ops.sum(ops.square(x), axis=-1) + 1e-12 for x in (input1, input2)]
    cos = dot / ops.sqrt(lengths[0] * lengths[1])
    loss = (ops.where(ops.equal(target, 1), 1 - cos, 0)
            + ops.where(ops.equal(target, -1), ops.clip(cos - margin, min=0), 0))
    return reduced(loss, reduction)


# -- several classes ------------------------------------------------------------------------------


def multi_margin_loss(input: Any, target: Any, p: int = 1, margin: float = 1.0,
                      weight: Any = None, size_average: None = None, reduce: None = None,
                      reduction: str = "mean") -> Tensor:
    """sum over the other classes i of max(0, margin - x[target] + x[i])^p / C.

    Args:
        input: scores (N, C) or (C,).
        target: class numbers (N,) or ().
        p: 1 or 2.
        weight: (C,) a factor for each target class, inside the power as in PyTorch.
    """
    op = "multi_margin_loss"
    chosen(op, size_average, reduce, reduction)
    if p not in (1, 2):
        raise ValueError(f"[{op}] p must be 1 or 2, got {p}")
    rows, classes, batched = _rows(input, target, op, 0)
    count = rows.shape[1]
    _class_numbers(classes, count, op)
    own = ops.take_along_axis(rows, classes.reshape((-1, 1)), 1)          # (N, 1)
    loss = ops.relu(margin - own + rows)
    loss = ops.square(loss) if p == 2 else loss
    if weight is not None:
        loss = loss * ops.take(weight, classes).reshape((-1, 1))
    others = ops.not_equal(ops.arange(count, device=classes.device), classes.reshape((-1, 1)))
    loss = ops.sum(ops.where(others, loss, 0), axis=1) / count
    if reduction == "none" and not batched:
        return loss[0]
    return reduced(loss, reduction)


def _class_numbers(target: Any, count: int, op: str, least: int = 0) -> None:
    values = target.data if isinstance(target, Tensor) else target
    if values.dtype.kind not in "iu":
        raise TypeError(f"[{op}] the target must hold integers, got {values.dtype}")
    if isinstance(values, np.ndarray) and values.size and (        # a GPU is not waited for
            values.min() < least or values.max() >= count):
        raise ValueError(f"[{op}] the target has numbers from {values.min()} to {values.max()}; "
                         f"there are {count} classes ({least} to {count - 1})")


def multilabel_margin_loss(input: Any, target: Any, size_average: None = None,
                           reduce: None = None, reduction: str = "mean") -> Tensor:
    """sum over targets j and other classes i of max(0, 1 - (x[j] - x[i])) / C.

    Args:
        input: scores (N, C) or (C,).
        target: class numbers of the same shape; what follows the first -1 does not count.
    """
    op = "multilabel_margin_loss"
    chosen(op, size_average, reduce, reduction)
    rows, labels, batched = _rows(input, target, op)
    if labels.shape != rows.shape:
        raise ValueError(f"[{op}] the input has shape {tuple(rows.shape)}, the target "
                         f"{tuple(labels.shape)}; they must be equal")
    n, count = rows.shape
    _class_numbers(labels, count, op, -1)
    reads(op, labels)
    bare = labels.data if isinstance(labels, Tensor) else labels
    numbers = backend.to_device(bare, "cpu")
    counts = np.logical_and.accumulate(numbers >= 0, axis=1)              # until the first -1
    known = np.where(counts, numbers, 0)
    is_target = np.zeros((n, count), bool)
    is_target[np.nonzero(counts)[0], known[counts]] = True
    own = ops.take_along_axis(rows, Tensor(known, device=rows.device), 1)  # (N, C)
    gaps = ops.relu(1 - own[:, :, None] + rows[:, None, :])               # (N, target, class)
    counted = Tensor(counts[:, :, None] & ~is_target[:, None, :], device=rows.device)
    loss = ops.sum(ops.where(counted, gaps, 0), axis=(1, 2)) / count
    if reduction == "none" and not batched:
        return loss[0]
    return reduced(loss, reduction)


def multilabel_soft_margin_loss(input: Any, target: Any, weight: Any = None,
                                size_average: None = None, reduce: None = None,
                                reduction: str = "mean") -> Tensor:
    """-mean over classes of t log sigmoid(x) + (1 - t) log sigmoid(-x), times `weight`."""
    op = "multilabel_soft_margin_loss"
    chosen(op, size_average, reduce, reduction)
    input, target = _tensors(op, input=input, target=target)
    loss = -(target * ops.log_sigmoid(input) + (1 - target) * ops.log_sigmoid(-input))
    if weight is not None:
        loss = loss * weight
    return reduced(ops.mean(loss, axis=-1), reduction)


# -- triplets -------------------------------------------------------------------------------------


def triplet_margin_loss(anchor: Any, positive: Any, negative: Any, margin: float = 1.0,
                        p: float = 2, eps: float = 1e-6, swap: bool = False,
                        size_average: None = None, reduce: None = None,
                        reduction: str = "mean") -> Tensor:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), with d(x, y) = |x - y + eps|_p.

    Args:
        swap: take the smaller of d(anchor, negative) and d(positive, negative).

    Source: V. Balntas et al., "Learning Local Feature Descriptors with Triplets and Shallow
    Convolutional Neural Networks", BMVC 2016.
    """
    chosen("triplet_margin_loss", size_average, reduce, reduction)
    from .distance import pairwise_distance
    return _triplet(anchor, positive, negative, lambda x, y: pairwise_distance(x, y, p, eps),
                    margin, swap, reduction, "triplet_margin_loss")


def triplet_margin_with_distance_loss(
        anchor: Any, positive: Any, negative: Any, *,
        distance_function: Callable[[Any, Any], Any] | None = None, margin: float = 1.0,
        swap: bool = False, reduction: str = "mean") -> Tensor:
    """`triplet_margin_loss` with a distance of one's own (the Euclidean one by default)."""
    from .distance import pairwise_distance
    return _triplet(anchor, positive, negative, distance_function or pairwise_distance, margin,
                    swap, reduction, "triplet_margin_with_distance_loss")


def _triplet(anchor: Any, positive: Any, negative: Any, distance: Callable[[Any, Any], Any],
             margin: float, swap: bool, reduction: str, op: str) -> Tensor:
    checked(reduction, op)
    if margin <= 0:
        raise ValueError(f"[{op}] margin must be positive, got {margin}")
    anchor, positive, negative = _tensors(op, anchor=anchor, positive=positive, negative=negative)
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = ops.minimum(far, distance(positive, negative))
    return reduced(ops.clip(margin + near - far, min=0), reduction)
