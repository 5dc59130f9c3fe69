"""Fréchet distance: closed forms, SciPy's matrix root, and errors."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

import tinygen as tg
from tinygen.metrics import frechet_distance, gaussian_frechet_distance
from tinygen.models import build


def covariance(rng, size):
    a = rng.normal(size=(size, size + 2))
    return a @ a.T / size


def test_diagonal_gaussians_have_a_closed_form():
    """|m_a - m_b|^2 + sum of (s_a - s_b)^2, since diagonal covariances commute."""
    rng = np.random.default_rng(0)
    means, deviations = rng.normal(size=(2, 7)), rng.random((2, 7)) + 0.1
    expected = np.square(means[0] - means[1]).sum() + np.square(deviations[0] - deviations[1]).sum()
    found = gaussian_frechet_distance(means[0], np.diag(deviations[0] ** 2), means[1],
                                      np.diag(deviations[1] ** 2))
    assert found == pytest.approx(expected, rel=1e-12)


def test_full_covariances_agree_with_scipys_matrix_root():
    rng = np.random.default_rng(1)
    a, b = covariance(rng, 9), covariance(rng, 9)
    means = rng.normal(size=(2, 9))
    expected = (np.square(means[0] - means[1]).sum()
                + np.trace(a + b - 2 * sqrtm(a @ b).real))
    assert gaussian_frechet_distance(means[0], a, means[1], b) == pytest.approx(expected, rel=1e-9)
    assert gaussian_frechet_distance(means[1], b, means[0], a) == pytest.approx(expected, rel=1e-9)


def test_features_are_taken_for_gaussians():
    rng = np.random.default_rng(2)
    real, fake = rng.normal(size=(8000, 5)), rng.normal(size=(6000, 5)) * 2 + 1
    expected = gaussian_frechet_distance(real.mean(0), np.cov(real.T), fake.mean(0),
                                         np.cov(fake.T))
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(tg.Tensor(real), tg.Tensor(fake)) == pytest.approx(expected)
    # the law of the draws: 5 * 1^2 + 5 * (2 - 1)^2 = 10, within the sampling error
    assert expected == pytest.approx(10, abs=0.5)
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(real[:, :1], fake[:, :1]) > 0


def test_fewer_images_than_features_give_a_finite_distance():
    rng = np.random.default_rng(3)
    real, fake = rng.normal(size=(4, 20)), rng.normal(size=(6, 20)) + 3
    found = frechet_distance(real, fake)
    gap = np.square(real.mean(0) - fake.mean(0)).sum()
    assert np.isfinite(found) and found >= gap - 1e-9


def test_the_features_of_a_classifier_are_what_its_last_layer_reads():
    tg.manual_seed(0)
    model = build("classifier", (1, 8, 8), 3, width=2, hidden=5)
    x = np.random.default_rng(0).random((6, 1, 8, 8), dtype=np.float32)
    features = model.features(x)
    assert features.shape == (6, 5) and not features.requires_grad and model.training
    last = list(model.layers)[-1]
    with tg.no_grad():
        logits = model.eval()(tg.Tensor(x))
    np.testing.assert_allclose(features.numpy() @ last.weight.data.T + last.bias.data,
                               logits.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("real", "fake", "words"), [
    (np.zeros((5, 3)), np.zeros((5, 4)), r"real: \(5, 3\), fake: \(5, 4\); .* one network"),
    (np.zeros((1, 3)), np.zeros((5, 3)), r"real: \(1, 3\); .* N of at least 2"),
    (np.zeros((5, 3)), np.zeros((0, 3)), r"fake: \(0, 3\)"),
    (np.zeros((5, 1, 2, 2)), np.zeros((5, 3)), r"real: \(5, 1, 2, 2\)"),
    (np.zeros((5, 3)), np.full((5, 3), np.nan), "fake: some features are not finite"),
])
def test_unfit_features_are_refused(real, fake, words):
    with pytest.raises(ValueError, match=r"\[frechet_distance\] " + words):
        frechet_distance(real, fake)


def test_unfit_gaussians_are_refused():
    with pytest.raises(ValueError, match=r"means \(2,\) and \(3,\)"):
        gaussian_frechet_distance(np.zeros(2), np.eye(2), np.zeros(3), np.eye(3))
    with pytest.raises(ValueError, match=r"covariances \(2,\) and \(2, 2\)"):
        gaussian_frechet_distance(np.zeros(2), np.ones(2), np.zeros(2), np.eye(2))
