"""Variational autoencoders: fully connected and convolutional."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import nn, ops, optim
from ..backend import Generator
from ..nn import functional as F
from ..tensor import Tensor
from .base import GenerativeModel, JoinLabels, check_positive, image_steps, inference, learnt
from .dcgan import channel_plan

__all__ = ["ConvVAE", "VAE", "VariationalModel", "gaussian_nll", "kl_standard_normal"]

_CODE = 16  # the length of the code of a class


class VariationalModel(GenerativeModel):
    """What every VAE has: everything but the two networks.

    A subclass makes `encoder` (images, or vectors of pixels, -> features), the heads `mu` and
    `logvar`, and `decoder` (z -> logits (N, C, H, W)).

    Args:
        options: what `config()` has to repeat beside the arguments given here.
    """

    value_range = (0.0, 1.0)
    encoder: nn.Module
    decoder: nn.Module
    mu: nn.Linear
    logvar: nn.Linear

    def __init__(self, name: str, image_shape: Sequence[int], num_classes: int | None, *,
                 latent: int, likelihood: str, sigma: float | str, beta: float,
                 options: dict[str, Any]):
        super().__init__(name, image_shape, num_classes, {
            "latent": latent, "likelihood": likelihood, "sigma": sigma, "beta": beta, **options})
        check_positive(name, latent=latent)
        if likelihood not in ("bernoulli", "gaussian"):
            raise ValueError(f"[{name}] likelihood must be 'bernoulli' or 'gaussian', got "
                             f"{likelihood!r}")
        if sigma != "learned" and not (isinstance(sigma, (int, float)) and sigma > 0):
            raise ValueError(f"[{name}] sigma must be 'learned' or a positive number, got "
                             f"{sigma!r}")
        if beta < 0:
            raise ValueError(f"[{name}] beta must not be negative, got {beta}")
        self.latent, self.likelihood, self.beta = latent, likelihood, beta
        self.log_sigma: Any = None if isinstance(sigma, str) else math.log(sigma)
        if likelihood == "gaussian" and sigma == "learned":
            self.log_sigma = nn.Parameter(ops.zeros(1))
        self.join_image: nn.Module | None = None
        self.join_latent: nn.Module | None = None

    def configure_optimizers(self, lr: float | None = None) -> dict[str, optim.Optimizer]:
        """Adam with learning rate 1e-3."""
        return {"model": optim.Adam(learnt(self), lr=1e-3 if lr is None else lr)}

    # -- the two networks -----------------------------------------------------------------------

    def forward(self, images: Any, labels: Any = None) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of the reconstruction (N, C, H, W), mu and log sigma^2 (N, latent)."""
        x = self.prepare(images)
        labels = self.check_labels(labels, x.shape[0])
        mu, logvar = self._posterior(x, labels)
        return self._logits(self._sample(mu, logvar), labels), mu, logvar

    def _posterior(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        features = self.encoder(x if self.join_image is None else self.join_image(x, labels))
        return self.mu(features), self.logvar(features)

    def _sample(self, mu: Tensor, logvar: Tensor, generator: Generator | None = None) -> Tensor:
        """z = mu + sigma * noise, through which gradients reach mu and sigma."""
        return mu + ops.exp(0.5 * logvar) * self.noise(mu.shape[0], generator)

    def _logits(self, z: Tensor, labels: Tensor | None) -> Tensor:
        return self.decoder(z if self.join_latent is None else self.join_latent(z, labels))

    # -- learning ---------------------------------------------------------------------------------

    def training_step(self, images: Any, labels: Any,
                      optimizers: dict[str, optim.Optimizer]) -> dict[str, Tensor]:
        """One update; returns `loss`, `reconstruction` and `kl` in nats per image."""
        self._learning()
        losses = self.losses(images, labels)
        optimizers["model"].zero_grad()
        losses["loss"].backward()
        optimizers["model"].step()
        return {name: value.detach() for name, value in losses.items()}

    def evaluate(self, images: Any, labels: Any = None,
                 generator: Generator | None = None) -> dict[str, Tensor]:
        """`loss`, `reconstruction` and `kl` in nats per image, with one draw of z per image.

        The draws come from `generator`, or from the default generator.
        """
        with inference(self):
            return self.losses(images, labels, generator)

    def losses(self, images: Any, labels: Any = None,
               generator: Generator | None = None) -> dict[str, Tensor]:
        """The loss and its two parts, recorded: 0-d tensors, means over the batch."""
        x = self.prepare(images)
        labels = self.check_labels(labels, x.shape[0])
        mu, logvar = self._posterior(x, labels)
        logits = self._logits(self._sample(mu, logvar, generator), labels)
        reconstruction = self._negative_log_likelihood(x, logits)
        kl = kl_standard_normal(mu, logvar)
        return {"loss": reconstruction + self.beta * kl, "reconstruction": reconstruction, "kl": kl}

    def image_losses(self, images: Any, labels: Any = None,
                     generator: Generator | None = None) -> Tensor:
        """The loss of each image, (N,), recorded; `losses` has their mean."""
        x = self.prepare(images)
        labels = self.check_labels(labels, x.shape[0])
        mu, logvar = self._posterior(x, labels)
        logits = self._logits(self._sample(mu, logvar, generator), labels)
        if self.likelihood == "gaussian":
            weight = ops.exp(-2 * self.log_sigma) if isinstance(
                self.log_sigma, Tensor) else math.exp(-2 * self.log_sigma)
            terms = (ops.square(x - ops.sigmoid(logits)) * (0.5 * weight)
                     + (self.log_sigma + 0.5 * math.log(2 * math.pi)))
        else:
            terms = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
        kl = 0.5 * (ops.square(mu) + ops.exp(logvar) - 1 - logvar).sum(axis=1)       # (N,)
        return terms.reshape(x.shape[0], -1).sum(axis=1) + self.beta * kl

    def _negative_log_likelihood(self, x: Tensor, logits: Tensor) -> Tensor:
        if self.likelihood == "gaussian":
            return gaussian_nll(x, ops.sigmoid(logits), self.log_sigma)
        return F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / x.shape[0]

    # -- using ------------------------------------------------------------------------------------

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return ops.sigmoid(self._logits(z, labels))

    def encode(self, images: Any, labels: Any = None) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z | images), each (n, latent), in eval mode."""
        with inference(self):
            x = self.prepare(images)
            return self._posterior(x, self.check_labels(labels, x.shape[0]))

    def reconstruct(self, images: Any, labels: Any = None) -> Tensor:
        """Images decoded from the mean latent of each image: (n, C, H, W) in [0, 1]."""
        mu, _ = self.encode(images, labels)
        return self.generate(mu, labels)


class VAE(VariationalModel):
    """A variational autoencoder of fully connected layers.

    Encoder: image -> hidden (ReLU) -> mu, log sigma^2 of q(z | x). Decoder: z -> hidden (ReLU) ->
    one logit per pixel; the decoded image is its sigmoid. The loss, in nats per image, is

    -E_q[log p(x | z)] + beta KL(q(z | x) || N(0, I)), with z = mu + sigma * noise.

    Args:
        image_shape: (C, H, W).
        num_classes: makes encoder and decoder conditional on the class; None does not.
        latent: the length of z.
        hidden: the width of the hidden layers.
        likelihood: p(x | z): "bernoulli" (pixels are probabilities), or "gaussian" around the
            decoded image.
        sigma: the standard deviation of the Gaussian: a number, or "learned", one for all pixels.
        beta: the weight of the KL divergence.

    Sources: D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014;
    I. Higgins et al., "beta-VAE", ICLR 2017 (beta); K. Sohn et al., "Learning Structured Output
    Representation using Deep Conditional Generative Models", NeurIPS 2015 (classes); O. Rybkin et
    al., "Simple and Effective VAE Training with Calibrated Decoders", ICML 2021 (learned sigma).

    >>> model = VAE((1, 8, 8), hidden=32, latent=2)
    >>> model.generate(model.noise(3)).shape
    (3, 1, 8, 8)
    """

    def __init__(self, image_shape: Sequence[int], num_classes: int | None = None, *,
                 latent: int = 20, hidden: int = 400, likelihood: str = "bernoulli",
                 sigma: float | str = "learned", beta: float = 1.0, name: str = "vae"):
        super().__init__(name, image_shape, num_classes, latent=latent, likelihood=likelihood,
                         sigma=sigma, beta=beta, options={"hidden": hidden})
        check_positive(name, hidden=hidden)
        pixels, code = math.prod(self.image_shape), _CODE if num_classes else 0
        if num_classes:
            self.join_image = JoinLabels(num_classes, _CODE)
            self.join_latent = JoinLabels(num_classes, _CODE)
        self.encoder = nn.Sequential(nn.Linear(pixels + code, hidden), nn.ReLU())
        self.mu, self.logvar = nn.Linear(hidden, latent), nn.Linear(hidden, latent)
        self.decoder = nn.Sequential(nn.Linear(latent + code, hidden), nn.ReLU(),
                                     nn.Linear(hidden, pixels), nn.Unflatten(1, self.image_shape))

    def _posterior(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        return super()._posterior(x.reshape(x.shape[0], -1), labels)   # (N, pixels)


class ConvVAE(VariationalModel):
    """A variational autoencoder of convolutions, for square images that halve down to 4 or 7.

    Encoder: convolutions 4x4, stride 2, ReLU -> mu, log sigma^2. Decoder: a linear layer and
    transposed convolutions 4x4, stride 2, ReLU -> one logit per pixel. Loss, likelihoods and
    sources: see `VAE`.

    Args:
        width: channels of the largest maps; each halving doubles them, up to 8 times.
        image_shape, num_classes, latent, likelihood, sigma, beta: see `VAE`.

    >>> model = ConvVAE((1, 28, 28), width=4)
    >>> model.generate(model.noise(3)).shape
    (3, 1, 28, 28)
    """

    def __init__(self, image_shape: Sequence[int], num_classes: int | None = None, *,
                 latent: int = 20, width: int = 32, likelihood: str = "bernoulli",
                 sigma: float | str = "learned", beta: float = 1.0, name: str = "conv-vae"):
        super().__init__(name, image_shape, num_classes, latent=latent, likelihood=likelihood,
                         sigma=sigma, beta=beta, options={"width": width})
        check_positive(name, width=width)
        side, steps = image_steps(name, self.image_shape)
        channels, code = channel_plan(width, steps), _CODE if num_classes else 0
        flat = channels[-1] * side * side
        if num_classes:
            self.join_image = JoinLabels(num_classes, self.image_shape[1:])
            self.join_latent = JoinLabels(num_classes, _CODE)
        inputs = [self.image_shape[0] + (1 if num_classes else 0), *channels]
        down: list[nn.Module] = []
        for before, after in zip(inputs, inputs[1:]):
            down += [nn.Conv2d(before, after, 4, 2, 1), nn.ReLU()]
        self.encoder = nn.Sequential(*down, nn.Flatten())
        self.mu, self.logvar = nn.Linear(flat, latent), nn.Linear(flat, latent)
        up: list[nn.Module] = [nn.Linear(latent + code, flat),
                               nn.Unflatten(1, (channels[-1], side, side))]
        for before, after in zip(channels[::-1], [*channels[-2::-1], self.image_shape[0]]):
            up += [nn.ReLU(), nn.ConvTranspose2d(before, after, 4, 2, 1)]
        self.decoder = nn.Sequential(*up)


def grown(updates: Tensor, steps: int) -> Any:
    """The weight of the KL after so many updates: from 0 to 1 over the first `steps` of them.

    `updates` is a tensor with one element; the weight is a tensor too, so that a recorded step
    computes it anew.

    >>> import tinygen as tg
    >>> grown(tg.Tensor([3.0]), 4).item(), grown(tg.Tensor([9.0]), 4).item(), grown(tg.zeros(1), 0)
    (0.75, 1.0, 1.0)
    """
    return ops.minimum(updates.reshape(()) / steps, 1.0) if steps else 1.0


def kl_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, sigma^2) || N(0, I)): summed over the latent, averaged over the batch, in nats.

    1/2 sum (mu^2 + sigma^2 - 1 - log sigma^2), for mu and log sigma^2 of shape (N, latent).

    Source: D. P. Kingma and M. Welling, ICLR 2014, appendix B.

    >>> import tinygen as tg
    >>> kl_standard_normal(tg.ones((5, 4)), tg.zeros((5, 4))).item()
    2.0
    """
    terms = ops.square(mu) + ops.exp(logvar) - 1 - logvar
    return terms.sum() * (0.5 / mu.shape[0])


def gaussian_nll(x: Tensor, mean: Tensor, log_sigma: Any) -> Tensor:
    """-log N(x; mean, sigma^2), constant included: summed over pixels, averaged over the batch.

    sum of (x - mean)^2 / (2 sigma^2) + log sigma + 1/2 log(2 pi), for x of shape (N, ...) and one
    log sigma, a number or a tensor with one element.
    """
    pixels = math.prod(x.shape[1:])
    weight = ops.exp(-2 * log_sigma) if isinstance(log_sigma, Tensor) else math.exp(-2 * log_sigma)
    squares = ops.square(x - mean).sum() * (0.5 / x.shape[0])
    loss = squares * weight + pixels * (log_sigma + 0.5 * math.log(2 * math.pi))
    return loss.reshape(())
