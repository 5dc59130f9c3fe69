"""VAEs: densities against torch.distributions, parts of the loss, conditioning, reconstruction."""

import math

import numpy as np
import pytest

import tinygen as tg
from tinygen.models import ConvVAE, build, gaussian_nll, interpolate, kl_standard_normal
from tinygen.models.base import inference

SHAPES = {"vae": (1, 8, 8), "conv-vae": (2, 16, 16)}


def small(name, num_classes=None, **options):
    tg.manual_seed(0)
    size = {"hidden": 16} if name == "vae" else {"width": 2}
    return build(name, SHAPES[name], num_classes, latent=3, **size, **options)


def images(shape, n=6, seed=0):
    return tg.Tensor(np.random.default_rng(seed).random((n, *shape), dtype=np.float32))


def test_kl_is_that_of_torch_distributions():
    torch = pytest.importorskip("torch")
    D = torch.distributions
    mu, logvar = np.random.default_rng(0).normal(size=(2, 5, 4))
    posterior = D.Normal(torch.tensor(mu), torch.tensor(logvar).mul(0.5).exp())
    expected = D.kl_divergence(posterior, D.Normal(0.0, 1.0)).sum(1).mean()
    found = kl_standard_normal(tg.Tensor(mu), tg.Tensor(logvar))
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    assert kl_standard_normal(tg.zeros((3, 2)), tg.zeros((3, 2))).item() == 0


@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_gaussian_density_is_that_of_torch_distributions(sigma):
    torch = pytest.importorskip("torch")
    x, mean = np.random.default_rng(1).random((2, 4, 1, 3, 3))
    normal = torch.distributions.Normal(torch.tensor(mean), sigma)
    expected = -normal.log_prob(torch.tensor(x)).flatten(1).sum(1).mean()
    fixed = gaussian_nll(tg.Tensor(x), tg.Tensor(mean), math.log(sigma))
    log_sigma = tg.Tensor([math.log(sigma)], dtype="float64")
    learnt = gaussian_nll(tg.Tensor(x), tg.Tensor(mean), log_sigma)
    assert fixed.item() == pytest.approx(expected.item(), rel=1e-12)
    assert learnt.item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("name", SHAPES)
def test_bernoulli_loss_is_that_of_torch_distributions(name):
    torch = pytest.importorskip("torch")
    model = small(name).double()
    x = np.random.default_rng(2).random((6, *SHAPES[name])).round()
    noise = np.random.default_rng(3).normal(size=(6, 3))
    model.noise = lambda n, generator=None: tg.Tensor(noise)
    losses = model.evaluate(x)
    with inference(model):
        logits, mu, logvar = model(x)
    bernoulli = torch.distributions.Bernoulli(logits=torch.tensor(logits.numpy()))
    expected = -bernoulli.log_prob(torch.tensor(x)).flatten(1).sum(1).mean()
    assert losses["reconstruction"].item() == pytest.approx(expected.item(), rel=1e-12)
    assert losses["kl"].item() == pytest.approx(kl_standard_normal(mu, logvar).item(), rel=1e-12)
    assert losses["loss"].item() == pytest.approx(
        losses["reconstruction"].item() + losses["kl"].item(), rel=1e-12)


def test_the_learned_sigma_of_a_gaussian_finds_the_scatter():
    """Its best value is the root mean square of the errors."""
    rng = np.random.default_rng(4)
    x, mean = rng.normal(0, 0.25, (50, 1, 6, 6)), np.zeros((50, 1, 6, 6))
    log_sigma = tg.Tensor([0.0], dtype="float64", requires_grad=True)
    for _ in range(200):
        (g,) = tg.autograd.grad(gaussian_nll(tg.Tensor(x), tg.Tensor(mean), log_sigma), log_sigma)
        with tg.no_grad():
            log_sigma.assign_(log_sigma - 0.005 * g)
    assert math.exp(log_sigma.item()) == pytest.approx(np.sqrt((x ** 2).mean()), rel=1e-6)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("options", [{}, {"likelihood": "gaussian"}, {"beta": 4.0},
                                     {"likelihood": "gaussian", "sigma": 0.1}])
def test_a_step_updates_every_parameter_and_reports_its_parts(name, options):
    model = small(name, **options)
    before = {k: p.data.copy() for k, p in model.named_parameters()}
    losses = model.training_step(images(SHAPES[name]), None, model.configure_optimizers())
    unchanged = [k for k, p in model.named_parameters() if np.array_equal(p.data, before[k])]
    assert not unchanged
    assert ("log_sigma" in before) == (options.get("likelihood") == "gaussian"
                                       and "sigma" not in options)
    assert all(v.shape == () and not v.requires_grad for v in losses.values())
    parts = losses["reconstruction"].item() + options.get("beta", 1.0) * losses["kl"].item()
    assert losses["loss"].item() == pytest.approx(parts, rel=1e-5)


