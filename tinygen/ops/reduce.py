"""Reductions: sums, means, extremes, and running sums, each with its derivative beside it."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..casting import is_autocasting
from ..halves import in_float32
from ..primitive import primitive
from ..tensor import Tensor
from . import elementwise as ew
from .shape import (
    as_tensor,
    astype,
    broadcast_to,
    concat_p,
    flip,
    reshape,
    restore_axes,
    swapaxes,
)

Axis = int | Sequence[int] | None


def _axes(axis: Any) -> Any:
    """Lists and NumPy integers as the tuples and ints that static arguments need."""
    if axis is None or isinstance(axis, int):
        return axis
    return tuple(map(operator.index, axis)) if hasattr(axis, "__iter__") else operator.index(axis)


def _count(x: Any, axis: Any) -> int:
    """How many elements one result of a reduction over `axis` comes from."""
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    n = 1
    for a in axes:
        n *= x.shape[a]
    return n


def _spread(g: Any, x: Any, axis: Any) -> Any:
    """Give every element of x the gradient of the result that it went into."""
    return broadcast_to(restore_axes(g, x.ndim, axis), x.shape)


# -- sum and mean -------------------------------------------------------------------------------


@primitive(name="sum")
def sum_p(xp, x, *, axis=None, keepdims=False):
    """The sum of the elements over the axes."""
    return x.sum(axis=axis, keepdims=keepdims)
sum_p.vjp(lambda g, out, x, axis=None, keepdims=False: _spread(g, x, axis))


def sum(x: Any, axis: Axis = None, keepdims: bool = False, dtype: Any = None) -> Tensor:
    """The sum of the elements over `axis` (all axes by default).

    >>> import tinygen as tg
    >>> tg.sum(tg.ones((2, 3)), axis=1)
    Tensor([3., 3.], dtype=float32)
    """
    return sum_p(x if dtype is None else astype(x, dtype), axis=_axes(axis), keepdims=keepdims)


@primitive(name="mean")
def mean_p(xp, x, *, axis=None, keepdims=False):
    """The arithmetic mean over the axes; of nothing, NaN."""
    if not x.size:
        return x.sum(axis=axis, keepdims=keepdims) / math.nan
    return x.mean(axis=axis, keepdims=keepdims)
mean_p.vjp(lambda g, out, x, axis=None, keepdims=False: _spread(g / (_count(x, axis) or 1),
                                                                     x, axis))


def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The arithmetic mean over `axis` (all axes by default)."""
    return mean_p(x, axis=_axes(axis), keepdims=keepdims)


@primitive(name="var")
def var_p(xp, x, *, axis=None, correction=0, keepdims=False):
    """sum((x - mean)^2) / (n - correction)."""
    return x.var(axis=axis, ddof=correction, keepdims=keepdims)
var_p.vjp(lambda g, out, x, axis=None, correction=0, keepdims=False:
          _spread(g * (2 / (_count(x, axis) - correction)), x, axis)
          * (x - mean_p(x, axis=axis, keepdims=True)))


def var(x: Any, axis: Axis = None, correction: float = 0, keepdims: bool = False,
        ddof: float | None = None) -> Tensor:
    """The variance over `axis`: sum((x - mean)^2) / (n - correction).

    `correction` (array API; NumPy's `ddof`) is 0 by default; PyTorch's default is 1.
    """
    return var_p(x, axis=_axes(axis), correction=correction if ddof is None else ddof,
                 keepdims=keepdims)


@primitive(name="std")
def std_p(xp, x, *, axis=None, correction=0, keepdims=False):
    """sqrt(sum((x - mean)^2) / (n - correction)); the derivative is taken as 0 where it is 0."""
    return x.std(axis=axis, ddof=correction, keepdims=keepdims)


