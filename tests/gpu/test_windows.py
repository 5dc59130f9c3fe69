"""Pooling and resizing on a GPU: the definition's numbers, for any strides, in every order."""

import numpy as np
import pytest

import tinygen as tg
from tests.doubles.counting import counted
from tests.gpu.agreement import check
from tests.gpu.running import DTYPES, draw, launch, needs_compiler
from tinygen.primitive import KERNELS, PRIMITIVES

pytestmark = needs_compiler
every_type = pytest.mark.parametrize("dtype", DTYPES, ids=str)

# (input, kernel, stride, padding, dilation, result): odd sizes, overlaps, gaps, one row, signals
POOLS = [((2, 3, 7, 9), (2, 2), (2, 2), (0, 0), (1, 1), (3, 4)),
         ((1, 5, 8, 6), (3, 3), (2, 1), (1, 1), (1, 1), (4, 6)),
         ((2, 1, 9, 8), (2, 3), (1, 2), (0, 1), (2, 2), (7, 3)),
         ((1, 2, 5, 5), (2, 2), (3, 3), (0, 0), (1, 1), (2, 2)),
         ((1, 2, 6, 7), (3, 3), (2, 2), (1, 1), (1, 1), (4, 4)),      # the last row hangs over
         ((3, 2, 4, 1), (2, 3), (3, 3), (1, 1), (2, 2), (2, 1)),      # windows without a pixel
         ((3, 4, 11), (4,), (3,), (2,), (1,), (4,))]


def channels_last(x):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def layouts(x):
    """x as planes, channels last, and as a view with gaps."""
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    wide[..., ::2] = x
    return x, channels_last(x), wide[..., ::2]


def on(cupy, x):
    """On the device, with the strides of x."""
    base = x if x.base is None else x.base
    while base.base is not None:
        base = base.base
    there = cupy.asarray(base)
    return cupy.lib.stride_tricks.as_strided(there, x.shape, x.strides)


@every_type
@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_maxima_and_their_gradients(cupy, dtype, pool):
    shape, kernel, stride, padding, dilation, size = pool
    how = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation,
           "size": size}
    y, taps = check(cupy, "max_pool", dtype, draw(shape), **how)
    assert taps.dtype == np.uint8
    check(cupy, "max_unpool", dtype, draw(y.shape, seed=1), taps, **how, shape=shape, scale=4)


@every_type
@pytest.mark.parametrize("include_pad, divisor", [(True, None), (False, None), (True, 3)])
def test_means_and_their_gradients(cupy, dtype, include_pad, divisor):
    for shape, kernel, stride, padding, dilation, size in POOLS:
        if set(dilation) != {1}:
            continue
        how = {"kernel": kernel, "stride": stride, "padding": padding, "size": size,
               "include_pad": include_pad, "divisor": divisor}
        y = check(cupy, "avg_pool", dtype, draw(shape), **how, scale=2)
        check(cupy, "avg_unpool", dtype, draw(y.shape, seed=1), **how, image=shape[2:], scale=2)


def test_results_lie_as_inputs_do(cupy):
    shape, kernel, stride, padding, dilation, size = POOLS[1]
    how = {"kernel": kernel, "stride": stride, "padding": padding, "size": size}
    x, g = draw(shape), draw((*shape[:2], *size), seed=1)
    wanted = PRIMITIVES["max_pool"].fn(np, x, **how, dilation=dilation)
    back = PRIMITIVES["max_unpool"].fn(np, g, wanted[1], **how, dilation=dilation, shape=shape)
    mean = PRIMITIVES["avg_pool"].fn(np, x, **how, include_pad=True, divisor=None)
    for a, b in zip(layouts(x), layouts(g)):
        last = a.strides[1] == a.itemsize
        y, taps = KERNELS["max_pool", cupy.ndarray](on(cupy, a), **how, dilation=dilation)
        np.testing.assert_array_equal(y.get(), wanted[0])
        np.testing.assert_array_equal(taps.get(), wanted[1])
        for g in (on(cupy, b), on(cupy, np.ascontiguousarray(b))):
            x_grad = KERNELS["max_unpool", cupy.ndarray](g, taps, **how, dilation=dilation,
                                                         shape=shape)
            np.testing.assert_allclose(x_grad.get(), back, rtol=1e-6)
        m = KERNELS["avg_pool", cupy.ndarray](on(cupy, a), **how, include_pad=True, divisor=None)
        np.testing.assert_allclose(m.get(), mean, rtol=1e-5, atol=1e-6)
        assert all((r.strides[1] == r.itemsize) == last for r in (y, taps, x_grad, m))


