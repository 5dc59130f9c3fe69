"""Layers for the JAX side, as functions of parameters; images are NHWC, as XLA likes them.

Parameters are dictionaries of arrays. Linear layers and convolutions start uniform in
[-1/sqrt(fan in), 1/sqrt(fan in)], as PyTorch's do, or from N(0, std).
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

__all__ = ["adam_init", "adam_update", "attention", "batch_norm", "conv", "conv_transpose",
           "count", "cross_entropy", "dropout", "gru", "layer_norm", "linear", "lstm",
           "new_conv", "new_linear", "new_norm", "new_recurrent", "normal"]

Array = Any
Params = Any
_IMAGES = ("NHWC", "HWIO", "NHWC")


# -- parameters ---------------------------------------------------------------------------------


def normal(key: Array, shape: tuple[int, ...], std: float) -> Array:
    """N(0, std^2)."""
    return std * jax.random.normal(key, shape)


def new_linear(key: Array, inputs: int, outputs: int, bias: bool = True,
               std: float | None = None) -> Params:
    """Weight (in, out) and bias (out,)."""
    return _new(key, (inputs, outputs), inputs, outputs, bias, std)


def new_conv(key: Array, inputs: int, outputs: int, kernel: int, bias: bool = True,
             std: float | None = None, transposed: bool = False) -> Params:
    """Weight (kernel, kernel, in, out) and bias (out,)."""
    fan = (outputs if transposed else inputs) * kernel * kernel
    return _new(key, (kernel, kernel, inputs, outputs), fan, outputs, bias, std)


def _new(key: Array, shape: tuple[int, ...], fan: int, outputs: int, bias: bool,
         std: float | None) -> Params:
    a, b = jax.random.split(key)
    bound = 1 / math.sqrt(fan)
    weight = (jax.random.uniform(a, shape, minval=-bound, maxval=bound) if std is None
              else normal(a, shape, std))
    if not bias:
        return {"w": weight}
    return {"w": weight, "b": jnp.zeros(outputs) if std is not None else
            jax.random.uniform(b, (outputs,), minval=-bound, maxval=bound)}


def new_norm(width: int) -> Params:
    """Scale and shift."""
    return {"w": jnp.ones(width), "b": jnp.zeros(width)}


def new_recurrent(key: Array, inputs: int, hidden: int, gates: int) -> Params:
    """Weights and biases of an LSTM (4 gates) or a GRU (3)."""
    bound, keys = 1 / math.sqrt(hidden), jax.random.split(key, 4)
    shapes = [(inputs, gates * hidden), (hidden, gates * hidden), (gates * hidden,),
              (gates * hidden,)]
    return {name: jax.random.uniform(k, s, minval=-bound, maxval=bound)
            for name, k, s in zip(("wi", "wh", "bi", "bh"), keys, shapes)}


def count(params: Params) -> int:
    """How many numbers are learnt."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


# -- layers -------------------------------------------------------------------------------------


def linear(p: Params, x: Array) -> Array:
    """x w + b."""
    y = x @ p["w"]
    return y + p["b"] if "b" in p else y


def conv(p: Params, x: Array, stride: int, padding: int, groups: int = 1) -> Array:
    """A convolution with square kernels."""
    y = lax.conv_general_dilated(x, p["w"], (stride, stride), ((padding, padding),) * 2,
                                 dimension_numbers=_IMAGES, feature_group_count=groups)
    return y + p["b"] if "b" in p else y


def conv_transpose(p: Params, x: Array, stride: int, padding: int) -> Array:
    """A transposed convolution; `padding` is PyTorch's."""
    edge = p["w"].shape[0] - 1 - padding
    y = lax.conv_transpose(x, p["w"], (stride, stride), ((edge, edge),) * 2,
                           dimension_numbers=_IMAGES)
    return y + p["b"] if "b" in p else y


def layer_norm(p: Params, x: Array) -> Array:
    """Over the last axis."""
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(var + 1e-5) * p["w"] + p["b"]


