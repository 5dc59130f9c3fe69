"""The training step of every GAN: D and G alternate, and D is frozen while G learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import nn, ops, optim
from ..autograd import no_grad, set_grad_enabled
from ..mode import decide
from ..optim.ema import count_up
from ..tensor import Tensor
from .base import GenerativeModel, check_positive, frozen, learnt
from .losses import gan_loss, gradient_penalty

__all__ = ["AdversarialModel"]


class AdversarialModel(GenerativeModel):
    """A generator G and a discriminator D that learn against each other.

    `generator(z, labels)` makes images in [-1, 1]; `discriminator(images, labels)` gives one logit
    (N, 1) for each. Subclasses build the two; everything else is here.

    Args:
        latent: the length of the noise vector z.
        loss: a name in `losses.GAN_LOSSES`.
        label_smoothing: the target of real images is 1 - label_smoothing.
        gradient_penalty: the weight of the WGAN-GP penalty on D; 0 leaves it out.
        n_critic: G learns on every n_critic-th batch, D on every one.
        options: what `config()` has to repeat beside these.

    Sources: I. Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014; I. Gulrajani et
    al., "Improved Training of Wasserstein GANs", NeurIPS 2017 (penalty and n_critic).
    """

    value_range = (-1.0, 1.0)
    rate = 2e-4     # the learning rate of both sides, where none is given
    generator: nn.Module
    discriminator: nn.Module

    def __init__(self, name: str, image_shape: Sequence[int], num_classes: int | None, *,
                 latent: int, loss: str, label_smoothing: float, gradient_penalty: float,
                 n_critic: int, options: dict[str, Any]):
        shared = {"latent": latent, "loss": loss, "label_smoothing": label_smoothing,
                  "gradient_penalty": gradient_penalty, "n_critic": n_critic}
        super().__init__(name, image_shape, num_classes, {**shared, **options})
        check_positive(name, latent=latent, n_critic=n_critic)
        self.latent, self.n_critic = latent, n_critic
        self.loss, self.label_smoothing = gan_loss(loss, label_smoothing), label_smoothing
        self.penalty_weight = gradient_penalty
        if gradient_penalty < 0 or (loss == "wasserstein" and not gradient_penalty):
            raise ValueError(f"[{name}] gradient_penalty must be positive with the wasserstein "
                             f"loss, and never negative; got {gradient_penalty}")
        self.register_buffer("batches", Tensor.wrap(np.zeros((), np.int64)))

    def configure_optimizers(self, lr: float | None = None) -> dict[str, optim.Optimizer]:
        """Adam for each side: lr `rate`, betas (0.5, 0.999); for WGAN-GP 1e-4 and (0, 0.9).

        Sources: A. Radford et al., ICLR 2016, section 3; I. Gulrajani et al., NeurIPS 2017,
        algorithm 1.
        """
        wasserstein = self.options["loss"] == "wasserstein"
        betas = (0.0, 0.9) if wasserstein else (0.5, 0.999)
        rate = (1e-4 if wasserstein else self.rate) if lr is None else lr
        return {"generator": optim.Adam(learnt(self.generator), lr=rate, betas=betas),
                "discriminator": optim.Adam(learnt(self.discriminator), lr=rate, betas=betas)}

    def prepare(self, images: Any) -> Tensor:
        """Loader images in [0, 1] as real images in [-1, 1]."""
        return super().prepare(images) * 2 - 1

    def forward(self, z: Tensor, labels: Any = None) -> Tensor:
        """Generated images (n, C, H, W) in [-1, 1]."""
        return self.decode(z, labels)

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.generator(z, labels)

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Move or convert the networks; the count of batches stays on the CPU, where it is read."""
        super().to(*args, **kwargs)
        self.batches.data = self.batches.to(device="cpu").data
        return self

    # -- learning -----------------------------------------------------------------------------

    def training_step(self, images: Any, labels: Any,
                      optimizers: dict[str, optim.Optimizer]) -> dict[str, Tensor]:
        """One update of D, and on every n_critic-th batch one of G, against the updated D.

        Both use the same generated images. Returns the losses `discriminator` and `generator`,
        the means `real` and `fake` of D's verdicts (probabilities where logits are log odds), and
        `penalty` where there is one.
        """
        self._learning()
        real = self.prepare(images)
        labels = self.check_labels(labels, real.shape[0])
        generator_learns = decide(lambda: (int(self.batches.data) + 1) % self.n_critic == 0,
                                  "whether the generator learns")
        with no_grad():
            count_up(self.batches)
        z = self.noise(real.shape[0])
        with set_grad_enabled(generator_learns):
            fake = self.generator(z, labels)
        results = self._discriminator_step(real, fake.detach(), labels,
                                           optimizers["discriminator"])
        if generator_learns:
            results["generator"] = self._generator_step(fake, labels, optimizers["generator"])
        return results

    def _discriminator_step(self, real: Tensor, fake: Tensor, labels: Tensor | None,
                            optimizer: optim.Optimizer) -> dict[str, Tensor]:
        """D learns to tell real from fake; each kind passes through D as a batch of its own."""
        real_scores = self.discriminator(real, labels)
        fake_scores = self.discriminator(fake, labels)
        loss = self.loss.discriminator(real_scores, fake_scores, self.label_smoothing)
        total, extra = loss, {}
        if self.penalty_weight:
            penalty = gradient_penalty(lambda x: self.discriminator(x, labels), real, fake,
                                       self.penalty_weight)
            total, extra = loss + penalty, {"penalty": penalty.detach()}
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        real_scores, fake_scores = real_scores.detach(), fake_scores.detach()
        verdict = ops.sigmoid if self.loss.bounded else ops.positive
        return {"discriminator": loss.detach(), "generator": self.loss.generator(fake_scores),
                "real": verdict(real_scores).mean(), "fake": verdict(fake_scores).mean(), **extra}

    def _generator_step(self, fake: Tensor, labels: Tensor | None,
                        optimizer: optim.Optimizer) -> Tensor:
        """G learns to be taken for real by D, which is frozen."""
        with frozen(self.discriminator):
            loss = self.loss.generator(self.discriminator(fake, labels))
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
        return loss.detach()
