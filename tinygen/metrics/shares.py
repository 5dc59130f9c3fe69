"""How common classes are among pictures that only a classifier, which errs, has looked at."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["Shares", "corrected_shares"]

_DRAWS = 400   # of the bootstrap: the standard error of a standard error is then 3.5%


class Shares(NamedTuple):
    """The share of each class, (K,), adding up to 1, and the standard errors, (K,)."""

    shares: np.ndarray
    errors: np.ndarray


def corrected_shares(verdicts: Any, known_verdicts: Any, truth: Any, classes: int = 2,
                     seed: int = 0) -> Shares:
    """The shares of classes, corrected for the errors that a classifier makes on known samples.

    With C[i, j] the share of verdict j among known samples of class i, verdicts j are expected with
    frequency q_j = sum_i p_i C[i, j]; p is solved from the q that was found. Negative shares, which
    chance can lead to, become 0. For two classes this is

    p_1 = (q_1 + specificity - 1) / (sensitivity + specificity - 1).

    It is right where the classifier errs on the unknown samples as often as on the known ones of
    the same class, which has to be argued for; the errors hold the chance in q and in C alone.

    Args:
        verdicts: integers (N,), the classifier's on the samples in question.
        known_verdicts, truth: integers (M,), its verdicts on others and what these are.
        classes: K; classes are 0 to K - 1.
        seed: of the bootstrap that the standard errors come from.

    Raises:
        ValueError: integers are out of range or do not fit each other; a class has no known
            sample; verdicts say nothing about the class, so that C has no inverse.

    Source: W. J. Rogan and B. Gladen, "Estimating Prevalence from the Results of a Screening Test",
    American Journal of Epidemiology 107(1), 1978.

    >>> verdicts = [1] * 30 + [0] * 70                  # 30% positive ...
    >>> known, truth = [1] * 8 + [0] * 2 + [1] * 1 + [0] * 9, [1] * 10 + [0] * 10
    >>> corrected_shares(verdicts, known, truth).shares.round(3).tolist()    # (0.3 - 0.1) / 0.7
    [0.714, 0.286]
    """
    found, known, real = (_integers(name, x, classes) for name, x in (
        ("verdicts", verdicts), ("known_verdicts", known_verdicts), ("truth", truth)))
    if known.shape != real.shape:
        raise ValueError(f"[corrected_shares] known_verdicts: {known.shape}, truth: {real.shape}; "
                         "one of each for every known sample is expected")
    counts = np.bincount(found, minlength=classes)                         # (K,)
    table = np.bincount(real * classes + known, minlength=classes ** 2)
    table = table.reshape(classes, classes)                                # C before division
    if (table.sum(axis=1) == 0).any():
        missing = int(np.flatnonzero(table.sum(axis=1) == 0)[0])
        raise ValueError(f"[corrected_shares] truth: no known sample is of class {missing}, so "
                         "nothing is known of the classifier's errors on it")
    shares = _solve(counts, table)
    if shares is None:
        raise ValueError("[corrected_shares] known_verdicts do not depend on the class: the "
                         "classifier tells nothing about the shares")
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(_DRAWS):
        rows = [rng.multinomial(row.sum(), row / row.sum()) for row in table]
        drawn = _solve(rng.multinomial(counts.sum(), counts / counts.sum()), np.array(rows))
        draws += [] if drawn is None else [drawn]
    return Shares(shares, np.std(draws, axis=0))


def _solve(counts: np.ndarray, table: np.ndarray) -> np.ndarray | None:
    """p of q = p C, without negative shares; None where C is singular."""
    confusion = table / table.sum(axis=1, keepdims=True)
    if np.linalg.cond(confusion) > 1e8:
        return None
    shares = np.linalg.solve(confusion.T, counts / counts.sum()).clip(0)
    return shares / shares.sum()


def _integers(name: str, values: Any, classes: int) -> np.ndarray:
    array = np.asarray(values.numpy() if hasattr(values, "numpy") else values)
    if array.dtype == bool:
        array = array.astype(np.int64)
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iu":
        raise ValueError(f"[corrected_shares] {name}: {array.dtype} {array.shape}; integers (N,), "
                         "at least one, are expected")
    if array.min() < 0 or array.max() >= classes:
        raise ValueError(f"[corrected_shares] {name}: from {array.min()} to {array.max()}; classes "
                         f"0 to {classes - 1} are expected")
    return array.astype(np.int64)
