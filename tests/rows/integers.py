"""Bits and divisors of integers."""

from __future__ import annotations

import numpy as np

from tests.drawing import Case, Sample, shapes, whole
from tests.families import binary


def integers(shape):
    return whole(shape, -20, 21, np.int64)


def places(shape):
    return whole(shape, 0, 9, np.int64)


CASES = [
    *(binary(name, getattr(np, name), x=integers, y=integers, inputs=())
      for name in ("bitwise_and", "bitwise_or", "bitwise_xor", "gcd", "lcm")),
    binary("bitwise_left_shift", np.left_shift, x=integers, y=places, inputs=()),
    binary("bitwise_right_shift", np.right_shift, x=integers, y=places, inputs=()),
    Case("bitwise_invert", lambda draw: Sample((integers(draw(shapes())),)), np.invert,
         inputs=()),
]
