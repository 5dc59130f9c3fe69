"""Statistics: quantiles, averages that skip NaN, histograms and counts."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import backend
from ..constants import beside
from ..mode import reads
from ..primitive import primitive
from ..tensor import Tensor
from . import elementwise as ew
from . import reduce
from .creation import zeros
from .index import sort, take_along_axis
from .reduce import Axis
from .shape import (
    as_shape,
    as_tensor,
    broadcast_to,
    expand_dims,
    normalize_axis,
    permute_dims,
    reshape,
)

__all__ = ["aminmax", "average", "bincount", "bucketize", "digitize", "histogram", "histogramdd",
           "isin", "median", "nanargmax", "nanargmin",
           "nanmax", "nanmean", "nanmedian", "nanmin", "nanpercentile",
           "nanprod", "nanquantile",
           "nanstd", "nansum", "nanvar", "percentile", "ptp", "quantile", "searchsorted"]


# -- NaN as "no value" ---------------------------------------------------------------------------


def _known(x: Any) -> tuple[Tensor, Tensor]:
    """(which elements count, x with 0 for the others)."""
    x = as_tensor(x)
    valid = ew.logical_not(ew.isnan(x))
    return valid, ew.where(valid, x, 0)


def _count(valid: Tensor, known: Tensor, axis: Axis, keepdims: bool) -> Tensor:
    """How many elements count, as a number to divide by."""
    kind = known.dtype if known.dtype.kind in "fV" else np.float32
    return reduce.sum(valid, axis, keepdims).astype(kind)


def nansum(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The sum over `axis` of the elements that are not NaN (0 if there is none)."""
    return reduce.sum(_known(x)[1], axis, keepdims)


