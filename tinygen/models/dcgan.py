"""DCGAN and WGAN-GP: generator and discriminator are convolutional."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import nn
from ..tensor import Tensor
from .adversarial import AdversarialModel
from .base import ImageShape, JoinLabels, check_image_shape, check_positive, image_steps
from .gan import GAN

__all__ = ["DCGAN", "wgan_gp"]

_CODE = 16       # the length of the code of a class
_WIDEST = 8      # channels double with each halving of the image, up to 8 * width
NORMS = ("batch", "layer", "none")


class DCGAN(AdversarialModel):
    """A convolutional GAN for square images whose side halves down to 4 or 7.

    G: z -> 4x4 (or 7x7) maps -> transposed convolutions 4x4, stride 2, each with batch norm and
    ReLU -> tanh. D: convolutions 4x4, stride 2, with batch norm and LeakyReLU 0.2 -> one logit.
    All weights start from N(0, 0.02).

    Args:
        image_shape: (C, H, W), for instance (1, 28, 28) or (3, 64, 64).
        num_classes: makes both networks conditional on the class; None does not.
        width: channels of the largest maps; each halving doubles them, up to 8 times.
        norm: D's normalisation: "batch", "layer" or "none".
        latent, loss, label_smoothing, gradient_penalty, n_critic: see `AdversarialModel`.

    Raises:
        ValueError: the image size does not halve down to 4 or 7; the gradient penalty is asked
            for with batch norm, under which D does not treat images one by one.

    Source: A. Radford, L. Metz and S. Chintala, "Unsupervised Representation Learning with Deep
    Convolutional Generative Adversarial Networks", ICLR 2016.

    >>> model = DCGAN((3, 16, 16), width=4)
    >>> model.generate(model.noise(2)).shape
    (2, 3, 16, 16)
    """

    def __init__(self, image_shape: Sequence[int], num_classes: int | None = None, *,
                 latent: int = 100, width: int = 64, norm: str = "batch",
                 loss: str = "non-saturating", label_smoothing: float = 0.0,
                 gradient_penalty: float = 0.0, n_critic: int = 1, name: str = "dcgan"):
        super().__init__(name, image_shape, num_classes, latent=latent, loss=loss,
                         label_smoothing=label_smoothing, gradient_penalty=gradient_penalty,
                         n_critic=n_critic, options={"width": width, "norm": norm})
        check_positive(name, width=width)
        if norm not in NORMS:
            raise ValueError(f"[{name}] norm must be one of {', '.join(NORMS)}; got {norm!r}")
        if gradient_penalty and norm == "batch":
            raise ValueError(f"[{name}] the gradient penalty is taken image by image, and batch "
                             "norm mixes the images of a batch: use norm='none' or 'layer'")
        side, steps = image_steps(name, self.image_shape)
        self.generator = ConvGenerator(self.image_shape, latent, width, side, steps, num_classes)
        self.discriminator = ConvDiscriminator(self.image_shape, width, side, steps, num_classes,
                                               norm)


class ConvGenerator(nn.Module):
    """z (N, latent) -> images (N, C, H, W) in [-1, 1]."""

    def __init__(self, image_shape: ImageShape, latent: int, width: int, side: int, steps: int,
                 num_classes: int | None = None):
        super().__init__()
        self.labels = JoinLabels(num_classes, _CODE) if num_classes else None
        channels = channel_plan(width, steps)[::-1]
        inputs = latent + (_CODE if num_classes else 0)
        layers: list[nn.Module] = [
            nn.Linear(inputs, channels[0] * side * side, bias=False),
            nn.Unflatten(1, (channels[0], side, side)), nn.BatchNorm2d(channels[0]), nn.ReLU()]
        for before, after in zip(channels, channels[1:]):
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False),
                       nn.BatchNorm2d(after), nn.ReLU()]
        layers += [nn.ConvTranspose2d(channels[-1], image_shape[0], 4, 2, 1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.apply(init_normal)

    def forward(self, z: Tensor, labels: Any = None) -> Tensor:
        return self.layers(z if self.labels is None else self.labels(z, labels))


class ConvDiscriminator(nn.Module):
    """Images (N, C, H, W) -> logits (N, 1)."""

    def __init__(self, image_shape: ImageShape, width: int, side: int, steps: int,
                 num_classes: int | None = None, norm: str = "batch"):
        super().__init__()
        inputs, *size = image_shape
        self.labels = JoinLabels(num_classes, (size[0], size[1])) if num_classes else None
        channels = [inputs + (1 if num_classes else 0), *channel_plan(width, steps)]
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(zip(channels, channels[1:])):
            size = [n // 2 for n in size]
            normed = norm != "none" and i > 0          # not D's first layer: Radford et al.
            layers.append(nn.Conv2d(before, after, 4, 2, 1, bias=not normed))
            if normed:
                layers.append(nn.BatchNorm2d(after) if norm == "batch"
                              else nn.LayerNorm((after, *size)))
            layers.append(nn.LeakyReLU(0.2))
        self.layers = nn.Sequential(*layers, nn.Flatten(),
                                    nn.Linear(channels[-1] * side * side, 1))
        if norm == "batch":      # without batch norm N(0, 0.02) would shrink the signal away
            self.apply(init_normal)

    def forward(self, images: Tensor, labels: Any = None) -> Tensor:
        return self.layers(images if self.labels is None else self.labels(images, labels))

    def features(self, images: Tensor, labels: Any = None) -> Tensor:
        """What the last layer decides by: (N, F)."""
        x = images if self.labels is None else self.labels(images, labels)
        for layer in list(self.layers)[:-1]:
            x = layer(x)
        return x

    def verdict(self, features: Tensor) -> Tensor:
        """Logits (N, 1) from features (N, F)."""
        return self.layers[-1](features)


def channel_plan(width: int, steps: int) -> list[int]:
    """Channels after each halving of the image.

    >>> channel_plan(64, 4)
    [64, 128, 256, 512]
    """
    return [width * min(2 ** i, _WIDEST) for i in range(steps)]


def init_normal(module: nn.Module) -> None:
    """Weights from N(0, 0.02), batch norm's scale from N(1, 0.02), biases 0 (Radford et al.)."""
    if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def wgan_gp(image_shape: Sequence[int], num_classes: int | None = None,
            **options: Any) -> AdversarialModel:
    """A Wasserstein GAN with gradient penalty: a `DCGAN`, or an MLP `GAN` for images up to 8x8.

    Defaults: `loss="wasserstein"`, `gradient_penalty=10`, `n_critic=5`; no batch norm and no
    dropout in the critic.

    Source: I. Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017.
    """
    shape = check_image_shape("wgan-gp", image_shape)
    options = {"loss": "wasserstein", "gradient_penalty": 10.0, "n_critic": 5, "name": "wgan-gp",
               **options}
    if max(shape[1:]) <= 8:
        return GAN(shape, num_classes, **{"dropout": 0.0, **options})
    return DCGAN(shape, num_classes, **{"norm": "none", **options})
