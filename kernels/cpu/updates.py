"""Updates in place: the steps of SGD and Adam for many parameters, averages, clipping."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from tinygen.primitive import kernel

from .lazy import F32, F64, NOT_FLOAT, Native, threads_for

__all__: list[str] = []

native = Native("updates")

# Elements for which one more thread pays: Adam takes 0.3 ns for one, a launch 1 us.
GRAIN = 1 << 13
LIKE = {F32: np.zeros(1, F32), F64: np.zeros(1)}      # they tell compiled code the dtype
UNLIKE = "arrays that differ in dtype or size"
SCATTERED = "an array that is not contiguous, or read-only"


def _table(changed: Sequence[Any], others: Sequence[Any] = (), turned: bool = False) -> Any:
    """(ids, ends, the arrays): a row of ids for each kind of array; or why there is none.

    `changed` holds the arrays that are written, kind after kind; `others` stand in the second row
    and are copied where they lie otherwise in memory. Dense arrays of other layouts than C's are
    `turned` into it: any order of the elements will do, if it is the same for all kinds.
    """
    dtype = changed[0].dtype
    if dtype not in LIKE:            # equality, not identity: what was unpickled has its own dtypes
        return NOT_FLOAT
    n = len(others) or len(changed)
    read = [a if a.flags.carray else np.array(a, order="C") for a in others]
    arrays = [*changed[:n], *read, *changed[n:]]
    sizes = [a.size for a in arrays]
    if sizes != sizes[:n] * (len(arrays) // n):
        return UNLIKE
    for a in arrays:
        if a.dtype is not dtype and a.dtype != dtype:
            return UNLIKE
        if not a.flags.carray:
            return SCATTERED if turned else _table(_turned(changed, n), _turned(others, n, changed),
                                                   True)
    ids = np.fromiter(map(id, arrays), np.int64, len(arrays)).reshape(-1, n)
    return ids, np.fromiter(accumulate(sizes[:n]), np.int64, n), arrays


def _turned(arrays: Sequence[Any], n: int, like: Sequence[Any] = ()) -> list[Any]:
    """Kinds of n arrays, the axes in the order in which those of the first kind lie in memory."""
    orders = [sorted(range(a.ndim), key=lambda k, a=a: -a.strides[k])  # type: ignore[misc]
              for a in (like or arrays)[:n]]
    return [a.transpose(orders[i % n]) for i, a in enumerate(arrays)]


# -- steps of optimizers --------------------------------------------------------------------------


@kernel("adam_updates", np.ndarray)
def _(*arrays: Any, count: int, shared: Any, **how: Any) -> Any:
    kept = arrays[2 * count:-2]
    return _adam(arrays[:count], arrays[count:2 * count],
                 kept[:-count] if kept[-1] is None else kept, *arrays[-2:], **how)


@kernel("adam_update", np.ndarray)
def _(p: Any, g: Any, m: Any, v: Any, v_max: Any, step: Any, lr: Any, **how: Any) -> Any:
    return _adam((p,), (g,), (m, v) if v_max is None else (m, v, v_max), step, lr, **how)


def _adam(ps: Sequence[Any], gs: Sequence[Any], kept: Sequence[Any], step: Any, lr: Any, *,
          beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool,
          maximize: bool) -> Any:
    found = _table((*ps, *kept), gs)
    if type(found) is str:
        return found
    ids, ends, _held = found
    step += 1
    t, lr = float(step), float(lr)
    root = math.sqrt(1 - beta2 ** t)
    keep, coupled = (1 - lr * weight_decay, 0.0) if decoupled else (1.0, float(weight_decay))
    how = (keep, coupled, -1.0 if maximize else 1.0, 1.0 - beta1, float(beta2), 1.0 - beta2,
           lr * root / (1 - beta1 ** t), eps * root)
    native.adam(ids, ends, how, LIKE[ps[0].dtype], threads_for(int(ends[-1]), GRAIN))
    return ps[0]


@kernel("sgd_updates", np.ndarray)
def _(*arrays: Any, count: int, shared: Any, **how: Any) -> Any:
    return _sgd(arrays[:count], arrays[count:2 * count],
                () if arrays[-2] is None else arrays[2 * count:-1], arrays[-1], **how)


@kernel("sgd_update", np.ndarray)
def _(p: Any, g: Any, buf: Any, lr: Any, **how: Any) -> Any:
    return _sgd((p,), (g,), () if buf is None else (buf,), lr, **how)


def _sgd(ps: Sequence[Any], gs: Sequence[Any], kept: Sequence[Any], lr: Any, *, momentum: float,
         dampening: float, weight_decay: float, nesterov: bool, maximize: bool) -> Any:
    found = _table((*ps, *kept), gs)
    if type(found) is str:
        return found
    ids, ends, _held = found
    how = (float(weight_decay), -1.0 if maximize else 1.0, float(momentum), 1.0 - dampening,
           float(lr))
    native.sgd(ids, ends, how, nesterov, LIKE[ps[0].dtype], threads_for(int(ends[-1]), GRAIN))
    return ps[0]


# -- averages -------------------------------------------------------------------------------------


@kernel("mix_update", np.ndarray, smallest=2048)
def _(mean: Any, x: Any, *, weight: float) -> Any:
    return _mix(mean, x, weight)


@kernel("ema_update", np.ndarray, smallest=2048)
def _(mean: Any, x: Any, updates: Any, *, decay: float, warm_up: bool) -> Any:
    n = int(updates)
    return _mix(mean, x, 1 - (min(decay, (1 + n) / (10 + n)) if warm_up else decay))


def _mix(mean: Any, x: Any, weight: float) -> Any:
    found = _table((mean,), (x,))
    if type(found) is str:
        return found
    ids, ends, _held = found
    native.mix(ids, ends, float(weight), LIKE[mean.dtype], threads_for(mean.size, 2 * GRAIN))
    return mean


# -- clipping -------------------------------------------------------------------------------------


@kernel("total_norm", np.ndarray)
def _(*arrays: Any, order: float) -> Any:
    if order != 2:
        return "an order other than 2"
    found = _table([a if a.flags.carray else np.array(a, order="C") for a in arrays])
    if type(found) is str:
        return found
    ids, ends, held = found
    total = native.squares(ids, ends, LIKE[held[0].dtype], threads_for(int(ends[-1]), 2 * GRAIN))
    return np.asarray(math.sqrt(total), held[0].dtype)


@kernel("scale_to_norm", np.ndarray)
def _(total: Any, *arrays: Any, max_norm: float) -> Any:
    scale = max_norm / (float(total) + 1e-6)
    if scale >= 1:
        return total
    found = _table(arrays)
    if type(found) is str:
        return found
    ids, ends, _held = found
    native.mix(ids, ends, scale, LIKE[arrays[0].dtype],
               threads_for(int(ends[-1]), 2 * GRAIN))
    return total
