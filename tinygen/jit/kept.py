"""Things around a function, each kind in its way: what it held, if that changed, the way back.

Each class has `owner`, `change(written)`, which says in words what is not as it was (or None), and
`back()`. `written` are ids of arrays that recorded operations change: a replay changes them too.
"""

from __future__ import annotations

import functools
import sys
import zlib
from itertools import count
from operator import length_hint
from types import GeneratorType
from typing import Any

import numpy as np

from .. import backend
from ..backend import Generator
from ..mode import CaptureError
from ..tensor import Tensor

__all__ = ["PLAIN", "Array", "Fields", "Items", "Position", "Stream", "Values", "attributes",
           "base", "checksum", "same", "set_state", "shown", "state_of"]

PLAIN = (bool, int, float, complex, str, bytes, tuple, frozenset, type(None))
SMALL = 1 << 13         # bytes of a tensor that are copied in any case
HUGE = 1 << 26          # bytes of one, a data set say, whose checksum takes 17 ms
# What an optimizer and a layer change as they go, and replays change too, or guards look at
_OWN = frozenset({"state", "_plans", "_opt_called"})
_MODE = frozenset({"training"})


def same(now: Any, then: Any) -> bool:
    """The same object, or an equal number or text."""
    return now is then or (type(now) is type(then) and isinstance(then, PLAIN) and now == then)


def shown(value: Any) -> str:
    """A value in a message."""
    if isinstance(value, Tensor) or backend.is_array(value):
        return f"a {value.dtype} {tuple(value.shape)} {type(value).__name__.lower()}"
    return f"{value!r:.40}"


def attributes(x: Any) -> dict[str, Any]:
    """The attributes of an object or class, those in slots too."""
    found = dict(getattr(x, "__dict__", {}))
    for kind in () if isinstance(x, type) else type(x).__mro__:
        names = kind.__dict__.get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            if name not in ("__dict__", "__weakref__") and hasattr(x, name):
                found[name] = getattr(x, name)
    return found


class Fields:
    """The attributes of an object or a class."""

    def __init__(self, owner: Any):
        self.owner, self.then = owner, attributes(owner)
        self.loose = _OWN if hasattr(type(owner), "add_param_group") else _MODE

    def change(self, written: set[int]) -> str | None:
        now = attributes(self.owner)
        kind = self.owner if isinstance(self.owner, type) else type(self.owner)
        for name in {**self.then, **now}:
            if name in self.loose or (name in now and name in self.then and same(
                    now[name], self.then[name])):
                continue
            if isinstance(getattr(kind, name, None), functools.cached_property):
                continue            # it will be the same every time
            if name not in self.then:
                return f"{kind.__name__}.{name}, which was not there before"
            if name not in now:
                return f"{kind.__name__}.{name}, which is gone"
            return (f"{kind.__name__}.{name}, from {shown(self.then[name])} to "
                    f"{shown(now[name])}")
        return None

    def back(self) -> None:
        now = attributes(self.owner)
        put, take = ((type.__setattr__, type.__delattr__) if isinstance(self.owner, type)
                     else (object.__setattr__, object.__delattr__))
        for name in [n for n in now if n not in self.then]:
            take(self.owner, name)
        for name, value in self.then.items():
            if name not in now or now[name] is not value:
                put(self.owner, name, value)


