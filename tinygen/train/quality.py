"""A measure of generated images, learnt from the data that a model imitates."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import random
from ..data import DataLoader
from ..metrics import SampleQuality
from .trainer import Trainer

__all__ = ["sample_quality"]


def sample_quality(train: Any, real: Any, *, epochs: int = 2, width: int = 8, seed: int = 0,
                   count: int = 5000, k: int = 3) -> SampleQuality:
    """Fréchet distance, precision and recall by the features of a small classifier, trained here.

    The classifier learns `train` for some epochs, on a seed of its own, so that the same call
    gives the same measure; the random stream is afterwards as it was before. Its accuracy on the
    real images is kept as `accuracy` of what is returned: features of a classifier that cannot
    read the data say little.

    Args:
        train: an `ImageDataset` with labels, for the classifier.
        real: an `ImageDataset` that generated images are held against; best not `train` itself.
        epochs, width: of the classifier.
        seed: of the classifier, and of the choice of real images.
        count: how many of the real images are used; generate as many.
        k: the neighbour in precision and recall.

    Returns:
        A function of images (M, C, H, W) in [0, 1], see `tinygen.metrics.SampleQuality`.

    Raises:
        ValueError: the images have no labels.
    """
    from ..models import Classifier  # `tinygen --help` needs no model

    if train.labels is None or real.labels is None:
        raise ValueError("[sample_quality] a classifier gives the features, so the images need "
                         "labels; these have none")
    stream = random.get_state()
    try:
        random.manual_seed(seed)
        model = Classifier(train.image_shape, train.num_classes, width=width)
        loader = DataLoader(train, min(128, len(train)), shuffle=True, seed=seed)
        Trainer(model, loader, epochs=epochs, lr=2e-3, seed=seed, samples=0, progress=False).fit()
        model.eval()
    finally:
        random.set_state(stream)
    chosen = np.random.default_rng(seed).permutation(len(real))[:count]
    images, labels = real.images[chosen] / np.float32(255), real.labels[chosen]
    quality = SampleQuality(model.features, images, k=k)
    last = list(model.layers)[-1]
    logits = quality.real @ last.weight.data.T + last.bias.data                  # (N, classes)
    quality.accuracy = float((logits.argmax(axis=1) == labels).mean())
    return quality
