"""Normalisation of `nn.functional`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ... import ops
from ...tensor import Tensor

__all__ = ["batch_norm", "group_norm", "layer_norm"]


def batch_norm(input: Any, running_mean: Any, running_var: Any, weight: Any = None,
               bias: Any = None, training: bool = False, momentum: float = 0.1,
               eps: float = 1e-5) -> Tensor:
    """Each channel (axis 1) with its mean taken out and divided by its standard deviation.

    In training the batch's statistics are used and the running ones updated in place.
    """
    return ops.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def layer_norm(input: Any, normalized_shape: Sequence[int], weight: Any = None, bias: Any = None,
               eps: float = 1e-5) -> Tensor:
    """The last axes, of shape `normalized_shape`, normalised; then * weight + bias."""
    return ops.layer_norm(input, normalized_shape, weight, bias, eps)


def group_norm(input: Any, num_groups: int, weight: Any = None, bias: Any = None,
               eps: float = 1e-5) -> Tensor:
    """Groups of channels of (N, C, ...) normalised, each example alone.

    Source: Y. Wu and K. He, "Group Normalization", ECCV 2018.
    """
    n, c = input.shape[:2]
    if num_groups < 1 or c % num_groups:
        raise ValueError(f"[group_norm] {c} channels of {tuple(input.shape)} do not fall into "
                         f"{num_groups} groups")
    rows = ops.reshape(input, (n, num_groups, -1))
    y = ops.reshape(ops.layer_norm(rows, rows.shape[-1:], eps=eps), tuple(input.shape))
    per_channel = (c,) + (1,) * (input.ndim - 2)
    if weight is not None:
        y = y * ops.reshape(weight, per_channel)
    return y if bias is None else y + ops.reshape(bias, per_channel)
