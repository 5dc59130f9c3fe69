"""Draws from the named laws: gamma, beta, Poisson, categorical, ...

Parameters are numbers or tensors that broadcast; `shape` is the shape of the result (by default
that of the parameters). Continuous draws carry gradients to their parameters: through the formula
that makes them from uniform or normal numbers, or, for the gamma family, by implicit
differentiation. Draws of whole numbers carry none.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import backend
from ..backend import Generator
from ..ops.creation import full
from ..ops.elementwise import divide, equal, exp, log, log1p, logical_and, sqrt, tan, where
from ..ops.index import argsort
from ..ops.reduce import cumsum
from ..ops.shape import broadcast_to, expand_dims, stack
from ..ops.special.incomplete import beta_quantile_slope, gamma_quantile_slope
from ..primitive import primitive
from ..tensor import Tensor
from .draws import _float, _size, _stream, normal_p, uniform_p

__all__ = ["beta", "binomial", "categorical", "cauchy", "chi2", "dirichlet", "exponential",
           "gamma", "geometric", "gumbel", "laplace", "log_normal", "multinomial",
           "negative_binomial", "poisson", "standard_gamma", "student_t", "von_mises"]


# -- primitives ---------------------------------------------------------------------------------


def _kind(x: Any) -> Any:
    return x.dtype if x.dtype.kind in "fV" else np.dtype(np.float32)


@primitive(name="random_gamma")
def gamma_p(xp, concentration, *, generator):
    """Gamma numbers with scale 1, no smaller than the dtype's smallest normal number."""
    draws = generator.stream.standard_gamma(xp.asarray(concentration, dtype="float64"))
    kind = _kind(concentration)
    return xp.maximum(xp.asarray(draws), float(np.finfo(kind).tiny)).astype(kind)
gamma_p.vjp(lambda g, out, concentration, generator:
            g * gamma_quantile_slope(concentration, out))


@primitive(name="random_dirichlet")
def dirichlet_p(xp, concentration, *, generator):
    """Gamma numbers over their sum, along the last axis.

    As logarithms, which do not underflow for small a: a gamma number of a is one of a + 1 times
    u^(1/a), u uniform.
    """
    a = xp.asarray(concentration, dtype="float64")
    logs = xp.log(xp.asarray(generator.stream.standard_gamma(a + 1)))
    logs = logs + xp.log1p(-xp.asarray(generator.stream.random(a.shape))) / a
    parts = xp.exp(logs - logs.max(axis=-1, keepdims=True))
    kind = _kind(concentration)
    parts = parts / parts.sum(axis=-1, keepdims=True)
    return xp.maximum(parts, float(np.finfo(kind).tiny)).astype(kind)


@dirichlet_p.vjp
def _(g, out, concentration, generator):
    """Each part is a beta number: its slope moves it, the others shrink in proportion."""
    rest = concentration.sum(axis=-1, keepdims=True) - concentration
    left = where(equal(out, 1), 1, 1 - out)
    slope = beta_quantile_slope(concentration, rest, out) / left
    return slope * (g - (g * out).sum(axis=-1, keepdims=True))


def _counts(name: str, text: str) -> Any:
    def fn(xp, *parameters, generator):
        values = [xp.asarray(p, dtype="float64") for p in parameters]
        return xp.asarray(getattr(generator.stream, name)(*values)).astype("int64")
    fn.__name__, fn.__doc__ = f"random_{name}", text
    return primitive(fn)


poisson_p: Any = _counts("poisson", "Poisson numbers with the given rates.")
geometric_p: Any = _counts("geometric", "The number of the first success: 1, 2, ...")


@primitive(name="random_binomial")
def binomial_p(xp, n, p, *, generator):
    """The number of successes in n trials with probability p."""
    return xp.asarray(generator.stream.binomial(xp.asarray(n, dtype="int64"),
                                                xp.asarray(p, dtype="float64"))).astype("int64")


