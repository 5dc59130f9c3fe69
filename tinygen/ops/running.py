"""Running extremes and sums along an axis, differences, and integrals by the trapezoidal rule."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import backend
from ..constants import beside, shape_of
from ..mode import reads
from ..primitive import primitive
from ..tensor import Tensor
from . import elementwise as ew
from .creation import full, zeros
from .index import take_along_axis_p
from .reduce import cumprod, cumsum
from .reduce import sum as sum_of
from .shape import as_tensor, broadcast_to, concat_p, normalize_axis, reshape, swapaxes

__all__ = ["convolve", "correlate", "cummax", "cummin", "cumulative_prod", "cumulative_sum",
           "cumulative_trapezoid", "diff", "ediff1d", "gradient", "interp", "logcumsumexp",
           "nancumprod", "nancumsum", "trapezoid", "trapz"]


# -- running extremes ----------------------------------------------------------------------------


@primitive(name="argcummax")
def argcummax_p(xp, x, *, axis):
    """Where the largest element so far stands; the last of equal ones, NaN above all."""
    return _argcum(xp, x, xp.maximum, axis)


@primitive(name="argcummin")
def argcummin_p(xp, x, *, axis):
    """Where the smallest element so far stands; the last of equal ones, NaN below all."""
    return _argcum(xp, x, xp.minimum, axis)


def _argcum(xp: Any, x: Any, extreme: Any, axis: int) -> Any:
    best = _accumulate(xp, extreme, x, axis)
    here = xp.arange(x.shape[axis]).reshape((-1,) + (1,) * (x.ndim - 1 - axis))
    reached = (x == best) | ((x != x) if x.dtype.kind in "fV" else False)
    return _accumulate(xp, xp.maximum, xp.where(reached, here, 0), axis)


def _accumulate(xp: Any, extreme: Any, x: Any, axis: int) -> Any:
    """The running extreme; on CuPy, which has none, by doubling: log2(n) elementwise steps."""
    if xp is np:
        return extreme.accumulate(x, axis=axis)
    y, step = x.swapaxes(axis, -1), 1
    while step < y.shape[-1]:
        y = xp.concatenate([y[..., :step], extreme(y[..., step:], y[..., :-step])], axis=-1)
        step *= 2
    return y.swapaxes(axis, -1)


def cummax(x: Any, axis: int = 0) -> tuple[Tensor, Tensor]:
    """The largest element so far along `axis`, and its index: (values, indices).

    >>> import tinygen as tg
    >>> tg.cummax(tg.tensor([1.0, 3.0, 2.0, 3.0]))[1].tolist()
    [0, 1, 1, 3]
    """
    return _running_extreme(x, axis, argcummax_p, "cummax")


def cummin(x: Any, axis: int = 0) -> tuple[Tensor, Tensor]:
    """The smallest element so far along `axis`, and its index: (values, indices)."""
    return _running_extreme(x, axis, argcummin_p, "cummin")


def _running_extreme(x: Any, axis: int, indices_of: Any, op: str) -> tuple[Tensor, Tensor]:
    x = as_tensor(x)
    if not x.ndim:
        return x, zeros((), dtype=np.int64, device=x.device)
    axis = normalize_axis(axis, x.ndim, op)
    indices = indices_of(x, axis=axis)
    return take_along_axis_p(x, indices, axis=axis), indices


# -- running sums --------------------------------------------------------------------------------


def logcumsumexp(x: Any, axis: int = 0) -> Tensor:
    """log of the running sum of exp(x) along `axis`, without overflow.

    By doubling: log2(n) elementwise steps, each adding the sum that ends `step` places before.
    """
    from .special import logaddexp
    x = as_tensor(x)
    if not x.ndim:
        return x
    y, step = swapaxes(x, axis, -1), 1
    while step < y.shape[-1]:
        y = concat_p(y[..., :step], logaddexp(y[..., step:], y[..., :-step]), axis=-1)
        step *= 2
    return swapaxes(y, axis, -1)


def _cumulative(running: Callable[..., Tensor], start: float, x: Any, axis: int | None,
                dtype: Any, include_initial: bool, op: str) -> Tensor:
    x = as_tensor(x) if dtype is None else as_tensor(x).astype(dtype)
    if axis is None:
        if x.ndim != 1:
            raise ValueError(f"[{op}] axis must be given for a tensor of shape {x.shape}")
        axis = 0
    axis = normalize_axis(axis, x.ndim, op)
    y = running(x, axis)
    if not include_initial:
        return y
    edge = full((*x.shape[:axis], 1, *x.shape[axis + 1:]), start, y.dtype, x.device)
    return concat_p(edge, y, axis=axis)


def cumulative_sum(x: Any, axis: int | None = None, dtype: Any = None,
                   include_initial: bool = False) -> Tensor:
    """The running sum along `axis` (array API); `include_initial` puts a 0 before it."""
    return _cumulative(cumsum, 0, x, axis, dtype, include_initial, "cumulative_sum")


def cumulative_prod(x: Any, axis: int | None = None, dtype: Any = None,
                    include_initial: bool = False) -> Tensor:
    """The running product along `axis` (array API); `include_initial` puts a 1 before it."""
    return _cumulative(cumprod, 1, x, axis, dtype, include_initial, "cumulative_prod")


# -- differences ---------------------------------------------------------------------------------


def _cut(axis: int, start: int | None, stop: int | None, step: int | None = None) -> Any:
    return (*(slice(None),) * axis, slice(start, stop, step))


def diff(x: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Tensor:
    """The n-th differences along `axis`: x[i + 1] - x[i], n times over."""
    x = as_tensor(x)
    n, axis = operator.index(n), normalize_axis(axis, x.ndim, "diff")
    if n < 0:
        raise ValueError(f"[diff] n must not be negative, got {n}")
    if not n:
        return x
    edge = [*x.shape[:axis], 1, *x.shape[axis + 1:]]
    parts = [None if p is None else _edge(p, x, edge) for p in (prepend, append)]
    joined = [p for p in (parts[0], x, parts[1]) if p is not None]
    y = concat_p(*joined, axis=axis) if len(joined) > 1 else x
    subtract = ew.not_equal if y.dtype.kind == "b" else ew.subtract
    for _ in range(n):
        y = subtract(y[_cut(axis, 1, None)], y[_cut(axis, None, -1)])
    return y


def _edge(value: Any, like: Tensor, shape: list[int]) -> Tensor:

    value = as_tensor(value)
    return value if value.ndim else broadcast_to(value.astype(like.dtype), tuple(shape))


def gradient(x: Any, *spacing: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Numerical derivatives along every axis by central differences (NumPy's `gradient`).

    Args:
        spacing: distance between samples, one number for all axes, or for each axis a number or
            the coordinates of the samples.
        edge_order: 1 or 2, the order of the one-sided differences at the ends.
    """
    x = as_tensor(x)
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    axes = [normalize_axis(a, x.ndim, "gradient") for a in axes]
    steps = list(spacing) or [1.0]
    if len(steps) == 1 and not shape_of(steps[0]):
        steps = steps * len(axes)
    if len(steps) != len(axes):
        raise ValueError(f"[gradient] {len(steps)} spacings for {len(axes)} axes")
    if edge_order not in (1, 2):
        raise ValueError(f"[gradient] edge_order must be 1 or 2, got {edge_order}")
    for a in axes:
        if x.shape[a] < edge_order + 1:
            raise ValueError(f"[gradient] axis {a} of {x.shape} needs at least {edge_order + 1} "
                             "samples")
    found = [_derivative(x, a, h, edge_order) for a, h in zip(axes, steps, strict=True)]
    return found[0] if len(found) == 1 and (axis is None or isinstance(axis, int)) else found


