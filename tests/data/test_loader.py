"""DataLoader: order, resuming from any batch bit for bit, errors, and no thread left behind."""

import itertools
import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygen as tg
from tests.data.loaders import (  # noqa: F401
    add_noise,
    array,
    content,
    labels_of,
    make,
    no_thread_stays,
    numbers,
)
from tinygen.data import ArrayDataset, DataLoader, Subset

# -- what a batch is


def test_batches_are_tensors_with_the_arrays_dtypes():
    images, labels = next(iter(DataLoader(numbers(), batch_size=4)))
    assert isinstance(images, tg.Tensor) and isinstance(labels, tg.Tensor)
    assert images.shape == (4, 1) and array(images).dtype == np.float32
    assert array(labels).tolist() == [0, 1, 2, 3] and array(labels).dtype == np.int64


def test_a_dataset_of_one_array_gives_bare_tensors():
    batch = next(iter(DataLoader(ArrayDataset(np.arange(4.0)), batch_size=2)))
    assert array(batch).tolist() == [0, 1]


@pytest.mark.parametrize("drop_last, sizes", [(False, [3, 3, 3, 1]), (True, [3, 3, 3])])
def test_length_and_last_batch(drop_last, sizes):
    loader = DataLoader(numbers(10), batch_size=3, drop_last=drop_last)
    assert len(loader) == len(sizes)
    assert [len(array(labels)) for _, labels in loader] == sizes


def test_a_dataset_may_fetch_whole_batches_itself():
    class Lookup:
        def __len__(self):
            return 6

        def batch(self, indices):
            return np.asarray(indices) * 2, np.asarray(indices)

    doubled, _ = next(iter(DataLoader(Lookup(), batch_size=3)))
    assert array(doubled).tolist() == [0, 2, 4]


def test_any_object_with_a_length_and_items_will_do():
    loader = DataLoader([(1.5, 2), (3.5, 4)], batch_size=2)
    x, y = next(iter(loader))
    assert array(x).tolist() == [1.5, 3.5] and array(x).dtype == np.float32
    assert array(y).tolist() == [2, 4]


def test_collate_fn_replaces_stacking_and_its_arrays_become_tensors():
    words = ["a", "bb", "ccc"]

    def collate(samples):
        return {"text": samples, "length": np.array([len(s) for s in samples])}

    batch = next(iter(DataLoader(Subset(words, [2, 0, 1]), batch_size=3, collate_fn=collate)))
    assert batch["text"] == ["ccc", "a", "bb"]
    assert isinstance(batch["length"], tg.Tensor)


def test_a_transform_on_what_is_no_array_is_refused():
    loader = DataLoader(["a"], collate_fn=lambda s: {"text": s}, transform=add_noise)
    with pytest.raises(TypeError, match="inside collate_fn"):
        next(iter(loader))


# -- order


def test_each_epoch_is_a_new_permutation_and_seeds_decide_it():
    loader = make(transform=None)
    first, second = labels_of(loader), labels_of(loader)
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second
    assert first == labels_of(make(transform=None))
    assert first != labels_of(make(transform=None, seed=8))


def test_without_shuffle_the_order_is_that_of_the_dataset():
    loader = DataLoader(numbers(), batch_size=6)
    for _ in range(2):
        assert labels_of(loader) == list(range(20))


def test_random_transforms_differ_between_epochs_and_batches():
    loader = DataLoader(ArrayDataset(np.zeros((6, 2))), batch_size=3, transform=add_noise)
    drawn = [array(batch).tobytes() for _ in range(2) for batch in loader]
    assert len(set(drawn)) == 4


def test_a_datasets_own_random_transform_is_seeded_by_the_loader():
    data = ArrayDataset(np.zeros((6, 2)), transform=add_noise)
    runs = [[array(b).tobytes() for b in DataLoader(data, 3, prefetch=p)] for p in (0, 2)]
    assert runs[0] == runs[1] and len(set(runs[0])) == 2


def test_prefetching_changes_nothing():
    plain, ahead = make(prefetch=0), make(prefetch=3)
    for _ in range(3):
        assert content(plain) == content(ahead)


def test_the_seed_can_be_drawn_from_a_generator():
    a, b = (make(seed=0, generator=np.random.default_rng(5)) for _ in range(2))
    assert a.seed == b.seed != make(seed=0, generator=tg.Generator(6)).seed
    assert content(a) == content(b)


def test_leaving_an_epoch_early_starts_the_next_one():
    loader, reference = make(), make()
    for _ in loader:
        break
    _, second = content(reference), content(reference)
    assert content(loader) == second


def test_peeking_at_a_batch_does_not_disturb_a_running_loop():
    loader = make()
    running = iter(loader)
    next(running)
    next(iter(loader))
    rest = content(itertools.islice(running, 2))
    assert (loader.epoch, loader.batch) == (0, 3)
    assert rest == content(make())[1:3]


# -- resuming