class Items:
    """The entries of a list, dict, set or deque."""

    def __init__(self, owner: Any, name: str, checked: bool):
        self.owner, self.name, self.checked = owner, name, checked
        self.then = list(owner.items()) if isinstance(owner, dict) else list(owner)

    def change(self, written: set[int]) -> str | None:
        if not self.checked:
            return None
        kind = type(self.owner).__name__
        if len(self.owner) != len(self.then):
            return f"the {kind} {self.name}, from {len(self.then)} entries to {len(self.owner)}"
        if isinstance(self.owner, dict):
            for key, value in self.then:
                if key not in self.owner or not same(self.owner[key], value):
                    now = shown(self.owner[key]) if key in self.owner else "nothing"
                    return f"the entry {key!r} of {self.name}, from {shown(value)} to {now}"
        elif isinstance(self.owner, set):
            if self.owner != set(self.then):
                return f"the set {self.name}"
        else:
            for value, now in zip(self.then, self.owner):
                if not same(now, value):
                    return f"an entry of {self.name}, from {shown(value)} to {shown(now)}"
        return None

    def back(self) -> None:
        owner = self.owner
        if isinstance(owner, dict):
            if len(owner) != len(self.then) or any(owner.get(k, self) is not v
                                                   for k, v in self.then):
                owner.clear()
                owner.update(self.then)
        elif isinstance(owner, set):
            if owner != set(self.then):
                owner.clear()
                owner.update(self.then)
        elif len(owner) != len(self.then) or any(a is not b for a, b in zip(owner, self.then)):
            owner.clear()
            owner.extend(self.then)


class Values:
    """The values of a tensor, its gradient, and whether it learns.

    Up to `SMALL` bytes are copied at once, and so is what lies on a GPU. Larger arrays are copied
    by `keep`, just before an operation changes them for the first time: by then the arrays of the
    forward and backward pass are gone. Until then a checksum says whether they are as they were.
    Of what no layer or optimizer owns, a GPU copies nothing, and `HUGE` arrays have no sum.
    """

    def __init__(self, owner: Tensor, name: str, checked: bool, owned: bool = True):
        self.owner, self.name, self.checked = owner, name, checked
        self.hooks, self.changes = list(owner.hooks or ()), False
        self.array, self.grad = owner.data, owner._grad
        self.learns, self.seq = owner.requires_grad, owner.seq
        self.copy = self.total = None
        on_cpu = isinstance(self.array, np.ndarray)
        if on_cpu and self.array.nbytes > SMALL:
            if owned or self.array.nbytes <= HUGE:
                self.total = checksum(self.array)
        elif on_cpu or owned:
            self.copy = self.array.copy()

    def keep(self) -> None:
        """Copy the values, unless that is done, because they are going to change.

        Raises:
            CaptureError: they have changed, by other means than operations.
        """
        if not self.changes and self.checked and not self._is_as_before():
            raise CaptureError(f"[jit] the function changes {self._past_operations()}; a "
                               "replay would not. Use x.assign_(value)")
        self.changes = True
        if self.copy is None:
            self.copy = (_copy(self.array) if isinstance(self.array, np.ndarray)
                         else self.array.copy())

    def change(self, written: set[int]) -> str | None:
        if not self.checked:
            return None
        if self.owner.data is not self.array:
            return f"the array of {self.name}, {shown(self.owner)}"
        if self.owner.requires_grad is not self.learns:
            return f"whether {self.name} learns"
        if list(self.owner.hooks or ()) != self.hooks:
            return f"the hooks of {self.name}"
        if (id(self.array) not in written
                and id(base(self.array)) not in written and not self._is_as_before()):
            return self._past_operations()
        return None

    def _is_as_before(self) -> bool:
        if self.copy is not None:
            return _equal(self.array, self.copy)
        return self.total is None or checksum(self.array) == self.total

    def _past_operations(self) -> str:
        return f"values of {self.name}, {shown(self.owner)}, by other means than operations"

    def back(self) -> None:
        self.owner.data, self.owner._grad = self.array, self.grad
        self.owner.requires_grad = self.learns
        if list(self.owner.hooks or ()) != self.hooks:
            self.owner.hooks = list(self.hooks)
        if self.copy is None:                   # no operation has changed it
            return
        if self.owner.seq != self.seq or not _equal(self.array, self.copy):
            self.array[...] = self.copy
            self.owner.touch()

    def let_go(self) -> None:
        """Forget the values: `back` leaves them as they are from now on."""
        self.copy = None


