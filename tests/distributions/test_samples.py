"""Samples follow their law, and their gradients are those of the quantile function."""

import numpy as np
import pytest
from scipy import special, stats

import tinygen as tg
import tinygen.distributions as D

N = 20_000


@pytest.mark.parametrize("distribution, law", [
    (D.Normal(1.0, 2.0), stats.norm(1, 2)), (D.Laplace(1.0, 2.0), stats.laplace(1, 2)),
    (D.Cauchy(1.0, 2.0), stats.cauchy(1, 2)), (D.Gumbel(1.0, 2.0), stats.gumbel_r(1, 2)),
    (D.StudentT(3.0, 1.0, 2.0), stats.t(3, 1, 2)), (D.VonMises(0.5, 2.0), stats.vonmises(2, 0.5)),
    (D.Uniform(-1.0, 3.0), stats.uniform(-1, 4)), (D.LogNormal(0.5, 0.7),
                                                   stats.lognorm(0.7, scale=np.exp(0.5))),
    (D.HalfNormal(2.0), stats.halfnorm(scale=2)), (D.HalfCauchy(2.0), stats.halfcauchy(scale=2)),
    (D.Exponential(0.5), stats.expon(scale=2)), (D.Gamma(0.7, 2.0), stats.gamma(0.7, scale=0.5)),
    (D.Chi2(3.0), stats.chi2(3)), (D.InverseGamma(3.0, 2.0), stats.invgamma(3, scale=2)),
    (D.Weibull(2.0, 1.5), stats.weibull_min(1.5, scale=2)), (D.Pareto(2.0, 3.0),
                                                              stats.pareto(3, scale=2)),
    (D.Beta(0.8, 2.0), stats.beta(0.8, 2)),
], ids=lambda d: type(d).__name__)
def test_continuous_samples(distribution, law):
    tg.manual_seed(0)
    x = distribution.sample((N,)).numpy().astype("f8")
    assert stats.kstest(x, law.cdf).pvalue > 0.001
    grid = law.ppf([0.1, 0.35, 0.8])
    np.testing.assert_allclose(distribution.log_prob(grid).numpy(), law.logpdf(grid), rtol=1e-5)
    try:
        np.testing.assert_allclose(distribution.cdf(grid).numpy(), [0.1, 0.35, 0.8], rtol=1e-5)
    except NotImplementedError:
        assert isinstance(distribution, D.VonMises)


@pytest.mark.parametrize("distribution, law", [
    (D.Bernoulli(0.3), stats.bernoulli(0.3)), (D.Binomial(6, 0.3), stats.binom(6, 0.3)),
    (D.Geometric(0.3), stats.geom(0.3, loc=-1)), (D.Poisson(2.5), stats.poisson(2.5)),
    (D.NegativeBinomial(3.0, 0.4), stats.nbinom(3, 0.6)),
    (D.Categorical([1.0, 0.0, 3.0]), stats.rv_discrete(values=([0, 2], [0.25, 0.75]))),
], ids=lambda d: type(d).__name__)
def test_counts(distribution, law):
    tg.manual_seed(0)
    x = distribution.sample((N,)).numpy()
    values = np.arange(9)
    expected = np.append(law.pmf(values), 0) * N
    expected[-1] = N - expected.sum()
    seen = np.array([(x == v).sum() for v in values] + [(x > 8).sum()])
    used = expected > 1e-3
    assert not seen[~used].any()
    assert stats.chisquare(seen[used], expected[used] * seen[used].sum() / expected[used].sum()
                           ).pvalue > 0.001


def test_vectors_have_their_moments():
    tg.manual_seed(0)
    cov = np.array([[2.0, 0.6, 0.0], [0.6, 1.0, -0.3], [0.0, -0.3, 0.5]])
    x = D.MultivariateNormal(np.array([1.0, 2.0, 3.0]), cov).sample((N,)).numpy()
    np.testing.assert_allclose(np.cov(x.T), cov, atol=0.06)
    np.testing.assert_allclose(x.mean(0), [1, 2, 3], atol=0.05)
    for d in (D.Multinomial(10, [0.2, 0.3, 0.5]), D.Dirichlet([0.5, 2.0, 3.0]),
              D.OneHotCategorical([0.2, 0.3, 0.5])):
        x = d.sample((N,)).numpy()
        np.testing.assert_allclose(x.mean(0), d.mean.numpy(), rtol=0.05)
        np.testing.assert_allclose(x.var(0), d.variance.numpy(), rtol=0.05)


def test_mixtures():
    tg.manual_seed(0)
    d = D.MixtureSameFamily(D.Categorical([0.3, 0.7]), D.Normal([-2.0, 1.0], [0.5, 1.0]))

    def cdf(x):
        return 0.3 * stats.norm.cdf(x, -2, 0.5) + 0.7 * stats.norm.cdf(x, 1, 1)
    assert stats.kstest(d.sample((N,)).numpy().astype("f8"), cdf).pvalue > 0.001
    np.testing.assert_allclose(d.cdf([-1.0, 0.5]).numpy(), cdf([-1.0, 0.5]), rtol=1e-5)