@primitive(name="random_multinomial")
def multinomial_p(xp, p, *, n, generator):
    """How often each of the last axis' outcomes came in n trials: one binomial after another."""
    p = xp.asarray(p, dtype="float64")
    counts = xp.zeros(p.shape, "int64")
    left = xp.full(p.shape[:-1], n, "int64")
    rest = xp.cumsum(p[..., ::-1], axis=-1)[..., ::-1]
    for k in range(p.shape[-1]):
        share = p[..., k] / xp.where(rest[..., k] > 0, rest[..., k], 1)
        if k == p.shape[-1] - 1:
            share = xp.ones_like(share)
        counts[..., k] = xp.asarray(generator.stream.binomial(left, xp.clip(share, 0, 1)))
        left = left - counts[..., k]
    return counts


@primitive(name="random_von_mises")
def von_mises_p(xp, concentration, *, generator):
    """Angles around 0 from the circular normal law, in radians from -pi to pi."""
    kappa = xp.asarray(concentration, dtype="float64")
    return xp.asarray(generator.stream.vonmises(0.0, kappa)).astype(_kind(concentration))


# -- parameters ---------------------------------------------------------------------------------


def _parameters(name: str, shape: Any, dtype: Any, place: tuple[Any, Generator | None],
                **given: Any) -> list[Tensor]:
    """The parameters as tensors of one floating type, broadcast to the shape of the result.

    Numbers go to the device that was asked for, or where the tensors are, or the generator.
    """
    device = _place(*place, *given.values())
    tensors = [p for p in given.values() if isinstance(p, Tensor) and p.dtype.kind in "fV"]
    kind = _float(dtype) if dtype is not None else max(
        (t.dtype for t in tensors), key=lambda k: k.itemsize, default=np.dtype(np.float32))
    made = []
    for p in given.values():
        t = p if isinstance(p, Tensor) else (
            full((), p, kind, device) if isinstance(p, (int, float)) else
            Tensor(p, dtype=kind, device=device))
        made.append(t if t.dtype == kind else t.astype(kind))
    try:
        size = np.broadcast_shapes(*(t.shape for t in made)) if shape is None else _size(shape)
        return [broadcast_to(t, size) for t in made]
    except ValueError:
        shapes = ", ".join(f"{n} {t.shape}" for n, t in zip(given, made, strict=True))
        raise ValueError(f"[{name}] {shapes} do not broadcast"
                         + ("" if shape is None else f" to {_size(shape)}")) from None


def _place(device: Any, generator: Generator | None, *values: Any) -> str:
    for x in values:
        if device is None and isinstance(x, Tensor):
            return x.device
    if device is None and generator is not None:
        return generator.device
    return backend.canonical_device(device)


def _check(name: str, argument: str, value: Tensor, holds: Callable[[Any], Any],
           wish: str) -> None:
    """Raise where a parameter does not fit; a GPU is not waited for, its draws are NaN then."""
    if value.device != "cpu":
        return
    if value.size and not bool(holds(value.data).all()):
        worst = value.data[~holds(value.data)].reshape(-1)[0]
        raise ValueError(f"[{name}] {argument} must {wish}, got {worst}")


def _positive(name: str, argument: str, value: Tensor) -> None:
    _check(name, argument, value, lambda x: x > 0, "be positive")


def _probability(name: str, value: Tensor) -> None:
    _check(name, "p", value, lambda x: (x >= 0) & (x <= 1), "lie in [0, 1]")


def _open_uniform(like: Tensor, generator: Generator) -> Tensor:
    """Uniform numbers in (0, 1): a logarithm of either side is finite."""
    u = uniform_p(generator=generator, shape=like.shape, dtype=like.dtype)
    return u.clip(float(np.finfo(like.dtype).tiny), None)


# -- continuous laws ----------------------------------------------------------------------------


