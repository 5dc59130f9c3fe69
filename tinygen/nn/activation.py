"""Activations as layers: each calls the function of the same name in `nn.functional`."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..backend import Generator
from ..tensor import Tensor
from . import functional as F
from . import init
from .linear import count, new_parameter
from .module import Module

__all__ = ["CELU", "ELU", "GELU", "GLU", "SELU", "Hardshrink", "Hardsigmoid", "Hardswish",
           "Hardtanh", "LeakyReLU", "LogSigmoid", "LogSoftmax", "Mish", "PReLU", "RReLU", "ReLU",
           "ReLU6", "SiLU", "Sigmoid", "Softmax", "Softmax2d", "Softmin", "Softplus", "Softshrink",
           "Softsign", "SwiGLU", "Tanh", "Tanhshrink", "Threshold"]


class _InPlace(Module):
    """Activations that take PyTorch's `inplace` argument; their results are new tensors anyway."""

    def __init__(self, inplace: bool = False):
        super().__init__()
        self.inplace = inplace

    def extra_repr(self) -> str:
        return _in_place(self)[2:]


def _in_place(layer: Any) -> str:
    return ", inplace=True" if layer.inplace else ""


class ReLU(_InPlace):
    """max(x, 0)."""

    def forward(self, input: Any) -> Tensor:
        return ops.relu(input)


class ReLU6(_InPlace):
    """min(max(x, 0), 6)."""

    def forward(self, input: Any) -> Tensor:
        return F.relu6(input)


class SELU(_InPlace):
    """scale * elu(x, alpha), with constants that keep mean 0 and variance 1."""

    def forward(self, input: Any) -> Tensor:
        return F.selu(input)


class SiLU(_InPlace):
    """x sigmoid(x), also called swish."""

    def forward(self, input: Any) -> Tensor:
        return ops.silu(input)


class Mish(_InPlace):
    """x tanh(softplus(x))."""

    def forward(self, input: Any) -> Tensor:
        return F.mish(input)


class Hardsigmoid(_InPlace):
    """x / 6 + 1/2, limited to [0, 1]."""

    def forward(self, input: Any) -> Tensor:
        return F.hardsigmoid(input)


class Hardswish(_InPlace):
    """x * hardsigmoid(x)."""

    def forward(self, input: Any) -> Tensor:
        return F.hardswish(input)


class Threshold(Module):
    """x where x > threshold, `value` elsewhere."""

    def __init__(self, threshold: float, value: float, inplace: bool = False):
        super().__init__()
        self.threshold, self.value, self.inplace = threshold, value, inplace

    def forward(self, input: Any) -> Tensor:
        return F.threshold(input, self.threshold, self.value)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, value={self.value}" + _in_place(self)


class RReLU(Module):
    """x where x > 0, a * x elsewhere, each a drawn from [lower, upper) in training.

    In evaluation all a are (lower + upper) / 2. Draws come from `generator`, or from the default
    one of the input's device.
    """

    def __init__(self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False,
                 generator: Generator | None = None):
        super().__init__()
        if not lower <= upper:
            raise ValueError(f"[RReLU] lower must not be above upper, got {lower} and {upper}")
        self.lower, self.upper, self.inplace, self.generator = lower, upper, inplace, generator

    def forward(self, input: Any) -> Tensor:
        return F.rrelu(input, self.lower, self.upper, self.training, generator=self.generator)

    def extra_repr(self) -> str:
        return f"lower={self.lower}, upper={self.upper}" + _in_place(self)


class LeakyReLU(Module):
    """x where x > 0, negative_slope * x elsewhere."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False):
        super().__init__()
        self.negative_slope, self.inplace = negative_slope, inplace

    def forward(self, input: Any) -> Tensor:
        return ops.leaky_relu(input, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}" + _in_place(self)


class PReLU(Module):
    """x where x > 0, weight * x elsewhere; one learnt weight, or one per channel (axis 1)."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None,
                 dtype: Any = None):
        super().__init__()
        self.num_parameters = count(num_parameters, "PReLU", "num_parameters")
        self.init = init
        self.weight = new_parameter((num_parameters,), dtype, device)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """All weights at their start."""
        init.constant_(self.weight, self.init)

    def forward(self, input: Any) -> Tensor:
        if self.num_parameters > 1 and (input.ndim < 2 or input.shape[1] != self.num_parameters):
            raise ValueError(f"[PReLU] expected (N, {self.num_parameters}, ...), got x of shape "
                             f"{tuple(input.shape)}")
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class ELU(Module):
    """x where x > 0, alpha (exp(x) - 1) elsewhere."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False):
        super().__init__()
        self.alpha, self.inplace = alpha, inplace

    def forward(self, input: Any) -> Tensor:
        return ops.elu(input, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}" + _in_place(self)


class CELU(Module):
    """x where x > 0, alpha (exp(x / alpha) - 1) elsewhere."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False):
        super().__init__()
        if alpha == 0:
            raise ValueError("[CELU] alpha must not be 0")
        self.alpha, self.inplace = alpha, inplace

    def forward(self, input: Any) -> Tensor:
        return F.celu(input, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}" + _in_place(self)


