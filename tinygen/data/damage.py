"""Damaged pictures beside their originals: what a model learns to restore from.

Each damage is a transform `(batch, rng) -> batch` of pictures (N, C, H, W) in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .dataset import Dataset, fetcher
from .images import import_pillow
from .transforms import Transform, _check_window

__all__ = ["Damaged", "GaussianNoise", "Shrink", "SquareHole"]


class Damaged(Dataset):
    """Pairs (damaged, original) of the pictures of `dataset`; a new damage each time it is read.

    Both are float32, in [0, 1] but for noise. Labels are left out.

    >>> from tinygen.data import load
    >>> damaged, original = Damaged(load("digits"), GaussianNoise(0.2))[0]
    >>> damaged.shape, original.shape
    ((1, 8, 8), (1, 8, 8))
    """

    def __init__(self, dataset: Any, damage: Callable[..., np.ndarray]) -> None:
        self.dataset, self.damage = dataset, damage
        self._fetch = fetcher(dataset)

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(
        self, indices: np.ndarray, rng: np.random.Generator | None = None
    ) -> tuple[np.ndarray, ...]:
        originals = self._fetch(indices, rng)[0]
        return self.damage(originals, rng), originals

    def __repr__(self) -> str:
        return f"Damaged({self.dataset!r}, {self.damage!r})"


class SquareHole(Transform):
    """A square of `side` pixels is lost, at a place drawn for each picture: (N, C + 1, H, W).

    The hole is filled with the mean colour of the rest of the picture. The last channel is the
    mask: 1 in the hole, 0 elsewhere. Raises ValueError when no pixel of the picture would be left.
    """

    random = True

    def __init__(self, side: int) -> None:
        self.side = side
        if not isinstance(side, (int, np.integer)) or side < 1:
            raise self._error(f"side must be a positive int, not {side!r}")

    def apply(self, batch: np.ndarray, rng: Any) -> np.ndarray:
        n, _, height, width = batch.shape
        _check_window(self, (self.side, self.side), batch.shape)
        if self.side == height == width:
            raise self._error(f"side {self.side} leaves nothing of pictures of {height}x{width}")
        top = rng.integers(0, height - self.side, n, endpoint=True)[:, None]          # (N, 1)
        left = rng.integers(0, width - self.side, n, endpoint=True)[:, None]
        rows = np.arange(height) - top                                                # (N, H)
        columns = np.arange(width) - left                                             # (N, W)
        mask = (((rows >= 0) & (rows < self.side))[:, None, :, None]
                & ((columns >= 0) & (columns < self.side))[:, None, None, :])         # (N, 1, H, W)
        kept = np.where(mask, 0, batch).sum(axis=(2, 3), keepdims=True)
        mean = (kept / (height * width - self.side ** 2)).astype(batch.dtype)         # (N, C, 1, 1)
        return np.concatenate([np.where(mask, mean, batch), mask.astype(batch.dtype)], axis=1)


class GaussianNoise(Transform):
    """Each pixel gets a draw from N(0, sigma^2) on top. The sum is not clipped to [0, 1]."""

    random = True

    def __init__(self, sigma: float) -> None:
        self.sigma = sigma
        if not 0 <= sigma < np.inf:
            raise self._error(f"sigma must be 0 or more, not {sigma!r}")

    def apply(self, batch: np.ndarray, rng: Any) -> np.ndarray:
        return batch + self.sigma * rng.standard_normal(batch.shape, dtype=np.float32)


class Shrink(Transform):
    """Pictures as Pillow's bicubic filter makes them small and large again, by a factor.

    The small picture has 8 bits a channel, as a file would. What is gone is the finer half of the
    detail (factor 2), and what comes back is the usual enlargement. Raises ValueError when the
    sides are no multiples of the factor, ImportError without Pillow.
    """

    def __init__(self, factor: int = 2) -> None:
        self.factor = factor
        if not isinstance(factor, (int, np.integer)) or factor < 2:
            raise self._error(f"factor must be an int of 2 or more, not {factor!r}")

    def apply(self, batch: np.ndarray, rng: Any) -> np.ndarray:
        *_, height, width = batch.shape
        if height % self.factor or width % self.factor:
            raise self._error(f"pictures of {height}x{width} cannot be made {self.factor} times "
                              f"smaller; sides have to be multiples of {self.factor}")
        pillow = import_pillow()
        cubic = pillow.Resampling.BICUBIC
        pixels = np.rint(np.clip(batch, 0, 1) * 255).astype(np.uint8)
        out = np.empty_like(pixels)
        small = (width // self.factor, height // self.factor)
        for place in np.ndindex(*batch.shape[:2]):               # each channel is a grey picture
            picture = pillow.fromarray(pixels[place]).resize(small, cubic)
            out[place] = np.asarray(picture.resize((width, height), cubic))
        return (out / np.float32(255)).astype(batch.dtype)
