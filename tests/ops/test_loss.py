"""Losses against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import tinygen as tg

from .against_torch import DTYPES, SEEDS, array, close, same, torch

F = torch.nn.functional
few = settings(max_examples=40, deadline=None)
REDUCTION = st.sampled_from(["mean", "sum", "none"])
SMALL = st.lists(st.integers(1, 4), min_size=0, max_size=3)


@few
@given(n=st.integers(1, 6), c=st.integers(1, 6), rest=st.lists(st.integers(1, 3), max_size=2),
       reduction=REDUCTION, smoothing=st.sampled_from([0.0, 0.1, 1.0]), weighted=st.booleans(),
       ignored=st.booleans(), dtype=DTYPES, seed=SEEDS)
def test_cross_entropy_agrees_with_torch(n, c, rest, reduction, smoothing, weighted, ignored,
                                         dtype, seed):
    rng = np.random.default_rng(seed)
    x = array(rng, (n, c, *rest), dtype) * 3
    target = rng.integers(0, c, (n, *rest))
    how = {"reduction": reduction, "label_smoothing": smoothing}
    if ignored and not (weighted and smoothing):
        # PyTorch 2.13 counts the weight of class 0 for each ignored row when it smooths
        how["ignore_index"] = 1
        assume((target != 1).any() or reduction != "mean")
    w = rng.uniform(0.5, 2, c).astype(dtype) if weighted else None
    tw = torch.tensor(w) if weighted else None
    same(lambda x: tg.cross_entropy(x, target, w if w is None else tg.Tensor(w), **how),
         lambda x: F.cross_entropy(x, torch.tensor(target), tw, **how), x, seed=seed)


def test_cross_entropy_ignored_rows_with_weights_and_smoothing():
    """An ignored row changes nothing: the same loss and gradient as without the row."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((4, 3)), tg.Tensor(rng.uniform(0.5, 2, 3))
    whole, part = (tg.Tensor(v, requires_grad=True) for v in (x, x[:3]))
    a = tg.cross_entropy(whole, [0, 2, 1, -100], w, label_smoothing=0.2)
    b = tg.cross_entropy(part, [0, 2, 1], w, label_smoothing=0.2)
    assert a.item() == pytest.approx(b.item(), rel=1e-14)
    a.backward()
    b.backward()
    assert np.allclose(whole.grad.data[:3], part.grad.data) and not whole.grad.data[3].any()


@few
@given(n=st.integers(1, 6), c=st.integers(1, 6), rest=st.lists(st.integers(1, 3), max_size=2),
       reduction=REDUCTION, smoothing=st.sampled_from([0.0, 0.1]), weighted=st.booleans(),
       dtype=DTYPES, seed=SEEDS)
def test_cross_entropy_of_probabilities_agrees_with_torch(n, c, rest, reduction, smoothing,
                                                          weighted, dtype, seed):
    rng = np.random.default_rng(seed)
    x = array(rng, (n, c, *rest), dtype)
    target = rng.uniform(0.1, 1, x.shape).astype(dtype)
    target /= target.sum(axis=1, keepdims=True)
    how = {"reduction": reduction, "label_smoothing": smoothing}
    w = rng.uniform(0.5, 2, c).astype(dtype)
    ours, theirs = (tg.Tensor(w), torch.tensor(w)) if weighted else (None, None)
    same(lambda *a: tg.cross_entropy(*a, ours, **how),
         lambda *a: F.cross_entropy(*a, theirs, **how), x, target, seed=seed)


@few
@given(n=st.integers(1, 6), c=st.integers(1, 6), rest=st.lists(st.integers(1, 3), max_size=2),
       reduction=REDUCTION, weighted=st.booleans(), dtype=DTYPES, seed=SEEDS)
