"""PyTorch's functions that move elements in tinygen's words: shapes, joins, indices, creation."""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygen as tg
from tests.suites.opinfo.harness import Refused


def shape_of(args: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(args[0]) if len(args) == 1 and not isinstance(args[0], int) else tuple(args)


def axis_slice(x: Any, dim: int, item: Any) -> Any:
    return x[(*(slice(None),) * (dim % x.ndim), item)]


def chunk(x: Any, chunks: int, dim: int = 0) -> Any:
    n = x.shape[dim]
    size = max(1, -(-n // chunks))
    return tg.split(x, list(range(size, n, size)), dim)


def split(x: Any, sizes: Any, dim: int = 0) -> Any:
    n = x.shape[dim]
    cuts = list(range(sizes, n, sizes)) if isinstance(sizes, int) else np.cumsum(sizes)[:-1]
    return tg.split(x, list(cuts), dim)


def tensor_split(x: Any, parts: Any, dim: int = 0) -> Any:
    parts = parts.tolist() if isinstance(parts, tg.Tensor) else parts
    return tg.array_split(x, parts if isinstance(parts, int) else list(parts), dim)


def diagonal(x: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    return tg.diagonal(x, offset, dim1, dim2)


def select_scatter(x: Any, src: Any, dim: int, index: int) -> Any:
    return tg.put_index(x, (*(slice(None),) * (dim % x.ndim), index), src)


def slice_scatter(x: Any, src: Any, dim: int = 0, start: Any = None, end: Any = None,
                  step: int = 1) -> Any:
    return tg.put_index(x, (*(slice(None),) * (dim % x.ndim), slice(start, end, step)), src)


def diagonal_scatter(x: Any, src: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    order = [a for a in range(x.ndim) if a not in (dim1 % x.ndim, dim2 % x.ndim)]
    order += [dim1 % x.ndim, dim2 % x.ndim]
    y = tg.permute_dims(x, order)
    n = src.shape[-1]
    i = np.arange(n)
    y = tg.put_index(y, (..., i - min(offset, 0), i + max(offset, 0)), src)
    return tg.permute_dims(y, np.argsort(order).tolist())


def as_strided(x: Any, size: Any, stride: Any, storage_offset: int | None = None) -> Any:
    if any(s < 0 for s in stride):
        raise Refused("negative strides")
    place = np.full((), storage_offset or 0)
    for n, s in zip(size, stride):
        place = place[..., None] + np.arange(n) * s
    return tg.take(x.reshape(-1), place)


def take(x: Any, index: Any) -> Any:
    return tg.take(x, index)


def gather(x: Any, dim: int, index: Any, sparse_grad: bool = False) -> Any:
    if not x.ndim:
        return tg.take(x.reshape(-1), index)
    if not index.ndim:
        index = index.reshape(1)
        return gather(x, dim, index).reshape(())
    if index.size == 0:
        return tg.zeros(index.shape, dtype=x.dtype)
    cut = tuple(slice(None) if a == dim % x.ndim else slice(n) for a, n in enumerate(index.shape))
    return tg.take_along_axis(x[cut], index, dim)


def index_select(x: Any, dim: int, index: Any) -> Any:
    return tg.take(x, index, dim) if x.ndim else x * 1


def scatter(x: Any, dim: int, index: Any, src: Any, reduce: str | None = None) -> Any:
    if not isinstance(src, tg.Tensor):
        src = tg.full(index.shape, src, dtype=x.dtype)
    if reduce is not None:
        how = {"add": "sum", "multiply": "prod"}[reduce]
        return tg.scatter_reduce(x, index, cropped(src, index), dim, how)
    return tg.scatter(x, index, cropped(src, index), dim)


def cropped(src: Any, index: Any) -> Any:
    """PyTorch lets the source be longer than the index."""
    return src[tuple(slice(n) for n in index.shape)] if index.ndim else src


def scatter_add(x: Any, dim: int, index: Any, src: Any) -> Any:
    return tg.scatter_reduce(x, index, cropped(src, index), dim, "sum")


def scatter_reduce(x: Any, dim: int, index: Any, src: Any, reduce: str, *,
                   include_self: bool = True) -> Any:
    return tg.scatter_reduce(x, index, cropped(src, index), dim, reduce, include_self)


def index_reduce(x: Any, dim: int, index: Any, source: Any, reduce: str, *,
                 include_self: bool = True) -> Any:
    return tg.index_reduce(x, index, source, dim, reduce, include_self)


def index_fill(x: Any, dim: int, index: Any, value: Any) -> Any:
    return tg.index_fill(x, index, value, dim)


def index_put(x: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    index = tuple(slice(None) if i is None else i for i in indices)
    if not accumulate:
        return tg.put_index(x, index, values)
    zeros = x * 0
    spread = tg.getitem(zeros, index) * 0 + values
    places = tg.take(tg.arange(x.size).reshape(x.shape).reshape(-1), tg.arange(x.size))
    flat = tg.getitem(places.reshape(x.shape), index).reshape(-1)
    return tg.index_add(x.reshape(-1), flat, spread.reshape(-1)).reshape(x.shape)


def put(x: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    flat, places = x.reshape(-1), index.reshape(-1)
    places = tg.where(places < 0, places + x.size, places)
    change = tg.index_add if accumulate else tg.index_copy
    return change(flat, places, source.reshape(-1)).reshape(x.shape)


def repeat_interleave(x: Any, repeats: Any, dim: int | None = None, output_size: Any = None) -> Any:
    return tg.repeat(x, repeats, dim)


def unfold(x: Any, dim: int, size: int, step: int) -> Any:
    if not x.ndim:
        return tg.reshape(x, (1,))[:size]
    return tg.sliding_window_view(x, size, dim, step)


def movedim(x: Any, source: Any, destination: Any) -> Any:
    return tg.moveaxis(x, source, destination)


def roll(x: Any, shifts: Any, dims: Any = None) -> Any:
    dims = None if dims in ((), []) else dims
    return tg.roll(x, shifts, dims)


def squeeze(x: Any, dim: Any = None) -> Any:
    axes = range(x.ndim) if dim is None else (dim,) if isinstance(dim, int) else dim
    return tg.squeeze(x, tuple(a for a in axes if x.ndim and x.shape[a] == 1))


def unflatten(x: Any, dim: int, sizes: Any) -> Any:
    return tg.nn.Unflatten(dim % x.ndim, tuple(sizes))(x) if x.ndim else x


def meshgrid(*xs: Any, indexing: str = "ij") -> Any:
    xs = tuple(xs[0]) if isinstance(xs[0], (list, tuple)) else xs
    vectors = [x.reshape(-1) for x in xs]
    return list(tg.meshgrid(*vectors, indexing=indexing))


def made(fn: Any) -> Any:
    """Creation: PyTorch's layout arguments mean nothing here."""
    def call(*args: Any, dtype: Any = None, device: Any = None, layout: Any = None,
             requires_grad: bool = False, memory_format: Any = None, pin_memory: Any = None,
             **how: Any) -> Any:
        return fn(*args, dtype=dtype, **how)
    return call


def new(fn: Any) -> Any:
    def call(x: Any, size: Any, *args: Any, dtype: Any = None, **how: Any) -> Any:
        return fn(tuple(size), *args, dtype=dtype or x.dtype)
    return made(call)


def linspace(start: Any, end: Any, steps: int, dtype: Any = None) -> Any:
    start, end = (v.item() if isinstance(v, tg.Tensor) else v for v in (start, end))
    return tg.linspace(start, end, steps, dtype=dtype)


def arange(start: Any, end: Any = None, step: Any = 1, dtype: Any = None) -> Any:
    if dtype is None and any(isinstance(v, float) for v in (start, end, step)):
        dtype = "float32"
    return tg.arange(start, end, step, dtype=dtype)


def logspace(start: Any, end: Any, steps: int, base: float = 10.0, dtype: Any = None) -> Any:
    start, end = (v.item() if isinstance(v, tg.Tensor) else v for v in (start, end))
    return (tg.linspace(start, end, steps, dtype="float64") * np.log(base)).exp().astype(dtype)


def tuple_index(x: Any, index: Any) -> Any:
    return tg.getitem(x, index if isinstance(index, tuple) else
                      tuple(index) if isinstance(index, list) and any(
                          isinstance(i, (slice, type(Ellipsis))) or i is None for i in index)
                      else index)


def flat(x: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    return tg.flatten(x, start_dim, end_dim)


def sum_to_size(x: Any, *size: Any) -> Any:
    shape = shape_of(size)
    lead = tuple(range(x.ndim - len(shape)))
    y = tg.sum(x, lead) if lead else x
    axes = tuple(a for a, (n, m) in enumerate(zip(y.shape, shape)) if m == 1 and n != 1)
    return tg.sum(y, axes, keepdims=True) if axes else y


ADAPTERS: dict[str, Any] = {
    "atleast_1d": tg.atleast_1d, "atleast_2d": tg.atleast_2d, "atleast_3d": tg.atleast_3d,
    "broadcast_to": lambda x, *s: tg.broadcast_to(x, shape_of(s)),
    "broadcast_tensors": lambda *xs: tg.broadcast_arrays(*xs),
    "block_diag": lambda *xs: tg.linalg.block_diag(*[tg.atleast_2d(x) for x in xs]),
    "cartesian_prod": tg.cartesian_prod, "combinations": tg.combinations,
    "cat": lambda xs, dim=0: tg.concat([x for x in xs if x.shape != (0,)] or xs, dim),
    "chunk": chunk, "unsafe_chunk": chunk, "column_stack": tg.column_stack, "diag": lambda
    x, diagonal=0: tg.diag(x, diagonal), "diagflat": lambda x, offset=0: tg.diagflat(x, offset),
    "diag_embed": lambda x, offset=0, dim1=-2, dim2=-1: tg.diag_embed(x, offset, dim1, dim2),
    "diagonal": diagonal, "diagonal_copy": diagonal, "diagonal_scatter": diagonal_scatter,
    "linalg.diagonal": lambda x, offset=0, dim1=-2, dim2=-1: diagonal(x, offset, dim1, dim2),
    "dstack": tg.dstack, "hstack": tg.hstack, "vstack": tg.vstack, "dsplit": tg.dsplit,
    "hsplit": tg.hsplit, "vsplit": tg.vsplit, "expand": lambda x, *s: x.expand(*s),
    "expand_as": lambda x, y: tg.broadcast_to(x, y.shape),
    "expand_copy": lambda x, *s: x.expand(*s),
    "flip": lambda x, dims: tg.flip(x, tuple(dims) if not isinstance(dims, int) else dims),
    "fliplr": tg.fliplr, "flipud": tg.flipud, "flatten": flat, "gather": gather,
    "take_along_dim": lambda x, i, dim=None: tg.take_along_axis(x, i, dim) if dim is not None
    else tg.take(x.reshape(-1), i.reshape(-1)), "index_add": lambda x, dim, i, s, *, alpha=1:
    tg.index_add(x, i, s, dim, alpha),
    "index_copy": lambda x, dim, i, s: tg.index_copy(x, i, s, dim),
    "index_fill": index_fill, "index_select": index_select, "index_put": index_put,
    "masked_select": lambda x, m: tg.broadcast_arrays(x, m)[0][tg.broadcast_arrays(x, m)[1]],
    "masked_scatter": tg.masked_scatter, "meshgrid/variadic_tensors": meshgrid,
    "meshgrid/list_of_tensors": meshgrid, "movedim": movedim,
    "narrow": lambda x, dim, a, n: axis_slice(x, dim, slice(int(a), int(a) + n)) if int(a) >= 0
    else axis_slice(x, dim, slice(int(a) + x.shape[dim], int(a) + x.shape[dim] + n)),
    "nonzero": lambda x, as_tuple=False: tg.nonzero(x) if as_tuple else tg.argwhere(x),
    "argwhere": tg.argwhere,
    "permute": lambda x, dims: tg.permute_dims(x, dims), "permute_copy": lambda x, dims:
    tg.permute_dims(x, dims), "put": put, "take": take, "ravel": tg.ravel,
    "repeat": lambda x, *r: tg.tile(x, shape_of(r)), "repeat_interleave": repeat_interleave,
    "reshape": lambda x, *s: x.reshape(shape_of(s)), "reshape_as": lambda x, y: x.reshape(y.shape),
    "view": lambda x, *s: x.view(*s), "view_as": lambda x, y: x.view(y.shape),
    "view_copy": lambda x, *s: x.view(*s), "roll": roll,
    "rot90": lambda x, k=1, dims=(0, 1): tg.rot90(x, k, dims), "scatter": scatter,
    "scatter_add": scatter_add, **{f"scatter_reduce/{h}": scatter_reduce for h in (
        "sum", "prod", "mean", "amin", "amax")},
    **{f"index_reduce/{h}": index_reduce for h in ("mean", "prod", "amin", "amax")},
    "select": lambda x, dim, i: axis_slice(x, dim, i), "select_scatter": select_scatter,
    "slice": lambda x, dim=0, start=None, end=None, step=1: axis_slice(
        x, dim, slice(start, end, step)),
    "slice_scatter": slice_scatter, "split": split, "split/list_args": split,
    "unsafe_split": split, "split_with_sizes": split, "split_with_sizes_copy": split,
    "tensor_split": tensor_split, "squeeze": squeeze, "squeeze/multiple": squeeze,
    "squeeze_copy": squeeze, "stack": lambda xs, dim=0: tg.stack(xs, dim),
    "sum_to_size": sum_to_size, "t": lambda x: x.T, "t_copy": lambda x: x.T,
    "T": lambda x: x.T, "mT": lambda x: x.mT, "tile": lambda x, *r: tg.tile(x, shape_of(r)),
    "H": lambda x: x.T, "mH": lambda x: x.mT,
    "transpose": lambda x, a, b: tg.swapaxes(x, a, b) if x.ndim else x * 1,
    "transpose_copy": lambda x, a, b: tg.swapaxes(x, a, b) if x.ndim else x * 1,
    "tril": lambda x, diagonal=0: tg.tril(x, diagonal),
    "triu": lambda x, diagonal=0: tg.triu(x, diagonal),
    "unbind": lambda x, dim=0: tg.unstack(x, dim), "unbind_copy": lambda x, dim=0:
    tg.unstack(x, dim), "unflatten": unflatten, "unfold": unfold, "unfold_copy": unfold,
    "unsqueeze": lambda x, dim: tg.expand_dims(x, dim), "unsqueeze_copy": lambda x, dim:
    tg.expand_dims(x, dim), "as_strided": as_strided, "as_strided_copy": as_strided,
    "__getitem__": tuple_index, "where": lambda x, condition, y: tg.where(condition, x, y),
    "zeros_like": made(tg.zeros_like), "ones_like": made(tg.ones_like),
    "full_like": made(tg.full_like), "zeros": made(tg.zeros), "ones": made(tg.ones),
    "full": made(tg.full), "new_zeros": new(tg.zeros), "new_ones": new(tg.ones),
    "new_full": new(tg.full), "eye": made(tg.eye), "arange": made(arange),
    "linspace": made(linspace), "linspace/tensor_overload": made(linspace),
    "logspace": made(logspace), "logspace/tensor_overload": made(logspace),
    "tril_indices": lambda n, m, offset=0, **how: tg.stack(tg.tril_indices(n, offset, m)),
    "triu_indices": lambda n, m, offset=0, **how: tg.stack(tg.triu_indices(n, offset, m)),
    "narrow_copy": lambda x, dim, start, length: axis_slice(x, dim, slice(start, start + length)),
    "nn.functional.one_hot": tg.nn.functional.one_hot,
    "fill": lambda x, value: tg.broadcast_to(
        value.astype(x.dtype) if isinstance(value, tg.Tensor)
        else tg.full((), value, dtype=x.dtype), x.shape) + 0 * x,
    "zero_": lambda x: x * 0,
}
