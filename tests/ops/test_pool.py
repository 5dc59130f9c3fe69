"""Pooling and padding against PyTorch and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import tinygen as tg
from tinygen.autograd import grad_of

from .against_torch import DTYPES, LAYOUTS, SEEDS, array, same, torch

few = settings(max_examples=40, deadline=None)
ints = st.integers


@st.composite
def windows(draw, dilation):
    """Keyword arguments of a pooling, and an image size that they fit."""
    kernel = draw(ints(1, 4)), draw(ints(1, 4))
    how = {"kernel_size": kernel, "stride": draw(st.none() | st.tuples(ints(1, 4), ints(1, 4))),
           "padding": tuple(draw(ints(0, k // 2)) for k in kernel),
           "ceil_mode": draw(st.booleans())}
    spans = kernel
    if dilation:
        how["dilation"] = draw(ints(1, 2)), draw(ints(1, 2))
        spans = tuple(d * (k - 1) + 1 for d, k in zip(how["dilation"], kernel))
    size = tuple(max(1, s - p) + draw(ints(0, 6)) for s, p in zip(spans, how["padding"]))
    for n, s, p in zip(size, spans, how["padding"]):
        assume(n + 2 * p >= s)
    return size, how


@few
@given(window=windows(dilation=True), n=ints(1, 3), c=ints(1, 4), dtype=DTYPES, layout=LAYOUTS,
       seed=SEEDS, ties=st.booleans())
def test_max_pool2d_agrees_with_torch(window, n, c, dtype, layout, seed, ties):
    size, how = window
    x = array(np.random.default_rng(seed), (n, c, *size), dtype, layout)
    if ties:
        x = np.round(x)          # the first of equal elements gets the gradient
    same(lambda x: tg.max_pool2d(x, **how),
         lambda x: torch.nn.functional.max_pool2d(x, **how), x, seed=seed)


@few
@given(window=windows(dilation=False), n=ints(1, 3), c=ints(1, 4), dtype=DTYPES, layout=LAYOUTS,
       seed=SEEDS, count_include_pad=st.booleans())
def test_avg_pool2d_agrees_with_torch(window, n, c, dtype, layout, seed, count_include_pad):
    size, how = window
    how["count_include_pad"] = count_include_pad
    x = array(np.random.default_rng(seed), (n, c, *size), dtype, layout)
    same(lambda x: tg.avg_pool2d(x, **how),
         lambda x: torch.nn.functional.avg_pool2d(x, **how), x, seed=seed)


@few
@given(size=st.tuples(ints(1, 9), ints(1, 9)), dtype=DTYPES, layout=LAYOUTS, seed=SEEDS,
       out=ints(1, 5) | st.tuples(st.none() | ints(1, 5), ints(1, 5)))
def test_adaptive_avg_pool2d_agrees_with_torch(size, dtype, layout, seed, out):
    x = array(np.random.default_rng(seed), (2, 3, *size), dtype, layout)
    same(lambda x: tg.adaptive_avg_pool2d(x, out),
         lambda x: torch.nn.functional.adaptive_avg_pool2d(x, out), x, seed=seed)


def test_max_pool2d_one_image_integers_and_nan():
    x = np.arange(12).reshape(1, 3, 4)
    assert tg.max_pool2d(x, (3, 2)).tolist() == [[[9, 11]]]
    x = np.array([[[1.0, np.nan], [3.0, 2.0]]])
    assert np.isnan(tg.max_pool2d(x, 2).item())


def test_max_pool2d_of_minus_infinity_keeps_its_gradient():
    x = tg.Tensor(np.full((1, 1, 2, 2), -np.inf), requires_grad=True)
    tg.max_pool2d(x, 2).sum().backward()
    assert x.grad.data.tolist() == [[[[1, 0], [0, 0]]]]


def test_more_taps_than_a_byte_counts():
    x = tg.zeros((1, 1, 20, 20), requires_grad=True)
    with tg.no_grad():
        x[0, 0, 17, 3] = 1.0
    tg.max_pool2d(x, 20).sum().backward()
    assert x.grad.data[0, 0, 17, 3] == 1 and x.grad.data.sum() == 1


@pytest.mark.parametrize("call, words", [
    (lambda: tg.max_pool2d(tg.zeros(1, 1, 8, 8), 2, padding=2), ["max_pool2d", "padding", "half"]),
    (lambda: tg.avg_pool2d(tg.zeros(1, 1, 2, 8), 3), ["avg_pool2d", "(1, 1, 2, 8)", "spans 3"]),
    (lambda: tg.max_pool2d(tg.zeros(8, 8), 2), ["x must be", "(8, 8)"]),
    (lambda: tg.max_pool2d(tg.zeros(1, 1, 8, 8), 0), ["kernel_size", "0"]),
    (lambda: tg.adaptive_avg_pool2d(tg.zeros(1, 1, 8, 8), 0), ["output_size"]),
])
def test_pool_errors(call, words):
    with pytest.raises(ValueError) as error:
        call()
    for word in words:
        assert word in str(error.value)


# -- pad ----------------------------------------------------------------------------------------


@few
@given(data=st.data(), seed=SEEDS,
       mode=st.sampled_from(["constant", "reflect", "symmetric", "edge", "wrap"]))
def test_pad_agrees_with_numpy_and_its_gradients_with_differences(data, seed, mode):
    rng = np.random.default_rng(seed)
    shape = data.draw(st.lists(ints(1, 5), min_size=1, max_size=3))
    width = [(data.draw(ints(0, 6)), data.draw(ints(0, 6))) for _ in shape]
    x = rng.standard_normal(shape)
    t = tg.Tensor(x, requires_grad=True)
    y = tg.pad(t, width, mode=mode)
    assert np.array_equal(y.data, np.pad(x, width, mode=mode))

    # pad is linear: the gradient of <pad(x), v> along d is <pad(d), v>, at any x
    v, d = rng.standard_normal(y.shape), rng.standard_normal(x.shape)
    (g,) = grad_of(y, [t], tg.Tensor(v))
    assert float((g.data * d).sum()) == pytest.approx((np.pad(d, width, mode=mode) * v).sum())

    # second order: f = <pad(x)^2, v> has the gradient of f' along d at x: 2 pad^T(v pad(d))
    y2 = tg.pad(t, width, mode=mode) ** 2
    (g,) = grad_of(y2, [t], tg.Tensor(v), create_graph=True)
    (h,) = grad_of((g * tg.Tensor(d)).sum(), [t])
    e = rng.standard_normal(x.shape)
    both = np.pad(d, width, mode=mode) * np.pad(e, width, mode=mode)
    assert float((h.data * e).sum()) == pytest.approx(2 * (v * both).sum(), abs=1e-9)


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_pad_under_torch_names(mode):
    x = array(np.random.default_rng(0), (2, 3, 5, 6), "float32")
    same(lambda x: tg.pad(x, ((0, 0), (0, 0), (2, 1), (3, 0)), mode=mode) ** 2,
         lambda x: torch.nn.functional.pad(x, (3, 0, 2, 1), mode=mode) ** 2, x)


def test_pad_widths_constants_and_crops():
    x = np.arange(6.0).reshape(2, 3)
    for width in (1, (1, 2), ((1, 2), (0, 3)), ((2, 1),), [[1, 0], [0, 1]],
                  np.array([[1, 2], [3, 4]])):
        ours = tg.pad(x, width, constant_values=7).data
        assert np.array_equal(ours, np.pad(x, width, constant_values=7))
    t = tg.Tensor(x, requires_grad=True)
    y = tg.pad(t, ((-1, 1), (2, -2)))
    assert y.tolist() == [[0, 0, 3], [0, 0, 0]]
    y.sum().backward()
    assert t.grad.tolist() == [[0, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize("width", [(1, 2, 3), ((1, 1), (1, 1), (1, 1)), 1.5, "a", ((1, 1), 2)])
def test_pad_widths_that_do_not_fit(width):
    with pytest.raises(ValueError, match=r"\[pad\] pad_width .* does not fit 2 axes"):
        tg.pad(tg.zeros(2, 3), width)


def test_pad_unknown_mode():
    with pytest.raises(ValueError, match=r"mode must be one of .*reflect.*'mirror'"):
        tg.pad(tg.zeros(2, 3), 1, mode="mirror")
