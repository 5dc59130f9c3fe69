"""The walk: accumulation, freed and stale graphs, modes, deep chains, cycles, hooks, anomalies."""

import gc
import threading

import numpy as np
import pytest

import tinygen as tg
from tinygen.autograd import grad_of
from tinygen.primitive import PRIMITIVES, primitive


def same(tensor, expected, dtype=np.float32):
    np.testing.assert_array_equal(tensor.detach().numpy(), np.asarray(expected, dtype),
                                  strict=True)


def close(tensor, expected, rtol=1e-6):
    np.testing.assert_allclose(tensor.detach().numpy(), expected, rtol=rtol)


def leaf(values, dtype=None):
    return tg.Tensor(values, requires_grad=True, dtype=dtype)


# -- what a gradient is ------------------------------------------------------------------------------


@pytest.mark.parametrize("shape, other", [
    ((), (3,)), ((1,), (3,)), ((3, 1), (1, 4)), ((2, 1, 3), (4, 1)), ((1, 1), (2, 3)),
    ((4,), (2, 3, 4)), ((2, 3), ()), ((0,), (1,)), ((3, 1), (0,)), ((1,), (2, 0)),
])
def test_broadcast_gradients_are_summed_to_the_input_shape(shape, other):
    rng = np.random.default_rng(0)
    x, y = leaf(rng.standard_normal(shape)), leaf(rng.standard_normal(other))
    out = x * y
    g = rng.standard_normal(out.shape)
    out.backward(g)
    for t, partner in ((x, y), (y, x)):
        full = g * np.broadcast_to(partner.detach().numpy(), out.shape)
        lead = tuple(range(full.ndim - t.ndim))
        full = full.sum(lead)
        axes = tuple(i for i, n in enumerate(t.shape) if n == 1)
        close(t.grad, full.sum(axes, keepdims=True), 1e-12)
        assert (t.grad.shape, t.grad.dtype) == (t.shape, t.dtype)


def test_shared_subexpressions_are_walked_once():
    calls = []

    @primitive(name="test_only_counting")
    def counting(xp, x):
        return x * 1
    counting.vjp(lambda g, y, x: (calls.append(1), g)[1])
    try:
        x = leaf([2.0])
        y = counting(x)
        z = y * y + y + (y * 3)
        z.backward()
        same(x.grad, [8.0])
        assert len(calls) == 1
    finally:
        del PRIMITIVES["test_only_counting"]


def test_a_ladder_of_shared_nodes_takes_linear_time():
    x = leaf([1.0])
    y = x
    for _ in range(60):           # 2**60 paths
        y = y + y
    y.backward()
    same(x.grad, [2.0 ** 60])


def test_the_same_gradient_array_may_serve_twice():
    """add returns g itself for both inputs: neither may be changed through the other."""
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    c = a + b
    (c + a).sum().backward()
    same(a.grad, [2, 2])
    same(b.grad, [1, 1])
    a.grad.data[...] = 7
    same(b.grad, [1, 1])


def test_leaves_own_their_gradients():
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    g = np.array([5, 6], np.float32)
    (a + b).backward(g)
    a.grad.data[...] = 0
    same(b.grad, [5, 6])
    np.testing.assert_array_equal(g, [5, 6])
    c = leaf([1.0, 2.0])
    c.backward(g)                 # the seed itself reaches the leaf
    c.grad.data[...] = 0
    np.testing.assert_array_equal(g, [5, 6])
    d = leaf([[1.0, 2.0], [3.0, 4.0]])
    d.T.reshape((2, 2)).sum().backward()
    assert d.grad.data.flags.writeable
    np.add(d.grad.data, 1, out=d.grad.data)
    same(d.grad, np.full((2, 2), 2))


def test_one_tensor_used_twice_by_one_op():
    x = leaf([[1.0, 2.0], [3.0, 4.0]], "float64")
    (x @ x).sum().backward()
    ones = np.ones((2, 2))
    a = x.detach().numpy()
    close(x.grad, ones @ a.T + a.T @ ones)
    y = leaf([1.0, 2.0])
    tg.concat([y, y, y]).sum().backward()
    same(y.grad, [3, 3])
    z = leaf([3.0])
    tg.where(tg.Tensor([True]), z, z).backward()
    same(z.grad, [1])


