"""What the update rules share: many parameters in one call, large arrays in pieces, directions.

An update rule is a primitive that changes arrays in place. Its positional arguments are the
parameter, its gradient, what the optimizer keeps for it (None where an option is off) and the
learning rate; hyperparameters are static. It counts its own steps, so that a recorded call can be
replayed. `rule.writes` says which positions it changes, and it returns the parameter.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..primitive import PRIMITIVES, Primitive

__all__ = ["blocks", "cast", "descent", "largest", "least", "number", "signed", "sqrt",
           "square_towards", "together", "towards"]

# A small parameter costs a call much more than arithmetic: up to this size several are copied
# into one array, updated by one call, and copied out.
PACK_LIMIT = 1 << 12

# An update is a dozen passes over five arrays. In pieces of 32K elements (640 KB of float32) they
# stay in the L2 cache: Adam on 3M float32 takes 8.3 ms, and 16.4 ms in one piece.
BLOCK = {"numpy": 1 << 15}


@functools.cache
def together(rule: Primitive) -> Primitive:
    """The primitive that applies an elementwise rule to `count` parameters of one dtype.

    It is called NAMEs for a rule NAME. Its arguments are those of the rule, each one for all
    parameters before the next; of those at the positions `shared` (the step that all have reached)
    and of the learning rate there is one. A kernel for it updates a group in one pass.
    """
    def updates(xp, *arrays, count, shared, **options):
        columns, at = [], 0
        while at < len(arrays) - 1:
            n = 1 if len(columns) in shared else count
            columns.append(arrays[at:at + n])
            at += n
        before = [columns[k][0].copy() for k in shared]
        for part in _calls(columns[0]):
            for k, value in zip(shared, before):        # a rule counts the step: once for all
                columns[k][0][...] = value
            given = [[c[0]] if k in shared else [c[i] for i in part]
                     for k, c in enumerate(columns)]
            _update_packed(xp, rule, given, shared, arrays[-1], options)
        return arrays[0]

    updates.__doc__ = f"{rule.name} for several parameters."
    made = PRIMITIVES[f"{rule.name}s"] = Primitive(updates, f"{rule.name}s")
    made.writes = functools.partial(_written, rule)
    return made


def _written(rule: Primitive, count: int, shared: Sequence[int], **options: Any) -> list[int]:
    """Which arguments of the rule for several parameters are changed in place."""
    starts = [0]
    for k in range(len(rule.arg_names) - 1):        # the last is the learning rate
        starts.append(starts[-1] + (1 if k in shared else count))
    return [i for k in rule.writes for i in range(starts[k], starts[k + 1])]


def _calls(params: Sequence[Any]) -> list[list[int]]:
    """Which parameters share a call of the rule: the small ones."""
    small = [i for i, p in enumerate(params) if p.size <= PACK_LIMIT]
    return [[i] for i, p in enumerate(params) if p.size > PACK_LIMIT] + ([small] if small else [])


def _update_packed(xp: Any, rule: Primitive, given: list[list[Any]], shared: Sequence[int],
                   lr: Any, options: dict[str, Any]) -> None:
    """One call of the rule; several arrays are copied into one before it, and out after it."""
    row = [part[0] if len(part) == 1 or part[0] is None
           else xp.concatenate([a.reshape(-1) for a in part]) for part in given]
    rule.fn(xp, *row, lr, **options)
    for k in rule.writes:
        start = 0
        for a in given[k] if row[k] is not given[k][0] else ():
            a[...] = row[k][start:start + a.size].reshape(a.shape)
            start += a.size


def blocks(xp: Any, scratch: int, *arrays: Any) -> Iterator[tuple[Any, ...]]:
    """Matching pieces of arrays of one shape, followed by `scratch` uninitialised buffers.

    Pieces are views: writing into them changes the arrays. None stays None.
    """
    first: Any = arrays[0]
    limit = BLOCK.get(xp.__name__, first.size)
    if first.size <= limit:
        yield *arrays, *[xp.empty_like(first) for _ in range(scratch)]
        return
    if all(a is None or a.flags.c_contiguous for a in arrays):
        arrays = tuple([None if a is None else a.reshape(-1) for a in arrays])
        first = first.reshape(-1)
    rows = max(1, limit * len(first) // first.size)
    buffers = [xp.empty_like(first[:rows]) for _ in range(scratch)]
    for i in range(0, len(first), rows):
        n = min(rows, len(first) - i)
        yield *[None if a is None else a[i:i + n] for a in arrays], *[b[:n] for b in buffers]


# -- numbers that change from step to step: Python's on the CPU, and on a GPU arrays without axes,
# -- in float64, which nobody waits for


def number(xp: Any, x: Any) -> Any:
    """A number that is kept beside the parameters, such as how many steps were made."""
    return float(x) if xp is np or not hasattr(x, "astype") else x.astype(np.float64)


def sqrt(xp: Any, x: Any) -> Any:
    """The root of a number."""
    return math.sqrt(x) if isinstance(x, float) else xp.sqrt(x)


def least(xp: Any, a: Any, b: Any) -> Any:
    """The smaller number of two."""
    return xp.minimum(a, b) if hasattr(a, "dtype") or hasattr(b, "dtype") else min(a, b)


def largest(xp: Any, a: Any, b: Any) -> Any:
    """The larger number of two."""
    return xp.maximum(a, b) if hasattr(a, "dtype") or hasattr(b, "dtype") else max(a, b)


def cast(p: Any, x: Any) -> Any:
    """A number as elementwise functions take it beside p, in p's precision."""
    return x.astype(p.dtype) if hasattr(x, "astype") else x


def descent(xp: Any, g: Any, p: Any, weight_decay: float, maximize: bool, out: Any) -> Any:
    """The direction to descend, g + weight_decay * p (with -g to maximize); g stays as it is."""
    if not weight_decay:
        return xp.negative(g, out=out) if maximize else g
    xp.multiply(p, weight_decay, out=out)
    return (xp.subtract if maximize else xp.add)(out, g, out=out)


def towards(xp: Any, mean: Any, g: Any, beta: float, s: Any) -> None:
    """mean += (1 - beta) * (g - mean), in place."""
    xp.subtract(g, mean, out=s)
    xp.multiply(s, 1 - beta, out=s)
    xp.add(mean, s, out=mean)


def square_towards(xp: Any, v: Any, g: Any, beta: float, s: Any) -> None:
    """v = beta * v + (1 - beta) * g^2, in place."""
    xp.multiply(v, beta, out=v)
    xp.multiply(g, g, out=s)
    xp.multiply(s, 1 - beta, out=s)
    xp.add(v, s, out=v)


def signed(xp: Any, x: Any, size: Any, out: Any) -> Any:
    """size * sign(x), and 0 where x is 0 or NaN. No branches: NumPy's sign takes six times as long
    on values that it has not seen."""
    moving = xp.absolute(x) > 0
    xp.copysign(size, x, out=out)
    return xp.multiply(out, moving, out=out)
