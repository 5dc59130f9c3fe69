"""Writing at chosen places: values set, added or combined, under PyTorch's names.

All of these return new tensors. `indices` and `source` have one shape, which along the other axes
may be shorter than `x`: element j of `source` goes to `x[..., indices[j], ...]`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import FLOATS
from ..constants import module_beside
from ..mode import reads
from ..primitive import primitive
from ..tensor import Tensor
from . import elementwise as ew
from . import reduce as rd
from .creation import ones_like, zeros
from .index import SLOT, along, getitem_p, put_index, scatter_along_p
from .shape import as_tensor, broadcast_to, normalize_axis, reshape

__all__ = ["index_add", "index_copy", "index_fill", "index_reduce", "masked_scatter",
           "put_along_axis", "scatter", "scatter_reduce"]

REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")


def _arguments(x: Any, indices: Any, source: Any, axis: int,
               op: str) -> tuple[Tensor, Tensor, Tensor, int]:
    x, indices = as_tensor(x), as_tensor(indices)
    source = as_tensor(source, x)
    if not source.ndim and indices.ndim:
        source = broadcast_to(source, indices.shape)
    axis = normalize_axis(axis, max(x.ndim, 1), op)
    if indices.shape != source.shape:
        raise ValueError(f"[{op}] indices have shape {indices.shape}, source {source.shape}; they "
                         "must be equal")
    if indices.ndim != x.ndim or any(n > m for a, (n, m) in enumerate(
            zip(indices.shape, x.shape)) if a != axis):
        raise ValueError(f"[{op}] indices {indices.shape} must have the axes of x {x.shape} and "
                         f"be no longer along any axis but {axis}")
    return x, indices, source, axis


def scatter(x: Any, indices: Any, source: Any, axis: int = 0) -> Tensor:
    """`x` with `source` set at `indices` along `axis`: out[i[j], k] = source[j, k] for axis 0.

    >>> import tinygen as tg
    >>> tg.scatter(tg.zeros(4), tg.tensor([2, 0]), tg.tensor([5.0, 7.0])).tolist()
    [7.0, 0.0, 5.0, 0.0]
    """
    x, indices, source, axis = _arguments(x, indices, source, axis, "scatter")
    if not x.ndim:
        return source * 1
    places = along(module_beside(x), indices, axis, indices.shape)
    return put_index(x, places, source.astype(x.dtype, copy=False))


def put_along_axis(x: Any, indices: Any, values: Any, axis: int = -1) -> Tensor:
    """`x` with `values` set where `take_along_axis` would read: a copy, unlike NumPy's function."""
    x, indices = as_tensor(x), as_tensor(indices)
    axis = normalize_axis(axis, x.ndim, "put_along_axis")
    shape = tuple(m if a == axis else n for a, (n, m) in enumerate(zip(x.shape, indices.shape)))
    values = as_tensor(values, x).to(device=x.device)
    return scatter(x, broadcast_to(indices, shape), broadcast_to(values, shape), axis)


# -- combined with what is there -----------------------------------------------------------------


_UFUNCS = {"amax": "maximum", "amin": "minimum", "prod": "multiply"}


@primitive(name="scatter_combine")
def scatter_combine_p(xp, x, indices, source, *, axis, how):
    """x combined at the indices with the source by max, min or product."""
    out, index = x.copy(), along(xp, indices, axis, source.shape)
    if how == "prod" and xp is not np:
        return out * _products(xp, x, index, source)
    extreme = getattr(xp, _UFUNCS[how])
    if xp is np or x.dtype.kind in FLOATS or x.dtype.name in ("int32", "uint32", "uint64"):
        extreme.at(out, index, source)
        return out
    # CuPy's `at` does not take int64: with the sign turned over, uint64 has the same order
    turn = np.uint64(1 << 63)
    ordered = out.astype("int64").view("uint64") ^ turn
    extreme.at(ordered, index, source.astype("int64").view("uint64") ^ turn)
    return (ordered ^ turn).view("int64").astype(x.dtype)


