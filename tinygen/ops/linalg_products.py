"""Products and constructions: powers, chains, Kronecker and cross products, covariances."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..constants import beside
from ..primitive import RAW, local
from ..tensor import Tensor
from .elementwise import clip_p, multiply, positive, power, sqrt
from .linalg import _mT, matmul, tensordot
from .linalg_solve import eye_like, inv, solve
from .reduce import sum_p
from .shape import (
    astype,
    broadcast_to,
    concat,
    expand_dims,
    moveaxis,
    normalize_axis,
    permute_p,
    reshape,
)

# matrix_power, multi_dot, tensorinv and tensorsolve are found in tinygen.linalg.
__all__ = ["block_diag", "corrcoef", "cov", "cross", "inner", "kron", "vander", "vdot", "vecdot"]


def _lift(x: Any) -> Any:
    if not hasattr(x, "shape"):
        return Tensor(x)
    return x if isinstance(x, Tensor) or local.mode & RAW else Tensor.wrap(np.asarray(x))


# -- products of vectors ------------------------------------------------------------------------


def vecdot(a: Any, b: Any, axis: int = -1) -> Tensor:
    """The sum of products along `axis`; the other axes broadcast."""
    a, b = _lift(a), _lift(b)
    for name, x in (("a", a), ("b", b)):
        if not x.ndim:
            raise ValueError(f"[vecdot] {name} is a number: at least one axis is needed")
    n, m = a.shape[normalize_axis(axis, a.ndim, "vecdot")], b.shape[
        normalize_axis(axis, b.ndim, "vecdot")]
    if n != m:
        raise ValueError(f"[vecdot] a: {tuple(a.shape)}, b: {tuple(b.shape)}: axis {axis} has "
                         f"{n} and {m} elements")
    a, b = moveaxis(a, axis, -1), moveaxis(b, axis, -1)
    return sum_p(multiply(a, b), axis=-1, keepdims=False)


def vdot(a: Any, b: Any) -> Tensor:
    """The sum of products of all elements, in order."""
    return matmul(reshape(_lift(a), (-1,)), reshape(_lift(b), (-1,)))


def inner(a: Any, b: Any) -> Tensor:
    """The sum of products over the last axes of both; for numbers, the product."""
    a, b = _lift(a), _lift(b)
    if not a.ndim or not b.ndim:
        return multiply(a, b)
    return tensordot(a, b, axes=((a.ndim - 1,), (b.ndim - 1,)))


def cross(a: Any, b: Any, axis: int = -1) -> Tensor:
    """The cross product of vectors of three elements along `axis`; other axes broadcast."""
    a, b = _lift(a), _lift(b)
    for name, x in (("a", a), ("b", b)):
        if not x.ndim or x.shape[normalize_axis(axis, x.ndim, "cross")] != 3:
            raise ValueError(f"[cross] {name} has shape {tuple(x.shape)}: axis {axis} must have 3 "
                             "elements")
    a, b = moveaxis(a, axis, -1), moveaxis(b, axis, -1)
    before, after = [2, 0, 1], [1, 2, 0]
    made = a[..., after] * b[..., before] - a[..., before] * b[..., after]
    return moveaxis(made, -1, axis)


def kron(a: Any, b: Any) -> Tensor:
    """The Kronecker product: each element of a times all of b, along every axis."""
    a, b = _lift(a), _lift(b)
    ndim = max(a.ndim, b.ndim)
    sa, sb = (1,) * (ndim - a.ndim) + a.shape, (1,) * (ndim - b.ndim) + b.shape
    left = reshape(a, tuple(n for k in sa for n in (k, 1)))
    right = reshape(b, tuple(n for k in sb for n in (1, k)))
    return reshape(multiply(left, right), tuple(m * n for m, n in zip(sa, sb, strict=True)))


# -- products of matrices -----------------------------------------------------------------------


def matrix_power(x: Any, n: int) -> Tensor:
    """x @ x @ ... @ x, n times, by squaring; the inverse's power for negative n."""
    n = operator.index(n)
    x = _lift(x)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError(f"[matrix_power] x has shape {tuple(x.shape)}: square matrices are "
                         "needed")
    if n == 0:
        return broadcast_to(eye_like(x, x.shape[-1]), x.shape) + x * 0
    if n == 1:
        return positive(x)
    if n < 0:
        x, n = inv(x), -n
    result: Any = None
    while n:
        if n & 1:
            result = x if result is None else matmul(result, x)
        n >>= 1
        if n:
            x = matmul(x, x)
    return result


