"""The architectures of `tinygen.models` in PyTorch."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

__all__ = ["ConvVAE", "DenseVAE", "conv_pair", "dense_pair"]


def dense_pair(latent: int, hidden: list[int], dropout: float) -> tuple[nn.Module, nn.Module]:
    """G and D of an MLP GAN for images 1x28x28; D has G's hidden layers in reverse."""
    up: list[nn.Module] = []
    for before, after in zip([latent, *hidden], hidden):
        up += [nn.Linear(before, after), nn.LeakyReLU(0.2)]
    generator = nn.Sequential(*up, nn.Linear(hidden[-1], 784), nn.Tanh(),
                              nn.Unflatten(1, (1, 28, 28)))
    down: list[nn.Module] = [nn.Flatten()]
    widths = [784, *hidden[::-1]]
    for before, after in zip(widths, widths[1:]):
        down += [nn.Linear(before, after), nn.LeakyReLU(0.2), nn.Dropout(dropout)]
    return generator, nn.Sequential(*down, nn.Linear(widths[-1], 1))


def conv_pair(image_shape: list[int], width: int, latent: int) -> tuple[nn.Module, nn.Module]:
    """G and D of a DCGAN, for square images whose side halves down to 4."""
    colours, side, _ = image_shape
    steps = (side // 4).bit_length() - 1
    channels = [width * min(2 ** i, 8) for i in range(steps)]
    top = channels[-1]
    up: list[nn.Module] = [nn.Linear(latent, top * 16, bias=False), nn.Unflatten(1, (top, 4, 4)),
                           nn.BatchNorm2d(top), nn.ReLU()]
    for before, after in zip(channels[::-1], channels[-2::-1]):
        up += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after),
               nn.ReLU()]
    up += [nn.ConvTranspose2d(channels[0], colours, 4, 2, 1), nn.Tanh()]
    down: list[nn.Module] = [nn.Conv2d(colours, channels[0], 4, 2, 1), nn.LeakyReLU(0.2)]
    for before, after in zip(channels, channels[1:]):
        down += [nn.Conv2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after),
                 nn.LeakyReLU(0.2)]
    down += [nn.Flatten(), nn.Linear(top * 16, 1)]
    return nn.Sequential(*up).apply(_init), nn.Sequential(*down).apply(_init)


def _init(module: nn.Module) -> None:
    if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    bias = getattr(module, "bias", None)
    if isinstance(bias, torch.Tensor):
        nn.init.zeros_(bias)


class _VAE(nn.Module):
    """Images -> logits, mu and log sigma^2; subclasses make the parts."""

    encoder: nn.Module
    decoder: nn.Module
    mu: nn.Module
    logvar: nn.Module

    def forward(self, images: torch.Tensor) -> Any:
        features = self.encoder(images)
        mu, logvar = self.mu(features), self.logvar(features)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        return self.decoder(z), mu, logvar


class DenseVAE(_VAE):
    """784 -> hidden -> latent -> hidden -> 784."""

    def __init__(self, hidden: int, latent: int):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, hidden), nn.ReLU())
        self.mu, self.logvar = nn.Linear(hidden, latent), nn.Linear(hidden, latent)
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, 784),
                                     nn.Unflatten(1, (1, 28, 28)))


class ConvVAE(_VAE):
    """1x28x28 -> two convolutions 4x4, stride 2 -> latent, and back."""

    def __init__(self, width: int, latent: int):
        super().__init__()
        flat = 2 * width * 49
        self.encoder = nn.Sequential(nn.Conv2d(1, width, 4, 2, 1), nn.ReLU(),
                                     nn.Conv2d(width, 2 * width, 4, 2, 1), nn.ReLU(), nn.Flatten())
        self.mu, self.logvar = nn.Linear(flat, latent), nn.Linear(flat, latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, flat), nn.Unflatten(1, (2 * width, 7, 7)), nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1), nn.ReLU(),
            nn.ConvTranspose2d(width, 1, 4, 2, 1))