def test_gradients_accumulate_in_leaves_only():
    x = leaf([1.0, 2.0])
    y = x * x
    y.sum().backward()
    (3 * x).sum().backward()
    same(x.grad, [5, 7])
    assert y.grad is None
    first = x.grad
    x.sum().backward()
    same(first, [5, 7])           # a new tensor: whoever kept the old one sees no change
    same(x.grad, [6, 8])


def test_accumulation_of_scalars_keeps_tensors_whole():
    x = leaf(2.0)
    for _ in range(3):
        (x * x).backward()
    same(x.grad, 12.0)
    assert isinstance(x.grad.data, np.ndarray)
    assert x.grad.device == "cpu"
    assert (x.grad + 1).item() == 13


def test_a_leaf_can_be_the_output():
    x = leaf([4.0])
    x.backward()
    same(x.grad, [1])
    s = leaf(4.0)
    s.backward()
    same(s.grad, 1)


def test_backward_reaches_only_what_requires_grad():
    x, w = leaf([1.0]), tg.Tensor([2.0])
    (x * w + w).backward()
    assert w.grad is None
    same(x.grad, [2])
    assert not (w * w).requires_grad
    with pytest.raises(RuntimeError, match="does not require grad"):
        (w * w).backward()


def test_backward_with_inputs_fills_only_those():
    x, y = leaf([2.0]), leaf([3.0])
    z = x * y
    w = z * z
    w.backward(inputs=[x])
    same(x.grad, [36])
    assert y.grad is None
    z = x * y
    (z * z).backward(inputs=z)
    same(z.grad, [12])


def test_seeds_are_checked():
    x = leaf([1.0, 2.0])
    with pytest.raises(RuntimeError, match=r"shape \(2,\) needs a gradient"):
        (x * 2).backward()
    with pytest.raises(ValueError, match=r"gradient has shape \(3,\).*\(2,\)"):
        (x * 2).backward(np.ones(3))
    (x * 2).backward([1.0, 10.0])
    same(x.grad, [2, 20])


def test_integer_paths_carry_no_gradient():
    x = leaf([1.5, 2.5])
    assert not (x > 2).requires_grad
    assert not x.argmax().requires_grad
    assert not x.astype("int64").requires_grad
    y = x * (x > 2)
    y.sum().backward()
    same(x.grad, [0, 1])


def test_gradients_come_back_in_the_dtype_of_each_input():
    x = leaf(np.ones(2, np.float32))
    w = leaf(np.ones(2, np.float64))
    h = leaf(np.ones(2, np.float16))
    (x * w * h).sum().backward()
    assert [t.grad.dtype.name for t in (x, w, h)] == ["float32", "float64", "float16"]
    x.grad = None
    x.astype("float64").sum().backward()
    assert x.grad.dtype == np.float32


# -- autograd.grad, PyTorch's ---------------------------------------------------------------------------


def test_grad_of_several_outputs_and_inputs():
    x, y = leaf([2.0]), leaf([3.0])
    gx, gy = grad_of([x * y, x * x], [x, y], [np.array([1.0]), np.array([10.0])])
    close(gx, [43])
    close(gy, [2])
    assert x.grad is None


def test_grad_of_computed_tensors():
    x = leaf([2.0])
    h = x * x
    z = h * h * x
    gh, gx = grad_of(z, [h, x])
    close(gh, [16])
    close(gx, [16 + 16 * 4])


def test_unused_inputs_are_refused_unless_allowed():
    x, y = leaf([2.0]), leaf([3.0])
    with pytest.raises(RuntimeError, match="do not depend on input 1"):
        grad_of(x * 2, [x, y])
    gx, gy = grad_of(x * 2, [x, y], allow_unused=True)
    assert gy is None
    close(gx, [2])


def test_the_same_output_twice_counts_twice():
    x = leaf([2.0])
    y = x * x
    g, = grad_of([y, y], x)
    close(g, [8])


def test_an_output_that_leads_to_another():
    x = leaf([2.0])
    y = x * x
    z = y * y
    g, = grad_of([y, z], x)
    close(g, [4 + 4 * 8])


# -- higher order ------------------------------------------------------------------------------------------


def test_third_derivative():
    x = leaf(np.array([0.7]))
    y = (x ** 4.0).sum()
    for expected in (4 * 0.7 ** 3, 12 * 0.7 ** 2, 24 * 0.7):
        y, = grad_of(y, x, create_graph=True)
        close(y, [expected], 1e-12)


