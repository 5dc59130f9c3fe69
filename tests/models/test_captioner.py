"""The captioner: beside PyTorch, word by word, beams, padding, learning, errors."""

import numpy as np
import pytest

import tinygen as tg
from tinygen.models import Captioner
from tinygen.nn import functional as F

TOKENS = np.array([[1, 5, 6, 2, 0], [1, 7, 2, 0, 0], [1, 8, 5, 6, 2]])


def small(seed=0, **options):
    tg.manual_seed(seed)
    return Captioner((1, 8, 8), 9, bos=1, eos=2, width=8, heads=2, channels=(4, 6),
                     **{"longest": 7, **options}).eval()


def pictures(n=3, seed=0):
    return np.random.default_rng(seed).random((n, 1, 8, 8), np.float32)


def in_torch(torch, model):
    """The same model of PyTorch's layers, with the same weights."""
    t = torch.nn

    class Encoder(t.Module):
        def __init__(self):
            super().__init__()
            self.convolutions = t.Sequential(
                t.Conv2d(1, 4, 5, 2, 2, bias=False), t.BatchNorm2d(4), t.ReLU(),
                t.Conv2d(4, 6, 3, 1, 1, bias=False), t.BatchNorm2d(6), t.ReLU(), t.MaxPool2d(2))
            self.project, self.positions = t.Linear(6, 8), t.Embedding(4, 8)
            self.body = t.TransformerEncoder(t.TransformerEncoderLayer(
                8, 2, 16, 0.0, "gelu", batch_first=True, norm_first=True), 1, t.LayerNorm(8),
                enable_nested_tensor=False)

        def forward(self, x):
            places = self.convolutions(x).flatten(2).transpose(1, 2)
            return self.body(self.project(places) + self.positions.weight)

    class Model(t.Module):
        def __init__(self):
            super().__init__()
            self.images, self.words = Encoder(), t.Embedding(9, 8, padding_idx=0)
            self.positions, self.head = t.Embedding(7, 8), t.Linear(8, 9)
            self.decoder = t.TransformerDecoder(t.TransformerDecoderLayer(
                8, 2, 16, 0.0, "gelu", batch_first=True, norm_first=True), 2, t.LayerNorm(8))

        def forward(self, images, tokens):
            n = tokens.shape[1]
            x = self.words(tokens) + self.positions.weight[:n]
            mask = t.Transformer.generate_square_subsequent_mask(n)
            return self.head(self.decoder(x, self.images(images), mask, tgt_is_causal=True))

    other = Model()
    other.load_state_dict({k: torch.tensor(v.numpy()) for k, v in model.state_dict().items()})
    return other


def test_loss_and_gradients_are_pytorchs():
    torch = pytest.importorskip("torch")
    model = small()
    other = in_torch(torch, model)
    model.train()
    loss = model.losses(pictures(), TOKENS)["loss"]
    loss.backward()
    logits = other(torch.tensor(pictures()), torch.tensor(TOKENS[:, :-1]))
    expected = torch.nn.functional.cross_entropy(logits.reshape(-1, 9), torch.tensor(
        TOKENS[:, 1:].reshape(-1)), ignore_index=0)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    theirs = dict(other.named_parameters())
    for name, p in model.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), theirs[name].grad.numpy(), atol=2e-5,
                                   err_msg=name)


@tg.no_grad()
def test_writing_is_the_likeliest_word_again_and_again():
    model, x = small(longest=7), pictures()
    written = model.write(x, batch=2)
    for i in range(3):
        tokens = [1]
        while len(tokens) < 7 and tokens[-1] != 2:
            tokens.append(int(model(x[i:i + 1], [tokens]).numpy()[0, -1].argmax()))
        tokens += [0] * (written.shape[1] - len(tokens))
        assert written[i].tolist() == tokens


@tg.no_grad()
def test_beams_find_captions_that_are_as_likely_or_likelier():
    def log_p(model, x, row):
        end = row.tolist().index(2) + 1 if 2 in row else len(row)
        steps = F.log_softmax(model(x[None], row[None, :end - 1]), dim=-1).numpy()[0]
        return steps[np.arange(end - 1), row[1:end]].sum()

    for seed in range(3):
        model, x = small(seed), pictures(2, seed)
        greedy, best = model.write(x), model.write(x, beams=9, length_penalty=0.0)
        for i in range(2):
            assert log_p(model, x[i], best[i]) >= log_p(model, x[i], greedy[i]) - 1e-5


@pytest.mark.parametrize("beams", [1, 3])
def test_some_tokens_are_never_written(beams):
    model, x = small(), pictures()
    usual = set(model.write(x, beams).ravel().tolist()) - {0, 1, 2}
    assert usual
    assert not usual & set(model.write(x, beams, never=list(usual)).ravel().tolist())


@tg.no_grad()
def test_words_do_not_see_what_comes_after_them():
    model, x = small(), pictures()
    changed = TOKENS.copy()
    changed[:, 3:] = 8
    a, b = model(x, TOKENS).numpy(), model(x, changed).numpy()
    np.testing.assert_allclose(a[:, :3], b[:, :3], atol=1e-5)
    assert np.abs(a[:, 4] - b[:, 4]).max() > 1e-3


@tg.no_grad()
def test_attention_has_a_map_for_each_word_written():
    maps = small().attention(pictures(), TOKENS)
    assert maps.shape == (3, 4, 4)
    np.testing.assert_allclose(maps.sum(axis=2), 1, atol=1e-5)


def test_it_learns_to_name_what_it_sees():
    x = np.zeros((4, 1, 8, 8), np.float32)
    for i in range(4):
        x[i, 0, 4 * (i // 2):4 * (i // 2) + 4, 4 * (i % 2):4 * (i % 2) + 4] = 1
    tokens = np.array([[1, 4 + i, 8 - i, 2] for i in range(4)])
    model = small()
    optimizers = model.configure_optimizers(1e-2)
    losses = [model.training_step(x, tokens, None, optimizers)["loss"].item() for _ in range(60)]
    assert losses[-1] < 0.2 < losses[0]
    assert model.write(x).tolist() == tokens.tolist()
    assert model.evaluate(x, tokens)["loss"].item() < 0.3


@pytest.mark.parametrize(("call", "words"), [
    (lambda: small()(pictures(), TOKENS[:2]), r"tokens: int64 \(2, 5\); integers \(3, L\)"),
    (lambda: small()(pictures(), np.ones((3, 8), int)), "longest=7"),
    (lambda: small()(pictures(), TOKENS / 2), "tokens: float64"),
    (lambda: Captioner((1, 8, 8), 9, bos=0, eos=2), "bos must be from 1 to 8, got 0"),
    (lambda: Captioner((1, 8, 8), 9, bos=1, eos=9), "eos must be from 1 to 8, got 9"),
    (lambda: small(layers=0), "layers must be a positive integer"),
])
def test_what_does_not_fit_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
