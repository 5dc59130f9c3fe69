"""Discrete choices made smooth: relaxed Bernoulli and one-hot samples, with gradients."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import random
from ..ops import log, logsumexp, softplus
from ..special import logit
from ..tensor import Tensor
from . import constraints
from .categorical import Categorical, OverCategorical
from .discrete import FromProbs
from .distribution import broadcast_all
from .transformed import TransformedDistribution
from .transforms import ExpTransform, SigmoidTransform

__all__ = ["RelaxedBernoulli", "RelaxedOneHotCategorical"]


def _open_unit(shape: Any, like: Tensor) -> Tensor:
    u = random.uniform(shape, dtype=like.dtype, device=like.device)
    info = np.finfo(like.dtype)
    return u.clip(float(info.eps), 1 - float(info.eps))


class LogitRelaxedBernoulli(FromProbs):
    """The logits of `RelaxedBernoulli` samples."""

    support = constraints.real
    has_rsample = True

    def __init__(self, temperature: Any, probs: Any = None, logits: Any = None,
                 validate_args: bool | None = None):
        self._take(probs, logits)
        self.temperature, _ = broadcast_all(temperature, self._param)
        super().__init__(self._param.shape, (), validate_args)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        u = _open_unit(self._extended_shape(sample_shape), self._param)
        return (logit(u) + self.logits) / self.temperature

    def log_prob(self, value: Any) -> Tensor:
        gap = self.logits - self._value(value) * self.temperature
        return log(self.temperature) + gap - 2 * softplus(gap)


class Relaxed(TransformedDistribution):
    """A transformed distribution with the temperature and the parameters of its base."""

    @property
    def temperature(self) -> Tensor:
        """How smooth: 0 is discrete."""
        return self.base_dist.temperature

    @property
    def probs(self) -> Tensor:
        """The probabilities as the temperature falls to 0."""
        return self.base_dist.probs

    @property
    def logits(self) -> Tensor:
        """The probabilities as log odds (Bernoulli) or logarithms (Categorical)."""
        return self.base_dist.logits


class RelaxedBernoulli(Relaxed):
    """Bernoulli draws made smooth: sigmoid((logits + logistic noise) / temperature).

    Source: C. Maddison, A. Mnih and Y. W. Teh, "The Concrete Distribution", ICLR 2017.
    """

    arg_constraints = FromProbs.arg_constraints
    support = constraints.unit_interval

    def __init__(self, temperature: Any, probs: Any = None, logits: Any = None,
                 validate_args: bool | None = None):
        base = LogitRelaxedBernoulli(temperature, probs, logits, validate_args)
        super().__init__(base, SigmoidTransform(), validate_args)


class ExpRelaxedCategorical(OverCategorical):
    """The logarithms of `RelaxedOneHotCategorical` samples."""

    arg_constraints = Categorical.arg_constraints
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, temperature: Any, probs: Any = None, logits: Any = None,
                 validate_args: bool | None = None):
        self._categorical = Categorical(probs, logits, validate_args)
        self._degree = temperature
        super().__init__(self._categorical.batch_shape, self._categorical.param_shape[-1:],
                         validate_args)

    @property
    def temperature(self) -> Any:
        """How smooth: 0 is discrete."""
        return self._degree if isinstance(self._degree, Tensor) else Tensor(self._degree)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        degree, self._degree = self._degree, None
        try:
            new = super().expand(batch_shape)
        finally:
            self._degree = degree
        new._degree = degree
        return new

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        u = _open_unit(self._extended_shape(sample_shape), self.logits)
        scores = (self.logits - log(-log(u))) / self.temperature.astype(u.dtype)
        return scores - logsumexp(scores, axis=-1, keepdims=True)

    def log_prob(self, value: Any) -> Tensor:
        k, t = self._event_shape[-1], self.temperature.astype(self.logits.dtype)
        score = self.logits - self._value(value) * t
        score = (score - logsumexp(score, axis=-1, keepdims=True)).sum(axis=-1)
        return score + (k - 1) * log(t) + math.lgamma(k)


class RelaxedOneHotCategorical(Relaxed):
    """One-hot draws made smooth: softmax((logits + Gumbel noise) / temperature).

    Source: E. Jang, S. Gu and B. Poole, "Categorical Reparameterization with Gumbel-Softmax",
    ICLR 2017; C. Maddison, A. Mnih and Y. W. Teh, "The Concrete Distribution", ICLR 2017.
    """

    arg_constraints = Categorical.arg_constraints
    support = constraints.simplex

    def __init__(self, temperature: Any, probs: Any = None, logits: Any = None,
                 validate_args: bool | None = None):
        base = ExpRelaxedCategorical(temperature, probs, logits, validate_args)
        super().__init__(base, ExpTransform(), validate_args)
