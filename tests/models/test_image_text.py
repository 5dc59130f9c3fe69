"""Two towers and cross-attention: losses by hand and by PyTorch, hard negatives, searching."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn
from tinygen.models import ImageEncoder, ImageTextMatcher
from tinygen.models.image_text import _hard, attention_weights
from tinygen.nn import functional as F

TOKENS = np.array([[1, 5, 6, 2, 0], [1, 7, 2, 0, 0], [1, 8, 5, 6, 2], [1, 5, 7, 2, 0]])


def small(seed=0, **options):
    tg.manual_seed(seed)
    return ImageTextMatcher((1, 8, 8), 9, width=8, heads=2, dim=6, channels=(4, 6), longest=6,
                            **options).eval()


def pictures(n=4, seed=0):
    return np.random.default_rng(seed).random((n, 1, 8, 8), np.float32)


@tg.no_grad()
def test_the_contrastive_loss_is_clips():
    model, x = small(), pictures()
    found = model.losses(x, TOKENS)
    u, v = model.encode_images(x)[1], model.encode_texts(TOKENS)[1]
    expected = F.clip_loss(u, v, tg.exp(model.log_scale))
    assert found["contrastive"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert found["loss"].item() == pytest.approx(
        found["contrastive"].item() + found["matching"].item(), rel=1e-6)


@tg.no_grad()
def test_pairs_of_one_group_are_not_held_against_each_other():
    model, x = small(), pictures()
    groups = np.array([0, 1, 0, 2])
    u, v = model.encode_images(x)[1].numpy(), model.encode_texts(TOKENS)[1].numpy()
    s = np.exp(model.log_scale.item()) * np.float64(u @ v.T)
    total = 0.0
    for i in range(4):
        wrong = [j for j in range(4) if groups[j] != groups[i]]
        for row in (s[i], s[:, i]):
            total -= row[i] - np.log(np.exp(row[[i, *wrong]]).sum())
    found = model.losses(x, TOKENS, groups)["contrastive"].item()
    assert found == pytest.approx(total / 8, rel=1e-5)


def test_hard_negatives_are_drawn_by_softmax_and_never_of_the_own_group():
    tg.manual_seed(0)
    scores = tg.Tensor(np.log(np.array([[9.0, 1.0, 3.0], [2.0, 9.0, 2.0], [5.0, 1.0, 9.0]])))
    same = np.eye(3, dtype=bool) | np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0]], bool)
    drawn = np.array([_hard(scores, same) for _ in range(2000)])
    assert not same[np.arange(3), drawn].any()
    assert (drawn[:, 0] == 2).mean() == pytest.approx(3 / 4, abs=0.04)
    assert (drawn[:, 1] == 0).all() and (drawn[:, 2] == 0).all()


@tg.no_grad()
def test_padding_changes_nothing():
    model, x = small(), pictures(1)
    short, padded = np.array([[1, 5, 2]]), np.array([[1, 5, 2, 0, 0, 0]])
    regions = model.encode_images(x)[0]
    (a, u), (b, v) = model.encode_texts(short), model.encode_texts(padded)
    np.testing.assert_allclose(u.numpy(), v.numpy(), atol=1e-6)
    np.testing.assert_allclose(model.match(regions, a, tg.Tensor(short)).numpy(),
                               model.match(regions, b, tg.Tensor(padded)).numpy(), atol=1e-6)


@tg.no_grad()
def test_matching_is_a_transformer_decoder_of_pytorch():
    torch = pytest.importorskip("torch")
    model, x = small(fusion_layers=2), pictures()
    layer = torch.nn.TransformerDecoderLayer(8, 2, 16, 0.0, "gelu", batch_first=True,
                                             norm_first=True)
    other = torch.nn.TransformerDecoder(layer, 2, torch.nn.LayerNorm(8)).eval()
    other.load_state_dict({k: torch.tensor(v.detach().numpy())
                           for k, v in model.fusion.state_dict().items()})
    regions, states = model.encode_images(x)[0], model.encode_texts(TOKENS)[0]
    padding = torch.tensor(TOKENS == 0)
    with torch.no_grad():
        fused = other(torch.tensor(states.numpy()), torch.tensor(regions.numpy()),
                      tgt_key_padding_mask=padding).numpy()
    mean = np.stack([row[tokens != 0].mean(axis=0) for row, tokens in zip(fused, TOKENS)])
    head = model.decide
    expected = mean @ head.weight.detach().numpy()[0] + head.bias.detach().numpy()
    found = model.match(regions, states, tg.Tensor(TOKENS)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@tg.no_grad()
def test_attention_is_what_the_layer_used():
    """Weights times values, projected, are the layer's output."""
    tg.manual_seed(0)
    layer = nn.MultiheadAttention(8, 1, batch_first=True).eval()
    q, kv = tg.randn(2, 3, 8), tg.randn(2, 5, 8)
    out = []
    weights = attention_weights(layer, lambda: out.append(
        layer(q, kv, kv, need_weights=False)[0]))
    values = kv @ layer.in_proj_weight[16:].T + layer.in_proj_bias[16:]
    expected = layer.out_proj(tg.Tensor(weights) @ values)
    np.testing.assert_allclose(out[0].numpy(), expected.numpy(), atol=1e-5)
    model = small()
    maps = model.attention(pictures(), TOKENS)
    assert maps.shape == (4, 5, 4) and model.images.grid == (2, 2)
    np.testing.assert_allclose(maps.sum(axis=2), 1, atol=1e-5)
    with pytest.raises(RuntimeError, match="was not called"):
        attention_weights(layer, lambda: None)


