"""The text models of the benchmarks in JAX: functions of parameters, whole steps under jax.jit."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..operations import Work
from ..sentences import sentences
from . import jax_layers as layers
from .jax_training import trainer

__all__ = ["gpt", "gpt_sampling", "lstm_vae", "translation"]

Array = Any
Params = Any


# -- GPT ----------------------------------------------------------------------------------------


def _new_gpt(o: dict[str, Any]) -> Params:
    w, keys = o["width"], iter(jax.random.split(jax.random.key(0), 2 + 4 * o["layers"]))

    def linear(inputs: int, outputs: int) -> Params:
        a, b = jax.random.split(next(keys))
        p = layers.new_linear(a, inputs, outputs)
        return {**p, "w": layers.normal(b, p["w"].shape, 0.02)}
    return {"tokens": layers.normal(next(keys), (o["vocabulary"], w), 0.02),
            "positions": layers.normal(next(keys), (o["block"], w), 0.02),
            "blocks": [{"norm1": layers.new_norm(w), "qkv": linear(w, 3 * w),
                        "out": linear(w, w), "norm2": layers.new_norm(w), "up": linear(w, 4 * w),
                        "down": linear(4 * w, w)} for _ in range(o["layers"])],
            "norm": layers.new_norm(w)}


def _heads(x: Array, heads: int) -> Array:
    """(N, L, W) -> (N, H, L, D)."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)


def _joined(x: Array) -> Array:
    """(N, H, L, D) -> (N, L, W)."""
    n, _, length, _ = x.shape
    return x.transpose(0, 2, 1, 3).reshape(n, length, -1)


def _gpt_block(p: Params, x: Array, heads: int, attend: Any) -> tuple[Array, Any]:
    q, k, v = (_heads(y, heads)
               for y in jnp.split(layers.linear(p["qkv"], layers.layer_norm(p["norm1"], x)), 3, -1))
    y, kept = attend(q, k, v)
    x = x + layers.linear(p["out"], _joined(y))
    up = jax.nn.gelu(layers.linear(p["up"], layers.layer_norm(p["norm2"], x)), approximate=False)
    return x + layers.linear(p["down"], up), kept


def gpt(o: dict[str, Any]) -> Work:
    """AdamW with decay of matrices, gradients clipped to length 1."""
    text = np.random.default_rng(0).integers(0, o["vocabulary"], (o["batch"], o["block"] + 1))
    tokens, following = text[:, :-1], text[:, 1:]
    mask = np.tril(np.ones((o["block"],) * 2, bool))

    def loss(params: Params, key: Array) -> Array:
        x = params["tokens"][tokens] + params["positions"]
        for p in params["blocks"]:
            x, _ = _gpt_block(p, x, o["heads"],
                              lambda q, k, v: (layers.attention(q, k, v, mask), None))
        logits = layers.layer_norm(params["norm"], x) @ params["tokens"].T
        return layers.cross_entropy(logits, following).mean()
    params = _new_gpt(o)
    decay = jax.tree.map(lambda p: 0.1 if p.ndim > 1 else 0.0, params)
    return trainer(params, loss, 1e-3, (0.9, 0.99), decay, clip=1.0)


