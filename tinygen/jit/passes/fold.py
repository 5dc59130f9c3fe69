"""Constant folding: what depends on nothing but constants is computed once.

Values from outside the function are no constants: a parameter changes from replay to replay.

>>> import tinygen as tg
>>> from tinygen.jit import capture
>>> program = capture(lambda x: x + tg.arange(3) * 2, tg.ones((3,)))
>>> program
inputs %0 float32 3
%1 = multiply(const:3, 2)          int64 3
%2 = add(%0, %1)                   float32 3
outputs %2
>>> fold_constants(program)
inputs %0 float32 3
%2 = add(%0, const:3)              float32 3
outputs %2
"""

from __future__ import annotations

from ...autograd import no_grad
from ...tensor import Tensor
from ..program import Known, Program, Row

__all__ = ["fold_constants"]


def fold_constants(program: Program) -> Program:
    """The program with pure rows of constants replaced by their results.

    What is changed in place, or given to the caller, stays: it has to be new in every replay.
    """
    apart = {m for row in program.rows for m in program.written(row)}
    apart |= {m for m in map(program.memory, program.outputs) if m is not None}
    known: dict[int, Known] = {}
    rows = []
    for row in program.rows:
        inputs = [known.get(x, x) if isinstance(x, int) else x for x in row.inputs]
        made = {program.kinds[o][2] for o in row.outputs if o is not None}
        if row.pure and not apart & made and all(
                isinstance(x, Known) and x.fixed and x.memory not in apart for x in inputs):
            known |= _results(row, inputs, program)
        else:
            rows.append(row.renamed(inputs))
    return program.with_rows(rows)


def _results(row: Row, inputs: list[int | Known], program: Program) -> dict[int, Known]:
    with no_grad():
        made = row.op(*[x.value for x in inputs if isinstance(x, Known)], **row.attrs)
    made = made if isinstance(made, tuple) else (made,)
    return {slot: Known(y if isinstance(y, Tensor) else Tensor.wrap(y), True,
                        program.kinds[slot][2])
            for slot, y in zip(row.outputs, made, strict=True) if slot is not None}