class Array:
    """The values of a bare array."""

    def __init__(self, owner: Any, name: str):
        self.owner, self.name, self.copy = owner, name, owner.copy()

    def change(self, written: set[int]) -> str | None:
        if id(self.owner) in written or _equal(self.owner, self.copy):
            return None
        return f"values of {self.name}, {shown(self.owner)}"

    def back(self) -> None:
        if not _equal(self.owner, self.copy):
            self.owner[...] = self.copy


class Stream:
    """Where a generator of random numbers stands; tinygen's own are recorded."""

    def __init__(self, owner: Any, name: str):
        self.owner, self.name, self.then = owner, name, state_of(owner)

    def change(self, written: set[int]) -> str | None:
        if isinstance(self.owner, Generator) or _text(state_of(self.owner)) == _text(self.then):
            return None
        return (f"the generator {self.name}: it drew from it. Draw with tinygen.random, or outside "
                "the function")

    def back(self) -> None:
        if isinstance(self.owner, Generator):
            set_state(self.owner, self.then)
        elif isinstance(self.owner, np.random.Generator):
            self.owner.bit_generator.state = self.then
        elif isinstance(self.owner, np.random.RandomState):
            self.owner.set_state(self.then)
        else:
            self.owner.setstate(self.then)


class Position:
    """Where an iterator stands, as far as it tells. It cannot be put back."""

    def __init__(self, owner: Any, name: str):
        self.owner, self.name, self.then = owner, name, _position(owner)

    def change(self, written: set[int]) -> str | None:
        if _position(self.owner) == self.then:
            return None
        return f"the iterator {self.name}: it takes what comes next"

    def back(self) -> None:
        """Nothing: what was taken is gone."""


def _position(iterator: Any) -> Any:
    if isinstance(iterator, GeneratorType):
        frame = iterator.gi_frame
        return frame and (frame.f_lasti, {k: v if isinstance(v, (int, str)) else id(v)
                                          for k, v in frame.f_locals.items()})
    if hasattr(type(iterator), "__length_hint__"):
        return length_hint(iterator)
    if type(iterator) in (zip, enumerate, map, filter):          # where those inside them stand
        return [x if isinstance(x, int) else _position(x) for x in iterator.__reduce__()[1]
                if isinstance(x, int) or hasattr(type(x), "__next__")]
    return repr(iterator) if type(iterator) is count else None


def state_of(generator: Any) -> Any:
    """Where a generator stands; None for one on a GPU, which cannot be read."""
    if isinstance(generator, Generator):
        return generator.stream.bit_generator.state if generator.device == "cpu" else None
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return (generator.get_state() if isinstance(generator, np.random.RandomState)
            else generator.getstate())


def set_state(generator: Generator, state: Any) -> None:
    """Let one of tinygen's generators stand there again."""
    if state is not None:
        generator.stream.bit_generator.state = state


def _text(state: Any) -> str:
    """A state in a form that can be compared: those of NumPy hold arrays."""
    with np.printoptions(threshold=sys.maxsize):
        return repr(state)


def base(array: Any) -> Any:
    """The array that owns the memory of this one."""
    while getattr(array, "base", None) is not None and backend.is_array(array.base):
        array = array.base
    return array


def checksum(array: np.ndarray) -> int:
    """A number that another one of 4 billion would be, had the array other values."""
    return zlib.crc32(np.ascontiguousarray(array.ravel("K")).view(np.uint8).data)


def _copy(array: np.ndarray) -> np.ndarray:
    """The values of an array; where all are the same, as those of a new optimizer, one of them."""
    bits = array.view(f"u{array.itemsize}")
    if bits.flat[-1] == bits.flat[0] and bool((bits == bits.flat[0]).all()):
        return np.broadcast_to(array[(slice(1),) * array.ndim].copy(), array.shape)
    return array.copy("K")


def _equal(a: Any, b: Any) -> bool:
    xp = backend.array_module(a)
    if bool((a == b).all()):
        return True
    return a.dtype.kind in "fc" and bool(((a == b) | (xp.isnan(a) & xp.isnan(b))).all())
