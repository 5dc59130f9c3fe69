"""Linear and bilinear maps, and the layers that only change shapes."""

from __future__ import annotations

import math
from typing import Any

from .. import ops
from ..tensor import Tensor
from . import functional as F
from . import init
from .module import Module, Parameter

__all__ = ["Bilinear", "Flatten", "Identity", "Linear", "Reshape", "Unflatten"]


def new_parameter(shape: tuple[int, ...], dtype: Any, device: Any) -> Parameter:
    """A parameter with memory and no values yet: float32 on the CPU by default."""
    return Parameter(ops.empty(shape, dtype=dtype or "float32", device=device))


def count(value: Any, layer: str, name: str, least: int = 1) -> int:
    """A size given to a layer's constructor, checked."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value.__index__() < least:
        raise ValueError(f"[{layer}] {name} must be an integer of at least {least}, got {value!r}")
    return value.__index__()


class Linear(Module):
    """y = x W^T + b on the last axis: (..., in_features) -> (..., out_features).

    `weight` is (out_features, in_features); weight and bias start uniform in
    [-1/sqrt(in_features), 1/sqrt(in_features)].
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, device: Any = None,
                 dtype: Any = None):
        super().__init__()
        self.in_features = count(in_features, "Linear", "in_features", 0)
        self.out_features = count(out_features, "Linear", "out_features", 0)
        self.weight = new_parameter((self.out_features, self.in_features), dtype, device)
        self.register_parameter("bias", new_parameter((self.out_features,), dtype, device)
                                if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        reset_uniform(self.weight, self.bias, self.in_features)

    def forward(self, input: Any) -> Tensor:
        bias = self.bias
        return ops.linear(input, self.weight) if bias is None else ops.linear(
            input, self.weight, bias)

    def extra_repr(self) -> str:
        return (f"in_features={self.in_features}, out_features={self.out_features}, "
                f"bias={self.bias is not None}")


def reset_uniform(weight: Tensor, bias: Tensor | None, fan_in: int) -> None:
    """PyTorch's start for linear and convolution layers: uniform within 1/sqrt(fan_in)."""
    init.kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
        init.uniform_(bias, -bound, bound)


class Bilinear(Module):
    """y_o = x1^T W_o x2 + b_o: (..., in1), (..., in2) -> (..., out_features).

    `weight` is (out, in1, in2); weight and bias start uniform in [-1/sqrt(in1), 1/sqrt(in1)].
    """

    def __init__(self, in1_features: int, in2_features: int, out_features: int, bias: bool = True,
                 device: Any = None, dtype: Any = None):
        super().__init__()
        self.in1_features = count(in1_features, "Bilinear", "in1_features")
        self.in2_features = count(in2_features, "Bilinear", "in2_features")
        self.out_features = count(out_features, "Bilinear", "out_features")
        shape = (self.out_features, self.in1_features, self.in2_features)
        self.weight = new_parameter(shape, dtype, device)
        self.register_parameter("bias", new_parameter((self.out_features,), dtype, device)
                                if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        bound = 1 / math.sqrt(self.in1_features)
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1: Any, input2: Any) -> Tensor:
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
                f"out_features={self.out_features}, bias={self.bias is not None}")


class Identity(Module):
    """The input, unchanged; arguments are accepted and ignored."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__()

    def forward(self, input: Any) -> Any:
        return input


class Flatten(Module):
    """The axes from `start_dim` to `end_dim` joined into one; the batch axis stays by default."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Any) -> Tensor:
        return ops.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


def _fit(sizes: tuple[int, ...], n: int) -> tuple[int, ...] | None:
    """`sizes` with a -1 worked out so that they hold `n` elements; None if they cannot."""
    known = math.prod(s for s in sizes if s != -1)
    if -1 in sizes:
        if not known or n % known:
            return None
        return tuple(n // known if s == -1 else s for s in sizes)
    return sizes if known == n else None


def _sizes(value: Any, layer: str) -> tuple[int, ...]:
    sizes = ops.shape.as_shape(value)
    if sizes.count(-1) > 1 or any(s < -1 for s in sizes):
        raise ValueError(f"[{layer}] sizes must not be negative, but for one -1; got {sizes}")
    return sizes


def _does_not_fit(layer: str, what: str, n: int, sizes: tuple[int, ...]) -> ValueError:
    known = math.prod(s for s in sizes if s != -1)
    holds = f"a multiple of {known}" if -1 in sizes else str(known)
    return ValueError(f"[{layer}] {what} has {n} elements, which do not fit into {sizes}: it holds "
                      f"{holds}")


class Reshape(Module):
    """Each example in another shape: (N, ...) -> (N, *shape), in C order.

    >>> import tinygen as tg
    >>> from tinygen import nn
    >>> nn.Reshape(1, 2, 2)(tg.zeros((8, 4))).shape
    (8, 1, 2, 2)
    """

    def __init__(self, *shape: Any):
        super().__init__()
        self.shape = _sizes(shape, "Reshape")

    def forward(self, input: Any) -> Tensor:
        n = math.prod(input.shape[1:])
        target = _fit(self.shape, n)
        if target is None:
            raise _does_not_fit("Reshape", f"an example of {input.shape}", n, self.shape)
        return ops.reshape(input, (input.shape[0], *target))

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.shape))


class Unflatten(Module):
    """One axis split into several: `Unflatten(1, (2, 3))` makes (N, 2, 3) of (N, 6)."""

    def __init__(self, dim: int, unflattened_size: Any):
        super().__init__()
        self.dim, self.unflattened_size = dim, _sizes(unflattened_size, "Unflatten")

    def forward(self, input: Any) -> Tensor:
        dim = ops.shape.normalize_axis(self.dim, input.ndim, "Unflatten")
        target = _fit(self.unflattened_size, input.shape[dim])
        if target is None:
            raise _does_not_fit("Unflatten", f"axis {self.dim} of {input.shape}",
                                input.shape[dim], self.unflattened_size)
        return ops.reshape(input, input.shape[:dim] + target + input.shape[dim + 1:])

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
