"""Batches of sequences of different lengths: padded, packed, and the ways between the two.

A packed batch holds the valid steps only, time first: the rows of step 0 of all sequences, longest
first, then those of step 1, and so on. `batch_sizes[t]` says how many sequences reach step t.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ... import ops
from ...ops.shape import as_tensor
from ...tensor import Tensor

__all__ = ["PackedSequence", "invert_permutation", "pack_padded_sequence", "pack_sequence",
           "pad_packed_sequence", "pad_sequence", "unpack_sequence", "unpad_sequence"]


class _Fields(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Fields):
    """The valid steps of a batch of sequences, as `pack_padded_sequence` makes them.

    Args:
        data: (sum of lengths, ...) the rows of step 0, then those of step 1, and so on.
        batch_sizes: (T,) how many sequences reach each step; never increasing.
        sorted_indices: which of the user's sequences each of the sorted ones is (None: the same).
        unsorted_indices: the inverse; worked out where it is not given.
    """

    __slots__ = ()

    def __new__(cls, data: Any, batch_sizes: Any, sorted_indices: Any = None,
                unsorted_indices: Any = None) -> PackedSequence:
        sizes = _integers(batch_sizes, "PackedSequence", "batch_sizes")
        if not sizes.size or sizes[-1] < 1 or (np.diff(sizes) > 0).any():
            raise ValueError("[PackedSequence] batch_sizes must be positive and never increase, "
                             f"got {sizes.tolist()}")
        if sizes.sum() != len(data):
            raise ValueError(f"[PackedSequence] batch_sizes add up to {sizes.sum()}, data has "
                             f"{len(data)} rows")
        order = None if sorted_indices is None else as_tensor(sorted_indices)
        if unsorted_indices is None:
            back = invert_permutation(order)
        else:
            back = as_tensor(unsorted_indices)
        return super().__new__(cls, data, Tensor(sizes), order, back)

    @property
    def is_cuda(self) -> bool:
        """Whether the data is on a GPU."""
        return self.data.device != "cpu"

    def to(self, *args: Any, **options: Any) -> PackedSequence:
        """The same in another dtype or on another device, where `batch_sizes` stays on the CPU.

        Arguments as those of `Tensor.to`.
        """
        data = self.data.to(*args, **options)
        if data is self.data:
            return self
        order, back = (i if i is None else i.to(data.device) for i in self[2:])
        return PackedSequence(data, self.batch_sizes, order, back)

    def cpu(self) -> PackedSequence:
        """The same on the CPU."""
        return self.to("cpu")

    def cuda(self, device: str = "cuda") -> PackedSequence:
        """The same on a GPU."""
        return self.to(device)

    def double(self) -> PackedSequence:
        """The same in float64."""
        return self.to(dtype="float64")

    def float(self) -> PackedSequence:
        """The same in float32."""
        return self.to(dtype="float32")

    def half(self) -> PackedSequence:
        """The same in float16."""
        return self.to(dtype="float16")

    def long(self) -> PackedSequence:
        """The same in int64."""
        return self.to(dtype="int64")

    def int(self) -> PackedSequence:
        """The same in int32."""
        return self.to(dtype="int32")


# -- packing --------------------------------------------------------------------------------------


def pack_padded_sequence(input: Any, lengths: Any, batch_first: bool = False,
                         enforce_sorted: bool = True) -> PackedSequence:
    """The valid steps of a padded batch (T, N, ...), or (N, T, ...) with `batch_first`.

    Args:
        lengths: (N,) integers from 1 to T.
        enforce_sorted: the lengths must not increase; otherwise they may stand in any order, and
            the packed batch remembers it.

    >>> import tinygen as tg
    >>> packed = pack_padded_sequence(tg.Tensor([[1, 4], [2, 5], [3, 0]]), [3, 2])
    >>> packed.data.tolist(), packed.batch_sizes.tolist()
    ([1, 4, 2, 5, 3], [2, 2, 1])
    """
    op = "pack_padded_sequence"
    x = input if isinstance(input, Tensor) else Tensor(input)
    if x.ndim < 2:
        raise ValueError(f"[{op}] input must have axes for time and batch, got {x.shape}")
    x = x.swapaxes(0, 1) if batch_first else x
    found = _lengths(lengths, x.shape[1], op)
    if found.max() > x.shape[0]:
        raise ValueError(f"[{op}] lengths has {found.max()}, and input {tuple(input.shape)} has "
                         f"{x.shape[0]} steps")
    indices = None
    if not enforce_sorted:
        order = np.argsort(-found, kind="stable")
        indices = Tensor(order, device=x.device)
        found, x = found[order], ops.take(x, indices, axis=1)
    elif (np.diff(found) > 0).any():
        raise ValueError(f"[{op}] lengths {found.tolist()} must be in decreasing order; pass "
                         "enforce_sorted=False for any order")
    valid = _valid(found)
    return PackedSequence(x[:len(valid)][_mask_for(x, valid)], valid.sum(1), indices)


def pack_sequence(sequences: Iterable[Any], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences (L, ...) of different lengths as one packed batch."""
    tensors = _sequences(sequences, "pack_sequence")
    return pack_padded_sequence(pad_sequence(tensors), [len(s) for s in tensors],
                                enforce_sorted=enforce_sorted)


