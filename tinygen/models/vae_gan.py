"""VAE-GAN: a variational autoencoder whose likelihood is measured by a discriminator's features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import nn, ops, optim
from ..autograd import grad_of, no_grad
from ..backend import Generator
from ..tensor import Tensor
from .base import JoinLabels, check_positive, frozen, image_steps, inference, learnt
from .dcgan import ConvDiscriminator, ConvGenerator, channel_plan
from .losses import gan_loss
from .vae import VariationalModel, kl_standard_normal

__all__ = ["VAEGAN"]


class VAEGAN(VariationalModel):
    """An autoencoder and a GAN that share one network: the decoder is the generator.

    Encoder: convolutions 4x4, stride 2, ReLU -> mu, log sigma^2. Decoder and discriminator are
    those of `DCGAN`. With f(x) the discriminator's last features, x' = G(z) for z ~ q(z | x) and
    x_p = G(z_p) for z_p ~ N(0, I), the three minimise

    - encoder: beta KL(q(z | x) || N(0, I)) + L, with L = 1/2 |f(x) - f(x')|^2, which is -log of
      a Gaussian around f(x') up to a constant;
    - decoder: gamma L - log D(x') - log D(x_p);
    - discriminator: -log D(x) - log(1 - D(x')) - log(1 - D(x_p)).

    A stroke that is one pixel off costs a `ConvVAE` as much as a wrong one; features forgive it,
    so the pictures are sharper, though pixel by pixel farther from the original.

    Args:
        image_shape: (C, H, W), square, of a size that halves down to 4 or 7.
        num_classes: makes all three networks conditional on the class; None does not.
        latent: the length of z.
        width: channels of the largest maps; each halving doubles them, up to 8 times.
        beta: the weight of the KL divergence.
        gamma: how much the decoder minds the original against fooling the discriminator.

    Source: A. Larsen, S. Sønderby, H. Larochelle and O. Winther, "Autoencoding beyond pixels using
    a learned similarity metric", ICML 2016, algorithm 1; theirs is trained with RMSProp.

    >>> model = VAEGAN((1, 16, 16), width=4, latent=2)
    >>> model.generate(model.noise(3)).shape
    (3, 1, 16, 16)
    """

    value_range = (-1.0, 1.0)

    def __init__(self, image_shape: Sequence[int], num_classes: int | None = None, *,
                 latent: int = 20, width: int = 32, beta: float = 1.0, gamma: float = 0.01,
                 name: str = "vae-gan"):
        super().__init__(name, image_shape, num_classes, latent=latent, likelihood="gaussian",
                         sigma=1.0, beta=beta, options={})
        self.options = {"latent": latent, "width": width, "beta": beta, "gamma": gamma}
        check_positive(name, width=width)
        if gamma < 0:
            raise ValueError(f"[{name}] gamma must not be negative, got {gamma}")
        self.gamma, self.adversarial = gamma, gan_loss("non-saturating")
        side, steps = image_steps(name, self.image_shape)
        channels = channel_plan(width, steps)
        if num_classes:
            self.join_image = JoinLabels(num_classes, self.image_shape[1:])
        inputs = [self.image_shape[0] + (1 if num_classes else 0), *channels]
        down: list[nn.Module] = []
        for before, after in zip(inputs, inputs[1:]):
            down += [nn.Conv2d(before, after, 4, 2, 1), nn.ReLU()]
        self.encoder = nn.Sequential(*down, nn.Flatten())
        flat = channels[-1] * side * side
        self.mu, self.logvar = nn.Linear(flat, latent), nn.Linear(flat, latent)
        self.decoder = ConvGenerator(self.image_shape, latent, width, side, steps, num_classes)
        self.discriminator = ConvDiscriminator(self.image_shape, width, side, steps, num_classes)

    def configure_optimizers(self, lr: float | None = None) -> dict[str, optim.Optimizer]:
        """Adam for each of the three: learning rate 3e-4, betas (0.5, 0.999)."""
        rate = 3e-4 if lr is None else lr
        sides = {"encoder": self._encoding(), "decoder": learnt(self.decoder),
                 "discriminator": learnt(self.discriminator)}
        return {name: optim.Adam(parameters, lr=rate, betas=(0.5, 0.999))
                for name, parameters in sides.items()}

    def prepare(self, images: Any) -> Tensor:
        """Loader images in [0, 1] as real images in [-1, 1]."""
        return super().prepare(images) * 2 - 1

    def forward(self, images: Any, labels: Any = None) -> tuple[Tensor, Tensor, Tensor]:
        """The reconstruction (N, C, H, W) in [-1, 1], mu and log sigma^2 (N, latent)."""
        return super().forward(images, labels)

    def _logits(self, z: Tensor, labels: Tensor | None) -> Tensor:
        return self.decoder(z, labels)         # tanh is the generator's own last layer

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.decoder(z, labels)

    def _encoding(self) -> list[nn.Parameter]:
        parts = [self.encoder, self.mu, self.logvar, self.join_image]
        return [p for part in parts if part is not None for p in learnt(part)]

    # -- learning ---------------------------------------------------------------------------------

    def training_step(self, images: Any, labels: Any,
                      optimizers: dict[str, optim.Optimizer]) -> dict[str, Tensor]:
        """One update of the discriminator, then one of encoder and decoder against the updated one.

        Returns `reconstruction` (L, per image) and `kl` in nats, the losses `fooling` of the
        decoder and `discriminator`, and the means `real` and `fake` of D's probabilities.
        """
        self._learning()
        x = self.prepare(images)
        labels = self.check_labels(labels, x.shape[0])
        mu, logvar = self._posterior(x, labels)                          # (N, latent)
        copies = self.decoder(self._sample(mu, logvar), labels)          # x', (N, C, H, W)
        drawn = self.decoder(self.noise(x.shape[0]), labels)             # x_p
        results = self._discriminator_step(x, copies.detach(), drawn.detach(), labels,
                                           optimizers["discriminator"])
        with frozen(self.discriminator):
            with no_grad():
                wanted = self.discriminator.features(x, labels)          # (N, F)
            found = self.discriminator.features(copies, labels)
            reconstruction = _distance(wanted, found)
            kl = kl_standard_normal(mu, logvar)
            fooling = (self.adversarial.generator(self.discriminator.verdict(found))
                       + self.adversarial.generator(self.discriminator(drawn, labels)))
            self._autoencoder_step(self.beta * kl, reconstruction, fooling, optimizers)
        return {"reconstruction": reconstruction.detach(), "kl": kl.detach(),
                "fooling": fooling.detach(), **results}

    def _discriminator_step(self, real: Tensor, copies: Tensor, drawn: Tensor,
                            labels: Tensor | None, optimizer: optim.Optimizer) -> dict[str, Tensor]:
        """D learns to tell real images from decoded ones of both kinds, batch by batch."""
        scores = [self.discriminator(batch, labels) for batch in (real, copies, drawn)]   # (N, 1)
        loss = (self.adversarial.discriminator(scores[0], scores[1], 0.0)
                - ops.log_sigmoid(-scores[2]).mean())              # the third: -log(1 - D(x_p))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        real_scores, fake_scores = scores[0].detach(), ops.concat(scores[1:], axis=0).detach()
        return {"discriminator": loss.detach(), "real": ops.sigmoid(real_scores).mean(),
                "fake": ops.sigmoid(fake_scores).mean()}

    def _autoencoder_step(self, divergence: Tensor, reconstruction: Tensor, fooling: Tensor,
                          optimizers: dict[str, optim.Optimizer]) -> None:
        """The encoder learns from divergence + L alone, the decoder from gamma L + fooling."""
        encoding, decoding = self._encoding(), learnt(self.decoder)
        ours = grad_of(divergence + reconstruction, encoding + decoding, retain_graph=True)
        fooled = grad_of(fooling, decoding) if decoding else ()
        for p, g in zip(encoding, ours):
            p.grad = g
        for p, g, h in zip(decoding, ours[len(encoding):], fooled):
            assert g is not None and h is not None
            p.grad = self.gamma * g + h
        optimizers["encoder"].step()
        optimizers["decoder"].step()

    def losses(self, images: Any, labels: Any = None,
               generator: Generator | None = None) -> dict[str, Tensor]:
        """`reconstruction` and `kl` in nats per image, and `mse`, the squares of pixels in [0, 1].

        There is no `loss`: features that go on learning are no measure that two epochs share.
        """
        x = self.prepare(images)
        labels = self.check_labels(labels, x.shape[0])
        mu, logvar = self._posterior(x, labels)
        copies = self.decoder(self._sample(mu, logvar, generator), labels)
        features = self.discriminator.features
        return {"reconstruction": _distance(features(x, labels), features(copies, labels)),
                "kl": kl_standard_normal(mu, logvar), "mse": ops.square((x - copies) / 2).mean()}

    def evaluate(self, images: Any, labels: Any = None,
                 generator: Generator | None = None) -> dict[str, Tensor]:
        """What `losses` gives, in eval mode and without a graph."""
        with inference(self):
            return self.losses(images, labels, generator)


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """1/2 |a - b|^2, summed over features (N, F), averaged over the batch."""
    return ops.square(a - b).sum() * (0.5 / a.shape[0])
