"""What runs for a row: a generated kernel, a kernel of the library, or the primitive's own code."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from ..primitive import KERNELS, Primitive
from .program import Program, Row

__all__ = ["generated", "implementation"]


def generated(program: Program) -> dict[str, str]:
    """The sources of the kernels that were made for a program, by name.

    A pass that generates one gives it to the primitive of its row, as `source`.
    """
    return {row.op.name: text for row in program.rows
            if (text := getattr(row.op, "source", None)) is not None}


def implementation(program: Program, row: Row) -> tuple[str, str]:
    """What a row calls on the CPU, in words, and its source."""
    made = getattr(row.op, "source", None)
    if made is not None:
        return f"generated kernel {row.op.name}", made
    native = KERNELS.get((row.op.name, np.ndarray))
    if native is not None and _size(program, row) >= native.smallest:
        f = inspect.unwrap(native.function)
        return (f"kernel {f.__module__}.{f.__qualname__} (where it declines a call, NumPy's code "
                "runs)", _source(f))
    return f"NumPy's code of {row.op.name}", _source(_function(row.op))


def _size(program: Program, row: Row) -> int:
    first = row.inputs[0] if row.inputs else None
    if isinstance(first, int):
        return int(np.prod(program.kinds[first][1]))
    return int(getattr(getattr(first, "value", None), "size", 0))


def _function(op: Primitive) -> Any:
    """The function of a primitive as it was written; of a joint rule, the rule."""
    inner = inspect.getclosurevars(op.fn).nonlocals if op.name.endswith("_vjp") else {}
    return inspect.unwrap(inner.get("rule", op.fn))


def _source(f: Any) -> str:
    try:
        return inspect.cleandoc("\n" + inspect.getsource(f))
    except (OSError, TypeError):      # written at a prompt, or not in Python
        return f"{f!r}"
