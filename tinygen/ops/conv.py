"""Convolutions along one, two or three axes, made of three two-dimensional primitives.

`conv2d` is bilinear in its input and its weight, so its gradient to the input (`conv_transpose2d`)
and to the weight (`conv2d_weight`) are bilinear again, and the derivatives of those are among the
three: derivatives of every order exist, and each is one fast operation.

All three take the same static arguments. `padding` is ((top, bottom), (left, right)) and is
*exact*: the last window ends at the last padded row, so that each of the sizes of input, kernel
and output follows from the other two. Rows that no window reaches (a stride that does not divide)
are a negative padding, which crops; PyTorch's `output_padding` is the same thing seen from the
other side.

A signal is an image of width 1. A volume is a stack of images: the taps of a kernel along the
depth become channels, so that one two-dimensional convolution sees all planes that it needs.
"""

from __future__ import annotations

import operator
from typing import Any

from ..primitive import primitive
from ..tensor import Tensor
from . import patches
from .arguments import AXES, NUMBERS, Size, Sizes, as_tensor, batched, each_axis
from .shape import broadcast_to, expand_dims, permute_dims, reshape, squeeze
from .windows import overlap_add_p, windows_p

__all__ = ["conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
           "conv_transpose3d"]


# -- the primitives -----------------------------------------------------------------------------


@primitive(name="conv2d")
def conv2d_p(xp, x, weight, bias=None, *, stride, padding, dilation, groups):
    """y[n,o,i,j] = bias[o] + sum over c,u,v of x[n,c,s*i+d*u-p,s*j+d*v-p] * weight[o,c,u,v]."""
    return patches.correlate(xp, x, weight, bias, stride, padding, dilation, groups)


@primitive(name="conv_transpose2d")
def conv_transpose2d_p(xp, x, weight, bias=None, *, stride, padding, dilation, groups):
    """The transpose of conv2d as a map of x: each input adds a scaled kernel to the output."""
    return patches.spread(xp, x, weight, bias, stride, padding, dilation, groups)


@primitive(name="conv2d_weight")
def conv2d_weight_p(xp, x, g, *, stride, padding, dilation, groups):
    """The gradient of conv2d to its weight, from its input x and the gradient g of its output."""
    return patches.correlate_weight(xp, x, g, stride, padding, dilation, groups)


@primitive
def channel_sum(xp, x):
    """The sum over all but the channels of (N, C, H, W): the gradient of a bias."""
    return x.sum(axis=(0, 2, 3))


conv2d_p.vjp(
    lambda g, out, x, weight, bias=None, **how: conv_transpose2d_p(g, weight, **how),
    lambda g, out, x, weight, bias=None, **how: conv2d_weight_p(x, g, **how),
    lambda g, out, x, weight, bias=None, **how: channel_sum(g),
)
conv_transpose2d_p.vjp(
    lambda g, out, x, weight, bias=None, **how: conv2d_p(g, weight, **how),
    lambda g, out, x, weight, bias=None, **how: conv2d_weight_p(g, x, **how),
    lambda g, out, x, weight, bias=None, **how: channel_sum(g),
)
conv2d_weight_p.vjp(
    lambda g, out, x, y, **how: conv_transpose2d_p(y, g, **how),
    lambda g, out, x, y, **how: conv2d_p(x, g, **how),
)
channel_sum.vjp(lambda g, out, x: broadcast_to(reshape(g, (-1, 1, 1)), x.shape))


# -- other numbers of axes ----------------------------------------------------------------------


def _conv1d(x, weight, bias, stride, padding, dilation, groups):
    """(N, C, L) as an image of width 1: the height is the axis that is cut into tiles."""
    y = conv2d_p(expand_dims(x, 3), expand_dims(weight, 3), bias, groups=groups,
                 **_width_one(stride, padding, dilation))
    return squeeze(y, 3)


def _conv_transpose1d(x, weight, bias, stride, padding, dilation, groups):
    y = conv_transpose2d_p(expand_dims(x, 3), expand_dims(weight, 3), bias, groups=groups,
                           **_width_one(stride, padding, dilation))
    return squeeze(y, 3)


def _width_one(stride, padding, dilation):
    return {"stride": (*stride, 1), "padding": (*padding, (0, 0)), "dilation": (*dilation, 1)}


def _conv2d(x, weight, bias, stride, padding, dilation, groups):
    return conv2d_p(x, weight, bias, stride=stride, padding=padding, dilation=dilation,
                    groups=groups)


