"""Elementwise functions and gradients on a GPU, one launch each: the definition's numbers."""

import numpy as np
import pytest

import tinygen as tg
from tests.doubles.counting import counted
from tests.gpu.agreement import check
from tests.gpu.running import DTYPES, agrees, definition, draw, launch, needs_compiler
from tinygen.primitive import KERNELS

pytestmark = needs_compiler
every_type = pytest.mark.parametrize("dtype", DTYPES, ids=str)

FUNCTIONS = {"sigmoid": {}, "log_sigmoid": {}, "silu": {}, "mish": {}, "gelu_exact": {},
             "gelu_tanh": {}, "erf": {}, "leaky_relu": {"slope": 0.2}, "elu": {"alpha": 1.3},
             "softplus": {"beta": 1.7, "threshold": 3.0}}
GRADIENTS = {"tanh_grad": {}, "relu_grad": {}, "sigmoid_grad": {}, "log_sigmoid_grad": {},
             "silu_grad": {}, "mish_grad": {}, "gelu_exact_grad": {}, "gelu_tanh_grad": {},
             "leaky_relu_grad": {"slope": 0.2}, "elu_grad": {"alpha": 1.3},
             "softplus_grad": {"beta": 1.7, "threshold": 3.0}}
SPECIAL = np.array([0, -0.0, np.inf, -np.inf, np.nan, 80, -80, 1e-30], np.float32)


@every_type
@pytest.mark.parametrize("name, how", FUNCTIONS.items(), ids=FUNCTIONS.keys())
def test_functions(cupy, name, how, dtype):
    check(cupy, name, dtype, draw((3, 347), scale=2), **how, scale=2)
    x = SPECIAL.astype(dtype)
    agrees(launch(cupy, name, x, **how), definition(name, x, **how))


@every_type
@pytest.mark.parametrize("name, how", GRADIENTS.items(), ids=GRADIENTS.keys())
def test_gradients(cupy, name, how, dtype):
    x = draw((3, 347), seed=1, scale=2)
    if name in ("tanh_grad", "sigmoid_grad"):
        x = np.tanh(x)
    check(cupy, name, dtype, draw(x.shape), x, **how, scale=2)


def test_memory_orders(cupy):
    x, g = draw((4, 6, 8)), draw((4, 6, 8), seed=1)
    wanted = definition("silu_grad", g, x)
    native = KERNELS["silu_grad", cupy.ndarray]
    turned = cupy.asarray(np.ascontiguousarray(x.transpose(2, 0, 1))).transpose(1, 2, 0)
    for a, b in ((cupy.asarray(g), turned), (cupy.asarray(g.T.copy()).T, cupy.asarray(x)),
                 (cupy.asarray(np.repeat(g, 2, 0))[::2], turned)):
        y = native(a, b)
        agrees(y.get(), wanted)
        assert y.strides == b.strides
    gaps = cupy.asarray(np.repeat(x, 2, 2))[:, :, ::2]
    agrees(native(cupy.asarray(g), gaps).get(), wanted)
    one = cupy.broadcast_to(cupy.ones((), np.float32), x.shape)
    agrees(native(one, cupy.asarray(x)).get(), definition("silu_grad", np.ones_like(x), x))


def test_views_that_begin_anywhere(cupy):
    x = draw((101,))
    found = KERNELS["gelu_tanh", cupy.ndarray](cupy.asarray(x)[1:]).get()
    agrees(found, definition("gelu_tanh", x[1:]))


def test_declined(cupy):
    native = KERNELS["silu_grad", cupy.ndarray]
    x = cupy.ones((3, 2), np.float32)
    for given in ((x, x.astype(np.float64)), (x.astype(np.float16), x), (x[:1], x), (x[:0], x[:0]),
                  (2.0, x)):
        assert native(*given) is NotImplemented


def test_an_activation_and_its_gradient_are_a_launch_each():
    x = tg.Tensor(draw((5, 7)), device="cuda", requires_grad=True)
    g = tg.Tensor(draw((5, 7), seed=1), device="cuda")
    for f in (tg.nn.functional.gelu, tg.nn.functional.silu, tg.nn.functional.softplus):
        with counted() as seen:
            y = f(x)
            y.backward(g)
            x.grad = None
        assert (seen.launches, seen.syncs, seen.h2d) == (2, 0, 0), seen
