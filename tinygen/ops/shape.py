"""Moving elements around: shapes, axes, joining, splitting, padding. No arithmetic."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import backend
from ..mode import reads
from ..primitive import primitive
from ..tensor import Tensor

Shape = int | Sequence[int]


def as_shape(shape: Any) -> tuple[int, ...]:
    """A tuple of ints from an int, a sequence, or a tuple holding one sequence."""
    if isinstance(shape, tuple) and len(shape) == 1 and hasattr(shape[0], "__iter__"):
        shape = shape[0]
    return (operator.index(shape),) if not hasattr(shape, "__iter__") else tuple(
        map(operator.index, shape))


def restore_axes(g: Any, ndim: int, axis: Any) -> Any:
    """Put back, as size 1, the axes that a reduction over `axis` removed (if it did)."""
    if g.ndim == ndim:
        return g
    axes = range(ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    axes = {a % ndim for a in axes}
    kept = iter(g.shape)
    return g.reshape(tuple(1 if i in axes else next(kept) for i in range(ndim)))


# -- dtype --------------------------------------------------------------------------------------


@primitive(name="astype", elementwise=True)
def astype_p(xp, x, *, dtype):
    """x in another number type."""
    return x.astype(dtype)
astype_p.vjp(lambda g, out, x, dtype: g.astype(x.dtype))


def astype(x: Any, dtype: Any, copy: bool = True, device: Any = None) -> Tensor:
    """`x` in another number type; gradients come back in the type of `x`.

    With `copy=False` a tensor that has the type (and device) already is returned as it is.
    """
    if device is not None and isinstance(x, Tensor):
        x = x.to(device=device)
    target = backend.canonical_dtype(dtype)
    if isinstance(x, Tensor) and x.dtype == target and not copy:
        return x
    return astype_p(x, dtype=target)


# -- shape --------------------------------------------------------------------------------------


@primitive(name="reshape")
def reshape_p(xp, x, *, shape):
    """The same elements in another shape, in C order."""
    return x.reshape(shape)
reshape_p.vjp(lambda g, out, x, shape: g.reshape(x.shape))


@reshape_p.explains
def _(x, shape):
    known = 1
    for n in shape:
        known *= 1 if n == -1 else n
    if -1 in shape:
        return f"{x.size} elements cannot be split evenly into rows of {known}"
    return f"{x.size} elements do not fit into {shape}, which holds {known}"


def reshape(x: Any, shape: Shape, *, copy: bool | None = None) -> Tensor:
    """The same elements in another shape; one length may be -1 and is computed.

    Memory is shared where the layout allows it (`copy=None`), never (True), or always: False
    raises where it is not possible.
    """
    made = reshape_p(x, shape=as_shape(shape))
    if copy is None or not isinstance(x, Tensor):
        return made
    shares = not made.size or np.shares_memory(made.data, x.data)
    if copy is False and not shares:
        raise ValueError(f"[reshape] copy=False: {tuple(x.shape)} with strides {x.data.strides} "
                         f"does not become {made.shape} without a copy")
    return astype_p(made, dtype=made.dtype) if copy and shares else made


def squeeze(x: Any, axis: int | Sequence[int] | None = None) -> Tensor:
    """Drop axes of length 1: those in `axis`, or all of them."""
    x = _tensor(x)
    axes = range(x.ndim) if axis is None else as_shape(axis)
    chosen = {normalize_axis(a, x.ndim, "squeeze") for a in axes}
    if axis is not None:
        for a in chosen:
            if x.shape[a] != 1:
                raise ValueError(f"[squeeze] axis {a} of {x.shape} has length {x.shape[a]}, not 1")
    return reshape_p(x, shape=tuple(n for i, n in enumerate(x.shape)
                                    if i not in chosen or n != 1))


def expand_dims(x: Any, axis: int | Sequence[int] = 0) -> Tensor:
    """Insert axes of length 1 at the positions `axis` of the result."""
    x = _tensor(x)
    axes = as_shape(axis)
    ndim = x.ndim + len(axes)
    chosen = {normalize_axis(a, ndim, "expand_dims") for a in axes}
    old = iter(x.shape)
    return reshape_p(x, shape=tuple(1 if i in chosen else next(old) for i in range(ndim)))


def flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Join the axes from `start_dim` to `end_dim` (both included) into one."""
    x = _tensor(x)
    if x.ndim == 0:
        return reshape_p(x, shape=(1,))
    a, b = (normalize_axis(d, x.ndim, "flatten") for d in (start_dim, end_dim))
    joined = 1
    for n in x.shape[a:b + 1]:
        joined *= n
    return reshape_p(x, shape=x.shape[:a] + (joined,) + x.shape[b + 1:])


