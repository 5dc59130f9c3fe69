"""A program on a GPU as one CUDA graph: its launches are handed over once and repeated together.

What a step costs beside its arithmetic are its launches, some 10 us of Python each. A graph is one.
It remembers addresses, so everything lies in fixed places: arguments are copied into buffers,
learning rates, which are read anew, are written into scalars on the device, temporaries come from a
memory pool of the graph's own, and results are copied out of it. Random draws move a counter that
lies on the device. Where a tensor from outside has got another array, the graph is made anew.

**No graph of this file has run on a card yet**; it is tested with the double of CuPy. So it has to
be asked for: `tg.jit(f, graph=True)`, or TINYGEN_CUDA_GRAPHS=1. Where a program cannot be one, its
launches are made one by one, and `program.graph_reason` says why.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..backend import Generator, module_of_type
from ..constants import remembered
from ..tensor import Tensor
from .bind import array_type, bind, row_function, row_types
from .program import Known, Program, Row

__all__ = ["Graph", "wanted"]

MOST = 8                # graphs of one program; arrays from outside that always change have none
# Their kernels take a learning rate from the device.
RATES = ("adam_update", "adam_updates", "sgd_update", "sgd_updates")
HOST = ("numpy_function", "transfer")


def wanted() -> bool:
    """Does the environment ask for graphs?"""
    return os.environ.get("TINYGEN_CUDA_GRAPHS", "") not in ("", "0")


@functools.cache
def _stream(xp: Any, device: int) -> Any:
    """The stream that captures: one for a device, so that libraries keep one workspace for it."""
    return xp.cuda.Stream(non_blocking=True)


class Graph:
    """A program's function of arrays, like `launches`, which makes its launches one by one.

    `reason` says why there is no graph, where there is none. The first call makes single launches:
    libraries make their plans there, and kernels are compiled.
    """

    def __init__(self, program: Program, launches: Callable[..., list[Any]]):
        self.program, self.launches = program, launches
        self.reason = _reason(program)
        self.calls = self.made = 0
        self._graph: Any = None

    def __call__(self, *arrays: Any) -> list[Any]:
        self.calls += 1
        if self.reason is None and self.calls > 1 and not self._holds():
            try:
                self._capture(arrays)
            except Exception as error:      # whatever a library refuses while a stream captures
                why = error.__context__ or error        # a row's error is told with its shapes
                self.reason, self._graph = f"{type(why).__name__}: {why}", None
        if self._graph is None:
            return self.launches(*arrays)
        for buffer, x in zip(self._buffers, arrays, strict=True):
            buffer[...] = x
        for number, read in self._numbers:
            number.fill(read())
        for function, given in self._on_host:
            function(*[x.array if x.read is None else x.read() for x in given])
        # On the current stream, behind what was launched there.
        self._graph.launch()
        return [y if kept else y.copy() for y, kept in zip(self._results, self._kept, strict=True)]

    def _holds(self) -> bool:
        """Is everything from outside still where the graph looks for it?"""
        return self._graph is not None and all(x.data is a for x, a in self._outside) and all(
            g.stream is s for g, s in self._streams)

    def _capture(self, arrays: tuple[Any, ...]) -> None:
        """Hand the launches over. Nothing is computed meanwhile."""
        self._graph = None
        self.made += 1
        if self.made > MOST:
            raise RuntimeError(f"tensors from outside were other arrays in {MOST} calls")
        program, kinds = self.program, row_types(self.program) or []
        xp = module_of_type(type(arrays[0]) if arrays else array_type(program) or np.ndarray)
        stream, pool = _stream(xp, xp.cuda.Device().id), xp.cuda.MemoryPool()
        known = [x for row in program.rows for x in row.inputs if isinstance(x, Known)]
        self._outside = [(x.value, x.value.data) for x in known if isinstance(x.value, Tensor)]
        self._streams = [(g, g.stream) for g in _generators(program)]
        scalars = {id(x.read): (xp.empty((), np.float64), x.read) for x in known if x.read}
        self._numbers = list(scalars.values())
        rows, self._on_host = [], []
        for row, kind in zip(program.rows, kinds, strict=True):
            if kind is np.ndarray:
                self._on_host.append((row_function(program, row),
                                      [x for x in row.inputs if isinstance(x, Known)]))
                continue
            rows.append(row.renamed([
                Known(Tensor.wrap(scalars[id(x.read)][0]), False, None)
                if isinstance(x, Known) and x.read else x for x in row.inputs]))
        run = bind(program.with_rows(rows))
        self._buffers = [xp.empty_like(x) for x in arrays]
        self._alive = pool, remembered()    # a graph holds addresses, not arrays: nothing may go
        with xp.cuda.using_allocator(pool.malloc), stream:
            stream.begin_capture()
            try:
                self._results = run(*self._buffers)
            finally:
                graph = stream.end_capture()
        outside = {x.memory for x in known}
        self._kept = [program.memory(y) in outside for y in program.outputs if isinstance(y, int)]
        self._graph = graph


def _generators(program: Program) -> Iterator[Generator]:
    return (row.attrs["generator"] for row in program.rows
            if isinstance(row.attrs.get("generator"), Generator))


def _reason(program: Program) -> str | None:
    """Why a program cannot be a graph, as far as its rows say."""
    kinds = row_types(program)
    if kinds is None:
        return "its arrays lie on several devices"
    if all(kind is np.ndarray for kind in kinds):
        return "nothing of it runs on a GPU"
    read = {x for row in program.rows for x in row.slots()}
    read |= {y for y in program.outputs if isinstance(y, int)}
    for row, kind in zip(program.rows, kinds, strict=True):
        reason = _unfit(program, row, kind, read)
        if reason:
            return f"{row.op.name} {reason}"
    return None


def _unfit(program: Program, row: Row, kind: type, read: set[int]) -> str | None:
    """What keeps one row out of a graph."""
    if row.op.name in HOST:
        return "goes through the host"
    if kind is np.ndarray:
        alone = not row.slots() and not read.intersection(o for o in row.outputs if o is not None)
        return None if alone else "runs on the host, on what others make or need"
    if any(isinstance(x, Known) and isinstance(x.array, np.ndarray) for x in row.inputs):
        return "reads the host's memory"
    if any(isinstance(x, Known) and x.read for x in row.inputs) and row.op.name not in RATES:
        return "takes a number that is read anew"
    given = {program.kinds[i][2] for i in program.inputs}
    return "changes an argument" if given & program.written(row) else None
