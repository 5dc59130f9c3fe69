"""Single operations in JAX, compiled by jax.jit; images are NHWC."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..operations import Unsupported, Work, arrays
from . import jax_layers as layers

__all__ = ["MAPS", "micro", "operation"]

Operation = Callable[..., Any]


def micro(o: dict[str, Any]) -> Work:
    """A micro row; forward+backward returns the output too, or XLA would not compute it."""
    if o["op"] == "overhead":
        raise Unsupported("jax.jit makes one program of the chain, which has no cost per operation")
    if o["op"] == "adamw":
        return _optimizer(o)
    op, xs = operation(o)
    key = jax.random.key(0)          # not a constant of the program, which XLA would fold

    def forward(key: Any, g: Any, *xs: Any) -> Any:
        return op(*xs, key=key) if o["op"] == "dropout" else op(*xs)
    g = jnp.asarray(np.random.default_rng(2).standard_normal(
        jax.eval_shape(partial(forward, key, None), *xs).shape, np.float32))

    def both(key: Any, g: Any, *xs: Any) -> Any:
        y, back = jax.vjp(partial(forward, key, g), *xs)
        return y, back(g)
    run = jax.jit(both if o["backward"] else forward)

    def step() -> None:
        jax.block_until_ready(run(key, g, *xs))
    return Work(step)


def _optimizer(o: dict[str, Any]) -> Work:
    if o["fused"]:
        raise Unsupported("there is one AdamW only; its time is in the row without -fused")
    params = [jnp.asarray(a) for a in arrays(o)]
    grads = [jnp.full_like(p, 1e-3) for p in params]
    decay = [1e-2 for _ in params]

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(params: Any, state: Any, grads: Any) -> Any:
        return layers.adam_update(params, grads, state, 1e-3, decay=decay)
    kept = [params, layers.adam_init(params)]

    def step() -> None:
        kept[:] = jax.block_until_ready(update(*kept, grads))
    return Work(step)


def operation(o: dict[str, Any]) -> tuple[Operation, list[Any]]:
    """The operation of a row and its arrays, laid out as JAX's users do."""
    xs = [jnp.asarray(_layout(o, i, a)) for i, a in enumerate(arrays(o))]
    if o["op"] in ("lstm", "gru"):
        gates = {"lstm": 4, "gru": 3}[o["op"]]
        p = layers.new_recurrent(jax.random.key(0), o["shapes"][0][2], o["hidden"], gates)
        if gates == 4:
            return lambda x, p: layers.lstm(p, x)[0], [*xs, p]
        return lambda x, p: layers.gru(p, x), [*xs, p]
    return _BUILDERS[o["op"]](o), xs


MAPS = ("conv2d", "conv_transpose2d", "batch_norm", "group_norm", "max_pool2d", "avg_pool2d",
         "interpolate")


def _layout(o: dict[str, Any], i: int, a: np.ndarray) -> np.ndarray:
    """NCHW -> NHWC, (O, I, H, W) -> HWIO, (I, O, H, W) -> HWIO turned by half a circle."""
    if o["op"] not in MAPS or a.ndim != 4:
        return a
    if i == 0:
        return a.transpose(0, 2, 3, 1)
    if o["op"] == "conv2d":
        return a.transpose(2, 3, 1, 0)
    return a.transpose(2, 3, 0, 1)[::-1, ::-1]


def _matmul(o: dict[str, Any]) -> Operation:
    a, b = (f == "t" for f in o.get("transposed", "nn"))
    return lambda x, y: (x.mT if a else x) @ (y.mT if b else y)


def _linear(o: dict[str, Any]) -> Operation:
    known: dict[str | None, Operation] = {None: lambda y: y, "relu": jax.nn.relu,
                                          "gelu": partial(jax.nn.gelu, approximate=False)}
    act = known[o["activation"]]
    return lambda x, w, b: act(x @ w.T + b)