@tg.no_grad()
def test_hidden_words_are_guessed_from_the_picture():
    model = small(mask=3, masked=1.0)
    found = model.losses(pictures(), TOKENS)
    regions = model.encode_images(pictures())[0]
    hidden = np.where(TOKENS == 0, 0, 3)
    logits = model.guess(model._fuse(regions, model.texts(hidden), tg.Tensor(TOKENS)))
    log_p = F.log_softmax(logits, dim=-1).numpy()
    picked = np.take_along_axis(log_p, TOKENS[:, :, None], 2)[:, :, 0][TOKENS != 0]
    assert found["words"].item() == pytest.approx(-picked.mean(), rel=1e-5)
    assert found["loss"].item() == pytest.approx(sum(
        found[k].item() for k in ("contrastive", "matching", "words")), rel=1e-6)


@tg.no_grad()
def test_reranking_adds_the_match_of_the_nearest_pairs_and_leaves_the_rest_behind():
    model, x = small(), pictures(6)
    tokens = np.array([[1, a, b, 2] for a, b in ((4, 5), (5, 6), (6, 7), (7, 8), (8, 4))])
    towers = model.similarity(x, tokens, batch=4)
    np.testing.assert_allclose(towers, model.encode_images(x)[1].numpy()
                               @ model.encode_texts(tokens)[1].numpy().T, atol=1e-6)
    again = model.rerank(x, tokens, towers, k=2, batch=3)
    near = (towers >= np.sort(towers, axis=1)[:, [-2]]) | (towers >= np.sort(towers, axis=0)[[-2]])
    scale = np.exp(model.log_scale.item())
    for i, j in zip(*np.nonzero(near)):
        match = model.match(model.encode_images(x[[i]])[0], model.encode_texts(tokens[[j]])[0],
                            tg.Tensor(tokens[[j]])).item()
        assert again[i, j] == pytest.approx(scale * towers[i, j] + match, abs=1e-4)
    assert again[~near].max() < again[near].min()
    i, j = np.nonzero(~near)
    assert (np.argsort(again[i, j]) == np.argsort(towers[i, j])).all()


def test_it_learns_which_text_fits():
    """Pictures with one lit quarter, named by a word; towers and matching find it."""
    x = np.zeros((4, 1, 8, 8), np.float32)
    for i in range(4):
        x[i, 0, 4 * (i // 2):4 * (i // 2) + 4, 4 * (i % 2):4 * (i % 2) + 4] = 1
    tokens = np.array([[1, 4 + i, 2] for i in range(4)])
    model = small(mask=3)
    optimizers = model.configure_optimizers(1e-2)
    losses = [model.training_step(np.tile(x, (2, 1, 1, 1)), np.tile(tokens, (2, 1)),
                                  np.tile(np.arange(4), 2), optimizers) for _ in range(150)]
    assert losses[-1]["matching"].item() < 0.3 < losses[0]["matching"].item()
    towers = model.similarity(x, tokens)
    assert towers.argmax(axis=1).tolist() == [0, 1, 2, 3]
    assert model.rerank(x, tokens, towers).argmax(axis=0).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("call", "words"), [
    (lambda: small().losses(pictures(3), TOKENS), r"3 images, 4 texts, groups \(3,\)"),
    (lambda: small().losses(pictures(), TOKENS, [0, 1]), r"groups \(2,\)"),
    (lambda: small().losses(pictures(), TOKENS, [7] * 4), "all 4 pairs .* no wrong pair"),
    (lambda: small().encode_texts(np.ones((2, 7), int)), r"L from 1 to longest=6"),
    (lambda: small().encode_texts([[1.0, 2.0]]), r"tokens: float32 \(1, 2\)"),
    (lambda: small().encode_images(np.zeros((2, 1, 9, 8), np.float32)), r"\(N, 1, 8, 8\)"),
    (lambda: small().rerank(pictures(), TOKENS, np.zeros((2, 2))), r"\(4, 4\) is expected"),
    (lambda: ImageEncoder((1, 8, 8), channels=(4, 4, 4, 4)), "halve a map 4 times, and 8x8"),
    (lambda: ImageEncoder((1, 7, 8), channels=(4,)), "7x8 has to be even"),
    (lambda: small(fusion_layers=0), "fusion_layers must be a positive integer, got 0"),
])
def test_what_does_not_fit_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