@std_p.vjp
def _(g, out, x, axis=None, correction=0, keepdims=False):
    flat = ew.equal(out, 0)
    scale = ew.where(flat, 0, g / ew.where(flat, 1, out)) / (_count(x, axis) - correction)
    return _spread(scale, x, axis) * (x - mean_p(x, axis=axis, keepdims=True))


def std(x: Any, axis: Axis = None, correction: float = 0, keepdims: bool = False,
        ddof: float | None = None) -> Tensor:
    """The standard deviation: the square root of `var` with the same arguments."""
    return std_p(x, axis=_axes(axis), correction=correction if ddof is None else ddof,
                 keepdims=keepdims)


# -- extremes -----------------------------------------------------------------------------------


def _share(g: Any, out: Any, x: Any, axis: Any) -> Any:
    """The gradient of max or min: shared evenly among the elements that reach it."""
    hits = ew.equal(x, restore_axes(out, x.ndim, axis))
    ties = sum_p(hits, axis=axis, keepdims=True)
    return ew.where(hits, restore_axes(g, x.ndim, axis) / ties.astype(g.dtype), 0)


@primitive(name="max")
def max_p(xp, x, *, axis=None, keepdims=False):
    """The largest element over the axes."""
    return x.max(axis=axis, keepdims=keepdims)
max_p.vjp(lambda g, out, x, axis=None, keepdims=False: _share(g, out, x, axis))


@primitive(name="min")
def min_p(xp, x, *, axis=None, keepdims=False):
    """The smallest element over the axes."""
    return x.min(axis=axis, keepdims=keepdims)
min_p.vjp(lambda g, out, x, axis=None, keepdims=False: _share(g, out, x, axis))


