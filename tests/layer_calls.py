"""Calls of softmax, losses, padding, convolution and pooling, and their definitions as loops."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

from tests.drawing import (
    Sample,
    between,
    distinct,
    shapes,
    spread,
)

# -- softmax, normalisation, losses ----------------------------------------------------------------


def logsumexp(x, axis=None, keepdims=False):
    return np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))


def softmax(x, axis):
    e = np.exp(x)
    return e / e.sum(axis=axis, keepdims=True)


def softmax_attrs(draw, shape):
    return {"axis": draw(st.integers(0, len(shape) - 1))}


def optional(draw, makers):
    """The makers with the last ones left out, and any of the rest None."""
    kept = makers[:draw(st.integers(0, len(makers)))]
    return tuple(m if draw(st.booleans()) else None for m in kept)


def layer_norm_sample(draw):
    shape = draw(shapes(empty=False))
    last = draw(shapes(min_dims=1, max_dims=2, empty=False)) + (draw(st.integers(2, 4)),)
    shape = shape[:2] + last
    axes = tuple(range(len(shape) - len(last), len(shape)))
    return Sample((spread(shape), *optional(draw, (between(last), between(last)))),
                  {"axes": axes, "eps": draw(st.sampled_from([1e-5, 0.1]))})


def layer_norm_reference(x, weight=None, bias=None, *, axes, eps):
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    y = (x - mean) / np.sqrt(var + eps) * (1 if weight is None else weight)
    return y + (0 if bias is None else bias), mean, 1 / np.sqrt(var + eps)


def batch_norm_sample(draw):
    n, c = draw(st.integers(3, 5)), draw(st.integers(1, 3))
    shape = (n, c, *draw(shapes(max_dims=2, empty=False)))
    return Sample((spread(shape), *optional(draw, (between((c,)), between((c,))))),
                  {"eps": draw(st.sampled_from([1e-5, 0.1]))})


def batch_norm_reference(x, weight=None, bias=None, *, eps):
    axes = (0, *range(2, x.ndim))
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)

    def channels(v):
        return v.reshape(mean.shape)
    y = (x - mean) / np.sqrt(var + eps) * (1 if weight is None else channels(weight))
    return y + (0 if bias is None else channels(bias)), mean.reshape(-1), var.reshape(-1)


REDUCTIONS = st.sampled_from(["mean", "sum", "none"])


def reduced(loss, reduction):
    return loss if reduction == "none" else loss.mean() if reduction == "mean" else loss.sum()


def pair_loss_sample(draw):
    reduction = draw(REDUCTIONS)
    shape = draw(shapes(empty=reduction != "mean"))
    return Sample((between(shape), between(shape)), {"reduction": reduction})


def cross_entropy_sample(draw):
    n, c, reduction = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(REDUCTIONS)

    def target(rng):
        classes = rng.integers(0, c, n)
        return np.where((rng.random(n) < 0.3) & (np.arange(n) > 0), -100, classes)
    return Sample((between((n, c)), target, *optional(draw, (between((c,), 0.3, 2),))),
                  {"ignore_index": -100, "reduction": reduction,
                   "label_smoothing": draw(st.sampled_from([0.0, 0.1, 1.0]))})


def cross_entropy_reference(x, target, weight=None, *, ignore_index, reduction, label_smoothing):
    n, c = x.shape
    weight = np.ones(c) if weight is None else weight
    q = np.full((n, c), label_smoothing / c)
    q[np.arange(n), np.where(target == ignore_index, 0, target)] += 1 - label_smoothing
    used = target != ignore_index
    loss = -(q * weight * np.log(softmax(x, 1))).sum(1) * used
    if reduction == "mean":
        loss = loss.sum() / (weight[np.where(used, target, 0)] * used).sum()
    return reduced(loss, reduction) if reduction != "mean" else loss, softmax(x, 1)


# -- padding, convolution, pooling -----------------------------------------------------------------


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


def pool_sizes(draw, dilated):
    """Static arguments of a pooling, and the image's shape; every window meets the image."""
    how: dict[str, list[int]] = {"kernel": [], "stride": [], "padding": [], "size": []}
    if dilated:
        how["dilation"] = []
    shape = [draw(st.integers(1, 2)), draw(st.integers(1, 2))]
    for _ in range(2):
        k, s, d = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
        d = d if dilated else 1
        p = draw(st.integers(0, k // 2))
        n = draw(st.integers(max(1, d * (k - 1) + 1 - 2 * p), d * (k - 1) + 4))
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
    """For each output place: the number of each tap inside the image, and its place there."""
    for b, c, i, j in np.ndindex(*shape[:2], *size):
        inside = []
        for u, v in np.ndindex(*kernel):
            y = i * stride[0] + u * dilation[0] - padding[0]
            x = j * stride[1] + v * dilation[1] - padding[1]
            if 0 <= y < shape[2] and 0 <= x < shape[3]:
                inside.append((u * kernel[1] + v, (b, c, y, x)))
        yield (b, c, i, j), inside


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


def avg_pool_sample(draw):
    shape, how = pool_sizes(draw, dilated=False)
    return Sample((between(shape),), {**how, "include_pad": draw(st.booleans())})


def avg_unpool_sample(draw):
    shape, how = pool_sizes(draw, dilated=False)
    return Sample((between((*shape[:2], *how["size"])),),
                  {**how, "include_pad": draw(st.booleans()), "image": shape[2:]})


def shares(shape, include_pad, **how):
    """For each output place: the places it averages, and how many elements it counts."""
    for place, inside in taps(shape, dilation=(1, 1), **how):
        spans = [min(i * s - p + k, n + p) - (i * s - p) for i, s, p, k, n in zip(
            place[2:], how["stride"], how["padding"], how["kernel"], shape[2:], strict=True)]
        yield place, [at for _, at in inside], math.prod(spans) if include_pad else len(inside)


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
