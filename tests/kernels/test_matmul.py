"""Matrix products on the register tile: against float64, for every layout, thread and size."""

import numpy as np
import pytest

pytest.importorskip("numba")

from tinygen.kernels.cpu import matmul as light

import tinygen as tg
from tinygen import threads
from tinygen.primitive import KERNELS

SIZES = [(1, 1, 1), (2, 3, 40), (14, 16, 32), (15, 17, 33), (29, 300, 65), (100, 257, 31),
         (13, 600, 700), (300, 300, 200)]
DTYPES = [np.float32, np.float64]


@pytest.fixture
def every_size(monkeypatch):
    """Even the smallest products are taken, and every thread is used."""
    monkeypatch.setattr(light, "SMALLEST", 0)
    monkeypatch.setattr(light, "TURNED", 0)
    monkeypatch.setattr(light, "ROWS", 0)
    monkeypatch.setattr(light, "COLUMNS", 0)
    monkeypatch.setattr(light, "DOTS", 2)
    monkeypatch.setattr(light, "THREAD", 1)


@pytest.fixture(params=[1, 2, 4])
def some_threads(request, monkeypatch):
    monkeypatch.setattr(threads.count, "value", request.param)


def call(name, *arrays, **attrs):
    y = KERNELS[name, np.ndarray].function(*arrays, **attrs)
    assert type(y) is not str, y
    return y


def draw(shape, dtype, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def close(y, expected, depth, dtype):
    """The error of a sum of `depth` products, in units of its typical size."""
    assert y.dtype == dtype
    limit = {np.float32: 2e-6, np.float64: 4e-15}[dtype]
    np.testing.assert_allclose(y, expected, rtol=0, atol=limit * max(1, depth) ** 0.5 * 4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "k", "n"), SIZES)
@pytest.mark.parametrize("a_turned", [False, True])
@pytest.mark.parametrize("b_turned", [False, True])
def test_matmul_of_every_layout(every_size, some_threads, m, k, n, dtype, a_turned, b_turned):
    a, b = draw((m, k), dtype, 0), draw((k, n), dtype, 1)
    expected = a.astype(np.float64) @ b.astype(np.float64)
    a = np.asfortranarray(a) if a_turned else a
    b = np.asfortranarray(b) if b_turned else b
    y = call("matmul", a, b)
    close(y, expected, k, dtype)
    assert y.tobytes() == call("matmul", a, b).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "k", "n"), [(70, 700, 45), (14, 1025, 33), (1, 512, 8)])
def test_a_turned_operand_is_cut_along_k(every_size, some_threads, m, k, n, dtype):
    a, b = draw((k, m), dtype, 0), draw((k, n), dtype, 1)
    bias, y = draw((n,), dtype, 2), np.full((m, n), np.nan, dtype)
    light.native.gemm(a, b, y, bias, (0, 0.0), True, False, 1, threads.count.value)
    close(y, a.astype(np.float64).T @ b.astype(np.float64) + bias, k, dtype)


def test_the_number_of_threads_does_not_change_a_bit(every_size, monkeypatch):
    a, b = draw((70, 300), np.float32, 0), draw((300, 130), np.float32, 1)
    seen = set()
    for n in (1, 2, 3, 4):
        monkeypatch.setattr(threads.count, "value", n)
        seen.add(call("matmul", a, b).tobytes())
    assert len(seen) == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_stacks_of_matrices(every_size, some_threads, dtype):
    a, b = draw((3, 2, 15, 20), dtype, 0), draw((3, 2, 20, 33), dtype, 1)
    expected = a.astype(np.float64) @ b.astype(np.float64)
    close(call("matmul", a, b), expected, 20, dtype)
    turned = np.ascontiguousarray(b.swapaxes(-1, -2)).swapaxes(-1, -2)
    close(call("matmul", a, turned), expected, 20, dtype)
    one = b[0, 0]
    close(call("matmul", a, np.ascontiguousarray(one)), a.astype(np.float64) @ one, 20, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lead", [(7,), (3, 5), (1,), (1, 1)])
def test_linear_and_its_gradients(every_size, some_threads, dtype, lead):
    x, w, b = draw((*lead, 37), dtype, 0), draw((45, 37), dtype, 1), draw((45,), dtype, 2)
    g = draw((*lead, 45), dtype, 3)
    close(call("linear", x, w), x.astype(np.float64) @ w.T, 37, dtype)
    y = call("linear", x, w, b)
    close(y, x.astype(np.float64) @ w.T + b, 37, dtype)
    gx, gw, gb = call("linear_vjp", g, y, x, w, b, needs=(True, True, True))
    rows = g.reshape(-1, 45).astype(np.float64)
    close(gx, g.astype(np.float64) @ w, 45, dtype)
    close(gw, rows.T @ x.reshape(-1, 37), len(rows), dtype)
    close(gb, rows.sum(0), len(rows), dtype)
    assert call("linear_vjp", g, y, x, w, b, needs=(False, True, False))[0] is None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "k", "n"), [(70, 4000, 1), (33, 2700, 3), (2, 512, 300),
                                           (1, 600, 500)])
