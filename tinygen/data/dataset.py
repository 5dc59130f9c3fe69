"""Datasets: things with a length whose samples are fetched by index."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

BatchTransform = Callable[[np.ndarray, Any], np.ndarray]  # (batch, rng) -> batch


class Dataset:
    """Samples by index: a subclass gives `__len__`, and `__getitem__` or `batch`.

    A sample is one array (or number) or a tuple of them. Whatever stacks to arrays of one shape can
    be batched. `batch(indices, rng)` returns a tuple of arrays with the batch axis first; the one
    here fetches sample by sample, and a subclass that can do it in one indexing operation should.
    `rng` is where random transforms draw from; `DataLoader` seeds it afresh for each batch.
    """

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} has to define __len__")

    def __getitem__(self, index: int) -> Any:
        if type(self).batch is Dataset.batch:
            raise NotImplementedError(
                f"{type(self).__name__} has to define __getitem__(index) or batch(indices, rng)"
            )
        index = check_index(index, len(self), type(self).__name__)
        # Seeded by the index: looking at a sample twice shows the same picture.
        columns = self.batch(np.array([index]), np.random.default_rng(index))
        sample = tuple(column[0] for column in columns)
        return sample[0] if len(sample) == 1 else sample

    def batch(
        self, indices: np.ndarray, rng: np.random.Generator | None = None
    ) -> tuple[np.ndarray, ...]:
        """The samples at `indices`, stacked: a tuple of arrays, batch axis first."""
        return stack_samples([self[int(i)] for i in indices])


class ArrayDataset(Dataset):
    """Arrays of one length, aligned: sample i is `(arrays[0][i], arrays[1][i], ...)`.

    `transform(batch, rng)` is applied to the first array of each fetched batch. Tensors are
    accepted and kept as NumPy arrays. Raises ValueError when the lengths differ.
    """

    def __init__(self, *arrays: Any, transform: BatchTransform | None = None) -> None:
        if not arrays:
            raise ValueError("[ArrayDataset] needs at least one array")
        self.arrays = tuple(_as_numpy(array) for array in arrays)
        self.transform = transform
        for position, array in enumerate(self.arrays):
            if array.ndim == 0:
                raise ValueError(
                    f"[ArrayDataset] array {position} is 0-d; its first axis must count samples"
                )
        lengths = [len(array) for array in self.arrays]
        if len(set(lengths)) > 1:
            raise ValueError(
                "[ArrayDataset] the arrays have different lengths: "
                + ", ".join(f"array {i} has {n}" for i, n in enumerate(lengths))
            )

    def __len__(self) -> int:
        return len(self.arrays[0])

    def batch(
        self, indices: np.ndarray, rng: np.random.Generator | None = None
    ) -> tuple[np.ndarray, ...]:
        columns = tuple(array[indices] for array in self.arrays)
        return apply_to_first(self.transform, columns, rng)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{a.dtype} {a.shape}" for a in self.arrays)
        return f"{type(self).__name__}({shapes})"


TensorDataset = ArrayDataset


class Subset(Dataset):
    """The samples of `dataset` at `indices`, in that order.

    `transform(batch, rng)` is applied to the first array, after the dataset's own transform.
    `classes`, `num_classes` and `image_shape` are those of `dataset`. Raises IndexError when an
    index does not exist.
    """

    def __init__(
        self, dataset: Any, indices: Iterable[int], transform: BatchTransform | None = None
    ) -> None:
        self.dataset = dataset
        self.indices = np.asarray(list(indices), dtype=np.int64)
        self.transform = transform
        self._fetch = fetcher(dataset)
        for index in self.indices[(self.indices < 0) | (self.indices >= len(dataset))][:1]:
            raise IndexError(
                f"[Subset] index {index} does not exist in a dataset of {len(dataset)} samples"
            )

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        index = check_index(index, len(self), "Subset")
        if self.transform is not None:
            return super().__getitem__(index)
        return self.dataset[int(self.indices[index])]  # whatever it is, also what cannot be stacked

    def batch(
        self, indices: np.ndarray, rng: np.random.Generator | None = None
    ) -> tuple[np.ndarray, ...]:
        columns = self._fetch(self.indices[np.asarray(indices)], rng)
        return apply_to_first(self.transform, columns, rng)

    @property
    def classes(self) -> list[str] | None:
        """Class names by label, None where there are none."""
        return getattr(self.dataset, "classes", None)

    @property
    def num_classes(self) -> int | None:
        """How many classes the labels have, None without labels."""
        return getattr(self.dataset, "num_classes", None)

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """(C, H, W) of one picture, None where samples are not pictures."""
        return getattr(self.dataset, "image_shape", None)

    def __repr__(self) -> str:
        return f"Subset({len(self)} of {self.dataset!r})"


def random_split(dataset: Any, lengths: Sequence[int | float], seed: int = 0) -> list[Subset]:
    """Split a dataset at random into parts that do not overlap.

    `lengths` are sample counts that add up to `len(dataset)`, or fractions that add up to 1 (what
    rounding leaves over goes to the first parts, one sample each). The same seed gives the same
    split. Raises ValueError when the parts do not add up.
    """
    counts = _split_counts(list(lengths), len(dataset))
    order = np.random.default_rng(seed).permutation(len(dataset))
    ends = np.cumsum(counts)
    starts = ends - counts
    return [Subset(dataset, order[a:b]) for a, b in zip(starts, ends, strict=True)]


def few_labels(labels: Any, per_class: int, seed: int = 0) -> np.ndarray:
    """Indices of `per_class` samples of each class, drawn at random: class by class, (K,).

    `labels` are integers (N,). The same seed gives the same indices. Raises ValueError when a
    class has fewer samples, or there are none at all.

    >>> few_labels([0, 1, 1, 0, 1, 0], per_class=2).shape
    (4,)
    """
    labels = _as_numpy(labels)
    if labels.ndim != 1 or labels.size == 0 or labels.dtype.kind not in "iu":
        raise ValueError(f"[few_labels] labels: {labels.dtype} {labels.shape}; expected integers "
                         "(N,), at least one")
    classes, counts = np.unique(labels, return_counts=True)
    if not 1 <= per_class <= counts.min():
        raise ValueError(f"[few_labels] per_class={per_class}; class {classes[counts.argmin()]} "
                         f"has {counts.min()} samples, so 1 to {counts.min()} are possible")
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.choice(np.flatnonzero(labels == c), per_class, replace=False)
                           for c in classes])


def _split_counts(lengths: list[int | float], total: int) -> np.ndarray:
    if not lengths or any(not 0 <= part < math.inf for part in lengths):
        raise ValueError(f"[random_split] lengths must be a list of numbers >= 0, not {lengths}")
    if all(isinstance(part, (int, np.integer)) for part in lengths):
        if sum(lengths) != total:
            raise ValueError(
                f"[random_split] lengths {lengths} add up to {sum(lengths)}, "
                f"and the dataset has {total} samples"
            )
        return np.array(lengths, dtype=np.int64)
    if not math.isclose(sum(lengths), 1.0, rel_tol=0, abs_tol=1e-6):
        raise ValueError(
            f"[random_split] fractions {lengths} add up to {sum(lengths):g}; they must add up to 1"
        )
    # 0.1 + 0.2 style errors must not cost a sample: 1797 * (1/3) is 598.999...
    counts = np.array([math.floor(part * total + 1e-6) for part in lengths], dtype=np.int64)
    counts[: total - counts.sum()] += 1
    return counts


def stack_samples(samples: Sequence[Any]) -> tuple[np.ndarray, ...]:
    """Stack samples column by column into a tuple of arrays, batch axis first.

    Python floats become float32 and Python ints int64; arrays keep their dtype. Raises ValueError
    when two samples differ in length or shape.
    """
    rows = [sample if isinstance(sample, (tuple, list)) else (sample,) for sample in samples]
    for position, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise ValueError(
                f"[collate] sample 0 of the batch has {len(rows[0])} parts and sample {position} "
                f"has {len(row)}; all must have the same, or pass collate_fn"
            )
    return tuple(_stack_column(list(column), i) for i, column in enumerate(zip(*rows, strict=True)))


def _stack_column(values: list[Any], part: int) -> np.ndarray:
    arrays = [_as_numpy(value) for value in values]
    for position, array in enumerate(arrays):
        if array.shape != arrays[0].shape:
            raise ValueError(
                f"[collate] part {part} has shape {arrays[0].shape} in sample 0 of the batch and "
                f"{array.shape} in sample {position}; make them equal, or pass collate_fn"
            )
    return np.stack(arrays)


def fetcher(dataset: Any) -> Callable[..., tuple[np.ndarray, ...]]:
    """A function `(indices, rng) -> tuple of arrays` for any object with a length and samples.

    Uses `dataset.batch(indices, rng)` or `dataset.batch(indices)` where there is one, samples
    fetched one by one otherwise.
    """
    batch = getattr(dataset, "batch", None)
    if batch is None:
        return lambda indices, rng: stack_samples([dataset[int(i)] for i in indices])
    if _takes_rng(batch):
        return lambda indices, rng: _as_tuple(batch(indices, rng))
    return lambda indices, rng: _as_tuple(batch(indices))


def _takes_rng(function: Callable[..., Any]) -> bool:
    import inspect  # slow to import, and needed once per loader

    parameters = inspect.signature(function).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional for p in parameters) >= 2 or any(
        p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters
    )


def apply_to_first(
    transform: BatchTransform | None,
    columns: tuple[np.ndarray, ...],
    rng: np.random.Generator | None,
) -> tuple[np.ndarray, ...]:
    """The columns, with the first one replaced by `transform(first, rng)`."""
    if transform is None:
        return columns
    return (transform(columns[0], rng), *columns[1:])


def check_index(index: Any, length: int, owner: str) -> int:
    """The index as an int in [0, length); raises TypeError or IndexError, naming the owner."""
    if not hasattr(index, "__index__"):
        raise TypeError(
            f"[{owner}] an index must be an int, not {type(index).__name__}; "
            "for several samples use batch(indices) or Subset"
        )
    position = int(index.__index__())
    if not -length <= position < length:
        raise IndexError(f"[{owner}] index {position} is out of range for {length} samples")
    return position % length


def _as_numpy(value: Any) -> np.ndarray:
    """An array of anything a sample may hold; Python floats take the engine's default, float32."""
    array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
    is_python = type(value) in (float, list, tuple)
    return array.astype(np.float32) if is_python and array.dtype == np.float64 else array


def _as_tuple(columns: Any) -> tuple[np.ndarray, ...]:
    return tuple(columns) if isinstance(columns, (tuple, list)) else (columns,)
