"""What tg.jit refuses, each with its message: a program must never go on using what it saw once."""

import random
import threading
import time

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn
from tinygen.jit import CaptureError


def test_a_function_that_changes_its_own_variables_is_refused():
    count = 0

    def step(x):
        nonlocal count
        count += 1
        return x * count
    with pytest.raises(CaptureError, match=r"changes the variable count, from 0 to 1"):
        tg.jit(step)(tg.ones(()))


def test_gradients_that_an_argument_would_keep_are_refused():
    x = tg.ones((2,), requires_grad=True)
    fast = tg.jit(lambda x: (x * x).sum().backward())
    with pytest.raises(CaptureError, match="argument was given a gradient"):
        fast(x)
    slope = tg.jit(lambda x: tg.grad(lambda v: (v ** 3.0).sum())(x.detach()))
    for value in (1.0, 2.0):
        np.testing.assert_allclose(slope(tg.Tensor([value])).data, [3 * value ** 2])


def test_a_copy_of_an_array_is_refused_and_numbers_are_constants():
    with pytest.raises(CaptureError, match=r"^\[Tensor\] a float64 \(3,\) array is copied"):
        tg.jit(lambda x: x + tg.Tensor(np.random.default_rng().random(3)))(tg.ones((3,)))
    fast = tg.jit(lambda x: x + tg.Tensor([1.0, 2.0]))
    for _ in range(2):
        np.testing.assert_array_equal(fast(tg.ones((2,))).data, [2, 3])


@pytest.mark.parametrize(("look", "message"), [
    (lambda x: x * x.sum().item(), r"\[item\]"), (lambda x: x if x.sum() > 0 else -x, r"\[bool\]"),
    (lambda x: x[tg.nonzero(x)[0]], r"\[nonzero\]")])
def test_looking_at_values_is_refused(look, message):
    fast = tg.jit(look)
    for _ in range(2):
        with pytest.raises(CaptureError, match=message):
            fast(tg.ones((3,)))
    assert not fast.programs


def test_draws_from_generators_that_it_does_not_record_are_refused():
    for draw in (lambda: np.random.rand(3), random.random):
        with pytest.raises(CaptureError, match=r"drew from (numpy|Python's )\.?random"):
            tg.jit(lambda x, draw=draw: x * draw())(tg.ones((3,)))


def test_a_result_with_a_graph_is_refused_and_one_without_is_fine():
    layer = nn.Linear(2, 2)
    fast = tg.jit(layer)
    with pytest.raises(CaptureError, match=r"a graph behind it.*no_grad"):
        fast(tg.ones((1, 2)))
    with tg.no_grad():
        for _ in range(2):
            np.testing.assert_array_equal(fast(tg.ones((1, 2))).data, layer(tg.ones((1, 2))).data)


def test_gradients_of_an_earlier_call_are_not_used():
    w = tg.ones((2,), requires_grad=True)

    def step(x):
        (w * x).sum().backward()
        return w.grad * 2
    fast = tg.jit(step)
    fast(tg.ones((2,)))                 # w has no gradient yet
    for call in (fast, tg.jit(step)):
        with pytest.raises(CaptureError, match=r"uses the gradient of .* zero_grad"):
            call(tg.ones((2,)))


def test_wrong_uses_say_what_fits():
    with pytest.raises(TypeError, match=r"\[jit\] takes a function, got int"):
        tg.jit(3)
    with pytest.raises(TypeError, match=r"\[jit\] an argument is a set"):
        tg.jit(lambda x: x)({1, 2})
    with pytest.raises(RuntimeError, match="nothing is recorded"):
        tg.jit(lambda x: x).program()


def test_one_hot_and_ctc_say_what_to_give():
    F = nn.functional
    with pytest.raises(CaptureError, match=r"\[one_hot\] looks at .* Give num_classes"):
        tg.jit(F.one_hot)(tg.Tensor([0, 2]))
    np.testing.assert_array_equal(tg.jit(F.one_hot)(tg.Tensor([0, 2]), 3).data,
                                  [[1, 0, 0], [0, 0, 1]])
    scores = F.log_softmax(tg.random.normal((6, 2, 4)), -1)
    with pytest.raises(CaptureError, match=r"\[ctc_loss\] looks at .* Give targets \(N, S\)"):
        tg.jit(F.ctc_loss)(scores, tg.Tensor([1, 2, 3]), tg.Tensor([6, 5]), tg.Tensor([2, 1]))


