"""Padding of `nn.functional`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ... import ops
from ...tensor import Tensor

__all__ = ["pad"]


_PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad(input: Any, pad: Sequence[int], mode: str = "constant",
        value: float | None = None) -> Tensor:
    """`input` with elements added around its last axes, the last one first.

    Args:
        pad: (before, after) of the last axis, then of the one before it, and so on.
        mode: ``"constant"`` (filled with `value`, 0 by default), ``"reflect"``, ``"replicate"``
            or ``"circular"``.

    >>> import tinygen as tg
    >>> pad(tg.zeros((1, 1, 4, 4)), (1, 2, 0, 0)).shape
    (1, 1, 4, 7)
    """
    width = tuple(pad)
    if len(width) % 2 or len(width) > 2 * input.ndim:
        raise ValueError(f"[pad] pad must hold pairs (before, after) for the last axes of the "
                         f"input {tuple(input.shape)}, got {width}")
    if mode not in _PAD_MODES:
        raise ValueError(f"[pad] mode must be one of {', '.join(_PAD_MODES)}, got {mode!r}")
    if value is not None and value != 0 and mode != "constant":
        raise ValueError(f"[pad] value={value} has no meaning in mode {mode!r}")
    if not any(width):
        return input
    pairs = [(width[i], width[i + 1]) for i in range(0, len(width), 2)][::-1]
    full = [(0, 0)] * (input.ndim - len(pairs)) + pairs
    return ops.pad(input, full, mode=_PAD_MODES[mode], constant_values=value or 0)
