"""What passes share that put rows of the CPU's kernels in place of others.

>>> import tinygen as tg
>>> from tinygen.jit import capture
>>> rows = Rewriting(capture(lambda x: tg.exp(x * 2), tg.ones((2,))))
>>> rows.only_read_by(1, 1), rows.only_read_by(1, 2)       # row 1 reads %1, the caller reads %2
(0, None)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...primitive import KERNELS, Primitive
from ..program import Known, Program, Row
from .together import has_kernel

__all__ = ["Rewriting", "changed", "has_kernels"]


def has_kernels(program: Program, *ops: Primitive) -> bool:
    """Does a program run on the CPU's kernels, and are there some for these operations?"""
    from ..bind import array_type

    return array_type(program) is np.ndarray and has_kernel() is not None and all(
        (op.name, np.ndarray) in KERNELS for op in ops)


def changed(program: Program, sources: list[int | Known], between: list[Row]) -> bool:
    """Is memory that these lie in changed by one of some rows?"""
    read = {program.memory(x) for x in sources} - {None}
    return any(read & program.written(row) for row in between if row.op.writes)


class Rewriting:
    """The rows of a program, some of them replaced or gone."""

    def __init__(self, program: Program):
        self.program, self.rows = program, list(program.rows)
        self.makers: dict[int, int] = {}
        self.readers: dict[int, list[int]] = {}
        self.gone: set[int] = set()
        for i, row in enumerate(self.rows):
            self.put(i, row)
            for x in row.slots():
                self.readers.setdefault(x, []).append(i)
        for y in program.outputs:
            if isinstance(y, int):
                self.readers.setdefault(y, []).append(len(self.rows))

    def run(self, *changes: Callable[[int, Row], None]) -> Program:
        """One kind of change after the other, each looking at every row."""
        for change in changes:
            for i in range(len(self.rows)):
                if i not in self.gone:
                    change(i, self.rows[i])
        return self.program.with_rows([row for i, row in enumerate(self.rows)
                                       if i not in self.gone])

    def put(self, i: int, row: Row) -> None:
        """Let this be row number i."""
        self.rows[i] = row
        self.makers.update((o, i) for o in row.outputs if o is not None)

    def only_read_by(self, i: int, x: Any) -> int | None:
        """The number of the row that made x, if row i alone reads it."""
        alone = isinstance(x, int) and self.readers[x] == [i]
        return self.makers.get(x) if alone else None

    def changed(self, sources: list[int | Known], first: int, last: int) -> bool:
        """Is memory that these lie in changed by a row between the two?"""
        return changed(self.program, sources, self.rows[first + 1:last])
