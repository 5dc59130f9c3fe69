"""What lies around a function: how it was before the function ran, what changed, the way back.

A replay repeats operations on tensors and nothing else. What else a function does while it is
recorded (counting in an attribute, appending to a list, writing into an array) would happen once
and never again, so it is looked for here, by comparing shallow copies, and refused. When a
recording fails, everything is put back. Large tensors are copied no sooner than an operation is
about to change them.
"""

from __future__ import annotations

import functools
import random
import sys
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from ..backend import Generator
from ..tensor import Tensor
from .kept import PLAIN, Array, Fields, Items, Position, Stream, Values, base
from .variables import Variable, names_in, variables

__all__ = ["Around"]

CONTAINERS = (dict, list, set, deque)
NAMESPACES = ("types.SimpleNamespace", "argparse.Namespace")     # of Python, but open
DEPTH = 4                   # how many objects deep what is no layer or optimizer is looked into
LONGEST = 10_000            # entries of a container that are looked at
LARGEST = 1 << 20           # bytes of a bare array that are copied
# What layers and optimizers keep in dicts of their own, which is looked at by other means
_INNER = frozenset({"_parameter_names", "_buffer_names", "_module_names", "_pre_hooks", "_hooks",
                    "defaults", "param_groups", "_step_pre", "_step_post", "_save_pre",
                    "_save_post", "_load_pre", "_load_post"})


class Around:
    """The objects around a function, each with what it held when it was found.

    Layers and optimizers are followed to their ends, other objects `DEPTH` deep. What can be
    iterated (loaders, data sets), and objects of the standard library, are left out: they may
    change by themselves.
    """

    def __init__(self, found: Iterable[tuple[str, Any]] = ()):
        self._kept: dict[int, Any] = {}
        self._values: dict[int, list[Values]] = defaultdict(list)   # by the array with the memory
        self._gradients: list[tuple[Tensor, Tensor | None]] = []    # as they were
        self.functions: list[Any] = []          # whose variables and arguments were looked at
        self.variables: list[Variable] = []
        self._places: set[Any] = set()
        self._home = ""                     # the package of the function
        self.names = {"forward", "__call__"}     # that occur in the code of functions looked at
        for name, x in found:
            self.add(x, name)

    def follow(self, function: Any) -> None:
        """Look at the variables of a function, of those that it calls as far as they are the
        user's, and of methods whose names occur in them."""
        main, seen = plain_function(function), set()
        self._home = (getattr(main, "__module__", None) or "").partition(".")[0]
        self._home = "" if self._home == "tinygen" else self._home
        todo = [main] if isinstance(main, FunctionType) else [
            f for f in vars(type(main)).values() if isinstance(f, FunctionType)]
        while todo:
            for f in todo:
                seen.add(id(f))
                self._look_at(f, f is main)
            self.add(function, "the function")
            kinds = {k for x in (*self.objects(), *self.layers())
                     for k in (x if isinstance(x, type) else type(x)).__mro__ if self._is_users(k)}
            methods = [m for k in kinds for name, m in vars(k).items() if name in self.names]
            found = {id(f): f for f in map(plain_function, (*self.functions, *methods))
                     if isinstance(f, FunctionType) and self._is_users(f)}
            todo = [f for key, f in found.items() if key not in seen]

    def _is_users(self, x: Any) -> bool:
        """A function or class of the user's: of the package of the function, or of no library."""
        home = (getattr(x, "__module__", None) or "builtins").partition(".")[0]
        return isinstance(x, (type, FunctionType)) and (home == self._home
                                                        or not _is_library(home))

    def _may_change(self, x: Any) -> bool:
        """May a variable with this value get another? Modules and what libraries define stay."""
        return not isinstance(x, (type, FunctionType, ModuleType)) or self._is_users(x)

    def _look_at(self, f: FunctionType, every: bool) -> None:
        """Look at the variables of one function, at its defaults and attributes."""
        self.names |= names_in(f)
        for v in variables(f):
            if v.place not in self._places and (every or self._may_change(v.then)):
                self._places.add(v.place)
                self.variables.append(v)
                self.add(v.then, v.name)
        for value in (*(f.__defaults__ or ()), *(f.__kwdefaults__ or {}).values()):
            self.add(value, f"a default of {f.__name__}")
        self.add(vars(f), f"attributes of {f.__name__}")

    def add(self, x: Any, name: str, depth: int = DEPTH, owned: bool = False,
            checked: bool = True) -> None:
        """Remember what `x` holds. The tensors of layers and optimizers are `owned`: copied."""
        if id(x) in self._kept or (isinstance(x, PLAIN) and not isinstance(x, tuple)):
            return
        if isinstance(x, Tensor):
            self._kept[id(x)] = values = Values(x, name, checked, owned)
            self._values[id(base(x.data))].append(values)
            for hook in values.hooks:
                self.add(hook, f"a hook of {name}", depth)
        elif isinstance(x, np.ndarray):
            if x.nbytes <= LARGEST and not x.dtype.hasobject:
                self._kept[id(x)] = Array(x, name)
        elif isinstance(x, (Generator, np.random.Generator, np.random.RandomState, random.Random)):
            self._kept[id(x)] = Stream(x, name)
        elif hasattr(type(x), "__next__") and not _is_ours(x):
            self._kept[id(x)] = Position(x, name)
        elif isinstance(x, CONTAINERS):
            if len(x) <= LONGEST and depth:
                self._kept[id(x)] = Items(x, name, checked)
                for value in list(x.values() if isinstance(x, dict) else x):
                    self.add(value, name, depth - 1, owned, checked)
        elif isinstance(x, tuple):
            for value in x if depth else ():
                self.add(value, name, depth - 1, owned, checked)
        elif isinstance(x, (FunctionType, MethodType, functools.partial)):
            self.functions.append(x)
            for held, value in _held(x) if depth else ():
                self.add(value, held, depth - 1)
        elif isinstance(x, type):
            if self._is_users(x):
                self._kept[id(x)] = fields = Fields(x)
                for key, value in fields.then.items():
                    if isinstance(value, (Tensor, np.ndarray, *CONTAINERS)):
                        self.add(value, f"{x.__name__}.{key}", depth - 1)
        elif checked and _is_open(x) and (depth or _is_ours(x)):
            self._kept[id(x)] = fields = Fields(x)
            ours = _is_ours(x)
            for key, value in fields.then.items():
                self.add(value, f"{type(x).__name__}.{key}", DEPTH if ours else depth - 1,
                         ours, key not in fields.loose)
            for kind in type(x).__mro__:
                self.add(kind, kind.__name__, depth)

    def change(self, written: set[int]) -> str | None:
        """The first thing that is not as it was and should be, in words.

        `written` are ids of arrays that recorded operations change: a replay changes them too.
        """
        found = (kept.change(written) for kept in (*self.variables, *self._kept.values()))
        return next((text for text in found if text is not None), None)

    def keep(self, array: Any) -> None:
        """Copy the tensors in the memory of an array, which is going to change."""
        for values in self._values.get(id(array), ()):
            values.keep()

    def gradient(self, x: Tensor) -> None:
        """Remember the gradient of a tensor, which is going to change."""
        self._gradients.append((x, x._grad))

    def _gradients_back(self) -> None:
        for x, grad in self._gradients:
            x._grad = grad

    def values_back(self) -> None:
        """Put back the values and gradients of tensors and where generators stand, for good, and
        nothing else."""
        self._gradients_back()
        for kept in self._kept.values():
            if isinstance(kept, (Values, Stream)):
                kept.back()
            if isinstance(kept, Values):
                kept.let_go()

    def layers(self) -> list[Any]:
        """The layers among them."""
        return [k.owner for k in self._kept.values()
                if isinstance(k, Fields) and hasattr(type(k.owner), "named_modules")]

    def objects(self) -> list[Any]:
        """The objects and classes that are no layers, optimizers or averages."""
        return [k.owner for k in self._kept.values()
                if isinstance(k, Fields) and not _is_ours(k.owner)]

    def containers(self) -> list[tuple[Any, str]]:
        """Lists, dicts and sets that belong to none of these, with their names."""
        return [(k.owner, k.name) for k in self._kept.values()
                if isinstance(k, Items) and k.checked and not isinstance(k.owner, deque)
                and k.name.rpartition(".")[2] not in _INNER]

    def arrays(self) -> list[Any]:
        """The bare arrays among them."""
        return [k.owner for k in self._kept.values() if isinstance(k, Array)]

    def back(self) -> None:
        """Put everything back."""
        self._gradients_back()
        for kept in (*self.variables, *self._kept.values()):
            kept.back()


