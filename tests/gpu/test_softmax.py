"""Softmax and cross entropy in CUDA C, on the CPU, against their definitions in float64."""

import numpy as np
import pytest

from .running import BF16, DTYPES, agrees, definition, draw, launch, needs_compiler

pytestmark = needs_compiler

F32 = np.dtype(np.float32)
# A lane with less than a value, a warp and one more, packs and none, a block, and rows that a block
# cannot hold in registers.
SHAPES = [(1, 1), (3, 31), (9, 32), (2, 33), (2, 1000), (2, 1003), (1, 8193)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rows(cupy, shape):
    x, g = draw(shape, scale=3.0), draw(shape, seed=1)
    for order in range(3):
        for name in ("softmax", "log_softmax"):
            y = launch(cupy, name, x, axis=1, order=order)
            agrees(y, definition(name, x, axis=1))
            gx = launch(cupy, f"{name}_grad", g, y, axis=1, order=order)
            agrees(gx, definition(f"{name}_grad", g, y, axis=1), 1e-5)


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
@pytest.mark.parametrize("shape", [(5, 64), (3, 33), (2, 600), (1, 16400)], ids=str)
def test_rows_of_16_bits(cupy, shape, dtype):
    x, g = draw(shape, dtype), draw(shape, dtype, seed=1)
    for name in ("softmax", "log_softmax"):
        y = launch(cupy, name, x, axis=1)
        assert y.dtype == dtype
        agrees(y, definition(name, x, axis=1))
        agrees(launch(cupy, f"{name}_grad", g, y, axis=1),
               definition(f"{name}_grad", g, y, axis=1))


@pytest.mark.parametrize("axis", [0, 1, -2])
def test_columns(cupy, axis):
    x, g = draw((5, 7, 33), scale=3.0), draw((5, 7, 33), seed=1)
    for name in ("softmax", "log_softmax"):
        y = launch(cupy, name, x, axis=axis, order=1)
        agrees(y, definition(name, x, axis=axis))
        agrees(launch(cupy, f"{name}_grad", g, y, axis=axis, order=2),
               definition(f"{name}_grad", g, y, axis=axis), 1e-5)


@pytest.mark.parametrize("n", [40, 8200])
def test_what_is_not_finite_stays_in_its_row(cupy, n):
    x = draw((6, n))
    x[1, n // 2] = np.nan
    x[2] = -np.inf                       # all masked
    x[3, : n // 2] = -np.inf             # half of it
    x[4, n - 1] = np.inf
    for name in ("softmax", "log_softmax"):
        y = launch(cupy, name, x, axis=1)
        assert np.isnan(y[1]).all() and np.isnan(y[2]).all() and np.isnan(y[4]).any()
        agrees(y[[0, 3, 5]], definition(name, x[[0, 3, 5]], axis=1))


def test_a_transposed_array_is_copied_and_float64_declined(cupy):
    from tinygen.primitive import KERNELS
    x = draw((33, 5))
    got = KERNELS["softmax", cupy.ndarray].function(cupy.asarray(x).T, axis=1).get()
    agrees(got, definition("softmax", x.T, axis=1))
    softmax = KERNELS["softmax", cupy.ndarray].function
    assert softmax(cupy.ones((2, 3), "float64"), axis=1) == "neither float32, bfloat16 nor float16"
    assert softmax(cupy.ones((0, 3), "float32"), axis=1) == "nothing to do"


HOW = [{"reduction": "mean", "label_smoothing": 0.0}, {"reduction": "sum", "label_smoothing": 0.1},
       {"reduction": "none", "label_smoothing": 0.1}, {"reduction": "mean", "label_smoothing": 0.1}]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("how", HOW, ids=str)
@pytest.mark.parametrize("shape", [(7, 1), (9, 10), (70, 33), (3, 1000), (2, 8201)], ids=str)
def test_cross_entropy(cupy, shape, how, weighted):
    rows, n = shape
    x, target = draw(shape, scale=3.0), np.arange(rows) * 7 % n
    target[rows // 2] = -100
    weight = np.linspace(0.5, 2.0, n, dtype=F32) if weighted else None
    g = draw((rows,), seed=2) if how["reduction"] == "none" else np.array(1.5, F32)
    options = {"ignore_index": -100, **how}
    order = rows % 3
    loss, kept = launch(cupy, "cross_entropy", x, target, weight, order=order, **options)
    wanted = definition("cross_entropy", x, target, weight, **options)
    agrees(loss, wanted[0], 1e-5)
    agrees(kept, wanted[1])
    needs = (True, False, False)
    gx = launch(cupy, "cross_entropy_vjp", g, loss, kept, x, target, weight, order=order,
                needs=needs, **options)[0]
    agrees(gx, definition("cross_entropy_vjp", g, loss, kept, x, target, weight, needs=needs,
                          **options)[0], 1e-5)


def test_cross_entropy_of_16_bits_and_strange_targets(cupy):
    how = {"ignore_index": -1, "reduction": "none", "label_smoothing": 0.0}
    x, target = draw((5, 40), BF16), np.array([3, 39, -1, 40, -2], np.int32)
    loss, kept = launch(cupy, "cross_entropy", x, target, None, **how)
    assert loss.dtype == BF16 and kept.dtype == np.float32
    assert np.isnan(loss[3:].astype(F32)).all() and loss[2] == 0
    agrees(loss[:3], definition("cross_entropy", x[:3], target[:3], None, **how)[0])


def test_only_ignored_rows(cupy):
    how = {"ignore_index": 2, "reduction": "mean", "label_smoothing": 0.1}
    x, target = draw((3, 5)), np.full(3, 2)
    loss, kept = launch(cupy, "cross_entropy", x, target, None, **how)
    assert np.isnan(loss)
    gx = launch(cupy, "cross_entropy_vjp", np.array(1, F32), loss, kept, x, target, None,
                needs=(True, False, False), **how)[0]
    assert (gx == 0).all()
