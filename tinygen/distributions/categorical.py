"""Distributions over the values of a last axis: categorical, one-hot, multinomial."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from .. import random
from ..grad_mode import no_grad
from ..ops import (
    arange,
    argmax,
    broadcast_to,
    equal,
    exp,
    expand_dims,
    full_like,
    log,
    logical_and,
    logsumexp,
    one_hot,
    softmax,
    take_along_axis,
    where,
)
from ..random.laws import multinomial_p
from ..special import lgamma
from ..tensor import Tensor
from . import constraints
from .discrete import Binomial, one_of, safe_probs
from .distribution import Distribution, broadcast_all, lazy

__all__ = ["Categorical", "Multinomial", "OneHotCategorical", "OneHotCategoricalStraightThrough"]


class Categorical(Distribution):
    """0, 1, ..., n - 1 with probabilities `probs` (made to sum to 1), or softmax(`logits`)."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    has_enumerate_support = True
    _event_ndims = {"probs": 1, "logits": 1}

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        name = type(self).__name__
        one_of(name, probs, logits)
        given, = broadcast_all(probs if logits is None else logits)
        if not given.ndim:
            raise ValueError(f"[{name}] {'probs' if logits is None else 'logits'} must have at "
                             "least one axis")
        if logits is None:
            self.probs = given / given.sum(axis=-1, keepdims=True)
        else:
            self.logits = given - logsumexp(given, axis=-1, keepdims=True)
        super().__init__(given.shape[:-1], (), validate_args)

    @property
    def _param(self) -> Tensor:
        return self.__dict__["probs" if "probs" in self.__dict__ else "logits"]

    @lazy
    def probs(self) -> Tensor:
        """The probabilities, (..., n)."""
        return softmax(self.logits, axis=-1)

    @lazy
    def logits(self) -> Tensor:
        """The logarithms of the probabilities, with these kept an epsilon away from 0 and 1."""
        return log(safe_probs(self.probs))

    @property
    def _num_events(self) -> int:
        return self._param.shape[-1]

    @property
    def param_shape(self) -> tuple[int, ...]:
        """The shape of the parameter."""
        return self._param.shape

    @constraints.dependent_property(is_discrete=True)
    def support(self) -> constraints.Constraint:
        return constraints.integer_interval(0, self._num_events - 1)

    @property
    def mean(self) -> Tensor:
        return full_like(self._param[..., 0], math.nan)

    @property
    def mode(self) -> Tensor:
        return argmax(self.probs, axis=-1)

    @property
    def variance(self) -> Tensor:
        return full_like(self._param[..., 0], math.nan)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            return random.categorical(self.probs, self._extended_shape(sample_shape),
                                      device=self._param.device)

    def log_prob(self, value: Any) -> Tensor:
        value = self._value(value).astype("int64")
        shape = np.broadcast_shapes(value.shape, self._batch_shape)
        index = expand_dims(broadcast_to(value, shape), -1)
        table = broadcast_to(self.logits, (*shape, self._num_events))
        return take_along_axis(table, index, axis=-1)[..., 0]

    def entropy(self) -> Tensor:
        finite = self.logits.clip(min=float(np.finfo(self._param.dtype).min))
        return -(self.probs * finite).sum(axis=-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        return self._enumerated(arange(self._num_events), expand)


class OverCategorical(Distribution):
    """A distribution over the draws of a `Categorical`, which it keeps in `_categorical`."""

    _categorical: Categorical

    @property
    def _param(self) -> Tensor:
        return self._categorical._param

    @property
    def probs(self) -> Tensor:
        """The probabilities, (..., n)."""
        return self._categorical.probs

    @property
    def logits(self) -> Tensor:
        """The logarithms of the probabilities."""
        return self._categorical.logits

    @property
    def param_shape(self) -> tuple[int, ...]:
        """The shape of the parameter."""
        return self._param.shape


class OneHotCategorical(OverCategorical):
    """Categorical values as one-hot vectors."""

    arg_constraints = Categorical.arg_constraints
    support = constraints.one_hot
    has_enumerate_support = True

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        self._categorical = Categorical(probs, logits, validate_args)
        super().__init__(self._categorical.batch_shape, self._param.shape[-1:], validate_args)

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def mode(self) -> Tensor:
        return self._hot(self._categorical.mode)

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    def _hot(self, index: Tensor) -> Tensor:
        return one_hot(index, self._event_shape[0]).astype(self._param.dtype)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self._hot(self._categorical.sample(sample_shape))

    def log_prob(self, value: Any) -> Tensor:
        return self._categorical.log_prob(argmax(self._value(value), axis=-1))

    def entropy(self) -> Tensor:
        return self._categorical.entropy()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        n = self._event_shape[0]
        values = self._hot(arange(n)).reshape((n,) + (1,) * len(self._batch_shape) + (n,))
        return broadcast_to(values, (n, *self._batch_shape, n)) if expand else values

    def __repr__(self) -> str:
        return repr(self._categorical).replace("Categorical", type(self).__name__, 1)


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """One-hot samples whose gradient is that of the probabilities.

    Source: Y. Bengio, N. Leonard and A. Courville, "Estimating or Propagating Gradients Through
    Stochastic Neurons for Conditional Computation", 2013.
    """

    has_rsample = True

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.sample(sample_shape) + (self.probs - self.probs.detach())


class Multinomial(OverCategorical):
    """How often each outcome came in `total_count` categorical draws."""

    arg_constraints = Categorical.arg_constraints

    def __init__(self, total_count: int = 1, probs: Any = None, logits: Any = None,
                 validate_args: bool | None = None):
        try:
            self.total_count = operator.index(total_count)
        except TypeError:
            raise NotImplementedError("[Multinomial] total_count must be one integer for the "
                                      f"whole batch, got {total_count!r}") from None
        self._categorical = Categorical(probs, logits, validate_args)
        super().__init__(self._categorical.batch_shape, self._param.shape[-1:], validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        return constraints.multinomial(self.total_count)

    @property
    def mean(self) -> Tensor:
        return self.probs * self.total_count

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        p = broadcast_to(self.probs.detach(), self._extended_shape(sample_shape))
        counts = multinomial_p(p, n=self.total_count,
                               generator=random.default_generator(p.device))
        return counts.astype(p.dtype)

    def log_prob(self, value: Any) -> Tensor:
        value, logits = broadcast_all(self._value(value), self.logits)
        impossible = logical_and(equal(logits, -math.inf), equal(value, 0))
        terms = where(impossible, 0, logits) * value
        return (lgamma(value.sum(axis=-1) + 1) - lgamma(value + 1).sum(axis=-1)
                + terms.sum(axis=-1))

    def entropy(self) -> Tensor:
        """n H - log n! + sum of E[log x_i!], with the binomial law of each count x_i."""
        n = self.total_count
        each = Binomial(n, probs=self.probs, validate_args=False)
        counts = each.enumerate_support(expand=False)[1:]
        weights = exp(each.log_prob(counts))
        log_factorials = (weights * lgamma(counts + 1)).sum(axis=(0, -1))
        return n * self._categorical.entropy() - math.lgamma(n + 1) + log_factorials

    def __repr__(self) -> str:
        return repr(self._categorical).replace("Categorical(",
                                               f"Multinomial(total_count: {self.total_count}, ", 1)
