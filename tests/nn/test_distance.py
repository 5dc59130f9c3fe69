"""Bilinear maps, distances, similarities and dropout beside PyTorch's."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen import nn
from tinygen.nn import functional as F

torch = pytest.importorskip("torch")
import torch.nn.functional as T  # noqa: E402

from tests.nn.parity import arrays, same_function, same_layer  # noqa: E402
from tests.ops.against_torch import same  # noqa: E402

DTYPES = st.sampled_from(["float64", "float32"])
POWERS = st.sampled_from([1.0, 1.5, 2.0, 3.0, math.inf])


@given(lead=st.lists(st.integers(0, 3), max_size=2).map(tuple), sizes=st.tuples(
    *[st.integers(1, 3)] * 3), bias=st.booleans(), dtype=DTYPES)
def test_bilinear(lead, sizes, bias, dtype):
    args = (*sizes, bias)
    x = arrays(np.random.default_rng(0), dtype, (*lead, sizes[0]), (*lead, sizes[1]))
    ours, theirs = nn.Bilinear(*args), torch.nn.Bilinear(*args)
    assert repr(ours) == repr(theirs)
    same_layer(ours, theirs, x, dtype)


@given(p=POWERS, keepdim=st.booleans(), shapes=st.sampled_from(
    [((3, 4), (3, 4)), ((4,), (4,)), ((2, 3, 4), (3, 4)), ((1, 4), (3, 4))]), dtype=DTYPES)
def test_pairwise_distance(p, keepdim, shapes, dtype):
    x = arrays(np.random.default_rng(0), dtype, *shapes)
    same_layer(nn.PairwiseDistance(p, 1e-3, keepdim), torch.nn.PairwiseDistance(p, 1e-3, keepdim),
               x, dtype)


@given(dim=st.integers(-2, 1), eps=st.sampled_from([1e-8, 3.0]), dtype=DTYPES,
       shapes=st.sampled_from([((3, 4), (3, 4)), ((3, 1), (3, 4)), ((4,), (3, 4))]))
def test_cosine_similarity(dim, eps, dtype, shapes):
    """eps=3 lies above most norms: what is limited still has a gradient, as in PyTorch."""
    x = arrays(np.random.default_rng(0), dtype, *shapes)
    same_layer(nn.CosineSimilarity(dim, eps), torch.nn.CosineSimilarity(dim, eps), x, dtype)


@given(n=st.integers(2, 5), p=POWERS, dtype=DTYPES)
def test_pdist(n, p, dtype):
    """From two rows on: PyTorch's backward pass through no pairs ends the process."""
    x = arrays(np.random.default_rng(n), dtype, (n, 3))
    same_function(lambda x: F.pdist(x, p), lambda x: T.pdist(x, p), x, dtype)
    one = tg.ones((1, 3), requires_grad=True)
    F.pdist(one, p).sum().backward()
    assert not one.grad.data.any()
    counts = np.array([[1.0, 2], [1, 3], [0, 3]])
    assert F.pdist(tg.Tensor(counts), 0).tolist() == T.pdist(torch.tensor(counts), 0).tolist()


@pytest.mark.parametrize("p", [0.5, 1.5, 2, 3, math.inf])
def test_zeros_have_finite_gradients(p):
    x = np.array([[0.0, 0, 0], [0, 1, -2], [3, 3, 1]])
    same_function(lambda x: F.normalize(x, p), lambda x: T.normalize(x, p), [x], "float64")
    if p >= 1:
        same_function(lambda x: F.pdist(x, p), lambda x: T.pdist(x, p),
                      [np.stack([x[1], x[1], x[2]])[:, :2]], "float64")


def test_second_derivatives():
    rng = np.random.default_rng(0)
    for p in (2.0, 3.0):
        same(lambda x, y, p=p: F.pairwise_distance(x, y, p),
             lambda x, y, p=p: T.pairwise_distance(x, y, p),
             *arrays(rng, "float64", (3, 4), (3, 4)))
    same(F.cosine_similarity, T.cosine_similarity, *arrays(rng, "float64", (3, 4), (3, 4)))
    same(F.bilinear, T.bilinear, *arrays(rng, "float64", (3, 2), (3, 4), (5, 2, 4), (5,)))