def _derivative(x: Tensor, axis: int, step: Any, edge_order: int) -> Tensor:
    reads("gradient", step)
    n = x.shape[axis]
    bare = step.data if isinstance(step, Tensor) else np.asarray(step)
    h = backend.to_device(bare, "cpu").astype(np.float64)
    gaps = np.full(n - 1, float(h)) if h.ndim == 0 else np.diff(h)
    if h.ndim > 1 or gaps.shape != (n - 1,):
        raise ValueError(f"[gradient] {h.shape} coordinates for an axis of length {n}")
    weights = np.zeros((n, n))                     # the derivative is linear: one matrix
    a, b = gaps[:-1], gaps[1:]
    inner = np.arange(1, n - 1)
    weights[inner, inner - 1] = -b / (a * (a + b))
    weights[inner, inner] = (b - a) / (a * b)
    weights[inner, inner + 1] = a / (b * (a + b))
    weights[0, :edge_order + 1] = _one_sided(gaps[:2], edge_order)
    weights[-1, n - 1 - edge_order:] = -_one_sided(gaps[::-1][:2], edge_order)[::-1]
    matrix = Tensor.wrap(beside(weights.astype(x.dtype if x.dtype.kind in "fV" else np.float32), x))
    return swapaxes(swapaxes(x, axis, -1) @ matrix.T, axis, -1)


def _one_sided(gaps: np.ndarray, order: int) -> np.ndarray:
    if order == 1:
        return np.array([-1.0, 1.0]) / gaps[0]
    a, b = gaps
    return np.array([-(2 * a + b) / (a * (a + b)), (a + b) / (a * b), -a / (b * (a + b))])


# -- integrals -----------------------------------------------------------------------------------


