"""Layer and root-mean-square norm in CUDA C, on the CPU, against their definitions in float64."""

import numpy as np
import pytest

from tinygen.primitive import KERNELS, PRIMITIVES

from .running import BF16, DTYPES, agrees, definition, draw, launch, needs_compiler

pytestmark = needs_compiler

F32 = np.dtype(np.float32)
SHAPES = [(1, 1), (3, 31), (70, 32), (5, 33), (9, 1000), (2, 8196)]
HOW = {"axes": (1,), "eps": 1e-5}


def _parameters(n, dtype=F32):
    return draw((n,), dtype, seed=5) + np.ones(1, dtype), draw((n,), dtype, seed=6)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_layer_norm(cupy, shape):
    x, g = draw(shape, scale=2.0) + F32.type(3), draw(shape, seed=1)
    w, b = _parameters(shape[1])
    needs = (True, True, True)
    for order in range(3):
        found = launch(cupy, "layer_norm", x, w, b, order=order, **HOW)
        for got, wanted in zip(found, definition("layer_norm", x, w, b, **HOW)):
            agrees(got, wanted, 1e-5)
        grads = launch(cupy, "layer_norm_vjp", g, *found, x, w, b, order=order, needs=needs, **HOW)
        exact = definition("layer_norm", x, w, b, **HOW)
        wanted = _vjp("layer_norm", g, exact, (x, w, b), needs)
        for got, want in zip(grads, wanted):
            agrees(got, want, 2e-5, least=0.1)


def _vjp(name, g, results, inputs, needs):
    """The joint rule in float64; with several outputs it has the gradients as a tuple."""
    return definition(f"{name}_vjp", g, *results, *inputs, needs=needs, **HOW)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rms_norm(cupy, shape):
    x, g, w = draw(shape, scale=2.0), draw(shape, seed=1), _parameters(shape[1])[0]
    order = shape[1] % 3
    found = launch(cupy, "rms_norm", x, w, order=order, **HOW)
    exact = definition("rms_norm", x, w, **HOW)
    for got, wanted in zip(found, exact):
        agrees(got, wanted, 1e-5)
    grads = launch(cupy, "rms_norm_vjp", g, *found, x, w, order=order, needs=(True, True), **HOW)
    for got, want in zip(grads, _vjp("rms_norm", g, exact, (x, w), (True, True))):
        agrees(got, want, 2e-5, least=0.1)


@pytest.mark.parametrize("given", [(False, False), (True, False), (False, True)], ids=str)
def test_without_parameters_and_over_several_axes(cupy, given):
    x, g = draw((3, 4, 5, 8)), draw((3, 4, 5, 8), seed=1)
    w, b = (draw((5, 8), seed=k) if yes else None for k, yes in enumerate(given))
    how = {"axes": (2, 3), "eps": 1e-3}
    found = launch(cupy, "layer_norm", x, w, b, **how)
    exact = definition("layer_norm", x, w, b, **how)
    for got, wanted in zip(found, exact):
        agrees(got, wanted, 1e-5)
    needs = (True, w is not None, b is not None)
    grads = launch(cupy, "layer_norm_vjp", g, *found, x, w, b, needs=needs, **how)
    wanted = definition("layer_norm_vjp", g, *exact, x, w, b, needs=needs, **how)
    for got, want, p in zip(grads, wanted, (x, w, b)):
        if p is None:
            assert got is None
        else:
            agrees(got, want, 2e-5, least=0.1)


@pytest.mark.parametrize("parameters", [F32, None], ids=["float32", "same"])
@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
@pytest.mark.parametrize("n", [50, 520], ids=["streamed", "held"])
def test_of_16_bits(cupy, n, dtype, parameters):
    x, g = draw((33, n), dtype), draw((33, n), dtype, seed=1)
    w, b = _parameters(n, parameters or dtype)
    y, mean, rstd = launch(cupy, "layer_norm", x, w, b, order=1, **HOW)
    assert y.dtype == dtype and mean.dtype == rstd.dtype == F32
    exact = definition("layer_norm", x, w, b, **HOW)
    agrees(y, exact[0])
    grads = launch(cupy, "layer_norm_vjp", g, y, mean, rstd, x, w, b, order=2,
                   needs=(True, True, True), **HOW)
    assert [a.dtype for a in grads] == [dtype, w.dtype, b.dtype]
    for got, want in zip(grads, _vjp("layer_norm", g, exact, (x, w, b), (True, True, True))):
        agrees(got, want, 2.0 ** -7 if got.dtype == BF16 else 2.0 ** -9)


def test_parameters_that_begin_anywhere(cupy):
    x, whole = draw((3, 16), BF16), cupy.asarray(draw((40,)))
    for first in (1, 4, 8):
        w, b = whole[first:first + 16], whole[first + 5:first + 21]
        y = PRIMITIVES["layer_norm"](cupy.asarray(x), w, b, **HOW)[0].data.get()
        agrees(y, definition("layer_norm", x, w.get(), b.get(), **HOW)[0])
    assert KERNELS["layer_norm", cupy.ndarray].last is True


def test_rows_far_from_zero_and_rows_that_are_not_finite(cupy):
    x = draw((3, 200)) + F32.type(1000)
    agrees(launch(cupy, "layer_norm", x, None, None, **HOW)[0],
           definition("layer_norm", x, None, None, **HOW)[0], 2e-4)
    x[1, 7] = np.nan
    y = launch(cupy, "layer_norm", x, None, None, **HOW)[0]
    assert np.isnan(y[1]).all() and np.isfinite(y[[0, 2]]).all()


def test_what_is_declined(cupy):
    norm = KERNELS["layer_norm", cupy.ndarray].function
    assert "float32" in norm(cupy.ones((2, 3), "float64"), None, None, **HOW)
    assert norm(cupy.ones((2, 0), "float32"), None, None, **HOW) == "nothing to do"
    mixed = norm(cupy.ones((2, 3), "float32"), cupy.ones(3, "float16"), None, **HOW)
    assert mixed == "inputs of several types"
