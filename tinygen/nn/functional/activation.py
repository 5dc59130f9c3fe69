"""Activations of `nn.functional`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from ... import ops, random
from ...backend import Generator
from ...primitive import RECORD, local
from ...tensor import Tensor

__all__ = ["celu", "celu_", "elu", "elu_", "gelu", "glu", "gumbel_softmax", "hardshrink",
           "hardsigmoid", "hardswish", "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_",
           "log_softmax", "logsigmoid", "mish", "prelu", "relu", "relu6", "relu_", "rrelu",
           "rrelu_", "selu", "selu_", "sigmoid", "silu", "softmax", "softmin", "softplus",
           "softshrink", "softsign", "swiglu", "tanh", "tanhshrink", "threshold", "threshold_"]


def relu(input: Any, inplace: bool = False) -> Tensor:
    """max(x, 0)."""
    return ops.relu(input)


def relu6(input: Any, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6)."""
    return hardtanh(input, 0.0, 6.0)


def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0,
             inplace: bool = False) -> Tensor:
    """x limited to [min_val, max_val]; no gradient at the limits and beyond."""
    return ops.activation.hardtanh(input, low=min_val, high=max_val)


def threshold(input: Any, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where x > threshold, `value` elsewhere."""
    return ops.where(ops.less_equal(input, threshold), value, input)


_threshold = threshold   # where an argument has its name

def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, negative_slope * x elsewhere."""
    return ops.leaky_relu(input, negative_slope)


def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, alpha (exp(x) - 1) elsewhere."""
    return ops.elu(input, alpha)


def celu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, alpha (exp(x / alpha) - 1) elsewhere: ELU with slope 1 on both sides of 0.

    Source: J. Barron, "Continuously Differentiable Exponential Linear Units", 2017.
    """
    if alpha == 0:
        raise ValueError("[celu] alpha must not be 0")
    if alpha == 1:
        return ops.elu(input, 1.0)      # the same, with a kernel: 4.4 ms -> 0.1 for 768x512
    above = ops.greater(input, 0)
    return ops.where(above, input, alpha * ops.expm1(ops.where(above, 0, input) / alpha))


def selu(input: Any, inplace: bool = False) -> Tensor:
    """scale * elu(x, alpha) with the constants of "Self-Normalizing Neural Networks" (2017)."""
    return 1.0507009873554804934193349852946 * ops.elu(input, 1.6732632423543772848170429916717)


def silu(input: Any, inplace: bool = False) -> Tensor:
    """x sigmoid(x)."""
    return ops.silu(input)


def mish(input: Any, inplace: bool = False) -> Tensor:
    """x tanh(softplus(x))."""
    return ops.activation.mish(input)


def gelu(input: Any, approximate: str = "none") -> Tensor:
    """x Phi(x), exact or with `approximate="tanh"`."""
    return ops.gelu(input, approximate)


def prelu(input: Any, weight: Any) -> Tensor:
    """x where x > 0, weight * x elsewhere; one weight, or one per channel (axis 1).

    Source: K. He et al., "Delving deep into rectifiers", ICCV 2015.
    """
    if weight.ndim > 1:
        raise ValueError(f"[prelu] weight must have one axis, got shape {tuple(weight.shape)}")
    if weight.size != 1:
        channels = input.shape[1] if input.ndim > 1 else 1
        if channels != weight.size:
            raise ValueError(f"[prelu] weight has {weight.size} elements, input "
                             f"{tuple(input.shape)} has {channels} channels")
        weight = ops.reshape(weight, (-1,) + (1,) * (input.ndim - 2))
    elif weight.ndim:
        weight = ops.reshape(weight, ())
    return ops.where(ops.greater(input, 0), input, weight * input)


def rrelu(input: Any, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False,
          inplace: bool = False, generator: Generator | None = None) -> Tensor:
    """x where x > 0, a * x elsewhere, each a uniform in [lower, upper) in training.

    Otherwise all a are (lower + upper) / 2. Draws come from `generator`, or from the default one.

    Source: B. Xu et al., "Empirical Evaluation of Rectified Activations in Convolutional
    Network", 2015.
    """
    if not lower <= upper:
        raise ValueError(f"[rrelu] lower must not be above upper, got {lower} and {upper}")
    if not training:
        return ops.leaky_relu(input, (lower + upper) / 2)
    slope = random.uniform(input.shape, lower, upper, dtype=input.dtype, device=input.device,
                           generator=generator)
    return ops.where(ops.greater(input, 0), input, slope * input)


def hardsigmoid(input: Any, inplace: bool = False) -> Tensor:
    """x / 6 + 1/2, limited to [0, 1]; no gradient at the limits and beyond."""
    return hardtanh(input, -3.0, 3.0) / 6 + 0.5


def hardswish(input: Any, inplace: bool = False) -> Tensor:
    """x * hardsigmoid(x).

    Source: A. Howard et al., "Searching for MobileNetV3", ICCV 2019.
    """
    return input * hardsigmoid(input)


def hardshrink(input: Any, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, 0 elsewhere."""
    return ops.where(ops.less_equal(ops.absolute(input), lambd), 0, input)


def softshrink(input: Any, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by lambd: x - lambd above it, x + lambd below -lambd, 0 between."""
    if not lambd >= 0:
        raise ValueError(f"[softshrink] lambd must not be negative, got {lambd}")
    return ops.activation.softshrink(input, lambd=lambd)


def tanhshrink(input: Any) -> Tensor:
    """x - tanh(x)."""
    return input - ops.tanh(input)


def glu(input: Any, dim: int = -1) -> Tensor:
    """a * sigmoid(b), where a and b are the first and the second half of x along `dim`.

    Source: Y. Dauphin et al., "Language Modeling with Gated Convolutional Networks", ICML 2017.
    """
    a, b = _halves(input, dim, "glu")
    return a * ops.sigmoid(b)


def swiglu(input: Any, dim: int = -1) -> Tensor:
    """silu(a) * b, where a and b are the first and the second half of x along `dim`.

    With x = h [W, V], the gate and the value of a feed-forward layer in one product.
    Source: N. Shazeer, "GLU Variants Improve Transformer", 2020.
    """
    a, b = _halves(input, dim, "swiglu")
    return ops.silu(a) * b


def _halves(x: Any, dim: int, op: str) -> tuple[Any, Any]:
    axis = ops.shape.normalize_axis(dim, x.ndim, op)
    if x.shape[axis] % 2:
        raise ValueError(f"[{op}] axis {dim} of {tuple(x.shape)} has an odd length and no halves")
    half, lead = x.shape[axis] // 2, (slice(None),) * axis
    return x[(*lead, slice(None, half))], x[(*lead, slice(half, None))]


def sigmoid(input: Any) -> Tensor:
    """1 / (1 + exp(-x))."""
    return ops.sigmoid(input)


def tanh(input: Any) -> Tensor:
    """The hyperbolic tangent."""
    return ops.tanh(input)


def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta; x itself where beta x > threshold."""
    return ops.softplus(input, beta, threshold)


def softsign(input: Any) -> Tensor:
    """x / (1 + |x|)."""
    return input / (1 + ops.absolute(input))


def logsigmoid(input: Any) -> Tensor:
    """log(sigmoid(x))."""
    return ops.log_sigmoid(input)


def _legacy_dim(op: str, ndim: int, stacklevel: int) -> int:
    """The axis that PyTorch takes where none is given: 0 of 0, 1 or 3 axes, else 1."""
    dim = 0 if ndim in (0, 1, 3) else 1
    warnings.warn(f"[{op}] no dim was given; {dim} is taken for {ndim} axes, which nobody expects: "
                  "write dim=...", stacklevel=stacklevel + 1)
    return dim


def _along(op: Callable[..., Tensor], x: Any, dim: int, dtype: Any) -> Tensor:
    x = x if dtype is None else x.to(dtype=dtype)
    if x.ndim == 0 and dim in (0, -1):      # a single number is a row of one
        return ops.reshape(op(ops.reshape(x, (1,)), axis=0), ())
    return op(x, axis=dim)


def softmax(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`, in `dtype` if one is given.

    Without `dim` it is axis 0 of 0, 1 or 3 axes and axis 1 of others, with a warning.
    """
    if dim is None:
        dim = _legacy_dim("softmax", input.ndim, _stacklevel)
    return _along(ops.softmax, input, dim, dtype)


def softmin(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """softmax(-x) along `dim`; see `softmax`."""
    if dim is None:
        dim = _legacy_dim("softmin", input.ndim, _stacklevel)
    return softmax(-input, dim, dtype=dtype)


def log_softmax(input: Any, dim: int | None = None, _stacklevel: int = 3,
                dtype: Any = None) -> Tensor:
    """log(softmax(x)) along `dim`; see `softmax`."""
    if dim is None:
        dim = _legacy_dim("log_softmax", input.ndim, _stacklevel)
    return _along(ops.log_softmax, input, dim, dtype)


def gumbel_softmax(logits: Any, tau: float = 1.0, hard: bool = False, eps: float = 1e-10,
                   dim: int = -1, generator: Generator | None = None) -> Tensor:
    """A draw from the relaxed categorical distribution: softmax((logits + gumbel noise) / tau).

    `hard` gives one-hot draws, through which the gradient of the soft ones flows. `eps` has no
    effect, as in PyTorch.

    Source: E. Jang, S. Gu and B. Poole, "Categorical Reparameterization with Gumbel-Softmax", 2017.
    """
    if tau <= 0:
        raise ValueError(f"[gumbel_softmax] tau must be positive, got {tau}")
    draws = random.uniform(logits.shape, dtype=logits.dtype, device=logits.device,
                           generator=generator)
    tiny = 1e-7 if logits.dtype.itemsize <= 4 else 1e-16   # the draw 0 would give infinite noise
    noise = -ops.log(-ops.log(ops.clip(draws, tiny)))
    soft = ops.softmax((logits + noise) / tau, axis=dim)
    if not hard:
        return soft
    last = ops.moveaxis(soft, dim, -1)
    best = ops.one_hot(ops.argmax(last, axis=-1), last.shape[-1], dtype=soft.dtype)
    return ops.moveaxis(best, -1, dim) - soft.detach() + soft


# -- in place ------------------------------------------------------------------------------------


def _in_place(x: Tensor, op: str, function: Callable[[Tensor], Tensor]) -> Tensor:
    """`x` with its values replaced by function(x), in the graph too."""
    if not (x.requires_grad and local.mode & RECORD):
        return x.assign_(function(x))
    if x.op is None:
        raise RuntimeError(f"[{op}] a leaf that requires grad cannot be changed in place; use "
                           f"y = {op.removesuffix('_')}(x)")
    new = function(x.__copy__())      # the graph behind the old values lives on in the copy
    x.data, x.op, x.inputs, x.attrs, x.seq = new.data, new.op, new.inputs, new.attrs, new.seq
    return x


def relu_(input: Tensor) -> Tensor:
    """`relu`, in place."""
    return _in_place(input, "relu_", relu)


def threshold_(input: Tensor, threshold: float, value: float) -> Tensor:
    """`threshold`, in place."""
    return _in_place(input, "threshold_", lambda x: _threshold(x, threshold, value))


def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """`hardtanh`, in place."""
    return _in_place(input, "hardtanh_", lambda x: hardtanh(x, min_val, max_val))


def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """`leaky_relu`, in place."""
    return _in_place(input, "leaky_relu_", lambda x: leaky_relu(x, negative_slope))


def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`elu`, in place."""
    return _in_place(input, "elu_", lambda x: elu(x, alpha))


def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`celu`, in place."""
    return _in_place(input, "celu_", lambda x: celu(x, alpha))


def selu_(input: Tensor) -> Tensor:
    """`selu`, in place."""
    return _in_place(input, "selu_", selu)


def rrelu_(input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3,
           training: bool = False, generator: Generator | None = None) -> Tensor:
    """`rrelu`, in place."""
    return _in_place(input, "rrelu_", lambda x: rrelu(x, lower, upper, training,
                                                      generator=generator))
