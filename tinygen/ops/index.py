"""Reading and writing parts: full NumPy indexing, gathers, scatters, sorting.

Index arrays are inputs of their primitives, never static arguments: a captured program can be
replayed with other indices. The gradient of every gather is a scatter-add and the other way round.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from .. import backend
from ..backend import FLOATS
from ..constants import beside, module_beside, shape_of
from ..mode import reads
from ..primitive import primitive
from ..tensor import Tensor
from .elementwise import equal
from .shape import broadcast_to, flip, normalize_axis, permute_p

SLOT = "array"  # stands in a static index for the next index array


def _rebuild(template: tuple[Any, ...], arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    it = iter(arrays)
    return tuple(next(it) if item is SLOT else slice(*item) if isinstance(item, tuple) else item
                 for item in template)


def _is_basic(template: tuple[Any, ...]) -> bool:
    return SLOT not in template


def split_index(index: Any, like: Any) -> tuple[tuple[Any, ...], list[Any]]:
    """A NumPy index as a hashable template and the arrays that fill its slots, where `like` is."""
    template: list[Any] = []
    arrays: list[Any] = []
    for item in index if isinstance(index, tuple) else (index,):
        if isinstance(item, slice):
            template.append(tuple(None if v is None else operator.index(v)
                                  for v in (item.start, item.stop, item.step)))
        elif item is None or item is Ellipsis:
            template.append(item)
        elif isinstance(item, (int, np.integer)) and not isinstance(item, bool):
            template.append(int(item))
        else:
            template.append(SLOT)
            arrays.append(beside(_index_array(item), like))
    return tuple(template), arrays


def _index_array(item: Any) -> Any:
    array = item if isinstance(item, Tensor) or backend.is_array(item) else np.asarray(item)
    if array.size == 0 and not isinstance(array, Tensor) and array.dtype == np.float64:
        array = array.astype(np.int64)  # an empty list picks nothing
    if array.dtype.kind not in "biu":
        raise IndexError(f"[getitem] an index must be of integers, booleans, slices, None or ...; "
                         f"got {array.dtype} {tuple(array.shape)}")
    return array


# -- x[index] and x[index] = v ------------------------------------------------------------------


@primitive(name="getitem")
def getitem_p(xp, x, *arrays, template):
    """x[index], by NumPy's rules for basic and advanced indexing."""
    if len(template) == 1 and template[0] is SLOT and arrays[0].dtype.kind == "i":
        return x.take(arrays[0], axis=0)        # rows of a table: 1 us where x[index] takes 3
    return x[_rebuild(template, arrays)]
getitem_p.vjp(lambda g, out, x, *arrays, template:
              scatter_index_p(g, *arrays, template=template, shape=tuple(x.shape)))


@getitem_p.explains
def _(x, *arrays, template):
    axes = sum(1 for item in template if item is not None and item is not Ellipsis)
    if axes > len(x.shape) and not any(a.dtype.kind == "b" for a in arrays):
        return f"{axes} indices for {len(x.shape)} axes"
    return None


@primitive(name="scatter_index")
def scatter_index_p(xp, g, *arrays, template, shape):
    """Zeros of `shape` with g added at an index; where indices repeat, the values add up."""
    out = xp.zeros(shape, g.dtype)
    index = _rebuild(template, arrays)
    if _is_basic(template) or all(a.dtype.kind == "b" for a in arrays):
        out[index] = g                                      # no element is met twice
    elif template == (SLOT,) * len(arrays) and all(a.dtype.kind in "iu" for a in arrays):
        _add_at(xp, out, arrays, g)
    elif xp is np:
        np.add.at(out, index, g)
    else:
        _add_on_device(xp, out, index, g)
    return out
scatter_index_p.vjp(lambda g, out, x, *arrays, template, shape:
                    getitem_p(g, *arrays, template=template))


def _add_at(xp: Any, out: Any, index: tuple[Any, ...], g: Any) -> None:
    """out[index] += g for integer arrays on the first axes, as one sum over flat places.

    NumPy is fast where the index is one-dimensional. Measured: 4096 rows of 128 floats into 10,000
    in 1.5 ms (add.at 9.0, sorted runs with reduceat 3.7), 100,000 numbers in 0.2 ms (1.0, 16).
    """
    if xp is not np:
        _add_on_device(xp, out, index, g)
        return
    rows: Any = 0
    for axis, (n, i) in enumerate(zip(out.shape, (i.astype(np.int64) for i in index))):
        if i.size and not -n <= i.min() <= i.max() < n:
            raise IndexError(f"an index is out of bounds for axis {axis} with size {n}")
        rows = rows * n + np.where(i < 0, i + n, i)
    width = math.prod(out.shape[len(index):])
    places = rows.reshape(-1, 1) * width + np.arange(width)
    np.add.at(out.reshape(-1), places.reshape(-1), g.reshape(-1))


