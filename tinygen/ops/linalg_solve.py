"""Systems of equations: triangles, Cholesky factors, solve, inverse and determinants.

Every function acts on the last two axes, `(..., m, n)`, and broadcasts the axes before them. The
rules are made of the same primitives, so derivatives of any order exist.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import backend
from ..casting import is_autocasting
from ..halves import in_float32
from ..primitive import RAW, TAPE, local, primitive
from ..tensor import Tensor
from .elementwise import equal, where
from .linalg import _mT, matmul
from .shape import astype, broadcast_to, tril, triu

__all__ = ["cholesky", "cholesky_inverse", "cholesky_solve", "det", "inv", "logdet", "slogdet",
           "solve", "solve_triangular"]


# -- arguments ----------------------------------------------------------------------------------


def as_floats(x: Any, op: str, name: str = "x", least: int = 0) -> Any:
    """`x` as a tensor of float32 or float64 (integers become float32), with enough axes."""
    if not hasattr(x, "shape"):
        x = Tensor(x)
    elif not isinstance(x, Tensor) and not local.mode & RAW:
        x = Tensor.wrap(x)
    if x.ndim < least:
        form = "(..., m, n)" if least == 2 else "(..., n)"
        raise ValueError(f"[{op}] {name} has shape {tuple(x.shape)}: {form} is needed")
    if x.dtype.kind not in "fV":
        return astype(x, np.float32)
    if is_autocasting():
        x = in_float32(x)
    if least == 2 and backend.is_half(x.dtype):
        raise TypeError(f"[{op}] {name} is {x.dtype}, for which there is no LAPACK; use "
                        f"{name}.astype('float32')")
    return x


def as_square(x: Any, op: str, name: str = "x") -> Any:
    """`x` as floats whose last two axes are equally long."""
    x = as_floats(x, op, name, 2)
    if x.shape[-1] != x.shape[-2]:
        raise ValueError(f"[{op}] {name} has shape {tuple(x.shape)}: its last two axes must be "
                         "equally long")
    return x


def eye_like(x: Any, n: int) -> Any:
    """The n by n identity as a bare array of x's kind."""
    data = x.data if isinstance(x, Tensor) else x
    return backend.array_module(data).eye(n, dtype=data.dtype)


def symmetric_part(x: Any) -> Any:
    """(x + x^T) / 2."""
    return (x + _mT(x)) * 0.5


def mirror(xp: Any, x: Any, uplo: str | None) -> Any:
    """The symmetric matrix that x means: one triangle mirrored, or (None) its symmetric part."""
    if uplo is None:
        return (x + x.swapaxes(-1, -2)) * 0.5
    low = uplo == "L"
    half, rest = (xp.tril(x), xp.tril(x, -1)) if low else (xp.triu(x), xp.triu(x, 1))
    return half + rest.swapaxes(-1, -2)


def _which(x: Any, bad: Any) -> str:
    """Names the matrices of a batch for which `bad` holds."""
    data = backend.to_device(x.data if isinstance(x, Tensor) else x, "cpu")
    flags = np.asarray([bad(m) for m in data.reshape((-1, *data.shape[-2:]))])
    if data.ndim == 2 or not flags.any():
        return "the matrix"
    first = tuple(int(i) for i in np.unravel_index(int(np.flatnonzero(flags)[0]), data.shape[:-2]))
    return f"matrix {first[0] if len(first) == 1 else first} of the batch"


# -- triangles ----------------------------------------------------------------------------------


@primitive(name="solve_triangular")
def solve_triangular_p(xp, a, b, *, upper, unit):
    """x with a x = b, where only a's upper or lower triangle is read."""
    if unit:
        a = xp.where(xp.eye(a.shape[-1], dtype=bool), a.dtype.type(1), a)
    return _substitute(xp, a, b, upper)