@primitive(name="permute_dims")
def permute_p(xp, x, *, axes):
    """The axes in another order."""
    return x.transpose(axes)
permute_p.vjp(lambda g, out, x, axes: g.transpose(_inverse(axes)))


def _inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    positive = [a % len(axes) for a in axes]
    return tuple(sorted(range(len(axes)), key=positive.__getitem__))


def permute_dims(x: Any, axes: Sequence[int]) -> Tensor:
    """The axes in the order `axes`: axis i of the result is axis `axes[i]` of x."""
    return permute_p(x, axes=as_shape(axes))


def transpose(x: Any, axes: Sequence[int] | None = None) -> Tensor:
    """The axes reversed, or in the order `axes` (NumPy's transpose)."""
    x = _tensor(x)
    return permute_p(x, axes=tuple(range(x.ndim))[::-1] if axes is None else as_shape(axes))


def swapaxes(x: Any, axis1: int, axis2: int) -> Tensor:
    """Two axes exchanged."""
    ndim = x.ndim
    order = list(range(ndim))
    if not (-ndim <= axis1 < ndim and -ndim <= axis2 < ndim):
        axis1, axis2 = (normalize_axis(a, ndim, "swapaxes") for a in (axis1, axis2))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return permute_p(x, axes=tuple(order))


def moveaxis(x: Any, source: Shape, destination: Shape) -> Tensor:
    """One axis, or several, moved to other places, the rest staying in order."""
    x = _tensor(x)
    old, new = ([normalize_axis(a, x.ndim, "moveaxis") for a in as_shape(axes)]
                for axes in (source, destination))
    if len(old) != len(new) or len(set(old)) != len(old) or len(set(new)) != len(new):
        raise ValueError(f"[moveaxis] source {source} and destination {destination} must name "
                         "equally many different axes")
    order = [a for a in range(x.ndim) if a not in old]
    for place, axis in sorted(zip(new, old, strict=True)):
        order.insert(place, axis)
    return permute_p(x, axes=tuple(order))


def matrix_transpose(x: Any) -> Tensor:
    """The last two axes exchanged."""
    return swapaxes(_tensor(x), -1, -2)


@primitive(name="broadcast_to")
def broadcast_p(xp, x, *, shape):
    """x repeated along new axes and axes of length 1, as a read-only view."""
    return xp.broadcast_to(x, shape)
broadcast_p.vjp(lambda g, out, x, shape: g)  # the walker sums it down


def broadcast_to(x: Any, shape: Shape) -> Tensor:
    """`x` broadcast to `shape` by NumPy's rules (a view, no copy)."""
    return broadcast_p(x, shape=as_shape(shape))


def broadcast_arrays(*xs: Any) -> list[Tensor]:
    """All arguments broadcast to their common shape."""
    shapes = [np.shape(x.data if isinstance(x, Tensor) else x) for x in xs]
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(f"[broadcast_arrays] the shapes {', '.join(map(str, shapes))} have no "
                         "common shape") from None
    return [broadcast_p(x, shape=shape) for x in xs]


# -- joining and splitting ----------------------------------------------------------------------


@primitive(name="concat")
def concat_p(xp, *xs, axis):
    """The arrays end to end along an existing axis."""
    return xp.concatenate(xs, axis=axis)


@concat_p.vjp_each
def _(i, g, out, *xs, axis):
    start = 0
    for x in xs[:i]:
        start += x.shape[axis]
    where = [slice(None)] * g.ndim
    where[axis] = slice(start, start + xs[i].shape[axis])
    return g[tuple(where)]


