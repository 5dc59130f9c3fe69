"""The sentence VAE and its language model beside PyTorch and an integral; what they write."""

import json

import numpy as np
import pytest

import tinygen as tg
from tinygen.data import DataLoader
from tinygen.models import LSTMLanguageModel, TextVAE
from tinygen.text import PadCollate
from tinygen.train import Trainer

ROWS = [[2, 5, 6, 7, 3], [2, 8, 3], [2, 6, 1, 8, 5, 4, 3]]
NONE = {"word_dropout": 0.0, "anneal_steps": 0, "free_nats": 0.0}


def padded(extra=0, rows=ROWS):
    wide = max(map(len, rows)) + extra
    return np.array([row + [0] * (wide - len(row)) for row in rows])


def sharpened(model, spread=0.6):
    """The model with weights so large that all it sees changes what it says."""
    for p in model.parameters():
        tg.nn.init.normal_(p, 0.0, spread)
    return model


def vae(latent=3, **options):
    tg.manual_seed(0)
    return sharpened(TextVAE(9, width=4, hidden=5, latent=latent, **{**NONE, **options}))


def lstm(**options):
    tg.manual_seed(0)
    return sharpened(LSTMLanguageModel(9, width=4, hidden=5, **options))


def torch_part(kind, model, prefix):
    """A PyTorch layer, in float64, with the weights below `prefix` of a model."""
    torch = pytest.importorskip("torch")
    state = {k.removeprefix(prefix + "."): torch.from_numpy(v.numpy().astype(np.float64))
             for k, v in model.state_dict().items() if k.startswith(prefix + ".")}
    layer = kind.double()
    layer.load_state_dict(state)
    return layer


def test_the_loss_of_the_language_model_is_pytorchs():
    torch = pytest.importorskip("torch")
    model = lstm().to(dtype="float64")
    embedding = torch_part(torch.nn.Embedding(9, 4), model, "embedding")
    decoder = torch_part(torch.nn.LSTM(4, 5, batch_first=True), model, "decoder")
    words = torch_part(torch.nn.Linear(5, 9), model, "words")
    tokens = torch.from_numpy(padded())
    logits = words(decoder(embedding(tokens[:, :-1]))[0])
    expected = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), tokens[:, 1:], ignore_index=0, reduction="none").sum(1)
    assert np.abs(model.log_likelihood(padded()).numpy() + expected.detach().numpy()).max() < 1e-12
    loss = model.losses(padded())["loss"]
    assert loss.item() == pytest.approx(expected.mean().item(), abs=1e-12)
    loss.backward()
    expected.mean().backward()
    for ours, theirs in ((model.decoder.weight_hh_l0, decoder.weight_hh_l0),
                         (model.words.bias, words.bias)):
        assert np.abs(ours.grad.numpy() - theirs.grad.numpy()).max() < 1e-12
    # the row of the padding is never learnt; PyTorch's layer above was not told so
    assert np.abs(model.embedding.weight.grad.numpy()[1:]
                  - embedding.weight.grad.numpy()[1:]).max() < 1e-12


