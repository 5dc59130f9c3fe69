"""Batch, layer and group normalisation."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..tensor import Tensor
from . import functional as F
from . import init
from .linear import count, new_parameter
from .module import Module

__all__ = ["BatchNorm1d", "BatchNorm2d", "GroupNorm", "LayerNorm"]


def _ones_and_zeros(weight: Tensor | None, bias: Tensor | None) -> None:
    """The start of a normalisation's affine map: the identity."""
    if weight is not None:
        init.ones_(weight)
    if bias is not None:
        init.zeros_(bias)


class _BatchNorm(Module):
    """Batch normalisation over axis 1; subclasses say which numbers of axes they take."""

    _ndims: tuple[int, ...] = ()
    _shapes = ""

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
                 affine: bool = True, track_running_stats: bool = True, device: Any = None,
                 dtype: Any = None, *, bias: bool = True):
        super().__init__()
        self.num_features = n = count(num_features, type(self).__name__, "num_features")
        self.eps, self.momentum, self.affine = eps, momentum, affine
        self.track_running_stats = track_running_stats
        kind = dtype or "float32"
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            self.register_parameter(name, new_parameter((n,), dtype, device) if wanted else None)
        track = track_running_stats
        self.register_buffer("running_mean",
                             ops.zeros((n,), dtype=kind, device=device) if track else None)
        self.register_buffer("running_var",
                             ops.ones((n,), dtype=kind, device=device) if track else None)
        self.register_buffer("num_batches_tracked",
                             ops.zeros((), dtype="int64", device=device) if track else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1, no batches seen."""
        if self.track_running_stats:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            init.zeros_(self.num_batches_tracked)

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, and the running statistics as new."""
        self.reset_running_stats()
        _ones_and_zeros(self.weight, self.bias)

    def forward(self, input: Any) -> Tensor:
        shape = input.shape
        if len(shape) not in self._ndims or shape[1] != self.num_features:
            raise ValueError(
                f"[{type(self).__name__}] expected {self._shapes} with C = {self.num_features} "
                f"features, got x of shape {tuple(shape)}")
        factor = 0.0 if self.momentum is None else self.momentum
        tracking = self.training and self.num_batches_tracked is not None
        if tracking:
            seen = self.num_batches_tracked
            seen.data[...] += 1
            seen.touch()
            if self.momentum is None:   # the plain average of all batches
                factor = 1 / int(seen.data)
        own = self.training or self.running_mean is None
        update = not self.training or self.track_running_stats
        return F.batch_norm(input, self.running_mean if update else None,
                            self.running_var if update else None, self.weight, self.bias, own,
                            factor, self.eps)

    def extra_repr(self) -> str:
        return (f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
                f"affine={self.affine}, bias={self.bias is not None}, "
                f"track_running_stats={self.track_running_stats}")


class BatchNorm1d(_BatchNorm):
    """(x - mean) / sqrt(var + eps) * weight + bias per feature of (N, C) or (N, C, L).

    In training the statistics are the batch's, and running ones follow them with `momentum`
    (None: their plain average); in evaluation the running ones are used, if they are tracked.
    """

    _ndims = (2, 3)
    _shapes = "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images (N, C, H, W), per channel; see `BatchNorm1d`."""

    _ndims = (4,)
    _shapes = "(N, C, H, W)"


class LayerNorm(Module):
    """(x - mean) / sqrt(var + eps) * weight + bias, with statistics over the last axes.

    Args:
        normalized_shape: the shape of those axes (an int: the last axis).
        elementwise_affine: learn a weight of that shape, and a bias if `bias`.
    """

    def __init__(self, normalized_shape: Any, eps: float = 1e-5, elementwise_affine: bool = True,
                 bias: bool = True, device: Any = None, dtype: Any = None):
        super().__init__()
        self.normalized_shape = ops.shape.as_shape(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        for name, wanted in (("weight", elementwise_affine), ("bias", elementwise_affine and bias)):
            self.register_parameter(
                name, new_parameter(self.normalized_shape, dtype, device) if wanted else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        _ones_and_zeros(self.weight, self.bias)

    def forward(self, input: Any) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (f"{self.normalized_shape}, eps={self.eps}, "
                f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}")


class GroupNorm(Module):
    """Groups of channels of (N, C, ...) normalised, each example alone; then * weight + bias."""

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True,
                 device: Any = None, dtype: Any = None, *, bias: bool = True):
        super().__init__()
        self.num_groups = count(num_groups, "GroupNorm", "num_groups")
        self.num_channels = count(num_channels, "GroupNorm", "num_channels")
        if num_channels % num_groups:
            raise ValueError(f"[GroupNorm] num_channels={num_channels} is no multiple of "
                             f"num_groups={num_groups}")
        self.eps, self.affine = eps, affine
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            self.register_parameter(
                name, new_parameter((num_channels,), dtype, device) if wanted else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        _ones_and_zeros(self.weight, self.bias)

    def forward(self, input: Any) -> Tensor:
        if input.ndim < 2 or input.shape[1] != self.num_channels:
            raise ValueError(f"[GroupNorm] expected (N, {self.num_channels}, ...), got x of shape "
                             f"{tuple(input.shape)}")
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
                f"bias={self.bias is not None}")