def _attention(o: dict[str, Any]) -> Operation:
    n, _, length, _ = o["shapes"][1]
    mask = None
    if o["causal"]:
        mask = np.tril(np.ones((length, length), bool))
    if o["padded"]:
        lengths = length - (np.arange(n) * 7) % (length // 2)
        mask = (np.arange(length) < lengths[:, None])[:, None, None, :]
    return lambda q, k, v: layers.attention(q, k, v, mask)


def _cross_entropy(o: dict[str, Any]) -> Operation:
    rows, classes = o["shapes"][0]
    target = np.arange(rows) % classes
    return lambda x: layers.cross_entropy(x, target).mean()


def _embedding(o: dict[str, Any]) -> Operation:
    index = np.random.default_rng(1).integers(0, o["shapes"][0][0], o["tokens"])
    return lambda table: jnp.take(table, index, axis=0)


def _batch_norm(o: dict[str, Any]) -> Operation:
    return lambda x, w, b: layers.batch_norm({"w": w, "b": b}, x)[0]


def _group_norm(o: dict[str, Any]) -> Operation:
    def op(x: Any, w: Any, b: Any) -> Any:
        n, h, k, c = x.shape
        y = x.reshape(n, h * k, 32, c // 32)
        mean, var = (f(y, axis=(1, 3), keepdims=True) for f in (jnp.mean, jnp.var))
        return ((y - mean) * lax.rsqrt(var + 1e-5)).reshape(x.shape) * w + b
    return op


def _rms_norm(o: dict[str, Any]) -> Operation:
    eps = float(np.finfo(np.float32).eps)
    return lambda x, w: x * lax.rsqrt((x * x).mean(-1, keepdims=True) + eps) * w


def _pool(o: dict[str, Any]) -> Operation:
    size, stride, edge = o.get("kernel", 2), o.get("stride", 2), o.get("padding", 0)
    window, steps = (1, size, size, 1), (1, stride, stride, 1)
    padding = ((0, 0), (edge, edge), (edge, edge), (0, 0))
    if o["op"] == "max_pool2d":
        return lambda x: lax.reduce_window(x, -math.inf, lax.max, window, steps, padding)
    return lambda x: lax.reduce_window(x, 0.0, lax.add, window, steps, padding) / size ** 2


def _interpolate(o: dict[str, Any]) -> Operation:
    def op(x: Any) -> Any:
        n, h, w, c = x.shape
        return jax.image.resize(x, (n, 2 * h, 2 * w, c), "bilinear")
    return op


def _dropout(o: dict[str, Any]) -> Operation:
    return lambda x, key: layers.dropout(key, x, 0.1)


_BUILDERS: dict[str, Callable[[dict[str, Any]], Operation]] = {
    "matmul": _matmul, "linear": _linear, "attention": _attention,
    "cross_entropy": _cross_entropy, "embedding": _embedding, "batch_norm": _batch_norm,
    "group_norm": _group_norm, "rms_norm": _rms_norm, "max_pool2d": _pool, "avg_pool2d": _pool,
    "interpolate": _interpolate, "dropout": _dropout,
    "tanh": lambda o: jnp.tanh, "sigmoid": lambda o: jax.nn.sigmoid, "exp": lambda o: jnp.exp,
    "relu": lambda o: jax.nn.relu, "gelu": lambda o: partial(jax.nn.gelu, approximate=False),
    "softmax": lambda o: jax.nn.softmax,
    "layer_norm": lambda o: lambda x, w, b: layers.layer_norm({"w": w, "b": b}, x),
    "conv2d": lambda o: lambda x, w, b: layers.conv(
        {"w": w, "b": b}, x, o["stride"], o["padding"], o["groups"]),
    "conv_transpose2d": lambda o: lambda x, w, b: layers.conv_transpose(
        {"w": w, "b": b}, x, o["stride"], o["padding"]),
}
