"""A linear layer with its activation, and sums of columns, in CUDA C on the CPU."""

import numpy as np
import pytest

from tests.doubles.cuda.build import thread_order

from .running import BF16, DTYPES, agrees, definition, draw, launch, needs_compiler

pytestmark = needs_compiler

F32 = np.dtype(np.float32)
ACTIVATIONS = [("relu", 0.0), ("leaky_relu", 0.1), ("tanh", 0.0), ("sigmoid", 0.0)]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("sizes", [(1, 3, 1), (5, 8, 33), (130, 4, 64)], ids=str)
def test_forward_and_gradients(cupy, sizes, activation):
    rows, k, n = sizes
    x, w, b = draw((rows, k)), draw((n, k), seed=1), draw((n,), seed=2)
    g, how = draw((rows, n), seed=3), dict(zip(("activation", "slope"), activation))
    for order in range(3):
        y = launch(cupy, "linear_activation", x, w, b, order=order, **how)
        agrees(y, definition("linear_activation", x, w, b, **how), 1e-5)
        needs = (True, True, True)
        grads = launch(cupy, "linear_activation_vjp", g, y, x, w, b, order=order, needs=needs,
                       **how)
        for got, want in zip(grads, definition("linear_activation_vjp", g, y, x, w, b,
                                               needs=needs, **how)):
            agrees(got, want, 2e-5)


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
def test_of_16_bits(cupy, dtype):
    x, w, b, g = (draw(shape, dtype, seed=i) for i, shape in
                  enumerate([(2, 9, 8), (24, 8), (24,), (2, 9, 24)]))
    how = {"activation": "leaky_relu", "slope": 0.2}
    y = launch(cupy, "linear_activation", x, w, b, **how)
    assert y.dtype == dtype and y.shape == (2, 9, 24)
    near = 2.0 ** -6 if dtype == BF16 else 2.0 ** -9     # the product is rounded before the bias
    agrees(y, definition("linear_activation", x, w, b, **how), near)
    needs = (False, True, True)
    grads = launch(cupy, "linear_activation_vjp", g, y, x, w, b, needs=needs, **how)
    assert grads[0] is None
    for got, want in zip(grads[1:], definition("linear_activation_vjp", g, y, x, w, b,
                                               needs=needs, **how)[1:]):
        assert got.dtype == dtype
        agrees(got, want, near)


def test_without_bias_and_with_what_is_not_finite(cupy):
    x, w = draw((4, 3)), draw((8, 3), seed=1)
    x[2, 1] = np.nan
    for activation, slope in ACTIVATIONS:
        y = launch(cupy, "linear_activation", x, w, None, activation=activation, slope=slope)
        assert np.isnan(y[2]).all() and np.isfinite(y[[0, 1, 3]]).all()


@pytest.mark.parametrize("shape", [(1, 1), (7, 31), (300, 33), (2000, 4)], ids=str)
def test_sums_of_columns(cupy, shape):
    from tinygen.kernels.gpu.linear import summed
    for dtype in DTYPES:
        x = draw(shape, dtype)
        for order in range(3):
            with thread_order(order):
                got = summed(cupy.asarray(x)).get()
            assert got.dtype == dtype
            agrees(got, x.astype(np.float64).sum(axis=0))
        assert summed(cupy.asarray(x), F32).get().dtype == F32


def test_sums_of_columns_have_the_same_bits_in_every_order(cupy):
    from tinygen.kernels.gpu.linear import summed
    x, found = cupy.asarray(draw((517, 40))), []
    for order in range(3):
        with thread_order(order):
            found.append(summed(x).get().tobytes())
    assert len(set(found)) == 1
