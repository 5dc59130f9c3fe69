"""LBFGS: PyTorch's iterations and evaluations, its state, and what it refuses."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygen as tg
from tests.optim.helpers import arrays, leaves
from tinygen import optim
from tinygen.jit import capture
from tinygen.optim.line_search import Point, strong_wolfe

SHAPES = [(3, 2), (2,)]
drawn = st.fixed_dictionaries(dict(
    lr=st.sampled_from([1.0, 0.3]), max_iter=st.sampled_from([1, 4, 20]),
    history_size=st.sampled_from([1, 3, 100]),
    line_search_fn=st.sampled_from([None, "strong_wolfe"])))


def problem(library, params, seed):
    """A smooth convex loss with a curved valley, and a closure of it for either library."""
    x, y = arrays(seed + 100, [(12, 2), (12, 3)])
    x, y = (tg.Tensor(v) if library is tg else library.tensor(v) for v in (x, y))
    w, b = params[:2]

    def loss():
        e = x @ w.T - y
        return ((e * e + 1).sqrt()).sum() + ((b - w[0] * 2) ** 2).sum() * 3 + (b ** 4).sum()

    def closure():
        for p in params:
            p.grad = None
        value = loss()
        value.backward()
        closure.calls += 1
        return value
    closure.calls = 0
    return closure


def pair(seed, options, dtype=np.float64):
    torch = pytest.importorskip("torch")
    start = arrays(seed, SHAPES, dtype)
    ours, theirs = leaves(start), [torch.tensor(v, requires_grad=True) for v in start]
    return (ours, optim.LBFGS(ours, **options), problem(tg, ours, seed),
            theirs, torch.optim.LBFGS(theirs, **options), problem(torch, theirs, seed))


@settings(max_examples=15)
@given(drawn, st.integers(0, 2**16))
def test_steps_follow_pytorch(options, seed):
    ours, optimizer, closure, theirs, peer, other = pair(seed, options)
    # Each iteration magnifies last bits, the more the shorter the history and the worse the step
    close = 1e-8 if options["max_iter"] < 20 else 1e-5
    for _ in range(3):
        a, b = optimizer.step(closure), peer.step(other)
        assert a.item() == pytest.approx(b.item(), rel=close)
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=close, atol=close)
    # how often the loss is evaluated hangs on the last bits once nothing changes any more
    if options["max_iter"] < 20:
        assert closure.calls == other.calls
        state, expected = optimizer.state[ours[0]], peer.state[theirs[0]]
        assert [state["n_iter"], state["func_evals"], len(state["ro"])] == [
            expected["n_iter"], expected["func_evals"], len(expected["ro"])]


@pytest.mark.parametrize("line_search", [None, "strong_wolfe"])
def test_a_parameter_without_gradient_and_float32(line_search):
    torch = pytest.importorskip("torch")
    ours, optimizer, closure, theirs, peer, other = pair(
        3, dict(max_iter=6, line_search_fn=line_search, lr=0.3))
    unused = leaves([np.ones(3)])[0]
    optimizer = optim.LBFGS([unused, *ours], max_iter=6, line_search_fn=line_search, lr=0.3)
    peer = torch.optim.LBFGS([torch.ones(3, dtype=torch.float64, requires_grad=True), *theirs],
                             max_iter=6, line_search_fn=line_search, lr=0.3)
    for _ in range(2):
        optimizer.step(closure)
        peer.step(other)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-8)
    assert unused.tolist() == [1.0, 1.0, 1.0]


def test_a_hard_valley_is_walked_down_in_float32():
    (w,) = leaves([np.array([-1.5, 2.0], np.float32)])
    optimizer = optim.LBFGS([("w", w)], line_search_fn="strong_wolfe", max_iter=60)

    def closure():
        optimizer.zero_grad()
        loss = 100 * (w[1] - w[0] ** 2) ** 2 + (1 - w[0]) ** 2
        loss.backward()
        return loss

    optimizer.step(closure)
    np.testing.assert_allclose(w.data, 1.0, atol=1e-3)
    assert w.dtype == np.float32


@pytest.mark.parametrize("line_search", [None, "strong_wolfe"])
def test_saved_and_continued(line_search, tmp_path):
    """In a new optimizer bit for bit, from a file too; and what PyTorch began."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    options = dict(max_iter=3, lr=0.2, line_search_fn=line_search)
    ours, optimizer, closure, theirs, peer, other = pair(5, options)
    for _ in range(2):
        optimizer.step(closure)
        peer.step(other)
    tg.save(optimizer.state_dict(), tmp_path / "o.safetensors")
    from_peer, theirs_then = copy.deepcopy(peer.state_dict()), [q.detach().clone() for q in theirs]
    twins = leaves([p.data for p in ours])
    twin = optim.LBFGS(twins, **options)
    twin.load_state_dict(tg.load(tmp_path / "o.safetensors"))
    third = leaves([q.numpy() for q in theirs_then])
    third_optimizer = optim.LBFGS(third, **options)
    third_optimizer.load_state_dict(from_peer)
    back = [torch.tensor(p.data, requires_grad=True) for p in ours]
    back_peer = torch.optim.LBFGS(back, **options)
    saved = optimizer.state_dict()
    saved["state"] = {0: {k: [torch.tensor(v.data) if isinstance(v, tg.Tensor) else v for v in x]
                          if isinstance(x, list) else
                          torch.tensor(x.data) if isinstance(x, tg.Tensor) else x
                          for k, x in saved["state"][0].items()}}
    back_peer.load_state_dict(saved)
    for _ in range(2):
        optimizer.step(closure)
        peer.step(other)
        twin.step(problem(tg, twins, 5))
        third_optimizer.step(problem(tg, third, 5))
        back_peer.step(problem(torch, back, 5))
    for p, q, r, s, b in zip(ours, theirs, twins, third, back, strict=True):
        np.testing.assert_array_equal(p.data, r.data)
        np.testing.assert_allclose(s.data, q.detach().numpy(), rtol=1e-8)
        np.testing.assert_allclose(b.detach().numpy(), p.data, rtol=1e-8)


