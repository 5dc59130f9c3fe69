"""The variables that a function has from around it."""

from __future__ import annotations

import dis
import functools
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

from .kept import same, shown

__all__ = ["Variable", "names_in", "variables"]


class Variable:
    """A variable that a function reads from around it, or sets: how it is found, and its value."""

    def __init__(self, name: str, place: Any, read: Callable[[], Any],
                 write: Callable[[Any], None]):
        self.name, self.read, self.write, self.then = name, read, write, read()
        self.place = place                  # the same for the same variable

    @property
    def owner(self) -> Any:
        return self.then

    def change(self, written: set[int]) -> str | None:
        now = self.read()
        if same(now, self.then):
            return None
        return f"the variable {self.name}, from {shown(self.then)} to {shown(now)}"

    def back(self) -> None:
        if self.read() is not self.then:
            self.write(self.then)


def variables(function: Any) -> Iterator[Variable]:
    """The variables that a function has from around it, and the globals of its own code.

    What functions that it calls read is theirs: see `Around.follow`.
    """
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        yield Variable(name, id(cell), functools.partial(_content, cell),
                       functools.partial(setattr, cell, "cell_contents"))
    spaces = function.__globals__
    for name in sorted(_global_names(code, ("LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL"))):
        if name in spaces:
            yield Variable(name, (id(spaces), name), functools.partial(spaces.get, name),
                           functools.partial(spaces.__setitem__, name))


def names_in(function: Any) -> set[str]:
    """The names of variables and attributes in the code of a function, and its short texts, which
    may be names for `getattr`."""
    def of(code: CodeType) -> set[str]:
        texts = {c for c in code.co_consts if isinstance(c, str) and c.isidentifier()}
        return {*code.co_names, *texts}.union(*(of(c) for c in code.co_consts
                                                if isinstance(c, CodeType)))
    code = getattr(function, "__code__", None)
    return of(code) if isinstance(code, CodeType) else set()


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:          # not set yet
        return None


def _global_names(code: CodeType, operations: tuple[str, ...]) -> set[str]:
    """The global variables that some code uses, that of functions within it included."""
    found = {i.argval for i in dis.get_instructions(code) if i.opname in operations}
    return found.union(*(_global_names(c, operations) for c in code.co_consts
                         if isinstance(c, CodeType)))
