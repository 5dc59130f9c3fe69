"""Pooling over windows of images: the largest element, or the mean."""

from __future__ import annotations

from typing import Any

from .. import backend
from ..primitive import primitive
from ..tensor import Tensor
from .conv import Size2, _batch, pair
from .linalg import matmul
from .patches import reach, tiles
from .reduce import mean_p
from .shape import reshape_p, squeeze

# -- the largest element ------------------------------------------------------------------------


@primitive(name="max_pool2d", outputs=2, differentiable=1)
def max_pool2d_p(xp, x, *, kernel, stride, padding, dilation, size):
    """The largest element of each window, and which tap of the window it is (the first if several).

    Runs over the kh * kw taps: each is a strided view of x, compared with the best so far.
    """
    x = x.transpose(0, 2, 3, 1)                                   # (N, H, W, C)
    n, h, w, c = x.shape
    low = -xp.inf if x.dtype.kind == "f" else xp.iinfo(x.dtype).min
    best = xp.full((n, *size, c), low, x.dtype)
    tap = xp.zeros(best.shape, "uint8" if kernel[0] * kernel[1] <= 256 else "int32")
    for part in tiles(xp, x):
        for k, there, here in _taps((h, w), kernel, stride, padding, dilation, size):
            new, top = x[(part, *here)], best[(part, *there)]
            if k:    # the number of a later tap is larger: integer arithmetic beats a masked copy
                number = (new > top).view("uint8") * tap.dtype.type(k)
                xp.maximum(tap[(part, *there)], number, out=tap[(part, *there)])
            xp.maximum(top, new, out=top)
    return best.transpose(0, 3, 1, 2), tap.transpose(0, 3, 1, 2)
max_pool2d_p.vjp(lambda g, out, x, **how:
                 max_unpool2d_p(g[0], out[1], shape=tuple(x.shape), **how))


@primitive(name="max_unpool2d")
def max_unpool2d_p(xp, g, tap, *, shape, kernel, stride, padding, dilation, size):
    """The transpose of max pooling with fixed winners: each g is added where the maximum was."""
    n, c, h, w = shape
    g, tap = g.transpose(0, 2, 3, 1), tap.transpose(0, 2, 3, 1)
    out = xp.zeros((n, h, w, c), g.dtype)
    apart = all(s >= d * (k - 1) + 1 for s, d, k in zip(stride, dilation, kernel))
    for part in tiles(xp, out):
        for k, there, here in _taps((h, w), kernel, stride, padding, dilation, size):
            won = g[(part, *there)] * (tap[(part, *there)] == k)
            if apart:                                             # no element is in two windows
                out[(part, *here)] = won
            else:
                out[(part, *here)] += won
    return out.transpose(0, 3, 1, 2)
max_unpool2d_p.vjp(lambda g, out, x, tap, shape, **how: max_pick2d_p(g, tap, **how))


@primitive(name="max_pick2d")
def max_pick2d_p(xp, x, tap, *, kernel, stride, padding, dilation, size):
    """One element of each window: the one that `tap` names."""
    x, tap = x.transpose(0, 2, 3, 1), tap.transpose(0, 2, 3, 1)
    out = xp.zeros(tap.shape, x.dtype)
    for part in tiles(xp, x):
        for k, there, here in _taps(x.shape[1:3], kernel, stride, padding, dilation, size):
            out[(part, *there)] += x[(part, *here)] * (tap[(part, *there)] == k)
    return out.transpose(0, 3, 1, 2)
max_pick2d_p.vjp(lambda g, out, x, tap, **how:
                 max_unpool2d_p(g, tap, shape=tuple(x.shape), **how))


def _taps(image, kernel, stride, padding, dilation, size):
    """For each tap of the window: its number, which windows have it inside the image, and where."""
    rows = [reach(size[0], stride[0], u * dilation[0] - padding[0], image[0])
            for u in range(kernel[0])]
    cols = [reach(size[1], stride[1], v * dilation[1] - padding[1], image[1])
            for v in range(kernel[1])]
    for u, (into_rows, from_rows) in enumerate(rows):
        for v, (into_cols, from_cols) in enumerate(cols):
            yield u * kernel[1] + v, (into_rows, into_cols), (from_rows, from_cols)


def max_pool2d(x: Any, kernel_size: Size2, stride: Size2 | None = None, padding: Size2 = 0,
               dilation: Size2 = 1, ceil_mode: bool = False) -> Tensor:
    """The largest element of each window: (N, C, H, W) -> (N, C, H', W'), or without N.

    H' = (H + 2 padding - dilation (kernel_size - 1) - 1) / stride + 1, rounded down (up with
    `ceil_mode`, where a last window must still begin inside the image or its left padding).
    `stride` is `kernel_size` by default. Of equal largest elements the first gets the gradient.
    """
    op = "max_pool2d"
    x, batched = _batch(x, op)
    how = _window(x, op, kernel_size, stride, padding, dilation, ceil_mode)
    y, _ = max_pool2d_p(x, **how)
    return y if batched else squeeze(y, 0)


# -- the mean -----------------------------------------------------------------------------------


@primitive(name="avg_pool2d")
def avg_pool2d_p(xp, x, *, kernel, stride, padding, size, include_pad):
    """The mean of each window: sums of rows, then of columns, then a division."""
    x = x.transpose(0, 2, 3, 1)
    n, h, w, c = x.shape
    out = xp.zeros((n, *size, c), x.dtype)
    shares = _shares(xp, x.dtype, (h, w), kernel, stride, padding, size, include_pad)
    for part in tiles(xp, x):
        rows = xp.zeros((*x[part].shape[:1], size[0], w, c), x.dtype)
        for there, here in _reaches(0, (h, w), kernel, stride, padding, size):
            rows[:, there] += x[part, here]
        for there, here in _reaches(1, (h, w), kernel, stride, padding, size):
            out[part, :, there] += rows[:, :, here]
        out[part] *= shares
    return out.transpose(0, 3, 1, 2)
