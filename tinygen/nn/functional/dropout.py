"""Dropout: elements or channels that are zero at random during training."""

from __future__ import annotations

from typing import Any

from ... import random
from ...backend import Generator
from ...tensor import Tensor

__all__ = ["dropout", "dropout2d"]


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False,
            generator: Generator | None = None) -> Tensor:
    """Each element zero with probability `p`, the others divided by 1 - p; nothing if not training.

    Source: N. Srivastava et al., "Dropout", JMLR 2014.
    """
    return _drop(input, tuple(input.shape), p, training, generator, "dropout")


def dropout2d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False,
              generator: Generator | None = None) -> Tensor:
    """Whole channels of (N, C, H, W), or (C, H, W), zero with probability `p`."""
    if input.ndim not in (3, 4):
        raise ValueError(f"[dropout2d] images (N, C, H, W) or (C, H, W) are needed, got "
                         f"{tuple(input.shape)}")
    return _drop(input, (*input.shape[:-2], 1, 1), p, training, generator, "dropout2d")


def _drop(x: Any, shape: tuple[int, ...], p: float, training: bool, generator: Generator | None,
          op: str) -> Any:
    if not 0 <= p <= 1:
        raise ValueError(f"[{op}] p must be in [0, 1], got {p}")
    if not training or p == 0:
        return x
    if p == 1:
        return x * 0.0
    keep = random.bernoulli(1 - p, shape, dtype=x.dtype, device=x.device, generator=generator)
    return x * (keep * (1 / (1 - p)))
