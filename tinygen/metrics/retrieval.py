"""How soon a search finds something right, for queries with one right answer or with several."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["retrieval_ranks", "retrieval_recall"]


def retrieval_ranks(similarity: Any, right: Any) -> np.ndarray:
    """The rank of the first right candidate of each query, from 1: (N,) floats.

    1 + the number of wrong candidates that are as similar as the best right one or more: a tie
    with something wrong counts against the search, so that equal similarities for all earn nothing.
    NaN for a query for which no candidate is right.

    Args:
        similarity: (N, M), queries by candidates; the transposes of both measure the other
            direction.
        right: (N, M), nonzero where candidate j is a right answer to query i.
    """
    scores, hits = _checked(similarity, right)
    best = np.where(hits, scores, -np.inf).max(axis=1, keepdims=True)         # (N, 1)
    ranks = 1.0 + (~hits & (scores >= best)).sum(axis=1)
    return np.where(hits.any(axis=1), ranks, np.nan)


def retrieval_recall(similarity: Any, right: Any, k: int) -> np.ndarray:
    """R@k: 1 where a right candidate is among the first `k`, else 0, one number for each query.

    One right answer is enough, however many there are: `recall_at_k` counts them all. Ties as in
    `retrieval_ranks`; NaN for a query for which no candidate is right.

    Source: M. Hodosh, P. Young and J. Hockenmaier, "Framing Image Description as a Ranking Task",
    JAIR 47, 2013, section 5.

    >>> similarity = [[0.9, 0.8, 0.1], [0.5, 0.5, 0.2]]       # two pictures, three captions
    >>> right = [[0, 1, 1], [1, 0, 0]]
    >>> [retrieval_recall(similarity, right, k).tolist() for k in (1, 2)]
    [[0.0, 0.0], [1.0, 1.0]]
    """
    if not isinstance(k, (int, np.integer)) or k < 1:
        raise ValueError(f"[retrieval_recall] k must be an integer of at least 1, got {k!r}")
    ranks = retrieval_ranks(similarity, right)
    return np.where(np.isnan(ranks), np.nan, ranks <= k)


def _checked(similarity: Any, right: Any) -> tuple[np.ndarray, np.ndarray]:
    scores, hits = (np.asarray(x.numpy() if hasattr(x, "numpy") else x)
                    for x in (similarity, right))
    if scores.ndim != 2 or scores.shape != hits.shape or not scores.size:
        raise ValueError(f"[retrieval] similarity: {scores.shape}, right: {hits.shape}; two arrays "
                         "(queries, candidates) of one shape are expected")
    if np.isnan(scores).any():
        raise ValueError("[retrieval] similarity holds NaN, which has no rank")
    return scores, hits != 0
