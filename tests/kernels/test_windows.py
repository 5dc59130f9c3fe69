"""Kernels of pooling: the numbers of NumPy's definition in both layouts, ties and NaN included."""

import numpy as np
import pytest

from tests.checking import same_array
from tinygen import threads
from tinygen.nn.functional import resize
from tinygen.ops.pool import window
from tinygen.primitive import KERNELS, PRIMITIVES, kernel_status

pytest.importorskip("numba")
if "registered" not in kernel_status():
    pytest.skip(f"kernels: {kernel_status()}", allow_module_level=True)

# (shape, kernel, stride, padding, dilation, ceil_mode)
CALLS = [
    ((2, 3, 8, 10), 2, 2, 0, 1, False),
    ((2, 5, 7, 9), 3, 2, 1, 1, False),
    ((1, 4, 6, 11), (2, 3), (1, 1), (1, 1), 1, False),
    ((3, 1, 9, 5), 3, 3, 1, 1, True),
    ((1, 17, 5, 5), 5, 5, 0, 1, False),
    ((2, 2, 1, 7), (1, 2), (1, 3), 0, 1, True),
    ((2, 6, 12, 13), 3, 2, 1, 2, False),
    ((4, 32, 1, 1), 1, 1, 0, 1, False),
    ((2, 3, 5, 9), 2, 2, 0, 1, True),
    ((2, 2, 2, 3), 1, 2, 0, 1, False),          # rows and columns in no window
]
both = pytest.mark.parametrize("dtype", [np.float32, np.float64])
layout = pytest.mark.parametrize("last", [False, True], ids=["NCHW", "NHWC"])
every = pytest.mark.parametrize("call", CALLS, ids=str)


def laid(x, last):
    if not last:
        return np.ascontiguousarray(x)
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def drawn(shape, dtype, last, seed=0):
    """Many equal values, so that maxima tie."""
    values = np.random.default_rng(seed).integers(-4, 5, shape)
    return laid((values / 4).astype(dtype), last)


def how_of(x, call, **changes):
    _, kernel, stride, padding, dilation, ceil_mode = call
    return {**window(x, "pool", kernel, stride, padding, dilation, ceil_mode), **changes}


def pair(name, *args, **how):
    """What the kernel and the definition give; the kernel must not decline."""
    ours = KERNELS[name, np.ndarray].function(*args, **how)
    assert not isinstance(ours, str), ours
    return ours, PRIMITIVES[name].fn(np, *args, **how)


@every
@layout
@both
def test_max_pool_and_its_transpose(call, last, dtype):
    x = drawn(call[0], dtype, last)
    how = how_of(x, call)
    (y, tap), (y_ref, tap_ref) = pair("max_pool", x, **how)
    same_array(y, y_ref)
    same_array(tap, tap_ref)
    assert laid(y, last).strides == y.strides           # the layout of x
    g = drawn(y.shape, dtype, last, 1)
    back, back_ref = pair("max_unpool", g, tap, shape=x.shape, **how)
    same_array(back, back_ref)                          # quarters add up exactly
    same_array(pair("max_unpool", laid(g, not last), tap, shape=x.shape, **how)[0], back_ref)


@every
@layout
@both
@pytest.mark.parametrize("include_pad, divisor", [(True, None), (False, None), (True, 3)])
def test_avg_pool_and_its_transpose(call, last, dtype, include_pad, divisor):
    x = drawn(call[0], dtype, last)
    how = how_of(x, (*call[:4], 1, call[5]), include_pad=include_pad, divisor=divisor)
    del how["dilation"]
    tolerance = {"rtol": 1e-6 if dtype == np.float32 else 1e-14, "atol": 1e-15}
    y, y_ref = pair("avg_pool", x, **how)
    np.testing.assert_allclose(y, y_ref, strict=True, **tolerance)
    g = drawn(y.shape, dtype, last, 1)
    back, back_ref = pair("avg_unpool", g, image=x.shape[2:], **how)
    np.testing.assert_allclose(back, back_ref, strict=True, rtol=tolerance["rtol"], atol=1e-6 if
                               dtype == np.float32 else 1e-15)


@layout
def test_nan_and_infinity(last):
    rng = np.random.default_rng(5)
    x = rng.choice(np.array([np.nan, -np.inf, np.inf, 1.0], np.float32), (3, 4, 9, 9),
                   p=[0.2, 0.5, 0.1, 0.2])
    for call in CALLS:
        how = how_of(x, call) if call[0][2] > 4 else how_of(x, CALLS[0])
        (y, tap), (y_ref, tap_ref) = pair("max_pool", laid(x, last), **how)
        same_array(y, y_ref)
        same_array(tap, tap_ref)


@layout
def test_threads_change_no_bit(last, monkeypatch):
    x = laid(np.random.default_rng(0).standard_normal((4, 16, 60, 62)).astype(np.float32), last)
    how = how_of(x, (x.shape, 3, 2, 1, 1, False))
    mean = {**{k: v for k, v in how.items() if k != "dilation"}, "include_pad": False,
            "divisor": None}
    found = []
    for n in (1, 2, 4):
        monkeypatch.setattr(threads.count, "value", n)
        run = {name: KERNELS[name, np.ndarray].function for name in (
            "max_pool", "max_unpool", "avg_pool", "avg_unpool")}
        y, tap = run["max_pool"](x, **how)
        found.append([y, tap, run["max_unpool"](y, tap, shape=x.shape, **how),
                      run["avg_pool"](x, **mean), run["avg_unpool"](y, image=x.shape[2:], **mean)])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            same_array(a, b)


def test_what_is_declined():
    how = {"kernel": (2,), "stride": (2,), "padding": (0,), "dilation": (1,), "size": (4,)}
    run = KERNELS["max_pool", np.ndarray].function
    assert "images" in run(np.zeros((1, 2, 8), np.float32), **how)
    how = {k: v * 2 for k, v in how.items()}
    assert "float" in run(np.zeros((1, 2, 8, 8), np.int32), **how)
    assert run(np.zeros((0, 2, 8, 8), np.float32), **how) == "empty"
    assert "taps" in run(np.zeros((1, 2, 40, 40), np.float32),
                         **{**how, "kernel": (20, 20), "size": (11, 11)})


@pytest.mark.parametrize("mode, new, corners", [
    ("bilinear", (16, 22), False), ("bicubic", (9, 14), True), ("bilinear", (16, 22), True),
    ("bilinear", (5, 7), False), ("bilinear", (1, 30), True)])
@layout
@both
def test_resizing_and_its_transpose(mode, new, corners, last, dtype):
    x, kernel = drawn((3, 5, 8, 11), dtype, last), KERNELS["resample", np.ndarray].function
    unit = 1e-6 if dtype == np.float32 else 1e-14
    tolerance = {"rtol": 10 * unit, "atol": unit, "strict": True}
    for axis, n, m in ((2, 8, new[0]), (3, 11, new[1])):
        make = resize._linear if mode == "bilinear" else resize._cubic
        matrix = make(n, m, None, corners).astype(dtype)
        y, expected = pair("resample", x, matrix, axis=axis)
        np.testing.assert_allclose(y, expected, **tolerance)
        back = kernel(y, matrix.T, axis=axis)
        if not isinstance(back, str):
            expected = PRIMITIVES["resample"].fn(np, y, matrix.T, axis=axis)
            np.testing.assert_allclose(back, expected, **tolerance)
    assert "eight" in kernel(x, np.ones((4, 11), dtype), axis=3)
    assert kernel(x, np.eye(11, dtype=dtype)[:0], axis=3) == "empty"
