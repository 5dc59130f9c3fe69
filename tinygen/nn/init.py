"""Starting values for weights: every function fills its tensor in place and returns it.

Draws come from the default generator of the tensor's device, or from `generator=`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import backend, random
from ..backend import Generator
from ..tensor import Tensor

__all__ = ["calculate_gain", "constant_", "dirac_", "eye_", "kaiming_normal_", "kaiming_uniform_",
           "normal_", "ones_", "orthogonal_", "sparse_", "trunc_normal_", "uniform_",
           "xavier_normal_", "xavier_uniform_", "zeros_"]


def __getattr__(name: str) -> Any:
    if f"{name}_" in __all__:      # PyTorch's old names
        raise AttributeError(f"tinygen.nn.init has no {name!r}; use {name}_, which fills a tensor "
                             "in place")
    raise AttributeError(f"module 'tinygen.nn.init' has no attribute {name!r}")


def _place(tensor: Tensor, generator: Generator | None) -> dict[str, Any]:
    """Where to draw for `tensor`: on its device, unless a generator says otherwise."""
    device = tensor.device if generator is None else generator.device
    return {"dtype": tensor.dtype, "device": device, "generator": generator}


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0,
             generator: Generator | None = None) -> Tensor:
    """Uniform numbers in [a, b).

    >>> import tinygen as tg
    >>> w = uniform_(tg.empty((2, 3)), -1, 1)
    >>> bool((abs(w) <= 1).all())
    True
    """
    return tensor.assign_(random.uniform(tensor.shape, a, b, **_place(tensor, generator)))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0,
            generator: Generator | None = None) -> Tensor:
    """Normal numbers with the given mean and standard deviation."""
    return tensor.assign_(random.normal(tensor.shape, mean, std, **_place(tensor, generator)))


def trunc_normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0,
                  b: float = 2.0, generator: Generator | None = None) -> Tensor:
    """Normal numbers, drawn again until they lie in [a, b].

    Where [a, b] holds less than a hundredth of the distribution, uniform numbers in it are
    accepted with the density's ratio to its maximum there, which needs finite bounds.
    """
    if not (a < b and std > 0):
        raise ValueError(f"[trunc_normal_] needs a < b and std > 0, got a={a}, b={b}, std={std}")
    low, high = (a - mean) / std, (b - mean) / std
    mass = (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2
    if mass < 0.01 and not math.isfinite(high - low):
        raise ValueError(f"[trunc_normal_] [{a}, {b}] lies too far from the mean {mean} (std "
                         f"{std}) to be drawn from without finite bounds")
    place = _place(tensor, generator)
    peak = min(max(low, 0.0), high)   # where the density is largest in [low, high]
    out = np.empty(tensor.size, tensor.dtype)
    filled = 0
    while filled < out.size:
        n = out.size - filled
        n = n + n // 2 + 16
        if mass >= 0.01:
            z = random.normal(n, **place).data
            z = z[(z >= low) & (z <= high)]
        else:
            z = random.uniform(n, low, high, **place).data
            height = random.uniform(n, **place).data
            z = z[height <= np.exp((peak * peak - z * z) / 2)]
        z = backend.to_device(z, "cpu")[:out.size - filled]
        out[filled:filled + z.size] = z
        filled += z.size
    return tensor.assign_(np.clip(out * std + mean, a, b).reshape(tensor.shape))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """The same number everywhere."""
    return tensor.assign_(val)


def ones_(tensor: Tensor) -> Tensor:
    """Ones."""
    return tensor.assign_(1)


def zeros_(tensor: Tensor) -> Tensor:
    """Zeros."""
    return tensor.assign_(0)


def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix: a linear layer that passes on as many inputs as it can."""
    if tensor.ndim != 2:
        raise ValueError(f"[eye_] needs a matrix, got shape {tensor.shape}")
    return tensor.assign_(np.eye(*tensor.shape, dtype=tensor.dtype))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """A convolution (O, C, ...) that passes on as many channels as it can, in every group."""
    if tensor.ndim < 3 or tensor.shape[0] % groups:
        raise ValueError(f"[dirac_] needs a kernel (O, C, ...) with O divisible by "
                         f"groups={groups}, got shape {tensor.shape}")
    out = np.zeros(tensor.shape, tensor.dtype)
    per_group = tensor.shape[0] // groups
    centre = tuple(n // 2 for n in tensor.shape[2:])
    for g in range(groups):
        for c in range(min(per_group, tensor.shape[1])):
            out[(g * per_group + c, c, *centre)] = 1
    return tensor.assign_(out)


def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """A matrix with orthonormal rows or columns (whichever are fewer), times `gain`.

    More than two axes: the first against all others. Source: A. Saxe et al., "Exact solutions to
    the nonlinear dynamics of learning in deep linear neural networks", 2013.
    """
    if tensor.ndim < 2:
        raise ValueError(f"[orthogonal_] needs at least two axes, got shape {tensor.shape}")
    if not tensor.size:
        return tensor
    rows, cols = tensor.shape[0], tensor.size // tensor.shape[0]
    place = _place(tensor, generator)
    # QR of float16 does not exist; of float32 it is good to 1e-6
    place["dtype"] = np.float32 if tensor.dtype.itemsize == 2 else tensor.dtype
    flat = random.normal((max(rows, cols), min(rows, cols)), **place).data
    q, r = backend.array_module(flat).linalg.qr(flat)
    q = q * backend.array_module(q).sign(r.diagonal())   # uniform over all orthogonal matrices
    return tensor.assign_(gain * (q if rows >= cols else q.T).reshape(tensor.shape))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01,
            generator: Generator | None = None) -> Tensor:
    """Normal numbers with standard deviation `std`, of which a share is 0 in every column.

    The share is `sparsity`, rounded up to whole elements: of a matrix only. Source: J. Martens,
    "Deep learning via Hessian-free optimization", ICML 2010.
    """
    if tensor.ndim != 2:
        raise ValueError(f"[sparse_] needs a matrix, got shape {tensor.shape}")
    if not 0 <= sparsity <= 1:
        raise ValueError(f"[sparse_] sparsity must be in [0, 1], got {sparsity}")
    place = _place(tensor, generator)
    zeros = math.ceil(sparsity * tensor.shape[0])
    order = random.uniform(tensor.shape, **place).data.argsort(axis=0)
    drawn = random.normal(tensor.shape, 0.0, std, **place).data
    xp = backend.array_module(drawn)
    return tensor.assign_(xp.where(order.argsort(axis=0) < zeros, 0, drawn).astype(tensor.dtype))


