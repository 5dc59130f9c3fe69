"""Every optimizer against PyTorch's of the same name, step by step; Lion against its paper."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygen as tg
from tests.optim.helpers import SHAPES, arrays, leaves
from tinygen import optim

rates = st.sampled_from([0.0, 1e-3, 0.1])
decays = st.sampled_from([0.0, 0.05])
flags = st.booleans()
betas = st.sampled_from([(0.9, 0.999), (0.0, 0.9), (0.5, 0.5)])
epsilons = st.sampled_from([1e-8, 1e-2])


@st.composite
def sgd_options(draw):
    momentum = draw(st.sampled_from([0.0, 0.5, 0.9]))
    nesterov = draw(flags) if momentum else False
    return dict(lr=draw(rates), momentum=momentum, nesterov=nesterov, weight_decay=draw(decays),
                dampening=0.0 if nesterov else draw(st.sampled_from([0.0, 0.3])),
                maximize=draw(flags))


def options(**strategies):
    return st.fixed_dictionaries({"lr": rates, **strategies})


adam = dict(betas=betas, eps=epsilons, weight_decay=decays, maximize=flags)
KINDS = {
    "SGD": sgd_options(),
    "RMSprop": options(alpha=st.sampled_from([0.9, 0.99]), eps=epsilons, weight_decay=decays,
                       momentum=st.sampled_from([0.0, 0.9]), centered=flags, maximize=flags),
    "Adam": options(**adam, amsgrad=flags, decoupled_weight_decay=flags),
    "AdamW": options(**adam, amsgrad=flags),
    "Adagrad": options(lr_decay=st.sampled_from([0.0, 0.1]), weight_decay=decays,
                       eps=st.sampled_from([1e-10, 1e-2]), maximize=flags),
    "Adadelta": options(rho=st.sampled_from([0.0, 0.5, 0.9, 1.0]), eps=st.sampled_from(
        [1e-6, 1e-2]), weight_decay=decays, maximize=flags),
    "Adamax": options(**adam),
    "NAdam": options(**adam, momentum_decay=st.sampled_from([0.0, 4e-3, 0.1]),
                     decoupled_weight_decay=flags),
    "RAdam": options(**adam, decoupled_weight_decay=flags),
    "ASGD": options(lambd=st.sampled_from([1e-4, 0.1]), alpha=st.sampled_from([0.75, 0.2]),
                    t0=st.sampled_from([1e6, 3.0, 0.0]), weight_decay=decays, maximize=flags),
    "Rprop": options(etas=st.sampled_from([(0.5, 1.2), (0.3, 1.7)]), step_sizes=st.sampled_from(
        [(1e-6, 50), (1e-3, 0.5)]), maximize=flags),
    "Adafactor": options(beta2_decay=st.sampled_from([-0.8, -0.3]), d=st.sampled_from([1.0, 1.5]),
                         eps=st.sampled_from([(None, 1e-3), (1e-4, 0.1)]), weight_decay=decays,
                         maximize=flags),
}
kinds = pytest.mark.parametrize("name", KINDS)


def follow(name, dtype, groups, seed, skips, steps, shapes):
    """Both optimizers through the same gradients; now and then a parameter has none."""
    torch = pytest.importorskip("torch")
    start, rng = arrays(seed, shapes, dtype), np.random.default_rng(seed + 1)
    ours, theirs = leaves(start), [torch.tensor(v, requires_grad=True) for v in start]
    optimizer = getattr(optim, name)([{"params": ours[:4], **groups[0]},
                                      {"params": ours[4:], **groups[1]}])
    peer = getattr(torch.optim, name)([{"params": theirs[:4], **groups[0]},
                                       {"params": theirs[4:], **groups[1]}])
    for _ in range(steps):
        for p, q in zip(ours, theirs, strict=True):
            g = (np.asarray(rng.standard_normal(p.shape)) + 0.1 * p.data).astype(dtype)
            # a gradient can vanish, and turn its sign without passing zero
            g = np.where(rng.random(p.shape) < 0.05, 0, g).astype(dtype)
            missing = rng.random() < skips
            p.grad = None if missing else tg.Tensor(g)
            q.grad = None if missing else torch.tensor(g)
        optimizer.step()
        peer.step()
    return ours, theirs, optimizer, peer


def shapes_for(name):
    # PyTorch's Adafactor divides by the number of elements
    return [s for s in SHAPES if 0 not in s] if name == "Adafactor" else SHAPES


@kinds
@settings(max_examples=8)
@given(data=st.data(), seed=st.integers(0, 2**20))
def test_thirty_steps_follow_pytorch(name, data, seed):
    """Two groups with options of their own, in float64; state and parameters alike."""
    drawn = data.draw(KINDS[name], label="group 0"), data.draw(KINDS[name], label="group 1")
    skips = data.draw(st.sampled_from([0.0, 0.2]), label="share of missing gradients")
    ours, theirs, optimizer, peer = follow(name, np.float64, drawn, seed, skips, 30,
                                           shapes_for(name))
    # ratios of tiny numbers (no eps to speak of, or beta near 0) magnify the last bit
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-10, atol=1e-11)
        kept = {k: v for k, v in peer.state[q].items() if v is not None}
        assert set(optimizer.state.get(p, {})) == set(kept)
        for key, value in kept.items():
            np.testing.assert_allclose(optimizer.state[p][key].data, value.numpy(), rtol=1e-9,
                                       atol=1e-11)


@kinds
@settings(max_examples=4)
@given(data=st.data(), seed=st.integers(0, 2**20))
def test_float32_follows_pytorch(name, data, seed):
    drawn = data.draw(KINDS[name]), data.draw(KINDS[name])
    for group in drawn:
        if "eps" in group and name != "Adafactor":
            group["eps"] = 1e-2                # else last bits of small gradients are magnified
    ours, theirs, optimizer, _ = follow(name, np.float32, drawn, seed, 0.1, 15, shapes_for(name))
    for p, q in zip(ours, theirs, strict=True):
        assert p.dtype == np.float32
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=2e-4, atol=2e-5)
        assert all(t.dtype == np.float32 for t in optimizer.state.get(p, {}).values())


@pytest.mark.parametrize("make", [
    lambda o, ps: o.SGD(ps, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-4),
    lambda o, ps: o.RMSprop(ps, lr=0.01, momentum=0.5, centered=True),
    lambda o, ps: o.Adam(ps, lr=0.01, amsgrad=True),
    lambda o, ps: o.NAdam(ps, lr=0.01),
    lambda o, ps: o.Adafactor(ps, lr=0.05),
], ids=["SGD", "RMSprop", "Adam", "NAdam", "Adafactor"])
def test_a_real_loss_in_float32(make):
    """Least squares through backward(): float32 stays float32 and follows PyTorch's curve."""
    torch = pytest.importorskip("torch")
    x, target, w0 = arrays(0, [(64, 8), (64, 3), (3, 8)], np.float32)
    w, v = tg.Tensor(w0, requires_grad=True), torch.tensor(w0, requires_grad=True)
    optimizer, peer = make(tg.optim, [w]), make(torch.optim, [v])
    for _ in range(60):
        optimizer.zero_grad()
        peer.zero_grad()
        loss = ((tg.Tensor(x) @ w.T - tg.Tensor(target)) ** 2).mean()
        other = ((torch.tensor(x) @ v.T - torch.tensor(target)) ** 2).mean()
        loss.backward()
        other.backward()
        optimizer.step()
        peer.step()
        assert loss.item() == pytest.approx(other.item(), rel=1e-4)
    assert w.dtype == np.float32
    assert all(t.dtype == np.float32 for t in optimizer.state[w].values())


