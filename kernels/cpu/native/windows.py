"""Pooling over windows of images, and its transposes, in both memory layouts.

Arrays are matrices of image rows: (planes * height, width * depth). In NCHW memory a plane is a
channel of an image and the depth is 1; channels-last, a plane is an image and the depth is C.
Inner loops run along the depth, or along a row of windows where the depth is 1.
"""

from __future__ import annotations

import numpy as np

from .base import EXACT, inline, jit
from .pool import ranges

__all__ = ["avg_pool", "avg_unpool", "max_pool", "max_unpool"]


@inline
def _meets(count, stride, start, length):
    """The windows i with 0 <= start + stride * i < length."""
    first = max(0, -(start // stride))
    return first, max(first, min(count, (length - start + stride - 1) // stride))


@inline
def _first_tap(i, stride, padding, dilation, kernel):
    return min(kernel - 1, -(min(0, i * stride - padding) // dilation))


# -- the largest element ------------------------------------------------------------------------


@inline
def _compare_apart(best, tap, new, k, stride):
    """Every stride-th element of `new` against the best so far: larger ones win, and NaN."""
    if stride == 1:
        for j in range(len(best)):
            v = new[j]
            wins = v > best[j] or v != v
            best[j] = v if wins else best[j]
            tap[j] = k if wins else tap[j]
    elif stride == 2:
        for j in range(len(best)):
            v = new[2 * j]
            wins = v > best[j] or v != v
            best[j] = v if wins else best[j]
            tap[j] = k if wins else tap[j]
    else:
        for j in range(len(best)):
            v = new[stride * j]
            wins = v > best[j] or v != v
            best[j] = v if wins else best[j]
            tap[j] = k if wins else tap[j]


@inline
def _largest(x, best, tap, start, top, left, height, width, window):
    """One window for all of the depth, tap after tap."""
    kh, kw, _, _, _, _, dh, dw = window
    depth, fresh = len(best), True
    for u in range(kh):
        h = top + u * dh
        if h < 0 or h >= height:
            continue
        for v in range(kw):
            w = left + v * dw
            if w < 0 or w >= width:
                continue
            new, k = x[start + h][w * depth:(w + 1) * depth], np.uint8(u * kw + v)
            if fresh:
                for j in range(depth):
                    best[j] = new[j]
                    tap[j] = k
                fresh = False
            else:
                for j in range(depth):
                    wins = new[j] > best[j] or new[j] != new[j]
                    best[j] = new[j] if wins else best[j]
                    tap[j] = k if wins else tap[j]
    if fresh:                                               # a window in the padding alone
        best[:] = -np.inf
        tap[:] = min(kh - 1, -(min(0, top) // dh)) * kw + min(kw - 1, -(min(0, left) // dw))


@jit(fastmath=EXACT)
def _max_rows(x, y, taps, sizes, window, start, stop):
    height, width, high, wide, depth = sizes
    kh, kw, sh, sw, ph, pw, dh, dw = window
    for r in range(start, stop):
        plane, i = r // high, r % high
        best, tap = y[r], taps[r]
        first = _first_tap(i, sh, ph, dh, kh) * kw
        if depth > 1:
            for q in range(wide):
                here = slice(q * depth, (q + 1) * depth)
                _largest(x, best[here], tap[here], plane * height, i * sh - ph, q * sw - pw,
                         height, width, window)
            continue
        for q in range(wide):
            best[q] = -np.inf
            tap[q] = first + _first_tap(q, sw, pw, dw, kw)
        for u in range(kh):
            h = i * sh - ph + u * dh
            if h < 0 or h >= height:
                continue
            row = x[plane * height + h]
            for v in range(kw):
                low, end = _meets(wide, sw, v * dw - pw, width)
                if low < end:
                    _compare_apart(best[low:end], tap[low:end], row[low * sw + v * dw - pw:],
                                   np.uint8(u * kw + v), sw)


@jit(fastmath=EXACT)
def max_pool(x, y, taps, sizes, window, parts):
    """For each row of windows and each tap, the elements under it against the best so far."""
    ranges(_max_rows, (x, y, taps, sizes, window), len(y), parts)


@inline
def _won(out, g, tap, k):
    for j in range(len(g)):
        out[j] += g[j] if tap[j] == k else g.dtype.type(0)


@jit(fastmath=EXACT)
def _unpool_planes(g, taps, out, sizes, window, start, stop):
    height, width, high, wide, depth = sizes
    kh, kw, sh, sw, ph, pw, dh, dw = window
    flat = out.reshape(-1)
    for plane in range(start, stop):
        out[plane * height:(plane + 1) * height] = 0
        for i in range(high):
            given, tap = g[plane * high + i], taps[plane * high + i]
            top = i * sh - ph
            if depth == 1:
                for q in range(wide):
                    u, v = tap[q] // kw, tap[q] % kw
                    h, w = top + u * dh, q * sw - pw + v * dw
                    if 0 <= h < height and 0 <= w < width:
                        flat[np.uint64((plane * height + h) * width + w)] += given[q]
                continue
            for u in range(kh):
                h = top + u * dh
                if h < 0 or h >= height:
                    continue
                row = out[plane * height + h]
                for v in range(kw):
                    low, end = _meets(wide, sw, v * dw - pw, width)
                    for q in range(low, end):
                        a, b = q * depth, (q * sw + v * dw - pw) * depth
                        _won(row[b:b + depth], given[a:a + depth], tap[a:a + depth],
                             np.uint8(u * kw + v))


@jit(fastmath=EXACT)
def max_unpool(g, taps, out, sizes, window, parts):
    """Plane after plane: zeros, and each g added where its window's tap is.

    Along the depth all taps are tried, in vectors; with depth 1 the place is computed.
    """
    ranges(_unpool_planes, (g, taps, out, sizes, window), len(out) // sizes[0], parts)


# -- the mean -----------------------------------------------------------------------------------


@inline
def _sum(to, terms, low, far):
    """Pieces low to far of `terms`, each as long as `to`, added up."""
    n = len(to)
    if far <= low:
        to[:] = 0
        return
    one = terms[low * n:(low + 1) * n]
    if far == low + 1:
        to[:] = one
        return
    two = terms[(low + 1) * n:(low + 2) * n]
    for j in range(n):
        to[j] = one[j] + two[j]
    for k in range(low + 2, far):
        piece = terms[k * n:(k + 1) * n]
        for j in range(n):
            to[j] += piece[j]


@jit(fastmath=EXACT)
def _avg_rows(x, y, down, across, sizes, window, start, stop):
    height, width, high, wide, depth = sizes
    kh, kw, sh, sw, ph, pw = window
    sums, flat = np.empty(width * depth, x.dtype), x.reshape(-1)
    for r in range(start, stop):
        i, top = r % high, r // high * height
        _sum(sums, flat, top + max(0, i * sh - ph), top + min(height, i * sh - ph + kh))
        out = y[r]
        if depth == 1:
            for q in range(wide):
                total = x.dtype.type(0)
                for w in range(max(0, q * sw - pw), min(width, q * sw - pw + kw)):
                    total += sums[w]
                out[q] = total * (down[i] * across[q])
            continue
        for q in range(wide):
            to, share = out[q * depth:(q + 1) * depth], down[i] * across[q]
            _sum(to, sums, max(0, q * sw - pw), min(width, q * sw - pw + kw))
            for j in range(depth):
                to[j] *= share


@jit(fastmath=EXACT)
def avg_pool(x, y, down, across, sizes, window, parts):
    """For each row of windows: the sum of its image rows, then of their pieces, times the share."""
    ranges(_avg_rows, (x, y, down, across, sizes, window), len(y), parts)


@jit(fastmath=EXACT)
def _spread_rows(g, out, down, across, sizes, window, start, stop):
    height, width, high, wide, depth = sizes
    kh, kw, sh, sw, ph, pw = window
    sums = np.empty(wide * depth, g.dtype)
    last = -1
    for r in range(start, stop):
        plane, h = r // height, r % height
        first = max(0, (h + ph - kh + sh) // sh)            # the windows that row h lies in
        end = min(high, (h + ph) // sh + 1)
        key = (plane * (high + 1) + first) * (high + 1) + end
        row = out[r]
        if key == last:                                     # the same ones as the row above
            row[:] = out[r - 1]
            continue
        last = key
        sums[:] = 0
        for i in range(first, end):
            given, share = g[plane * high + i], down[i]
            for j in range(len(sums)):
                sums[j] += given[j] * share
        row[:] = 0
        if depth == 1 and kw == sw == 2 and pw == 0:        # every number twice: enlarging by two
            for q in range(min(wide, width // 2)):
                value = sums[q] * across[q]
                row[2 * q] = value
                row[2 * q + 1] = value
            if width < 2 * wide:
                row[width - 1] = sums[wide - 1] * across[wide - 1]
            continue
        for q in range(wide):
            low, far = max(0, q * sw - pw), min(width, q * sw - pw + kw)
            share = across[q]
            if depth == 1:
                value = sums[q] * share
                for w in range(low, far):
                    row[w] += value
            else:
                given = sums[q * depth:(q + 1) * depth]
                for w in range(low, far):
                    to = row[w * depth:(w + 1) * depth]
                    for j in range(depth):
                        to[j] += given[j] * share


@jit(fastmath=EXACT)
def avg_unpool(g, out, down, across, sizes, window, parts):
    """For each image row: the rows of g whose windows it lies in, summed, then spread along it."""
    ranges(_spread_rows, (g, out, down, across, sizes, window), len(out), parts)
