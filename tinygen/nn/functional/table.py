"""Rows of a table by number, bags of them, and numbers as rows."""

from __future__ import annotations

from typing import Any

from ... import ops
from ...autograd import no_grad
from ...mode import reads
from ...ops.index import SLOT, scatter_index_p
from ...ops.table import argmax_in_bags, limit_rows, look_up, within
from ...tensor import Tensor

__all__ = ["embedding", "embedding_bag", "one_hot"]


def embedding(input: Any, weight: Any, padding_idx: int | None = None,
              max_norm: float | None = None, norm_type: float = 2.0,
              scale_grad_by_freq: bool = False, sparse: bool = False) -> Tensor:
    """Rows of `weight` (rows, dim) by number: (...,) -> (..., dim).

    Args:
        padding_idx: this row gets no gradient.
        max_norm: rows that are looked up are first scaled down, in place, to this norm.
        scale_grad_by_freq: the gradient of a row is divided by the number of times it occurs.
        sparse: must be false; gradients are dense.

    Raises:
        IndexError: a number is not in [0, rows); the message has both.
    """
    if padding_idx is None and max_norm is None and not (scale_grad_by_freq or sparse) and (
            type(input) is Tensor and input.data.dtype.kind in "iu" and weight.ndim == 2):
        return look_up(weight, input)
    input = _numbers(input, weight, "embedding", sparse)
    padding = _padding(padding_idx, weight, "embedding")
    out = _look_up(input, weight, max_norm, norm_type, scale_grad_by_freq)
    if padding is None:
        return out
    is_pad = ops.reshape(ops.equal(input, padding), (*input.shape, 1))
    return ops.where(is_pad, out.detach(), out)


def embedding_bag(input: Any, weight: Any, offsets: Any = None, max_norm: float | None = None,
                  norm_type: float = 2.0, scale_grad_by_freq: bool = False, mode: str = "mean",
                  sparse: bool = False, per_sample_weights: Any = None,
                  include_last_offset: bool = False, padding_idx: int | None = None) -> Tensor:
    """The sum, mean or maximum over each bag of rows of `weight`: (bags, dim).

    Args:
        input: (bags, n) numbers, a bag per row; or all numbers in one axis, bag after bag.
        offsets: for one axis, where each bag begins; 0 comes first.
        mode: ``"sum"``, ``"mean"`` or ``"max"``. An empty bag gives zeros.
        per_sample_weights: factors of the rows, shaped as `input`; for ``"sum"`` only.
        include_last_offset: the last offset is where the last bag ends.
        padding_idx: this row is left out of its bags.
        max_norm, norm_type, scale_grad_by_freq, sparse: as for `embedding`.
    """
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"[embedding_bag] mode must be 'sum', 'mean' or 'max', got {mode!r}")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(f"[embedding_bag] per_sample_weights need mode='sum', got "
                                  f"{mode!r}")
    if scale_grad_by_freq and mode == "max":
        raise ValueError("[embedding_bag] scale_grad_by_freq does not go with mode='max'")
    input = _numbers(input, weight, "embedding_bag", sparse)
    if per_sample_weights is not None and tuple(per_sample_weights.shape) != input.shape:
        raise ValueError(f"[embedding_bag] per_sample_weights have shape "
                         f"{tuple(per_sample_weights.shape)}, input {input.shape}")
    bags, count = _bags(input, offsets, include_last_offset)
    padding = _padding(padding_idx, weight, "embedding_bag")
    flat = ops.reshape(input, (-1,))
    rows = _look_up(flat, weight, max_norm, norm_type, scale_grad_by_freq)
    if per_sample_weights is not None:
        rows = rows * ops.reshape(per_sample_weights, (-1, 1))
    keep = None if padding is None else ops.not_equal(flat, padding)
    if mode == "max":
        winners = argmax_in_bags(rows.detach(), bags, keep, count=count)
        if not rows.size:       # only empty bags: zeros that depend on the table
            return ops.broadcast_to(ops.sum(rows, axis=0), (count, weight.shape[1]))
        picked = ops.take_along_axis(rows, ops.maximum(winners, 0), axis=0)
        return ops.where(ops.less(winners, 0), 0, picked)
    if keep is not None:
        rows = ops.where(ops.reshape(keep, (-1, 1)), rows, 0)
    total = scatter_index_p(rows, bags, template=(SLOT,), shape=(count + 1, weight.shape[1]))
    total = total[:count]
    if mode == "sum":
        return total
    ones = (ops.ones(flat.shape, dtype=rows.dtype, device=rows.device) if keep is None
            else keep.astype(rows.dtype))
    lengths = scatter_index_p(ones, bags, template=(SLOT,), shape=(count + 1,))[:count]
    return total / ops.reshape(ops.maximum(lengths, 1), (-1, 1))


