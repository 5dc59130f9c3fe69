"""Convolutions and pooling for images (N, C, H, W)."""

from __future__ import annotations

from typing import Any

from ..ops.conv import pair
from ..tensor import Tensor
from . import functional as F
from .linear import count, new_parameter, reset_uniform
from .module import Module

__all__ = ["AdaptiveAvgPool2d", "AvgPool2d", "Conv2d", "ConvTranspose2d", "MaxPool2d", "Upsample",
           "ZeroPad2d"]

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _Conv(Module):
    """What a convolution and its transpose have in common: the arguments and the parameters."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any,
                 padding: Any, dilation: Any, groups: int, bias: bool, padding_mode: str,
                 transposed: bool, device: Any, dtype: Any):
        super().__init__()
        name = type(self).__name__
        self.in_channels = count(in_channels, name, "in_channels")
        self.out_channels = count(out_channels, name, "out_channels")
        self.groups = count(groups, name, "groups")
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(f"[{name}] groups={groups} must divide in_channels={in_channels} and "
                             f"out_channels={out_channels}")
        if padding_mode not in PADDING_MODES or (transposed and padding_mode != "zeros"):
            modes = ("zeros",) if transposed else PADDING_MODES
            raise ValueError(f"[{name}] padding_mode must be one of {', '.join(modes)}, got "
                             f"{padding_mode!r}")
        self.kernel_size = pair(kernel_size, name, "kernel_size")
        self.stride = pair(stride, name, "stride")
        self.dilation = pair(dilation, name, "dilation")
        if isinstance(padding, str) and not transposed:
            if padding not in ("same", "valid"):
                raise ValueError(f"[{name}] padding must be an int, two ints, 'same' or 'valid', "
                                 f"got {padding!r}")
            if padding == "same" and self.stride != (1, 1):
                raise ValueError(f"[{name}] padding='same' needs stride 1, got {self.stride}")
            self.padding: Any = padding
        else:
            self.padding = pair(padding, name, "padding", 0)
        self.padding_mode = padding_mode
        a, b = (in_channels, out_channels) if transposed else (out_channels, in_channels)
        self.weight = new_parameter((a, b // groups, *self.kernel_size), dtype, device)
        self.register_parameter("bias", new_parameter((out_channels,), dtype, device)
                                if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        _, fan, kh, kw = self.weight.shape
        reset_uniform(self.weight, self.bias, fan * kh * kw)

    def _check(self, input: Any) -> None:
        shape = input.shape
        if len(shape) not in (3, 4):
            raise ValueError(f"[{type(self).__name__}] expected images (N, C, H, W) or one image "
                             f"(C, H, W), got x of shape {tuple(shape)}")
        if shape[-3] != self.in_channels:
            raise ValueError(
                f"[{type(self).__name__}] expected {self.in_channels} input channels, got "
                f"{shape[-3]}: x has shape {tuple(shape)}, weight {self.weight.shape}")

    def extra_repr(self) -> str:
        text = (f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
                f"stride={self.stride}")
        if self.padding != (0, 0):
            text += f", padding={self.padding!r}"
        if getattr(self, "output_padding", (0, 0)) != (0, 0):
            text += f", output_padding={self.output_padding}"
        if self.dilation != (1, 1):
            text += f", dilation={self.dilation}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode!r}"
        return text


class Conv2d(_Conv):
    """A bank of `out_channels` kernels over images: (N, C, H, W) -> (N, out_channels, H', W').

    H' = (H + 2 padding - dilation (kernel_size - 1) - 1) // stride + 1, and W' alike. `weight` is
    (out_channels, in_channels / groups, kh, kw); it and the bias start uniform within
    1/sqrt(fan_in). One image (C, H, W) works too.

    Args:
        padding: an int, two ints, ``"valid"`` (none) or ``"same"`` (H' = H, for stride 1).
        padding_mode: what lies around the image: zeros, reflect, replicate or circular.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
                 padding: Any = 0, dilation: Any = 1, groups: int = 1, bias: bool = True,
                 padding_mode: str = "zeros", device: Any = None, dtype: Any = None):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups,
                         bias, padding_mode, False, device, dtype)

    def forward(self, input: Any) -> Tensor:
        self._check(input)
        padding = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, self._around(), self.padding_mode)
            padding = 0
        return F.conv2d(input, self.weight, self.bias, self.stride, padding, self.dilation,
                        self.groups)

    def _around(self) -> tuple[int, int, int, int]:
        """How much to pad: (left, right, top, bottom)."""
        if self.padding == "valid":
            return 0, 0, 0, 0
        if self.padding == "same":
            h, w = (d * (k - 1) for k, d in zip(self.kernel_size, self.dilation, strict=True))
            return w // 2, w - w // 2, h // 2, h - h // 2
        h, w = self.padding
        return w, w, h, h