def multi_dot(xs: Sequence[Any]) -> Tensor:
    """The product of two or more matrices, in the order that needs the fewest multiplications.

    The first and the last may be vectors.

    >>> import tinygen as tg
    >>> tg.linalg.multi_dot([tg.ones((2, 9)), tg.ones((9, 1)), tg.ones((1, 3))]).shape
    (2, 3)
    """
    xs = [_lift(x) for x in xs]
    if len(xs) < 2:
        raise ValueError(f"[multi_dot] {len(xs)} given; at least two are needed")
    for i, x in enumerate(xs):
        if x.ndim != 2 and not (x.ndim == 1 and i in (0, len(xs) - 1)):
            raise ValueError(f"[multi_dot] xs[{i}] has shape {tuple(x.shape)}: matrices are needed "
                             "(the first and the last may be vectors)")
    first, last = xs[0].ndim == 1, xs[-1].ndim == 1
    if first:
        xs[0] = expand_dims(xs[0], 0)
    if last:
        xs[-1] = expand_dims(xs[-1], 1)
    for i in range(len(xs) - 1):
        if xs[i].shape[1] != xs[i + 1].shape[0]:
            raise ValueError(f"[multi_dot] xs[{i}] {xs[i].shape} and xs[{i + 1}] "
                             f"{xs[i + 1].shape}: inner sizes differ")
    out = _chain(xs, _best_cuts([x.shape[0] for x in xs] + [xs[-1].shape[1]]), 0, len(xs) - 1)
    rows, cols = out.shape
    return reshape(out, (() if first else (rows,)) + (() if last else (cols,)))


