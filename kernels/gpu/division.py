"""Numbers to divide by in a kernel, prepared on the host: see source/division.cuh."""

from __future__ import annotations

import numpy as np

__all__ = ["DIVISOR", "LIMIT", "divisor"]

DIVISOR = np.dtype([(n, "u4") for n in ("by", "magic", "shift")])
LIMIT = 1 << 31                 # what is divided lies below


def divisor(d: int) -> tuple[int, int, int]:
    """d as a struct Divisor: n // d is (n magic / 2^32 + n) / 2^shift, rounded down twice."""
    shift = (d - 1).bit_length()
    return d, ((2 ** shift - d) << 32) // d + 1, shift