def test_nll_loss_agrees_with_torch(n, c, rest, reduction, weighted, dtype, seed):
    rng = np.random.default_rng(seed)
    x = array(rng, (n, c, *rest), dtype)
    target = rng.integers(0, c, (n, *rest))
    target.flat[0] = -100 if target.size > 1 else 0
    w = rng.uniform(0.5, 2, c).astype(dtype) if weighted else None
    tw = torch.tensor(w) if weighted else None
    same(lambda x: tg.nll_loss(x, target, w, reduction=reduction),
         lambda x: F.nll_loss(x, torch.tensor(target), tw, reduction=reduction), x, seed=seed)


def test_cross_entropy_without_a_batch_and_of_huge_logits():
    x = tg.Tensor([1000.0, -1000.0, 0.0], requires_grad=True)
    loss = tg.cross_entropy(x, 1)
    loss.backward()
    assert loss.item() == 2000 and x.grad.tolist() == [1, -1, 0]


@few
@given(shape=SMALL, reduction=REDUCTION, weight=st.booleans(), pos=st.booleans(), dtype=DTYPES,
       seed=SEEDS, scale=st.sampled_from([1.0, 50.0]))
def test_bce_with_logits_agrees_with_torch(shape, reduction, weight, pos, dtype, seed, scale):
    rng = np.random.default_rng(seed)
    x = array(rng, shape, dtype) * np.dtype(dtype).type(scale)
    t = np.asarray(rng.uniform(0, 1, shape)).astype(dtype)
    w = np.asarray(rng.uniform(0.5, 2, shape)).astype(dtype) if weight else None
    p = np.asarray(rng.uniform(0.5, 2, shape[-1:])).astype(dtype) if pos else None
    ours = {k: v if v is None else tg.Tensor(v) for k, v in (("weight", w), ("pos_weight", p))}
    yours = {k: v if v is None else torch.tensor(v) for k, v in (("weight", w), ("pos_weight", p))}
    same(lambda x, t: tg.binary_cross_entropy_with_logits(x, t, reduction=reduction, **ours),
         lambda x, t: F.binary_cross_entropy_with_logits(x, t, reduction=reduction, **yours),
         x, t, seed=seed)


def test_bce_with_logits_of_extreme_logits():
    x = tg.Tensor([1e4, -1e4, 1e4, -1e4], requires_grad=True)
    loss = tg.binary_cross_entropy_with_logits(x, tg.Tensor([1.0, 0.0, 0.0, 1.0]), reduction="sum")
    loss.backward()
    assert loss.item() == 2e4 and x.grad.tolist() == [0, 0, 1, -1]


@few
@given(shape=SMALL, reduction=REDUCTION, weighted=st.booleans(), dtype=DTYPES, seed=SEEDS)
def test_bce_agrees_with_torch(shape, reduction, weighted, dtype, seed):
    rng = np.random.default_rng(seed)
    p, t, w = (np.asarray(rng.uniform(0.05, 0.95, shape)).astype(dtype) for _ in range(3))
    ours, yours = (tg.Tensor(w), torch.tensor(w)) if weighted else (None, None)
    same(lambda p, t: tg.binary_cross_entropy(p, t, ours, reduction),
         lambda p, t: F.binary_cross_entropy(p, t, yours, reduction=reduction), p, t, seed=seed)


def test_bce_at_zero_and_one_as_torch_limits_it():
    p, t = np.array([0.0, 1.0, 0.0, 1.0], np.float32), np.array([0.0, 1.0, 1.0, 0.0], np.float32)
    x, z = tg.Tensor(p, requires_grad=True), torch.tensor(p, requires_grad=True)
    loss = tg.binary_cross_entropy(x, t, reduction="none")
    assert loss.tolist() == [0, 0, 100, 100]
    loss.sum().backward()
    F.binary_cross_entropy(z, torch.tensor(t), reduction="sum").backward()
    close(x.grad.data, z.grad, 1e-6, "gradient")


