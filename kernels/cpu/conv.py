"""Kernels for the three primitives of convolution: which calls they take, how work is shared."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygen.ops.patches import PLANES, kernel_size, out_size
from tinygen.primitive import kernel
from tinygen.threads import count

from . import conv_plan, winograd, winograd_plan
from .lazy import F32, F64, NOT_FLOAT, Native, address_of, threads_for

__all__: list[str] = []

native = Native("conv")
weights, images = Native("conv_weight"), Native("conv_few")
channels, planes, products = Native("conv_depth"), Native("conv_sum"), Native("gemm")

EMPTY = "nothing to do"
MIXED = "inputs of different types"
# Products below which a second thread does not pay: 2^20 take 12 us on one core.
SMALL = 1 << 20
# With fewer windows for each thread, reading the weights takes longer than multiplying by them:
# 128 bytes a step from L3 take about 13 cycles, the products of 14 windows 14. Threads then share
# the weights rather than the windows.
FEW_WINDOWS = 128
# Windows of a band of the gradient to the weights: 128 bytes of g for each fill 2/3 of L1. With
# 3 channels at 64x64 it takes 1.7 ms so, 2.6 with bands that fill L2.
WINDOWS = 256
Pair = tuple[int, int]
_LIKE = {F32: np.empty(1, np.float32), F64: np.empty(1, np.float64)}


def _why_not(*arrays: Any) -> str | None:
    """A reason to leave these arrays to NumPy."""
    dtype = arrays[0].dtype
    if dtype not in _LIKE:
        return NOT_FLOAT
    for a in arrays:
        if a.dtype != dtype:
            return MIXED
        if not a.size:
            return EMPTY
    return None


def _images(x: np.ndarray) -> tuple[np.ndarray, conv_plan.Layout]:
    """Images in one of the layouts that kernels read, and which one."""
    _, c, h, w = x.shape
    if c > 1 and x.flags.c_contiguous:
        return x, conv_plan.Layout(c, h, w, 1)
    x = x.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(x), conv_plan.Layout(c, h, w, 0)


def _buffer(n: int, dtype: Any) -> np.ndarray:
    """n numbers that start on a cache line."""
    size = dtype.itemsize
    whole = np.empty(n + 64 // size, dtype)
    skip = -whole.ctypes.data % 64 // size
    return whole[skip:skip + n]


def _channels_last(n: int, size: tuple[int, int], c: int, dtype: Any) -> np.ndarray:
    """An array (N, C, H, W) that lies as (N, H, W, C) and owns its memory: as the gradient of a
    leaf it is taken as it is, where a view would be copied."""
    (h, w), one = size, dtype.itemsize
    return np.ndarray((n, c, h, w), dtype, strides=(h * w * c * one, one, w * c * one, c * one))


@kernel("conv2d", np.ndarray)
def _(x, weight, bias=None, *, stride, padding, dilation, groups):
    why = _why_not(x, weight) if bias is None else _why_not(x, weight, bias)
    if why:
        return why
    # Raises if not exact.
    size = out_size(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    image, layout = _images(x)
    outs, per_group, *kernel = weight.shape
    make = functools.partial(conv_plan.forward, layout, tuple(kernel), outs, stride, padding,
                             dilation, groups, x.itemsize)
    taps = kernel[0] * kernel[1]
    run = per_group * taps
    order = (per_group, outs // groups, run, 1, 0, run, outs // groups * run, taps)
    if groups == 1 and dilation == (1, 1):
        out = _short(image, layout, weight, order, bias, outs, stride, padding, size, False)
        if out is not None:
            return out
    return _run(make, image, weight, order, bias, outs, groups)


@kernel("conv_transpose2d", np.ndarray)
def _(x, weight, bias=None, *, stride, padding, dilation, groups):
    why = _why_not(x, weight) if bias is None else _why_not(x, weight, bias)
    if why:
        return why
    ins, per_group, *kernel = weight.shape
    out = tuple((m - 1) * s + d * (k - 1) + 1 - a - b for m, s, d, k, (a, b) in
                zip(x.shape[2:], stride, dilation, kernel, padding))
    # Where there is one window, its step does not matter: as large as the kernel, no pixel of the
    # output meets taps that fall beside the input.
    stride = tuple(max(s, d * (k - 1) + 1) if m == 1 else s for m, s, d, k in
                   zip(x.shape[2:], stride, dilation, kernel))
    image, layout = _images(x)
    make = functools.partial(conv_plan.transposed, layout, tuple(kernel), per_group * groups,
                             stride, padding, dilation, groups, x.itemsize, out)
    taps = kernel[0] * kernel[1]
    run = per_group * taps
    order = (ins // groups, per_group, taps, ins // groups, run, taps, ins // groups * run, taps)
    if groups == 1 and dilation == (1, 1):
        result = _short(image, layout, weight, order, bias, per_group, stride, padding, out, True)
        if result is not None:
            return result
    return _run(make, image, weight, order, bias, per_group * groups, groups)


def _short(image: np.ndarray, layout: conv_plan.Layout, weight: np.ndarray,
           order: tuple[int, ...], bias: np.ndarray | None, outs: int, stride: Pair,
           padding: Any, size: Any, transposed: bool) -> np.ndarray | None:
    """The convolution by Winograd's algorithm where that is quicker, else None."""
    plan = _short_plan(image, layout, weight.shape[2:], outs, stride, padding, tuple(size),
                       layout.h * layout.w if transposed else size[0] * size[1], transposed)
    if plan is None:
        return None
    n, dtype, panels = len(image), image.dtype, -(-outs // winograd.panel())
    packed = _buffer(panels * weight[0].size * len(weight) // outs * winograd.panel(), dtype)
    weight = np.ascontiguousarray(weight)
    native.pack_weights(_LIKE[dtype], address_of(weight), address_of(packed), order, plan.taps,
                        panels, min(panels, count.value))
    start = np.zeros(panels * winograd.panel(), dtype)
    if bias is not None:
        start[:outs] = bias
    out = _channels_last(n, plan.out, outs, dtype)
    return out if winograd.convolve(plan, image, packed, start, out) else None


def _short_plan(image: np.ndarray, layout: conv_plan.Layout, kernel: Any, outs: int,
                stride: Pair, padding: Any, size: Any, windows: int,
                transposed: bool = False, gradient: bool = False) -> winograd_plan.Plan | None:
    if image.dtype != F32:
        return None
    plan = winograd_plan.plan(layout, tuple(kernel), outs, stride,
                              (padding[0][0], padding[1][0]), size, transposed)
    direct = len(image) * windows * layout.c * outs * kernel[0] * kernel[1]
    if plan and winograd.pays(plan, len(image), layout.c, outs, direct, gradient):
        return plan
    return None


def _run(make: Callable[..., conv_plan.Plan], image: np.ndarray, weight: np.ndarray,
         order: tuple[int, ...], bias: np.ndarray | None, outs: int, groups: int) -> np.ndarray:
    """Pack the weights and the bias, and convolve."""
    dtype, n = image.dtype, len(image)
    like, lanes = _LIKE[dtype], native.PANEL_BYTES // dtype.itemsize
    plan = make()
    if 1 < groups == outs == plan.grid[0]:
        return _depthwise(plan, image, weight, bias)
    few = groups == 1 and _few(plan, outs, lanes)
    if few:
        plan = make("planes")
    per_group = outs // groups
    panels = groups * -(-per_group // lanes)
    packed = _buffer(panels * order[0] * order[-1] * lanes, dtype)
    weight = np.ascontiguousarray(weight)
    total = n * plan.windows[0]
    nt = count.value if weight.size * total * plan.windows[1] > SMALL else 1
    native.pack_weights(like, address_of(weight), address_of(packed), order, plan.taps, panels, nt)
    start = np.zeros((groups, panels // groups * lanes), dtype)
    if bias is not None:
        start[:, :per_group] = bias.reshape(groups, per_group)
    if few:
        nt = min(nt, total)
        last = int(outs > PLANES)
        out = (_channels_last(n, plan.out, outs, dtype) if last else
               np.empty((n, outs, *plan.out), dtype))
        flat = out.transpose(0, 2, 3, 1).reshape(-1) if last else out.reshape(-1)
        images.few(like, address_of(image), address_of(packed), start.reshape(-1), flat, last,
                   plan.grid, plan.phases, plan.offsets, min(plan.band, -(-total // nt)), total, nt)
        return out
    by_rows, by_panels = _split(total, panels, nt, total * plan.windows[1] < FEW_WINDOWS * nt)
    out = _channels_last(n, plan.out, outs, dtype)
    native.correlate(like, address_of(image), address_of(packed), address_of(start),
                     address_of(out), plan.grid, plan.phases, plan.offsets,
                     min(plan.band, -(-total // by_rows)), total, by_rows, panels, by_panels)
    return out


def _depthwise(plan: conv_plan.Plan, image: np.ndarray, weight: np.ndarray,
               bias: np.ndarray | None) -> np.ndarray:
    """One kernel per channel, both ways: no channel mixes with another."""
    dtype, n, c = image.dtype, len(image), weight.shape[0]
    like, padded = _LIKE[dtype], _whole_vectors(c, dtype.itemsize)
    start = np.zeros(padded, dtype)
    if bias is not None:
        start[:c] = bias
    packed = np.zeros((plan.taps.size, padded), dtype)
    packed[plan.taps, :c] = weight.reshape(c, -1).T
    out = _channels_last(n, plan.out, c, dtype)
    total = n * plan.windows[0]
    nt = min(total, count.value) if image.size * plan.taps.size > SMALL else 1
    channels.depth(like, address_of(image), address_of(packed), address_of(start), 0, 0,
                   address_of(out), 0, plan.grid, plan.phases, plan.offsets,
                   min(plan.band, -(-total // nt)), total, nt)
    return out


def _depthwise_weight(plan: conv_plan.Plan, image: np.ndarray, grads: np.ndarray, planes: int,
                      kernel: tuple[int, ...]) -> np.ndarray:
    dtype, n, c = image.dtype, len(image), int(plan.grid[0])
    like, padded = _LIKE[dtype], _whole_vectors(c, dtype.itemsize)
    total = n * plan.windows[0]
    nt = min(total, count.value) if image.size * plan.taps.size > SMALL else 1
    sums = np.empty((nt, plan.taps.size, padded), dtype)
    channels.depth(like, address_of(image), 0, 0, address_of(grads), planes, address_of(sums),
                   sums[0].nbytes, plan.grid, plan.phases, plan.offsets,
                   min(plan.band, -(-total // nt)), total, nt)
    dw = np.empty((c, 1, *kernel), dtype)
    dw.reshape(c, -1)[...] = sums.sum(axis=0)[plan.taps, :c].T
    return dw


def _whole_vectors(c: int, size: int) -> int:
    lanes = native.PANEL_BYTES // 2 // size
    return -(-c // lanes) * lanes


def _few(plan: conv_plan.Plan, outs: int, lanes: int) -> bool:
    """Is it quicker to put pixels, rather than output channels, on the lanes?"""
    c, (high, wide), seen, span = int(plan.grid[0]), plan.windows, plan.seen, int(plan.grid[13])
    if plan.grid[9] != 1 or plan.grid[10] != 1 or c < 8 or outs > lanes // 2:
        return False
    useful = wide * high / (seen * (high + span - 1))
    return outs / _rate(outs) < useful * lanes


@kernel("conv2d_weight", np.ndarray)
def _(x, g, *, stride, padding, dilation, groups):
    why = _why_not(x, g)
    if why:
        return why
    kernel = kernel_size(x.shape[2:], g.shape[2:], stride, padding, dilation)
    (image, layout), (grads, of_g) = _images(x), _images(g)
    outs, per_group = g.shape[1], x.shape[1] // groups
    if groups == 1 and dilation == (1, 1):
        dw = _short_weight(image, layout, grads, of_g, outs, kernel, stride, padding, g.shape[2:])
        if dw is not None:
            return dw
    swap = groups == 1 and _swaps(outs, kernel, per_group, dilation[1], x.itemsize)
    plan = conv_plan.forward(layout, kernel, outs, stride, padding, dilation, groups, x.itemsize,
                             "pixels" if swap else "")
    if 1 < groups == outs == x.shape[1]:
        return _depthwise_weight(plan, image, grads, of_g.planes, kernel)
    lanes = native.PANEL_BYTES // x.itemsize
    taps = kernel[0] * kernel[1]
    depth, of_piece = per_group * taps, 0
    if swap:
        of_piece = -(-int(plan.phases[0, 8]) // lanes)
        panels, numbers = of_piece * int(plan.phases[0, 6]), outs * depth
    else:
        panels = groups * -(-outs // groups // lanes)
        numbers = panels * depth * lanes
    total, nt = len(x) * plan.windows[0], count.value
    nt = nt if x.size * outs * taps > SMALL * stride[0] * stride[1] else 1
    by_rows, by_panels = _split(total, panels, nt, 2 * numbers > x.size)
    like, sums = _LIKE[x.dtype], _buffer(by_rows * numbers, x.dtype)
    band = min(plan.band, -(-total // by_rows), max(1, WINDOWS // plan.windows[1]))
    weights.weight_sums(like, address_of(image), address_of(grads), of_g.planes, address_of(sums),
                        numbers * x.itemsize, plan.grid, plan.phases, plan.offsets, of_piece,
                        band, total, by_rows, panels, by_panels)
    sums = sums.reshape(by_rows, numbers)
    if swap:
        dw = sums.sum(axis=0).reshape(outs, taps, per_group)[:, plan.taps]
        result = np.empty((outs, per_group, *kernel), x.dtype)
        result.reshape(outs, per_group, taps)[...] = dw.swapaxes(1, 2)
        return result
    dw = np.empty((outs, per_group, *kernel), x.dtype)
    weights.finish_weight(like, sums, address_of(dw), (per_group, outs // groups, depth, taps),
                          plan.taps, panels * -(-depth * x.itemsize // native.VECTOR_BYTES), nt)
    return dw


def _short_weight(image: np.ndarray, layout: conv_plan.Layout, grads: np.ndarray,
                  of_g: conv_plan.Layout, outs: int, kernel: Pair, stride: Pair, padding: Any,
                  size: Any) -> np.ndarray | None:
    """The gradient by Winograd's algorithm where that is quicker, else None."""
    plan = _short_plan(image, layout, kernel, outs, stride, padding, tuple(size),
                       size[0] * size[1], gradient=True)
    if plan is None:
        return None
    taps, c, panels = kernel[0] * kernel[1], layout.c, -(-outs // winograd.panel())
    sums = _buffer(panels * taps * c * winograd.panel(), image.dtype)
    if not winograd.gradient(plan, image, grads, of_g, sums):
        return None
    dw = np.empty((outs, c, *kernel), image.dtype)
    squares = panels * -(-taps * c * 4 // weights.VECTOR_BYTES)
    weights.finish_weight(_LIKE[image.dtype], sums.reshape(1, -1), address_of(dw),
                          (c, outs, taps * c, taps), plan.taps, squares, count.value)
    return dw


@kernel("channel_sum", np.ndarray, smallest=1 << 14)
def _(x):
    if x.dtype not in _LIKE:
        return NOT_FLOAT
    n, c, h, w = x.shape
    nt = threads_for(x.size, 1 << 16)        # 256 KB: 20 us of one core's bandwidth
    if x.flags.c_contiguous and h * w >= 16:
        out = np.empty(n * c, x.dtype)
        planes.plane_sums(x.reshape(n * c, h * w), out, nt)
        return out.reshape(n, c).sum(axis=0)
    x = x.transpose(0, 2, 3, 1)
    if not x.flags.c_contiguous:
        return "neither channels last nor planes"
    if c < 16:
        return "few channels"
    out = np.empty(c, x.dtype)
    products.column_sums(x.reshape(-1, c), out, nt if c >= 64 else 1)
    return out


# Share of the peak that a tile of so many rows reaches (measured): one row waits for its sums.
_RATE = (0, .3, .5, .65, .8, .9)


def _rate(rows: int) -> float:
    return _RATE[rows] if rows < len(_RATE) else 1.


def _swaps(outs: int, kernel: tuple[int, ...], c: int, dilation: int, size: int) -> bool:
    """Is it quicker to put the numbers of a piece, rather than the channels of g, on the lanes?"""
    lanes = native.PANEL_BYTES // size
    piece = c * (kernel[1] if dilation == 1 or kernel[1] == 1 else 1)
    straight = piece * -(-outs // lanes) / _rate(piece)
    return outs * -(-piece // lanes) / _rate(outs) < straight


def _split(total: int, panels: int, nt: int, prefer_panels: bool) -> tuple[int, int]:
    """How many parts of rows and of panels the threads take: (nt, 1) or (1, nt)."""
    even = panels % nt == 0 or panels >= 4 * nt
    if total < nt or (prefer_panels and even):
        return 1, min(nt, panels)
    return nt, 1
