"""Convolutions and transposed convolutions over signals, images and volumes."""

from __future__ import annotations

from typing import Any, ClassVar

from ..ops.arguments import LETTERS, NUMBERS, each_axis
from ..tensor import Tensor
from . import functional as F
from .linear import count, new_parameter, reset_uniform
from .module import Module

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]

KINDS = {1: "signal", 2: "image", 3: "volume"}
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _Conv(Module):
    """What a convolution and its transpose have in common: the arguments and the parameters."""

    axes: ClassVar[int]
    transposed: ClassVar[bool] = False

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any,
                 padding: Any, dilation: Any, groups: int, bias: bool, padding_mode: str,
                 device: Any, dtype: Any):
        super().__init__()
        name, n = type(self).__name__, self.axes
        self.in_channels = count(in_channels, name, "in_channels")
        self.out_channels = count(out_channels, name, "out_channels")
        self.groups = count(groups, name, "groups")
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(f"[{name}] groups={groups} must divide in_channels={in_channels} and "
                             f"out_channels={out_channels}")
        modes = ("zeros",) if self.transposed else PADDING_MODES
        if padding_mode not in modes:
            raise ValueError(f"[{name}] padding_mode must be one of {', '.join(modes)}, got "
                             f"{padding_mode!r}")
        self.kernel_size = each_axis(kernel_size, n, name, "kernel_size")
        self.stride = each_axis(stride, n, name, "stride")
        self.dilation = each_axis(dilation, n, name, "dilation")
        if isinstance(padding, str) and not self.transposed:
            if padding not in ("same", "valid"):
                raise ValueError(f"[{name}] padding must be an int, {NUMBERS[n]}, 'same' or "
                                 f"'valid', got {padding!r}")
            if padding == "same" and max(self.stride) > 1:
                raise ValueError(f"[{name}] padding='same' needs stride 1, got {self.stride}")
            self.padding: Any = padding
        else:
            self.padding = each_axis(padding, n, name, "padding", 0)
        self.padding_mode = padding_mode
        a, b = ((in_channels, out_channels) if self.transposed else (out_channels, in_channels))
        self.weight = new_parameter((a, b // groups, *self.kernel_size), dtype, device)
        self.register_parameter("bias", new_parameter((out_channels,), dtype, device)
                                if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        fan = 1
        for size in self.weight.shape[1:]:
            fan *= size
        reset_uniform(self.weight, self.bias, fan)

    def _check(self, input: Any) -> None:
        shape, n = tuple(input.shape), self.axes
        if len(shape) not in (n + 1, n + 2):
            raise ValueError(f"[{type(self).__name__}] expected {KINDS[n]}s (N, C, {LETTERS[n]}) "
                             f"or one {KINDS[n]} (C, {LETTERS[n]}), got x of shape {shape}")
        if shape[-n - 1] != self.in_channels:
            last = shape[-1] == self.in_channels
            raise ValueError(
                f"[{type(self).__name__}] expected {self.in_channels} input channels, got "
                f"{shape[-n - 1]}: x has shape {shape}, weight {self.weight.shape}"
                + (f"; channels come first here: (N, C, {LETTERS[n]})" if last else ""))

    def extra_repr(self) -> str:
        none, ones = (0,) * self.axes, (1,) * self.axes
        text = (f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
                f"stride={self.stride}")
        if self.padding != none:
            text += f", padding={self.padding}"
        if self.dilation != ones:
            text += f", dilation={self.dilation}"
        if getattr(self, "output_padding", none) != none:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


class _Forward(_Conv):
    """A bank of kernels that slides over the input."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
                 padding: Any = 0, dilation: Any = 1, groups: int = 1, bias: bool = True,
                 padding_mode: str = "zeros", device: Any = None, dtype: Any = None):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups,
                         bias, padding_mode, device, dtype)

    def forward(self, input: Any) -> Tensor:
        self._check(input)
        padding = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, self._around(), self.padding_mode)
            padding = 0
        return _FUNCTIONS[self.axes](input, self.weight, self.bias, self.stride, padding,
                                     self.dilation, self.groups)

    def _around(self) -> tuple[int, ...]:
        """How much to pad, the last axis first."""
        if self.padding == "valid":
            return (0,) * (2 * self.axes)
        if self.padding == "same":
            spans = [d * (k - 1) for k, d in zip(self.kernel_size, self.dilation, strict=True)]
            return tuple(v for span in spans[::-1] for v in (span // 2, span - span // 2))
        return tuple(p for p in self.padding[::-1] for _ in range(2))


class _Transposed(_Conv):
    """The transpose of a bank of kernels: each input adds a scaled kernel to the output."""

    transposed = True

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
                 padding: Any = 0, output_padding: Any = 0, groups: int = 1, bias: bool = True,
                 dilation: Any = 1, padding_mode: str = "zeros", device: Any = None,
                 dtype: Any = None):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups,
                         bias, padding_mode, device, dtype)
        self.output_padding = each_axis(output_padding, self.axes, type(self).__name__,
                                        "output_padding", 0)

    def forward(self, input: Any, output_size: Any = None) -> Tensor:
        self._check(input)
        extra = self.output_padding if output_size is None else self._extra(input, output_size)
        return _TRANSPOSES[self.axes](input, self.weight, self.bias, self.stride, self.padding,
                                      extra, self.groups, self.dilation)

    def _extra(self, input: Any, output_size: Any) -> tuple[int, ...]:
        """The output padding that gives `output_size`: the last axes, or all of them."""
        name, n, wanted = type(self).__name__, self.axes, tuple(output_size)
        if len(wanted) not in (n, input.ndim):
            raise ValueError(f"[{name}] output_size must hold {NUMBERS[n]}, or {input.ndim} for "
                             f"all axes of the input {tuple(input.shape)}, got {wanted}")
        wanted = wanted[-n:]
        least = tuple((m - 1) * s - 2 * p + d * (k - 1) + 1 for m, s, p, d, k in zip(
            input.shape[-n:], self.stride, self.padding, self.dilation, self.kernel_size,
            strict=True))
        extra = tuple(w - m for w, m in zip(wanted, least, strict=True))
        if any(not 0 <= e < s for e, s in zip(extra, self.stride, strict=True)):
            most = tuple(m + s - 1 for m, s in zip(least, self.stride, strict=True))
            raise ValueError(f"[{name}] output_size {wanted} cannot be reached from "
                             f"{tuple(input.shape)}: {least} to {most} can")
        return extra


class Conv1d(_Forward):
    """A bank of `out_channels` kernels over signals: (N, C, L) -> (N, out_channels, L').

    The arguments are those of `Conv2d` for one axis; `weight` is (out_channels, in / groups, k).
    """

    axes = 1


class Conv2d(_Forward):
    """A bank of `out_channels` kernels over images: (N, C, H, W) -> (N, out_channels, H', W').

    H' = (H + 2 padding - dilation (kernel_size - 1) - 1) // stride + 1, and W' alike. `weight` is
    (out_channels, in_channels / groups, kh, kw); it and the bias start uniform within
    1/sqrt(fan_in). One image (C, H, W) works too.

    Args:
        padding: an int, two ints, ``"valid"`` (none) or ``"same"`` (H' = H, for stride 1).
        padding_mode: what lies around the image: zeros, reflect, replicate or circular.
    """

    axes = 2


class Conv3d(_Forward):
    """A bank of kernels over volumes: (N, C, D, H, W) -> (N, out_channels, D', H', W').

    The arguments are those of `Conv2d` for three axes; `weight` is (out, in / groups, kd, kh, kw).
    """

    axes = 3


class ConvTranspose1d(_Transposed):
    """The transpose of a convolution, which lengthens signals: (N, C, L) -> (N, O, L').

    The arguments are those of `ConvTranspose2d` for one axis; `weight` is (in, out / groups, k).
    """

    axes = 1


class ConvTranspose2d(_Transposed):
    """The transpose of a convolution, which enlarges images: (N, C, H, W) -> (N, O, H', W').

    H' = (H - 1) stride - 2 padding + dilation (kernel_size - 1) + output_padding + 1. `weight` is
    (in_channels, out_channels / groups, kh, kw). `forward` takes an `output_size`, from which it
    finds the output padding.
    """

    axes = 2


class ConvTranspose3d(_Transposed):
    """The transpose of a convolution over volumes: (N, C, D, H, W) -> (N, O, D', H', W').

    The arguments are those of `ConvTranspose2d`; `weight` is (in, out / groups, kd, kh, kw).
    """

    axes = 3


_FUNCTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSES = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
