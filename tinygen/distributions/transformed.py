"""Distributions of transformed values: log-normal, half-normal, Weibull, relaxed categories, ..."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..grad_mode import no_grad
from ..ops import exp, expm1, full_like, log, where
from ..ops.shape import as_shape, broadcast_to
from ..special import digamma, gamma, lgamma
from ..tensor import Tensor
from . import constraints
from .distribution import Distribution, broadcast_all, sum_rightmost
from .location import EULER, Cauchy, Normal
from .mixture import Independent
from .positive import Exponential, Gamma
from .transforms import (
    AbsTransform,
    AffineTransform,
    ComposeTransform,
    ExpTransform,
    PowerTransform,
    StickBreakingTransform,
    Transform,
)

__all__ = [
    "HalfCauchy", "HalfNormal", "InverseGamma", "LogNormal", "LogisticNormal", "Pareto",
    "TransformedDistribution", "Weibull",
]


class TransformedDistribution(Distribution):
    """The law of f(x) where x follows `base_distribution`, for invertible transforms f.

    log p(y) = log p(x) - log |dy/dx| with x = f^-1(y). A list of transforms is applied first to
    last.
    """

    base_dist: Any

    def __init__(self, base_distribution: Distribution, transforms: Any,
                 validate_args: bool | None = None):
        if isinstance(transforms, Transform):
            transforms = [transforms]
        if not isinstance(transforms, Sequence) or not all(
                isinstance(t, Transform) for t in transforms):
            raise ValueError("[TransformedDistribution] transforms must be a Transform or a list "
                             f"of them, got {transforms!r}")
        self.transforms = list(transforms)
        chain = ComposeTransform(self.transforms)
        base: Any = base_distribution
        shape = base.batch_shape + base.event_shape
        need = chain.domain.event_dim
        if len(shape) < need:
            raise ValueError(f"[TransformedDistribution] the base distribution has shape {shape}; "
                             f"the transforms need at least {need} axes")
        wide = chain.inverse_shape(chain.forward_shape(shape))       # loc, scale may broadcast it
        if wide != shape:
            base = base.expand(wide[:len(wide) - len(base.event_shape)])
        if need > len(base.event_shape):
            base = Independent(base, need - len(base.event_shape))
        self.base_dist = base
        out = chain.forward_shape(base.batch_shape + base.event_shape)
        event = chain.codomain.event_dim + max(len(base.event_shape) - need, 0)
        super().__init__(out[:len(out) - event], out[len(out) - event:], validate_args)

    @property
    def has_rsample(self) -> bool:
        return self.base_dist.has_rsample

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        if not self.transforms:
            return self.base_dist.support
        last = self.transforms[-1].codomain
        more = len(self._event_shape) - last.event_dim
        return constraints.independent(last, more) if more > 0 else last

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            return self._forward(self.base_dist.sample(sample_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self._forward(self.base_dist.rsample(sample_shape))

    def _forward(self, x: Tensor) -> Tensor:
        for t in self.transforms:
            x = t(x)
        return x

    def log_prob(self, value: Any) -> Tensor:
        y = self._value(value)
        event = len(self._event_shape)
        total: Any = 0
        for t in reversed(self.transforms):
            x = t._inv_call(y)
            event += t.domain.event_dim - t.codomain.event_dim
            total = total - sum_rightmost(t.log_abs_det_jacobian(x, y),
                                          event - t.domain.event_dim)
            y = x
        base = self.base_dist.log_prob(y)
        return total + sum_rightmost(base, event - len(self.base_dist.event_shape))

    def _flip(self, p: Any) -> Any:
        """p where the transforms grow, 1 - p where they fall."""
        sign: Any = 1
        for t in self.transforms:
            sign = sign * t.sign
        return p if isinstance(sign, int) and sign == 1 else sign * (p - 0.5) + 0.5

    def cdf(self, value: Any) -> Tensor:
        y = self._value(value)
        for t in reversed(self.transforms):
            y = t._inv_call(y)
        return self._flip(self.base_dist.cdf(y))

    def icdf(self, value: Any) -> Tensor:
        return self._forward(self.base_dist.icdf(self._flip(value)))

    def __repr__(self) -> str:
        if type(self) is not TransformedDistribution:
            return f"{type(self).__name__}({self.base_dist!r})"
        return f"TransformedDistribution({self.base_dist!r}, {self.transforms!r})"


class LogNormal(TransformedDistribution):
    """exp(x) with x normal: the mean and deviation `loc` and `scale` are those of x."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.positive

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None):
        super().__init__(Normal(loc, scale, validate_args), ExpTransform(), validate_args)

    @property
    def loc(self) -> Tensor:
        """The mean of the logarithm."""
        return self.base_dist.loc

    @property
    def scale(self) -> Tensor:
        """The standard deviation of the logarithm."""
        return self.base_dist.scale

    @property
    def mean(self) -> Tensor:
        return exp(self.loc + 0.5 * self.scale * self.scale)

    @property
    def mode(self) -> Tensor:
        return exp(self.loc - self.scale * self.scale)

    @property
    def variance(self) -> Tensor:
        square = self.scale * self.scale
        return expm1(square) * exp(2 * self.loc + square)

    def entropy(self) -> Tensor:
        return self.base_dist.entropy() + self.loc


class _Half(TransformedDistribution):
    """|x| of a law that is symmetric around 0."""

    arg_constraints = {"scale": constraints.positive}
    support = constraints.nonnegative

    @property
    def scale(self) -> Tensor:
        """The scale of the whole law."""
        return self.base_dist.scale

    @property
    def mode(self) -> Tensor:
        return full_like(self.scale, 0)

    def log_prob(self, value: Any) -> Tensor:
        value = self._value(value)
        return where(value >= 0, self.base_dist.log_prob(value) + math.log(2), -math.inf)

    def cdf(self, value: Any) -> Tensor:
        return 2 * self.base_dist.cdf(self._value(value)) - 1

    def icdf(self, value: Any) -> Tensor:
        return self.base_dist.icdf((value + 1) * 0.5)

    def entropy(self) -> Tensor:
        return self.base_dist.entropy() - math.log(2)


