"""Attention kernels: which calls they take, and where everything lies."""

from __future__ import annotations

import math
import struct
import sys
from typing import Any

import numpy as np

from tinygen.ops.attention import sum_to
from tinygen.primitive import kernel
from tinygen.threads import count

from .lazy import F32, F64, NOT_FLOAT, Native

native = Native("attention")

AXES = "more than three leading axes"
DTYPES = "dtypes differ"
EMPTY = "an axis is empty"
STRIDES = "rows are not contiguous"
MASK_ROWS = "the mask is strided along the keys"
MASK_GRADIENT = "the mask wants a gradient"

# Multiplications from which on a second thread pays: 20 us of them.
WORTH_A_THREAD = 1 << 20
# Queries up to which each is worked on alone: a panel costs as much as about six of them.
FEW = 4
# Heads, or groups of heads that share keys, from which on a thread does whole ones in backward.
# Fewer have their keys cut in two to four pieces of blocks, in the same way for any number of
# threads; each piece turns the queries again, so more of them cost more than they balance.
HEADS, BLOCK = 8, 64


def _where(x: np.ndarray, lead: tuple[int, int, int]) -> list[int]:
    """Address, strides of the three leading axes (0 along those it lacks), distance of rows."""
    shape, strides = x.shape, x.strides
    missing = 5 - len(shape)
    at = [x.ctypes.data]
    for i in range(3):
        j = i - missing
        at.append(strides[j] if j >= 0 and shape[j] == lead[i] and lead[i] > 1 else 0)
    at.append(strides[-2] if len(shape) > 1 and shape[-2] > 1 else 0)
    return at