def _add_on_device(xp: Any, out: Any, index: Any, g: Any) -> None:
    """out[index] += g with CuPy, whose `add.at` does not take int64, small integers and bool: sums
    modulo 2^64 are those of signed numbers."""
    if out.dtype.kind in FLOATS or out.dtype.name in ("int32", "uint32", "uint64"):
        xp.add.at(out, index, g)
        return
    wide = xp.zeros(out.shape, "uint64")
    xp.add.at(wide, index, g.astype("int64").view("uint64"))
    out[...] = (out + wide.view("int64")).astype(out.dtype)


@primitive(name="put_index")
def put_index_p(xp, x, value, *arrays, template):
    """A copy of x with x[index] = value; where an index names a place twice, the last one stays."""
    out = x.copy()
    _put(xp, out, value, template, arrays)
    return out


def _put(xp: Any, out: Any, value: Any, template: tuple[Any, ...], arrays: Any) -> None:
    """out[index] = value, in place.

    CuPy writes in any order, and copies a number from the host if there are index arrays: there
    the last writer of each place is found first, and each place fetches its value.
    """
    index = _rebuild(template, arrays)
    if xp is np or _is_basic(template):
        out[index] = value
        return
    if getattr(value, "ndim", 0) == 0:
        hit = xp.zeros(out.shape, bool)
        hit[index] = xp.ones((), bool)
        xp.copyto(out, value, where=hit, casting="unsafe")
    elif any(a.dtype.kind == "b" for a in arrays):
        out[index] = value                            # no place is met twice
    else:
        writer, shape = _writers(xp, index, out.shape)
        values = xp.broadcast_to(value, shape).reshape(-1)
        found = values[xp.maximum(writer, 1) - 1] if values.size else out
        xp.copyto(out, found, where=writer > 0, casting="unsafe")


def _writers(xp: Any, index: Any, shape: tuple[int, ...]) -> tuple[Any, tuple[int, ...]]:
    """Which element of a value written at an index is the last at each place, counted from 1 (0:
    none), and the shape of such a value. For CuPy, which has `maximum.at` for uint64."""
    writer = xp.zeros(shape, "uint64")
    size = writer[index].shape
    order = xp.arange(1, 1 + math.prod(size), dtype="uint64").reshape(size)
    xp.maximum.at(writer, index, order)
    return writer.astype("int64"), size


def _to_value(g, out, x, value, *arrays, template):
    picked = getitem_p(g, *arrays, template=template)
    if all(a.dtype.kind == "b" for a in arrays):
        return picked
    return picked * last_written_p(*arrays, template=template, shape=tuple(x.shape))


put_index_p.vjp(
    lambda g, out, x, value, *arrays, template: put_index_p(g, 0, *arrays, template=template),
    _to_value,
)


@primitive(name="last_written")
def last_written_p(xp, *arrays, template, shape):
    """Which elements of a value written at an index are still there: the last of each place."""
    index = _rebuild(template, arrays)
    if xp is not np:
        writer, size = _writers(xp, index, shape)
        return writer[index] == xp.arange(1, 1 + math.prod(size)).reshape(size)
    owner = xp.empty(shape, "int64")
    size = owner[index].shape
    order = xp.arange(int(np.prod(size, dtype=int))).reshape(size)
    owner[index] = order
    return owner[index] == order


def getitem(x: Tensor, index: Any) -> Tensor:
    """`x[index]`: slices, integers, `None`, `...`, boolean and integer arrays, as in NumPy."""
    if type(index) is int:
        return getitem_p(x, template=(index,))
    template, arrays = split_index(index, x)
    return getitem_p(x, *arrays, template=template)


def put_index(x: Any, index: Any, value: Any) -> Tensor:
    """A copy of `x` in which `x[index]` is `value`; both receive gradients."""
    template, arrays = split_index(index, x)
    return put_index_p(x, _on_device_of(x, value), *arrays, template=template)


def _on_device_of(x: Any, value: Any) -> Any:
    """A value to be written into x: lists and arrays of the host go where x is, numbers stay."""
    if isinstance(value, (list, tuple)):
        value = np.asarray(value, x.dtype)
    return beside(value, x) if isinstance(value, np.ndarray) and hasattr(x, "device") else value


