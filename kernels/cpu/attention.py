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

from .lazy import F32, F64, NOT_FLOAT, Native, address_of

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
# The same for them: what takes time is to fetch keys and values, which are used once, from beyond
# the caches: 16 x 4 heads of 128 keys 133 us with one thread, 79 with two; of 32 keys 45 and 38.
WORTH_A_THREAD_FEW = 1 << 16
# Heads, or groups of heads that share keys, from which on a thread does whole ones in backward.
# Fewer have their keys cut in two to four pieces of blocks, in the same way for any number of
# threads; each piece turns the queries again, so more of them cost more than they balance.
HEADS, BLOCK = 8, 64
# Parts for each thread: at most, and so many that their sizes may differ by one.
PARTS, EVEN = 16, 4


def _where(x: np.ndarray, lead: tuple[int, int, int]) -> list[int]:
    """Address, strides of the three leading axes (0 along those it lacks), distance of rows."""
    shape, strides = x.shape, x.strides
    missing = 5 - len(shape)
    at = [address_of(x)]
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


def _refused(arrays: tuple[Any, ...], masks: tuple[Any, ...]) -> str | None:
    """Why a call is not for these kernels: shapes and strides; `masks` cover queries and keys."""
    for x in arrays:
        if not x.size:
            return EMPTY
        if x.strides[-1] != x.itemsize and x.shape[-1] != 1:
            return STRIDES
        if x.ndim > 5:
            return AXES
    keys = arrays[1].shape[-2]
    for m in masks:
        if m is None:
            continue
        if m.ndim > 5:
            return AXES
        if m.ndim == 0 or m.shape[-1] != keys or (keys > 1 and m.strides[-1] != m.itemsize):
            return MASK_ROWS
    return None


class _Room:
    """An array to make: its shape in memory, its type, and the order of axes that it is seen in."""

    __slots__ = ("axes", "dtype", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: Any, axes: tuple[int, ...] | None = None):
        self.shape, self.dtype, self.axes = shape, dtype, axes

    def make(self) -> np.ndarray:
        x = np.empty(self.shape, self.dtype)
        return x if self.axes is None else x.transpose(self.axes)


def _like(shape: tuple[int, ...], model: np.ndarray) -> _Room:
    """Room for an array whose last axes but one have the order in memory of `model`'s: heads that
    are slices of (N, L, H, E) give results that are, too."""
    if model.ndim == 4 and len(shape) == 4 and model.strides[1] < model.strides[2]:
        n, h, length, width = shape
        return _Room((n, length, h, width), model.dtype, (0, 2, 1, 3))
    return _Room(shape, model.dtype)


_FORWARD, _BACKWARD, _FEW = 0, 1, 2
# Places in the description of a call, as in native/attention_parts.py.
_KEYS = 1
_PIECES, _PIECE_BYTES, _NEEDS, _CODES = 14, 15, 16, 20
_Q, _K, _V, _M, _KEPT, _Y, _LSE, _G, _GQ, _GK, _GV = range(24, 79, 5)