def _leading(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> tuple[Any, ...]:
    """The three leading axes: all, those along which keys or values differ, and the others."""
    shapes = [(1,) * (5 - x.ndim) + x.shape[:-2] for x in (q, k, v)]
    lead = tuple(max(ns) if min(ns) else 0 for ns in zip(*shapes, strict=True))
    own = tuple(max(a, b) for a, b in zip(shapes[1], shapes[2], strict=True))
    return lead, own, tuple(n // m for n, m in zip(lead, own, strict=True))


def _refused(arrays: tuple[Any, ...], mask: Any) -> str | None:
    """Why a call is not for these kernels."""
    dtype = arrays[0].dtype
    if dtype is not F32 and dtype is not F64:
        return NOT_FLOAT
    for x in arrays:
        if x.dtype is not dtype:
            return DTYPES
        if not x.size:
            return EMPTY
        if x.strides[-1] != dtype.itemsize and x.shape[-1] != 1:
            return STRIDES
        if x.ndim > 5:
            return AXES
    if mask is not None:
        if mask.ndim > 5:
            return AXES
        if not mask.size:
            return EMPTY
        keys = arrays[1].shape[-2]
        if mask.shape[-1] != keys or (keys > 1 and mask.strides[-1] != mask.itemsize):
            return MASK_ROWS
    return None


def _like(shape: tuple[int, ...], model: np.ndarray) -> np.ndarray:
    """An empty array whose last axes but one have the order in memory of `model`'s: heads that
    are slices of (N, L, H, E) give results that are, too."""
    if model.ndim == 4 and len(shape) == 4 and model.strides[1] < model.strides[2]:
        n, h, length, width = shape
        return np.empty((n, length, h, width), model.dtype).transpose(0, 2, 1, 3)
    return np.empty(shape, model.dtype)


_NOWHERE = [0, 0, 0, 0, 0]
_FORWARD, _BACKWARD, _FEW = 0, 1, 2


def _describe(q: Any, k: Any, v: Any, mask: Any, keep: Any, causal: bool, offset: int,
              scale: float, lead: tuple[Any, ...]) -> list[Any]:
    """The first numbers of a call, and where its inputs are."""
    full, own, group = lead
    kind = 0 if mask is None else 1 if mask.dtype.kind == "b" else 2
    return [q.shape[-2], k.shape[-2], q.shape[-1], v.shape[-1], causal, offset, kind,
            keep is not None, *own, *group, 1, 0, 1, 1, 1,
            int.from_bytes(struct.pack("d", scale), sys.byteorder, signed=True), 0, 0, 0, 0, 0,
            *_where(q, full), *_where(k, full), *_where(v, full),
            *(_where(mask, full) if kind else _NOWHERE),
            *(_where(keep, full) if keep is not None else _NOWHERE)]


def _run(which: int, dtype: Any, p: list[Any], work: int) -> None:
    codes = native.codes(dtype.type)
    p[21:25] = codes[3:]
    told = np.array(p, np.int64)
    nt = 1 if work < 2 * WORTH_A_THREAD else count.value
    if native.launch(codes[which], told.ctypes.data, nt):
        raise MemoryError("no memory for the scratch of attention")


def _packed(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> Any:
    """Room for three gradients, side by side as q, k and v are slices of one projection; or None.

    So the gradient of the projection is there when they are.
    """
    if q.ndim != 4 or not q.shape == k.shape == v.shape or not q.strides == k.strides == v.strides:
        return None
    n, h, length, d = q.shape
    e = h * d * q.itemsize
    first = q.ctypes.data
    if k.ctypes.data - first != e or v.ctypes.data - first != 2 * e or q.strides[1] * h != e:
        return None
    if (q.strides[2], q.strides[0]) == (3 * e, 3 * e * length):
        x = np.empty((n, length, 3, h, d), q.dtype)
        return [x[:, :, i].transpose(0, 2, 1, 3) for i in range(3)]
    if (q.strides[0], q.strides[2]) == (3 * e, 3 * e * n):
        x = np.empty((length, n, 3, h, d), q.dtype)
        return [x[:, :, i].transpose(1, 2, 0, 3) for i in range(3)]
    return None


@kernel("attention", np.ndarray)
def _(q: Any, k: Any, v: Any, mask: Any = None, keep: Any = None, *, causal: bool, offset: int,
      scale: float) -> Any:
    why = _refused((q, k, v) if keep is None else (q, k, v, keep), mask)
    if why:
        return why
    lead = _leading(q, k, v)
    full = lead[0][5 - max(q.ndim, k.ndim, v.ndim):]
    y = _like((*full, q.shape[-2], v.shape[-1]), q)
    lse = np.empty((*full, q.shape[-2]), q.dtype)
    p = _describe(q, k, v, mask, keep, causal, offset, scale, lead)
    p += _where(y, lead[0])
    p += _where(lse[..., None], lead[0])
    p += [0] * 20
    which = _FEW if q.shape[-2] <= FEW else _FORWARD
    _run(which, q.dtype, p, lse.size * k.shape[-2] * (q.shape[-1] + v.shape[-1]))
    return y, lse


@kernel("attention_vjp", np.ndarray)
def _(g: Any, y: Any, lse: Any, q: Any, k: Any, v: Any, mask: Any = None, keep: Any = None, *,
      needs: tuple[bool, ...], causal: bool, offset: int, scale: float) -> Any:
    why = _refused((q, k, v) if keep is None else (q, k, v, keep), mask)
    if why:
        return why
    if len(needs) > 3 and needs[3]:
        return MASK_GRADIENT
    if g.strides[-1] != g.itemsize or g.dtype is not q.dtype:
        g = np.ascontiguousarray(g, q.dtype)
    lead = _leading(q, k, v)
    rank = 5 - max(q.ndim, k.ndim, v.ndim)
    full, own = lead[0][rank:], lead[1][rank:]
    length, keys = q.shape[-2], k.shape[-2]
    groups = math.prod(own)
    pieces = 1 if groups >= HEADS else min(-(-keys // BLOCK), max(2, 4 // groups))
    p = _describe(q, k, v, mask, keep, causal, offset, scale, lead)
    p[14] = pieces
    p[16:19] = needs[:3]
    p += _where(y, lead[0])
    p += _where(lse[..., None], lead[0])
    p += _where(g, lead[0])
    gq = gk = gv = None
    packed = _packed(q, k, v) if pieces == 1 and all(needs[:3]) else None
    if needs[0] and pieces > 1:
        parts = np.empty((pieces, *full, length, q.shape[-1]), q.dtype)
        p[15] = parts.strides[0]
        p += _where(parts[0], lead[0])
    elif needs[0]:
        gq = packed[0] if packed else _like((*full, length, q.shape[-1]), q)
        p += _where(gq, lead[0])
    else:
        p += _NOWHERE
    if needs[1]:
        gk = packed[1] if packed else _like((*own, keys, k.shape[-1]), k)
    if needs[2]:
        gv = packed[2] if packed else _like((*own, keys, v.shape[-1]), v)
    for x in (gk, gv):
        p += _NOWHERE if x is None else _where(x, lead[0])
    _run(_BACKWARD, q.dtype, p, lse.size * k.shape[-2] * (q.shape[-1] + v.shape[-1]))
    if needs[0] and pieces > 1:
        gq = parts.sum(axis=0)
    return *(x if x is None else sum_to(x, of.shape)
             for x, of in ((gq, q), (gk, k), (gv, v))), None
