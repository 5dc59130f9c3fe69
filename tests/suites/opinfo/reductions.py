"""PyTorch's reductions, running sums, sorting and statistics in tinygen's words."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import tinygen as tg
from tests.suites.opinfo.harness import Refused

NAMES = {"dim": "axis", "keepdim": "keepdims"}


def renamed(fn: Any) -> Any:
    """A function of tinygen under PyTorch's argument names."""
    def call(*args: Any, **options: Any) -> Any:
        return fn(*args, **{NAMES.get(k, k): v for k, v in options.items()})
    return call


def reduced(fn: Any) -> Any:
    """(x, dim, keepdim, dtype): an empty dim means all axes."""
    def call(x: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
        x = x if dtype is None else x.astype(dtype)
        return fn(x, axis=None if dim in ((), []) else dim, keepdims=keepdim)
    return call


def varied(fn: Any) -> Any:
    """var and std: PyTorch's correction is 1 unless told otherwise."""
    def call(x: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
             correction: float | None = 1) -> Any:
        if isinstance(dim, bool):                 # var(x, unbiased)
            dim, unbiased = None, dim
        correction = 1 if correction is None else correction
        if unbiased is not None:
            correction = int(unbiased)
        axes = None if dim in ((), []) else dim
        return fn(x, axis=axes, correction=correction, keepdims=keepdim)
    return call


def with_mean(fn: Any) -> Any:
    def call(x: Any, dim: Any = None, *args: Any, keepdim: bool = False, **how: Any) -> Any:
        if isinstance(dim, bool):
            args, dim = (dim,), None
        if len(args) > 1:
            keepdim = args[1]
        spread = varied(fn)(x, dim, *args[:1], keepdim=keepdim, **how)
        return spread, tg.mean(x, axis=None if dim in ((), []) else dim, keepdims=keepdim)
    return call


def chosen(index_of: Any) -> Any:
    """max, min, median with a dim: PyTorch gives the values with the indices chosen."""
    def call(x: Any, dim: int, keepdim: bool = False) -> Any:
        if not x.ndim:
            return x * 1, tg.Tensor(0)
        index = index_of(x, dim)
        values = tg.take_along_axis(x, index, dim)
        return (values, index) if keepdim else (tg.squeeze(values, dim), tg.squeeze(index, dim))
    return call


def kth(x: Any, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    def index_of(x: Any, dim: int) -> Any:
        return tg.take(tg.argsort(x, dim), [k - 1], dim)
    return chosen(index_of)(x, dim, keepdim)


def middle(skip: bool) -> Any:
    """PyTorch's median is the lower of the two in the middle."""
    def index_of(x: Any, dim: int) -> Any:
        order = tg.argsort(x, dim)
        unknown = tg.count_nonzero(tg.isnan(x), dim, True)
        n = x.shape[dim]
        if skip:
            return tg.take_along_axis(order, tg.maximum(n - unknown - 1, 0) // 2, dim)
        place = tg.where(unknown > 0, n - unknown, (n - 1) // 2)      # the first NaN, if any
        return tg.take_along_axis(order, place, dim)

    def call(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
        if dim is not None:
            return chosen(index_of)(x, dim, keepdim)
        if not x.size:
            return tg.full((), math.nan, dtype=x.dtype)
        return shared(chosen(index_of)(x.reshape(-1), 0)[0], x)
    return call


def shared(value: Any, x: Any) -> Any:
    """Without a dim PyTorch shares the gradient among equal elements."""
    hits = tg.logical_or(tg.equal(x, value.detach()),
                         tg.logical_and(tg.isnan(x), tg.isnan(value.detach())))
    return tg.sum(tg.where(hits, x, 0)) / tg.count_nonzero(hits).astype(x.dtype)


def quantile(fn: Any) -> Any:
    def call(x: Any, q: Any, dim: Any = None, keepdim: bool = False, *,
             interpolation: str = "linear") -> Any:
        return fn(x, q, dim, keepdim, interpolation)
    return call


def running(fn: Any) -> Any:
    def call(x: Any, dim: int, *, dtype: Any = None) -> Any:
        x = x if dtype is None else x.astype(dtype)
        return fn(x, dim) if x.ndim else x * 1
    return call


def sort(x: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    if not x.ndim:
        return x * 1, tg.Tensor(0)
    order = tg.argsort(x, dim, descending)
    return tg.take_along_axis(x, order, dim), order


def topk(x: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    return tg.topk(x, k, dim, largest) if x.ndim else (x * 1, tg.Tensor(0))


def argextreme(fn: Any) -> Any:
    def call(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
        return fn(x, axis=dim, keepdims=keepdim) if x.ndim else tg.Tensor(0)
    return call


def norm(x: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    x = x if dtype is None else x.astype(dtype)
    axes = None if dim in ((), []) else dim
    if p == "nuc":
        axes = (-2, -1) if axes is None else tuple(axes)
        return tg.linalg.matrix_norm(x, "nuc", axis=axes, keepdims=keepdim)
    return tg.linalg.vector_norm(x, ord=2 if p in ("fro", None) else p, axis=axes,
                                 keepdims=keepdim)


def renorm(x: Any, p: float, dim: int, maxnorm: float) -> Any:
    axes = tuple(a for a in range(x.ndim) if a != dim % x.ndim)
    lengths = tg.linalg.vector_norm(x, ord=p, axis=axes, keepdims=True)
    return x * tg.where(lengths > maxnorm, maxnorm / (lengths + 1e-7), 1.0)


def histogram(x: Any, bins: Any, *, range: Any = None, weight: Any = None,
              density: bool = False) -> Any:
    counts, edges = tg.histogram(x, bins, range, density,
                                 None if weight is None else weight.reshape(-1))
    return counts.astype(x.dtype), edges


def histogramdd(x: Any, bins: Any, *, range: Any = None, weight: Any = None,
                density: bool = False) -> Any:
    points = x.reshape((-1, x.shape[-1]))
    if isinstance(bins, (list, tuple)) and any(np.any(np.diff(getattr(b, "data", b)) < 0)
                                               for b in bins if isinstance(b, tg.Tensor)):
        raise Refused("the edges of bins must ascend")
    pairs = None if range is None else list(zip(range[::2], range[1::2]))
    counts, edges = tg.histogramdd(points, bins, pairs, density,
                                   None if weight is None else weight.reshape(-1))
    return counts.astype(x.dtype), edges


def histc(x: Any, bins: int = 100, min: float = 0, max: float = 0) -> Any:
    if min == max and x.size:
        min, max = x.data.min(), x.data.max()
        if min == max:
            min, max = min - 1, max + 1
    return tg.histogram(x, bins, (min, max))[0].astype(x.dtype)


def bucketize(x: Any, boundaries: Any, *, right: bool = False, out_int32: bool = False) -> Any:
    found = tg.bucketize(tg.asarray(x), boundaries, right)
    return found.astype("int32") if out_int32 else found


def searchsorted(ordered: Any, x: Any, *, right: bool = False, side: str | None = None,
                 out_int32: bool = False, sorter: Any = None) -> Any:
    side = side or ("right" if right else "left")
    found = tg.searchsorted(ordered, tg.asarray(x), side, sorter)
    return found.astype("int32") if out_int32 else found


def diff(x: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Any:
    return tg.diff(x, n, dim, prepend, append)


def gradient(x: Any, *, spacing: Any = None, dim: Any = None, edge_order: int = 1) -> Any:
    spacing = [1.0] if spacing is None else list(spacing) if isinstance(
        spacing, (list, tuple)) else [spacing]
    axis = tuple(range(x.ndim)) if dim is None else dim
    found = tg.gradient(x, *spacing, axis=axis, edge_order=edge_order)
    return found if isinstance(found, list) else [found]


def trapezoid(fn: Any) -> Any:
    def call(y: Any, x: Any = None, *, dx: float = 1.0, dim: int = -1) -> Any:
        if not isinstance(dx, (int, float)):
            raise Refused("dx must be a number; samples go into x")
        return fn(y, x, dx, dim)
    return call


def cummax(fn: Any) -> Any:
    return lambda x, dim: fn(x, dim)


def unique(x: Any, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False,
           dim: int | None = None) -> Any:
    if dim is not None:
        raise Refused("unique along an axis: the array API has no such thing")
    found = tg.unique_all(x)
    parts = [found.values]
    parts += [found.inverse_indices] if return_inverse else []
    parts += [found.counts] if return_counts else []
    return parts if len(parts) > 1 else parts[0]


def count_nonzero(x: Any, dim: Any = None) -> Any:
    return tg.count_nonzero(x, dim)


def logsumexp(x: Any, dim: Any, keepdim: bool = False) -> Any:
    return tg.logsumexp(x, axis=dim if dim != () else None, keepdims=keepdim)


def cov(x: Any, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Any:
    return tg.linalg.cov(x, correction=correction, fweights=fweights, aweights=aweights)


ADAPTERS: dict[str, Any] = {
    **{name: reduced(getattr(tg, name)) for name in (
        "sum", "mean", "nansum", "nanmean", "amax", "amin", "prod", "any", "all")},
    **{f"{n}{v}": varied(getattr(tg, n)) for n in ("var", "std") for v in ("", "/unbiased")},
    **{f"{n}_mean{v}": with_mean(getattr(tg, n)) for n in ("var", "std")
       for v in ("", "/unbiased")},
    "max/reduction_no_dim": lambda x: tg.max(x), "min/reduction_no_dim": lambda x: tg.min(x),
    "max/reduction_with_dim": chosen(lambda x, d: tg.argmax(x, d, True)),
    "min/reduction_with_dim": chosen(lambda x, d: tg.argmin(x, d, True)),
    "aminmax": lambda x, *, dim=None, keepdim=False: tg.aminmax(x, dim if x.ndim else None,
                                                                 keepdim),
    "argmax": argextreme(tg.argmax), "argmin": argextreme(tg.argmin),
    "median": middle(False), "nanmedian": middle(True), "kthvalue": kth,
    "quantile": quantile(tg.quantile), "nanquantile": quantile(tg.nanquantile),
    "cumsum": running(tg.cumsum), "cumprod": running(tg.cumprod),
    "logcumsumexp": running(tg.logcumsumexp), "cummax": cummax(tg.cummax),
    "cummin": cummax(tg.cummin), "logsumexp": logsumexp, "count_nonzero": count_nonzero,
    "sort": sort, "argsort": lambda *a, **k: sort(*a, **k)[1], "msort": lambda x: tg.sort(x, 0)
    if x.ndim else x * 1, "topk": topk,
    "norm": norm, "norm/nuc": norm, "norm/fro": norm, "norm/inf": norm, "renorm": renorm,
    "dist": lambda x, y, p=2: norm(x - y, p),
    "histogram": histogram, "histogramdd": histogramdd, "histc": histc, "bucketize": bucketize,
    "searchsorted": searchsorted, "diff": diff, "gradient": gradient,
    "trapezoid": trapezoid(tg.trapezoid), "trapz": trapezoid(tg.trapezoid),
    "cumulative_trapezoid": trapezoid(tg.cumulative_trapezoid), "unique": unique,
    "isin": lambda x, y, *, assume_unique=False, invert=False: tg.isin(x, y, invert),
    "bincount": lambda x, weights=None, minlength=0: tg.bincount(x, weights, minlength),
    "cov": cov, "corrcoef": lambda x: tg.linalg.corrcoef(x),
}