def batch_norm(p: Params, x: Array, running: Any = None,
               training: bool = True) -> tuple[Array, Array]:
    """Channels last; returns the output and the new running mean and variance (2, C)."""
    if training:
        axes = tuple(range(x.ndim - 1))
        mean, var = x.mean(axes), x.var(axes)
        n = x.size // x.shape[-1]
        if running is not None:
            running = 0.9 * running + 0.1 * jnp.stack([mean, var * n / (n - 1)])
    else:
        mean, var = running
    return (x - mean) * lax.rsqrt(var + 1e-5) * p["w"] + p["b"], running


def dropout(key: Array, x: Array, p: float) -> Array:
    """Zero with probability p, the others divided by 1 - p."""
    if not p:
        return x
    return jnp.where(jax.random.bernoulli(key, 1 - p, x.shape), x / (1 - p), 0)


def attention(q: Array, k: Array, v: Array, mask: Array | None = None, key: Array | None = None,
              p: float = 0.0) -> Array:
    """(N, H, L, D) each; `mask` is true where a query sees a key."""
    scores = jnp.einsum("nhld,nhsd->nhls", q, k) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = jnp.where(mask, scores, -jnp.inf)
    weights = jax.nn.softmax(scores)
    return jnp.einsum("nhls,nhsd->nhld", dropout(key, weights, p), v)


def lstm(p: Params, x: Array, state: tuple[Array, Array] | None = None) -> tuple[Array, Any]:
    """(T, N, I) to (T, N, H), and the last state; the input's product for all steps at once."""
    hidden = p["wh"].shape[0]
    if state is None:
        state = (jnp.zeros((x.shape[1], hidden)),) * 2
    pre = x @ p["wi"] + (p["bi"] + p["bh"])                            # (T, N, 4H)

    def cell(carry: Any, a: Array) -> tuple[Any, Array]:
        h, c = carry
        i, f, g, o = jnp.split(a + h @ p["wh"], 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h
    state, y = lax.scan(cell, state, pre)
    return y, state


def gru(p: Params, x: Array) -> Array:
    """(T, N, I) to (T, N, H)."""
    pre = x @ p["wi"] + p["bi"]                                        # (T, N, 3H)

    def cell(h: Array, a: Array) -> tuple[Array, Array]:
        r, z, n = jnp.split(a, 3, axis=-1)
        hr, hz, hn = jnp.split(h @ p["wh"] + p["bh"], 3, axis=-1)
        z = jax.nn.sigmoid(z + hz)
        h = (1 - z) * jnp.tanh(n + jax.nn.sigmoid(r + hr) * hn) + z * h
        return h, h
    return lax.scan(cell, jnp.zeros((x.shape[1], p["wh"].shape[0])), pre)[1]


def cross_entropy(logits: Array, target: Array) -> Array:
    """-log softmax(logits)[target] of each row."""
    return (jax.nn.logsumexp(logits, axis=-1)
            - jnp.take_along_axis(logits, target[..., None], axis=-1)[..., 0])


# -- Adam ---------------------------------------------------------------------------------------


def adam_init(params: Params) -> Any:
    """Means of the gradient and of its square, and the number of steps."""
    zeros = jax.tree.map(jnp.zeros_like, params)
    return zeros, jax.tree.map(jnp.zeros_like, params), jnp.zeros((), jnp.int32)


def adam_update(params: Params, grads: Params, state: Any, lr: float,
                betas: tuple[float, float] = (0.9, 0.999), decay: Params = None) -> Any:
    """New parameters and state; `decay` is AdamW's rate for each parameter."""
    (m, v, t), (b1, b2) = state, betas
    t = t + 1
    m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, m, grads)
    v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, v, grads)
    size, root = lr / (1 - b1 ** t), jnp.sqrt(1 - b2 ** t)
    if decay is not None:
        params = jax.tree.map(lambda p, d: p * (1 - lr * d), params, decay)
    params = jax.tree.map(lambda p, m, v: p - size * m / (jnp.sqrt(v) / root + 1e-8),
                          params, m, v)
    return params, (m, v, t)
