"""Kernels of embeddings: rows by number, and sums by number in the order of the numbers."""

import numpy as np
import pytest

import tinygen as tg
from tests.checking import same_array
from tinygen import threads
from tinygen.nn import functional as F
from tinygen.ops.index import SLOT, getitem_p, scatter_index_p
from tinygen.ops.table import look_up
from tinygen.primitive import KERNELS, kernel_status

pytest.importorskip("numba")
if "registered" not in kernel_status():
    pytest.skip(f"kernels: {kernel_status()}", allow_module_level=True)


def values(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def numbers(rows, *shape, seed=1, low=0):
    return np.random.default_rng(seed).integers(low, rows, shape)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows, width, shape", [
    (65, 64, (12, 70)), (1, 5, (9000,)), (900, 33, (1100,)), (7, 1, (50000,)),
    (500, 512, (3, 5, 40))])
def test_rows_and_sums_agree_with_numpy(dtype, rows, width, shape):
    table, at = values(rows, width, dtype=dtype), numbers(rows, *shape, low=-rows)
    for index in (at, at.astype(np.int32), np.asfortranarray(at)):
        same_array(getitem_p(tg.Tensor(table), index, template=(SLOT,)).numpy(), table[at])
    assert KERNELS["getitem", np.ndarray].last is True
    positive = at % rows
    same_array(look_up(tg.Tensor(table), positive).numpy(), table[positive])
    assert table.size < 1 << 11 or KERNELS["look_up", np.ndarray].last is True
    for wrong in (-1, rows):
        positive.reshape(-1)[-1] = wrong
        with pytest.raises(IndexError, match=rf"has rows 0 to {rows - 1}"):
            look_up(tg.Tensor(table), positive)
    g = values(*shape, width, dtype=dtype, seed=2)
    expected = np.zeros_like(table)
    np.add.at(expected, at, g)
    for given in (g, np.asfortranarray(g)):
        found = scatter_index_p(tg.Tensor.wrap(given), at, template=(SLOT,), shape=table.shape)
        same_array(found.numpy(), expected)
    assert KERNELS["scatter_index", np.ndarray].last is True


def test_threads_change_no_bit(monkeypatch):
    g, at = values(5000, 80), np.minimum(numbers(50, 5000), 7)       # most are row 7
    found = []
    for n in (1, 2, 4):
        monkeypatch.setattr(threads.count, "value", n)
        found.append(KERNELS["scatter_index", np.ndarray].function(
            g, at, template=(SLOT,), shape=(9, 80)))
    for other in found[1:]:
        same_array(found[0], other)


def test_numbers_out_of_range_raise_as_ever():
    table = tg.Tensor(values(60, 1000))
    for bad in (60, -61):
        with pytest.raises(IndexError, match="out of bounds"):
            table[np.full(100, bad)]
        with pytest.raises(IndexError, match="out of bounds"):
            scatter_index_p(tg.Tensor(values(100, 1000)), np.full(100, bad), template=(SLOT,),
                            shape=(60, 1000))


def test_gradients_of_an_embedding():
    weight = tg.Tensor(values(40, 96), requires_grad=True)
    at = numbers(40, 8, 100)
    F.embedding(tg.Tensor(at), weight, padding_idx=3).sum().backward()
    counts = np.bincount(at.reshape(-1), minlength=40).astype(np.float32)
    counts[3] = 0
    same_array(weight.grad.numpy(), np.repeat(counts[:, None], 96, 1))


def test_what_is_declined():
    take, add = (KERNELS[n, np.ndarray].function for n in ("getitem", "scatter_index"))
    table = values(300, 200)
    some = np.arange(200)
    assert "index" in take(table, template=((None, 3, None),))
    assert "index" in take(table, table[:, 0] > 0, template=(SLOT,))
    assert "few" in take(table, some[:3], template=(SLOT,))
    assert "float" in take(table.astype(np.float16), some, template=(SLOT,))
    assert "contiguous" in take(table[::-1], some, template=(SLOT,))
    assert "broadcast" in add(table[:1], some, template=(SLOT,), shape=table.shape)
