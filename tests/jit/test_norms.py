"""Batch norm and the activation behind it as one row, forward and backward."""

import numpy as np
import pytest

import tinygen as tg
from tests.jit.compare import agree
from tests.jit.parts import square_step
from tinygen import nn
from tinygen.jit import capture, passes
from tinygen.jit.passes.together import has_kernel

F = nn.functional
RNG = np.random.default_rng(0)
ACTIVATIONS = {"relu": tg.relu, "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
               "linear": lambda x: F.leaky_relu(x, 1.0)}
activations = pytest.mark.parametrize("f", ACTIVATIONS.values(), ids=ACTIVATIONS)
needs_kernels = pytest.mark.skipif(has_kernel() is None, reason="the pass is for kernels")


def draw(*shape, dtype="f"):
    return tg.Tensor((RNG.standard_normal(shape) * 2 + 1).astype(dtype))


def names(f, *args):
    return [row.op.name for row in passes.norm_activations(
        capture(f, *args).optimized(fuse=False)).rows]


def check(f, *args):
    """A replay of other numbers is as near to the function as fused rows are."""
    program = passes.norm_activations(capture(f, *args).optimized(fuse=False))
    new = [draw(*x.shape, dtype=x.dtype) for x in args]
    for a, b in zip(program.replay(*new), f(*new), strict=True):
        agree(a.data, b.data)


def gradients(f):
    def step(x, w, b):
        x, w, b = (v.detach().requires_grad_() for v in (x, w, b))
        y = f(tg.batch_norm(x, weight=w, bias=b, training=True))
        (y * tg.sin(3 * x.detach())).sum().backward()     # y * y has next to no gradient
        return [y.detach(), x.grad, w.grad, b.grad]
    return step


@activations
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(6, 4), (5, 3, 7, 6), (2, 3, 30, 30)], ids=str)
def test_values_and_gradients_are_those_of_the_function(f, dtype, shape):
    args = draw(*shape, dtype=dtype), *(draw(shape[1], dtype=dtype) for _ in "wb")
    check(gradients(f), *args)


@needs_kernels
@activations
def test_one_row_forward_and_one_backward(f):
    found = names(gradients(f), draw(6, 4, 5, 5), draw(4), draw(4))
    assert found.count("batch_norm_activation") == 1
    assert found.count("batch_norm_activation_vjp") == 1
    assert not {"batch_norm", "batch_norm_vjp", "relu", "leaky_relu", "relu_grad",
                "leaky_relu_grad"} & set(found)


@needs_kernels
def test_what_is_read_elsewhere_stays():
    def both(x):
        z = tg.batch_norm(x, training=True)
        return [z, tg.relu(z)]
    x = draw(6, 4)
    assert names(both, x) == ["batch_norm", "relu"]
    assert names(lambda x: F.leaky_relu(tg.batch_norm(x, training=True), -0.5), x) == [
        "batch_norm", "leaky_relu"]
    assert names(lambda x: tg.tanh(tg.batch_norm(x, training=True)), x) == ["batch_norm", "tanh"]

    def twice(x):                # the activation's gradient is read by more than the norm
        x = x.detach().requires_grad_()
        w = tg.ones((4,)).requires_grad_()
        y = tg.batch_norm(x, weight=w, training=True)
        z = tg.relu(y + x)
        z.sum().backward()
        return [x.grad, w.grad]
    assert "batch_norm_vjp" in names(twice, x)
    check(twice, x)


def test_a_bias_that_changes_before_the_activation_is_the_old_one():
    b = draw(4)

    def f(x):
        z = tg.batch_norm(x, bias=b, training=True)
        b.assign_(b + 1)
        return tg.relu(z)
    fast, x, old = tg.jit(f), draw(8, 4), b.numpy().copy()
    for i in range(3):
        expected = tg.relu(tg.batch_norm(x, bias=tg.Tensor(old + i), training=True))
        agree(fast(x).data, expected.data)
    np.testing.assert_array_equal(b.numpy(), old + 1 + 1 + 1)


def test_a_gan_like_step_with_running_statistics():
    def build():
        tg.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(2, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.LeakyReLU(0.2),
                              nn.Conv2d(4, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(),
                              nn.Flatten(), nn.Linear(64, 1))
        optimizer = tg.optim.SGD(model.parameters(), 0.1)
        return model, square_step(model, optimizer)
    (ours, fast), (eager, step) = build(), build()
    fast, xs = tg.jit(fast), [draw(5, 2, 8, 8) for _ in range(4)]
    for i, x in enumerate(xs):
        agree(fast(x).data, step(x).data, i + 1)
    for (name, a), (_, b) in zip(ours.state_dict().items(), eager.state_dict().items(),
                                 strict=True):
        agree(a, b, 5, name)
    if has_kernel() is not None:
        found = [row.op.name for row in fast.program().rows]
        assert found.count("batch_norm_activation_vjp") == 2


def test_infinite_results_and_nan_behind_relu():
    op = tg.ops.batchnorm.batch_norm_activation
    x, bias = draw(300, 3), tg.Tensor(np.array([-np.inf, np.nan, np.inf], "f"))
    y = op(x, None, bias, eps=1e-5, slope=0.0)[0].numpy()
    assert (y[:, 0] == 0).all() and np.isnan(y[:, 1]).all() and np.isposinf(y[:, 2]).all()