def _conv_transpose2d(x, weight, bias, stride, padding, dilation, groups):
    return conv_transpose2d_p(x, weight, bias, stride=stride, padding=padding, dilation=dilation,
                              groups=groups)


def _conv3d(x, weight, bias, stride, padding, dilation, groups):
    if 1 < groups == x.shape[1] == weight.shape[0]:
        return _conv3d_depthwise(x, weight, bias, stride, padding, dilation, groups)
    n, c, _, h, w = x.shape
    o, per_group, kd, kh, kw = weight.shape
    slabs = windows_p(x, first=2, kernel=(kd,), **_depth(stride, padding, dilation))
    depth = slabs.shape[3]                                        # (N, C, kd, D', H, W)
    slabs = reshape(slabs, (n, groups, per_group, kd, depth, h, w))
    slabs = permute_dims(slabs, (0, 4, 5, 6, 1, 3, 2))            # (N, D', H, W, g, kd, C/g)
    planes = permute_dims(reshape(slabs, (n * depth, h, w, kd * c)), (0, 3, 1, 2))
    taps = reshape(permute_dims(weight, (0, 2, 1, 3, 4)), (o, kd * per_group, kh, kw))
    y = conv2d_p(planes, taps, bias, groups=groups, **_planes(stride, padding, dilation))
    oh, ow = y.shape[2:]                                          # (N*D', O, H', W')
    y = reshape(permute_dims(y, (0, 2, 3, 1)), (n, depth, oh, ow, o))
    return permute_dims(y, (0, 4, 1, 2, 3))


def _conv3d_depthwise(x, weight, bias, stride, padding, dilation, groups):
    """One kernel per channel: a sum over the depth's taps, of planes that do not mix channels."""
    n, c, _, h, w = x.shape
    kd, (before, after) = weight.shape[2], padding[0]
    total: Any = 0
    for u in range(kd):
        left, right = u * dilation[0], (kd - 1 - u) * dilation[0]
        slab = windows_p(x, first=2, kernel=(1,), stride=stride[:1], dilation=(1,),
                         padding=((before - left, after - right),))   # (N, C, 1, D', H, W)
        depth = slab.shape[3]
        slab = reshape(permute_dims(slab, (0, 3, 4, 5, 2, 1)), (n * depth, h, w, c))
        total = total + conv2d_p(permute_dims(slab, (0, 3, 1, 2)), weight[:, :, u], groups=groups,
                                 **_planes(stride, padding, dilation))
    y = reshape(permute_dims(total, (0, 2, 3, 1)), (n, depth, *total.shape[2:], c))
    y = permute_dims(y, (0, 4, 1, 2, 3))
    return y if bias is None else y + reshape(bias, (-1, 1, 1, 1))


def _conv_transpose3d(x, weight, bias, stride, padding, dilation, groups):
    n, c, depth, h, w = x.shape
    _, per_group, kd, kh, kw = weight.shape
    planes = reshape(permute_dims(x, (0, 2, 3, 4, 1)), (n * depth, h, w, c))
    taps = reshape(permute_dims(weight, (0, 2, 1, 3, 4)), (c, kd * per_group, kh, kw))
    y = conv_transpose2d_p(permute_dims(planes, (0, 3, 1, 2)), taps, groups=groups,
                           **_planes(stride, padding, dilation))
    oh, ow = y.shape[2:]                                          # (N*D, g*kd*O/g, H', W')
    y = reshape(permute_dims(y, (0, 2, 3, 1)), (n, depth, oh, ow, groups, kd, per_group))
    y = permute_dims(y, (0, 4, 6, 5, 1, 2, 3))                    # (N, g, O/g, kd, D, H', W')
    y = reshape(y, (n, groups * per_group, kd, depth, oh, ow))
    how = _depth(stride, padding, dilation)
    size = (depth - 1) * stride[0] + dilation[0] * (kd - 1) + 1 - sum(padding[0])
    y = overlap_add_p(y, first=2, kernel=(kd,), size=(size,), **how)
    return y if bias is None else y + reshape(bias, (-1, 1, 1, 1))


def _depth(stride, padding, dilation):
    return {"stride": stride[:1], "padding": padding[:1], "dilation": dilation[:1]}


def _planes(stride, padding, dilation):
    return {"stride": stride[1:], "padding": padding[1:], "dilation": dilation[1:]}


