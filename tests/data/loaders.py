"""What the tests of the loader share."""

import gc
import threading

import numpy as np
import pytest

from tinygen.data import ArrayDataset, DataLoader


def array(tensor):
    return np.asarray(tensor.numpy() if hasattr(tensor, "numpy") else tensor)


def add_noise(batch, rng):
    return batch + rng.standard_normal(batch.shape).astype(batch.dtype)


def numbers(count=20):
    return ArrayDataset(np.arange(count, dtype=np.float32)[:, None], np.arange(count))


def make(prefetch=2, count=20, **options):
    settings = {"batch_size": 3, "shuffle": True, "seed": 7, "transform": add_noise, **options}
    return DataLoader(numbers(count), prefetch=prefetch, **settings)


def content(batches):
    """Batches as bytes: equal means equal bit for bit."""
    return [tuple(array(part).tobytes() for part in batch) for batch in batches]


def labels_of(loader):
    return [label for _, labels in loader for label in array(labels).tolist()]


def threads():
    return [t for t in threading.enumerate() if t.name == "tinygen-prefetch"]


@pytest.fixture(autouse=True)
def no_thread_stays():
    yield
    gc.collect()
    assert threads() == []