def nanprod(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The product over `axis` of the elements that are not NaN (1 if there is none)."""
    return reduce.prod(ew.where(ew.isnan(as_tensor(x)), 1, x), axis, keepdims)


def nanmean(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The mean over `axis` of the elements that are not NaN (NaN if there is none)."""
    valid, known = _known(x)
    return reduce.sum(known, axis, keepdims) / _count(valid, known, axis, keepdims)


def nanvar(x: Any, axis: Axis = None, correction: float = 0, keepdims: bool = False) -> Tensor:
    """The variance over `axis` of the n elements that are not NaN, divided by n - correction."""
    valid, known = _known(x)
    mean = reduce.sum(known, axis, True) / _count(valid, known, axis, True)
    gap = ew.where(valid, known - mean, 0)
    return reduce.sum(ew.square(gap), axis, keepdims) / (
        _count(valid, known, axis, keepdims) - correction)


def nanstd(x: Any, axis: Axis = None, correction: float = 0, keepdims: bool = False) -> Tensor:
    """The standard deviation of the elements that are not NaN: the root of `nanvar`."""
    return ew.sqrt(nanvar(x, axis, correction, keepdims))


def nanmax(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest element over `axis` that is not NaN (NaN if there is none)."""
    return _nan_extreme(x, axis, keepdims, reduce.max, -math.inf)


def nanmin(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest element over `axis` that is not NaN (NaN if there is none)."""
    return _nan_extreme(x, axis, keepdims, reduce.min, math.inf)


def _nan_extreme(x: Any, axis: Axis, keepdims: bool, extreme: Any, worst: float) -> Tensor:
    unknown = ew.isnan(as_tensor(x))
    best = extreme(ew.where(unknown, worst, x), axis, keepdims)
    return ew.where(reduce.all(unknown, axis, keepdims), math.nan, best)


def nanargmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the largest element along `axis` that is not NaN."""
    return reduce.argmax(ew.where(ew.isnan(as_tensor(x)), -math.inf, x), axis, keepdims)


def nanargmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the smallest element along `axis` that is not NaN."""
    return reduce.argmin(ew.where(ew.isnan(as_tensor(x)), math.inf, x), axis, keepdims)


def aminmax(x: Any, axis: int | None = None, keepdims: bool = False) -> tuple[Tensor, Tensor]:
    """The smallest and the largest element over `axis`."""
    return reduce.min(x, axis, keepdims), reduce.max(x, axis, keepdims)


def ptp(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The range of the values over `axis`: the largest less the smallest."""
    return reduce.max(x, axis, keepdims) - reduce.min(x, axis, keepdims)


def average(x: Any, axis: Axis = None, weights: Any = None, keepdims: bool = False) -> Tensor:
    """The weighted mean over `axis`: sum(w x) / sum(w)."""
    x = as_tensor(x)
    if weights is None:
        return reduce.mean(x, axis, keepdims)
    weights = as_tensor(weights)
    if weights.shape != x.shape:
        if not isinstance(axis, int) or weights.shape != (x.shape[axis],):
            raise ValueError(f"[average] weights {weights.shape} fit neither x {x.shape} nor its "
                             f"axis {axis}")
        axis = normalize_axis(axis, x.ndim, "average")
        weights = reshape(weights, (-1,) + (1,) * (x.ndim - 1 - axis))
    total = reduce.sum(broadcast_to(weights, x.shape), axis, keepdims)
    return reduce.sum(x * weights, axis, keepdims) / total


# -- quantiles -----------------------------------------------------------------------------------


INTERPOLATIONS = ("linear", "lower", "higher", "nearest", "midpoint")


def quantile(x: Any, q: Any, axis: Axis = None, keepdims: bool = False,
             method: str = "linear") -> Tensor:
    """The value below which a share `q` of the elements over `axis` lies.

    Args:
        q: a number in [0, 1], or a 1-D tensor of them, which become the first axis of the result.
        method: between two elements: linear, lower, higher, nearest or midpoint.

    >>> import tinygen as tg
    >>> tg.quantile(tg.tensor([3.0, 1.0, 2.0, 4.0]), 0.5).item()
    2.5
    """
    return _quantile(x, q, axis, keepdims, method, False, "quantile")


def nanquantile(x: Any, q: Any, axis: Axis = None, keepdims: bool = False,
                method: str = "linear") -> Tensor:
    """`quantile` of the elements that are not NaN."""
    return _quantile(x, q, axis, keepdims, method, True, "nanquantile")


def percentile(x: Any, q: Any, axis: Axis = None, keepdims: bool = False,
               method: str = "linear") -> Tensor:
    """`quantile` at q / 100."""
    q = q / 100 if isinstance(q, Tensor) else np.asarray(q, np.float64) / 100
    return _quantile(x, q, axis, keepdims, method, False, "percentile")


def nanpercentile(x: Any, q: Any, axis: Axis = None, keepdims: bool = False,
                  method: str = "linear") -> Tensor:
    """`percentile` of the elements that are not NaN."""
    q = q / 100 if isinstance(q, Tensor) else np.asarray(q, np.float64) / 100
    return _quantile(x, q, axis, keepdims, method, True, "nanpercentile")


def median(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The middle element over `axis`; the mean of the middle two where their number is even."""
    return _quantile(x, 0.5, axis, keepdims, "midpoint", False, "median")


def nanmedian(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """`median` of the elements that are not NaN."""
    return _quantile(x, 0.5, axis, keepdims, "midpoint", True, "nanmedian")


def _quantile(x: Any, q: Any, axis: Axis, keepdims: bool, method: str, skip_nan: bool,
              op: str) -> Tensor:
    if method not in INTERPOLATIONS:
        raise ValueError(f"[{op}] method must be one of {', '.join(INTERPOLATIONS)}, got "
                         f"{method!r}")
    x = as_tensor(x)
    rows, shape = _rows(x, axis, keepdims, op)
    if not rows.shape[-1]:
        raise ValueError(f"[{op}] no elements over axis {axis} of {x.shape}")
    q = q if isinstance(q, Tensor) else Tensor(q, dtype=np.float64)
    looks = q.device == "cpu"                                    # a GPU is not waited for
    if q.ndim > 1 or (looks and not bool(((q.data >= 0) & (q.data <= 1)).all())):
        raise ValueError(f"[{op}] q must be a number or 1-D, in [0, 1], got {q.data.tolist()}")
    if looks and x.device != "cpu":
        q = Tensor.wrap(beside(q.data, x))
    unknown = ew.isnan(rows)
    ordered = sort(rows, -1)                                     # NaN comes last
    count = reduce.sum(ew.logical_not(unknown), -1, True) if skip_nan else rows.shape[-1]
    scale = ew.maximum(count - 1, 0) if skip_nan else max(count - 1, 0)
    at = q.reshape((-1,) + (1,) * rows.ndim) * scale + zeros(rows[..., :1].shape, device=x.device)
    y = _between(ordered, at.astype(np.float64), method)[..., 0]
    if not skip_nan:
        y = ew.where(reduce.any(unknown, -1), math.nan, y)
    return reshape(y, (q.shape[0], *shape) if q.ndim else shape)


def _rows(x: Tensor, axis: Axis, keepdims: bool, op: str) -> tuple[Tensor, tuple[int, ...]]:
    """The reduced axes joined at the end, and the shape of the result."""
    axes = tuple(range(x.ndim)) if axis is None else as_shape(axis)
    axes = tuple(normalize_axis(a, x.ndim, op) for a in axes)
    kept = tuple(a for a in range(x.ndim) if a not in axes)
    rows = reshape(permute_dims(x, kept + axes),
                   (*(x.shape[a] for a in kept), math.prod(x.shape[a] for a in axes)))
    return rows, tuple(x.shape[a] if a in kept else 1 for a in range(x.ndim)
                       if keepdims or a in kept)


def _between(ordered: Tensor, at: Tensor, method: str) -> Tensor:
    """Elements at the fractional places `at` along the last axis."""
    low, high = (f(at).astype(np.int64) for f in (ew.floor, ew.ceil))
    wide = broadcast_to(expand_dims(ordered, 0), (at.shape[0], *ordered.shape))
    if method in ("lower", "higher", "nearest"):
        chosen = {"lower": low, "higher": high, "nearest": ew.round_(at).astype(np.int64)}[method]
        return take_along_axis(wide, chosen, -1)
    a, b = take_along_axis(wide, low, -1), take_along_axis(wide, high, -1)
    part = (at - ew.floor(at)).astype(ordered.dtype) if method == "linear" else 0.5
    return a + (b - a) * part


# -- places and counts ---------------------------------------------------------------------------


@primitive(name="searchsorted")
def searchsorted_p(xp, ordered, values, *, side):
    """Where the values fit into the ordered last axis; each row into its own if there are rows."""
    if ordered.ndim == 1:
        return xp.searchsorted(ordered, values, side=side)
    count = math.prod(ordered.shape[:-1])
    rows = ordered.reshape((count, ordered.shape[-1]))
    wanted = values.reshape((count, values.shape[-1]))
    found = [xp.searchsorted(r, v, side=side) for r, v in zip(rows, wanted)]
    return xp.stack(found).reshape(values.shape) if found else xp.zeros(values.shape, "int64")


def searchsorted(x1: Any, x2: Any, side: str = "left", sorter: Any = None) -> Tensor:
    """Indices at which the values `x2` keep the ascending `x1` in order.

    x1[i - 1] < v <= x1[i] for side "left", x1[i - 1] <= v < x1[i] for "right". If `x1` has more
    than one axis, its rows are searched for the rows of `x2`.
    """
    if side not in ("left", "right"):
        raise ValueError(f"[searchsorted] side must be 'left' or 'right', got {side!r}")
    x1, x2 = as_tensor(x1), as_tensor(x2)
    if sorter is not None:
        x1 = take_along_axis(x1, sorter, -1)
    if x1.ndim > 1 and x1.shape[:-1] != x2.shape[:-1]:
        raise ValueError(f"[searchsorted] x1: {x1.shape}, x2: {x2.shape}: all axes but the last "
                         "must be equal")
    return searchsorted_p(x1, x2, side=side)


def digitize(x: Any, bins: Any, right: bool = False) -> Tensor:
    """The number of the bin that each element falls into; `bins` are ascending edges."""
    return searchsorted(bins, x, "left" if right else "right")


def bucketize(x: Any, boundaries: Any, right: bool = False) -> Tensor:
    """PyTorch's `digitize`, with the opposite meaning of `right`."""
    return searchsorted(boundaries, x, "right" if right else "left")


@primitive(name="isin")
def isin_p(xp, x, values, *, invert):
    """True where an element of x is among the values."""
    return xp.isin(x, values, invert=invert)


def isin(x: Any, values: Any, invert: bool = False) -> Tensor:
    """True where an element of `x` is among `values` (is not, with `invert`)."""
    return isin_p(as_tensor(x), as_tensor(values), invert=bool(invert))


@primitive(name="bincount")
def bincount_p(xp, x, weights=None, *, minlength):
    """How often each of 0, 1, 2, ... occurs (or the sum of its weights)."""
    return xp.bincount(x, weights, minlength)


def bincount(x: Any, weights: Any = None, minlength: int = 0) -> Tensor:
    """How often each of 0, 1, 2, ... occurs in `x`, or the sum of the weights where it does."""
    return bincount_p(as_tensor(x), *(() if weights is None else (weights,)),
                      minlength=operator.index(minlength))


def histogram(x: Any, bins: Any = 10, range: tuple[float, float] | None = None,
              density: bool = False, weights: Any = None) -> tuple[Tensor, Tensor]:
    """(how many elements fall into each bin, the edges of the bins), as in NumPy."""
    counts, edges = _histogramdd(reshape(as_tensor(x), (-1, 1)),
                                 bins if isinstance(bins, int) else [bins],
                                 None if range is None else [range], density, weights)
    return counts, edges[0]


def histogramdd(x: Any, bins: Any = 10, range: Sequence[tuple[float, float]] | None = None,
                density: bool = False, weights: Any = None) -> tuple[Tensor, list[Tensor]]:
    """Histogram of points (N, D): (counts with D axes, the edges along each axis)."""
    return _histogramdd(as_tensor(x), bins, range, density, weights)


def _histogramdd(x: Tensor, bins: Any, range: Any, density: bool,
                 weights: Any) -> tuple[Tensor, list[Tensor]]:
    reads("histogram", x, weights, *(bins if isinstance(bins, (list, tuple)) else ()))
    xp = backend.array_module(x.data)
    if isinstance(bins, (list, tuple)):
        bins = [b if isinstance(b, int) else getattr(b, "data", xp.asarray(b)) for b in bins]
    counts, edges = xp.histogramdd(x.data, bins, range, density,
                                   getattr(weights, "data", weights))
    kind: Any = x.dtype if x.dtype.kind in "fV" else np.float32
    whole = not density and weights is None
    return (Tensor.wrap(counts.astype(np.int64 if whole else kind)),
            [Tensor.wrap(xp.asarray(e).astype(kind)) for e in edges])