def test_mixtures_like_pytorch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    weights, loc = rng.uniform(0.1, 1, (2, 3)), rng.normal(0, 1, (2, 3, 4))

    def build(d, make):
        inner = d.Independent(d.Normal(make(loc), make(np.ones(4))), 1)
        return d.MixtureSameFamily(d.Categorical(make(weights)), inner)
    p, q = build(D, tg.Tensor), build(torch.distributions, torch.tensor)
    x = rng.normal(0, 1, (5, 2, 4))
    for a, b in ((p.log_prob(x), q.log_prob(torch.tensor(x))), (p.mean, q.mean),
                 (p.variance, q.variance)):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-10)
    assert p.sample((7,)).shape == (7, 2, 4) == tuple(q.sample((7,)).shape)
    assert p.expand((5, 2)).sample().shape == (5, 2, 4)


def quantile_slope(quantile, a, h=1e-4):
    return (quantile(a + h) - quantile(a - h)) / (2 * h)


def test_gamma_beta_and_dirichlet_gradients_follow_the_quantiles():
    """d sample / d parameter at a fixed probability, by differences of SciPy's quantiles."""
    tg.manual_seed(0)
    a = tg.Tensor(np.full(200, 1.7), requires_grad=True)
    b = tg.Tensor(np.full(200, 2.6), requires_grad=True)
    x = D.Gamma(a, 2.0).rsample()
    slope, = tg.autograd.grad(x.sum(), a)
    p = special.gammainc(1.7, 2 * x.detach().numpy())
    np.testing.assert_allclose(slope.numpy(), quantile_slope(
        lambda c: special.gammaincinv(c, p) / 2, 1.7), rtol=1e-6)
    x = D.Beta(a, b).rsample()
    found = tg.autograd.grad(x.sum(), [a, b])
    p = special.betainc(1.7, 2.6, x.detach().numpy())
    np.testing.assert_allclose(found[0].numpy(), quantile_slope(
        lambda c: special.betaincinv(c, 2.6, p), 1.7), rtol=1e-5)
    np.testing.assert_allclose(found[1].numpy(), quantile_slope(
        lambda c: special.betaincinv(1.7, c, p), 2.6), rtol=1e-5)


def test_dirichlet_gradients_like_pytorch():
    """PyTorch's rational approximation has three digits; ours is compared on its samples."""
    torch = pytest.importorskip("torch")
    from tinygen.random.laws import dirichlet_p
    rng = np.random.default_rng(0)
    a = rng.uniform(0.5, 6, (50, 4))
    c = torch.tensor(a, requires_grad=True)
    torch.manual_seed(0)
    x = torch.distributions.Dirichlet(c).rsample()
    weight = rng.normal(0, 1, x.shape)
    (x * torch.tensor(weight)).sum().backward()
    rule = dirichlet_p.rules[0]
    from tinygen.primitive import RAW, local
    before, local.mode = local.mode, RAW
    try:
        found = rule(weight, x.detach().numpy(), a, generator=None)
    finally:
        local.mode = before
    np.testing.assert_allclose(found, c.grad.numpy(), rtol=5e-3, atol=5e-4)


def test_relaxations_approach_the_discrete_law():
    tg.manual_seed(0)
    logits = tg.Tensor(np.log([0.2, 0.3, 0.5]), requires_grad=True)
    x = D.RelaxedOneHotCategorical(0.05, logits=logits).rsample((N,))
    assert x.requires_grad
    share = (x.detach().numpy() > 0.5).mean(0)
    np.testing.assert_allclose(share, [0.2, 0.3, 0.5], atol=0.02)
    y = D.RelaxedBernoulli(0.05, probs=0.3).sample((N,)).numpy()
    assert abs((y > 0.5).mean() - 0.3) < 0.02
    hot = D.OneHotCategoricalStraightThrough(logits=logits)
    (hot.rsample((4,)) * np.array([1.0, 2.0, 3.0])).sum().backward()
    p = np.array([0.2, 0.3, 0.5])
    np.testing.assert_allclose(logits.grad.numpy(), 4 * p * ([1, 2, 3] - p @ [1, 2, 3]))


def test_a_captured_step_draws_anew_and_keeps_its_gradients():
    """A variational step, sample and divergence, as a program: new numbers at each replay."""
    from tinygen.jit import capture

    def step(loc, scale):
        q = D.Normal(loc, scale)
        z = q.rsample()
        loss = (D.kl_divergence(q, D.Normal(0.0, 1.0)) - D.Gamma(2.0, 1.0).log_prob(z * z)).sum()
        return z, *tg.autograd.grad(loss, [loc, scale])
    loc, scale = (tg.Tensor(np.array(v), requires_grad=True) for v in ([0.5, 1.0], [1.0, 2.0]))
    tg.manual_seed(3)
    program = capture(step, loc, scale)
    first, second = program.replay(loc, scale), program.replay(loc, scale)
    assert (first[0].numpy() != second[0].numpy()).all()
    tg.manual_seed(5)
    replayed = program.replay(loc, scale)
    tg.manual_seed(5)
    for a, b in zip(replayed, step(loc, scale), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-12)
