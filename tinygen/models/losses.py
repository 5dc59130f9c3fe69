"""The adversarial losses, under the name by which the models know them."""

from ..nn.functional.adversarial_loss import (
    GAN_LOSSES,
    GanLoss,
    critic_generator,
    cross_entropy_discriminator,
    gan_loss,
    gradient_penalty,
    hinge_discriminator,
    least_squares_discriminator,
    least_squares_generator,
    non_saturating_generator,
    saturating_generator,
    wasserstein_discriminator,
)

__all__ = ["GAN_LOSSES", "GanLoss", "critic_generator", "cross_entropy_discriminator", "gan_loss",
           "gradient_penalty", "hinge_discriminator", "least_squares_discriminator",
           "least_squares_generator", "non_saturating_generator", "saturating_generator",
           "wasserstein_discriminator"]
