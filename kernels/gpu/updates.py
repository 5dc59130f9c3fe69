"""Updates in place: the steps of SGD and Adam for many parameters, averages, clipping.

The host waits for nothing: the step count, the norm and a learning rate that is a tensor are read
on the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cupy
import numpy as np

from tinygen.primitive import kernel

from .launch import HALVES, MIXED, NOT_FLOAT, SUFFIXES, Source, blocks

__all__: list[str] = []

native = Source("updates")

ROOM, KINDS, CHUNK, THREADS = 64, 5, 4096, 256      # source/updates.cu has the same
TABLE = np.dtype([("at", "u8", (KINDS, ROOM)), ("size", "i8", ROOM), ("last", "i4", ROOM),
                  ("count", "i4"), ("packs", "i4")])
ADAM = np.dtype([(n, "f4") for n in ("coupled", "sign", "towards1", "beta2", "towards2")]
                + [("largest", "i4")])
SGD = np.dtype([("lr", "f8"), *((n, "f4") for n in ("coupled", "sign", "momentum", "share")),
                ("buffer", "i4"), ("nesterov", "i4")])

NUMBERS = "numbers that are not float32 on the device"
UNLIKE = "arrays that differ in size"
SCATTERED = "an array that is neither contiguous nor a permutation of contiguous axes"


class _Tables:
    """Kinds of n arrays as tables for launches, or `.reason` why there are none.

    The first kind is changed, and so may be the others but the second where `copies` allows to
    bring those into the memory order of the first.
    """

    def __init__(self, kinds: Sequence[Sequence[Any]], copies: bool = True):
        self.reason = ""
        first = kinds[0]
        self.suffix = SUFFIXES.get(first[0].dtype, "") if first else ""
        if not self.suffix:
            self.reason = NOT_FLOAT
            return
        self.kinds = [first]
        for k, arrays in enumerate(kinds[1:], 1):
            found = []
            for lead, a in zip(first, arrays):
                if a.dtype != lead.dtype or lead.dtype != first[0].dtype:
                    self.reason = MIXED
                elif a.size != lead.size:
                    self.reason = UNLIKE
                elif a.strides != lead.strides and a.size > 1:
                    if k == 1 and copies and a.shape == lead.shape:
                        same = cupy.empty_like(lead)
                        same[...] = a
                        a = same
                    else:
                        self.reason = SCATTERED
                found.append(a)
            self.kinds.append(found)
        for a in first:
            if a.dtype != first[0].dtype:
                self.reason = MIXED
            elif not dense(a):
                self.reason = SCATTERED

    def __iter__(self) -> Iterator[tuple[np.ndarray, int]]:
        """Each table, and its number of blocks."""
        live = [i for i, a in enumerate(self.kinds[0]) if a.size]
        for start in range(0, len(live), ROOM):
            part = live[start:start + ROOM]
            table = np.zeros((), TABLE)
            sizes = [self.kinds[0][i].size for i in part]
            packs = True
            for k, arrays in enumerate(self.kinds):
                places = [arrays[i].data.ptr for i in part]
                table["at"][k, :len(part)] = places
                packs = packs and not any(p % (4 * arrays[0].itemsize) for p in places)
            table["size"][:len(part)] = sizes
            table["last"][:len(part)] = np.cumsum([blocks(n, CHUNK) for n in sizes])
            table["count"], table["packs"] = len(part), packs
            yield table, int(table["last"][len(part) - 1])

    def run(self, name: str, *args: Any) -> None:
        """Launch a kernel on all arrays."""
        for table, count in self:
            native(f"{name}_{self.suffix}", count, THREADS, table, *args)


def dense(a: Any) -> bool:
    """Whether an array's elements fill its memory without gaps, in whatever order of its axes."""
    if a.flags.c_contiguous:
        return True
    step = a.itemsize
    for stride, n in sorted((s, n) for s, n in zip(a.strides, a.shape) if n > 1):
        if stride != step:
            return False
        step *= n
    return True


def _rate(lr: Any) -> tuple[Any, float]:
    """A learning rate as (an address on the device or None, a number)."""
    if isinstance(lr, cupy.ndarray):
        return lr.astype(np.float64), 0.0
    return None, float(lr)


