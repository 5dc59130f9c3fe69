"""More distributions of ratios and of the unit interval: F, Kumaraswamy, continuous Bernoulli."""

from __future__ import annotations

import math
from typing import Any

from .. import random
from ..ops import exp, full_like, log, log1p, where
from ..ops.elementwise import greater, less_equal, logical_or
from ..special import betaln, digamma, lgamma
from ..tensor import Tensor
from . import constraints
from .discrete import FromProbs, safe_probs
from .distribution import Distribution, broadcast_all
from .location import EULER, Uniform
from .transformed import TransformedDistribution, rebuilt
from .transforms import AffineTransform, PowerTransform

__all__ = ["ContinuousBernoulli", "FisherSnedecor", "Kumaraswamy"]


class FisherSnedecor(Distribution):
    """The F distribution: the ratio of two chi-square numbers, each over its degrees of freedom."""

    arg_constraints = {"df1": constraints.positive, "df2": constraints.positive}
    support = constraints.positive
    has_rsample = True

    def __init__(self, df1: Any, df2: Any, validate_args: bool | None = None):
        self.df1, self.df2 = broadcast_all(df1, df2)
        super().__init__(self.df1.shape, (), validate_args)

    @property
    def mean(self) -> Tensor:
        df2 = where(self.df2 > 2, self.df2, math.nan)
        return df2 / (df2 - 2)

    @property
    def mode(self) -> Tensor:
        df1 = where(self.df1 > 2, self.df1, math.nan)
        return (df1 - 2) / df1 * self.df2 / (self.df2 + 2)

    @property
    def variance(self) -> Tensor:
        n, m = self.df1, where(self.df2 > 4, self.df2, math.nan)
        return 2 * m * m * (n + m - 2) / (n * (m - 2) ** 2 * (m - 4))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape, device = self._extended_shape(sample_shape), self.df1.device
        top = random.chi2(self.df1, shape, device=device) / self.df1
        return top / (random.chi2(self.df2, shape, device=device) / self.df2)

    def log_prob(self, value: Any) -> Tensor:
        value, a, b = self._value(value), 0.5 * self.df1, 0.5 * self.df2
        ratio = self.df1 / self.df2
        return (a * log(ratio) + (a - 1) * log(value) - (a + b) * log1p(ratio * value)
                - (lgamma(a) + lgamma(b) - lgamma(a + b)))


class Kumaraswamy(TransformedDistribution):
    """Numbers of [0, 1] with distribution function 1 - (1 - x^a)^b, a = concentration1."""

    arg_constraints = {"concentration1": constraints.positive,
                       "concentration0": constraints.positive}
    support = constraints.unit_interval

    def __init__(self, concentration1: Any, concentration0: Any,
                 validate_args: bool | None = None):
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        zero = full_like(self.concentration1, 0)
        steps = [PowerTransform(1 / self.concentration0), AffineTransform(1.0, -1.0),
                 PowerTransform(1 / self.concentration1)]
        super().__init__(Uniform(zero, zero + 1, validate_args=False), steps, validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Kumaraswamy:
        return rebuilt(self, batch_shape, "concentration1", "concentration0")

    def _moment(self, n: int) -> Tensor:
        b = self.concentration0
        return b * exp(betaln(1 + n / self.concentration1, b))

    @property
    def mean(self) -> Tensor:
        return self._moment(1)

    @property
    def variance(self) -> Tensor:
        return self._moment(2) - self._moment(1) ** 2

    @property
    def mode(self) -> Tensor:
        a, b = self.concentration1, self.concentration0
        inside = (a >= 1) & (b >= 1)
        ratio = where(inside, (a - 1) / where(inside, a * b - 1, 1), 1)
        return where(inside, ratio ** (1 / a), math.nan)

    def entropy(self) -> Tensor:
        a, b = self.concentration1, self.concentration0
        return (1 - 1 / b) + (1 - 1 / a) * (digamma(b + 1) + EULER) - log(a) - log(b)


class ContinuousBernoulli(FromProbs):
    """Numbers x of [0, 1] with density proportional to probs^x (1 - probs)^(1 - x).

    Where probs lies within `lims`, close to 1/2, the constant and the moments, which are 0/0 at
    1/2, come from their Taylor series.

    Source: G. Loaiza-Ganem and J. Cunningham, "The continuous Bernoulli: fixing a pervasive error
    in variational autoencoders", NeurIPS 2019.
    """

    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, probs: Any = None, logits: Any = None,
                 lims: tuple[float, float] = (0.499, 0.501), validate_args: bool | None = None):
        self._take(probs, logits)
        self._lims = lims
        super().__init__(self._param.shape, (), validate_args)
        if logits is None:
            self.probs = safe_probs(self.probs)

    @property
    def param_shape(self) -> tuple[int, ...]:
        """The shape of the parameter."""
        return self._param.shape

    @property
    def _clear(self) -> Tensor:
        """True where probs is far enough from 1/2 for the plain formulas."""
        return logical_or(less_equal(self.probs, self._lims[0]), greater(self.probs, self._lims[1]))

    def _cut(self) -> tuple[Tensor, Tensor]:
        """probs and its logit, with other ones put where the plain formulas are not used."""
        p = where(self._clear, self.probs, self._lims[0])
        return p, log(p) - log1p(-p)

    def log_norm(self) -> Tensor:
        """The logarithm of the density's constant, 2 artanh(1 - 2 probs) / (1 - 2 probs)."""
        p, odds = self._cut()
        x = (self.probs - 0.5) ** 2
        near = math.log(2) + (4 / 3 + 104 / 45 * x) * x
        return where(self._clear, log(odds / (2 * p - 1)), near)

    @property
    def mean(self) -> Tensor:
        p, odds = self._cut()
        x = self.probs - 0.5
        near = 0.5 + (1 / 3 + 16 / 45 * x * x) * x
        return where(self._clear, p / (2 * p - 1) - 1 / odds, near)

    @property
    def variance(self) -> Tensor:
        p, odds = self._cut()
        x = (self.probs - 0.5) ** 2
        near = 1 / 12 - (1 / 15 - 128 / 945 * x) * x
        return where(self._clear, p * (p - 1) / (1 - 2 * p) ** 2 + 1 / (odds * odds), near)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        u = random.uniform(self._extended_shape(sample_shape), dtype=self._param.dtype,
                           device=self._param.device)
        return self.icdf(u)

    def log_prob(self, value: Any) -> Tensor:
        return self.log_norm() - self._cross_entropy(self._value(value))

    def cdf(self, value: Any) -> Tensor:
        value = self._value(value)
        p, _ = self._cut()
        plain = (p ** value * (1 - p) ** (1 - value) + p - 1) / (2 * p - 1)
        inside = where(self._clear, plain, value)
        return where(value <= 0, 0.0, where(value >= 1, 1.0, inside))

    def icdf(self, value: Any) -> Tensor:
        p, odds = self._cut()
        value = value if isinstance(value, Tensor) else Tensor(value)
        plain = (log1p(value * (2 * p - 1) - p) - log1p(-p)) / odds
        return where(self._clear, plain, value)

    def entropy(self) -> Tensor:
        none, one = log1p(-self.probs), log(self.probs)
        return self.mean * (none - one) - self.log_norm() - none
