"""Likelihoods, sequences, pairs and images as losses: modules that call `nn.functional`."""

from __future__ import annotations

import math
from typing import Any

from ..tensor import Tensor
from . import functional as F
from .linear import Linear
from .loss import _Loss

__all__ = ["CTCLoss", "DiceLoss", "GaussianNLLLoss", "InfoNCELoss",
           "LinearCrossEntropyLoss", "NTXentLoss", "PoissonNLLLoss", "SSIMLoss",
           "SigmoidFocalLoss"]


class PoissonNLLLoss(_Loss):
    """exp(input) - target * input, for counts; `input` is the logarithm of the rate."""

    def __init__(self, log_input: bool = True, full: bool = False, size_average: None = None,
                 eps: float = 1e-8, reduce: None = None, reduction: str = "mean"):
        super().__init__(size_average, reduce, reduction)
        self.log_input, self.full, self.eps = log_input, full, eps

    def forward(self, log_input: Any, target: Any) -> Tensor:
        return F.poisson_nll_loss(log_input, target, self.log_input, self.full,
                                  eps=self.eps, reduction=self.reduction)


class GaussianNLLLoss(_Loss):
    """(log(var) + (input - target)^2 / var) / 2."""

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean"):
        super().__init__(reduction=reduction)
        self.full, self.eps = full, eps

    def forward(self, input: Any, target: Any, var: Any) -> Tensor:
        return F.gaussian_nll_loss(input, target, var, self.full, self.eps, self.reduction)


class LinearCrossEntropyLoss(_Loss):
    """cross_entropy(linear(input), target): a last layer and its loss, under `linear.weight`.

    Args:
        in_features: length of an input vector; inputs are (N, in_features) or (in_features,).
        num_classes: C; targets are class numbers (N, *out_features), or probabilities
            (N, C, *out_features).
        out_features: how many decisions are taken for each input, for example (height, width).
        ignore_index: targets that do not count; None stands for -100.
        options: PyTorch's choice of how to divide the work; has no effect on the result.
    """

    def __init__(self, in_features: int, num_classes: int, *, out_features: tuple[int, ...] = (),
                 bias: bool = False, device: Any = None, dtype: Any = None,
                 reduction: str = "mean", weight: Tensor | None = None,
                 ignore_index: int | None = None, label_smoothing: float = 0.0,
                 options: Any = None):
        super().__init__(reduction=reduction, weight=weight)
        if weight is not None and tuple(weight.shape) != (num_classes,):
            raise ValueError(f"[LinearCrossEntropyLoss] weight has shape {tuple(weight.shape)}; "
                             f"{num_classes} classes need ({num_classes},)")
        self.num_classes, self.out_features = num_classes, tuple(out_features)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing
        self.linear = Linear(in_features, math.prod(self.out_features, start=num_classes),
                             bias=bias, device=device, dtype=dtype)

    def forward(self, input: Any, target: Any) -> Tensor:
        shape = (self.num_classes, *self.out_features)
        bias = self.linear.bias
        return F.linear_cross_entropy(
            input, self.linear.weight.reshape((*shape, -1)), target,
            linear_bias=None if bias is None else bias.reshape(shape), weight=self.weight,
            reduction=self.reduction, ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing)


class CTCLoss(_Loss):
    """-log of the probability that frames with log-probabilities (T, N, C) read as the targets."""

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False):
        super().__init__(reduction=reduction)
        self.blank, self.zero_infinity = blank, zero_infinity

    def forward(self, log_probs: Any, targets: Any, input_lengths: Any,
                target_lengths: Any) -> Tensor:
        return F.ctc_loss(log_probs, targets, input_lengths, target_lengths, self.blank,
                          self.reduction, self.zero_infinity)


class InfoNCELoss(_Loss):
    """Each query has to find its key among all keys, or among `negatives`."""

    def __init__(self, temperature: float = 0.1, reduction: str = "mean"):
        super().__init__(reduction=reduction)
        self.temperature = temperature

    def forward(self, query: Any, key: Any, negatives: Any = None) -> Tensor:
        return F.info_nce(query, key, negatives, self.temperature, self.reduction)


class NTXentLoss(_Loss):
    """Each of two views of a batch has to find the other one."""

    def __init__(self, temperature: float = 0.5, reduction: str = "mean"):
        super().__init__(reduction=reduction)
        self.temperature = temperature

    def forward(self, z1: Any, z2: Any) -> Tensor:
        return F.nt_xent(z1, z2, self.temperature, self.reduction)


class SSIMLoss(_Loss):
    """1 - ssim(input, target): structural dissimilarity of images (N, C, H, W)."""

    def __init__(self, data_range: float = 1.0, window_size: int = 11, sigma: float = 1.5,
                 k1: float = 0.01, k2: float = 0.03, reduction: str = "mean"):
        super().__init__(reduction=reduction)
        self.options: dict[str, Any] = {"data_range": data_range, "window_size": window_size,
                                        "sigma": sigma, "k1": k1, "k2": k2}

    def forward(self, input: Any, target: Any) -> Tensor:
        value = F.ssim(input, target, **self.options, reduction=self.reduction)
        whole = input.shape[0] if self.reduction == "sum" else 1
        return whole - value


class DiceLoss(_Loss):
    """1 - (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth), for masks of probabilities."""

    def __init__(self, smooth: float = 1.0, reduction: str = "mean"):
        super().__init__(reduction=reduction)
        self.smooth = smooth

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.dice_loss(input, target, self.smooth, self.reduction)


class SigmoidFocalLoss(_Loss):
    """alpha_t (1 - p_t)^gamma (-log p_t) with p = sigmoid(input)."""

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0, reduction: str = "none"):
        super().__init__(reduction=reduction)
        self.alpha, self.gamma = alpha, gamma

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.sigmoid_focal_loss(input, target, self.alpha, self.gamma, self.reduction)
