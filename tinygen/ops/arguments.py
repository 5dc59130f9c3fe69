"""Arguments that convolution, pooling and their kin share: sizes per axis, and a missing batch."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from ..tensor import Tensor
from .shape import expand_dims

Size = int | Sequence[int]
Sizes = tuple[int, ...]

AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}
LETTERS = {1: "L", 2: "H, W", 3: "D, H, W"}
NUMBERS = {1: "one int", 2: "two ints", 3: "three ints"}


def each_axis(value: Size, n: int, op: str, name: str, least: int = 1) -> Sizes:
    """An int, or a sequence of one or n, as one int per axis; each at least `least`."""
    ints = whole_numbers(value)
    if ints is None or len(ints) not in (1, n) or min(ints) < least:
        raise ValueError(f"[{op}] {name} must be an int or {NUMBERS[n]} of at least {least}, "
                         f"got {value!r}")
    return ints * n if len(ints) == 1 else ints


def whole_numbers(value: Any) -> Sizes | None:
    """An int or a sequence of ints as a tuple; None for anything else."""
    try:
        return tuple(map(operator.index, value if hasattr(value, "__iter__") else (value,)))
    except TypeError:
        return None


def as_tensor(x: Any) -> Any:
    """x itself if it has a shape, or a tensor of the numbers in it."""
    return x if hasattr(x, "shape") else Tensor(x)


def batched(x: Any, n: int, op: str) -> tuple[Any, bool]:
    """x with a batch axis in front, and whether it had one: (N, C, ...) or (C, ...)."""
    x = as_tensor(x)
    if x.ndim == n + 1:
        return expand_dims(x, 0), False
    if x.ndim != n + 2:
        raise ValueError(f"[{op}] input must be (N, C, {LETTERS[n]}) or (C, {LETTERS[n]}), got "
                         f"{tuple(x.shape)}")
    return x, True