def test_backward_with_create_graph_leaves_differentiable_gradients():
    x = leaf(np.array([2.0]))
    (x ** 3.0).backward(create_graph=True)
    g, x.grad = x.grad, None
    (g * g).backward()
    close(x.grad, [2 * 12 * 12], 1e-12)         # d/dx (3x^2)^2 = 2 * 3x^2 * 6x


def test_gradient_penalty():
    """The gradient of a function of a gradient, as WGAN-GP needs it."""
    rng = np.random.default_rng(0)
    w = leaf(rng.standard_normal((3, 4)))
    x = leaf(rng.standard_normal((5, 3)))

    def penalty(weight):
        g, = grad_of(tg.tanh(x @ weight).sum(), x, create_graph=True)
        return (((g * g).sum(axis=1) ** 0.5 - 1) ** 2).mean()
    penalty(w).backward()
    u, eps = rng.standard_normal(w.shape), 1e-6

    def value(k):
        return penalty(tg.Tensor(w.detach().numpy() + k * u, requires_grad=True)).item()
    numeric = (value(eps) - value(-eps)) / (2 * eps)
    assert (w.grad.numpy() * u).sum() == pytest.approx(numeric, rel=1e-6)


# -- graphs are freed, and stale ones refuse ---------------------------------------------------------------


def test_a_graph_is_freed_by_backward():
    x = leaf([2.0])
    y = x * x
    z = y * 2
    z.backward()
    with pytest.raises(RuntimeError, match="freed by an earlier backward.*retain_graph=True"):
        z.backward()
    with pytest.raises(RuntimeError, match="freed"):
        (y * 3).backward()          # the part behind y is gone
    same(x.grad, [8])


def test_retain_graph_allows_another_walk():
    x = leaf([2.0])
    z = x * x * x
    z.backward(retain_graph=True)
    z.backward()
    same(x.grad, [24])
    with pytest.raises(RuntimeError, match="freed"):
        z.backward()


def test_memory_of_a_walked_graph_is_released():
    class Watched(np.ndarray):
        pass
    released = []
    import weakref
    x = leaf(np.ones(3))
    y = x * 2
    inner = y * y
    weakref.finalize(inner, released.append, "inner")
    z = inner.sum()
    del inner
    z.backward()
    assert released == ["inner"]     # z is alive, what led to it is not
    assert z.item() == 12


@pytest.mark.parametrize("update", [
    lambda p: p.assign_([5.0, 6.0]),
    lambda p: p.__iadd__(1.0),
    lambda p: p.__imul__(2.0),
    lambda p: p.__setitem__(0, 9.0),
    lambda p: (np.add(p.data, 1, out=p.data), p.touch()),    # what optimizers do
    lambda p: p.zero_(),
], ids=["assign_", "+=", "*=", "setitem", "touch", "zero_"])
def test_stale_inputs_are_found(update):
    p = leaf([1.0, 2.0])
    y = (p * p).sum()
    with tg.no_grad():
        update(p)
    with pytest.raises(RuntimeError, match=r"\[multiply\] x \(float32 \(2,\)\) was modified after"):
        y.backward()
    fresh = (p * p).sum()
    fresh.backward()                                   # a graph of the new values is fine
    close(p.grad, 2 * p.detach().numpy())


def test_a_constant_that_changes_makes_the_graph_stale():
    x, c = leaf([1.0, 2.0]), tg.Tensor([3.0, 4.0])
    y = (x * c).sum()
    c += 1
    with pytest.raises(RuntimeError, match="modified after it was used"):
        y.backward()


def test_leaves_that_require_grad_are_not_changed_while_recording():
    x = leaf([1.0, 2.0])
    with pytest.raises(RuntimeError, match=r"\[add\] `\+=` on a leaf.*no_grad"):
        x += 1
    with pytest.raises(RuntimeError, match=r"\[setitem\] a leaf that requires grad"):
        x[0] = 1.0
    same(x, [1, 2])
    y = x * 1
    with pytest.raises(RuntimeError, match=r"\[assign_\].*multiply"):
        y.assign_([0.0, 0.0])


def test_in_place_operators_on_computed_tensors_rebind():
    x = leaf([1.0, 2.0])
    y = x * 3
    kept = y
    y += 1
    y *= x
    y -= 2
    y /= 2
    y.sum().backward()
    close(x.grad, (6 * np.array([1.0, 2.0]) + 1) / 2)
    same(kept, [3, 6])