def _panels(y: Any, x: Any, dx: float, axis: int, op: str) -> tuple[Tensor, int]:
    """The area of each panel between neighbouring samples."""
    y = as_tensor(y)
    axis = normalize_axis(axis, y.ndim, op)
    if x is None:
        width: Any = dx
    else:
        x = as_tensor(x)
        width = diff(x, axis=0 if x.ndim == 1 else axis)
        if x.ndim == 1:
            width = reshape(width, (-1,) + (1,) * (y.ndim - 1 - axis))
    return (y[_cut(axis, 1, None)] + y[_cut(axis, None, -1)]) * width * 0.5, axis


def trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Tensor:
    """The integral of y along `axis` by the trapezoidal rule, at places x or dx apart.

    >>> import tinygen as tg
    >>> tg.trapezoid(tg.tensor([1.0, 2.0, 3.0])).item()
    4.0
    """
    areas, axis = _panels(y, x, dx, axis, "trapezoid")
    return sum_of(areas, axis=axis)


trapz = trapezoid


def cumulative_trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1,
                         initial: float | None = None) -> Tensor:
    """The running integral of y along `axis` by the trapezoidal rule (SciPy's function)."""
    areas, axis = _panels(y, x, dx, axis, "cumulative_trapezoid")
    total = cumsum(areas, axis)
    if initial is None:
        return total
    shape = (*total.shape[:axis], 1, *total.shape[axis + 1:])
    return concat_p(full(shape, initial, total.dtype, total.device), total, axis=axis)


# -- sums over windows ---------------------------------------------------------------------------


def nancumsum(x: Any, axis: int | None = None) -> Tensor:
    """The running sum along `axis`, NaN counting as 0."""
    return cumsum(ew.where(ew.isnan(as_tensor(x)), 0, x), axis)


def nancumprod(x: Any, axis: int | None = None) -> Tensor:
    """The running product along `axis`, NaN counting as 1."""
    y = ew.where(ew.isnan(as_tensor(x)), 1, x)
    return cumprod(reshape(y, (-1,)), 0) if axis is None else cumprod(y, axis)


def ediff1d(x: Any) -> Tensor:
    """The differences between neighbours of the flattened tensor."""
    return diff(reshape(as_tensor(x), (-1,)))


def convolve(a: Any, v: Any, mode: str = "full") -> Tensor:
    """The discrete convolution of two vectors: out[n] = sum over k of a[k] v[n - k].

    Args:
        mode: ``"full"`` (m + n - 1 values), ``"same"`` (as many as the longer vector has) or
            ``"valid"`` (where both overlap completely).
    """
    a, v = as_tensor(a), as_tensor(v)
    if a.ndim != 1 or v.ndim != 1 or not a.size or not v.size:
        raise ValueError(f"[convolve] two vectors that are not empty are needed, got {a.shape} "
                         f"and {v.shape}")
    if mode not in ("full", "same", "valid"):
        raise ValueError(f"[convolve] mode must be 'full', 'same' or 'valid', got {mode!r}")
    if v.size > a.size:
        a, v = v, a
    n = v.size
    edge = zeros(n - 1, dtype=a.dtype, device=a.device)
    wide = concat_p(edge, a, edge, axis=0)
    windows = wide[np.arange(wide.size - n + 1)[:, None] + np.arange(n)]     # (m + n - 1, n)
    full = windows @ v[::-1]
    if mode == "full":
        return full
    length = a.size if mode == "same" else a.size - n + 1
    start = (n - 1) // 2 if mode == "same" else n - 1
    return full[start:start + length]


def correlate(a: Any, v: Any, mode: str = "valid") -> Tensor:
    """The cross-correlation of two vectors: out[k] = sum over n of a[n + k] v[n] (NumPy's)."""
    a, v = as_tensor(a), as_tensor(v)
    if v.size > a.size and mode in ("same", "valid"):
        return convolve(a, v[::-1], "full")[_middle(a.size, v.size, mode)]
    return convolve(a, v[::-1], mode)


def _middle(m: int, n: int, mode: str) -> slice:
    """Which part of the full correlation of a shorter with a longer vector NumPy returns."""
    if mode == "valid":
        return slice(m - 1, n)
    start = m - 1 - (m - 1) // 2
    return slice(start, start + n)


def interp(x: Any, xp: Any, fp: Any) -> Tensor:
    """Linear interpolation at x between the samples fp at ascending places xp."""
    x, places, values = as_tensor(x), as_tensor(xp), as_tensor(fp)
    reads("interp", places, x)
    np_or_cupy = backend.array_module(x.data)
    right = np_or_cupy.searchsorted(places.data, x.data).clip(1, max(places.size - 1, 1))
    left = np_or_cupy.maximum(right - 1, 0)
    right = np_or_cupy.minimum(right, places.size - 1)
    gap = places[right] - places[left]
    part = ew.where(ew.equal(gap, 0), 0, (x - places[left]) / ew.where(ew.equal(gap, 0), 1, gap))
    part = ew.clip_p(part, low=0, high=1)
    return values[left] + (values[right] - values[left]) * part
