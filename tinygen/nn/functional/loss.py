"""Losses of `nn.functional`: `reduction` is "mean", "sum" or "none" (one loss per element)."""

from __future__ import annotations

from typing import Any

from ... import ops
from ...tensor import Tensor

__all__ = ["binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy",
           "huber_loss", "kl_div", "l1_loss", "mse_loss", "nll_loss", "smooth_l1_loss"]


def mse_loss(input: Any, target: Any, reduction: str = "mean", weight: Any = None) -> Tensor:
    """(input - target)^2; the mean is weighted if `weight` is given."""
    if weight is None:
        return ops.mse_loss(input, target, reduction)
    loss = ops.mse_loss(input, target, "none") * weight
    if reduction == "none":
        return loss
    total = ops.sum(loss)
    return total if reduction == "sum" else total / ops.sum(ops.broadcast_to(weight, loss.shape))


def l1_loss(input: Any, target: Any, reduction: str = "mean") -> Tensor:
    """|input - target|."""
    return ops.l1_loss(input, target, reduction)


def smooth_l1_loss(input: Any, target: Any, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """d^2 / (2 beta) where d = |input - target| is below beta, d - beta / 2 elsewhere."""
    return ops.smooth_l1_loss(input, target, reduction, beta)


def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """d^2 / 2 where d = |input - target| is below delta, delta (d - delta / 2) elsewhere."""
    return ops.huber_loss(input, target, reduction, delta)


def binary_cross_entropy(input: Any, target: Any, weight: Any = None,
                         reduction: str = "mean") -> Tensor:
    """-t log(p) - (1 - t) log(1 - p) for probabilities p; the logarithms stop at -100."""
    return ops.binary_cross_entropy(input, target, weight, reduction)


def binary_cross_entropy_with_logits(input: Any, target: Any, weight: Any = None,
                                     reduction: str = "mean", pos_weight: Any = None) -> Tensor:
    """-t log(p) - (1 - t) log(1 - p) with p = sigmoid(input), without overflow."""
    return ops.binary_cross_entropy_with_logits(input, target, weight, pos_weight, reduction)


def cross_entropy(input: Any, target: Any, weight: Any = None, ignore_index: int = -100,
                  reduction: str = "mean", label_smoothing: float = 0.0) -> Tensor:
    """-log softmax(input)[target] over axis 1; targets are class numbers or probabilities."""
    return ops.cross_entropy(input, target, weight, ignore_index, reduction, label_smoothing)


def nll_loss(input: Any, target: Any, weight: Any = None, ignore_index: int = -100,
             reduction: str = "mean") -> Tensor:
    """-input[target] over axis 1, for log-probabilities."""
    return ops.nll_loss(input, target, weight, ignore_index, reduction)


def kl_div(input: Any, target: Any, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """target (log(target) - input) for log-probabilities `input`.

    ``"batchmean"`` divides the sum by the first axis: the divergence as mathematics has it.
    """
    return ops.kl_div(input, target, reduction, log_target)