def test_in_place_operators_on_plain_tensors_change_the_memory():
    x = tg.Tensor([1.0, 2.0])
    data = x.data
    x += 1
    x *= tg.Tensor([2.0, 3.0])
    x -= 1
    x /= 2
    assert x.data is data
    same(x, [1.5, 4])
    with pytest.raises(ValueError, match=r"cannot grow a tensor of shape \(2,\) to \(3, 2\)"):
        x += tg.ones((3, 2))
    whole = tg.Tensor([1, 2])
    whole += 1
    same(whole, [2, 3], np.int64)


# -- grad mode ------------------------------------------------------------------------------------------------


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


# -- size and memory --------------------------------------------------------------------------------------------


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


# -- hooks --------------------------------------------------------------------------------------------------------


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


# -- setitem -----------------------------------------------------------------------------------------------------------


def test_setitem_sends_gradients_to_old_and_new_values():
    x, v = leaf([1.0, 2.0, 3.0]), leaf([10.0])
    y = x * 2
    y[1:2] = v * 5
    (y * tg.Tensor([1.0, 10.0, 100.0])).sum().backward()
    same(x.grad, [2, 0, 200])
    same(v.grad, [50])


def test_setitem_of_a_tracked_value_into_a_plain_tensor():
    v = leaf([2.0, 3.0])
    out = tg.zeros((2, 2))
    out[0] = v
    out[1] = v * v
    assert out.requires_grad
    out.sum().backward()
    same(v.grad, [5, 7])


def test_setitem_after_use_makes_that_use_stale():
    x = leaf([1.0, 2.0])
    y = x * 3
    before = (y * y).sum()
    y[0] = 0.0
    after = (y * y).sum()
    with pytest.raises(RuntimeError, match="modified after it was used"):
        (before + after).backward()
    x.grad = None
    y = x * 3
    z = y.clone()                               # change a copy, and both have their gradients
    z[0] = 0.0
    ((y * y).sum() + (z * z).sum()).backward()
    close(x.grad, [18, 36 + 36])


# -- detect_anomaly ---------------------------------------------------------------------------------------------------------


def test_anomaly_in_the_forward_pass_names_op_and_line():
    x = leaf([-1.0, 4.0])
    with np.errstate(all="ignore"), tg.detect_anomaly():
        with pytest.raises(tg.AnomalyError) as caught:
            tg.sqrt(x * 1)                                     # this line
    message = str(caught.value)
    assert "[sqrt]" in message and "NaN" in message
    assert "test_autograd.py" in message and "# this line" in message


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
        with pytest.raises(tg.AnomalyError, match="Inf|NaN"):
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


# -- definitions of primitives are checked -----------------------------------------------------------------------------------


def test_a_joint_rule_without_composite_is_refused():
    p = primitive(lambda xp, x: x, name="test_only_joint")
    try:
        with pytest.raises(TypeError, match="composite"):
            p.vjp_joint(lambda needs, g, y, x: (g,))
    finally:
        del PRIMITIVES["test_only_joint"]


def test_a_name_is_used_once():
    with pytest.raises(ValueError, match="exists already"):
        primitive(lambda xp, x: x, name="exp")


def test_the_gradient_of_a_fused_op_can_be_differentiated():
    """DESIGN section 2's example, defined here: joint rule raw, composite under create_graph."""
    def definition(x, w, b):
        return tg.relu(x @ w + b)

    @primitive(composite=definition, name="test_only_linear_relu")
    def linear_relu(xp, x, w, b):
        return xp.maximum(x @ w + b, 0)

    @linear_relu.vjp_joint
    def _(needs, g, y, x, w, b):
        g = g * (y > 0)
        return g @ w.T, x.T @ g, g.sum(0)
    try:
        rng = np.random.default_rng(0)
        arrays = [rng.standard_normal(s) for s in ((5, 3), (3, 4), (4,))]

        def second(f):
            xs = [leaf(a) for a in arrays]
            gs = grad_of((f(*xs) ** 3.0).sum(), xs, create_graph=True)
            sum((g * g).sum() for g in gs).backward()
            return gs, xs
        for fused, plain in zip(*map(lambda f: sum(map(list, second(f)), []),
                                     (linear_relu, definition)), strict=True):
            close(fused, plain.detach().numpy(), 1e-10)
            if fused.grad is not None:
                close(fused.grad, plain.grad.numpy(), 1e-10)
        raw = grad_of((linear_relu(*(leaf(a) for a in arrays))).sum(), [])
        assert raw == ()
    finally:
        del PRIMITIVES["test_only_linear_relu"]