CONVOLVE = {1: _conv1d, 2: _conv2d, 3: _conv3d}
TRANSPOSE = {1: _conv_transpose1d, 2: _conv_transpose2d, 3: _conv_transpose3d}


# -- the public functions -----------------------------------------------------------------------


def conv1d(input: Any, weight: Any, bias: Any = None, stride: Size = 1, padding: Size | str = 0,
           dilation: Size = 1, groups: int = 1) -> Tensor:
    """The convolution of signals (N, C, L) with kernels (O, C / groups, k): see `conv2d`."""
    return _convolve(1, "conv1d", input, weight, bias, stride, padding, dilation, groups)


def conv2d(input: Any, weight: Any, bias: Any = None, stride: Size = 1, padding: Size | str = 0,
           dilation: Size = 1, groups: int = 1) -> Tensor:
    """The two-dimensional convolution (cross-correlation) of images with a bank of kernels.

    y[n,o,i,j] = bias[o] + sum over c,u,v of x[n, c, s*i + d*u - p, s*j + d*v - p] * weight[o,c,u,v]

    Args:
        input: images (N, C, H, W), or one image (C, H, W).
        weight: kernels (O, C / groups, kh, kw).
        bias: (O,) or None.
        padding: zeros around the image, an int or (height, width); ``"valid"`` is 0, ``"same"``
            keeps the size (stride 1 only; an even kernel pads one more at the end).
        groups: channels fall into this many groups that do not mix.

    Returns:
        (N, O, H', W') with H' = (H + 2 p - d (kh - 1) - 1) // s + 1; (O, H', W') for one image.

    >>> import tinygen as tg
    >>> conv2d(tg.ones((1, 1, 3, 3)), tg.ones((1, 1, 2, 2))).tolist()
    [[[[4.0, 4.0], [4.0, 4.0]]]]
    """
    return _convolve(2, "conv2d", input, weight, bias, stride, padding, dilation, groups)


def conv3d(input: Any, weight: Any, bias: Any = None, stride: Size = 1, padding: Size | str = 0,
           dilation: Size = 1, groups: int = 1) -> Tensor:
    """The convolution of volumes (N, C, D, H, W) with (O, C / groups, kd, kh, kw): see `conv2d`."""
    return _convolve(3, "conv3d", input, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(input: Any, weight: Any, bias: Any = None, stride: Size = 1,
                     padding: Size = 0, output_padding: Size = 0, groups: int = 1,
                     dilation: Size = 1) -> Tensor:
    """The transpose of `conv1d`, weight (C, O / groups, k): see `conv_transpose2d`."""
    return _transpose(1, "conv_transpose1d", input, weight, bias, stride, padding, output_padding,
                      groups, dilation)


def conv_transpose2d(input: Any, weight: Any, bias: Any = None, stride: Size = 1,
                     padding: Size = 0, output_padding: Size = 0, groups: int = 1,
                     dilation: Size = 1) -> Tensor:
    """The transposed convolution: the gradient of `conv2d` to its input, used to enlarge images.

    Args:
        input: (N, C, H, W), or (C, H, W).
        weight: (C, O / groups, kh, kw), as `conv2d`'s weight from O to C channels.
        bias: (O,) or None.
        padding: rows and columns that are cut from each side of the result.
        output_padding: rows and columns added at the end; less than the stride or the dilation.

    Returns:
        (N, O, H', W') with H' = (H - 1) s - 2 p + d (kh - 1) + 1 + output_padding.

    Source: M. Zeiler et al., "Deconvolutional Networks", CVPR 2010.
    """
    return _transpose(2, "conv_transpose2d", input, weight, bias, stride, padding, output_padding,
                      groups, dilation)


def conv_transpose3d(input: Any, weight: Any, bias: Any = None, stride: Size = 1,
                     padding: Size = 0, output_padding: Size = 0, groups: int = 1,
                     dilation: Size = 1) -> Tensor:
    """The transpose of `conv3d`, weight (C, O / groups, kd, kh, kw): see `conv_transpose2d`."""
    return _transpose(3, "conv_transpose3d", input, weight, bias, stride, padding, output_padding,
                      groups, dilation)


def _convolve(axes: int, op: str, x: Any, weight: Any, bias: Any, stride: Size,
              padding: Size | str, dilation: Size, groups: int) -> Tensor:
    """Check the arguments, make the padding exact, and run."""
    x, has_batch = batched(x, axes, op)
    weight = as_tensor(weight)
    stride = each_axis(stride, axes, op, "stride")
    dilation = each_axis(dilation, axes, op, "dilation")
    groups = _groups(groups, op)
    _check(axes, x, weight, bias, groups, op, channels=1, outs=0)
    spans = tuple(d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:]))
    edges = _edges(axes, op, padding, spans, stride)
    exact = []
    for n, span, s, (a, b), name in zip(x.shape[2:], spans, stride, edges, AXES[axes]):
        room = n + a + b - span
        if room < 0:
            raise ValueError(
                f"[{op}] input: {tuple(x.shape)}, weight: {tuple(weight.shape)}: the {name} {n} "
                f"with padding ({a}, {b}) is smaller than the kernel, which spans {span}")
        exact.append((a, b - room % s))
    y = CONVOLVE[axes](x, weight, bias, stride, tuple(exact), dilation, groups)
    return y if has_batch else squeeze(y, 0)


