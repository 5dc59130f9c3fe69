"""What all models share: the interface that the trainer and the command line rely on.

A model is an `nn.Module` that also knows its losses, its optimizers and how to learn from one
batch. It can be rebuilt from its `config()`, which is plain JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from .. import nn, ops, optim, random
from ..autograd import no_grad
from ..backend import Generator
from ..tensor import Tensor

__all__ = ["GenerativeModel", "JoinLabels", "Model", "frozen", "image_steps", "inference",
           "interpolate"]

ImageShape = tuple[int, int, int]


class Model(nn.Module):
    """A network with its losses, optimizers and training step.

    `training_step` takes what a loader gives: images in [0, 1] of shape (N, C, H, W) and labels
    (N,) or None. It updates the parameters once and returns named 0-d tensors. `evaluate` returns
    means over the images of a batch. Both call `prepare` themselves.
    """

    name: str = "model"

    def __init__(self, name: str, image_shape: Sequence[int], num_classes: int | None,
                 options: dict[str, Any]):
        super().__init__()
        self.name = name
        self.image_shape = check_image_shape(name, image_shape)
        self.num_classes = _check_classes(name, num_classes)
        self.options = options

    def config(self) -> dict[str, Any]:
        """JSON-serialisable arguments: `build(**model.config())` gives the same architecture."""
        options = {k: list(v) if isinstance(v, tuple) else v for k, v in self.options.items()}
        return {"name": self.name, "image_shape": list(self.image_shape),
                "num_classes": self.num_classes, **options}

    def configure_optimizers(self, lr: float | None = None) -> dict[str, optim.Optimizer]:
        """New optimizers for the parameters; `lr=None` takes the default of the model's paper."""
        raise NotImplementedError(f"{type(self).__name__} has no configure_optimizers()")

    def training_step(self, images: Any, labels: Any,
                      optimizers: dict[str, optim.Optimizer]) -> dict[str, Tensor]:
        """Learn from one batch; returns its losses as 0-d tensors without a graph."""
        raise NotImplementedError(f"{type(self).__name__} has no training_step()")

    def evaluate(self, images: Any, labels: Any = None) -> dict[str, Tensor]:
        """Losses of a batch, as means over its images, in eval mode and without a graph."""
        return {}

    def prepare(self, images: Any) -> Tensor:
        """Loader images in [0, 1] as what the model learns from: its dtype, device and range.

        Raises:
            ValueError: the images are not of the shape that the model was built for.
            TypeError: they are integers, which a loader would have divided by 255.
        """
        images = images if isinstance(images, Tensor) else ops.asarray(images)
        if images.ndim != 4 or images.shape[1:] != self.image_shape:
            expected = ", ".join(str(n) for n in self.image_shape)
            raise ValueError(f"[{self.name}] images: {images.dtype} {images.shape}; this model was "
                             f"built for (N, {expected})")
        if images.dtype.kind not in "fV":
            raise TypeError(f"[{self.name}] images are {images.dtype}; floating point numbers in "
                            "[0, 1] are expected: images.astype('float32') / 255")
        like = self._like()
        return images.to(dtype=like.dtype, device=like.device)

    def check_labels(self, labels: Any, n: int) -> Tensor | None:
        """Labels (n,) on the model's device; None for a model without classes.

        Raises:
            ValueError: labels are missing, or not one integer for each of the n images.
        """
        if self.num_classes is None:
            return None
        if labels is None:
            raise ValueError(f"[{self.name}] labels are needed: this model was built for "
                             f"{self.num_classes} classes")
        labels = labels if isinstance(labels, Tensor) else ops.asarray(labels)
        if labels.shape != (n,) or labels.dtype.kind not in "iu":
            raise ValueError(f"[{self.name}] labels: {labels.dtype} {labels.shape}; expected "
                             f"integers ({n},), one for each image")
        return labels.to(device=self._like().device)

    def _like(self) -> Tensor:
        return next(self.parameters())

    def _learning(self) -> None:
        if not self.training:
            self.train()


