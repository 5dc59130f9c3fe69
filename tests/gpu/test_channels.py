"""Batch, group and instance norm in CUDA C, on the CPU, against their definitions in float64."""

import numpy as np
import pytest

from tinygen.primitive import KERNELS, PRIMITIVES

from .running import BF16, DTYPES, agrees, definition, draw, launch, needs_compiler

pytestmark = needs_compiler

F32 = np.dtype(np.float32)
SHAPES = [(1, 1, 1, 1), (3, 5, 1, 1), (2, 3, 5, 7), (4, 33), (2, 4, 8, 8), (70, 40), (1, 2, 95, 96)]


def _parameters(c, dtype=F32):
    return draw((c,), dtype, seed=5) + np.ones(1, dtype), draw((c,), dtype, seed=6)


def _all_agree(got, wanted, tolerance, least=1e-6):
    for a, b in zip(got, wanted, strict=True):
        agrees(a, b, tolerance, least)


def _both(cupy, name, g, x, w, b, order, needs=(True, True, True), near=1e-5, **how):
    """Forward and gradients of a norm against float64."""
    found = launch(cupy, name, x, w, b, order=order, **how)
    exact = definition(name, x, w, b, **how)
    _all_agree(found, exact, near, 0.1)
    grads = launch(cupy, f"{name}_vjp", g, *found, x, w, b, order=order, needs=needs, **how)
    wanted = definition(f"{name}_vjp", g, *exact, x, w, b, needs=needs, **how)
    _all_agree(grads, wanted, 3 * near, 0.1)


def _channels_last(x):
    """The same values with the channels last in memory."""
    return np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm(cupy, shape):
    x, g = draw(shape, scale=2.0) + F32.type(3), draw(shape, seed=1)
    w, b = _parameters(shape[1])
    for order in range(3):
        _both(cupy, "batch_norm", g, x, w, b, order, eps=1e-3)
    if len(shape) > 2:
        _both(cupy, "batch_norm", g, _channels_last(x), w, b, 1, eps=1e-3)


def test_channels_last_stay_last(cupy):
    x = cupy.asarray(_channels_last(draw((2, 40, 3, 5))))
    y = PRIMITIVES["batch_norm"](x, None, None, eps=1e-5)[0].data
    for a in (x, y):
        assert a.transpose(0, 2, 3, 1).flags.c_contiguous
    assert KERNELS["batch_norm", cupy.ndarray].last is True


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("shape", [(2, 4, 5, 7), (3, 8, 4), (1, 4, 91, 90)], ids=str)
def test_group_norm(cupy, shape, groups):
    x, g = draw(shape, scale=2.0) + F32.type(1), draw(shape, seed=1)
    w, b = _parameters(shape[1])
    _both(cupy, "group_norm", g, x, w, b, groups % 3, groups=groups, eps=1e-3)


@pytest.mark.parametrize("name,how", [("batch_norm", {}), ("group_norm", {"groups": 2})])
def test_without_parameters(cupy, name, how):
    x, g = draw((3, 4, 6)), draw((3, 4, 6), seed=1)
    found = launch(cupy, name, x, None, None, eps=1e-5, **how)
    exact = definition(name, x, None, None, eps=1e-5, **how)
    _all_agree(found, exact, 1e-5, 0.1)
    gx, *none = launch(cupy, f"{name}_vjp", g, *found, x, None, None, needs=(True,), eps=1e-5,
                       **how)
    assert none == [None, None]
    agrees(gx, definition(f"{name}_vjp", g, *exact, x, None, None, needs=(True,), eps=1e-5,
                          **how)[0], 3e-5, 0.1)


@pytest.mark.parametrize("parameters", [F32, None], ids=["float32", "same"])
@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
def test_of_16_bits(cupy, dtype, parameters):
    x, g = draw((3, 8, 4, 4), dtype), draw((3, 8, 4, 4), dtype, seed=1)
    w, b = _parameters(8, parameters or dtype)
    near = 2.0 ** -7 if dtype == BF16 else 2.0 ** -9
    _both(cupy, "batch_norm", g, x, w, b, 1, near=near, eps=1e-3)
    _both(cupy, "group_norm", g, _channels_last(x), w, b, 2, near=near, groups=2, eps=1e-3)


@pytest.mark.parametrize("shape", [(3, 5, 7), (4, 33), (1, 2, 8193)], ids=str)
def test_scale_channels_and_sums(cupy, shape):
    x, g, (w, b) = draw(shape), draw(shape, seed=1), _parameters(shape[1])
    for order in range(3):
        agrees(launch(cupy, "scale_channels", x, w, b, order=order),
               definition("scale_channels", x, w, b))
        needs = (order != 1, order != 2, True)
        found = launch(cupy, "scale_channels_vjp", g, x, x, w, b, order=order, needs=needs)
        wanted = definition("scale_channels_vjp", g, x, x, w, b, needs=needs)
        _all_agree(found, wanted, 1e-5, 1.0)


def test_channel_sum(cupy):
    x = draw((3, 5, 7, 9))
    for a in (x, _channels_last(x)):
        agrees(launch(cupy, "channel_sum", a), x.astype(np.float64).sum(axis=(0, 2, 3)), 1e-5, 1.0)


def test_values_far_from_zero_and_what_is_not_finite(cupy):
    x = draw((6, 3, 50)) + F32.type(1000)
    agrees(launch(cupy, "batch_norm", x, None, None, eps=1e-5)[0],
           definition("batch_norm", x, None, None, eps=1e-5)[0], 2e-4)
    x[2, 1, 7] = np.nan
    y, mean, var = launch(cupy, "batch_norm", x, None, None, eps=1e-5)
    assert np.isnan(y[:, 1]).all() and np.isnan(mean[1]) and np.isnan(var[1])
    assert np.isfinite(y[:, [0, 2]]).all()
