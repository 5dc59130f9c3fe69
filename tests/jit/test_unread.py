"""Derivative rules that do not look at a result, and what becomes of it."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn
from tinygen.jit import capture
from tinygen.jit.passes import drop_unread
from tinygen.jit.passes.unread import UNREAD
from tinygen.primitive import PRIMITIVES

F = nn.functional
RNG = np.random.default_rng(0)


def draw(*shape):
    return tg.Tensor(RNG.standard_normal(shape).astype("f"))


WEIGHT, BIAS = draw(80, 64), draw(80)
CALLS = {
    "linear": lambda x, w: F.linear(x, WEIGHT, BIAS),
    "layer_norm": lambda x, w: F.layer_norm(x, w.shape, w, w),
    "rms_norm": lambda x, w: F.rms_norm(x, w.shape, w),
    "batch_norm": lambda x, w: F.batch_norm(x, None, None, w, w, training=True),
    "group_norm": lambda x, w: F.group_norm(x, 4, w, w),
    "scale_channels": lambda x, w: F.batch_norm(x, tg.zeros((w.size,)), tg.ones((w.size,)), w, w),
}


@pytest.mark.parametrize("name", sorted(UNREAD))
@pytest.mark.parametrize("rows", [3, 300])             # by NumPy, and by a kernel
def test_these_rules_give_the_same_without_the_result(name, rows):
    call = CALLS[name.removesuffix("_vjp")]
    x, w = draw(rows, 64), draw(64)
    seed = RNG.bit_generator.state

    def f(x, w):
        RNG.bit_generator.state = seed
        x, w = x.detach().requires_grad_(), w.detach().requires_grad_()
        y = call(x, w)
        (y * y).sum().backward()
        return [y.detach(), x.grad, *([w.grad] if w.grad is not None else [])]
    program = capture(f, x, w)
    better = drop_unread(program)
    changed = [row for row in better.rows if row.op.name == name]
    assert changed and all(row.inputs[1].value is None for row in changed)
    for a, b in zip(better.replay(x, w), program.replay(x, w), strict=True):
        np.testing.assert_array_equal(a.data, b.data)


def test_all_of_them_exist():
    assert {n.removesuffix("_vjp") for n in UNREAD} <= PRIMITIVES.keys()
    assert {n.removesuffix("_vjp") for n in UNREAD} == CALLS.keys()


def test_the_sign_of_a_sum_is_that_of_the_activation():
    def f(x):
        x = x.detach().requires_grad_()
        z = x * 2
        (F.leaky_relu(z, 0.1) * F.relu(z) + F.leaky_relu(z, 2.0)).sum().backward()
        return x.grad
    x = tg.Tensor([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 3.0])
    program = capture(f, tg.ones((8,)))
    better = drop_unread(program)
    np.testing.assert_array_equal(better.replay(x).data, program.replay(x).data)
    read = [row.inputs[1] for row in better.rows if row.op.name.endswith("relu_grad")]
    z = program.rows[0].outputs[0]
    assert read.count(z) == 1 and len(read) == 3        # a slope above 1 keeps the sum


def test_an_activation_that_is_changed_afterwards_does_not_stand_for_the_sum():
    def f(x):
        x = x.detach().requires_grad_()
        z = x * 2
        y = F.relu(z)
        loss = y.sum()
        y.detach().assign_(tg.zeros((4,)))
        loss.backward()
        return x.grad
    x = draw(4)
    np.testing.assert_array_equal(drop_unread(capture(f, draw(4))).replay(x).data,
                                  np.where(x.data > 0, 2, 0))