avg_pool2d_p.vjp(lambda g, out, x, **how: avg_unpool2d_p(g, image=tuple(x.shape[2:]), **how))


@primitive(name="avg_unpool2d")
def avg_unpool2d_p(xp, g, *, image, kernel, stride, padding, size, include_pad):
    """The transpose of avg_pool2d: each g is shared among the elements of its window."""
    g = g.transpose(0, 2, 3, 1)
    (h, w), c = image, g.shape[3]
    shares = _shares(xp, g.dtype, image, kernel, stride, padding, size, include_pad)
    out = xp.zeros((g.shape[0], h, w, c), g.dtype)
    for part in tiles(xp, out):
        share = g[part] * shares
        rows = xp.zeros((len(share), size[0], w, c), g.dtype)
        for there, here in _reaches(1, image, kernel, stride, padding, size):
            rows[:, :, here] += share[:, :, there]
        for there, here in _reaches(0, image, kernel, stride, padding, size):
            out[part, here] += rows[:, there]
    return out.transpose(0, 3, 1, 2)
avg_unpool2d_p.vjp(lambda g, out, x, image, **how: avg_pool2d_p(g, **how))


def _reaches(axis, image, kernel, stride, padding, size):
    return [reach(size[axis], stride[axis], u - padding[axis], image[axis])
            for u in range(kernel[axis])]


def _shares(xp, dtype, image, kernel, stride, padding, size, include_pad):
    """1 / the number of elements that each window counts: (oh, ow, 1), or one number."""
    counts = []
    for n, k, s, p, m in zip(image, kernel, stride, padding, size):
        row = []
        for i in range(m):
            start, end = i * s - p, min(i * s - p + k, n + p)
            row.append(end - start if include_pad else min(end, n) - max(start, 0))
        counts.append(row)
    if len({*counts[0]}) == len({*counts[1]}) == 1:
        return 1 / (counts[0][0] * counts[1][0])
    rows, cols = (xp.asarray([1 / max(v, 1) for v in row], dtype) for row in counts)
    return (rows[:, None] * cols)[:, :, None]


def avg_pool2d(x: Any, kernel_size: Size2, stride: Size2 | None = None, padding: Size2 = 0,
               ceil_mode: bool = False, count_include_pad: bool = True) -> Tensor:
    """The mean of each window: (N, C, H, W) -> (N, C, H', W'), or without N.

    Sizes as in `max_pool2d`. The zeros of the padding count as elements if `count_include_pad`.
    """
    op = "avg_pool2d"
    x, batched = _batch(x, op)
    how = _window(x, op, kernel_size, stride, padding, 1, ceil_mode)
    del how["dilation"]
    y = avg_pool2d_p(x, include_pad=bool(count_include_pad), **how)
    return y if batched else squeeze(y, 0)


def adaptive_avg_pool2d(x: Any, output_size: Any) -> Tensor:
    """Means over a grid of windows that covers the image: (N, C, H, W) -> (N, C, *output_size).

    Window i of n spans rows floor(i H / n) to ceil((i + 1) H / n). None keeps a size.
    """
    op = "adaptive_avg_pool2d"
    x, batched = _batch(x, op)
    wish = tuple(output_size) if hasattr(output_size, "__iter__") else (output_size,) * 2
    if len(wish) != 2:
        raise ValueError(f"[{op}] output_size must be an int or two, got {output_size!r}")
    oh, ow = pair(tuple(m if m is not None else n for m, n in zip(wish, x.shape[2:])), op,
                  "output_size")
    n, c, h, w = x.shape
    if (oh, ow) == (1, 1):
        y = mean_p(x, axis=(2, 3), keepdims=True)
    elif h % oh == 0 and w % ow == 0:
        y = mean_p(reshape_p(x, shape=(n, c, oh, h // oh, ow, w // ow)), axis=(3, 5))
    else:
        y = matmul(matmul(_bands(x, oh, h), x), _bands(x, ow, w).T)
    return y if batched else squeeze(y, 0)


def _bands(x: Any, m: int, n: int) -> Any:
    """A matrix (m, n) whose row i averages the elements of window i."""
    array = x.data if isinstance(x, Tensor) else x
    rows = [[0.0] * n for _ in range(m)]
    for i in range(m):
        start, end = i * n // m, -(-(i + 1) * n // m)
        rows[i][start:end] = [1 / (end - start)] * (end - start)
    kind = array.dtype if array.dtype.kind == "f" else "float32"
    return backend.array_module(array).asarray(rows, kind)


def _window(x: Any, op: str, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
            ceil_mode: bool) -> dict[str, Any]:
    """The static arguments of a pooling, checked."""
    kernel = pair(kernel_size, op, "kernel_size")
    stride = kernel if stride is None else pair(stride, op, "stride")
    padding = pair(padding, op, "padding", 0)
    dilation = pair(dilation, op, "dilation")
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
            raise ValueError(f"[{op}] x: {tuple(x.shape)}: images of {n} with padding {p} are "
                             f"smaller than the window, which spans {d * (k - 1) + 1}")
        size.append(m)
    return {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation,
            "size": tuple(size)}
