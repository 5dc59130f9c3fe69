"""Losses of `nn.functional`: `reduction` is "mean", "sum" or "none" (one loss per element).

`size_average` and `reduce` keep PyTorch's places among the arguments and are refused by name.
"""

from __future__ import annotations

from typing import Any

from ... import ops
from ...ops.loss import REDUCTIONS, checked, reduced
from ...tensor import Tensor

__all__ = ["binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy",
           "huber_loss", "kl_div", "l1_loss", "mse_loss", "nll_loss", "smooth_l1_loss"]


def chosen(op: str, size_average: Any, reduce: Any, reduction: str,
           allowed: tuple[str, ...] = REDUCTIONS) -> str:
    """The reduction, if it is one of those allowed and PyTorch's old arguments are left out."""
    for name, value in (("size_average", size_average), ("reduce", reduce)):
        if value is not None:
            instead = value if value in allowed else "sum"
            raise TypeError(f"[{op}] {name}={value!r} is PyTorch's old way to ask for a reduction "
                            f"and is not supported; give reduction={instead!r} by name")
    return checked(reduction, op, allowed)


def _weighted(loss: Any, weight: Any, reduction: str, by_weight: bool, op: str) -> Tensor:
    """Losses times their weights; `by_weight` divides the mean by the sum of the weights."""
    weight = ops.asarray(weight, dtype=loss.dtype) if not hasattr(weight, "shape") else weight
    try:
        every = ops.broadcast_to(weight, loss.shape)
    except ValueError:
        raise ValueError(f"[{op}] weight has shape {tuple(weight.shape)}; that of the input, "
                         f"{tuple(loss.shape)}, is expected") from None
    loss = loss * every
    if reduction == "mean" and by_weight:
        return ops.sum(loss) / ops.sum(every)
    return reduced(loss, reduction)


def mse_loss(input: Any, target: Any, size_average: None = None, reduce: None = None,
             reduction: str = "mean", weight: Any = None) -> Tensor:
    """(input - target)^2; with a `weight` for each element the mean is a weighted one."""
    reduction = chosen("mse_loss", size_average, reduce, reduction)
    if weight is None:
        return ops.mse_loss(input, target, reduction)
    return _weighted(ops.mse_loss(input, target, "none"), weight, reduction, True, "mse_loss")


def l1_loss(input: Any, target: Any, size_average: None = None, reduce: None = None,
            reduction: str = "mean", weight: Any = None) -> Tensor:
    """|input - target|; with a `weight` for each element the mean is a weighted one."""
    reduction = chosen("l1_loss", size_average, reduce, reduction)
    if weight is None:
        return ops.l1_loss(input, target, reduction)
    return _weighted(ops.l1_loss(input, target, "none"), weight, reduction, True, "l1_loss")


def smooth_l1_loss(input: Any, target: Any, size_average: None = None, reduce: None = None,
                   reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """d^2 / (2 beta) where d = |input - target| is below beta, d - beta / 2 elsewhere.

    Source: R. Girshick, "Fast R-CNN", ICCV 2015, equation 3.
    """
    reduction = chosen("smooth_l1_loss", size_average, reduce, reduction)
    return ops.smooth_l1_loss(input, target, reduction, beta)


def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0,
               weight: Any = None) -> Tensor:
    """d^2 / 2 where d = |input - target| is below delta, delta (d - delta / 2) elsewhere.

    Each element may have a `weight`; the mean divides by the number of elements all the same, as
    PyTorch's does.

    Source: P. Huber, "Robust Estimation of a Location Parameter", Ann. Math. Stat. 35, 1964.
    """
    checked(reduction, "huber_loss")
    if weight is None:
        return ops.huber_loss(input, target, reduction, delta)
    loss = ops.huber_loss(input, target, "none", delta)
    return _weighted(loss, weight, reduction, False, "huber_loss")


def binary_cross_entropy(input: Any, target: Any, weight: Any = None, size_average: None = None,
                         reduce: None = None, reduction: str = "mean") -> Tensor:
    """-t log(p) - (1 - t) log(1 - p) for probabilities p; the logarithms stop at -100."""
    reduction = chosen("binary_cross_entropy", size_average, reduce, reduction)
    return ops.binary_cross_entropy(input, target, weight, reduction)


def binary_cross_entropy_with_logits(
        input: Any, target: Any, weight: Any = None, size_average: None = None,
        reduce: None = None, reduction: str = "mean", pos_weight: Any = None) -> Tensor:
    """-t log(p) - (1 - t) log(1 - p) with p = sigmoid(input), without overflow."""
    reduction = chosen("binary_cross_entropy_with_logits", size_average, reduce, reduction)
    return ops.binary_cross_entropy_with_logits(input, target, weight, pos_weight, reduction)


def cross_entropy(input: Any, target: Any, weight: Any = None, size_average: None = None,
                  ignore_index: int = -100, reduce: None = None, reduction: str = "mean",
                  label_smoothing: float = 0.0) -> Tensor:
    """-log softmax(input)[target] over axis 1; targets are class numbers or probabilities."""
    reduction = chosen("cross_entropy", size_average, reduce, reduction)
    return ops.cross_entropy(input, target, weight, ignore_index, reduction, label_smoothing)


def nll_loss(input: Any, target: Any, weight: Any = None, size_average: None = None,
             ignore_index: int = -100, reduce: None = None, reduction: str = "mean") -> Tensor:
    """-input[target] over axis 1, for log-probabilities."""
    reduction = chosen("nll_loss", size_average, reduce, reduction)
    return ops.nll_loss(input, target, weight, ignore_index, reduction)


def kl_div(input: Any, target: Any, size_average: None = None, reduce: None = None,
           reduction: str = "mean", log_target: bool = False) -> Tensor:
    """target (log(target) - input) for log-probabilities `input`.

    ``"batchmean"`` divides the sum by the first axis: the divergence as mathematics has it.
    """
    reduction = chosen("kl_div", size_average, reduce, reduction, (*REDUCTIONS, "batchmean"))
    return ops.kl_div(input, target, reduction, log_target)
