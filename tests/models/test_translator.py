"""The translator beside PyTorch's layers; padding, caches and beams; what it looks at."""

import itertools

import numpy as np
import pytest

import tinygen as tg
from tinygen.generate import beam_search
from tinygen.models import Translator, build
from tinygen.train import Trainer

SIZES = {"layers": 2, "heads": 2, "width": 16, "hidden": 24, "dropout": 0.0}
SOURCE = np.array([[4, 5, 6, 7, 3], [8, 9, 3, 0, 0], [5, 5, 8, 3, 0]])
TARGET = np.array([[2, 4, 6, 5, 3, 0], [2, 5, 3, 0, 0, 0], [2, 6, 6, 4, 5, 3]])


def small(target=7, seed=0, spread=0.6, **options):
    """A model whose choices depend on all that it sees, and on its last token not too much."""
    tg.manual_seed(seed)
    model = Translator(10, target, **{**SIZES, **options}).to(dtype="float64")
    for key, p in model.named_parameters():
        tg.nn.init.normal_(p, 0.0, 0.1 if "tokens" in key or p.ndim < 2 else spread)
        if "norm" in key and key.endswith("weight"):
            tg.nn.init.ones_(p)
    return model.eval()


def logits_of(model, source, target):
    with tg.no_grad():
        return model(source, target).numpy()


def torch_twin(torch, model):
    """PyTorch's stacks with the model's weights: a function to logits, and the modules."""
    T, o = torch.nn, model.options
    sizes = (o["width"], o["heads"], o["hidden"], 0.0)
    twin = T.ModuleDict({
        "encoder": T.TransformerEncoder(
            T.TransformerEncoderLayer(*sizes, batch_first=True, norm_first=True), o["layers"],
            T.LayerNorm(o["width"]), enable_nested_tensor=False),
        "decoder": T.TransformerDecoder(
            T.TransformerDecoderLayer(*sizes, batch_first=True, norm_first=True), o["layers"],
            T.LayerNorm(o["width"])),
        "source_tokens": T.Embedding(*model.source_tokens.weight.shape)})
    twin["target_tokens"] = (
        twin["source_tokens"] if model.target_tokens is model.source_tokens
        else T.Embedding(*model.target_tokens.weight.shape))
    twin.double().load_state_dict({k: torch.from_numpy(v.numpy().copy())
                                   for k, v in model.state_dict().items()})

    def embed(name, tokens):
        at = np.arange(tokens.shape[1])[:, None] / 10000 ** (np.arange(0, 16, 2) / 16)
        positions = np.stack([np.sin(at), np.cos(at)], axis=2).reshape(tokens.shape[1], 16)
        return twin[name](torch.from_numpy(tokens)) * 4.0 + torch.from_numpy(positions)

    def forward(source, target):
        hidden = torch.from_numpy(source == 0)
        memory = twin["encoder"](embed("source_tokens", source), src_key_padding_mask=hidden)
        mask = T.Transformer.generate_square_subsequent_mask(target.shape[1], dtype=torch.float64)
        y = twin["decoder"](embed("target_tokens", target), memory, tgt_mask=mask,
                            memory_key_padding_mask=hidden)
        return y @ twin["target_tokens"].weight.T
    return forward, twin


@pytest.mark.parametrize("vocabulary", [7, None])
def test_logits_loss_gradients_and_attention_equal_pytorchs(vocabulary):
    torch = pytest.importorskip("torch")
    model = small(vocabulary)
    forward, twin = torch_twin(torch, model)
    seen = []
    for layer in twin["decoder"].layers:
        layer.multihead_attn.register_forward_pre_hook(lambda m, given: seen.append((m, given)))
    logits = forward(SOURCE, TARGET[:, :-1])
    assert np.abs(logits_of(model, SOURCE, TARGET[:, :-1]) - logits.detach().numpy()).max() < 1e-12

    expected = torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), torch.from_numpy(TARGET[:, 1:].copy()).reshape(-1),
        ignore_index=0, label_smoothing=0.1)
    loss = model.loss(SOURCE, TARGET)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)
    loss.backward()
    expected.backward()
    theirs = dict(twin.named_parameters())
    named = dict(model.named_parameters())
    assert named.keys() == theirs.keys()
    for name, p in named.items():
        assert np.abs(p.grad.numpy() - theirs[name].grad.numpy()).max() < 1e-11, name

    maps = model.attention(SOURCE, TARGET[:, :-1]).numpy()
    assert maps.shape == (3, 2, 2, 5, 5)                             # (N, layers, heads, T, S)
    for i, (reader, given) in enumerate(seen[:2]):
        weights = reader(*given, key_padding_mask=torch.from_numpy(SOURCE == 0),
                         average_attn_weights=False)[1]
        assert np.abs(maps[:, i] - weights.detach().numpy()).max() < 1e-12


def test_padding_changes_nothing():
    model = small()
    alone = logits_of(model, SOURCE[1:2, :3], TARGET[1:2, :3])
    padded = logits_of(model, SOURCE[1:2], TARGET[1:2])
    assert np.abs(padded[:, :3] - alone).max() < 1e-12
    wide = np.pad(SOURCE, ((0, 0), (0, 4))), np.pad(TARGET, ((0, 0), (0, 3)))
    assert model.loss(*wide).item() == pytest.approx(model.loss(SOURCE, TARGET).item(), abs=1e-12)
    for beams in (1, 3):
        assert model.translate(SOURCE, beams, longest=8)[1] == \
            model.translate(SOURCE[1:2, :3], beams, longest=8)[0]
    assert np.abs(model.attention(SOURCE, TARGET).numpy()[1, ..., 3:]).max() == 0


