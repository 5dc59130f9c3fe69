"""Recommendation models: their losses and updates beside PyTorch's, and what they refuse."""

import numpy as np
import pytest

import tinygen as tg
from tinygen.models import MatrixFactorization, MultVAE


def clicks(n=6, items=9, seed=0):
    return (np.random.default_rng(seed).random((n, items)) < 0.4).astype(np.float32)


def vae(**options):
    tg.manual_seed(0)
    return MultVAE(9, hidden=7, latent=3, **options).double()


def test_the_loss_of_mult_vae_is_that_of_torch(monkeypatch):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    noise = np.random.default_rng(1).normal(size=(6, 3))
    model = vae(dropout=0.0, beta=0.3)
    monkeypatch.setattr(tg.random, "normal", lambda shape, dtype, device: tg.Tensor(noise))
    losses = model.losses(clicks())
    losses["loss"].backward()

    w = {n: torch.tensor(p.data, requires_grad=True) for n, p in model.named_parameters()}

    def linear(h, name):
        return F.linear(h, w[f"{name}.weight"], w[f"{name}.bias"])

    x = torch.tensor(clicks(), dtype=torch.float64)
    h = torch.tanh(linear(F.normalize(x), "encoder.0"))
    mu, logvar = linear(h, "mu"), linear(h, "logvar")
    z = mu + torch.exp(logvar / 2) * torch.tensor(noise)
    logits = linear(torch.tanh(linear(z, "decoder.0")), "decoder.2")
    posterior = torch.distributions.Normal(mu, torch.exp(logvar / 2))
    kl = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
    expected = -(F.log_softmax(logits, 1) * x).sum(1).mean() + 0.3 * kl.sum(1).mean()
    expected.backward()
    assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-12)
    for name, p in model.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), w[name].grad.numpy(), rtol=1e-9, atol=1e-12)


def test_beta_grows_over_the_first_updates():
    model = vae(beta=0.6, anneal_steps=4, dropout=0.0)
    optimizers = model.configure_optimizers()
    weights = []
    for _ in range(6):
        found = {k: v.item() for k, v in model.training_step(clicks(), None, optimizers).items()}
        weights.append((found["loss"] - found["reconstruction"]) / found["kl"])
    np.testing.assert_allclose(weights, [0, 0.15, 0.3, 0.45, 0.6, 0.6], atol=1e-6)
    resumed = vae(beta=0.6, anneal_steps=4)
    resumed.load_state_dict(model.state_dict())
    assert resumed.updates.item() == 6


def test_scores_rank_no_item_that_a_user_has_already():
    model, x = vae(), clicks()
    scores, again = model.scores(x), model.scores(x)
    assert np.array_equal(np.isneginf(scores), x > 0)
    assert np.array_equal(scores, again), "no noise, nothing dropped"
    assert np.isfinite(model.scores(x, exclude=False)).all() and model.training
    empty = model.scores(np.zeros((1, 9), np.float32))
    assert np.isfinite(empty).all(), "someone who chose nothing yet"


def test_mult_vae_finds_who_likes_what():
    """Two kinds of users with items of their own: what a user lacks of its kind comes first."""
    tg.manual_seed(0)
    rows = np.repeat(np.eye(2, dtype=np.float32), 10, axis=1)                 # (2, 20)
    rng = np.random.default_rng(0)
    train = rows[rng.integers(2, size=100)] * (rng.random((100, 20)) < 0.7)
    model = MultVAE(20, hidden=16, latent=2)
    optimizers = model.configure_optimizers(lr=1e-2)
    for _ in range(100):
        model.training_step(train, None, optimizers)
    shown = rows.copy()
    shown[0, :4] = shown[1, 10:14] = 0
    best = np.argsort(-model.scores(shown), axis=1)[:, :4]
    assert sorted(best[0]) == [0, 1, 2, 3] and sorted(best[1]) == [10, 11, 12, 13]


