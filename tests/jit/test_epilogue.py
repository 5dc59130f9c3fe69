"""Products with what stands before and behind them as one row."""

import numpy as np
import pytest

import tinygen as tg
from tests.jit.compare import agree
from tests.jit.parts import names
from tinygen import nn
from tinygen.jit import capture
from tinygen.jit.passes import product_epilogues, transposed_operands

F = nn.functional
RNG = np.random.default_rng(0)


def draw(*shape):
    return tg.Tensor(RNG.standard_normal(shape).astype("f"))


def check(f, *args):
    program = product_epilogues(transposed_operands(capture(f, *args).optimized(fuse=False)))
    new = [draw(*x.shape) for x in args]
    for a, b in zip(program.replay(*new), f(*new), strict=True):
        agree(a.data, b.data)
    return names(program)


ACTIVATIONS = {"relu": tg.relu, "tanh": tg.tanh, "sigmoid": tg.sigmoid,
               "leaky_relu": lambda x: F.leaky_relu(x, 0.3)}


@pytest.mark.parametrize("f", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_a_layer_written_out_is_one_row(f):
    args = draw(6, 4), draw(5, 4), draw(5)
    assert check(lambda x, w, b: [f(x @ w.T + b)], *args) == ["linear_activation"]
    assert check(lambda x, w, b: [f(b + x @ w.T)], *args) == ["linear_activation"]
    assert check(lambda x, w, b: [f(x @ w.T)], *args) == ["linear_activation"]


@pytest.mark.parametrize("f", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_its_gradient_needs_the_result_alone(f):
    def step(x, w, b):
        x, w, b = (v.detach().requires_grad_() for v in (x, w, b))
        y = f(F.linear(x, w, b))
        y.square().sum().backward()
        return [y.detach(), x.grad, w.grad, b.grad]
    found = check(step, draw(6, 4), draw(5, 4), draw(5))
    assert "linear_activation" in found and "linear_activation_vjp" in found
    assert "linear_vjp" not in found and not any(n.startswith("leaky_relu_g") for n in found)


def test_by_hand_with_all_gradients():
    def step(x, w, b):
        w, b = w.detach().requires_grad_(), b.detach().requires_grad_()
        loss = (tg.relu(x @ w.T + b) ** 2).mean()
        loss.backward()
        return [loss.detach(), w.grad, b.grad]
    assert "linear_activation" in check(step, draw(6, 4), draw(5, 4), draw(5))


def test_what_is_read_elsewhere_stays():
    args = draw(6, 4), draw(5, 4), draw(5)

    def kept(x, w, b):
        z = x @ w.T
        y = z + b
        return [z, tg.tanh(y), tg.relu(y)]
    found = check(kept, *args)
    assert "linear_activation" not in found and "add" in found
    # a bias of another shape, another axis turned, and a product of two stacks are none of this
    assert check(lambda x, w, b: [x @ w.T + b[0]], *args)[-1] == "add"
    assert "linear" not in check(lambda x, w, b: [tg.permute_dims(x[None], (0, 2, 1)) @ x], *args)


def test_a_weight_that_changes_in_between_is_the_old_one():
    w, b = draw(5, 4), draw(5)

    def f(x):
        z = x @ w.T
        w.assign_(w * 2)
        y = z + b
        return [y, tg.relu(x @ w.T)]
    first = w.numpy().copy()
    fast = tg.jit(f)
    x = draw(3, 4)
    fast(x)
    y, _ = fast(x)
    np.testing.assert_allclose(y.data, x.data @ (2 * first).T + b.data, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(w.data, 4 * first)


def test_models_lose_rows():
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))

    def step(x):
        loss = F.relu(model[2](F.relu(model[0](x)))).sum()
        model.zero_grad()
        loss.backward()
        return loss.detach()
    program = capture(step, draw(5, 4))
    assert len(product_epilogues(program).rows) < len(program.rows)
