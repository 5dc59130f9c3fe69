"""Functions of nn.functional that no layer covers, against PyTorch's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygen as tg
import tinygen.nn.functional as F

torch = pytest.importorskip("torch")
import torch.nn.functional as T  # noqa: E402

from tests.nn.parity import arrays, same_function  # noqa: E402

both = pytest.mark.parametrize("dtype", ["float64", "float32"])


def rng():
    return np.random.default_rng(2)


@settings(max_examples=60, deadline=None)
@given(mode=st.sampled_from(["constant", "reflect", "replicate", "circular"]),
       width=st.tuples(*[st.integers(0, 3)] * 4))
def test_pad(mode, width):
    """PyTorch's pad counts axes from the last; an order mixed up gives other shapes."""
    x = arrays(rng(), "float64", (2, 3, 4, 5))
    kwargs = {"value": 1.5} if mode == "constant" else {}
    same_function(lambda x: F.pad(x, width, mode, **kwargs),
                  lambda x: T.pad(x, width, mode, **kwargs), x, "float64")


def test_pad_crops_and_pads_fewer_axes():
    x = arrays(rng(), "float64", (4, 5))
    for width in [(-1, 2), (1, -2, -1, 0)]:
        same_function(lambda x, w=width: F.pad(x, w), lambda x, w=width: T.pad(x, w), x, "float64")
    with pytest.raises(ValueError, match=r"\[pad\] pad must hold pairs"):
        F.pad(tg.zeros((3,)), (1, 1, 1, 1))
    with pytest.raises(ValueError, match=r"\[pad\] mode must be one of .*'mirror'"):
        F.pad(tg.zeros((3,)), (1, 1), "mirror")


@both
@pytest.mark.parametrize("p", [1, 2, 3, float("inf")])
@pytest.mark.parametrize("dim", [0, -1])
def test_normalize(p, dim, dtype):
    x = arrays(rng(), dtype, (4, 3, 5))
    same_function(lambda x: F.normalize(x, p, dim), lambda x: T.normalize(x, p, dim), x, dtype)


def test_normalize_of_a_zero_vector_has_a_finite_gradient():
    x = np.zeros((2, 3))
    x[1] = 1
    same_function(F.normalize, T.normalize, [x], "float64")


@both
def test_cosine_similarity(dtype):
    x = arrays(rng(), dtype, (4, 3, 5), (4, 3, 5))
    same_function(lambda a, b: F.cosine_similarity(a, b, 2),
                  lambda a, b: T.cosine_similarity(a, b, 2), x, dtype)


@both
def test_pixel_shuffle(dtype):
    x = arrays(rng(), dtype, (2, 12, 3, 5))
    same_function(lambda x: F.pixel_shuffle(x, 2), lambda x: T.pixel_shuffle(x, 2), x, dtype)
    with pytest.raises(ValueError, match=r"12 channels .* 5 squared"):
        F.pixel_shuffle(tg.zeros((2, 12, 3, 5)), 5)


def test_linear_conv_norm_take_pytorch_keyword_names():
    """A call written for torch.nn.functional runs unchanged."""
    x, w, b = arrays(rng(), "float64", (2, 4, 6, 6), (4, 2, 3, 3), (4,))
    conv = {"stride": (2, 1), "padding": 1, "dilation": 1, "groups": 2}
    same_function(lambda x, w, b: F.conv2d(input=x, weight=w, bias=b, **conv),
                  lambda x, w, b: T.conv2d(input=x, weight=w, bias=b, **conv), [x, w, b], "float64")
    grow = {"stride": 2, "output_padding": 1, "groups": 1}
    same_function(lambda x, w, b: F.conv_transpose2d(input=x, weight=w, bias=b, **grow),
                  lambda x, w, b: T.conv_transpose2d(input=x, weight=w, bias=b, **grow),
                  [x, w, b[:2]], "float64")
    same_function(lambda x: F.layer_norm(x, normalized_shape=(6, 6), eps=1e-3),
                  lambda x: T.layer_norm(x, normalized_shape=(6, 6), eps=1e-3), [x], "float64")
    same_function(lambda x: F.softmax(input=x, dim=2), lambda x: T.softmax(input=x, dim=2), [x],
                  "float64")
    same_function(lambda x: F.interpolate(x, scale_factor=0.5), lambda x: T.interpolate(
        x, scale_factor=0.5), [x], "float64")


def test_one_hot():
    classes = np.array([[0, 2], [1, 0]])
    for n in (-1, 5):
        assert np.array_equal(F.one_hot(tg.Tensor(classes), n).data,
                              T.one_hot(torch.tensor(classes), n).numpy())
    with pytest.raises(ValueError, match="num_classes=2"):
        F.one_hot(tg.Tensor(classes), 2)


def test_embedding_numbers_out_of_range_are_refused():
    """NumPy would read row -1 from the end."""
    w = tg.ones((4, 2))
    for bad in ([-1, 0], [0, 4]):
        with pytest.raises(IndexError, match=r"\[embedding\] .*rows 0 to 3"):
            F.embedding(tg.Tensor(bad), w)
    with pytest.raises(TypeError, match="integers, got float32"):
        F.embedding(tg.ones((2,)), w)


def test_gumbel_softmax_draws_the_categorical_distribution():
    tg.manual_seed(0)
    p = np.array([0.1, 0.6, 0.3])
    logits = tg.Tensor(np.broadcast_to(np.log(p), (20000, 3)).copy(), requires_grad=True)
    hard = F.gumbel_softmax(logits, tau=0.7, hard=True)
    assert set(np.unique(hard.detach().numpy().round(12))) == {0, 1}
    np.testing.assert_allclose(hard.data.sum(1), 1)
    np.testing.assert_allclose(hard.data.mean(0), p, atol=4 * (0.25 / 20000) ** 0.5)
    (hard * tg.Tensor([1.0, 2.0, 3.0])).sum().backward()
    assert np.isfinite(logits.grad.data).all() and logits.grad.data.any()


def test_dropout_argument_out_of_range():
    with pytest.raises(ValueError, match=r"\[dropout\] p must be in \[0, 1\], got 1.5"):
        F.dropout(tg.ones((3,)), 1.5)
