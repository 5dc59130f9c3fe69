"""Device memory of the double: guarded, poisoned, and known by its addresses.

Every allocation lies between two guard zones of 4 KiB. A write that misses its array by less is
found after each launch (`check`), and at the end of each test (`check_all`).
"""

from __future__ import annotations

import bisect
import itertools
import threading
import weakref
from typing import Any

import numpy as np

__all__ = ["GUARD", "Block", "MemoryPointer", "OutOfBounds", "allocate", "block_of", "check",
           "check_all", "current_device", "find", "like", "owner_of", "used"]

GUARD = 4096          # bytes before and behind every allocation
ALIGN = 256           # what cudaMalloc promises at least
# A guard zone holds NaN, so that reading past an end shows too; not the same NaN as that of the
# allocations before, so that what was read there and written here is seen.
_ZONES = 7
_POISON = 0xFF        # NaN as float16, bfloat16, float32 and float64; -1 or the largest as integers


class OutOfBounds(RuntimeError):
    """Something was written outside of an array, or a pointer leads to no array."""


class Block:
    """One allocation in `raw`: guard, data, guard. It lives as long as an array on it does."""

    __slots__ = ("__weakref__", "device", "nbytes", "pool", "ptr", "raw", "start", "users", "zone")

    def __init__(self, raw: np.ndarray, nbytes: int, device: int):
        address = raw.ctypes.data
        self.start = GUARD + (-address - GUARD) % ALIGN
        self.ptr = address + self.start
        self.nbytes, self.device = nbytes, device
        self.users = 0                # arrays and pointers of the device that lead here
        self.pool = weakref.ref(pools[-1]) if pools and pools[-1] is not None else None
        if self.pool is not None:
            pools[-1].blocks.append(raw)        # a pool keeps what is freed while it lives
        # Even and odd bytes: a signalling NaN as float32 and bfloat16, of which arithmetic makes a
        # quiet one, so that y[n] = f(y[n]) shows; NaN as float16, 1e304 as float64.
        self.zone = (0xA0 + next(_serial) % _ZONES, 0xFF)
        raw[0::2], raw[1::2] = self.zone
        raw[self.start:self.start + nbytes] = _POISON
        self.raw: weakref.ref[np.ndarray] = weakref.ref(raw, self._freed)

    def _freed(self, _: Any) -> None:
        _live.pop(self.ptr, None)

    def check(self) -> None:
        """Raise when a guard zone was written to."""
        raw = self.raw()
        if raw is None:
            return
        for first, last in ((0, self.start), (self.start + self.nbytes, len(raw))):
            wrong = [i for parity in (0, 1) for i in self._spoilt(raw, first, last, parity)]
            if wrong:
                raise OutOfBounds(f"a kernel wrote at byte {min(wrong) - self.start} of an "
                                  f"allocation of {self.nbytes} bytes")

    def _spoilt(self, raw: np.ndarray, first: int, last: int, parity: int) -> list[int]:
        """The first even or odd byte of a zone that is not as it was; the zone is mended."""
        start = first + (parity - first) % 2
        part = raw[start:last:2]
        wrong = part != self.zone[parity]
        if not wrong.any():
            return []
        part[...] = self.zone[parity]
        return [start + 2 * int(np.flatnonzero(wrong)[0])]


_serial = itertools.count()
pools: list[Any] = []             # those that `using_allocator` named, innermost last
_live: dict[int, Block] = {}      # address of the data -> block
_current = threading.local()


def current_device() -> int:
    """The number of the device that the calling thread uses."""
    return getattr(_current, "device", 0)


def use_device(number: int) -> None:
    """Make `number` the device of the calling thread."""
    _current.device = number


def allocate(shape: tuple[int, ...], dtype: Any, strides: tuple[int, ...] | None = None,
             device: int | None = None) -> np.ndarray:
    """A poisoned NumPy array in guarded memory; `strides` must be those of a dense array."""
    kind = np.dtype(dtype)
    size = 1
    for n in shape:
        size *= n
    nbytes = size * kind.itemsize
    raw: Any = np.empty(nbytes + 2 * GUARD + ALIGN, np.uint8)
    block = Block(raw, nbytes, current_device() if device is None else device)
    _live[block.ptr] = block
    return np.ndarray(shape, kind, buffer=raw, offset=block.start, strides=strides)


def like(array: np.ndarray) -> np.ndarray:
    """A copy in guarded memory, with the same strides where the array is dense."""
    extent = sum((n - 1) * abs(s) for n, s in zip(array.shape, array.strides)) + array.itemsize
    dense = array.size and min(array.strides, default=1) > 0 and extent == array.nbytes
    out = allocate(array.shape, array.dtype, array.strides if dense else None)
    out[...] = array
    return out


def owner_of(array: np.ndarray) -> Any:
    """The array that owns the memory of a view."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def block_of(array: np.ndarray) -> Block | None:
    """The allocation in which the array lies, or None where it lies in ordinary memory."""
    owner = owner_of(array)
    address = owner.ctypes.data
    ptr = address + GUARD + (-address - GUARD) % ALIGN
    block = _live.get(ptr)
    return block if block is not None and block.raw() is owner else None


def find(ptr: int, nbytes: int = 0) -> np.ndarray:
    """The bytes from a device address on, `nbytes` of them or all that are left.

    For doubles of libraries that are given bare pointers.

    Raises:
        OutOfBounds: the range is not inside one allocation.
    """
    starts = sorted(_live)
    i = bisect.bisect_right(starts, ptr) - 1
    block = _live[starts[i]] if i >= 0 else None
    raw = None if block is None else block.raw()
    if block is None or raw is None or ptr + nbytes > block.ptr + block.nbytes:
        raise OutOfBounds(f"{nbytes} bytes at {ptr:#x} are not inside one allocation")
    first = block.start + ptr - block.ptr
    last = first + nbytes if nbytes else block.start + block.nbytes
    return raw[first:last]


def check(arrays: Any) -> None:
    """Look at the guard zones around the given arrays."""
    for array in arrays:
        block = block_of(array)
        if block is not None:
            block.check()


def check_all() -> None:
    """Look at the guard zones of every live allocation."""
    for block in list(_live.values()):
        block.check()


def used(device: int | None = None) -> int:
    """How many bytes live arrays take (on one device)."""
    return sum(b.nbytes for b in _live.values() if device in (None, b.device))


class MemoryPointer:
    """What CuPy's `array.data` is: an address, and what keeps it alive."""

    def __init__(self, owner: Any, ptr: int, device: int):
        self.mem, self.ptr, self._device = owner, ptr, device
        self._block = block_of(owner) if isinstance(owner, np.ndarray) else None
        if self._block is not None:
            self._block.users += 1

    def __del__(self) -> None:
        if self._block is not None:
            self._block.users -= 1

    @property
    def device_id(self) -> int:
        """The number of the device that the address is on."""
        return self._device

    def __int__(self) -> int:
        return self.ptr

    def __add__(self, offset: int) -> MemoryPointer:
        return MemoryPointer(self.mem, self.ptr + offset, self._device)

    def memset_async(self, value: int, size: int, stream: Any = None) -> None:
        """Fill bytes."""
        find(self.ptr, size)[...] = value

    memset = memset_async
