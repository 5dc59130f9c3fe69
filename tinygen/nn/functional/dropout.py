"""Dropout: elements or channels that are zero at random during training."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

from ... import ops, random
from ...backend import Generator
from ...random.drop import draw_key, dropout_p
from ...tensor import Tensor

__all__ = ["alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d",
           "feature_alpha_dropout"]

ALPHA = 1.7580993408473766    # SELU's limit at minus infinity, with the sign turned


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False,
            generator: Generator | None = None) -> Tensor:
    """Each element zero with probability `p`, the others divided by 1 - p; nothing if not training.

    Source: N. Srivastava et al., "Dropout", JMLR 2014.
    """
    _check_probability(p, "dropout")
    if not training or p == 0:
        return input
    if p == 1:
        return input * 0.0
    return dropout_p(input, draw_key(generator, input.device), p=p)


def dropout1d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False,
              generator: Generator | None = None) -> Tensor:
    """Whole channels of (N, C, L), or (C, L), zero with probability `p`.

    Source: J. Tompson et al., "Efficient Object Localization Using Convolutional Networks", 2015.
    """
    if input.ndim not in (2, 3):
        raise ValueError(f"[dropout1d] (N, C, L) or (C, L) is needed, got {tuple(input.shape)}")
    return _drop(input, (*input.shape[:-1], 1), p, training, generator, "dropout1d")


def dropout2d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False,
              generator: Generator | None = None) -> Tensor:
    """Whole channels of (N, C, H, W) zero with probability `p`.

    Three axes are (N, C, L), as in PyTorch, with a warning: `dropout1d` says so.
    """
    if input.ndim not in (3, 4):
        raise ValueError(f"[dropout2d] images (N, C, H, W) are needed, got {tuple(input.shape)}")
    if input.ndim == 3:
        warnings.warn(f"[dropout2d] input of three axes {tuple(input.shape)} is taken as "
                      "(N, C, L), not as one image (C, H, W); use dropout1d, or add a batch axis",
                      stacklevel=2)
    return _drop(input, (*input.shape[:2],) + (1,) * (input.ndim - 2), p, training, generator,
                 "dropout2d")


def dropout3d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False,
              generator: Generator | None = None) -> Tensor:
    """Whole channels of (N, C, D, H, W), or (C, D, H, W), zero with probability `p`."""
    if input.ndim not in (4, 5):
        raise ValueError(f"[dropout3d] volumes (N, C, D, H, W) or (C, D, H, W) are needed, got "
                         f"{tuple(input.shape)}")
    return _drop(input, (*input.shape[:-3], 1, 1, 1), p, training, generator, "dropout3d")


def alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False,
                  generator: Generator | None = None) -> Tensor:
    """Each element SELU's lower limit with probability `p`, then scaled to mean 0 and variance 1.

    What has mean 0 and variance 1 keeps them. Source: G. Klambauer et al., "Self-Normalizing
    Neural Networks", NeurIPS 2017.
    """
    return _drop(input, tuple(input.shape), p, training, generator, "alpha_dropout", _alpha)


def feature_alpha_dropout(input: Any, p: float = 0.5, training: bool = False,
                          inplace: bool = False, generator: Generator | None = None) -> Tensor:
    """`alpha_dropout` of whole channels of (N, C, ...)."""
    if input.ndim < 2:
        raise ValueError(f"[feature_alpha_dropout] (N, C, ...) is needed, got "
                         f"{tuple(input.shape)}")
    shape = (*input.shape[:2],) + (1,) * (input.ndim - 2)
    return _drop(input, shape, p, training, generator, "feature_alpha_dropout", _alpha)


def _check_probability(p: float, op: str) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"[{op}] p must be in [0, 1], got {p}")


def _drop(x: Any, shape: tuple[int, ...], p: float, training: bool, generator: Generator | None,
          op: str, apply: Callable[[Any, Any, float], Any] | None = None) -> Any:
    """`apply(x, keep, p)` with 1 drawn for what is kept; by default the rest becomes 0."""
    _check_probability(p, op)
    if not training or p == 0:
        return x
    if p == 1:
        return x * 0.0
    keep = random.bernoulli(1 - p, shape, dtype=x.dtype, device=x.device, generator=generator)
    return x * (keep * (1 / (1 - p))) if apply is None else apply(x, keep, p)


def _alpha(x: Any, keep: Any, p: float) -> Any:
    scale = 1 / math.sqrt((1 + p * ALPHA * ALPHA) * (1 - p))
    # kept: scale (x + p ALPHA); dropped: scale (p - 1) ALPHA
    shift = (keep + (p - 1)) * (ALPHA * scale)
    return x * ops.multiply(keep, scale) + shift
