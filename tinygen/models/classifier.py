"""A small convolutional classifier: the engine's check on a task with a well-known answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import nn, ops, optim
from ..nn import functional as F
from ..tensor import Tensor
from .base import Model, check_positive, inference, learnt

__all__ = ["Classifier", "ImageClassifier"]


class ImageClassifier(Model):
    """What classifiers of images share: cross entropy, Adam with learning rate `rate`."""

    rate = 1e-3

    def configure_optimizers(self, lr: float | None = None) -> dict[str, optim.Optimizer]:
        """Adam with the class's learning rate."""
        return {"model": optim.Adam(learnt(self), lr=self.rate if lr is None else lr)}

    def training_step(self, images: Any, labels: Any,
                      optimizers: dict[str, optim.Optimizer]) -> dict[str, Tensor]:
        """One update; returns `loss` (nats per image) and `accuracy` of the batch."""
        self._learning()
        results = self._results(images, labels)
        optimizers["model"].zero_grad()
        results["loss"].backward()
        optimizers["model"].step()
        return {name: value.detach() for name, value in results.items()}

    def evaluate(self, images: Any, labels: Any = None) -> dict[str, Tensor]:
        """`loss` and `accuracy`, means over the images, in eval mode."""
        with inference(self):
            return self._results(images, labels)

    def _results(self, images: Any, labels: Any) -> dict[str, Tensor]:
        x = self.prepare(images)
        targets = self.check_labels(labels, x.shape[0])
        assert targets is not None
        logits = self(x)
        right = ops.equal(logits.detach().argmax(axis=1), targets)
        return {"loss": F.cross_entropy(logits, targets),
                "accuracy": right.astype(logits.dtype).mean()}


class Classifier(ImageClassifier):
    """Two convolutions and two linear layers: images (N, C, H, W) -> logits (N, num_classes).

    conv 5x5 -> ReLU -> max pool 2 -> conv 5x5 -> ReLU -> max pool 2 -> linear -> ReLU -> dropout
    -> linear, trained with cross entropy.

    Args:
        image_shape: (C, H, W), with H and W at least 4.
        num_classes: how many classes there are.
        width: channels after the first convolution; the second has twice as many.
        hidden: the width of the hidden linear layer.
        dropout: the rate of dropout on it.

    Source of the shape: Y. LeCun et al., "Gradient-Based Learning Applied to Document
    Recognition", Proc. IEEE, 1998.

    >>> import tinygen as tg
    >>> Classifier((1, 28, 28), 10, width=4)(tg.zeros((2, 1, 28, 28))).shape
    (2, 10)
    """

    def __init__(self, image_shape: Sequence[int], num_classes: int | None = 10, *,
                 width: int = 16, hidden: int = 128, dropout: float = 0.25,
                 name: str = "classifier"):
        options = {"width": width, "hidden": hidden, "dropout": dropout}
        super().__init__(name, image_shape, num_classes, options)
        check_positive(name, width=width, hidden=hidden)
        channels, height, wide = self.image_shape
        if num_classes is None or min(height, wide) < 4:
            raise ValueError(f"[{name}] num_classes and images of at least 4x4 are needed; got "
                             f"num_classes={num_classes}, {height}x{wide}")
        flat = 2 * width * (height // 4) * (wide // 4)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(flat, hidden), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(hidden, num_classes))

    def forward(self, images: Any) -> Tensor:
        """Logits (N, num_classes)."""
        return self.layers(images)

    def features(self, images: Any) -> Tensor:
        """What the last layer decides by, (N, hidden), for loader images in [0, 1], in eval mode.

        Measures of generated images compare these: see `tinygen.metrics.frechet_distance`.
        """
        with inference(self):
            x = self.prepare(images)
            for layer in list(self.layers)[:-1]:
                x = layer(x)
            return x
