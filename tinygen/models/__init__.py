"""Models by name, each with its losses, optimizers and training step.

>>> model = build("vae", image_shape=(1, 28, 28))
>>> model.generate(model.noise(4)).shape
(4, 1, 28, 28)
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from .adversarial import AdversarialModel
from .attributes import AttributeClassifier
from .base import GenerativeModel, Model, interpolate
from .captioner import Captioner
from .classifier import Classifier
from .cycle_gan import CycleGAN
from .dcgan import DCGAN, wgan_gp
from .extractor import SpanExtractor, best_span, shared_pairs
from .gan import GAN
from .gpt import GPT
from .image_text import ImageEncoder, ImageTextMatcher, TextEncoder
from .latents import ClassGaussians
from .losses import GAN_LOSSES, gan_loss, gradient_penalty
from .recommend import MatrixFactorization, MultVAE
from .restore import Inpainter, Restorer, UNet
from .sentence import SentenceEncoder
from .style import (
    StyleNetwork,
    StyleObjective,
    TextureNetwork,
    gram_matrix,
    learn_textures,
    optimise_picture,
    total_variation,
)
from .text_classifier import AttentionClassifier, WordWeights
from .text_vae import LSTMLanguageModel, TextVAE
from .translator import Translator
from .vae import VAE, ConvVAE, gaussian_nll, kl_standard_normal
from .vae_gan import VAEGAN
from .video import VideoMoments

__all__ = [
    "AttributeClassifier",
    "GAN_LOSSES", "MODELS", "TEXT_MODELS",
    "AdversarialModel", "AttentionClassifier", "Classifier", "ConvVAE", "DCGAN", "GAN", "GPT",
    "GenerativeModel", "Model", "SentenceEncoder", "Translator", "VAE", "VAEGAN", "WordWeights",
    "Captioner", "ImageEncoder", "ImageTextMatcher", "TextEncoder",
    "SpanExtractor", "best_span", "shared_pairs",
    "LSTMLanguageModel", "MatrixFactorization", "MultVAE", "TextVAE",
    "CycleGAN", "StyleNetwork", "StyleObjective", "TextureNetwork",
    "gram_matrix", "learn_textures", "optimise_picture", "total_variation",
    "build", "gan_loss", "gaussian_nll", "gradient_penalty", "interpolate", "kl_standard_normal",
    "Inpainter", "Restorer", "UNet", "wgan_gp", "ClassGaussians", "VideoMoments",
]  # fmt: skip

MODELS: dict[str, Callable[..., Model]] = {
    "gan": GAN, "dcgan": DCGAN, "wgan-gp": wgan_gp, "vae": VAE, "conv-vae": ConvVAE,
    "vae-gan": VAEGAN, "classifier": Classifier,
}  # fmt: skip
TEXT_MODELS: dict[str, Callable[..., Any]] = {"gpt": GPT, "translator": Translator,
                                             "text-vae": TextVAE}


def build(name: str, image_shape: Sequence[int] | None = None, num_classes: int | None = None,
          **options: Any) -> Any:
    """A new model by name, for images (C, H, W) and, if given, conditional on classes.

    Options are the model's own arguments: `build("dcgan", (3, 64, 64), width=32)`. A model of text
    has a vocabulary in place of images: `build("gpt", vocab_size=65, layers=2)`.

    Raises:
        ValueError: there is no model of that name, or an argument does not fit it.
        TypeError: the model has no such option; the message lists those it has.
    """
    if name in TEXT_MODELS and image_shape is None and num_classes is None:
        return TEXT_MODELS[name](**options)
    if name in TEXT_MODELS:
        raise TypeError(f"[build] {name!r} is a model of text: it takes vocab_size and its "
                        "options, no image_shape and no num_classes")
    if name not in MODELS:
        close = difflib.get_close_matches(str(name), [*MODELS, *TEXT_MODELS], n=1)
        raise ValueError(f"[build] there is no model {name!r}"
                         + (f"; did you mean {close[0]!r}?" if close else "")
                         + f" Models: {', '.join([*MODELS, *TEXT_MODELS])}")
    if image_shape is None:
        raise TypeError(f"[build] the model {name!r} needs image_shape: (channels, height, width)")
    known = option_names(name, image_shape)
    for option in options:
        if option not in known:
            raise TypeError(f"[build] the model {name!r} has no option {option!r}; it has "
                            f"{', '.join(known)}")
    return MODELS[name](image_shape, num_classes, **options)


def option_names(name: str, image_shape: Sequence[int]) -> list[str]:
    """The options that `build` takes for a model."""
    builder: Any = MODELS[name]
    if builder is wgan_gp:
        builder = GAN if max(tuple(image_shape)[1:], default=0) <= 8 else DCGAN
    parameters = inspect.signature(builder).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "name"]
