"""Pooling over windows that slide along one, two or three axes: the largest element, the mean."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from .. import backend
from ..constants import beside
from ..primitive import primitive
from ..tensor import Tensor
from .arguments import Size, Sizes, as_tensor, batched, each_axis
from .elementwise import floor_divide, remainder
from .index import take_along_axis_p
from .patches import reach, tiles
from .shape import astype, reshape, squeeze

__all__ = ["avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool1d", "max_pool2d", "max_pool3d",
           "max_unpool1d", "max_unpool2d", "max_unpool3d"]

# -- the largest element ------------------------------------------------------------------------


@primitive(name="max_pool", outputs=2, differentiable=1)
def max_pool_p(xp, x, *, kernel, stride, padding, dilation, size):
    """The largest element of each window, and which tap of the window it is (the first if several).

    Runs over the taps of the window: each is a strided view of x, compared with the best so far.
    """
    x = _channels_last(x)                                         # (N, H, W, C)
    n, *image, c = x.shape
    low = -xp.inf if x.dtype.kind in "fV" else xp.iinfo(x.dtype).min
    best = xp.full((n, *size, c), low, x.dtype)
    tap = _first_taps(best, kernel, stride, padding, dilation)
    for part in tiles(xp, x):
        for k, there, here in _taps(image, kernel, stride, padding, dilation, size):
            new, top = x[(part, *here)], best[(part, *there)]
            if k:    # the number of a later tap is larger: integer arithmetic beats a masked copy
                number = (new > top).view("uint8") * tap.dtype.type(k)
                xp.maximum(tap[(part, *there)], number, out=tap[(part, *there)])
            xp.maximum(top, new, out=top)
    if x.dtype.kind in "fV" and (xp is not np or np.isnan(best).any()):
        # the last NaN of a window wins; a GPU looks for them unasked, to stay asynchronous
        for k, there, here in _taps(image, kernel, stride, padding, dilation, size):
            xp.copyto(tap[(slice(None), *there)], tap.dtype.type(k),
                      where=xp.isnan(x[(slice(None), *here)]))
    return _channels_second(best), _channels_second(tap)
max_pool_p.vjp(lambda g, out, x, **how:
               max_unpool_p(g[0], out[1], shape=tuple(x.shape), **how))


@primitive(name="max_unpool")
def max_unpool_p(xp, g, tap, *, shape, kernel, stride, padding, dilation, size):
    """The transpose of max pooling with fixed winners: each g is added where the maximum was."""
    n, c, *image = shape
    g, tap = _channels_last(g), _channels_last(tap)
    out = xp.zeros((n, *image, c), g.dtype)
    apart = all(s >= d * (k - 1) + 1 for s, d, k in zip(stride, dilation, kernel))
    for part in tiles(xp, out):
        for k, there, here in _taps(image, kernel, stride, padding, dilation, size):
            won = g[(part, *there)] * (tap[(part, *there)] == k)
            if apart:                                             # no element is in two windows
                out[(part, *here)] = won
            else:
                out[(part, *here)] += won
    return _channels_second(out)
max_unpool_p.vjp(lambda g, out, x, tap, shape, **how: max_pick_p(g, tap, **how))


@primitive(name="max_pick")
def max_pick_p(xp, x, tap, *, kernel, stride, padding, dilation, size):
    """One element of each window: the one that `tap` names."""
    x, tap = _channels_last(x), _channels_last(tap)
    out = xp.zeros(tap.shape, x.dtype)
    for part in tiles(xp, x):
        for k, there, here in _taps(x.shape[1:-1], kernel, stride, padding, dilation, size):
            out[(part, *there)] += x[(part, *here)] * (tap[(part, *there)] == k)
    return _channels_second(out)
max_pick_p.vjp(lambda g, out, x, tap, **how:
               max_unpool_p(g, tap, shape=tuple(x.shape), **how))


def _channels_last(x):
    return x.transpose(0, *range(2, x.ndim), 1)


def _channels_second(x):
    return x.transpose(0, x.ndim - 1, *range(1, x.ndim - 1))


def _taps(image, kernel, stride, padding, dilation, size):
    """For each tap of the window: its number, which windows have it inside the image, and where."""
    per_axis = [[reach(m, s, u * d - p, n) for u in range(k)] for m, s, d, p, n, k in zip(
        size, stride, dilation, padding, image, kernel)]
    for number, meets in enumerate(itertools.product(*per_axis)):
        there, here = zip(*meets)
        yield number, there, here


def _first_taps(best, kernel, stride, padding, dilation):
    """The first tap of each window inside the image: what an all -inf window answers."""
    xp, shape = backend.array_module(best), best.shape
    taps = xp.zeros(shape, "uint8" if math.prod(kernel) <= 256 else "int32")
    after = math.prod(kernel)
    for axis, (k, s, p, d) in enumerate(zip(kernel, stride, padding, dilation), 1):
        after //= k
        if p:
            first = [min(k - 1, -(min(0, i * s - p) // d)) * after for i in range(shape[axis])]
            along = (-1, *(1,) * (len(shape) - 1 - axis))
            taps += beside(np.asarray(first, taps.dtype), best).reshape(along)
    return taps


def _positions(tap: Any, image: Sizes, how: dict[str, Any]) -> Any:
    """Taps as places in the flattened image, the form in which PyTorch returns indices."""
    tap = astype(tap, "int64")
    n, total = len(image), 0
    after, window = math.prod(image), math.prod(how["kernel"])
    for axis, (k, s, p, d) in enumerate(zip(how["kernel"], how["stride"], how["padding"],
                                            how["dilation"])):
        after, window = after // image[axis], window // k
        along = remainder(floor_divide(tap, window), k) * d
        start = beside(np.arange(how["size"][axis]) * s - p, tap)
        total = (along + start.reshape((-1, *(1,) * (n - 1 - axis)))) * after + total
    return total


def max_pool1d(input: Any, kernel_size: Size, stride: Size | None = None, padding: Size = 0,
               dilation: Size = 1, ceil_mode: bool = False, return_indices: bool = False) -> Any:
    """The largest element of each window of signals (N, C, L) or (C, L): see `max_pool2d`."""
    return _max_pool(1, "max_pool1d", input, kernel_size, stride, padding, dilation, ceil_mode,
                     return_indices)


def max_pool2d(input: Any, kernel_size: Size, stride: Size | None = None, padding: Size = 0,
               dilation: Size = 1, ceil_mode: bool = False, return_indices: bool = False) -> Any:
    """The largest element of each window: (N, C, H, W) -> (N, C, H', W'), or without N.

    H' = (H + 2 padding - dilation (kernel_size - 1) - 1) / stride + 1, rounded down (up with
    `ceil_mode`, where a last window must still begin inside the image or its left padding).
    `stride` is `kernel_size` by default. Of equal largest elements the first gets the gradient.
    With `return_indices` the result is a pair; the second says where each maximum is in the
    flattened image, which is what `max_unpool2d` takes.

    >>> import tinygen as tg
    >>> max_pool2d(tg.arange(16.0).reshape(1, 4, 4), 2).tolist()
    [[[5.0, 7.0], [13.0, 15.0]]]
    """
    return _max_pool(2, "max_pool2d", input, kernel_size, stride, padding, dilation, ceil_mode,
                     return_indices)


def max_pool3d(input: Any, kernel_size: Size, stride: Size | None = None, padding: Size = 0,
               dilation: Size = 1, ceil_mode: bool = False, return_indices: bool = False) -> Any:
    """The largest element of each window of volumes (N, C, D, H, W): see `max_pool2d`."""
    return _max_pool(3, "max_pool3d", input, kernel_size, stride, padding, dilation, ceil_mode,
                     return_indices)


def _max_pool(axes: int, op: str, x: Any, kernel_size: Any, stride: Any, padding: Any,
              dilation: Any, ceil_mode: bool, return_indices: bool) -> Any:
    x, has_batch = batched(x, axes, op)
    how = window(x, op, kernel_size, stride, padding, dilation, ceil_mode)
    y, tap = max_pool_p(x, **how)
    if not return_indices:
        return y if has_batch else squeeze(y, 0)
    places = _positions(tap, tuple(x.shape[2:]), how)
    return (y, places) if has_batch else (squeeze(y, 0), squeeze(places, 0))


# -- back to the places of the maxima -----------------------------------------------------------


@primitive(name="max_place")
def max_place_p(xp, x, indices, *, length):
    """Rows of zeros with x (M, K) at the indices (M, K): (M, length); repeated ones hold one x.

    Windows that overlap may share their maximum; as in PyTorch, each gets the whole gradient.
    """
    out = xp.zeros((len(x), length), x.dtype)
    xp.put_along_axis(out, indices, x, axis=1)
    return out
max_place_p.vjp(lambda g, out, x, indices, length: take_along_axis_p(g, indices, axis=1))


def max_unpool1d(input: Any, indices: Any, kernel_size: Size, stride: Size | None = None,
                 padding: Size = 0, output_size: Any = None) -> Tensor:
    """Signals of zeros with the maxima where `max_pool1d` found them: see `max_unpool2d`."""
    return _max_unpool(1, "max_unpool1d", input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(input: Any, indices: Any, kernel_size: Size, stride: Size | None = None,
                 padding: Size = 0, output_size: Any = None) -> Tensor:
    """Images of zeros with the maxima where `max_pool2d(..., return_indices=True)` found them.

    The size is (H - 1) stride - 2 padding + kernel_size, or `output_size` (the sizes of the last
    axes or of all), which may differ from it by less than a stride.
    """
    return _max_unpool(2, "max_unpool2d", input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(input: Any, indices: Any, kernel_size: Size, stride: Size | None = None,
                 padding: Size = 0, output_size: Any = None) -> Tensor:
    """Volumes of zeros with the maxima where `max_pool3d` found them: see `max_unpool2d`."""
    return _max_unpool(3, "max_unpool3d", input, indices, kernel_size, stride, padding, output_size)


def _max_unpool(axes: int, op: str, x: Any, indices: Any, kernel_size: Any, stride: Any,
                padding: Any, output_size: Any) -> Tensor:
    x, has_batch = batched(x, axes, op)
    indices = as_tensor(indices)
    if indices.dtype.kind not in "iu" or tuple(indices.shape) not in (x.shape, x.shape[1:]):
        raise ValueError(f"[{op}] indices must be integers of the shape of the input "
                         f"{tuple(x.shape)}, got {indices.dtype} {tuple(indices.shape)}")
    kernel = each_axis(kernel_size, axes, op, "kernel_size")
    stride = kernel if stride in (None, (), []) else each_axis(stride, axes, op, "stride")
    padding = each_axis(padding, axes, op, "padding", 0)
    size = tuple((n - 1) * s - 2 * p + k for n, s, p, k in zip(x.shape[2:], stride, padding,
                                                               kernel))
    if output_size is not None:
        wanted = tuple(output_size)[-axes:]
        if len(wanted) != axes or any(abs(w - m) >= s for w, m, s in zip(wanted, size, stride)):
            raise ValueError(f"[{op}] output_size {tuple(output_size)} must be less than the "
                             f"stride {stride} away from {size}")
        size = wanted
    n, c = x.shape[:2]
    length = math.prod(size)
    found = indices.data if isinstance(indices, Tensor) else indices
    if isinstance(found, np.ndarray) and found.size and not (         # a GPU is not waited for
            0 <= found.min() <= found.max() < length):
        raise ValueError(f"[{op}] indices must lie between 0 and {length - 1}, the last place in "
                         f"an output of {size}")
    rows = (n * c, math.prod(x.shape[2:]))
    y = max_place_p(reshape(x, rows), reshape(indices, rows), length=length)
    y = reshape(y, (n, c, *size))
    return y if has_batch else squeeze(y, 0)


# -- the mean -----------------------------------------------------------------------------------


@primitive(name="avg_pool")
def avg_pool_p(xp, x, *, kernel, stride, padding, size, include_pad, divisor):
    """The mean of each window: sums along one axis after the other, then a division."""
    x = _channels_last(x)
    n, *image, c = x.shape
    out = xp.empty((n, *size, c), x.dtype)
    shares = _shares(xp, x.dtype, image, kernel, stride, padding, size, include_pad, divisor)
    for part in tiles(xp, x):
        sums = x[part]
        for axis, meets in _reaches(image, kernel, stride, padding, size):
            sums, terms = xp.zeros(_resized(sums, axis, size), x.dtype), sums
            for there, here in meets:
                sums[there] += terms[here]
        xp.multiply(sums, shares, out=out[part])
    return _channels_second(out)
avg_pool_p.vjp(lambda g, out, x, **how: avg_unpool_p(g, image=tuple(x.shape[2:]), **how))


@primitive(name="avg_unpool")
def avg_unpool_p(xp, g, *, image, kernel, stride, padding, size, include_pad, divisor):
    """The transpose of avg_pool: each g is shared among the elements of its window."""
    g = _channels_last(g)
    shares = _shares(xp, g.dtype, image, kernel, stride, padding, size, include_pad, divisor)
    out = xp.empty((len(g), *image, g.shape[-1]), g.dtype)
    for part in tiles(xp, out):
        sums = g[part] * shares
        for axis, meets in reversed(_reaches(image, kernel, stride, padding, size)):
            sums, terms = xp.zeros(_resized(sums, axis, image), g.dtype), sums
            for there, here in meets:
                if stride[axis - 1] >= kernel[axis - 1]:          # no element is in two windows
                    sums[here] = terms[there]
                else:
                    sums[here] += terms[there]
        out[part] = sums
    return _channels_second(out)
avg_unpool_p.vjp(lambda g, out, x, image, **how: avg_pool_p(g, **how))


def enlarge(x: Any, factors: Sizes) -> Any:
    """Each element repeated along each axis of (N, C, ...): what a sum over windows pulls back."""
    size = tuple(x.shape[2:])
    return avg_unpool_p(x, image=tuple(n * k for n, k in zip(size, factors)), kernel=factors,
                        stride=factors, padding=(0,) * len(size), size=size, include_pad=True,
                        divisor=1)


def _reaches(image, kernel, stride, padding, size):
    """For each axis of (N, *image, C): which windows meet each tap, and where, as indices."""
    found = []
    for axis, (n, k, s, p, m) in enumerate(zip(image, kernel, stride, padding, size), 1):
        lead = (slice(None),) * axis
        meets = [reach(m, s, u - p, n) for u in range(k)]
        found.append((axis, [((*lead, there), (*lead, here)) for there, here in meets]))
    return found


def _resized(x, axis, size):
    return (*x.shape[:axis], size[axis - 1], *x.shape[axis + 1:])


def _shares(xp, dtype, image, kernel, stride, padding, size, include_pad, divisor):
    """1 / the number of elements that each window counts: one number, or (*size, 1)."""
    if divisor is not None:
        return 1 / divisor
    counts = []
    for n, k, s, p, m in zip(image, kernel, stride, padding, size):
        row = []
        for i in range(m):
            start, end = i * s - p, min(i * s - p + k, n + p)
            row.append(end - start if include_pad else min(end, n) - max(start, 0))
        counts.append(row)
    if all(len({*row}) == 1 for row in counts):
        return 1 / math.prod(row[0] for row in counts)
    shares = xp.ones((1,), dtype)
    for row in reversed(counts):
        along = xp.asarray([1 / max(v, 1) for v in row], dtype)
        shares = along.reshape((-1, *(1,) * shares.ndim)) * shares
    return shares


def avg_pool1d(input: Any, kernel_size: Size, stride: Size | None = None, padding: Size = 0,
               ceil_mode: bool = False, count_include_pad: bool = True) -> Tensor:
    """The mean of each window of signals (N, C, L) or (C, L): see `avg_pool2d`."""
    return _avg_pool(1, "avg_pool1d", input, kernel_size, stride, padding, ceil_mode,
                     count_include_pad, None)


def avg_pool2d(input: Any, kernel_size: Size, stride: Size | None = None, padding: Size = 0,
               ceil_mode: bool = False, count_include_pad: bool = True,
               divisor_override: int | None = None) -> Tensor:
    """The mean of each window: (N, C, H, W) -> (N, C, H', W'), or without N.

    Sizes as in `max_pool2d`. The zeros of the padding count as elements if `count_include_pad`;
    `divisor_override` divides all sums by one number.
    """
    return _avg_pool(2, "avg_pool2d", input, kernel_size, stride, padding, ceil_mode,
                     count_include_pad, divisor_override)


def avg_pool3d(input: Any, kernel_size: Size, stride: Size | None = None, padding: Size = 0,
               ceil_mode: bool = False, count_include_pad: bool = True,
               divisor_override: int | None = None) -> Tensor:
    """The mean of each window of volumes (N, C, D, H, W): see `avg_pool2d`."""
    return _avg_pool(3, "avg_pool3d", input, kernel_size, stride, padding, ceil_mode,
                     count_include_pad, divisor_override)


def _avg_pool(axes: int, op: str, x: Any, kernel_size: Any, stride: Any, padding: Any,
              ceil_mode: bool, count_include_pad: bool, divisor: int | None) -> Tensor:
    x, has_batch = batched(x, axes, op)
    if x.dtype.kind not in "fV":
        raise ValueError(f"[{op}] input: a mean needs floating point numbers, got {x.dtype}")
    if divisor == 0:
        raise ValueError(f"[{op}] divisor_override must not be 0")
    how = window(x, op, kernel_size, stride, padding, 1, ceil_mode)
    del how["dilation"]
    y = avg_pool_p(x, include_pad=bool(count_include_pad), divisor=divisor, **how)
    return y if has_batch else squeeze(y, 0)


# -- arguments ----------------------------------------------------------------------------------


def window(x: Any, op: str, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
           ceil_mode: bool) -> dict[str, Any]:
    """The static arguments of a pooling, checked."""
    axes = x.ndim - 2
    kernel = each_axis(kernel_size, axes, op, "kernel_size")
    stride = kernel if stride in (None, (), []) else each_axis(stride, axes, op, "stride")
    padding = each_axis(padding, axes, op, "padding", 0)
    dilation = each_axis(dilation, axes, op, "dilation")
    size = []
    for n, k, s, p, d in zip(x.shape[2:], kernel, stride, padding, dilation):
        if p > k // 2:
            raise ValueError(f"[{op}] padding {padding} must be at most half of kernel_size "
                             f"{kernel}")
        room = n + 2 * p - d * (k - 1) - 1
        m = (room + (s - 1 if ceil_mode else 0)) // s + 1
        if ceil_mode and (m - 1) * s >= n + p:
            m -= 1          # the last window would begin in the padding on the right
        if (room < 0 and m < 1) or n < 1:
            raise ValueError(f"[{op}] input: {tuple(x.shape)}: images of {n} with padding {p} are "
                             f"smaller than the window, which spans {d * (k - 1) + 1}")
        size.append(m)
    return {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation,
            "size": tuple(size)}
