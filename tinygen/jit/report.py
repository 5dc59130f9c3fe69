"""What a program costs, row by row: operations, memory traffic, time, and the line it came from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from ..backend import Generator, module_of_type
from ..primitive import PRIMITIVES
from ..tensor import Tensor
from .ceilings import ceilings
from .program import Known, Program, Row, kind

__all__ = ["Cost", "costs", "table", "total"]


class Cost(NamedTuple):
    """Of one row: floating point operations, bytes read and written, seconds (if measured)."""

    flops: int
    bytes: int
    seconds: float | None = None

    @property
    def least(self) -> float:
        """Seconds that this machine needs at its best: for its products or for its copies."""
        products, copies = ceilings()
        return max(self.flops / products, self.bytes / copies)


# -- counting --------------------------------------------------------------------------------------

_TAKE = ("getitem", "look_up", "take_along_axis")      # they read some elements of the first input


def _shape(program: Program, source: int | Known | None) -> tuple[int, ...]:
    if source is None:
        return ()
    if isinstance(source, Known):
        return tuple(np.shape(source.array or 0)
                     if source.memory is None else source.value.shape)
    return program.kinds[source][1]


def flops(program: Program, row: Row) -> int:
    """A multiply-add counts as two. What only moves numbers counts nothing."""
    if row.parts:
        return sum(flops(program, part) for part in row.parts)
    name, ins = row.op.name, [_shape(program, x) for x in row.inputs]
    made = [_shape(program, o) for o in row.outputs]
    size = sum(math.prod(s) for s, o in zip(made, row.outputs, strict=True) if o is not None)
    if name == "matmul":
        return 2 * size * ins[0][-1]
    if name in ("linear", "linear_activation"):
        return 2 * size * ins[1][-1]
    if name in ("linear_vjp", "linear_activation_vjp"):
        return 2 * math.prod(ins[0]) * ins[3][-1] * sum(row.attrs["needs"][:2])
    if name == "conv2d":
        return 2 * size * math.prod(ins[1][1:])
    if name == "conv_transpose2d":
        return 2 * math.prod(ins[0]) * math.prod(ins[1][1:])
    if name == "conv2d_weight":
        return 2 * math.prod(ins[1]) * math.prod(made[0][1:])
    if name == "attention":
        return 4 * _pairs(ins[0], ins[1], row.attrs) * ins[0][-1]
    if name == "attention_vjp":
        return 10 * _pairs(ins[0], ins[4], row.attrs) * ins[0][-1]
    if name.removesuffix("_vjp").endswith("_sequence"):
        return _recurrent(name, ins, row.attrs)
    if row.op.elementwise or row.op.writes:
        return size
    return math.prod(ins[0]) if name in ("sum", "mean", "max", "min") else 0


def _pairs(q: tuple[int, ...], k: tuple[int, ...], attrs: dict[str, Any]) -> int:
    """How many pairs of a query and a key see each other."""
    keys, last = k[-2], attrs["offset"] + 1
    seen = [min(keys, max(0, i + last)) for i in range(q[-2])] if attrs["causal"] else [
        keys] * q[-2]
    return math.prod(q[:-2]) * sum(seen)


def _recurrent(name: str, ins: list[tuple[int, ...]], attrs: dict[str, Any]) -> int:
    """All steps of an RNN, LSTM or GRU: the products with `w_ih` and `w_hh`, or their gradients."""
    op = PRIMITIVES[name.removesuffix("_vjp")]
    given = ins[op.differentiable + op.outputs:] if name.endswith("_vjp") else ins
    place = op.arg_names.index("w_ih")
    of_input, of_state = math.prod(given[place]), math.prod(given[place + 1])
    work = of_input + of_state
    if name.endswith("_vjp"):
        needs = attrs["needs"]
        work = of_input * (needs[0] + needs[place]) + of_state * (1 + needs[place + 1])
    return 2 * math.prod(given[0][:2]) * work


def _bytes(program: Program, row: Row) -> int:
    """Each array that is read or made, once; of one that is indexed, what is taken. A view costs
    nothing."""
    read, memories = [], set()
    for x in row.inputs:
        if isinstance(x, int):
            dtype, shape, memory = program.kinds[x]
            read.append(math.prod(shape) * dtype.itemsize)
            memories.add(memory)
        elif x.memory is not None:
            read.append(x.value.nbytes)
            memories.add(x.memory)
    fresh = [program.kinds[o] for o in row.outputs if o is not None]
    if fresh and not row.op.writes and all(memory in memories for *_, memory in fresh):
        return 0
    made = sum(math.prod(shape) * dtype.itemsize for dtype, shape, _ in fresh)
    if row.op.name in _TAKE and read:
        read[0] = min(read[0], made)
    return sum(read) + made


# -- measuring -------------------------------------------------------------------------------------


def _measured(program: Program, args: Sequence[Tensor], repeats: int) -> list[float]:
    """The fastest of some runs of each row; what rows change in place is put back."""
    from .bind import array_type, row_function, row_types

    place = array_type(program) or np.ndarray
    kinds = row_types(program) or [np.ndarray] * len(program.rows)
    functions = [row_function(program, row, kind=k)
                 for row, k in zip(program.rows, kinds, strict=True)]
    wait = _nothing if place is np.ndarray else module_of_type(place).cuda.Device().synchronize
    kept = [(x.data, x.data.copy()) for x in program.changed(list(args))]
    generators = {id(g): g for row in program.rows
                  for g in [row.attrs.get("generator")] if isinstance(g, Generator)}
    states = [(g, g.get_state()) for g in generators.values()]
    best = [math.inf] * len(functions)
    for _ in range(repeats):
        values: dict[int, Any] = {i: x.data for i, x in zip(program.inputs, args, strict=True)}
        for i, (row, function, done) in enumerate(zip(program.rows, functions, program.last_uses,
                                                      strict=True)):
            given = [values[x] if isinstance(x, int) else x.array
                     if x.memory is not None else x.now() for x in row.inputs]
            with np.errstate(all="ignore"):
                start = perf_counter()
                made = function(*given)
                wait()
                best[i] = min(best[i], perf_counter() - start)
            made = made if row.op.outputs > 1 else (made,)
            values |= {o: np.asarray(y) if isinstance(y, np.generic) else y
                       for o, y in zip(row.outputs, made, strict=True) if o is not None}
            for slot in done:
                del values[slot]
        for array, copy in kept:
            array[...] = copy
        for generator, state in states:
            generator.set_state(state)
    return best


def _nothing() -> None:
    """What there is to wait for on a CPU."""


# -- showing ---------------------------------------------------------------------------------------


def costs(program: Program, args: Sequence[Tensor] = (), repeats: int = 5) -> list[Cost]:
    """The cost of each row; with the arguments to run it on, if it takes any, measured too.

    Raises:
        ValueError: the arguments are not like those that the program was captured for.
    """
    times: list[Any] = [None] * len(program.rows)
    if repeats and (args or not program.inputs):
        if (given := [kind(x) for x in args]) != program.signature:
            raise ValueError(f"[table] captured for {program.signature}, called with {given}")
        times = _measured(program, args, repeats)
    return [Cost(flops(program, row), _bytes(program, row), t)
            for row, t in zip(program.rows, times, strict=True)]


def total(found: Sequence[Cost]) -> Cost:
    """Of all rows."""
    seconds = [c.seconds for c in found if c.seconds is not None]
    return Cost(sum(c.flops for c in found), sum(c.bytes for c in found),
                sum(seconds) if seconds else None)


def table(program: Program, args: Sequence[Tensor] = (), repeats: int = 5) -> str:
    """The rows with what they cost, as text; with arguments also the time, and which share of it
    the machine would need at its best (its sgemm, or its copies, whichever takes longer).

    >>> import tinygen as tg
    >>> from tinygen.jit import capture
    >>> print(table(capture(lambda x: (x @ x).sum(), tg.ones((64, 64)))))
    row                                        MFLOP       MB
    %1 = matmul(%0, %0)                        0.524    0.049
    %2 = sum(%1)                               0.004    0.016
    2 rows                                     0.528    0.066
    """
    found = costs(program, args, repeats)
    timed = any(c.seconds is not None for c in found)
    lines = [title("row", 38, timed)]
    for row, cost in zip(program.rows, found, strict=True):
        lines.append(line(short(repr(row), 38), 38, cost) + (f"  {row.line or ''}" * timed))
    return "\n".join([*lines, line(f"{len(found)} rows", 38, total(found))])


def short(text: str, width: int) -> str:
    """A text that fits a column."""
    return text if len(text) <= width else text[:width - 3] + "..."


def title(text: str, width: int, timed: bool) -> str:
    """The head of a table of rows."""
    return (f"{text:{width}}{'MFLOP':>10}{'MB':>9}"
            + (f"{'us':>9}{'share':>7}  line" if timed else ""))


def line(text: str, width: int, cost: Cost) -> str:
    """A line of a table; the share is that of the time which the machine needs at its best."""
    shown = f"{text:{width}}{cost.flops / 1e6:>10.3f}{cost.bytes / 1e6:>9.3f}"
    if not cost.seconds:
        return shown
    return shown + f"{cost.seconds * 1e6:>9.1f}{cost.least / cost.seconds:>7.0%}"
