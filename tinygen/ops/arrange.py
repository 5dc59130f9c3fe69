"""Joining, cutting and laying out tensors: NumPy's conveniences, made of the ops of `shape.py`."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import backend
from ..mode import reads
from ..primitive import primitive
from ..tensor import Tensor
from .creation import zeros
from .elementwise import where
from .index import getitem, put_index, take
from .shape import (
    as_shape,
    as_tensor,
    broadcast_arrays,
    broadcast_to,
    concat,
    expand_dims,
    flip,
    moveaxis,
    normalize_axis,
    permute_dims,
    reshape,
    split,
    stack,
    swapaxes,
)

__all__ = ["append", "argwhere", "array_split", "atleast_1d", "atleast_2d", "atleast_3d",
           "cartesian_prod", "column_stack", "combinations", "compress", "delete", "diag",
           "diag_embed", "diag_indices", "diagflat", "dsplit", "dstack", "extract", "flatnonzero",
           "fliplr", "flipud", "hsplit", "hstack", "insert", "ravel", "rollaxis", "rot90",
           "row_stack", "select", "sliding_window_view", "tri", "tril_indices", "triu_indices",
           "unstack", "vsplit", "vstack"]


# -- at least so many axes -----------------------------------------------------------------------


def _many(xs: tuple[Any, ...], change: Any) -> Any:
    if len(xs) == 1 and isinstance(xs[0], (list, tuple)) and any(
            isinstance(x, Tensor) for x in xs[0]):
        xs = tuple(xs[0])
    made = tuple(change(as_tensor(x)) for x in xs)
    return made[0] if len(made) == 1 else made


def atleast_1d(*xs: Any) -> Any:
    """Numbers as tensors of shape (1,); all others as they are."""
    return _many(xs, lambda x: x if x.ndim else reshape(x, (1,)))


def atleast_2d(*xs: Any) -> Any:
    """Tensors with two axes or more: (n,) becomes (1, n)."""
    return _many(xs, lambda x: x if x.ndim > 1 else reshape(x, (1, -1)))


def atleast_3d(*xs: Any) -> Any:
    """Tensors with three axes or more: (n,) becomes (1, n, 1) and (m, n) becomes (m, n, 1)."""
    return _many(xs, lambda x: x if x.ndim > 2 else reshape(x, (*x.shape, 1)) if x.ndim == 2
                 else reshape(x, (1, -1, 1)))


def ravel(x: Any) -> Tensor:
    """All elements along one axis, in C order."""
    return reshape(x, (-1,))


# -- joining and cutting -------------------------------------------------------------------------


def hstack(xs: Sequence[Any]) -> Tensor:
    """The tensors side by side: along axis 1, or end to end if they have one axis."""
    xs = [atleast_1d(x) for x in xs]
    return concat(xs, 0 if xs and xs[0].ndim == 1 else 1)


def vstack(xs: Sequence[Any]) -> Tensor:
    """The tensors one below the other, rows being made of those with one axis."""
    return concat([atleast_2d(x) for x in xs], 0)


row_stack = vstack


def dstack(xs: Sequence[Any]) -> Tensor:
    """The tensors one behind the other, along axis 2."""
    return concat([atleast_3d(x) for x in xs], 2)


def column_stack(xs: Sequence[Any]) -> Tensor:
    """The tensors side by side, columns being made of those with one axis."""
    xs = [as_tensor(x) for x in xs]
    return concat([x if x.ndim > 1 else reshape(x, (-1, 1)) for x in xs], 1)


MANY = 64     # more slices than this are cut one by one: few of them may be needed


@primitive(name="unstack", outputs=MANY + 1)
def unstack_p(xp, x, *, axis):
    """All slices along an axis in one node: their gradients come back in one pass, side by side."""
    return tuple(xp.moveaxis(x, axis, 0) if axis else x)
unstack_p.vjp(lambda gs, ys, x, axis: restack(*gs, axis=axis))


@primitive
def restack(xp, *xs, axis):
    """The slices along a new axis; a view of their memory, where they lie side by side in it.

    So lie the gradients of queries, keys and values: attention writes them as slices of one array.
    """
    found = _side_by_side(xs, axis)
    return xp.stack(xs, axis) if found is None else found
restack.vjp_each(lambda i, g, y, *xs, axis: g[(slice(None),) * axis + (i,)])


def _side_by_side(xs: tuple[Any, ...], axis: int) -> Any:
    """The array of which these are the slices, if they are slices of one that lies in C order."""
    first = xs[0]
    base = getattr(first, "base", None)
    if base is None or not backend.is_array(base) or len(xs) < 2 or (
            not base.flags.c_contiguous) or any(
            x.base is not base or x.shape != first.shape or x.strides != first.strides
            or x.dtype != first.dtype for x in xs[1:]):
        return None
    starts = [_address(x) for x in (base, *xs)]
    step = starts[2] - starts[1]
    if step <= 0 or starts[1:] != list(range(starts[1], starts[1] + len(xs) * step, step)):
        return None
    shape = (*first.shape[:axis], len(xs), *first.shape[axis:])
    strides = (*first.strides[:axis], step, *first.strides[axis:])
    if isinstance(first, np.ndarray):       # a view whose base is the array, and 8 us less
        return np.ndarray(shape, first.dtype, base, starts[1] - starts[0], strides)
    return backend.array_module(first).lib.stride_tricks.as_strided(first, shape, strides)


def _address(x: Any) -> int:
    return x.__array_interface__["data"][0] if isinstance(x, np.ndarray) else x.data.ptr


def unstack(x: Any, axis: int = 0) -> tuple[Tensor, ...]:
    """The slices along `axis`, one tensor each (PyTorch's `unbind`)."""
    x = as_tensor(x)
    axis = normalize_axis(axis, x.ndim, "unstack")
    if 1 < x.shape[axis] <= MANY:
        return unstack_p(x, axis=axis)
    return tuple(x[(*(slice(None),) * axis, i)] for i in range(x.shape[axis]))


def array_split(x: Any, parts: Any, axis: int = 0) -> list[Tensor]:
    """`split` into pieces whose lengths differ by at most one."""
    x = as_tensor(x)
    if not isinstance(parts, (int, np.integer)):
        return split(x, parts, axis)
    if parts < 1:
        raise ValueError(f"[array_split] parts must be at least 1, got {parts}")
    n = x.shape[normalize_axis(axis, x.ndim, "array_split")]
    sizes = [n // parts + (i < n % parts) for i in range(int(parts))]
    return split(x, list(itertools.accumulate(sizes))[:-1], axis)


def _split_along(x: Any, parts: Any, axis: int, least: int, op: str) -> list[Tensor]:
    x = as_tensor(x)
    if x.ndim < least:
        raise ValueError(f"[{op}] at least {least} axes are needed, got {x.shape}")
    return split(x, parts, axis)


def hsplit(x: Any, parts: Any) -> list[Tensor]:
    """`split` along axis 1 (along axis 0 of a tensor with one axis)."""
    return _split_along(x, parts, 0 if as_tensor(x).ndim == 1 else 1, 1, "hsplit")


def vsplit(x: Any, parts: Any) -> list[Tensor]:
    """`split` along axis 0."""
    return _split_along(x, parts, 0, 2, "vsplit")


def dsplit(x: Any, parts: Any) -> list[Tensor]:
    """`split` along axis 2."""
    return _split_along(x, parts, 2, 3, "dsplit")


# -- turning and sliding -------------------------------------------------------------------------


def fliplr(x: Any) -> Tensor:
    """Axis 1 reversed."""
    return flip(x, 1)


def flipud(x: Any) -> Tensor:
    """Axis 0 reversed."""
    return flip(x, 0)


def rot90(x: Any, k: int = 1, axes: Sequence[int] = (0, 1)) -> Tensor:
    """A turn by k * 90 degrees in the plane of two axes, from the first towards the second."""
    x = as_tensor(x)
    a, b = (normalize_axis(i, x.ndim, "rot90") for i in axes)
    if a == b:
        raise ValueError(f"[rot90] two different axes are needed, got {tuple(axes)}")
    k = operator.index(k) % 4
    if k == 0:
        return x
    if k == 2:
        return flip(x, (a, b))
    return flip(swapaxes(x, a, b), a) if k == 1 else swapaxes(flip(x, a), a, b)


def rollaxis(x: Any, axis: int, start: int = 0) -> Tensor:
    """Axis `axis` moved back to before the axis that is at `start`."""
    x = as_tensor(x)
    axis = normalize_axis(axis, x.ndim, "rollaxis")
    start = start + x.ndim if start < 0 else start
    return moveaxis(x, axis, start - 1 if axis < start else start)


def sliding_window_view(x: Any, window_shape: Any, axis: Any = None, step: int = 1) -> Tensor:
    """All windows of the given length(s) along `axis`, as new last axes (a copy, not a view).

    >>> import tinygen as tg
    >>> tg.sliding_window_view(tg.arange(4), 3).tolist()
    [[0, 1, 2], [1, 2, 3]]
    """
    x = as_tensor(x)
    sizes = as_shape(window_shape)
    axes = [normalize_axis(a, x.ndim, "sliding_window_view")
            for a in (range(x.ndim) if axis is None else as_shape(axis))]
    if len(sizes) != len(axes):
        raise ValueError(f"[sliding_window_view] {len(sizes)} window lengths for {len(axes)} axes")
    for a, size in zip(axes, sizes, strict=True):
        if not 0 <= size <= x.shape[a]:
            raise ValueError(f"[sliding_window_view] a window of {size} does not fit into axis {a} "
                             f"of {x.shape}")
        starts = np.arange(0, x.shape[a] - size + 1, step)
        x = moveaxis(take(x, starts[:, None] + np.arange(size), a), a + 1, -1)
    return x


# -- diagonals and triangles ---------------------------------------------------------------------


def diag(x: Any, k: int = 0) -> Tensor:
    """A vector as the diagonal `k` of a matrix; of a matrix, its diagonal `k`."""
    x = as_tensor(x)
    if x.ndim == 1:
        return diag_embed(x, k)
    if x.ndim != 2:
        raise ValueError(f"[diag] a vector or a matrix is needed, got {x.shape}")
    i = np.arange(max(0, min(x.shape[0] + min(k, 0), x.shape[1] - max(k, 0))))
    return getitem(x, (i - min(k, 0), i + max(k, 0)))


def diagflat(x: Any, k: int = 0) -> Tensor:
    """All elements along the diagonal `k` of a matrix."""
    return diag_embed(reshape(x, (-1,)), k)


def diag_embed(x: Any, offset: int = 0, axis1: int = -2, axis2: int = -1) -> Tensor:
    """The last axis laid along a diagonal of two new axes `axis1` and `axis2` of the result."""
    x = as_tensor(x)
    n = x.shape[-1] + abs(offset)
    i = np.arange(x.shape[-1])
    empty = zeros((*x.shape[:-1], n, n), dtype=x.dtype, device=x.device)
    y = put_index(empty, (..., i - min(offset, 0), i + max(offset, 0)), x)
    a, b = (normalize_axis(d, y.ndim, "diag_embed") for d in (axis1, axis2))
    if a == b:
        raise ValueError(f"[diag_embed] axis1 and axis2 must differ, got {axis1} and {axis2}")
    order = [d for d in range(y.ndim - 2)]
    for place, source in sorted(((a, y.ndim - 2), (b, y.ndim - 1))):
        order.insert(place, source)
    return permute_dims(y, order)


def tril_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Tensor, Tensor]:
    """Rows and columns of the lower triangle of an n x m matrix, up to diagonal k."""
    rows, cols = np.tril_indices(n, k, m)
    return Tensor.wrap(rows), Tensor.wrap(cols)


def triu_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Tensor, Tensor]:
    """Rows and columns of the upper triangle of an n x m matrix, from diagonal k."""
    rows, cols = np.triu_indices(n, k, m)
    return Tensor.wrap(rows), Tensor.wrap(cols)


