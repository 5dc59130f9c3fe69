"""What lies around a function: how it was before the function ran, what changed, the way back.

A replay repeats operations on tensors and nothing else. What else a function does while it is
recorded (counting in an attribute, appending to a list, writing into an array) would happen once
and never again, so it is looked for here, by comparing shallow copies, and refused. When a
recording fails, everything is put back.
"""

from __future__ import annotations

import dis
import functools
import random
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from operator import length_hint
from types import CodeType, FunctionType, GeneratorType, MethodType
from typing import Any

import numpy as np

from .. import backend
from ..backend import Generator
from ..tensor import Tensor

__all__ = ["Around", "Variable", "same", "shown", "variables"]

PLAIN = (bool, int, float, complex, str, bytes, tuple, frozenset, type(None))
CONTAINERS = (dict, list, set, deque)
DEPTH = 3                   # how many objects deep what is no layer or optimizer is looked into
LONGEST = 10_000            # entries of a container that are looked at
LARGEST = 1 << 20           # bytes of a bare array that are copied
# What an optimizer and a layer change as they go, and replays change too, or guards look at
_OWN = frozenset({"state", "_plans", "_opt_called"})
_MODE = frozenset({"training"})
# What layers and optimizers keep in dicts of their own, which is looked at by other means
_INNER = frozenset({"_parameter_names", "_buffer_names", "_module_names", "_pre_hooks", "_hooks",
                    "defaults", "param_groups", "_step_pre", "_step_post", "_save_pre",
                    "_save_post", "_load_pre", "_load_post"})


def same(now: Any, then: Any) -> bool:
    """The same object, or an equal number or text."""
    return now is then or (type(now) is type(then) and isinstance(then, PLAIN) and now == then)


def shown(value: Any) -> str:
    """A value in a message."""
    if isinstance(value, Tensor) or backend.is_array(value):
        return f"a {value.dtype} {tuple(value.shape)} {type(value).__name__.lower()}"
    return f"{value!r:.40}"


class Around:
    """The objects around a function, each with what it held when it was found.

    Layers and optimizers are followed to their ends, other objects `DEPTH` deep. What can be
    iterated (loaders, data sets), and objects of the standard library, are left out: they may
    change by themselves.
    """

    def __init__(self, found: Iterable[tuple[str, Any]] = (), variables: Iterable[Any] = ()):
        self._kept: dict[int, Any] = {}
        self.functions: list[Any] = []          # whose variables and arguments were looked at
        self._variables = list(variables)
        for name, x in found:
            self.add(x, name)
        for v in self._variables:
            self.add(v.then, v.name)

    def add(self, x: Any, name: str, depth: int = DEPTH, owned: bool = False,
            checked: bool = True) -> None:
        """Remember what `x` holds. The tensors of layers and optimizers are `owned`: copied."""
        if id(x) in self._kept or (isinstance(x, PLAIN) and not isinstance(x, tuple)):
            return
        if isinstance(x, Tensor):
            if owned:
                self._kept[id(x)] = _Values(x, name, checked)
        elif isinstance(x, np.ndarray):
            if x.nbytes <= LARGEST and not x.dtype.hasobject:
                self._kept[id(x)] = _Array(x, name)
        elif isinstance(x, (Generator, np.random.Generator, np.random.RandomState, random.Random)):
            self._kept[id(x)] = _Stream(x, name)
        elif hasattr(type(x), "__next__") and not _is_ours(x):
            self._kept[id(x)] = _Position(x, name)
        elif isinstance(x, CONTAINERS):
            if len(x) <= LONGEST and depth:
                self._kept[id(x)] = _Items(x, name, checked)
                for value in list(x.values() if isinstance(x, dict) else x):
                    self.add(value, name, depth - 1, owned, checked)
        elif isinstance(x, tuple):
            for value in x if depth else ():
                self.add(value, name, depth - 1, owned, checked)
        elif isinstance(x, (FunctionType, MethodType, functools.partial)):
            self.functions.append(x)
            for held, value in _held(x) if depth else ():
                self.add(value, held, depth - 1)
        elif checked and _is_open(x) and (depth or _is_ours(x)):
            self._kept[id(x)] = fields = _Fields(x)
            ours = _is_ours(x)
            for key, value in list(vars(x).items()):
                self.add(value, f"{type(x).__name__}.{key}", DEPTH if ours else depth - 1,
                         ours, key not in fields.loose)

    def change(self, written: set[int]) -> str | None:
        """The first thing that is not as it was and should be, in words.

        `written` are ids of arrays that recorded operations change: a replay changes them too.
        """
        found = (kept.change(written) for kept in (*self._variables, *self._kept.values()))
        return next((text for text in found if text is not None), None)

    def values_back(self) -> None:
        """Put back the values of tensors and where generators stand, and nothing else."""
        for kept in self._kept.values():
            if isinstance(kept, (_Values, _Stream)):
                kept.back()

    def layers(self) -> list[Any]:
        """The layers among them."""
        return [k.owner for k in self._kept.values()
                if isinstance(k, _Fields) and hasattr(type(k.owner), "named_modules")]

    def objects(self) -> list[Any]:
        """The objects that are no layers, optimizers or averages."""
        return [k.owner for k in self._kept.values()
                if isinstance(k, _Fields) and not _is_ours(k.owner)]

    def containers(self) -> list[tuple[Any, str]]:
        """Lists, dicts and sets that belong to none of these, with their names."""
        return [(k.owner, k.name) for k in self._kept.values()
                if isinstance(k, _Items) and k.checked and not isinstance(k.owner, deque)
                and k.name.rpartition(".")[2] not in _INNER]

    def back(self) -> None:
        """Put everything back."""
        for kept in (*self._variables, *self._kept.values()):
            kept.back()


