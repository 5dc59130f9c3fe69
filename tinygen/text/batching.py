"""Batches of sequences of similar lengths, and padding them while they are put together."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..tensor import Tensor
from .sequences import pad_sequences

__all__ = ["BucketSampler", "PadCollate"]


class BucketSampler:
    """Batches of indices of sequences with similar lengths: the `batch_sampler` of a `DataLoader`.

    The indices of an epoch are shuffled, cut into pools, each pool sorted by length and cut into
    batches, and the batches shuffled. Each index stands in one batch. The batches of epoch e
    depend on `(seed, e)` alone, so that a loader resumes in the middle of an epoch.

    Args:
        lengths: the length of each sequence of the data set, or the sequences themselves.
        batch_size: how many sequences make a batch (one batch may have fewer).
        pool: how many batches are sorted together. More make the lengths in a batch more alike,
            fewer make the epochs more different; the whole data set by default is one pool with
            equal lengths in random order.
        shuffle: without it there is one order, from the shortest to the longest.
        drop_last: leave the batch out that is not full.

    >>> sampler = BucketSampler([3, 9, 2, 8, 1], batch_size=2, shuffle=False)
    >>> list(sampler)
    [[4, 2], [0, 3], [1]]
    """

    def __init__(self, lengths: Sequence[Any], batch_size: int, pool: int | None = None,
                 shuffle: bool = True, drop_last: bool = False, seed: int = 0):
        self.lengths = _lengths(lengths)
        self.batch_size = _count(batch_size, "batch_size", 1)
        self.pool = None if pool is None else _count(pool, "pool", 1)
        self.shuffle, self.drop_last = bool(shuffle), bool(drop_last)
        self.seed, self.epoch = _count(seed, "seed", 0), 0

    def __len__(self) -> int:
        """Batches in an epoch: the same in each."""
        full, rest = divmod(len(self.lengths), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def batches(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch, in their order."""
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(epoch,)))
        n, size = len(self.lengths), self.batch_size
        order = rng.permutation(n) if self.shuffle else np.arange(n)
        if self.drop_last:
            order = order[:n // size * size]
        width = max(1, n) if self.pool is None or not self.shuffle else self.pool * size
        found: list[list[int]] = []
        for start in range(0, len(order), width):
            part = order[start:start + width]
            part = part[np.argsort(self.lengths[part], kind="stable")]
            found += [part[i:i + size].tolist() for i in range(0, len(part), size)]
        return [found[i] for i in rng.permutation(len(found))] if self.shuffle else found

    def set_epoch(self, epoch: int) -> None:
        """The epoch that iterating gives; a `DataLoader` asks for its own with `batches`."""
        self.epoch = _count(epoch, "epoch", 0)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches(self.epoch))

    def __repr__(self) -> str:
        return (f"BucketSampler({len(self.lengths)} sequences, batch_size={self.batch_size}, "
                f"pool={self.pool}, shuffle={self.shuffle}, drop_last={self.drop_last}, "
                f"seed={self.seed})")


class PadCollate:
    """Samples put together with their sequences padded: the `collate_fn` of a `DataLoader`.

    A sample is a sequence or a tuple of parts. A part that is a sequence (L, ...) becomes two
    arrays, the padded (N, T, ...) and the lengths (N,); a part that is a number becomes one (N,).

    Args:
        value: what to fill up with, as `pad_id` of a tokenizer.
        padding: "post" (after the sequence) or "pre".
        maxlen: longer sequences are cut at the end; None keeps all of them.

    >>> ids, lengths, labels = PadCollate()([([5, 6], 1), ([7], 0)])
    >>> ids.tolist(), lengths.tolist(), labels.tolist()
    ([[5, 6], [7, 0]], [2, 1], [1, 0])
    """

    def __init__(self, value: Any = 0, padding: str = "post", maxlen: int | None = None):
        if padding not in ("pre", "post"):
            raise ValueError(f"[PadCollate] padding must be 'pre' or 'post', got {padding!r}")
        self.value, self.padding = value, padding
        self.maxlen = None if maxlen is None else _count(maxlen, "maxlen", 1, "PadCollate")

    def __call__(self, samples: Sequence[Any]) -> tuple[np.ndarray, ...]:
        parts = [s if isinstance(s, tuple) else (s,) for s in samples]
        if len({len(p) for p in parts}) > 1:
            raise ValueError("[PadCollate] the samples have different numbers of parts")
        found: list[np.ndarray] = []
        for column in zip(*parts):
            arrays = [np.asarray(x.data if isinstance(x, Tensor) else x) for x in column]
            if all(a.ndim == 0 for a in arrays):
                found.append(np.stack(arrays))
            elif any(a.ndim == 0 for a in arrays):
                raise ValueError("[PadCollate] a part is a number in one sample and a sequence in "
                                 "another")
            else:
                found += self._pad(arrays)
        return tuple(found)

    def _pad(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        kinds = [a.dtype for a in arrays if a.size]   # an empty list says nothing about its type
        kind = np.result_type(*kinds) if kinds else np.dtype(np.int64)
        padded = pad_sequences(arrays, self.maxlen and min(self.maxlen, max(map(len, arrays))),
                               kind, self.padding, "post", self.value)
        return [padded, np.minimum([len(a) for a in arrays], padded.shape[1]).astype(np.int64)]


def _lengths(values: Sequence[Any]) -> np.ndarray:
    whole: Any = values.numpy() if isinstance(values, Tensor) else values
    listed = whole if isinstance(whole, np.ndarray) and whole.ndim == 1 else np.array(
        [len(v) if hasattr(v, "__len__") else v for v in whole])
    if not len(listed) or listed.dtype.kind not in "iu":
        raise ValueError("[BucketSampler] lengths must be a list of integers or of sequences that "
                         f"is not empty, got {listed.dtype} {listed.shape}")
    return listed.astype(np.int64)


def _count(value: Any, name: str, least: int, owner: str = "BucketSampler") -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
        raise ValueError(f"[{owner}] {name} must be an integer of at least {least}, got {value!r}")
    return operator.index(value)
