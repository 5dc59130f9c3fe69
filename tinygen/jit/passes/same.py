"""Common subexpressions: what was computed already is not computed again.

>>> import tinygen as tg
>>> from tinygen.jit import capture
>>> program = capture(lambda x: tg.exp(x) * (tg.exp(x) + 1), tg.ones((3,)))
>>> program
inputs %0 float32 3
%1 = exp(%0)                       float32 3
%2 = exp(%0)                       float32 3
%3 = add(%2, 1)                    float32 3
%4 = multiply(%1, %3)              float32 3
outputs %4
>>> common_subexpressions(program)
inputs %0 float32 3
%1 = exp(%0)                       float32 3
%3 = add(%1, 1)                    float32 3
%4 = multiply(%1, %3)              float32 3
outputs %4
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from ..program import Known, Program, Row

__all__ = ["common_subexpressions"]


def common_subexpressions(program: Program) -> Program:
    """The program without pure rows that repeat an earlier one on the same values.

    A memory that is changed in place holds other values afterwards. Results that are changed in
    place, or returned, stay apart: nobody expects two of them to be one.
    """
    changed = {m for row in program.rows for m in program.written(row)}
    apart = changed | {program.memory(y) for y in program.outputs}
    version: Counter[int | None] = Counter()
    first: dict[Any, list[int | None]] = {}
    same: dict[int, int] = {}
    rows = []
    for row in program.rows:
        inputs = [same.get(x, x) if isinstance(x, int) else x for x in row.inputs]
        row = row.renamed(inputs)
        made = [o for o in row.outputs if o is not None]
        key = None
        if row.pure and not apart.intersection(program.kinds[o][2] for o in made):
            key = _key(row, program, version)
        if key is not None and key in first and _fits(first[key], row.outputs):
            same |= {o: f for f, o in zip(first[key], row.outputs, strict=True)
                     if o is not None and f is not None}
            continue
        if key is not None:
            first.setdefault(key, row.outputs)
        rows.append(row)
        version.update(program.written(row))
    return program.with_rows(rows)


def _fits(earlier: list[int | None], later: list[int | None]) -> bool:
    return all(o is None or f is not None for f, o in zip(earlier, later, strict=True))


def _key(row: Row, program: Program, version: Counter[int | None]) -> Any:
    """What two rows have in common that compute the same; None where that cannot be said."""
    def of(x: int | Known) -> Any:
        if isinstance(x, int):
            return x, version[program.kinds[x][2]]
        if x.memory is not None:
            return "array", id(x.array), version[x.memory]
        # 0.0 and -0.0 are equal, and a number that is read anew is another one each time.
        return type(x.value), x.value, str(x.value), id(x.read)
    key = (row.op.name, tuple(map(of, row.inputs)), _frozen(row.attrs))
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple((k, _frozen(v)) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return type(value), tuple(map(_frozen, value))
    if isinstance(value, (np.ndarray, np.generic, float)):
        return type(value), str(getattr(value, "dtype", "")), np.asarray(value).tobytes(), np.shape(
            value)
    return type(value), value
