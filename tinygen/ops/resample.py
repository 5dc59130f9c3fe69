"""A matrix applied along one axis: what resizing images and adaptive means have in common."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..constants import beside
from ..primitive import primitive
from ..tensor import Tensor

__all__: list[str] = []

ROWS = 32   # a banded matrix is cut into blocks of so many rows, and their zero columns left out


@primitive(name="resample")
def resample_p(xp, x, matrix, *, axis):
    """y[..., i, ...] = sum over j of matrix[i, j] * x[..., j, ...], in x's memory order."""
    order = sorted(range(x.ndim), key=lambda a: -abs(x.strides[a]) if x.shape[a] > 1 else 0)
    at = order.index(axis)
    lying = x.transpose(order)                                    # as it lies in memory
    lead, trail = lying.shape[:at], lying.shape[at + 1:]
    stack = lying.reshape(math.prod(lead), x.shape[axis], math.prod(trail))
    if stack.shape[2] == 1:
        y = stack[:, :, 0] @ matrix.T
    else:
        y = xp.empty((len(stack), len(matrix), stack.shape[2]), x.dtype)
        for rows, columns in _blocks(xp, matrix):
            xp.matmul(matrix[rows, columns], stack[:, columns], out=y[:, rows])
    back = sorted(range(x.ndim), key=order.__getitem__)
    return y.reshape(*lead, len(matrix), *trail).transpose(back)
resample_p.vjp(lambda g, out, x, matrix, axis: resample_p(g, matrix.T, axis=axis))


def _blocks(xp: Any, matrix: Any) -> list[tuple[slice, slice]]:
    m, n = matrix.shape
    if xp is not np or n <= ROWS:
        return [(slice(0, m), slice(0, n))]
    blocks = []
    for start in range(0, m, ROWS):
        used = np.flatnonzero(matrix[start:start + ROWS].any(axis=0))
        columns = slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 1)
        blocks.append((slice(start, start + ROWS), columns))
    return blocks


def resample(x: Any, matrix: np.ndarray, axis: int) -> Tensor:
    """`x` with its axis replaced by the products with the rows of a float64 `matrix` (m, n)."""
    array = x.data if isinstance(x, Tensor) else x
    kind = array.dtype if array.dtype.kind in "fV" else np.dtype("float32")
    return resample_p(x, beside(np.asarray(matrix, kind), array), axis=axis)
