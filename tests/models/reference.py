"""The same models, written by hand in PyTorch, and weights carried over."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
T = torch.nn

torch.set_num_threads(1)


def carry_over(model, twin):
    """Give `twin`, a PyTorch module in float64, the parameters of `model`, in order."""
    twin.double()
    ours, theirs = list(model.parameters()), list(twin.parameters())
    assert [p.shape for p in ours] == [tuple(q.shape) for q in theirs]
    with torch.no_grad():
        for p, q in zip(ours, theirs):
            q.copy_(torch.from_numpy(p.data.copy()))
    return twin


def to_torch(array):
    return torch.from_numpy(np.array(array, dtype=np.float64))


def dcgan_networks(latent, width):
    """DCGAN for 16x16 grey images: 4x4 and 8x8 maps on the way."""
    generator = T.Sequential(
        T.Linear(latent, 2 * width * 16, bias=False), T.Unflatten(1, (2 * width, 4, 4)),
        T.BatchNorm2d(2 * width), T.ReLU(),
        T.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=False), T.BatchNorm2d(width), T.ReLU(),
        T.ConvTranspose2d(width, 1, 4, 2, 1), T.Tanh())
    discriminator = T.Sequential(
        T.Conv2d(1, width, 4, 2, 1), T.LeakyReLU(0.2),
        T.Conv2d(width, 2 * width, 4, 2, 1, bias=False), T.BatchNorm2d(2 * width), T.LeakyReLU(0.2),
        T.Flatten(), T.Linear(2 * width * 16, 1))
    return generator, discriminator


def critic_network(width):
    """The WGAN-GP critic for 16x16 grey images: no normalisation."""
    return T.Sequential(
        T.Conv2d(1, width, 4, 2, 1), T.LeakyReLU(0.2), T.Conv2d(width, 2 * width, 4, 2, 1),
        T.LeakyReLU(0.2), T.Flatten(), T.Linear(2 * width * 16, 1))


class TorchVAE(T.Module):
    """Fully connected VAE: hidden ReLU layers, Bernoulli likelihood."""

    def __init__(self, pixels, hidden, latent):
        super().__init__()
        self.encoder = T.Sequential(T.Linear(pixels, hidden), T.ReLU())
        self.mu, self.logvar = T.Linear(hidden, latent), T.Linear(hidden, latent)
        self.decoder = T.Sequential(T.Linear(latent, hidden), T.ReLU(), T.Linear(hidden, pixels))

    def loss(self, x, noise):
        flat = x.flatten(1)
        features = self.encoder(flat)
        mu, logvar = self.mu(features), self.logvar(features)
        logits = self.decoder(mu + (logvar / 2).exp() * noise)
        nll = T.functional.binary_cross_entropy_with_logits(logits, flat, reduction="sum")
        kl = -0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum()
        return (nll + kl) / len(x)


def torch_penalty(critic, real, fake, epsilon, weight=10.0):
    """The gradient penalty of WGAN-GP."""
    x = (epsilon * real + (1 - epsilon) * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return weight * (slope.flatten(1).norm(dim=1) - 1).pow(2).mean()
