"""Shares of classes, corrected for the errors of a classifier: hand computation and simulation."""

import numpy as np
import pytest

from tinygen.metrics import corrected_shares


def simulate(rng, shares, confusion, n):
    truth = rng.choice(len(shares), n, p=shares)
    draws = rng.random(n)[:, None] > np.cumsum(confusion, axis=1)[truth]
    return truth, draws.sum(axis=1)


def test_two_classes_are_rogan_and_gladens_formula():
    verdicts = np.repeat([1, 0], [260, 740])
    truth = np.repeat([1, 0], [200, 300])
    known = np.concatenate([np.repeat([1, 0], [170, 30]), np.repeat([1, 0], [36, 264])])
    sensitivity, specificity, seen = 170 / 200, 264 / 300, 0.26
    found = corrected_shares(verdicts, known, truth)
    rate = (seen + specificity - 1) / (sensitivity + specificity - 1)
    np.testing.assert_allclose(found.shares, [1 - rate, rate])
    # their variance, with the chance in sensitivity and specificity
    variance = (seen * (1 - seen) / 1000 + rate ** 2 * sensitivity * (1 - sensitivity) / 200
                + (1 - rate) ** 2 * specificity * (1 - specificity) / 300
                ) / (sensitivity + specificity - 1) ** 2
    np.testing.assert_allclose(found.errors, np.sqrt(variance), rtol=0.12)


def test_four_classes_are_found_again_and_errors_are_of_the_right_size():
    rng = np.random.default_rng(0)
    confusion = np.full((4, 4), 0.05) + 0.8 * np.eye(4)
    shares = np.array([0.1, 0.2, 0.3, 0.4])
    misses = []
    for _ in range(20):
        truth, known = simulate(rng, [0.25] * 4, confusion, 2000)
        _, verdicts = simulate(rng, shares, confusion, 2000)
        found = corrected_shares(verdicts, known, truth, 4)
        assert found.shares.sum() == pytest.approx(1)
        misses.append((found.shares - shares) / found.errors)
    assert 0.75 < np.sqrt(np.square(misses).mean()) < 1.25
    # the uncorrected shares are far off: 0.1 is seen as 0.13
    assert abs(np.mean(verdicts == 0) - 0.13) < 0.025


def test_shares_do_not_become_negative():
    truth = np.repeat([0, 1], 100)
    known = np.concatenate([np.repeat([0, 1], [80, 20]), np.repeat([0, 1], [10, 90])])
    found = corrected_shares(np.zeros(50, np.int64), known, truth)
    assert found.shares.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(("arguments", "message"), [
    (([], [0, 1], [0, 1]), r"verdicts: float64 \(0,\)"),
    (([2], [0, 1], [0, 1]), "verdicts: from 2 to 2; classes 0 to 1"),
    (([1], [0, 1, 1], [0, 1]), r"known_verdicts: \(3,\), truth: \(2,\)"),
    (([1], [0, 1], [1, 1]), "truth: no known sample is of class 0"),
    (([1], [1, 1], [0, 1]), "known_verdicts do not depend on the class"),
])
def test_wrong_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=rf"\[corrected_shares\] {message}"):
        corrected_shares(*arguments)