def test_a_token_sees_the_whole_source_and_no_later_target():
    model = small()
    before = logits_of(model, SOURCE, TARGET)
    later = TARGET.copy()
    later[0, 3] = 4
    after = logits_of(model, SOURCE, later)
    assert np.array_equal(before[0, :3], after[0, :3])
    assert np.abs(before[0, 3:] - after[0, 3:]).max(axis=1).min() > 1e-6
    other = SOURCE.copy()
    other[0, 4] = 9
    assert np.abs(before[0] - logits_of(model, other, TARGET)[0]).max(axis=1).min() > 1e-6


@pytest.mark.parametrize("beams", [1, 3])
def test_caches_change_nothing(beams):
    lengths = set()
    for seed in range(4):
        model = small(target=20, seed=seed, spread=1.0)
        found = model.translate(SOURCE, beams, longest=9)
        sources = np.repeat(SOURCE, beams, axis=0)

        def whole(tokens, model=model, sources=sources):
            return model(sources, tokens)
        expected = beam_search(whole, [[2]] * 3, 9, beams, length_penalty=1.0, eos=3, pad=0)
        for row, tokens in zip(expected.tokens.numpy()[:, 0, 1:].tolist(), found, strict=True):
            end = row.index(3) if 3 in row else len(row)
            assert [t for t in row[:end] if t] == tokens
        lengths |= {len(set(f)) for f in found}
    assert len(lengths) > 1 and max(lengths) > 2                 # not one token over and over


def test_greedy_takes_the_likeliest_token_at_each_step():
    model = small(target=20, seed=1, spread=1.0)
    for row in SOURCE:
        tokens = [2]
        while len(tokens) < 10 and tokens[-1] != 3:
            tokens.append(int(logits_of(model, row[None], [tokens])[0, -1].argmax()))
        written = [t for t in tokens[1:] if t not in (0, 3)]
        assert model.translate(row[None], longest=9) == [written]


def test_enough_beams_find_the_best_of_all_sentences():
    for seed in range(3):
        model, source = small(target=5, seed=seed, spread=0.4), SOURCE[:1]
        best = (-np.inf, [])
        for n in (1, 2, 3):
            for words in itertools.product([0, 1, 2, 4], repeat=n - 1):
                for last in [3] if n < 3 else range(5):          # the third token may be any
                    tokens = [2, *words, last]
                    x = logits_of(model, source, [tokens[:-1]])[0]
                    log_p = x - np.log(np.exp(x).sum(axis=1, keepdims=True))
                    total = sum(log_p[i, t] for i, t in enumerate(tokens[1:]))
                    best = max(best, (total / ((5 + n) / 6), tokens[1:]))
        expected = [t for t in best[1] if t not in (0, 3)]
        assert model.translate(source, 125, longest=3) == [expected]


def test_a_resumed_run_and_a_rebuilt_model_are_the_same(tmp_path):
    from tinygen.data import pair_loader

    def trainer(folder, steps):
        tg.manual_seed(0)
        model = Translator(10, 7, **{**SIZES, "dropout": 0.2})
        loader = pair_loader([[4, 5, 3], [6, 3], [7, 8, 9, 3], [5, 3]] * 3,
                             [[2, 4, 3], [2, 5, 6, 3], [2, 6, 3], [2, 5, 4, 3]] * 3, 4, seed=1)
        optimizers = model.configure_optimizers()
        return Trainer(model, loader, folder, steps=steps, optimizers=optimizers, samples=0,
                       schedulers=model.configure_schedulers(optimizers, 8), schedule_per="step",
                       progress=False, checkpoint_every=5)
    whole = trainer(tmp_path / "a", 8)
    whole.fit()
    trainer(tmp_path / "b", 5).fit()
    parts = trainer(tmp_path / "b", 8)
    parts.fit(resume=True)
    for ours, theirs in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        assert np.array_equal(ours.data, theirs.data)
    again = build(**whole.model.config())
    again.load_state_dict(whole.model.state_dict())
    assert again.evaluate(SOURCE, TARGET)["loss"].item() == \
        whole.model.evaluate(SOURCE, TARGET)["loss"].item()


def test_translating_leaves_the_model_training_and_a_shared_table_is_one():
    model = Translator(10, **{**SIZES, "dropout": 0.5}).train()
    model.translate(SOURCE, 2, longest=2)
    model.attention(SOURCE, TARGET)
    assert model.training and model.encoder.layers[0].dropout.training
    shapes = [p.shape for p in model.parameters()]
    assert shapes.count((10, 16)) == 1
    assert not any(layer.multihead_attn._pre_hooks for layer in model.decoder.layers)


@pytest.mark.parametrize(("call", "message"), [
    (lambda m: m([4, 5], TARGET), r"\[translator\] source: int64 \(2,\); integers \(N, L\) from 0"),
    (lambda m: m(SOURCE, TARGET[:2]), "3 sources and 2 targets"),
    (lambda m: m.loss(SOURCE, TARGET[:, :1]), "at least two tokens, from bos to eos"),
    (lambda m: m.translate(SOURCE / 2), "source: float64"),
    (lambda m: m.translate(SOURCE, 0), r"beams must be a positive integer, got 0"),
    (lambda m: Translator(9, heads=3, width=16), "width 16 does not divide into 3 heads"),
    (lambda m: Translator(9, 3), "bos and eos must be two of the tokens 1 to 2, got 2 and 3"),
    (lambda m: Translator(0), "vocab_size must be a positive integer, got 0"),
])
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(small())
