"""Arithmetic and sums of 16-bit floats in CUDA C, on the CPU, against float64."""

import numpy as np
import pytest

from tests.doubles.counting import counted
from tinygen.primitive import KERNELS, PRIMITIVES

from .running import BF16, DTYPES, agrees, definition, draw, launch, needs_compiler

pytestmark = needs_compiler

HALVES = DTYPES[1:]
BINARY = ("add", "subtract", "multiply", "divide", "maximum", "minimum")
UNARY = ("negative", "absolute", "square", "relu", "exp", "log", "sqrt", "rsqrt", "tanh")


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", UNARY)
def test_functions(cupy, name, dtype):
    for shape in ((7,), (5, 3, 16)):
        x = draw(shape, dtype)
        x.flat[2:4] = np.nan, 0
        got, wanted = launch(cupy, name, x), definition(name, x)
        assert got.dtype == dtype
        finite = np.isfinite(wanted)
        agrees(np.where(finite, got, 0).astype(dtype), np.where(finite, wanted, 0))
        np.testing.assert_array_equal(got[~finite].astype(float), wanted[~finite])


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", BINARY)
def test_of_two(cupy, name, dtype):
    a = draw((3, 4, 8), dtype)
    for shape in ((3, 4, 8), (8,), (1, 4, 8), (1, 1, 1), ()):
        b = draw(shape, dtype, seed=1) + np.array(0.5, dtype)
        agrees(launch(cupy, name, a, b), definition(name, a, b))
        agrees(launch(cupy, name, b, a, order=1), definition(name, b, a))
    for pair in ((a, 1.5), (0.25, a)):
        agrees(launch(cupy, name, *pair), definition(name, *pair))


def test_memory_orders_and_odd_sizes(cupy):
    a, b = draw((5, 3, 7), BF16), draw((7, 3, 5), BF16, seed=1).transpose(2, 1, 0)
    for pair in ((a, b), (b, a), (b, b)):
        agrees(launch(cupy, "add", *pair), definition("add", *pair))
    y = PRIMITIVES["multiply"](cupy.asarray(b), 2.0).data
    assert y.strides == cupy.asarray(b).strides and y.dtype == BF16


def test_nan_of_either_side_wins(cupy):
    a, b = np.array([np.nan, 1, 2, np.nan], BF16), np.array([1, np.nan, 3, np.nan], BF16)
    for name, third in (("maximum", 3), ("minimum", 2)):
        y = launch(cupy, name, a, b).astype(float)
        assert np.isnan(y[[0, 1, 3]]).all() and y[2] == third


@pytest.mark.parametrize("name", ["sum", "mean"])
@pytest.mark.parametrize("shape,axis", [
    ((5,), None), ((3, 33), 1), ((3, 40), -1), ((2, 3, 8), (1, 2)), ((70, 9), 0),
    ((4, 5, 6), (0, 1)), ((2, 40000), 1), ((3, 50001), None), ((2000, 16), 1)], ids=str)
def test_sums(cupy, name, shape, axis):
    if name == "mean" and axis in (0, (0, 1)):
        axis = 0 if len(shape) == 1 else -1         # over the first axes it is CuPy's
    for dtype in HALVES:
        x = draw(shape, dtype)
        for order, keepdims in ((0, False), (1, True), (2, False)):
            got = launch(cupy, name, x, axis=axis, keepdims=keepdims, order=order)
            assert got.dtype == dtype
            agrees(got, definition(name, x, axis=axis, keepdims=keepdims),
                   least=0.1 if name == "sum" else 1e-4)


def test_one_launch_where_casts_would_be_four(cupy):
    a = cupy.asarray(draw((4, 8), BF16))
    PRIMITIVES["add"](a, a)
    with counted() as seen:
        y = PRIMITIVES["add"](a, a)
    assert seen.launches == 1 and y.dtype == BF16


def test_what_is_declined(cupy):
    cupy.exp(cupy.ones(1))
    kernels = {name: KERNELS[name, cupy.ndarray].function for name in ("add", "exp", "sum")}
    x = cupy.ones((2, 3), "float16")
    assert kernels["add"](x, cupy.ones((2, 1), "float16")).startswith("shapes that broadcast")
    assert kernels["add"](x, cupy.ones((2, 3), BF16)) == "inputs of several types"
    assert kernels["exp"](x.astype("float32")) == "neither bfloat16 nor float16"
    assert kernels["sum"](cupy.ones((2, 3, 4), "float16"), axis=1).startswith("axes that")
    assert kernels["sum"](cupy.ones((0, 3), "float16")) == "nothing to do"
