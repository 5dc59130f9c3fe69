"""A program as one Python function of bare arrays: no tensors, no dispatch, no dictionary.

Shapes and dtypes are those of the recording, so the implementation of every row (a kernel, or
NumPy's or CuPy's code) is chosen once. What is left of a call is the call.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..backend import Generator, device_count, following
from ..errors import explain
from ..primitive import KERNELS, Primitive, Unavailable
from ..tensor import Tensor
from .group import Group, fused
from .program import Known, Program, Row
from .reuse import reusable

__all__ = ["array_type", "bind", "row_function", "row_types", "source"]


def array_type(program: Program) -> type | None:
    """NumPy's type of arrays; or CuPy's, where some lie on a device; None for several devices."""
    found = row_types(program)
    if found is None:
        return None
    return next((kind for kind in found if kind is not np.ndarray), np.ndarray)


def row_types(program: Program) -> list[type] | None:
    """The type of the arrays that each row is given; None where they lie on several devices.

    A model on a GPU may count its steps on the host: such a row is NumPy's. One that is given
    arrays of both, as a pool of pictures is its draws, goes by the first, as dispatch does.
    """
    place = {i: device for i, (*_, device) in zip(program.inputs, program.signature, strict=True)}
    found, seen = [], set(place.values())
    for row in program.rows:
        given = [place[x] if isinstance(x, int) else x.value.device for x in row.inputs
                 if isinstance(x, int) or isinstance(x.value, Tensor)]
        generator = row.attrs.get("generator")
        if isinstance(generator, Generator):
            given.append(generator.device)
        if given and given[0] == "cpu" and set(given) != {"cpu"}:
            return None
        found.append(given[0] if given else "cpu")
        made = row.attrs["device"] if row.op.name == "transfer" else found[-1]
        place |= {o: made for o in row.outputs if o is not None}
        seen |= {*given, made}
    if len(seen - {"cpu"}) > 1:
        return None
    return [np.ndarray if device == "cpu" else importlib.import_module("cupy").ndarray
            for device in found]


def bind(program: Program) -> Callable[..., list[Any]]:
    """A function of the arrays of the arguments that gives those of the computed outputs."""
    scope: dict[str, Any] = {"asarray": np.asarray}     # for NumPy's numbers; CuPy has none
    text = source(program, scope)
    exec(compile(text, "<a program of tinygen.jit>", "exec"), scope)
    return scope["replay"]


def source(program: Program, scope: dict[str, Any] | None = None) -> str:
    """The text of that function; `scope` is filled with what it names.

    >>> import tinygen as tg
    >>> from tinygen.jit import capture
    >>> print(source(capture(lambda x: (x * 2).sum(), tg.ones((3,)))))
    def replay(v0):
        row = 0
        try:
            v1 = multiply_0(v0, 2)
            if v1.dtype is not float32: v1 = v1.astype(float32, copy=False)
            del v0
            row = 1
            v2 = sum_1(v1)
            v2 = asarray(v2)
            if v2.dtype is not float32: v2 = v2.astype(float32, copy=False)
            del v1
        except Exception as error:
            raise failed(row, error) from None
        return [v2]
    """
    scope = {} if scope is None else scope
    scope["failed"] = partial(_failed, program)
    arguments = ", ".join(f"v{i}" for i in program.inputs)
    lines = [f"def replay({arguments}):", "    row = 0", "    try:"]
    if not program.rows:
        lines.append("        pass")
    over = reusable(program)
    kinds = row_types(program) or [np.ndarray] * len(program.rows)
    for i, (row, done) in enumerate(zip(program.rows, program.last_uses, strict=True)):
        lines += [f"        row = {i}"] if i else []
        lines += [f"        {line}" for line in _lines(program, row, i, scope, over.get(i),
                                                            kinds[i])]
        dead = ", ".join(f"v{slot}" for slot in done)
        lines += [f"        del {dead}"] if dead else []
    results = ", ".join(f"v{y}" for y in program.outputs if isinstance(y, int))
    return "\n".join([*lines, "    except Exception as error:",
                      "        raise failed(row, error) from None", f"    return [{results}]"])


def _lines(program: Program, row: Row, i: int, scope: dict[str, Any],
           over: int | None, kind: type) -> list[str]:
    """A call, and what makes its results arrays of the recorded dtype."""
    name = f"{row.op.name}_{i}"
    if over == 1:                          # what is written over comes first: a + b is b + a
        row = row.renamed(row.inputs[::-1])
    scope[name] = row_function(program, row, over is not None, kind)
    given = ", ".join(f"v{x}" if isinstance(x, int) else _known(x, scope) for x in row.inputs)
    made = ["_" if o is None else f"v{o}" for o in row.outputs]
    one = len(made) == 1 and row.op.outputs > 1                             # a tuple of one
    lines = [f"{', '.join(made)}{',' * one} = {name}({given})"]
    for o in row.outputs:
        if o is not None and row.op is not fused:                           # those are exact
            dtype, shape, _ = program.kinds[o]
            scope[dtype.name] = np.dtype(dtype.name)
            number = shape == () and kind is np.ndarray and row.op.name != "transfer"
            lines += [f"v{o} = asarray(v{o})"] if number else []             # not NumPy's number
            lines.append(f"if v{o}.dtype is not {dtype.name}: "
                         f"v{o} = v{o}.astype({dtype.name}, copy=False)")
    return lines


def _known(x: Known, scope: dict[str, Any]) -> str:
    """How the function names a value that no row computes."""
    if x.read is None and (x.value is None or type(x.value) in (bool, int, str)):
        return repr(x.value)
    name = f"{'r' if x.read else 'k'}{len(scope)}"
    scope[name] = x.read or x.value
    if x.read:
        return f"{name}()"
    return f"{name}.data" if isinstance(x.value, Tensor) else name


def row_function(program: Program, row: Row, over: bool = False,
                 kind: Any = np.ndarray) -> Callable[..., Any]:
    """The implementation that dispatch would choose for these arrays, with its attributes.

    With `over`, it may write its result over the first of them.
    """
    op, first = row.op, row.inputs[0] if row.inputs else None
    if op is fused:
        return _group_function(row.attrs["group"], kind)
    size = None
    if isinstance(first, int):
        size = int(np.prod(program.kinds[first][1]))
    elif first is not None and isinstance(first.array, kind):
        size = first.array.size
    if size is None:             # numbers first, or nothing: dispatch looks at all arguments
        return partial(_dispatched, op, row.attrs)
    if kind not in op.impl:
        op.impl[kind] = op._resolve(kind)
    chosen = op.impl[kind]
    if op.smallest and size >= op.smallest:
        chosen = op.large.get(kind, chosen)
    if over and kind is np.ndarray and size >= op.smallest:
        chosen = _rewriting(op, chosen)
    return partial(chosen, **row.attrs) if row.attrs else chosen


def _rewriting(op: Primitive, otherwise: Callable[..., Any]) -> Callable[..., Any]:
    """The form of a kernel that may write over its first input, where it has one."""
    native = KERNELS.get((op.name, np.ndarray))
    over = getattr(native and native.function, "over", None)
    if over is None:
        return otherwise

    def run(*arrays: Any, **attrs: Any) -> Any:
        try:
            y = over(*arrays, **attrs)
        except Unavailable:
            return otherwise(*arrays, **attrs)
        return otherwise(*arrays, **attrs) if type(y) is str else y
    return run


def _group_function(group: Group, kind: type) -> Callable[..., Any]:
    """What the kernel for groups made of this one; where it cannot, what dispatch chooses."""
    found = KERNELS.get((fused.name, kind))
    function: Any = found and found.function
    try:
        if found is not None:
            made = function.prepared(group)
            found.last = True
            return made if kind is np.ndarray or device_count() < 2 else following(made)
    except Unavailable:
        pass                     # the call below says so, once, and takes the definition
    if kind not in fused.impl:
        fused.impl[kind] = fused._resolve(kind)
    return partial(fused.impl[kind], group=group)


def _dispatched(op: Primitive, attrs: dict[str, Any], *arrays: Any) -> Any:
    given = list(arrays)
    return op._choose(given, attrs)(*given, **attrs)


def _failed(program: Program, row: int, error: Exception) -> Exception:
    """The error of a row, with its operation and the shapes that it was recorded with."""
    failed = program.rows[row]
    shown = [program.example(x) if isinstance(x, int) else x.value for x in failed.inputs]
    return explain(failed.op, error, tuple(shown), failed.attrs)