def setitem(x: Tensor, index: Any, value: Any) -> None:
    """`x[index] = value`, in place.

    Where gradients are recorded, the tensor becomes the result of `put_index`, so that both its
    old values and `value` receive their gradients.
    """
    from ..primitive import RECORD, TAPE, local
    records = local.mode & RECORD and (
        x.requires_grad or (isinstance(value, Tensor) and value.requires_grad))
    if not records and local.mode & TAPE:
        return local.tape.assign(x, put_index(x, index, value))
    if not records:
        template, arrays = split_index(index, x)
        bare = tuple(a.data if isinstance(a, Tensor) else a for a in arrays)
        bare_value = value.data if isinstance(value, Tensor) else value
        try:
            _put(backend.array_module(x.data), x.data, _on_device_of(x, bare_value), template, bare)
        except (ValueError, IndexError, TypeError) as error:
            raise type(error)(f"[setitem] into {x.dtype} {x.shape}: {error}") from None
        x.touch()
        return
    if x.op is None and x.requires_grad:
        raise RuntimeError("[setitem] a leaf that requires grad cannot be changed in place; use "
                           "tinygen.put_index(x, index, value), or write inside no_grad()")
    old = x.__copy__()   # the graph behind the old values lives on in a node of its own
    x.become(put_index(old, index, value))


# -- gathers along one axis ---------------------------------------------------------------------


@primitive(name="take_along_axis")
def take_along_axis_p(xp, x, indices, *, axis):
    """x[..., indices[..., j, ...], ...]: one chosen element per position along the axis."""
    return xp.take_along_axis(x, indices, axis=axis)
take_along_axis_p.vjp(lambda g, out, x, indices, axis:
                      scatter_along_p(g, indices, axis=axis, shape=tuple(x.shape)))


@primitive(name="scatter_along")
def scatter_along_p(xp, g, indices, *, axis, shape):
    """Zeros of `shape` with g added along an axis at the indices."""
    out = xp.zeros(shape, g.dtype)
    _add_at(xp, out, along(xp, indices, axis, g.shape), g)
    return out


@scatter_along_p.vjp
def _(g, out, x, indices, axis, shape):
    if all(n == m for a, (n, m) in enumerate(zip(x.shape, g.shape)) if a != axis):
        return take_along_axis_p(g, indices, axis=axis)
    return getitem_p(g, *along(module_beside(indices), indices, axis, x.shape),
                     template=(SLOT,) * g.ndim)


