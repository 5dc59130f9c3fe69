"""Sentences of random words, padded with 0, for the translation row of all sides."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["sentences"]


def sentences(o: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Source (N, S) and target (N, T + 1) in words 1 to V - 1; a third of them fill the length,
    the others are up to a half shorter."""
    draw, found = np.random.default_rng(0), []
    for length in (o["source"], o["target"] + 1):
        words = draw.integers(1, o["vocabulary"], (o["batch"], length))
        lengths = np.minimum(length, draw.integers(length // 2, length * 5 // 4, o["batch"]))
        found.append(np.where(np.arange(length) < lengths[:, None], words, 0))
    return found[0], found[1]
