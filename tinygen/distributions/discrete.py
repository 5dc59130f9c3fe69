"""Distributions of counts: Bernoulli, binomial, geometric, Poisson, negative binomial."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import random
from ..grad_mode import no_grad
from ..ops import (
    arange,
    equal,
    exp,
    floor,
    log,
    log1p,
    log_sigmoid,
    logaddexp,
    sigmoid,
    where,
)
from ..special import lgamma, xlog1py, xlogy
from ..tensor import Tensor
from . import constraints
from .distribution import Distribution, broadcast_all, lazy

__all__ = ["Bernoulli", "Binomial", "Geometric", "NegativeBinomial", "Poisson"]


def one_of(name: str, probs: Any, logits: Any) -> None:
    """Exactly one of the two parameterisations is given."""
    if (probs is None) == (logits is None):
        raise ValueError(f"[{name}] give either probs or logits, "
                         + ("neither was given" if probs is None else "not both"))


def safe_probs(probs: Tensor) -> Tensor:
    """Probabilities away from 0 and 1 by the dtype's epsilon."""
    eps = float(np.finfo(probs.dtype).eps)
    return probs.clip(eps, 1 - eps)


class FromProbs(Distribution):
    """A distribution of a success probability, given as `probs` or `logits` = log(p / (1 - p))."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}

    def _take(self, probs: Any, logits: Any, *others: Any) -> list[Tensor]:
        """Store probs or logits broadcast with the other parameters, which come back."""
        one_of(type(self).__name__, probs, logits)
        given, *rest = broadcast_all(probs if logits is None else logits, *others)
        self.__dict__["probs" if logits is None else "logits"] = given
        return rest

    @property
    def _param(self) -> Tensor:
        return self.__dict__["probs" if "probs" in self.__dict__ else "logits"]

    @lazy
    def probs(self) -> Tensor:
        """The success probability."""
        return sigmoid(self.logits)

    @lazy
    def logits(self) -> Tensor:
        """log(probs / (1 - probs)), with probs kept an epsilon away from 0 and 1."""
        p = safe_probs(self.probs)
        return log(p) - log1p(-p)

    def _cross_entropy(self, value: Any) -> Tensor:
        """-value log(p) - (1 - value) log(1 - p), from the logits."""
        return logaddexp(self.logits, 0) - self.logits * value


class Bernoulli(FromProbs):
    """1 with probability `probs`, else 0."""

    support = constraints.boolean
    has_enumerate_support = True

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        self._take(probs, logits)
        super().__init__(self._param.shape, (), validate_args)

    @property
    def param_shape(self) -> tuple[int, ...]:
        """The shape of the parameter."""
        return self._param.shape

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def mode(self) -> Tensor:
        p = self.probs
        return where(equal(p, 0.5), math.nan, (p >= 0.5).astype(p.dtype))

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        p = self.probs.detach()
        u = random.uniform(self._extended_shape(sample_shape), dtype=p.dtype, device=p.device)
        return (u < p).astype(p.dtype)

    def log_prob(self, value: Any) -> Tensor:
        return -self._cross_entropy(self._value(value))

    def cdf(self, value: Any) -> Tensor:
        value = self._value(value)
        return where(value < 0, 0.0, where(value < 1, 1 - self.probs, 1.0))

    def entropy(self) -> Tensor:
        return self._cross_entropy(self.probs)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        return self._enumerated(arange(2).astype(self._param.dtype), expand)


class Binomial(FromProbs):
    """The number of successes in `total_count` trials."""

    arg_constraints = {"total_count": constraints.nonnegative_integer, **FromProbs.arg_constraints}
    has_enumerate_support = True

    def __init__(self, total_count: Any = 1, probs: Any = None, logits: Any = None,
                 validate_args: bool | None = None):
        self.total_count, = self._take(probs, logits, total_count)
        super().__init__(self._param.shape, (), validate_args)

    @constraints.dependent_property(is_discrete=True)
    def support(self) -> constraints.Constraint:
        return constraints.integer_interval(0, self.total_count)

    @property
    def param_shape(self) -> tuple[int, ...]:
        """The shape of the parameter."""
        return self._param.shape

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.probs

    @property
    def mode(self) -> Tensor:
        return floor((self.total_count + 1) * self.probs).clip(max=self.total_count)

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        with no_grad():
            draws = random.binomial(self.total_count, self.probs.clip(0, 1), shape,
                                    device=self._param.device)
        return draws.astype(self._param.dtype)

    def log_prob(self, value: Any) -> Tensor:
        value, n = self._value(value), self.total_count
        choices = lgamma(n + 1) - lgamma(value + 1) - lgamma(n - value + 1)
        return choices + value * self.logits - n * logaddexp(self.logits, 0)

    def _count(self, what: str) -> int:
        count = int(self.total_count.data.max())
        if int(self.total_count.data.min()) != count:
            raise NotImplementedError(f"[Binomial] {what} needs one total_count for the whole "
                                      f"batch, got {self.total_count!r}")
        return count

    def entropy(self) -> Tensor:
        self._count("entropy")
        log_prob = Binomial.log_prob(_unchecked(self), self.enumerate_support(False))
        return -(exp(log_prob) * log_prob).sum(axis=0)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        count = self._count("enumerate_support")
        return self._enumerated(
            arange(1 + count, device=self._param.device).astype(self._param.dtype), expand)


def _unchecked(d: Any) -> Any:
    """The same distribution without checks of values."""
    new = object.__new__(type(d))
    new.__dict__.update(d.__dict__, _validate_args=False)
    return new


class Geometric(FromProbs):
    """The number of failures before the first success: 0, 1, 2, ..."""

    support = constraints.nonnegative_integer

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        self._take(probs, logits)
        super().__init__(self._param.shape, (), validate_args)
        looks = self._validate_args and self.probs.device == "cpu"     # a GPU is not waited for
        if looks and probs is not None and not bool((self.probs.data > 0).all()):
            raise ValueError(f"[Geometric] probs: every value must be positive, got {self.probs!r}")

    @property
    def mean(self) -> Tensor:
        return 1 / self.probs - 1

    @property
    def mode(self) -> Tensor:
        return 0 * self.probs

    @property
    def variance(self) -> Tensor:
        return (1 / self.probs - 1) / self.probs

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            p = self.probs
            wait = random.exponential(1.0, self._extended_shape(sample_shape), dtype=p.dtype,
                                      device=p.device)
            tiny = float(np.finfo(p.dtype).tiny)
            return floor(wait / -log1p(-p.clip(max=1 - 2 ** -24)).clip(max=-tiny))

    def log_prob(self, value: Any) -> Tensor:
        return xlog1py(self._value(value), -self.probs) + log(self.probs)

    def entropy(self) -> Tensor:
        return self._cross_entropy(self.probs) / self.probs


class NegativeBinomial(FromProbs):
    """The number of successes before `total_count` failures; `probs` is that of a success."""

    arg_constraints = {"total_count": constraints.greater_than_eq(0),
                       "probs": constraints.half_open_interval(0.0, 1.0),
                       "logits": constraints.real}
    support = constraints.nonnegative_integer

    def __init__(self, total_count: Any, probs: Any = None, logits: Any = None,
                 validate_args: bool | None = None):
        self.total_count, = self._take(probs, logits, total_count)
        super().__init__(self._param.shape, (), validate_args)

    @property
    def mean(self) -> Tensor:
        return self.total_count * exp(self.logits)

    @property
    def mode(self) -> Tensor:
        return floor((self.total_count - 1) * exp(self.logits)).clip(min=0)

    @property
    def variance(self) -> Tensor:
        return self.mean / sigmoid(-self.logits)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        with no_grad():
            rate = random.gamma(self.total_count, exp(self.logits), shape,
                                device=self._param.device)
            return random.poisson(rate, device=self._param.device).astype(self._param.dtype)

    def log_prob(self, value: Any) -> Tensor:
        value, n = self._value(value), self.total_count
        some = where(n + value == 0, 1, n)                       # no trials: probability 1
        choices = lgamma(some + value) - lgamma(1 + value) - lgamma(some)
        return (n * log_sigmoid(-self.logits) + value * log_sigmoid(self.logits)
                + where(n + value == 0, 0.0, choices))


class Poisson(Distribution):
    """The number of events when `rate` are expected."""

    arg_constraints = {"rate": constraints.nonnegative}
    support = constraints.nonnegative_integer

    def __init__(self, rate: Any, validate_args: bool | None = None):
        self.rate, = broadcast_all(rate)
        super().__init__(self.rate.shape, (), validate_args)

    @property
    def mean(self) -> Tensor:
        return self.rate

    @property
    def mode(self) -> Tensor:
        return floor(self.rate)

    @property
    def variance(self) -> Tensor:
        return self.rate

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return random.poisson(self.rate, self._extended_shape(sample_shape),
                              device=self.rate.device).astype(self.rate.dtype)

    def log_prob(self, value: Any) -> Tensor:
        value = self._value(value)
        return xlogy(value, self.rate) - self.rate - lgamma(value + 1)
