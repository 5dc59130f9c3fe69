"""Rows of tables on a GPU, and gradients added up by number: the definition's, in every order."""

import numpy as np
import pytest

import tinygen as tg
from tests.doubles.counting import counted
from tests.doubles.cuda.build import ORDERS, KernelError, build
from tests.gpu.agreement import check
from tests.gpu.running import DTYPES, draw, launch, needs_compiler
from tinygen.ops.index import SLOT
from tinygen.primitive import KERNELS

pytestmark = needs_compiler
every_type = pytest.mark.parametrize("dtype", DTYPES, ids=str)
ADD = {"template": (SLOT,)}


@every_type
@pytest.mark.parametrize("width", [1, 7, 64])
def test_rows(cupy, dtype, width):
    table = draw((11, width))
    for numbers in (np.array([[3, 0, 10], [3, 3, 7]]), np.array(4), np.array([2], np.int32),
                    np.arange(22).reshape(2, 11)[::-1, ::2] % 11):
        found = check(cupy, "look_up", dtype, table, numbers)
        np.testing.assert_array_equal(found, table.astype(dtype)[numbers])


def test_numbers_without_a_row_give_nan_and_read_nothing(cupy):
    found = launch(cupy, "look_up", draw((3, 5)), np.array([1, 3, -1, 1 << 40]))
    assert np.isnan(found[1:]).all() and not np.isnan(found[0]).any()


@every_type
def test_adding_up(cupy, dtype):
    rng = np.random.default_rng(0)
    for shape, numbers in (((5, 3), rng.integers(-5, 5, 40)),           # often the same row
                           ((300, 2), rng.integers(0, 300, (2, 150))),  # many rows
                           ((2, 1), np.zeros(300, np.int32)),           # one row
                           ((4, 2, 3), np.array([[1, -1]]))):
        g = draw((*numbers.shape, *shape[1:]), scale=0.1)
        check(cupy, "scatter_index", dtype, g, numbers, **ADD, shape=shape, scale=4)


def test_more_numbers_than_a_block_looks_at_together(cupy):
    numbers = np.random.default_rng(0).integers(0, 9, 1100)
    check(cupy, "scatter_index", np.float32, draw((1100, 1)), numbers, **ADD, shape=(9, 1), scale=4)


def test_wide_rows_and_more_numbers_than_a_launch_takes(cupy, monkeypatch):
    monkeypatch.setattr("tinygen.kernels.gpu.gather.BATCH", 16)
    numbers = np.random.default_rng(1).integers(0, 3, 40)
    check(cupy, "scatter_index", np.float32, draw((40, 1100)), numbers, **ADD, shape=(3, 1100),
          scale=4)


def test_nan_stays_in_its_row_and_other_numbers_are_left_out(cupy):
    g = np.ones((4, 2), np.float32)
    g[1] = np.nan
    found = launch(cupy, "scatter_index", g, np.array([0, 2, 5, -4]), **ADD, shape=(3, 2))
    np.testing.assert_array_equal(found, [[1, 1], [0, 0], [np.nan, np.nan]])


def test_strided_gradients_and_numbers(cupy):
    g, numbers = draw((6, 8)), np.array([0, 1, 2, 0, 1, 2, 2, 2])
    wanted = launch(cupy, "scatter_index", np.ascontiguousarray(g[::2, ::2]), numbers[:3].copy(),
                    **ADD, shape=(4, 4))
    found = KERNELS["scatter_index", cupy.ndarray](
        cupy.asarray(g)[::2, ::2], cupy.asarray(numbers)[:3], **ADD, shape=(4, 4))
    np.testing.assert_array_equal(found.get(), wanted)


def test_declined(cupy):
    add, rows = (KERNELS[n, cupy.ndarray] for n in ("scatter_index", "look_up"))
    g, numbers = cupy.ones((3, 2), np.float32), cupy.asarray(np.array([0, 1, 1]))
    assert add(g.astype(np.float64), numbers, **ADD, shape=(3, 2)) is NotImplemented
    assert add(g, numbers > 0, **ADD, shape=(3, 2)) is NotImplemented
    assert add(g, numbers, template=(SLOT, None), shape=(3, 2)) is NotImplemented
    assert add(g[:1], numbers, **ADD, shape=(3, 2)) is NotImplemented
    assert rows(g.astype(np.float64), numbers) is NotImplemented
    assert rows(g, numbers[:0]) is NotImplemented


def test_an_embedding_waits_for_nothing():
    layer = tg.nn.Embedding(10, 6, padding_idx=2).to("cuda")
    numbers = tg.Tensor([[1, 2, 9], [1, 1, 0]], device="cuda")
    for _ in range(2):
        with counted() as seen:
            (layer(numbers) ** 2).sum().backward()
    assert (seen.syncs, seen.h2d, seen.d2h) == (0, 0, 0), seen
    assert not layer.weight.grad.numpy()[2].any() and layer.weight.grad.numpy()[1].any()


def test_a_batch_that_begins_one_late_and_a_missing_barrier_are_caught(cupy):
    from tinygen.kernels.gpu.launch import read

    text = read("gather.cu")
    g, numbers = draw((300, 3)), np.random.default_rng(2).integers(0, 4, 300)
    wanted = np.zeros((4, 3))
    np.add.at(wanted, numbers, g)

    def wrong(source):
        for order in ORDERS:
            table = np.zeros((4, 3), np.float32)
            try:
                build(source)["add_rows_f32"]((300, 1), (256,), (
                    g, numbers, table, np.int32(300), np.int64(4), np.int64(3)), order=order)
            except KernelError:
                return True
            if not np.allclose(table, wanted, atol=1e-4):
                return True
        return False

    first = "for (int start = own; start < count"
    barrier = "total += ends[e];\n    }\n    __syncthreads();"
    assert not wrong(text)
    assert text.count(first) == text.count(barrier) == 1
    assert wrong(text.replace(first, first.replace("= own", "= own + 1")))
    assert wrong(text.replace(barrier, barrier.removesuffix("\n    __syncthreads();")))