def along(xp: Any, indices: Any, axis: int, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """The index of the places that `indices` along `axis` mean, for values of `shape`."""
    grid = [xp.arange(n).reshape((1,) * i + (n,) + (1,) * (len(shape) - 1 - i))
            for i, n in enumerate(shape)]
    grid[axis] = indices
    return tuple(grid)


def take_along_axis(x: Any, indices: Any, axis: int = -1) -> Tensor:
    """One chosen element per position along `axis` (PyTorch's `gather(x, axis, indices)`).

    Along the other axes `x` and `indices` broadcast.
    """
    axis = normalize_axis(axis, x.ndim, "take_along_axis")
    indices = indices if hasattr(indices, "shape") else Tensor(indices)
    others = [s[:axis] + (1,) + s[axis + 1:] for s in (tuple(x.shape), tuple(indices.shape))]
    if len(others[0]) == len(others[1]) and others[0] != others[1]:
        try:
            wide = np.broadcast_shapes(*others)
        except ValueError:
            raise ValueError(f"[take_along_axis] x: {tuple(x.shape)}, indices: "
                             f"{tuple(indices.shape)}: all axes but {axis} must broadcast"
                             ) from None
        x, indices = (broadcast_to(v, (*wide[:axis], v.shape[axis], *wide[axis + 1:]))
                      for v in (x, indices))
    return take_along_axis_p(x, indices, axis=axis)


def take(x: Any, indices: Any, axis: int | None = None) -> Tensor:
    """The slices of `x` at `indices` along `axis` (of the flattened tensor: None)."""
    if axis is None:
        return getitem(x.reshape((-1,)), indices)
    axis = normalize_axis(axis, x.ndim, "take")
    if isinstance(indices, (int, np.integer)):
        return getitem(x, (*(slice(None),) * axis, int(indices)))
    return getitem(x, (*(slice(None),) * axis, indices))


def scatter_add(x: Any, indices: Any, source: Any, axis: int = 0) -> Tensor:
    """`x` with `source` added at `indices` along `axis`: out[i[j], k] += source[j, k] for axis 0.

    `indices` and `source` have one shape; repeated indices add up (PyTorch's `scatter_add`).
    """
    source = source if isinstance(source, Tensor) else Tensor(source, dtype=x.dtype,
                                                               device=x.device)
    if shape_of(indices) != source.shape:
        raise ValueError(f"[scatter_add] indices have shape {tuple(indices.shape)}, source "
                         f"{source.shape}; they must be equal")
    axis = normalize_axis(axis, x.ndim, "scatter_add")
    return x + scatter_along_p(source, indices, axis=axis, shape=tuple(x.shape))


# -- sorting ------------------------------------------------------------------------------------


@primitive(name="argsort")
def argsort_p(xp, x, *, axis, descending, stable):
    """The order of the elements along an axis."""
    if descending:
        # reversing twice keeps equal elements in their order
        last = xp.argsort(xp.flip(x, axis), axis=axis, kind="stable")
        return xp.flip(x.shape[axis] - 1 - last, axis)
    return xp.argsort(x, axis=axis, kind="stable")


def argsort(x: Any, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """Indices that would sort `x` along `axis`; equal elements keep their order."""
    return argsort_p(x, axis=normalize_axis(axis, x.ndim, "argsort"), descending=descending,
                     stable=stable)


def sort(x: Any, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The elements of `x` in order along `axis`; `argsort` gives the indices."""
    return take_along_axis(x, argsort(x, axis, descending, stable), axis)


@primitive(name="argtopk")
def argtopk_p(xp, x, *, k, axis, largest):
    """The indices of the k largest (or smallest) elements, best first."""
    key = x if not largest else -x if x.dtype.kind in "fV" else ~x   # -x would wrap around
    if xp is np and k < x.shape[axis]:
        part = np.argpartition(key, k - 1, axis=axis) if k else xp.argsort(key, axis=axis)
        part = xp.take(part, xp.arange(k), axis=axis)
        rank = xp.argsort(xp.take_along_axis(key, part, axis=axis), axis=axis, kind="stable")
        return xp.take_along_axis(part, rank, axis=axis)
    return xp.take(xp.argsort(key, axis=axis), xp.arange(k), axis=axis)


@primitive(name="argpartition")
def argpartition_p(xp, x, *, kth, axis):
    """An order in which the element `kth` is at its sorted place, smaller ones before it."""
    return xp.argpartition(x, kth, axis=axis)


def argpartition(x: Any, kth: int, axis: int = -1) -> Tensor:
    """Indices that put element `kth` at its sorted place, with no larger one before it."""
    return argpartition_p(x, kth=kth if isinstance(kth, int) else tuple(kth),
                          axis=normalize_axis(axis, x.ndim, "argpartition"))


def partition(x: Any, kth: int, axis: int = -1) -> Tensor:
    """`x` with element `kth` at its sorted place, no larger one before it, no smaller one after."""
    return take_along_axis(x, argpartition(x, kth, axis), axis)


def topk(x: Any, k: int, axis: int = -1, largest: bool = True) -> tuple[Tensor, Tensor]:
    """The `k` largest (or smallest) elements along `axis`, best first: (values, indices)."""
    axis = normalize_axis(axis, x.ndim, "topk")
    if not 0 <= k <= x.shape[axis]:
        raise ValueError(f"[topk] k={k} of {x.shape[axis]} elements along axis {axis} of {x.shape}")
    indices = argtopk_p(x, k=operator.index(k), axis=axis, largest=bool(largest))
    return take_along_axis(x, indices, axis), indices


def nonzero(x: Any) -> tuple[Tensor, ...]:
    """The indices of the elements that are not zero: one tensor per axis."""
    reads("nonzero", x)
    array = x.data if isinstance(x, Tensor) else np.asarray(x)
    array = array.reshape(-1) if array.ndim == 0 else array
    return tuple(Tensor.wrap(i) for i in array.nonzero())


def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The diagonal of the axes `axis1` and `axis2`, as the last axis of the result."""
    a, b = (normalize_axis(i, x.ndim, "diagonal") for i in (axis1, axis2))
    if a == b:
        raise ValueError(f"[diagonal] axis1 and axis2 must differ, got {axis1} and {axis2}")
    x = permute_p(x, axes=(*(i for i in range(x.ndim) if i not in (a, b)), a, b))
    rows, cols = x.shape[-2:]
    n = max(0, min(rows + min(offset, 0), cols - max(offset, 0)))
    i = np.arange(n)
    return getitem(x, (..., i - min(offset, 0), i + max(offset, 0)))


def one_hot(indices: Any, num_classes: int, dtype: Any = None) -> Tensor:
    """Integer classes as rows with a single 1: (...,) -> (..., num_classes)."""
    classes = indices if isinstance(indices, Tensor) else Tensor(indices)
    if classes.size and classes.device == "cpu" and (           # a GPU is not waited for
            classes.data.min() < 0 or classes.data.max() >= num_classes):
        raise ValueError(f"[one_hot] classes from {classes.data.min()} to {classes.data.max()} do "
                         f"not fit into num_classes={num_classes}")
    hot = equal(classes.reshape((*classes.shape, 1)), beside(np.arange(num_classes), classes))
    return hot.astype(dtype if dtype is not None else np.int64)


__all__ = ["argpartition", "argsort", "diagonal", "flip", "getitem", "nonzero", "one_hot",
           "partition", "put_index", "scatter_add", "setitem", "sort", "take", "take_along_axis",
           "topk"]