def _is_ours(x: Any) -> bool:
    """Is it a layer, or an optimizer, or an average of weights, or a scaler of losses?"""
    return any(hasattr(type(x), name) for name in (
        "named_modules", "add_param_group", "average_parameters", "unscale_"))


def _is_open(x: Any) -> bool:
    """An object with attributes that only its owner changes."""
    kind = type(x)
    home = kind.__module__.partition(".")[0]
    if isinstance(x, (type, ModuleType)) or not (hasattr(x, "__dict__")
                                                 or hasattr(kind, "__slots__")):
        return False
    may_move = hasattr(kind, "__iter__") or hasattr(kind, "__next__")
    return f"{kind.__module__}.{kind.__qualname__}" in NAMESPACES or (
        (_is_ours(x) or not may_move) and home not in ("builtins", "numpy")
        and home not in sys.stdlib_module_names
        and not kind.__module__.startswith(("tinygen.jit", "tinygen.primitive")))


@functools.cache
def _is_library(home: str) -> bool:
    """Is this a package of Python's, NumPy, tinygen, or one that was installed?"""
    place = getattr(sys.modules.get(home), "__file__", None) or ""
    return (home in sys.stdlib_module_names or home in ("builtins", "numpy", "scipy", "tinygen")
            or "site-packages" in place or "dist-packages" in place)


def plain_function(f: Any) -> Any:
    """The function behind a method, a property or a `partial`."""
    for name in ("__func__", "func", "fget"):
        f = getattr(f, name, f)
    return f


def _held(function: Any) -> Iterator[tuple[str, Any]]:
    """What a function brings along: its closure, the object of a method, arguments of a partial."""
    if isinstance(function, MethodType):
        yield type(function.__self__).__name__, function.__self__
        function = function.__func__
    if isinstance(function, functools.partial):
        yield "the function", function.func
        yield from (("an argument of the partial", x)
                    for x in (*function.args, *function.keywords.values()))
    for cell, name in zip(getattr(function, "__closure__", None) or (),
                          getattr(getattr(function, "__code__", None), "co_freevars", ())):
        try:
            yield name, cell.cell_contents
        except ValueError:          # not set yet
            continue
