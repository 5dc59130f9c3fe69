"""What the light files share: compiled functions on first use, and common tests of arguments."""

from __future__ import annotations

import ctypes
from importlib import import_module
from typing import Any

import numpy as np

from tinygen.primitive import Unavailable
from tinygen.threads import count

__all__ = ["F32", "F64", "NOT_FLOAT", "Native", "address_of", "threads_for"]

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
NOT_FLOAT = "neither float32 nor float64"


class Native:
    """The functions of a file in `native/`, which is imported when the first of them is used.

    Raises:
        Unavailable: Numba is installed and does not work here; NumPy's code stays in charge.
    """

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            module = import_module(f"{__package__}.native.{self._name}")
        except (ImportError, OSError, AttributeError) as error:
            if getattr(error, "name", "") == f"{__package__}.native.{self._name}":
                raise
            raise Unavailable(f"Numba does not work here: {error}") from error
        function = getattr(module, name)
        setattr(self, name, function)       # the next use finds it without this method
        return function


_word_at, _HEADER = ctypes.c_size_t.from_address, object.__basicsize__


def address_of(array: np.ndarray) -> int:
    """Where its first element is.

    NumPy keeps it right behind the header that every Python object has. Reading it there takes
    0.3 us; `__array_interface__` and `array.ctypes.data` say the same in 1.2 to 1.8.
    """
    return _word_at(id(array) + _HEADER).value


_probe = np.zeros(1)
if address_of(_probe) != _probe.ctypes.data:    # another Python, or another NumPy
    def address_of(array: np.ndarray) -> int:
        return array.ctypes.data


def threads_for(work: int, grain: int) -> int:
    """How many threads `work` elements are worth, where `grain` of them pay for one more."""
    n = count.value
    return 1 if n == 1 or work < 2 * grain else min(n, work // grain)
