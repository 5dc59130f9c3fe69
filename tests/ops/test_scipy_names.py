"""Functions under SciPy's names against SciPy, with first and second derivatives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal, special

import tinygen as tg
from tests.checking import difference, directions, dot
from tinygen.autograd import grad_of

RNG = np.random.default_rng(0)


def check_slopes(f, *arrays):
    """Gradients, and gradients of gradients, against differences along random directions."""
    def slopes(values, create_graph=False):
        ts = [tg.Tensor(v, requires_grad=True) for v in values]
        y = f(*ts)
        w = tg.Tensor(np.cos(np.arange(y.size)).reshape(y.shape))
        return ts, grad_of((y * w).sum(), ts, create_graph=create_graph)

    def value(values):
        y = f(*(tg.Tensor(v) for v in values)).numpy()
        return float((y * np.cos(np.arange(y.size)).reshape(y.shape)).sum())
    along, u = directions(arrays, RNG), directions(arrays, RNG)
    first = dot([g.numpy() for g in slopes(arrays)[1]], along)
    assert first == pytest.approx(difference(value, list(arrays), along), rel=1e-7, abs=1e-8)
    ts, gs = slopes(arrays, True)
    second = grad_of(sum((g * v).sum() for g, v in zip(gs, u, strict=True)), ts)
    numeric = difference(lambda v: dot([g.numpy() for g in slopes(v)[1]], u), list(arrays), along)
    assert dot([g.numpy() for g in second], along) == pytest.approx(numeric, rel=1e-6, abs=1e-7)


@given(data=st.data(), axes=st.integers(1, 3), mode=st.sampled_from(["full", "valid", "same"]),
       name=st.sampled_from(["convolve", "correlate"]))
def test_convolve_and_correlate_are_scipys(data, axes, mode, name):
    a = [data.draw(st.integers(1, 5)) for _ in range(axes)]
    b = [data.draw(st.integers(1, n if mode == "valid" else 5)) for n in a]
    if mode == "valid" and name == "convolve" and data.draw(st.booleans()):
        a, b = b, a
    x, y = RNG.standard_normal(a), RNG.standard_normal(b)
    ours = getattr(tg.signal, name)(tg.Tensor(x), tg.Tensor(y), mode)
    np.testing.assert_allclose(ours.numpy(), getattr(signal, name)(x, y, mode, "direct"),
                               rtol=1e-12, atol=1e-12)


def test_convolve_has_slopes():
    check_slopes(lambda a, b: tg.signal.convolve(a, b, "same"), RNG.standard_normal((4, 5)),
                 RNG.standard_normal((3, 2)))


@pytest.mark.parametrize(("call", "words"), [
    (lambda: tg.signal.convolve(tg.ones(3), tg.ones((3, 1))), r"\[convolve\] in1: \(3,\), in2"),
    (lambda: tg.signal.convolve(tg.ones((3, 1)), tg.ones((1, 3)), "valid"), "for 'valid'"),
    (lambda: tg.signal.correlate(tg.ones(3), tg.ones(3), "half"), "mode must be one of full"),
])
def test_what_does_not_fit_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_logsumexp_with_factors_is_scipys():
    x, b = RNG.standard_normal((3, 4)), RNG.uniform(0, 2, (3, 4))
    b[1] = 0
    for axis in (None, 0, 1, (0, 1)):
        with np.errstate(divide="ignore"):
            ours = tg.special.logsumexp(tg.Tensor(x), axis, b=b)
            theirs = special.logsumexp(x, axis, b=b)
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-13)
    x[2, 1], b[2, 1] = np.inf, 0                      # counts for nothing: its factor is 0
    kept = [0, 2, 3]
    assert tg.logsumexp(tg.Tensor(x[2]), b=b[2]).item() == pytest.approx(
        special.logsumexp(x[2, kept], b=b[2, kept]), rel=1e-13)
    check_slopes(lambda x, b: tg.logsumexp(x, 1, b=b), RNG.standard_normal((3, 4)), b + 0.1)
    assert tg.logsumexp(tg.Tensor([1000.0, 1000.0]), b=[1.0, 3.0]).item() == pytest.approx(
        1000 + np.log(4))


@pytest.mark.parametrize("name", ["gammasgn", "rgamma"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_signs_and_reciprocals_of_gamma_are_scipys(name, dtype):
    x = np.concatenate([RNG.uniform(-30, 30, 300), [0.0, -0.0, -1.0, -2.0, -7.0, 1.0, 0.5, 200.0]])
    x = x.astype(dtype)
    ours = getattr(tg.special, name)(tg.Tensor(x)).numpy()
    assert ours.dtype == dtype
    theirs = getattr(special, name)(x.astype("f8"))
    tolerance = 1e-12 if dtype == "float64" else 2e-3     # many periods from 0 a float32 is coarse
    big = np.abs(theirs) < 1e30
    np.testing.assert_allclose(ours[big], theirs[big], rtol=tolerance, atol=1e-30)


def test_the_reciprocal_of_gamma_has_slopes_at_its_zeros_too():
    check_slopes(tg.special.rgamma, np.array([-2.5, -1.0, 0.0, 0.3, 0.7, 2.0, 5.0]))
    x = tg.Tensor(np.array([0.0, -1.0, -3.0]), requires_grad=True)
    tg.special.rgamma(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [1, -1, -6], rtol=1e-12)   # (-1)^n n!
