"""Losses of single elements: cross entropy of two classes and squares, and what they sum to."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from tinygen.primitive import kernel

from .launch import EMPTY, HALVES, MIXED, NOT_FLOAT, SUFFIXES, Source, blocks, plain

__all__: list[str] = []

native = Source("element_loss")

CHUNK = 4096              # elements that a block sums up; source/element_loss.cu has the same
SHAPES = "shapes differ"


def _beside(a: Any, x: Any) -> Any:
    """(a in C order, its step): a goes with x element by element, or is one number for all."""
    if isinstance(a, (int, float)):
        a = cupy.full((), a, x.dtype)
    if not isinstance(a, cupy.ndarray) or a.dtype != x.dtype:
        return MIXED
    if a.size == 1 or (a.shape == x.shape and not any(a.strides)):
        return a, np.int32(0)
    return (plain(a), np.int32(1)) if a.shape == x.shape else SHAPES


def _unfit(x: Any) -> str | None:
    if not isinstance(x, cupy.ndarray) or x.dtype not in SUFFIXES:
        return NOT_FLOAT
    return None if x.size else EMPTY


def _register(name: str, source: str) -> None:
    def call(x: Any, target: Any, *, reduction: str) -> Any:
        beside = _unfit(x) or _beside(target, x)
        if isinstance(beside, str):
            return beside
        x, suffix, n = plain(x), SUFFIXES[x.dtype], x.size
        if reduction == "none":
            y = cupy.empty_like(x)
            native(f"{source}_{suffix}", blocks(n, 256), 256, x, *beside, y, n)
            return y
        count = blocks(n, CHUNK)
        parts, y = cupy.empty(count, np.float64), cupy.empty((), x.dtype)
        native(f"{source}_sums_{suffix}", count, 256, x, *beside, parts, n)
        native(f"total_{suffix}", 1, 256, parts, count,
               np.float64(1 / n if reduction == "mean" else 1), y)
        return y
    call.__doc__ = f"{name}: sums of blocks in float64, and the sum of those."
    kernel(name, cupy.ndarray, dtypes=HALVES)(call)


_register("bce_with_logits", "two_classes")
_register("mse_loss", "square")


@kernel("bce_with_logits_grad", cupy.ndarray, dtypes=HALVES)
def _(x: Any, target: Any, g: Any) -> Any:
    beside = _unfit(x) or _beside(target, x)
    if isinstance(beside, str):
        return beside
    of_g = _beside(g, x)
    if isinstance(of_g, str):
        return of_g
    x, y = plain(x), cupy.empty(x.shape, x.dtype)
    native(f"two_classes_grad_{SUFFIXES[x.dtype]}", blocks(x.size, 256), 256, x, *beside, *of_g, y,
           x.size)
    return y
