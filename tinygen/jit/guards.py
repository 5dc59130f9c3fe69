"""What a recorded program takes for granted about the world outside of its function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..mode import CaptureError, edits
from ..tensor import Tensor
from .around import same, variables
from .program import Known, Program, Told, plain

__all__ = ["Guards"]

class Guards:
    """The variables a function reads, the tensors from outside, and what layers told the tape.

    A program fits as long as variables are the same objects (numbers and texts: equal), tensors
    keep their shape and dtype and whether they learn, layers their mode, and optimizers their
    options. Variables are read before the function runs, the rest after.
    """

    def __init__(self, function: Callable[..., Any], arguments: Sequence[Any] = ()):
        self.variables = list(variables(function))
        self.told: Sequence[Told] = ()
        self.layers = [(layer, plain(layer)) for root in _roots(function, self.variables, arguments)
                       for layer in root.modules()]
        self.edits = -1
        self.arrays: list[tuple[Tensor, Any, bool]] = []

    def after(self, program: Program) -> None:
        """Take down what the function used while it was recorded.

        Raises:
            CaptureError: it changed a variable that it reads: a replay would not.
        """
        for place, name, value in self.variables:
            if not same(place(), value):
                raise CaptureError(f"[jit] the function changes the variable {name}, from "
                                   f"{value!r:.40} to {place()!r:.40}; a replay would not. Give it "
                                   "as an argument and return it, or keep it in a tensor")
        for layer, then in [*self.layers, *program.layers]:
            field = _changed(layer, then)
            if field is not None and field != "training":
                now = getattr(layer, field, None)
                raise CaptureError(f"[jit] the function changes {type(layer).__name__}.{field}, "
                                   f"from {then.get(field)!r} to {now!r}; a replay would not. Keep "
                                   "it in a tensor (register_buffer)")
        self.told, self.arrays = program.told, _outside(program)
        every = {id(layer): layer for layer, _ in [*self.layers, *program.layers]}
        self.layers = [(layer, plain(layer)) for layer in every.values()]
        self.edits = edits[0]

    def hold(self) -> bool:
        """Is everything as it was?"""
        return self.broken() is None

    def broken(self) -> str | None:
        """The first thing that is not as it was, in words."""
        for place, name, value in self.variables:
            if not same(place(), value):
                return f"the variable {name} changes"
        for read, value, what in self.told:
            now = read()
            if now != value:
                return f"{what} changes: {value!r}, then {now!r}"
        if self.edits != edits[0]:
            for layer, then in self.layers:
                field = _changed(layer, then)
                if field is not None:
                    return f"{type(layer).__name__}.{field} changes"
            self.edits = edits[0]
        for i, (x, array, learns) in enumerate(self.arrays):
            if x.requires_grad is not learns:
                return "whether a tensor that it uses learns changes"
            if x.data is not array:
                if (x.data.shape, x.data.dtype, type(x.data)) != (
                        array.shape, array.dtype, type(array)):
                    return "a tensor that it uses changes its shape or dtype"
                self.arrays[i] = (x, x.data, learns)
        return None


def _changed(layer: Any, then: dict[str, Any]) -> str | None:
    """The first attribute that is not as it was."""
    now = plain(layer)
    return next((name for name in {**then, **now} if now.get(name) != then.get(name)
                 or type(now.get(name)) is not type(then.get(name))), None)


def _roots(function: Any, variables: Any, arguments: Sequence[Any]) -> list[Any]:
    """The models that a function is a method of, reads from around it, or is given."""
    found = [getattr(function, "__self__", function), *arguments,
             *(value for _, _, value in variables)]
    return [x for x in found if hasattr(type(x), "named_modules")]


def _outside(program: Program) -> list[tuple[Tensor, Any, bool]]:
    """The tensors that a program reads from outside, with their arrays."""
    found = {}
    for row in program.rows:
        for x in row.inputs:
            if isinstance(x, Known) and isinstance(x.value, Tensor) and not x.fixed:
                found[id(x.value)] = (x.value, x.value.data, x.value.requires_grad)
    return list(found.values())