def max(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest element over `axis`; equal largest elements share the gradient."""
    return max_p(x, axis=_axes(axis), keepdims=keepdims)


def min(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest element over `axis`; equal smallest elements share the gradient."""
    return min_p(x, axis=_axes(axis), keepdims=keepdims)


@primitive(name="argmax")
def argmax_p(xp, x, *, axis=None, keepdims=False):
    """The index of the (first) largest element."""
    return xp.argmax(x, axis=axis, keepdims=keepdims)


@primitive(name="argmin")
def argmin_p(xp, x, *, axis=None, keepdims=False):
    """The index of the (first) smallest element."""
    return xp.argmin(x, axis=axis, keepdims=keepdims)


def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the first largest element along `axis` (of the flattened tensor: None)."""
    return argmax_p(x, axis=_axes(axis), keepdims=keepdims)


def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the first smallest element along `axis` (of the flattened tensor: None)."""
    return argmin_p(x, axis=_axes(axis), keepdims=keepdims)


# -- logic --------------------------------------------------------------------------------------


@primitive(name="any")
def any_p(xp, x, *, axis=None, keepdims=False):
    """True where any element is true."""
    return x.any(axis=axis, keepdims=keepdims)


@primitive(name="all")
def all_p(xp, x, *, axis=None, keepdims=False):
    """True where all elements are true."""
    return x.all(axis=axis, keepdims=keepdims)


def any(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """True where any element over `axis` is true (not zero)."""
    return any_p(x, axis=_axes(axis), keepdims=keepdims)


def all(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """True where all elements over `axis` are true (not zero)."""
    return all_p(x, axis=_axes(axis), keepdims=keepdims)


# -- products and logarithmic sums --------------------------------------------------------------


@primitive(name="prod")
def prod_p(xp, x, *, axis=None, keepdims=False):
    """The product over the axes."""
    return x.prod(axis=axis, keepdims=keepdims)


@prod_p.vjp
def _(g, out, x, axis=None, keepdims=False):
    """g times the product of all *other* elements; dividing by x would fail at zeros."""
    axes = tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else axis
    axes = tuple(a % x.ndim for a in axes) if x.ndim else ()
    kept = tuple(a for a in range(x.ndim) if a not in axes)
    order = kept + axes
    if not x.size:
        return x * 0
    flat = x.transpose(order).reshape(tuple(x.shape[a] for a in kept) + (-1,))
    ones = flat[..., :1] * 0 + 1
    before = _running_product(_join([ones, flat[..., :-1]]))
    after = flip(_running_product(_join([ones, flip(flat[..., 1:], -1)])), -1)
    others = (before * after).reshape(tuple(x.shape[a] for a in order))
    inverse = tuple(sorted(range(x.ndim), key=order.__getitem__))
    return restore_axes(g, x.ndim, axis) * others.transpose(inverse)


def _join(parts: list[Any]) -> Any:
    return concat_p(*parts, axis=-1)


def _running_product(x: Any) -> Any:
    """The running product along the last axis, by doubling: log2(n) elementwise steps."""
    step, n = 1, x.shape[-1]
    while step < n:
        x = _join([x[..., :step], x[..., step:] * x[..., :-step]])
        step *= 2
    return x


def prod(x: Any, axis: Axis = None, keepdims: bool = False, dtype: Any = None) -> Tensor:
    """The product over `axis`; the gradient is right at zeros too."""
    return prod_p(x if dtype is None else astype(x, dtype), axis=_axes(axis), keepdims=keepdims)


def cumprod(x: Any, axis: int = 0) -> Tensor:
    """The running product along `axis`; of small integers in 64 bits, as NumPy's."""
    kind = x.dtype.kind
    x = in_float32(x) if is_autocasting() else x
    if kind in "biu":
        x = astype(x, "uint64" if kind == "u" else "int64", copy=False)
    return swapaxes(_running_product(swapaxes(x, axis, -1)), axis, -1)


@primitive(name="logsumexp")
def logsumexp_p(xp, x, *, axis=None, keepdims=False):
    """log(sum(exp(x))), shifted by the maximum: no overflow, no lost small terms."""
    top = x.max(axis=axis, keepdims=True)
    top = xp.where(xp.isfinite(top), top, 0)
    with np.errstate(divide="ignore"):           # log(0) where all x are -inf
        total = xp.log(xp.exp(x - top).sum(axis=axis, keepdims=True)) + top
    return total if keepdims else total.squeeze(axis)


@logsumexp_p.vjp
def _(g, out, x, axis=None, keepdims=False):
    """g * softmax(x); nothing where all x are -inf, instead of exp(-inf + inf)."""
    out = restore_axes(ew.where(ew.equal(out, -math.inf), 0, out), x.ndim, axis)
    return restore_axes(g, x.ndim, axis) * ew.exp(x - out)


def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False, b: Any = None) -> Tensor:
    """log(sum(b * exp(x))) over `axis`, without overflow; the factors `b` are 1 if left out."""
    if b is None:
        return logsumexp_p(x, axis=_axes(axis), keepdims=keepdims)
    x = as_tensor(x)
    counts = ew.not_equal(b, 0)
    x = ew.where(counts, x, -math.inf)
    top = max_p(x.detach(), axis=_axes(axis), keepdims=True)
    top = ew.where(ew.isfinite(top), top, 0)
    total = ew.log(sum_p(b * ew.exp(x - top), axis=_axes(axis), keepdims=True)) + top
    return total if keepdims else total.squeeze(_axes(axis))


@primitive(name="cumsum")
def cumsum_p(xp, x, *, axis):
    """The running sum along an axis."""
    return xp.cumsum(x, axis=axis)
cumsum_p.vjp(lambda g, out, x, axis: flip(cumsum_p(flip(g, axis), axis=axis), axis))


def cumsum(x: Any, axis: int | None = None) -> Tensor:
    """The running sum along `axis` (over the flattened tensor by default)."""
    if axis is None:
        x, axis = reshape(x, (-1,)), 0
    return cumsum_p(x, axis=operator.index(axis))


def count_nonzero(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """How many elements over `axis` are not zero."""
    return sum_p(ew.not_equal(x, 0), axis=_axes(axis), keepdims=keepdims)