def exponential(rate: Any = 1.0, shape: Any = None, dtype: Any = None, device: Any = None,
                generator: Generator | None = None) -> Tensor:
    """Waiting times with density rate exp(-rate x)."""
    rate, = _parameters("exponential", shape, dtype, (device, generator), rate=rate)
    _positive("exponential", "rate", rate)
    u = uniform_p(generator=_stream(generator, rate.device), shape=rate.shape, dtype=rate.dtype)
    return divide(-log1p(-u), rate)


def laplace(loc: Any = 0.0, scale: Any = 1.0, shape: Any = None, dtype: Any = None,
            device: Any = None, generator: Generator | None = None) -> Tensor:
    """Numbers with density exp(-|x - loc| / scale) / (2 scale)."""
    loc, scale = _parameters("laplace", shape, dtype, (device, generator), loc=loc, scale=scale)
    _positive("laplace", "scale", scale)
    v = _open_uniform(loc, _stream(generator, loc.device)) - 0.5
    size = (1 - 2 * abs(v)).clip(float(np.finfo(v.dtype).tiny), None)
    return loc - scale * where(v < 0, -1.0, 1.0).astype(v.dtype) * log(size)


def cauchy(loc: Any = 0.0, scale: Any = 1.0, shape: Any = None, dtype: Any = None,
           device: Any = None, generator: Generator | None = None) -> Tensor:
    """Numbers with density 1 / (pi scale (1 + ((x - loc) / scale)^2)); they have no mean."""
    loc, scale = _parameters("cauchy", shape, dtype, (device, generator), loc=loc, scale=scale)
    _positive("cauchy", "scale", scale)
    u = uniform_p(generator=_stream(generator, loc.device), shape=loc.shape, dtype=loc.dtype)
    return loc + scale * tan((u - 0.5) * math.pi)


def gumbel(loc: Any = 0.0, scale: Any = 1.0, shape: Any = None, dtype: Any = None,
           device: Any = None, generator: Generator | None = None) -> Tensor:
    """Numbers with distribution function exp(-exp(-(x - loc) / scale))."""
    loc, scale = _parameters("gumbel", shape, dtype, (device, generator), loc=loc, scale=scale)
    _positive("gumbel", "scale", scale)
    wait = exponential(1.0, loc.shape, loc.dtype, loc.device, generator)
    return loc - scale * log(wait.clip(float(np.finfo(loc.dtype).tiny), None))


def log_normal(mean: Any = 0.0, std: Any = 1.0, shape: Any = None, dtype: Any = None,
               device: Any = None, generator: Generator | None = None) -> Tensor:
    """Numbers whose logarithm is normal with `mean` and `std`."""
    mean, std = _parameters("log_normal", shape, dtype, (device, generator), mean=mean, std=std)
    _check("log_normal", "std", std, lambda x: x >= 0, "not be negative")
    noise = normal_p(generator=_stream(generator, mean.device), shape=mean.shape, dtype=mean.dtype)
    return exp(mean + std * noise)


def standard_gamma(concentration: Any, shape: Any = None, dtype: Any = None, device: Any = None,
                   generator: Generator | None = None) -> Tensor:
    """Gamma numbers with scale 1; the gradient to the concentration is the implicit one.

    Source: M. Figurnov, S. Mohamed and A. Mnih, "Implicit Reparameterization Gradients", 2018.
    """
    a, = _parameters("standard_gamma", shape, dtype, (device, generator),
                     concentration=concentration)
    _positive("standard_gamma", "concentration", a)
    return gamma_p(a, generator=_stream(generator, a.device))


def gamma(concentration: Any, scale: Any = 1.0, shape: Any = None, dtype: Any = None,
          device: Any = None, generator: Generator | None = None) -> Tensor:
    """Gamma numbers with mean concentration * scale."""
    a, b = _parameters("gamma", shape, dtype, (device, generator), concentration=concentration,
                       scale=scale)
    _positive("gamma", "scale", b)
    return standard_gamma(a, device=a.device, generator=generator) * b


