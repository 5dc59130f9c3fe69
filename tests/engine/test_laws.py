"""Draws from named laws: they follow the law, carry gradients, repeat by seed, and replay."""

import numpy as np
import pytest
from scipy import stats

import tinygen as tg
from tinygen import random
from tinygen.jit import capture

N = 20_000


@pytest.mark.parametrize("draw, law", [
    (lambda n: random.exponential(2.0, n), stats.expon(scale=0.5)),
    (lambda n: random.laplace(1.0, 2.0, n), stats.laplace(1, 2)),
    (lambda n: random.cauchy(1.0, 2.0, n), stats.cauchy(1, 2)),
    (lambda n: random.gumbel(1.0, 2.0, n), stats.gumbel_r(1, 2)),
    (lambda n: random.log_normal(0.3, 0.7, n), stats.lognorm(0.7, scale=np.exp(0.3))),
    (lambda n: random.standard_gamma(0.4, n), stats.gamma(0.4)),
    (lambda n: random.gamma(3.0, 2.0, n), stats.gamma(3, scale=2)),
    (lambda n: random.chi2(5.0, n), stats.chi2(5)),
    (lambda n: random.student_t(4.0, n), stats.t(4)),
    (lambda n: random.beta(0.7, 2.5, n), stats.beta(0.7, 2.5)),
    (lambda n: random.dirichlet([0.5, 1.0, 2.0], (*n, 3))[:, 0], stats.beta(0.5, 3)),
    (lambda n: random.von_mises(0.5, 3.0, n), stats.vonmises(3, loc=0.5)),
])
def test_continuous_draws_follow_their_law(draw, law):
    tg.manual_seed(1)
    x = draw((N,))
    assert (x.dtype, x.shape) == (np.float32, (N,))
    assert stats.kstest(x.numpy(), law.cdf).pvalue > 0.001


@pytest.mark.parametrize("draw, law", [
    (lambda n: random.poisson(3.5, n), stats.poisson(3.5)),
    (lambda n: random.geometric(0.3, n), stats.geom(0.3)),
    (lambda n: random.binomial(7, 0.4, n), stats.binom(7, 0.4)),
    (lambda n: random.negative_binomial(2.5, 0.4, n), stats.nbinom(2.5, 0.4)),
    (lambda n: random.categorical([1.0, 0.0, 2.0, 5.0], n),
     stats.rv_discrete(values=([0, 2, 3], [0.125, 0.25, 0.625]))),
    (lambda n: random.multinomial([1.0, 0.0, 2.0, 5.0], n[0], replacement=True),
     stats.rv_discrete(values=([0, 2, 3], [0.125, 0.25, 0.625]))),
])
def test_counts_follow_their_law(draw, law):
    tg.manual_seed(0)
    x = draw((N,))
    assert (x.dtype, x.shape, x.requires_grad) == (np.int64, (N,), False)
    values = np.arange(12)
    seen = np.array([(x.numpy() == v).sum() for v in values])
    expected = law.pmf(values) * N
    assert not seen[expected == 0].any()
    keep = expected > 5
    rest = [seen[~keep].sum() + (x.numpy() >= 12).sum()], [N - expected[keep].sum()]
    seen, expected = (np.append(a[keep], b) for a, b in zip((seen, expected), rest, strict=True))
    used = expected > 1e-6
    assert stats.chisquare(seen[used], expected[used]).pvalue > 0.001


def test_without_replacement_the_first_index_has_the_weights_and_none_comes_twice():
    tg.manual_seed(0)
    weights = np.array([1.0, 2.0, 0.0, 5.0])
    x = tg.multinomial(np.tile(weights, (N, 1)), 3).numpy()
    assert x.shape == (N, 3)
    assert (np.sort(x, axis=1) == [0, 1, 3]).all()
    first = np.bincount(x[:, 0], minlength=4)[[0, 1, 3]]
    assert stats.chisquare(first, N * np.array([1, 2, 5]) / 8).pvalue > 0.001
    # given that 3 came first, 1 comes second with probability 2 / 3
    second = x[x[:, 0] == 3][:, 1]
    assert stats.binomtest(int((second == 1).sum()), len(second), 2 / 3).pvalue > 0.001


