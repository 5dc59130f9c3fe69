"""Weight, spectral and orthogonal parametrizations, with PyTorch's state-dict keys."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import linalg, ops
from ...autograd import no_grad
from ...random import normal
from ...tensor import Tensor
from ..module import Module
from . import normed
from .parametrize import register_parametrization

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


def _tensor(module: Module, name: str, op: str) -> Tensor:
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"[{op}] {type(module).__name__} has no parameter or buffer {name!r}")
    return weight


class _WeightNorm(Module):
    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim

    def forward(self, weight_g: Any, weight_v: Any) -> Tensor:
        return weight_v * (weight_g / normed.norm_except(weight_v, self.dim))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return normed.norm_except(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Compute a weight from its length g and its direction v, w = g v / |v|; returns the module.

    The parameters are `parametrizations.weight.original0` (g) and `original1` (v). `dim` is the
    axis along which lengths are kept apart; None for one length of the whole weight.

    Source: T. Salimans and D. Kingma, "Weight Normalization", NeurIPS 2016.
    """
    weight = _tensor(module, name, "weight_norm")
    rule = _WeightNorm(normed.check_dim("weight_norm", weight, dim))
    return register_parametrization(module, name, rule, unsafe=True)


class _SpectralNorm(Module):
    def __init__(self, weight: Tensor, n_power_iterations: int, dim: int, eps: float):
        super().__init__()
        if not -weight.ndim <= dim < weight.ndim:
            raise IndexError(f"[spectral_norm] dim {dim} is none of the {weight.ndim} axes of the "
                             f"weight {weight.shape}")
        if n_power_iterations < 1:
            raise ValueError(f"[spectral_norm] n_power_iterations must be at least 1, got "
                             f"{n_power_iterations}")
        self.dim, self.eps = dim % weight.ndim, eps
        self.n_power_iterations = n_power_iterations
        if weight.ndim > 1:
            matrix = normed.as_matrix(weight.detach(), self.dim)
            self.register_buffer("_u", normed.random_unit(matrix.shape[0], weight, eps))
            self.register_buffer("_v", normed.random_unit(matrix.shape[1], weight, eps))
            normed.iterate(matrix, self._u, self._v, 15, eps, u_first=True)

    def forward(self, weight: Any) -> Tensor:
        if weight.ndim == 1:
            return weight / ops.maximum(ops.sqrt(ops.sum(weight * weight)), self.eps)
        matrix = normed.as_matrix(weight, self.dim)
        u, v = self._u, self._v
        if self.training:
            u, v = normed.iterate(matrix, u, v, self.n_power_iterations, self.eps, u_first=True)
        return weight / normed.largest_singular_value(matrix, u, v)

    def right_inverse(self, value: Tensor) -> Tensor:
        return value


def spectral_norm(module: Module, name: str = "weight", n_power_iterations: int = 1,
                  eps: float = 1e-12, dim: int | None = None) -> Module:
    """Divide a weight by its largest singular value, each time it is read; returns the module.

    Reading it in training moves `parametrizations.weight.0._u` and `._v` towards the singular
    vectors by `n_power_iterations`; in evaluation they stay. `dim` is the axis of the outputs (by
    default 1 for transposed convolutions, else 0).

    Source: T. Miyato et al., "Spectral Normalization for Generative Adversarial Networks", 2018.
    """
    weight = _tensor(module, name, "spectral_norm")
    dim = int(normed.transposed(module)) if dim is None else dim
    rule = _SpectralNorm(weight, n_power_iterations, dim, eps)
    return register_parametrization(module, name, rule)


# -- orthogonal matrices -------------------------------------------------------------------------


def _orthonormal(q: Any) -> Any:
    """The Q of a QR decomposition in which R has a positive diagonal."""
    q, r = np.linalg.qr(q)
    return q * np.sign(np.diagonal(r, axis1=-2, axis2=-1))[..., None, :]


def _householder(reflectors: Any) -> Any:
    """The first columns of the product of I - tau a a^T over the columns a of a tall matrix.

    Below its diagonal stand the reflectors, whose diagonal is 1; the diagonal itself holds signs.
    """
    n, k = reflectors.shape[-2:]
    below = ops.tril(reflectors, -1)
    tau = 2.0 / (1.0 + ops.sum(below * below, axis=-2))
    eye = ops.eye(n, k, dtype=reflectors.dtype, device=reflectors.device)
    a, q = below + eye, ops.broadcast_to(eye, reflectors.shape)
    for i in reversed(range(k)):
        column = a[..., i:i + 1]
        along = ops.matmul(ops.matrix_transpose(column), q)
        q = q - tau[..., i].reshape((*tau.shape[:-1], 1, 1)) * (column * along)
    return q * ops.trunc(ops.sum(reflectors.detach() * eye, axis=-2, keepdims=True))


