"""Transforms made of transforms, and of shapes: compose, independent, cat, stack, reshape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..ops import concat, stack
from ..ops.shape import as_shape
from ..tensor import Tensor
from . import constraints
from .constraints import Constraint
from .distribution import sum_rightmost
from .transform_numbers import Transform

__all__ = ["CatTransform", "ComposeTransform", "IndependentTransform", "ReshapeTransform",
           "StackTransform", "identity_transform"]


class ReshapeTransform(Transform):
    """The last axes in another shape with as many elements."""

    bijective = True

    def __init__(self, in_shape: Any, out_shape: Any, cache_size: int = 0):
        super().__init__(cache_size)
        self.in_shape, self.out_shape = as_shape(in_shape), as_shape(out_shape)
        if math.prod(self.in_shape) != math.prod(self.out_shape):
            raise ValueError(f"[ReshapeTransform] in_shape {self.in_shape} and out_shape "
                             f"{self.out_shape} have different numbers of elements")
        self.domain = constraints.independent(constraints.real, len(self.in_shape))
        self.codomain = constraints.independent(constraints.real, len(self.out_shape))

    def _batch(self, shape: Any, own: tuple[int, ...]) -> tuple[int, ...]:
        cut = len(shape) - len(own)
        if cut < 0 or tuple(shape[cut:]) != own:
            raise ValueError(f"[ReshapeTransform] shape {tuple(shape)} does not end in {own}")
        return tuple(shape[:cut])

    def forward_shape(self, shape: Any) -> tuple[int, ...]:
        return self._batch(shape, self.in_shape) + self.out_shape

    def inverse_shape(self, shape: Any) -> tuple[int, ...]:
        return self._batch(shape, self.out_shape) + self.in_shape

    def _call(self, x: Any) -> Any:
        return x.reshape(self.forward_shape(x.shape))

    def _inverse(self, y: Any) -> Any:
        return y.reshape(self.inverse_shape(y.shape))

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Tensor:
        return (x * 0).sum(axis=tuple(range(x.ndim - len(self.in_shape), x.ndim)))


class IndependentTransform(Transform):
    """A transform whose Jacobians are added over the last `reinterpreted_batch_ndims` axes."""

    def __init__(self, base_transform: Transform, reinterpreted_batch_ndims: int,
                 cache_size: int = 0):
        super().__init__(cache_size)
        self.base_transform = base_transform
        self.reinterpreted_batch_ndims = n = reinterpreted_batch_ndims
        self.bijective = base_transform.bijective
        self.domain = constraints.independent(base_transform.domain, n)
        self.codomain = constraints.independent(base_transform.codomain, n)

    @property
    def sign(self) -> Any:
        return self.base_transform.sign

    def _call(self, x: Any) -> Any:
        return self.base_transform(x)

    def _inverse(self, y: Any) -> Any:
        return self.base_transform._inv_call(y)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Tensor:
        return sum_rightmost(self.base_transform.log_abs_det_jacobian(x, y),
                             self.reinterpreted_batch_ndims)

    def forward_shape(self, shape: Any) -> tuple[int, ...]:
        return self.base_transform.forward_shape(shape)

    def inverse_shape(self, shape: Any) -> tuple[int, ...]:
        return self.base_transform.inverse_shape(shape)

    def __repr__(self) -> str:
        return f"IndependentTransform({self.base_transform!r}, {self.reinterpreted_batch_ndims})"


class ComposeTransform(Transform):
    """One transform after another, the first of `parts` first."""

    def __init__(self, parts: Sequence[Transform], cache_size: int = 0):
        super().__init__(cache_size)
        self.parts = [p.with_cache(cache_size) if cache_size else p for p in parts]

    @property
    def bijective(self) -> bool:
        return all(p.bijective for p in self.parts)

    @property
    def domain(self) -> Constraint:
        if not self.parts:
            return constraints.real
        need = self.parts[-1].codomain.event_dim
        for p in reversed(self.parts):
            need = max(need + p.domain.event_dim - p.codomain.event_dim, p.domain.event_dim)
        return _raised(self.parts[0].domain, need)

    @property
    def codomain(self) -> Constraint:
        if not self.parts:
            return constraints.real
        need = self.parts[0].domain.event_dim
        for p in self.parts:
            need = max(need + p.codomain.event_dim - p.domain.event_dim, p.codomain.event_dim)
        return _raised(self.parts[-1].codomain, need)

    @property
    def sign(self) -> Any:
        sign: Any = 1
        for p in self.parts:
            sign = sign * p.sign
        return sign

    @property
    def inv(self) -> Transform:
        return ComposeTransform([p.inv for p in reversed(self.parts)])

    def __call__(self, x: Any) -> Tensor:
        for p in self.parts:
            x = p(x)
        return x

    def _inv_call(self, y: Any) -> Tensor:
        for p in reversed(self.parts):
            y = p._inv_call(y)
        return y

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Tensor:
        if not self.parts:
            return x * 0
        points = [x]
        for p in self.parts[:-1]:
            points.append(p(points[-1]))
        points.append(y)
        total: Any = 0
        event = self.domain.event_dim
        for p, a, b in zip(self.parts, points[:-1], points[1:], strict=True):
            total = total + sum_rightmost(p.log_abs_det_jacobian(a, b), event - p.domain.event_dim)
            event += p.codomain.event_dim - p.domain.event_dim
        return total

    def forward_shape(self, shape: Any) -> tuple[int, ...]:
        for p in self.parts:
            shape = p.forward_shape(shape)
        return tuple(shape)

    def inverse_shape(self, shape: Any) -> tuple[int, ...]:
        for p in reversed(self.parts):
            shape = p.inverse_shape(shape)
        return tuple(shape)

    def _key(self) -> Any:
        return self.parts

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"ComposeTransform({self.parts!r})"


def _raised(constraint: Constraint, event_dim: int) -> Constraint:
    more = event_dim - constraint.event_dim
    return constraints.independent(constraint, more) if more else constraint


identity_transform = ComposeTransform([])


class _PerPart(Transform):
    """One transform for each piece or slice of axis `dim`."""

    def __init__(self, tseq: Sequence[Transform], dim: int = 0, cache_size: int = 0):
        super().__init__(cache_size)
        self.transforms, self.dim = list(tseq), dim

    @property
    def bijective(self) -> bool:
        return all(t.bijective for t in self.transforms)

    def _cut(self, x: Any) -> list[Any]:
        raise NotImplementedError

    def _glue(self, parts: list[Any]) -> Any:
        raise NotImplementedError

    def _call(self, x: Any) -> Any:
        return self._glue([t(p) for t, p in zip(self.transforms, self._cut(x), strict=True)])

    def _inverse(self, y: Any) -> Any:
        return self._glue([t._inv_call(p) for t, p in zip(self.transforms, self._cut(y),
                                                          strict=True)])

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Tensor:
        triples = zip(self.transforms, self._cut(x), self._cut(y), strict=True)
        return self._glue([t.log_abs_det_jacobian(a, b) for t, a, b in triples])


class CatTransform(_PerPart):
    """`tseq` on consecutive pieces of axis `dim`, of the given lengths (or 1 each)."""

    def __init__(self, tseq: Sequence[Transform], dim: int = 0,
                 lengths: Sequence[int] | None = None, cache_size: int = 0):
        super().__init__(tseq, dim, cache_size)
        self.lengths = [1] * len(self.transforms) if lengths is None else list(lengths)
        if len(self.lengths) != len(self.transforms):
            raise ValueError(f"[CatTransform] {len(self.transforms)} transforms, but "
                             f"{len(self.lengths)} lengths")

    @property
    def length(self) -> int:
        """The length of the axis."""
        return sum(self.lengths)

    @property
    def domain(self) -> Constraint:
        return constraints.cat([t.domain for t in self.transforms], self.dim, self.lengths)

    @property
    def codomain(self) -> Constraint:
        return constraints.cat([t.codomain for t in self.transforms], self.dim, self.lengths)

    def _cut(self, x: Any) -> list[Any]:
        if x.shape[self.dim] != self.length:
            raise ValueError(f"[CatTransform] axis {self.dim} of x, {x.shape}, must have length "
                             f"{self.length}")
        parts, start, lead = [], 0, (slice(None),) * (self.dim % x.ndim)
        for n in self.lengths:
            parts.append(x[(*lead, slice(start, start + n))])
            start += n
        return parts

    def _glue(self, parts: list[Any]) -> Any:
        return concat(parts, axis=self.dim)


class StackTransform(_PerPart):
    """The i-th of `tseq` on the i-th slice along axis `dim`."""

    @property
    def domain(self) -> Constraint:
        return constraints.stack([t.domain for t in self.transforms], self.dim)

    @property
    def codomain(self) -> Constraint:
        return constraints.stack([t.codomain for t in self.transforms], self.dim)

    def _cut(self, x: Any) -> list[Any]:
        if x.shape[self.dim] != len(self.transforms):
            raise ValueError(f"[StackTransform] axis {self.dim} of x, {x.shape}, must have length "
                             f"{len(self.transforms)}")
        lead = (slice(None),) * (self.dim % x.ndim)
        return [x[(*lead, i)] for i in range(len(self.transforms))]

    def _glue(self, parts: list[Any]) -> Any:
        return stack(parts, axis=self.dim)
