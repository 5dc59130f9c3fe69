"""CycleGAN: translates between two kinds of pictures without any pair of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import backend, nn, ops, optim, random
from ..autograd import no_grad
from ..primitive import primitive
from ..tensor import Tensor
from .base import Model, check_positive, frozen, inference, learnt
from .losses import gan_loss
from .style import ImageTransformer

__all__ = ["CycleGAN", "ImagePool", "PatchDiscriminator"]


class CycleGAN(Model):
    """Two translators, A -> B and B -> A, and a discriminator for each kind.

    No picture of A has its counterpart in B. What a translation has to keep of its original is
    said by the way back: b_to_a(a_to_b(a)) should be a. With D the discriminators, the translators
    minimise

    1/2 (D_b(a_to_b(a)) - 1)^2 + 1/2 (D_a(b_to_a(b)) - 1)^2
    + cycle_weight (|b_to_a(a_to_b(a)) - a| + |a_to_b(b_to_a(b)) - b|)
    + identity_weight (|a_to_b(b) - b| + |b_to_a(a) - a|),

    means over pixels in [-1, 1]. The discriminators learn the least-squares loss against pools of
    earlier translations. (The paper has no 1/2: its weights 10 and 5 are 5 and 2.5 here.)

    Args:
        image_shape: (C, H, W) of the patches to learn from, H and W multiples of 4, 16 at least;
            `translate` takes pictures of any size that 4 divides.
        width, blocks: of the translators, see `ImageTransformer`; the discriminators have
            2 width channels after their first layer.
        cycle_weight, identity_weight: see above.
        pool_size: how many translations of each kind are kept; 0 keeps none.

    Source: J.-Y. Zhu, T. Park, P. Isola and A. Efros, "Unpaired Image-to-Image Translation using
    Cycle-Consistent Adversarial Networks", ICCV 2017.

    >>> import tinygen as tg
    >>> CycleGAN((3, 16, 16), width=2, blocks=1).translate(tg.zeros((1, 3, 24, 32))).shape
    (1, 3, 24, 32)
    """

    def __init__(self, image_shape: Sequence[int], num_classes: int | None = None, *,
                 width: int = 16, blocks: int = 4, cycle_weight: float = 5.0,
                 identity_weight: float = 2.5, pool_size: int = 50, name: str = "cycle-gan"):
        super().__init__(name, image_shape, num_classes, {
            "width": width, "blocks": blocks, "cycle_weight": cycle_weight,
            "identity_weight": identity_weight, "pool_size": pool_size})
        check_positive(name, width=width, blocks=blocks)
        channels, *sides = self.image_shape
        if any(side % 4 or side < 16 for side in sides):
            raise ValueError(f"[{name}] images of {sides[0]}x{sides[1]}: the sides must be "
                             "multiples of 4, 16 at least")
        if min(cycle_weight, identity_weight, pool_size) < 0:
            raise ValueError(f"[{name}] weights and pool_size must not be negative; got "
                             f"{cycle_weight}, {identity_weight} and {pool_size}")
        self.cycle_weight, self.identity_weight = cycle_weight, identity_weight
        self.adversarial = gan_loss("least-squares")
        self.a_to_b = ImageTransformer(channels, width, blocks)
        self.b_to_a = ImageTransformer(channels, width, blocks)
        self.judge_a = PatchDiscriminator(channels, 2 * width)
        self.judge_b = PatchDiscriminator(channels, 2 * width)
        self.pool_a = ImagePool(pool_size, self.image_shape)
        self.pool_b = ImagePool(pool_size, self.image_shape)

    def configure_optimizers(self, lr: float | None = None) -> dict[str, optim.Optimizer]:
        """Adam for translators and discriminators: learning rate 2e-4, betas (0.5, 0.999)."""
        rate = 2e-4 if lr is None else lr
        sides = {"translators": [*learnt(self.a_to_b), *learnt(self.b_to_a)],
                 "discriminators": [*learnt(self.judge_a), *learnt(self.judge_b)]}
        return {name: optim.Adam(parameters, lr=rate, betas=(0.5, 0.999))
                for name, parameters in sides.items()}

    def prepare(self, images: Any) -> Tensor:
        """Loader images in [0, 1] as what the networks see, in [-1, 1]."""
        return super().prepare(images) * 2 - 1

    def forward(self, images: Tensor) -> Tensor:
        """Pictures of A (N, C, H, W) in [-1, 1] as pictures of B."""
        return self.a_to_b(images)

    def translate(self, images: Any, back: bool = False) -> Tensor:
        """Pictures of A in [0, 1] as pictures of B, in [0, 1] too; with `back` those of B as A."""
        images = images if isinstance(images, Tensor) else ops.asarray(images)
        like = self._like()
        with inference(self):
            x = images.to(like.dtype, device=like.device) * 2 - 1
            return ((self.b_to_a if back else self.a_to_b)(x) + 1) / 2

    # -- learning ---------------------------------------------------------------------------------

    def training_step(self, images: Any, labels: Any,
                      optimizers: dict[str, optim.Optimizer]) -> dict[str, Tensor]:
        """One update of the translators, then one of the discriminators.

        `images` are patches of A and `labels`, whose place they take, patches of B, both in
        [0, 1]: what a loader of `tinygen.data.UnpairedPatches` gives. Returns the losses
        `adversarial`, `cycle` and `identity` of the translators and `discriminator`.
        """
        self._learning()
        a, b = self._both(images, labels)
        fake_b, fake_a = self.a_to_b(a), self.b_to_a(b)
        with frozen(self.judge_a), frozen(self.judge_b):
            adversarial = (self.adversarial.generator(self.judge_b(fake_b))
                           + self.adversarial.generator(self.judge_a(fake_a)))
            cycle = _far(self.b_to_a(fake_b), a) + _far(self.a_to_b(fake_a), b)
            identity = _far(self.a_to_b(b), b) + _far(self.b_to_a(a), a)
            optimizers["translators"].zero_grad()
            (adversarial + self.cycle_weight * cycle + self.identity_weight * identity).backward()
        optimizers["translators"].step()
        found = self._discriminator_step(a, b, self.pool_a.exchange(fake_a.detach()),
                                         self.pool_b.exchange(fake_b.detach()),
                                         optimizers["discriminators"])
        return {"adversarial": adversarial.detach(), "cycle": cycle.detach(),
                "identity": identity.detach(), "discriminator": found}

    def _discriminator_step(self, a: Tensor, b: Tensor, fake_a: Tensor, fake_b: Tensor,
                            optimizer: optim.Optimizer) -> Tensor:
        loss = (self.adversarial.discriminator(self.judge_a(a), self.judge_a(fake_a), 0.0)
                + self.adversarial.discriminator(self.judge_b(b), self.judge_b(fake_b), 0.0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    def evaluate(self, images: Any, labels: Any = None) -> dict[str, Tensor]:
        """Mean absolute errors of pixels in [0, 1]: of there and back, and of what needed nothing.

        `cycle_a`, `cycle_b`, and `identity_a`, `identity_b` of pictures that are of the wanted
        kind already.
        """
        with inference(self):
            a, b = self._both(images, labels)
            errors = {"cycle_a": (self.b_to_a(self.a_to_b(a)), a),
                      "cycle_b": (self.a_to_b(self.b_to_a(b)), b),
                      "identity_a": (self.b_to_a(a), a), "identity_b": (self.a_to_b(b), b)}
            return {name: _far(x, y) / 2 for name, (x, y) in errors.items()}

    def _both(self, images: Any, labels: Any) -> tuple[Tensor, Tensor]:
        if labels is None:
            raise ValueError(f"[{self.name}] pictures of both kinds are needed, those of B in the "
                             "place of labels: see tinygen.data.UnpairedPatches")
        return self.prepare(images), self.prepare(labels)


class PatchDiscriminator(nn.Module):
    """Pictures (N, C, H, W) -> a logit for each of many overlapping patches, (N, 1, h, w).

    Convolutions 4x4 of stride 2, 2, 1 and 1: each logit sees 34x34 pixels. LeakyReLU 0.2 and
    instance norm, not behind the first and the last.

    Source: P. Isola, J.-Y. Zhu, T. Zhou and A. Efros, "Image-to-Image Translation with Conditional
    Adversarial Networks", CVPR 2017, section 3.2.2.
    """

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, 1), nn.InstanceNorm2d(2 * width), nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 4, 1, 1), nn.InstanceNorm2d(4 * width),
            nn.LeakyReLU(0.2), nn.Conv2d(4 * width, 1, 4, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


@primitive(name="exchange_with_pool")
def exchange(xp, images, chance, kept, count):
    """The images, some exchanged by chance (N, 2) for kept ones; `kept` and `count` change."""
    handed, size = images.copy(), len(kept)
    for i, (coin, place) in enumerate(backend.to_device(chance, "cpu")):
        n = int(count)
        if n < size:
            kept[n] = images[i]
            count += 1
        elif coin < 0.5:
            j = int(place * size)
            handed[i], kept[j] = kept[j].copy(), images[i]
    return handed
exchange.writes = (2, 3)


class ImagePool(nn.Module):
    """The last translations, so that a discriminator does not forget what it has seen through.

    Until it is full each picture is kept and handed on; afterwards every other one, by chance, is
    exchanged for one kept before. The pool is part of the saved state, and chance comes from
    tinygen's random stream, so that a run resumes exactly.

    Source: A. Shrivastava et al., "Learning from Simulated and Unsupervised Images through
    Adversarial Training", CVPR 2017, section 2.3.
    """

    host_buffers = ("count",)        # it is read at every step

    def __init__(self, size: int, image_shape: Sequence[int]):
        super().__init__()
        self.register_buffer("images", Tensor.wrap(np.zeros((size, *image_shape), np.float32)))
        self.register_buffer("count", Tensor.wrap(np.zeros((), np.int64)))

    def exchange(self, images: Tensor) -> Tensor:
        """Pictures (N, C, H, W) to show the discriminator in place of the new ones."""
        size = self.images.shape[0]
        if not size:
            return images
        chance = random.uniform((images.shape[0], 2))                            # (N, 2)
        with no_grad():
            handed = exchange(images, chance, self.images, self.count)
        self.images.touch()
        self.count.touch()
        return handed


def _far(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference."""
    return ops.abs(a - b).mean()