class GELU(Module):
    """x Phi(x) with the normal distribution function Phi; ``"tanh"`` for GPT-2's approximation."""

    def __init__(self, approximate: str = "none"):
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f"[GELU] approximate must be 'none' or 'tanh', got {approximate!r}")
        self.approximate = approximate

    def forward(self, input: Any) -> Tensor:
        return ops.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Hardtanh(Module):
    """x limited to [min_val, max_val]; `min_value` and `max_value` are older names of the two."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False,
                 min_value: float | None = None, max_value: float | None = None):
        super().__init__()
        min_val = min_val if min_value is None else min_value
        max_val = max_val if max_value is None else max_value
        if not min_val < max_val:
            raise ValueError(f"[Hardtanh] min_val must be below max_val, got {min_val}, {max_val}")
        self.min_val, self.max_val, self.inplace = min_val, max_val, inplace

    def forward(self, input: Any) -> Tensor:
        return F.hardtanh(input, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}" + _in_place(self)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, input: Any) -> Tensor:
        return ops.sigmoid(input)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, input: Any) -> Tensor:
        return ops.tanh(input)


class LogSigmoid(Module):
    """log(sigmoid(x))."""

    def forward(self, input: Any) -> Tensor:
        return ops.log_sigmoid(input)


class Softsign(Module):
    """x / (1 + |x|)."""

    def forward(self, input: Any) -> Tensor:
        return F.softsign(input)


class Softplus(Module):
    """log(1 + exp(beta x)) / beta; x itself where beta x > threshold."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0):
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, input: Any) -> Tensor:
        return ops.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class Hardshrink(Module):
    """x where |x| > lambd, 0 elsewhere."""

    def __init__(self, lambd: float = 0.5):
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Any) -> Tensor:
        return F.hardshrink(input, self.lambd)

    def extra_repr(self) -> str:
        return f"{self.lambd}"


class Softshrink(Hardshrink):
    """x - lambd where x > lambd, x + lambd where x < -lambd, 0 between."""

    def forward(self, input: Any) -> Tensor:
        return F.softshrink(input, self.lambd)


class Tanhshrink(Module):
    """x - tanh(x)."""

    def forward(self, input: Any) -> Tensor:
        return F.tanhshrink(input)


class GLU(Module):
    """a * sigmoid(b), where a and b are the halves of x along `dim`."""

    def __init__(self, dim: int = -1):
        super().__init__()
        self.dim = dim

    def forward(self, input: Any) -> Tensor:
        return F.glu(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class SwiGLU(GLU):
    """silu(a) * b, where a and b are the halves of x along `dim`.

    After a linear layer of twice the width this is the gated feed-forward layer of recent
    language models: `nn.Sequential(nn.Linear(d, 2 * h), nn.SwiGLU(), nn.Linear(h, d))`.

    Source: N. Shazeer, "GLU Variants Improve Transformer", 2020.
    """

    def forward(self, input: Any) -> Tensor:
        return F.swiglu(input, self.dim)


class Softmax2d(Module):
    """Softmax over the channels of every pixel of (N, C, H, W) or (C, H, W)."""

    def forward(self, input: Any) -> Tensor:
        if input.ndim not in (3, 4):
            raise ValueError(f"[Softmax2d] expected (N, C, H, W) or (C, H, W), got x of shape "
                             f"{tuple(input.shape)}")
        return ops.softmax(input, axis=-3)


class _AlongDim(Module):
    """Layers that act along one axis, which should be named (see `functional.softmax`)."""

    def __init__(self, dim: int | None = None):
        super().__init__()
        self.dim = dim

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_AlongDim):
    """exp(x) / sum(exp(x)) along `dim`."""

    def forward(self, input: Any) -> Tensor:
        return F.softmax(input, self.dim, 5)


class Softmin(_AlongDim):
    """softmax(-x) along `dim`."""

    def forward(self, input: Any) -> Tensor:
        return F.softmin(input, self.dim, 5)


class LogSoftmax(_AlongDim):
    """log(softmax(x)) along `dim`."""

    def forward(self, input: Any) -> Tensor:
        return F.log_softmax(input, self.dim, 5)
