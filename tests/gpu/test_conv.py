"""Convolution on a GPU, as products of patches, against the definition in float64."""

import importlib

import numpy as np
import pytest

from tests.doubles import cublas
from tests.doubles.cuda.build import ORDERS, thread_order
from tests.gpu.running import needs_compiler
from tinygen.backend import bfloat16
from tinygen.ops import patches
from tinygen.primitive import KERNELS

pytestmark = needs_compiler

TOLERANCE = {"float32": 1e-6, "bfloat16": 1e-2, "float16": 1.5e-3}
HOW = [  # images, weight (O, C / g, kh, kw), stride, padding, dilation, groups
    ((2, 3, 9, 8), (5, 3, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),       # few channels
    ((2, 8, 9, 7), (6, 8, 3, 2), (2, 1), ((1, 1), (0, 1)), (1, 1), 1),
    ((3, 8, 8, 8), (12, 4, 3, 3), (1, 2), ((2, 2), (2, 1)), (2, 2), 2),      # groups, dilation
    ((2, 8, 5, 6), (7, 8, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),       # no patches
    ((2, 8, 5, 6), (6, 4, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 2),
    ((2, 6, 7, 7), (3, 6, 3, 3), (2, 2), ((0, 0), (-1, 1)), (1, 1), 1),      # cropped
    ((2, 40, 9, 8), (40, 1, 3, 2), (2, 1), ((1, 1), (0, 1)), (1, 2), 40),    # channel by channel
    ((3, 5, 4, 4), (5, 1, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 5),
]


@pytest.fixture(scope="module", autouse=True)
def kernels(cupy):
    return importlib.import_module("tinygen.kernels.gpu.conv")


def type_of(name):
    return bfloat16() if name == "bfloat16" else np.dtype(name)


def draw(cupy, rng, shape, dtype, last=False):
    """A device array, channels last in memory if wanted, and its values in float64."""
    x = rng.standard_normal(shape).astype(type_of(dtype))
    there = cupy.asarray(x)
    if last:
        there = cupy.ascontiguousarray(there.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    return there, x.astype(np.float64)


def close(found, wanted, dtype):
    assert found.shape == wanted.shape
    found = found.get().astype(np.float64)
    error = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
    assert error <= TOLERANCE[dtype], error


def run(cupy, name, *arrays, **how):
    y = KERNELS[name, cupy.ndarray](*arrays, **how)
    assert y is not NotImplemented
    return y


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("case", HOW, ids=range(len(HOW)))
def test_all_three_operations(cupy, case, last, dtype):
    shape, of_weight, stride, padding, dilation, groups = case
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    rng = np.random.default_rng(0)
    x, x64 = draw(cupy, rng, shape, dtype, last)
    (w, w64), (b, b64) = (draw(cupy, rng, s, dtype) for s in (of_weight, of_weight[:1]))
    y = run(cupy, "conv2d", x, w, b, **how)
    wanted = patches.correlate(np, x64, w64, b64, *how.values())
    close(y, wanted, dtype)
    close(run(cupy, "conv2d", x, w, **how), wanted - b64[:, None, None], dtype)
    g, g64 = draw(cupy, rng, y.shape, dtype, not last)
    close(run(cupy, "conv2d_weight", x, g, **how),
          patches.correlate_weight(np, x64, g64, *how.values()), dtype)
    c, c64 = draw(cupy, rng, (shape[1],), dtype)
    close(run(cupy, "conv_transpose2d", g, w, c, **how),
          patches.spread(np, g64, w64, c64, *how.values()), dtype)
    close(run(cupy, "conv_transpose2d", g, w, **how),
          patches.spread(np, g64, w64, None, *how.values()), dtype)


@pytest.mark.parametrize("case", [1, 6])
def test_float16(cupy, case):
    test_all_three_operations(cupy, HOW[case], True, "float16")


@pytest.mark.parametrize("order", ORDERS)
def test_channel_by_channel_in_every_order_of_threads(cupy, order):
    case = ((5, 3, 20, 20), (3, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 3)   # many parts
    with thread_order(order):
        test_all_three_operations(cupy, case, False, "float32")


def test_sums_over_tiles_are_float32(cupy, kernels, monkeypatch):
    x, g = (cupy.asarray(np.full((64, 8, 4, 4), v, type_of("bfloat16"))) for v in (1.0, 2.0 ** -8))
    how = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1}
    g[0] = 1.0                                    # 16, then 63 times a sixteenth
    for tile in (1 << 28, 1):
        monkeypatch.setattr(kernels, "TILE", tile)
        dw = run(cupy, "conv2d_weight", x, g, **how).get().astype(np.float64)
        assert np.abs(dw - 16 - 63 / 16).max() < 0.1


@pytest.mark.parametrize("channels", [3, 8])
def test_tiles_of_images_give_the_same_numbers(cupy, kernels, monkeypatch, channels):
    rng = np.random.default_rng(1)
    how = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}
    x, _ = draw(cupy, rng, (5, channels, 6, 6), "float32")
    g, _ = draw(cupy, rng, (5, 4, 6, 6), "float32")
    w, _ = draw(cupy, rng, (4, channels, 3, 3), "float32")

    def all_three():
        cublas.calls.clear()
        found = [run(cupy, "conv2d", x, w, **how), run(cupy, "conv_transpose2d", g, w, **how),
                 run(cupy, "conv2d_weight", x, g, **how)]
        return [y.get() for y in found], len(cublas.calls)

    (y, gx, gw), calls = all_three()
    assert calls == 3
    monkeypatch.setattr(kernels, "TILE", 2 * 36 * channels * 9 * 4)      # two images
    parts, calls = all_three()
    assert calls == 9
    assert np.array_equal(parts[0], y)
    assert np.array_equal(parts[1], gx)
    assert np.allclose(parts[2], gw, rtol=0, atol=2e-5)                  # sums of three parts


def test_dense_images_are_not_copied(cupy, counts):
    """1x1: one product whatever the layout; else patches, the weight's order, and one product."""
    rng = np.random.default_rng(2)
    how = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1}
    for last in (False, True):
        x, _ = draw(cupy, rng, (4, 8, 6, 6), "float32", last)
        w, _ = draw(cupy, rng, (5, 8, 1, 1), "float32")
        v, _ = draw(cupy, rng, (5, 8, 3, 3), "float32")
        before = counts.launches
        run(cupy, "conv2d", x, w, **how)
        assert counts.launches - before == 1
        before = counts.launches
        run(cupy, "conv2d", x, v, **how)
        assert counts.launches - before == (3 if last else 4)
