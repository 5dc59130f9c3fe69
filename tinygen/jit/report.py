"""What a program costs, row by row: operations, memory traffic, time, and the line it came from."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from ..backend import Generator
from ..tensor import Tensor
from .program import Known, Program, Row

__all__ = ["Cost", "costs", "table"]


class Cost(NamedTuple):
    """Of one row: floating point operations, bytes read and written, seconds (if measured)."""

    flops: int
    bytes: int
    seconds: float | None = None


# -- counting --------------------------------------------------------------------------------------


def _shape(program: Program, source: int | Known | None) -> tuple[int, ...]:
    if source is None:
        return ()
    if isinstance(source, Known):
        return tuple(np.shape(getattr(source.value, "data", source.value) or 0)
                     if source.memory is None else source.value.shape)
    return program.kinds[source][1]


def flops(program: Program, row: Row) -> int:
    """A multiply-add counts as two. What only moves numbers counts nothing."""
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
        return 4 * math.prod(ins[0]) * ins[1][-2]
    if name == "attention_vjp":
        return 10 * math.prod(ins[0]) * ins[4][-2]
    if row.op.elementwise or row.op.writes:
        return size
    return math.prod(ins[0]) if name in ("sum", "mean", "max", "min") else 0


def _bytes(program: Program, row: Row) -> int:
    """Each array that is read or made, once; a view costs nothing."""
    total, memories = 0, set()
    for x in row.inputs:
        if isinstance(x, int):
            dtype, shape, memory = program.kinds[x]
            total += math.prod(shape) * dtype.itemsize
            memories.add(memory)
        elif x.memory is not None:
            total += x.value.nbytes
            memories.add(x.memory)
    fresh = [program.kinds[o] for o in row.outputs if o is not None]
    if fresh and not row.op.writes and all(memory in memories for *_, memory in fresh):
        return 0
    return total + sum(math.prod(shape) * dtype.itemsize for dtype, shape, _ in fresh)


# -- measuring -------------------------------------------------------------------------------------


def _measured(program: Program, args: Sequence[Tensor], repeats: int) -> list[float]:
    """The fastest of some runs of each row; what rows change in place is put back."""
    from .bind import row_function

    functions = [row_function(program, row) for row in program.rows]
    kept = [(x.data, x.data.copy()) for x in program.changed(list(args))]
    generators = {id(g): g for row in program.rows
                  for g in [row.attrs.get("generator")] if isinstance(g, Generator)}
    states = [(g, g.get_state()) for g in generators.values()]
    best = [math.inf] * len(functions)
    for _ in range(repeats):
        values: dict[int, Any] = {i: x.data for i, x in zip(program.inputs, args, strict=True)}
        for i, (row, function) in enumerate(zip(program.rows, functions, strict=True)):
            given = [values[x] if isinstance(x, int) else getattr(x.now(), "data", x.now())
                     if x.memory is not None else x.now() for x in row.inputs]
            start = perf_counter()
            made = function(*given)
            best[i] = min(best[i], perf_counter() - start)
            made = made if row.op.outputs > 1 else (made,)
            values |= {o: np.asarray(y) for o, y in zip(row.outputs, made, strict=True)
                       if o is not None}
        for array, copy in kept:
            array[...] = copy
        for generator, state in states:
            generator.set_state(state)
    return best


@functools.cache
def _ceilings() -> tuple[float, float]:
    """Operations and bytes a second that this machine reaches: a large product, a large copy."""
    a = np.ones((768, 768), np.float32)
    out, source = np.empty_like(a), np.ones(1 << 22, np.float32)
    target = np.empty_like(source)
    product = min(_seconds(lambda: np.matmul(a, a, out=out)) for _ in range(8))
    copy = min(_seconds(lambda: np.copyto(target, source)) for _ in range(8))
    return 2 * 768 ** 3 / product, 2 * source.nbytes / copy


def _seconds(call: Any) -> float:
    start = perf_counter()
    call()
    return perf_counter() - start


# -- showing ---------------------------------------------------------------------------------------


def costs(program: Program, args: Sequence[Tensor] = (), repeats: int = 5) -> list[Cost]:
    """The cost of each row; with arguments to run it on, measured too."""
    times: list[Any] = _measured(program, args, repeats) if args else [None] * len(program.rows)
    return [Cost(flops(program, row), _bytes(program, row), t)
            for row, t in zip(program.rows, times, strict=True)]


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
    return "\n".join(_lines(program, costs(program, args, repeats), bool(args)))


def _lines(program: Program, found: Sequence[Cost], timed: bool) -> Iterator[str]:
    yield f"{'row':38}{'MFLOP':>10}{'MB':>9}" + (f"{'us':>9}{'share':>7}  line" if timed else "")
    total = Cost(sum(c.flops for c in found), sum(c.bytes for c in found),
                 sum(c.seconds or 0.0 for c in found))
    for row, cost in zip(program.rows, found, strict=True):
        text = repr(row)
        text = text if len(text) <= 38 else text[:35] + "..."
        yield _line(text, cost, timed) + (f"  {row.line or ''}" if timed else "")
    yield _line(f"{len(found)} rows", total, timed)


def _line(text: str, cost: Cost, timed: bool) -> str:
    line = f"{text:38}{cost.flops / 1e6:>10.3f}{cost.bytes / 1e6:>9.3f}"
    if not timed or not cost.seconds:
        return line
    products, copies = _ceilings()
    least = max(cost.flops / products, cost.bytes / copies)
    return line + f"{cost.seconds * 1e6:>9.1f}{least / cost.seconds:>7.0%}"