@pytest.mark.parametrize(("call", "words"), [
    (lambda x: F.pdist(x[0]), "[pdist] input must be (N, D)"),
    (lambda x: F.pdist(x, -1.0), "p must not be negative"),
    (lambda x: F.bilinear(x, x, tg.ones((2, 4, 3))), "do not fit weight (out, in1, in2)"),
    (lambda x: F.bilinear(x, x, tg.ones((2, 4))), "weight must be (out, in1, in2)"),
    (lambda x: F.dropout1d(x[0]), "[dropout1d] (N, C, L) or (C, L) is needed"),
    (lambda x: F.dropout3d(x), "[dropout3d] volumes"),
    (lambda x: F.feature_alpha_dropout(x[0], training=True), "(N, C, ...) is needed"),
    (lambda x: F.alpha_dropout(x, 1.5, True), "[alpha_dropout] p must be in [0, 1]"),
    (lambda x: nn.AlphaDropout(-0.1), "[AlphaDropout] p must be in [0, 1]"),
])
def test_bad_input(call, words):
    with pytest.raises(ValueError) as caught:
        call(tg.ones((3, 4)))
    assert words in str(caught.value)


# -- dropout: the law, and the map once the mask is known ----------------------------------------

CHANNELS = [("Dropout1d", (40, 50, 6), 2), ("Dropout1d", (500, 6), 1),
            ("Dropout3d", (40, 50, 2, 2, 2), 2), ("Dropout3d", (500, 2, 2, 2), 1),
            ("Dropout2d", (40, 50, 2, 3), 2),
            ("Dropout2d", (40, 50, 6), 2)]


@pytest.mark.filterwarnings("ignore:.dropout2d. input of three axes")
@pytest.mark.parametrize(("name", "shape", "kept"), CHANNELS)
def test_whole_channels_are_dropped(name, shape, kept):
    layer = getattr(nn, name)(0.3, generator=tg.Generator(0))
    x = tg.ones(shape, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert np.array_equal(x.grad.data, y.data)
    flat = y.data.reshape(math.prod(shape[:kept]), -1)
    assert (flat == flat[:, :1]).all()
    assert abs((flat[:, 0] > 0).mean() - 0.7) < 4 * math.sqrt(0.21 / len(flat))
    assert layer.eval()(x) is x
    assert repr(layer) == repr(getattr(torch.nn, name)(0.3))


@pytest.mark.parametrize(("name", "channels"), [("AlphaDropout", False),
                                                ("FeatureAlphaDropout", True)])
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_alpha_dropout(name, channels, p):
    """Mean 0 and variance 1 stay; kept and dropped elements are PyTorch's for the same mask."""
    x = tg.Tensor(np.random.default_rng(0).standard_normal((300, 50, 4)), requires_grad=True)
    y = getattr(nn, name)(p, generator=tg.Generator(1))(x)
    y.sum().backward()
    mask = x.grad.data != 0
    assert abs(mask.mean() - (1 - p)) < 0.02
    if channels:
        assert (mask == mask[..., :1]).all()
    assert abs(y.data.mean()) < 0.05 and abs(y.data.var() - 1) < 0.05
    torch.manual_seed(0)
    z = torch.tensor(x.data[:10], requires_grad=True)
    w = getattr(torch.nn, name)(p)(z)
    w.sum().backward()
    theirs = z.grad.numpy() != 0
    np.testing.assert_allclose(x.grad.data[mask][0], z.grad.numpy()[theirs][0], rtol=1e-12)
    np.testing.assert_allclose(y.data[~mask][0], w.detach().numpy()[~theirs][0], rtol=1e-12)
    shift = (w.detach().numpy() - z.grad.numpy() * z.detach().numpy())[theirs][0]
    np.testing.assert_allclose((y.data - x.grad.data * x.data)[mask][0], shift, rtol=1e-9)


def test_alpha_dropout_at_the_ends():
    x = tg.randn(3, 4)
    for name in ("alpha_dropout", "feature_alpha_dropout"):
        assert getattr(F, name)(x) is x                     # training=False is the default
        assert getattr(F, name)(x, 0.0, True) is x
        assert not getattr(F, name)(x, 1.0, True).data.any()


def test_three_axes_are_a_batch_of_sequences_for_dropout2d():
    with pytest.warns(UserWarning, match=r"taken as \(N, C, L\)"):
        F.dropout2d(tg.ones((2, 3, 4)))
