"""Norms of vectors and matrices, and the condition number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..constants import beside
from ..primitive import primitive
from ..tensor import Tensor
from .elementwise import absolute, divide, equal, multiply, power, sign, where
from .linalg_eigen import svdvals
from .linalg_solve import as_floats, as_square, det, inv
from .reduce import max as amax
from .reduce import min as amin
from .reduce import sum_p
from .shape import astype, moveaxis, normalize_axis, reshape, restore_axes

__all__ = ["cond", "matrix_norm", "norm", "vector_norm"]

Axis = int | Sequence[int] | None


@primitive(name="vector_norm")
def vector_norm_p(xp, x, *, ord, axis, keepdims):
    """(sum |x|^ord)^(1/ord); the number of elements that are not zero for ord = 0."""
    if ord == 2:
        return xp.sqrt(xp.square(x).sum(axis=axis, keepdims=keepdims))
    if ord == 0:
        return (x != 0).sum(axis=axis, keepdims=keepdims).astype(x.dtype)
    size = xp.abs(x)
    if ord == 1:
        return size.sum(axis=axis, keepdims=keepdims)
    if ord < 0:     # a zero makes the norm 0, without NumPy's warning
        zero = size == 0
        total = (xp.where(zero, 1, size) ** ord).sum(axis=axis, keepdims=keepdims)
        return xp.where(zero.any(axis=axis, keepdims=keepdims), 0, total ** (1 / ord)).astype(
            x.dtype)
    return (size ** ord).sum(axis=axis, keepdims=keepdims) ** (1 / ord)


@vector_norm_p.vjp
def _(g, out, x, ord, axis, keepdims):
    """g sign(x) (|x| / norm)^(ord - 1); 0 where the norm is 0, or |x| is 0 and ord below 1."""
    g, out = restore_axes(g, x.ndim, axis), restore_axes(out, x.ndim, axis)
    if ord == 0:
        return multiply(g, x * 0)
    if ord == 1:
        return g * sign(x)
    zero = equal(out, 0)
    ratio = divide(x, where(zero, 1, out))
    if ord == 2:
        return where(zero, 0, g) * ratio
    flat = equal(ratio, 0)
    size = absolute(where(flat, 1, ratio))
    return where(zero, 0, g) * where(flat, 0, sign(ratio) * power(size, ord - 1))


def vector_norm(x: Any, ord: float = 2, axis: Axis = None, keepdims: bool = False,
                dtype: Any = None) -> Tensor:
    """The p-norm over `axis` (all axes by default): (sum |x|^p)^(1/p) with p = `ord`.

    Args:
        ord: any number. inf and -inf give the largest and the smallest |x|, 0 the number of
            elements that are not zero (its gradient is 0).

    At a zero norm the gradient is 0, PyTorch's subgradient; equal largest elements share that of
    inf.

    >>> import tinygen as tg
    >>> tg.linalg.vector_norm(tg.Tensor([3.0, 4.0]))
    Tensor(5., dtype=float32)
    """
    x = as_floats(x, "vector_norm")
    x = x if dtype is None else astype(x, dtype)
    axes = _axes(axis, x.ndim, "vector_norm")
    if isinstance(ord, str):
        raise ValueError(f"[vector_norm] ord={ord!r}: a number is needed; names are for matrices")
    if math.isinf(ord):
        return (amax if ord > 0 else amin)(absolute(x), axis=axes, keepdims=keepdims)
    return vector_norm_p(x, ord=float(ord), axis=axes, keepdims=bool(keepdims))


def _axes(axis: Axis, ndim: int, op: str) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    axes = axis if hasattr(axis, "__iter__") else (axis,)
    return tuple(normalize_axis(a, ndim, op) for a in axes)


_MATRIX_ORDERS = "'fro', 'nuc', inf, -inf, 1, -1, 2 or -2"


def matrix_norm(x: Any, ord: float | str = "fro", axis: Sequence[int] = (-2, -1),
                keepdims: bool = False, dtype: Any = None) -> Tensor:
    """The norm of the matrices in the two axes `axis`.

    Args:
        ord: "fro" sqrt(sum x^2), "nuc" the sum of singular values, 2 and -2 the largest and
            smallest one, 1 and -1 the largest and smallest sum of |x| of a column, inf and -inf
            of a row.
    """
    x = as_floats(x, "matrix_norm", least=2 if ord in ("nuc", 2, -2) else 0)
    x = x if dtype is None else astype(x, dtype)
    axes = _axes(axis, x.ndim, "matrix_norm")
    if len(axes) != 2 or axes[0] == axes[1]:
        raise ValueError(f"[matrix_norm] axis={axis!r}: two different axes are needed")
    if ord == "fro":
        return vector_norm_p(x, ord=2.0, axis=axes, keepdims=bool(keepdims))
    if ord in (1, -1, math.inf, -math.inf):
        rows, cols = axes if abs(ord) == 1 else axes[::-1]
        sums = sum_p(absolute(x), axis=rows, keepdims=True)
        found = (amax if ord > 0 else amin)(sums, axis=cols, keepdims=True)
    elif ord in ("nuc", 2, -2):
        values = svdvals(moveaxis(moveaxis(x, axes[0], -1), axes[1] - (axes[1] > axes[0]), -1))
        if ord == "nuc":
            found = sum_p(values, axis=-1)
        else:
            found = (amax if ord == 2 else amin)(values, axis=-1)
    else:
        raise ValueError(f"[matrix_norm] ord={ord!r}: {_MATRIX_ORDERS}")
    ones = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    return reshape(found, ones if keepdims else tuple(
        n for i, n in enumerate(x.shape) if i not in axes))


def norm(x: Any, ord: float | str | None = None, axis: Axis = None, keepdims: bool = False,
         dtype: Any = None) -> Tensor:
    """The norm of vectors or matrices, by NumPy's and PyTorch's rules.

    * `ord=None`: the 2-norm of all elements (over `axis`, if given).
    * one axis, or `axis=None` and a vector: `vector_norm`.
    * two axes, or `axis=None` and a matrix: `matrix_norm`.
    """
    x = as_floats(x, "norm")
    if ord is None:
        return vector_norm(x, 2, axis, keepdims, dtype)
    if axis is None:
        if x.ndim not in (1, 2):
            raise ValueError(f"[norm] x has shape {tuple(x.shape)}: with ord={ord!r} and no axis, "
                             "a vector or a matrix is needed")
        axis = tuple(range(x.ndim))
    axes = _axes(axis, x.ndim, "norm")
    if len(axes) == 1:
        return vector_norm(x, ord, axes, keepdims, dtype)  # type: ignore[arg-type]
    if len(axes) != 2:
        raise ValueError(f"[norm] axis={axis!r}: one axis or two are needed with ord={ord!r}")
    return matrix_norm(x, ord, axes, keepdims, dtype)


def cond(x: Any, p: float | str | None = None) -> Tensor:
    """The condition number ||x|| ||x^-1|| in the norm `p`; inf for singular matrices.

    None and 2 give the ratio of the largest singular value to the smallest, -2 its inverse (any
    `(..., m, n)`); 'fro', 'nuc', inf, -inf, 1 and -1 need square matrices.
    """
    if p is None or p in (2, -2):
        s = svdvals(as_floats(x, "cond", least=2))
        return s[..., 0] / s[..., -1] if p != -2 else s[..., -1] / s[..., 0]
    x = as_square(x, "cond")
    try:
        return matrix_norm(x, p) * matrix_norm(inv(x), p)
    except np.linalg.LinAlgError:
        singular = equal(det(x), 0)   # those that `inv` refused
        safe = where(singular[..., None, None], beside(np.eye(x.shape[-1], dtype=x.dtype), x), x)
        return where(singular, math.inf, matrix_norm(x, p) * matrix_norm(inv(safe), p))