def factorisation(factors=2, **options):
    tg.manual_seed(0)
    return MatrixFactorization(4, 5, factors=factors, mean=3.0, **options).double()


def test_a_rating_is_mean_and_biases_and_a_product():
    model = factorisation()
    rng = np.random.default_rng(2)
    p, q, b = rng.normal(size=(4, 2)), rng.normal(size=(5, 2)), rng.normal(size=4)
    c = np.array([1, 0, 2, 0, -1.5])
    model.load_state_dict({
        "mean": tg.Tensor([3.0], dtype="float64"), "user_factors.weight": tg.Tensor(p),
        "item_factors.weight": tg.Tensor(q), "user_bias.weight": tg.Tensor(b[:, None]),
        "item_bias.weight": tg.Tensor(c[:, None])})
    pairs = [[0, 4], [3, 2], [3, 2]]
    expected = [3 + b[u] + c[i] + p[u] @ q[i] for u, i in pairs]
    np.testing.assert_allclose(model(pairs).data, expected, rtol=1e-12)
    np.testing.assert_allclose(model.predict(pairs), np.clip(expected, 0.5, 5), rtol=1e-12)


def test_the_gradient_of_a_factorisation_is_that_of_torch():
    torch = pytest.importorskip("torch")
    model = factorisation(weight_decay=0.1, bias_decay=0.2)
    pairs, stars = np.array([[0, 1], [2, 4], [0, 4]]), np.array([4.0, 2.5, 1.0])
    losses = model.losses(pairs, stars)
    losses["loss"].backward()
    w = {n: torch.tensor(p.data, requires_grad=True) for n, p in model.named_parameters()}
    u, i = torch.tensor(pairs).T
    p, q = w["user_factors.weight"][u], w["item_factors.weight"][i]
    b, c = w["user_bias.weight"][u, 0], w["item_bias.weight"][i, 0]
    errors = (3 + b + c + (p * q).sum(1) - torch.tensor(stars)) ** 2
    (errors + 0.1 * (p ** 2 + q ** 2).sum(1) + 0.2 * (b ** 2 + c ** 2)).mean().backward()
    assert losses["mse"].item() == pytest.approx(errors.mean().item(), rel=1e-12)
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(parameter.grad.numpy(), w[name].grad.numpy(), rtol=1e-10)


def test_biases_alone_reach_the_least_squares_solution():
    rng = np.random.default_rng(3)
    pairs = np.array([(u, i) for u in range(4) for i in range(5)])
    stars = rng.normal(3, 1, 20)
    model = factorisation(factors=0, bias_decay=0.0)
    model.fit_mean(stars)
    optimizers = model.configure_optimizers(lr=0.05)
    for step in range(400):
        optimizers["model"].param_groups[0]["lr"] = 0.05 * (1 - step / 400)
        model.training_step(pairs, stars, optimizers)
    table = stars.reshape(4, 5)
    expected = table.mean(1)[:, None] + table.mean(0) - table.mean()     # of a full table
    np.testing.assert_allclose(model(pairs).data.reshape(4, 5), expected, atol=1e-3)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: vae().losses(np.ones((2, 8))), r"x: \(2, 8\); expected \(N, 9\)"),
    (lambda: MultVAE(0), "num_items must be a positive integer, got 0"),
    (lambda: MultVAE(3, beta=-1.0), "beta and anneal_steps must not be negative"),
    (lambda: factorisation()([[0, 1, 2]]), r"pairs: int64 \(1, 3\); integers \(N, 2\)"),
    (lambda: factorisation()([[0.0, 1.0]]), r"pairs: float32 \(1, 2\); integers"),
    (lambda: factorisation().losses([[0, 1]], [1.0, 2.0]), r"ratings: \(2,\); expected \(1,\)"),
    (lambda: factorisation(factors=-1), "must not be negative, got -1"),
])
def test_what_does_not_fit_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_a_number_that_is_no_user_is_refused():
    with pytest.raises(IndexError, match="4"):
        factorisation()([[4, 0]])