# -- steps of optimizers --------------------------------------------------------------------------


@kernel("adam_updates", cupy.ndarray, dtypes=HALVES)
def _(*arrays: Any, count: int, shared: Any, **how: Any) -> Any:
    kinds = [arrays[k * count:(k + 1) * count] for k in range(5)]
    return _adam(kinds if kinds[4][0] is not None else kinds[:4], *arrays[-2:], **how)


@kernel("adam_update", cupy.ndarray, dtypes=HALVES)
def _(p: Any, g: Any, m: Any, v: Any, v_max: Any, step: Any, lr: Any, **how: Any) -> Any:
    return _adam([[a] for a in (p, g, m, v, v_max) if a is not None], step, lr, **how)


def _adam(kinds: Sequence[Sequence[Any]], step: Any, lr: Any, *, beta1: float, beta2: float,
          eps: float, weight_decay: float, decoupled: bool, maximize: bool) -> Any:
    tables = _Tables(kinds)
    if tables.reason:
        return tables.reason
    if not isinstance(step, cupy.ndarray) or step.dtype != np.float32:
        return "a step that is not a float32 on the device"
    place, rate = _rate(lr)
    factors = cupy.empty(3, np.float32)
    native("adam_begin", 1, 1, step, place, *map(np.float64, (
        rate, beta1, beta2, eps, weight_decay if decoupled else 0.0)), factors)
    formula = np.array((0.0 if decoupled else weight_decay, -1.0 if maximize else 1.0, 1 - beta1,
                        beta2, 1 - beta2, len(kinds) == KINDS), ADAM)
    tables.run("adam", factors, formula)
    return kinds[0][0]


@kernel("sgd_updates", cupy.ndarray, dtypes=HALVES)
def _(*arrays: Any, count: int, shared: Any, **how: Any) -> Any:
    kinds = [arrays[k * count:(k + 1) * count] for k in range(3)]
    return _sgd(kinds if kinds[2][0] is not None else kinds[:2], arrays[-1], **how)


@kernel("sgd_update", cupy.ndarray, dtypes=HALVES)
def _(p: Any, g: Any, buf: Any, lr: Any, **how: Any) -> Any:
    return _sgd([[a] for a in (p, g, buf) if a is not None], lr, **how)


def _sgd(kinds: Sequence[Sequence[Any]], lr: Any, *, momentum: float, dampening: float,
         weight_decay: float, nesterov: bool, maximize: bool) -> Any:
    tables = _Tables(kinds)
    if tables.reason:
        return tables.reason
    place, rate = _rate(lr)
    formula = np.array((rate, weight_decay, -1.0 if maximize else 1.0, momentum, 1 - dampening,
                        len(kinds) == 3, nesterov), SGD)
    tables.run("sgd", place, formula)
    return kinds[0][0]


# -- averages -------------------------------------------------------------------------------------


@kernel("mix_update", cupy.ndarray, dtypes=HALVES)
def _(mean: Any, x: Any, *, weight: float) -> Any:
    return _mix((mean,), (x,), weight=weight)


@kernel("ema_update", cupy.ndarray, dtypes=HALVES)
def _(mean: Any, x: Any, updates: Any, *, decay: float, warm_up: bool) -> Any:
    if mean.dtype.kind not in "fV":
        mean[...] = x                   # a counter is copied: it has no mean
        return mean
    return _mix((mean,), (x,), updates, decay, warm_up)


@kernel("ema_updates", cupy.ndarray, dtypes=HALVES)
def _(updates: Any, *arrays: Any, count: int, decay: float, warm_up: bool) -> Any:
    return _mix(arrays[:count], arrays[count:], updates, decay, warm_up)


def _mix(means: Sequence[Any], xs: Sequence[Any], updates: Any = None, decay: float = 0.0,
         warm_up: bool = False, weight: float = 0.0) -> Any:
    if updates is not None and (not isinstance(updates, cupy.ndarray)
                                or updates.dtype != np.int64):
        return "a number of updates that is not an int64 on the device"
    tables = _Tables([means, xs])
    if tables.reason:
        return tables.reason
    tables.run("mix", np.float64(weight), updates, np.float64(decay), bool(warm_up))
    return means[0]