@pytest.mark.parametrize("name", SHAPES)
def test_evaluation_changes_nothing_and_is_a_mean_over_images(name):
    model = small(name)
    model.noise = lambda n, generator=None: tg.zeros((n, 3))
    x = images(SHAPES[name])
    whole = model.evaluate(x)
    halves = [model.evaluate(x[:2]), model.evaluate(x[2:])]
    for key, value in whole.items():
        assert not value.requires_grad
        assert value.item() == pytest.approx((2 * halves[0][key].item() + 4 * halves[1][key].item())
                                             / 6, rel=1e-4)
    assert model.training and all(p.grad is None for p in model.parameters())


def test_evaluation_can_leave_the_default_stream_alone():
    model = small("vae")
    state = tg.random.get_state()
    a = model.evaluate(images((1, 8, 8)), None, tg.Generator(5))
    b = model.evaluate(images((1, 8, 8)), None, tg.Generator(5))
    assert a["loss"].item() == b["loss"].item()
    assert tg.random.get_state() == state


@pytest.mark.parametrize("name", SHAPES)
def test_reconstructions_decode_the_mean_latent(name):
    model = small(name)
    x = images(SHAPES[name])
    mu, logvar = model.encode(x)
    assert mu.shape == logvar.shape == (6, 3) and not mu.requires_grad
    rebuilt = model.reconstruct(x)
    assert np.array_equal(rebuilt.data, model.generate(mu).data)
    assert rebuilt.shape == x.shape and 0 <= rebuilt.data.min() and rebuilt.data.max() <= 1
    assert np.array_equal(model.reconstruct(x).data, rebuilt.data), "no noise in it"


@pytest.mark.parametrize("name", SHAPES)
def test_a_conditional_vae_uses_labels_on_both_sides(name):
    model = small(name, num_classes=3)
    x, labels = images(SHAPES[name]), np.array([0, 1, 2, 0, 1, 2])
    losses = model.training_step(x, labels, model.configure_optimizers())
    assert np.isfinite(losses["loss"].item())
    means, others = (model.encode(x, y)[0].data for y in (labels, labels[::-1].copy()))
    assert not np.allclose(means, others)
    z = tg.zeros((3, 3))
    pictures = model.generate(z).numpy()
    assert not np.allclose(pictures[0], pictures[1])
    with pytest.raises(ValueError, match="labels are needed"):
        model.encode(x)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 64, 64)])
def test_convolutional_vaes_work_at_all_sizes(shape):
    model = ConvVAE(shape, width=2)
    assert model.reconstruct(images(shape, n=2)).shape == (2, *shape)


@pytest.mark.parametrize(("options", "words"), [
    ({"likelihood": "poisson"}, "'bernoulli' or 'gaussian', got 'poisson'"),
    ({"sigma": -1.0}, "sigma must be 'learned' or a positive number"),
    ({"beta": -1.0}, "beta must not be negative"),
    ({"latent": 0}, "latent must be a positive integer, got 0"),
    ({"hidden": 2.5}, "hidden must be a positive integer, got 2.5"),
])
def test_unfit_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        build("vae", (1, 8, 8), **options)


def test_interpolation_on_a_line_and_on_an_arc():
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=(2, 4, 7))
    line = interpolate(tg.Tensor(a), tg.Tensor(b), 5).numpy()
    straight = [(1 - t) * a + t * b for t in np.linspace(0, 1, 5)]
    np.testing.assert_allclose(line, straight, rtol=1e-12)
    arc = interpolate(tg.Tensor(a), tg.Tensor(b), 5, spherical=True).numpy()
    for i in range(4):
        w = np.arccos(a[i] @ b[i] / np.linalg.norm(a[i]) / np.linalg.norm(b[i]))
        for j, t in enumerate(np.linspace(0, 1, 5)):
            expected = (np.sin((1 - t) * w) * a[i] + np.sin(t * w) * b[i]) / np.sin(w)
            np.testing.assert_allclose(arc[j, i], expected, rtol=1e-9, atol=1e-12)
    unit = [tg.Tensor(u / np.linalg.norm(u, axis=1, keepdims=True)) for u in (a, b)]
    sphere = interpolate(*unit, 9, spherical=True).numpy()
    np.testing.assert_allclose(np.linalg.norm(sphere, axis=-1), 1, rtol=1e-9)


@pytest.mark.parametrize("b", [[1.0, 2.0], [2.0, 4.0], [-1.0, -2.0], [0.0, 0.0]])
def test_arcs_without_a_plane_become_lines(b):
    """Parallel, opposite or zero vectors span no plane to turn in."""
    a = tg.Tensor([1.0, 2.0])
    arc = interpolate(a, tg.Tensor(b), 3, spherical=True)
    np.testing.assert_allclose(arc.data, interpolate(a, tg.Tensor(b), 3).data, atol=1e-6)


def test_interpolation_errors():
    with pytest.raises(ValueError, match=r"a: \(3,\), b: \(4,\)"):
        interpolate(tg.zeros(3), tg.zeros(4), 5)
    with pytest.raises(ValueError, match="at least 2"):
        interpolate(tg.zeros(3), tg.zeros(3), 1)