@settings(deadline=None, max_examples=40)
@given(
    count=st.integers(1, 25),
    batch_size=st.integers(1, 7),
    shuffle=st.booleans(),
    delivered=st.integers(0, 40),
    ahead=st.integers(0, 3),
    ahead_later=st.integers(0, 3),
)
def test_resuming_anywhere_gives_exactly_the_batches_to_come(
    count, batch_size, shuffle, delivered, ahead, ahead_later
):
    options = {"count": count, "batch_size": batch_size, "shuffle": shuffle}
    whole = make(prefetch=0, **options)
    stream = itertools.chain.from_iterable(whole for _ in itertools.count())
    expected = content(itertools.islice(stream, delivered + 8))[delivered:]

    stopped = make(prefetch=ahead, **options)
    stream = itertools.chain.from_iterable(stopped for _ in itertools.count())
    for _ in range(delivered):
        next(stream)
    state = json.loads(json.dumps(stopped.state_dict()))

    resumed = make(prefetch=ahead_later, **options)
    resumed.load_state_dict(state)
    stream = itertools.chain.from_iterable(resumed for _ in itertools.count())
    assert content(itertools.islice(stream, 8)) == expected


def test_the_state_counts_delivered_batches_not_prefetched_ones():
    loader = make(prefetch=5)
    batches = iter(loader)
    next(batches)
    time.sleep(0.05)  # the thread runs ahead
    assert (loader.state_dict()["epoch"], loader.state_dict()["batch"]) == (0, 1)


def test_the_rest_of_an_epoch_after_its_last_batch_is_empty():
    loader = make()
    batches = iter(loader)
    for _ in range(len(loader)):
        next(batches)
    state = loader.state_dict()
    resumed = make()
    resumed.load_state_dict(state)
    assert list(resumed) == [] == list(batches)  # so that work at an epoch's end is done once
    assert loader.epoch == resumed.epoch == 1
    assert content(resumed) == content(loader)


def test_resuming_does_not_touch_the_batches_before():
    class Counting(ArrayDataset):
        fetched = 0

        def batch(self, indices, rng=None):
            self.fetched += len(indices)
            return super().batch(indices, rng)

    data = Counting(np.arange(1000))
    loader = DataLoader(data, batch_size=10, prefetch=0)
    state = {**loader.state_dict(), "epoch": 50, "batch": 98}
    loader.load_state_dict(state)
    assert len(list(loader)) == 2 and data.fetched == 20


@pytest.mark.parametrize(
    "change, message",
    [
        ({"count": 21}, "dataset_length is 20 in the state and 21 here"),
        ({"batch_size": 4}, "batch_size is 3 in the state and 4 here"),
        ({"seed": 1}, "seed is 7 in the state and 1 here"),
        ({"shuffle": False}, "shuffle is True in the state and False here"),
        ({"drop_last": True}, "drop_last is False in the state and True here"),
    ],
)
def test_a_state_of_another_loader_is_refused(change, message):
    state = make().state_dict()
    loader = make(**change)
    with pytest.raises(ValueError, match=message):
        loader.load_state_dict({**state, "epoch": 3})
    assert loader.epoch == 0  # nothing half-done


@pytest.mark.parametrize(
    "change, message",
    [
        ({"batch": 8}, "batch 8 of an epoch of 7"),
        ({"batch": -1}, "batch must be an int of at least 0, not -1"),
        ({"epoch": "one"}, "epoch must be an int of at least 0, not 'one'"),
        ({"version": 2}, "version 2, expected 1"),
    ],
)
def test_a_malformed_state_is_refused(change, message):
    loader = make()
    with pytest.raises(ValueError, match=message):
        loader.load_state_dict({**loader.state_dict(), **change})


def test_an_incomplete_state_is_refused():
    loader = make()
    with pytest.raises(ValueError, match="it lacks version, dataset_length"):
        loader.load_state_dict({"epoch": 1, "batch": 0})
    with pytest.raises(ValueError, match="a state is a dictionary, not list"):
        loader.load_state_dict([1])


def test_a_loader_with_a_drawn_seed_takes_the_states():
    first = make(generator=np.random.default_rng(1))
    resumed = make(generator=np.random.default_rng(2))
    resumed.load_state_dict(first.state_dict())
    assert content(resumed) == content(first)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_loading_in_the_middle_of_a_loop_ends_that_loop(prefetch):
    loader = make(prefetch=prefetch)
    with pytest.raises(RuntimeError, match="start a new loop"):
        for _ in loader:
            loader.load_state_dict(loader.state_dict())


# -- bad arguments


@pytest.mark.parametrize(
    "options, message",
    [
        ({"batch_size": 0}, "batch_size must be an int of at least 1, not 0"),
        ({"batch_size": 2.5}, "batch_size must be an int"),
        ({"prefetch": -1}, "prefetch must be"),
        ({"seed": -1}, "seed must be"),
        ({"batch_size": 30, "drop_last": True}, "batch_size is 30 and the dataset has 20"),
        ({"count": 0}, "empty"),
    ],
)
def test_sizes_that_leave_no_batch_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
