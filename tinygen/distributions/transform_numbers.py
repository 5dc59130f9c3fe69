"""Invertible maps with the logarithm of their Jacobian's determinant."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..constants import beside
from ..ops import (
    exp,
    log,
    log1p,
    log_sigmoid,
    sigmoid,
    softplus,
    tanh,
)
from ..ops.elementwise import expm1, sign
from ..special import logit
from ..tensor import Tensor
from . import constraints
from .constraints import Constraint
from .distribution import sum_rightmost

__all__ = [
    "AbsTransform", "AffineTransform", "CumulativeDistributionTransform", "ExpTransform",
    "PowerTransform", "SigmoidTransform", "SoftplusTransform", "TanhTransform", "Transform",
]


class Transform:
    """A map y = t(x) with an inverse t.inv(y) and `log_abs_det_jacobian(x, y)`.

    With `cache_size=1` the inverse of the latest result is the value that it was made from.

    Attributes:
        bijective: whether t.inv undoes t everywhere.
        domain, codomain: constraints on x and y.
        sign: 1 where the map grows, -1 where it falls (one-dimensional maps).
    """

    bijective: Any = False
    domain: Any = constraints.real
    codomain: Any = constraints.real

    def __init__(self, cache_size: int = 0):
        if cache_size not in (0, 1):
            raise ValueError(f"[{type(self).__name__}] cache_size must be 0 or 1, got "
                             f"{cache_size!r}")
        self._cache_size = cache_size
        self._cached: tuple[Any, Any] = (None, None)

    @property
    def event_dim(self) -> int:
        """How many axes one value has, where x and y agree."""
        if self.domain.event_dim != self.codomain.event_dim:
            raise ValueError(f"[{type(self).__name__}] x and y have different numbers of axes; "
                             "use .domain.event_dim or .codomain.event_dim")
        return self.domain.event_dim

    @property
    def inv(self) -> Transform:
        """The inverse map; `t.inv.inv` is t."""
        return _Inverse(self)

    @property
    def sign(self) -> Any:
        raise NotImplementedError(f"[{type(self).__name__}] has no sign")

    def with_cache(self, cache_size: int = 1) -> Transform:
        """The same map with another cache size."""
        if self._cache_size == cache_size:
            return self
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__, _cache_size=cache_size, _cached=(None, None))
        return new

    def __call__(self, x: Any) -> Tensor:
        if self._cache_size and x is self._cached[0]:
            return self._cached[1]
        y = self._call(x)
        if self._cache_size:
            self._cached = x, y
        return y

    def _inv_call(self, y: Any) -> Tensor:
        if self._cache_size and y is self._cached[1]:
            return self._cached[0]
        x = self._inverse(y)
        if self._cache_size:
            self._cached = x, y
        return x

    def _call(self, x: Any) -> Any:
        raise NotImplementedError(f"[{type(self).__name__}] has no forward map")

    def _inverse(self, y: Any) -> Any:
        raise NotImplementedError(f"[{type(self).__name__}] has no inverse")

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Tensor:
        """log |dy/dx|, one number per value (per vector, where `event_dim` is 1)."""
        raise NotImplementedError(f"[{type(self).__name__}] is not bijective: it has no Jacobian")

    def forward_shape(self, shape: Any) -> tuple[int, ...]:
        """The shape of y for a shape of x."""
        return tuple(shape)

    def inverse_shape(self, shape: Any) -> tuple[int, ...]:
        """The shape of x for a shape of y."""
        return tuple(shape)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._key() == other._key()

    def _key(self) -> Any:
        return id(self) if type(self).__init__ is not Transform.__init__ else None

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class _Inverse(Transform):
    """t.inv: the same map read backwards."""

    def __init__(self, base: Transform):
        super().__init__(base._cache_size)
        self.base = base

    @property
    def domain(self) -> Constraint:
        return self.base.codomain

    @property
    def codomain(self) -> Constraint:
        return self.base.domain

    @property
    def bijective(self) -> bool:
        return self.base.bijective

    @property
    def sign(self) -> Any:
        return self.base.sign

    @property
    def inv(self) -> Transform:
        return self.base

    def with_cache(self, cache_size: int = 1) -> Transform:
        return self.base.with_cache(cache_size).inv

    def __call__(self, x: Any) -> Tensor:
        return self.base._inv_call(x)

    def _inv_call(self, y: Any) -> Tensor:
        return self.base(y)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Tensor:
        return -self.base.log_abs_det_jacobian(y, x)

    def forward_shape(self, shape: Any) -> tuple[int, ...]:
        return self.base.inverse_shape(shape)

    def inverse_shape(self, shape: Any) -> tuple[int, ...]:
        return self.base.forward_shape(shape)

    def _key(self) -> Any:
        return self.base

    def __repr__(self) -> str:
        return f"{self.base!r}.inv"

    __hash__ = object.__hash__


def _same(a: Any, b: Any) -> bool:
    a, b = (np.asarray(constraints.bare(v)) for v in (a, b))
    return a.shape == b.shape and bool((a == b).all())


class _Smooth(Transform):
    """A bijection of numbers that grows."""

    bijective = True

    @property
    def sign(self) -> Any:
        return 1


class ExpTransform(_Smooth):
    """y = exp(x)."""

    codomain = constraints.positive

    def _call(self, x: Any) -> Any:
        return exp(x)

    def _inverse(self, y: Any) -> Any:
        return log(y)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Tensor:
        return x


class SigmoidTransform(_Smooth):
    """y = 1 / (1 + exp(-x)), kept inside (0, 1)."""

    codomain = constraints.unit_interval

    def _call(self, x: Any) -> Any:
        info = np.finfo(x.dtype)
        return sigmoid(x).clip(float(info.tiny), 1 - float(info.eps))

    def _inverse(self, y: Any) -> Any:
        info = np.finfo(y.dtype)
        return logit(y.clip(float(info.tiny), 1 - float(info.eps)))

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Tensor:
        return log_sigmoid(x) + log_sigmoid(-x)


class TanhTransform(_Smooth):
    """y = tanh(x). The inverse is exact only away from the ends; a cache of size 1 keeps x."""

    codomain = constraints.interval(-1.0, 1.0)

    def _call(self, x: Any) -> Any:
        return tanh(x)

    def _inverse(self, y: Any) -> Any:
        return 0.5 * (log1p(y) - log1p(-y))

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Tensor:
        return 2 * (math.log(2) - x - softplus(-2 * x))      # log(1 - tanh(x)^2), stable


class SoftplusTransform(_Smooth):
    """y = log(1 + exp(x))."""

    codomain = constraints.positive

    def _call(self, x: Any) -> Any:
        return softplus(x)

    def _inverse(self, y: Any) -> Any:
        return log(-expm1(-y)) + y

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Tensor:
        return -softplus(-x)


class PowerTransform(_Smooth):
    """y = x ** exponent for x > 0."""

    domain = codomain = constraints.positive

    def __init__(self, exponent: Any, cache_size: int = 0):
        super().__init__(cache_size)
        self.exponent = exponent if isinstance(exponent, Tensor) else Tensor(exponent)

    def _beside(self, x: Any) -> Tensor:
        """The exponent in the dtype of x, on its device; a number is copied there once."""
        power = self.exponent
        if power.device != x.device and not power.requires_grad:
            power = Tensor.wrap(beside(power.data, x))
        return power.to(x.dtype, device=x.device)

    @property
    def sign(self) -> Any:
        return sign(self.exponent)

    def _call(self, x: Any) -> Any:
        return x ** self._beside(x)

    def _inverse(self, y: Any) -> Any:
        return y ** (1 / self._beside(y))

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Tensor:
        return log(abs(self._beside(x) * y / x))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PowerTransform) and _same(self.exponent, other.exponent)

    __hash__ = object.__hash__


class AffineTransform(_Smooth):
    """y = loc + scale * x; `event_dim` of the last axes make up one value."""

    def __init__(self, loc: Any, scale: Any, event_dim: int = 0, cache_size: int = 0):
        super().__init__(cache_size)
        self.loc, self.scale, self._event_dim = loc, scale, event_dim
        if event_dim:
            self.domain = self.codomain = constraints.independent(constraints.real, event_dim)

    @property
    def event_dim(self) -> int:
        return self._event_dim

    @property
    def sign(self) -> Any:
        if isinstance(self.scale, Tensor):
            return sign(self.scale)
        return (self.scale > 0) - (self.scale < 0)

    def _call(self, x: Any) -> Any:
        return self.loc + self.scale * x

    def _inverse(self, y: Any) -> Any:
        return (y - self.loc) / self.scale

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Tensor:
        size = (log(abs(self.scale)) if isinstance(self.scale, Tensor)
                else math.log(abs(self.scale)))
        return sum_rightmost(x * 0 + size, self._event_dim)

    def forward_shape(self, shape: Any) -> tuple[int, ...]:
        return np.broadcast_shapes(shape, np.shape(constraints.bare(self.loc)),
                                   np.shape(constraints.bare(self.scale)))

    inverse_shape = forward_shape

    def __eq__(self, other: object) -> bool:
        return (isinstance(other, AffineTransform) and _same(self.loc, other.loc)
                and _same(self.scale, other.scale))

    __hash__ = object.__hash__


class AbsTransform(Transform):
    """y = |x|; the inverse gives the positive x."""

    codomain = constraints.positive

    def _call(self, x: Any) -> Any:
        return abs(x)

    def _inverse(self, y: Any) -> Any:
        return y


class CumulativeDistributionTransform(_Smooth):
    """y = distribution.cdf(x)."""

    codomain = constraints.unit_interval

    def __init__(self, distribution: Any, cache_size: int = 0):
        super().__init__(cache_size)
        self.distribution = distribution

    @property
    def domain(self) -> Constraint:
        return self.distribution.support

    def _call(self, x: Any) -> Any:
        return self.distribution.cdf(x)

    def _inverse(self, y: Any) -> Any:
        return self.distribution.icdf(y)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Tensor:
        return self.distribution.log_prob(x)
