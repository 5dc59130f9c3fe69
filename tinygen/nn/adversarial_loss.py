"""The losses of a generative adversarial network as a module."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from . import functional as F
from .functional.adversarial_loss import _named
from .module import Module

__all__ = ["GANLoss"]


class GANLoss(Module):
    """Both sides of an adversarial game: `loss(real, fake)` is D's, `loss.generator(fake)` G's.

    The arguments are the discriminator's logits for real and for generated examples.

    Args:
        mode: non-saturating, saturating, least-squares, hinge, wasserstein, relativistic or
            relativistic-average; the equations and sources stand with the functions in
            `nn.functional.GAN_LOSSES` and `RELATIVISTIC_LOSSES`.
        label_smoothing: how far below 1 the target of real examples lies.

    >>> import tinygen as tg
    >>> GANLoss("hinge")(tg.Tensor([2.0]), tg.Tensor([-0.5])).item()
    0.5
    """

    def __init__(self, mode: str = "non-saturating", label_smoothing: float = 0.0):
        super().__init__()
        self.mode, self.label_smoothing = mode, label_smoothing
        if label_smoothing or mode not in F.RELATIVISTIC_LOSSES:
            _named(mode, label_smoothing)       # refuses what there is not

    def forward(self, real: Any, fake: Any) -> Tensor:
        return F.gan_discriminator_loss(real, fake, self.mode, self.label_smoothing)

    def discriminator(self, real: Any, fake: Any) -> Tensor:
        """The discriminator's loss; `loss(real, fake)` is the same."""
        return self(real, fake)

    def generator(self, fake: Any, real: Any = None) -> Tensor:
        """The generator's loss; the relativistic ones need the logits of real examples too."""
        return F.gan_generator_loss(fake, real, self.mode)

    def extra_repr(self) -> str:
        smoothing = f", label_smoothing={self.label_smoothing}" if self.label_smoothing else ""
        return f"{self.mode!r}{smoothing}"
