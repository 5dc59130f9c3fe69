"""Transposes: views of views become one, and products read their operands as they lie.

The gradient of `x @ w.T` is full of axes that are turned, and turned back. A view is the same
numbers, so `fold_views` changes no bit:

>>> import tinygen as tg
>>> from tinygen.jit import capture
>>> w = tg.ones((5, 4), requires_grad=True)
>>> def f(x):
...     x = x.detach().requires_grad_()
...     y = x @ w.T
...     w.grad = None
...     y.backward(tg.ones((3, 5)))
...     return y.detach(), x.grad
>>> program = capture(f, tg.ones((3, 4)))
>>> program
inputs %0 float32 3x4
%1 = permute_dims(outside:5x4)     float32 4x5
%2 = matmul(%0, %1)                float32 3x5
%3 = permute_dims(%1)              float32 5x4
%4 = matmul(const:3x5, %3)         float32 3x4
%5 = permute_dims(%0)              float32 4x3
%6 = matmul(%5, const:3x5)         float32 4x5
%7 = permute_dims(%6)              float32 5x4
outputs %2, %4, %7
>>> program = fold_views(program)
>>> program
inputs %0 float32 3x4
%1 = permute_dims(outside:5x4)     float32 4x5
%2 = matmul(%0, %1)                float32 3x5
%4 = matmul(const:3x5, outside:5x4) float32 3x4
%5 = permute_dims(%0)              float32 4x3
%6 = matmul(%5, const:3x5)         float32 4x5
%7 = permute_dims(%6)              float32 5x4
outputs %2, %4, %7

Products that are written in another way may be added up in another order. `transposed_operands`
hands `x @ w.T` over as `linear`, which takes w as it lies, and makes a result that would only be
turned, `(a @ b).T`, as `b.T @ a.T`, if an operand was turned for it: the gradient of w comes in the
order of w, and no longer across it.

>>> transposed_operands(program)
inputs %0 float32 3x4
%2 = linear(%0, outside:5x4)       float32 3x5
%4 = matmul(const:3x5, outside:5x4) float32 3x4
%8 = permute_dims(const:3x5)       float32 5x3
%7 = matmul(%8, %0)                float32 5x4
outputs %2, %4, %7
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from ...ops.dense import linear
from ...ops.linalg import matmul
from ...ops.shape import permute_p
from ..program import Known, Program, Row
from .dead import dead_code

__all__ = ["fold_views", "transposed_operands"]


def fold_views(program: Program) -> Program:
    """The program without views that change nothing, and with one permutation for several.

    A view that is returned stays: what the caller gets is a view, as without jit. So does one
    of a memory that is changed in place, if it changes nothing: it is a name of its own.
    """
    stay = {y for y in program.outputs if isinstance(y, int)}
    changed = {m for row in program.rows for m in program.written(row)}
    turned: dict[int, tuple[int | Known, tuple[int, ...]]] = {}     # slot -> its source, the axes
    same: dict[int, int | Known] = {}
    rows = []
    for row in program.rows:
        row = row.renamed([same.get(x, x) if isinstance(x, int) else x for x in row.inputs])
        out = row.outputs[0]
        if row.op.name not in _VIEWS or out is None or not _is_view(program, row.inputs[0], out):
            rows.append(row)
            continue
        x = row.inputs[0]
        if row.op is permute_p:
            axes = _axes(row)
            if isinstance(x, int) and x in turned:
                x, first = turned[x]
                axes = tuple(first[a] for a in axes)
                row = Row(permute_p, [x], {"axes": axes}, row.outputs, row.line,
                          number=row.number)
            turned[out] = x, axes
            nothing = axes == tuple(range(len(axes)))
        else:
            nothing = _shape(program, x) == program.kinds[out][1]
        if nothing and out not in stay and program.memory(x) not in changed:
            same[out] = x
        else:
            rows.append(row)
    return program.with_rows(rows) if _differ(rows, program.rows) else program


_VIEWS = frozenset({"permute_dims", "reshape", "broadcast_to"})


def _axes(row: Row) -> tuple[int, ...]:
    axes = row.attrs["axes"]
    return tuple(a % len(axes) for a in axes)


def _differ(rows: list[Row], old: list[Row]) -> bool:
    return len(rows) != len(old) or any(a.inputs != b.inputs for a, b in zip(rows, old,
                                                                             strict=True))


def _shape(program: Program, x: int | Known) -> tuple[int, ...]:
    return program.kinds[x][1] if isinstance(x, int) else getattr(x.value, "shape", ())


def _dtype(program: Program, x: int | Known) -> Any:
    return program.kinds[x][0] if isinstance(x, int) else getattr(x.value, "dtype", None)


def _is_view(program: Program, x: int | Known, out: int) -> bool:
    """Did the recording see the result in the memory of the input?"""
    return program.memory(x) is not None and program.memory(x) == program.kinds[out][2]


def transposed_operands(program: Program) -> Program:
    """The program with products that take transposed operands as they lie."""
    return dead_code(_untransposed_results(_transposed_weights(program)))


def _transposed_weights(program: Program) -> Program:
    """x @ permute_dims(w) becomes linear(x, w)."""
    turned = _turned(program)
    rows = []
    for row in program.rows:
        w = row.inputs[1] if row.op is matmul else None
        before = turned.get(w) if isinstance(w, int) else None
        if before is not None and _dtype(program, row.inputs[0]) == _dtype(program,
                                                                           before.inputs[0]):
            row = Row(linear, [row.inputs[0], before.inputs[0]], {}, row.outputs, before.line,
                      parts=(before, row))
        rows.append(row)
    return program.with_rows(rows)


def _untransposed_results(program: Program) -> Program:
    """permute_dims(a @ b) becomes permute_dims(b) @ permute_dims(a), where a or b is one itself.

    The product is made where it was made; its operands are read there and no later.
    """
    turned, kinds = _turned(program), dict(program.kinds)
    readers = Counter(x for row in program.rows for x in row.slots())
    readers.update(y for y in program.outputs if isinstance(y, int))
    wanted = {row.inputs[0]: row for row in turned.values() if isinstance(row.inputs[0], int)
              and readers[row.inputs[0]] == 1}
    rows: list[Row] = []
    gone = set()
    for row in program.rows:
        out = row.outputs[0]
        last = wanted.get(out) if row.op is matmul and out is not None else None
        if last is None or not any(isinstance(x, int) and x in turned for x in row.inputs) or any(
                len(_shape(program, x)) != 2 for x in row.inputs):
            rows.append(row)
            continue
        operands: list[int | Known] = []
        for x in row.inputs[::-1]:
            if isinstance(x, int) and x in turned:
                operands.append(turned[x].inputs[0])
                continue
            slot = max(kinds) + 1
            kinds[slot] = (_dtype(program, x), _shape(program, x)[::-1],
                           program.memory(x))    # type: ignore[assignment]
            rows.append(Row(permute_p, [x], {"axes": (1, 0)}, [slot], row.line))
            operands.append(slot)
        rows.append(Row(matmul, operands, {}, last.outputs, row.line, parts=(row, last)))
        gone.add(last.number)
    return program.with_rows([row for row in rows if row.number not in gone], kinds=kinds)


def _turned(program: Program) -> dict[int, Row]:
    """By their results, the rows that exchange the two axes of a matrix."""
    return {out: row for row in program.rows if row.op is permute_p and _axes(row) == (1, 0)
            and (out := row.outputs[0]) is not None and _is_view(program, row.inputs[0], out)}