class GenerativeModel(Model):
    """A model that makes images from noise `z` of shape (n, latent).

    `value_range` holds the least and the greatest value of generated images.
    """

    value_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    latent: int

    @property
    def conditional(self) -> bool:
        """Whether images are generated from labels too."""
        return self.num_classes is not None

    def noise(self, n: int, generator: Generator | None = None) -> Tensor:
        """`n` draws from the prior N(0, I): (n, latent).

        A generator draws on its own device: one of the CPU gives the same noise for models on
        every device. Without one the model's device draws.
        """
        like = self._like()
        z = random.normal((n, self.latent), dtype=like.dtype, generator=generator,
                          device=like.device if generator is None else None)
        return z.to(device=like.device)

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images (n, C, H, W) from latents (n, latent), recorded and in the current mode."""
        raise NotImplementedError(f"{type(self).__name__} has no decode()")

    def generate(self, z: Any, labels: Any = None) -> Tensor:
        """Images (n, C, H, W) in `value_range` from latents (n, latent), in eval mode.

        A conditional model that is given no labels makes the classes in turn: 0, 1, 2, ...

        Raises:
            ValueError: z is not (n, latent).
        """
        like = self._like()
        z = (z if isinstance(z, Tensor) else ops.asarray(z)).to(like.dtype, device=like.device)
        if z.ndim != 2 or z.shape[1] != self.latent:
            raise ValueError(f"[{self.name}] z: {z.shape}; expected (n, {self.latent}): "
                             "use model.noise(n)")
        if labels is None and self.num_classes is not None:
            labels = np.arange(z.shape[0]) % self.num_classes
        with inference(self):
            return self.decode(z, self.check_labels(labels, z.shape[0]))

    def encode(self, images: Any, labels: Any = None) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z | images), each (n, latent)."""
        raise NotImplementedError(f"[{self.name}] has no encoder: it draws images from noise and "
                                  "finds no noise for an image; use 'vae' or 'conv-vae'")

    def reconstruct(self, images: Any, labels: Any = None) -> Tensor:
        """Images decoded from the mean latent of each image, in `value_range`."""
        raise NotImplementedError(f"[{self.name}] cannot reconstruct images, because it has no "
                                  "encoder; use 'vae' or 'conv-vae'")


class JoinLabels(nn.Module):
    """Appends a learnt code of each input's class.

    Args:
        num_classes: how many classes there are.
        size: the length of a code that is appended to vectors (N, D), or (H, W) of a map that is
            appended to images (N, C, H, W) as one more channel.

    Source: M. Mirza and S. Osindero, "Conditional Generative Adversarial Nets", 2014.
    """

    def __init__(self, num_classes: int, size: int | tuple[int, int]):
        super().__init__()
        self.size = size
        length = size if isinstance(size, int) else size[0] * size[1]
        self.codes = nn.Embedding(num_classes, length)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        codes = self.codes(labels)                                    # (N, length)
        if not isinstance(self.size, int):
            codes = codes.reshape(x.shape[0], 1, *self.size)          # (N, 1, H, W)
        return ops.concat([x, codes], axis=1)


def placed(module: nn.Module, x: Any) -> Tensor:
    """`x` as a tensor on the module's device: tokens, say, that were given as lists."""
    x = x if isinstance(x, Tensor) else Tensor(x)
    return x.to(device=next(module.parameters()).device)