def _substitute(xp: Any, a: Any, b: Any, upper: bool) -> Any:
    """Halves of the triangle one after the other; small ones go to LAPACK.

    LU of an upper triangle is the triangle itself, so LAPACK's general solver substitutes
    backwards and rounds as a triangular one would. A lower triangle is turned round first.
    """
    n = a.shape[-1]
    if n <= 64:
        turned = slice(None, None, None if upper else -1)
        u = xp.triu(a[..., turned, turned])
        return xp.linalg.solve(u, b[..., turned, :])[..., turned, :]
    h = n // 2
    if upper:
        last = _substitute(xp, a[..., h:, h:], b[..., h:, :], upper)
        rest = b[..., :h, :] - xp.matmul(a[..., :h, h:], last)
        return xp.concatenate((_substitute(xp, a[..., :h, :h], rest, upper), last), axis=-2)
    first = _substitute(xp, a[..., :h, :h], b[..., :h, :], upper)
    rest = b[..., h:, :] - xp.matmul(a[..., h:, :h], first)
    return xp.concatenate((first, _substitute(xp, a[..., h:, h:], rest, upper)), axis=-2)


def _triangle_vjp_a(g, out, a, b, upper, unit):
    """-a^-T g x^T, in the triangle that was read."""
    full = -matmul(solve_triangular_p(_mT(a), g, upper=not upper, unit=unit), _mT(out))
    return triu(full, 1 if unit else 0) if upper else tril(full, -1 if unit else 0)


solve_triangular_p.vjp(
    _triangle_vjp_a,
    lambda g, out, a, b, upper, unit: solve_triangular_p(_mT(a), g, upper=not upper, unit=unit))


@solve_triangular_p.explains
def _(a, b, upper, unit):
    return _misfit(a, b) or _which(a, lambda m: (np.diagonal(m) == 0).any()) + (
        " has a zero on its diagonal and cannot be inverted")


def _misfit(a: Any, b: Any) -> str | None:
    if a.shape[-1] != b.shape[-2]:
        return f"a has {a.shape[-1]} rows and b {b.shape[-2]}; they must be equally many"
    try:
        np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        return f"batch axes {tuple(a.shape[:-2])} and {tuple(b.shape[:-2])} do not broadcast"
    return None


def solve_triangular(a: Any, b: Any, *, upper: bool, left: bool = True,
                     unitriangular: bool = False) -> Tensor:
    """X with a X = b (or X a = b: `left=False`) for a triangular matrix a.

    Args:
        a: `(..., n, n)`; only its upper (`upper=True`) or lower triangle is read.
        b: `(..., n, k)`, or `(..., k, n)` with `left=False`; the batch axes broadcast.
        unitriangular: take the diagonal of a as ones, without reading it.

    Raises:
        LinAlgError: the diagonal of a holds a zero.

    >>> import tinygen as tg
    >>> tg.linalg.solve_triangular(tg.Tensor([[2.0, 0], [1, 1]]), tg.ones((2, 1)), upper=False)
    Tensor([[0.5],
            [0.5]], dtype=float32)
    """
    a = as_square(a, "solve_triangular", "a")
    b = as_floats(b, "solve_triangular", "b", 2)
    if left:
        return solve_triangular_p(a, b, upper=bool(upper), unit=bool(unitriangular))
    return _mT(solve_triangular_p(_mT(a), _mT(b), upper=not upper, unit=bool(unitriangular)))


# -- Cholesky -----------------------------------------------------------------------------------


@primitive(name="cholesky")
def cholesky_p(xp, x, *, uplo):
    """The lower triangle L with L L^T = x; `uplo` says which triangle of x is read."""
    return xp.linalg.cholesky(x if uplo == "L" else mirror(xp, x, uplo))


@cholesky_p.vjp
def _(g, out, x, uplo):
    """sym(L^-T P L^-1), where P is the lower triangle of L^T g with half its diagonal."""
    low = matmul(_mT(out), g)
    half = tril(low) - low * (eye_like(out, out.shape[-1]) * 0.5)
    left = solve_triangular_p(_mT(out), half, upper=True, unit=False)
    return symmetric_part(_mT(solve_triangular_p(_mT(out), _mT(left), upper=True, unit=False)))


def _not_positive(m: np.ndarray) -> bool:
    try:
        np.linalg.cholesky(m)
    except np.linalg.LinAlgError:
        return True
    return False


