"""Padding of `nn.functional`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ... import ops
from ...ops.arguments import whole_numbers
from ...tensor import Tensor

__all__ = ["pad"]


_PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad(input: Any, pad: Sequence[int], mode: str = "constant",
        value: float | None = None) -> Tensor:
    """`input` with elements added around its last axes, the last one first.

    Args:
        pad: (before, after) of the last axis, then of the one before it, and so on. A negative
            number crops.
        mode: ``"constant"`` (filled with `value`, 0 by default), ``"reflect"`` (mirrored without
            the edge: less than the axis is long), ``"replicate"`` or ``"circular"`` (at most the
            axis once around). The last three are for one to three axes of (C, ...) or (N, C, ...).

    >>> import tinygen as tg
    >>> pad(tg.zeros((1, 1, 4, 4)), (1, 2, 0, 0)).shape
    (1, 1, 4, 7)
    """
    shape, width = tuple(input.shape), whole_numbers(pad)
    if width is None or len(width) % 2 or len(width) > 2 * len(shape):
        raise ValueError(f"[pad] pad must hold pairs (before, after) for the last axes of the "
                         f"input {shape}, got {pad!r}")
    if mode not in _PAD_MODES:
        raise ValueError(f"[pad] mode must be one of {', '.join(_PAD_MODES)}, got {mode!r}")
    if value is not None and value != 0 and mode != "constant":
        raise ValueError(f"[pad] value={value} has no meaning in mode {mode!r}")
    pairs = list(zip(width[::2], width[1::2], strict=True))[::-1]
    full = [(0, 0)] * (len(shape) - len(pairs)) + pairs
    if any(n + a + b < 0 for n, (a, b) in zip(shape, full, strict=True)):
        raise ValueError(f"[pad] pad {width} crops more than there is of the input {shape}")
    if mode != "constant":
        _check(shape, pairs, mode)
    if not any(width):
        return input
    if mode in ("constant", "circular"):              # what is cropped is not wrapped around
        return ops.pad(input, full, mode=_PAD_MODES[mode],
                       constant_values=0 if value is None else value)
    y = ops.pad(input, [(max(0, a), max(0, b)) for a, b in full], mode=_PAD_MODES[mode])
    if min(width) >= 0:
        return y
    return y[tuple(slice(max(0, -a), n - max(0, -b)) for n, (a, b) in zip(y.shape, full,
                                                                          strict=True))]


def _check(shape: tuple[int, ...], pairs: list[tuple[int, int]], mode: str) -> None:
    """Does this mode take so many axes, and are they long enough?"""
    k = len(pairs)
    if k > 3 or len(shape) not in (k + 1, k + 2):
        raise ValueError(f"[pad] mode {mode!r} pads the last one, two or three axes of (C, ...) or "
                         f"(N, C, ...); {k} pairs do not fit the input {shape}")
    for n, (a, b) in zip(shape[-k:], pairs, strict=True):
        n += min(a, 0) + min(b, 0) if mode == "circular" else 0   # what is cropped is gone
        if (mode == "reflect" and max(a, b) >= n) or (mode == "circular" and max(a, b) > n):
            most = "less than" if mode == "reflect" else "at most"
            raise ValueError(f"[pad] mode {mode!r} adds {most} the length {n} of an axis at each "
                             f"end, got ({a}, {b}) for the input {shape}")
