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


each = pytest.mark.parametrize("axes", [1, 2, 3])


@st.composite
def windows(draw, axes, dilation):
    """Keyword arguments of a pooling, and an input size that they fit."""
    each_of = [None] * axes
    kernel = tuple(draw(ints(1, 4)) for _ in each_of)
    how = {"kernel_size": kernel,
           "stride": draw(st.none() | ints(1, 3) | st.tuples(*[ints(1, 4) for _ in each_of])),
           "ceil_mode": draw(st.booleans())}
    spans = kernel
    if dilation:
        how["dilation"] = tuple(draw(ints(1, 2)) for _ in each_of)
        spans = tuple(d * (k - 1) + 1 for d, k in zip(how["dilation"], kernel))
    how["padding"] = tuple(draw(ints(0, k // 2)) for k in kernel)
    size = tuple(max(1, s - p) + draw(ints(0, 6 if axes < 3 else 2))
                 for s, p in zip(spans, how["padding"]))
    for n, s, p in zip(size, spans, how["padding"]):
        assume(n + 2 * p >= s)
        assume(axes < 3 or n >= s)                   # PyTorch's avg_pool3d wants more than it needs
    return size, how


@each
@few
@given(data=st.data(), n=ints(1, 3), c=ints(1, 3), dtype=DTYPES, layout=LAYOUTS, seed=SEEDS,
       special=st.sampled_from(["", "", "ties", "nan", "-inf"]))
def test_max_pool_agrees_with_torch(axes, data, n, c, dtype, layout, seed, special):
    size, how = data.draw(windows(axes, dilation=True))
    x = array(np.random.default_rng(seed), (n, c, *size), dtype, layout)
    if special == "ties":
        x = np.round(x)          # the first of equal elements gets the gradient
    elif special:                # the last NaN does
        x = np.where(x > 0.5, float(special), x).astype(dtype)
    ours, theirs = (getattr(m, f"max_pool{axes}d") for m in (tg, torch.nn.functional))
    same(lambda x: ours(x, **how), lambda x: theirs(x, **how), x, seed=seed, second=special == "")
    places = ours(tg.asarray(x), **how, return_indices=True)[1]
    assert places.dtype == np.int64 and not places.requires_grad
    expected = theirs(torch.tensor(np.array(x, order="C")), **how, return_indices=True)[1]
    assert np.array_equal(places.numpy(), expected.numpy())


@each
@few
@given(data=st.data(), n=ints(1, 3), c=ints(1, 3), dtype=DTYPES, layout=LAYOUTS, seed=SEEDS)
def test_avg_pool_agrees_with_torch(axes, data, n, c, dtype, layout, seed):
    size, how = data.draw(windows(axes, dilation=False))
    how["count_include_pad"] = data.draw(st.booleans())
    if axes > 1:
        how["divisor_override"] = data.draw(st.sampled_from([None, 1, 3]))
    x = array(np.random.default_rng(seed), (n, c, *size), dtype, layout)
    name = f"avg_pool{axes}d"
    same(lambda x: getattr(tg, name)(x, **how),
         lambda x: getattr(torch.nn.functional, name)(x, **how), x, seed=seed)


@each
@few
@given(data=st.data(), dtype=DTYPES, layout=LAYOUTS, seed=SEEDS,
       kind=st.sampled_from(["avg", "max"]))
def test_adaptive_pools_agree_with_torch(axes, data, dtype, layout, seed, kind):
    draw = data.draw
    size = tuple(draw(ints(1, 9)) for _ in range(axes))
    out = draw(ints(1, 5))
    if axes > 1 and draw(st.booleans()):
        out = tuple(draw(st.none() | ints(1, 9)) for _ in range(axes))
    x = array(np.random.default_rng(seed), (2, 3, *size), dtype, layout)
    name = f"adaptive_{kind}_pool{axes}d"
    ours, theirs = (getattr(m, name) for m in (tg, torch.nn.functional))
    same(lambda x: ours(x, out), lambda x: theirs(x, out), x, seed=seed)
    if kind == "max":
        places = ours(tg.asarray(x), out, return_indices=True)[1]
        expected = theirs(torch.tensor(np.array(x, order="C")), out, return_indices=True)[1]
        assert np.array_equal(places.numpy(), expected.numpy())


@each
@pytest.mark.parametrize("name, how", [("max_pool", (2,)), ("avg_pool", (2, 1)),
                                       ("adaptive_avg_pool", (3,)), ("adaptive_max_pool", (4,))])
def test_without_a_batch_axis(axes, name, how):
    x = array(np.random.default_rng(0), (3, 6, 7, 8)[:axes + 1], "float64")
    ours, theirs = (getattr(m, f"{name}{axes}d") for m in (tg, torch.nn.functional))
    same(lambda x: ours(x, *how), lambda x: theirs(x, *how), x)


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
    (lambda: tg.avg_pool2d(tg.zeros(1, 1, 8, 8), 2, divisor_override=0), ["divisor_override"]),
    (lambda: tg.avg_pool1d(np.arange(8).reshape(1, 8), 2), ["floating point", "int64"]),
    (lambda: tg.max_pool3d(tg.zeros(1, 8, 8, 8), (2, 2)), ["kernel_size", "three ints", "(2, 2)"]),
    (lambda: tg.adaptive_max_pool2d(tg.zeros(1, 8, 8), (2, 2, 2)), ["output_size", "two ints"]),
    (lambda: tg.max_pool2d(tg.zeros(8, 8), 2), ["input must be", "(8, 8)"]),
    (lambda: tg.max_pool2d(tg.zeros(1, 1, 8, 8), 0), ["kernel_size", "0"]),
    (lambda: tg.adaptive_avg_pool2d(tg.zeros(1, 1, 8, 8), -1), ["output_size", "-1"]),
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
