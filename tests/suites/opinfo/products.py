"""PyTorch's products and linear algebra in tinygen's words."""

from __future__ import annotations

from typing import Any

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


LINALG = """cross det cholesky vecdot cond eigh eigvalsh lstsq matrix_power multi_dot norm
    matrix_norm qr slogdet vander vector_norm lu_factor lu lu_solve inv solve solve_triangular
    matrix_rank pinv svd svdvals tensorinv tensorsolve householder_product"""

ADAPTERS: dict[str, Any] = {
    **{f"linalg.{name}": linalg(name) for name in LINALG.split()},
    "linalg.norm/subgradients_at_zero": linalg("norm"),
    "linalg.matrix_rank/hermitian": linalg("matrix_rank"),
    "linalg.pinv/hermitian": linalg("pinv"), "linalg.pinv/singular": linalg("pinv"),
    "linalg.lstsq/grad_oriented": linalg("lstsq"),
    "linalg.solve": solve,
    "addmm": lambda x, a, b, *, beta=1, alpha=1: beta * x + alpha * (a @ b),
    "addmm/decomposed": lambda x, a, b, *, beta=1, alpha=1: beta * x + alpha * (a @ b),
    "addmv": lambda x, a, b, *, beta=1, alpha=1: beta * x + alpha * (a @ b),
    "addbmm": lambda x, a, b, *, beta=1, alpha=1: beta * x + alpha * tg.sum(a @ b, 0),
    "baddbmm": lambda x, a, b, *, beta=1, alpha=1: beta * x + alpha * (a @ b),
    "addr": lambda x, a, b, *, beta=1, alpha=1: beta * x + alpha * tg.outer(a, b),
    "bmm": tg.matmul, "mm": tg.matmul, "mv": tg.matmul, "matmul": tg.matmul, "dot": tg.dot,
    "vdot": tg.dot, "outer": tg.outer, "inner": inner, "tensordot": tensordot,
    "einsum": lambda spec, xs: tg.einsum(spec, *xs), "trace": tg.trace,
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
    "svd": lambda x, some=True, compute_uv=True: tg.linalg.svd(x, not some),
}
