"""What the JAX side's models share: a compiled training step with Adam, and its state."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..operations import Work
from . import jax_layers as layers

__all__ = ["images", "run", "trainer"]

Array = Any


def images(o: dict[str, Any]) -> Array:
    """The images of all sides, NHWC."""
    x = np.random.default_rng(0).random((o["batch"], *o["image_shape"]), np.float32)
    return jnp.asarray(x.transpose(0, 2, 3, 1))


def trainer(params: Any, loss: Callable[[Any, Array], Array], lr: float,
            betas: tuple[float, float] = (0.9, 0.999), decay: Any = None,
            clip: float | None = None) -> Work:
    """Steps of Adam on `loss(params, key)`: gradients, clipping and update in one program."""
    @partial(jax.jit, donate_argnums=0)
    def update(state: Any, key: Array) -> tuple[Any, Array]:
        params, adam = state
        value, grads = jax.value_and_grad(loss)(params, key)
        if clip is not None:
            norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(grads)))
            scale = jnp.minimum(1.0, clip / (norm + 1e-6))
            grads = jax.tree.map(lambda g: g * scale, grads)
        return layers.adam_update(params, grads, adam, lr, betas, decay), value
    return run((params, layers.adam_init(params)), update, layers.count(params))


def run(state: Any, update: Callable[[Any, Array], tuple[Any, Array]], parameters: int) -> Work:
    """A step that keeps the state between calls and waits for the loss."""
    kept = [state, jax.random.key(1)]

    def step() -> float:
        kept[1], key = jax.random.split(kept[1])
        kept[0], loss = update(kept[0], key)
        return float(loss)
    return Work(step, parameters)
