"""Attention: the addresses of its compiled functions, and the loop that runs them."""

from __future__ import annotations

import numpy as np

from .attention_backward import backward
from .attention_forward import few, forward
from .attention_parts import columns_product, rows_product, turn, turn_bytes
from .launch import entry, launch

__all__ = ["codes", "launch"]

_found: dict[str, tuple[int, ...]] = {}


def codes(kind):
    """Addresses by type of numbers: forward, backward, few queries, and the four that they call."""
    name = np.dtype(kind).name
    if name not in _found:
        called = ((forward, 1), (backward, 1), (few, 1), (rows_product, 9),
                  (columns_product, 8), (turn, 7), (turn_bytes, 7))
        _found[name] = tuple(entry(function, kind, n) for function, n in called)
    return _found[name]
