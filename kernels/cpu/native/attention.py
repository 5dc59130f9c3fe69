"""Attention: the addresses of its compiled functions, and the loop that runs them."""

from __future__ import annotations

import numpy as np

from .attention_backward import backward
from .attention_forward import few, forward
from .attention_parts import columns_product, rows_product, turn, turn_bytes
from .base import jit
from .launch import call, entry
from .pool import fork

__all__ = ["codes", "launch"]

_found: dict[str, tuple[int, ...]] = {}


def codes(kind):
    """Addresses by type of numbers: forward, backward, few queries, and the four that they call."""
    name = np.dtype(kind).name
    if name not in _found:
        called = ((forward, 3), (backward, 3), (few, 3), (rows_product, 12),
                  (columns_product, 11), (turn, 7), (turn_bytes, 7))
        _found[name] = tuple(entry(function, kind, n) for function, n in called)
    return _found[name]


@jit
def _part(code, p, failed, part, parts):
    failed[part] = call(code, (p, part, parts))


@jit
def launch(code, p, parts):
    """Run the function at address `code` with the arguments p, part and parts for each part.

    Returns:
        0, or something else where one of them ran out of memory.
    """
    failed = np.zeros(parts, np.int64)
    fork(_part, (code, p, failed), parts)
    return failed.sum()
