"""Where codes lie once a VAE has learnt: a Gaussian for each class."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import Tensor

__all__ = ["ClassGaussians"]


class ClassGaussians:
    """For each class y a Gaussian p(z | y), fitted to the codes q(z | x, y) of its examples.

    m_y = mean of mu, S_y = covariance of mu + mean of diag(sigma^2): those of the mixture of all
    its q(z | x, y). A VAE's loss asks that these mixtures be N(0, I) and never quite gets it; a
    conditional VAE with little regularisation tells classes apart by z too, so that z drawn from
    N(0, I) and a class contradict each other. Drawing from what was fitted does not.

    Args:
        mu, logvar: of q(z | x, y), (N, latent), as `VAE.encode` gives them.
        labels: (N,), integers from 0; each up to the largest must occur twice.

    Source: P. Ghosh et al., "From Variational to Deterministic Autoencoders", ICLR 2020 (a density
    of the codes, fitted afterwards).

    >>> codes = ClassGaussians([[0.0, 1.0], [2.0, 1.0]], [[-99.0, 0.0]] * 2, [0, 0])
    >>> codes.means.tolist(), codes.covariances[0].round(2).tolist()
    ([[1.0, 1.0]], [[2.0, 0.0], [0.0, 1.0]])
    """

    def __init__(self, mu: Any, logvar: Any, labels: Any):
        mu, logvar = (np.asarray(_array(x), np.float64) for x in (mu, logvar))
        labels = np.asarray(_array(labels))
        if mu.ndim != 2 or mu.shape != logvar.shape or labels.shape != mu.shape[:1] or (
                labels.dtype.kind not in "iu"):
            raise ValueError(f"[ClassGaussians] mu {mu.shape}, logvar {logvar.shape}, labels "
                             f"{labels.dtype} {labels.shape}; (N, latent) twice and integers (N,) "
                             "are expected")
        counts = np.bincount(labels)
        if not counts.size or counts.min() < 2:
            few = int(counts.argmin()) if counts.size else 0
            raise ValueError(f"[ClassGaussians] class {few} has {counts.min(initial=0)} examples; "
                             "at least two of each are expected")
        groups = [labels == y for y in range(len(counts))]
        self.means = np.stack([mu[g].mean(axis=0) for g in groups])              # (Y, latent)
        self.covariances = np.stack([
            np.atleast_2d(np.cov(mu[g], rowvar=False)) + np.diag(np.exp(logvar[g]).mean(axis=0))
            for g in groups])                                                    # (Y, L, L)

    def sample(self, labels: Any, seed: int = 0) -> np.ndarray:
        """A code for each label (N,): float32 (N, latent)."""
        labels = np.asarray(_array(labels))
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or not (
                (labels >= 0) & (labels < len(self.means))).all():
            raise ValueError(f"[ClassGaussians] labels: {labels.dtype} {labels.shape}; integers "
                             f"(N,) from 0 to {len(self.means) - 1} are expected")
        factors = np.linalg.cholesky(self.covariances)
        noise = np.random.default_rng(seed).normal(size=(len(labels), self.means.shape[1]))
        z = self.means[labels] + np.einsum("nij,nj->ni", factors[labels], noise)
        return z.astype(np.float32)


def _array(x: Any) -> Any:
    return x.numpy() if isinstance(x, Tensor) else x
