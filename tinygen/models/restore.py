"""Restoring damaged pictures: noise, lost detail, holes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import nn, ops, optim
from ..autograd import no_grad
from ..tensor import Tensor
from .base import Model, check_positive, frozen, image_steps, inference, learnt
from .dcgan import ConvDiscriminator
from .losses import gan_loss

__all__ = ["Inpainter", "Restorer", "UNet"]

_WIDEST = 4      # channels double with each halving of the map, up to 4 * width
_ROWS = 250      # pictures restored at once


class UNet(nn.Module):
    """Images (N, inputs, H, W) -> (N, outputs, H, W): down to small maps, up again, with shortcuts.

    Down: convolutions 4x4, stride 2. Up: transposed convolutions 4x4, stride 2; the map of the same
    size on the way down is appended, so that what is small goes around the bottom. All with ReLU.
    The last convolution starts at 0.

    Args:
        inputs, outputs: channels.
        width: channels of the largest maps; each halving doubles them, up to 4 times.
        depth: how many halvings; H and W are multiples of 2^depth.

    Source: O. Ronneberger, P. Fischer and T. Brox, "U-Net: Convolutional Networks for Biomedical
    Image Segmentation", MICCAI 2015.

    >>> import tinygen as tg
    >>> UNet(3, 1, width=4, depth=2)(tg.zeros((2, 3, 16, 24))).shape
    (2, 1, 16, 24)
    """

    def __init__(self, inputs: int, outputs: int, *, width: int = 16, depth: int = 2):
        super().__init__()
        check_positive("unet", inputs=inputs, outputs=outputs, width=width, depth=depth)
        self.depth = depth
        widths = [width * min(2 ** i, _WIDEST) for i in range(depth + 1)]
        self.first = nn.Sequential(nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU())
        self.down, self.up, self.join = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for wide, narrow in zip(widths, widths[1:]):
            self.down.append(nn.Sequential(nn.Conv2d(wide, narrow, 4, 2, 1), nn.ReLU()))
            self.up.append(nn.Sequential(nn.ConvTranspose2d(narrow, wide, 4, 2, 1), nn.ReLU()))
            self.join.append(nn.Sequential(nn.Conv2d(2 * wide, wide, 3, padding=1), nn.ReLU()))
        self.last = nn.Conv2d(width, outputs, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, images: Tensor) -> Tensor:
        factor = 2 ** self.depth
        if images.ndim != 4 or images.shape[2] % factor or images.shape[3] % factor:
            raise ValueError(f"[unet] images: {images.shape}; expected (N, C, H, W) with H and W "
                             f"multiples of {factor}")
        x = self.first(images)                                           # (N, width, H, W)
        maps = []
        for down in self.down:
            maps.append(x)
            x = down(x)                                                  # (N, 2 width, H/2, W/2)
        for i in reversed(range(self.depth)):
            x = self.join[i](ops.concat([self.up[i](x), maps[i]], axis=1))
        return self.last(x)


class Restorer(Model):
    """Learns from pairs what is to be added to a damaged picture: x' = y + UNet(y).

    Trained with the mean square of x' - x over all pixels. Before any training x' is y itself: the
    noisy picture, or the one that the bicubic filter enlarged.

    Args:
        image_shape: (C, H, W).
        width, depth: see `UNet`.

    Sources: K. Zhang et al., "Beyond a Gaussian Denoiser", IEEE Trans. Image Processing, 2017, and
    J. Kim et al., "Accurate Image Super-Resolution Using Very Deep Convolutional Networks", CVPR
    2016, both for learning the difference.

    >>> model = Restorer((1, 8, 8), width=4)
    >>> model.restore(np.full((2, 1, 8, 8), 0.5, np.float32)).shape
    (2, 1, 8, 8)
    """

    extra = 0        # channels of a damaged picture beside those of the picture

    def __init__(self, image_shape: Sequence[int], *, width: int = 16, depth: int = 2,
                 name: str = "restorer"):
        super().__init__(name, image_shape, None, {"width": width, "depth": depth})
        channels, height, wide = self.image_shape
        check_positive(name, width=width, depth=depth)
        if height % 2 ** depth or wide % 2 ** depth:
            raise ValueError(f"[{name}] pictures of {height}x{wide} cannot be halved {depth} "
                             f"times; sides have to be multiples of {2 ** depth}")
        self.network = UNet(channels + self.extra, channels, width=width, depth=depth)

    def forward(self, damaged: Tensor) -> Tensor:
        """Restored images (N, C, H, W), not clipped, from damaged ones."""
        return damaged + self.network(damaged)

    def restore(self, damaged: Any) -> np.ndarray:
        """Restored images (N, C, H, W) as an array in [0, 1], in eval mode."""
        damaged = self.prepare_damaged(damaged)
        with inference(self):
            parts = [self(damaged[i:i + _ROWS]).numpy() for i in range(0, len(damaged), _ROWS)]
        return np.clip(np.concatenate(parts), 0, 1)

    def prepare_damaged(self, damaged: Any) -> Tensor:
        """Damaged images on the model's dtype and device.

        Raises:
            ValueError: they are none, or not of the shape that the model was built for.
        """
        damaged = damaged if isinstance(damaged, Tensor) else ops.asarray(damaged)
        channels, *size = self.image_shape
        expected = (channels + self.extra, *size)
        if damaged.ndim != 4 or damaged.shape[1:] != expected or not len(damaged):
            mask = ", the last channel being the mask" if self.extra else ""
            raise ValueError(f"[{self.name}] damaged: {damaged.dtype} {damaged.shape}; this model "
                             f"was built for (N, {', '.join(map(str, expected))}){mask}")
        like = self._like()
        return damaged.to(dtype=like.dtype, device=like.device)

    def configure_optimizers(self, lr: float | None = None) -> dict[str, optim.Optimizer]:
        """Adam with learning rate 1e-3."""
        return {"model": optim.Adam(learnt(self.network), lr=1e-3 if lr is None else lr)}

    def training_step(self, images: Any, labels: Any,
                      optimizers: dict[str, optim.Optimizer]) -> dict[str, Tensor]:
        """One update from damaged images and, as `labels`, their originals; returns `loss`."""
        self._learning()
        damaged, originals = self._pair(images, labels)
        loss = self._error(self(damaged), originals, damaged)
        optimizers["model"].zero_grad()
        loss.backward()
        optimizers["model"].step()
        return {"loss": loss.detach()}

    def evaluate(self, images: Any, labels: Any = None) -> dict[str, Tensor]:
        """`loss` of damaged images, given their originals as `labels`."""
        with inference(self):
            damaged, originals = self._pair(images, labels)
            return {"loss": self._error(self(damaged), originals, damaged)}

    def _pair(self, damaged: Any, originals: Any) -> tuple[Tensor, Tensor]:
        if originals is None:
            raise ValueError(f"[{self.name}] originals are needed beside damaged pictures; "
                             "tinygen.data.Damaged(dataset, damage) gives both")
        damaged, originals = self.prepare_damaged(damaged), self.prepare(originals)
        if len(damaged) != len(originals):
            raise ValueError(f"[{self.name}] {len(damaged)} damaged pictures and {len(originals)} "
                             "originals; one for each is expected")
        return damaged, originals

    def _error(self, restored: Tensor, originals: Tensor, damaged: Tensor) -> Tensor:
        return ops.square(restored - originals).mean()


class Inpainter(Restorer):
    """Fills holes: a context encoder, with a discriminator that looks at the completed picture.

    x' = y + m UNet([y, m]) with the mask m, 1 in the hole: what is there stays. With D the
    discriminator and |m| the number of pixels lost, the network minimises

        |m (x' - x)|^2 / (C |m|) - adversarial log D(x')

    and D minimises -log D(x) - log(1 - D(x')). The first term alone wants the mean of all that
    could be in the hole, which is blurred; the second wants one of them.

    Args:
        image_shape: (C, H, W); with a discriminator, square and of a size that halves down to 4
            or 7.
        width, depth: see `UNet`. A hole is to shrink to a pixel or two at the bottom.
        adversarial: the weight of fooling D; 0 has no discriminator.
        d_width: channels of D's largest maps.

    Source: D. Pathak et al., "Context Encoders: Feature Learning by Inpainting", CVPR 2016; their D
    looks at the hole alone, and their network has no shortcuts.

    >>> model = Inpainter((1, 8, 8), width=4)
    >>> model.restore(np.zeros((2, 2, 8, 8), np.float32)).shape     # the picture, and the mask
    (2, 1, 8, 8)
    """

    extra = 1

    def __init__(self, image_shape: Sequence[int], *, width: int = 16, depth: int = 3,
                 adversarial: float = 0.0, d_width: int = 16, name: str = "inpainter"):
        super().__init__(image_shape, width=width, depth=depth, name=name)
        self.options |= {"adversarial": adversarial, "d_width": d_width}
        if not adversarial >= 0:
            raise ValueError(f"[{name}] adversarial must be 0 or more, got {adversarial}")
        self.adversarial, self.loss = adversarial, gan_loss("non-saturating")
        self.discriminator: ConvDiscriminator | None = None
        if adversarial:
            check_positive(name, d_width=d_width)
            self.discriminator = ConvDiscriminator(self.image_shape, d_width,
                                                   *image_steps(name, self.image_shape))

    def forward(self, damaged: Tensor) -> Tensor:
        picture, mask = damaged[:, :-1], damaged[:, -1:]         # (N, C, H, W), (N, 1, H, W)
        return picture + mask * self.network(damaged)

    def configure_optimizers(self, lr: float | None = None) -> dict[str, optim.Optimizer]:
        """Adam with learning rate 1e-3; for the discriminator a fifth of it, betas (0.5, 0.999)."""
        rate = 1e-3 if lr is None else lr
        found = super().configure_optimizers(rate)
        if self.discriminator is not None:
            found["discriminator"] = optim.Adam(learnt(self.discriminator), lr=rate / 5,
                                                betas=(0.5, 0.999))
        return found

    def training_step(self, images: Any, labels: Any,
                      optimizers: dict[str, optim.Optimizer]) -> dict[str, Tensor]:
        """One update from damaged images and, as `labels`, their originals.

        Returns `loss`, the mean square error in the hole; with a discriminator, which learns first,
        also its loss, the loss `fooling` of the network, and the means `real` and `fake` of D's
        probabilities.
        """
        if self.discriminator is None:
            return super().training_step(images, labels, optimizers)
        self._learning()
        damaged, originals = self._pair(images, labels)
        restored = self(damaged)
        results = self._discriminator_step(originals, restored.detach(),
                                           optimizers["discriminator"])
        error = self._error(restored, originals, damaged)
        with frozen(self.discriminator):
            fooling = self.loss.generator(self.discriminator(restored * 2 - 1))
            optimizers["model"].zero_grad()
            (error + self.adversarial * fooling).backward()
        optimizers["model"].step()
        return {"loss": error.detach(), "fooling": fooling.detach(), **results}

    def _discriminator_step(self, real: Tensor, fake: Tensor, optimizer: Any) -> dict[str, Tensor]:
        """D learns to tell whole pictures from completed ones, both (N, C, H, W) in [0, 1]."""
        assert self.discriminator is not None
        real_scores, fake_scores = (self.discriminator(x * 2 - 1)             # (N, 1)
                                    for x in (real, fake))
        loss = self.loss.discriminator(real_scores, fake_scores, 0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with no_grad():
            return {"discriminator": loss.detach(), "real": ops.sigmoid(real_scores).mean(),
                    "fake": ops.sigmoid(fake_scores).mean()}

    def _error(self, restored: Tensor, originals: Tensor, damaged: Tensor) -> Tensor:
        """The mean square over the pixels of the holes; elsewhere there is no difference."""
        lost = damaged[:, -1].sum().clip(1, None) * self.image_shape[0]
        return ops.square(restored - originals).sum() / lost
