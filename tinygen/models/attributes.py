"""A classifier that answers several yes-or-no questions about a picture at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..nn import functional as F
from ..ops.host import numpy_function
from ..tensor import Tensor
from .base import inference
from .classifier import Classifier

__all__ = ["AttributeClassifier"]


class AttributeClassifier(Classifier):
    """The network of `Classifier` with a logit for each attribute: (N, C, H, W) -> (N, A).

    Trained with the binary cross entropy of each attribute, summed over attributes, for labels
    (N, A) of 0 and 1: a picture has any number of attributes.

    Args:
        image_shape: (C, H, W), with H and W at least 4.
        num_classes: A, how many attributes there are.
        width, hidden, dropout: see `Classifier`.

    >>> import tinygen as tg
    >>> AttributeClassifier((3, 32, 32), 5, width=4)(tg.zeros((2, 3, 32, 32))).shape
    (2, 5)
    """

    def __init__(self, image_shape: Sequence[int], num_classes: int, *, width: int = 16,
                 hidden: int = 128, dropout: float = 0.25, name: str = "attributes"):
        super().__init__(image_shape, num_classes, width=width, hidden=hidden, dropout=dropout,
                         name=name)
        self.register_buffer("thresholds", ops.zeros(num_classes))

    def check_labels(self, labels: Any, n: int) -> Tensor:
        """Attributes (n, A) of 0 and 1 in the model's dtype, on its device.

        Raises:
            ValueError: they are missing, of another shape, or other numbers.
        """
        expected = (n, self.num_classes)
        if labels is None:
            raise ValueError(f"[{self.name}] labels are needed: 0 or 1 of shape {expected}")
        labels = labels if isinstance(labels, Tensor) else ops.asarray(labels)
        if labels.shape != expected or labels.dtype.kind not in "biufV":
            raise ValueError(f"[{self.name}] labels: {labels.dtype} {labels.shape}; expected 0 or "
                             f"1, {expected}: one for each image and attribute")
        like = self._like()
        if labels.device == "cpu":                                  # a GPU is not waited for
            labels = numpy_function(self._binary, labels)
        return labels.to(dtype=like.dtype, device=like.device)

    def _binary(self, labels: np.ndarray) -> np.ndarray:
        if not np.logical_or(labels == 0, labels == 1).all():
            raise ValueError(f"[{self.name}] labels must be 0 or 1, and others are among them")
        return labels

    def fit_thresholds(self, images: Any, truth: Any, batch: int = 500) -> None:
        """Set what `predict` compares logits with: such that it says yes as often as is true.

        At a logit of 0 an attribute that is rare and hard to see is hardly ever found, although
        that makes the fewest errors; rates and groups made of such verdicts are then far off.

        Args:
            images, truth: (N, C, H, W) in [0, 1] and (N, A) of 0 and 1, such as the training data.
        """
        targets = self.check_labels(truth, len(images)).numpy()              # (N, A)
        logits = self._logits(images, batch)
        for a, share in enumerate(targets.mean(axis=0)):
            self.thresholds.data[a] = np.quantile(logits[:, a], 1 - share)

    def predict(self, images: Any, batch: int = 500) -> np.ndarray:
        """Whether each image in [0, 1] has each attribute, in eval mode: bool (N, A)."""
        return self._logits(images, batch) > self.thresholds.numpy()

    def _logits(self, images: Any, batch: int) -> np.ndarray:
        found = [np.zeros((0, self.num_classes or 0), np.float32)]
        with inference(self):
            for start in range(0, len(images), batch):
                found.append(self(self.prepare(images[start:start + batch])).numpy())
        return np.concatenate(found)

    def _results(self, images: Any, labels: Any) -> dict[str, Tensor]:
        x = self.prepare(images)
        targets = self.check_labels(labels, x.shape[0])                      # (N, A)
        logits = self(x)
        right = ops.equal(ops.greater(logits.detach(), 0).astype(logits.dtype), targets)
        loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        return {"loss": loss / x.shape[0], "accuracy": right.astype(logits.dtype).mean()}
