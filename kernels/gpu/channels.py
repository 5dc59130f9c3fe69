"""Batch, group and instance norm, and sums per channel: which calls the CUDA kernels take."""

from __future__ import annotations

import math
from typing import Any

import cupy
import numpy as np

from tinygen.primitive import kernel

from .launch import (
    EMPTY,
    F32,
    HALVES,
    MIXED,
    NOT_FLOAT,
    SUFFIXES,
    Source,
    blocks,
    plain,
    processors,
    team,
)
from .linear import COLUMNS, LANES, partition

native, gradients = Source("channels"), Source("channels_grad")
TOO_LARGE = "2^31 planes, channels or values of a plane, or more"
MOST, LEAST = 8192, 1024        # values of a piece of a plane: what a block holds, and is worth one


class Form:
    """How an array (N, C, ...) is handed over: by planes or by columns, and in which pieces.

    `each` is the number of channels that share the statistics of an example; 0: all examples do.
    """

    def __init__(self, x: Any, each: int = 0):
        n, c = x.shape[:2]
        self.channels, self.each, self.shape = c, each, x.shape
        self.length = math.prod(x.shape[2:])
        order = (0, *range(2, x.ndim), 1)
        last = not x.flags.c_contiguous and x.transpose(order).flags.c_contiguous
        self.order = order if last and not each else None
        self.columns = not each and (self.order is not None or self.length == 1)
        self.planes, self.rows = n * c, n * self.length
        self.values = float(each * self.length if each else self.rows)      # of one statistic
        if self.columns:
            self.parts, self.size = partition(self.rows, c)
            self.block: Any = COLUMNS * LANES
            self.grid: Any = (blocks(c, COLUMNS), self.parts)
            return
        busy = blocks(2 * processors(), self.planes)
        wanted = max(blocks(self.length, MOST), min(busy, blocks(self.length, LEAST)))
        self.size = min(self.length, blocks(blocks(self.length, wanted), 8) * 8)
        self.parts = blocks(self.length, self.size)
        self.block = team(self.size, x.dtype)
        self.grid = blocks(self.planes * self.parts, self.block[1])

    def take(self, a: Any) -> Any:
        """An array of this shape, in the kernels' order."""
        return plain(a if self.order is None else a.transpose(self.order))

    def like(self, x: Any) -> tuple[Any, Any]:
        """A new array for the kernels, and the same in the shape and order of x."""
        if self.order is None:
            y = cupy.empty(self.shape, x.dtype)
            return y, y
        y = cupy.empty([self.shape[i] for i in self.order], x.dtype)
        return y, y.transpose(np.argsort(self.order).tolist())

    def launch(self, source: Source, name: str, suffix: str, *arrays: Any, each: bool = True,
               after: tuple[Any, ...] = ()) -> None:
        """A kernel NAME_planes or NAME_columns: arrays, then sizes, then what comes `after`."""
        c = np.int32(self.channels)
        if self.columns:
            source(f"{name}_columns_{suffix}", self.grid, self.block, *arrays, self.rows, c,
                   self.size, *after)
            return
        sizes = [np.int32(k) for k in (self.length, self.size, self.parts)]
        group = (np.int32(self.each),) if each else ()
        source(f"{name}_planes_{suffix}", self.grid, self.block, *arrays, self.planes, c, *sizes,
               *group, *after)

    def pieces(self) -> int:
        """How many sums a kernel leaves."""
        return self.parts * (self.channels if self.columns else self.planes)

    def merge(self, grouped: bool) -> tuple[int, tuple[Any, ...], tuple[Any, ...]]:
        """(results, how their parts lie, how many values a part has), see Parts in channels.cuh."""
        c, k = self.channels, self.parts
        values = (np.int32(self.size), np.int32((self.rows if self.columns else self.length)
                                                - (k - 1) * self.size))
        if self.columns:
            return c, (1, 0, c, np.int32(k), np.int32(k)), values
        if grouped:
            count = self.each * k
            return self.planes // self.each, (count, k, 1, np.int32(count), np.int32(k)), values
        count = self.planes // c * k
        return c, (k, c * k, 1, np.int32(count), np.int32(k)), values


