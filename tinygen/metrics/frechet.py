"""The Fréchet distance between two clouds of features, each taken for a Gaussian."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["as_features", "frechet_distance", "gaussian_frechet_distance"]


def gaussian_frechet_distance(mean_a: Any, covariance_a: Any, mean_b: Any,
                              covariance_b: Any) -> float:
    """The squared Fréchet (Wasserstein-2) distance between two Gaussians.

    |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a^(1/2) C_b C_a^(1/2))^(1/2)), for means (D,) and
    covariances (D, D). Both roots are of symmetric matrices, so their eigenvalues are enough, and a
    singular covariance (fewer images than features) does no harm.

    Raises:
        ValueError: the shapes do not fit each other.

    Source: D. C. Dowson and B. V. Landau, "The Fréchet Distance between Multivariate Normal
    Distributions", J. Multivariate Analysis 12, 1982.

    >>> gaussian_frechet_distance([0.0], [[1.0]], [3.0], [[4.0]])     # 3^2 + (1 - 2)^2
    10.0
    """
    means = [np.asarray(m, np.float64) for m in (mean_a, mean_b)]
    covariances = [np.asarray(c, np.float64) for c in (covariance_a, covariance_b)]
    size = means[0].shape[0] if means[0].ndim == 1 else 0
    if size == 0 or means[1].shape != (size,) or any(c.shape != (size, size) for c in covariances):
        raise ValueError(
            f"[gaussian_frechet_distance] means {means[0].shape} and {means[1].shape}, covariances "
            f"{covariances[0].shape} and {covariances[1].shape}; (D,) twice and (D, D) twice are "
            "expected")
    values, vectors = np.linalg.eigh(covariances[0])
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T                 # C_a^(1/2), (D, D)
    between = np.linalg.eigvalsh(root @ covariances[1] @ root)             # rounding: some below 0
    distance = (np.square(means[0] - means[1]).sum() + np.trace(covariances[0])
                + np.trace(covariances[1]) - 2 * np.sqrt(between.clip(0)).sum())
    return max(float(distance), 0.0)


def frechet_distance(real: Any, fake: Any) -> float:
    """The squared Fréchet distance between two sets of features, (N, D) and (M, D).

    Each set is replaced by the Gaussian of its mean and covariance; see
    `gaussian_frechet_distance`. With the features of an Inception network this is the FID; with
    those of a small classifier of the data at hand (`Classifier.features`) the numbers have
    another scale, and compare models of that data alone. It depends on N and M: compare what was
    measured with the same.

    Args:
        real, fake: arrays or tensors of one feature vector per image, at least two of each.

    Raises:
        ValueError: the sets are not (N, D) and (M, D), too small, or not finite.

    Source: M. Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
    Equilibrium", NeurIPS 2017.

    >>> cloud = np.random.default_rng(0).normal(size=(50, 3))
    >>> round(frechet_distance(cloud, cloud + 2), 6)                       # 3 times 2^2
    12.0
    """
    real, fake = as_features("frechet_distance", real, fake)
    return gaussian_frechet_distance(real.mean(0), np.atleast_2d(np.cov(real, rowvar=False)),
                                     fake.mean(0), np.atleast_2d(np.cov(fake, rowvar=False)))


def as_features(name: str, real: Any, fake: Any, least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Both sets of features as float64 arrays (N, D) and (M, D), checked."""
    sets = []
    for which, features in (("real", real), ("fake", fake)):
        array = np.asarray(features.numpy() if hasattr(features, "numpy") else features,
                           np.float64)
        if array.ndim != 2 or array.shape[0] < least or array.shape[1] < 1:
            raise ValueError(f"[{name}] {which}: {array.shape}; one feature vector per image, "
                             f"(N, D) with N of at least {least}, is expected")
        if not np.isfinite(array).all():
            raise ValueError(f"[{name}] {which}: some features are not finite numbers")
        sets.append(array)
    if sets[0].shape[1] != sets[1].shape[1]:
        raise ValueError(f"[{name}] real: {sets[0].shape}, fake: {sets[1].shape}; the features of "
                         "both must come from one network, and be equally long")
    return sets[0], sets[1]