def _transpose(axes: int, op: str, x: Any, weight: Any, bias: Any, stride: Size, padding: Size,
               output_padding: Size, groups: int, dilation: Size) -> Tensor:
    """Check the arguments, turn the output padding into an exact padding, and run."""
    x, has_batch = batched(x, axes, op)
    weight = as_tensor(weight)
    stride = each_axis(stride, axes, op, "stride")
    dilation = each_axis(dilation, axes, op, "dilation")
    edge = each_axis(padding, axes, op, "padding", 0)
    extra = each_axis(output_padding, axes, op, "output_padding", 0)
    groups = _groups(groups, op)
    _check(axes, x, weight, bias, groups, op, channels=0, outs=1)
    exact = []
    for n, k, s, d, p, e in zip(x.shape[2:], weight.shape[2:], stride, dilation, edge, extra):
        if e >= s and e >= d:
            raise ValueError(f"[{op}] output_padding {extra} must be smaller than the stride "
                             f"{stride} or the dilation {dilation}")
        if (n - 1) * s + d * (k - 1) + 1 - 2 * p + e < 1:
            raise ValueError(f"[{op}] input: {tuple(x.shape)}, weight: {tuple(weight.shape)}: with "
                             f"padding {edge} nothing is left of the output")
        exact.append((p, p - e))
    y = TRANSPOSE[axes](x, weight, bias, stride, tuple(exact), dilation, groups)
    return y if has_batch else squeeze(y, 0)


# -- arguments ----------------------------------------------------------------------------------


def _edges(axes: int, op: str, padding: Any, spans: Sizes, stride: Sizes) -> list[patches.Pair]:
    """(before, after) for each axis."""
    if not isinstance(padding, str):
        return [(p, p) for p in each_axis(padding, axes, op, "padding", 0)]
    if padding == "valid":
        return [(0, 0)] * axes
    if padding != "same":
        raise ValueError(f"[{op}] padding must be {NUMBERS[axes]}, 'valid' or 'same', got "
                         f"{padding!r}")
    if max(stride) > 1:
        raise ValueError(f"[{op}] padding 'same' needs stride 1, got {stride}")
    return [((span - 1) // 2, span // 2) for span in spans]


def _groups(groups: Any, op: str) -> int:
    groups = operator.index(groups)
    if groups < 1:
        raise ValueError(f"[{op}] groups must be at least 1, got {groups}")
    return groups


def _check(axes: int, x: Any, weight: Any, bias: Any, groups: int, op: str, channels: int,
           outs: int) -> None:
    """Do the sizes fit? `channels` and `outs` are the weight's axes for input and output."""
    shapes = f"input: {tuple(x.shape)}, weight: {tuple(weight.shape)}"
    if weight.ndim != axes + 2:
        raise ValueError(f"[{op}] {shapes}: the weight must have {axes + 2} axes")
    if 0 in weight.shape:
        raise ValueError(f"[{op}] {shapes}: the weight is empty")
    whole = weight.shape[0]
    if whole % groups:
        raise ValueError(f"[{op}] {shapes}: {whole} channels do not fall into {groups} groups")
    takes = weight.shape[channels] * (groups if channels == 1 else 1)
    if x.shape[1] != takes:
        raise ValueError(f"[{op}] {shapes}, groups={groups}: the weight takes {takes} input "
                         f"channels, the input has {x.shape[1]}")
    gives = weight.shape[outs] * (groups if outs == 1 else 1)
    if bias is not None and tuple(bias.shape) != (gives,):
        raise ValueError(f"[{op}] bias has shape {tuple(bias.shape)}; with {shapes} it must be "
                         f"({gives},)")