def _products(xp: Any, x: Any, index: Any, source: Any) -> Any:
    """The product of the elements of `source` for each place of x (1 for none).

    CuPy has no `multiply.at`: elements are sorted by place, and multiplied within each run by
    doubling, log2(n) steps.
    """
    places = xp.ravel_multi_index(index, x.shape, mode="wrap") if x.ndim else index[0]
    places = xp.broadcast_to(places, source.shape).reshape(-1)
    order = xp.argsort(places, kind="stable")
    places, run, step = places[order], source.reshape(-1)[order], 1
    while step < run.size:
        same = places[step:] == places[:-step]
        run = xp.concatenate([run[:step], xp.where(same, run[step:] * run[:-step], run[step:])])
        step *= 2
    ends = xp.concatenate([places[1:] != places[:-1], xp.ones(min(1, run.size), bool)])
    made = xp.ones(x.size + 1, source.dtype)              # the last one is for what is no end
    made[xp.where(ends, places, x.size)] = run
    return made[:-1].reshape(x.shape)


def _combine_to_x(g, out, x, indices, source, *, axis, how):
    if how == "prod":
        return _product_gradients(g, x, indices, source, axis)[0]
    hits, share = _shares(g, out, x, indices, source, axis)
    return hits * share


def _combine_to_source(g, out, x, indices, source, *, axis, how):
    if how == "prod":
        return _product_gradients(g, x, indices, source, axis)[1]
    share = _shares(g, out, x, indices, source, axis)[1]
    return ew.equal(source, _read(out, indices, axis)) * _read(share, indices, axis)


scatter_combine_p.vjp(_combine_to_x, None, _combine_to_source)


def _read(x: Any, indices: Any, axis: int) -> Any:
    """The elements of x that the indices mean."""
    places = along(module_beside(x), indices, axis, indices.shape)
    return getitem_p(x, *places, template=(SLOT,) * x.ndim)


def _shares(g: Any, out: Any, x: Any, indices: Any, source: Any, axis: int) -> tuple[Any, Any]:
    """Where x is the extreme, and the gradient for each element that is: ties share it."""
    hits = ew.equal(x, out)
    others = ew.equal(source, _read(out, indices, axis)).astype(g.dtype)
    count = hits.astype(g.dtype) + scatter_along_p(others, indices, axis=axis,
                                                   shape=tuple(x.shape))
    return hits.astype(g.dtype), g / ew.maximum(count, 1)


def _product_gradients(g: Any, x: Any, indices: Any, source: Any, axis: int) -> tuple[Any, Any]:
    """g times the product of the *other* factors: P / factor, with zeros counted apart."""
    zero_x, zero_s = ew.equal(x, 0), ew.equal(source, 0)
    one_x, one_s = ew.where(zero_x, 1, x), ew.where(zero_s, 1, source)
    product = scatter_combine_p(one_x, indices, one_s, axis=axis, how="prod")
    zeros = zero_x.astype(g.dtype) + scatter_along_p(
        zero_s.astype(g.dtype), indices, axis=axis, shape=tuple(x.shape))

    def others(factor: Any, is_zero: Any, zeros: Any, product: Any) -> Any:
        kept = ew.equal(zeros, is_zero.astype(g.dtype))     # no zero among the others
        return ew.where(kept, product / factor, 0)
    return (g * others(one_x, zero_x, zeros, product),
            _read(g, indices, axis) * others(one_s, zero_s, _read(zeros, indices, axis),
                                             _read(product, indices, axis)))


def scatter_reduce(x: Any, indices: Any, source: Any, axis: int = 0, reduce: str = "sum",
                   include_self: bool = True) -> Tensor:
    """`x` combined with `source` at `indices` along `axis`: sum, prod, mean, amax or amin.

    With `include_self=False` the old values do not count where anything is written.
    """
    if reduce not in REDUCTIONS:
        raise ValueError(f"[scatter_reduce] reduce must be one of {', '.join(REDUCTIONS)}, got "
                         f"{reduce!r}")
    x, indices, source, axis = _arguments(x, indices, source, axis, "scatter_reduce")
    if not x.ndim:
        one = scatter_reduce(reshape(x, (1,)), reshape(indices, (1,)), reshape(source, (1,)), 0,
                             reduce, include_self)
        return reshape(one, ())
    count = scatter_along_p(ones_like(source), indices, axis=axis, shape=x.shape)
    if not include_self:
        start = {"sum": 0.0, "mean": 0.0, "prod": 1.0}.get(reduce)
        if start is None:                      # the worst value, which any source replaces
            start = -np.inf if reduce == "amax" else np.inf
        x = ew.where(count > 0, start, x)
    if reduce in ("sum", "mean"):
        total = x + scatter_along_p(source, indices, axis=axis, shape=x.shape)
        if reduce == "sum":
            return total
        return total / (count + 1 if include_self else ew.maximum(count, 1))
    return scatter_combine_p(x, indices, source, axis=axis, how=reduce)