# -- Muon and Lion ---------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [
    {}, dict(nesterov=False, momentum=0.8), dict(adjust_lr_fn="match_rms_adamw", weight_decay=0.0),
    dict(ns_steps=3, ns_coefficients=(2.0, -1.5, 0.5), eps=1e-3), dict(ns_steps=0)])
@pytest.mark.parametrize("shape", [(6, 6), (9, 4), (3, 12), (1, 5)])
def test_muon_follows_pytorch_as_far_as_bfloat16_goes(options, shape):
    """The orthogonal factor is computed in bfloat16 on both sides: 8 bits of each step's size."""
    torch = pytest.importorskip("torch")
    (start,), lr = arrays(0, [shape], np.float32), 0.01
    w, v = tg.Tensor(start, requires_grad=True), torch.tensor(start, requires_grad=True)
    optimizer, peer = optim.Muon([w], lr, **options), torch.optim.Muon([v], lr, **options)
    for t in range(20):
        (g,) = arrays(t + 1, [shape], np.float32)
        w.grad, v.grad = tg.Tensor(g), torch.tensor(g)
        optimizer.step()
        peer.step()
    travelled = np.abs(w.data - start).max()
    np.testing.assert_allclose(w.data, v.detach().numpy(), atol=0.01 * travelled)
    np.testing.assert_allclose(optimizer.state[w]["momentum_buffer"].data,
                               peer.state[v]["momentum_buffer"].numpy(), atol=1e-6)


