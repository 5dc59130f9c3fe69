"""The tape: record the primitive calls of a function once, and run them again on new inputs.

While a tape records, derivative rules are given tensors (their third reading), so that a
captured function may hold a whole backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import backend
from ..autograd import no_grad
from ..primitive import TAPE, Primitive, local
from ..tensor import Tensor
from ..transforms import flatten, unflatten

__all__ = ["Program", "Row", "capture"]


class Row:
    """One call: a primitive, where its inputs come from, its static arguments, its outputs.

    An input is a slot number, or ``("constant", value)``.
    """

    __slots__ = ("attrs", "inputs", "op", "outputs")

    def __init__(self, op: Primitive, inputs: list[Any], attrs: dict[str, Any],
                 outputs: list[int | None]):
        self.op, self.inputs, self.attrs, self.outputs = op, inputs, attrs, outputs

    def __repr__(self) -> str:
        def name(x: Any) -> str:
            return f"%{x}" if isinstance(x, int) else "const"
        outs = ", ".join("_" if o is None else f"%{o}" for o in self.outputs)
        return f"{outs} = {self.op.name}({', '.join(map(name, self.inputs))})"


class Tape:
    """What dispatch appends to. A value is known by its array: `detach()` keeps its slot."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.slots: dict[int, int] = {}
        self.alive: list[Any] = []          # recorded arrays must not be freed: ids would repeat
        self.seen: list[tuple[Tensor, int, Any]] = []   # tensors, with their seq and array then
        self.written: set[int] = set()      # arrays that a recorded primitive changes in place
        self.start = Tensor.wrap(None).seq
        self.outside: set[int] = set()      # arrays of tensors from before it, seen by `detach()`

    def slot(self, array: Any) -> int:
        """The slot of an array, a new one if it has none."""
        number = self.slots.get(id(array))
        if number is None:
            number = self.slots[id(array)] = len(self.alive)
            self.alive.append(array)
        return number

    def record(self, op: Primitive, inputs: tuple[Any, ...], attrs: dict[str, Any],
               outs: tuple[Tensor | None, ...]) -> None:
        """Append one call (dispatch does this while capturing)."""
        self.rows.append(Row(op, [self._source(x) for x in inputs], attrs,
                             [None if y is None else self.slot(y.data) for y in outs]))
        self.watch(*(y for y in outs if y is not None))
        self.written.update(id(x.data) for x in _written(op, inputs))

    def is_constant(self, x: Tensor) -> bool:
        """Was x made from nothing since the recording began? It is the same in every replay."""
        return (x.seq > self.start and id(x.data) not in self.slots
                and id(x.data) not in self.outside)

    def keep(self, x: Tensor) -> None:
        """Remember the array of a tensor that another one is going to share."""
        if not self.is_constant(x):
            self.outside.add(id(x.data))
            self.alive.append(x.data)

    def watch(self, *tensors: Tensor) -> None:
        """Remember tensors whose values must not change in place while the tape records."""
        self.seen += [(x, x.seq, x.data) for x in tensors]

    def _source(self, x: Any) -> Any:
        array = x.data if isinstance(x, Tensor) else x
        if not backend.is_array(array):
            return ("constant", x)
        if isinstance(x, Tensor):
            self.watch(x)
        if id(array) in self.slots:
            return self.slots[id(array)]
        self.alive.append(array)
        return ("constant", x)


class Program:
    """A captured function: `replay(*tensors)` computes it again, on new inputs."""

    def __init__(self, rows: list[Row], inputs: list[int], signature: list[tuple[Any, ...]],
                 outputs: list[Any], structure: Any):
        self.rows, self.inputs, self.signature = rows, inputs, signature
        self.outputs, self.structure = outputs, structure

    def replay(self, *args: Any) -> Any:
        """The function's results for new inputs of the same shapes, dtypes and devices."""
        tensors = _tensors(args)
        signature = [_kind(x) for x in tensors]
        if signature != self.signature:
            raise ValueError(f"[replay] captured for {self.signature}, called with {signature}")
        values: dict[int, Any] = dict(zip(self.inputs, tensors, strict=True))
        with no_grad():
            for row in self.rows:
                read = [values[x] if isinstance(x, int) else x[1] for x in row.inputs]
                made = row.op(*read, **row.attrs)
                for x in _written(row.op, read):
                    x.touch()
                made = made if isinstance(made, tuple) else (made,)
                for slot, y in zip(row.outputs, made, strict=True):
                    if slot is not None:
                        values[slot] = y
        return unflatten(self.structure, (values[y] if isinstance(y, int) else y[1]
                                          for y in self.outputs))

    def __repr__(self) -> str:
        return "\n".join(map(repr, self.rows))


def capture(function: Callable[..., Any], *args: Any) -> Program:
    """Run `function(*args)` once and record its primitive calls, backward passes included.

    Raises:
        CaptureError: the function looked at values (`item()`, `bool()`, `print`, `nonzero`, ...):
            see `tinygen.mode.reads`.
        RuntimeError: a tensor that the function read was changed in place meanwhile by other
            means than a primitive that names what it `writes` (replaying would miss the change),
            or a capture is running in this thread already.
    """
    if local.mode & TAPE:
        raise RuntimeError("[capture] a capture is running in this thread already")
    tape, before = Tape(), (local.mode, local.tape)
    tensors = _tensors(args)
    slots = [tape.slot(x.data) for x in tensors]
    tape.watch(*tensors)
    local.mode, local.tape = local.mode | TAPE, tape
    try:
        result = function(*args)
    finally:
        local.mode, local.tape = before
    for x, seq, array in tape.seen:
        if x.seq != seq and x.data is array and id(array) not in tape.written:
            raise RuntimeError(f"[capture] a {x.dtype} {x.shape} tensor that the function used was "
                               "changed in place while it was captured; return new tensors instead")
    outputs = [tape.slots[id(y.data)] if isinstance(y, Tensor) and id(y.data) in tape.slots
               else ("constant", y) for y in flatten(result)]
    return Program(tape.rows, slots, [_kind(x) for x in tensors], outputs, result)


def _written(op: Primitive, inputs: Sequence[Any]) -> list[Tensor]:
    """The tensors among the inputs that a primitive changes in place."""
    if not op.writes:
        return []
    chosen = inputs[op.writes] if isinstance(op.writes, slice) else [
        inputs[i] for i in op.writes if i < len(inputs)]
    return [x for x in chosen if isinstance(x, Tensor)]


def _tensors(args: Any) -> list[Tensor]:
    return [x for x in flatten(args) if isinstance(x, Tensor)]


def _kind(x: Tensor) -> tuple[Any, ...]:
    return (x.dtype.name, x.shape, x.device)
