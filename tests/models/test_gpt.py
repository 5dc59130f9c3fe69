"""The GPT beside PyTorch's layers, what it may look at, and how it writes."""

import json

import numpy as np
import pytest

import tinygen as tg
from tinygen.generate import greedy
from tinygen.models import GPT, build

SIZES = {"block": 12, "layers": 2, "heads": 2, "width": 16}


def small(seed=0, spread=0.3, **options):
    """A model whose weights are large enough for its choices to depend on all that it sees."""
    tg.manual_seed(seed)
    model = GPT(11, **{**SIZES, **options})
    for p in model.parameters():
        if p.ndim > 1:
            tg.nn.init.normal_(p, 0.0, spread)
    return model.eval()


def logits_of(model, tokens):
    with tg.no_grad():
        return model(tokens).numpy()


def texts(n, length, seed=0):
    return np.random.default_rng(seed).integers(0, 11, (n, length))


def test_logits_loss_and_gradients_equal_pytorchs():
    torch = pytest.importorskip("torch")
    T, F = torch.nn, torch.nn.functional
    model = small().to(dtype="float64")
    layer = T.TransformerEncoderLayer(16, 2, 64, 0.0, "gelu", batch_first=True, norm_first=True,
                                      bias=False)
    body = T.TransformerEncoder(layer, 2, T.LayerNorm(16, bias=False),
                                enable_nested_tensor=False).double()
    table, places = T.Embedding(11, 16).double(), T.Embedding(12, 16).double()
    state = {k: torch.from_numpy(v.numpy().copy()) for k, v in model.state_dict().items()}
    body.load_state_dict({k[5:]: v for k, v in state.items() if k.startswith("body.")})
    table.load_state_dict({"weight": state["tokens.weight"]})
    places.load_state_dict({"weight": state["positions.weight"]})
    x = texts(3, 10)
    tokens, targets = x[:, :-1], x[:, 1:]
    mask = T.Transformer.generate_square_subsequent_mask(9, dtype=torch.float64)
    hidden = body(table(torch.from_numpy(tokens)) + places.weight[:9], mask, is_causal=True)
    logits = hidden @ table.weight.T
    assert np.abs(logits_of(model, tokens) - logits.detach().numpy()).max() < 1e-12
    expected = F.cross_entropy(logits.reshape(-1, 11), torch.from_numpy(targets.copy()).reshape(-1))
    loss = model.loss(tg.Tensor(tokens), tg.Tensor(targets))
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)
    loss.backward()
    expected.backward()
    for ours, theirs in ((model.tokens.weight, table.weight), (model.positions.weight,
                                                               places.weight),
                         (model.body.layers[0].self_attn.in_proj_weight,
                          body.layers[0].self_attn.in_proj_weight)):
        assert np.abs(ours.grad.numpy() - theirs.grad.numpy()).max() < 1e-12


def test_a_token_sees_none_that_come_after_it():
    model, x = small(), texts(1, 12)
    before = logits_of(model, x)
    changed = x.copy()
    changed[0, 7] = (changed[0, 7] + 1) % 11
    after = logits_of(model, changed)
    assert np.array_equal(before[:, :7], after[:, :7])
    assert np.abs(before[:, 7:] - after[:, 7:]).max(axis=2).min() > 1e-4


def test_writing_with_a_cache_and_beyond_the_block_equals_reading_the_last_block_anew():
    model, prompt = small(), texts(2, 5)
    expected = prompt
    for _ in range(20):
        logits = logits_of(model, expected[:, -12:])[:, -1]
        expected = np.concatenate([expected, logits.argmax(axis=1)[:, None]], axis=1)
    assert len(set(expected[0, 5:].tolist())) > 2        # not one token over and over
    assert np.array_equal(model.write(prompt, 20, temperature=0).numpy(), expected)
    assert np.array_equal(greedy(model, prompt, 7).numpy(), expected[:, :12])
    longer = np.concatenate([texts(2, 30, seed=1), prompt], axis=1)
    assert model.write(longer, 2, temperature=0).shape == (2, 37)
    assert np.array_equal(model.write(prompt, 0).numpy(), prompt)


