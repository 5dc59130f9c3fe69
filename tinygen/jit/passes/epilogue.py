"""Epilogues of products: a bias and an activation behind one.

`activation(x @ w.T + b)`, written out, is four operations, of which `transposed_operands` has made
three; the kernel of `linear_activation` works on rows of the product while they are in the cache.
The gradient needs the result of the activation alone, so the sum in front of it is never kept.

>>> import tinygen as tg
>>> from tinygen.jit import capture
>>> from tinygen.jit.passes import transposed_operands
>>> w, b = tg.ones((5, 4)), tg.ones((5,))
>>> program = capture(lambda x, w, b: tg.tanh(x @ w.T + b), tg.ones((3, 4)), w, b)
>>> program = transposed_operands(program)
>>> program
inputs %0 float32 3x4, %1 float32 5x4, %2 float32 5
%4 = linear(%0, %1)                float32 3x5
%5 = add(%4, %2)                   float32 3x5
%6 = tanh(%5)                      float32 3x5
outputs %6
>>> product_epilogues(program)
inputs %0 float32 3x4, %1 float32 5x4, %2 float32 5
%6 = linear_activation(%0, %1, %2) float32 3x5
outputs %6
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from ...ops.dense import ACTIVATIONS, linear, linear_activation
from ...primitive import Primitive
from ..program import Known, Program, Row
from .dead import dead_code

__all__ = ["product_epilogues"]


def product_epilogues(program: Program) -> Program:
    """The program with products, biases and activations as one row where they follow each other."""
    return dead_code(_Epilogues(program).run())


class _Epilogues:
    """The rows of a program, some of them replaced."""

    def __init__(self, program: Program):
        self.program, self.rows = program, list(program.rows)
        self.results = {y for y in program.outputs if isinstance(y, int)}

    def run(self) -> Program:
        """One kind of change after the other."""
        for change in (self._biased, self._activated, self._gradient):
            self.makers, self.readers = {}, defaultdict(list)
            for i, row in enumerate(self.rows):
                for o in row.outputs:
                    if o is not None:
                        self.makers[o] = i
                for x in row.slots():
                    self.readers[x].append(i)
            for i in range(len(self.rows)):
                change(i, self.rows[i])
        return self.program.with_rows(self.rows)

    def _made_by(self, x: int | Known, op: str) -> int | None:
        """The number of the row that made x, if it is one of this operation."""
        i = self.makers.get(x) if isinstance(x, int) else None
        return i if i is not None and self.rows[i].op.name == op else None

    def _is_kept(self, row: Row, first: int, last: int) -> bool:
        """Are the inputs of a row the same still when row `last` runs?"""
        read = {self.program.memory(x) for x in row.inputs} - {None}
        return not any(read & self.program.written(r) for r in self.rows[first + 1:last])

    def _shape(self, x: int | Known) -> tuple[int, ...]:
        return self.program.kinds[x][1] if isinstance(x, int) else getattr(x.value, "shape", ())

    def _dtype(self, x: int | Known) -> Any:
        return self.program.kinds[x][0] if isinstance(x, int) else getattr(x.value, "dtype", None)

    def _replace(self, i: int, old: list[Row], op: Primitive, inputs: list[int | Known],
                 outputs: list[int | None], **attrs: Any) -> None:
        parts = tuple(p for row in old for p in (row.parts or (row,)))
        self.rows[i] = Row(op, inputs, attrs, outputs, old[0].line, parts=parts)

    def _biased(self, i: int, row: Row) -> None:
        """linear(x, w) + b becomes linear(x, w, b)."""
        if row.op.name != "add":
            return
        for y, b in (row.inputs, row.inputs[::-1]):
            k = self._made_by(y, "linear")
            if k is None or len(self.rows[k].inputs) > 2 or not self._only(y, [i]):
                continue
            product = self.rows[k]
            if self._shape(b) == self._shape(y)[-1:] and self._dtype(b) == self._dtype(y) and (
                    self._is_kept(product, k, i)):
                self._replace(i, [product, row], linear, [*product.inputs, b], row.outputs)
                return

    def _only(self, x: int | Known, readers: list[int]) -> bool:
        return isinstance(x, int) and self.readers[x] == readers and x not in self.results

    def _activated(self, i: int, row: Row) -> None:
        """f(linear(x, w, b)) becomes linear_activation, if only gradients read the sum besides."""
        name = row.op.name
        if name not in ACTIVATIONS or not 0 <= row.attrs.get("slope", 0.0) <= 1:
            return
        z, y = row.inputs[0], row.outputs[0]
        k = self._made_by(z, "linear")
        if k is None or not isinstance(z, int) or z in self.results or y is None:
            return
        product, others = self.rows[k], [j for j in self.readers[z] if j != i]
        if not self._is_kept(product, k, i) or any(j < i or not self._takes_result(j, z)
                                                   for j in others):
            return
        self._replace(i, [product, row], linear_activation, list(product.inputs), [y],
                      activation=name, slope=float(row.attrs.get("slope", 0.0)))
        for j in others:
            self.rows[j] = self.rows[j].renamed([y if x == z else x for x in self.rows[j].inputs])

    def _takes_result(self, j: int, z: int) -> bool:
        """Does row j do the same with the activation's result in place of the sum z?

        The result has the sign of the sum; and the rule of a product does not look at its value.
        """
        row = self.rows[j]
        if row.op.name in ("relu_grad", "leaky_relu_grad"):
            return row.inputs[0] != z
        places = [k for k, x in enumerate(row.inputs) if x == z]
        return row.op.name == "linear_vjp" and places == [1]

    def _gradient(self, i: int, row: Row) -> None:
        """linear_vjp of an activation's gradient becomes the rule of linear_activation."""
        if row.op.name != "linear_vjp":
            return
        g = row.inputs[0]
        k = self.makers.get(g) if isinstance(g, int) else None
        if k is None or not self._only(g, [i]) or len(self.rows[k].inputs) < 2:
            return
        inner = self.rows[k]
        y = inner.inputs[1]
        made = self._made_by(y, "linear_activation")
        if made is None:
            return
        forward = self.rows[made]
        if inner.op.name == f"{forward.attrs['activation']}_grad" and (
                inner.attrs.get("slope", 0.0) == forward.attrs["slope"]
                and self._shape(inner.inputs[0]) == self._shape(y)
                and list(map(_key, row.inputs[2:])) == list(map(_key, forward.inputs))
                and self._is_kept(inner, k, i)):
            assert linear_activation.joint is not None
            self._replace(i, [inner, row], linear_activation.joint,
                          [inner.inputs[0], y, *row.inputs[2:]], row.outputs,
                          needs=row.attrs["needs"], **forward.attrs)


def _key(x: int | Known) -> int | tuple[str, int]:
    """What is the same for two inputs that are one."""
    return x if isinstance(x, int) else ("known", id(x.value))