class ConvTranspose2d(_Conv):
    """The transpose of a convolution, which enlarges images: (N, C, H, W) -> (N, O, H', W').

    H' = (H - 1) stride - 2 padding + dilation (kernel_size - 1) + output_padding + 1. `weight` is
    (in_channels, out_channels / groups, kh, kw).
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
                 padding: Any = 0, output_padding: Any = 0, groups: int = 1, bias: bool = True,
                 dilation: Any = 1, padding_mode: str = "zeros", device: Any = None,
                 dtype: Any = None):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups,
                         bias, padding_mode, True, device, dtype)
        self.output_padding = pair(output_padding, "ConvTranspose2d", "output_padding", 0)

    def forward(self, input: Any, output_size: Any = None) -> Tensor:
        self._check(input)
        extra = self.output_padding if output_size is None else self._extra(input, output_size)
        return F.conv_transpose2d(input, self.weight, self.bias, self.stride, self.padding, extra,
                                  self.groups, self.dilation)

    def _extra(self, input: Any, output_size: Any) -> tuple[int, ...]:
        """The output padding that gives `output_size` (H', W')."""
        wanted = tuple(output_size)[-2:]
        least = tuple((n - 1) * s - 2 * p + d * (k - 1) + 1 for n, s, p, d, k in zip(
            input.shape[-2:], self.stride, self.padding, self.dilation, self.kernel_size,
            strict=True))
        extra = tuple(w - n for w, n in zip(wanted, least, strict=True))
        if any(not 0 <= e < s for e, s in zip(extra, self.stride, strict=True)):
            most = tuple(n + s - 1 for n, s in zip(least, self.stride, strict=True))
            raise ValueError(f"[ConvTranspose2d] output_size {wanted} cannot be reached from "
                             f"{tuple(input.shape)}: {least} to {most} can")
        return extra


class MaxPool2d(Module):
    """The largest element of each window; `stride` is `kernel_size` by default.

    `return_indices` stands where PyTorch has it and must be False.
    """

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
                 return_indices: bool = False, ceil_mode: bool = False):
        super().__init__()
        if return_indices:
            raise ValueError("[MaxPool2d] return_indices=True is not offered")
        self.kernel_size, self.padding, self.dilation = kernel_size, padding, dilation
        self.stride, self.ceil_mode = kernel_size if stride is None else stride, ceil_mode

    def forward(self, input: Any) -> Tensor:
        return F.max_pool2d(input, self.kernel_size, self.stride, self.padding, self.dilation,
                            self.ceil_mode)

    def extra_repr(self) -> str:
        return (f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
                f"dilation={self.dilation}, ceil_mode={self.ceil_mode}")


class AvgPool2d(Module):
    """The mean of each window; `stride` is `kernel_size` by default."""

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0,
                 ceil_mode: bool = False, count_include_pad: bool = True):
        super().__init__()
        self.kernel_size, self.padding = kernel_size, padding
        self.stride, self.ceil_mode = kernel_size if stride is None else stride, ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input: Any) -> Tensor:
        return F.avg_pool2d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
                            self.count_include_pad)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """Means over a grid of windows, so that every image ends as (N, C, *output_size)."""

    def __init__(self, output_size: Any):
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Any) -> Tensor:
        return F.adaptive_avg_pool2d(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class Upsample(Module):
    """Images enlarged to `size` or by `scale_factor`: nearest neighbour or bilinear."""

    def __init__(self, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
                 align_corners: bool | None = None):
        super().__init__()
        self.size, self.scale_factor = size, scale_factor
        self.mode, self.align_corners = mode, align_corners

    def forward(self, input: Any) -> Tensor:
        return F.interpolate(input, self.size, self.scale_factor, self.mode, self.align_corners)

    def extra_repr(self) -> str:
        how = f"size={self.size}" if self.size is not None else f"scale_factor={self.scale_factor}"
        return f"{how}, mode={self.mode!r}"


class ZeroPad2d(Module):
    """Zeros around images: one number, or (left, right, top, bottom)."""

    def __init__(self, padding: Any):
        super().__init__()
        self.padding = (padding,) * 4 if isinstance(padding, int) else tuple(padding)

    def forward(self, input: Any) -> Tensor:
        return F.pad(input, self.padding)

    def extra_repr(self) -> str:
        return str(self.padding)
