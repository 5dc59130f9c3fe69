"""Distributions on the positive numbers, the unit interval and the simplex."""

from __future__ import annotations

import math
from typing import Any

from .. import random
from ..ops import argmax, equal, expm1, full_like, log, log1p, one_hot, stack, where
from ..special import betainc, betaln, digamma, gammainc, lgamma, xlog1py, xlogy
from ..tensor import Tensor
from . import constraints
from .distribution import Distribution, broadcast_all

__all__ = ["Beta", "Chi2", "Dirichlet", "Exponential", "Gamma"]


class Exponential(Distribution):
    """Waiting times: density rate exp(-rate x) for x >= 0."""

    arg_constraints = {"rate": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, rate: Any, validate_args: bool | None = None):
        self.rate, = broadcast_all(rate)
        super().__init__(self.rate.shape, (), validate_args)

    @property
    def mean(self) -> Tensor:
        return 1 / self.rate

    @property
    def mode(self) -> Tensor:
        return full_like(self.rate, 0)

    @property
    def stddev(self) -> Tensor:
        return 1 / self.rate

    @property
    def variance(self) -> Tensor:
        return self.rate ** -2.0

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return random.exponential(self.rate, self._extended_shape(sample_shape),
                                  device=self.rate.device)

    def log_prob(self, value: Any) -> Tensor:
        return log(self.rate) - self.rate * self._value(value)

    def cdf(self, value: Any) -> Tensor:
        return -expm1(-self.rate * self._value(value))

    def icdf(self, value: Any) -> Tensor:
        return -log1p(-broadcast_all(value, self.rate)[0]) / self.rate

    def entropy(self) -> Tensor:
        return 1 - log(self.rate)


class Gamma(Distribution):
    """The gamma distribution: density rate^a x^(a-1) exp(-rate x) / Gamma(a).

    Samples carry implicit gradients to both parameters. Source: M. Figurnov, S. Mohamed and
    A. Mnih, "Implicit Reparameterization Gradients", NeurIPS 2018.
    """

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None):
        self.concentration, self.rate = broadcast_all(concentration, rate)
        super().__init__(self.concentration.shape, (), validate_args)

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.rate

    @property
    def mode(self) -> Tensor:
        return ((self.concentration - 1) / self.rate).clip(min=0)

    @property
    def variance(self) -> Tensor:
        return self.concentration / (self.rate * self.rate)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        return random.standard_gamma(self.concentration, shape,
                                     device=self.rate.device) / self.rate

    def log_prob(self, value: Any) -> Tensor:
        value = self._value(value)
        return (xlogy(self.concentration, self.rate) + xlogy(self.concentration - 1, value)
                - self.rate * value - lgamma(self.concentration))

    def cdf(self, value: Any) -> Tensor:
        return gammainc(self.concentration, self.rate * self._value(value))

    def entropy(self) -> Tensor:
        a = self.concentration
        return a - log(self.rate) + lgamma(a) + (1 - a) * digamma(a)


class Chi2(Gamma):
    """The sum of the squares of `df` standard normal numbers: Gamma(df / 2, 1 / 2)."""

    arg_constraints = {"df": constraints.positive}

    def __init__(self, df: Any, validate_args: bool | None = None):
        self.df, = broadcast_all(df)
        super().__init__(0.5 * self.df, 0.5, validate_args)


class Dirichlet(Distribution):
    """Points x of the simplex with density proportional to the product of x_i^(a_i - 1)."""

    arg_constraints = {"concentration": constraints.independent(constraints.positive, 1)}
    support = constraints.simplex
    has_rsample = True
    _event_ndims = {"concentration": 1}

    def __init__(self, concentration: Any, validate_args: bool | None = None):
        self.concentration, = broadcast_all(concentration)
        if not self.concentration.ndim:
            raise ValueError("[Dirichlet] concentration must have at least one axis")
        super().__init__(self.concentration.shape[:-1], self.concentration.shape[-1:],
                         validate_args)

    @property
    def _total(self) -> Tensor:
        return self.concentration.sum(axis=-1, keepdims=True)

    @property
    def mean(self) -> Tensor:
        return self.concentration / self._total

    @property
    def mode(self) -> Tensor:
        above = (self.concentration - 1).clip(min=0)
        total = above.sum(axis=-1, keepdims=True)
        inner = above / where(equal(total, 0), 1, total)
        corner = one_hot(argmax(above, axis=-1), above.shape[-1]).astype(above.dtype)
        flat = (self.concentration < 1).all(axis=-1, keepdims=True)
        return where(flat, corner, where(equal(total, 0), math.nan, inner))

    @property
    def variance(self) -> Tensor:
        m = self.mean
        return m * (1 - m) / (self._total + 1)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return random.dirichlet(self.concentration, self._extended_shape(sample_shape),
                                device=self.concentration.device)

    def log_prob(self, value: Any) -> Tensor:
        a = self.concentration
        return (xlogy(a - 1, self._value(value)).sum(axis=-1) + lgamma(a.sum(axis=-1))
                - lgamma(a).sum(axis=-1))

    def entropy(self) -> Tensor:
        a, total, k = self.concentration, self.concentration.sum(axis=-1), self._event_shape[-1]
        return (lgamma(a).sum(axis=-1) - lgamma(total) - (k - total) * digamma(total)
                - ((a - 1) * digamma(a)).sum(axis=-1))


class Beta(Distribution):
    """Numbers of [0, 1] with density x^(a-1) (1-x)^(b-1) / B(a, b), a = concentration1."""

    arg_constraints = {"concentration1": constraints.positive,
                       "concentration0": constraints.positive}
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, concentration1: Any, concentration0: Any,
                 validate_args: bool | None = None):
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        super().__init__(self.concentration1.shape, (), validate_args)

    @property
    def _both(self) -> Tensor:
        return stack([self.concentration1, self.concentration0], axis=-1)

    @property
    def mean(self) -> Tensor:
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def mode(self) -> Tensor:
        return Dirichlet(self._both, validate_args=False).mode[..., 0]

    @property
    def variance(self) -> Tensor:
        total = self.concentration1 + self.concentration0
        return self.concentration1 * self.concentration0 / (total * total * (total + 1))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = (*self._extended_shape(sample_shape), 2)
        return random.dirichlet(self._both, shape, device=self.concentration1.device)[..., 0]

    def log_prob(self, value: Any) -> Tensor:
        value = self._value(value)
        return (xlogy(self.concentration1 - 1, value) + xlog1py(self.concentration0 - 1, -value)
                - betaln(self.concentration1, self.concentration0))

    def cdf(self, value: Any) -> Tensor:
        return betainc(self.concentration1, self.concentration0, self._value(value))

    def entropy(self) -> Tensor:
        a, b = self.concentration1, self.concentration0
        return (betaln(a, b) - (a - 1) * digamma(a) - (b - 1) * digamma(b)
                + (a + b - 2) * digamma(a + b))