class _Plan:
    """What is known of a call before its addresses are: the description and the shapes."""

    __slots__ = ("backwards", "batches", "codes", "full", "heads", "lead", "lse", "own", "packed",
                 "told", "work", "y")

    def __init__(self, q: Any, k: Any, v: Any, mask: Any, keep: Any, causal: bool, offset: int,
                 scale: float):
        self.lead, own, group = _leading(q, k, v)
        rank = 5 - max(q.ndim, k.ndim, v.ndim)
        self.full, self.own = self.lead[rank:], own[rank:]
        (length, e), (keys, ev) = q.shape[-2:], v.shape[-2:]
        self.batches, self.heads = own[0] * own[1], math.prod(self.lead)
        self.work = self.heads * length * (e + ev)               # for each key
        self.codes = native.codes(q.dtype.type)
        kind = 0 if mask is None else 1 if mask.dtype.kind == "b" else 2
        self.told = told = np.zeros(79, np.int64)
        told[:17] = (length, keys, e, ev, causal, offset, kind, keep is not None, *own, *group,
                     1, 0, 1)
        told[17:20] = (1, 1, int.from_bytes(struct.pack("d", scale), sys.byteorder, signed=True))
        told[_CODES:_CODES + 4] = self.codes[3:]
        self.y = _like((*self.full, length, ev), q)
        self.lse = _Room((*self.full, length), q.dtype)
        self.packed = _packed(q, k, v)
        self.backwards: dict[Any, _Backward] = {}
        for at, x in ((_Q, q), (_K, k), (_V, v), (_M, mask), (_KEPT, keep), (_Y, self.y.make()),
                      (_LSE, self.lse.make()[..., None])):
            if x is not None:
                self.put(told, at, x)

    def put(self, told: np.ndarray, at: int, x: np.ndarray) -> None:
        """Say where an array lies."""
        told[at:at + 5] = _where(x, self.lead)

    def run(self, which: int, told: np.ndarray, keys: int, tasks: int) -> None:
        """Run a kernel on its tasks, in parts of about as many.

        A part is a range of neighbours in memory, and the pool's threads take parts from the two
        ends: so nobody writes to lines that another core writes to, and each core finds what it
        wrote in the kernel before. With heads one by one, for whoever asked first, two threads
        were no faster than one: 48 heads of 64 x 32, causal, took 0.22 ms, and 0.13 in parts.
        """
        worth = WORTH_A_THREAD_FEW if which == _FEW else WORTH_A_THREAD
        parts = nt = 1 if self.work * keys < 2 * worth else count.value
        if nt > 1:
            # The heads of a batch may lie side by side.
            parts = min(PARTS * nt, self.batches if self.batches >= EVEN * nt else tasks)
        if native.launch(self.codes[which], address_of(told), parts):
            raise MemoryError("no memory for the scratch of attention")


_plans: dict[Any, _Plan] = {}
# Remembered at most: a call with a new one takes 10 us longer, and 20 in backward.
PLANS, BACKWARDS = 512, 16


def _plan(q: Any, k: Any, v: Any, mask: Any, keep: Any, *call: Any) -> _Plan | str:
    """The plan of a call, or why it is declined."""
    dtype = q.dtype
    if dtype is not F32 and dtype is not F64:
        return NOT_FLOAT
    if k.dtype is not dtype or v.dtype is not dtype or (
            keep is not None and keep.dtype is not dtype):
        return DTYPES
    about = None
    if mask is not None:
        if mask.dtype is not dtype and mask.dtype.kind != "b":
            return DTYPES
        about = mask.shape, mask.strides, mask.dtype.num
    key: Any
    if about is None and keep is None and q.shape[-2] <= FEW and k.shape[-2] > 1:
        # Decoding meets one more key at every step: a plan serves any number of them.
        key = (dtype.num, q.shape, q.strides, k.shape[:-2], k.strides, v.shape[:-2], v.shape[-1],
               v.strides, call)
    else:
        key = (dtype.num, q.shape, q.strides, k.shape, k.strides, v.shape, v.strides, about,
               keep if keep is None else (keep.shape, keep.strides), call)
    plan = _plans.get(key)
    if plan is None:
        why = _refused((q, k, v), (mask, keep))
        if why:
            return why
        if len(_plans) >= PLANS:
            _plans.clear()
        plan = _plans[key] = _Plan(q, k, v, mask, keep, *call)
    return plan


def _addressed(told: np.ndarray, keys: int, at: tuple[int, int, int], mask: Any,
               keep: Any) -> np.ndarray:
    """The description of a call with the addresses of its inputs; `at` are those of q, k and v."""
    told = told.copy()
    told[_KEYS] = keys
    told[_Q], told[_K], told[_V] = at
    if mask is not None:
        told[_M] = address_of(mask)
    if keep is not None:
        told[_KEPT] = address_of(keep)
    return told


