"""Constants of the host beside arrays of a device.

Operations build tables that depend on shapes alone: the windows of a pool, the places of a
diagonal, a mask of ones. On a GPU each of them would be copied there at every call, and the device
would wait; here it is copied once.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from . import backend

__all__ = ["beside", "constant", "forget", "module_beside", "remembered",
           "shape_of"]

LARGEST = 1 << 16     # bytes of a constant that is remembered
MANY = 1024           # remembered constants

_remembered: dict[tuple[Any, ...], Any] = {}


def constant(array: np.ndarray, device: str) -> Any:
    """A host array that nobody changes, on `device`: copied there once, then remembered."""
    if device == "cpu":
        return array
    if array.nbytes > LARGEST:
        return backend.to_device(array, device)
    key = (device, array.dtype.str, array.shape, array.tobytes())
    found = _remembered.get(key)
    if found is None:
        if len(_remembered) >= MANY:      # shapes that never come back
            _remembered.clear()
        found = _remembered[key] = backend.to_device(array, device)
    return found


def beside(array: Any, like: Any) -> Any:
    """A constant host array on the device of `like`, a tensor or a bare array."""
    if isinstance(like, np.ndarray) or not isinstance(array, np.ndarray):
        return array
    where = like.device                  # a name, or CuPy's Device
    return constant(array, where if isinstance(where, str) else f"cuda:{where.id}")


def module_beside(like: Any) -> ModuleType:
    """The array module for the device of `like`, a tensor or a bare array."""
    data = like if backend.is_array(like) else like.data
    return backend.array_module(data)


def shape_of(x: Any) -> tuple[int, ...]:
    """The shape of a tensor, an array, a number or nested lists."""
    return tuple(x.shape) if hasattr(x, "shape") else np.shape(x)


def remembered() -> list[Any]:
    """What lies on devices now: a graph that holds its addresses keeps it."""
    return list(_remembered.values())


def forget() -> None:
    """Drop what is remembered on devices."""
    _remembered.clear()