def _bags(input: Tensor, offsets: Any, include_last: bool) -> tuple[Any, int]:
    """The number of the bag of every row, and how many bags there are."""
    if input.ndim == 2:
        if offsets is not None:
            raise ValueError("[embedding_bag] offsets go with an input of one axis; one of shape "
                             f"{input.shape} has a bag per row")
        rows = ops.arange(input.shape[0], device=input.device)
        return ops.repeat(rows, input.shape[1], 0), input.shape[0]
    if input.ndim != 1:
        raise ValueError(f"[embedding_bag] input must have one or two axes, got {input.shape}")
    if offsets is None:
        raise ValueError("[embedding_bag] an input of one axis needs offsets: where each bag "
                         "begins")
    offsets = offsets if isinstance(offsets, Tensor) else Tensor(offsets)
    if offsets.ndim != 1 or offsets.dtype.kind not in "iu":
        raise ValueError(f"[embedding_bag] offsets must be integers in one axis, got "
                         f"{offsets.dtype} {offsets.shape}")
    starts, n = offsets.data, input.shape[0]
    looks = starts.size and offsets.device == "cpu"              # a GPU is not waited for
    if looks and (starts[0] != 0 or starts[-1] > n or (starts[1:] < starts[:-1]).any()):
        raise ValueError(f"[embedding_bag] offsets must begin with 0, not fall, and not pass the "
                         f"{n} numbers of the input; got {starts.tolist()}")
    if include_last and not starts.size:
        raise ValueError("[embedding_bag] include_last_offset=True needs at least one offset")
    bags = ops.searchsorted(offsets, ops.arange(n, device=input.device), side="right") - 1
    return bags, starts.size - include_last


def _numbers(input: Any, weight: Any, op: str, sparse: bool) -> Tensor:
    """`input` as a tensor of row numbers that the table has."""
    if sparse:
        raise NotImplementedError(f"[{op}] sparse gradients are not offered; sparse=False computes "
                                  "the same numbers")
    if weight.ndim != 2:
        raise ValueError(f"[{op}] weight must be a table (rows, dim), got {tuple(weight.shape)}")
    input = input if isinstance(input, Tensor) else Tensor(input, device=weight.device)
    array, rows = input.data, weight.shape[0]
    if array.dtype.kind not in "iu":
        raise TypeError(f"[{op}] input must hold integers, got {array.dtype} "
                        f"{tuple(array.shape)}")
    if input.device == "cpu" and not within(array, rows):          # a GPU is not waited for
        raise IndexError(f"[{op}] input has numbers from {array.min()} to {array.max()}, "
                         f"weight {tuple(weight.shape)} has rows 0 to {rows - 1}")
    return input


def _padding(padding_idx: int | None, weight: Any, op: str) -> int | None:
    rows = weight.shape[0]
    if padding_idx is None:
        return None
    if not -rows <= padding_idx < rows:
        raise ValueError(f"[{op}] padding_idx {padding_idx} is outside of the {rows} rows")
    return padding_idx % rows


def _look_up(input: Tensor, weight: Any, max_norm: float | None, norm_type: float,
             scale_grad_by_freq: bool) -> Any:
    if max_norm is not None:
        with no_grad():
            limit_rows(weight, input, max_norm=float(max_norm), norm_type=float(norm_type))
        weight.touch()
    out = look_up(weight, input)
    if not scale_grad_by_freq:
        return out
    times = ops.bincount(ops.reshape(input, (-1,)), minlength=weight.shape[0])
    share = ops.reciprocal(ops.take(times, input, axis=0).astype(weight.dtype))
    # the value is `out` to the last bit, the gradient is multiplied by `share`
    return out.detach() + ops.reshape(share, (*input.shape, 1)) * (out - out.detach())


def one_hot(tensor: Any, num_classes: int = -1) -> Tensor:
    """Classes as rows with a single 1: (...,) -> (..., num_classes), int64.

    By default there are as many classes as the largest number needs.
    """
    classes = tensor if isinstance(tensor, Tensor) else Tensor(tensor)
    if classes.dtype.kind not in "iu":
        raise TypeError(f"[one_hot] classes must be integers, got {classes.dtype} {classes.shape}")
    if num_classes == -1:
        if not classes.size:
            raise ValueError("[one_hot] num_classes must be given for an empty tensor")
        reads("one_hot", classes, instead="Give num_classes")
        num_classes = int(classes.data.max()) + 1
    if num_classes < 1:
        raise ValueError(f"[one_hot] num_classes must be positive, or -1, got {num_classes}")
    return ops.one_hot(classes, num_classes)