def test_muons_steps_are_about_orthogonal():
    (w,) = leaves(arrays(0, [(8, 20)], np.float32))
    before = w.data.copy()
    w.grad = tg.Tensor(arrays(1, [(8, 20)], np.float32)[0])
    optim.Muon([w], lr=1.0, weight_decay=0.0).step()
    sizes = np.linalg.svd(w.data - before, compute_uv=False)
    assert 0.6 < sizes.min() and sizes.max() < 1.3


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("maximize", [False, True])
def test_lion_is_algorithm_2(weight_decay, maximize):
    start = arrays(0)
    params, expected = leaves(start), [v.copy() for v in start]
    means = [np.zeros_like(v) for v in start]
    optimizer = optim.Lion(params, 0.02, (0.8, 0.95), weight_decay, maximize=maximize)
    for t in range(20):
        for i, g in enumerate(arrays(t + 1)):
            params[i].grad = tg.Tensor(g)
            g = -g if maximize else g
            expected[i] = expected[i] - 0.02 * (np.sign(0.8 * means[i] + 0.2 * g)
                                                + weight_decay * expected[i])
            means[i] = 0.95 * means[i] + 0.05 * g
        optimizer.step()
    for p, e, m in zip(params, expected, means, strict=True):
        np.testing.assert_allclose(p.data, e, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(optimizer.state[p]["exp_avg"].data, m, rtol=1e-12, atol=1e-13)


# -- options ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*KINDS, "Muon", "LBFGS"])
def test_arguments_and_defaults_are_pytorchs(name):
    """Names, order, defaults and the keys of a group, on how a step is carried out included."""
    import inspect

    torch = pytest.importorskip("torch")
    ours, theirs = (list(inspect.signature(getattr(o, name)).parameters.values())
                    for o in (optim, torch.optim))
    assert [(p.name, p.kind, p.default) for p in ours] == [
        (p.name, p.kind, p.default) for p in theirs]
    made = getattr(optim, name)(leaves([np.zeros((1, 1))]))
    peer = getattr(torch.optim, name)([torch.zeros(1, 1)])
    assert made.defaults == peer.defaults
    assert set(made.param_groups[0]) == set(peer.param_groups[0])


@pytest.mark.parametrize("name", [*KINDS, "Lion", "Muon"])
def test_a_tensor_as_learning_rate(name):
    """It is read at each step, and a schedule writes into it."""
    start = arrays(0, [(3, 2)], np.float64)
    ours, others = leaves(start), leaves(start)
    rate = tg.Tensor([0.5])
    one, two = getattr(optim, name)(ours, lr=rate), getattr(optim, name)(others, lr=0.5)
    for t, lr in enumerate([0.5, 0.25, 0.125]):
        rate.assign_(lr)
        two.param_groups[0]["lr"] = lr
        for p in (*ours, *others):
            p.grad = tg.Tensor(arrays(t + 1, [(3, 2)])[0])
        one.step()
        two.step()
    np.testing.assert_array_equal(ours[0].data, others[0].data)
