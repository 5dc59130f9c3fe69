"""Precision and recall of generated samples, from nearest neighbours among features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .frechet import as_features, frechet_distance

__all__ = ["PrecisionRecall", "SampleQuality", "precision_recall"]

_ROWS = 1024   # rows of a distance matrix at once: 1024 x 10,000 float64 are 80 MB


class PrecisionRecall(NamedTuple):
    """How many generated samples look real, and how many real ones are within reach."""

    precision: float
    recall: float


def precision_recall(real: Any, fake: Any, k: int = 3) -> PrecisionRecall:
    """Precision and recall of generated samples by k-nearest-neighbour balls around features.

    The manifold of a set is taken to be the union of balls, one around each of its points, that
    reach to the point's k-th nearest neighbour in the set. Precision is the share of `fake` (M, D)
    inside the manifold of `real` (N, D): quality. Recall is the share of `real` inside the manifold
    of `fake`: variety. A generator that makes one good picture over and over has precision 1 and
    recall near 0.

    Args:
        real, fake: arrays or tensors of one feature vector per image, more than k of each.
        k: the neighbour that a ball reaches to; the paper's is 3.

    Raises:
        ValueError: k is not a positive integer; the sets do not fit each other, or have too few.

    Source: T. Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative
    Models", NeurIPS 2019.

    >>> real = [[0.0], [1.0], [2.0], [3.0]]
    >>> precision_recall(real, [[1.1], [1.3], [1.5], [9.0]], k=1)
    PrecisionRecall(precision=0.75, recall=0.75)
    """
    if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or k < 1:
        raise ValueError(f"[precision_recall] k must be a positive integer, got {k!r}")
    real, fake = as_features("precision_recall", real, fake, least=k + 1)
    return PrecisionRecall(_share_inside(fake, real, k), _share_inside(real, fake, k))


def _share_inside(points: np.ndarray, cloud: np.ndarray, k: int) -> float:
    """The share of points (M, D) that lie in a ball of the cloud (N, D)."""
    radii = np.concatenate([
        np.partition(_squared_distances(cloud[i:i + _ROWS], cloud), k, axis=1)[:, k]
        for i in range(0, len(cloud), _ROWS)])                 # (N,): itself is neighbour 0
    inside = [(_squared_distances(points[i:i + _ROWS], cloud) <= radii).any(axis=1)
              for i in range(0, len(points), _ROWS)]
    return float(np.concatenate(inside).mean())


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a_i - b_j|^2, (len(a), len(b)), by one matrix product."""
    center = b.mean(axis=0)      # nearer to the origin, |a|^2 - 2ab + |b|^2 cancels less
    a, b = a - center, b - center
    squares = (a * a).sum(1)[:, None] - 2 * (a @ b.T) + (b * b).sum(1)
    return np.maximum(squares, 0)


class SampleQuality:
    """Fréchet distance, precision and recall of generated images against a fixed set of real ones.

    Args:
        features: a function from images (N, C, H, W) to feature vectors (N, D), for instance the
            `features` of a trained `tinygen.models.Classifier`.
        real: real images (N, C, H, W), as `features` expects them.
        k: see `precision_recall`.
        batch_size: how many images go through `features` at once.

    >>> flat = lambda images: images.reshape(len(images), -1)
    >>> real = np.random.default_rng(0).random((20, 1, 2, 2))
    >>> {name: round(value, 6) for name, value in SampleQuality(flat, real)(real).items()}
    {'frechet': 0.0, 'precision': 1.0, 'recall': 1.0}
    """

    accuracy: float | None = None      # of the classifier that gives the features, where known

    def __init__(self, features: Callable[[Any], Any], real: Any, k: int = 3,
                 batch_size: int = 500):
        self.features, self.k, self.batch_size = features, k, batch_size
        self.real = self._of(real)                                             # (N, D)

    def __call__(self, fake: Any) -> dict[str, float]:
        """`frechet`, `precision` and `recall` of generated images (M, C, H, W)."""
        found = self._of(fake)
        shares = precision_recall(self.real, found, self.k)
        return {"frechet": frechet_distance(self.real, found), **shares._asdict()}

    def _of(self, images: Any) -> np.ndarray:
        parts = [self.features(images[i:i + self.batch_size])
                 for i in range(0, len(images), self.batch_size)]
        if not parts:
            raise ValueError(f"[SampleQuality] images: {np.shape(images)}; there are none")
        return np.concatenate([np.asarray(p.numpy() if hasattr(p, "numpy") else p)
                               for p in parts])
