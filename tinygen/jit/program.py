"""A program: the rows of a tape, what it needs and gives, and how it is run and shown."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .. import leaves, ops
from ..autograd import no_grad
from ..primitive import Primitive
from ..tensor import Tensor
from ..transforms import flatten, unflatten

__all__ = ["Known", "Program", "Row"]

FEW = 1 << 18           # bytes of gradients that are kept until a replay has succeeded


class Known:
    """An input that no row computes.

    `fixed`: it is the same in every replay; a tensor from outside the function is not, its values
    may be changed in between. `memory` is the number of the memory that an array lies in. A number
    that is no constant, like a learning rate, has a function that reads it.
    """

    __slots__ = ("fixed", "memory", "read", "value")

    def __init__(self, value: Any, fixed: bool, memory: int | None,
                 read: Callable[[], float] | None = None):
        self.value, self.fixed, self.memory, self.read = value, fixed, memory, read

    @property
    def array(self) -> Any:
        """The value, as a bare array where it is a tensor."""
        return self.value.data if isinstance(self.value, Tensor) else self.value

    def now(self) -> Any:
        """What a replay gets."""
        return self.value if self.read is None else self.read()

    def __repr__(self) -> str:
        if self.memory is None:
            return repr(self.value) if self.read is None else f"now:{self.value:g}"
        shape = "x".join(map(str, self.value.shape)) or "scalar"
        return f"{'const' if self.fixed else 'outside'}:{shape}"


_numbers = itertools.count()


class Row:
    """One call: a primitive, where its inputs come from, its static arguments, its outputs.

    An input is a slot number, or a `Known`. An output is a slot number, or None. `number` is
    the row's own, and stays the same through passes that only give it other inputs. `parts` are
    the rows that a pass put together in this one; a plain row has none.
    """

    __slots__ = ("attrs", "inputs", "line", "number", "op", "outputs", "parts")

    def __init__(self, op: Primitive, inputs: list[int | Known], attrs: dict[str, Any],
                 outputs: list[int | None], line: str | None = None, *,
                 parts: tuple[Row, ...] = (), number: int | None = None):
        self.op, self.inputs, self.attrs, self.outputs = op, inputs, attrs, outputs
        self.line = line           # of the recorded function: "file.py:3: y = x @ w"
        self.parts, self.number = parts, next(_numbers) if number is None else number

    def renamed(self, inputs: list[int | Known], outputs: list[int | None] | None = None) -> Row:
        """The same row with other names for what it reads and makes."""
        return Row(self.op, inputs, self.attrs, self.outputs if outputs is None else outputs,
                   self.line, parts=self.parts, number=self.number)

    @property
    def pure(self) -> bool:
        """Does it do nothing but compute its outputs? Updates in place and random draws do more."""
        return not self.op.writes and "generator" not in self.attrs

    def slots(self) -> list[int]:
        """The slots that it reads."""
        return [x for x in self.inputs if isinstance(x, int)]

    def __repr__(self) -> str:
        outs = ", ".join("_" if o is None else f"%{o}" for o in self.outputs)
        given = [f"%{x}" if isinstance(x, int) else repr(x) for x in self.inputs]
        return f"{outs} = {self.op.name}({', '.join(given)})"


Told = tuple[Callable[[], Any], Any, str]    # how to read something, its value then, its name
Kind = tuple[Any, tuple[int, ...], int]      # dtype, shape and memory of what is in a slot


class Program:
    """A captured function: `replay(*tensors)` computes it again, on new inputs.

    `rows` run in order. `inputs` are the slots of the arguments, `outputs` the slots (or what is
    known) of the results and, after those, of the gradients that a replay leaves in `graded` and
    adds to those of `summed`; `cleared` are left without one, and the function rests on it that
    `bare` have none at its start. `told` is what optimizers took for granted, and `layers` which
    attributes layers had: a replay does not look at them, `tg.jit` does. `optimized()` gives a
    program that does the same with fewer rows.

    >>> import tinygen as tg
    >>> from tinygen.jit import capture
    >>> capture(lambda x: (x * 2).sum(), tg.ones((3, 4)))
    inputs %0 float32 3x4
    %1 = multiply(%0, 2)               float32 3x4
    %2 = sum(%1)                       float32 scalar
    outputs %2
    """

    def __init__(self, rows: list[Row], inputs: list[int], signature: list[tuple[Any, ...]],
                 outputs: list[int | Known], structure: Any, kinds: dict[int, Kind],
                 graded: Sequence[Tensor] = (), cleared: Sequence[Tensor] = (),
                 summed: Sequence[Tensor] = (), bare: Sequence[Tensor] = (),
                 told: Sequence[Told] = (),
                 layers: Sequence[tuple[Any, dict[str, Any]]] = ()):
        self.rows, self.inputs, self.signature = rows, inputs, signature
        self.outputs, self.structure, self.kinds = outputs, structure, kinds
        self.graded, self.cleared, self.summed, self.bare = graded, cleared, summed, bare
        self.told, self.layers = told, layers
        self.before: tuple[tuple[str, Program], ...] = ()     # passes, and the program before each
        self.graph = False              # should replays be one CUDA graph? see `tinygen.jit.graph`

    def with_rows(self, rows: list[Row], outputs: list[int | Known] | None = None,
                  kinds: dict[int, Kind] | None = None) -> Program:
        """The same program with other rows."""
        return Program(rows, self.inputs, self.signature,
                       self.outputs if outputs is None else outputs, self.structure,
                       self.kinds if kinds is None else kinds, self.graded, self.cleared,
                       self.summed, self.bare, self.told, self.layers)

    def memory(self, source: int | Known) -> int | None:
        """The number of the memory that an input or output lies in."""
        return source.memory if isinstance(source, Known) else self.kinds[source][2]

    def written(self, row: Row) -> set[int]:
        """The memories that a row changes in place."""
        chosen = changed_inputs(row.op, row.inputs, row.attrs)
        return {m for m in map(self.memory, chosen) if m is not None}

    def optimized(self, fuse: bool = True) -> Program:
        """The program after all passes of `tinygen.jit.passes`, in their order.

        Without `fuse`, after those whose results are the same to the last bit.
        """
        from .passes import optimize

        return optimize(self, fuse)

    def replay(self, *args: Any) -> Any:
        """The function's results for new inputs of the same shapes, dtypes and devices.

        Gradients that will be replaced are let go first: a recorded function does not read them.
        If it fails, they are put back where they are few (`keeps_gradients`).
        """
        tensors = [x for x in flatten(args) if isinstance(x, Tensor)]
        signature = [kind(x) for x in tensors]
        if signature != self.signature:
            raise ValueError(f"[replay] captured for {self.signature}, called with {signature}")
        for x in self.bare:
            if x._grad is not None:
                raise ValueError(f"[replay] a {x.dtype} {x.shape} tensor has a gradient, which "
                                 "the captured function would add to: call zero_grad() in it")
        old = [x._grad for x in self.replaced] if self.keeps_gradients else []
        for x in self.replaced:                     # make room for the new ones
            x._grad = None
        try:
            results = self._results(tensors)
        except BaseException:
            put_back(self.replaced, old)
            raise
        end = len(results) - len(self.summed)
        for x, g in zip(self.graded, results[end - len(self.graded):end], strict=True):
            x._grad = g
        for x, g in zip(self.summed, results[end:], strict=True):
            leaves.add(x, g)
        return unflatten(self.structure, iter(results))

    def _results(self, tensors: list[Tensor]) -> list[Any]:
        """What the rows make for these arguments: results, then gradients."""
        with np.errstate(all="ignore"):
            if self._bound is None:
                results = self._interpret(tensors)
            else:
                made = iter(self._bound(*[x.data for x in tensors]))
                results = [Tensor.wrap(next(made)) if isinstance(y, int) else y.value
                           for y in self.outputs]
                for x in self.changed(tensors):
                    x.touch()
        for i in self.own:
            results[i] = ops.positive(results[i])
        return results

    @functools.cached_property
    def replaced(self) -> list[Tensor]:
        """The tensors whose gradients are let go when a replay begins."""
        return [*self.graded, *self.cleared]

    @functools.cached_property
    def keeps_gradients(self) -> bool:
        """Are these gradients so few that a replay keeps them until it has succeeded?"""
        return sum(x.nbytes for x in self.replaced) <= FEW

    def changed(self, tensors: list[Tensor]) -> list[Tensor]:
        """The tensors that a replay has changed in place, of arguments and from outside."""
        numbers, outside = self._written
        return [tensors[i] for i in numbers] + outside

    @functools.cached_property
    def _written(self) -> tuple[list[int], list[Tensor]]:
        sources = [x for row in self.rows for x in (changed_inputs(row.op, row.inputs, row.attrs)
                                                    if row.op.writes else [])]
        return ([i for i, slot in enumerate(self.inputs) if slot in sources],
                [x.value for x in sources if isinstance(x, Known) and isinstance(x.value, Tensor)])

    def example(self, slot: int) -> Any:
        """An array with the dtype and shape of what is in a slot, for messages."""
        dtype, shape, _ = self.kinds[slot]
        return np.broadcast_to(np.zeros((), dtype), shape)

    def _interpret(self, tensors: list[Tensor]) -> list[Any]:
        """Row by row, each as an operation on tensors: for arrays in several places."""
        values: dict[int, Any] = dict(zip(self.inputs, tensors, strict=True))
        with no_grad():
            for row, done in zip(self.rows, self.last_uses, strict=True):
                read = [values[x] if isinstance(x, int) else x.now() for x in row.inputs]
                made = row.op(*read, **row.attrs)
                for x in written(row.op, read, row.attrs):
                    x.touch()
                made = made if isinstance(made, tuple) else (made,)
                for slot, y in zip(row.outputs, made, strict=True):
                    if slot is not None:
                        values[slot] = y
                for slot in done:
                    del values[slot]
        return [values[y] if isinstance(y, int) else y.value for y in self.outputs]

    @functools.cached_property
    def _bound(self) -> Callable[..., list[Any]] | None:
        from .bind import array_type, bind
        from .graph import Graph

        if array_type(self) is None:
            return None
        return Graph(self, bind(self)) if self.graph else bind(self)

    @property
    def graph_reason(self) -> str | None:
        """Why a replay is no CUDA graph; None where it is one from its second call on."""
        if not self.graph:
            return "it was not asked for: tg.jit(f, graph=True)"
        return getattr(self._bound, "reason", "its arrays lie on several devices")

    def table(self, *args: Any, repeats: int = 5) -> str:
        """The rows with operations and bytes; with arguments, also with time and lines of code.

        What the rows change in place is put back afterwards. See `tinygen.jit.report.table`.
        """
        from .report import table

        return table(self, [x for x in flatten(args) if isinstance(x, Tensor)], repeats)

    def history(self, *args: Any, repeats: int = 5, everything: bool = False) -> str:
        """What each pass did to the rows, and what they cost before and after: see
        `tinygen.jit.history.history`. With arguments, also with time and lines of code."""
        from .history import history

        return history(self, [x for x in flatten(args) if isinstance(x, Tensor)], repeats,
                       everything)

    def html(self, path: Any = None, *args: Any, repeats: int = 5) -> str:
        """A page to open in a browser: rows from the line of Python that made them, through each
        pass, to the kernel that runs them, and the memory over time. `path` is a file to write
        it to; with arguments, times are measured. See `tinygen.jit.page.page`."""
        from .page import page

        return page(self, path, [x for x in flatten(args) if isinstance(x, Tensor)], repeats)

    def kernels(self) -> dict[str, str]:
        """The sources of the kernels that were generated for it, by name."""
        from .kernels import generated

        return generated(self)

    def source(self) -> str:
        """The Python function that a replay is, as text, after the kernels made for it."""
        from .bind import source

        made = [f"# {name}\n{text}" for name, text in self.kernels().items()]
        return "\n\n\n".join([*made, source(self)])

    @functools.cached_property
    def own(self) -> list[int]:
        """Results in the memory of a constant: each replay gives a copy of its own."""
        sources = [x for row in self.rows for x in row.inputs] + self.outputs
        constant = {x.memory for x in sources if isinstance(x, Known) and x.fixed} - {None}
        return [i for i, y in enumerate(self.outputs) if self.memory(y) in constant]

    @functools.cached_property
    def last_uses(self) -> list[list[int]]:
        """For each row the slots that nobody reads after it: their memory is given back there."""
        living = {y for y in self.outputs if isinstance(y, int)}
        found = []
        for row in reversed(self.rows):
            touched = {*row.slots(), *(o for o in row.outputs if o is not None)}
            found.append(sorted(touched - living))
            living |= touched
        return found[::-1]

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield "inputs " + ", ".join(f"%{i} {self.shown(i)}" for i in self.inputs)
        for row in self.rows:
            yield f"{row!r:34} {self.made(row)}"
        yield "outputs " + ", ".join(f"%{y}" if isinstance(y, int) else repr(y)
                                     for y in self.outputs)

    def made(self, row: Row) -> str:
        """Dtypes and shapes of what a row makes."""
        return ", ".join(self.shown(o) for o in row.outputs if o is not None)

    def shown(self, slot: int) -> str:
        """Dtype and shape of what is in a slot."""
        dtype, shape, _ = self.kinds[slot]
        return f"{dtype} {'x'.join(map(str, shape)) or 'scalar'}"


def put_back(tensors: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> None:
    """Give tensors the gradients that they had, as far as these were kept."""
    for x, g in zip(tensors, gradients):
        x._grad = g


def plain(layer: Any) -> dict[str, Any]:
    """The attributes of a layer that are numbers, texts or None, by name."""
    return {name: value for name, value in layer.__dict__.items()
            if type(value) in (bool, int, float, str, type(None))}


def kind(x: Tensor) -> tuple[Any, ...]:
    """What an argument has to agree in with that of the recording."""
    return (x.dtype.name, x.shape, x.device)


def changed_inputs(op: Primitive, inputs: Sequence[Any], attrs: dict[str, Any]) -> list[Any]:
    """Those of a primitive's inputs that it changes in place."""
    places = op.writes(**attrs) if callable(op.writes) else op.writes
    return list(inputs[places]) if isinstance(places, slice) else [
        inputs[i] for i in places if i < len(inputs)]


def written(op: Primitive, inputs: Sequence[Any], attrs: dict[str, Any]) -> list[Tensor]:
    """The tensors among the inputs that a primitive changes in place."""
    if not op.writes:
        return []
    return [x for x in changed_inputs(op, inputs, attrs) if isinstance(x, Tensor)]