def test_samples_follow_the_models_distribution_and_its_filters():
    model = small(spread=0.15)
    logits = logits_of(model, [[3, 4]])[0, -1].astype(float)
    p = np.exp(logits - logits.max())
    p /= p.sum()
    draws = model.write(np.tile([3, 4], (4000, 1)), 1, generator=tg.Generator(0)).numpy()[:, 2]
    counts = np.bincount(draws, minlength=11)
    assert ((counts - 4000 * p) ** 2 / (4000 * p)).sum() < 29.6      # chi squared, 10 degrees, 0.1%
    best = set(np.argsort(-p)[:3].tolist())
    few = model.write(np.tile([3, 4], (300, 1)), 1, top_k=3, generator=tg.Generator(0)).numpy()
    assert set(few[:, 2].tolist()) == best
    again = [model.write([[3]], 30, generator=tg.Generator(5)).tolist() for _ in range(2)]
    assert again[0] == again[1]


def test_writing_leaves_the_model_training():
    model = small(dropout=0.5).train()
    model.write([[1]], 3)
    assert model.training and model.dropout.training


def test_it_learns_a_text_by_heart():
    tg.manual_seed(0)
    model = GPT(5, block=8, layers=1, heads=2, width=16)
    ids = np.tile([0, 1, 2, 0, 3, 4], 20)
    optimizers = model.configure_optimizers(lr=1e-2)
    starts = np.random.default_rng(0).integers(0, len(ids) - 9, (150, 8))
    for at in starts:
        x = ids[at[:, None] + np.arange(9)]
        first = model.training_step(tg.Tensor(x[:, :-1]), tg.Tensor(x[:, 1:]), optimizers)
    assert first["loss"].item() < 0.2                    # chance is 1.6; the first token is open
    assert model.write([[0, 1]], 7, temperature=0).tolist() == [[0, 1, 2, 0, 3, 4, 0, 1, 2]]


def test_matrices_decay_and_norms_do_not():
    model = small()
    groups = model.configure_optimizers()["model"].param_groups
    assert [(g["weight_decay"], {p.ndim for p in g["params"]}) for g in groups] == [
        (0.1, {2}), (0.0, {1})]
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))
    assert groups[0]["betas"] == (0.9, 0.99) and groups[0]["lr"] == 3e-3


def test_the_rate_rises_and_falls_to_its_tenth():
    optimizers = small().configure_optimizers(lr=1e-3)
    schedule = small().configure_schedulers(optimizers, 2000)["model"]
    rates = []
    for _ in range(2001):
        rates.append(schedule.get_last_lr()[0])
        optimizers["model"].step()
        schedule.step()
    assert rates[0] == pytest.approx(1e-3 / 101) and int(np.argmax(rates)) == 100
    assert max(rates) == pytest.approx(1e-3) and rates[2000] == pytest.approx(1e-4)
    assert rates[1050] == pytest.approx(5.5e-4)          # half-way down


def test_a_model_is_rebuilt_from_its_configuration_as_json():
    model = small(dropout=0.25)
    config = json.loads(json.dumps(model.config()))
    twin = build(**config)
    twin.load_state_dict(model.state_dict())
    x = texts(1, 4)
    assert np.array_equal(logits_of(twin.eval(), x), logits_of(model, x))
    assert twin.config() == config == {"name": "gpt", "vocab_size": 11, **SIZES, "dropout": 0.25}


def test_errors_say_what_would_fit():
    model = small()
    with pytest.raises(ValueError, match=r"13 tokens; this model sees at most 12 \(block=12\)"):
        model(texts(1, 13))
    with pytest.raises(ValueError, match=r"tokens: float32 \(2, 3\); integers \(N, L\)"):
        model(np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"tokens: \(2, 3\), targets: \(2, 2\); each token needs"):
        model.training_step(tg.Tensor(texts(2, 3)), tg.Tensor(texts(2, 2)),
                            model.configure_optimizers())
    with pytest.raises(ValueError, match=r"prompt: \(1, 0\)"):
        model.write(np.zeros((1, 0), np.int64), 3)
    with pytest.raises(ValueError, match="length must not be negative, got -1"):
        model.write([[1]], -1)
    with pytest.raises(ValueError, match="width 16 does not divide into 3 heads"):
        GPT(11, heads=3, width=16)
    with pytest.raises(ValueError, match="vocab_size must be a positive integer, got 0"):
        GPT(0)
    with pytest.raises(TypeError, match="'gpt' is a model of text: it takes vocab_size"):
        build("gpt", (1, 28, 28))
    with pytest.raises(TypeError, match="'vae' needs image_shape"):
        build("vae")
