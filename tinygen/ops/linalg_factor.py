"""QR and LU factors, least squares, and the matrix exponential."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..constants import beside
from ..mode import reads
from ..primitive import primitive
from ..tensor import Tensor
from .creation import zeros
from .elementwise import square
from .index import argsort_p, take_along_axis_p
from .linalg import _mT, matmul
from .linalg_eigen import matrix_rank_p, pinv_p, svdvals
from .linalg_solve import _substitute, as_floats, as_square, eye_like, solve_triangular_p
from .reduce import sum_p
from .shape import broadcast_to, concat_p, tril, triu

__all__ = ["householder_product", "lstsq", "lu", "lu_factor", "lu_solve", "matrix_exp", "qr"]


# -- QR -----------------------------------------------------------------------------------------


@primitive(name="qr", outputs=2)
def qr_p(xp, x, *, mode):
    """Q with orthonormal columns and the upper triangle R."""
    q, r = xp.linalg.qr(x, mode)
    return q, r


@qr_p.vjp
def _(g, out, x, mode):
    """(g_Q + Q copyltu(M)) R^-T with M = R g_R^T - g_Q^T Q; columns past m come from Q^T x."""
    (gq, gr), (q, r) = g, out
    m, n = x.shape[-2:]
    if mode == "complete" and m > n:
        raise RuntimeError(f"[qr] no gradient for mode='complete' of {tuple(x.shape)}: the last "
                           f"{m - n} columns of Q are arbitrary; use mode='reduced'")
    if m >= n:
        return _qr_vjp(q, r, gq, gr)
    gq = gq + matmul(x[..., m:], _mT(gr[..., m:]))
    first = _qr_vjp(q, r[..., :m], gq, gr[..., :m])
    return concat_p(first, matmul(q, gr[..., m:]), axis=-1)


def _qr_vjp(q: Any, r: Any, gq: Any, gr: Any) -> Any:
    inner = matmul(r, _mT(gr)) - matmul(_mT(gq), q)
    both = tril(inner) + _mT(tril(inner, -1))
    return _mT(solve_triangular_p(r, _mT(gq + matmul(q, both)), upper=True, unit=False))


class QRResult(NamedTuple):
    """What `qr` returns."""

    Q: Tensor
    R: Tensor


def qr(x: Any, mode: str = "reduced") -> Any:
    """The QR decomposition x = Q R: orthonormal columns times an upper triangle.

    Args:
        x: `(..., m, n)`; k = min(m, n).
        mode: "reduced" gives Q `(..., m, k)`, R `(..., k, n)`; "complete" Q `(..., m, m)`,
            R `(..., m, n)`; "r" only R, of the reduced form (NumPy's form of "r").

    Gradients need linearly independent first k columns (else LinAlgError in backward); there is
    none for "complete" with m > n.

    Source: Walter and Lehmann, "Algorithmic differentiation of linear algebra functions" (2010).
    """
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(f"[qr] mode={mode!r}: 'reduced', 'complete' or 'r'")
    q, r = qr_p(as_floats(x, "qr", least=2), mode="reduced" if mode == "r" else mode)
    return r if mode == "r" else QRResult(q, r)


def householder_product(x: Any, tau: Any) -> Tensor:
    """The first n columns of H_1 H_2 ... H_k with H_i = I - tau_i v_i v_i^T (LAPACK's orgqr).

    x is `(..., m, n)` with m >= n, whose column i holds v_i below the diagonal (v_i has 1 on it
    and 0 above); tau is `(..., k)` with k <= n.
    """
    x, tau = as_floats(x, "householder_product", least=2), as_floats(tau, "householder_product",
                                                                     "tau", 1)
    m, n = x.shape[-2:]
    if m < n or tau.shape[-1] > n:
        raise ValueError(f"[householder_product] x: {tuple(x.shape)}, tau: {tuple(tau.shape)}: "
                         "m >= n >= k is needed")
    identity = eye_like(x, m)
    vectors = tril(x, -1) + identity[:, :n]
    result: Any = broadcast_to(identity[:, :n], x.shape)
    for i in reversed(range(tau.shape[-1])):
        v = vectors[..., i:i + 1]
        result = result - tau[..., i, None, None] * matmul(v, matmul(_mT(v), result))
    return result


# -- LU -----------------------------------------------------------------------------------------


@primitive(name="lu_factor", outputs=3, differentiable=1)
def lu_factor_p(xp, x):
    """L (below the diagonal) and U in one matrix, the order of the rows, and LAPACK's pivots."""
    m, n = x.shape[-2:]
    flat = x.reshape((math.prod(x.shape[:-2]), m, n)).copy()
    order = _lu_in_place(xp, flat)
    pivots = _pivots(xp, order, min(m, n))
    lead = x.shape[:-2]
    return (flat.reshape(x.shape), order.reshape((*lead, m)), pivots.reshape((*lead, min(m, n))))


def _lu_in_place(xp: Any, a: Any) -> Any:
    """LU with row exchanges of a batch `(b, m, n)`: the left half, then the right one."""
    m, n = a.shape[1:]
    if n <= 16 or m <= 16:
        return _lu_by_columns(xp, a)
    h = min(m, n) // 2
    left, right = a[:, :, :h], a[:, :, h:]
    order = _lu_in_place(xp, left)
    right[...] = xp.take_along_axis(right, order[..., None], axis=1)
    unit = xp.tril(left[:, :h], -1) + xp.eye(h, dtype=a.dtype)
    right[:, :h] = _substitute(xp, unit, right[:, :h], False)
    right[:, h:] -= xp.matmul(left[:, h:], right[:, :h])
    below = _lu_in_place(xp, right[:, h:])
    left[:, h:] = xp.take_along_axis(left[:, h:], below[..., None], axis=1)
    order[:, h:] = xp.take_along_axis(order[:, h:], below, axis=1)
    return order


def _lu_by_columns(xp: Any, a: Any) -> Any:
    batch, m, n = a.shape
    order = xp.tile(xp.arange(m), (batch, 1))
    every = xp.arange(batch)
    for j in range(min(m, n)):
        p = xp.abs(a[:, j:, j]).argmax(axis=1) + j
        for rows in (a, order):
            chosen = rows[every, p].copy()
            rows[every, p] = rows[:, j]
            rows[:, j] = chosen
        pivot = a[:, j, j]
        a[:, j + 1:, j] /= xp.where(pivot == 0, a.dtype.type(1), pivot)[:, None]
        a[:, j + 1:, j + 1:] -= a[:, j + 1:, j, None] * a[:, j, None, j + 1:]
    return order


def _pivots(xp: Any, order: Any, k: int) -> Any:
    """The row that was exchanged with row i at step i, counted from 1 as in LAPACK."""
    batch, m = order.shape
    rows, every = xp.tile(xp.arange(m), (batch, 1)), xp.arange(batch)
    pivots = xp.empty((batch, k), np.int32)
    for i in range(k):
        at = (rows == order[:, i, None]).argmax(axis=1)
        pivots[:, i] = at + 1
        rows[every, at] = rows[:, i]
        rows[:, i] = order[:, i]
    return pivots


@lu_factor_p.vjp
def _(g, out, x):
    """P L^-T [tril(L^T g_L, -1) + triu(g_U U^T)] U^-T, and the parts outside the square."""
    gx, packed, order = g[0], out[0], out[1]
    m, n = x.shape[-2:]
    k = min(m, n)
    square_lu, gs = packed[..., :k, :k], gx[..., :k, :k]
    low = tril(square_lu, -1) + eye_like(packed, k)
    gl, gu = matmul(_mT(low), tril(gs, -1)), matmul(triu(gs), _mT(triu(square_lu)))
    if m > k:                                                    # L_2 = x_2 U^-1
        lower, g_lower = packed[..., k:, :], gx[..., k:, :]
        gu = gu - matmul(_mT(lower), g_lower)
    if n > k:                                                    # U_2 = L^-1 x_2
        right, g_right = packed[..., k:], gx[..., k:]
        gl = gl - matmul(g_right, _mT(right))
    inner = solve_triangular_p(_mT(low), tril(gl, -1) + triu(gu), upper=True, unit=True)
    result = _mT(solve_triangular_p(square_lu, _mT(inner), upper=True, unit=False))
    if m > k:
        tail = _mT(solve_triangular_p(square_lu, _mT(g_lower), upper=True, unit=False))
        result = concat_p(result, tail, axis=-2)
    if n > k:
        result = concat_p(result, solve_triangular_p(_mT(low), g_right, upper=True, unit=True),
                          axis=-1)
    return _rows_at(result, _inverse_order(order))


def _inverse_order(order: Any) -> Any:
    return argsort_p(order, axis=-1, descending=False, stable=True)


def _rows_at(x: Any, order: Any) -> Any:
    """The rows of x in an order; batch axes broadcast."""
    lead = np.broadcast_shapes(x.shape[:-2], order.shape[:-1])
    index = broadcast_to(order[..., None], (*lead, order.shape[-1], x.shape[-1]))
    return take_along_axis_p(broadcast_to(x, (*lead, *x.shape[-2:])), index, axis=len(lead))


@primitive(name="pivots_to_order")
def pivots_to_order_p(xp, pivots, *, m):
    """The order of m rows after LAPACK's exchanges (pivots count from 1)."""
    flat = pivots.reshape((-1, pivots.shape[-1])) if pivots.size else pivots.reshape(
        (math.prod(pivots.shape[:-1]), pivots.shape[-1]))
    order, every = xp.tile(xp.arange(m), (flat.shape[0], 1)), xp.arange(flat.shape[0])
    for i in range(flat.shape[1]):
        p = flat[:, i] - 1
        chosen = order[every, p]
        order[every, p] = order[:, i]
        order[:, i] = chosen
    return order.reshape((*pivots.shape[:-1], m))


class LUFactorResult(NamedTuple):
    """What `lu_factor` returns."""

    LU: Tensor
    pivots: Tensor


class LUResult(NamedTuple):
    """What `lu` returns."""

    P: Tensor
    L: Tensor
    U: Tensor


def _pivoting(pivot: bool, op: str) -> None:
    if not pivot:
        raise NotImplementedError(f"[{op}] pivot=False (PyTorch has it on CUDA alone): rows are "
                                  "always exchanged for accuracy")


def lu_factor(x: Any, *, pivot: bool = True) -> LUFactorResult:
    """The packed LU decomposition with row exchanges: what `lu_solve` takes.

    Returns LU `(..., m, n)`, with U on and above the diagonal and L (whose diagonal is 1) below,
    and pivots `(..., min(m, n))`: row i was exchanged with row pivots[i] - 1, as in LAPACK.
    """
    _pivoting(pivot, "lu_factor")
    packed, _, pivots = lu_factor_p(as_floats(x, "lu_factor", least=2))
    return LUFactorResult(packed, pivots)


def lu(x: Any, *, pivot: bool = True) -> LUResult:
    """The LU decomposition with row exchanges: x = P L U.

    P `(..., m, m)` is a permutation, L `(..., m, k)` a lower triangle with ones on its diagonal,
    U `(..., k, n)` an upper triangle, for x `(..., m, n)` and k = min(m, n).
    """
    _pivoting(pivot, "lu")
    x = as_floats(x, "lu", least=2)
    packed, order, _ = lu_factor_p(x)
    k = min(x.shape[-2:])
    rows = beside(np.arange(x.shape[-2]), x)
    permutation = (order[..., None, :] == rows[:, None]).astype(x.dtype)
    low = tril(packed[..., :k], -1) + eye_like(x, x.shape[-2])[:, :k]
    return LUResult(permutation, low, triu(packed[..., :k, :]))


def lu_solve(LU: Any, pivots: Any, B: Any, *, left: bool = True, adjoint: bool = False) -> Tensor:
    """X with A X = B from `lu_factor(A)`; X A = B with `left=False`, A^T for A with `adjoint`.

    LU is `(..., n, n)`, pivots `(..., n)`, B `(..., n, k)` (`(..., k, n)` with `left=False`).
    """
    LU, B = as_square(LU, "lu_solve", "LU"), as_floats(B, "lu_solve", "B", 2)
    if not left:
        return _mT(lu_solve(LU, pivots, _mT(B), adjoint=not adjoint))
    if LU.shape[-1] != B.shape[-2]:
        raise ValueError(f"[lu_solve] LU: {tuple(LU.shape)}, B: {tuple(B.shape)}: B needs "
                         f"{LU.shape[-1]} rows")
    order = pivots_to_order_p(pivots if hasattr(pivots, "shape") else Tensor(pivots),
                              m=LU.shape[-1])
    if adjoint:
        y = solve_triangular_p(_mT(LU), B, upper=False, unit=False)
        y = solve_triangular_p(_mT(LU), y, upper=True, unit=True)
        return _rows_at(y, _inverse_order(order))
    y = solve_triangular_p(LU, _rows_at(B, order), upper=False, unit=True)
    return solve_triangular_p(LU, y, upper=True, unit=False)


# -- least squares ------------------------------------------------------------------------------


class LstsqResult(NamedTuple):
    """What `lstsq` returns."""

    solution: Tensor
    residuals: Tensor
    rank: Tensor
    singular_values: Tensor


def lstsq(a: Any, b: Any, rcond: Any = None, *, driver: str | None = None) -> LstsqResult:
    """The X of least norm that minimises ||a X - b||: X = pinv(a) b.

    Args:
        a: `(..., m, n)`.
        b: `(..., m, k)`, or one vector `(m,)`.
        rcond: singular values up to rcond times the largest count as zero; by default
            max(m, n) * eps.
        driver: LAPACK's names ("gels", "gelsy", "gelsd", "gelss") are accepted: the singular
            value decomposition is always used.

    Returns:
        solution; residuals (sums of squares per column, empty unless m > n and the rank of every
        matrix is n); rank; singular values. The gradient flows through solution and residuals,
        also where the rank is not full.
    """
    if driver not in (None, "gels", "gelsy", "gelsd", "gelss"):
        raise ValueError(f"[lstsq] driver={driver!r}: 'gels', 'gelsy', 'gelsd' or 'gelss'")
    a, b = as_floats(a, "lstsq", "a", 2), as_floats(b, "lstsq", "b", 1)
    vector = b.ndim == 1
    columns = b[:, None] if vector else b
    m, n = a.shape[-2:]
    if columns.shape[-2] != m:
        raise ValueError(f"[lstsq] a: {tuple(a.shape)}, b: {tuple(b.shape)}: b needs {m} rows")
    solution = matmul(pinv_p(a, None, rcond, hermitian=False), columns)
    rank = matrix_rank_p(a, None, rcond, hermitian=False)
    if m > n:
        reads("lstsq", rank)              # whether there are residuals depends on the values
    if m > n and bool((rank.data == n).all()):
        residuals = sum_p(square(columns - matmul(a, solution)), axis=-2)
    else:
        residuals = zeros((0,), dtype=solution.dtype, device=solution.device)
    return LstsqResult(solution[..., 0] if vector else solution, residuals, rank, svdvals(a))


# -- the exponential ----------------------------------------------------------------------------

# Coefficients of the Pade approximant of degree 13, accurate to double precision for norms up to
# THETA (Higham, "The scaling and squaring method for the matrix exponential revisited", 2005).
_PADE = (64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800,
         129060195264000, 10559470521600, 670442572800, 33522128640, 1323241920, 40840800,
         960960, 16380, 182, 1)
_THETA = 5.371920351148152


@primitive(name="matrix_exp")
def matrix_exp_p(xp, x):
    """exp(x) by a Pade approximant of x / 2^s, squared s times."""
    n = x.shape[-1]
    if not x.size:
        return x.copy()
    norm = xp.abs(x).sum(axis=-2).max(axis=-1)
    finite = xp.where(xp.isfinite(norm) & (norm > _THETA), norm, _THETA)
    times = xp.ceil(xp.log2(finite / _THETA)).astype(int)
    a = x * xp.asarray(0.5 ** times)[..., None, None].astype(x.dtype)
    c = [v / _PADE[0] for v in _PADE]      # scaled, so that float32 does not overflow
    one = xp.eye(n, dtype=x.dtype)
    a2 = xp.matmul(a, a)
    a4 = xp.matmul(a2, a2)
    a6 = xp.matmul(a4, a2)
    odd = xp.matmul(a6, c[13] * a6 + c[11] * a4 + c[9] * a2) + (
        c[7] * a6 + c[5] * a4 + c[3] * a2 + c[1] * one)
    odd = xp.matmul(a, odd)
    even = xp.matmul(a6, c[12] * a6 + c[10] * a4 + c[8] * a2) + (
        c[6] * a6 + c[4] * a4 + c[2] * a2 + c[0] * one)
    result = xp.linalg.solve(even - odd, even + odd)
    for i in range(int(times.max())):
        again = xp.asarray(times > i)[..., None, None]
        result = xp.where(again, xp.matmul(result, result), result)
    return result


@matrix_exp_p.vjp
def _(g, out, x):
    """The upper right block of exp([[x^T, g], [0, x^T]]) (Najfeld and Havel, 1995)."""
    n = x.shape[-1]
    t = _mT(x)
    top = concat_p(t, g, axis=-1)
    bottom = concat_p(t * 0, t, axis=-1)
    return matrix_exp_p(concat_p(top, bottom, axis=-2))[..., :n, n:]


def matrix_exp(x: Any) -> Tensor:
    """The exponential of square matrices: sum over k of x^k / k!.

    >>> import tinygen as tg
    >>> tg.linalg.matrix_exp(tg.zeros((2, 2)))
    Tensor([[1., 0.],
            [0., 1.]], dtype=float32)
    """
    return matrix_exp_p(as_square(x, "matrix_exp"))
