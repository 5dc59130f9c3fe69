"""Pixels that become channels, channels that become pixels, and patches that become columns."""

from __future__ import annotations

import math
import operator
from typing import Any

from ... import ops
from ...ops.arguments import Size, Sizes, each_axis
from ...ops.windows import overlap_add_p, windows_p
from ...tensor import Tensor

__all__ = ["channel_shuffle", "fold", "native_channel_shuffle", "pixel_shuffle",
           "pixel_unshuffle", "unfold"]


def pixel_shuffle(input: Any, upscale_factor: int) -> Tensor:
    """Channels become pixels: (..., C r^2, H, W) -> (..., C, H r, W r).

    Source: W. Shi et al., "Real-Time Single Image and Video Super-Resolution", 2016.
    """
    lead, c, h, w, r = _image(input, upscale_factor, "pixel_shuffle", "upscale_factor")
    if c % (r * r):
        raise ValueError(f"[pixel_shuffle] {c} channels of {tuple(input.shape)} are no multiple of "
                         f"{r} squared")
    k = len(lead)
    x = ops.reshape(input, (*lead, c // (r * r), r, r, h, w))
    x = ops.permute_dims(x, (*range(k), k, k + 3, k + 1, k + 4, k + 2))
    return ops.reshape(x, (*lead, c // (r * r), h * r, w * r))


def pixel_unshuffle(input: Any, downscale_factor: int) -> Tensor:
    """Pixels become channels, the inverse of `pixel_shuffle`: (..., C, H r, W r) -> C r^2, H, W."""
    lead, c, h, w, r = _image(input, downscale_factor, "pixel_unshuffle", "downscale_factor")
    if h % r or w % r:
        raise ValueError(f"[pixel_unshuffle] height and width of {tuple(input.shape)} are no "
                         f"multiples of {r}")
    k = len(lead)
    x = ops.reshape(input, (*lead, c, h // r, r, w // r, r))
    x = ops.permute_dims(x, (*range(k), k, k + 2, k + 4, k + 1, k + 3))
    return ops.reshape(x, (*lead, c * r * r, h // r, w // r))


def _image(x: Any, factor: int, op: str, name: str) -> tuple[Sizes, int, int, int, int]:
    if x.ndim < 3:
        raise ValueError(f"[{op}] input must be (..., C, H, W), got {tuple(x.shape)}")
    factor = operator.index(factor)
    if factor < 1:
        raise ValueError(f"[{op}] {name} must be at least 1, got {factor}")
    *lead, c, h, w = x.shape
    return tuple(lead), c, h, w, factor


def channel_shuffle(input: Any, groups: int) -> Tensor:
    """Channels of different groups side by side: channel i of group g goes to place i groups + g.

    Source: X. Zhang et al., "ShuffleNet", 2017.
    """
    groups = operator.index(groups)
    if input.ndim < 3 or groups < 1 or input.shape[1] % groups:
        raise ValueError(f"[channel_shuffle] input must be (N, C, ...) with C a multiple of "
                         f"groups={groups}, got {tuple(input.shape)}")
    n, c, *rest = input.shape
    x = ops.swapaxes(ops.reshape(input, (n, groups, c // groups, *rest)), 1, 2)
    return ops.reshape(x, (n, c, *rest))


native_channel_shuffle = channel_shuffle


def unfold(input: Any, kernel_size: Size, dilation: Size = 1, padding: Size = 0,
           stride: Size = 1) -> Tensor:
    """The patches under a sliding kernel as columns: (N, C, H, W) -> (N, C kh kw, L).

    Column l holds patch l of the L = H' W' places that a convolution with these arguments has.
    One image (C, H, W) gives (C kh kw, L).

    >>> import tinygen as tg
    >>> unfold(tg.arange(9.0).reshape(1, 1, 3, 3), 2)[0, :, 0].tolist()
    [0.0, 1.0, 3.0, 4.0]
    """
    x, has_batch = (input, True) if input.ndim == 4 else (ops.expand_dims(input, 0), False)
    if x.ndim != 4:
        raise ValueError(f"[unfold] input must be (N, C, H, W) or (C, H, W), got "
                         f"{tuple(input.shape)}")
    how = _patches("unfold", kernel_size, dilation, padding, stride)
    _places("unfold", tuple(x.shape[2:]), how)
    y = windows_p(x, first=2, **how)                              # (N, C, kh, kw, H', W')
    n, c, kh, kw, h, w = y.shape
    y = ops.reshape(y, (n, c * kh * kw, h * w))
    return y if has_batch else ops.squeeze(y, 0)


def fold(input: Any, output_size: Size, kernel_size: Size, dilation: Size = 1, padding: Size = 0,
         stride: Size = 1) -> Tensor:
    """Patches added up where they came from, the transpose of `unfold`: (N, C kh kw, L) -> images.

    Where patches overlap, their elements are summed. The result is (N, C, *output_size).
    """
    x, has_batch = (input, True) if input.ndim == 3 else (ops.expand_dims(input, 0), False)
    size = each_axis(output_size, 2, "fold", "output_size")
    how = _patches("fold", kernel_size, dilation, padding, stride)
    places, taps = _places("fold", size, how), math.prod(how["kernel"])
    if x.ndim != 3 or x.shape[1] % taps or x.shape[2] != math.prod(places):
        raise ValueError(
            f"[fold] input must be (N, C * {taps}, {math.prod(places)}), columns of patches "
            f"{how['kernel']} at {places} places, without N for one image; got "
            f"{tuple(input.shape)}")
    n, rows, _ = x.shape
    x = ops.reshape(x, (n, rows // taps, *how["kernel"], *places))
    y = overlap_add_p(x, first=2, size=size, **how)
    return y if has_batch else ops.squeeze(y, 0)


def _patches(op: str, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> dict[str, Any]:
    return {"kernel": each_axis(kernel_size, 2, op, "kernel_size"),
            "stride": each_axis(stride, 2, op, "stride"),
            "padding": tuple((p, p) for p in each_axis(padding, 2, op, "padding", 0)),
            "dilation": each_axis(dilation, 2, op, "dilation")}


def _places(op: str, image: Sizes, how: dict[str, Any]) -> Sizes:
    """How many places the kernel has along each axis."""
    found = []
    for n, k, s, (p, _), d in zip(image, how["kernel"], how["stride"], how["padding"],
                                  how["dilation"], strict=True):
        if n + 2 * p < d * (k - 1) + 1:
            raise ValueError(f"[{op}] images {image} with padding {p} are smaller than the kernel, "
                             f"which spans {d * (k - 1) + 1}")
        found.append((n + 2 * p - d * (k - 1) - 1) // s + 1)
    return tuple(found)
