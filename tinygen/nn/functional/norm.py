"""Normalisation of `nn.functional`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ... import ops
from ...ops.batchnorm import group_norm_p, of_no_examples
from ...tensor import Tensor

__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "local_response_norm",
           "rms_norm"]


def batch_norm(input: Any, running_mean: Any, running_var: Any, weight: Any = None,
               bias: Any = None, training: bool = False, momentum: float = 0.1,
               eps: float = 1e-5) -> Tensor:
    """Each channel (axis 1) with its mean taken out and divided by its standard deviation.

    In training the batch's statistics are used and the running ones updated in place.
    """
    return ops.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def instance_norm(input: Any, running_mean: Any = None, running_var: Any = None,
                  weight: Any = None, bias: Any = None, use_input_stats: bool = True,
                  momentum: float = 0.1, eps: float = 1e-5) -> Tensor:
    """Each channel of each example of (N, C, ...) normalised by its own statistics.

    Running statistics, where given, follow the average over the examples in place; with
    `use_input_stats=False` they are used instead.
    """
    return ops.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats,
                             momentum, eps)


def layer_norm(input: Any, normalized_shape: Sequence[int], weight: Any = None, bias: Any = None,
               eps: float = 1e-5) -> Tensor:
    """The last axes, of shape `normalized_shape`, normalised; then * weight + bias."""
    return ops.layer_norm(input, normalized_shape, weight, bias, eps)


def rms_norm(input: Any, normalized_shape: Sequence[int], weight: Any = None,
             eps: float | None = None) -> Tensor:
    """The last axes divided by the root of their mean square plus `eps`; then * weight.

    `eps=None` is the machine epsilon of the dtype.
    """
    return ops.rms_norm(input, normalized_shape, weight, eps)


def group_norm(input: Any, num_groups: int, weight: Any = None, bias: Any = None,
               eps: float = 1e-5) -> Tensor:
    """Groups of channels of (N, C, ...) normalised, each example alone.

    Source: Y. Wu and K. He, "Group Normalization", ECCV 2018.
    """
    shape = tuple(input.shape)
    if len(shape) < 2:
        raise ValueError(f"[group_norm] input must be (N, C, ...), got {shape}")
    n, c = shape[:2]
    if num_groups < 1 or c % num_groups:
        raise ValueError(f"[group_norm] {c} channels of {shape} do not fall into {num_groups} "
                         "groups")
    for name, p in (("weight", weight), ("bias", bias)):
        if p is not None and tuple(p.shape) != (c,):
            raise ValueError(f"[group_norm] {name} has shape {tuple(p.shape)}; input {shape} has "
                             f"{c} channels")
    if n * math.prod(shape[2:]) * c == num_groups:
        raise ValueError(f"[group_norm] input {shape}: one value per group has no variance")
    if not input.size:
        return of_no_examples(input, weight, bias)
    return group_norm_p(input, weight, bias, groups=num_groups, eps=eps)[0]


def local_response_norm(input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75,
                        k: float = 1.0) -> Tensor:
    """x / (k + alpha / size * sum of x^2 over `size` neighbouring channels)^beta.

    Channels (axis 1 of (N, C, ...)) beyond the ends count as zeros; an even `size` reaches one
    channel further down than up.

    Source: A. Krizhevsky, I. Sutskever and G. Hinton, "ImageNet Classification with Deep
    Convolutional Neural Networks", NeurIPS 2012.
    """
    if input.ndim < 3:
        raise ValueError(f"[local_response_norm] input must be (N, C, L, ...) with at least three "
                         f"axes, got {tuple(input.shape)}")
    if size < 1:
        raise ValueError(f"[local_response_norm] size must be at least 1, got {size}")
    if not input.size:
        return input
    c, below = input.shape[1], min(size // 2, input.shape[1])
    above = min((size - 1) // 2, c)
    squares = ops.square(input)
    padding = [(0, 0)] * input.ndim
    padding[1] = (below, above)
    padded = ops.pad(squares, padding)
    total = padded[:, below:below + c]
    for shift in (*range(below), *range(below + 1, below + above + 1)):
        total = total + padded[:, shift:shift + c]
    return input / (total * (alpha / size) + k) ** beta
