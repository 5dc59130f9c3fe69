"""Kernels for the three primitives of convolution: which calls they take, and how work is shared."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygen.ops.patches import out_size
from tinygen.primitive import kernel
from tinygen.threads import count

from . import conv_plan
from .lazy import F32, F64, NOT_FLOAT, Native

__all__: list[str] = []

native = Native("conv")

EMPTY = "nothing to do"
MIXED = "inputs of different types"
LINE = 128           # bytes in a row of a packed panel, on the widest vectors
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


def _address(a: np.ndarray) -> int:
    return a.__array_interface__["data"][0]


@kernel("conv2d", np.ndarray)
def _(x, weight, bias=None, *, stride, padding, dilation, groups):
    why = _why_not(x, weight) if bias is None else _why_not(x, weight, bias)
    if why:
        return why
    out_size(x.shape[2:], weight.shape[2:], stride, padding, dilation)     # raises if not exact
    image, layout = _images(x)
    outs, per_group, *kernel = weight.shape
    plan = conv_plan.forward(layout, tuple(kernel), outs, stride, padding, dilation, groups,
                             x.itemsize)
    taps = kernel[0] * kernel[1]
    run = per_group * taps
    order = (per_group, outs // groups, run, 1, 0, run, outs // groups * run, taps)
    return _run(plan, image, weight, order, bias, outs, groups)


@kernel("conv_transpose2d", np.ndarray)
def _(x, weight, bias=None, *, stride, padding, dilation, groups):
    why = _why_not(x, weight) if bias is None else _why_not(x, weight, bias)
    if why:
        return why
    ins, per_group, *kernel = weight.shape
    out = tuple((m - 1) * s + d * (k - 1) + 1 - a - b for m, s, d, k, (a, b) in
                zip(x.shape[2:], stride, dilation, kernel, padding))
    image, layout = _images(x)
    plan = conv_plan.transposed(layout, tuple(kernel), per_group * groups, stride, padding,
                                dilation, groups, x.itemsize, out)
    taps = kernel[0] * kernel[1]
    run = per_group * taps
    order = (ins // groups, per_group, taps, ins // groups, run, taps, ins // groups * run, taps)
    return _run(plan, image, weight, order, bias, per_group * groups, groups)


def _run(plan: conv_plan.Plan, image: np.ndarray, weight: np.ndarray, order: tuple[int, ...],
         bias: np.ndarray | None, outs: int, groups: int) -> np.ndarray:
    """Pack the weights and the bias, and convolve."""
    like = _LIKE[image.dtype]
    lanes = native.PANEL_BYTES // image.itemsize
    per_group = outs // groups
    panels = groups * -(-per_group // lanes)
    packed = _buffer(panels * order[0] * order[-1] * lanes, image.dtype)
    weight = np.ascontiguousarray(weight)
    work = weight.size * image.size // weight.shape[0]
    nt = count.value if work > 1 << 16 else 1
    native.pack_weights(like, _address(weight), _address(packed), order, plan.taps, panels, nt)
    start = np.zeros((groups, panels // groups * lanes), image.dtype)
    if bias is not None:
        start[:, :per_group] = bias.reshape(groups, per_group)
    grid = plan.grid
    n, high, wide = len(image), *plan.grid[19:21].tolist()
    out = np.empty((n, high, wide, outs), image.dtype)
    total = n * plan.n_rows
    by_rows, by_panels = nt, 1
    native.correlate(like, _address(image), _address(packed), _address(start), _address(out), grid,
                     plan.phases, plan.offsets, min(plan.band, -(-total // by_rows)), total,
                     by_rows, panels, by_panels)
    return out.transpose(0, 3, 1, 2)
