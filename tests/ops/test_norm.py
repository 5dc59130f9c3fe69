"""Softmax and normalisations against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygen as tg

from .against_torch import DTYPES, LAYOUTS, SEEDS, array, close, same, torch

F = torch.nn.functional
few = settings(max_examples=40, deadline=None)
shapes = st.lists(st.integers(1, 6), min_size=1, max_size=4)


@few
@given(shape=shapes, axis=st.integers(0, 3), dtype=DTYPES, seed=SEEDS,
       scale=st.sampled_from([1.0, 30.0]))
def test_softmax_and_log_softmax_agree_with_torch(shape, axis, dtype, seed, scale):
    axis = axis % len(shape) - len(shape) * (seed % 2)
    x = array(np.random.default_rng(seed), shape, dtype) * np.dtype(dtype).type(scale)
    same(lambda x: tg.softmax(x, axis), lambda x: F.softmax(x, axis), x, seed=seed)
    same(lambda x: tg.log_softmax(x, axis), lambda x: F.log_softmax(x, axis), x, seed=seed)


def test_softmax_of_huge_and_masked_scores():
    x = np.array([[1e4, -1e4, 1e4], [0.0, -np.inf, 0.0]], np.float32)
    assert tg.softmax(x).tolist() == [[0.5, 0, 0.5], [0.5, 0, 0.5]]
    assert tg.log_softmax(x).data[0, 1] == pytest.approx(-2e4 - np.log(2))
    t = tg.Tensor(x, requires_grad=True)
    (tg.softmax(t) * tg.Tensor([1.0, 2.0, 3.0])).sum().backward()
    assert np.allclose(t.grad.data, [[-0.5, 0, 0.5], [-0.5, 0, 0.5]])


@few
@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=4), last=st.integers(1, 3),
       affine=st.sampled_from(["both", "weight", "none"]), dtype=DTYPES, seed=SEEDS)
def test_layer_norm_agrees_with_torch(shape, last, affine, dtype, seed):
    shape = [*shape[:-1], shape[-1] + 2]
    normalized = tuple(shape[-min(last, len(shape)):])
    rng = np.random.default_rng(seed)
    arrays = [array(rng, shape, dtype)]
    arrays += [array(rng, normalized, dtype)
               for _ in range({"both": 2, "weight": 1, "none": 0}[affine])]
    same(lambda x, *p: tg.layer_norm(x, normalized, *p, eps=0.01),
         lambda x, *p: F.layer_norm(x, normalized, *p, eps=0.01), *arrays, seed=seed)


IMAGES = st.lists(st.integers(1, 5), min_size=0, max_size=2)


@few
@given(n=st.integers(2, 5), c=st.integers(1, 5), rest=IMAGES, layout=LAYOUTS, dtype=DTYPES,
       seed=SEEDS, affine=st.booleans())
def test_batch_norm_in_training_agrees_with_torch(n, c, rest, layout, dtype, seed, affine):
    rng = np.random.default_rng(seed)
    x = array(rng, (n, c, *rest), dtype, layout if len(rest) == 2 else "C") * 2 + 1
    arrays = [x] + [array(rng, (c,), dtype) for _ in range(2 if affine else 0)]
    stats = [array(rng, (c,), dtype), array(rng, (c,), dtype) ** 2]
    mine, yours = [tg.Tensor(s) for s in stats], [torch.tensor(s) for s in stats]
    same(lambda x, *p: tg.batch_norm(x, *mine, *p, training=True, momentum=0.3, eps=0.01),
         lambda x, *p: F.batch_norm(x, *yours, *p, training=True, momentum=0.3, eps=0.01),
         *arrays, seed=seed)
    for a, b, name in zip(mine, yours, ("running_mean", "running_var"), strict=True):
        assert a.dtype == dtype
        close(a.data, b, 1e-5, name)


@few
@given(n=st.integers(1, 5), c=st.integers(1, 5), rest=IMAGES, layout=LAYOUTS, dtype=DTYPES,
       seed=SEEDS, affine=st.booleans())
def test_batch_norm_with_running_statistics_agrees_with_torch(n, c, rest, layout, dtype, seed,
                                                              affine):
    rng = np.random.default_rng(seed)
    x = array(rng, (n, c, *rest), dtype, layout if len(rest) == 2 else "C")
    arrays = [x] + [array(rng, (c,), dtype) for _ in range(2 if affine else 0)]
    stats = [array(rng, (c,), dtype), array(rng, (c,), dtype) ** 2]
    mine, yours = [tg.Tensor(s) for s in stats], [torch.tensor(s) for s in stats]
    same(lambda x, *p: tg.batch_norm(x, *mine, *p),
         lambda x, *p: F.batch_norm(x, *yours, *p), *arrays, seed=seed)
    assert np.array_equal(mine[0].data, stats[0])


@pytest.mark.parametrize("layout", ["C", "channels-last"])
def test_batch_norm_of_a_large_batch_far_from_zero(layout):
    """100,000 float32 values per channel around 50: the statistics must not lose digits."""
    x = array(np.random.default_rng(0), (25, 6, 64, 64), "float32", layout) + np.float32(50)
    same(lambda x: tg.batch_norm(x, training=True),
         lambda x: F.batch_norm(x, None, None, training=True), x, tolerance=2e-5, second=False)
    rm, rv = tg.zeros(6), tg.ones(6)
    tg.batch_norm(x, rm, rv, training=True, momentum=1.0)
    exact = x.astype(np.float64)
    assert np.allclose(rm.data, exact.mean((0, 2, 3)), rtol=1e-6)
    assert np.allclose(rv.data, exact.var((0, 2, 3), ddof=1), rtol=1e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", ["C", "channels-last"])
def test_batch_norm_keeps_the_memory_order(layout, training):
    x = tg.asarray(array(np.random.default_rng(0), (4, 6, 5, 5), "float32", layout))
    x.requires_grad_()
    y = tg.batch_norm(x, tg.zeros(6), tg.ones(6), tg.ones(6), tg.zeros(6), training=training)
    assert y.data.strides == x.data.strides


@pytest.mark.parametrize("call, words", [
    (lambda: tg.layer_norm(tg.zeros(2, 3), 4), ["(2, 3)", "(4,)"]),
    (lambda: tg.layer_norm(tg.zeros(2, 3), 3, tg.zeros(2)), ["weight", "(2,)", "(3,)"]),
    (lambda: tg.batch_norm(tg.zeros(3), training=True), ["(N, C, ...)", "(3,)"]),
    (lambda: tg.batch_norm(tg.zeros(1, 3), training=True), ["more than one value"]),
    (lambda: tg.batch_norm(tg.zeros(2, 3)), ["running_mean", "training=False"]),
    (lambda: tg.batch_norm(tg.zeros(2, 3), tg.zeros(4), tg.zeros(3)),
     ["running_mean", "(4,)", "3"]),
])
def test_norm_errors(call, words):
    with pytest.raises(ValueError) as error:
        call()
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("op", [tg.softmax, tg.log_softmax])
def test_softmax_refuses_integers(op):
    with pytest.raises(TypeError, match="floating point"):
        op(tg.arange(3))
