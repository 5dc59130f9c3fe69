"""Activations of `nn.functional`."""

from __future__ import annotations

from typing import Any

from ... import ops, random
from ...backend import Generator
from ...tensor import Tensor

__all__ = ["elu", "gelu", "gumbel_softmax", "hardtanh", "leaky_relu", "log_softmax", "logsigmoid",
           "mish", "relu", "relu6", "selu", "sigmoid", "silu", "softmax", "softmin", "softplus",
           "softsign", "tanh"]


def relu(input: Any, inplace: bool = False) -> Tensor:
    """max(x, 0)."""
    return ops.relu(input)


def relu6(input: Any, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6)."""
    return hardtanh(input, 0.0, 6.0)


def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0,
             inplace: bool = False) -> Tensor:
    """x limited to [min_val, max_val]; no gradient at the limits and beyond."""
    inside = ops.logical_and(ops.greater(input, min_val), ops.less(input, max_val))
    limited = ops.where(ops.greater_equal(input, max_val), max_val, min_val)
    return ops.where(inside, input, limited.astype(input.dtype))


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, negative_slope * x elsewhere."""
    return ops.leaky_relu(input, negative_slope)


def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, alpha (exp(x) - 1) elsewhere."""
    return ops.elu(input, alpha)


def selu(input: Any, inplace: bool = False) -> Tensor:
    """scale * elu(x, alpha) with the constants of "Self-Normalizing Neural Networks" (2017)."""
    return 1.0507009873554804934193349852946 * ops.elu(input, 1.6732632423543772848170429916717)


def silu(input: Any, inplace: bool = False) -> Tensor:
    """x sigmoid(x)."""
    return ops.silu(input)


def mish(input: Any, inplace: bool = False) -> Tensor:
    """x tanh(softplus(x))."""
    return input * ops.tanh(ops.softplus(input))


def gelu(input: Any, approximate: str = "none") -> Tensor:
    """x Phi(x), exact or with `approximate="tanh"`."""
    return ops.gelu(input, approximate)


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


def softmax(input: Any, dim: int, dtype: Any = None) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`, in `dtype` if one is given."""
    return ops.softmax(input if dtype is None else input.to(dtype=dtype), axis=dim)


def softmin(input: Any, dim: int, dtype: Any = None) -> Tensor:
    """softmax(-x) along `dim`."""
    return softmax(-input, dim, dtype)


def log_softmax(input: Any, dim: int, dtype: Any = None) -> Tensor:
    """log(softmax(x)) along `dim`."""
    return ops.log_softmax(input if dtype is None else input.to(dtype=dtype), axis=dim)


def gumbel_softmax(logits: Any, tau: float = 1.0, hard: bool = False, dim: int = -1,
                   generator: Generator | None = None) -> Tensor:
    """A draw from the relaxed categorical distribution: softmax((logits + gumbel noise) / tau).

    `hard` gives one-hot draws, through which the gradient of the soft ones flows.
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
