"""Transforms of vectors and matrices: softmax, stick breaking, Cholesky factors."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..constants import beside
from ..ops import concat, cumsum, exp, log, log1p, log_sigmoid, sigmoid, softmax, tril, where
from ..tensor import Tensor
from . import constraints
from .transform_numbers import Transform

__all__ = ["LowerCholeskyTransform", "SoftmaxTransform", "StickBreakingTransform"]


class SoftmaxTransform(Transform):
    """y = softmax(x) on the last axis; the inverse gives one x of many, log(y)."""

    domain = constraints.real_vector
    codomain = constraints.simplex

    def _call(self, x: Any) -> Any:
        return softmax(x, axis=-1)

    def _inverse(self, y: Any) -> Any:
        return log(y)


class StickBreakingTransform(Transform):
    """From (..., n) numbers to (..., n + 1) parts of 1: each breaks off a share of the rest."""

    bijective = True
    domain = constraints.real_vector
    codomain = constraints.simplex

    def _offset(self, x: Any) -> Any:
        n = x.shape[-1]
        return beside(np.log(np.arange(n, 0, -1)).astype(x.dtype), x)

    def _call(self, x: Any) -> Any:
        z = sigmoid(x - self._offset(x))
        rest = exp(cumsum(log1p(-z), axis=-1))
        ones = rest[..., :1] * 0 + 1
        return concat([z, ones], axis=-1) * concat([ones, rest], axis=-1)

    def _inverse(self, y: Any) -> Any:
        head = y[..., :-1]
        rest = (1 - cumsum(head, axis=-1)).clip(min=float(np.finfo(y.dtype).tiny))
        return log(head) - log(rest) + self._offset(head)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Tensor:
        shifted = x - self._offset(x)
        return (log_sigmoid(shifted) - shifted + log(y[..., :-1])).sum(axis=-1)

    def forward_shape(self, shape: Any) -> tuple[int, ...]:
        return (*shape[:-1], shape[-1] + 1)

    def inverse_shape(self, shape: Any) -> tuple[int, ...]:
        return (*shape[:-1], shape[-1] - 1)


class LowerCholeskyTransform(Transform):
    """Square matrices to lower triangular ones with a positive diagonal: exp of the diagonal."""

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.lower_cholesky

    def _diagonal(self, x: Any, f: Any) -> Any:
        eye = beside(np.eye(x.shape[-1], dtype=bool), x)
        return tril(where(eye, f(where(eye, x, 1)), x))

    def _call(self, x: Any) -> Any:
        return self._diagonal(x, exp)

    def _inverse(self, y: Any) -> Any:
        return self._diagonal(y, log)
