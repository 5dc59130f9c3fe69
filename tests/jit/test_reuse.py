"""Results written over arrays that nobody reads any more."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn
from tinygen.jit import capture
from tinygen.jit.reuse import reusable
from tinygen.primitive import KERNELS, kernel_status

F = nn.functional
RNG = np.random.default_rng(0)


def draw(*shape, dtype="float32"):
    return tg.Tensor(RNG.standard_normal(shape).astype(dtype))


def rows(f, *args):
    program = capture(f, *args)
    return [program.rows[i].op.name for i in reusable(program)]


def test_only_what_dies_here_and_was_made_here():
    w = draw(4)
    assert rows(lambda x: tg.tanh(tg.exp(x)), w) == ["tanh"]
    assert rows(lambda x: tg.tanh(x), w) == []                      # an argument
    assert rows(lambda x: tg.tanh(w) + 1, w) == ["add"]             # and one from outside
    assert rows(lambda x: x + tg.tanh(w), w) == ["add"]             # a + b is b + a
    assert rows(lambda x: x - tg.tanh(w), w) == []
    assert rows(lambda x: [tg.tanh(y := tg.exp(x)), y], w) == []    # a result
    assert rows(lambda x: tg.tanh(y := tg.exp(x)) * y, w) == ["multiply"]
    assert rows(lambda x: (y := tg.exp(x)) * y, w) == []            # read twice

    def viewed(x):
        y = tg.exp(x)
        z = y.reshape(2, 2)
        return tg.tanh(y), z.sum()
    assert rows(viewed, w) == []
    assert rows(lambda x: tg.tanh(x.reshape(2, 2)), w) == []        # a view of an argument, or not
    assert rows(lambda x: tg.tanh(tg.exp(x).reshape(2, 2)), w) == ["tanh"]      # all of an array
    assert rows(lambda x: tg.tanh(tg.exp(x)[1:]), w) == []                      # a part of it
    assert rows(lambda x: (y := tg.exp(x).reshape(2, 2)) * y.T, w) == []        # read twice
    assert rows(lambda x: tg.exp(x) + tg.ones((3, 4)), w) == []     # another shape


def step(x, y):
    x = x.detach().requires_grad_()
    z = F.leaky_relu(F.layer_norm(x * 2, x.shape[-1:]), 0.1)
    z = F.gelu(z * y + 1) - tg.sigmoid(z)
    (F.softplus(z) * z).sum().backward()
    return [z.detach(), x.grad]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(5, 7), (300, 301)])
def test_replays_are_the_same_to_the_last_bit(shape, dtype):
    program = capture(step, draw(*shape, dtype=dtype), draw(*shape, dtype=dtype))
    assert len(reusable(program)) > 3
    x, y = draw(*shape, dtype=dtype), draw(*shape, dtype=dtype)
    before = x.data.copy(), y.data.copy()
    for _ in range(2):
        for a, b in zip(program.replay(x, y), step(x, y), strict=True):
            np.testing.assert_array_equal(a.data, b.data)
    np.testing.assert_array_equal(x.data, before[0])
    np.testing.assert_array_equal(y.data, before[1])


def test_images_with_channels_last():
    conv = nn.Conv2d(16, 32, 3, padding=1)

    def f(x):
        y = F.leaky_relu(conv(x), 0.1)
        return [(tg.tanh(y * 2) + y).detach()]
    with tg.no_grad():
        program, x = capture(f, draw(4, 16, 20, 20)), draw(4, 16, 20, 20)
        np.testing.assert_array_equal(program.replay(x)[0].data, f(x)[0].data)


kernel_status(np.ndarray)
OVER = sorted(name for (name, kind), k in KERNELS.items()
              if kind is np.ndarray and hasattr(k.function, "over")
              and tg.primitive.PRIMITIVES[name].elementwise)


@pytest.mark.parametrize("name", OVER)
def test_every_formula_gives_the_same_bits_in_place(name):
    kernel = KERNELS[name, np.ndarray].function
    attrs = {key: value for key, value in {"slope": 0.2, "alpha": 0.7, "beta": 1.5,
                                           "threshold": 20.0}.items()
             if key in str(tg.primitive.PRIMITIVES[name].__signature__)}
    above = 3 if "log" in name or "sqrt" in name else 0
    count = len(tg.primitive.PRIMITIVES[name].arg_names)
    inputs = [RNG.standard_normal(70_001).astype("f") + above for _ in range(count)]
    expected = kernel(*inputs, **attrs)
    found = kernel.over(*inputs, **attrs)
    assert found is inputs[0]
    np.testing.assert_array_equal(found, expected)
