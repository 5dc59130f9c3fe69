"""DP-SGD: clipped sums beside a loop over examples and PyTorch, the noise, the accountant."""

import math

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn
from tinygen.models import VAE
from tinygen.optim.private import clipped_gradients, epsilon, poisson_batch, private_gradients


def vae(**options):
    tg.manual_seed(0)
    return VAE((1, 4, 4), hidden=6, latent=3, **options).double()


def fixed_noise(model, n):
    """Noise of each image, so that its loss is the same alone and in a batch."""
    noise = np.random.default_rng(1).normal(size=(n, 3))
    model.noise = lambda count, generator=None: tg.Tensor(noise[model.rows])
    model.rows = slice(None)


@pytest.mark.parametrize("max_norm", [1e-2, 6.0, 1e3])
def test_sums_are_those_of_a_loop_over_examples(max_norm):
    """Some, all or none of the gradients are longer than the limit."""
    x = np.random.default_rng(0).random((7, 1, 4, 4))
    model = vae()
    fixed_noise(model, 7)
    sums, lengths = clipped_gradients(model, lambda: model.image_losses(x), max_norm)
    names = {id(p): name for name, p in model.named_parameters()}
    found = {names[id(p)]: total.numpy() for p, total in sums}
    assert set(found) == set(names.values())
    expected = {name: 0.0 for name in found}
    for i in range(7):
        model.rows = slice(i, i + 1)
        model.zero_grad()
        model.losses(x[i:i + 1])["loss"].backward()
        grads = {name: p.grad.numpy() for name, p in model.named_parameters()}
        length = math.sqrt(sum((g ** 2).sum() for g in grads.values()))
        assert lengths.numpy()[i] == pytest.approx(length, rel=1e-9)
        for name, g in grads.items():
            expected[name] = expected[name] + g * min(1, max_norm / length)
    for name, total in found.items():
        np.testing.assert_allclose(total, expected[name], rtol=1e-8, atol=1e-12)


def test_without_clipping_and_noise_it_is_the_ordinary_gradient():
    x = np.random.default_rng(0).random((5, 1, 4, 4))
    model = vae()
    fixed_noise(model, 5)
    private_gradients(model, lambda: model.image_losses(x), 1e9, 0.0, 5)
    found = {name: p.grad.numpy().copy() for name, p in model.named_parameters()}
    model.zero_grad()
    model.losses(x)["loss"].backward()
    for name, p in model.named_parameters():
        np.testing.assert_allclose(found[name], p.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_lengths_are_those_of_torch():
    torch = pytest.importorskip("torch")
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2, bias=False)).double()
    twin = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(),
                               torch.nn.Linear(4, 2, bias=False)).double()
    twin.load_state_dict({k: torch.tensor(v.numpy()) for k, v in model.state_dict().items()})
    x = np.random.default_rng(2).normal(size=(6, 3))
    _, lengths = clipped_gradients(model, lambda: (model(tg.Tensor(x)) ** 2).sum(axis=1), 1.0)
    for i in range(6):
        twin.zero_grad()
        (twin(torch.tensor(x[i:i + 1])) ** 2).sum().backward()
        length = math.sqrt(sum((p.grad ** 2).sum().item() for p in twin.parameters()))
        assert lengths.numpy()[i] == pytest.approx(length, rel=1e-9)


def test_the_noise_has_the_promised_deviation():
    """A loss that depends on nothing leaves the noise alone: N(0, (noise C / batch)^2)."""
    tg.manual_seed(0)
    model = nn.Linear(200, 150)
    x = tg.zeros((4, 200))
    private_gradients(model, lambda: (model(x) * 0).sum(axis=1), 0.5, 3.0, 10,
                      tg.Generator(5))
    draws = model.weight.grad.numpy()
    assert draws.std() == pytest.approx(3.0 * 0.5 / 10, rel=0.02)
    assert abs(draws.mean()) < 0.15 * 4 / math.sqrt(draws.size)
    first = draws.copy()
    private_gradients(model, lambda: (model(x) * 0).sum(axis=1), 0.5, 3.0, 10, tg.Generator(5))
    assert np.array_equal(model.weight.grad.numpy(), first)