# -- whole slices --------------------------------------------------------------------------------


def _rows(x: Any, indices: Any, axis: int, op: str) -> tuple[Tensor, Tensor, int]:
    x, indices = as_tensor(x), as_tensor(indices)
    axis = normalize_axis(axis, max(x.ndim, 1), op)
    if indices.ndim > 1:
        raise ValueError(f"[{op}] indices must have one axis, got {indices.shape}")
    return x, reshape(indices, (-1,)), axis


def _wide(indices: Tensor, source: Tensor, axis: int) -> Tensor:
    """One index per slice as one index per element."""
    shape = (1,) * axis + (-1,) + (1,) * (source.ndim - 1 - axis)
    return broadcast_to(reshape(indices, shape), source.shape)


def index_add(x: Any, indices: Any, source: Any, axis: int = 0, alpha: float = 1) -> Tensor:
    """`x` with alpha * source[j] added to slice `indices[j]`; repeated indices add up."""
    x, indices, axis = _rows(x, indices, axis, "index_add")
    source = as_tensor(source, x)
    if not x.ndim:
        return x + alpha * rd.sum(source)
    return x + alpha * scatter_along_p(source, _wide(indices, source, axis), axis=axis,
                                       shape=x.shape)


def index_copy(x: Any, indices: Any, source: Any, axis: int = 0) -> Tensor:
    """`x` with slice `indices[j]` along `axis` replaced by source[j]."""
    x, indices, axis = _rows(x, indices, axis, "index_copy")
    source = as_tensor(source, x)
    if not x.ndim:
        return reshape(source, ()) * 1
    return put_index(x, (*(slice(None),) * axis, indices), source)


def index_fill(x: Any, indices: Any, value: Any, axis: int = 0) -> Tensor:
    """`x` with the slices `indices` along `axis` filled with a number."""
    x, indices, axis = _rows(x, indices, axis, "index_fill")
    if not x.ndim:
        return x * 0 + value
    chosen = put_index(zeros(x.shape[axis], dtype=bool, device=x.device), indices, True)
    return ew.where(reshape(chosen, (-1,) + (1,) * (x.ndim - 1 - axis)), value, x)


def index_reduce(x: Any, indices: Any, source: Any, axis: int = 0, reduce: str = "prod",
                 include_self: bool = True) -> Tensor:
    """`scatter_reduce` for whole slices: source[j] is combined with slice `indices[j]`."""
    x, indices, axis = _rows(x, indices, axis, "index_reduce")
    source = as_tensor(source, x)
    if not x.ndim:
        return reshape(index_reduce(reshape(x, (1,)), indices, reshape(source, (1,)), 0, reduce,
                                    include_self), ())
    return scatter_reduce(x, _wide(indices, source, axis), source, axis, reduce, include_self)


def masked_scatter(x: Any, mask: Any, source: Any) -> Tensor:
    """`x` with its elements where `mask` is true replaced by those of `source`, in order."""
    x, mask = as_tensor(x), as_tensor(mask)
    shape = np.broadcast_shapes(x.shape, mask.shape)
    x, mask = broadcast_to(x, shape), broadcast_to(mask, shape)
    reads("masked_scatter", mask)
    count = int(mask.data.sum())
    source = reshape(as_tensor(source, x), (-1,))
    if source.size < count:
        raise ValueError(f"[masked_scatter] source has {source.size} elements for {count} places")
    return put_index(x, mask, source[:count])