def test_the_loss_of_the_vae_is_pytorchs(monkeypatch):
    torch = pytest.importorskip("torch")
    rnn = torch.nn.utils.rnn
    model = vae().to(dtype="float64")
    noise = np.random.default_rng(1).normal(size=(3, 3))
    monkeypatch.setattr(TextVAE, "noise", lambda self, n, generator=None: tg.Tensor(noise))
    found = model.losses(padded())

    embedding = torch_part(torch.nn.Embedding(9, 4), model, "embedding")
    encoder = torch_part(torch.nn.LSTM(4, 5, batch_first=True, bidirectional=True), model,
                         "encoder")
    mu, logvar = (torch_part(torch.nn.Linear(10, 3), model, name) for name in ("mu", "logvar"))
    start = torch_part(torch.nn.Linear(3, 10), model, "start")
    decoder = torch_part(torch.nn.LSTM(7, 5, batch_first=True), model, "decoder")
    words = torch_part(torch.nn.Linear(5, 9), model, "words")
    tokens = torch.from_numpy(padded())
    lengths = (tokens[:, 1:] != 0).sum(1)
    packed = rnn.pack_padded_sequence(embedding(tokens[:, 1:]), lengths, batch_first=True,
                                      enforce_sorted=False)
    h = encoder(packed)[1][0]
    features = torch.cat([h[0], h[1]], dim=1)
    law = torch.distributions.Normal(mu(features), torch.exp(logvar(features) / 2))
    kl = torch.distributions.kl_divergence(law, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
    z = law.mean + law.stddev * torch.from_numpy(noise)
    first = torch.tanh(start(z))
    inputs = torch.cat([embedding(tokens[:, :-1]), z[:, None].expand(-1, 6, -1)], dim=2)
    y, _ = decoder(inputs, (first[None, :, :5].contiguous(), first[None, :, 5:].contiguous()))
    nll = torch.nn.functional.cross_entropy(words(y).transpose(1, 2), tokens[:, 1:],
                                            ignore_index=0, reduction="sum") / 3
    assert found["kl"].item() == pytest.approx(kl.item(), abs=1e-12)
    assert found["reconstruction"].item() == pytest.approx(nll.item(), abs=1e-12)
    assert found["loss"].item() == pytest.approx((kl + nll).item(), abs=1e-12)
    found["loss"].backward()
    (kl + nll).backward()
    for ours, theirs in ((model.encoder.weight_ih_l0_reverse, encoder.weight_ih_l0_reverse),
                         (model.start.weight, start.weight), (model.logvar.bias, logvar.bias)):
        assert np.abs(ours.grad.numpy() - theirs.grad.numpy()).max() < 1e-12


def exact_log_likelihood(model, rows):
    """log of the integral of p(x | z) N(z; 0, 1) over one number z, by the trapezoidal rule."""
    z = np.linspace(-9, 9, 901)
    found = []
    for row in rows:
        tokens = np.tile(row, (len(z), 1))
        with tg.no_grad():
            logits = model.logits(tg.Tensor(tokens[:, :-1]), tg.Tensor(z[:, None])).numpy()
        logits -= logits.max(axis=2, keepdims=True)
        logp = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
        at = np.take_along_axis(logp, tokens[:, 1:, None], axis=2)[:, :, 0].sum(axis=1)
        density = np.exp(at - z * z / 2) / np.sqrt(2 * np.pi)
        found.append(np.log(np.trapezoid(density, z)))
    return np.array(found)


def test_importance_weights_approach_the_integral_from_below():
    model = vae(latent=1).to(dtype="float64").eval()
    for head in (model.mu, model.logvar):      # a q(z | x) that covers what the integral covers
        head.weight.assign_(0.5 * head.weight.detach())
        head.bias.assign_(0.5 * head.bias.detach())
    tg.manual_seed(3)
    exact = exact_log_likelihood(model, ROWS)
    rows = np.tile(padded(), (400, 1))                          # each sentence 400 times

    def bound(samples):
        return model.log_likelihood(rows, samples).numpy().reshape(400, 3).mean(axis=0)
    one, few, many = bound(1), bound(5), bound(60)
    elbo = -model.losses(rows)["loss"].item()
    assert one.mean() == pytest.approx(elbo, abs=0.1)           # with one sample it is the ELBO
    assert (one < few - 0.02).all() and (few < many).all() and (few < exact).all()
    assert np.abs(many - exact).max() < 0.05


def test_padding_changes_nothing():
    for model in (lstm(), vae()):
        model.eval()
        values = []
        for extra in (0, 4):
            tg.manual_seed(1)
            values.append(model.log_likelihood(padded(extra)).numpy())
        assert np.abs(values[0] - values[1]).max() < 1e-5
    alone = [vae().encode([row])[0].numpy()[0] for row in ROWS]
    assert np.abs(vae().encode(padded(2))[0].numpy() - alone).max() < 1e-6


def test_annealing_and_free_nats_change_training_alone():
    model = vae(anneal_steps=4, free_nats=50.0)
    model.train()
    optimizers = {"model": tg.optim.SGD(model.parameters(), lr=0.0)}
    for grown in (0.0, 0.25, 0.5, 0.75, 1.0, 1.0):
        found = model.training_step(padded(), None, optimizers)
        assert found["kl"].item() < 50
        price = found["loss"].item() - found["reconstruction"].item()
        assert price == pytest.approx(50 * grown, abs=1e-4)
    found = model.evaluate(padded())
    assert found["loss"].item() == pytest.approx(
        found["reconstruction"].item() + found["kl"].item(), rel=1e-6)
    within = vae(free_nats=1e-3).train().losses(padded())       # KL above the free nats is paid
    assert within["loss"].item() == pytest.approx(
        within["reconstruction"].item() + within["kl"].item(), rel=1e-6)


def test_word_dropout_hides_words_and_nothing_else():
    model = vae(word_dropout=0.5)
    tokens = np.tile([2, 5, 6, 7, 8, 3, 0], (400, 1))
    model.eval()
    assert (model._seen(tg.Tensor(tokens)).numpy() == tokens).all()
    model.train()
    tg.manual_seed(0)
    seen = model._seen(tg.Tensor(tokens)).numpy()
    assert (seen[:, [0, 5, 6]] == tokens[:, [0, 5, 6]]).all()
    changed = seen != tokens
    assert (seen[changed] == 1).all()
    assert changed[:, 1:5].mean() == pytest.approx(0.5, abs=0.05)


def test_sentences_end_and_greedy_ones_are_the_likeliest_words():
    model = vae()
    z = model.noise(40)
    rows = model.generate(z, longest=12).numpy()
    assert (rows[:, 0] == 2).all() and rows.shape[1] <= 13
    for row in rows:
        words = row[1:].tolist()
        end = words.index(3) if 3 in words else len(words)
        assert not {0, 1, 2} & set(words[:end]) and set(words[end + 1:]) <= {0}
    likeliest = model.generate(z, longest=12, temperature=0).numpy()
    assert (likeliest == model.generate(z, longest=12, temperature=0).numpy()).all()
    with tg.no_grad():        # the whole row at once, without the state kept between words
        logits = model.eval().logits(tg.Tensor(likeliest[:, :-1]), z).numpy()
    logits[:, :, :3] = -np.inf
    written = likeliest[:, 1:] != 0
    assert (logits.argmax(axis=2) == likeliest[:, 1:])[written].all()
    free = lstm().write(50, 10).numpy()
    assert free.shape[0] == 50 and not np.isin(free[:, 1:], [1, 2]).any()


def test_the_way_between_two_sentences_begins_and_ends_with_theirs():
    model = vae()
    way = model.interpolate(ROWS[0], ROWS[2], steps=5, longest=9).numpy()
    codes = [model.encode([row])[0] for row in (ROWS[0], ROWS[2])]
    for place, code in ((0, codes[0]), (-1, codes[1])):
        end = model.generate(code, 9, temperature=0).numpy()[0]
        assert way[place].tolist()[:len(end)] == end.tolist()[:way.shape[1]]
    assert len(way) == 5


def test_the_writer_begins_as_the_language_model():
    teacher, model = lstm(), vae()
    model.begin_with(teacher)
    model.start.weight.assign_(tg.zeros((10, 3)))
    model.start.bias.assign_(tg.zeros(10))
    columns = model.decoder.weight_ih_l0.detach().numpy()
    assert (columns[:, :4] == teacher.decoder.weight_ih_l0.detach().numpy()).all()
    assert np.abs(columns[:, 4:]).min() > 0                     # z still counts
    tokens = tg.Tensor(padded()[:, :-1])
    with tg.no_grad():              # from the first state 0, and the code 0, they say the same
        assert np.abs(model.logits(tokens, tg.zeros((3, 3))).numpy()
                      - teacher(tokens).numpy()).max() < 1e-5
    with pytest.raises(ValueError, match="begin_with: a language model of 8 tokens"):
        model.begin_with(LSTMLanguageModel(8, width=4, hidden=5))


def test_a_model_is_its_config_and_its_state():
    model = vae(word_dropout=0.2)
    config = json.loads(json.dumps(model.config()))
    twin = TextVAE(**config)
    twin.load_state_dict(model.state_dict())
    for m in (model, twin):
        tg.manual_seed(5)
        m.value = m.evaluate(padded())["loss"].item()
    assert model.value == twin.value and config["word_dropout"] == 0.2


@pytest.mark.parametrize("make", [vae, lstm])
def test_a_trainer_learns_and_goes_on_bit_for_bit(make, tmp_path):
    def trainer(out, steps):
        loader = DataLoader(ROWS * 4, 4, shuffle=True, seed=0, collate_fn=PadCollate())
        options = {"dropout": 0.2} | ({"anneal_steps": 20} if make is vae else {})
        return Trainer(make(**options), loader, out, steps=steps, samples=0, progress=False,
                       lr=0.02, checkpoint_every=15, keep=99)
    whole = trainer(tmp_path / "whole", 60)
    rows = whole.fit()
    assert rows[-1]["loss"] < 0.7 * rows[0]["loss"]
    checkpoint = tmp_path / "whole/checkpoints/step-00000030.safetensors"
    again = trainer(tmp_path / "again", 60)
    again.fit(resume=checkpoint)
    for name, value in whole.model.state_dict().items():
        assert (value.numpy() == again.model.state_dict()[name].numpy()).all(), name
    if make is vae:
        assert again.model.updates.item() == 60


@pytest.mark.parametrize("call, message", [
    (lambda: vae().losses(np.ones((2, 3))), r"\[text-vae\] tokens: float64 \(2, 3\)"),
    (lambda: lstm().losses([[2]]), r"\[lstm\] tokens: int64 \(1, 1\)"),
    (lambda: vae().generate(tg.ones((2, 4))), r"z: \(2, 4\); codes \(N, 3\)"),
    (lambda: vae().log_likelihood(padded(), 0), "samples must be a positive integer, got 0"),
    (lambda: vae(word_dropout=1.0), r"word_dropout must lie in \[0, 1\)"),
    (lambda: LSTMLanguageModel(0), "vocab_size must be a positive integer, got 0"),
])
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
