"""Norms, distances and similarities of vectors."""

from __future__ import annotations

import math
from typing import Any

from ... import ops
from ...tensor import Tensor

__all__ = ["cosine_similarity", "normalize"]


def normalize(input: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """Vectors along `dim` divided by their p-norm (by `eps` where it is smaller)."""
    return input / ops.clip(_norm(input, p, dim, keepdims=True), eps)


def _norm(x: Any, p: float, axis: int, keepdims: bool = False) -> Any:
    if p == math.inf:
        return ops.max(ops.absolute(x), axis=axis, keepdims=keepdims)
    if p == 1:
        return ops.sum(ops.absolute(x), axis=axis, keepdims=keepdims)
    if p != 2:
        return ops.sum(ops.absolute(x) ** p, axis=axis, keepdims=keepdims) ** (1 / p)
    total = ops.sum(ops.square(x), axis=axis, keepdims=keepdims)
    # the root of 0 has an infinite slope: a zero vector gets gradient 0 instead, as in PyTorch
    zero = ops.equal(total, 0)
    return ops.where(zero, 0, ops.sqrt(ops.where(zero, 1, total)))


def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1 . x2 / (|x1| |x2|) along `dim`; a norm below `eps` counts as `eps`."""
    dot = ops.sum(x1 * x2, axis=dim)
    return dot / (ops.clip(_norm(x1, 2, dim), eps) * ops.clip(_norm(x2, 2, dim), eps))
