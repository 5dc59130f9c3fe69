"""Retrieval: by hand, beside scikit-learn's top-k accuracy, ties, several right answers, errors."""

import numpy as np
import pytest

from tinygen.metrics import retrieval_ranks, retrieval_recall


def test_by_hand():
    similarity = np.array([[0.9, 0.1, 0.3, 0.2], [0.2, 0.8, 0.7, 0.9], [0.6, 0.5, 0.4, 0.1]])
    right = np.array([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert retrieval_ranks(similarity, right).tolist() == [1, 3, 4]
    assert [retrieval_recall(similarity, right, k).mean().round(3) for k in (1, 3, 4, 9)] == [
        0.333, 0.667, 1, 1]
    assert retrieval_ranks(similarity.T, right.T).tolist() == [1, 3, 1, 3], "the other direction"


@pytest.mark.parametrize("k", [1, 5, 10])
def test_one_right_answer_is_the_accuracy_of_the_first_k(k):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(200, 30)), rng.integers(30, size=200)
    expected = metrics.top_k_accuracy_score(labels, scores, k=k, labels=np.arange(30))
    found = retrieval_recall(scores, np.eye(30)[labels], k)
    assert found.mean() == pytest.approx(expected)


def test_several_right_answers_count_as_the_best_of_them():
    rng = np.random.default_rng(1)
    scores, right = rng.normal(size=(50, 12)), rng.random((50, 12)) < 0.3
    right[:, 0] = True
    for row, truth, rank in zip(scores, right, retrieval_ranks(scores, right), strict=True):
        order = np.argsort(-row)
        assert rank == 1 + np.flatnonzero(truth[order])[0]


def test_ties_count_against_the_search():
    assert retrieval_ranks(np.zeros((1, 6)), [[0, 1, 1, 0, 0, 0]]).tolist() == [5]
    assert retrieval_recall([[0.5, 0.5]], [[1, 0]], 1).tolist() == [0.0]
    assert retrieval_ranks([[0.5, 0.5]], [[1, 1]]).tolist() == [1], "not a tie with a wrong one"


def test_a_query_without_an_answer_is_nan():
    assert np.isnan(retrieval_recall([[1.0, 2.0]], [[0, 0]], 1)[0])
    assert retrieval_ranks([[-np.inf, 0.0]], [[0, 1]]).tolist() == [1]


@pytest.mark.parametrize(("arguments", "words"), [
    (([[1.0]], [[1, 0]], 1), r"similarity: \(1, 1\), right: \(1, 2\)"),
    (([1.0], [1], 1), r"\(queries, candidates\)"),
    ((np.zeros((0, 3)), np.zeros((0, 3)), 1), r"\(0, 3\)"),
    (([[1.0]], [[1]], 0), "k must be an integer of at least 1, got 0"),
    (([[np.nan]], [[1]], 1), "NaN"),
])
def test_errors(arguments, words):
    with pytest.raises(ValueError, match=words):
        retrieval_recall(*arguments)
