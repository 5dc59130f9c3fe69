"""Grad mode, threads, chains of any length, and no reference cycles."""

import gc
import threading

import numpy as np
import pytest

import tinygen as tg
from tests.checking import close, leaf, same
from tinygen.autograd import grad_of
from tinygen.primitive import PRIMITIVES

# -- grad mode -------------------------------------------------------------------------------------


def test_no_grad_records_nothing():
    x = leaf([1.0])
    with tg.no_grad():
        y = x * 2
        assert not y.requires_grad and y.is_leaf
        with tg.enable_grad():
            assert (x * 2).requires_grad
        assert not tg.is_grad_enabled()
    assert (x * 2).requires_grad

    @tg.no_grad()
    def value(t):
        return t * 2
    assert not value(x).requires_grad
    assert value(x).item() == 2


def test_grad_mode_survives_an_exception():
    with pytest.raises(ZeroDivisionError), tg.no_grad():
        1 / 0
    assert tg.is_grad_enabled()
    x = leaf([1.0, 2.0])
    bad = x * 2

    def hook(g):
        raise ZeroDivisionError
    bad.register_hook(hook)
    with pytest.raises(ZeroDivisionError):
        bad.sum().backward()
    assert tg.is_grad_enabled()
    assert isinstance(x * 2, tg.Tensor)        # not in raw mode either


def test_set_grad_enabled():
    x = leaf([1.0])
    with tg.set_grad_enabled(False):
        assert not (x * 1).requires_grad
    with tg.set_grad_enabled(True):
        assert (x * 1).requires_grad


def test_one_context_object_can_be_entered_twice():
    off = tg.no_grad()
    with off:
        with off:
            assert not tg.is_grad_enabled()
        assert not tg.is_grad_enabled()
    assert tg.is_grad_enabled()


def test_grad_mode_is_per_thread():
    seen = {}
    inside, done = threading.Event(), threading.Event()

    def other():
        with tg.no_grad():
            inside.set()
            done.wait(10)
            seen["other"] = (leaf([1.0]) * 2).requires_grad
    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(10)
    seen["main"] = (leaf([1.0]) * 2).requires_grad
    done.set()
    thread.join(10)
    assert seen == {"main": True, "other": False}


def test_threads_train_independently():
    """Eight threads walk graphs at once; each gets its own gradients."""
    errors = []

    def work(k):
        try:
            rng = np.random.default_rng(k)
            for _ in range(20):
                a = rng.standard_normal((4, 4))
                x = leaf(a)
                (tg.tanh(x @ x) * k).sum().backward()
                t = k * (1 - np.tanh(a @ a) ** 2)
                np.testing.assert_allclose(x.grad.numpy(), t @ a.T + a.T @ t, rtol=1e-10)
        except Exception as error:
            errors.append(error)
    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert not errors


# -- size and memory -------------------------------------------------------------------------------


def test_a_chain_of_fifty_thousand_ops():
    x = leaf([1.0])
    y = x
    for _ in range(50_000):
        y = y + 0.5
    y.backward()
    same(x.grad, [1])
    del y


def test_a_long_chain_that_is_never_walked_can_be_deleted():
    x = leaf([1.0])
    y = x
    for _ in range(50_000):
        y = y + 0.5
    assert y.requires_grad
    del y                       # freeing it must not overflow the C stack
    assert x.grad is None


def test_a_long_chain_with_create_graph():
    x = leaf(np.array([1.0]))
    y = x
    for _ in range(20_000):
        y = y * 1.0001
    g, = grad_of(y * y, x, create_graph=True)
    h, = grad_of(g, x)
    close(h, [2 * 1.0001 ** 40_000], 1e-9)
    del y, g, h


def no_cycles(step):
    step()                       # caches are filled by the first run
    gc.collect()
    gc.disable()
    try:
        step()
        return gc.collect()
    finally:
        gc.enable()


def test_a_training_step_leaves_no_cycles():
    rng = np.random.default_rng(0)
    w, b = leaf(rng.standard_normal((3, 2))), leaf(np.zeros(2))
    x, t = rng.standard_normal((5, 3)), rng.integers(0, 2, 5)

    def step():
        h = tg.relu(tg.Tensor(x) @ w + b)
        logp = h - tg.logsumexp(h, axis=1, keepdims=True)
        loss = -logp[np.arange(5), t].mean()
        loss.backward()
        with tg.no_grad():
            for p in (w, b):
                p -= 0.1 * p.grad
                p.grad = None
    assert no_cycles(step) == 0


def test_second_order_and_errors_leave_no_cycles():
    x = leaf(np.array([0.5, 1.5]))

    def step():
        g, = grad_of((x * x * tg.sin(x)).sum(), x, create_graph=True)
        (g * g).sum().backward()
        x.grad = None
        tg.grad(tg.grad(lambda v: v ** 3))(2.0)
        tg.jvp(tg.sin, (x.detach(),), (tg.ones((2,), dtype="float64"),))
        tg.checkpoint(lambda v: tg.exp(v), x).sum().backward()
        tg.checkpoint(lambda v: tg.exp(v) * x, x).sum().backward(create_graph=True)
        x.grad = None
    assert no_cycles(step) == 0


def test_training_layers_with_a_gradient_penalty_leaves_no_cycles():
    from tinygen import nn, optim
    critic = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.LeakyReLU(0.2), nn.MaxPool2d(2),
                           nn.Dropout(0.2), nn.Flatten(), nn.LayerNorm(64), nn.Linear(64, 1))
    encoder = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(),
                            nn.Linear(72, 3))
    both = optim.Adam([*critic.parameters(), *encoder.parameters()], lr=1e-3)

    def step():
        x = tg.random.normal((5, 1, 8, 8), requires_grad=True)
        g, = grad_of(critic(x).sum(), x, create_graph=True)
        loss = ((g * g).sum(axis=(1, 2, 3)) ** 0.5 - 1).square().mean()
        loss = loss + nn.functional.cross_entropy(encoder(x.detach()), np.arange(5) % 3)
        both.zero_grad()
        loss.backward()
        both.step()
    assert no_cycles(step) == 0


def test_fused_ops_and_several_outputs_leave_no_cycles():
    x, w = leaf(np.ones((2, 3))), leaf(np.ones((4, 3)))

    def step():
        y = tg.linear(x, w)
        (y * y).sum().backward()
        g, = grad_of((tg.linear(x, w) ** 3.0).sum(), w, create_graph=True)
        (g * g).sum().backward()
        PRIMITIVES["layer_norm"](x, axes=(1,), eps=1e-5)[0].sum().backward()
        x.grad = w.grad = None
    assert no_cycles(step) == 0


def test_detect_anomaly_sees_operators_as_well_as_functions():
    x = tg.Tensor([1.0, 0.0], requires_grad=True)
    with (np.errstate(all="ignore"), tg.detect_anomaly(),
          pytest.raises(tg.AnomalyError, match=r"\[divide\] made the first")):
        _ = x / tg.zeros(2)
