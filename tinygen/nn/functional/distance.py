"""Norms, distances and similarities of vectors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import ops
from ...ops.linalg_norm import vector_norm
from ...tensor import Tensor

__all__ = ["bilinear", "cdist", "cosine_similarity", "normalize", "pairwise_distance", "pdist"]


def normalize(input: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12,
              out: Any = None) -> Tensor:
    """Vectors along `dim` divided by their p-norm (by `eps` where it is smaller)."""
    if out is not None:
        raise NotImplementedError("[normalize] out= is not offered: results are new tensors")
    return input / ops.clip(vector_norm(input, p, dim, keepdims=True), eps)


def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1 . x2 / (|x1| |x2|) along `dim`; a norm below `eps` counts as `eps`."""
    a, b = ops.broadcast_arrays(x1, x2)
    return ops.sum(_unit(a, dim, eps) * _unit(b, dim, eps), axis=dim)


def _unit(x: Any, dim: int, eps: float) -> Any:
    length = vector_norm(x, 2, dim, keepdims=True)
    now = length.detach()       # the limit is no part of the gradient
    return x / (length + (ops.clip(now, eps) - now))


def pairwise_distance(x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6,
                      keepdim: bool = False) -> Tensor:
    """|x1 - x2 + eps|_p along the last axis: (..., D), (..., D) -> (...)."""
    return vector_norm(x1 - x2 + eps, p, -1, keepdims=keepdim)


def pdist(input: Any, p: float = 2.0) -> Tensor:
    """The p-norm distances of all pairs of rows i < j of (N, D), in order: (N (N - 1) / 2,)."""
    if input.ndim != 2:
        raise ValueError(f"[pdist] input must be (N, D), got {tuple(input.shape)}")
    if not p >= 0:
        raise ValueError(f"[pdist] p must not be negative, got {p}")
    i, j = (Tensor(k, device=input.device) for k in np.triu_indices(input.shape[0], 1))
    return vector_norm(ops.take(input, i, axis=0) - ops.take(input, j, axis=0), p, -1)


def cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: str | None = None) -> Tensor:
    """The p-norm distances of all rows: (..., M, D), (..., N, D) -> (..., M, N).

    `compute_mode` is PyTorch's choice between two ways for p = 2; here it has no effect.
    """
    if x1.ndim < 2 or x2.ndim < 2 or x1.shape[-1] != x2.shape[-1]:
        raise ValueError(f"[cdist] x1: {tuple(x1.shape)}, x2: {tuple(x2.shape)}: (..., M, D) and "
                         "(..., N, D) fit together")
    if not p >= 0:
        raise ValueError(f"[cdist] p must not be negative, got {p}")
    return vector_norm(ops.expand_dims(x1, -2) - ops.expand_dims(x2, -3), p, -1)


def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Tensor:
    """x1^T W_o x2 + b_o for each output o: (..., in1), (..., in2), weight (out, in1, in2)."""
    if weight.ndim != 3 or input1.ndim < 1 or input2.ndim < 1:
        raise ValueError(f"[bilinear] weight must be (out, in1, in2) and inputs have an axis, got "
                         f"{tuple(weight.shape)}, {tuple(input1.shape)}, {tuple(input2.shape)}")
    if (tuple(input1.shape[:-1]) != tuple(input2.shape[:-1])
            or (input1.shape[-1], input2.shape[-1]) != tuple(weight.shape[1:])):
        raise ValueError(f"[bilinear] inputs {tuple(input1.shape)} and {tuple(input2.shape)} do "
                         f"not fit weight (out, in1, in2) = {tuple(weight.shape)}: their last axes "
                         "must be in1 and in2, the others equal")
    out, in1, in2 = weight.shape
    lead = tuple(input1.shape[:-1])
    rows, n = ops.reshape(input1, (math.prod(lead), in1)), math.prod(lead)
    half = ops.matmul(rows, ops.reshape(ops.permute_dims(weight, (1, 0, 2)), (in1, out * in2)))
    y = ops.matmul(ops.reshape(half, (n, out, in2)), ops.reshape(input2, (n, in2, 1)))
    y = ops.reshape(y, (*lead, out))
    return y if bias is None else y + bias
