"""A Gaussian for each class: the moments of a mixture, and draws that have them."""

import numpy as np
import pytest

from tinygen.models import ClassGaussians


def test_moments_are_those_of_draws_from_all_posteriors():
    rng = np.random.default_rng(0)
    mu = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 3))
    logvar = rng.normal(size=(60, 3)) - 1
    labels = np.arange(60) % 2
    fitted = ClassGaussians(mu, logvar, labels)
    for y in (0, 1):
        own = labels == y
        draws = mu[own] + np.exp(logvar[own] / 2) * rng.normal(size=(20000, 30, 3))
        draws = draws.reshape(-1, 3)
        np.testing.assert_allclose(fitted.means[y], draws.mean(axis=0), atol=0.02)
        spread = np.cov(draws, rowvar=False)
        # 30 posteriors: covariances over n - 1, those of the draws over n
        between = np.cov(mu[own], rowvar=False)
        np.testing.assert_allclose(fitted.covariances[y], spread + between / 30, atol=0.05)


def test_draws_have_the_moments_of_their_class():
    rng = np.random.default_rng(1)
    mu = np.concatenate([rng.normal(size=(50, 2)), 10 + 3 * rng.normal(size=(50, 2))])
    fitted = ClassGaussians(mu, np.full((100, 2), -4.0), np.repeat([0, 1], 50))
    labels = np.tile([1, 0], 20000)
    z = fitted.sample(labels, seed=2)
    assert z.dtype == np.float32 and z.shape == (40000, 2)
    for y in (0, 1):
        np.testing.assert_allclose(z[labels == y].mean(axis=0), fitted.means[y], atol=0.1)
        np.testing.assert_allclose(np.cov(z[labels == y], rowvar=False), fitted.covariances[y],
                                   rtol=0.05, atol=0.2)
    assert np.array_equal(z, fitted.sample(labels, seed=2))


@pytest.mark.parametrize("mu, logvar, labels, message", [
    (np.zeros((4, 2)), np.zeros((4, 3)), np.zeros(4, int), r"mu \(4, 2\), logvar \(4, 3\)"),
    (np.zeros((4, 2)), np.zeros((4, 2)), np.zeros(3, int), r"labels int64 \(3,\)"),
    (np.zeros((4, 2)), np.zeros((4, 2)), np.array([0, 0, 2, 2]), "class 1 has 0 examples"),
    (np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0, int), "class 0 has 0 examples"),
])
def test_what_does_not_fit_is_named(mu, logvar, labels, message):
    with pytest.raises(ValueError, match=rf"\[ClassGaussians\] .*{message}"):
        ClassGaussians(mu, logvar, labels)


def test_labels_that_were_not_fitted_are_refused():
    fitted = ClassGaussians(np.eye(2), np.zeros((2, 2)), [0, 0])
    with pytest.raises(ValueError, match="from 0 to 0 are expected"):
        fitted.sample([0, 1])
