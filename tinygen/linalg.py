"""Linear algebra with gradients: NumPy's and the array API's names, PyTorch's beside them.

Every function acts on the last two axes and broadcasts the axes before them, and has derivatives of
any order. Matrices are real: what needs complex results (`eig`, `eigvals`) is refused by name.
"""

from typing import Any as _Any

from numpy.linalg import LinAlgError

from .ops.linalg import matmul, outer, tensordot
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

inverse = inv

__all__ = [
    "LinAlgError", "cholesky", "cholesky_inverse", "cholesky_solve", "det", "inv", "inverse",
    "logdet", "matmul", "matrix_transpose", "outer", "slogdet", "solve", "solve_triangular",
    "tensordot",
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