def learnt(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that an optimizer may change: all but those that the user froze."""
    return [p for p in module.parameters() if p.requires_grad]


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Inside, the parameters of `module` get no gradients; afterwards all is as it was."""
    before = [(p, p.requires_grad) for p in module.parameters()]
    try:
        for p, _ in before:
            p.requires_grad = False
        yield
    finally:
        for p, wanted in before:
            p.requires_grad = wanted


@contextmanager
def inference(module: nn.Module) -> Iterator[None]:
    """Inside, `module` is in eval mode and nothing is recorded; afterwards all is as it was."""
    before = [(m, m.training) for m in module.modules()]
    try:
        module.eval()
        with no_grad():
            yield
    finally:
        for m, mode in before:
            m.training = mode


def interpolate(a: Any, b: Any, steps: int, spherical: bool = False) -> Tensor:
    """Points on the way from `a` to `b`, both ends included: (..., D) -> (steps, ..., D).

    Straight: (1 - t) a + t b. Spherical, along the arc between the directions of a and b, which
    passes through lengths that N(0, I) makes likely:

    (sin((1 - t) w) a + sin(t w) b) / sin(w), with w the angle between a and b.

    Source: T. White, "Sampling Generative Networks", 2016.

    >>> interpolate([0.0, 0.0], [1.0, 2.0], 3).tolist()
    [[0.0, 0.0], [0.5, 1.0], [1.0, 2.0]]
    """
    a, b = (x.detach() if isinstance(x, Tensor) else Tensor(x) for x in (a, b))
    if a.shape != b.shape or a.ndim < 1:
        raise ValueError(f"[interpolate] a: {a.shape}, b: {b.shape}; two latents, or two equal "
                         "batches of latents, are expected")
    if steps < 2:
        raise ValueError(f"[interpolate] steps must be at least 2, both ends included; got {steps}")
    t = ops.linspace(0, 1, steps, dtype=a.dtype, device=a.device).reshape(steps, *[1] * a.ndim)
    if not spherical:
        return (1 - t) * a + t * b
    lengths = ((a * a).sum(axis=-1, keepdims=True) * (b * b).sum(axis=-1, keepdims=True)).sqrt()
    cosine = (a * b).sum(axis=-1, keepdims=True) / lengths.clip(1e-30, None)
    angle = ops.acos(cosine.clip(-1, 1))                              # (..., 1)
    # vectors that are (almost) parallel, opposite or zero span no plane: a line is left
    bent = ops.logical_and(ops.greater(ops.sin(angle), 1e-4), ops.greater(lengths, 1e-30))
    sine = ops.where(bent, ops.sin(angle), 1)
    arc = (ops.sin((1 - t) * angle) * a + ops.sin(t * angle) * b) / sine
    return ops.where(bent, arc, (1 - t) * a + t * b)


def image_steps(name: str, image_shape: Sequence[int]) -> tuple[int, int]:
    """The smallest map that halving a square image leads to, 4 or 7 wide, and how many halvings.

    >>> image_steps("dcgan", (3, 64, 64)), image_steps("dcgan", (1, 28, 28))
    ((4, 4), (7, 2))
    """
    _, height, width = image_shape
    side, steps = width, 0
    while side % 2 == 0 and side > 4:
        side, steps = side // 2, steps + 1
    if height != width or side not in (4, 7) or not steps:
        raise ValueError(f"[{name}] images of {height}x{width} cannot be halved down to 4x4 or "
                         "7x7; sizes that work: 8, 14, 16, 28, 32, 56, 64, 112, 128, ... (square)")
    return side, steps


def check_image_shape(name: str, image_shape: Sequence[int]) -> ImageShape:
    """`image_shape` as a tuple of three positive ints; raises ValueError otherwise."""
    shape = tuple(image_shape) if isinstance(image_shape, Sequence) else ()
    if len(shape) != 3 or not all(isinstance(n, (int, np.integer)) and n > 0 for n in shape):
        raise ValueError(f"[{name}] image_shape must be (channels, height, width), for instance "
                         f"(1, 28, 28); got {image_shape!r}")
    channels, height, width = (int(n) for n in shape)
    return channels, height, width


def check_positive(name: str, **sizes: int) -> None:
    """Raises ValueError for the first size that is not a positive int."""
    for option, value in sizes.items():
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
            raise ValueError(f"[{name}] {option} must be a positive integer, got {value!r}")


def _check_classes(name: str, num_classes: int | None) -> int | None:
    if num_classes is not None:
        check_positive(name, num_classes=num_classes)
        return int(num_classes)
    return None
