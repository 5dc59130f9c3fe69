"""How well a ranking puts the items first that a user chose: recall and NDCG of the first k."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["ndcg_at_k", "recall_at_k"]


def recall_at_k(scores: Any, chosen: Any, k: int) -> np.ndarray:
    """The share of chosen items among the `k` with the highest scores, one number per user.

    hits / min(k, number of chosen items): 1 if nothing but chosen items stands in front. NaN for a
    user who chose nothing. Of equal scores the one with the lower number comes first.

    Args:
        scores: (N, items); -inf for items that shall not be ranked.
        chosen: (N, items), nonzero where a user chose an item.

    Source: D. Liang et al., "Variational Autoencoders for Collaborative Filtering", WWW 2018,
    section 4.2.

    >>> recall_at_k([[0.1, 0.9, 0.5, 0.7]], [[0, 1, 1, 0]], k=2).tolist()
    [0.5]
    """
    scores, hit, k = _checked("recall_at_k", scores, chosen, k)
    found = np.take_along_axis(hit, _first(scores, k), axis=1)                # (N, k)
    return _ratio(found.sum(axis=1), np.minimum(hit.sum(axis=1), k))


def ndcg_at_k(scores: Any, chosen: Any, k: int) -> np.ndarray:
    """The normalised discounted cumulative gain of the first `k`, one number per user.

    DCG / ideal DCG with DCG = sum_r chosen(r) / log2(r + 1) over the ranks r = 1, ..., k, the ideal
    one with all chosen items in front. NaN for a user who chose nothing. Of equal scores the one
    with the lower number comes first.

    Args:
        scores: (N, items); -inf for items that shall not be ranked.
        chosen: (N, items), nonzero where a user chose an item.

    Source: K. Järvelin and J. Kekäläinen, "Cumulated Gain-Based Evaluation of IR Techniques", ACM
    TOIS 20(4), 2002.

    >>> ndcg_at_k([[0.1, 0.9, 0.5, 0.7]], [[0, 1, 1, 0]], k=2).round(4).tolist()
    [0.6131]
    """
    scores, hit, k = _checked("ndcg_at_k", scores, chosen, k)
    discount = 1 / np.log2(np.arange(2, k + 2))                               # (k,)
    gain = np.take_along_axis(hit, _first(scores, k), axis=1) @ discount
    ideal = np.concatenate([[0.0], np.cumsum(discount)])
    return _ratio(gain, ideal[np.minimum(hit.sum(axis=1), k)])


def _first(scores: np.ndarray, k: int) -> np.ndarray:
    """The numbers of the k highest scores of each row, highest first: (N, k)."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def _ratio(found: np.ndarray, most: np.ndarray) -> np.ndarray:
    out = np.full(len(found), np.nan)
    return np.divide(found, most, out=out, where=most > 0)


def _checked(name: str, scores: Any, chosen: Any, k: int) -> tuple[np.ndarray, np.ndarray, int]:
    scores, chosen = (np.asarray(x.numpy() if hasattr(x, "numpy") else x) for x in (scores, chosen))
    if scores.ndim != 2 or scores.shape != chosen.shape or not scores.size:
        raise ValueError(f"[{name}] scores: {scores.shape}, chosen: {chosen.shape}; two arrays "
                         "(N, items) of one shape are expected")
    if not isinstance(k, (int, np.integer)) or k < 1:
        raise ValueError(f"[{name}] k must be an integer of at least 1, got {k!r}")
    if np.isnan(scores).any():
        raise ValueError(f"[{name}] scores hold NaN, which has no rank")
    return scores, chosen != 0, min(int(k), scores.shape[1])
