"""Products and convolutions of `nn.functional`."""

from __future__ import annotations

from typing import Any

from ... import ops
from ...tensor import Tensor

__all__ = ["conv2d", "conv_transpose2d", "linear"]


def linear(input: Any, weight: Any, bias: Any = None) -> Tensor:
    """input @ weight.T + bias: (..., in), weight (out, in), bias (out,) -> (..., out)."""
    return ops.linear(input, weight) if bias is None else ops.linear(input, weight, bias)


def conv2d(input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
           dilation: Any = 1, groups: int = 1) -> Tensor:
    """Convolution of (N, C, H, W), or (C, H, W), with weight (O, C / groups, kh, kw).

    `padding` is an int, two ints, ``"valid"`` or ``"same"``.
    """
    return ops.conv2d(input, weight, bias, stride, padding, dilation, groups)


def conv_transpose2d(input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
                     output_padding: Any = 0, groups: int = 1, dilation: Any = 1) -> Tensor:
    """Transposed convolution of (N, C, H, W) with weight (C, O / groups, kh, kw)."""
    return ops.conv_transpose2d(input, weight, bias, stride, padding, output_padding, groups,
                                dilation)
