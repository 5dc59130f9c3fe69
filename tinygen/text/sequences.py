"""Sequences of numbers as arrays: padding, one-hot rows, and masks."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..tensor import Tensor

__all__ = ["causal_mask", "pad_sequences", "padding_mask", "sequence_mask", "to_categorical"]


def pad_sequences(sequences: Sequence[Any], maxlen: int | None = None, dtype: Any = "int32",
                  padding: str = "pre", truncating: str = "pre", value: Any = 0.0) -> np.ndarray:
    """Sequences of different lengths as one array (N, T, ...), with Keras's arguments.

    Args:
        sequences: lists or arrays (L, ...); all have the same axes but for the first.
        maxlen: T; the longest length by default. Longer sequences are cut.
        padding: where to fill up, "pre" (before the sequence) or "post".
        truncating: where to cut, "pre" or "post".
        value: what to fill up with.

    Raises:
        ValueError: an argument has no meaning, or a sequence is none or has another shape.

    >>> pad_sequences([[1], [2, 3], [4, 5, 6]], maxlen=2)
    array([[0, 1],
           [2, 3],
           [5, 6]], dtype=int32)
    """
    op = "pad_sequences"
    for name, where in (("padding", padding), ("truncating", truncating)):
        if where not in ("pre", "post"):
            raise ValueError(f"[{op}] {name} must be 'pre' or 'post', got {where!r}")
    if not hasattr(sequences, "__len__"):
        raise ValueError(f"[{op}] sequences must be a list of sequences, got "
                         f"{type(sequences).__name__}")
    for i, s in enumerate(sequences):
        if not hasattr(s, "__len__"):
            raise ValueError(f"[{op}] sequence {i} is a {type(s).__name__}, not a sequence")
    lengths = [len(s) for s in sequences]
    steps = max(lengths, default=0) if maxlen is None else operator.index(maxlen)
    if steps < 0:
        raise ValueError(f"[{op}] maxlen must not be negative, got {maxlen}")
    kind = np.dtype(dtype)
    if isinstance(value, str) and kind.kind not in "OUS":
        raise ValueError(f"[{op}] dtype {kind} cannot hold the value {value!r}; dtype=object can")
    arrays = [np.asarray(s.data if isinstance(s, Tensor) else s, dtype=kind) for s in sequences]
    tail = next((a.shape[1:] for a in arrays if len(a)), ())
    out = np.full((len(arrays), steps, *tail), value, dtype=kind)
    for i, a in enumerate(arrays):
        if not len(a):
            continue
        if a.shape[1:] != tail:
            raise ValueError(f"[{op}] sequence {i} has shape {a.shape}; {('L', *tail)} is needed, "
                             "as in the first one")
        kept = a[max(0, len(a) - steps):] if truncating == "pre" else a[:steps]
        if padding == "pre":
            out[i, steps - len(kept):] = kept
        else:
            out[i, :len(kept)] = kept
    return out


def to_categorical(x: Any, num_classes: int | None = None, dtype: Any = "float32") -> np.ndarray:
    """One-hot rows for class numbers: (...) -> (..., num_classes), with Keras's arguments.

    A last axis of length 1 is taken off first. `num_classes` is the largest number plus one by
    default.

    Raises:
        ValueError: a class number is not in [0, num_classes).

    >>> to_categorical([0, 2])
    array([[1., 0., 0.],
           [0., 0., 1.]], dtype=float32)
    """
    values = np.asarray(x.data if isinstance(x, Tensor) else x)
    classes = values.astype(np.int64)
    if values.dtype.kind not in "biufV" or (classes != values).any():
        raise ValueError(f"[to_categorical] class numbers must be whole numbers, got "
                         f"{values.dtype}")
    if classes.ndim > 1 and classes.shape[-1] == 1:
        classes = classes[..., 0]
    n = int(classes.max(initial=-1)) + 1 if num_classes is None else operator.index(num_classes)
    if classes.size and not (0 <= classes.min() and classes.max() < n):
        raise ValueError(f"[to_categorical] class numbers from {classes.min()} to {classes.max()} "
                         f"do not lie in [0, {n})")
    return (classes[..., None] == np.arange(n)).astype(dtype)


# -- masks ----------------------------------------------------------------------------------------


def sequence_mask(lengths: Any, maxlen: int | None = None, dtype: Any = bool) -> Tensor:
    """True at the steps that are valid: (...) lengths -> (..., maxlen), the longest by default.

    >>> sequence_mask([1, 3]).tolist()
    [[True, False, False], [True, True, True]]
    """
    n = lengths if isinstance(lengths, Tensor) else Tensor(np.asarray(lengths, dtype=np.int64))
    if n.dtype.kind not in "iu":
        raise TypeError(f"[sequence_mask] lengths must be integers, got {n.dtype}")
    if maxlen is None:
        maxlen = int(n.max().item()) if n.size else 0
    steps = ops.arange(operator.index(maxlen), device=n.device)
    mask = ops.less(steps, ops.expand_dims(n, -1))
    return mask if np.dtype(dtype) == bool else mask.astype(dtype)


def padding_mask(ids: Any, pad_id: int = 0) -> Tensor:
    """True where `ids` is padding: the `key_padding_mask` of attention, which leaves them out.

    >>> padding_mask([[5, 7, 0]]).tolist()
    [[False, False, True]]
    """
    tensor = ids if isinstance(ids, Tensor) else Tensor(np.asarray(ids))
    return ops.equal(tensor, operator.index(pad_id))


def causal_mask(size: int, device: Any = None) -> Tensor:
    """True above the diagonal, (size, size): what step i must not see of the steps j > i.

    As in `padding_mask` and in the `attn_mask` of `nn.MultiheadAttention`, True leaves out;
    `scaled_dot_product_attention` takes the opposite.

    >>> causal_mask(3).astype("int64").tolist()
    [[0, 1, 1], [0, 0, 1], [0, 0, 0]]
    """
    n = operator.index(size)
    if n < 0:
        raise ValueError(f"[causal_mask] size must not be negative, got {n}")
    steps = ops.arange(n, device=device)
    return ops.greater(steps, ops.expand_dims(steps, -1))
