"""Ranking metrics: by hand, beside scikit-learn's NDCG, and at the edges."""

import numpy as np
import pytest

from tinygen.metrics import ndcg_at_k, recall_at_k


def test_by_hand():
    scores = [[9, 8, 7, 6, 5], [1, 2, 3, 4, 5]]
    chosen = [[1, 0, 1, 0, 1], [1, 0, 0, 0, 0]]
    assert recall_at_k(scores, chosen, 3).tolist() == [2 / 3, 0.0]
    assert recall_at_k(scores, chosen, 2).tolist() == [1 / 2, 0.0], "at most 2 can be found"
    ideal = 1 + 1 / np.log2(3) + 1 / 2
    np.testing.assert_allclose(ndcg_at_k(scores, chosen, 5), [
        (1 + 1 / 2 + 1 / np.log2(6)) / ideal, 1 / np.log2(6)])
    np.testing.assert_allclose(ndcg_at_k(scores, chosen, 2), [1 / (1 + 1 / np.log2(3)), 0])


@pytest.mark.parametrize("k", [1, 3, 10, 40, 100])
def test_ndcg_is_that_of_scikit_learn(k):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    scores, chosen = rng.normal(size=(20, 40)), rng.random((20, 40)) < 0.2
    chosen[:, 0] = True
    expected = [metrics.ndcg_score([c], [s], k=k) for c, s in zip(chosen, scores)]
    np.testing.assert_allclose(ndcg_at_k(scores, chosen, k), expected, rtol=1e-12)


def test_recall_counts_hits():
    rng = np.random.default_rng(1)
    scores, chosen = rng.normal(size=(8, 12)), rng.random((8, 12)) < 0.3
    chosen[:, 3] = True
    for user in range(8):
        best = sorted(range(12), key=lambda i: -scores[user, i])[:4]
        expected = sum(chosen[user, i] for i in best) / min(4, chosen[user].sum())
        assert recall_at_k(scores, chosen, 4)[user] == pytest.approx(expected)


@pytest.mark.parametrize("metric", [recall_at_k, ndcg_at_k])
def test_edges(metric):
    assert np.isnan(metric([[1.0, 2.0]], [[0, 0]], 2)[0]), "nothing to find"
    assert metric([[1.0, 2.0]], [[1, 1]], 10).tolist() == [1.0], "k beyond the items"
    assert metric([[-np.inf, 0.0]], [[0, 1]], 1).tolist() == [1.0]
    assert metric([[1.0, 1.0]], [[1, 0]], 1).tolist() == [1.0], "of equals the first"


@pytest.mark.parametrize("metric", [recall_at_k, ndcg_at_k])
@pytest.mark.parametrize(("arguments", "words"), [
    (([[1.0]], [[1, 0]], 1), r"scores: \(1, 1\), chosen: \(1, 2\)"),
    (([1.0], [1], 1), r"\(N, items\)"),
    ((np.zeros((0, 3)), np.zeros((0, 3)), 1), r"\(0, 3\)"),
    (([[1.0]], [[1]], 0), "k must be an integer of at least 1, got 0"),
    (([[np.nan]], [[1]], 1), "NaN"),
])
def test_errors(metric, arguments, words):
    with pytest.raises(ValueError, match=words):
        metric(*arguments)
