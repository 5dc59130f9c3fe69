"""Linear algebra with gradients: NumPy's and the array API's names, PyTorch's beside them.

Every function acts on the last two axes and broadcasts the axes before them, and has derivatives of
any order. Matrices are real: what needs complex results (`eig`, `eigvals`) is refused by name.
"""

from typing import Any as _Any

from numpy.linalg import LinAlgError

from .ops.index import diagonal as _diagonal
from .ops.linalg import matmul, outer, tensordot, trace
from .ops.linalg_eigen import eigh, eigvalsh, matrix_rank, pinv, svd, svdvals
from .ops.linalg_factor import (
    householder_product,
    lstsq,
    lu,
    lu_factor,
    lu_solve,
    matrix_exp,
    qr,
)
from .ops.linalg_norm import cond, matrix_norm, norm, vector_norm
from .ops.linalg_products import (
    block_diag,
    corrcoef,
    cov,
    cross,
    inner,
    kron,
    matrix_power,
    multi_dot,
    tensorinv,
    tensorsolve,
    vdot,
    vecdot,
)
from .ops.linalg_products import vander as _vander
from .ops.linalg_solve import (
    cholesky,
    cholesky_inverse,
    cholesky_solve,
    det,
    inv,
    logdet,
    slogdet,
    solve,
    solve_triangular,
)
from .ops.shape import matrix_transpose
from .tensor import Tensor as _Tensor

inverse, expm = inv, matrix_exp


def diagonal(x: _Any, offset: int = 0, axis1: int = -2, axis2: int = -1) -> _Tensor:
    """The diagonal `offset` of the matrices in two axes (the last two), as a last axis.

    `tinygen.diagonal` takes the first two axes by default, as NumPy's.
    """
    return _diagonal(x, offset, axis1, axis2)


def vander(x: _Any, N: int | None = None, increasing: bool = True) -> _Tensor:
    """Rows of powers 1, x, ..., x^(N-1): `(..., n)` -> `(..., n, N)`, as PyTorch's.

    `tinygen.vander` decreases by default, as NumPy's.
    """
    return _vander(x, N, increasing)


__all__ = [
    "LinAlgError", "block_diag", "cholesky", "cholesky_inverse", "cholesky_solve", "cond",
    "corrcoef", "cov", "cross", "det", "diagonal", "eigh", "eigvalsh", "expm",
    "householder_product", "inner", "inv", "inverse", "kron", "logdet", "lstsq", "lu",
    "lu_factor", "lu_solve", "matmul", "matrix_exp", "matrix_norm", "matrix_power",
    "matrix_rank", "matrix_transpose", "multi_dot", "norm", "outer", "pinv", "qr", "slogdet",
    "solve", "solve_triangular", "svd", "svdvals", "tensordot", "tensorinv", "tensorsolve",
    "trace", "vander", "vdot", "vecdot", "vector_norm",
]

_REFUSED = {
    "eig": "the eigenvalues of a general matrix are complex, which this engine has not; "
           "eigh(x) takes symmetric matrices",
    "eigvals": "the eigenvalues of a general matrix are complex, which this engine has not; "
               "eigvalsh(x) takes symmetric matrices",
    "ldl_factor": "use cholesky(x), lu_factor(x) or eigh(x)",
    "ldl_factor_ex": "use cholesky(x), lu_factor(x) or eigh(x)",
    "ldl_solve": "use solve(a, b) or lu_solve(lu, pivots, b)",
    "cholesky_ex": "use cholesky(x), which raises LinAlgError",
    "inv_ex": "use inv(x), which raises LinAlgError",
    "solve_ex": "use solve(a, b), which raises LinAlgError",
    "lu_factor_ex": "use lu_factor(x)",
}


def __getattr__(name: str) -> _Any:
    if name in _REFUSED:
        raise AttributeError(f"tinygen.linalg has no {name!r}: {_REFUSED[name]}")
    raise AttributeError(f"module 'tinygen.linalg' has no attribute {name!r}")
