"""Linear algebra and bits as methods under PyTorch's names: `x.det()`, `x.gcd(y)`."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from . import bitwise
from .linalg_eigen import pinv, svd
from .linalg_factor import matrix_exp, qr
from .linalg_products import corrcoef, cov, cross, inner, kron, matrix_power
from .linalg_solve import (
    cholesky,
    cholesky_inverse,
    cholesky_solve,
    det,
    inv,
    logdet,
    slogdet,
)
from .shape import matrix_transpose

__all__ = ["IN_PLACE", "METHODS"]


def _cross(self: Tensor, other: Any, dim: int | None = None) -> Tensor:
    if dim is None:                            # PyTorch's rule: the first axis of three elements
        dim = next((i for i, n in enumerate(self.shape) if n == 3), -1)
    return cross(self, other, axis=dim)


def _svd(self: Tensor, some: bool = True, compute_uv: bool = True) -> tuple[Tensor, ...]:
    u, s, vh = svd(self, full_matrices=not some)
    return u, s, matrix_transpose(vh)


def _qr(self: Tensor, some: bool = True) -> Any:
    return qr(self, "reduced" if some else "complete")


def _cov(self: Tensor, *, correction: float = 1, fweights: Any = None,
         aweights: Any = None) -> Tensor:
    return cov(self, correction=correction, fweights=fweights, aweights=aweights)


def _unique(self: Tensor, sorted: bool = True, return_inverse: bool = False,
            return_counts: bool = False, dim: int | None = None) -> Any:
    return bitwise.unique(self, False, return_inverse, return_counts, dim, equal_nan=False)


def _pinverse(self: Tensor, rcond: float = 1e-15) -> Tensor:
    return pinv(self, rcond)


METHODS: dict[str, Any] = {
    "det": det, "logdet": logdet, "slogdet": slogdet, "inverse": inv, "pinverse": _pinverse,
    "cholesky": cholesky, "cholesky_solve": cholesky_solve, "cholesky_inverse": cholesky_inverse,
    "matrix_power": matrix_power, "matrix_exp": matrix_exp, "kron": kron, "cross": _cross,
    "inner": inner, "svd": _svd, "qr": _qr, "cov": _cov, "corrcoef": corrcoef,
    "adjoint": matrix_transpose, "unique": _unique, "real": bitwise.real, "conj": bitwise.conj,
    "gcd": bitwise.gcd, "lcm": bitwise.lcm,
    **{f"bitwise_{name}": getattr(bitwise, f"bitwise_{name}") for name in (
        "and", "or", "xor", "not", "left_shift", "right_shift")},
}

IN_PLACE = "bitwise_and bitwise_or bitwise_xor bitwise_not bitwise_left_shift bitwise_right_shift"
