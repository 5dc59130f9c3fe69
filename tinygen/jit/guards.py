"""What a recorded program takes for granted about the world outside of its function."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..mode import edits
from ..tensor import Tensor
from .around import Around
from .kept import attributes, base, same, shown
from .program import Known, Program, Told

__all__ = ["Guards"]

SMALL = 1 << 12     # bytes of a bare array whose values are compared before every call
LONGEST = 64        # entries of a list or dict whose values are compared before every call


class Guards:
    """What a program rests on, and one function that looks whether it is still so.

    A program fits as long as the variables of its function are the same objects (numbers and
    texts: equal), tensors keep their shape and dtype, their hooks and whether they learn, layers
    their attributes and mode, other objects the attributes that the function's code names, lists
    and dicts around it their entries, small arrays their values, and optimizers their options and
    state; and as long as arguments share memory with what it changes as they did before.
    """

    def __init__(self, around: Around):
        self.variables = around.variables
        self.told: list[Told] = []
        self.layers = [(x, held(x)) for x in around.layers()]
        self.bare: list[Tensor] = []                # without a gradient when the function looked
        self.modes: list[tuple[Any, bool]] = []     # layers whose mode the function sets
        self.arrays: list[tuple[Tensor, Any, bool]] = []
        self.apart: list[Tensor] = []
        self.writes_arguments = False
        self.hooks: dict[int, list[Any]] = {}       # of those that have some, by id
        self.seen = [-1]                            # how often layers were edited, when looked at
        self.changed: set[int] = set()              # ids of tensors that the program changes
        self.objects = [(x, {k: v for k, v in attributes(x).items() if k in around.names})
                        for x in around.objects()]
        self.bare_arrays = [(a, a.tobytes()) for a in around.arrays() if a.nbytes <= SMALL]
        self.containers = [(x, _frozen(x), name) for x, name in around.containers()
                           if len(x) <= LONGEST]

    def after(self, program: Program, arguments: Sequence[Tensor]) -> None:
        """Take down what the function used while it was recorded for some arguments."""
        self.told, self.arrays = list(program.told), _outside(program)
        self.hooks = {id(x): list(x.hooks) for x, *_ in self.arrays if x.hooks}
        read = {id(base(x.data)) for x, *_ in self.arrays}
        self.bare_arrays = [(a, v) for a, v in self.bare_arrays if id(base(a)) not in read]
        self.bare = list(program.bare)
        numbers, outside = program._written
        self.changed = {id(x) for x in outside}
        # What arguments must not share memory with, unless they did when it was recorded
        self.writes_arguments = bool(numbers)
        self.apart = [x for x, *_ in self.arrays] if numbers else outside
        known = {id(layer) for layer, _ in self.layers}
        self.layers += [(x, held(x)) for x, _ in program.layers if id(x) not in known]
        self.modes = [(x, x.training) for x, then in self.layers if then["training"] != x.training]
        self._compile()
        self.memory = self._memory([x.data for x in arguments])

    def settle(self) -> None:
        """What a replay leaves behind beside the values of tensors: the mode of layers."""
        for layer, mode in self.modes:
            layer.__dict__["training"] = mode
            edits[0] += 1

    def hold(self) -> bool:
        """Is everything as it was?"""
        if self.quick():
            return True
        if self.broken() is not None:
            return False
        self.seen[0] = edits[0]
        if any(x.data is not array for x, array, _ in self.arrays):   # others of their kind
            self._compile()
        return True

    def lie_alike(self, arrays: Sequence[Any]) -> bool:
        """Do arguments share memory, with each other or with what the program changes, as they did
        when it was recorded?"""
        return not (self.apart or self.writes_arguments) or self._memory(arrays) == self.memory

    def _memory(self, arrays: Sequence[Any]) -> list[Any]:
        ids = [id(base(a)) for a in arrays]
        return [(self.owners.get(i), ids.index(i) if self.writes_arguments else None) for i in ids]

    def broken(self) -> str | None:
        """The first thing that is not as it was, in words."""
        for v in self.variables:
            if not same(v.read(), v.then):
                return f"the variable {v.name} changes"
        for read, value, what in self.told:
            now = read()
            if not _alike(now, value):
                return f"{what} changes{_where(value, now)}"
        for x, then in self.layers:
            now = held(x)
            for name in {**then, **now}:
                if not _alike(now.get(name, self), then.get(name, self)):
                    return f"{type(x).__name__}.{name} changes"
        for x, then in self.objects:
            now = attributes(x)
            for name, value in then.items():
                if not same(now.get(name, self), value):
                    return f"{type(x).__name__}.{name} changes"
        for x, entries, name in self.containers:
            if not _alike(_frozen(x), entries):
                return f"what {name} holds changes"
        for array, values in self.bare_arrays:
            if array.tobytes() != values:
                return "what an array that it may have looked at holds changes"
        for x, array, learns in self.arrays:
            if x.requires_grad is not learns:
                return "whether a tensor that it uses learns changes"
            if (x.hooks or None) != self.hooks.get(id(x)):
                return "the hooks of a tensor that it uses change"
            if (x.data.shape, x.data.dtype, type(x.data)) != (
                    array.shape, array.dtype, type(array)):
                return "a tensor that it uses changes its shape or dtype"
        if any(x._grad is not None for x in self.bare):
            return "whether a tensor has a gradient already changes"
        return None

    def _compile(self) -> None:
        """`quick`: the same as one Python expression, which may say no too often."""
        self.owners = {id(base(x.data)): i for i, x in enumerate(self.apart)}
        self.arrays = [(x, x.data, learns) for x, _, learns in self.arrays]
        scope: dict[str, Any] = {"same": same, "alike": _alike, "frozen": _frozen, "edits": edits,
                                 "seen": self.seen}
        self.seen[0] = edits[0]
        tests = ["edits[0] == seen[0]"]

        def test(text: str, **used: Any) -> None:
            n = len(tests)
            scope.update({f"{name}{n}": value for name, value in used.items()})
            tests.append(text.replace("#", str(n)))
        for v in self.variables:
            test("(v#() is x# or same(v#(), x#))", v=v.read, x=v.then)
        for x, array, learns in self.arrays:
            test("t#.data is a#", t=x, a=array)
            if learns or id(x) not in self.changed:     # states of optimizers never learn
                hooks = self.hooks.get(id(x))
                test(f"{'' if learns else 'not '}t#.requires_grad and "
                     + ("t#.hooks == h#" if hooks else "not t#.hooks"), t=x, h=hooks)
        for array, values in self.bare_arrays:
            test("a#.tobytes() == v#", a=array, v=values)
        for x in self.bare:
            test("t#._grad is None", t=x)
        for read, value, _ in self.told:
            optimizer = getattr(read, "__self__", None)
            if hasattr(type(optimizer), "add_param_group"):
                _test_options(test, optimizer)
            else:
                test("r#() == w#", r=read, w=value)
        for x, then in self.objects:
            for name, value in then.items():
                if name in getattr(x, "__dict__", ()):
                    test(f"same(o#[{name!r}], x#)", o=vars(x), x=value)
                else:
                    test(f"same(o#.{name}, x#)", o=x, x=value)
        for x, entries, _ in self.containers:
            test("alike(frozen(c#), e#)" if entries else "not c#", c=x, e=entries)
        text = ("def quick():\n    try:\n        return (" + "\n            and ".join(tests)
                + ")\n    except Exception:      # a comparison that makes no sense: look closely\n"
                "        return False")
        exec(compile(text, "<guards of tinygen.jit>", "exec"), scope)
        self.quick = scope["quick"]


def _test_options(test: Any, optimizer: Any) -> None:
    """The same as comparing what the optimizer takes for granted, without making lists."""
    test("p#._plans == k# and [*p#.state.values()] == q#", p=optimizer, k=list(optimizer._plans),
         q=list(optimizer.state.values()))
    test("p#._step_pre == k# and p#._step_post == q#", p=optimizer,
         k=dict(optimizer._step_pre), q=dict(optimizer._step_post))
    test("len(p#.param_groups) == n#", p=optimizer, n=len(optimizer.param_groups))
    for group in optimizer.param_groups:
        test("(k#.__setitem__('lr', g#['lr']) is None and k# == g#)", g=group, k=dict(group))


def held(layer: Any) -> dict[str, Any]:
    """The attributes of an object, and the entries of those that are lists and dicts."""
    return {name: _frozen(value) for name, value in vars(layer).items()}


def _frozen(value: Any) -> Any:
    """The entries of a list, dict or set as they are now; anything else as it is."""
    if isinstance(value, dict):
        return tuple(value.items())
    return tuple(value) if isinstance(value, (list, set)) else value


def _alike(now: Any, then: Any) -> bool:
    if now is then:
        return True
    now, then = _frozen(now), _frozen(then)
    if not (isinstance(now, tuple) and isinstance(then, tuple)):
        return same(now, then)
    return len(now) == len(then) and all(map(_alike, now, then))


def _where(then: Any, now: Any) -> str:
    """What differs, in words: the entry of a dictionary, if it is one."""
    if isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        return next((_where(a, b) for a, b in zip(then, now) if not _alike(b, a)), "")
    if isinstance(then, dict) and isinstance(now, dict):
        return next((f": {k}={shown(v)}, then {shown(now.get(k))}" for k, v in then.items()
                     if not _alike(now.get(k), v)), "")
    return f": {shown(then)}, then {shown(now)}"


def _outside(program: Program) -> list[tuple[Tensor, Any, bool]]:
    """The tensors that a program reads from outside, with their arrays."""
    return list({id(x): (x, x.data, x.requires_grad) for x in _known(program)}.values())


def _known(program: Program) -> Iterator[Tensor]:
    for row in program.rows:
        for x in row.inputs:
            if isinstance(x, Known) and isinstance(x.value, Tensor) and not x.fixed:
                yield x.value
