"""What runs for a row: a generated kernel, a kernel of the library, or the primitive's own code."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import numpy as np

from ..primitive import KERNELS, Primitive, kernel_status
from .bind import array_type
from .program import Program, Row

__all__ = ["generated", "implementation"]


def generated(program: Program) -> dict[str, str]:
    """The sources of the kernels that were made for groups of a program's rows, by name."""
    place = array_type(program)
    return dict(made for row in program.rows if (made := _made_for(row, place)) is not None)


def _made_for(row: Row, place: type | None) -> tuple[str, str] | None:
    """Name and source of what was generated for a group of rows: its kernel, or its definition."""
    group = row.attrs.get("group")
    if not row.parts or group is None:
        return None
    name, native = f"group_{group.key[:8]}", KERNELS.get(
        (row.op.name, place or np.ndarray))
    write = getattr(native and native.function, "source", None)
    return name, repr(group) if write is None else write(group, name)


def implementation(program: Program, row: Row) -> tuple[str, str]:
    """What a row calls, in words, and its source."""
    place = array_type(program) or np.ndarray
    library = "NumPy" if place is np.ndarray else "CuPy"
    kernel_status(place)                           # loads them, if nothing has run yet
    made = _made_for(row, place)
    if made is not None:
        return f"kernel {made[0]}, made for these {len(row.parts)} rows", made[1]
    native = KERNELS.get((row.op.name, place))
    if native is not None and _size(program, row) >= native.smallest:
        f = inspect.unwrap(native.function)
        return (f"kernel of {row.op.name} in {f.__module__} (where it declines a call, {library}'s "
                "code runs)", _source(f))
    return f"{library}'s code of {row.op.name}", _source(_function(row.op))


def _size(program: Program, row: Row) -> int:
    first = row.inputs[0] if row.inputs else None
    if isinstance(first, int):
        return int(np.prod(program.kinds[first][1]))
    return int(getattr(getattr(first, "value", None), "size", 0))


def _function(op: Primitive) -> Any:
    """The function of a primitive as it was written; of a joint rule, the rule."""
    inner = inspect.getclosurevars(op.fn).nonlocals if op.name.endswith("_vjp") else {}
    return inspect.unwrap(inner.get("rule", op.fn))


@functools.cache
def _source(f: Any) -> str:
    try:
        return inspect.cleandoc("\n" + inspect.getsource(f))
    except (OSError, TypeError):      # written at a prompt, or not in Python
        return f"{f!r}"
