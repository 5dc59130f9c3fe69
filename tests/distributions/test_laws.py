"""Laws of probability that the distributions obey: each test is a short experiment."""

import math

import numpy as np
import pytest

import tinygen as tg
from tinygen.distributions import Bernoulli, Beta, Binomial, Exponential, Gamma, Normal, Poisson


def test_law_of_large_numbers():
    """The mean of ever more throws of a die comes ever closer to 3.5."""
    tg.manual_seed(0)
    throws = tg.random.categorical(np.ones(6), shape=(100_000,)).numpy() + 1
    far = abs(throws[:10].mean() - 3.5)
    near = abs(throws[:1_000].mean() - 3.5)
    close = abs(throws.mean() - 3.5)
    assert close < near < far
    assert close < 0.02


def test_the_error_of_a_mean_falls_with_the_root_of_the_sample_size():
    tg.manual_seed(0)
    small = Exponential(1.0).sample((2_000, 25)).numpy().mean(axis=1).std()
    large = Exponential(1.0).sample((2_000, 400)).numpy().mean(axis=1).std()
    assert small / large == pytest.approx(math.sqrt(400 / 25), rel=0.1)


def test_central_limit_theorem():
    """Means of 50 very skewed numbers are nearly normal: 68 % lie within one deviation."""
    tg.manual_seed(0)
    waits = Exponential(2.0)
    means = waits.sample((20_000, 50)).numpy().mean(axis=1)
    z = (means - waits.mean.item()) / (waits.stddev.item() / math.sqrt(50))
    assert (abs(z) < 1).mean() == pytest.approx(0.683, abs=0.02)
    assert (abs(z) < 2).mean() == pytest.approx(0.954, abs=0.01)


def test_bayes_rule_for_a_medical_test():
    """1 % are ill; the test finds 99 % of them and alarms 5 % of the healthy.

    P(ill | alarm) = P(alarm | ill) P(ill) / P(alarm): only one in six alarms is right.
    """
    ill, alarm_if_ill, alarm_if_healthy = 0.01, 0.99, 0.05
    posterior = alarm_if_ill * ill / (alarm_if_ill * ill + alarm_if_healthy * (1 - ill))
    assert posterior == pytest.approx(1 / 6, abs=0.001)

    tg.manual_seed(0)
    people = Bernoulli(ill).sample((400_000,))
    alarms = Bernoulli(tg.where(people == 1, alarm_if_ill, alarm_if_healthy)).sample()
    ill_among_alarms = people.numpy()[alarms.numpy() == 1].mean()
    assert ill_among_alarms == pytest.approx(posterior, abs=0.01)


def test_the_posterior_of_a_coin_is_a_beta_distribution():
    """Prior Beta(2, 2), then 7 heads in 10 throws: Beta(2 + 7, 2 + 3), by the grid as well."""
    prior, heads, throws = Beta(2.0, 2.0), 7.0, 10
    bias = tg.linspace(0.0005, 0.9995, 1000)
    weights = tg.exp(prior.log_prob(bias) + Binomial(throws, bias).log_prob(heads))
    on_the_grid = weights / weights.mean()
    exact = tg.exp(Beta(2.0 + heads, 2.0 + throws - heads).log_prob(bias))
    np.testing.assert_allclose(on_the_grid.numpy(), exact.numpy(), rtol=1e-3, atol=1e-3)


def test_the_sum_of_poisson_counts_is_poisson():
    tg.manual_seed(0)
    total = Poisson(1.5).sample((50_000,)) + Poisson(2.5).sample((50_000,))
    for count in range(8):
        share = (total.numpy() == count).mean()
        assert share == pytest.approx(math.exp(Poisson(4.0).log_prob(float(count))), abs=0.007)


def test_waiting_for_the_third_event_takes_a_gamma_time():
    tg.manual_seed(0)
    third = Exponential(2.0).sample((50_000, 3)).numpy().sum(axis=1)
    for t in (0.5, 1.0, 2.0):
        assert (third < t).mean() == pytest.approx(Gamma(3.0, 2.0).cdf(t).item(), abs=0.01)


def test_maximum_likelihood_finds_the_parameters():
    """Gradient ascent on log_prob: the mean and deviation of the data come out."""
    tg.manual_seed(0)
    data = Normal(3.0, 2.0).sample((5_000,))
    loc = tg.Tensor(0.0, requires_grad=True)
    log_scale = tg.Tensor(0.0, requires_grad=True)
    optimizer = tg.optim.Adam([loc, log_scale], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        loss = -Normal(loc, tg.exp(log_scale)).log_prob(data).mean()
        loss.backward()
        optimizer.step()
    assert loc.item() == pytest.approx(data.numpy().mean(), abs=0.01)
    assert math.exp(log_scale.item()) == pytest.approx(data.numpy().std(), abs=0.01)


def test_the_score_has_mean_zero_and_its_variance_is_the_fisher_information():
    """For Normal(loc, 2): E[d log p / d loc] = 0 and Var = 1 / 4."""
    tg.manual_seed(0)
    loc = tg.zeros((100_000,), requires_grad=True)
    d = Normal(loc, 2.0)
    d.log_prob(d.sample()).sum().backward()
    score = loc.grad.numpy()
    assert score.mean() == pytest.approx(0, abs=0.01)
    assert score.var() == pytest.approx(0.25, rel=0.02)


def test_both_gradient_estimators_of_an_expectation_agree():
    """d/d loc E[x^2] = 2 loc, by the score function and by reparameterisation; the latter is
    far less noisy, which is why VAEs use it."""
    tg.manual_seed(0)
    loc = tg.full((20_000,), 1.5, requires_grad=True)
    d = Normal(loc, 1.0)
    through, = tg.autograd.grad((d.rsample() ** 2).sum(), loc)
    x = d.sample()
    score, = tg.autograd.grad((d.log_prob(x) * x * x).sum(), loc)
    assert through.numpy().mean() == pytest.approx(3.0, abs=0.1)
    assert score.numpy().mean() == pytest.approx(3.0, abs=0.2)
    assert score.numpy().std() > 2 * through.numpy().std()