def _is_ours(x: Any) -> bool:
    """Is it a layer, or an optimizer, or an average of weights, or a scaler of losses?"""
    return any(hasattr(type(x), name) for name in (
        "named_modules", "add_param_group", "average_parameters", "unscale_"))


def _is_open(x: Any) -> bool:
    """An object with attributes that only its owner changes."""
    kind = type(x)
    home = kind.__module__.partition(".")[0]
    return (hasattr(x, "__dict__") and not isinstance(x, type) and kind.__module__ != "builtins"
            and (_is_ours(x) or not (hasattr(kind, "__iter__") or hasattr(kind, "__next__")))
            and home not in sys.stdlib_module_names and home != "numpy"
            and not kind.__module__.startswith(("tinygen.jit", "tinygen.primitive")))


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


class _Fields:
    """The attributes of an object."""

    def __init__(self, owner: Any):
        self.owner, self.then = owner, dict(vars(owner))
        self.loose = _OWN if hasattr(type(owner), "add_param_group") else _MODE

    def change(self, written: set[int]) -> str | None:
        now, kind = vars(self.owner), type(self.owner)
        for name in {**self.then, **now}:
            if name in self.loose or (name in now and name in self.then and same(
                    now[name], self.then[name])):
                continue
            if isinstance(getattr(kind, name, None), functools.cached_property):
                continue            # it will be the same every time
            if name not in self.then:
                return f"{kind.__name__}.{name}, which was not there before"
            if name not in now:
                return f"{kind.__name__}.{name}, which is gone"
            return (f"{kind.__name__}.{name}, from {shown(self.then[name])} to "
                    f"{shown(now[name])}")
        return None

    def back(self) -> None:
        now = vars(self.owner)
        for name in [n for n in now if n not in self.then]:
            del now[name]
        for name, value in self.then.items():
            if name not in now or now[name] is not value:
                now[name] = value


class _Items:
    """The entries of a list, dict, set or deque."""

    def __init__(self, owner: Any, name: str, checked: bool):
        self.owner, self.name, self.checked = owner, name, checked
        self.then = list(owner.items()) if isinstance(owner, dict) else list(owner)

    def change(self, written: set[int]) -> str | None:
        if not self.checked:
            return None
        kind = type(self.owner).__name__
        if len(self.owner) != len(self.then):
            return f"the {kind} {self.name}, from {len(self.then)} entries to {len(self.owner)}"
        if isinstance(self.owner, dict):
            for key, value in self.then:
                if key not in self.owner or not same(self.owner[key], value):
                    now = shown(self.owner[key]) if key in self.owner else "nothing"
                    return f"the entry {key!r} of {self.name}, from {shown(value)} to {now}"
        elif isinstance(self.owner, set):
            if self.owner != set(self.then):
                return f"the set {self.name}"
        else:
            for value, now in zip(self.then, self.owner):
                if not same(now, value):
                    return f"an entry of {self.name}, from {shown(value)} to {shown(now)}"
        return None

    def back(self) -> None:
        owner = self.owner
        if isinstance(owner, dict):
            if len(owner) != len(self.then) or any(owner.get(k, self) is not v
                                                   for k, v in self.then):
                owner.clear()
                owner.update(self.then)
        elif isinstance(owner, set):
            if owner != set(self.then):
                owner.clear()
                owner.update(self.then)
        elif len(owner) != len(self.then) or any(a is not b for a, b in zip(owner, self.then)):
            owner.clear()
            owner.extend(self.then)