def gpt_sampling(o: dict[str, Any]) -> Work:
    """All tokens in one program, keys and values in arrays of full length."""
    params, n = _new_gpt(o), o["batch"]
    shape = (n, o["heads"], o["block"], o["width"] // o["heads"])
    kept = [jax.random.key(1)]

    def attend(t: Array, cache: Any, q: Array, k: Array, v: Array) -> tuple[Array, Any]:
        k, v = (lax.dynamic_update_slice(old, new, (0, 0, t, 0))
                for old, new in zip(cache, (k, v)))
        return layers.attention(q, k, v, jnp.arange(o["block"]) <= t), (k, v)

    def one(carry: Any, given: Any) -> tuple[Any, Array]:
        (token, caches), (t, key), new = carry, given, []
        x = (params["tokens"][token] + params["positions"][t])[:, None]       # (N, 1, W)
        for p, cache in zip(params["blocks"], caches):
            x, cache = _gpt_block(p, x, o["heads"], partial(attend, t, cache))
            new.append(cache)
        logits = (layers.layer_norm(params["norm"], x) @ params["tokens"].T)[:, 0]
        token = jax.random.categorical(key, logits / o["temperature"])
        return (token, new), token

    @jax.jit
    def make(key: Array) -> Array:
        caches = [(jnp.zeros(shape), jnp.zeros(shape)) for _ in params["blocks"]]
        start = (jnp.zeros(n, jnp.int32), caches)
        return lax.scan(one, start, (jnp.arange(o["new"]), jax.random.split(key, o["new"])))[1]

    def step() -> None:
        kept[0], key = jax.random.split(kept[0])
        jax.block_until_ready(make(key))
    return Work(step, layers.count(params))


# -- LSTM VAE -----------------------------------------------------------------------------------


def lstm_vae(o: dict[str, Any]) -> Work:
    """Cross-entropy and KL, in nats per sentence."""
    keys = jax.random.split(jax.random.key(0), 7)
    words, e, h, z = o["vocabulary"], o["embedding"], o["hidden"], o["latent"]
    params = {"words": layers.normal(keys[0], (words, e), 1.0),
              "encoder": layers.new_recurrent(keys[1], e, h, 4),
              "mu": layers.new_linear(keys[2], h, z), "logvar": layers.new_linear(keys[3], h, z),
              "start": layers.new_linear(keys[4], z, 2 * h),
              "decoder": layers.new_recurrent(keys[5], e + z, h, 4),
              "head": layers.new_linear(keys[6], h, words)}
    tokens = np.random.default_rng(0).integers(1, words, (o["length"], o["batch"]))

    def loss(params: Params, key: Array) -> Array:
        x = params["words"][tokens]                                     # (T, N, E)
        _, (last, _) = layers.lstm(params["encoder"], x)
        mu, logvar = (layers.linear(params[name], last) for name in ("mu", "logvar"))
        latent = mu + jnp.exp(0.5 * logvar) * jax.random.normal(key, mu.shape)
        before = jnp.concatenate([jnp.broadcast_to(params["words"][0], x[:1].shape), x[:-1]])
        given = jnp.concatenate([before, jnp.broadcast_to(latent, (len(x), *latent.shape))], -1)
        h0, c0 = jnp.split(jnp.tanh(layers.linear(params["start"], latent)), 2, axis=1)
        y, _ = layers.lstm(params["decoder"], given, (h0, c0))
        total = layers.cross_entropy(layers.linear(params["head"], y), tokens).sum()
        kl = -0.5 * (1 + logvar - mu ** 2 - jnp.exp(logvar)).sum()
        return (total + kl) / o["batch"]
    return trainer(params, loss, 1e-3)


# -- translation --------------------------------------------------------------------------------


def _xavier(key: Array, inputs: int, outputs: int) -> Params:
    bound = math.sqrt(6 / (inputs + outputs))
    return {"w": jax.random.uniform(key, (inputs, outputs), minval=-bound, maxval=bound),
            "b": jnp.zeros(outputs)}


def _new_layer(key: Array, w: int, feed_forward: int, attentions: int) -> Params:
    keys = iter(jax.random.split(key, 2 * attentions + 2))
    return {"attend": [{"qkv": _xavier(next(keys), w, 3 * w), "out": _xavier(next(keys), w, w)}
                       for _ in range(attentions)],
            "up": _xavier(next(keys), w, feed_forward),
            "down": _xavier(next(keys), feed_forward, w),
            "norms": [layers.new_norm(w) for _ in range(attentions + 1)]}


def _attend(p: Params, x: Array, memory: Array, heads: int, mask: Array, key: Array,
            dropout: float) -> Array:
    w = x.shape[-1]
    if memory is x:
        qkv = jnp.split(layers.linear(p["qkv"], x), 3, -1)
    else:                                                 # queries of x, keys and values of memory
        weight, bias = p["qkv"]["w"], p["qkv"]["b"]
        kv = memory @ weight[:, w:] + bias[w:]
        qkv = [x @ weight[:, :w] + bias[:w], *jnp.split(kv, 2, -1)]
    q, k, v = (_heads(y, heads) for y in qkv)
    y = layers.attention(q, k, v, mask, key, dropout)
    return layers.linear(p["out"], _joined(y))


def _layer(p: Params, x: Array, others: list[Any], heads: int, key: Array,
           dropout: float) -> Array:
    """`others`: for each attention, what it looks at (None: x itself) and the mask."""
    keys = iter(jax.random.split(key, 2 * len(others) + 2))
    for a, norm, (memory, mask) in zip(p["attend"], p["norms"], others):
        y = _attend(a, x, x if memory is None else memory, heads, mask, next(keys), dropout)
        x = layers.layer_norm(norm, x + layers.dropout(next(keys), y, dropout))
    y = layers.dropout(next(keys), jax.nn.relu(layers.linear(p["up"], x)), dropout)
    y = layers.dropout(next(keys), layers.linear(p["down"], y), dropout)
    return layers.layer_norm(p["norms"][-1], x + y)


def translation(o: dict[str, Any]) -> Work:
    """Cross-entropy with smoothed labels over the words that are not padding."""
    w, words, heads, rate = o["width"], o["vocabulary"], o["heads"], o["dropout"]
    keys = iter(jax.random.split(jax.random.key(0), 8 + 2 * o["layers"]))
    longest = max(o["source"], o["target"] + 1)
    params = {"tables": [layers.normal(next(keys), (n, w), 0.02) for n in (words, words, longest)],
              "encoder": [_new_layer(next(keys), w, o["feed_forward"], 1)
                          for _ in range(o["layers"])],
              "decoder": [_new_layer(next(keys), w, o["feed_forward"], 2)
                          for _ in range(o["layers"])],
              "norms": [layers.new_norm(w) for _ in range(2)],
              "head": layers.new_linear(next(keys), w, words)}
    source, target = sentences(o)
    given, following = target[:, :-1], target[:, 1:]
    seen = (source != 0)[:, None, None, :]
    past = np.tril(np.ones((o["target"],) * 2, bool)) & (given != 0)[:, None, None, :]
    used = following != 0

    def embed(params: Params, table: int, tokens: Array, key: Array) -> Array:
        positions = params["tables"][2][:tokens.shape[1]]
        x = params["tables"][table][tokens] * math.sqrt(w) + positions
        return layers.dropout(key, x, rate)

    def loss(params: Params, key: Array) -> Array:
        keys = iter(jax.random.split(key, 2 + 2 * o["layers"]))
        x = embed(params, 0, source, next(keys))
        for p in params["encoder"]:
            x = _layer(p, x, [(None, seen)], heads, next(keys), rate)
        memory, y = layers.layer_norm(params["norms"][0], x), embed(params, 1, given, next(keys))
        for p in params["decoder"]:
            y = _layer(p, y, [(None, past), (memory, seen)], heads, next(keys), rate)
        logits = layers.linear(params["head"], layers.layer_norm(params["norms"][1], y))
        logs = jax.nn.log_softmax(logits)
        picked = jnp.take_along_axis(logs, following[..., None], -1)[..., 0]
        return -jnp.where(used, 0.9 * picked + 0.1 * logs.mean(-1), 0).sum() / used.sum()
    return trainer(params, loss, 5e-4, (0.9, 0.98))
