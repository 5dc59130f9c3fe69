"""Losses as modules: `loss(input, target)`; `reduction` is "mean", "sum" or "none".

`size_average` and `reduce` keep PyTorch's places among the arguments and are refused by name.
"""

from __future__ import annotations

from typing import Any

from ..ops.loss import REDUCTIONS
from ..tensor import Tensor
from . import functional as F
from .functional.loss import chosen
from .module import Module

__all__ = ["BCELoss", "BCEWithLogitsLoss", "CrossEntropyLoss", "HuberLoss", "KLDivLoss", "L1Loss",
           "MSELoss", "NLLLoss", "NLLLoss2d", "SmoothL1Loss"]


class _Loss(Module):
    """Keeps the reduction; a class weight is a buffer, as in PyTorch."""

    _reductions: tuple[str, ...] = REDUCTIONS

    def __init__(self, size_average: None = None, reduce: None = None, reduction: str = "mean",
                 weight: Tensor | None = None):
        super().__init__()
        self.reduction = chosen(type(self).__name__, size_average, reduce, reduction,
                                self._reductions)
        self.register_buffer("weight", weight)

    def extra_repr(self) -> str:
        return "" if self.reduction == "mean" else f"reduction={self.reduction!r}"


class MSELoss(_Loss):
    """(input - target)^2."""

    def __init__(self, size_average: None = None, reduce: None = None, reduction: str = "mean"):
        super().__init__(size_average, reduce, reduction)

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """|input - target|."""

    def __init__(self, size_average: None = None, reduce: None = None, reduction: str = "mean"):
        super().__init__(size_average, reduce, reduction)

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    """d^2 / (2 beta) where d = |input - target| is below beta, d - beta / 2 elsewhere."""

    def __init__(self, size_average: None = None, reduce: None = None, reduction: str = "mean",
                 beta: float = 1.0):
        super().__init__(size_average, reduce, reduction)
        self.beta = beta

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(_Loss):
    """d^2 / 2 where d = |input - target| is below delta, delta (d - delta / 2) elsewhere."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0):
        super().__init__(reduction=reduction)
        self.delta = delta

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.huber_loss(input, target, self.reduction, self.delta)


class BCELoss(_Loss):
    """-t log(p) - (1 - t) log(1 - p) for probabilities p; the logarithms stop at -100."""

    def __init__(self, weight: Tensor | None = None, size_average: None = None,
                 reduce: None = None, reduction: str = "mean"):
        super().__init__(size_average, reduce, reduction, weight)

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_Loss):
    """-t log(p) - (1 - t) log(1 - p) with p = sigmoid(input), without overflow.

    `weight` rescales elements, `pos_weight` the first term (both broadcast).
    """

    def __init__(self, weight: Tensor | None = None, size_average: None = None,
                 reduce: None = None, reduction: str = "mean", pos_weight: Tensor | None = None):
        super().__init__(size_average, reduce, reduction, weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight)


class CrossEntropyLoss(_Loss):
    """-log softmax(input)[target] over the classes, axis 1 of (N, C) or (N, C, d1, ...).

    Targets are class numbers (N,), (N, d1, ...), or probabilities of the input's shape.
    """

    def __init__(self, weight: Tensor | None = None, size_average: None = None,
                 ignore_index: int = -100, reduce: None = None, reduction: str = "mean",
                 label_smoothing: float = 0.0):
        super().__init__(size_average, reduce, reduction, weight)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.cross_entropy(input, target, self.weight, ignore_index=self.ignore_index,
                               reduction=self.reduction, label_smoothing=self.label_smoothing)


class NLLLoss(_Loss):
    """-input[target] over axis 1, for log-probabilities."""

    def __init__(self, weight: Tensor | None = None, size_average: None = None,
                 ignore_index: int = -100, reduce: None = None, reduction: str = "mean"):
        super().__init__(size_average, reduce, reduction, weight)
        self.ignore_index = ignore_index

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.nll_loss(input, target, self.weight, ignore_index=self.ignore_index,
                          reduction=self.reduction)


NLLLoss2d = NLLLoss     # PyTorch's old name for inputs (N, C, H, W)


class KLDivLoss(_Loss):
    """target (log(target) - input) for log-probabilities `input`; "batchmean" divides by N."""

    _reductions = (*REDUCTIONS, "batchmean")

    def __init__(self, size_average: None = None, reduce: None = None, reduction: str = "mean",
                 log_target: bool = False):
        super().__init__(size_average, reduce, reduction)
        self.log_target = log_target

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)