class _Values:
    """The values of a tensor, its gradient, and whether it learns."""

    def __init__(self, owner: Tensor, name: str, checked: bool):
        self.owner, self.name, self.checked = owner, name, checked
        self.array, self.copy = owner.data, owner.data.copy()
        self.grad, self.learns, self.seq = owner.grad, owner.requires_grad, owner.seq

    def change(self, written: set[int]) -> str | None:
        if not self.checked:
            return None
        if self.owner.data is not self.array:
            return f"the array of {self.name}, {shown(self.owner)}"
        if self.owner.requires_grad is not self.learns:
            return f"whether {self.name} learns"
        if id(self.array) not in written and not _equal(self.array, self.copy):
            return f"values of {self.name}, {shown(self.owner)}, by other means than operations"
        return None

    def back(self) -> None:
        self.owner.data, self.owner.grad = self.array, self.grad
        self.owner.requires_grad = self.learns
        if self.owner.seq != self.seq or not _equal(self.array, self.copy):
            self.array[...] = self.copy
            self.owner.touch()


class _Array:
    """The values of a bare array."""

    def __init__(self, owner: Any, name: str):
        self.owner, self.name, self.copy = owner, name, owner.copy()

    def change(self, written: set[int]) -> str | None:
        if id(self.owner) in written or _equal(self.owner, self.copy):
            return None
        return f"values of {self.name}, {shown(self.owner)}"

    def back(self) -> None:
        if not _equal(self.owner, self.copy):
            self.owner[...] = self.copy


class _Stream:
    """Where a generator of random numbers stands; tinygen's own are recorded."""

    def __init__(self, owner: Any, name: str):
        self.owner, self.name, self.then = owner, name, state_of(owner)

    def change(self, written: set[int]) -> str | None:
        if isinstance(self.owner, Generator) or _text(state_of(self.owner)) == _text(self.then):
            return None
        return (f"the generator {self.name}: it drew from it. Draw with tinygen.random, or outside "
                "the function")

    def back(self) -> None:
        if isinstance(self.owner, Generator):
            set_state(self.owner, self.then)
        elif isinstance(self.owner, np.random.Generator):
            self.owner.bit_generator.state = self.then
        elif isinstance(self.owner, np.random.RandomState):
            self.owner.set_state(self.then)
        else:
            self.owner.setstate(self.then)


class _Position:
    """Where an iterator stands, as far as it tells. It cannot be put back."""

    def __init__(self, owner: Any, name: str):
        self.owner, self.name, self.then = owner, name, _position(owner)

    def change(self, written: set[int]) -> str | None:
        if _position(self.owner) == self.then:
            return None
        return f"the iterator {self.name}: it takes what comes next"

    def back(self) -> None:
        """Nothing: what was taken is gone."""


def _position(iterator: Any) -> Any:
    if isinstance(iterator, GeneratorType):
        frame = iterator.gi_frame
        return frame and (frame.f_lasti, {k: v if isinstance(v, (int, str)) else id(v)
                                          for k, v in frame.f_locals.items()})
    if hasattr(type(iterator), "__length_hint__"):
        return length_hint(iterator)
    if type(iterator) in (zip, enumerate, map, filter):          # where those inside them stand
        return [x if isinstance(x, int) else _position(x) for x in iterator.__reduce__()[1]
                if isinstance(x, int) or hasattr(type(x), "__next__")]
    return repr(iterator) if type(iterator) is count else None


def state_of(generator: Any) -> Any:
    """Where a generator stands; None for one on a GPU, which cannot be read."""
    if isinstance(generator, Generator):
        return generator.stream.bit_generator.state if generator.device == "cpu" else None
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return (generator.get_state() if isinstance(generator, np.random.RandomState)
            else generator.getstate())


def set_state(generator: Generator, state: Any) -> None:
    """Let one of tinygen's generators stand there again."""
    if state is not None:
        generator.stream.bit_generator.state = state


def _text(state: Any) -> str:
    """A state in a form that can be compared: those of NumPy hold arrays."""
    with np.printoptions(threshold=sys.maxsize):
        return repr(state)


def _equal(a: Any, b: Any) -> bool:
    xp = backend.array_module(a)
    if bool((a == b).all()):
        return True
    return a.dtype.kind in "fc" and bool(((a == b) | (xp.isnan(a) & xp.isnan(b))).all())


# -- the variables of a function ------------------------------------------------------------------


class Variable:
    """A variable that a function reads from around it, or sets: how it is found, and its value."""

    def __init__(self, name: str, read: Callable[[], Any], write: Callable[[Any], None]):
        self.name, self.read, self.write, self.then = name, read, write, read()

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

    What functions that it calls read is theirs.
    """
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        yield Variable(name, functools.partial(_content, cell),
                       functools.partial(setattr, cell, "cell_contents"))
    spaces = function.__globals__
    for name in sorted(_global_names(code, ("LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL"))):
        if name in spaces:
            yield Variable(name, functools.partial(spaces.get, name),
                           functools.partial(spaces.__setitem__, name))


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
