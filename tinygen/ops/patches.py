"""How convolutions run on bare arrays: patches are gathered, matrix products do the arithmetic.

Shapes are (N, C, H, W), as in PyTorch; memory is channels-last, (N, H, W, C). Results are views of
such arrays, elementwise functions keep their order, and the next convolution finds its input ready.
Images with few channels are the exception: they are kept as planes, (N, C, H, W) in memory too.

The work is cut into tiles of a few images, so that a tile's patches stay in the cache between the
copy that writes them and the product that reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

Pair = tuple[int, int]
Edges = tuple[Pair, Pair]

# Bytes of patches in one tile, on a CPU and on a GPU (which has no cache to stay in). Measured on
# two cores with 2.5 MB of L2 each, 128 -> 256 channels, 4x4, stride 2: forward 50 ms with 0.5 MB,
# 34 with 2 MB, 37 with 8 MB, 67 with all patches at once; PyTorch 29.
TILE, TILE_GPU = 2 << 20, 256 << 20
PLANES = 4   # images with at most so many channels are gathered plane by plane
LAST, FIRST = 1, 2   # where the height is: (N, H, W, C) or (N, C, H, W)


# -- conv2d -------------------------------------------------------------------------------------


def correlate(xp: Any, x: Any, w: Any, bias: Any, stride: Pair, padding: Edges, dilation: Pair,
              groups: int) -> Any:
    """conv2d: (N, C, H, W), (O, C/g, kh, kw) -> (N, O, oh, ow)."""
    n, o, kernel = x.shape[0], w.shape[0], w.shape[2:]
    oh, ow = out_size(x.shape[2:], kernel, stride, padding, dilation)
    out = xp.empty((n, oh, ow, o), xp.result_type(x.dtype, w.dtype))
    rows = out.reshape(n * oh * ow, o)
    how = (kernel, stride, padding, dilation, (oh, ow))
    if _depthwise(x.shape[1], w.shape[:2], groups):
        _correlate_taps(xp, x, w, out, *how)
        if bias is not None:
            out += bias
    elif _few(x.shape[1], kernel, ow, groups):
        matrix = w.reshape(o, -1).T                               # (C*kh*kw, O)
        for part, cols in _planes(xp, x, *how):
            xp.matmul(cols.T, matrix, out=rows[part])
            if bias is not None:
                rows[part] += bias
    else:
        stack = _by_group(w.transpose(0, 2, 3, 1), groups)        # (g, O/g, kh*kw*C/g)
        for part, cols in _tiles(xp, x, *how, groups):
            if groups == 1:
                xp.matmul(cols[0], stack[0].T, out=rows[part])
            else:
                into = rows[part].reshape(-1, groups, o // groups).swapaxes(0, 1)
                xp.matmul(cols, stack.swapaxes(1, 2), out=into)
            if bias is not None:
                rows[part] += bias
    return out.transpose(0, 3, 1, 2)


def correlate_weight(xp: Any, x: Any, g: Any, stride: Pair, padding: Edges, dilation: Pair,
                     groups: int) -> Any:
    """The gradient of conv2d to its weight: (N, C, H, W), (N, O, oh, ow) -> (O, C/g, kh, kw)."""
    n, o, oh, ow = g.shape
    c = x.shape[1]
    kernel = kernel_size(x.shape[2:], (oh, ow), stride, padding, dilation)
    how = (kernel, stride, padding, dilation, (oh, ow))
    kind = xp.result_type(x.dtype, g.dtype)
    if _depthwise(c, (o, c // groups), groups):
        return _weight_taps(xp, x, g, kind, *how)
    rows = g.transpose(0, 2, 3, 1).reshape(n * oh * ow, o)
    if _few(c, kernel, ow, groups):
        dw = xp.zeros((c * kernel[0] * kernel[1], o), kind)
        for part, cols in _planes(xp, x, *how):
            dw += cols @ rows[part]
        return dw.T.reshape(o, c, *kernel)
    dw = xp.zeros((groups, o // groups, kernel[0] * kernel[1] * (c // groups)), kind)
    larger = 2 + 2 * dw.nbytes // TILE                            # adding up dw must stay cheap
    for part, cols in _tiles(xp, x, *how, groups, larger):
        if groups == 1:
            dw[0] += rows[part].T @ cols[0]
        else:
            split = rows[part].reshape(-1, groups, o // groups)
            dw += xp.matmul(split.transpose(1, 2, 0), cols)
    return dw.reshape(o, *kernel, c // groups).transpose(0, 3, 1, 2)


# -- conv_transpose2d ---------------------------------------------------------------------------


def spread(xp: Any, y: Any, w: Any, bias: Any, stride: Pair, padding: Edges, dilation: Pair,
           groups: int) -> Any:
    """conv_transpose2d: (N, O, oh, ow), (O, C/g, kh, kw) -> (N, C, H, W)."""
    (o, cg, *kernel), (oh, ow) = w.shape, y.shape[2:]
    full = tuple((m - 1) * s + d * (k - 1) + 1
                 for m, s, d, k in zip((oh, ow), stride, dilation, kernel))
    size = tuple(f - a - b for f, (a, b) in zip(full, padding))
    if stride == (1, 1) and 2 * size[0] * size[1] <= 3 * oh * ow:
        # A convolution with the kernel turned around. (Where the output is much larger than the
        # input, most of its patches would be padding.)
        rows, columns = ((d * (k - 1) - a, d * (k - 1) - b)
                         for d, k, (a, b) in zip(dilation, kernel, padding))
        turned = w.reshape(groups, o // groups, cg, *kernel).swapaxes(1, 2)[..., ::-1, ::-1]
        return correlate(xp, y, turned.reshape(groups * cg, o // groups, *kernel), bias, (1, 1),
                         (rows, columns), dilation, groups)
    how = (bias, stride, padding, dilation, full, size)
    if _depthwise(groups * cg, (o, cg), groups):
        return _spread_taps(xp, y, w, *how)
    if groups == 1 and cg <= PLANES:
        return _spread_planes(xp, y, w, *how)
    return _spread_rows(xp, y, w, groups, *how)


def _spread_rows(xp, y, w, groups, bias, stride, padding, dilation, full, size):
    """For each tap of the kernel a product, added where its windows' taps are."""
    n, o, oh, ow = y.shape
    cg, (kh, kw), (s, t), (d, e) = w.shape[1], w.shape[2:], stride, dilation
    if ow == 1 and e == 1:
        t = kw                                                    # one window: any stride will do
    # As many taps side by side as the stride: the chunks of neighbouring windows then join.
    wide = t if groups == e == 1 and kw % t == 0 else 1
    taps = w.reshape(groups, o // groups, cg, kh, kw // wide, wide).transpose(3, 4, 0, 1, 5, 2)
    taps = taps.reshape(kh, kw // wide, groups, o // groups, wide * cg)
    out = xp.empty((n, *size, groups * cg), xp.result_type(y.dtype, w.dtype))
    bytes_each = out.itemsize * groups * cg * (full[0] * full[1] + oh * ow * wide)
    step = _images(xp, bytes_each)
    buf = xp.empty((min(n, step) * oh * ow, wide * groups * cg), out.dtype)
    yl = y.transpose(0, 2, 3, 1)
    for i, acc in _sums(xp, out, bias, padding, full, step, LAST):
        m = acc.shape[0]
        rows = yl[i:i + m].reshape(-1, groups, o // groups).swapaxes(0, 1)
        part = buf[:m * oh * ow]
        into = part.reshape(-1, groups, wide * cg).swapaxes(0, 1)
        for u in range(kh):
            lines = acc[:, u * d:u * d + s * (oh - 1) + 1:s]
            for v in range(kw // wide):
                if groups == 1:
                    xp.matmul(rows[0], taps[u, v, 0], out=part)
                else:
                    xp.matmul(rows, taps[u, v], out=into)
                left = v * wide * e
                if wide == t and e == 1:
                    cells = lines[:, :, left:left + t * ow]
                else:
                    cells = lines[:, :, left:left + t * (ow - 1) + 1:t]
                cells += part.reshape(cells.shape)
    return out.transpose(0, 3, 1, 2)


def _spread_planes(xp, y, w, bias, stride, padding, dilation, full, size):
    """Few output channels: one product for all taps, then plane by plane into (N, C, H, W)."""
    n, o, oh, ow = y.shape
    c, (kh, kw), (s, t), (d, e) = w.shape[1], w.shape[2:], stride, dilation
    matrix = w.reshape(o, c * kh * kw).T
    out = xp.empty((n, c, *size), xp.result_type(y.dtype, w.dtype))
    step = _images(xp, c * kh * kw * oh * ow * out.itemsize)
    yl = y.transpose(0, 2, 3, 1)
    for i, acc in _sums(xp, out, bias, padding, full, step, FIRST):
        m = acc.shape[0]
        cols = matrix @ yl[i:i + m].reshape(-1, o).T              # (C*kh*kw, m*oh*ow)
        cols = cols.reshape(c, kh, kw, m, oh, ow)
        for u in range(kh):
            for v in range(kw):
                cells = acc[:, :, u * d:u * d + s * (oh - 1) + 1:s,
                            v * e:v * e + t * (ow - 1) + 1:t]
                cells += cols[:, u, v].swapaxes(0, 1)
    return out


def _sums(xp, out, bias, padding, full, step, height):
    """Tiles of `out` (its images from i on) to add into, before padding is cut from their edges."""
    n = out.shape[0]
    bias = 0 if bias is None else bias if height == LAST else bias[:, None, None]
    if not np.any(padding):
        for i in range(0, n, step):
            out[i:i + step] = bias
            yield i, out[i:i + step]
        return
    shape, here, kept = list(out.shape), [slice(None)] * 4, [slice(None)] * 4
    shape[0] = min(n, step)
    for axis, f, m, (a, b) in zip((height, height + 1), full, out.shape[height:], padding):
        shape[axis] = f + max(0, -a) + max(0, -b)                 # negative padding adds
        here[axis] = slice(max(0, -a), max(0, -a) + f)
        kept[axis] = slice(max(0, a), max(0, a) + m)
    sums = xp.empty(shape, out.dtype)
    for i in range(0, n, step):
        tile = sums[:min(step, n - i)]
        tile[...] = bias
        yield i, tile[tuple(here)]
        out[i:i + step] = tile[tuple(kept)]


# -- gathering ----------------------------------------------------------------------------------


def _tiles(xp: Any, x: Any, kernel: Pair, stride: Pair, padding: Edges, dilation: Pair,
           size: Pair, groups: int, larger: int = 1) -> Iterator[tuple[slice, Any]]:
    """Patches by tiles: which rows of the output, and (g, rows, kh*kw*C/g)."""
    (oh, ow), c = size, x.shape[1]
    width = kernel[0] * kernel[1] * (c // groups)
    step = _images(xp, oh * ow * width * groups * x.itemsize, larger)
    high = max(1, min(oh, _images(xp, ow * width * groups * x.itemsize, larger)))
    cols = None
    for i, image in _padded(xp, x.transpose(0, 2, 3, 1), padding, step, LAST):
        m = image.shape[0]
        a, b, d, e = image.strides
        view = xp.lib.stride_tricks.as_strided(
            image, (groups, m, oh, ow, *kernel, c // groups),
            (e * (c // groups), a, b * stride[0], d * stride[1], b * dilation[0],
             d * dilation[1], e))
        if view.flags.c_contiguous:                               # 1x1, or the kernel is the image
            yield slice(i * oh * ow, (i + m) * oh * ow), view.reshape(groups, -1, width)
            continue
        if cols is None:
            cols = xp.empty(groups * m * high * ow * width, x.dtype)
        for top in range(0, oh, high):
            part = view[:, :, top:top + high]
            rows = m * part.shape[2] * ow
            tile = cols[:groups * rows * width]
            tile.reshape(part.shape)[...] = part
            start = (i * oh + top) * ow
            yield slice(start, start + rows), tile.reshape(groups, rows, width)


def _planes(xp: Any, x: Any, kernel: Pair, stride: Pair, padding: Edges, dilation: Pair,
            size: Pair) -> Iterator[tuple[slice, Any]]:
    """Patches by tiles, a row for each tap: which rows of the output, and (C*kh*kw, rows).

    With few channels the runs of kw * C numbers are short, those of ow numbers longer.
    """
    (oh, ow), c = size, x.shape[1]
    width = c * kernel[0] * kernel[1]
    step = _images(xp, oh * ow * width * x.itemsize)
    for i, image in _padded(xp, x, padding, step, FIRST):
        m = image.shape[0]
        a, b, d, e = image.strides
        view = xp.lib.stride_tricks.as_strided(
            image, (c, *kernel, m, oh, ow),
            (b, d * dilation[0], e * dilation[1], a, d * stride[0], e * stride[1]))
        yield slice(i * oh * ow, (i + m) * oh * ow), view.reshape(width, m * oh * ow)


def _padded(xp: Any, x: Any, padding: Edges, step: int, height: int) -> Iterator[tuple[int, Any]]:
    """Tiles of the images, from image i on, with zeros around them; rows are dense in memory."""
    n, index, inner, shape = x.shape[0], [slice(None)] * 4, [slice(None)] * 4, list(x.shape)
    for axis, (a, b) in zip((height, height + 1), padding):
        m = shape[axis]
        start = min(m, max(0, -a))                                    # negative padding crops,
        kept = max(0, m - max(0, -b) - start)                         # the other end's zeros too
        at = max(0, a) if kept else 0
        index[axis], inner[axis] = slice(start, start + kept), slice(at, at + kept)
        shape[axis] += a + b
    x = x[tuple(index)]
    dense = x.shape[3] == 1 or x.strides[3] == x.itemsize
    if dense and x.shape == tuple(shape):
        for i in range(0, n, step):
            yield i, x[i:i + step]
        return
    shape[0] = min(n, step)
    tile = xp.zeros(shape, x.dtype)
    for i in range(0, n, step):
        part = tile[:min(step, n - i)]
        part[tuple(inner)] = x[i:i + step]
        yield i, part


def _images(xp: Any, bytes_each: int, larger: int = 1) -> int:
    """How many images (or rows) of so many bytes make a tile."""
    return max(1, larger * (TILE if xp is np else TILE_GPU) // max(1, bytes_each))


def tiles(xp: Any, images: Any) -> list[slice]:
    """Cuts of (N, ...) along the first axis into tiles that stay in the cache."""
    step = _images(xp, images[0].nbytes if len(images) else 1)
    return [slice(i, i + step) for i in range(0, len(images), step)]


def _few(c: int, kernel: tuple[int, ...], ow: int, groups: int) -> bool:
    return groups == 1 and c <= PLANES and ow >= c * kernel[1] and kernel[0] * kernel[1] > 1


def _by_group(w: Any, groups: int) -> Any:
    return w.reshape(groups, w.shape[0] // groups, -1)


# -- one kernel per channel ---------------------------------------------------------------------


def _depthwise(c: int, weight: tuple[int, ...], groups: int) -> bool:
    return 1 < groups == c == weight[0]


def _correlate_taps(xp, x, w, out, kernel, stride, padding, dilation, size):
    """No channel mixes with another: a sum over the taps of strided views times weights."""
    step = _images(xp, 2 * out[0].nbytes if len(out) else 1)
    for i, image in _padded(xp, x.transpose(0, 2, 3, 1), padding, step, LAST):
        acc = out[i:i + step]
        acc[...] = 0
        for u, v, cells in _taps(image, kernel, stride, dilation, size):
            acc += cells * w[:, 0, u, v]


def _spread_taps(xp, y, w, bias, stride, padding, dilation, full, size):
    n, c = y.shape[:2]
    out = xp.empty((n, *size, c), xp.result_type(y.dtype, w.dtype))
    yl = y.transpose(0, 2, 3, 1)
    step = _images(xp, 2 * out[0].nbytes if n else 1)
    for i, acc in _sums(xp, out, bias, padding, full, step, LAST):
        for u, v, cells in _taps(acc, w.shape[2:], stride, dilation, y.shape[2:]):
            cells += yl[i:i + step] * w[:, 0, u, v]
    return out.transpose(0, 3, 1, 2)


def _weight_taps(xp, x, g, kind, kernel, stride, padding, dilation, size):
    gl = g.transpose(0, 2, 3, 1)
    dw = xp.zeros((x.shape[1], 1, *kernel), kind)
    step = _images(xp, 2 * gl[0].nbytes if len(gl) else 1)
    for i, image in _padded(xp, x.transpose(0, 2, 3, 1), padding, step, LAST):
        for u, v, cells in _taps(image, kernel, stride, dilation, size):
            dw[:, 0, u, v] += (cells * gl[i:i + step]).sum(axis=(0, 1, 2))
    return dw


def _taps(image, kernel, stride, dilation, size):
    """For each tap, a view of the elements (N, H, W, C) that it meets."""
    for u in range(kernel[0]):
        top = u * dilation[0]
        for v in range(kernel[1]):
            left = v * dilation[1]
            yield u, v, image[:, top:top + stride[0] * (size[0] - 1) + 1:stride[0],
                              left:left + stride[1] * (size[1] - 1) + 1:stride[1]]


# -- sizes --------------------------------------------------------------------------------------


def out_size(size: tuple[int, ...], kernel: tuple[int, ...], stride: Pair, padding: Edges,
             dilation: Pair) -> Pair:
    """The number of windows along height and width; exact paddings leave no remainder."""
    found = []
    for n, k, s, (a, b), d in zip(size, kernel, stride, padding, dilation):
        room = n + a + b - d * (k - 1) - 1
        if room < 0 or room % s:
            raise ValueError(f"padding ({a}, {b}) is not exact: a kernel that spans "
                             f"{d * (k - 1) + 1} does not end at the edge of {n} in steps of {s}")
        found.append(room // s + 1)
    return found[0], found[1]


def kernel_size(size: tuple[int, ...], out: tuple[int, ...], stride: Pair, padding: Edges,
                dilation: Pair) -> Pair:
    """The kernel that takes `size` to `out`."""
    kh, kw = ((n + a + b - (m - 1) * s - 1) // d + 1
              for n, m, s, d, (a, b) in zip(size, out, stride, dilation, padding))
    return kh, kw


def reach(n: int, stride: int, start: int, size: int) -> tuple[slice, slice]:
    """Which of n windows put their tap at start + stride * i inside [0, size), and where."""
    first = max(0, -(start // stride))
    last = min(n, (size - start + stride - 1) // stride)
    if last <= first:
        return slice(0, 0), slice(0, 0)
    low = start + stride * first
    return slice(first, last), slice(low, low + stride * (last - first - 1) + 1, stride)
