"""The image models of the benchmarks in JAX: functions of parameters, whole steps under jax.jit."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..operations import Work
from . import jax_layers as layers
from .jax_training import images, run, trainer

__all__ = ["dcgan_sampling", "gan", "mlp", "vae", "vae_sampling"]

Array = Any
Params = Any


def mlp(o: dict[str, Any]) -> Work:
    """2-16-16-1 with tanh."""
    keys = jax.random.split(jax.random.key(0), 3)
    params = [layers.new_linear(k, a, b) for k, a, b in zip(keys, (2, 16, 16), (16, 16, 1))]
    draw = np.random.default_rng(0)
    x = jnp.asarray(draw.standard_normal((o["batch"], 2), np.float32))
    target = jnp.asarray((draw.random((o["batch"], 1)) < 0.5).astype(np.float32))

    def loss(params: Params, key: Array) -> Array:
        y = x
        for p in params[:-1]:
            y = jnp.tanh(layers.linear(p, y))
        return binary_cross_entropy(layers.linear(params[-1], y), target).mean()
    return trainer(params, loss, 1e-3)


def binary_cross_entropy(logits: Array, target: Array) -> Array:
    """Of each element, from logits."""
    return jnp.maximum(logits, 0) - logits * target + jnp.log1p(jnp.exp(-jnp.abs(logits)))


# -- GANs ---------------------------------------------------------------------------------------


def _leaky(x: Array) -> Array:
    return jax.nn.leaky_relu(x, 0.2)


def _dense_pair(o: dict[str, Any]) -> tuple[Params, Params, Any, Any]:
    keys = iter(jax.random.split(jax.random.key(0), 16))
    widths = [o["latent"], *o["hidden"], 784]
    g, d = ([layers.new_linear(next(keys), a, b) for a, b in zip(w, w[1:])]
            for w in (widths, [784, *o["hidden"][::-1], 1]))

    def generator(p: Params, stats: Any, z: Array) -> tuple[Array, Any]:
        for layer in p[:-1]:
            z = _leaky(layers.linear(layer, z))
        return jnp.tanh(layers.linear(p[-1], z)).reshape(-1, 28, 28, 1), stats

    def discriminator(p: Params, stats: Any, x: Array, key: Array) -> tuple[Array, Any]:
        x = x.reshape(len(x), -1)
        for layer, k in zip(p[:-1], jax.random.split(key, len(p))):
            x = layers.dropout(k, _leaky(layers.linear(layer, x)), o["dropout"])
        return layers.linear(p[-1], x), stats
    return (g, []), (d, []), generator, discriminator


def _channels(o: dict[str, Any]) -> list[int]:
    steps = (o["image_shape"][1] // 4).bit_length() - 1
    return [o["image_shape"][0]] + [o["width"] * min(2 ** i, 8) for i in range(steps)]


def _new_generator(o: dict[str, Any], keys: Any) -> tuple[Params, Any]:
    c = _channels(o)
    up = list(zip(c[:0:-1], c[-2::-1]))
    g = {"in": layers.new_linear(next(keys), o["latent"], c[-1] * 16, bias=False, std=0.02),
         "convs": [layers.new_conv(next(keys), a, b, 4, bias=b == c[0], std=0.02) for a, b in up],
         "norms": [layers.new_norm(a) for a in c[:0:-1]]}
    return g, [jnp.stack([jnp.zeros(a), jnp.ones(a)]) for a in c[:0:-1]]


def _generator(p: Params, stats: Any, z: Array, training: bool = True) -> tuple[Array, Any]:
    x, kept = layers.linear(p["in"], z).reshape(len(z), 4, 4, -1), []
    for conv, norm, running in zip(p["convs"], p["norms"], stats):
        x, running = layers.batch_norm(norm, x, running, training)
        kept.append(running)
        x = layers.conv_transpose(conv, jax.nn.relu(x), 2, 1)
    return jnp.tanh(x), kept


def _conv_pair(o: dict[str, Any]) -> tuple[Params, Params, Any, Any]:
    keys, c = iter(jax.random.split(jax.random.key(0), 16)), _channels(o)
    d = {"convs": [layers.new_conv(next(keys), a, b, 4, bias=a == c[0], std=0.02)
                   for a, b in zip(c, c[1:])], "norms": [layers.new_norm(b) for b in c[2:]],
         "out": layers.new_linear(next(keys), c[-1] * 16, 1, std=0.02)}

    def discriminator(p: Params, stats: Any, x: Array, key: Array) -> tuple[Array, Any]:
        x, kept = _leaky(layers.conv(p["convs"][0], x, 2, 1)), []
        for conv, norm, running in zip(p["convs"][1:], p["norms"], stats):
            x, running = layers.batch_norm(norm, layers.conv(conv, x, 2, 1), running)
            kept.append(running)
            x = _leaky(x)
        return layers.linear(p["out"], x.reshape(len(x), -1)), kept
    running = [jnp.stack([jnp.zeros(b), jnp.ones(b)]) for b in c[2:]]
    return _new_generator(o, keys), (d, running), _generator, discriminator


def gan(o: dict[str, Any]) -> Work:
    """D learns from real and generated images, then G from the updated D: one compiled step."""
    (g, g_stats), (d, d_stats), generator, discriminator = (
        _dense_pair(o) if o["model"] == "gan" else _conv_pair(o))
    real, adam = images(o) * 2 - 1, partial(layers.adam_update, lr=2e-4, betas=(0.5, 0.999))

    def judge(d: Params, stats: Any, fake: Array, keys: Array) -> tuple[Array, Any]:
        a, stats = discriminator(d, stats, real, keys[0])
        b, stats = discriminator(d, stats, fake, keys[1])
        return jax.nn.softplus(-a).mean() + jax.nn.softplus(b).mean(), stats

    def fool(fake: Array, d: Params, stats: Any, key: Array) -> tuple[Array, Any]:
        scores, stats = discriminator(d, stats, fake, key)
        return jax.nn.softplus(-scores).mean(), stats

    @partial(jax.jit, donate_argnums=0)
    def update(state: Any, key: Array) -> tuple[Any, Array]:
        g, g_adam, g_stats, d, d_adam, d_stats = state
        keys = jax.random.split(key, 4)
        z = jax.random.normal(keys[0], (o["batch"], o["latent"]))
        fake, back, g_stats = jax.vjp(lambda g: generator(g, g_stats, z), g, has_aux=True)
        (loss, d_stats), grads = jax.value_and_grad(judge, has_aux=True)(d, d_stats, fake,
                                                                         keys[1:3])
        d, d_adam = adam(d, grads, d_adam)
        to_fake, d_stats = jax.grad(fool, has_aux=True)(fake, d, d_stats, keys[3])
        g, g_adam = adam(g, back(to_fake)[0], g_adam)
        return (g, g_adam, g_stats, d, d_adam, d_stats), loss
    state = (g, layers.adam_init(g), g_stats, d, layers.adam_init(d), d_stats)
    return run(state, update, layers.count((g, d)))


def dcgan_sampling(o: dict[str, Any]) -> Work:
    """Noise, and images from it."""
    (g, stats), (d, _), *_ = _conv_pair(o)

    @jax.jit
    def make(key: Array) -> Array:
        z = jax.random.normal(key, (o["batch"], o["latent"]))
        return _generator(g, stats, z, training=False)[0]
    return _sampling(make, layers.count((g, d)))


def _sampling(make: Any, parameters: int) -> Work:
    kept = [jax.random.key(1)]

    def step() -> None:
        kept[0], key = jax.random.split(kept[0])
        jax.block_until_ready(make(key))
    return Work(step, parameters)


# -- VAEs ---------------------------------------------------------------------------------------


def _new_vae(o: dict[str, Any]) -> Params:
    keys, latent = iter(jax.random.split(jax.random.key(0), 16)), o["latent"]
    if o["model"] == "vae":
        features, encoder = o["hidden"], [layers.new_linear(next(keys), 784, o["hidden"])]
        decoder = [layers.new_linear(next(keys), latent, features),
                   layers.new_linear(next(keys), features, 784)]
    else:
        w = o["width"]
        features = 2 * w * 49
        encoder = [layers.new_conv(next(keys), 1, w, 4), layers.new_conv(next(keys), w, 2 * w, 4)]
        decoder = [layers.new_linear(next(keys), latent, features),
                   layers.new_conv(next(keys), 2 * w, w, 4, transposed=True),
                   layers.new_conv(next(keys), w, 1, 4, transposed=True)]
    return {"encoder": encoder, "decoder": decoder,
            "heads": [layers.new_linear(next(keys), features, latent) for _ in range(2)]}


def _encode(params: Params, x: Array, dense: bool) -> Array:
    x = x.reshape(len(x), -1) if dense else x
    for p in params:
        x = jax.nn.relu(layers.linear(p, x) if dense else layers.conv(p, x, 2, 1))
    return x.reshape(len(x), -1)


def _decode(params: Params, z: Array, dense: bool) -> Array:
    y = layers.linear(params[0], z)
    if not dense:
        y = y.reshape(len(z), 7, 7, -1)
    for p in params[1:]:
        y = jax.nn.relu(y)
        y = layers.linear(p, y) if dense else layers.conv_transpose(p, y, 2, 1)
    return y.reshape(len(z), 28, 28, 1)


def vae(o: dict[str, Any]) -> Work:
    """Bernoulli likelihood and KL, in nats per image."""
    x, dense = images(o), o["model"] == "vae"

    def loss(params: Params, key: Array) -> Array:
        features = _encode(params["encoder"], x, dense)
        mu, logvar = (layers.linear(p, features) for p in params["heads"])
        z = mu + jnp.exp(0.5 * logvar) * jax.random.normal(key, mu.shape)
        total = binary_cross_entropy(_decode(params["decoder"], z, dense), x).sum()
        return (total - 0.5 * (1 + logvar - mu ** 2 - jnp.exp(logvar)).sum()) / len(x)
    return trainer(_new_vae(o), loss, 1e-3)


def vae_sampling(o: dict[str, Any]) -> Work:
    """Noise, and images from the decoder."""
    params = _new_vae(o)

    @jax.jit
    def make(key: Array) -> Array:
        z = jax.random.normal(key, (o["batch"], o["latent"]))
        return jax.nn.sigmoid(_decode(params["decoder"], z, dense=False))
    return _sampling(make, layers.count(params))
