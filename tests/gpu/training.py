"""Small models of every kind, and batches for them: what the training tests on the double run."""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygen as tg
from tinygen import models
from tinygen.models import build

SHAPE = (1, 16, 16)
SENTENCES = np.array([[2, 5, 6, 3, 0], [2, 7, 3, 0, 0], [2, 8, 5, 6, 3], [2, 5, 7, 3, 0]])


def _pictures(classes: int | None = None, shape: Any = SHAPE, n: int = 4) -> Any:
    rng = np.random.default_rng(0)
    labels = None if classes is None else rng.integers(0, classes, n)
    return rng.random((n, *shape), dtype=np.float32), labels


def _tokens(*shape: int, high: int = 9) -> Any:
    return np.random.default_rng(1).integers(1, high, shape)


def _style() -> Any:
    network = models.TextureNetwork((3, 16, 16), 5, channels=(4, 6, 8))
    model = models.StyleNetwork((3, 16, 16), width=4, blocks=1)
    painting, _ = _pictures(shape=(3, 16, 16), n=1)
    model.objective = models.StyleObjective(network, tg.Tensor(painting))
    return model


def _video() -> Any:
    rng = np.random.default_rng(0)
    start = rng.integers(0, 6, (3, 2))
    return (rng.random((3, 8, 1, 16, 16), dtype=np.float32), rng.integers(1, 9, (3, 2, 4)),
            np.stack([start, start + rng.integers(1, 3, (3, 2))], axis=-1))


def _damaged() -> Any:
    images, _ = _pictures(shape=(3, 16, 16))
    mask = np.zeros((4, 1, 16, 16), np.float32)
    mask[:, :, 4:9, 4:9] = 1
    return np.concatenate([images * (1 - mask), mask], axis=1), images


def _restorer() -> Any:
    images, _ = _pictures()
    return np.clip(images + 0.1, 0, 1), images


# name -> (a function that makes the model, a function that makes a batch)
CASES: dict[str, tuple[Any, Any]] = {
    "gan": (lambda: build("gan", SHAPE), _pictures),
    "gan-labels": (lambda: build("gan", SHAPE, 4), lambda: _pictures(4)),
    "dcgan": (lambda: build("dcgan", SHAPE, width=8), _pictures),
    "dcgan-labels": (lambda: build("dcgan", SHAPE, 4, width=8), lambda: _pictures(4)),
    "wgan-gp": (lambda: build("wgan-gp", SHAPE, n_critic=1), _pictures),
    "vae": (lambda: build("vae", SHAPE), _pictures),
    "vae-labels": (lambda: build("vae", SHAPE, 4), lambda: _pictures(4)),
    "conv-vae": (lambda: build("conv-vae", SHAPE), _pictures),
    "vae-gan": (lambda: build("vae-gan", SHAPE), _pictures),
    "classifier": (lambda: build("classifier", SHAPE, 4), lambda: _pictures(4)),
    "gpt": (lambda: build("gpt", vocab_size=20, block=12, layers=1, heads=2, width=16),
            lambda: (_tokens(3, 12), _tokens(3, 12))),
    "translator": (lambda: models.Translator(9, layers=1, heads=2, width=16, hidden=24),
                   lambda: (SENTENCES, SENTENCES)),
    "captioner": (lambda: models.Captioner((1, 16, 16), 9, bos=2, eos=3, width=8, heads=2,
                                           channels=(4, 6), longest=7),
                  lambda: (_pictures()[0], SENTENCES, None)),
    "mult-vae": (lambda: models.MultVAE(9, hidden=7, latent=3),
                 lambda: ((_tokens(6, 9) > 4).astype(np.float32), None)),
    "matrix-factorization": (lambda: models.MatrixFactorization(8, 9, factors=3),
                             lambda: (_tokens(6, 2, high=8), _pictures(n=6)[0][:, 0, 0, 0])),
    "restorer": (lambda: models.Restorer(SHAPE, width=4), _restorer),
    "inpainter": (lambda: models.Inpainter((3, 16, 16), width=4, depth=2, adversarial=0.5,
                                           d_width=4), _damaged),
    "style": (_style, lambda: _pictures(shape=(3, 16, 16))),
    "lstm-language-model": (lambda: models.LSTMLanguageModel(9, width=4, hidden=5),
                            lambda: (SENTENCES, None)),
    "text-vae": (lambda: models.TextVAE(9, width=4, hidden=5, latent=3), lambda: (SENTENCES, None)),
    "attention-classifier": (lambda: models.AttentionClassifier(9, 3, width=8, heads=2),
                             lambda: (SENTENCES, np.array([0, 1, 2, 0]))),
    "word-weights": (lambda: models.WordWeights(9), lambda: (SENTENCES, np.array([0, 1, 1, 0]))),
    "cycle-gan": (lambda: models.CycleGAN((3, 16, 16), width=2, blocks=1),
                  lambda: tuple(_pictures(shape=(3, 16, 16), n=n)[0][:1] for n in (1, 2))),
    "video-moments": (lambda: models.VideoMoments(9, SHAPE, frames=8, longest=5, width=16, heads=2,
                                                  channels=4), _video),
    "image-text": (lambda: models.ImageTextMatcher((1, 16, 16), 9, width=8, heads=2, dim=6,
                                                   channels=(4, 6), longest=6),
                   lambda: (_pictures()[0], SENTENCES, None)),
    "attributes": (lambda: models.AttributeClassifier(SHAPE, 2, width=4, hidden=16),
                   lambda: (_pictures()[0], np.array([[0, 1], [1, 1], [0, 0], [1, 0]]))),
}


def tensors(batch: Any, device: str) -> tuple[Any, ...]:
    """The arrays of a batch as tensors on a device."""
    return tuple(None if x is None else tg.Tensor(x, device=device) for x in batch)


class HostStream:
    """NumPy's stream in place of a device's: a test can draw the same numbers on both."""

    def __init__(self, seed: int):
        self.stream = np.random.Generator(np.random.PCG64(seed))
        self.bit_generator = self.stream.bit_generator

    def __getattr__(self, name: str) -> Any:
        import cupy

        def draw(*args: Any, **kwargs: Any) -> Any:
            args = [x.get() if isinstance(x, cupy.ndarray) else x for x in args]
            if name == "integers" and len(args) > 3 and args[2] == ():
                return cupy.asarray(np.array(self.bit_generator.random_raw(), np.uint64))
            return cupy.asarray(getattr(self.stream, name)(*args, **kwargs))
        return draw
