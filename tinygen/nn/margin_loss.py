"""Losses with a margin, as modules: `loss(input, target)`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..tensor import Tensor
from . import functional as F
from .loss import _Loss

__all__ = ["CosineEmbeddingLoss", "HingeEmbeddingLoss", "HingeLoss", "MarginRankingLoss",
           "MultiLabelMarginLoss", "MultiLabelSoftMarginLoss", "MultiMarginLoss",
           "SoftMarginLoss", "TripletMarginLoss", "TripletMarginWithDistanceLoss"]


class SoftMarginLoss(_Loss):
    """log(1 + exp(-target * input)) for targets 1 and -1."""

    def __init__(self, size_average: None = None, reduce: None = None, reduction: str = "mean"):
        super().__init__(size_average, reduce, reduction)

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.soft_margin_loss(input, target, reduction=self.reduction)


class HingeLoss(_Loss):
    """max(0, margin - target * input) for targets 1 and -1; its square if `squared`."""

    def __init__(self, margin: float = 1.0, reduction: str = "mean", squared: bool = False):
        super().__init__(reduction=reduction)
        self.margin, self.squared = margin, squared

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.hinge_loss(input, target, self.margin, self.reduction, self.squared)


class HingeEmbeddingLoss(_Loss):
    """The distance itself for target 1, max(0, margin - distance) for target -1."""

    def __init__(self, margin: float = 1.0, size_average: None = None, reduce: None = None,
                 reduction: str = "mean"):
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.hinge_embedding_loss(input, target, self.margin, reduction=self.reduction)


class MarginRankingLoss(_Loss):
    """max(0, -target * (input1 - input2) + margin)."""

    def __init__(self, margin: float = 0.0, size_average: None = None, reduce: None = None,
                 reduction: str = "mean"):
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input1: Any, input2: Any, target: Any) -> Tensor:
        return F.margin_ranking_loss(input1, input2, target, self.margin, reduction=self.reduction)


class CosineEmbeddingLoss(_Loss):
    """1 - cos(input1, input2) for target 1, max(0, cos - margin) for target -1."""

    def __init__(self, margin: float = 0.0, size_average: None = None, reduce: None = None,
                 reduction: str = "mean"):
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input1: Any, input2: Any, target: Any) -> Tensor:
        return F.cosine_embedding_loss(input1, input2, target, self.margin,
                                       reduction=self.reduction)


class MultiMarginLoss(_Loss):
    """sum over the other classes i of max(0, margin - x[target] + x[i])^p / C."""

    def __init__(self, p: int = 1, margin: float = 1.0, weight: Tensor | None = None,
                 size_average: None = None, reduce: None = None, reduction: str = "mean"):
        super().__init__(size_average, reduce, reduction, weight)
        if p not in (1, 2):
            raise ValueError(f"[MultiMarginLoss] p must be 1 or 2, got {p}")
        self.p, self.margin = p, margin

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.multi_margin_loss(input, target, self.p, self.margin, self.weight,
                                   reduction=self.reduction)


class MultiLabelMarginLoss(_Loss):
    """sum over targets j and other classes i of max(0, 1 - (x[j] - x[i])) / C."""

    def __init__(self, size_average: None = None, reduce: None = None, reduction: str = "mean"):
        super().__init__(size_average, reduce, reduction)

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.multilabel_margin_loss(input, target, reduction=self.reduction)


class MultiLabelSoftMarginLoss(_Loss):
    """-mean over classes of t log sigmoid(x) + (1 - t) log sigmoid(-x), times `weight`."""

    def __init__(self, weight: Tensor | None = None, size_average: None = None,
                 reduce: None = None, reduction: str = "mean"):
        super().__init__(size_average, reduce, reduction, weight)

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.multilabel_soft_margin_loss(input, target, self.weight, reduction=self.reduction)


class TripletMarginLoss(_Loss):
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), with d(x, y) = |x - y + eps|_p.

    `swap` takes the smaller of d(anchor, negative) and d(positive, negative).
    """

    def __init__(self, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False,
                 size_average: None = None, reduce: None = None, reduction: str = "mean"):
        super().__init__(size_average, reduce, reduction)
        if margin <= 0:
            raise ValueError(f"[TripletMarginLoss] margin must be positive, got {margin}")
        self.margin, self.p, self.eps, self.swap = margin, p, eps, swap

    def forward(self, anchor: Any, positive: Any, negative: Any) -> Tensor:
        return F.triplet_margin_loss(anchor, positive, negative, self.margin, self.p, self.eps,
                                     self.swap, reduction=self.reduction)


class TripletMarginWithDistanceLoss(_Loss):
    """`TripletMarginLoss` with a distance of one's own (the Euclidean one by default)."""

    def __init__(self, *, distance_function: Callable[[Any, Any], Any] | None = None,
                 margin: float = 1.0, swap: bool = False, reduction: str = "mean"):
        super().__init__(reduction=reduction)
        if margin <= 0:
            raise ValueError(f"[TripletMarginWithDistanceLoss] margin must be positive, got "
                             f"{margin}")
        self.distance_function = distance_function
        self.margin, self.swap = margin, swap

    def forward(self, anchor: Any, positive: Any, negative: Any) -> Tensor:
        return F.triplet_margin_with_distance_loss(
            anchor, positive, negative, distance_function=self.distance_function,
            margin=self.margin, swap=self.swap, reduction=self.reduction)
