"""Dead code: rows whose results nobody reads are left out.

Updates in place and random draws stay: what they change outlives the program.

>>> import tinygen as tg
>>> from tinygen.jit import capture
>>> def f(x):
...     unused = tg.exp(x).sum()
...     return x * 2
>>> program = capture(f, tg.ones((3,)))
>>> program
inputs %0 float32 3
%1 = exp(%0)                       float32 3
%2 = sum(%1)                       float32 scalar
%3 = multiply(%0, 2)               float32 3
outputs %3
>>> dead_code(program)
inputs %0 float32 3
%3 = multiply(%0, 2)               float32 3
outputs %3
"""

from __future__ import annotations

from ..program import Program

__all__ = ["dead_code"]


def dead_code(program: Program) -> Program:
    """The program without pure rows that no later row, and no result, depends on."""
    needed = {y for y in program.outputs if isinstance(y, int)}
    rows = []
    for row in reversed(program.rows):
        if not row.pure or needed.intersection(row.outputs):
            needed.update(row.slots())
            rows.append(row)
    return program.with_rows(rows[::-1])