def chi2(df: Any, shape: Any = None, dtype: Any = None, device: Any = None,
         generator: Generator | None = None) -> Tensor:
    """Sums of the squares of `df` normal numbers."""
    df, = _parameters("chi2", shape, dtype, (device, generator), df=df)
    _positive("chi2", "df", df)
    return standard_gamma(df * 0.5, device=df.device, generator=generator) * 2


def student_t(df: Any, shape: Any = None, dtype: Any = None, device: Any = None,
              generator: Generator | None = None) -> Tensor:
    """Student's t with `df` degrees of freedom."""
    df, = _parameters("student_t", shape, dtype, (device, generator), df=df)
    stream = _stream(generator, df.device)
    noise = normal_p(generator=stream, shape=df.shape, dtype=df.dtype)
    return noise * sqrt(df / chi2(df, device=df.device, generator=stream))


def dirichlet(concentration: Any, shape: Any = None, dtype: Any = None, device: Any = None,
              generator: Generator | None = None) -> Tensor:
    """Points of the simplex (the last axis sums to 1); `shape` counts that axis too."""
    a, = _parameters("dirichlet", shape, dtype, (device, generator), concentration=concentration)
    _positive("dirichlet", "concentration", a)
    if not a.ndim:
        raise ValueError("[dirichlet] concentration must have at least one axis")
    return dirichlet_p(a, generator=_stream(generator, a.device))


def beta(a: Any, b: Any, shape: Any = None, dtype: Any = None, device: Any = None,
         generator: Generator | None = None) -> Tensor:
    """Numbers in (0, 1) with density proportional to x^(a-1) (1-x)^(b-1)."""
    a, b = _parameters("beta", shape, dtype, (device, generator), a=a, b=b)
    return dirichlet(stack([a, b], axis=-1), device=a.device, generator=generator)[..., 0]


def von_mises(loc: Any = 0.0, concentration: Any = 1.0, shape: Any = None, dtype: Any = None,
              device: Any = None, generator: Generator | None = None) -> Tensor:
    """Angles in [-pi, pi) around `loc`; the larger the concentration, the closer."""
    loc, kappa = _parameters("von_mises", shape, dtype, (device, generator), loc=loc,
                             concentration=concentration)
    _positive("von_mises", "concentration", kappa)
    angle = von_mises_p(kappa.detach(), generator=_stream(generator, loc.device))
    return (loc.detach() + angle + math.pi) % (2 * math.pi) - math.pi


# -- whole numbers ------------------------------------------------------------------------------


def poisson(rate: Any, shape: Any = None, device: Any = None,
            generator: Generator | None = None) -> Tensor:
    """How many events came, when `rate` are expected (int64)."""
    rate, = _parameters("poisson", shape, None, (device, generator), rate=rate)
    _check("poisson", "rate", rate, lambda x: x >= 0, "not be negative")
    return poisson_p(rate.detach(), generator=_stream(generator, rate.device))


def geometric(p: Any, shape: Any = None, device: Any = None,
              generator: Generator | None = None) -> Tensor:
    """The number of the first success in trials with probability `p`: 1, 2, ... (int64)."""
    p, = _parameters("geometric", shape, None, (device, generator), p=p)
    _check("geometric", "p", p, lambda x: (x > 0) & (x <= 1), "lie in (0, 1]")
    return geometric_p(p.detach(), generator=_stream(generator, p.device))