@concat_p.explains
def _(*xs, axis):
    if not xs:
        return "an empty list was given; at least one tensor is needed"
    first = xs[0].shape
    for i, x in enumerate(xs):
        if len(x.shape) != len(first):
            return f"xs[0] has {len(first)} axes and xs[{i}] has {len(x.shape)}"
        if not -len(first) <= axis < len(first):
            return f"axis {axis} does not exist in {len(first)} axes"
        for a, (m, n) in enumerate(zip(first, x.shape, strict=True)):
            if a != axis % len(first) and m != n:
                return f"axis {a} is {m} in xs[0] and {n} in xs[{i}]; only axis {axis} may differ"
    return None


def concat(xs: Sequence[Any], axis: int | None = 0) -> Tensor:
    """The tensors end to end along `axis`; None flattens them first."""
    if axis is None:
        xs, axis = [reshape(x, (-1,)) for x in xs], 0
    return concat_p(*xs, axis=operator.index(axis))


def stack(xs: Sequence[Any], axis: int = 0) -> Tensor:
    """The tensors, all of one shape, side by side along a new axis."""
    xs = [_tensor(x) for x in xs]
    if not xs:
        raise ValueError("[stack] an empty list was given; at least one tensor is needed")
    for i, x in enumerate(xs):
        if x.shape != xs[0].shape:
            raise ValueError(f"[stack] xs[0] has shape {xs[0].shape} and xs[{i}] {x.shape}; "
                             "all must be equal")
    axis = normalize_axis(axis, xs[0].ndim + 1, "stack")
    return concat_p(*(expand_dims(x, axis) for x in xs), axis=axis)


