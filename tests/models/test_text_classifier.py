"""Classifiers of texts: self-attention beside PyTorch, a linear machine beside scikit-learn."""

import numpy as np
import pytest

import tinygen as tg
from tinygen.models import AttentionClassifier, WordWeights

SMALL = {"width": 8, "heads": 2, "hidden": 12, "longest": 10}


def texts(n=6, length=7, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.integers(1, 15, (n, length))
    x[np.arange(length) >= rng.integers(1, length + 1, n)[:, None]] = 0
    return x


def logits_of(model, x):
    with tg.no_grad():
        return model(x).numpy()


def attention_model(seed=0, **options):
    tg.manual_seed(seed)
    model = AttentionClassifier(15, 3, **{**SMALL, **options}).eval()
    for p in (model.words.weight, model.positions.weight, model.query.weight):
        tg.nn.init.normal_(p, 0.0, 1.0)
    return model


def test_logits_and_attention_equal_pytorchs():
    torch = pytest.importorskip("torch")
    T = torch.nn
    model, x = attention_model().to(dtype="float64"), texts()
    w = {k: torch.from_numpy(v.numpy().copy()) for k, v in model.state_dict().items()}
    body = T.TransformerEncoder(
        T.TransformerEncoderLayer(8, 2, 12, 0.0, "gelu", batch_first=True, norm_first=True), 1,
        T.LayerNorm(8), enable_nested_tensor=False).double()
    body.load_state_dict({k[5:]: v for k, v in w.items() if k.startswith("body.")})
    ids = torch.from_numpy(x)
    embedded = w["words.weight"][ids] + w["positions.weight"][:7]
    h = body(embedded, src_key_padding_mask=ids == 0)
    scores = (h @ w["query.weight"][0]).masked_fill(ids == 0, -torch.inf)
    a = scores.softmax(dim=1)
    expected = (a[..., None] * h).sum(1) @ w["head.weight"].T + w["head.bias"]
    assert np.abs(logits_of(model, x) - expected.detach().numpy()).max() < 1e-12
    found = model.attention(x).numpy()
    assert np.abs(found - a.detach().numpy()).max() < 1e-12
    assert not found[x == 0].any() and np.allclose(found.sum(axis=1), 1)


def test_padding_changes_nothing():
    model, x = attention_model(), texts()
    wider = np.pad(x, ((0, 0), (0, 3)))
    assert np.abs(logits_of(model, x) - logits_of(model, wider)).max() < 1e-5


def test_words_are_hidden_while_training_alone():
    model = attention_model(word_dropout=0.5, dropout=0.0)
    x = np.full((400, 10), 7)
    assert np.ptp(logits_of(model, x), axis=0).max() < 1e-5
    model.train()
    assert len(np.unique(logits_of(model, x)[:, 0].round(4))) > 100
    tg.nn.init.zeros_(model.positions.weight)
    hidden = attention_model(word_dropout=1 - 1e-9, dropout=0.0).train()
    assert np.allclose(logits_of(hidden, x), logits_of(hidden.eval(), np.ones_like(x)), atol=1e-5)


def test_it_learns_a_negation_that_a_sum_over_words_cannot():
    """Tokens: 2 not, 3 good, 4 bad, 5 and 6 fill in. `not` turns good into bad and back."""
    rng = np.random.default_rng(0)
    denied, good = rng.integers(0, 2, (2, 400))
    x = np.stack([np.where(denied, 2, 5), np.where(good, 3, 4), np.full(400, 6)], axis=1)
    y = (denied != good).astype(np.int64)
    tg.manual_seed(0)
    results = {}
    for model in (AttentionClassifier(7, 2, **SMALL, dropout=0.0, word_dropout=0.0),
                  WordWeights(7)):
        optimizers = model.configure_optimizers(lr=1e-2)
        losses = [model.training_step(x, y, optimizers)["loss"].item() for _ in range(60)]
        results[model.name] = losses[0], losses[-1], model.evaluate(x, y)["accuracy"].item()
    assert results["attention-classifier"][2] == 1.0
    assert results["attention-classifier"][1] < 0.1 * results["attention-classifier"][0]
    assert results["word-weights"][2] < 0.8


def test_a_linear_machine_reaches_scikit_learns_objective():
    svm = pytest.importorskip("sklearn.svm")
    rng = np.random.default_rng(0)
    x = rng.integers(0, 20, (120, 6))
    truth = rng.normal(size=20)
    truth[0] = 0
    bags = np.zeros((120, 20))
    bags[np.arange(120)[:, None], x] = 1
    bags[:, 0] = 0                                          # padding, and each word counts once
    y = (bags @ truth + rng.normal(size=120) > 0).astype(np.int64)
    l2 = 0.05
    theirs = svm.SVC(kernel="linear", C=1 / (l2 * 120), tol=1e-6).fit(bags, y)
    w, b = theirs.coef_[0], theirs.intercept_[0]
    margins = (2 * y - 1) * (bags @ w + b)
    best = np.maximum(0, 1 - margins).mean() + l2 / 2 * (w ** 2).sum()
    model = WordWeights(20, l2=l2).to(dtype="float64")
    for rate in (3e-2, 3e-3, 3e-4):
        optimizers = model.configure_optimizers(lr=rate)
        for _ in range(250):
            model.training_step(x, y, optimizers)
    assert best - 1e-9 <= model.evaluate(x, y)["loss"].item() < best + 2e-3
    found = model.words.weight.detach().numpy()[:, 0]
    assert np.corrcoef(found, w)[0, 1] > 0.99 and found[0] == 0
    against, for_ = model.strongest(3)
    assert against[0] == found.argmin() and for_[0] == found.argmax() and len(for_) == 3


def test_given_vectors_are_where_words_begin():
    vectors = np.random.default_rng(0).normal(size=(15, 8)) * 7
    model = AttentionClassifier(15, 2, **SMALL, vectors=vectors)
    ratio = model.words.weight.detach().numpy() / vectors
    assert np.allclose(ratio, ratio[0, 0], rtol=1e-5)
    assert model.words.weight.detach().numpy().std() == pytest.approx(0.15, rel=1e-3)
    with pytest.raises(ValueError, match=r"vectors: \(3, 8\); \(vocab_size, width\) = \(15, 8\)"):
        AttentionClassifier(15, 2, **SMALL, vectors=np.zeros((3, 8)))


def test_errors_say_what_would_fit():
    model = attention_model()
    with pytest.raises(ValueError, match=r"11 tokens; this model reads at most 10 \(longest=10\)"):
        model(np.ones((1, 11), np.int64))
    with pytest.raises(ValueError, match=r"tokens: int64 \(4,\); integers \(N, L\)"):
        model(np.ones(4, np.int64))
    with pytest.raises(ValueError, match=r"labels: int64 \(2,\); integers \(6,\), one for each"):
        model.evaluate(texts(), np.array([0, 1]))
    with pytest.raises(ValueError, match="vocab_size must be a positive integer, got 0"):
        WordWeights(0)
