"""JAX's side: the same work as whole programs, compiled by jax.jit for the CPU."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

from ..operations import Work
from ..rows import Row
from . import jax_images, jax_text
from .jax_operations import micro

__all__ = ["load", "version"]


def version() -> str:
    """What was measured, for the report."""
    return f"JAX {jax.__version__} jit"


def load(row: Row) -> Work:
    """The work of a row; the first step compiles. Nothing compiled for another row is kept."""
    jax.clear_caches()
    if row.group == "micro":
        return micro(row.options)
    return _LOADERS[row.options["model"]](row.options)


_LOADERS: dict[str, Callable[[dict[str, Any]], Work]] = {
    "mlp": jax_images.mlp, "gan": jax_images.gan, "dcgan": jax_images.gan, "vae": jax_images.vae,
    "conv-vae": jax_images.vae, "lstm-vae": jax_text.lstm_vae, "gpt": jax_text.gpt,
    "translation": jax_text.translation, "gpt-sampling": jax_text.gpt_sampling,
    "dcgan-sampling": jax_images.dcgan_sampling, "vae-sampling": jax_images.vae_sampling,
}