def _packed(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> _Room | None:
    """Room for three gradients that lie like q, k and v, if these have the strides of slices of
    one projection. So the gradient of the projection is there when they are."""
    if q.ndim != 4 or not q.shape == k.shape == v.shape or not q.strides == k.strides == v.strides:
        return None
    n, h, length, d = q.shape
    e = h * d * q.itemsize
    if q.strides[1] * h == e:
        if (q.strides[2], q.strides[0]) == (3 * e, 3 * e * length):
            return _Room((n, length, 3, h, d), q.dtype, (2, 0, 3, 1, 4))
        if (q.strides[0], q.strides[2]) == (3 * e, 3 * e * n):
            return _Room((length, n, 3, h, d), q.dtype, (2, 1, 3, 0, 4))
    return None


class _Backward:
    """What is known of a backward call: its description, and room for the gradients."""

    __slots__ = ("pieces", "rooms", "tasks", "together", "told")

    def __init__(self, plan: _Plan, g: Any, y: Any, q: Any, k: Any, v: Any,
                 needs: tuple[bool, ...], packed: bool):
        (length, e), (keys, ev) = q.shape[-2:], v.shape[-2:]
        groups = math.prod(plan.own)
        self.pieces = 1 if groups >= HEADS else min(-(-keys // BLOCK), max(2, 4 // groups))
        self.tasks = groups * self.pieces
        self.together = plan.packed if packed and self.pieces == 1 and all(needs[:3]) else None
        rooms = [_like((*plan.full, length, e), q), _like((*plan.own, keys, e), k),
                 _like((*plan.own, keys, ev), v)]
        if self.pieces > 1:
            rooms[0] = _Room((self.pieces, *plan.full, length, e), q.dtype)
        self.rooms = [room if needed else None for room, needed in zip(rooms, needs, strict=False)]
        self.told = told = plan.told.copy()
        told[_PIECES], told[_NEEDS:_NEEDS + 3] = self.pieces, needs[:3]
        plan.put(told, _Y, y)
        plan.put(told, _G, g)
        for at, x in zip((_GQ, _GK, _GV), self.make(), strict=True):
            if x is not None:
                split = at == _GQ and self.pieces > 1
                told[_PIECE_BYTES] = x.strides[0] if split else told[_PIECE_BYTES]
                plan.put(told, at, x[0] if split else x)

    def make(self) -> list[Any]:
        """Arrays for the gradients of q, k and v; None for one that is not needed."""
        if self.together is not None:
            return list(self.together.make())
        return [room and room.make() for room in self.rooms]


@kernel("attention", np.ndarray)
def _(q: Any, k: Any, v: Any, mask: Any = None, keep: Any = None, *, causal: bool, offset: int,
      scale: float) -> Any:
    plan = _plan(q, k, v, mask, keep, causal, offset, scale)
    if type(plan) is str:
        return plan
    length, keys = q.shape[-2], k.shape[-2]
    y, lse = plan.y.make(), plan.lse.make()
    told = _addressed(plan.told, keys, (address_of(q), address_of(k), address_of(v)), mask, keep)
    told[_Y], told[_LSE] = address_of(y), address_of(lse)
    if length <= FEW:
        plan.run(_FEW, told, keys, plan.heads * length)
    else:
        plan.run(_FORWARD, told, keys, plan.heads * -(-length // BLOCK))
    return y, lse


@kernel("attention_vjp", np.ndarray)
def _(g: Any, y: Any, lse: Any, q: Any, k: Any, v: Any, mask: Any = None, keep: Any = None, *,
      needs: tuple[bool, ...], causal: bool, offset: int, scale: float) -> Any:
    if len(needs) > 3 and needs[3]:
        return MASK_GRADIENT
    plan = _plan(q, k, v, mask, keep, causal, offset, scale)
    if type(plan) is str:
        return plan
    if g.strides[-1] != g.itemsize or g.dtype is not q.dtype:
        g = np.ascontiguousarray(g, q.dtype)
    at, keys = (address_of(q), address_of(k), address_of(v)), k.shape[-2]
    packed = plan.packed is not None and (
        at[1] - at[0] == at[2] - at[1] == q.strides[1] * q.shape[1])
    key = keys, y.strides, g.strides, needs, packed
    back = plan.backwards.get(key)
    if back is None:
        if len(plan.backwards) >= BACKWARDS:
            plan.backwards.clear()
        back = plan.backwards[key] = _Backward(plan, g, y, q, k, v, needs, packed)
    told = _addressed(back.told, keys, at, mask, keep)
    told[_Y], told[_LSE], told[_G] = address_of(y), address_of(lse), address_of(g)
    made = back.make()
    for place, x in zip((_GQ, _GK, _GV), made, strict=True):
        if x is not None:
            told[place] = address_of(x)
    plan.run(_BACKWARD, told, keys, back.tasks)
    if back.pieces > 1 and made[0] is not None:
        made[0] = made[0].sum(axis=0)
    return *(x if x is None or x.shape == of.shape else sum_to(x, of.shape)
             for x, of in zip(made, (q, k, v), strict=True)), None
