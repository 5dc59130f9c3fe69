"""Products and convolutions of `nn.functional`."""

from __future__ import annotations

from typing import Any

from ... import ops
from ...ops.conv import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from ...tensor import Tensor

__all__ = ["conv1d", "conv2d", "conv3d", "conv_tbc", "conv_transpose1d", "conv_transpose2d",
           "conv_transpose3d", "linear"]


def linear(input: Any, weight: Any, bias: Any = None) -> Tensor:
    """input @ weight.T + bias: (..., in), weight (out, in), bias (out,) -> (..., out)."""
    if len(weight.shape) == 1:                     # one output, without an axis of its own
        y = ops.matmul(input, weight)
        return y if bias is None else y + bias
    return ops.linear(input, weight) if bias is None else ops.linear(input, weight, bias)


def conv_tbc(input: Any, weight: Any, bias: Any, pad: int = 0) -> Tensor:
    """`conv1d` with time first: (T, N, C), weight (k, C, O), bias (O,) -> (T', N, O)."""
    y = conv1d(ops.permute_dims(input, (1, 2, 0)), ops.permute_dims(weight, (2, 1, 0)), bias,
               padding=pad)
    return ops.permute_dims(y, (2, 0, 1))
