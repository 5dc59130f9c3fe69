"""Calls of padding, convolution, pooling, windows and resampling, and what they mean as loops."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

from tests.drawing import Sample, between, distinct, shapes
from tests.layer_calls import optional

# -- padding, convolution --------------------------------------------------------------------------


PAD_MODES = ["constant", "reflect", "edge", "wrap", "symmetric"]


def pad_parts(draw, shape):
    mode = draw(st.sampled_from(PAD_MODES))
    side = st.integers(0, 3)
    width = tuple((draw(side), draw(side)) if n or mode == "constant" else (0, 0) for n in shape)
    return width, mode


def pad_sample(draw):
    shape = draw(shapes(max_dims=3))
    width, mode = pad_parts(draw, shape)
    return Sample((between(shape),), {"width": width, "mode": mode,
                                      "value": draw(st.sampled_from([0, 1.5]))})


def pad_reference(x, width, mode, value):
    if not width:                   # NumPy pads no 0-d array
        return x
    return np.pad(x, width, mode, **({"constant_values": value} if mode == "constant" else {}))


def unpad_sample(draw):
    shape = draw(shapes(max_dims=3, empty=False))
    width, mode = pad_parts(draw, shape)
    wide = tuple(n + a + b for n, (a, b) in zip(shape, width, strict=True))
    return Sample((between(wide),), {"width": width, "mode": mode})


def unpad_reference(g, width, mode):
    shape = tuple(n - a - b for n, (a, b) in zip(g.shape, width, strict=True))
    n = math.prod(shape)
    sources = pad_reference(np.arange(n).reshape(shape), width, mode, n)
    return np.bincount(sources.reshape(-1), g.reshape(-1), n + 1)[:n].reshape(shape)


def conv_sizes(draw):
    """Static arguments with exact padding, and the lengths (image, kernel, output) per axis."""
    sizes, how = [], {"stride": [], "padding": [], "dilation": []}
    for _ in range(2):
        k, m, s, d = (draw(st.integers(1, n)) for n in (3, 3, 2, 2))
        span = (m - 1) * s + d * (k - 1) + 1
        a = draw(st.integers(-1, min(2, span - 1)))
        b = draw(st.integers(-1, max(-1, min(2, span - 1 - a))))
        sizes.append((span - a - b, k, m))
        for key, value in (("stride", s), ("padding", (a, b)), ("dilation", d)):
            how[key].append(value)
    groups = draw(st.integers(1, 2))
    counts = [groups * draw(st.integers(1, 2)) for _ in range(2)]          # C, O
    attrs = {**{key: tuple(v) for key, v in how.items()}, "groups": groups}
    (h, kh, oh), (w, kw, ow) = sizes
    n = draw(st.integers(1, 2))
    return attrs, (n, counts[0], h, w), (counts[1], counts[0] // groups, kh, kw), (
        n, counts[1], oh, ow)


def conv_sample(draw):
    attrs, image, kernel, _ = conv_sizes(draw)
    return Sample((between(image), between(kernel),
                   *optional(draw, (between((kernel[0],)),))), attrs)


def conv_transpose_sample(draw):
    attrs, image, kernel, out = conv_sizes(draw)
    return Sample((between(out), between(kernel), *optional(draw, (between((image[1],)),))), attrs)


def conv_weight_sample(draw):
    attrs, image, _, out = conv_sizes(draw)
    return Sample((between(image), between(out)), attrs)


def conv_terms(image, kernel, out, stride, padding, dilation, groups):
    """Every product in a convolution as index tuples (image, kernel, output): the definition."""
    n, _, h, w = image
    o, per_group, kh, kw = kernel
    for b, f, i, j, p, u, v in np.ndindex(n, o, *out[2:], per_group, kh, kw):
        y = i * stride[0] + u * dilation[0] - padding[0][0]
        x = j * stride[1] + v * dilation[1] - padding[1][0]
        if 0 <= y < h and 0 <= x < w:
            group = f // (o // groups)
            yield (b, group * per_group + p, y, x), (f, p, u, v), (b, f, i, j)


def conv_reference(x, weight, bias=None, *, stride, padding, dilation, groups):
    size = [(n + sum(e) - d * (k - 1) - 1) // s + 1 for n, k, s, e, d in zip(
        x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)]
    y = np.zeros((x.shape[0], weight.shape[0], *size))
    for a, b, c in conv_terms(x.shape, weight.shape, y.shape, stride, padding, dilation, groups):
        y[c] += x[a] * weight[b]
    return y if bias is None else y + bias[:, None, None]


def conv_transpose_reference(g, weight, bias=None, *, stride, padding, dilation, groups):
    size = [(m - 1) * s + d * (k - 1) + 1 - sum(e) for m, k, s, e, d in zip(
        g.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)]
    x = np.zeros((g.shape[0], weight.shape[1] * groups, *size))
    for a, b, c in conv_terms(x.shape, weight.shape, g.shape, stride, padding, dilation, groups):
        x[a] += g[c] * weight[b]
    return x if bias is None else x + bias[:, None, None]


def conv_weight_reference(x, g, *, stride, padding, dilation, groups):
    size = [(n + sum(e) - (m - 1) * s - 1) // d + 1 for n, m, s, e, d in zip(
        x.shape[2:], g.shape[2:], stride, padding, dilation, strict=True)]
    weight = np.zeros((g.shape[1], x.shape[1] // groups, *size))
    for a, b, c in conv_terms(x.shape, weight.shape, g.shape, stride, padding, dilation, groups):
        weight[b] += x[a] * g[c]
    return weight


def channel_sum_sample(draw):
    return Sample((between(tuple(draw(st.integers(0, 4)) for _ in range(4))),), {})


# -- pooling --------------------------------------------------------------------------------------


def pool_sizes(draw, dilated):
    """Static arguments of a pooling, and the input's shape; every window meets the input."""
    how: dict[str, list[int]] = {"kernel": [], "stride": [], "padding": [], "size": []}
    if dilated:
        how["dilation"] = []
    shape = [draw(st.integers(1, 2)), draw(st.integers(1, 2))]
    axes = draw(st.sampled_from([1, 2, 2, 3]))
    for _ in range(axes):
        k, s, d = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
        d = d if dilated else 1
        p = draw(st.integers(0, k // 2))
        n = draw(st.integers(max(1, d * (k - 1) + 1 - 2 * p), d * (k - 1) + (4 if axes < 3 else 2)))
        if p and d > 1 and n < d:       # a window could lie in the padding alone
            n = d
        room = n + 2 * p - d * (k - 1) - 1
        up = draw(st.booleans())
        m = (room + (s - 1 if up else 0)) // s + 1
        m -= up and (m - 1) * s >= n + p
        for key, value in (("kernel", k), ("stride", s), ("padding", p), ("size", m),
                           ("dilation", d)):
            if key in how:
                how[key].append(value)
        shape.append(n)
    return tuple(shape), {key: tuple(v) for key, v in how.items()}


def max_pool_sample(draw):
    shape, how = pool_sizes(draw, dilated=True)
    return Sample((distinct(shape),), how)


def taps(shape, kernel, stride, padding, dilation, size):
    """For each output place: the number of each tap inside the input, and its place there."""
    for b, c, *place in np.ndindex(*shape[:2], *size):
        inside = []
        for number, tap in enumerate(np.ndindex(*kernel)):
            at = tuple(i * s + u * d - p for i, s, u, d, p in zip(
                place, stride, tap, dilation, padding, strict=True))
            if all(0 <= v < n for v, n in zip(at, shape[2:], strict=True)):
                inside.append((number, (b, c, *at)))
        yield (b, c, *place), inside


def max_pool_reference(x, **how):
    y = np.zeros((*x.shape[:2], *how["size"]))
    tap = np.zeros(y.shape, np.uint8)
    for place, inside in taps(x.shape, **how):
        y[place], tap[place] = max((x[at], k) for k, at in inside)
    return y, tap


def tap_maker(shape, how):
    """Taps that lie inside the image, as max pooling of random images gives them."""
    return lambda rng: max_pool_reference(rng.permutation(math.prod(shape)).reshape(shape),
                                           **how)[1]


def max_unpool_sample(draw):
    shape, how = pool_sizes(draw, dilated=True)
    return Sample((between((*shape[:2], *how["size"])), tap_maker(shape, how)),
                  {**how, "shape": shape})


def max_unpool_reference(g, tap, *, shape, **how):
    x = np.zeros(shape)
    for place, inside in taps(shape, **how):
        x[dict(inside)[tap[place]]] += g[place]
    return x


def max_pick_sample(draw):
    shape, how = pool_sizes(draw, dilated=True)
    return Sample((between(shape), tap_maker(shape, how)), how)


def max_pick_reference(x, tap, **how):
    y = np.zeros(tap.shape)
    for place, inside in taps(x.shape, **how):
        y[place] = x[dict(inside)[tap[place]]]
    return y


def mean_options(draw):
    return {"include_pad": draw(st.booleans()), "divisor": draw(st.sampled_from([None, None, 3]))}


def avg_pool_sample(draw):
    shape, how = pool_sizes(draw, dilated=False)
    return Sample((between(shape),), {**how, **mean_options(draw)})


def avg_unpool_sample(draw):
    shape, how = pool_sizes(draw, dilated=False)
    return Sample((between((*shape[:2], *how["size"])),),
                  {**how, **mean_options(draw), "image": shape[2:]})


def shares(shape, include_pad, divisor, **how):
    """For each output place: the places it averages, and how many elements it counts."""
    for place, inside in taps(shape, dilation=(1,) * (len(shape) - 2), **how):
        spans = [min(i * s - p + k, n + p) - (i * s - p) for i, s, p, k, n in zip(
            place[2:], how["stride"], how["padding"], how["kernel"], shape[2:], strict=True)]
        count = math.prod(spans) if include_pad else len(inside)
        yield place, [at for _, at in inside], divisor or count


def avg_pool_reference(x, **how):
    y = np.zeros((*x.shape[:2], *how["size"]))
    for place, inside, count in shares(x.shape, **how):
        y[place] = sum(x[at] for at in inside) / count
    return y


def avg_unpool_reference(g, *, image, **how):
    x = np.zeros((*g.shape[:2], *image))
    for place, inside, count in shares(x.shape, **how):
        for at in inside:
            x[at] += g[place] / count
    return x


def max_place_sample(draw):
    rows, k, length = draw(st.integers(0, 3)), draw(st.integers(0, 4)), draw(st.integers(4, 6))

    def places(rng):
        return np.array([rng.permutation(length)[:k] for _ in range(rows)], int).reshape(rows, k)
    return Sample((between((rows, k)), places), {"length": length})


def max_place_reference(x, indices, length):
    out = np.zeros((len(x), length))
    for row, at in np.ndindex(*x.shape):
        out[row, indices[row, at]] = x[row, at]
    return out


# -- windows, resampling ---------------------------------------------------------------------------


def window_sizes(draw):
    """Static arguments of windows, the input's shape and the shape of what comes out."""
    lead, trail = (tuple(draw(st.lists(st.integers(1, 2), max_size=1))) for _ in range(2))
    size, places = [], []
    how = {"first": len(lead), "kernel": [], "stride": [], "padding": [], "dilation": []}
    for _ in range(draw(st.integers(1, 2))):
        k, m, s, d = (draw(st.integers(1, n)) for n in (3, 3, 3, 2))
        a, b = draw(st.integers(-2, 3)), draw(st.integers(-2, 3))
        n = (m - 1) * s + d * (k - 1) + 1 + draw(st.integers(0, s - 1)) - a - b
        if n < 1:
            a, b, n = 0, 0, n + a + b
        size.append(n)
        places.append(m)
        for key, value in (("kernel", k), ("stride", s), ("padding", (a, b)), ("dilation", d)):
            how[key].append(value)
    how = {key: tuple(v) if key != "first" else v for key, v in how.items()}
    return how, (*lead, *size, *trail), (*lead, *how["kernel"], *places, *trail)


def window_terms(shape, out, first, kernel, stride, padding, dilation):
    """Every pair of an element and its place in the windows."""
    n = len(kernel)
    for place in np.ndindex(*out):
        taps_, at = place[first:first + n], place[first + n:first + 2 * n]
        where = tuple(s * i + d * u - a for s, i, d, u, (a, _) in zip(
            stride, at, dilation, taps_, padding, strict=True))
        if all(0 <= w < m for w, m in zip(where, shape[first:first + n], strict=True)):
            yield (*place[:first], *where, *place[first + 2 * n:]), place


def windows_sample(draw):
    how, shape, _ = window_sizes(draw)
    return Sample((between(shape),), how)


def windows_reference(x, **how):
    first, n = how["first"], len(how["kernel"])
    places = [(m + sum(e) - d * (k - 1) - 1) // s + 1 for m, k, s, e, d in zip(
        x.shape[first:first + n], how["kernel"], how["stride"], how["padding"], how["dilation"],
        strict=True)]
    y = np.zeros((*x.shape[:first], *how["kernel"], *places, *x.shape[first + n:]))
    for element, place in window_terms(x.shape, y.shape, **how):
        y[place] = x[element]
    return y


def overlap_add_sample(draw):
    how, shape, out = window_sizes(draw)
    first, n = how["first"], len(how["kernel"])
    return Sample((between(out),), {**how, "size": shape[first:first + n]})


def overlap_add_reference(g, *, size, **how):
    first, n = how["first"], len(how["kernel"])
    x = np.zeros((*g.shape[:first], *size, *g.shape[first + 2 * n:]))
    for element, place in window_terms(x.shape, g.shape, **how):
        x[element] += g[place]
    return x


def resample_sample(draw):
    shape = draw(shapes(min_dims=1, max_dims=4))
    axis = draw(st.integers(0, len(shape) - 1))
    m = draw(st.integers(1, 4))

    def bands(rng):
        return np.triu(np.tril(rng.standard_normal((m, shape[axis])), 1), -1)
    return Sample((between(shape), bands), {"axis": axis})


def resample_reference(x, matrix, axis):
    return np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)
