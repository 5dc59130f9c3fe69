"""Static single assignment: every slot is written by one row.

An update in place gives back the array that it changed, so the recording names the parameter
before and after the update by one slot. Here what is read after it has a name of its own.

>>> import tinygen as tg
>>> from tinygen import nn
>>> from tinygen.jit import capture
>>> w = tg.ones((2,), requires_grad=True)
>>> optimizer = tg.optim.SGD([w], lr=0.5)
>>> def step(x):
...     w.grad = x
...     optimizer.step()
...     optimizer.step()
...     return w.detach() * 1.0
>>> program = capture(step, tg.ones((2,)))
>>> program
inputs %0 float32 2
%1 = sgd_update(outside:2, %0, None, now:0.5) float32 2
%1 = sgd_update(%1, %0, None, now:0.5) float32 2
%2 = multiply(%1, 1.0)             float32 2
outputs %2, %0
>>> single_assignment(program)
inputs %0 float32 2
%1 = sgd_update(outside:2, %0, None, now:0.5) float32 2
%3 = sgd_update(%1, %0, None, now:0.5) float32 2
%2 = multiply(%3, 1.0)             float32 2
outputs %2, %0
"""

from __future__ import annotations

from ..program import Known, Program

__all__ = ["single_assignment"]


def single_assignment(program: Program) -> Program:
    """The program with a new slot for each output that another row, or an input, had already."""
    given = set(program.inputs)
    kinds = dict(program.kinds)
    newest: dict[int, int] = {}
    fresh = max(kinds, default=-1) + 1
    rows = []
    for row in program.rows:
        inputs = [newest.get(x, x) if isinstance(x, int) else x for x in row.inputs]
        outputs: list[int | None] = []
        for slot in row.outputs:
            if slot is not None and slot in given:
                newest[slot], kinds[fresh] = fresh, kinds[slot]
                slot, fresh = fresh, fresh + 1
            if slot is not None:
                given.add(slot)
            outputs.append(slot)
        rows.append(row.renamed(inputs, outputs))
    last: list[int | Known] = [newest.get(y, y) if isinstance(y, int) else y
                               for y in program.outputs]
    return program.with_rows(rows, last, kinds)
