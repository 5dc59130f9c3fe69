"""Margins, likelihoods and CTC against PyTorch: same numbers, same gradients, drawn arguments."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen import nn

torch = pytest.importorskip("torch")
from tests.nn.parity import arrays, close, same_layer  # noqa: E402

dtypes = st.sampled_from(["float64", "float32"])
reductions = st.sampled_from(["mean", "sum", "none"])
shapes = st.lists(st.integers(1, 4), min_size=0, max_size=3).map(tuple)


def both(name, **how):
    return getattr(nn, name)(**how), getattr(torch.nn, name)(**how)


def signs(rng, shape, dtype):
    return rng.choice([-1.0, 1.0], shape).astype(dtype)


@given(name=st.sampled_from(["SoftMarginLoss", "HingeEmbeddingLoss"]), shape=shapes, dtype=dtypes,
       reduction=reductions, seed=st.integers(0, 99))
def test_pairs_of_scores_and_signs(name, shape, dtype, reduction, seed):
    rng = np.random.default_rng(seed)
    x = arrays(rng, dtype, shape)
    same_layer(*both(name, reduction=reduction), x, dtype, [signs(rng, shape, dtype)])


@given(shape=shapes, margin=st.floats(-1, 1), dtype=dtypes, reduction=reductions)
def test_margin_ranking(shape, margin, dtype, reduction):
    rng = np.random.default_rng(1)
    x = arrays(rng, dtype, shape, shape)
    same_layer(*both("MarginRankingLoss", margin=margin, reduction=reduction), x, dtype,
               [signs(rng, shape, dtype)])


@given(n=st.integers(0, 4), d=st.integers(1, 5), margin=st.floats(-0.5, 0.5), dtype=dtypes,
       reduction=reductions)
def test_cosine_embedding(n, d, margin, dtype, reduction):
    rng = np.random.default_rng(2)
    lead = (n,) if n else ()
    x = arrays(rng, dtype, (*lead, d), (*lead, d))
    same_layer(*both("CosineEmbeddingLoss", margin=margin, reduction=reduction), x, dtype,
               [signs(rng, lead, dtype)])


@given(n=st.integers(0, 4), c=st.integers(1, 5), p=st.sampled_from([1, 2]),
       margin=st.floats(0.1, 2), weighted=st.booleans(), dtype=dtypes, reduction=reductions)
def test_multi_margin(n, c, p, margin, weighted, dtype, reduction):
    rng = np.random.default_rng(3)
    lead = (n,) if n else ()
    x = arrays(rng, dtype, (*lead, c))
    weight = rng.uniform(0.5, 2, c).astype(dtype)
    how = {"p": p, "margin": margin, "reduction": reduction}
    ours = nn.MultiMarginLoss(**how, weight=tg.Tensor(weight) if weighted else None)
    theirs = torch.nn.MultiMarginLoss(**how, weight=torch.tensor(weight) if weighted else None)
    same_layer(ours, theirs, x, dtype, [rng.integers(0, c, lead)])


@given(n=st.integers(0, 3), c=st.integers(1, 5), dtype=dtypes, reduction=reductions,
       seed=st.integers(0, 99))
def test_multilabel_margin(n, c, dtype, reduction, seed):
    rng = np.random.default_rng(seed)
    lead = (n,) if n else ()
    target = np.array([rng.permutation(c) for _ in range(max(n, 1))]).reshape((*lead, c))
    target = np.where(rng.random(target.shape) < 0.3, -1, target)
    same_layer(*both("MultiLabelMarginLoss", reduction=reduction),
               arrays(rng, dtype, (*lead, c)), dtype, [target])


@given(shape=shapes.filter(len), weighted=st.booleans(), dtype=dtypes, reduction=reductions)
def test_multilabel_soft_margin(shape, weighted, dtype, reduction):
    rng = np.random.default_rng(5)
    x, weight = arrays(rng, dtype, shape, shape[-1:])
    ours = nn.MultiLabelSoftMarginLoss(tg.Tensor(weight) if weighted else None,
                                       reduction=reduction)
    theirs = torch.nn.MultiLabelSoftMarginLoss(torch.tensor(weight) if weighted else None,
                                               reduction=reduction)
    same_layer(ours, theirs, [x], dtype, [rng.integers(0, 2, shape).astype(dtype)])


@given(lead=st.lists(st.integers(1, 3), max_size=2), p=st.sampled_from([1.0, 2.0, 3.0]),
       swap=st.booleans(), margin=st.floats(0.1, 2), dtype=dtypes, reduction=reductions)
def test_triplets(lead, p, swap, margin, dtype, reduction):
    rng = np.random.default_rng(6)
    x = arrays(rng, dtype, *[(*lead, 4)] * 3)
    how = {"margin": margin, "swap": swap, "reduction": reduction}
    same_layer(*both("TripletMarginLoss", p=p, **how), x, dtype)
    same_layer(*both("TripletMarginWithDistanceLoss", **how), x, dtype)


@given(shape=shapes, log_input=st.booleans(), full=st.booleans(), dtype=dtypes,
       reduction=reductions)
def test_poisson(shape, log_input, full, dtype, reduction):
    rng = np.random.default_rng(7)
    x = arrays(rng, dtype, shape, positive=not log_input)
    how = {"log_input": log_input, "full": full, "reduction": reduction}
    same_layer(*both("PoissonNLLLoss", **how), x, dtype, [rng.poisson(3, shape).astype(dtype)])


@given(n=st.integers(1, 3), d=st.integers(1, 3), full=st.booleans(), dtype=dtypes,
       reduction=reductions, kind=st.sampled_from(["whole", "per row", "one each"]))
def test_gaussian(n, d, full, dtype, reduction, kind):
    rng = np.random.default_rng(8)
    x, target = arrays(rng, dtype, (n, d), (n, d))
    shape = {"whole": (n, d), "per row": (n,), "one each": (n, 1)}[kind]
    if kind == "per row" and n == d and n > 1:
        shape = (n, d)
    var = rng.choice([1e-8, 0.5, 2.0], shape).astype(dtype)
    same_layer(*both("GaussianNLLLoss", full=full, eps=1e-2, reduction=reduction),
               [x, target, var], dtype)


@given(n=st.integers(1, 3), classes=st.integers(2, 5), blank=st.booleans(), joined=st.booleans(),
       zero=st.booleans(), dtype=dtypes, reduction=reductions, seed=st.integers(0, 999))
def test_ctc(n, classes, blank, joined, zero, dtype, reduction, seed):
    rng = np.random.default_rng(seed)
    steps, width = int(rng.integers(4, 9)), 3
    frames = rng.integers(3 if zero else 6 if steps > 5 else 4, steps + 1, n) if steps > 4 else (
        np.full(n, steps))
    counts = rng.integers(0, width + 1 if zero else min(width, 2) + 1, n)
    black = classes - 1 if blank else 0
    others = [c for c in range(classes) if c != black]
    labels = rng.choice(others, (n, width))
    if joined:
        labels = np.concatenate([row[:k] for row, k in zip(labels, counts, strict=True)])
    how = {"blank": black, "reduction": reduction, "zero_infinity": zero}
    x = rng.standard_normal((steps, n, classes))
    x = (x - np.log(np.exp(x).sum(-1, keepdims=True))).astype(dtype)
    ours, theirs = tg.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    a = nn.CTCLoss(**how)(ours, tg.Tensor(labels), tg.Tensor(frames), tg.Tensor(counts))
    b = torch.nn.CTCLoss(**how)(theirs, torch.tensor(labels), torch.tensor(frames),
                                torch.tensor(counts))
    close(a, b, dtype, "loss")
    if np.isfinite(b.detach().numpy()).all():
        a.sum().backward()
        b.sum().backward()
        close(ours.grad, theirs.grad, dtype, "gradient")


def test_ctc_of_one_sequence_without_a_batch_axis():
    x = np.log(np.random.default_rng(0).dirichlet(np.ones(4), 6))
    ours = nn.functional.ctc_loss(tg.Tensor(x), [1, 2], 6, 2)
    theirs = torch.nn.functional.ctc_loss(torch.tensor(x), torch.tensor([1, 2]), torch.tensor(6),
                                          torch.tensor(2))
    close(ours, theirs, "float64", "loss")


def test_bce_at_certainty_has_the_slope_of_torch():
    p, t = np.array([0.0, 1.0, 0.0, 1.0, 0.5]), np.array([0.0, 1.0, 1.0, 0.0, 1.0])
    ours, theirs = tg.Tensor(p, requires_grad=True), torch.tensor(p, requires_grad=True)
    nn.functional.binary_cross_entropy(ours, tg.Tensor(t)).backward()
    torch.nn.functional.binary_cross_entropy(theirs, torch.tensor(t)).backward()
    close(ours.grad, theirs.grad, "float64", "gradient")


def test_ctc_has_torchs_gradient_for_numbers_that_are_no_log_probabilities():
    x = np.random.default_rng(1).normal(-1, 0.7, (6, 2, 4))
    how = ([[1, 2, 2], [3, 1, 0]], [6, 4], [3, 2])
    ours, theirs = tg.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    nn.functional.ctc_loss(ours, *how).backward()
    torch.nn.functional.ctc_loss(theirs, *map(torch.tensor, how)).backward()
    close(ours.grad, theirs.grad, "float64", "gradient")


def test_ctc_targets_that_do_not_fit_are_infinite_without_a_slope():
    x = tg.Tensor(np.log(np.full((2, 1, 3), 1 / 3)), requires_grad=True)
    loss = nn.functional.ctc_loss(x, [[1, 1]], [2], [2])      # a repetition needs a blank between
    assert loss.item() == np.inf
    loss.backward()
    assert not x.grad.numpy().any()