DISTANCES = [
    (tg.mse_loss, F.mse_loss, {}), (tg.l1_loss, F.l1_loss, {}),
    (tg.smooth_l1_loss, F.smooth_l1_loss, {}), (tg.smooth_l1_loss, F.smooth_l1_loss, {"beta": 0.3}),
    (tg.smooth_l1_loss, F.smooth_l1_loss, {"beta": 0}),
    (tg.huber_loss, F.huber_loss, {}), (tg.huber_loss, F.huber_loss, {"delta": 0.7}),
    (tg.kl_div, F.kl_div, {"log_target": True}),
]


@pytest.mark.parametrize("ours, theirs, how", DISTANCES)
@settings(max_examples=15, deadline=None)
@given(shape=SMALL, reduction=REDUCTION, dtype=DTYPES, seed=SEEDS)
@pytest.mark.filterwarnings("ignore:reduction:UserWarning")
def test_distances_agree_with_torch(ours, theirs, how, shape, reduction, dtype, seed):
    rng = np.random.default_rng(seed)
    x, t = array(rng, shape, dtype), array(rng, shape, dtype)
    same(lambda *a: ours(*a, reduction=reduction, **how),
         lambda *a: theirs(*a, reduction=reduction, **how),
         np.asarray(x), np.asarray(t), seed=seed)


@few
@given(n=st.integers(1, 4), c=st.integers(1, 4), dtype=DTYPES, seed=SEEDS,
       reduction=st.sampled_from(["batchmean", "sum", "none"]))
def test_kl_div_of_probabilities_agrees_with_torch(n, c, dtype, seed, reduction):
    rng = np.random.default_rng(seed)
    x, t = array(rng, (n, c), dtype), rng.uniform(0.1, 1, (n, c)).astype(dtype)
    same(lambda *a: tg.kl_div(*a, reduction=reduction),
         lambda *a: F.kl_div(*a, reduction=reduction), x, t, seed=seed)
    t[0, 0] = 0
    close(tg.kl_div(x, t, reduction).data,
          F.kl_div(torch.tensor(x), torch.tensor(t), reduction=reduction), 1e-5, "a zero target")


def test_integer_and_number_targets():
    x = tg.Tensor([0.5, -1.0], requires_grad=True)
    loss = tg.mse_loss(x, 1.0)
    loss.backward()
    assert loss.item() == pytest.approx(2.125) and x.grad.tolist() == [-0.5, -2.0]
    assert tg.binary_cross_entropy_with_logits(x, np.array([1, 0])).dtype == np.float32


@pytest.mark.parametrize("call, words", [
    (lambda: tg.cross_entropy(tg.zeros(2, 3), [0, 3]), ["class 3", "3 classes", "0 to 2"]),
    (lambda: tg.cross_entropy(tg.zeros(2, 3), [0, -1]), ["class -1", "3 classes"]),
    (lambda: tg.cross_entropy(tg.zeros(2, 3), [0, 1, 2]), ["(2, 3)", "(3,)"]),
    (lambda: tg.cross_entropy(tg.zeros(2, 3), tg.zeros(2)), ["(2, 3)", "(2,)", "integers"]),
    (lambda: tg.cross_entropy(tg.zeros(2, 3), [0, 1], tg.ones(4)), ["weight", "(4,)", "3 classes"]),
    (lambda: tg.cross_entropy(tg.zeros(2, 3), [0, 1], reduction="avg"), ["reduction", "'avg'"]),
    (lambda: tg.cross_entropy(tg.zeros(2, 3), [0, 1], label_smoothing=2), ["label_smoothing", "2"]),
    (lambda: tg.mse_loss(tg.zeros(4, 1), tg.zeros(4)), ["mse_loss", "(4, 1)", "(4,)"]),
    (lambda: tg.binary_cross_entropy(tg.full((2,), 1.5), tg.zeros(2)), ["[0, 1]", "1.5"]),
    (lambda: tg.huber_loss(tg.zeros(2), tg.zeros(2), delta=0), ["delta"]),
    (lambda: tg.kl_div(tg.zeros(2), tg.zeros(2), "median"), ["batchmean", "'median'"]),
])
def test_loss_errors(call, words):
    with pytest.raises(ValueError) as error:
        call()
    for word in words:
        assert word in str(error.value)