def _best_cuts(sizes: list[int]) -> dict[tuple[int, int], int]:
    """Where to cut each part of the chain (Cormen et al., matrix-chain multiplication)."""
    n = len(sizes) - 1
    cost = {(i, i): 0 for i in range(n)}
    cut = {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            best = min((cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                       for k in range(i, j))
            cost[i, j], cut[i, j] = best
    return cut


def _chain(xs: list[Any], cut: dict[tuple[int, int], int], i: int, j: int) -> Any:
    if i == j:
        return xs[i]
    k = cut[i, j]
    return matmul(_chain(xs, cut, i, k), _chain(xs, cut, k + 1, j))


def tensorinv(a: Any, ind: int = 2) -> Tensor:
    """The inverse of `a` as a map from its axes from `ind` on to the axes before."""
    a = _lift(a)
    if ind <= 0:
        raise ValueError(f"[tensorinv] ind={ind}: a positive number of axes is needed")
    rows, cols = a.shape[:ind], a.shape[ind:]
    if math.prod(rows) != math.prod(cols):
        raise ValueError(f"[tensorinv] a: {tuple(a.shape)}, ind={ind}: {rows} and {cols} must hold "
                         "equally many elements")
    n = math.prod(rows)
    return reshape(inv(reshape(a, (n, n))), cols + rows)


def tensorsolve(a: Any, b: Any, axes: Sequence[int] | None = None) -> Tensor:
    """X with tensordot(a, X, X.ndim) = b; `axes` of a are moved to its end first."""
    a, b = _lift(a), _lift(b)
    if axes is not None:
        chosen = [normalize_axis(i, a.ndim, "tensorsolve") for i in axes]
        a = permute_p(a, axes=tuple(i for i in range(a.ndim) if i not in chosen) + tuple(chosen))
    shape = a.shape[b.ndim:]
    if math.prod(shape) != b.size or math.prod(a.shape[:b.ndim]) != b.size:
        raise ValueError(f"[tensorsolve] a: {tuple(a.shape)}, b: {tuple(b.shape)}: the first "
                         f"{b.ndim} axes of a and the rest must each hold {b.size} elements")
    n = b.size
    return reshape(solve(reshape(a, (n, n)), reshape(b, (n,))), shape)


# -- constructions ------------------------------------------------------------------------------


def vander(x: Any, N: int | None = None, increasing: bool = False) -> Tensor:
    """Rows of powers: x^(N-1), ..., x, 1, or `increasing` from 1 on; `(..., n)` -> `(..., n, N)`.

    N is n by default. NumPy's `vander` decreases by default, PyTorch's `linalg.vander` increases.
    """
    x = _lift(x)
    x = x if x.ndim else reshape(x, (1,))
    n = x.shape[-1] if N is None else operator.index(N)
    if n < 0:
        raise ValueError(f"[vander] N={N}: not negative")
    powers = np.arange(n) if increasing else np.arange(n)[::-1]
    return power(expand_dims(x, -1), beside(powers.astype(x.dtype), x))


def block_diag(*xs: Any) -> Tensor:
    """Matrices along the diagonal of one matrix, zeros elsewhere; vectors count as one row."""
    blocks = [_lift(x) for x in xs] or [Tensor(np.zeros((1, 0), np.float32))]
    for i, x in enumerate(blocks):
        if x.ndim > 2:
            raise ValueError(f"[block_diag] xs[{i}] has shape {tuple(x.shape)}: at most two axes")
    blocks = [reshape(x, (1,) * (2 - x.ndim) + tuple(x.shape)) for x in blocks]
    kind = np.result_type(*[x.dtype for x in blocks])
    width = sum(x.shape[1] for x in blocks)
    rows, before = [], 0
    for x in blocks:
        m, n = x.shape
        parts = [beside(np.zeros((m, before), kind), x), x if x.dtype == kind else astype(x, kind),
                 beside(np.zeros((m, width - before - n), kind), x)]
        rows.append(concat(parts, axis=1))
        before += n
    return concat(rows, axis=0)


# -- covariance ---------------------------------------------------------------------------------


def cov(x: Any, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: float | None = None,
        fweights: Any = None, aweights: Any = None, *, correction: float | None = None) -> Tensor:
    """The covariance matrix of variables (rows) over observations (columns).

    sum_k w_k (x_ik - mean_i)(x_jk - mean_j) / (sum w - correction sum(w a) / sum w).

    Args:
        y: further variables, stacked under x.
        rowvar: variables are rows; False: columns.
        ddof, correction: subtracted from the number of observations, 1 by default (0 with
            `bias`); PyTorch's name is `correction`.
        fweights, aweights: how often each observation counts (integers), and how much.
    """
    x = _variables(x, rowvar)
    if y is not None:
        x = concat([x, _variables(y, rowvar)], axis=0)
    if ddof is None:
        ddof = correction if correction is not None else (0 if bias else 1)
    counts, importance = (_weights(x, name, w) for name, w in (("fweights", fweights),
                                                               ("aweights", aweights)))
    if counts is None and importance is None:
        total: Any = x.shape[1]
        norm = total - ddof
        centred = x - sum_p(x, axis=1, keepdims=True) / total
        scaled = centred
    else:
        weights = (counts if importance is None else importance if counts is None
                   else astype(counts, importance.dtype) * importance)
        total = sum_p(weights)
        centred = x - sum_p(x * weights, axis=1, keepdims=True) / total
        scaled = centred * weights
        norm = total - (ddof if importance is None else
                        ddof * sum_p(weights * importance) / total)
    made = matmul(scaled, _mT(centred)) / norm
    return reshape(made, ()) if made.shape == (1, 1) else made


def _variables(x: Any, rowvar: bool) -> Any:
    x = _lift(x)
    if x.ndim > 2:
        raise ValueError(f"[cov] shape {tuple(x.shape)}: at most two axes")
    x = x if x.dtype.kind in "fV" else astype(x, np.float32)
    if x.ndim < 2:
        return reshape(x, (1, -1))
    return x if rowvar or x.shape[0] == 1 else _mT(x)


def _weights(x: Any, name: str, given: Any) -> Any:
    if given is None:
        return None
    w = _lift(given)
    if tuple(w.shape) != (x.shape[1],):
        raise ValueError(f"[cov] {name} has shape {tuple(w.shape)}: one number for each of the "
                         f"{x.shape[1]} observations is needed")
    if name == "fweights" and w.dtype.kind not in "iu":
        raise TypeError(f"[cov] fweights are {w.dtype}: integers are needed")
    return w if w.dtype.kind in "fV" else astype(w, x.dtype)


def corrcoef(x: Any, y: Any = None, rowvar: bool = True) -> Tensor:
    """Pearson's correlation coefficients of variables (rows), limited to [-1, 1]."""
    c = cov(x, y, rowvar)
    if not c.ndim:
        return c / c
    n = np.arange(c.shape[0])
    deviation = sqrt(c[n, n])
    made = c / deviation[:, None] / deviation[None, :]
    return clip_p(made, low=-1, high=1)

