"""Word vectors: equal to an exact decomposition, and near for words of the same surroundings."""

import numpy as np
import pytest

pytest.importorskip("scipy")

from tinygen.text import word_vectors


def exact(texts, size, window):
    """The same by loops over all pairs and a full SVD."""
    counts = np.zeros((size, size))
    for text in texts:
        for i, a in enumerate(text):
            for j, b in enumerate(text):
                if i != j and abs(i - j) <= window:
                    counts[a, b] += 1 / abs(i - j)
    rows, columns = counts.sum(axis=1), counts.sum(axis=0) ** 0.75
    with np.errstate(divide="ignore", invalid="ignore"):
        ppmi = np.log(counts / (rows[:, None] * (columns / columns.sum())))
    u, s, _ = np.linalg.svd(np.where(counts > 0, np.maximum(ppmi, 0), 0))
    vectors = u * np.sqrt(s)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths / np.median(lengths[lengths > 0]), 1)


def test_products_equal_those_of_an_exact_decomposition():
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, 12, n).tolist() for n in (40, 1, 25, 0, 30)]
    found, expected = word_vectors(texts, 13, 13, window=3), exact(texts, 13, 3)
    assert found.dtype == np.float32 and found.shape == (13, 13)
    assert np.abs(found @ found.T - expected @ expected.T).max() < 1e-4
    assert not found[12].any()                                       # never seen


def test_words_in_the_same_places_are_alike():
    rng = np.random.default_rng(0)
    texts = [[0, int(rng.integers(1, 4)), 7, 8, int(rng.integers(4, 7))] for _ in range(300)]
    v = word_vectors(texts, 9, 4, window=1)
    v = v / np.linalg.norm(v, axis=1, keepdims=True)
    assert (v @ v.T)[1, 2] > 0.9 and (v @ v.T)[4, 5] > 0.9 and abs((v @ v.T)[1, 5]) < 0.5


def test_errors():
    with pytest.raises(ValueError, match="token 5 is not below vocab_size 3"):
        word_vectors([[0, 5]], 3, 2)
    with pytest.raises(ValueError, match="no two tokens stand together"):
        word_vectors([[0], [1], []], 3, 2)
    with pytest.raises(ValueError, match="dim must be from 1 to vocab_size, 3; got 4"):
        word_vectors([[0, 1, 2]], 3, 4)
