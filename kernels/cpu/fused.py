"""Groups of a program's rows: small ones as steps of one compiled loop, chains as a loop each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tinygen.primitive import kernel

from .chains import chain_cost, chain_source, prepared_chain
from .lazy import Native
from .lowering import Lowering, cost
from .steps import Code, Unfit

__all__ = ["steps"]

native = Native("small")
pointwise = Native("pointwise")


@kernel("fused", np.ndarray)
def fused(*arrays: Any, group: Any) -> Any:
    """All steps of a group in one call, on one thread: small arrays, whose calls cost the most."""
    return prepared(group)(*arrays)


def prepared(group: Any) -> Callable[..., tuple[Any, ...]]:
    """The function of a group: it allocates the results and calls what was compiled."""
    made = group.made.get(np.ndarray)
    if made is None:
        made = group.made[np.ndarray] = _prepare(group)
    return made


def steps(group: Any) -> Code:
    """The steps of a group; `lines` has them in words.

    Raises:
        Unfit: a step has more loops than there are places for.
    """
    names = [f"a{i}" for i in range(group.inputs)]
    outputs = _new(group)
    arrays = [x for i, x in enumerate(names) if group.kinds[i] is not None]
    places = {name: i for i, name in enumerate([*arrays, *outputs.values()])}
    kind = np.dtype(next(k[0] for k in group.kinds if k is not None))
    code = Code(places, lambda name, numbers, form: pointwise.loop(
        name, kind, numbers, form)[0])
    Lowering(group, names, outputs, code)
    return code


def _new(group: Any) -> dict[int, str]:
    """Names for the outputs that are no inputs changed in place."""
    return {v: f"o{k}" for k, v in enumerate(group.outputs) if v not in group.aliases}


def _prepare(group: Any) -> Callable[..., tuple[Any, ...]]:
    """The steps of a group, and the Python function around them."""
    try:
        if group.form == "chain":
            return prepared_chain(group)
        code = steps(group)
    except Unfit:
        return lambda *arrays: group.dispatched(np, arrays)
    outputs = _new(group)
    inputs = [f"a{i}" for i in range(group.inputs)]
    table = list(code.places)
    kind = np.dtype(group.kinds[0][0])
    rows, numbers = code.arrays()
    written = np.zeros(len(table), bool)
    written[list(group.written)] = True
    scope = {"empty": np.empty, "array": np.array, "ids": partial(map, id), "none": np.zeros(0),
             "fromiter": np.fromiter, "int64": np.dtype(np.int64), "run": native.run,
             "rows": rows, "numbers": numbers, "written": written, "scratch": code.scratch,
             "like": np.zeros(1, kind), "kind": kind,
             "otherwise": lambda *given: _otherwise(group, made, given)}
    made_lines = [f"    {name} = empty({group.kinds[v][1]}, kind)" for v, name in outputs.items()]
    given = ", ".join(x for i, x in enumerate(inputs) if group.kinds[i] is None)
    results = [outputs.get(v) or f"a{group.aliases[v]}" for v in group.outputs]
    exec(compile("\n".join([
        f"def made({', '.join(inputs)}):", *made_lines,
        f"    table = fromiter(ids(({', '.join(table)},)), int64, {len(table)})",
        f"    given = {f'array(({given},))' if given else 'none'}",
        "    if run(rows, numbers, given, table, written, scratch, like):",
        f"        return otherwise({', '.join(inputs)})",
        f"    return ({', '.join(results)},)"]), __file__, "exec"), scope)
    made: Callable[..., tuple[Any, ...]] = scope["made"]
    return made


def _otherwise(group: Any, made: Callable[..., Any], arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """A call with an array in another order: of a copy, or step by step if it is written to."""
    odd = [i for i, a in enumerate(arrays)
           if isinstance(a, np.ndarray) and not a.flags.c_contiguous]
    if not odd or set(odd) & set(group.written):
        return group.dispatched(np, arrays)
    return made(*(np.array(a, order="C") if i in odd else a for i, a in enumerate(arrays)))


def source(group: Any, name: str) -> str:
    """The steps of a group in words, one a line."""
    try:
        if group.form == "chain":
            return chain_source(group).replace("def chain(", f"def {name}(")
        lines = steps(group).lines
    except Unfit as reason:
        return f"{name}: step by step, by NumPy ({reason})\n{group!r}"
    return "\n".join([f"{name}: {len(lines)} steps of native/small.py", *lines])


fused.cost, fused.chain_cost = cost, chain_cost             # type: ignore[attr-defined]
fused.prepared, fused.source = prepared, source             # type: ignore[attr-defined]
