"""Rows of a table by number, and numbers as rows."""

from __future__ import annotations

from typing import Any

from ... import backend, ops
from ...tensor import Tensor

__all__ = ["embedding", "one_hot"]


def embedding(input: Any, weight: Any, padding_idx: int | None = None,
              max_norm: float | None = None, norm_type: float = 2.0) -> Tensor:
    """Rows of `weight` (rows, dim) by number: (...,) -> (..., dim).

    Args:
        padding_idx: this row gets no gradient.
        max_norm: rows that are looked up are first scaled down, in place, to this norm.

    Raises:
        IndexError: a number is not in [0, rows); the message has both.
    """
    input = input if hasattr(input, "shape") else Tensor(input)
    array = input.data if isinstance(input, Tensor) else input
    rows = weight.shape[0]
    if array.dtype.kind not in "iu":
        raise TypeError(f"[embedding] input must hold integers, got {array.dtype} "
                        f"{tuple(array.shape)}")
    if array.size and (array.min() < 0 or array.max() >= rows):
        raise IndexError(f"[embedding] input has numbers from {array.min()} to {array.max()}, "
                         f"weight {tuple(weight.shape)} has rows 0 to {rows - 1}")
    if max_norm is not None:
        _limit_rows(weight, array, max_norm, norm_type)
    out = ops.take(weight, input, axis=0)
    if padding_idx is None:
        return out
    padding = padding_idx % rows
    is_pad = ops.equal(input, padding).reshape((*array.shape, 1))
    return ops.where(is_pad, weight.data[padding], out)


def _limit_rows(weight: Tensor, rows: Any, max_norm: float, norm_type: float) -> None:
    xp = backend.array_module(weight.data)
    used = xp.unique(rows)
    norms = xp.linalg.norm(weight.data[used], norm_type, axis=1, keepdims=True)
    scale = xp.where(norms > max_norm, max_norm / (norms + 1e-7), 1)
    weight.data[used] *= scale.astype(weight.dtype)
    weight.touch()


def one_hot(tensor: Any, num_classes: int = -1) -> Tensor:
    """Classes as rows with a single 1: (...,) -> (..., num_classes), int64.

    By default there are as many classes as the largest number needs.
    """
    classes = tensor if isinstance(tensor, Tensor) else Tensor(tensor)
    if num_classes == -1:
        if not classes.size:
            raise ValueError("[one_hot] num_classes must be given for an empty tensor")
        num_classes = int(classes.data.max()) + 1
    return ops.one_hot(classes, num_classes)