def test_gradients_to_the_parameters():
    """d/da E[x] for the gamma law is 1; for the mean a / (a + b) of beta it is b / (a + b)^2."""
    tg.manual_seed(0)
    a = tg.Tensor(np.full(N, 2.0), requires_grad=True)
    random.standard_gamma(a).sum().backward()
    assert abs(a.grad.numpy().mean() - 1) < 0.02
    a = tg.Tensor(np.full(N, 2.0), requires_grad=True)
    b = tg.Tensor(np.full(N, 3.0), requires_grad=True)
    random.beta(a, b).sum().backward()
    assert abs(a.grad.numpy().mean() - 3 / 25) < 0.002
    assert abs(b.grad.numpy().mean() + 2 / 25) < 0.002
    rate = tg.Tensor(np.array([1.0, 4.0]), requires_grad=True)
    x = random.exponential(rate)
    x.sum().backward()
    np.testing.assert_allclose(rate.grad.numpy(), -x.detach().numpy() / [1, 4])


def test_seeds_shapes_dtypes_and_replay():
    g = tg.Generator(0)

    def step(a):
        return random.gamma(a, generator=g), random.poisson(a, generator=g)
    a = tg.full((3,), 2.0)
    program = capture(step, a)
    first, second = program.replay(a), program.replay(a)
    assert (first[0].numpy() != second[0].numpy()).any()
    g.manual_seed(0)
    eager = step(a)
    g.manual_seed(0)
    again = program.replay(a)
    for y, z in zip(eager, again, strict=True):
        np.testing.assert_array_equal(y.numpy(), z.numpy())
    assert random.gamma(tg.ones((2, 1)), tg.ones((3,))).shape == (2, 3)
    assert random.gamma(tg.ones((3,)), shape=(4, 3)).shape == (4, 3)
    assert random.gamma(2.0, dtype="float64").dtype == np.float64
    assert random.poisson(tg.zeros((0, 2))).shape == (0, 2)
    tiny = random.standard_gamma(1e-5, (100,)).numpy()
    assert (tiny > 0).all()
    assert np.isfinite(random.dirichlet(np.full(5, 1e-4), (100, 5)).numpy()).all()


@pytest.mark.parametrize("call, error", [
    (lambda: random.gamma(-1.0), r"\[standard_gamma\] concentration must be positive, got -1"),
    (lambda: random.laplace(0.0, 0.0), r"\[laplace\] scale must be positive, got 0"),
    (lambda: random.poisson(-1.0), r"\[poisson\] rate must not be negative"),
    (lambda: random.geometric(0.0), r"\[geometric\] p must lie in \(0, 1\]"),
    (lambda: random.binomial(2.5, 0.5), r"\[binomial\] n must be a whole number"),
    (lambda: random.binomial(2, 1.5), r"\[binomial\] p must lie in \[0, 1\], got 1.5"),
    (lambda: random.gamma(tg.ones((2,)), tg.ones((3,))),
     r"\[gamma\] concentration \(2,\), scale \(3,\) do not broadcast"),
    (lambda: random.gamma(tg.ones((2,)), shape=(3,)), r"do not broadcast to \(3,\)"),
    (lambda: random.categorical([0.0, 0.0]), r"\[categorical\] p must hold finite weights"),
    (lambda: tg.multinomial([1.0, np.nan], 1), r"\[multinomial\] p must hold finite weights"),
    (lambda: tg.multinomial([1.0, 0.0], 2), r"2 samples without replacement, but a row has only 1"),
    (lambda: tg.multinomial([1.0, 0.0], 0), r"num_samples must be at least 1, got 0"),
    (lambda: tg.multinomial(np.ones((1, 1, 2)), 1), r"one or two axes, got shape \(1, 1, 2\)"),
])
def test_errors(call, error):
    with pytest.raises(ValueError, match=error):
        call()