def pad_packed_sequence(sequence: PackedSequence, batch_first: bool = False,
                        padding_value: float = 0.0,
                        total_length: int | None = None) -> tuple[Tensor, Tensor]:
    """The padded batch (T, N, ...) and the lengths (N,), in the order before packing.

    Args:
        total_length: pad up to this many steps (default: the longest length).
    """
    op = "pad_packed_sequence"
    if not isinstance(sequence, PackedSequence):
        raise TypeError(f"[{op}] a PackedSequence is needed, got {type(sequence).__name__}")
    padded, lengths = padded_and_lengths(sequence, padding_value, total_length)
    if sequence.unsorted_indices is not None:
        back = sequence.unsorted_indices
        padded, lengths = ops.take(padded, back, axis=1), lengths[back.numpy()]
    return padded.swapaxes(0, 1) if batch_first else padded, Tensor(lengths)


def padded_and_lengths(sequence: PackedSequence, padding_value: float = 0.0,
                       total_length: int | None = None) -> tuple[Tensor, np.ndarray]:
    """(T, N, ...) and lengths, longest first: the order in which the packed rows stand."""
    sizes = sequence.batch_sizes.numpy()
    steps = len(sizes) if total_length is None else total_length
    if steps < len(sizes):
        raise ValueError(f"[pad_packed_sequence] total_length {total_length} is less than the "
                         f"longest sequence, {len(sizes)}")
    data = sequence.data
    valid = np.arange(sizes[0]) < np.pad(sizes, (0, steps - len(sizes)))[:, None]
    room = ops.full((*valid.shape, *data.shape[1:]), padding_value, dtype=data.dtype,
                    device=data.device)
    return ops.put_index(room, _mask_for(data, valid), data), valid.sum(0)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences (L, ...) of a packed batch, in the order before packing."""
    padded, lengths = pad_packed_sequence(packed_sequences)
    return unpad_sequence(padded, lengths)


# -- padding --------------------------------------------------------------------------------------


def pad_sequence(sequences: Any, batch_first: bool = False, padding_value: float = 0.0,
                 padding_side: str = "right") -> Tensor:
    """Sequences (L, ...) as one batch (T, N, ...), T the longest: the others are filled up.

    >>> import tinygen as tg
    >>> pad_sequence([tg.Tensor([1, 2]), tg.Tensor([3])], batch_first=True).tolist()
    [[1, 2], [3, 0]]
    """
    op = "pad_sequence"
    if padding_side not in ("left", "right"):
        raise ValueError(f"[{op}] padding_side must be 'left' or 'right', got {padding_side!r}")
    tensors = _sequences(sequences, op)
    lengths = np.array([len(s) for s in tensors])
    first, longest = tensors[0], int(lengths.max())
    for i, s in enumerate(tensors):
        if s.shape[1:] != first.shape[1:]:
            raise ValueError(f"[{op}] sequence {i} has shape {s.shape}, the first one has "
                             f"{first.shape}: all axes but the first must agree")
    column = np.arange(longest)
    valid = (column < lengths[:, None] if padding_side == "right"
             else column >= longest - lengths[:, None])
    rows = ops.concat(tensors)
    room = ops.full((*valid.shape, *first.shape[1:]), padding_value, dtype=rows.dtype,
                    device=rows.device)
    batch = ops.put_index(room, _mask_for(rows, valid), rows)
    return batch if batch_first else batch.swapaxes(0, 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Any,
                   batch_first: bool = False) -> list[Tensor]:
    """The sequences (L, ...) of a padded batch (T, N, ...)."""
    op = "unpad_sequence"
    x = padded_sequences if batch_first else padded_sequences.swapaxes(0, 1)
    found = _lengths(lengths, x.shape[0], op, least=0)
    if found.max(initial=0) > x.shape[1]:
        raise ValueError(f"[{op}] lengths has {found.max()}, and the batch "
                         f"{padded_sequences.shape} has {x.shape[1]} steps")
    return [x[i, :int(n)] for i, n in enumerate(found)]


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes another: `inverse[permutation[i]] = i`."""
    if permutation is None:
        return None
    order = permutation.numpy()
    inverse = np.empty_like(order)
    inverse[order] = np.arange(len(order))
    return Tensor(inverse, device=permutation.device)


# -- checks ---------------------------------------------------------------------------------------


def _valid(lengths: np.ndarray) -> np.ndarray:
    """(T, N) booleans: which steps are valid. T is the longest length."""
    return np.arange(int(lengths.max()))[:, None] < lengths


def _mask_for(data: Tensor, valid: np.ndarray) -> Any:
    """A mask on the device of the data."""
    return valid if data.device == "cpu" else Tensor(valid, device=data.device)


def _integers(values: Any, op: str, name: str) -> np.ndarray:
    array = values.numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise ValueError(f"[{op}] {name} must be a list of integers, got {array.dtype} "
                         f"{array.shape}")
    return array.astype(np.int64)


def _lengths(lengths: Any, batch: int, op: str, least: int = 1) -> np.ndarray:
    found = _integers(lengths, op, "lengths")
    if len(found) != batch:
        raise ValueError(f"[{op}] {len(found)} lengths for a batch of {batch} sequences")
    if not batch and least:
        raise ValueError(f"[{op}] the batch is empty")
    if (found < least).any():
        raise ValueError(f"[{op}] lengths must be at least {least}, got {found.tolist()}")
    return found


def _sequences(sequences: Any, op: str) -> list[Tensor]:
    if isinstance(sequences, Tensor):
        sequences = [sequences[i] for i in range(len(sequences))]
    tensors = [as_tensor(s) for s in sequences]
    if not tensors:
        raise ValueError(f"[{op}] there are no sequences")
    for i, s in enumerate(tensors):
        if s.ndim == 0:
            raise ValueError(f"[{op}] sequence {i} is a number; sequences (L, ...) are needed")
    return tensors