def test_the_first_of_equal_ones_the_last_nan_and_windows_of_minus_infinity(cupy):
    x = np.zeros((1, 1, 4, 4), np.float32)
    x[0, 0, 0, :2] = np.nan
    x[0, 0, 2:, 2:] = -np.inf
    how = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1),
           "size": (2, 2)}
    y, taps = launch(cupy, "max_pool", x, **how)
    wanted = PRIMITIVES["max_pool"].fn(np, x, **how)
    np.testing.assert_array_equal(y, wanted[0])
    np.testing.assert_array_equal(taps, wanted[1])


def test_windows_of_more_than_256_elements(cupy):
    how = {"kernel": (17, 17), "stride": (1, 2), "padding": (8, 8), "dilation": (1, 1),
           "size": (9, 5)}
    y, taps = check(cupy, "max_pool", np.float32, draw((1, 1, 9, 10)), **how)
    assert taps.dtype == np.int32
    check(cupy, "max_unpool", np.float32, draw(y.shape, seed=1), taps, **how, shape=(1, 1, 9, 10),
          scale=4)


def test_declined(cupy):
    how = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0), "size": (2, 2),
           "include_pad": True, "divisor": None}
    pool = KERNELS["avg_pool", cupy.ndarray]
    assert pool(cupy.ones((1, 1, 4, 4), np.float64), **how) is NotImplemented
    assert pool(cupy.ones((0, 1, 4, 4), np.float32), **how) is NotImplemented
    assert pool(cupy.ones((1, 1, 4, 4, 4), np.float32), **how) is NotImplemented


# -- resizing --------------------------------------------------------------------------------------


def bands(m, n, seed=0):
    """A matrix with a band of up to three numbers in each row; one row is empty."""
    matrix = np.zeros((m, n), np.float32)
    for i, row in enumerate(np.random.default_rng(seed).random((m, 3))):
        start = min(n - 1, i * n // m)
        matrix[i, start:start + 3] = row[:n - start]
    matrix[m // 2] = 0
    return matrix


@every_type
@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_matrices_along_each_axis(cupy, dtype, axis):
    shape = (3, 2, 6, 40)
    for m in (5, 9):
        matrix = bands(m, shape[axis])
        check(cupy, "resample", dtype, draw(shape), matrix, axis=axis, scale=2)


def test_transposed_matrices_and_other_layouts(cupy):
    x, matrix = draw((2, 3, 6, 5)), bands(6, 8)
    wanted = PRIMITIVES["resample"].fn(np, x, matrix.T, axis=2)
    for a in layouts(x):
        found = KERNELS["resample", cupy.ndarray](on(cupy, a), cupy.asarray(matrix).T, axis=2)
        np.testing.assert_allclose(found.get(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_images_are_resized_as_on_the_cpu(mode):
    x = draw((2, 3, 6, 5))
    ends = []
    for device in ("cpu", "cuda"):
        t = tg.Tensor(x, device=device, requires_grad=True)
        for _ in range(2):
            with counted() as seen:
                y = tg.nn.functional.interpolate(t, (12, 7), mode=mode)
                (y * y).sum().backward()
        assert (seen.syncs, seen.d2h) == (0, 0), seen
        ends.append((y.detach().numpy(), t.grad.numpy()))
    for ours, theirs in zip(*ends):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-5)


# -- dispatch --------------------------------------------------------------------------------------


def test_sizes_from_which_kernels_of_the_cpu_are_asked_do_not_matter_here(cupy, monkeypatch):
    op = PRIMITIVES["resample"]
    monkeypatch.setattr(op, "smallest", 4)         # as a call on the CPU leaves it
    monkeypatch.setattr(op, "impl", {})
    y = op(*(tg.Tensor(draw((3, 3)), device="cuda") for _ in range(2)), axis=0)
    assert KERNELS["resample", cupy.ndarray].last is True and y.device == "cuda:0"


def test_prepared_divisions_are_exact():
    from tinygen.kernels.gpu.division import LIMIT, divisor

    rng = np.random.default_rng(0)
    for d in (1, 2, 3, 5, 7, 64, 255, 641, 65535, 65537, LIMIT // 2 + 1, LIMIT - 1,
              *map(int, rng.integers(1, LIMIT, 30))):
        by, magic, shift = divisor(d)
        assert by == d and 0 <= magic < 1 << 32
        for n in (0, 1, d - 1, d, min(7 * d - 1, LIMIT - 1), *rng.integers(0, LIMIT, 30).tolist()):
            if n < LIMIT:
                assert (((n * magic) >> 32) + n) >> shift == n // d
