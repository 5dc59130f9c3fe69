"""Reading and writing parts of device arrays, with what CuPy does differently from NumPy.

* An integer index gives a view without axes, not a number.
* Index arrays outside of the array wrap around; nothing is raised, since nobody looks.
* A boolean mask is counted on the device, and the host waits for the count when it reads.
* Where an index array names a place twice, which value stays is not defined.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import capture, memory
from .array import SCALARS, ndarray, unwrap
from .counting import count

__all__ = ["get", "put", "scatter"]


def _item(i: Any, name: str) -> Any:
    """One entry of an index: numbers, slices and device arrays; lists are copied to the device."""
    if isinstance(i, ndarray):
        if i.dtype.kind not in "biu":
            raise IndexError("arrays used as indices must be of integer or boolean type. "
                             f"(actual: {i.dtype})")
        return unwrap(i, name)
    if isinstance(i, np.ndarray):
        raise TypeError(f"{name}: a host array is used as the index of a device array; CuPy "
                        "would copy it at every call")
    if isinstance(i, (list, bool, np.bool_)):
        count("h2d", name)
        array = np.asarray(i)
        return array.astype(np.int32) if not array.size else array
    return i


def _entries(index: Any, name: str) -> tuple[Any, ...]:
    return tuple([_item(i, name) for i in (index if isinstance(index, tuple) else (index,))])


def _wrapped(a: np.ndarray, entries: tuple[Any, ...]) -> tuple[Any, ...]:
    """The entries with integer arrays reduced modulo their axes."""
    width = sum(0 if i is None or i is Ellipsis else i.ndim if isinstance(i, np.ndarray)
                and i.dtype == bool else 1 for i in entries)
    out, axis = [], 0
    for i in entries:
        if i is None:
            out.append(i)
            continue
        if i is Ellipsis:
            axis += a.ndim - width
        elif isinstance(i, np.ndarray) and i.dtype == bool:
            axis += i.ndim
        else:
            if isinstance(i, np.ndarray) and axis < a.ndim and a.shape[axis]:
                i = i % a.shape[axis]
            axis += 1
        out.append(i)
    return tuple(out)


def get(x: ndarray, index: Any) -> ndarray:
    """`x[index]`."""
    a = unwrap(x, "getitem")
    entries = _entries(index, "getitem")
    arrays = [i for i in entries if isinstance(i, np.ndarray)]
    if not arrays:
        if Ellipsis not in entries:
            entries = (*entries, Ellipsis)     # so that the result is a view, not a number
        return x._view(a[entries])
    count("launches", "getitem")
    if any(i.dtype == bool for i in arrays):
        capture.refuse("a boolean mask")
        count("syncs", "boolean mask")

    def fetch(a: np.ndarray, *arrays: np.ndarray) -> Any:
        return a[_wrapped(a, entries)]
    y = np.asarray(capture.run(fetch, [a, *arrays], {}))
    return capture.results(ndarray._of(memory.like(y)), fetch, [a, *arrays], {})


def _value(value: Any, name: str, through_arrays: bool) -> Any:
    if isinstance(value, np.ndarray):
        raise TypeError(f"{name}: a host array is assigned to a part of a device array")
    if isinstance(value, ndarray):
        return unwrap(value, name)
    if not isinstance(value, SCALARS) or through_arrays:
        count("h2d", name)        # CuPy makes an array of it first
    return value


def put(x: ndarray, index: Any, value: Any) -> None:
    """`x[index] = value`."""
    a = unwrap(x, "setitem")
    entries = _entries(index, "setitem")
    arrays = [i for i in entries if isinstance(i, np.ndarray)]
    v = _value(value, "setitem", bool(arrays))
    count("launches", "setitem")
    integers = [i for i in arrays if i.dtype != bool]

    def store() -> None:
        at = _wrapped(a, entries)
        if len(entries) == 1 and integers and isinstance(v, np.ndarray) and (
                v.shape[:1] == integers[0].shape[:1]):     # twice the same place: the first wins
            a[at[0][::-1]] = v[::-1]
        else:
            a[at] = v
    with np.errstate(all="ignore"):
        capture.do(store)


def scatter(ufunc: Any, x: ndarray, index: Any, value: Any) -> None:
    """`x[index] (+)= value`, where a place may be named several times."""
    allowed = ("int32", "uint32", "uint64", "float32", "float64",
               *(("float16",) if ufunc is np.add else ()))
    if x.dtype.name not in allowed:
        raise TypeError(f"scatter_{ufunc.__name__} only supports {', '.join(allowed)}, "
                        f"not {x.dtype}")
    a = unwrap(x, "scatter")
    entries = _entries(index, "scatter")
    arrays = [i for i in entries if isinstance(i, np.ndarray)]
    v = _value(value, "scatter", bool(arrays))
    count("launches", f"scatter_{ufunc.__name__}")
    capture.do(lambda: ufunc.at(a, _wrapped(a, entries), v))
