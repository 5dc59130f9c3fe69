"""Batches by length: each index once, similar lengths, the loader resumes."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.data import DataLoader
from tinygen.text import BucketSampler, PadCollate


@given(lengths=st.lists(st.integers(0, 9), min_size=1, max_size=40), size=st.integers(1, 7),
       pool=st.one_of(st.none(), st.integers(1, 4)), shuffle=st.booleans(), drop=st.booleans(),
       epoch=st.integers(0, 3))
def test_each_index_stands_in_one_batch(lengths, size, pool, shuffle, drop, epoch):
    sampler = BucketSampler(lengths, size, pool, shuffle, drop, seed=1)
    batches = sampler.batches(epoch)
    assert len(batches) == len(sampler)
    seen = sorted(i for batch in batches for i in batch)
    assert len(set(seen)) == len(seen) == (len(lengths) // size * size if drop else len(lengths))
    assert sum(len(b) < size for b in batches) <= (0 if drop else 1)
    assert batches == BucketSampler(lengths, size, pool, shuffle, drop, seed=1).batches(epoch)
    if pool is None:           # batches do not overlap in their lengths
        spans = sorted((min(lengths[i] for i in b), max(lengths[i] for i in b)) for b in batches)
        assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:]))


def test_padding_is_saved_and_epochs_differ():
    lengths = np.random.default_rng(0).integers(1, 100, 1000)

    def padded(batches):
        return sum(len(b) * max(lengths[i] for i in b) for b in batches) / lengths.sum()
    sampler = BucketSampler(lengths, 20, pool=10)
    random = np.random.default_rng(1).permutation(1000).reshape(50, 20)
    assert padded(random) > 1.8 > 1.15 > padded(sampler.batches(0))
    assert sampler.batches(0) != sampler.batches(1)
    assert sampler.batches(0) != BucketSampler(lengths, 20, 10, seed=1).batches(0)
    sampler.set_epoch(1)
    assert list(sampler) == sampler.batches(1)
    assert BucketSampler(["abc", "a"], 1, shuffle=False).batches(0) == [[1], [0]]
    assert "1000 sequences, batch_size=20" in repr(sampler)


SAMPLES = [(list(range(1, 2 + n % 7)), n % 3) for n in range(30)]


def loader(seed=5, **options):
    sampler = BucketSampler([len(s) for s, _ in SAMPLES], 4, pool=3, seed=seed)
    return DataLoader(SAMPLES, batch_sampler=sampler, collate_fn=PadCollate(value=-1), **options)


def as_lists(batch):
    return [part.numpy().tolist() for part in batch]


def test_the_loader_takes_the_sampler_and_resumes():
    whole = loader()
    epochs = [[as_lists(b) for b in whole] for _ in range(2)]
    assert len(whole) == len(epochs[0]) == 8 and epochs[0] != epochs[1]
    for ids, lengths, labels in epochs[0]:
        assert len(ids) == len(lengths) == len(labels)
        for row, n, label in zip(ids, lengths, labels, strict=True):
            assert row == list(range(1, n + 1)) + [-1] * (len(row) - n) and label in (0, 1, 2)
    first = loader()
    for _ in first:
        pass
    iterator = iter(first)
    taken = [as_lists(next(iterator)) for _ in range(3)]
    state = json.loads(json.dumps(first.state_dict()))
    second = loader(prefetch=0)
    second.load_state_dict(state)
    assert taken + [as_lists(b) for b in second] == epochs[1]


def test_the_loader_takes_any_list_of_batches():
    data = np.arange(10)
    found = DataLoader(data, batch_sampler=[[0, 1], [9], [4, 4, 4]], prefetch=0)
    for _ in range(2):
        assert [b.numpy().tolist() for b in found] == [[0, 1], [9], [4, 4, 4]]


def test_states_of_other_samplers_are_refused():
    state = loader().state_dict()
    with pytest.raises(ValueError, match="sampler_seed is 5 in the state and 6 here"):
        loader(seed=6).load_state_dict(state)
    with pytest.raises(ValueError, match="a loader with a batch_sampler"):
        DataLoader(SAMPLES, 4, collate_fn=PadCollate()).load_state_dict(state)
    plain = DataLoader(SAMPLES, 4, collate_fn=PadCollate()).state_dict()
    with pytest.raises(ValueError, match="lacks sampler_seed"):
        loader().load_state_dict(plain)


def test_collating_pads_each_part():
    samples = [(np.ones((2, 3), "f4"), [1, 2, 3], 0.5), (tg.zeros((1, 3)), [], 1.5)]
    a, n, b, m, c = PadCollate(padding="pre")(samples)
    assert a.shape == (2, 2, 3) and a.dtype == np.float32 and n.tolist() == [2, 1]
    assert (a[1, 0] == 0).all() and (a[0] == 1).all()
    assert b.tolist() == [[1, 2, 3], [0, 0, 0]] and b.dtype == np.int64 and m.tolist() == [3, 0]
    assert c.tolist() == [0.5, 1.5]
    ids, lengths = PadCollate(value=9, maxlen=2)([[1, 2, 3], [4]])
    assert ids.tolist() == [[1, 2], [4, 9]] and lengths.tolist() == [2, 1]
    assert PadCollate(maxlen=5)([[1], [2]])[0].shape == (2, 1)


@pytest.mark.parametrize("call, message", [
    (lambda: BucketSampler([], 2), r"lengths must be a list of integers"),
    (lambda: BucketSampler([1.5], 2), r"lengths must be a list of integers.*got float64"),
    (lambda: BucketSampler([1], 0), r"batch_size must be an integer of at least 1, got 0"),
    (lambda: BucketSampler([1], 1, pool=0), r"pool must be an integer of at least 1"),
    (lambda: BucketSampler([1], 1, seed=-1), r"seed must be an integer of at least 0"),
    (lambda: PadCollate(padding="left"), r"padding must be 'pre' or 'post'"),
    (lambda: PadCollate()([([1], 2), ([1],)]), r"different numbers of parts"),
    (lambda: PadCollate()([([1], 2), ([1], [2])]), r"a number in one sample and a sequence in"),
    (lambda: loader(batch_size=3), r"batch_size, shuffle and drop_last are the batch_sampler's"),
    (lambda: DataLoader([1, 2], batch_sampler=[]), r"the batch_sampler gives no batch"),
])
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
