"""Padding layers: elements around signals (1d), images (2d) and volumes (3d).

`padding` is an int for all sides, or (before, after) of the last axis, then of the one before it,
and so on: (left, right, top, bottom) for an image. A negative number crops.
"""

from __future__ import annotations

from typing import Any

from ..ops.arguments import whole_numbers
from ..tensor import Tensor
from . import functional as F
from .module import Module

__all__ = [
    "CircularPad1d", "CircularPad2d", "CircularPad3d", "ConstantPad1d", "ConstantPad2d",
    "ConstantPad3d", "ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d", "ReplicationPad1d",
    "ReplicationPad2d", "ReplicationPad3d", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
]


class _Pad(Module):
    axes: int
    mode = "constant"

    def __init__(self, padding: Any):
        super().__init__()
        sides = whole_numbers(padding)
        if sides is None or (hasattr(padding, "__iter__") and len(sides) != 2 * self.axes):
            raise ValueError(f"[{type(self).__name__}] padding must be an int or {2 * self.axes} "
                             f"ints, got {padding!r}")
        self.padding = sides if hasattr(padding, "__iter__") else sides * (2 * self.axes)

    def forward(self, input: Any) -> Tensor:
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return str(self.padding)


class _ConstantPad(_Pad):
    def __init__(self, padding: Any, value: float):
        super().__init__(padding)
        self.value = value

    def forward(self, input: Any) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """A number around signals."""

    axes = 1


class ConstantPad2d(_ConstantPad):
    """A number around images."""

    axes = 2


class ConstantPad3d(_ConstantPad):
    """A number around volumes."""

    axes = 3


class ZeroPad1d(_Pad):
    """Zeros around signals: one number, or (left, right)."""

    axes = 1


class ZeroPad2d(_Pad):
    """Zeros around images: one number, or (left, right, top, bottom)."""

    axes = 2


class ZeroPad3d(_Pad):
    """Zeros around volumes: one number, or (left, right, top, bottom, front, back)."""

    axes = 3


class ReflectionPad1d(_Pad):
    """Signals mirrored at their ends; the end itself is not repeated."""

    axes, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """Images mirrored at their edges; the edge itself is not repeated."""

    axes, mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """Volumes mirrored at their faces; the face itself is not repeated."""

    axes, mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """Signals whose ends are repeated."""

    axes, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """Images whose edges are repeated."""

    axes, mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """Volumes whose faces are repeated."""

    axes, mode = 3, "replicate"


class CircularPad1d(_Pad):
    """Signals continued from their other end."""

    axes, mode = 1, "circular"


class CircularPad2d(_Pad):
    """Images continued from their other edge."""

    axes, mode = 2, "circular"


class CircularPad3d(_Pad):
    """Volumes continued from their other face."""

    axes, mode = 3, "circular"
