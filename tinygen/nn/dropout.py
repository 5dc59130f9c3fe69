"""Dropout of elements and of channels."""

from __future__ import annotations

from typing import Any

from ..backend import Generator
from ..tensor import Tensor
from . import functional as F
from .module import Module

__all__ = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d",
           "FeatureAlphaDropout"]


class Dropout(Module):
    """In training, each element is zero with probability `p` and the others grow by 1/(1 - p).

    Draws come from `generator`, or from the default one of the input's device.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False, generator: Generator | None = None):
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"[{type(self).__name__}] p must be in [0, 1], got {p}")
        self.p, self.inplace, self.generator = p, inplace, generator

    def forward(self, input: Any) -> Tensor:
        return F.dropout(input, self.p, self.training, generator=self.generator)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout1d(Dropout):
    """Dropout of whole channels of (N, C, L), or (C, L)."""

    def forward(self, input: Any) -> Tensor:
        return F.dropout1d(input, self.p, self.training, generator=self.generator)


class Dropout2d(Dropout):
    """Dropout of whole channels of images (N, C, H, W), or of (N, C, L) with a warning."""

    def forward(self, input: Any) -> Tensor:
        return F.dropout2d(input, self.p, self.training, generator=self.generator)


class Dropout3d(Dropout):
    """Dropout of whole channels of volumes (N, C, D, H, W), or (C, D, H, W)."""

    def forward(self, input: Any) -> Tensor:
        return F.dropout3d(input, self.p, self.training, generator=self.generator)


class AlphaDropout(Dropout):
    """Dropout beside SELU: dropped elements take its lower limit, mean 0 and variance 1 stay."""

    def forward(self, input: Any) -> Tensor:
        return F.alpha_dropout(input, self.p, self.training, generator=self.generator)


class FeatureAlphaDropout(Dropout):
    """`AlphaDropout` of whole channels of (N, C, ...)."""

    def forward(self, input: Any) -> Tensor:
        return F.feature_alpha_dropout(input, self.p, self.training, generator=self.generator)