@kernel("update_statistics", cupy.ndarray, dtypes=HALVES)
def _(mean: Any, var: Any, running_mean: Any, running_var: Any, tracked: Any = None, *,
      momentum: float | None, correction: float) -> Any:
    suffix = SUFFIXES.get(mean.dtype)
    if suffix is None:
        return NOT_FLOAT
    arrays = [a for a in (mean, var, running_mean, running_var) if a is not None]
    if any(a.dtype != mean.dtype or not a.flags.c_contiguous for a in arrays):
        return MIXED
    if any(a.size != mean.size for a in arrays) or not mean.size:
        return UNLIKE
    if tracked is not None and tracked.dtype != np.int64:
        return "a count that is not an int64"
    if momentum is None and tracked is None:
        return "no momentum, and nothing that counts batches"
    native(f"follow_{suffix}", 1, THREADS, mean, var, running_mean, running_var, tracked,
           np.int32(mean.size), np.float64(0.0 if momentum is None else momentum),
           np.float64(correction), momentum is None)
    return mean


# -- clipping, and scaled losses ------------------------------------------------------------------


def _alike(*kinds: Sequence[Any]) -> list[_Tables]:
    """Tables of the arrays of each type."""
    found: dict[Any, list[list[Any]]] = {}
    for arrays in zip(*kinds):
        for kind, array in zip(found.setdefault(arrays[0].dtype, [[] for _ in kinds]), arrays):
            kind.append(array)
    return [_Tables(same) for same in found.values()]


def _reason(tables: Sequence[_Tables]) -> str:
    return next((t.reason for t in tables if t.reason), "")


def _one(*numbers: Any) -> bool:
    """Whether these are single float32 numbers on the device."""
    return all(isinstance(x, cupy.ndarray) and x.dtype == np.float32 and x.size == 1
               for x in numbers)


@kernel("total_norm", cupy.ndarray, dtypes=HALVES)
def _(*arrays: Any, order: float) -> Any:
    if order != 2:
        return "an order other than 2"
    tables = _alike([a if dense(a) else cupy.ascontiguousarray(a) for a in arrays])
    if _reason(tables):
        return _reason(tables)
    launches = [(t.suffix, table, count) for t in tables for table, count in t]
    total = sum(count for *_, count in launches)
    sums, norm = cupy.empty(max(1, total), np.float64), cupy.empty((), np.float32)
    at = 0
    for suffix, table, count in launches:
        native(f"squares_{suffix}", count, THREADS, table, sums[at:])
        at += count
    native("norm_of", 1, THREADS, sums, total, norm)
    return norm


@kernel("scale_to_norm", cupy.ndarray, dtypes=HALVES)
def _(total: Any, *arrays: Any, max_norm: float) -> Any:
    tables = _alike(arrays)
    if _reason(tables) or not _one(total):
        return _reason(tables) or NUMBERS
    for t in tables:
        t.run("scale_to", total, np.float64(max_norm))
    return total


@kernel("unscale", cupy.ndarray, dtypes=HALVES)
def _(scale: Any, *grads: Any) -> Any:
    tables = _alike(grads)
    if _reason(tables) or not _one(scale):
        return _reason(tables) or NUMBERS
    found = cupy.zeros((), np.float32)
    for t in tables:
        t.run("unscale", scale, found)
    return found


@kernel("restore_where", cupy.ndarray, dtypes=HALVES)
def _(skip: Any, *arrays: Any, count: int) -> Any:
    tables = _alike(arrays[:count], arrays[count:])
    if _reason(tables) or not _one(skip):
        return _reason(tables) or NUMBERS
    for t in tables:
        t.run("restore", skip)
    return skip


@kernel("update_scale", cupy.ndarray, dtypes=HALVES)
def _(scale: Any, steps: Any, found: Any, *, growth: float, backoff: float, interval: int) -> Any:
    if not _one(scale, found) or steps.dtype != np.int32:
        return NUMBERS
    native("rescale", 1, 1, scale, steps, found, float(growth), float(backoff),
           np.int32(min(interval, 2 ** 31 - 1)))
    return scale
