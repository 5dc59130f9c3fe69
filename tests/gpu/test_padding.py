"""Padding on a GPU and its transpose: the definition's numbers, for any strides, in every order."""

import numpy as np
import pytest

import tinygen as tg
from tests.doubles.counting import counted
from tests.gpu.agreement import check
from tests.gpu.running import DTYPES, draw, needs_compiler
from tests.gpu.test_windows import layouts, on
from tinygen.primitive import KERNELS, PRIMITIVES

pytestmark = needs_compiler
MODES = ["constant", "edge", "wrap", "symmetric", "reflect"]
# (shape, width): several periods, one element, one side, all axes
CALLS = [((2, 3, 5, 4), ((0, 0), (0, 0), (2, 1), (3, 3))),
         ((3, 1), ((7, 8), (2, 5))),
         ((4,), ((0, 9),)),
         ((2, 3, 2), ((1, 0), (0, 2), (3, 1))),
         ((2, 2, 3, 2, 3, 4), ((0, 0), (1, 0), (0, 0), (0, 0), (0, 0), (0, 2)))]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape, width", CALLS)
def test_padding_and_its_transpose(cupy, shape, width, mode):
    for dtype in DTYPES:
        y = check(cupy, "pad", dtype, draw(shape), width=width, mode=mode, value=1.5)
        if mode != "constant":
            check(cupy, "unpad", dtype, draw(y.shape, seed=1), width=width, mode=mode, scale=4)


@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_memory_orders(cupy, mode):
    shape, width = CALLS[0]
    x = draw(shape)
    wanted = PRIMITIVES["pad"].fn(np, x, width=width, mode=mode, value=0)
    for a in layouts(x):
        y = KERNELS["pad", cupy.ndarray](on(cupy, a), width=width, mode=mode, value=0)
        np.testing.assert_array_equal(y.get(), wanted)
        assert (y.strides[1] == 4) == (a.strides[1] == 4)
    for g in layouts(wanted) if mode == "reflect" else ():
        back = KERNELS["unpad", cupy.ndarray](on(cupy, g), width=width, mode=mode)
        np.testing.assert_allclose(
            back.get(), PRIMITIVES["unpad"].fn(np, g, width=width, mode=mode), rtol=1e-6)


def test_declined(cupy):
    pad, unpad = (KERNELS[name, cupy.ndarray] for name in ("pad", "unpad"))
    x, how = cupy.ones((3, 2), np.float32), {"width": ((1, 1), (0, 0)), "value": 0}
    assert pad(x.astype(np.int64), **how, mode="edge") is NotImplemented
    assert pad(x[:0], **how, mode="constant") is NotImplemented
    wide = cupy.ones((2,) * 9, np.float32)
    assert pad(wide, width=((1, 1), (0, 0)) * 4 + ((1, 1),), mode="edge",
               value=0) is NotImplemented
    assert unpad(x, width=how["width"], mode="constant") is NotImplemented


def test_a_layer_makes_one_launch_forward_and_two_back():
    layer = tg.nn.ReflectionPad2d(2)
    x = tg.Tensor(draw((1, 2, 6, 6)), device="cuda", requires_grad=True)
    g = tg.Tensor(draw((1, 2, 10, 10)), device="cuda")
    with counted() as seen:
        layer(x).backward(g)
    assert (seen.launches, seen.syncs, seen.h2d) == (3, 0, 0), seen
    host = tg.Tensor(draw((1, 2, 6, 6)), requires_grad=True)
    layer(host).backward(g.cpu())
    np.testing.assert_allclose(x.grad.numpy(), host.grad.numpy(), rtol=1e-6)
