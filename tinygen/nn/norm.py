"""Batch, instance, layer, group, root-mean-square and local response normalisation."""

from __future__ import annotations

import warnings
from typing import Any

from .. import ops
from ..tensor import Tensor
from . import functional as F
from . import init
from .linear import count, new_parameter
from .module import Module

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "GroupNorm", "InstanceNorm1d",
           "InstanceNorm2d", "InstanceNorm3d", "LayerNorm", "LocalResponseNorm", "RMSNorm"]


def _ones_and_zeros(weight: Tensor | None, bias: Tensor | None) -> None:
    """The start of a normalisation's affine map: the identity."""
    if weight is not None:
        init.ones_(weight)
    if bias is not None:
        init.zeros_(bias)


class _Norm(Module):
    """What batch and instance normalisation keep: an affine map and running statistics."""

    _ndims: tuple[int, ...] = ()     # numbers of axes that the layer takes
    _shapes = ""                     # the same in words

    def __init__(self, num_features: int, eps: float, momentum: float | None, affine: bool,
                 track_running_stats: bool, device: Any, dtype: Any, bias: bool):
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

    def _misfit(self, shape: Any) -> ValueError:
        return ValueError(
            f"[{type(self).__name__}] expected {self._shapes} with C = {self.num_features} "
            f"features, got x of shape {tuple(shape)}")

    def extra_repr(self) -> str:
        return (f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
                f"affine={self.affine}, bias={self.bias is not None}, "
                f"track_running_stats={self.track_running_stats}")


class _BatchNorm(_Norm):
    """Batch normalisation over axis 1; subclasses say which numbers of axes they take."""

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
                 affine: bool = True, track_running_stats: bool = True, device: Any = None,
                 dtype: Any = None, *, bias: bool = True):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype,
                         bias)

    def forward(self, input: Any) -> Tensor:
        shape = input.shape
        if len(shape) not in self._ndims or shape[1] != self.num_features:
            raise self._misfit(shape)
        own = self.training or self.running_mean is None
        tracked = self.num_batches_tracked
        momentum = 0.0 if self.momentum is None and tracked is None else self.momentum
        keep = not self.training or self.track_running_stats
        return ops.batch_norm(input, self.running_mean if keep else None,
                              self.running_var if keep else None, self.weight, self.bias, own,
                              momentum, self.eps, tracked if self.training else None)


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


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of volumes (N, C, D, H, W), per channel; see `BatchNorm1d`."""

    _ndims = (5,)
    _shapes = "(N, C, D, H, W)"


class _InstanceNorm(_Norm):
    """Instance normalisation; the shorter of `_ndims` is one example without its batch axis."""

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
                 affine: bool = False, track_running_stats: bool = False, device: Any = None,
                 dtype: Any = None, *, bias: bool = True):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype,
                         bias)

    def forward(self, input: Any) -> Tensor:
        shape = tuple(input.shape)
        single = len(shape) == self._ndims[0]
        if len(shape) not in self._ndims:
            raise self._misfit(shape)
        if shape[0 if single else 1] != self.num_features:
            if self.affine or self.track_running_stats:
                raise self._misfit(shape)
            warnings.warn(f"[{type(self).__name__}] x of shape {shape} does not have num_features="
                          f"{self.num_features} channels, which only affine=True needs",
                          stacklevel=3)
        momentum = 0.0 if self.momentum is None else self.momentum
        x = ops.expand_dims(input, 0) if single else input
        y = F.instance_norm(x, self.running_mean, self.running_var, self.weight, self.bias,
                            self.training or not self.track_running_stats, momentum, self.eps)
        return ops.squeeze(y, 0) if single else y


class InstanceNorm1d(_InstanceNorm):
    """(x - mean) / sqrt(var + eps) * weight + bias per example and channel of (N, C, L) or (C, L).

    With `track_running_stats` running statistics follow the examples' in training, and are used
    in evaluation; without them (the default) every example is normalised by its own.
    """

    _ndims = (2, 3)
    _shapes = "(N, C, L) or (C, L)"


class InstanceNorm2d(_InstanceNorm):
    """Instance normalisation of (N, C, H, W) or (C, H, W); see `InstanceNorm1d`."""

    _ndims = (3, 4)
    _shapes = "(N, C, H, W) or (C, H, W)"


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of (N, C, D, H, W) or (C, D, H, W); see `InstanceNorm1d`."""

    _ndims = (4, 5)
    _shapes = "(N, C, D, H, W) or (C, D, H, W)"


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


class RMSNorm(Module):
    """x / sqrt(mean(x^2) + eps) * weight, with the mean over the last axes.

    Args:
        normalized_shape: the shape of those axes (an int: the last axis).
        eps: None for the machine epsilon of the input's dtype.
        elementwise_affine: learn a weight of that shape.
    """

    def __init__(self, normalized_shape: Any, eps: float | None = None,
                 elementwise_affine: bool = True, device: Any = None, dtype: Any = None):
        super().__init__()
        self.normalized_shape = ops.shape.as_shape(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self.register_parameter("weight", new_parameter(self.normalized_shape, dtype, device)
                                if elementwise_affine else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1."""
        _ones_and_zeros(self.weight, None)

    def forward(self, x: Any) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return (f"{self.normalized_shape}, eps={self.eps}, "
                f"elementwise_affine={self.elementwise_affine}")


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


class LocalResponseNorm(Module):
    """x / (k + alpha / size * sum of x^2 over `size` neighbouring channels)^beta, for (N, C, ...).

    Source: A. Krizhevsky, I. Sutskever and G. Hinton, "ImageNet Classification with Deep
    Convolutional Neural Networks", NeurIPS 2012.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0):
        super().__init__()
        self.size = count(size, type(self).__name__, "size")
        self.alpha, self.beta, self.k = alpha, beta, k

    def forward(self, input: Any) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