@given(st.floats(-3, 3), st.floats(0.1, 5), st.floats(0.01, 20))
def test_the_line_search_ends_where_the_strong_wolfe_conditions_hold(shift, scale, first):
    def at(t):
        f = scale * (t - 2) ** 2 + 0.3 * np.cos(3 * t + shift)
        return Point(t, f, None, scale * 2 * (t - 2) - 0.9 * np.sin(3 * t + shift))

    start = at(0.0)
    if start.slope >= 0:
        return
    found, evaluations = strong_wolfe(at, start, first, 1.0, 40)
    assert found.f <= start.f + 1e-4 * found.t * start.slope
    assert abs(found.slope) <= -0.9 * start.slope
    assert evaluations <= 41


def test_closures_run_with_gradients_on():
    (w,) = leaves([np.ones(2)])
    optimizer = optim.LBFGS([w])

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    with tg.no_grad():
        assert optimizer.step(closure).item() == 2.0
    np.testing.assert_allclose(w.data, 0.0, atol=1e-7)
    stale = (w * w).sum()
    w.assign_(1.0)
    optimizer.step(closure)
    with pytest.raises(RuntimeError, match="modified after it was used"):
        stale.backward()


def test_what_is_refused():
    (w,), (v,) = leaves([np.ones(2)]), leaves([np.ones(2)])
    with pytest.raises(TypeError, match=r"\[LBFGS\] step\(closure\) needs a function"):
        optim.LBFGS([w]).step()
    with pytest.raises(ValueError, match=r"only one group"):
        optim.LBFGS([{"params": [w]}, {"params": [v]}])
    with pytest.raises(ValueError, match=r"line_search_fn must be None or 'strong_wolfe', got 'a'"):
        optim.LBFGS([w], line_search_fn="a")
    trained = optim.LBFGS([w], max_iter=2)
    trained.step(problem_of_one(w))
    (other,) = leaves([np.ones(3)])
    with pytest.raises(ValueError, match=r"'prev_flat_grad' of shape \(3,\), the saved one is "
                                         r"float64 \(2,\)"):
        optim.LBFGS([other]).load_state_dict(trained.state_dict())
    with pytest.raises(RuntimeError, match=r"\[LBFGS\] a step cannot be captured"):
        capture(lambda: trained.step(problem_of_one(w)))


def problem_of_one(w):
    def closure():
        w.grad = None
        loss = (w ** 4).sum()
        loss.backward()
        return loss
    return closure
