"""The short way into a program: one Python function that looks at the arguments and runs it.

`Jitted.__call__` finds a program for any arguments by a key, which takes 15 us to make, and a
replay takes arguments of any structure. Here both are written out for one structure, as text: a
step of a small network takes 20 us in place of 53. What the function does not know for certain
(an argument of another type, an equal object that is not the same) it leaves to the long way.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import anomaly, leaves, ops
from ..mode import local
from ..tensor import Tensor, _next
from ..transforms import flatten, unflatten
from .bind import array_type
from .kept import PLAIN
from .program import put_back

__all__ = ["MISS", "entry"]

MISS = object()         # what an entry gives where it does not fit


class _Unusual(Exception):
    """There is no short way for such an argument."""


def entry(recorded: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A function of (args, kwargs), for those that are like these, or None."""
    program = recorded.program
    kind = array_type(program)
    if kind is None or local.autocast is not None:
        return None
    writer = _Writer(kind)
    try:
        writer.arguments((args, kwargs))
    except _Unusual:
        return None
    if recorded.undo.places and not all(writer.wrapped):
        return None
    text = writer.source(recorded)
    exec(compile(text, "<an entry of tinygen.jit>", "exec"), writer.scope)
    return writer.scope["enter"]


class _Writer:
    """Writes the function: tests of the arguments, then the run."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind                    # of the program's arrays
        self.scope: dict[str, Any] = {"MISS": MISS, "local": local, "anomaly": anomaly,
                                      "Tensor": Tensor, "array": kind, "wrap": Tensor.wrap,
                                      "positive": ops.positive, "errstate": np.errstate,
                                      "seq": _next, "unflatten": unflatten, "add": leaves.add,
                                      "put_back": put_back}
        self.lines: list[str] = []
        self.tensors: list[str] = []        # the arguments that are arrays, in order
        self.wrapped: list[bool] = []       # is it a tensor, or a bare array?

    def name(self, value: Any) -> str:
        """How the function names a value from outside."""
        if value is None or type(value) in (bool, int):
            return repr(value)
        found = f"k{len(self.scope)}"
        self.scope[found] = value
        return found

    def demand(self, test: str) -> None:
        """Leave where a test fails."""
        self.lines.append(f"    if not ({test}): return MISS")

    # -- arguments ---------------------------------------------------------------------------------

    def arguments(self, tree: tuple[tuple[Any, ...], dict[str, Any]]) -> None:
        """Tests of positional arguments, and of those given by name."""
        self._visit(tree[0], "args")
        if tree[1]:
            self._visit(tree[1], "kwargs")
        else:
            self.demand("not kwargs")

    def _visit(self, tree: Any, place: str) -> None:
        if type(tree) is dict:
            self.demand(f"type({place}) is dict and tuple({place}) == {self.name(tuple(tree))}")
            for key, value in tree.items():
                self._child(value, f"{place}[{self.name(key)}]")
        elif type(tree) in (list, tuple):
            kind = type(tree).__name__
            self.demand(f"type({place}) is {kind} and len({place}) == {len(tree)}")
            for i, value in enumerate(tree):
                self._child(value, f"{place}[{i}]")
        elif isinstance(tree, (dict, list, tuple)):     # of a class of its own
            raise _Unusual
        else:
            self._leaf(tree, place)

    def _child(self, value: Any, place: str) -> None:
        mine = f"a{len(self.lines)}"
        self.lines.append(f"    {mine} = {place}")
        self._visit(value, mine)

    def _leaf(self, x: Any, place: str) -> None:
        if type(x) in (Tensor, np.ndarray):
            data = f"d{len(self.tensors)}"
            array, is_tensor = getattr(x, "data", x) if type(x) is Tensor else x, type(x) is Tensor
            if type(array) is not self.kind:
                raise _Unusual
            if is_tensor:
                self.demand(f"type({place}) is Tensor and "
                            f"{place}.requires_grad is {x.requires_grad}")
            is_on_device = self.kind is not np.ndarray
            self.lines.append(f"    {data} = {place}" + ".data" * is_tensor)
            self.demand(f"type({data}) is array and {data}.dtype is {self.name(array.dtype)} "
                        f"and {data}.shape == {self.name(array.shape)}"
                        + f" and {data}.device == {self.name(array.device)}" * is_on_device)
            self.tensors.append(place)
            self.wrapped.append(is_tensor)
        elif isinstance(x, Tensor) or x != x:           # a parameter, or NaN
            raise _Unusual
        elif isinstance(x, PLAIN) and x is not None and type(x) is not bool:
            self.demand(f"type({place}) is {self.name(type(x))} and {place} == {self.name(x)}")
        else:
            self.demand(f"{place} is {self.name(x)}")

    # -- the run -----------------------------------------------------------------------------------

    def source(self, recorded: Any) -> str:
        """The text of the function."""
        program, undo, guards = recorded.program, recorded.undo, recorded.guards
        scope = self.scope
        scope.update(guards=guards, keep=undo.keep, bound=program._bound)
        self.demand(f"local.mode == {local.mode} and local.autocast is None "
                    "and not anomaly.active and guards.quick()")
        given = ", ".join(f"d{i}" for i in range(len(self.tensors)))
        if given and (guards.apart or guards.writes_arguments):
            self.demand(f"guards.lie_alike(({given},))")
        made = [f"v{i}" for i, y in enumerate(program.outputs) if isinstance(y, int)]
        run = [f"[{', '.join(made)}] = bound({given})"]
        if any(row.op.name != "fused" for row in program.rows):        # NumPy would warn
            run = ["with errstate(all='ignore'):", *(f"    {line}" for line in run)]
        names = [f"{self.name(x)}._grad" for x in program.replaced]
        before = [f"{name} = None" for name in names]
        failed: list[str] = []
        if undo.needed:
            kept = ", ".join(self.tensors) if undo.places else ""
            before.append(f"back = keep([{kept}])")
            failed.append("    back()")
        if names and program.keeps_gradients:
            before.insert(0, f"old = {', '.join(names)},")
            failed.append(f"    put_back({self.name(program.replaced)}, old)")
        if failed:
            run = ["try:", *(f"    {line}" for line in run), "except BaseException:", *failed,
                   "    raise"]
        lines = [*self.lines, *(f"    {line}" for line in (*before, *run))]
        numbers, outside = program._written
        changed = [self.tensors[i] for i in numbers if self.wrapped[i]]
        changed += [self.name(x) for x in outside]
        lines += [f"    {x}.seq = seq()" for x in dict.fromkeys(changed)]
        results = [f"wrap(v{i})" if isinstance(y, int) else self.name(y.value)
                   for i, y in enumerate(program.outputs)]
        for i in program.own:
            results[i] = f"positive({results[i]})"
        start = len(results) - len(program.graded) - len(program.summed)
        lines += [f"    {self.name(x)}._grad = {g}"
                  for x, g in zip(program.graded, results[start:])]
        lines += [f"    add({self.name(x)}, {g})"
                  for x, g in zip(program.summed, results[start + len(program.graded):])]
        if guards.modes:
            lines.append("    guards.settle()")
        tree = self._tree(program.structure, iter(results[:start]))
        return "\n".join(["def enter(args, kwargs):", *lines, f"    return {tree}"])

    def _tree(self, tree: Any, leaves: Any) -> str:
        """An expression for results in the structure of `tree`."""
        if type(tree) is dict:
            inner = ", ".join([f"{self.name(k)}: {self._tree(v, leaves)}" for k, v in tree.items()])
            return f"{{{inner}}}"
        if type(tree) is list:
            return f"[{', '.join([self._tree(v, leaves) for v in tree])}]"
        if type(tree) is tuple:
            return f"({''.join([self._tree(v, leaves) + ', ' for v in tree])})"
        if isinstance(tree, (dict, list, tuple)):
            count = len(flatten(tree))
            rest = ", ".join(next(leaves) for _ in range(count))
            return f"unflatten({self.name(tree)}, iter([{rest}]))"
        return next(leaves)
