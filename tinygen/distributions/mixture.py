"""Distributions made of distributions: independent axes, and mixtures."""

from __future__ import annotations

from typing import Any

from ..grad_mode import no_grad
from ..ops import broadcast_to, expand_dims, log_softmax, logsumexp, take_along_axis
from ..ops.shape import as_shape
from ..tensor import Tensor
from . import constraints
from .categorical import Categorical
from .distribution import Distribution, sum_rightmost

__all__ = ["Independent", "MixtureSameFamily"]


class Independent(Distribution):
    """The last batch axes of a distribution become axes of one value: their log_probs add up.

    >>> import tinygen as tg
    >>> from tinygen.distributions import Normal
    >>> d = Independent(Normal(tg.zeros((3, 2)), tg.ones((3, 2))), 1)
    >>> d.batch_shape, d.event_shape
    ((3,), (2,))
    """

    base_dist: Any

    def __init__(self, base_distribution: Distribution, reinterpreted_batch_ndims: int,
                 validate_args: bool | None = None):
        base, n = base_distribution, reinterpreted_batch_ndims
        if not 0 <= n <= len(base.batch_shape):
            raise ValueError(f"[Independent] reinterpreted_batch_ndims is {n}, the base "
                             f"distribution has batch_shape {base.batch_shape}")
        self.base_dist, self.reinterpreted_batch_ndims = base, n
        cut = len(base.batch_shape) - n
        super().__init__(base.batch_shape[:cut], base.batch_shape[cut:] + base.event_shape,
                         validate_args)

    @property
    def has_rsample(self) -> bool:
        return self.base_dist.has_rsample

    @property
    def has_enumerate_support(self) -> bool:
        return not self.reinterpreted_batch_ndims and self.base_dist.has_enumerate_support

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        n = self.reinterpreted_batch_ndims
        inner = self.base_dist.support
        return constraints.independent(inner, n) if n else inner

    @property
    def mean(self) -> Tensor:
        return self.base_dist.mean

    @property
    def mode(self) -> Tensor:
        return self.base_dist.mode

    @property
    def variance(self) -> Tensor:
        return self.base_dist.variance

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.base_dist.sample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.base_dist.rsample(sample_shape)

    def log_prob(self, value: Any) -> Tensor:
        return sum_rightmost(self.base_dist.log_prob(value), self.reinterpreted_batch_ndims)

    def entropy(self) -> Tensor:
        return sum_rightmost(self.base_dist.entropy(), self.reinterpreted_batch_ndims)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        if self.reinterpreted_batch_ndims:
            raise NotImplementedError("[Independent] enumerate_support would need the product of "
                                      "the axes' supports; enumerate the base distribution")
        return self.base_dist.enumerate_support(expand)

    def __repr__(self) -> str:
        return f"Independent({self.base_dist!r}, {self.reinterpreted_batch_ndims})"


class _MixtureSupport(constraints.Constraint):
    """What every component allows."""

    def __init__(self, base: constraints.Constraint):
        self.base, self.is_discrete, self.event_dim = base, base.is_discrete, base.event_dim
        self.name = f"MixtureSameFamily({base!r})"

    def _holds(self, x: Any) -> Any:
        axis = x.ndim - self.event_dim
        ok = self.base._holds(x.reshape(x.shape[:axis] + (1,) + x.shape[axis:]))
        return ok.all(axis=-1)


class MixtureSameFamily(Distribution):
    """A draw from one of k distributions of a family, chosen by a categorical one.

    p(x) = sum over k of probs_k p_k(x): `component_distribution` has the k components along its
    last batch axis.
    """

    def __init__(self, mixture_distribution: Categorical, component_distribution: Distribution,
                 validate_args: bool | None = None):
        mixture, component = mixture_distribution, component_distribution
        if not isinstance(mixture, Categorical):
            raise ValueError("[MixtureSameFamily] mixture_distribution must be a Categorical, got "
                             f"{mixture!r}")
        if not isinstance(component, Distribution) or not component.batch_shape:
            raise ValueError("[MixtureSameFamily] component_distribution must be a distribution "
                             f"with the components along its last batch axis, got {component!r}")
        own, k = component.batch_shape[:-1], component.batch_shape[-1]
        for a, b in zip(mixture.batch_shape[::-1], own[::-1], strict=False):
            if a not in (1, b) and b != 1:
                raise ValueError(f"[MixtureSameFamily] the mixture's batch_shape "
                                 f"{mixture.batch_shape} does not fit the components' {own}")
        if mixture.param_shape[-1] != k:
            raise ValueError(f"[MixtureSameFamily] the mixture chooses among "
                             f"{mixture.param_shape[-1]} components, there are {k}")
        self._mixture_distribution, self._component_distribution = mixture, component
        super().__init__(own, component.event_shape, validate_args)

    @property
    def mixture_distribution(self) -> Categorical:
        """Which component a value is from."""
        return self._mixture_distribution

    @property
    def component_distribution(self) -> Distribution:
        """The components, along the last batch axis."""
        return self._component_distribution

    def expand(self, batch_shape: Any, _instance: Any = None) -> MixtureSameFamily:
        batch = tuple(as_shape(batch_shape))
        k = self._component_distribution.batch_shape[-1:]
        new = MixtureSameFamily(self._mixture_distribution.expand(batch),
                                self._component_distribution.expand(batch + k), False)
        new._validate_args = self._validate_args
        return new

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        return _MixtureSupport(self._component_distribution.support)

    def _weights(self) -> Tensor:
        p = self._mixture_distribution.probs
        return p.reshape((*p.shape, *(1 for _ in self._event_shape)))

    @property
    def _axis(self) -> int:
        return -1 - len(self._event_shape)

    @property
    def mean(self) -> Tensor:
        return (self._weights() * self._component_distribution.mean).sum(axis=self._axis)

    @property
    def variance(self) -> Tensor:
        """The mean of the variances plus the variance of the means."""
        p, mean = self._weights(), self._component_distribution.mean
        inside = (p * self._component_distribution.variance).sum(axis=self._axis)
        away = mean - expand_dims(self.mean, self._axis)
        return inside + (p * away * away).sum(axis=self._axis)

    def _padded(self, value: Tensor) -> Tensor:
        return expand_dims(value, self._axis)

    def cdf(self, value: Any) -> Tensor:
        each = self._component_distribution.cdf(self._padded(self._value(value)))
        return (each * self._mixture_distribution.probs).sum(axis=-1)

    def log_prob(self, value: Any) -> Tensor:
        each = self._component_distribution.log_prob(self._padded(self._value(value)))
        return logsumexp(each + log_softmax(self._mixture_distribution.logits, axis=-1), axis=-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            values = self._component_distribution.sample(sample_shape)
            chosen = self._mixture_distribution.expand(self._batch_shape).sample(sample_shape)
            event = self._event_shape
            index = chosen.reshape(chosen.shape + (1,) * (1 + len(event)))
            index = broadcast_to(index, (*chosen.shape, 1, *event))
            axis = len(chosen.shape)
            return take_along_axis(values, index, axis=axis).squeeze(axis)

    def __repr__(self) -> str:
        return (f"MixtureSameFamily({self._mixture_distribution!r}, "
                f"{self._component_distribution!r})")
