"""The losses of generative adversarial networks, and the gradient penalty.

A discriminator D gives logits, not probabilities: sigmoid(D(x)) is the probability that x is
real. Every loss is computed from logits, with log sigmoid(s) = min(s, 0) - log1p(exp(-|s|)),
so that none of them overflows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ... import ops, random
from ...autograd import grad_of
from ...tensor import Tensor

__all__ = ["GAN_LOSSES", "RELATIVISTIC_LOSSES", "GanLoss", "gan_discriminator_loss",
           "gan_generator_loss", "gan_loss", "gradient_penalty"]


@dataclass(frozen=True)
class GanLoss:
    """Both sides of an adversarial game, as functions of the logits; each gives a 0-d tensor.

    `discriminator(real, fake, smoothing)` takes the logits of real and of generated images, and
    how far below 1 the target of real images lies; `generator(fake)` takes those of generated
    images. `smooths` says whether the loss has targets to smooth, `bounded` whether logits are
    log odds, so that sigmoid(logit) is a probability.
    """

    discriminator: Callable[[Tensor, Tensor, float], Tensor]
    generator: Callable[[Tensor], Tensor]
    smooths: bool = True
    bounded: bool = True


def cross_entropy_discriminator(real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
    """-E[(1-s) log p(x) + s log(1 - p(x))] - E[log(1 - p(G(z)))], with p = sigmoid(D).

    With smoothing s = 0 the second term vanishes. Only real targets are smoothed (one-sided).

    Sources: I. Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014, algorithm 1;
    T. Salimans et al., "Improved Techniques for Training GANs", NeurIPS 2016, section 3.4.
    """
    loss = -ops.log_sigmoid(-fake).mean()
    if smoothing:
        return loss - ((1 - smoothing) * ops.log_sigmoid(real)
                       + smoothing * ops.log_sigmoid(-real)).mean()
    return loss - ops.log_sigmoid(real).mean()


def non_saturating_generator(fake: Tensor) -> Tensor:
    """-E[log p(G(z))]: strong gradients also where D rejects all images.

    Source: I. Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014, section 3.
    """
    return -ops.log_sigmoid(fake).mean()


def saturating_generator(fake: Tensor) -> Tensor:
    """E[log(1 - p(G(z)))], the generator's side of the minimax game.

    Its gradient vanishes where D is sure. Source: I. Goodfellow et al., NeurIPS 2014, equation 1.
    """
    return ops.log_sigmoid(-fake).mean()


def least_squares_discriminator(real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
    """1/2 E[(D(x) - (1 - s))^2] + 1/2 E[D(G(z))^2].

    Source: X. Mao et al., "Least Squares Generative Adversarial Networks", ICCV 2017, equation 9.
    """
    return 0.5 * (ops.square(real - (1 - smoothing)).mean() + ops.square(fake).mean())


def least_squares_generator(fake: Tensor) -> Tensor:
    """1/2 E[(D(G(z)) - 1)^2]. Source: X. Mao et al., ICCV 2017, equation 9."""
    return 0.5 * ops.square(fake - 1).mean()


def hinge_discriminator(real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
    """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))].

    Sources: J. H. Lim and J. C. Ye, "Geometric GAN", 2017; T. Miyato et al., "Spectral
    Normalization for Generative Adversarial Networks", ICLR 2018, equation 16.
    """
    return ops.relu(1 - real).mean() + ops.relu(1 + fake).mean()


def wasserstein_discriminator(real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
    """E[D(G(z))] - E[D(x)]: minus this is the critic's estimate of the earth mover's distance.

    Source: M. Arjovsky et al., "Wasserstein GAN", ICML 2017, equation 2.
    """
    return fake.mean() - real.mean()


def critic_generator(fake: Tensor) -> Tensor:
    """-E[D(G(z))], for the hinge and the Wasserstein loss."""
    return -fake.mean()


GAN_LOSSES: dict[str, GanLoss] = {
    "non-saturating": GanLoss(cross_entropy_discriminator, non_saturating_generator),
    "saturating": GanLoss(cross_entropy_discriminator, saturating_generator),
    "least-squares": GanLoss(least_squares_discriminator, least_squares_generator, bounded=False),
    "hinge": GanLoss(hinge_discriminator, critic_generator, smooths=False, bounded=False),
    "wasserstein": GanLoss(wasserstein_discriminator, critic_generator, smooths=False,
                           bounded=False),
}


def gan_loss(name: str, label_smoothing: float = 0.0) -> GanLoss:
    """The loss of that name.

    Raises:
        ValueError: there is no such loss, or `label_smoothing` does not fit it.
    """
    if name not in GAN_LOSSES:
        raise ValueError(f"[gan_loss] loss must be one of {', '.join(GAN_LOSSES)}; got {name!r}")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"[gan_loss] label_smoothing must lie in [0, 1), got {label_smoothing}")
    if label_smoothing and not GAN_LOSSES[name].smooths:
        raise ValueError(f"[gan_loss] the {name} loss has no targets that could be smoothed; "
                         "label_smoothing must be 0")
    return GAN_LOSSES[name]


def relativistic(own: Tensor, other: Tensor) -> Tensor:
    """-E[log sigmoid(D(own) - D(other))]: one's own logit lies above the other of its pair.

    Own are the real examples in the discriminator's loss, the generated ones in the generator's.

    Source: A. Jolicoeur-Martineau, "The relativistic discriminator: a key element missing from
    standard GAN", ICLR 2019, section 4.1.
    """
    return -ops.log_sigmoid(own - other).mean()


def relativistic_average(own: Tensor, other: Tensor) -> Tensor:
    """-E[log sigmoid(D(own) - E[D(other)])] - E[log(1 - sigmoid(D(other) - E[D(own)]))].

    Source: A. Jolicoeur-Martineau, ICLR 2019, section 4.2.
    """
    return -(ops.log_sigmoid(own - other.mean()).mean()
             + ops.log_sigmoid(own.mean() - other).mean())


# Losses of both logits on both sides: D's is f(real, fake), G's is f(fake, real).
RELATIVISTIC_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "relativistic": relativistic,
    "relativistic-average": relativistic_average,
}


def gan_discriminator_loss(real: Tensor, fake: Tensor, mode: str = "non-saturating",
                           label_smoothing: float = 0.0) -> Tensor:
    """The discriminator's loss, from its logits for real and for generated examples.

    `mode` is a key of `GAN_LOSSES` or of `RELATIVISTIC_LOSSES`; `label_smoothing` is how far
    below 1 the target of real examples lies, for those losses that have one.
    """
    if mode in RELATIVISTIC_LOSSES and not label_smoothing:
        return RELATIVISTIC_LOSSES[mode](real, fake)
    return _named(mode, label_smoothing).discriminator(real, fake, label_smoothing)


def gan_generator_loss(fake: Tensor, real: Tensor | None = None,
                       mode: str = "non-saturating") -> Tensor:
    """The generator's loss, from the discriminator's logits for generated examples.

    The relativistic ones compare them with the logits for `real` examples.
    """
    if mode in RELATIVISTIC_LOSSES:
        if real is None:
            raise ValueError(f"[gan_generator_loss] the {mode} loss compares generated with real "
                             "examples; give the logits of both: (fake, real)")
        return RELATIVISTIC_LOSSES[mode](fake, real)
    return _named(mode, 0.0).generator(fake)


def _named(mode: str, label_smoothing: float) -> GanLoss:
    if mode in RELATIVISTIC_LOSSES:
        raise ValueError(f"[gan_loss] the {mode} loss has no targets that could be smoothed; "
                         "label_smoothing must be 0")
    if mode not in GAN_LOSSES:
        known = ", ".join((*GAN_LOSSES, *RELATIVISTIC_LOSSES))
        raise ValueError(f"[gan_loss] loss must be one of {known}; got {mode!r}")
    return gan_loss(mode, label_smoothing)


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor,
                     lambda_: float = 10.0, epsilon: Tensor | None = None) -> Tensor:
    """lambda E[(||grad_x critic(x)||_2 - 1)^2] at random points between real and fake images.

    x = e real + (1 - e) fake, with e uniform in [0, 1) for each image. The penalty is recorded, so
    that its gradient, a second derivative of the critic, reaches the critic's parameters.

    Args:
        critic: images (N, ...) -> one score each; it must treat images one by one, which batch
            norm does not.
        real, fake: images of equal shape; no gradient flows to them.
        lambda_: the weight of the penalty.
        epsilon: e, of shape (N, 1, ..., 1); drawn from the default generator if left out.

    Source: I. Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017, equation 3.
    """
    if real.shape != fake.shape:
        raise ValueError(f"[gradient_penalty] real: {real.shape}, fake: {fake.shape}; equally many "
                         "images of equal shape are expected")
    n = real.shape[0]
    if epsilon is None:
        epsilon = random.uniform((n, *[1] * (real.ndim - 1)), dtype=real.dtype,
                                 device=real.device)
    real, fake = real.detach(), fake.detach()
    x = (fake + epsilon * (real - fake)).requires_grad_()
    (slope,) = grad_of(critic(x).sum(), x, create_graph=True)
    assert slope is not None
    squares = ops.square(slope.reshape(n, math.prod(x.shape[1:]))).sum(axis=1)
    norm = ops.sqrt(squares + 1e-16)              # sqrt has no derivative at 0
    return lambda_ * ops.square(norm - 1).mean()