class _Orthogonal(Module):
    def __init__(self, weight: Tensor, orthogonal_map: str, use_trivialization: bool):
        super().__init__()
        self.shape, self.orthogonal_map = weight.shape, orthogonal_map
        self.use_trivialization = use_trivialization
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, weight: Any) -> Tensor:
        wide = weight.shape[-2] < weight.shape[-1]
        x = ops.matrix_transpose(weight) if wide else weight
        n, k = x.shape[-2:]
        if self.orthogonal_map == "householder":
            q = _householder(x)
        else:
            x = ops.tril(x)
            if n != k:
                zeros = ops.zeros((*x.shape[:-1], n - k), dtype=x.dtype, device=x.device)
                x = ops.concat([x, zeros], axis=-1)
            a = x - ops.matrix_transpose(x)
            if self.orthogonal_map == "matrix_exp":
                q = linalg.matrix_exp(a)
            else:
                eye = ops.eye(n, dtype=x.dtype, device=x.device)
                q = linalg.solve(eye - 0.5 * a, eye + 0.5 * a)
            q = q[..., :k]
        if self.use_trivialization and self.base is not None:
            q = ops.matmul(self.base, q)
        return ops.matrix_transpose(q) if wide else q

    def right_inverse(self, value: Tensor) -> Tensor:
        if value.shape != self.shape:
            raise ValueError(f"[orthogonal] expected matrices of shape {self.shape}, got "
                             f"{value.shape}")
        with no_grad():
            wide = value.shape[-2] < value.shape[-1]
            q = ops.matrix_transpose(value) if wide else value
            n, k = q.shape[-2:]
            if self.use_trivialization:
                if n != k:
                    rest = normal((*q.shape[:-1], n - k), dtype=q.dtype, device=q.device)
                    q = ops.concat([q, rest], axis=-1)
                    base = _orthonormal(q.numpy())
                else:
                    base = q.detach().numpy().copy()
                    close = 10 * n * float(np.finfo(base.dtype).eps)
                    if np.abs(base.swapaxes(-1, -2) @ base - np.eye(n)).max(initial=0) > close:
                        base = _orthonormal(base)
                self.base = Tensor(base, device=value.device)
                start = np.broadcast_to(-np.eye(*value.shape[-2:], dtype=value.dtype), value.shape)
                return Tensor(start, device=value.device)
            if self.orthogonal_map != "householder":
                raise NotImplementedError(
                    f"[orthogonal] orthogonal_map={self.orthogonal_map!r} cannot be assigned to "
                    "with use_trivialization=False")
            h, tau = np.linalg.qr(q.detach().numpy(), mode="raw")
            a = np.ascontiguousarray(h.swapaxes(-1, -2))
            i = np.arange(k)
            a[..., i, i] = np.sign(a[..., i, i]) * np.where(tau == 0, -1, 1)
            return Tensor(np.ascontiguousarray(a.swapaxes(-1, -2)) if wide else a,
                          device=value.device)


def orthogonal(module: Module, name: str = "weight", orthogonal_map: str | None = None, *,
               use_trivialization: bool = True) -> Module:
    """Keep a weight (..., m, n) orthogonal: orthonormal columns, or rows if it is wide.

    Args:
        orthogonal_map: from a skew-symmetric matrix A, ``"matrix_exp"`` (exp(A), the default for
            square weights) or ``"cayley"`` ((I - A/2)^-1 (I + A/2)); or ``"householder"``, a
            product of reflections (the default for others).
        use_trivialization: multiply by a fixed orthogonal matrix, `parametrizations.weight.0.base`,
            so that training starts at the weight's own nearest orthogonal matrix.

    Source: M. Lezcano-Casado, "Trivializations for Gradient-Based Optimization on Manifolds",
    NeurIPS 2019.
    """
    weight = _tensor(module, name, "orthogonal")
    if weight.ndim < 2:
        raise ValueError(f"[orthogonal] a matrix or a batch of matrices is needed, got shape "
                         f"{weight.shape}")
    if orthogonal_map is None:
        square = weight.shape[-2] == weight.shape[-1]
        orthogonal_map = "matrix_exp" if square else "householder"
    if orthogonal_map not in ("matrix_exp", "cayley", "householder"):
        raise ValueError(f"[orthogonal] orthogonal_map must be 'matrix_exp', 'cayley' or "
                         f"'householder', got {orthogonal_map!r}")
    rule = _Orthogonal(weight, orthogonal_map, use_trivialization)
    return register_parametrization(module, name, rule, unsafe=True)
