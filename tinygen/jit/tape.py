"""The tape: what is written down of a function while it is recorded.

While a tape records, derivative rules are given tensors (their third reading), so that a
captured function may hold a whole backward pass.
"""

from __future__ import annotations

import functools
import itertools
import os
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import backend, ops
from ..autograd import no_grad
from ..errors import user_line
from ..mode import CaptureError
from ..primitive import Primitive, primitive
from ..tensor import Tensor
from .around import Around
from .kept import base, checksum, shown
from .program import Known, Row, Told, changed_inputs, plain, written

__all__ = ["Tape", "assign_p", "check_total"]


class _Ref(weakref.ref[Any]):
    """A weak reference that knows the id of what it was made for."""

    __slots__ = ("key",)

    def __new__(cls, x: Any, gone: Any, key: int) -> _Ref:
        return super().__new__(cls, x, gone)

    def __init__(self, x: Any, gone: Any, key: int):
        super().__init__(x, gone)  # type: ignore[call-arg]
        self.key = key


def _forget(tape: Any, ref: Any) -> None:
    found = tape()
    if found is not None:
        found.forget(ref.key)


def _forget_tensor(tape: Any, ref: Any) -> None:
    found = tape()
    if found is not None:
        found.seen.pop(ref.key, None)


class Tape:
    """What dispatch appends to. A value is known by its array: `detach()` keeps its slot."""

    def __init__(self, around: Around, strict: bool) -> None:
        self.around = around                # what to put back if the function fails
        self.strict = strict                # refuse what later gradients would not be read for
        self.rows: list[Row] = []
        self.slots: dict[int, int] = {}
        self.kinds: dict[int, tuple[Any, tuple[int, ...], int]] = {}    # dtype, shape, memory
        self.seen: dict[int, tuple[Any, int, int]] = {}     # tensors, their seq and array then
        self.refs: dict[int, Any] = {}      # of arrays that are known by their id while they live
        self.fresh: list[Any] = []          # optimizers that the function has made
        self.alive: list[Any] = []          # what must not be freed: its id would repeat
        self._gone = functools.partial(_forget, weakref.ref(self))
        self._gone_tensor = functools.partial(_forget_tensor, weakref.ref(self))
        self.written: set[int] = set()      # arrays that a recorded primitive changes in place
        self.totals: dict[int, tuple[Tensor, Any, int | None]] = {}     # checksums of what changes
        self.start = Tensor.wrap(None).seq
        self.outside: set[int] = set()      # arrays of tensors from before it, seen by `detach()`
        self.told: list[Told] = []          # what layers and optimizers take for granted
        self.layers: dict[int, tuple[Any, dict[str, Any]]] = {}     # with their attributes then
        self.before: dict[int, Tensor] = {}     # tensors from outside
        self.graded: dict[int, Tensor] = {}     # those whose gradient is set, or cleared
        self.bare: dict[int, Tensor] = {}       # those that were found without one
        self.sums: dict[int, tuple[Tensor, Tensor]] = {}    # with what was added to a gradient
        self.readers: dict[int, Callable[[], float]] = {}       # numbers that replays read anew
        self.memories: dict[int, int] = {}  # arrays that own memory, numbered
        self._count = itertools.count()

    def slot(self, array: Any) -> int:
        """The slot of an array, a new one if it has none."""
        number = self.slots.get(id(array))
        if number is None:
            self.track(array)
            number = self.slots[id(array)] = len(self.kinds)
            self.kinds[number] = array.dtype, array.shape, self.memory(array)
        return number

    def track(self, array: Any) -> None:
        """Know an array by its id as long as it lives, which the recording does not prolong."""
        key = id(array)
        if key not in self.refs:
            try:
                self.refs[key] = _Ref(array, self._gone, key)
            except TypeError:               # of a type that cannot be followed
                self.refs[key] = None
                self.alive.append(array)

    def forget(self, key: int) -> None:
        """The array with this id is gone; another one may get the id."""
        if self.refs.pop(key, None) is not None:
            for known in (self.slots, self.memories):
                known.pop(key, None)
            self.outside.discard(key)
            self.written.discard(key)

    def record(self, op: Primitive, inputs: tuple[Any, ...], attrs: dict[str, Any],
               outs: tuple[Tensor | None, ...]) -> None:
        """Append one call (dispatch does this while capturing)."""
        self.rows.append(Row(op, [self._source(x) for x in inputs], attrs,
                             [None if y is None else self.slot(y.data) for y in outs],
                             _line()))
        self.watch(*(y for y in outs if y is not None))
        for x in written(op, inputs, attrs):
            self.written.add(id(x.data))
            owner = base(x.data)
            self.totals[id(owner)] = x, owner, (checksum(owner) if isinstance(owner, np.ndarray)
                                                else None)

    def changes(self, op: Primitive, inputs: tuple[Any, ...], attrs: dict[str, Any]) -> None:
        """Say that a call is going to change some of its inputs (`Update` does this)."""
        for x in changed_inputs(op, inputs, attrs):
            if x is not None:
                owner = base(x.data if isinstance(x, Tensor) else x)
                self.around.keep(owner)
                if id(owner) in self.totals:
                    check_total(*self.totals[id(owner)])

    def is_constant(self, x: Tensor) -> bool:
        """Was x made from nothing since the recording began? It is the same in every replay."""
        return (x.seq > self.start and id(x.data) not in self.slots
                and id(x.data) not in self.outside and id(x.data) not in self.written)

    def keep(self, x: Tensor) -> None:
        """Remember the array of a tensor that another one is going to share."""
        if not self.is_constant(x):
            self.share(x)

    def follow(self, read: Callable[[], float]) -> float:
        """A number for the recorded function, which a replay gets from `read` anew."""
        number = read() * 1.0          # an object of its own: the tape knows it again by that
        self.readers[id(number)] = read
        self.alive.append(number)
        return number

    def share(self, x: Tensor) -> None:
        """Say that the memory of x is also that of an array from outside."""
        self.track(x.data)
        self.outside.add(id(x.data))

    def guard(self, read: Callable[[], Any], what: str) -> None:
        """Say that the recording took for granted what `read` gives now."""
        self.told.append((read, read(), what))

    def guard_layer(self, layer: Any) -> None:
        """The same of a layer's numbers and texts, `training` among them."""
        if id(layer) not in self.layers:
            self.layers[id(layer)] = layer, plain(layer)
            self.around.add(layer, type(layer).__name__)

    def touches(self, optimizer: Any) -> None:
        """Say that an optimizer is going to change parameters or their gradients."""
        self.around.add(optimizer, type(optimizer).__name__)

    def starts(self, optimizer: Any, state: Tensor) -> None:
        """Say that an optimizer has made a state with these first values.

        Raises:
            CaptureError: the recorded function has made the optimizer: it would begin anew.
        """
        if any(x is optimizer for x in self.fresh):
            raise CaptureError(f"[{optimizer.name}] is made while a program is recorded; replays "
                               "would go on with its state. Make it outside the recorded function")
        self.around.add(state, "a state", owned=True, checked=False)

    def assign(self, x: Tensor, value: Any) -> None:
        """Record that x gets other values in place, and do it.

        What was made from nothing becomes a copy first: a replay has to begin with the same.
        """
        if x.op is None and x.seq <= self.start:
            self.around.add(x, "a tensor", owned=True, checked=False)
        with no_grad():
            if self.is_constant(x):
                first = Tensor.wrap(x.data)
                for source in [s for row in self.rows for s in row.inputs]:
                    if isinstance(source, Known) and source.value is x:
                        source.value = first
                x.data = ops.positive(first).data
                self.watch(x)
            assign_p(x, value)
        x.touch()

    def finds_gradient(self, x: Tensor) -> None:
        """Say that what is recorded depends on the gradient that x has, or has not.

        Raises:
            CaptureError: it is from before the recording; a replay would not see later ones.
        """
        if id(x) in self.graded or not self._is_from_outside(x):
            return
        added = self.sums.pop(id(x), None)
        if added is not None:
            self.graded[id(x)] = x
        if x._grad is None or (added is not None and x._grad is added[1]):
            self.bare[id(x)] = x
        elif self.strict or added is not None:
            raise CaptureError(
                f"[grad] the function uses the gradient of {shown(x)}, and a part of it is from "
                "before the recording: call zero_grad() in the recorded function before backward()")

    def sets_gradient(self, x: Tensor) -> None:
        """Say that x gets another gradient, or none."""
        if id(x) not in self.graded and self._is_from_outside(x):
            if self.sums.pop(id(x), None) is None:
                self.around.gradient(x)
            self.graded[id(x)] = x

    def first_sum(self, x: Tensor) -> bool:
        """Is something added for the first time to the gradient that x had before, or had not?"""
        if id(x) in self.graded or id(x) in self.sums or not self._is_from_outside(x):
            return False
        self.around.gradient(x)
        return True

    def _is_from_outside(self, x: Tensor) -> bool:
        return x.seq <= self.start or id(x) in self.before

    def watch(self, *tensors: Tensor) -> None:
        """Remember tensors whose values must not change in place while the tape records."""
        for x in tensors:
            key = id(x)
            if key not in self.seen:
                self.seen[key] = _Ref(x, self._gone_tensor, key), x.seq, id(x.data)
            else:
                self.check(x)

    def check(self, x: Tensor) -> None:
        """Raise if a tensor was changed in place since the tape saw it, and not by an operation."""
        _, seq, array = self.seen[id(x)]
        if x.seq != seq and id(x.data) == array and array not in self.written:
            raise CaptureError(
                f"[capture] {shown(x)} that the function used was changed in place while it was "
                "captured, by other means than operations; use x.assign_(value), or return new "
                "tensors")

    def memory(self, array: Any) -> int:
        """A number for the memory that an array lies in: views have that of their base."""
        array = base(array)
        if id(array) not in self.memories:
            self.track(array)
            self.memories[id(array)] = next(self._count)
        return self.memories[id(array)]

    def source_of(self, x: Any) -> int | Known:
        """The slot of a value, or what is known of one that no row computes."""
        array = x.data if isinstance(x, Tensor) else x
        if not backend.is_array(array):
            read = self.readers.get(id(x))
            return Known(x, read is None, None, read)
        if id(array) in self.slots:
            return self.slots[id(array)]
        self.track(array)
        fixed = isinstance(x, Tensor) and self.is_constant(x)     # an array may be someone's
        return Known(x, fixed, self.memory(array))

    def _source(self, x: Any) -> int | Known:
        if isinstance(x, Tensor):
            self.watch(x)
            if x.seq <= self.start:
                self.before[id(x)] = x
        return self.source_of(x)


@primitive(name="assign")
def assign_p(xp, x, value):
    """x[...] = value: an update in place as a recorded operation."""
    x[...] = value
    return x
assign_p.writes = (0,)


def check_total(x: Tensor, array: Any, total: int | None) -> None:
    """Raise if an array has not the values that an operation gave it last."""
    if total is not None and checksum(array) != total:
        raise CaptureError(f"[capture] values of {shown(x)} were changed by other means than "
                           "operations after an operation had changed them; use x.assign_(value)")


def _line() -> str | None:
    """The innermost line that is not tinygen's own, in short."""
    found = user_line()
    if found is None:
        return None
    place, source = found.split(", in ", 1)
    file, number = place.removeprefix('File "').split('", line ')
    return f"{file.replace(os.sep, '/').rsplit('/', 1)[-1]}:{number}: {source.split(': ', 1)[-1]}"