@cholesky_p.explains
def _(x, uplo):
    return (f"{_which(x, _not_positive)} is not positive definite; a small multiple of the "
            "identity added to it may help")


def cholesky(x: Any, upper: bool = False) -> Tensor:
    """The Cholesky factor of symmetric positive definite matrices: L with x = L L^T.

    Args:
        x: `(..., n, n)`; only the lower triangle is read. The gradient is symmetric.
        upper: return U = L^T instead, with x = U^T U.

    Raises:
        LinAlgError: a matrix is not positive definite.

    Source: Murray, "Differentiation of the Cholesky decomposition" (2016), arXiv:1602.07527.

    >>> import tinygen as tg
    >>> tg.linalg.cholesky(tg.Tensor([[4.0, 2.0], [2.0, 2.0]]))
    Tensor([[2., 0.],
            [1., 1.]], dtype=float32)
    """
    factor = cholesky_p(as_square(x, "cholesky"), uplo="L")
    return _mT(factor) if upper else factor


def cholesky_solve(b: Any, factor: Any, upper: bool = False) -> Tensor:
    """X with A X = b, from the Cholesky factor of A (PyTorch's order of arguments).

    b is `(..., n, k)`; factor is L with A = L L^T, or U with A = U^T U (`upper=True`).
    """
    factor = as_square(factor, "cholesky_solve", "factor")
    b = as_floats(b, "cholesky_solve", "b", 2)
    low, high = (_mT(factor), factor) if upper else (factor, _mT(factor))
    y = solve_triangular_p(low, b, upper=False, unit=False)
    return solve_triangular_p(high, y, upper=True, unit=False)


def cholesky_inverse(factor: Any, upper: bool = False) -> Tensor:
    """The inverse of A from its Cholesky factor L (A = L L^T) or U (A = U^T U, `upper=True`)."""
    factor = as_square(factor, "cholesky_inverse", "factor")
    low = _mT(factor) if upper else factor
    root = solve_triangular_p(low, broadcast_to(eye_like(low, low.shape[-1]), low.shape),
                              upper=False, unit=False)
    return matmul(_mT(root), root)


# -- solve and inverse --------------------------------------------------------------------------


@primitive(name="solve")
def solve_p(xp, a, b):
    """x with a x = b, for matrices b."""
    return xp.linalg.solve(a, b)
solve_p.vjp(lambda g, out, a, b: -matmul(solve_p(_mT(a), g), _mT(out)),
            lambda g, out, a, b: solve_p(_mT(a), g))


def _singular(m: np.ndarray) -> bool:
    return bool(np.linalg.det(m) == 0)


@solve_p.explains
def _(a, b):
    return _misfit(a, b) or f"{_which(a, _singular)} is singular"


def solve(a: Any, b: Any, left: bool = True) -> Tensor:
    """X with a X = b (or X a = b: `left=False`).

    Args:
        a: square matrices `(..., n, n)`.
        b: matrices `(..., n, k)` (`(..., k, n)` with `left=False`), or one vector `(n,)`. As in
            NumPy and the array API, vectors come in batches as `b[..., None]`.

    Raises:
        LinAlgError: a matrix is singular.

    >>> import tinygen as tg
    >>> tg.linalg.solve(tg.Tensor([[3.0, 1.0], [1.0, 2.0]]), tg.Tensor([9.0, 8.0]))
    Tensor([2., 3.], dtype=float32)
    """
    a, b = as_square(a, "solve", "a"), as_floats(b, "solve", "b", 1)
    if b.ndim == 1:
        a = a if left else _mT(a)
        return solve_p(a, b[:, None])[..., 0]
    if tuple(b.shape) == tuple(a.shape[:-1]) and b.shape[-2 if left else -1] != a.shape[-1]:
        raise ValueError(f"[solve] a: {tuple(a.shape)}, b: {tuple(b.shape)}: for a batch of "
                         "vectors use solve(a, b[..., None])[..., 0]")
    return solve_p(a, b) if left else _mT(solve_p(_mT(a), _mT(b)))


@primitive(name="inv")
def inv_p(xp, x):
    """The inverse."""
    return xp.linalg.inv(x)
