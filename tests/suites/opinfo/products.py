"""PyTorch's products and linear algebra in tinygen's words."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import tinygen as tg
from tests.suites.opinfo.harness import Refused
from tests.suites.opinfo.reductions import renamed


def linalg(name: str) -> Any:
    """`tg.linalg.NAME` under PyTorch's argument names."""
    return lambda *args, **options: renamed(getattr(tg.linalg, name))(*args, **options)


def tensordot(x: Any, y: Any, dims: Any = 2) -> Any:
    if not isinstance(dims, int) and any(x.shape[a] != y.shape[b] for a, b in zip(*dims)):
        raise Refused("summed axes must be equally long (PyTorch lets 1 stand for any length)")
    return tg.tensordot(x, y, dims)


def inner(x: Any, y: Any) -> Any:
    return x * y if not x.ndim or not y.ndim else tg.tensordot(x, y, ([-1], [-1]))


def solve(a: Any, b: Any, *, left: bool = True) -> Any:
    """PyTorch takes b as a batch of vectors where its shape is that of a without the last axis."""
    if b.ndim == 1 or (b.ndim == a.ndim - 1 and b.shape == a.shape[:-1]):
        return tg.linalg.solve(a, b[..., None])[..., 0]
    if left:
        return tg.linalg.solve(a, b)
    return tg.linalg.solve(a.mT, b.mT).mT


# Vectors of eigh and svd are right with either sign, and LAPACK libraries choose differently: ours
# are given the signs of PyTorch's, as constants, before results and gradients are compared.


def signs(ours: Any, theirs: torch.Tensor) -> np.ndarray:
    """-1 or 1 for each column."""
    product = (ours.detach().numpy() * theirs.numpy()).sum(-2, keepdims=True)
    return np.where(product < 0, -1.0, 1.0)


def eigh(x: Any, UPLO: str = "L") -> Any:
    w, v = tg.linalg.eigh(x, UPLO)
    return w, v * signs(v, torch.linalg.eigh(torch.tensor(x.data), UPLO)[1])


def svd(x: Any, full_matrices: bool = True) -> Any:
    """U, S, V."""
    m, n = x.shape[-2:]
    if full_matrices and abs(m - n) > 1:
        raise Refused("the columns of U and V past min(m, n) are arbitrary")
    u, s, vh = tg.linalg.svd(x, full_matrices)
    found = torch.linalg.svd(torch.tensor(x.data), full_matrices)
    return u * signs(u, found.U), s, vh.mT * signs(vh.mT, found.Vh.mT)


def svd_transposed(x: Any, full_matrices: bool = True) -> Any:
    u, s, v = svd(x, full_matrices)
    return u, s, v.mT


def lstsq(a: Any, b: Any, *, driver: str | None = None) -> Any:
    """The parts that PyTorch returns for the driver; the others are empty there."""
    solution, residuals, rank, values = tg.linalg.lstsq(a, b, driver=driver)
    nothing = tg.Tensor(np.zeros(0))
    residuals = nothing if driver in (None, "gelsy") else residuals
    return (solution, residuals, nothing.astype("int64") if driver == "gels" else rank,
            values if driver in ("gelsd", "gelss") else nothing)


LINALG = """cross det cholesky vecdot cond eigvalsh matrix_power multi_dot norm
    matrix_norm qr slogdet vander vector_norm lu_factor lu lu_solve inv solve solve_triangular
    matrix_rank pinv svdvals tensorinv householder_product"""

ADAPTERS: dict[str, Any] = {
    **{f"linalg.{name}": linalg(name) for name in LINALG.split()},
    "linalg.norm/subgradients_at_zero": linalg("norm"),
    "linalg.matrix_rank/hermitian": linalg("matrix_rank"),
    "linalg.pinv/hermitian": linalg("pinv"),
    "linalg.pinv/singular": lambda a, b: tg.linalg.pinv(a @ b.mT),
    "linalg.eigh": eigh, "linalg.svd": svd_transposed, "linalg.lstsq": lstsq,
    "linalg.lstsq/grad_oriented": lambda a, b, **options: lstsq(a, b, **options)[:2],
    "linalg.tensorsolve": lambda a, b, dims=None: tg.linalg.tensorsolve(a, b, dims),
    "linalg.solve": solve,
    "addmm": lambda x, a, b, *, beta=1, alpha=1: beta * x + alpha * (a @ b),
    "addmm/decomposed": lambda x, a, b, *, beta=1, alpha=1: beta * x + alpha * (a @ b),
    "addmv": lambda x, a, b, *, beta=1, alpha=1: beta * x + alpha * (a @ b),
    "addbmm": lambda x, a, b, *, beta=1, alpha=1: beta * x + alpha * tg.sum(a @ b, 0),
    "baddbmm": lambda x, a, b, *, beta=1, alpha=1: beta * x + alpha * (a @ b),
    "addr": lambda x, a, b, *, beta=1, alpha=1: beta * x + alpha * tg.outer(a, b),
    "bmm": tg.matmul, "mm": tg.matmul, "mv": tg.matmul, "matmul": tg.matmul, "dot": tg.dot,
    "vdot": tg.dot, "outer": tg.outer, "inner": inner, "tensordot": tensordot,
    "einsum": lambda xs, spec: tg.einsum(spec, *xs), "trace": tg.trace,
    "kron": lambda x, y: tg.linalg.kron(x, y),
    "cross": lambda x, y, dim=None: tg.linalg.cross(x, y, axis=-1 if dim is None else dim),
    "cdist": lambda x, y, p=2.0, compute_mode=None: tg.nn.functional.cdist(x, y, p),
    "cholesky": lambda x, upper=False: tg.linalg.cholesky(x, upper=upper),
    "cholesky_inverse": lambda x, upper=False: tg.linalg.cholesky_inverse(x, upper=upper),
    "cholesky_solve": lambda x, y, upper=False: tg.linalg.cholesky_solve(x, y, upper=upper),
    "lu_solve": lambda b, lu, pivots: tg.linalg.lu_solve(lu, pivots, b),
    "logdet": lambda x: tg.linalg.logdet(x), "matrix_exp": lambda x: tg.linalg.matrix_exp(x),
    "pinverse": lambda x, rcond=1e-15: tg.linalg.pinv(x, rcond),
    "qr": lambda x, some=True: tg.linalg.qr(x, "reduced" if some else "complete"),
    "svd": lambda x, some=True, compute_uv=True: svd(x, not some),
}
