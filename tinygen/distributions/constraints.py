"""Constraints: which values a parameter or a sample may have.

`constraint.check(value)` is a boolean tensor, True where the value is allowed; constraints on
whole vectors or matrices (`event_dim` 1 or 2) give one boolean for each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .. import backend
from ..tensor import Tensor

__all__ = [
    "Constraint", "boolean", "cat", "corr_cholesky", "dependent", "dependent_property",
    "greater_than",
    "greater_than_eq", "half_open_interval", "independent", "integer_interval", "interval",
    "is_dependent", "less_than", "lower_cholesky", "lower_triangular", "multinomial",
    "nonnegative", "nonnegative_integer", "one_hot", "positive", "positive_definite",
    "positive_integer", "positive_semidefinite", "real", "real_vector", "simplex", "square",
    "stack", "symmetric", "unit_interval",
]


def bare(x: Any) -> Any:
    """The array of a tensor; numbers as they are. Checks are no part of any graph."""
    return x.data if isinstance(x, Tensor) else x


class Constraint:
    """A set of allowed values.

    Attributes:
        is_discrete: whether it holds whole numbers only.
        event_dim: how many of the last axes make up one value.
    """

    is_discrete = False
    event_dim = 0
    name = "Constraint"

    def check(self, value: Any) -> Tensor:
        """True where `value` is allowed."""
        data = bare(value if isinstance(value, Tensor) else Tensor(value))
        return Tensor.wrap(backend.array_module(data).asarray(self._holds(data)))

    def _holds(self, x: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no check")

    def __repr__(self) -> str:
        return self.name


class _Test(Constraint):
    """A constraint made of a function on bare arrays."""

    def __init__(self, name: str, holds: Callable[[Any], Any], event_dim: int = 0,
                 is_discrete: bool = False):
        self.name, self.holds = name, holds
        self.event_dim, self.is_discrete = event_dim, is_discrete

    def _holds(self, x: Any) -> Any:
        return self.holds(x)


class _Range(Constraint):
    """Numbers between bounds, of which either may be missing."""

    def __init__(self, name: str, lower_bound: Any = None, upper_bound: Any = None,
                 ends: str = "[]", whole: bool = False):
        self.kind, self.lower_bound, self.upper_bound = name, lower_bound, upper_bound
        self.ends, self.is_discrete = ends, whole

    def _holds(self, x: Any) -> Any:
        ok = x == x
        if self.is_discrete:
            ok = ok & (x == x // 1)
        if self.lower_bound is not None:
            low = bare(self.lower_bound)
            ok = ok & ((x >= low) if self.ends[0] == "[" else (x > low))
        if self.upper_bound is not None:
            high = bare(self.upper_bound)
            ok = ok & ((x <= high) if self.ends[1] == "]" else (x < high))
        return ok

    @property
    def name(self) -> str:  # type: ignore[override]
        bounds = [f"{key}={bare(value)}" for key, value in (
            ("lower_bound", self.lower_bound), ("upper_bound", self.upper_bound))
            if value is not None]
        return f"{self.kind}({', '.join(bounds)})"


class _Dependent(Constraint):
    """A constraint that depends on other values of the distribution and cannot be checked alone."""

    name = "dependent"

    def __init__(self, is_discrete: bool = False, event_dim: int = 0):
        self.is_discrete, self.event_dim = is_discrete, event_dim

    def __call__(self, *, is_discrete: bool = False, event_dim: int = 0) -> _Dependent:
        return _Dependent(is_discrete, event_dim)

    def _holds(self, x: Any) -> Any:
        raise ValueError("a dependent constraint cannot be checked alone; ask an instance of the "
                         "distribution for its support")


class dependent_property(property, _Dependent):
    """A property that gives the constraint of an instance; dependent on the class itself."""

    def __init__(self, fn: Any = None, *, is_discrete: bool = False, event_dim: int = 0):
        property.__init__(self, fn)
        _Dependent.__init__(self, is_discrete, event_dim)

    def __call__(self, fn: Any) -> Any:  # type: ignore[override]
        return dependent_property(fn, is_discrete=self.is_discrete, event_dim=self.event_dim)


def is_dependent(constraint: Any) -> bool:
    """Whether a constraint depends on an instance's other values."""
    return isinstance(constraint, _Dependent)


class independent(Constraint):
    """A constraint that must hold all along the last `reinterpreted_batch_ndims` axes."""

    def __init__(self, base_constraint: Constraint, reinterpreted_batch_ndims: int):
        self.base_constraint = base_constraint
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims
        self.is_discrete = base_constraint.is_discrete
        self.event_dim = base_constraint.event_dim + reinterpreted_batch_ndims

    def _holds(self, x: Any) -> Any:
        ok = self.base_constraint._holds(x)
        axes = tuple(range(ok.ndim - self.reinterpreted_batch_ndims, ok.ndim))
        if ok.ndim < self.reinterpreted_batch_ndims:
            raise ValueError(f"a value of shape {tuple(x.shape)} has fewer axes than the "
                             f"{self.event_dim} of its constraint")
        return ok.all(axis=axes)

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"Independent({self.base_constraint!r}, {self.reinterpreted_batch_ndims})"


def integer_interval(lower_bound: Any, upper_bound: Any) -> Constraint:
    """Whole numbers from `lower_bound` to `upper_bound`, both ends included."""
    return _Range("IntegerInterval", lower_bound, upper_bound, whole=True)


