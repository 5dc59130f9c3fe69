"""The losses of a generative adversarial network as a module."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from . import functional as F
from .module import Module

__all__ = ["GANLoss"]


class GANLoss(Module):
    """Both sides of an adversarial game: `loss(real, fake)` is D's, `loss.generator(fake)` G's.

    The arguments are the discriminator's logits for real and for generated examples.

    Args:
        mode: non-saturating, saturating, least-squares, hinge or wasserstein; the equations and
            sources stand with the functions in `nn.functional.GAN_LOSSES`.
        label_smoothing: how far below 1 the target of real examples lies.

    >>> import tinygen as tg
    >>> GANLoss("hinge")(tg.Tensor([2.0]), tg.Tensor([-0.5])).item()
    0.5
    """

    def __init__(self, mode: str = "non-saturating", label_smoothing: float = 0.0):
        super().__init__()
        self.mode, self.label_smoothing = mode, label_smoothing
        self._loss = F.gan_loss(mode, label_smoothing)

    def forward(self, real: Any, fake: Any) -> Tensor:
        return self._loss.discriminator(real, fake, self.label_smoothing)

    def discriminator(self, real: Any, fake: Any) -> Tensor:
        """The discriminator's loss; `loss(real, fake)` is the same."""
        return self(real, fake)

    def generator(self, fake: Any) -> Tensor:
        """The generator's loss."""
        return self._loss.generator(fake)

    def extra_repr(self) -> str:
        smoothing = f", label_smoothing={self.label_smoothing}" if self.label_smoothing else ""
        return f"{self.mode!r}{smoothing}"