def test_no_example_moves_the_sum_by_more_than_the_limit():
    tg.manual_seed(0)
    model = nn.Linear(3, 2)
    x = np.random.default_rng(3).normal(size=(5, 3)).astype(np.float32)
    x[2] *= 1e4

    def sums(rows):
        return np.concatenate([t.numpy().ravel() for _, t in clipped_gradients(
            model, lambda: (model(tg.Tensor(rows)) ** 2).sum(axis=1), 0.7)[0]])

    moved = np.linalg.norm(sums(x) - sums(np.delete(x, 2, 0)))
    assert moved == pytest.approx(0.7, rel=1e-4)


def test_losses_of_images_have_the_loss_as_their_mean():
    for options in ({}, {"likelihood": "gaussian"}, {"likelihood": "gaussian", "sigma": 0.3},
                    {"beta": 2.0}):
        model, x = vae(**options), np.random.default_rng(0).random((5, 1, 4, 4))
        each = model.image_losses(x, None, tg.Generator(2)).data
        assert each.shape == (5,)
        assert each.mean() == pytest.approx(
            model.losses(x, None, tg.Generator(2))["loss"].item(), rel=1e-10)


def test_poisson_batches_hold_each_example_by_chance():
    rng = np.random.default_rng(0)
    batches = [poisson_batch(50, 0.3, rng) for _ in range(2000)]
    counts = np.bincount(np.concatenate(batches), minlength=50) / 2000
    np.testing.assert_allclose(counts, 0.3, atol=5 * math.sqrt(0.3 * 0.7 / 2000))
    sizes = np.array([len(b) for b in batches])
    assert sizes.var() == pytest.approx(50 * 0.3 * 0.7, rel=0.15), "a fixed size would have none"


def test_epsilon_of_the_plain_gaussian_mechanism():
    """One update with all examples: between the exact value and the classical bound.

    Exact (B. Balle and Y.-X. Wang, ICML 2018): delta = Phi(1/(2s) - es) - e^e Phi(-1/(2s) - es).
    """
    pytest.importorskip("dp_accounting")
    stats = pytest.importorskip("scipy.stats")
    optimize = pytest.importorskip("scipy.optimize")
    s, delta = 4.0, 1e-5
    phi = stats.norm.cdf
    exact = optimize.brentq(lambda e: phi(0.5 / s - e * s) - math.exp(e) * phi(-0.5 / s - e * s)
                            - delta, 1e-3, 10)
    found = epsilon(s, 1.0, 1, delta)
    assert exact <= found <= math.sqrt(2 * math.log(1.25 / delta)) / s


def test_epsilon_grows_with_updates_and_falls_with_noise():
    pytest.importorskip("dp_accounting")
    assert epsilon(1.0, 0.01, 100, 1e-5) < epsilon(1.0, 0.01, 1000, 1e-5)
    assert epsilon(2.0, 0.01, 100, 1e-5) < epsilon(1.0, 0.01, 100, 1e-5)
    assert epsilon(1.0, 0.01, 0, 1e-5) == 0 and epsilon(0.0, 0.01, 1, 1e-5) == math.inf
    # 60 epochs of MNIST with noise 1.1 and batches of 256: TensorFlow Privacy's tutorial says 2.92
    # with an older conversion, which is looser
    assert 2.4 < epsilon(1.1, 256 / 60000, 14063, 1e-5) < 2.92


def linear_twice(layer, x):
    return layer(layer(x)).sum(axis=1)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: clipped_gradients(nn.Conv2d(1, 1, 1), lambda: None, 1.0), "nn.Linear; others: weight"),
    (lambda: clipped_gradients(nn.ReLU(), lambda: None, 1.0), "there is no such layer"),
    (lambda: clipped_gradients(m := nn.Linear(2, 2), lambda: m(tg.ones((3, 2))).sum(), 1.0),
     r"losses: \(\); expected \(N,\)"),
    (lambda: clipped_gradients(m := nn.Linear(2, 2), lambda: m(tg.ones((3, 4, 2))).sum((1, 2)),
                               1.0), r"a layer got \(3, 4, 2\)"),
    (lambda: clipped_gradients(m := nn.Linear(2, 2), lambda: linear_twice(m, tg.ones((3, 2))), 1.0),
     "used twice"),
    (lambda: private_gradients(nn.Linear(1, 1), lambda: None, 0.0, 1.0, 1), "must be positive"),
    (lambda: poisson_batch(3, 0.0, np.random.default_rng(0)), r"in \(0, 1\], got 0"),
    (lambda: epsilon(1.0, 0.1, 3, 0.0), "delta and rate"),
])
def test_what_does_not_fit_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