class HalfNormal(_Half):
    """|x| with x normal around 0."""

    def __init__(self, scale: Any, validate_args: bool | None = None):
        super().__init__(Normal(0.0, scale, validate_args), AbsTransform(), validate_args)

    @property
    def mean(self) -> Tensor:
        return self.scale * math.sqrt(2 / math.pi)

    @property
    def variance(self) -> Tensor:
        return self.scale * self.scale * (1 - 2 / math.pi)


class HalfCauchy(_Half):
    """|x| with x a Cauchy number around 0."""

    def __init__(self, scale: Any, validate_args: bool | None = None):
        super().__init__(Cauchy(0.0, scale, validate_args), AbsTransform(), validate_args)

    @property
    def mean(self) -> Tensor:
        return full_like(self.scale, math.inf)

    @property
    def variance(self) -> Tensor:
        return full_like(self.scale, math.inf)


class InverseGamma(TransformedDistribution):
    """1 / x with x a gamma number."""

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.positive

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None):
        base = Gamma(concentration, rate, validate_args)
        super().__init__(base, PowerTransform(-1.0), validate_args)

    @property
    def concentration(self) -> Tensor:
        """The gamma law's concentration."""
        return self.base_dist.concentration

    @property
    def rate(self) -> Tensor:
        """The gamma law's rate: this law's scale."""
        return self.base_dist.rate

    @property
    def mean(self) -> Tensor:
        a = self.concentration
        return where(a > 1, self.rate / where(a > 1, a - 1, 1), math.inf)

    @property
    def mode(self) -> Tensor:
        return self.rate / (self.concentration + 1)

    @property
    def variance(self) -> Tensor:
        a = where(self.concentration > 2, self.concentration, 3)
        some = self.rate * self.rate / ((a - 1) * (a - 1) * (a - 2))
        return where(self.concentration > 2, some, math.inf)

    def entropy(self) -> Tensor:
        a = self.concentration
        return a + log(self.rate) + lgamma(a) - (1 + a) * digamma(a)


class Weibull(TransformedDistribution):
    """scale * x^(1 / concentration) with x a waiting time of rate 1."""

    arg_constraints = {"scale": constraints.positive, "concentration": constraints.positive}
    support = constraints.positive

    def __init__(self, scale: Any, concentration: Any, validate_args: bool | None = None):
        self.scale, self.concentration = broadcast_all(scale, concentration)
        steps = [PowerTransform(1 / self.concentration), AffineTransform(0.0, self.scale)]
        one = full_like(self.scale, 1)
        super().__init__(Exponential(one, validate_args), steps, validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Weibull:
        return rebuilt(self, batch_shape, "scale", "concentration")

    @property
    def mean(self) -> Tensor:
        return self.scale * gamma(1 + 1 / self.concentration)

    @property
    def mode(self) -> Tensor:
        k = self.concentration
        return self.scale * ((k - 1) / k) ** (1 / k)

    @property
    def variance(self) -> Tensor:
        k = self.concentration
        return self.scale ** 2 * (gamma(1 + 2 / k) - gamma(1 + 1 / k) ** 2)

    def entropy(self) -> Tensor:
        k = self.concentration
        return EULER * (1 - 1 / k) + log(self.scale / k) + 1


class Pareto(TransformedDistribution):
    """scale * exp(x) with x a waiting time of rate alpha: density falling like a power."""

    arg_constraints = {"alpha": constraints.positive, "scale": constraints.positive}

    def __init__(self, scale: Any, alpha: Any, validate_args: bool | None = None):
        self.scale, self.alpha = broadcast_all(scale, alpha)
        steps = [ExpTransform(), AffineTransform(0.0, self.scale)]
        super().__init__(Exponential(self.alpha, validate_args), steps, validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Pareto:
        return rebuilt(self, batch_shape, "scale", "alpha")

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        return constraints.greater_than_eq(self.scale)

    @property
    def mean(self) -> Tensor:
        a = where(self.alpha > 1, self.alpha, 2)
        return where(self.alpha > 1, a * self.scale / (a - 1), math.inf)

    @property
    def mode(self) -> Tensor:
        return self.scale

    @property
    def variance(self) -> Tensor:
        a = where(self.alpha > 2, self.alpha, 3)
        some = self.scale ** 2 * a / ((a - 1) ** 2 * (a - 2))
        return where(self.alpha > 2, some, math.inf)

    def entropy(self) -> Tensor:
        return log(self.scale / self.alpha) + (1 + 1 / self.alpha)


def rebuilt(d: Any, batch_shape: Any, *names: str) -> Any:
    """The distribution made anew from expanded parameters."""
    batch = as_shape(batch_shape)
    new = type(d)(*[broadcast_to(getattr(d, n), batch) for n in names], validate_args=False)
    new._validate_args = d._validate_args
    return new


class LogisticNormal(TransformedDistribution):
    """Points of the simplex: stick breaking of normal numbers."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.simplex

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None):
        base = Normal(loc, scale, validate_args)
        if not base.batch_shape:
            base = base.expand((1,))
        super().__init__(base, StickBreakingTransform(), validate_args)

    @property
    def loc(self) -> Tensor:
        """The means of the normal numbers."""
        return self.base_dist.base_dist.loc

    @property
    def scale(self) -> Tensor:
        """The standard deviations of the normal numbers."""
        return self.base_dist.base_dist.scale
