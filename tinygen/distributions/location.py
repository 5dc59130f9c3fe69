"""Distributions with a location and a scale: normal, Laplace, Cauchy, Gumbel, uniform, ..."""

from __future__ import annotations

import math
from typing import Any

from .. import random
from ..ops import exp, expm1, full_like, log, log1p, sign, sin, tan, where
from ..ops.elementwise import atan, greater_equal, less, logical_and
from ..special import betainc, i0e, i1e, lgamma, ndtr, ndtri
from ..special import digamma as _digamma
from ..tensor import Tensor
from . import constraints
from .distribution import LOG_2PI, Distribution, broadcast_all

__all__ = ["Cauchy", "Gumbel", "Laplace", "Normal", "StudentT", "Uniform", "VonMises"]


class LocScale(Distribution):
    """What distributions with `loc` and `scale` share."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None):
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, (), validate_args)

    @property
    def mode(self) -> Tensor:
        return self.loc

    def _standard(self, value: Any) -> Tensor:
        return (self._value(value) - self.loc) / self.scale

    def _like(self, draw: Any, sample_shape: Any) -> Tensor:
        return draw(shape=self._extended_shape(sample_shape), dtype=self.loc.dtype,
                    device=self.loc.device)


class Normal(LocScale):
    """The normal distribution, with density exp(-((x - loc) / scale)^2 / 2) / (scale sqrt(2 pi)).

    >>> Normal(0.0, 2.0).log_prob(0.0).item() == Normal(1.0, 2.0).log_prob(1.0).item()
    True
    """

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def stddev(self) -> Tensor:
        return self.scale

    @property
    def variance(self) -> Tensor:
        return self.scale * self.scale

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.loc + self.scale * self._like(random.normal, sample_shape)

    def log_prob(self, value: Any) -> Tensor:
        z = self._standard(value)
        return -0.5 * z * z - log(self.scale) - 0.5 * LOG_2PI

    def cdf(self, value: Any) -> Tensor:
        return ndtr(self._standard(value))

    def icdf(self, value: Any) -> Tensor:
        return self.loc + self.scale * ndtri(value)

    def entropy(self) -> Tensor:
        return log(self.scale) + (0.5 + 0.5 * LOG_2PI)


class Laplace(LocScale):
    """The double exponential distribution, with density exp(-|x - loc| / scale) / (2 scale)."""

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return 2 * self.scale * self.scale

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.loc + self.scale * self._like(random.laplace, sample_shape)

    def log_prob(self, value: Any) -> Tensor:
        return -abs(self._standard(value)) - log(2 * self.scale)

    def cdf(self, value: Any) -> Tensor:
        z = self._standard(value)
        return 0.5 - 0.5 * sign(z) * expm1(-abs(z))

    def icdf(self, value: Any) -> Tensor:
        p = broadcast_all(value, self.loc)[0] - 0.5
        return self.loc - self.scale * sign(p) * log1p(-2 * abs(p))

    def entropy(self) -> Tensor:
        return 1 + log(2 * self.scale)


class Cauchy(LocScale):
    """The Cauchy distribution, with density 1 / (pi scale (1 + ((x - loc) / scale)^2))."""

    @property
    def mean(self) -> Tensor:
        return full_like(self.loc, math.nan)

    @property
    def variance(self) -> Tensor:
        return full_like(self.loc, math.inf)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.loc + self.scale * self._like(random.cauchy, sample_shape)

    def log_prob(self, value: Any) -> Tensor:
        z = self._standard(value)
        return -math.log(math.pi) - log(self.scale) - log1p(z * z)

    def cdf(self, value: Any) -> Tensor:
        return atan(self._standard(value)) * (1 / math.pi) + 0.5

    def icdf(self, value: Any) -> Tensor:
        p = broadcast_all(value, self.loc)[0]
        return self.loc + self.scale * tan(math.pi * (p - 0.5))

    def entropy(self) -> Tensor:
        return math.log(4 * math.pi) + log(self.scale)


class Gumbel(LocScale):
    """The law of largest values, with distribution function exp(-exp(-(x - loc) / scale))."""

    @property
    def mean(self) -> Tensor:
        return self.loc + self.scale * EULER

    @property
    def stddev(self) -> Tensor:
        return (math.pi / math.sqrt(6)) * self.scale

    @property
    def variance(self) -> Tensor:
        return self.stddev * self.stddev

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.loc + self.scale * self._like(random.gumbel, sample_shape)

    def log_prob(self, value: Any) -> Tensor:
        y = -self._standard(value)
        return y - exp(y) - log(self.scale)

    def cdf(self, value: Any) -> Tensor:
        return exp(-exp(-self._standard(value)))

    def icdf(self, value: Any) -> Tensor:
        p = broadcast_all(value, self.loc)[0]
        return self.loc - self.scale * log(-log(p))

    def entropy(self) -> Tensor:
        return log(self.scale) + (1 + EULER)


EULER = 0.57721566490153286


class Uniform(Distribution):
    """The uniform distribution on [low, high)."""

    arg_constraints = {"low": constraints.dependent(), "high": constraints.dependent()}
    has_rsample = True

    def __init__(self, low: Any, high: Any, validate_args: bool | None = None):
        self.low, self.high = broadcast_all(low, high)
        super().__init__(self.low.shape, (), validate_args)
        looks = self._validate_args and self.low.device == "cpu"       # a GPU is not waited for
        if looks and not bool((self.low.data < self.high.data).all()):
            raise ValueError(f"[Uniform] low must lie below high, got low {self.low!r}, high "
                             f"{self.high!r}")

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        return constraints.interval(self.low, self.high)

    @property
    def mean(self) -> Tensor:
        return 0.5 * (self.low + self.high)

    @property
    def mode(self) -> Tensor:
        return math.nan * self.high

    @property
    def stddev(self) -> Tensor:
        return (self.high - self.low) / math.sqrt(12)

    @property
    def variance(self) -> Tensor:
        return (self.high - self.low) ** 2 / 12

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        u = random.uniform(self._extended_shape(sample_shape), dtype=self.low.dtype,
                           device=self.low.device)
        return self.low + u * (self.high - self.low)

    def log_prob(self, value: Any) -> Tensor:
        value = self._value(value)
        inside = logical_and(greater_equal(value, self.low), less(value, self.high))
        return where(inside, -log(self.high - self.low), -math.inf)

    def cdf(self, value: Any) -> Tensor:
        return ((self._value(value) - self.low) / (self.high - self.low)).clip(0, 1)

    def icdf(self, value: Any) -> Tensor:
        return value * (self.high - self.low) + self.low

    def entropy(self) -> Tensor:
        return log(self.high - self.low)


class StudentT(Distribution):
    """Student's t with `df` degrees of freedom, moved by `loc` and stretched by `scale`."""

    arg_constraints = {"df": constraints.positive, "loc": constraints.real,
                       "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, df: Any, loc: Any = 0.0, scale: Any = 1.0,
                 validate_args: bool | None = None):
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        super().__init__(self.df.shape, (), validate_args)

    @property
    def mean(self) -> Tensor:
        return where(self.df <= 1, math.nan, self.loc)

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        df = where(self.df > 2, self.df, 3)
        some = where(self.df > 2, self.scale * self.scale * df / (df - 2), math.inf)
        return where(self.df <= 1, math.nan, some)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        t = random.student_t(self.df, shape, device=self.df.device)
        return self.loc + self.scale * t

    def _log_norm(self) -> Tensor:
        return (log(self.scale) + 0.5 * log(self.df * math.pi) + lgamma(0.5 * self.df)
                - lgamma(0.5 * (self.df + 1)))

    def log_prob(self, value: Any) -> Tensor:
        y = (self._value(value) - self.loc) / self.scale
        return -0.5 * (self.df + 1) * log1p(y * y / self.df) - self._log_norm()

    def cdf(self, value: Any) -> Tensor:
        y = (self._value(value) - self.loc) / self.scale
        tail = 0.5 * betainc(0.5 * self.df, 0.5, self.df / (self.df + y * y))
        return where(y > 0, 1 - tail, tail)

    def entropy(self) -> Tensor:
        half, more = 0.5 * self.df, 0.5 * (self.df + 1)
        return more * (_digamma(more) - _digamma(half)) + self._log_norm()


class VonMises(Distribution):
    """The circular normal distribution, with density exp(concentration cos(x - loc)) / 2 pi I0."""

    arg_constraints = {"loc": constraints.real, "concentration": constraints.positive}
    support = constraints.real

    def __init__(self, loc: Any, concentration: Any, validate_args: bool | None = None):
        self.loc, self.concentration = broadcast_all(loc, concentration)
        super().__init__(self.loc.shape, (), validate_args)

    @property
    def mean(self) -> Tensor:
        """The circular mean."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The circular variance, 1 - I1(concentration) / I0(concentration)."""
        return 1 - i1e(self.concentration) / i0e(self.concentration)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return random.von_mises(self.loc, self.concentration, self._extended_shape(sample_shape),
                                device=self.loc.device)

    def log_prob(self, value: Any) -> Tensor:
        half = (self._value(value) - self.loc) * 0.5

        away = sin(half)                         # cos(x) - 1 = -2 sin(x / 2)^2
        return -2 * self.concentration * away * away - log(i0e(self.concentration)) - LOG_2PI
