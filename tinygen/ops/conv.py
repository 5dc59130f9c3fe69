"""Two-dimensional convolutions: three primitives, each the derivative of the others.

`conv2d` is bilinear in its input and its weight, so its gradient to the input (`conv_transpose2d`)
and to the weight (`conv2d_weight`) are bilinear again, and the derivatives of those are among the
three: derivatives of every order exist, and each is one fast operation.

All three take the same static arguments. `padding` is ((top, bottom), (left, right)) and is
*exact*: the last window ends at the last padded row, so that each of the sizes of input, kernel
and output follows from the other two. Rows that no window reaches (a stride that does not divide)
are a negative padding, which crops; PyTorch's `output_padding` is the same thing seen from the
other side.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from ..primitive import primitive
from ..tensor import Tensor
from . import patches
from .shape import expand_dims, squeeze

Pair = tuple[int, int]
Size2 = int | Sequence[int]


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


conv2d_p.vjp(
    lambda g, out, x, weight, bias=None, **how: conv_transpose2d_p(g, weight, **how),
    lambda g, out, x, weight, bias=None, **how: conv2d_weight_p(x, g, **how),
    lambda g, out, x, weight, bias=None, **how: g.sum(axis=(0, 2, 3)),
)
conv_transpose2d_p.vjp(
    lambda g, out, x, weight, bias=None, **how: conv2d_p(g, weight, **how),
    lambda g, out, x, weight, bias=None, **how: conv2d_weight_p(g, x, **how),
    lambda g, out, x, weight, bias=None, **how: g.sum(axis=(0, 2, 3)),
)
conv2d_weight_p.vjp(
    lambda g, out, x, y, **how: conv_transpose2d_p(y, g, **how),
    lambda g, out, x, y, **how: conv2d_p(x, g, **how),
)


# -- the public functions -----------------------------------------------------------------------


def conv2d(x: Any, weight: Any, bias: Any = None, stride: Size2 = 1, padding: Size2 | str = 0,
           dilation: Size2 = 1, groups: int = 1) -> Tensor:
    """The two-dimensional convolution (cross-correlation) of images with a bank of kernels.

    y[n,o,i,j] = bias[o] + sum over c,u,v of x[n, c, s*i + d*u - p, s*j + d*v - p] * weight[o,c,u,v]

    Args:
        x: images (N, C, H, W), or one image (C, H, W).
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
    x, batched = _batch(x, "conv2d")
    weight = _tensor(weight)
    stride, dilation = pair(stride, "conv2d", "stride"), pair(dilation, "conv2d", "dilation")
    groups = _groups(groups, "conv2d")
    _check(x, weight, bias, groups, "conv2d", channels=1, outs=0)
    spans = tuple(d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:]))
    edges = _conv_padding(padding, spans, stride)
    exact = []
    for n, span, s, (a, b), name in zip(x.shape[2:], spans, stride, edges, ("height", "width")):
        room = n + a + b - span
        if room < 0:
            raise ValueError(
                f"[conv2d] x: {x.shape}, weight: {weight.shape}: the {name} {n} with padding "
                f"({a}, {b}) is smaller than the kernel, which spans {span}")
        exact.append((a, b - room % s))
    y = conv2d_p(x, weight, bias, stride=stride, padding=tuple(exact), dilation=dilation,
                 groups=groups)
    return y if batched else squeeze(y, 0)


