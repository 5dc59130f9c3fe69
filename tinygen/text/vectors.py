"""Vectors of words from texts without labels: words that stand among the same ones are alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

__all__ = ["word_vectors"]


def word_vectors(texts: Iterable[Sequence[int]], vocab_size: int, dim: int, *, window: int = 5,
                 seed: int = 0) -> np.ndarray:
    """One vector for each token, (vocab_size, dim) float32, from what it stands beside.

    Counts c_ij of tokens i and j at a distance d <= window, each weighing 1 / d, become

    PPMI_ij = max(0, log(c_ij / (c_i p_j))), with p_j the share of c_j^0.75,

    and the vectors are U sqrt(S) of its `dim` largest singular values, by randomised iteration.
    Their rows are scaled to the median length, at most. Tokens that never occur have zeros.

    Args:
        texts: token numbers; windows do not cross from one text to the next.

    Raises:
        ModuleNotFoundError: SciPy is missing. ValueError: no two tokens stand together.

    Sources: O. Levy, Y. Goldberg and I. Dagan, "Improving Distributional Similarity with Lessons
    Learned from Word Embeddings", TACL 2015; N. Halko et al., "Finding Structure with Randomness",
    SIAM Review 2011.
    """
    matrix = _ppmi(texts, vocab_size, window)
    if not 1 <= dim <= vocab_size:
        raise ValueError(f"[word_vectors] dim must be from 1 to vocab_size, {vocab_size}; got "
                         f"{dim}")
    rng = np.random.default_rng(seed)
    wide = min(vocab_size, dim + 10)                          # a few more make the last ones exact
    basis = np.linalg.qr(matrix @ rng.standard_normal((vocab_size, wide)))[0]
    for _ in range(4):
        basis = np.linalg.qr(matrix @ np.linalg.qr(matrix.T @ basis)[0])[0]       # (V, wide)
    u, s, _ = np.linalg.svd((matrix.T @ basis).T, full_matrices=False)
    vectors = (basis @ u)[:, :dim] * np.sqrt(s[:dim])                             # (V, dim)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    middle = np.median(lengths[lengths > 0]) if (lengths > 0).any() else 1.0
    return (vectors / np.maximum(lengths / middle, 1)).astype(np.float32)


def _ppmi(texts: Iterable[Sequence[int]], vocab_size: int, window: int) -> Any:
    try:
        from scipy import sparse
    except ModuleNotFoundError:
        raise ModuleNotFoundError("[word_vectors] needs SciPy: pip install scipy") from None
    gap = [-1] * window
    flat = np.array([i for text in texts for i in (*text, *gap)], np.int64)
    if flat.size and flat.max() >= vocab_size:
        raise ValueError(f"[word_vectors] token {flat.max()} is not below vocab_size {vocab_size}")
    counts = sparse.csr_matrix((vocab_size, vocab_size))
    for d in range(1, window + 1):
        left, right = flat[:-d], flat[d:]
        both = (left >= 0) & (right >= 0)
        part = sparse.coo_matrix((np.full(both.sum(), 1 / d), (left[both], right[both])),
                                 shape=counts.shape).tocsr()
        counts = counts + part + part.T
    if not counts.nnz:
        raise ValueError("[word_vectors] no two tokens stand together in these texts")
    total = np.asarray(counts.sum(axis=1)).ravel()
    share = total ** 0.75 / (total ** 0.75).sum()
    cells = counts.tocoo()
    values = np.maximum(np.log(cells.data / (total[cells.row] * share[cells.col])), 0)
    return sparse.csr_matrix((values, (cells.row, cells.col)), shape=counts.shape)
