"""DataLoader: seeded, prefetched batches that can be resumed from the middle of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ..mode import fetches
from .dataset import BatchTransform, apply_to_first, fetcher
from .prefetch import Prefetcher

_ORDER, _AUGMENT = 0, 1  # two independent random streams under one seed
_COMPARED = ("dataset_length", "batch_size", "seed", "shuffle", "drop_last")


class DataLoader:
    """Batches of a dataset; one iteration is one epoch.

    Yields a tuple of tensors, batch axis first, or a single tensor where samples have one part.
    Epoch e visits the samples in a permutation that depends on `(seed, e)` alone, and random
    transforms draw from a generator that depends on `(seed, e, batch index)` alone, so neither
    prefetching nor resuming changes a bit.

    - `transform(batch, rng)` is applied to the first array of each batch.
    - `prefetch` batches are made ahead by one thread; 0 makes them in the calling thread.
    - `collate_fn(samples)` takes the place of stacking; what it returns is passed on with its
      arrays turned into tensors. Samples then come from `dataset[i]`.
    - `generator`, a `tinygen.Generator` or `numpy.random.Generator`, draws the seed.
    - `batch_sampler` takes the place of batch_size, shuffle and drop_last: `len()` of it is the
      number of batches, and `batches(epoch)`, or else iterating over it, gives their indices.

    `state_dict()` tells at any moment which batches have been delivered, and a loader that loads it
    continues with the next one. Leaving an epoch early and iterating again starts the next epoch.
    Raises ValueError for sizes that leave no batch.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        prefetch: int = 2,
        transform: BatchTransform | None = None,
        generator: Any = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        batch_sampler: Any = None,
    ) -> None:
        self.dataset, self.batch_sampler = dataset, batch_sampler
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or drop_last:
                raise ValueError(
                    "[DataLoader] batch_size, shuffle and drop_last are the batch_sampler's; give "
                    "them to it"
                )
            batch_size = getattr(batch_sampler, "batch_size", 1)
            shuffle = getattr(batch_sampler, "shuffle", False)
            drop_last = getattr(batch_sampler, "drop_last", False)
        self.sampler_seed = getattr(batch_sampler, "seed", None)
        self.batch_size = _check_int("batch_size", batch_size, 1)
        self.shuffle, self.drop_last = bool(shuffle), bool(drop_last)
        self.prefetch = _check_int("prefetch", prefetch, 0)
        self.transform, self.collate_fn = transform, collate_fn
        self._seed_was_drawn = generator is not None
        if generator is not None:
            # tinygen.Generator keeps NumPy's in `stream`
            seed = int(getattr(generator, "stream", generator).integers(1 << 62))
        self.seed = _check_int("seed", seed, 0)
        self.dataset_length = len(dataset)
        self._fetch = fetcher(dataset)
        self._check_sizes()
        self._epoch, self._batch = 0, 0
        self._untouched = True  # no batch delivered since the position was set
        self._loads = 0

    def __len__(self) -> int:
        """Batches in one epoch."""
        if self.batch_sampler is not None:
            return len(self.batch_sampler)
        full, rest = divmod(self.dataset_length, self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    @property
    def epoch(self) -> int:
        """The epoch of the last batch delivered, counted from 0; one more once it is exhausted."""
        return self._epoch

    @property
    def batch(self) -> int:
        """How many batches of `epoch` have been delivered."""
        return self._batch

    def __iter__(self) -> Iterator[Any]:
        if self._untouched:
            return _Epoch(self, self._epoch, self._batch)
        return _Epoch(self, self._epoch + 1, 0)

    def state_dict(self) -> dict[str, Any]:
        """Where the consumer stands, as a dictionary of ints and bools that JSON can hold."""
        state = {field: getattr(self, field) for field in self._compared()}
        return {"version": 1, **state, "epoch": self._epoch, "batch": self._batch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue after the last batch that had been delivered when `state` was taken.

        Raises ValueError, and changes nothing, when the state is malformed or belongs to a loader
        with another dataset length, batch size, seed, shuffle or drop_last. A loader made with
        `generator=` takes the state's seed.
        """
        if not isinstance(state, Mapping):
            raise ValueError(f"[DataLoader] a state is a dictionary, not {type(state).__name__}")
        expected = ("version", *self._compared(), "epoch", "batch")
        missing = [field for field in expected if field not in state]
        if missing:
            raise ValueError(f"[DataLoader] cannot load this state: it lacks {', '.join(missing)}")
        if state["version"] != 1:
            raise ValueError(
                f"[DataLoader] cannot load this state: version {state['version']!r}, expected 1"
            )
        self._check_same(state)
        epoch = _check_int("epoch", state["epoch"], 0)
        batch = _check_int("batch", state["batch"], 0)
        if batch > len(self):
            raise ValueError(
                f"[DataLoader] cannot load this state: batch {batch} of an epoch of {len(self)}"
            )
        self.seed = _check_int("seed", state["seed"], 0)
        self._epoch, self._batch = epoch, batch
        self._untouched = True
        self._loads += 1

    def __repr__(self) -> str:
        return (
            f"DataLoader({self.dataset!r}, batch_size={self.batch_size}, shuffle={self.shuffle}, "
            f"drop_last={self.drop_last}, seed={self.seed}, prefetch={self.prefetch})"
        )

    def _check_sizes(self) -> None:
        if self.dataset_length == 0:
            raise ValueError("[DataLoader] the dataset is empty")
        if len(self) == 0:
            if self.batch_sampler is not None:
                raise ValueError("[DataLoader] the batch_sampler gives no batch")
            raise ValueError(
                f"[DataLoader] drop_last leaves no batch: batch_size is {self.batch_size} and the "
                f"dataset has {self.dataset_length} samples"
            )

    def _compared(self) -> tuple[str, ...]:
        """The fields in which a state must agree with the loader."""
        return _COMPARED if self.batch_sampler is None else (*_COMPARED, "sampler_seed")

    def _check_same(self, state: Mapping[str, Any]) -> None:
        if "sampler_seed" in state and self.batch_sampler is None:
            raise ValueError("[DataLoader] cannot load this state: it is of a loader with a "
                             "batch_sampler")
        fields = [f for f in self._compared() if not (f == "seed" and self._seed_was_drawn)]
        different = [
            f"{field} is {state[field]!r} in the state and {getattr(self, field)!r} here"
            for field in fields
            if state[field] != getattr(self, field)
        ]
        if different:
            raise ValueError("[DataLoader] cannot load this state: " + "; ".join(different))

    def _rng(self, stream: int, *position: int) -> np.random.Generator:
        return np.random.default_rng(
            np.random.SeedSequence(self.seed, spawn_key=(stream, *position))
        )

    def _arrays(self, epoch: int, start: int) -> Iterator[Any]:
        """The batches of an epoch from batch `start` on, as NumPy arrays."""
        for number, indices in self._indices(epoch, start):
            try:
                yield self._make(indices, self._rng(_AUGMENT, epoch, number))
            except Exception as error:
                error.add_note(
                    f"[DataLoader] while making batch {number} of epoch {epoch}, "
                    f"samples {_shorten(indices)}"
                )
                raise

    def _indices(self, epoch: int, start: int) -> Iterator[tuple[int, np.ndarray]]:
        """The batches of an epoch from batch `start` on, as their numbers and indices."""
        if self.batch_sampler is not None:
            sampler = self.batch_sampler
            batches = sampler.batches(epoch) if hasattr(sampler, "batches") else sampler
            for number, batch in enumerate(batches):
                if number >= start:
                    yield number, np.asarray(batch, np.int64)
            return
        order = np.arange(self.dataset_length)
        if self.shuffle:
            order = self._rng(_ORDER, epoch).permutation(self.dataset_length)
        for number in range(start, len(self)):
            yield number, order[number * self.batch_size : (number + 1) * self.batch_size]

    def _make(self, indices: np.ndarray, rng: np.random.Generator) -> Any:
        if self.collate_fn is None:
            columns = apply_to_first(self.transform, self._fetch(indices, rng), rng)
            return columns[0] if len(columns) == 1 else columns
        batch = self.collate_fn([self.dataset[int(i)] for i in indices])
        if self.transform is None:
            return batch
        if isinstance(batch, np.ndarray):
            return self.transform(batch, rng)
        if isinstance(batch, (tuple, list)):
            return apply_to_first(self.transform, tuple(batch), rng)
        raise TypeError(
            f"[DataLoader] transform needs an array or a tuple of arrays, and collate_fn returned "
            f"{type(batch).__name__}; transform inside collate_fn instead"
        )

    def _delivered(self, epoch: int, batch: int) -> None:
        self._epoch, self._batch, self._untouched = epoch, batch, False

    def _exhausted(self, epoch: int) -> None:
        self._epoch, self._batch, self._untouched = epoch + 1, 0, True


class _Epoch:
    """The iterator over one epoch; it tells its loader what has been delivered."""

    def __init__(self, loader: DataLoader, epoch: int, start: int) -> None:
        self._loader, self._epoch, self._next = loader, epoch, start
        self._loads = loader._loads
        self._done = False
        source = loader._arrays(epoch, start)
        self._source: Any = Prefetcher(source, loader.prefetch) if loader.prefetch else source

    def __iter__(self) -> _Epoch:
        return self

    def __length_hint__(self) -> int:
        """Batches still to come."""
        return len(self._loader) - self._next

    def __next__(self) -> Any:
        fetches("DataLoader")
        if self._done:
            raise StopIteration
        loader = self._loader
        if self._loads != loader._loads:
            self._source.close()
            raise RuntimeError(
                "[DataLoader] load_state_dict was called during this iteration; start a new loop"
            )
        try:
            batch = _to_tensors(next(self._source))
        except StopIteration:
            self._done = True
            loader._exhausted(self._epoch)
            raise
        except BaseException:
            self._done = True  # a batch is missing, so the epoch must not look complete
            raise
        self._next += 1
        loader._delivered(self._epoch, self._next)
        return batch


def _to_tensors(batch: Any) -> Any:
    """Arrays to tensors, also inside tuples, lists and dictionaries."""
    if isinstance(batch, np.ndarray):
        return _to_tensor(batch)
    if isinstance(batch, dict):
        return {key: _to_tensors(value) for key, value in batch.items()}
    if hasattr(batch, "_fields"):  # a namedtuple
        return type(batch)(*(_to_tensors(value) for value in batch))
    if type(batch) in (tuple, list):
        return type(batch)(_to_tensors(value) for value in batch)
    return batch


def _to_tensor(array: np.ndarray) -> Any:
    if array.dtype.kind not in "biufc":
        return array  # text and objects have no tensor
    from tinygen import asarray  # here, because tinygen imports this package

    return asarray(array)


def _check_int(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
        raise ValueError(f"[DataLoader] {name} must be an int of at least {least}, not {value!r}")
    return int(value)


def _shorten(indices: np.ndarray, most: int = 8) -> str:
    text = ", ".join(str(i) for i in indices[:most])
    return text + (f", ... ({len(indices)} in all)" if len(indices) > most else "")
