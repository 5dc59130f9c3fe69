"""Pooling layers: the functions of `nn.functional` with their arguments kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..ops.adaptive import check_ratio
from ..ops.arguments import each_axis
from ..tensor import Tensor
from . import functional as F
from .module import Module

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d", "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d",
    "FractionalMaxPool2d", "FractionalMaxPool3d", "LPPool1d", "LPPool2d", "LPPool3d",
    "MaxPool1d", "MaxPool2d", "MaxPool3d", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d",
]


class _Pool(Module):
    """A layer without state: `function` on the input and the arguments named in `shown`."""

    function: Callable[..., Any]
    shown: tuple[str, ...] = ("kernel_size", "stride", "padding")

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.shown)


# -- the largest element ------------------------------------------------------------------------


class _MaxPool(_Pool):
    shown = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
                 return_indices: bool = False, ceil_mode: bool = False):
        super().__init__()
        self.kernel_size, self.padding, self.dilation = kernel_size, padding, dilation
        self.stride = kernel_size if stride is None else stride
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, input: Any) -> Any:
        return self.function(input, self.kernel_size, self.stride, self.padding, self.dilation,
                             self.ceil_mode, self.return_indices)


class MaxPool1d(_MaxPool):
    """The largest element of each window of signals (N, C, L) or (C, L): see `MaxPool2d`."""

    function = staticmethod(F.max_pool1d)


class MaxPool2d(_MaxPool):
    """The largest element of each window; `stride` is `kernel_size` by default.

    With `return_indices` the places of the maxima come too, for `MaxUnpool2d`.
    """

    function = staticmethod(F.max_pool2d)


class MaxPool3d(_MaxPool):
    """The largest element of each window of volumes (N, C, D, H, W): see `MaxPool2d`."""

    function = staticmethod(F.max_pool3d)


class _MaxUnpool(_Pool):
    axes: int

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0):
        super().__init__()
        name, n = type(self).__name__, self.axes
        self.kernel_size = each_axis(kernel_size, n, name, "kernel_size")
        self.stride = self.kernel_size if stride is None else each_axis(stride, n, name, "stride")
        self.padding = each_axis(padding, n, name, "padding", 0)

    def forward(self, input: Any, indices: Any, output_size: Any = None) -> Tensor:
        return self.function(input, indices, self.kernel_size, self.stride, self.padding,
                             output_size)


class MaxUnpool1d(_MaxUnpool):
    """Maxima back at the places where `MaxPool1d` found them, zeros elsewhere."""

    axes = 1
    function = staticmethod(F.max_unpool1d)


class MaxUnpool2d(_MaxUnpool):
    """Maxima back at the places where `MaxPool2d(..., return_indices=True)` found them."""

    axes = 2
    function = staticmethod(F.max_unpool2d)


class MaxUnpool3d(_MaxUnpool):
    """Maxima back at the places where `MaxPool3d` found them, zeros elsewhere."""

    axes = 3
    function = staticmethod(F.max_unpool3d)


class _AdaptiveMax(_Pool):
    shown = ("output_size",)

    def __init__(self, output_size: Any, return_indices: bool = False):
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, input: Any) -> Any:
        return self.function(input, self.output_size, self.return_indices)


class AdaptiveMaxPool1d(_AdaptiveMax):
    """Maxima over windows that cover each signal, so that it ends as (N, C, output_size)."""

    function = staticmethod(F.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptiveMax):
    """Maxima over a grid of windows, so that every image ends as (N, C, *output_size)."""

    function = staticmethod(F.adaptive_max_pool2d)


class AdaptiveMaxPool3d(_AdaptiveMax):
    """Maxima over windows that cover each volume, so that it ends as (N, C, *output_size)."""

    function = staticmethod(F.adaptive_max_pool3d)


class _Fractional(_Pool):
    axes: int

    def __init__(self, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
                 return_indices: bool = False, _random_samples: Any = None):
        super().__init__()
        name, n = type(self).__name__, self.axes
        if (output_size is None) == (output_ratio is None):
            raise ValueError(f"[{name}] give either output_size or output_ratio")
        self.kernel_size = each_axis(kernel_size, n, name, "kernel_size")
        self.output_size = (None if output_size is None
                            else each_axis(output_size, n, name, "output_size"))
        self.output_ratio = None if output_ratio is None else check_ratio(output_ratio, n, name)
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)

    def forward(self, input: Any) -> Any:
        return self.function(input, self.kernel_size, self.output_size, self.output_ratio,
                             self.return_indices, self._random_samples)

    def extra_repr(self) -> str:
        return ""


class FractionalMaxPool2d(_Fractional):
    """Maxima over windows at pseudo-random places, so that sizes shrink by any fraction."""

    axes = 2
    function = staticmethod(F.fractional_max_pool2d)


class FractionalMaxPool3d(_Fractional):
    """`FractionalMaxPool2d` for volumes (N, C, D, H, W)."""

    axes = 3
    function = staticmethod(F.fractional_max_pool3d)


# -- means and norms ----------------------------------------------------------------------------


class AvgPool1d(_Pool):
    """The mean of each window of signals (N, C, L) or (C, L); see `AvgPool2d`."""

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0,
                 ceil_mode: bool = False, count_include_pad: bool = True):
        super().__init__()
        self.kernel_size = each_axis(kernel_size, 1, "AvgPool1d", "kernel_size")
        self.stride = (self.kernel_size if stride is None
                       else each_axis(stride, 1, "AvgPool1d", "stride"))
        self.padding = each_axis(padding, 1, "AvgPool1d", "padding", 0)
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, input: Any) -> Tensor:
        return F.avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
                            self.count_include_pad)


class _AvgPool(_Pool):
    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0,
                 ceil_mode: bool = False, count_include_pad: bool = True,
                 divisor_override: int | None = None):
        super().__init__()
        self.kernel_size, self.padding = kernel_size, padding
        self.stride, self.ceil_mode = kernel_size if stride is None else stride, ceil_mode
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, input: Any) -> Tensor:
        return self.function(input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
                             self.count_include_pad, self.divisor_override)


class AvgPool2d(_AvgPool):
    """The mean of each window; `stride` is `kernel_size` by default.

    Zeros of the padding count if `count_include_pad`; `divisor_override` divides all sums by one
    number.
    """

    function = staticmethod(F.avg_pool2d)


class AvgPool3d(_AvgPool):
    """The mean of each window of volumes (N, C, D, H, W): see `AvgPool2d`."""

    function = staticmethod(F.avg_pool3d)


class _AdaptiveAvg(_Pool):
    shown = ("output_size",)

    def __init__(self, output_size: Any):
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Any) -> Tensor:
        return self.function(input, self.output_size)


class AdaptiveAvgPool1d(_AdaptiveAvg):
    """Means over windows that cover each signal, so that it ends as (N, C, output_size)."""

    function = staticmethod(F.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptiveAvg):
    """Means over a grid of windows, so that every image ends as (N, C, *output_size)."""

    function = staticmethod(F.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_AdaptiveAvg):
    """Means over windows that cover each volume, so that it ends as (N, C, *output_size)."""

    function = staticmethod(F.adaptive_avg_pool3d)


class _LPPool(_Pool):
    shown = ("norm_type", "kernel_size", "stride", "ceil_mode")

    def __init__(self, norm_type: float, kernel_size: Any, stride: Any = None,
                 ceil_mode: bool = False):
        super().__init__()
        self.norm_type, self.kernel_size = norm_type, kernel_size
        self.stride, self.ceil_mode = stride, ceil_mode

    def forward(self, input: Any) -> Tensor:
        return self.function(input, float(self.norm_type), self.kernel_size, self.stride,
                             self.ceil_mode)


class LPPool1d(_LPPool):
    """The p-norm of each window of signals: see `LPPool2d`."""

    function = staticmethod(F.lp_pool1d)


class LPPool2d(_LPPool):
    """(sum of x^p over each window)^(1/p) with p = `norm_type`: see `F.lp_pool2d`."""

    function = staticmethod(F.lp_pool2d)


class LPPool3d(_LPPool):
    """The p-norm of each window of volumes: see `LPPool2d`."""

    function = staticmethod(F.lp_pool3d)