def split(x: Any, parts: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """Cut `x` along `axis`: into `parts` equal pieces, or before each index in `parts` (NumPy).

    PyTorch's `split(x, sizes)` is `split(x, cumsum(sizes)[:-1])`; its `chunk` is `split(x, n)`.
    """
    x = _tensor(x)
    axis = normalize_axis(axis, x.ndim, "split")
    n = x.shape[axis]
    if isinstance(parts, (int, np.integer)):
        if parts < 1 or n % parts:
            raise ValueError(f"[split] axis {axis} of {x.shape} has length {n}, which does not "
                             f"divide into {parts} equal parts")
        cuts = list(range(n // int(parts), n, n // int(parts))) if n else [0] * (int(parts) - 1)
    else:
        cuts = [operator.index(c) for c in parts]
    before = (slice(None),) * axis
    edges = [0, *cuts, n]
    return [x[(*before, slice(a, b))] for a, b in zip(edges[:-1], edges[1:], strict=True)]


# -- repeating, reversing, rolling --------------------------------------------------------------


@primitive(name="flip")
def flip_p(xp, x, *, axis):
    """The elements in reverse order along the axes."""
    return xp.flip(x, axis=axis)
flip_p.vjp(lambda g, out, x, axis: flip_p(g, axis=axis))


def flip(x: Any, axis: int | Sequence[int] | None = None) -> Tensor:
    """The order of the elements reversed along `axis` (all axes by default)."""
    return flip_p(x, axis=axis if axis is None or isinstance(axis, int) else as_shape(axis))


@primitive(name="roll")
def roll_p(xp, x, *, shift, axis):
    """The elements moved along the axes, those that leave at one end entering at the other."""
    return xp.roll(x, shift, axis=axis)
roll_p.vjp(lambda g, out, x, shift, axis: roll_p(
    g, shift=tuple(-s for s in shift) if isinstance(shift, tuple) else -shift, axis=axis))


def roll(x: Any, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Tensor:
    """The elements moved by `shift` places along `axis`, around the end."""
    return roll_p(x, shift=shift if isinstance(shift, int) else as_shape(shift),
                  axis=axis if axis is None or isinstance(axis, int) else as_shape(axis))


def tile(x: Any, repetitions: Shape) -> Tensor:
    """`x` laid out `repetitions[i]` times along axis i (`tile([a, b], 2)` is [a, b, a, b])."""
    x = _tensor(x)
    reps = as_shape(repetitions)
    shape = (1,) * (len(reps) - x.ndim) + x.shape
    reps = (1,) * (len(shape) - len(reps)) + reps
    pairs = tuple(n for pair in zip(reps, shape, strict=True) for n in pair)  # r0, n0, r1, n1, ...
    spaced = reshape_p(x, shape=tuple(n for s in shape for n in (1, s)))
    return reshape_p(broadcast_p(spaced, shape=pairs),
                     shape=tuple(r * n for r, n in zip(reps, shape, strict=True)))


def repeat(x: Any, repeats: int | Sequence[int], axis: int | None = None) -> Tensor:
    """Each element `repeats` times along `axis` (`repeat([a, b], 2)` is [a, a, b, b]).

    This is NumPy's `repeat` (PyTorch's `repeat_interleave`); PyTorch's `repeat` is `tile`.
    """
    x = _tensor(x)
    if axis is None:
        x, axis = reshape_p(x, shape=(-1,)), 0
    axis = normalize_axis(axis, x.ndim, "repeat")
    if not isinstance(repeats, (int, np.integer)):
        reads("repeat", repeats)
        bare = repeats.data if isinstance(repeats, Tensor) else np.asarray(repeats)
        counts = backend.to_device(bare, "cpu")            # the result's shape depends on them
        if counts.shape not in ((), (1,), (x.shape[axis],)):
            raise ValueError(f"[repeat] {counts.size} repeats for axis {axis} of {x.shape}, which "
                             f"has length {x.shape[axis]}")
        rows = np.repeat(np.arange(x.shape[axis]), counts)
        return x[(*(slice(None),) * axis, rows)]
    if repeats < 0:
        raise ValueError(f"[repeat] repeats must not be negative, got {repeats}")
    wide = expand_dims(x, axis + 1)
    shape = x.shape[:axis + 1] + (int(repeats),) + x.shape[axis + 1:]
    return reshape_p(broadcast_p(wide, shape=shape),
                     shape=x.shape[:axis] + (x.shape[axis] * int(repeats),) + x.shape[axis + 1:])


# -- triangles ----------------------------------------------------------------------------------


@primitive(name="tril")
def tril_p(xp, x, *, k):
    """The lower triangle of the last two axes; zeros above diagonal k."""
    return xp.tril(x, k)
tril_p.vjp(lambda g, out, x, k: tril_p(g, k=k))


@primitive(name="triu")
def triu_p(xp, x, *, k):
    """The upper triangle of the last two axes; zeros below diagonal k."""
    return xp.triu(x, k)
triu_p.vjp(lambda g, out, x, k: triu_p(g, k=k))


def tril(x: Any, k: int = 0) -> Tensor:
    """The lower triangle of the last two axes: zeros above diagonal `k`."""
    return tril_p(x, k=operator.index(k))


def triu(x: Any, k: int = 0) -> Tensor:
    """The upper triangle of the last two axes: zeros below diagonal `k`."""
    return triu_p(x, k=operator.index(k))


# -- helpers ------------------------------------------------------------------------------------


def normalize_axis(axis: int, ndim: int, op: str) -> int:
    """`axis` counted from the front; out of range names the op."""
    a = operator.index(axis)
    if not -ndim <= a < ndim:
        raise IndexError(f"[{op}] axis {a} is out of range for {ndim} axes "
                         f"(use {-ndim} to {ndim - 1})")
    return a % ndim


def as_tensor(x: Any, like: Any = None) -> Tensor:
    """`x` itself if it is a tensor; else one is made, in the dtype of `like`, on its device."""
    if isinstance(x, Tensor):
        return x
    return Tensor(x, dtype=getattr(like, "dtype", None),
                  device=like.device if isinstance(like, Tensor) else None)


def _tensor(x: Any) -> Any:
    """Functions made of several ops need `.shape`: give lists and numbers one."""
    return x if hasattr(x, "shape") else Tensor(x)