# -- choices -------------------------------------------------------------------------------------


def argwhere(x: Any) -> Tensor:
    """The indices of the elements that are not zero, one row each: (count, ndim)."""
    reads("argwhere", x)
    array = as_tensor(x).data
    return Tensor.wrap(np.stack(array.nonzero(), axis=1) if array.ndim
                       else np.zeros((int(array != 0), 0), np.int64))


def cartesian_prod(*xs: Any) -> Tensor:
    """All choices of one element from each of the vectors, one row each."""
    vectors = [as_tensor(x) for x in xs]
    if len(vectors) == 1:
        return vectors[0]
    grids = broadcast_arrays(*(reshape(v, (-1,) + (1,) * (len(vectors) - 1 - i))
                               for i, v in enumerate(vectors)))
    return reshape(stack(grids, -1), (-1, len(vectors)))


def combinations(x: Any, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All choices of r elements of a vector, one row each, in the order of itertools."""
    x = as_tensor(x)
    choose = itertools.combinations_with_replacement if with_replacement else (
        itertools.combinations)
    index = np.array(list(choose(range(x.shape[0]), r)), np.int64).reshape(-1, r)
    return getitem(expand_dims(x, 0), (0, index))


def flatnonzero(x: Any) -> Tensor:
    """The indices of the elements of the flattened tensor that are not zero."""
    reads("flatnonzero", x)
    return Tensor.wrap(as_tensor(x).data.reshape(-1).nonzero()[0])


def extract(condition: Any, x: Any) -> Tensor:
    """The elements of `x` where the condition holds, along one axis."""
    return ravel(x)[ravel(as_tensor(condition)).astype(bool)]


def compress(condition: Any, x: Any, axis: int | None = None) -> Tensor:
    """The slices of `x` along `axis` where the condition holds; it may be shorter than the axis."""
    reads("compress", condition)
    x = ravel(x) if axis is None else as_tensor(x)
    return take(x, np.flatnonzero(as_tensor(condition).data), axis or 0)


def append(x: Any, values: Any, axis: int | None = None) -> Tensor:
    """`x` with `values` at the end, along `axis` or as one row of numbers."""
    if axis is None:
        return concat([ravel(x), ravel(as_tensor(values))], 0)
    return concat([x, values], axis)


def delete(x: Any, index: Any, axis: int | None = None) -> Tensor:
    """`x` without the slices at `index` (an int, a slice or a list of ints) along `axis`."""
    x = ravel(x) if axis is None else as_tensor(x)
    axis = normalize_axis(axis or 0, x.ndim, "delete")
    kept = np.delete(np.arange(x.shape[axis]), index)
    return take(x, kept, axis)


def insert(x: Any, index: Any, values: Any, axis: int | None = None) -> Tensor:
    """`x` with `values` before the slices at `index` along `axis`."""
    x = ravel(x) if axis is None else as_tensor(x)
    axis = normalize_axis(axis or 0, x.ndim, "insert")
    n = x.shape[axis]
    order = np.insert(np.arange(n), index, -1)
    count = len(order) - n
    shape = (*x.shape[:axis], count, *x.shape[axis + 1:])
    values = as_tensor(values, x).astype(x.dtype)
    if axis and values.ndim and values.ndim == x.ndim - 1 and np.ndim(index) == 0:
        values = expand_dims(values, axis)                    # one slice, without its axis
    order[order == -1] = n + np.arange(count)
    return take(concat([x, broadcast_to(values, shape)], axis), order, axis)


def diag_indices(n: int, ndim: int = 2) -> tuple[Tensor, ...]:
    """The index of the main diagonal of an array with `ndim` axes of length n."""
    return tuple(Tensor.wrap(np.arange(n)) for _ in range(ndim))


def tri(n: int, m: int | None = None, k: int = 0, dtype: Any = None) -> Tensor:
    """Ones on and below diagonal k of an n x m matrix, zeros above."""
    return Tensor.wrap(np.tri(n, m, k, dtype=dtype or np.float32))


def select(conditions: Sequence[Any], choices: Sequence[Any], default: Any = 0) -> Tensor:
    """Elements of the first of `choices` whose condition holds, `default` where none does."""
    if len(conditions) != len(choices) or not len(conditions):
        raise ValueError(f"[select] {len(conditions)} conditions for {len(choices)} choices: one "
                         "each is needed")
    result = default
    for condition, choice in reversed(list(zip(conditions, choices, strict=True))):
        result = where(condition, choice, result)
    return result
