"""Hooks on gradients, and detect_anomaly."""

import numpy as np
import pytest

import tinygen as tg
from tests.checking import close, leaf, same
from tinygen.autograd import grad_of

# -- hooks -----------------------------------------------------------------------------------------


def test_hooks_observe_replace_and_are_removed():
    x = leaf([1.0, 2.0])
    y = x * 2
    seen = []
    remove = y.register_hook(lambda g: seen.append(g.numpy().copy()))
    y.register_hook(lambda g: g * 10)
    y.register_hook(lambda g: seen.append(g.numpy().copy()))
    (y * 3).sum().backward()
    np.testing.assert_array_equal(seen, [[3, 3], [30, 30]])
    same(x.grad, [60, 60])

    x.grad = None
    seen.clear()
    handle = x.register_hook(lambda g: -g)
    (x * 2).sum().backward()
    same(x.grad, [-2, -2])
    handle.remove()
    x.grad = None
    (x * 2).sum().backward()
    same(x.grad, [2, 2])
    remove()                                     # twice is harmless
    remove()


def test_a_hook_sees_the_whole_gradient_once():
    x = leaf([1.0])
    y = x * 1
    seen = []
    y.register_hook(lambda g: seen.append(g.item()))
    (y * 2 + y * 3 + y).backward()
    assert seen == [6.0]


def test_hooks_work_with_create_graph():
    x = leaf(np.array([3.0]))
    y = x * x
    y.register_hook(lambda g: g * y)             # recorded: the second derivative sees it
    g, = grad_of(y * 2, x, create_graph=True)    # 2 y * 2 x = 4 x^3
    close(g, [4 * 27])
    h, = grad_of(g, x)           # y's hook sees y's share of this gradient too, as in PyTorch:
    close(h, [36 + 12 * 9 * 6])  # g = (2 y)(2 x) gives 2 * 2 y directly, and 4 x (times y) by y


def test_hooks_are_checked():
    x = leaf([1.0, 2.0])
    with pytest.raises(RuntimeError, match="does not require grad"):
        tg.Tensor([1.0]).register_hook(print)
    y = x * 2
    y.register_hook(lambda g: g.sum())
    with pytest.raises(ValueError, match=r"\[hook\].*\(2,\), got \(\)"):
        y.sum().backward()


def test_retain_grad():
    x = leaf([1.0, 2.0])
    y = x * 2
    y.retain_grad()
    (y * y).sum().backward()
    same(y.grad, [4, 8])
    same(x.grad, [8, 16])
    x.retain_grad()                              # a leaf does so anyway
    with pytest.raises(RuntimeError, match="retain_grad"):
        tg.Tensor([1.0]).retain_grad()


# -- detect_anomaly --------------------------------------------------------------------------------


def test_anomaly_in_the_forward_pass_names_op_and_line():
    x = leaf([-1.0, 4.0])
    with np.errstate(all="ignore"), tg.detect_anomaly():
        with pytest.raises(tg.AnomalyError) as caught:
            tg.sqrt(x * 1)                                     # this line
    message = str(caught.value)
    assert "[sqrt]" in message and "NaN" in message
    assert __file__ in message and "# this line" in message


def test_anomaly_in_the_backward_pass_names_the_op_and_where_it_was_created():
    x = leaf([0.0, 4.0])
    with np.errstate(all="ignore"), tg.detect_anomaly():
        y = tg.sqrt(x)                                         # created here
        with pytest.raises(tg.AnomalyError) as caught:
            y.sum().backward()
    message = str(caught.value)
    assert "[sqrt]" in message and "Inf" in message
    assert "# created here" in message


def test_anomalies_in_second_order_gradients():
    x = leaf(np.array([0.0, 4.0]))
    with np.errstate(all="ignore"), tg.detect_anomaly():
        g, = grad_of((x ** 1.5).sum(), x, create_graph=True)
        with pytest.raises(tg.AnomalyError, match=r"Inf|NaN"):
            grad_of(g.sum(), x)


def test_infinite_constants_are_no_anomaly():
    x = leaf([1.0, 2.0])
    with tg.detect_anomaly():
        masked = tg.where(tg.Tensor([True, False]), x, -np.inf)
        tg.exp(masked).sum().backward()
    close(x.grad, [np.e, 0])


def test_anomaly_detection_ends_with_its_block():
    x = leaf([-1.0])
    with pytest.raises(KeyError), tg.detect_anomaly(), tg.detect_anomaly():
        raise KeyError
    with np.errstate(all="ignore"):
        assert np.isnan(tg.sqrt(x).item())