def _suffix(x: Any, *parameters: Any) -> str:
    """The end of the kernel's name; or, longer, why there is none."""
    kind = SUFFIXES.get(x.dtype)
    if kind is None:
        return NOT_FLOAT
    if not x.size:
        return EMPTY
    if max(x.size // math.prod(x.shape[2:]), math.prod(x.shape[2:])) >= 1 << 31:
        return TOO_LARGE
    given = {p.dtype for p in parameters if p is not None}
    if given <= {x.dtype}:
        return kind
    return f"{kind}_f32" if given == {F32} else MIXED


def _own(p: Any) -> Any:
    return None if p is None else plain(p)


def _sums(form: Form, g: Any, x: Any, mean: Any) -> tuple[Any, Any]:
    """sum(g) and sum(g (x - mean)) of each piece."""
    sums = cupy.empty(form.pieces(), F32)
    products = None if x is None else cupy.empty(form.pieces(), F32)
    form.launch(gradients, "sums", SUFFIXES[g.dtype], g, x, mean, sums, products)
    return sums, products


def _totals(form: Form, parts: tuple[Any, Any], var: Any, weight: Any, eps: float,
            grouped: bool) -> tuple[Any, Any]:
    """Their sums for each channel, or with the weights in them for each group of an example."""
    results, lie, _ = form.merge(grouped)
    total = cupy.empty(results, F32)
    inner = None if parts[1] is None else cupy.empty(results, F32)
    suffix = "f32" if weight is None else SUFFIXES[weight.dtype]
    gradients(f"merge_sums_{suffix}", blocks(results, 8), (32, 8), *parts, var, weight, total,
              inner, np.int32(results), *lie, np.int32(form.channels),
              np.int32(0 if form.columns else form.parts), np.int32(form.each), eps)
    return total, inner


# -- normalisation ---------------------------------------------------------------------------------


def _norm(x: Any, weight: Any, bias: Any, each: int, eps: float) -> Any:
    suffix = _suffix(x, weight, bias)
    if len(suffix) > 8:
        return suffix
    form = Form(x, each)
    into, y = form.like(x)
    given = form.take(x)
    means, squares = cupy.empty(form.pieces(), F32), cupy.empty(form.pieces(), F32)
    form.launch(native, "moments", SUFFIXES[x.dtype], given, means, squares, each=False)
    results, lie, values = form.merge(bool(each))
    mean, var = cupy.empty(results, F32), cupy.empty(results, F32)
    native("merge_moments_f32", blocks(results, 8), (32, 8), means, squares, mean, var,
           np.int32(results), *lie, *values)
    form.launch(native, "scale", suffix, given, mean, var, _own(weight), _own(bias), into,
                after=(float(eps),))
    return y, mean, var


def _norm_vjp(needs: Any, g: Any, mean: Any, var: Any, x: Any, weight: Any, bias: Any, each: int,
              eps: float) -> Any:
    suffix, eps = _suffix(x, weight), float(eps)
    if len(suffix) > 8:
        return suffix
    if g.dtype != x.dtype or mean.dtype != F32:
        return MIXED
    form, needs = Form(x, each), (*needs, False, False)
    g, given, mean, var = form.take(g), form.take(x), plain(mean), plain(var)
    parts = _sums(form, g, given, mean)
    wanted = [p is not None and needs[i] for i, p in ((1, weight), (2, bias))]
    total = inner = None
    if any(wanted) or not each:
        total, inner = _totals(form, parts, var, None, eps, False)
    gx = None
    if needs[0]:
        weight = _own(weight)
        of = _totals(form, parts, var, weight, eps, True) if each else (total, inner)
        into, gx = form.like(x)
        form.launch(gradients, "norm_grad", suffix, g, given, mean, var, weight, *of, into,
                    after=(form.values, eps))
    return gx, *(a.astype(p.dtype, copy=False) if w else None
                 for w, a, p in zip(wanted, (inner, total), (weight, bias)))


@kernel("batch_norm", cupy.ndarray, dtypes=HALVES)
def batch_norm(x: Any, weight: Any = None, bias: Any = None, *, eps: float) -> Any:
    """Mean and squares of pieces, put together per channel; then the result, by pieces."""
    return _norm(x, weight, bias, 0, eps)


@kernel("batch_norm_vjp", cupy.ndarray, dtypes=HALVES)
def batch_norm_vjp(g: Any, y: Any, mean: Any, var: Any, x: Any, weight: Any = None,
                   bias: Any = None, *, needs: Any, eps: float) -> Any:
    """Sums of pieces, put together per channel; then the gradient, by pieces."""
    return _norm_vjp(needs, g, mean, var, x, weight, bias, 0, eps)


@kernel("group_norm", cupy.ndarray, dtypes=HALVES)
def group_norm(x: Any, weight: Any = None, bias: Any = None, *, groups: int, eps: float) -> Any:
    """As batch norm, with the statistics of each example and group of channels."""
    found = _norm(x, weight, bias, x.shape[1] // groups, eps)
    return found if type(found) is str else (found[0], *(s.reshape(len(x), groups)
                                                         for s in found[1:]))


@kernel("group_norm_vjp", cupy.ndarray, dtypes=HALVES)
def group_norm_vjp(g: Any, y: Any, mean: Any, var: Any, x: Any, weight: Any = None,
                   bias: Any = None, *, needs: Any, groups: int, eps: float) -> Any:
    """As batch norm, with the sums of each example and group of channels."""
    return _norm_vjp(needs, g, mean, var, x, weight, bias, x.shape[1] // groups, eps)


# -- one scale and one shift per channel -----------------------------------------------------------


@kernel("scale_channels", cupy.ndarray, dtypes=HALVES)
def scale_channels(x: Any, scale: Any, shift: Any) -> Any:
    """A multiplication and an addition per value: batch norm when it does not train."""
    suffix = _suffix(x, scale, shift)
    if len(suffix) > 8:
        return suffix
    form = Form(x)
    into, y = form.like(x)
    form.launch(native, "scale", suffix, form.take(x), None, None, plain(scale), plain(shift), into,
                after=(0.0,))
    return y


@kernel("scale_channels_vjp", cupy.ndarray, dtypes=HALVES)
def scale_channels_vjp(g: Any, y: Any, x: Any, scale: Any, shift: Any, *, needs: Any) -> Any:
    """g times the scale; and sums of pieces, put together per channel."""
    suffix = _suffix(x, scale)
    if len(suffix) > 8:
        return suffix
    if g.dtype != x.dtype:
        return MIXED
    form, gx, total, inner = Form(x), None, None, None
    g = form.take(g)
    if needs[0]:
        into, gx = form.like(x)
        form.launch(native, "scale", suffix, g, None, None, plain(scale), None, into, after=(0.0,))
    if needs[1] or needs[2]:
        parts = _sums(form, g, form.take(x) if needs[1] else None, None)
        total, inner = _totals(form, parts, None, None, 0.0, False)
    return (gx, inner.astype(scale.dtype, copy=False) if needs[1] else None,
            total.astype(shift.dtype, copy=False) if needs[2] else None)


@kernel("channel_sum", cupy.ndarray, dtypes=HALVES)
def channel_sum(x: Any) -> Any:
    """Sums of pieces, put together per channel: the gradient of a convolution's bias."""
    suffix = _suffix(x)
    if len(suffix) > 8:
        return suffix
    form = Form(x)
    parts = _sums(form, form.take(x), None, None)
    return _totals(form, parts, None, None, 0.0, False)[0].astype(x.dtype, copy=False)
