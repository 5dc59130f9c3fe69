"""Datasets: aligned arrays, subsets, random splits, and what goes into one batch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.data import ArrayDataset, Dataset, Subset, TensorDataset, few_labels, random_split


class Squares(Dataset):
    """The least a user writes."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        if not 0 <= index < 5:
            raise IndexError(index)
        return np.full(2, index, np.float32), index * index


def test_array_dataset_gives_aligned_samples():
    data = ArrayDataset(np.arange(12).reshape(4, 3), np.array([10, 11, 12, 13]))
    x, y = data[2]
    assert x.tolist() == [6, 7, 8] and y == 12
    assert data[-1][1] == 13
    assert len(data) == 4
    assert len(list(data)) == 4  # iteration ends


def test_array_dataset_of_one_array_gives_bare_samples():
    assert ArrayDataset(np.arange(3))[1] == 1


def test_array_dataset_takes_tensors():
    assert TensorDataset is ArrayDataset
    data = TensorDataset(tg.asarray(np.ones((3, 2), np.float32)), [0, 1, 2])
    assert data[0][0].tolist() == [1, 1]


def test_array_dataset_names_lengths_that_differ():
    with pytest.raises(ValueError, match=r"array 0 has 4, array 1 has 5"):
        ArrayDataset(np.zeros(4), np.zeros(5))


@pytest.mark.parametrize("arrays, message", [((), "at least one"), ((np.float32(3),), "0-d")])
def test_array_dataset_refuses_what_has_no_length(arrays, message):
    with pytest.raises(ValueError, match=message):
        ArrayDataset(*arrays)


@pytest.mark.parametrize("index, kind", [(4, IndexError), (-5, IndexError), ("a", TypeError)])
def test_a_bad_index_is_named(index, kind):
    with pytest.raises(kind, match=r"\[ArrayDataset\]"):
        ArrayDataset(np.zeros(4))[index]


def test_batch_of_a_plain_dataset_stacks_its_samples():
    x, y = Squares().batch(np.array([3, 1]))
    assert x.tolist() == [[3, 3], [1, 1]] and x.dtype == np.float32
    assert y.tolist() == [9, 1] and y.dtype == np.int64


def test_python_floats_become_float32_and_arrays_keep_their_dtype():
    class Mixed(Squares):
        def __getitem__(self, index):
            return 0.5, np.float64(0.5), [0.5, 1.0]

    assert [c.dtype.name for c in Mixed().batch([0, 1])] == ["float32", "float64", "float32"]


def test_samples_of_different_shapes_are_named():
    class Ragged(Squares):
        def __getitem__(self, index):
            return (np.zeros(index + 1),)

    with pytest.raises(ValueError, match=r"part 0 has shape \(1,\) .* and \(2,\) in sample 1"):
        Ragged().batch([0, 1])


def test_samples_of_different_lengths_are_named():
    class Ragged(Squares):
        def __getitem__(self, index):
            return (1,) * (index + 1)

    with pytest.raises(ValueError, match="sample 0 of the batch has 1 parts and sample 1 has 2"):
        Ragged().batch([0, 1])


def test_a_dataset_without_methods_says_what_to_define():
    with pytest.raises(NotImplementedError, match="__len__"):
        len(Dataset())

    class Half(Dataset):
        def __len__(self):
            return 1

    with pytest.raises(NotImplementedError, match="__getitem__"):
        Half()[0]


def test_transform_acts_on_the_first_array_only():
    data = ArrayDataset(np.ones((3, 2)), np.ones(3), transform=lambda x, rng: x * 5)
    x, y = data[0]
    assert x.tolist() == [5, 5] and y == 1


def test_a_random_transform_shows_the_same_sample_twice_alike():
    data = ArrayDataset(np.zeros((3, 2)), transform=lambda x, rng: x + rng.random(x.shape))
    assert data[1].tolist() == data[1].tolist() != data[2].tolist()


def test_subset_reorders_and_repeats():
    subset = Subset(ArrayDataset(np.arange(10) * 10), [7, 0, 7])
    assert [int(v) for v in subset] == [70, 0, 70]
    assert subset.batch(np.array([1, 2]))[0].tolist() == [0, 70]
    assert Subset(subset, [2])[0] == 70


def test_subset_transform_runs_after_the_datasets_own():
    data = ArrayDataset(np.array([1.0, 2.0]), transform=lambda x, rng: x + 1)
    subset = Subset(data, [1], transform=lambda x, rng: x * 10)
    assert subset[0] == 30 and subset.batch([0])[0].tolist() == [30]


def test_subset_refuses_an_index_that_does_not_exist():
    with pytest.raises(IndexError, match="index 5 does not exist in a dataset of 5"):
        Subset(Squares(), [0, 5])


@given(
    total=st.integers(0, 200),
    shares=st.lists(st.integers(1, 20), min_size=1, max_size=5),
    seed=st.integers(0, 2**40),
)
def test_random_split_by_fractions_covers_everything_once(total, shares, seed):
    fractions = [share / sum(shares) for share in shares]
    parts = random_split(ArrayDataset(np.arange(total)), fractions, seed)
    assert sorted(i for part in parts for i in part.indices.tolist()) == list(range(total))
    for part, fraction in zip(parts, fractions):
        assert abs(len(part) - fraction * total) <= len(shares)


def test_random_split_by_lengths_is_seeded():
    data = ArrayDataset(np.arange(100))
    a, b = random_split(data, [70, 30], seed=3)
    again, _ = random_split(data, [70, 30], seed=3)
    other, _ = random_split(data, [70, 30], seed=4)
    assert (len(a), len(b)) == (70, 30)
    assert a.indices.tolist() == again.indices.tolist() != other.indices.tolist()


@pytest.mark.parametrize(
    "lengths, message",
    [([70, 31], "add up to 101"), ([0.5, 0.4], "add up to 0.9"), ([110, -10], ">= 0"), ([], ">=")],
)
def test_random_split_refuses_parts_that_do_not_add_up(lengths, message):
    with pytest.raises(ValueError, match=message):
        random_split(ArrayDataset(np.arange(100)), lengths)


def test_few_labels_draws_as_many_of_each_class():
    labels = np.repeat([3, 5, 9], [4, 30, 7])
    chosen = few_labels(labels, 4, seed=1)
    assert labels[chosen].tolist() == [3] * 4 + [5] * 4 + [9] * 4
    assert len(set(chosen.tolist())) == 12
    assert few_labels(labels, 4, seed=1).tolist() == chosen.tolist()
    assert few_labels(labels, 4, seed=2).tolist() != chosen.tolist()
    with pytest.raises(ValueError, match=r"\[few_labels\] per_class=5; class 3 has 4 samples"):
        few_labels(labels, 5)
    with pytest.raises(ValueError, match=r"\[few_labels\] labels: float32 \(3,\)"):
        few_labels([0.0, 1.0, 2.0], 1)
