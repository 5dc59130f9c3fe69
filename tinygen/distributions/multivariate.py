"""The multivariate normal distribution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import linalg, random
from ..constants import beside
from ..ops import broadcast_to, diagonal, expand_dims, log, matmul, sqrt
from ..tensor import Tensor
from . import constraints
from .distribution import LOG_2PI, Distribution, broadcast_all, lazy

__all__ = ["LowRankMultivariateNormal", "MultivariateNormal"]


def whitened(scale_tril: Tensor, x: Tensor) -> Tensor:
    """The v with scale_tril v = x for vectors x, (..., d)."""
    shape = np.broadcast_shapes(scale_tril.shape[:-2], x.shape[:-1])
    d = x.shape[-1]
    factor = broadcast_to(scale_tril, (*shape, d, d))
    columns = expand_dims(broadcast_to(x, (*shape, d)), -1)
    return linalg.solve_triangular(factor, columns, upper=False)[..., 0]


def half_log_det(scale_tril: Tensor) -> Tensor:
    """log det(scale_tril), half that of the covariance."""
    return log(diagonal(scale_tril, axis1=-2, axis2=-1)).sum(axis=-1)


def precision_to_tril(precision: Tensor) -> Tensor:
    """The lower Cholesky factor of precision^-1: of the reversed precision, inverted."""
    factor = linalg.cholesky(precision[..., ::-1, ::-1])
    upper = factor[..., ::-1, ::-1].swapaxes(-1, -2)              # upper @ upper.T ... reversed
    d = precision.shape[-1]
    eye = beside(np.eye(d, dtype=precision.dtype), precision)
    return linalg.solve_triangular(upper, broadcast_to(Tensor.wrap(eye), precision.shape),
                                   upper=False)


class VectorNormal(Distribution):
    """What all normal distributions of vectors share: `loc`, and `scale_tril` with L L^T = cov."""

    loc: Tensor
    scale_tril: Tensor

    @lazy
    def precision_matrix(self) -> Tensor:
        """The inverse of the covariance."""
        return linalg.cholesky_inverse(self.scale_tril)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc


class MultivariateNormal(VectorNormal):
    """Normal vectors (..., d) with mean `loc` and a covariance.

    Exactly one of `covariance_matrix`, `precision_matrix` (its inverse) and `scale_tril` (its
    lower Cholesky factor, which the others are turned into) is given, (..., d, d).
    log p(x) = -(|L^-1 (x - loc)|^2 + d log(2 pi)) / 2 - log det L.
    """

    arg_constraints = {"loc": constraints.real_vector,
                       "covariance_matrix": constraints.positive_definite,
                       "precision_matrix": constraints.positive_definite,
                       "scale_tril": constraints.lower_cholesky}
    support = constraints.real_vector
    has_rsample = True
    _event_ndims = {"loc": 1, "covariance_matrix": 2, "precision_matrix": 2, "scale_tril": 2,
                    "_unbroadcasted_scale_tril": 2}

    def __init__(self, loc: Any, covariance_matrix: Any = None, precision_matrix: Any = None,
                 scale_tril: Any = None, validate_args: bool | None = None):
        given = {"covariance_matrix": covariance_matrix, "precision_matrix": precision_matrix,
                 "scale_tril": scale_tril}
        named = [n for n, m in given.items() if m is not None]
        if len(named) != 1:
            raise ValueError("[MultivariateNormal] give exactly one of covariance_matrix, "
                             f"precision_matrix and scale_tril, got {named or 'none of them'}")
        name = named[0]
        loc, = broadcast_all(loc)
        matrix, = broadcast_all(given[name])
        if not loc.ndim:
            raise ValueError("[MultivariateNormal] loc must have at least one axis")
        d = loc.shape[-1]
        if matrix.ndim < 2 or matrix.shape[-2:] not in ((d, d), (matrix.shape[-1],) * 2) or (
                d not in (1, matrix.shape[-1])):
            raise ValueError(f"[MultivariateNormal] {name} has shape {matrix.shape}; loc "
                             f"{loc.shape} needs (..., {d}, {d})")
        batch = np.broadcast_shapes(loc.shape[:-1], matrix.shape[:-2])
        d = matrix.shape[-1]
        self.loc = broadcast_to(loc, (*batch, d))
        self.__dict__[name] = broadcast_to(matrix, (*batch, d, d))
        super().__init__(batch, (d,), validate_args)
        if name != "scale_tril":
            self.scale_tril = (linalg.cholesky(self.covariance_matrix)
                               if name == "covariance_matrix"
                               else precision_to_tril(self.precision_matrix))

    @lazy
    def covariance_matrix(self) -> Tensor:
        """L L^T."""
        return matmul(self.scale_tril, self.scale_tril.swapaxes(-1, -2))

    @property
    def variance(self) -> Tensor:
        return (self.scale_tril * self.scale_tril).sum(axis=-1)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        noise = random.normal(self._extended_shape(sample_shape), dtype=self.loc.dtype,
                              device=self.loc.device)
        return self.loc + matmul(self.scale_tril, expand_dims(noise, -1))[..., 0]

    def log_prob(self, value: Any) -> Tensor:
        z = whitened(self.scale_tril, self._value(value) - self.loc)
        d = self._event_shape[0]
        return -0.5 * ((z * z).sum(axis=-1) + d * LOG_2PI) - half_log_det(self.scale_tril)

    def entropy(self) -> Tensor:
        d = self._event_shape[0]
        return 0.5 * d * (1 + math.log(2 * math.pi)) + half_log_det(self.scale_tril)


class LowRankMultivariateNormal(VectorNormal):
    """Normal vectors (..., d) with covariance cov_factor cov_factor^T + diag(cov_diag).

    `cov_factor` is (..., d, rank), `cov_diag` (..., d). Densities need factors of rank x rank
    matrices only: with C = I + W^T D^-1 W, the covariance has the determinant det(C) det(D) and
    the inverse D^-1 - D^-1 W C^-1 W^T D^-1 (Woodbury).
    """

    arg_constraints = {"loc": constraints.real_vector,
                       "cov_factor": constraints.independent(constraints.real, 2),
                       "cov_diag": constraints.independent(constraints.positive, 1)}
    support = constraints.real_vector
    has_rsample = True
    _event_ndims = {"loc": 1, "cov_factor": 2, "cov_diag": 1, "covariance_matrix": 2,
                    "precision_matrix": 2, "scale_tril": 2, "_capacitance_tril": 2}

    def __init__(self, loc: Any, cov_factor: Any, cov_diag: Any,
                 validate_args: bool | None = None):
        loc, factor, diag = (broadcast_all(v)[0] for v in (loc, cov_factor, cov_diag))
        d = loc.shape[-1] if loc.ndim else 0
        if not d or factor.ndim < 2 or factor.shape[-2] != d or diag.shape[-1:] != (d,):
            raise ValueError(f"[LowRankMultivariateNormal] loc {loc.shape} needs cov_factor "
                             f"(..., {d}, rank) and cov_diag (..., {d}), got {factor.shape} and "
                             f"{diag.shape}")
        batch = np.broadcast_shapes(loc.shape[:-1], factor.shape[:-2], diag.shape[:-1])
        self.loc = broadcast_to(loc, (*batch, d))
        self.cov_factor = broadcast_to(factor, (*batch, *factor.shape[-2:]))
        self.cov_diag = broadcast_to(diag, (*batch, d))
        super().__init__(batch, (d,), validate_args)

    @lazy
    def _capacitance_tril(self) -> Tensor:
        scaled = self.cov_factor / expand_dims(self.cov_diag, -1)
        eye = beside(np.eye(self.cov_factor.shape[-1], dtype=self.loc.dtype), self.loc)
        return linalg.cholesky(matmul(self.cov_factor.swapaxes(-1, -2), scaled) + eye)

    @lazy
    def covariance_matrix(self) -> Tensor:
        """cov_factor cov_factor^T + diag(cov_diag)."""
        eye = beside(np.eye(self._event_shape[0], dtype=self.loc.dtype), self.loc)
        return (matmul(self.cov_factor, self.cov_factor.swapaxes(-1, -2))
                + expand_dims(self.cov_diag, -1) * eye)

    @lazy
    def scale_tril(self) -> Tensor:
        """The lower Cholesky factor of the covariance."""
        return linalg.cholesky(self.covariance_matrix)

    @property
    def variance(self) -> Tensor:
        return (self.cov_factor * self.cov_factor).sum(axis=-1) + self.cov_diag

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape, rank = self._extended_shape(sample_shape), self.cov_factor.shape[-1]
        options: dict[str, Any] = {"dtype": self.loc.dtype, "device": self.loc.device}
        wide = random.normal((*shape[:-1], rank), **options)
        return (self.loc + matmul(self.cov_factor, expand_dims(wide, -1))[..., 0]
                + sqrt(self.cov_diag) * random.normal(shape, **options))

    def _half_log_det(self) -> Tensor:
        return half_log_det(self._capacitance_tril) + 0.5 * log(self.cov_diag).sum(axis=-1)

    def log_prob(self, value: Any) -> Tensor:
        gap = self._value(value) - self.loc
        scaled = gap / self.cov_diag
        inner = matmul(self.cov_factor.swapaxes(-1, -2), expand_dims(scaled, -1))[..., 0]
        z = whitened(self._capacitance_tril, inner)
        distance = (gap * scaled).sum(axis=-1) - (z * z).sum(axis=-1)
        d = self._event_shape[0]
        return -0.5 * (distance + d * LOG_2PI) - self._half_log_det()

    def entropy(self) -> Tensor:
        return 0.5 * self._event_shape[0] * (1 + LOG_2PI) + self._half_log_det()