def test_layers_with_few_outputs_or_rows(some_threads, dtype, m, k, n):
    """With the thresholds as they are: OpenBLAS would start its threads for them."""
    x, w, b = draw((m, k), dtype, 0), draw((n, k), dtype, 1), draw((n,), dtype, 2)
    g = np.broadcast_to(draw((n,), dtype, 3), (m, n))
    for bias in (None, b):
        y = call("linear", x, w, bias)
        close(y, x.astype(np.float64) @ w.T + (0 if bias is None else b), k, dtype)
        assert y.flags.c_contiguous and y.base is None
    close(call("linear_activation", x, w, b, activation="relu", slope=0.0), np.maximum(y, 0), 1,
          dtype)
    options = {"needs": (True, True, True), "activation": "relu", "slope": 0.0}
    found = call("linear_activation_vjp", g, np.ones_like(g), x, w, b, **options)
    gx, gw, gb = call("linear_vjp", g, y, x, w, b, needs=(True, True, True))
    for one, other in zip(found, (gx, gw, gb), strict=True):
        np.testing.assert_array_equal(one, other)
    close(gx, g.astype(np.float64) @ w, n, dtype)
    close(gw, g.T.astype(np.float64) @ x, m, dtype)
    close(gb, g.astype(np.float64).sum(0), m, dtype)
    assert gx.base is None and gw.base is None


def test_products_that_blas_would_share_are_left_to_it_on_one_thread(monkeypatch):
    a = draw((80, 80), np.float32, 0)
    for n in (1, 2):
        monkeypatch.setattr(threads.count, "value", n)
        y = KERNELS["matmul", np.ndarray].function(a, a)
        assert (y is light.SMALL) == (n == 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh", "sigmoid"])
@pytest.mark.parametrize(("lead", "k", "n"), [((7,), 37, 45), ((3, 5), 800, 70), ((1,), 37, 45),
                                              ((40_000,), 4, 3)])
def test_linear_and_an_activation(every_size, some_threads, dtype, activation, lead, k, n):
    x, w, b = draw((*lead, k), dtype, 0), draw((n, k), dtype, 1), draw((n,), dtype, 2)
    w /= np.sqrt(k)
    z = x.astype(np.float64) @ w.T + b
    expected = {"relu": np.maximum(z, 0), "leaky_relu": np.where(z > 0, z, 0.2 * z),
                "tanh": np.tanh(z), "sigmoid": 1 / (1 + np.exp(-z))}[activation]
    options = {"activation": activation, "slope": 0.2}
    y = call("linear_activation", x, w, b, **options)
    close(y, expected, 37, dtype)
    assert y.tobytes() == call("linear_activation", x, w, b, **options).tobytes()
    slope = {"relu": y > 0, "leaky_relu": np.where(y > 0, 1, 0.2), "tanh": 1 - y * y,
             "sigmoid": y * (1 - y)}[activation]
    g = draw((*lead, n), dtype, 3)
    inner = (g.astype(np.float64) * slope).reshape(-1, n)
    gx, gw, gb = call("linear_activation_vjp", g, y, x, w, b, needs=(True, True, True), **options)
    close(gx, (inner @ w).reshape(x.shape), n, dtype)
    close(gw, inner.T @ x.reshape(-1, k), 4 * len(inner), dtype)
    close(gb, inner.sum(0), 4 * len(inner), dtype)


def test_nan_and_infinity_go_where_numpy_puts_them(every_size):
    a, b = draw((20, 40), np.float32, 0), draw((40, 50), np.float32, 1)
    a[3, 5], a[4, 6], b[7, 8] = np.nan, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        expected = a @ b
    np.testing.assert_array_equal(np.isnan(call("matmul", a, b)), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(call("matmul", a, b)), np.isinf(expected))


def test_long_columns_are_summed_exactly(every_size, some_threads):
    g = np.full((100_001, 20), 0.1, np.float32)
    x = np.ones((100_001, 1), np.float32)
    gb = call("linear_vjp", g, g, x, np.ones((20, 1), np.float32), g[0],
              needs=(False, False, True))[2]
    np.testing.assert_allclose(gb, 100_001 * float(np.float32(0.1)), rtol=1e-6)


@pytest.mark.parametrize(("a", "b", "why"), [
    (np.ones((200, 200), np.float32), np.ones((200, 200)), "float"),
    (np.ones((200, 200), np.int64), np.ones((200, 200), np.int64), "float"),
    (np.ones((200, 400), np.float32)[:, ::2], np.ones((200, 200), np.float32), "row"),
    (np.ones((9, 9), np.float32), np.ones((9, 9), np.float32), "small"),
    (np.ones((1 << 20,), np.float32), np.ones((1 << 20,), np.float32), "small"),
    (np.ones((0, 300), np.float32), np.ones((300, 300), np.float32), "small"),
])
def test_what_is_declined_says_why_and_still_works(a, b, why):
    assert why in KERNELS["matmul", np.ndarray].function(a, b)
    np.testing.assert_allclose((tg.asarray(a) @ tg.asarray(b)).numpy(), a @ b, rtol=1e-6)


def test_wrong_shapes_are_explained_as_before():
    with pytest.raises(ValueError, match="inner sizes 300 and 200 differ"):
        tg.ones((200, 300)) @ tg.ones((200, 300))
