"""The Kullback-Leibler divergence KL(p || q) = E_p[log p(x) - log q(x)], pair by pair."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..ops import exp, full_like, log, log1p, where
from ..ops.elementwise import greater, less, logical_or
from ..special import betaln, digamma, erf, lgamma, xlogy
from ..tensor import Tensor
from .categorical import Categorical, OneHotCategorical
from .discrete import Bernoulli, Binomial, Geometric, Poisson
from .distribution import Distribution, sum_rightmost
from .location import EULER, Gumbel, Laplace, Normal, Uniform
from .mixture import Independent
from .multivariate import (
    LowRankMultivariateNormal,
    MultivariateNormal,
    half_log_det,
    whitened,
)
from .positive import Beta, Dirichlet, Exponential, Gamma
from .transformed import HalfNormal, Pareto, TransformedDistribution
from .unit import ContinuousBernoulli

__all__ = ["kl_divergence", "register_kl"]

_p: type[Distribution]
_q: type[Distribution]
_PAIRS: dict[tuple[type, type], Callable[[Any, Any], Tensor]] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[Any], Any]:
    """Make the decorated function `f(p, q)` the divergence of a pair of distribution types.

    It serves subclasses too, unless they have a closer pair of their own.
    """
    for t in (type_p, type_q):
        if not (isinstance(t, type) and issubclass(t, Distribution)):
            raise TypeError(f"[register_kl] expected subclasses of Distribution, got {t!r}")

    def register(fn: Any) -> Any:
        _PAIRS[type_p, type_q] = fn
        return fn
    return register


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """KL(p || q), of the shape of the broadcast batches.

    Raises:
        NotImplementedError: no closed form is registered for this pair.
    """
    for a in type(p).__mro__:
        for b in type(q).__mro__:
            if (a, b) in _PAIRS:
                return _PAIRS[a, b](p, q)
    raise NotImplementedError(f"[kl_divergence] no closed form is known for {type(p).__name__} and "
                              f"{type(q).__name__}; register one with register_kl, or estimate it "
                              "from samples of p")


def _infinite(p: Any, q: Any) -> Tensor:
    """p has mass where q has none."""
    like = next(v for v in (*p.__dict__.values(), p.variance) if isinstance(v, Tensor))
    return full_like(like.detach(), math.inf)


_BOUNDED = (Beta, ContinuousBernoulli, Pareto, Uniform)
for _p, _qs in ((Exponential, _BOUNDED), (Gamma, _BOUNDED),
                (Gumbel, (*_BOUNDED, Exponential, Gamma)),
                (Laplace, (*_BOUNDED, Exponential, Gamma)),
                (Normal, (*_BOUNDED, Exponential, Gamma)),
                (Pareto, (Beta, ContinuousBernoulli, Uniform)), (Beta, (Pareto,)),
                (ContinuousBernoulli, (Pareto,)), (Poisson, (Bernoulli, Binomial))):
    for _q in _qs:
        register_kl(_p, _q)(_infinite)


# -- the same family ----------------------------------------------------------------------------


@register_kl(Normal, Normal)
def _(p, q):
    ratio = (p.scale / q.scale) ** 2
    gap = (p.loc - q.loc) / q.scale
    return 0.5 * (ratio + gap * gap - 1 - log(ratio))


@register_kl(HalfNormal, HalfNormal)
def _(p, q):
    return kl_divergence(p.base_dist, q.base_dist)


@register_kl(Laplace, Laplace)
def _(p, q):
    ratio, gap = p.scale / q.scale, abs(p.loc - q.loc)
    return gap / q.scale + ratio * exp(-gap / p.scale) - log(ratio) - 1


@register_kl(Gumbel, Gumbel)
def _(p, q):
    ratio, gap = p.scale / q.scale, (q.loc - p.loc) / q.scale
    return -log(ratio) - gap + ratio * EULER + exp(gap + lgamma(1 + ratio)) - (1 + EULER)


@register_kl(Uniform, Uniform)
def _(p, q):
    return _unless(_outside(p.low, p.high, q.low, q.high),
                   log((q.high - q.low) / (p.high - p.low)))


def _outside(low, high, q_low, q_high):
    return logical_or(less(low, q_low), greater(high, q_high))


def _unless(condition, value):
    return where(condition, math.inf, value)


@register_kl(Exponential, Exponential)
def _(p, q):
    ratio = q.rate / p.rate
    return ratio - 1 - log(ratio)


@register_kl(Gamma, Gamma)
def _(p, q):
    return (q.concentration * log(p.rate / q.rate) + lgamma(q.concentration)
            - lgamma(p.concentration)
            + (p.concentration - q.concentration) * digamma(p.concentration)
            + (q.rate - p.rate) * (p.concentration / p.rate))


@register_kl(Beta, Beta)
def _(p, q):
    a, b, c, d = p.concentration1, p.concentration0, q.concentration1, q.concentration0
    return (betaln(c, d) - betaln(a, b) + (a - c) * digamma(a) + (b - d) * digamma(b)
            + (c + d - a - b) * digamma(a + b))


@register_kl(Dirichlet, Dirichlet)
def _(p, q):
    a, b = p.concentration, q.concentration
    total = a.sum(axis=-1)
    spread = digamma(a) - digamma(total)[..., None]
    return (lgamma(total) - lgamma(b.sum(axis=-1)) + (lgamma(b) - lgamma(a)).sum(axis=-1)
            + ((a - b) * spread).sum(axis=-1))


@register_kl(Pareto, Pareto)
def _(p, q):
    ratio = p.scale / q.scale
    value = q.alpha * log(ratio) + log(p.alpha / q.alpha) + q.alpha / p.alpha - 1
    return _unless(less(p.scale, q.scale), value)


@register_kl(Bernoulli, Bernoulli)
def _(p, q):
    """Each outcome that p never gives counts 0, one that q alone never gives infinity."""
    one = xlogy(p.probs, p.probs) - xlogy(p.probs, q.probs)
    none = xlogy(1 - p.probs, 1 - p.probs) - xlogy(1 - p.probs, 1 - q.probs)
    return one + none


@register_kl(Binomial, Binomial)
def _(p, q):
    if bool((p.total_count.data < q.total_count.data).any()):
        raise NotImplementedError("[kl_divergence] Binomial and Binomial: total_count of q is "
                                  "larger than that of p; no closed form is known")
    value = p.total_count * (p.probs * (p.logits - q.logits) + log1p(-p.probs) - log1p(-q.probs))
    return _unless(greater(p.total_count, q.total_count), value)


@register_kl(Geometric, Geometric)
def _(p, q):
    return -p.entropy() - log1p(-q.probs) / p.probs - q.logits


@register_kl(Poisson, Poisson)
def _(p, q):
    return xlogy(p.rate, p.rate) - xlogy(p.rate, q.rate) - (p.rate - q.rate)


@register_kl(Categorical, Categorical)
def _(p, q):
    terms = p.probs * (p.logits - q.logits)
    terms = where(p.probs == 0, 0, where(q.probs == 0, math.inf, terms))
    return terms.sum(axis=-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _(p, q):
    return kl_divergence(p._categorical, q._categorical)


@register_kl(LowRankMultivariateNormal, LowRankMultivariateNormal)
@register_kl(LowRankMultivariateNormal, MultivariateNormal)
@register_kl(MultivariateNormal, LowRankMultivariateNormal)
@register_kl(MultivariateNormal, MultivariateNormal)
def _(p, q):
    """log det ratio + (trace of q's precision times p's covariance + distance^2 - d) / 2."""
    if p.event_shape != q.event_shape:
        raise ValueError(f"[kl_divergence] multivariate normals of different lengths: "
                         f"{p.event_shape} and {q.event_shape}")
    columns = whitened(q.scale_tril[..., None, :, :], p.scale_tril.swapaxes(-1, -2))
    gap = whitened(q.scale_tril, q.loc - p.loc)
    return (half_log_det(q.scale_tril) - half_log_det(p.scale_tril)
            + 0.5 * ((columns * columns).sum(axis=(-2, -1)) + (gap * gap).sum(axis=-1)
                     - p.event_shape[0]))


@register_kl(Independent, Independent)
def _(p, q):
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError("[kl_divergence] Independent and Independent with different "
                                  "reinterpreted_batch_ndims")
    return sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


@register_kl(TransformedDistribution, TransformedDistribution)
def _(p, q):
    """An invertible map changes no divergence, if it is the same."""
    if p.transforms != q.transforms:
        raise NotImplementedError("[kl_divergence] TransformedDistributions with different "
                                  f"transforms: {p.transforms} and {q.transforms}")
    if p.event_shape != q.event_shape:
        raise NotImplementedError(f"[kl_divergence] event shapes {p.event_shape} and "
                                  f"{q.event_shape} differ")
    inner = kl_divergence(p.base_dist, q.base_dist)
    return sum_rightmost(inner, len(p.event_shape) - len(p.base_dist.event_shape))


# -- different families -------------------------------------------------------------------------


def _normal_cross(mean, variance, q):
    """-E[log q(x)] for a normal q and x with this mean and variance."""
    return (0.5 * math.log(2 * math.pi) + log(q.scale)
            + 0.5 * (variance + (mean - q.loc) ** 2) / (q.scale * q.scale))


for _p in (Beta, ContinuousBernoulli, Exponential, Gamma, Gumbel, Laplace, Uniform):
    @register_kl(_p, Normal)
    def _(p, q):
        return _normal_cross(p.mean, p.variance, q) - p.entropy()


@register_kl(Pareto, Normal)
def _(p, q):
    return _unless(p.alpha <= 2, _normal_cross(where(p.alpha > 2, p.mean, 0),
                                               where(p.alpha > 2, p.variance, 1), q)
                   - p.entropy())


def _exponential_cross(p, q):
    return q.rate * p.mean - log(q.rate) - p.entropy()


for _p in (Beta, ContinuousBernoulli, Gamma, Pareto):
    register_kl(_p, Exponential)(_exponential_cross)


@register_kl(Uniform, Exponential)
def _(p, q):
    return _unless(less(p.low, 0), _exponential_cross(p, q))


def _gamma_cross(mean, mean_log, q):
    """-E[log q(x)] for a gamma q, from E[x] and E[log x]."""
    return (lgamma(q.concentration) - q.concentration * log(q.rate)
            - (q.concentration - 1) * mean_log + q.rate * mean)


@register_kl(Beta, Gamma)
def _(p, q):
    mean_log = digamma(p.concentration1) - digamma(p.concentration1 + p.concentration0)
    return _gamma_cross(p.mean, mean_log, q) - p.entropy()


@register_kl(Exponential, Gamma)
def _(p, q):
    return _gamma_cross(p.mean, -EULER - log(p.rate), q) - p.entropy()


@register_kl(Pareto, Gamma)
def _(p, q):
    return _gamma_cross(p.mean, log(p.scale) + 1 / p.alpha, q) - p.entropy()


@register_kl(Uniform, Gamma)
def _(p, q):
    low = where(p.low < 0, 0, p.low)
    mean_log = (xlogy(p.high, p.high) - xlogy(low, low)) / (p.high - low) - 1
    return _unless(less(p.low, 0), _gamma_cross(p.mean, mean_log, q) - p.entropy())


def _gumbel_cross(mean, mean_exp, q):
    """-E[log q(x)] for a Gumbel q, from E[x] and E[exp(-x / scale)]."""
    return log(q.scale) + (mean - q.loc) / q.scale + exp(q.loc / q.scale) * mean_exp


@register_kl(Exponential, Gumbel)
def _(p, q):
    product = p.rate * q.scale
    return _gumbel_cross(p.mean, product / (product + 1), q) - p.entropy()


@register_kl(Gamma, Gumbel)
def _(p, q):
    moment = (1 + 1 / (p.rate * q.scale)) ** -p.concentration
    return _gumbel_cross(p.mean, moment, q) - p.entropy()


@register_kl(Normal, Gumbel)
def _(p, q):
    moment = exp(0.5 * (p.scale / q.scale) ** 2 - p.loc / q.scale)
    return _gumbel_cross(p.mean, moment, q) - p.entropy()


@register_kl(Uniform, Gumbel)
def _(p, q):
    moment = q.scale / (p.high - p.low) * (exp(-p.low / q.scale) - exp(-p.high / q.scale))
    return _gumbel_cross(p.mean, moment, q) - p.entropy()


@register_kl(Normal, Laplace)
def _(p, q):
    """E|x - loc| is the mean of a folded normal number."""
    gap = p.loc - q.loc
    z = gap / p.scale
    folded = (p.scale * math.sqrt(2 / math.pi) * exp(-0.5 * z * z)
              + gap * erf(z * math.sqrt(0.5)))
    return log(2 * q.scale) + folded / q.scale - p.entropy()


def _continuous_cross(p, q):
    return -p.mean * q.logits - log1p(-q.probs) - q.log_norm() - p.entropy()


register_kl(Beta, ContinuousBernoulli)(_continuous_cross)
register_kl(ContinuousBernoulli, ContinuousBernoulli)(_continuous_cross)


@register_kl(Uniform, ContinuousBernoulli)
def _(p, q):
    return _unless(_outside(p.low, p.high, 0, 1), _continuous_cross(p, q))


@register_kl(ContinuousBernoulli, Uniform)
@register_kl(Beta, Uniform)
def _(p, q):
    value = log(q.high - q.low) - p.entropy()
    return _unless(_outside(0, 1, q.low, q.high), value)


@register_kl(Uniform, Beta)
def _(p, q):
    width = p.high - p.low
    low, high = p.low.clip(0, 1), p.high.clip(0, 1)
    mean_log = (xlogy(high, high) - xlogy(low, low)) / width - 1
    mean_rest = (xlogy(1 - low, 1 - low) - xlogy(1 - high, 1 - high)) / width - 1
    value = (betaln(q.concentration1, q.concentration0) - (q.concentration1 - 1) * mean_log
             - (q.concentration0 - 1) * mean_rest - log(width))
    return _unless(_outside(p.low, p.high, 0, 1), value)


@register_kl(Uniform, Pareto)
def _(p, q):
    mean_log = (xlogy(p.high, p.high) - xlogy(p.low, p.low)) / (p.high - p.low) - 1
    value = (q.alpha + 1) * mean_log - log(q.alpha) - q.alpha * log(q.scale) - p.entropy()
    return _unless(less(p.low, q.scale), value)


@register_kl(Bernoulli, Poisson)
def _(p, q):
    return -p.entropy() - (p.probs * log(q.rate) - q.rate)
