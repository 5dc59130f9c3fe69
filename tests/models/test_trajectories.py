"""The same weights, data and noise as PyTorch: the same loss curve, in float64, for 100 steps."""

import numpy as np
import pytest

import tinygen as tg
from tests.models.reference import (
    T,
    TorchVAE,
    carry_over,
    critic_network,
    dcgan_networks,
    to_torch,
    torch,
    torch_penalty,
)
from tinygen import data, nn, optim
from tinygen.models import build
from tinygen.nn import functional as F

STEPS = 100


def batches(size, scale=1, n=STEPS):
    """Real digits (N, 1, 8, 8), or enlarged, in float64, and their labels."""
    digits = data.Digits()
    pictures = (digits.images / 255.0).repeat(scale, axis=2).repeat(scale, axis=3)
    rng = np.random.default_rng(0)
    picks = [rng.permutation(len(pictures))[:size] for _ in range(n)]
    return [(pictures[i], digits.labels[i]) for i in picks]


def feed_noise(model, draws):
    """Make the model take its noise from an iterator of arrays."""
    model.noise = lambda n, generator=None: tg.Tensor(next(draws))


def assert_same_curve(ours, theirs):
    ours, theirs = np.array(ours), np.array(theirs)
    assert np.isfinite(ours).all() and len(ours) == len(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("rule", ["sgd", "adam"])
def test_an_mlp_classifier(rule):
    tg.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 16), nn.ReLU(),
                          nn.Linear(16, 10)).double()
    twin = carry_over(model, T.Sequential(T.Flatten(), T.Linear(64, 32), T.Tanh(), T.Linear(32, 16),
                                          T.ReLU(), T.Linear(16, 10)))
    kind, options = {"sgd": ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
                     "adam": ("Adam", {"lr": 3e-3})}[rule]
    optimizer = getattr(optim, kind)(model.parameters(), **options)
    reference = getattr(torch.optim, kind)(twin.parameters(), **options)
    ours, theirs = [], []
    for images, labels in batches(32):
        loss = F.cross_entropy(model(tg.Tensor(images)), tg.Tensor(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected = T.functional.cross_entropy(twin(to_torch(images)), torch.tensor(labels))
        reference.zero_grad()
        expected.backward()
        reference.step()
        ours.append(loss.item())
        theirs.append(expected.item())
    assert_same_curve(ours, theirs)
    assert ours[-1] < ours[0] / 2


def test_a_vae():
    tg.manual_seed(2)
    model = build("vae", (1, 8, 8), hidden=32, latent=4).double()
    twin = carry_over(model, TorchVAE(64, 32, 4))
    optimizers = model.configure_optimizers()
    reference = torch.optim.Adam(twin.parameters(), lr=1e-3)
    noise = np.random.default_rng(3).normal(size=(STEPS, 32, 4))
    feed_noise(model, iter(noise))
    ours, theirs = [], []
    for (images, _), draw in zip(batches(32), noise):
        ours.append(model.training_step(images, None, optimizers)["loss"].item())
        loss = twin.loss(to_torch(images), to_torch(draw))
        reference.zero_grad()
        loss.backward()
        reference.step()
        theirs.append(loss.item())
    assert_same_curve(ours, theirs)
    assert ours[-1] < ours[0]


def test_a_dcgan():
    tg.manual_seed(4)
    model = build("dcgan", (1, 16, 16), width=4, latent=8, label_smoothing=0.1).double()
    generator, discriminator = dcgan_networks(8, 4)
    carry_over(model.generator, generator)
    carry_over(model.discriminator, discriminator)
    adam_g, adam_d = (torch.optim.Adam(m.parameters(), lr=2e-4, betas=(0.5, 0.999))
                      for m in (generator, discriminator))
    bce = T.functional.binary_cross_entropy_with_logits
    noise = np.random.default_rng(5).normal(size=(STEPS, 8, 8))
    feed_noise(model, iter(noise))
    optimizers = model.configure_optimizers()
    ours, theirs = [], []
    for (images, _), draw in zip(batches(8, scale=2), noise):
        losses = model.training_step(images, None, optimizers)
        ours.append([losses["discriminator"].item(), losses["generator"].item()])
        fake = generator(to_torch(draw))
        scores = discriminator(to_torch(images) * 2 - 1), discriminator(fake.detach())
        loss_d = (bce(scores[0], torch.full_like(scores[0], 0.9))
                  + bce(scores[1], torch.zeros_like(scores[1])))
        adam_d.zero_grad()
        loss_d.backward()
        adam_d.step()
        scores = discriminator(fake)
        loss_g = bce(scores, torch.ones_like(scores))
        adam_g.zero_grad()
        loss_g.backward()
        adam_g.step()
        theirs.append([loss_d.item(), loss_g.item()])
    assert_same_curve(ours, theirs)
    for (name, buffer), expected in zip(model.generator.named_buffers(), generator.buffers()):
        np.testing.assert_allclose(buffer.data, expected.numpy(), rtol=1e-6, err_msg=name)


def test_a_wgan_gp(monkeypatch):
    tg.manual_seed(6)
    steps = 60
    model = build("wgan-gp", (1, 16, 16), width=4, latent=8, n_critic=2).double()
    generator, _ = dcgan_networks(8, 4)
    carry_over(model.generator, generator)
    critic = carry_over(model.discriminator, critic_network(4))
    adam_g, adam_c = (torch.optim.Adam(m.parameters(), lr=1e-4, betas=(0.0, 0.9))
                      for m in (generator, critic))
    rng = np.random.default_rng(7)
    noise, epsilons = rng.normal(size=(steps, 8, 8)), rng.uniform(size=(steps, 8, 1, 1, 1))
    feed_noise(model, iter(noise))
    feed = iter(epsilons)
    monkeypatch.setattr(tg.random, "uniform", lambda *_, **__: tg.Tensor(next(feed)))
    optimizers = model.configure_optimizers()
    ours, theirs = [], []
    for i, (images, _) in enumerate(batches(8, scale=2, n=steps)):
        losses = model.training_step(images, None, optimizers)
        ours.append([losses[k].item() for k in ("discriminator", "penalty", "generator")])
        real, fake = to_torch(images) * 2 - 1, generator(to_torch(noise[i]))
        scores = critic(fake.detach())
        loss = scores.mean() - critic(real).mean()
        penalty = torch_penalty(critic, real, fake.detach(), to_torch(epsilons[i]))
        adam_c.zero_grad()
        (loss + penalty).backward()
        adam_c.step()
        loss_g = -scores.mean()
        if i % 2:
            loss_g = -critic(fake).mean()
            adam_g.zero_grad()
            loss_g.backward()
            adam_g.step()
        theirs.append([loss.item(), penalty.item(), loss_g.item()])
    assert_same_curve(ours, theirs)