def conv_transpose2d(x: Any, weight: Any, bias: Any = None, stride: Size2 = 1, padding: Size2 = 0,
                     output_padding: Size2 = 0, groups: int = 1, dilation: Size2 = 1) -> Tensor:
    """The transposed convolution: the gradient of `conv2d` to its input, used to enlarge images.

    Args:
        x: (N, C, H, W), or (C, H, W).
        weight: (C, O / groups, kh, kw), as `conv2d`'s weight from O to C channels.
        bias: (O,) or None.
        padding: rows and columns that are cut from each side of the result.
        output_padding: rows and columns added at the end; less than the stride or the dilation.

    Returns:
        (N, O, H', W') with H' = (H - 1) s - 2 p + d (kh - 1) + 1 + output_padding.

    Source: M. Zeiler et al., "Deconvolutional Networks", CVPR 2010.
    """
    op = "conv_transpose2d"
    x, batched = _batch(x, op)
    weight = _tensor(weight)
    stride, dilation = pair(stride, op, "stride"), pair(dilation, op, "dilation")
    edge, extra = pair(padding, op, "padding", 0), pair(output_padding, op, "output_padding", 0)
    groups = _groups(groups, op)
    _check(x, weight, bias, groups, op, channels=0, outs=1)
    exact = []
    for n, k, s, d, p, e in zip(x.shape[2:], weight.shape[2:], stride, dilation, edge, extra):
        if e >= s and e >= d:
            raise ValueError(f"[{op}] output_padding {extra} must be smaller than the stride "
                             f"{stride} or the dilation {dilation}")
        if (n - 1) * s + d * (k - 1) + 1 - 2 * p + e < 1:
            raise ValueError(f"[{op}] x: {x.shape}, weight: {weight.shape}: with padding {edge} "
                             "nothing is left of the output")
        exact.append((p, p - e))
    y = conv_transpose2d_p(x, weight, bias, stride=stride, padding=tuple(exact),
                           dilation=dilation, groups=groups)
    return y if batched else squeeze(y, 0)


# -- arguments ----------------------------------------------------------------------------------


def pair(value: Size2, op: str, name: str, least: int = 1) -> Pair:
    """An int, or a sequence of one or two, as (height, width); each at least `least`."""
    items = tuple(value) if isinstance(value, Sequence) else (value,)
    try:
        ints = tuple(operator.index(v) for v in items)
    except TypeError:
        ints = ()
    if len(ints) not in (1, 2) or min(ints) < least:
        raise ValueError(f"[{op}] {name} must be an int or two ints of at least {least}, "
                         f"got {value!r}")
    return (ints[0], ints[-1])


def _conv_padding(padding: Any, spans: tuple[int, ...], stride: Pair) -> list[Pair]:
    if not isinstance(padding, str):
        return [(p, p) for p in pair(padding, "conv2d", "padding", 0)]
    if padding == "valid":
        return [(0, 0), (0, 0)]
    if padding != "same":
        raise ValueError(f"[conv2d] padding must be ints, 'valid' or 'same', got {padding!r}")
    if stride != (1, 1):
        raise ValueError(f"[conv2d] padding 'same' needs stride 1, got {stride}")
    return [((span - 1) // 2, span // 2) for span in spans]


def _groups(groups: Any, op: str) -> int:
    groups = operator.index(groups)
    if groups < 1:
        raise ValueError(f"[{op}] groups must be at least 1, got {groups}")
    return groups


def _tensor(x: Any) -> Any:
    return x if hasattr(x, "shape") else Tensor(x)


def _batch(x: Any, op: str) -> tuple[Any, bool]:
    x = _tensor(x)
    if x.ndim == 3:
        return expand_dims(x, 0), False
    if x.ndim != 4:
        raise ValueError(f"[{op}] x must be (N, C, H, W) or (C, H, W), got {tuple(x.shape)}")
    return x, True


def _check(x: Any, weight: Any, bias: Any, groups: int, op: str, channels: int,
           outs: int) -> None:
    """Do the sizes fit? `channels` and `outs` are the weight's axes for input and output."""
    shapes = f"x: {tuple(x.shape)}, weight: {tuple(weight.shape)}"
    if weight.ndim != 4:
        raise ValueError(f"[{op}] {shapes}: the weight must have 4 axes")
    if 0 in weight.shape:
        raise ValueError(f"[{op}] {shapes}: the weight is empty")
    whole = weight.shape[0]
    if whole % groups:
        raise ValueError(f"[{op}] {shapes}: {whole} channels do not fall into {groups} groups")
    takes = weight.shape[channels] * (groups if channels == 1 else 1)
    if x.shape[1] != takes:
        raise ValueError(f"[{op}] {shapes}, groups={groups}: the weight takes {takes} input "
                         f"channels, x has {x.shape[1]}")
    gives = weight.shape[outs] * (groups if outs == 1 else 1)
    if bias is not None and tuple(bias.shape) != (gives,):
        raise ValueError(f"[{op}] bias has shape {tuple(bias.shape)}; with {shapes} it must be "
                         f"({gives},)")