def interval(lower_bound: Any, upper_bound: Any) -> Constraint:
    """Numbers in [lower_bound, upper_bound]."""
    return _Range("Interval", lower_bound, upper_bound)


def half_open_interval(lower_bound: Any, upper_bound: Any) -> Constraint:
    """Numbers in [lower_bound, upper_bound)."""
    return _Range("HalfOpenInterval", lower_bound, upper_bound, "[)")


def greater_than(lower_bound: Any) -> Constraint:
    """Numbers above `lower_bound`."""
    return _Range("GreaterThan", lower_bound, ends="(]")


def greater_than_eq(lower_bound: Any) -> Constraint:
    """Numbers not below `lower_bound`."""
    return _Range("GreaterThanEq", lower_bound)


def less_than(upper_bound: Any) -> Constraint:
    """Numbers below `upper_bound`."""
    return _Range("LessThan", upper_bound=upper_bound, ends="[)")


def multinomial(upper_bound: int) -> Constraint:
    """Vectors of counts that sum to at most `upper_bound`."""
    return _Test(f"Multinomial(upper_bound={upper_bound})", lambda x: (
        (x >= 0) & (x == x // 1)).all(axis=-1) & (x.sum(axis=-1) <= upper_bound), 1, True)


def _slack(x: Any) -> float:
    return 1e-6 if x.dtype.itemsize > 2 else 1e-3


def _triangular(x: Any) -> Any:
    return (backend.array_module(x).tril(x) == x).all(axis=(-2, -1))


def _symmetric(x: Any) -> Any:
    if x.shape[-1] != x.shape[-2]:
        return backend.array_module(x).full(x.shape[:-2], False)
    return (abs(x - x.swapaxes(-1, -2)) <= _slack(x) * (1 + abs(x))).all(axis=(-2, -1))


def _definite(x: Any, semi: bool) -> Any:
    xp = backend.array_module(x)
    least = xp.linalg.eigvalsh(x.astype("float64")).min(axis=-1)
    return _symmetric(x) & (least >= -1e-7 if semi else least > 0)


class _Parts(Constraint):
    """Constraints for the slices of one axis, or for pieces of it with given lengths."""

    def __init__(self, parts: Sequence[Constraint], dim: int, lengths: Sequence[int] | None):
        self.parts, self.dim = list(parts), dim
        self.lengths = None if lengths is None else list(lengths)
        self.is_discrete = any(c.is_discrete for c in self.parts)
        self.event_dim = max(c.event_dim for c in self.parts)
        self.name = f"{'stack' if lengths is None else 'cat'}({self.parts}, dim={dim})"

    def _holds(self, x: Any) -> Any:
        xp, found, start = backend.array_module(x), [], 0
        for i, part in enumerate(self.parts):
            if self.lengths is None:
                found.append(part._holds(x.take(i, axis=self.dim)))
            else:
                index = xp.arange(start, start + self.lengths[i])
                found.append(part._holds(x.take(index, axis=self.dim)))
                start += self.lengths[i]
        return (xp.stack if self.lengths is None else xp.concatenate)(found, axis=self.dim)


def cat(cseq: Sequence[Constraint], dim: int = 0, lengths: Sequence[int] | None = None
        ) -> Constraint:
    """The constraints `cseq` on consecutive pieces of axis `dim`, of the given lengths (or 1)."""
    return _Parts(cseq, dim, [1] * len(cseq) if lengths is None else lengths)


def stack(cseq: Sequence[Constraint], dim: int = 0) -> Constraint:
    """The i-th of the constraints `cseq` on the i-th slice along axis `dim`."""
    return _Parts(cseq, dim, None)


dependent = _Dependent()
boolean = _Test("Boolean()", lambda x: (x == 0) | (x == 1), is_discrete=True)
one_hot = _Test("OneHot()", lambda x: ((x == 0) | (x == 1)).all(axis=-1) & (x.sum(axis=-1) == 1),
                1, True)
nonnegative_integer = _Range("IntegerGreaterThan", 0, whole=True)
positive_integer = _Range("IntegerGreaterThan", 1, whole=True)
real = _Test("Real()", lambda x: x == x)
real_vector = independent(real, 1)
positive = greater_than(0.0)
nonnegative = greater_than_eq(0.0)
unit_interval = interval(0.0, 1.0)
simplex = _Test("Simplex()", lambda x: (x >= 0).all(axis=-1)
                & (abs(x.sum(axis=-1) - 1) < _slack(x)), 1)
lower_triangular = _Test("LowerTriangular()", _triangular, 2)
lower_cholesky = _Test("LowerCholesky()", lambda x: _triangular(x) & (
    x.diagonal(axis1=-2, axis2=-1) > 0).all(axis=-1), 2)
square = _Test("Square()", lambda x: backend.array_module(x).full(
    x.shape[:-2], x.shape[-1] == x.shape[-2]), 2)
symmetric = _Test("Symmetric()", _symmetric, 2)
positive_semidefinite = _Test("PositiveSemidefinite()", lambda x: _definite(x, True), 2)
positive_definite = _Test("PositiveDefinite()", lambda x: _definite(x, False), 2)
corr_cholesky = _Test("CorrCholesky()", lambda x: _triangular(x) & (
    x.diagonal(axis1=-2, axis2=-1) > 0).all(axis=-1)
    & (abs((x * x).sum(axis=-1) - 1) < 10 * _slack(x) * math.sqrt(x.shape[-1])).all(axis=-1), 2)
