"""Spectra: eigenvalues of symmetric matrices, singular values, and what is made of them.

The rules divide by differences of eigenvalues (or of squared singular values). Where two of them
are equal, their vectors may be turned into each other at will and have no derivative: such pairs
contribute nothing here (PyTorch returns NaN). Functions that do not depend on the choice of the
vectors, and all functions of the values alone, have the right gradients.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..primitive import primitive
from ..tensor import Tensor
from .elementwise import divide, equal, where
from .linalg import _mT, matmul
from .linalg_solve import as_floats, as_square, eye_like, mirror, symmetric_part

__all__ = ["eigh", "eigvalsh", "matrix_rank", "pinv", "svd", "svdvals"]


def _inverse_or_zero(x: Any) -> Any:
    """1 / x, and 0 where x is 0."""
    zero = equal(x, 0)
    return where(zero, 0, divide(1, where(zero, 1, x)))


def _inverse_gaps(values: Any) -> Any:
    """F_ij = 1 / (values_j - values_i), and 0 where they are equal."""
    return _inverse_or_zero(values[..., None, :] - values[..., :, None])


def _unused(g: Any) -> bool:
    """True for a bare gradient of zeros: nothing used the vectors, and their part is left out.

    Half the time of eigvalsh and svdvals with their gradients. Tensors are not looked into: a
    tape could meet other values later. Neither are arrays of a GPU: that would wait for it.
    """
    return isinstance(g, np.ndarray) and not g.any()


# -- symmetric matrices -------------------------------------------------------------------------


@primitive(name="eigh", outputs=2)
def eigh_p(xp, x, *, uplo):
    """Eigenvalues in ascending order, and eigenvectors as columns; `uplo` as in `cholesky`."""
    w, v = xp.linalg.eigh(x, uplo) if uplo else xp.linalg.eigh(mirror(xp, x, None))
    return w, v


@eigh_p.vjp
def _(g, out, x, uplo):
    """V (diag(g_w) + F * (V^T g_v)) V^T, made symmetric."""
    (gw, gv), (w, v) = g, out
    if _unused(gv):
        return matmul(v * gw[..., None, :], _mT(v))
    inner = matmul(_mT(v), gv) * _inverse_gaps(w) + gw[..., None] * eye_like(w, w.shape[-1])
    return symmetric_part(matmul(matmul(v, inner), _mT(v)))


class EighResult(NamedTuple):
    """What `eigh` returns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


def _uplo(uplo: str, op: str) -> str:
    if uplo not in ("L", "U", "l", "u"):
        raise ValueError(f"[{op}] UPLO={uplo!r}: 'L' (the lower triangle is read) or 'U'")
    return uplo.upper()


def eigh(x: Any, UPLO: str = "L") -> EighResult:
    """Eigenvalues and eigenvectors of symmetric matrices: x = V diag(w) V^T.

    Args:
        x: `(..., n, n)`; only the triangle named by `UPLO` is read. The gradient is symmetric.

    Returns:
        eigenvalues w `(..., n)` in ascending order; eigenvectors, the columns of V `(..., n, n)`.
        Each vector's sign is arbitrary, and so is any gradient that depends on it. Equal
        eigenvalues contribute nothing to the gradient through their vectors.

    Source: Giles, "Collected matrix derivative results for forward and reverse mode algorithmic
    differentiation" (2008), section 3.1.

    >>> import tinygen as tg
    >>> tg.linalg.eigh(tg.Tensor([[2.0, 0.0], [0.0, 1.0]])).eigenvalues
    Tensor([1., 2.], dtype=float32)
    """
    w, v = eigh_p(as_square(x, "eigh"), uplo=_uplo(UPLO, "eigh"))
    return EighResult(w, v)


def eigvalsh(x: Any, UPLO: str = "L") -> Tensor:
    """The eigenvalues of symmetric matrices in ascending order: `(..., n, n)` -> `(..., n)`.

    The gradient is right for repeated eigenvalues too (one of the subgradients).
    """
    return eigh_p(as_square(x, "eigvalsh"), uplo=_uplo(UPLO, "eigvalsh"))[0]


# -- singular values ----------------------------------------------------------------------------


@primitive(name="svd", outputs=3)
def svd_p(xp, x, *, full):
    """U, the singular values in descending order, and V^T."""
    u, s, vh = xp.linalg.svd(x, full_matrices=full)
    return u, s, vh


@svd_p.vjp
def _(g, out, x, full):
    """Giles (2008), section 3.2, with the parts of U and V outside the row and column space."""
    (gu, gs, gvh), (u, s, vh) = g, out
    m, n, k = x.shape[-2], x.shape[-1], s.shape[-1]
    if full:              # the columns past k span what is left, in any way: no gradient
        u, gu, vh, gvh = u[..., :k], gu[..., :k], vh[..., :k, :], gvh[..., :k, :]
    if _unused(gu) and _unused(gvh):
        return matmul(u * gs[..., None, :], vh)
    gaps = _inverse_gaps(s * s)
    turn_u, turn_v = matmul(_mT(u), gu), matmul(vh, _mT(gvh))
    inner = ((turn_u - _mT(turn_u)) * gaps * s[..., None, :]
             + (turn_v - _mT(turn_v)) * gaps * s[..., :, None]
             + gs[..., None] * eye_like(s, k))
    result = matmul(matmul(u, inner), vh)
    if m > k:
        outside = (gu - matmul(u, turn_u)) * _inverse_or_zero(s)[..., None, :]
        result = result + matmul(outside, vh)
    if n > k:
        outside = (gvh - matmul(_mT(turn_v), vh)) * _inverse_or_zero(s)[..., :, None]
        result = result + matmul(u, outside)
    return result