def binomial(n: Any, p: Any, shape: Any = None, device: Any = None,
             generator: Generator | None = None) -> Tensor:
    """How many of `n` trials with probability `p` succeeded (int64)."""
    n, p = _parameters("binomial", shape, "float64", (device, generator), n=n, p=p)
    _check("binomial", "n", n, lambda x: (x >= 0) & (x == x // 1), "be a whole number, 0 or more")
    _probability("binomial", p)
    return binomial_p(n.detach(), p.detach(), generator=_stream(generator, n.device))


def negative_binomial(n: Any, p: Any, shape: Any = None, device: Any = None,
                      generator: Generator | None = None) -> Tensor:
    """How many trials with success probability `p` failed before `n` succeeded (int64)."""
    n, p = _parameters("negative_binomial", shape, "float64", (device, generator), n=n, p=p)
    _positive("negative_binomial", "n", n)
    _check("negative_binomial", "p", p, lambda x: (x > 0) & (x <= 1), "lie in (0, 1]")
    stream = _stream(generator, n.device)
    rate = gamma_p(n.detach(), generator=stream) * (1 - p.detach()) / p.detach()
    return poisson_p(rate, generator=stream)


def _weights(name: str, p: Any, device: Any, generator: Generator | None) -> Tensor:
    p = p.detach() if isinstance(p, Tensor) else Tensor(
        p, device=_place(device, generator))
    p = p if p.dtype.kind in "fV" else p.astype("float32")
    if not p.ndim or not p.shape[-1]:
        raise ValueError(f"[{name}] p needs a last axis of weights, got shape {p.shape}")
    if p.device != "cpu":          # a GPU is not waited for
        return p
    xp = backend.array_module(p.data)
    bad = ~(p.data >= 0) | ~xp.isfinite(p.data)
    if bool(bad.any()) or not bool((p.data.sum(axis=-1) > 0).all()):
        raise ValueError(f"[{name}] p must hold finite weights that are not negative, and in each "
                         f"row a positive one; got {p!r}")
    return p


def categorical(p: Any, shape: Any = None, device: Any = None,
                generator: Generator | None = None) -> Tensor:
    """Indices into the last axis of `p`, drawn with probability proportional to it (int64).

    Args:
        shape: the shape of the result, which ends in the batch shape of `p` (the default).

    >>> categorical([0.0, 1.0, 0.0], shape=(4,)).tolist()
    [1, 1, 1, 1]
    """
    p = _weights("categorical", p, device, generator)
    size = p.shape[:-1] if shape is None else _size(shape)
    kind = np.dtype(np.float64)
    edges = cumsum(p.astype(kind), axis=-1)
    u = uniform_p(generator=_stream(generator, p.device), shape=size, dtype=kind)
    # u < 1, but u * total may round up to the total: the last outcome with weight takes it
    passed = logical_and(expand_dims(u * edges[..., -1], -1) >= edges, edges < edges[..., -1:])
    return passed.sum(axis=-1)


def multinomial(p: Any, num_samples: int, replacement: bool = False, *, device: Any = None,
                generator: Generator | None = None) -> Tensor:
    """`num_samples` indices per row of `p` (weights, (n,) or (m, n)), as PyTorch's function.

    Without replacement each index comes at most once: the winners of a race of exponential
    clocks whose rates are the weights.

    Raises:
        ValueError: weights are negative, not finite or all 0, or fewer of them are positive than
            samples are asked for without replacement.
    """
    count = operator.index(num_samples)
    p = _weights("multinomial", p, device, generator)
    if p.ndim > 2:
        raise ValueError(f"[multinomial] p must have one or two axes, got shape {p.shape}")
    if count < 1:
        raise ValueError(f"[multinomial] num_samples must be at least 1, got {num_samples}")
    if replacement:
        rows = broadcast_to(expand_dims(p, -2), (*p.shape[:-1], count, p.shape[-1]))
        return categorical(rows, device=p.device, generator=generator)
    fewest = int((p.data > 0).sum(axis=-1).min()) if p.device == "cpu" else count
    if count > fewest:
        raise ValueError(f"[multinomial] {count} samples without replacement, but a row has only "
                         f"{fewest} positive weights")
    wait = exponential(1.0, p.shape, "float64", p.device, generator)
    return argsort(where(p > 0, wait / where(p > 0, p, 1), math.inf), axis=-1)[..., :count]