def test_the_ctc_loss_is_recorded_for_targets_of_one_width():
    F = nn.functional
    layer = nn.Linear(3, 4)

    def step(x, targets, frames, counts):
        layer.zero_grad()
        loss = F.ctc_loss(F.log_softmax(layer(x), -1), targets, frames, counts)
        loss.backward()
        return loss.detach(), layer.weight.grad * 1
    fast, rng = tg.jit(step, fuse=False), np.random.default_rng(0)
    for counts in ([2, 3], [1, 2], [4, 0]):
        given = [tg.Tensor(v) for v in (rng.random((9, 2, 3), np.float32),
                                        rng.integers(1, 4, (2, 4)), rng.integers(7, 10, 2),
                                        np.array(counts))]
        for a, b in zip(fast(*given), step(*given), strict=True):
            np.testing.assert_array_equal(a.data, b.data)
    assert len(fast.programs) == 1
    with pytest.raises(ValueError, match=r"\[ctc_loss\] targets hold numbers from 0 to 9"):
        fast(given[0], tg.Tensor([[9, 1, 1, 1]] * 2), *given[2:])


def test_threads_record_once_and_replay_meanwhile():
    """Two threads call one function; a third is at its own recording."""
    started, failed = threading.Barrier(3), []

    def other(x):
        time.sleep(0.01)
        return (x * 3).sum()
    fast, slow = tg.jit(lambda x, n: tg.exp(x) * n), tg.jit(other)

    def work(number):
        started.wait()
        for i in range(20):
            x = tg.full((4,), i / 10)
            if number == 2:
                right = slow(tg.full((i + 1,), 1.0)).item() == 3 * (i + 1) if i < 5 else True
            else:
                right = np.allclose(fast(x, i % 2).data, (tg.exp(x) * (i % 2)).data, rtol=1e-6)
            if not right:
                failed.append((number, i))
    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed and len(fast.programs) == 2 and len(slow.programs) == 5


def test_a_captured_object_that_changes_is_looked_at():
    """Attributes that the code names, entries of lists and dicts, functions, layers, hooks."""
    class Settings:
        beta, unused = 2.0, 0

    settings, table, terms, part = Settings(), {"gamma": 1.0}, [1.0], nn.Linear(2, 2)
    settings.beta, settings.unused, settings.scale = 2.0, 0, lambda x: x * 1.0
    model = nn.Sequential(part)

    def step(x):
        return (settings.scale(model(x)) * settings.beta * table["gamma"] * terms[0]).detach()
    fast, x = tg.jit(step), tg.ones((1, 2))
    for _ in range(2):
        fast(x)
        settings.unused += 1
    assert len(fast.programs) == 1
    for change in (lambda: setattr(settings, "beta", 3.0), lambda: table.update(gamma=0.5),
                   lambda: terms.__setitem__(0, 4.0),
                   lambda: setattr(settings, "scale", lambda x: x * 2.0),
                   lambda: model.__setattr__("0", nn.Linear(2, 2)),
                   lambda: part.register_forward_hook(lambda *a: None),
                   lambda: model[0].register_forward_hook(lambda layer, given, y: y + 1)):
        change()
        np.testing.assert_allclose(fast(x).data, step(x).data, rtol=1e-6)


def test_what_the_function_returns_may_share_memory_with_an_argument():
    fast = tg.jit(lambda x: (x, x[:1], x.detach()))
    for value in (1.0, 2.0):
        x = tg.full((2,), value)
        same, part, detached = fast(x)
        assert same.tolist() == [value] * 2 and part.tolist() == [value]
        x.assign_(tg.zeros((2,)))
        assert same.tolist() == detached.tolist() == [0, 0] and part.tolist() == [0]


def test_nested_functions_that_fail_leave_both_as_they_were():
    inner = tg.jit(lambda x: x * x.sum().item())
    outer = tg.jit(lambda x: inner(x) + 1)
    with pytest.raises(CaptureError, match=r"\[item\]"):
        outer(tg.ones((2,)))
    assert not inner.programs and not outer.programs


def test_anomalies_are_looked_for_without_a_replay():
    fast = tg.jit(lambda x: tg.log(x))
    fast(tg.ones((2,)))
    with np.errstate(all="ignore"), tg.detect_anomaly(), pytest.raises(
            RuntimeError, match=r"\[log\] made the first NaN"):
        fast(tg.Tensor([-1.0, 1.0]))