class SVDResult(NamedTuple):
    """What `svd` returns."""

    U: Tensor
    S: Tensor
    Vh: Tensor


def svd(x: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """The singular value decomposition: x = U diag(S) Vh.

    Args:
        x: `(..., m, n)`; k = min(m, n).
        full_matrices: U `(..., m, m)` and Vh `(..., n, n)`, or else the first k columns of U and
            rows of Vh alone. Gradients flow through those k only.
        compute_uv: False gives the singular values alone, as `svdvals` does.

    Returns:
        U, S `(..., k)` in descending order, Vh. A pair of singular vectors may change its sign;
        gradients that depend on it are arbitrary. Equal or zero singular values contribute
        nothing to the gradient through their vectors.

    >>> import tinygen as tg
    >>> tg.linalg.svd(tg.Tensor([[0.0, 2.0], [1.0, 0.0]])).S
    Tensor([2., 1.], dtype=float32)
    """
    if not compute_uv:
        return svdvals(x)
    return SVDResult(*svd_p(as_floats(x, "svd", least=2), full=bool(full_matrices)))


def svdvals(x: Any) -> Tensor:
    """The singular values in descending order: `(..., m, n)` -> `(..., min(m, n))`.

    The gradient is right for repeated singular values, and a subgradient (0 for its part) at 0.
    """
    return svd_p(as_floats(x, "svdvals", least=2), full=False)[1]


# -- rank and pseudo-inverse --------------------------------------------------------------------


def _cutoff(xp: Any, s: Any, shape: tuple[int, ...], atol: Any, rtol: Any) -> Any:
    """The size below which a singular value counts as zero: max(atol, rtol * largest)."""
    if rtol is None:
        rtol = 0.0 if atol is not None and xp.any(xp.asarray(atol) > 0) else (
            max(shape[-2:]) * float(xp.finfo(s.dtype).eps))
    largest = s.max(axis=-1) if s.shape[-1] else xp.zeros(s.shape[:-1], s.dtype)
    return xp.maximum(0 if atol is None else atol, largest * rtol)[..., None].astype(s.dtype)


def _symmetric_sizes(xp: Any, x: Any, hermitian: bool) -> Any:
    return xp.abs(xp.linalg.eigvalsh(x)) if hermitian else xp.linalg.svd(x, compute_uv=False)


@primitive(name="matrix_rank")
def matrix_rank_p(xp, x, atol=None, rtol=None, *, hermitian):
    """How many singular values are above the cutoff."""
    s = _symmetric_sizes(xp, x, hermitian)
    return xp.count_nonzero(s > _cutoff(xp, s, x.shape, atol, rtol), axis=-1)


def matrix_rank(x: Any, tol: Any = None, *, hermitian: bool = False, rtol: Any = None,
                atol: Any = None) -> Tensor:
    """The number of singular values above max(atol, rtol * largest), as integers.

    Args:
        tol: NumPy's and PyTorch's absolute tolerance, the same as `atol` (and no `rtol`).
        hermitian: the matrices are symmetric; the lower triangle is read.
        rtol, atol: numbers, or tensors that broadcast with the batch; by default
            rtol = max(m, n) * eps unless a positive atol is given.
    """
    x = (as_square if hermitian else _two_axes)(x, "matrix_rank")
    if tol is not None:
        atol, rtol = tol, 0.0 if rtol is None else rtol
    return matrix_rank_p(x, atol, rtol, hermitian=bool(hermitian))


def _two_axes(x: Any, op: str) -> Any:
    return as_floats(x, op, least=2)


@primitive(name="pinv")
def pinv_p(xp, x, atol=None, rtol=None, *, hermitian):
    """V S^+ U^T, where S^+ inverts the singular values above the cutoff."""
    if hermitian:
        w, v = xp.linalg.eigh(x)
        s, u, vh = xp.abs(w), v * xp.where(w < 0, -1, 1).astype(w.dtype)[..., None, :], _mT(v)
    else:
        u, s, vh = xp.linalg.svd(x, full_matrices=False)
    large = s > _cutoff(xp, s, x.shape, atol, rtol)
    inverse = xp.where(large, 1 / xp.where(large, s, 1), 0).astype(s.dtype)
    return xp.matmul(_mT(vh) * inverse[..., None, :], _mT(u))


@pinv_p.vjp
def _(g, out, x, atol=None, rtol=None, *, hermitian):
    """Golub and Pereyra (1973), for matrices of constant rank; P is the pseudo-inverse."""
    p_t, g_t = _mT(out), _mT(g)
    first = -matmul(matmul(p_t, g), p_t)
    rows = g_t - matmul(x, matmul(out, g_t))                     # (I - x P) g^T
    cols = g_t - matmul(matmul(g_t, out), x)                     # g^T (I - P x)
    return first + matmul(rows, matmul(out, p_t)) + matmul(matmul(p_t, out), cols)


def pinv(x: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None,
         atol: Any = None) -> Tensor:
    """The Moore-Penrose pseudo-inverse: `(..., m, n)` -> `(..., n, m)`.

    Args:
        rcond: NumPy's and PyTorch's old name for `rtol`.
        hermitian: the matrices are symmetric; the lower triangle is read.
        rtol, atol: singular values up to max(atol, rtol * largest) count as zero; numbers, or
            tensors that broadcast with the batch. By default rtol = max(m, n) * eps unless a
            positive atol is given.

    The gradient holds where the rank does not change nearby.
    """
    x = (as_square if hermitian else _two_axes)(x, "pinv")
    return pinv_p(x, atol, rcond if rtol is None else rtol, hermitian=bool(hermitian))
