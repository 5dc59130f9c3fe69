"""GAN losses and the gradient penalty: values and gradients against PyTorch."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn
from tinygen.models import GAN_LOSSES, gan_loss, gradient_penalty


def logits(seed, n=6):
    return np.random.default_rng(seed).normal(0, 3, (n, 1))


def torch_loss(name, torch, real, fake, smoothing):
    """Discriminator and generator losses from PyTorch's own functions."""
    F = torch.nn.functional
    ones, zeros = torch.ones_like(real), torch.zeros_like(fake)
    if name in ("saturating", "non-saturating"):
        bce = F.binary_cross_entropy_with_logits
        d = bce(real, (1 - smoothing) * ones) + bce(fake, zeros)
        return d, bce(fake, ones) if name == "non-saturating" else -bce(fake, zeros)
    if name == "least-squares":
        d = F.mse_loss(real, (1 - smoothing) * ones) / 2 + F.mse_loss(fake, zeros) / 2
        return d, F.mse_loss(fake, ones) / 2
    if name == "hinge":
        return (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean(), -fake.mean()
    return fake.mean() - real.mean(), -fake.mean()


@pytest.mark.parametrize(("name", "smoothing"), [
    *((name, 0.0) for name in GAN_LOSSES),
    *((name, 0.1) for name in ("non-saturating", "saturating", "least-squares"))])
def test_losses_and_gradients_are_pytorchs(name, smoothing):
    torch = pytest.importorskip("torch")
    arrays = logits(0), logits(1)
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    expected_d, expected_g = torch_loss(name, torch, *theirs, smoothing)
    expected = [*torch.autograd.grad(expected_d, theirs),
                *torch.autograd.grad(expected_g, theirs[1])]

    loss = gan_loss(name, smoothing)
    real, fake = (tg.Tensor(a, requires_grad=True) for a in arrays)
    d, g = loss.discriminator(real, fake, smoothing), loss.generator(fake)
    found = [*tg.autograd.grad(d, [real, fake]), *tg.autograd.grad(g, fake)]
    np.testing.assert_allclose([d.item(), g.item()], [expected_d.item(), expected_g.item()],
                               rtol=1e-13)
    for ours, reference in zip(found, expected):
        np.testing.assert_allclose(ours.data, reference.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ["non-saturating", "saturating"])
def test_logits_of_any_size_keep_losses_finite_and_right(name):
    """At |logit| = 1e4 exp overflows in float32; the losses are then linear in the logit."""
    real, fake = tg.Tensor([[-1e4]], requires_grad=True), tg.Tensor([[1e4]], requires_grad=True)
    loss = gan_loss(name)
    d = loss.discriminator(real, fake, 0.0)
    d.backward()
    assert d.item() == pytest.approx(2e4)
    assert (real.grad.item(), fake.grad.item()) == (-1.0, 1.0)
    assert np.isfinite(loss.generator(fake).item())


def test_the_saturating_loss_stops_learning_where_the_other_goes_on():
    """D is sure (logit -20): the minimax gradient is 2e-9, the non-saturating one is 1."""
    fake = tg.Tensor([[-20.0]], dtype="float64", requires_grad=True)
    (flat,) = tg.autograd.grad(gan_loss("saturating").generator(fake), fake)
    (steep,) = tg.autograd.grad(gan_loss("non-saturating").generator(fake), fake)
    assert abs(flat.item()) < 3e-9
    assert steep.item() == pytest.approx(-1, abs=1e-8)


@pytest.mark.parametrize(("name", "smoothing", "words"), [
    ("wasserstien", 0.0, "must be one of non-saturating, saturating"),
    ("hinge", 0.1, "hinge loss has no targets"),
    ("non-saturating", 1.0, r"must lie in \[0, 1\), got 1.0"),
])
def test_unfit_losses_are_refused(name, smoothing, words):
    with pytest.raises(ValueError, match=words):
        gan_loss(name, smoothing)


def critics():
    return {
        "dense": nn.Sequential(nn.Flatten(), nn.Linear(32, 8), nn.Tanh(), nn.Linear(8, 1)),
        "convolutional": nn.Sequential(nn.Conv2d(2, 3, 4, 2, 1), nn.LeakyReLU(0.2),
                                       nn.LayerNorm((3, 2, 2)), nn.Flatten(), nn.Linear(12, 1)),
    }


@pytest.mark.parametrize("kind", ["dense", "convolutional"])
def test_gradient_penalty_and_its_gradients_are_pytorchs(kind):
    """The penalty's gradient to the critic's weights is a second derivative."""
    from tests.models.reference import T, carry_over, to_torch, torch, torch_penalty
    rng = np.random.default_rng(2)
    real, fake = rng.normal(size=(2, 5, 2, 4, 4))
    epsilon = rng.uniform(size=(5, 1, 1, 1))
    critic = critics()[kind].double()
    twin = carry_over(critic, {
        "dense": lambda: T.Sequential(T.Flatten(), T.Linear(32, 8), T.Tanh(), T.Linear(8, 1)),
        "convolutional": lambda: T.Sequential(T.Conv2d(2, 3, 4, 2, 1), T.LeakyReLU(0.2),
                                              T.LayerNorm((3, 2, 2)), T.Flatten(), T.Linear(12, 1)),
    }[kind]())
    expected = torch_penalty(twin, to_torch(real), to_torch(fake), to_torch(epsilon))
    expected_grads = torch.autograd.grad(expected, list(twin.parameters()), allow_unused=True)

    penalty = gradient_penalty(critic, tg.Tensor(real), tg.Tensor(fake), 10.0, tg.Tensor(epsilon))
    penalty.backward()
    assert penalty.item() == pytest.approx(expected.item(), rel=1e-12)
    for (name, p), reference in zip(critic.named_parameters(), expected_grads):
        if reference is None:      # the last bias: the slope does not depend on it
            assert p.grad is None or not p.grad.data.any(), name
        else:
            np.testing.assert_allclose(p.grad.data, reference.numpy(), rtol=1e-9, atol=1e-14,
                                       err_msg=name)


def test_gradient_penalty_of_a_linear_critic_is_known():
    """critic(x) = w.x has slope w everywhere, so the penalty is lambda (|w| - 1)^2."""
    w = tg.Tensor([[3.0], [4.0]], requires_grad=True)
    images = tg.random.normal((7, 2), generator=tg.Generator(0))
    penalty = gradient_penalty(lambda x: x @ w, images, -images, lambda_=2.0)
    penalty.backward()
    assert penalty.item() == pytest.approx(2 * (5 - 1) ** 2, rel=1e-6)
    np.testing.assert_allclose(w.grad.data, 2 * 2 * (5 - 1) * np.array([[0.6], [0.8]]), rtol=1e-6)


def test_gradient_penalty_of_a_flat_critic_is_finite():
    """Where the slope is 0 its norm has no derivative: the gradient is 0, not NaN."""
    w = tg.Tensor(np.zeros((2, 1), np.float32), requires_grad=True)
    images = tg.ones((3, 2))
    penalty = gradient_penalty(lambda x: x @ w, images, -images)
    penalty.backward()
    assert penalty.item() == pytest.approx(10)
    assert np.isfinite(w.grad.data).all()


def test_gradient_penalty_names_both_shapes():
    with pytest.raises(ValueError, match=r"real: \(3, 2\), fake: \(4, 2\)"):
        gradient_penalty(lambda x: x, tg.ones((3, 2)), tg.ones((4, 2)))
