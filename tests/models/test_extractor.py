"""Titles out of texts: labels and stretches by brute force, counts by hand, padding, learning."""

import itertools

import numpy as np
import pytest

import tinygen as tg
from tinygen.models import SpanExtractor, best_span, shared_pairs


def extractor(vocab_size=12, **options):
    tg.manual_seed(0)
    return SpanExtractor(vocab_size, width=8, heads=2, **options).eval()


def texts(n=4, length=9, seed=0):
    return np.random.default_rng(seed).integers(1, 12, (n, length))


def test_labels_are_the_tokens_of_shared_pairs():
    text, title = "我们研究猫的睡眠,猫很多", "猫的睡眠"
    assert "".join(c for c, y in zip(text, shared_pairs(text, title)) if y) == "猫的睡眠"
    assert shared_pairs([1, 2, 3, 9, 2, 3], [2, 3]).tolist() == [0, 1, 1, 0, 1, 1]
    for nothing in (("abc", "c"), ("a", "ab"), ("", "ab"), ("abc", "cba")):
        assert not shared_pairs(*nothing).any() and len(shared_pairs(*nothing)) == len(nothing[0])


@pytest.mark.parametrize("prior, shortest, longest", [(3.0, 1, 12), (0.5, 4, 6), (20.0, 2, 30)])
def test_the_best_stretch_is_that_of_all_stretches(prior, shortest, longest):
    rng = np.random.default_rng(3)
    for length in (1, 3, 9, 14):
        p = rng.random(length)
        all_of_them = [(i, j) for i, j in itertools.combinations(range(length + 1), 2)
                       if min(shortest, length) <= j - i <= longest]
        expected = max(all_of_them, key=lambda s: 2 * p[s[0]:s[1]].sum() / (s[1] - s[0] + prior))
        assert best_span(p, prior, shortest, longest) == expected


def test_what_is_counted_by_hand():
    model = extractor()
    model.count_pairs([[1, 2, 1, 2, 3], [1, 2], [4, 5]])         # (1, 2) in two of three texts
    known = model.rarity.numpy()
    counted = model._counted(np.array([[1, 2, 1, 2, 3, 0]]), known)[0]  # (6, 9)
    twice, once = np.log1p(2), np.log1p(1)
    # pairs of the text: (1, 2), (2, 1), (1, 2), (2, 3): with the next token, with the one before
    np.testing.assert_allclose(counted[:, 0], [twice, once, twice, once, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(counted[:, 1], [0, twice, once, twice, once, 0], rtol=1e-6)
    common, rare = np.log(3 / 2) / 4, np.log(3) / 4
    np.testing.assert_allclose(counted[:, 2], [common, rare, common, rare, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(counted[:, 3], [0, common, rare, common, rare, 0], rtol=1e-6)
    np.testing.assert_allclose(counted[:, 4], counted[:, 0] * counted[:, 2], rtol=1e-6)
    assert (counted[5] == 0).all()
    never = model._counted(np.array([[7, 8]]), known)[0]
    assert never[0, 2] == pytest.approx(rare)                    # as rare as what stands in one


def test_padding_changes_neither_probabilities_nor_loss():
    model = extractor()
    model.count_pairs(texts())
    rows = [[3, 4, 5, 6, 7, 3, 4], [8, 9, 10]]
    narrow, wide = (np.array([row + [0] * (n - len(row)) for row in rows]) for n in (7, 12))
    labels = [np.where(x != 0, x % 2, 0) for x in (narrow, wide)]
    p = model.probabilities(wide)
    assert np.abs(p[:, :7] - model.probabilities(narrow)).max() < 1e-6
    assert (p[wide == 0] == 0).all() and (p[wide != 0] > 0).all()
    assert np.abs(p[1, :3] - model.probabilities([rows[1]])[0]).max() < 1e-6
    losses = [model.evaluate(x, y)["loss"].item() for x, y in zip((narrow, wide), labels)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    real = wide != 0
    log = np.where(labels[1] == 1, np.log(np.where(real, p, 1)), np.log1p(-p))
    assert losses[1] == pytest.approx(-log[real].mean(), abs=1e-5)
    a = model.attention(wide).numpy()
    assert np.abs(a.sum(axis=1) - 1).max() < 1e-6 and (a[wide == 0] < 1e-12).all()


def test_it_learns_to_mark_what_follows_a_word():
    def draw(n, rng):
        tokens = rng.integers(2, 12, (n, 12))
        at = rng.integers(0, 9, n)
        tokens[np.arange(n), at] = 1                     # the word; the two after it are marked
        labels = np.zeros_like(tokens)
        for k in (1, 2):
            labels[np.arange(n), at + k] = 1
        return tokens, labels
    rng = np.random.default_rng(0)
    model = extractor(dropout=0.0)
    optimizers = model.configure_optimizers(lr=1e-2)
    for _ in range(80):
        model.training_step(*draw(32, rng), optimizers)
    tokens, labels = draw(200, rng)
    assert ((model.probabilities(tokens) > 0.5) == labels).mean() > 0.98
    spans = [best_span(p, 2.0, shortest=2) for p in model.probabilities(tokens)]
    assert np.mean([y[i:j].all() and j - i == 2 for y, (i, j) in zip(labels, spans)]) > 0.95


def test_vectors_are_taken_and_states_are_whole():
    vectors = np.random.default_rng(1).normal(size=(12, 8))
    model = extractor(vectors=vectors)
    taken = model.tokens.weight.detach().numpy()
    assert np.corrcoef(taken.ravel(), vectors.ravel())[0, 1] > 0.999
    assert taken.std() == pytest.approx(0.15, rel=1e-4)
    model.count_pairs(texts())
    twin = extractor()
    twin.load_state_dict(model.state_dict())             # what was counted goes with the weights
    assert (twin.probabilities(texts(seed=5)) == model.probabilities(texts(seed=5))).all()


@pytest.mark.parametrize("call, message", [
    (lambda: extractor()(np.ones((2, 3))), r"tokens: float64 \(2, 3\); integers \(N, L\)"),
    (lambda: extractor().loss(texts(), np.ones((4, 8))), r"labels: \(4, 8\); \(4, 9\), one for"),
    (lambda: extractor(vectors=np.ones((3, 8))), r"vectors: \(3, 8\); .* \(12, 8\)"),
    (lambda: extractor().count_pairs([]), "count_pairs needs at least one text"),
    (lambda: best_span([], 2.0), r"\[best_span\] p \(0,\)"),
    (lambda: best_span([0.5], 0.0), "a positive prior"),
])
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