inv_p.vjp(lambda g, out, x: -matmul(matmul(_mT(out), g), _mT(out)))


@inv_p.explains
def _(x):
    return f"{_which(x, _singular)} is singular and has no inverse"


def inv(x: Any) -> Tensor:
    """The inverse of square matrices `(..., n, n)`; a singular one raises LinAlgError.

    >>> import tinygen as tg
    >>> tg.linalg.inv(tg.Tensor([[2.0, 0.0], [0.0, 4.0]]))
    Tensor([[0.5 , 0.  ],
            [0.  , 0.25]], dtype=float32)
    """
    return inv_p(as_square(x, "inv"))


# -- determinants -------------------------------------------------------------------------------


@primitive(name="det")
def det_p(xp, x):
    """The determinant."""
    return xp.linalg.det(x)
det_p.vjp(lambda g, out, x: g[..., None, None] * _cofactors(out, x))


def _cofactors(det: Any, x: Any) -> Any:
    """det(x) x^-T, which a singular matrix has too.

    While a tape records, the values may be others at the next replay: the formula for regular
    matrices is used then. So it is for gradients of gradients on a GPU.
    """
    bare, values = (v.data if isinstance(v, Tensor) else v for v in (det, x))
    xp = backend.array_module(values)
    asks = xp is np and not local.mode & TAPE            # a GPU is not waited for
    if (not (bare == 0).any()) if asks else isinstance(x, Tensor) or xp is np:
        return det[..., None, None] * _mT(inv_p(x))
    if isinstance(x, Tensor):
        return _minors(x)                  # recorded: polynomials in x, of any derivative
    u, s, vh = xp.linalg.svd(x)            # read raw: cof = det(U V^T) U diag(prod of others) V^T
    n = s.shape[-1]
    others = xp.prod(xp.where(xp.eye(n, dtype=bool), s.dtype.type(1), s[..., None, :]), axis=-1)
    sign = xp.linalg.det(xp.matmul(u, vh))
    return xp.matmul(u * (xp.asarray(sign)[..., None, None] * others[..., None, :]), vh)


def _minors(x: Any) -> Any:
    """(-1)^(i+j) times the determinant of x without row i and column j, for all i and j."""
    n = x.shape[-1]
    rest = np.array([[k for k in range(n) if k != i] for i in range(n)], int).reshape(n, n - 1)
    parts = x[..., rest[:, None, :, None], rest[None, :, None, :]]
    sign = (-1.0) ** np.add.outer(np.arange(n), np.arange(n))
    return det_p(parts) * sign.astype(x.dtype)


def det(x: Any) -> Tensor:
    """The determinant of square matrices: `(..., n, n)` -> `(...)`.

    Its gradient, the matrix of cofactors, is right for singular matrices too.

    >>> import tinygen as tg
    >>> tg.linalg.det(tg.Tensor([[1.0, 2.0], [3.0, 4.0]]))
    Tensor(-2., dtype=float32)
    """
    return det_p(as_square(x, "det"))


@primitive(name="slogdet", outputs=2, differentiable=1)
def slogdet_p(xp, x):
    """log|det x| and the sign of det x."""
    sign, logabs = xp.linalg.slogdet(x)
    return logabs, sign
slogdet_p.vjp(lambda g, out, x: g[0][..., None, None] * _mT(inv_p(x)))


class SlogdetResult(NamedTuple):
    """What `slogdet` returns."""

    sign: Tensor
    logabsdet: Tensor


def slogdet(x: Any) -> SlogdetResult:
    """Sign and logarithm of the absolute value of the determinant: det = sign exp(logabsdet).

    A singular matrix has sign 0 and logabsdet -inf; its gradient does not exist and raises. The
    sign carries no gradient.
    """
    logabs, sign = slogdet_p(as_square(x, "slogdet"))
    return SlogdetResult(sign, logabs)


def logdet(x: Any) -> Tensor:
    """log det x of square matrices; NaN where the determinant is negative, -inf where it is 0."""
    sign, logabs = slogdet(x)
    return where(equal(sign, -1), float("nan"), logabs)