# -- scaled to the size of the layer -------------------------------------------------------------


def fans(tensor: Tensor, op: str = "init") -> tuple[int, int]:
    """How many inputs feed an output, and outputs an input: of (out, in, ...) weights."""
    if tensor.ndim < 2:
        raise ValueError(f"[{op}] needs a weight (out, in, ...) with at least two axes, got shape "
                         f"{tensor.shape}")
    area = math.prod(tensor.shape[2:])
    return tensor.shape[1] * area, tensor.shape[0] * area


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the variance of activations through `nonlinearity`.

    1 for linear, convolutions and sigmoid; 5/3 for tanh; sqrt(2) for relu;
    sqrt(2 / (1 + param^2)) for leaky_relu (param: its slope, 0.01 by default); 3/4 for selu.
    """
    name = nonlinearity.removeprefix("conv_transpose").removeprefix("conv")
    if nonlinearity in ("linear", "sigmoid") or name in ("1d", "2d", "3d"):
        return 1.0
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else float(param)
        return math.sqrt(2.0 / (1 + slope * slope))
    known = {"tanh": 5.0 / 3, "relu": math.sqrt(2.0), "selu": 0.75}
    if nonlinearity not in known:
        raise ValueError(f"[calculate_gain] unknown nonlinearity {nonlinearity!r}: linear, conv2d, "
                         "sigmoid, tanh, relu, leaky_relu and selu have a gain")
    return known[nonlinearity]


def xavier_uniform_(tensor: Tensor, gain: float = 1.0,
                    generator: Generator | None = None) -> Tensor:
    """Uniform in [-a, a], a = gain sqrt(6 / (fan_in + fan_out)).

    Source: X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward
    neural networks", AISTATS 2010.
    """
    a = gain * math.sqrt(6.0 / sum(fans(tensor, "xavier_uniform_")))
    return uniform_(tensor, -a, a, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0,
                   generator: Generator | None = None) -> Tensor:
    """Normal with standard deviation gain sqrt(2 / (fan_in + fan_out))."""
    std = gain * math.sqrt(2.0 / sum(fans(tensor, "xavier_normal_")))
    return normal_(tensor, 0.0, std, generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str, op: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"[{op}] mode must be 'fan_in' or 'fan_out', got {mode!r}")
    fan = fans(tensor, op)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan) if fan else 0.0


def kaiming_uniform_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in",
                     nonlinearity: str = "leaky_relu",
                     generator: Generator | None = None) -> Tensor:
    """Uniform in [-b, b], b = gain sqrt(3 / fan); `a` is the slope of a leaky relu.

    Source: K. He et al., "Delving deep into rectifiers", ICCV 2015.
    """
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity, "kaiming_uniform_")
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in",
                    nonlinearity: str = "leaky_relu",
                    generator: Generator | None = None) -> Tensor:
    """Normal with standard deviation gain / sqrt(fan); `a` is the slope of a leaky relu."""
    std = _kaiming_std(tensor, a, mode, nonlinearity, "kaiming_normal_")
    return normal_(tensor, 0.0, std, generator)
