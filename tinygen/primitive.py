"""Primitives and the dispatch table: how every operation of the engine is defined and called.

An op is one plain function on bare arrays plus its derivative rules, written beside it::

    @primitive(elementwise=True)
    def square(xp, x):                            # xp is numpy or cupy, x a bare array
        return x * x
    square.vjp(lambda g, y, x: 2 * g * x)         # one rule per input

Calling `square(tensor)` runs the function on the tensor's array, wraps the result and, in
recording mode, links it to its inputs. **One rule, three readings**: the text of a rule is the same

* *raw*: `backward()` gives it bare arrays; a primitive called on bare arrays gives one back;
* *lifted*: under ``create_graph=True`` it is given Tensors, and records itself;
* *captured*: while a tape records (jit), it is given Tensors and its calls land on the tape.

A fused primitive may have one joint rule for speed, written for bare arrays, if it names a
`composite`: the same function made of simple primitives, which stands in for it when a gradient
of a gradient is asked for.

A *kernel* replaces the function of a primitive for one array type and may decline a call by
returning `NotImplemented`, or a string that says why. This file alone knows that kernels exist.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from . import backend
from .backend import FLOATS
from .errors import explain
from .mode import RAW, RECORD, TAPE, local
from .tensor import _NONE as _none
from .tensor import Tensor, _next

__all__ = ["KERNELS", "PRIMITIVES", "Kernel", "Primitive", "Unavailable", "kernel", "local",
           "primitive"]

PRIMITIVES: dict[str, Primitive] = {}
KERNELS: dict[tuple[str, type], Kernel] = {}

_F64 = np.dtype(np.float64)
_F32 = np.dtype(np.float32)
_ndarray = np.ndarray
_new = object.__new__


class Primitive:
    """An operation: `fn(xp, *arrays, **attrs)`, its derivative rules and its kernels.

    Positional arguments are arrays, keyword arguments are static. Made by `@primitive`.
    """

    def __init__(self, fn: Callable[..., Any], name: str | None = None, *,
                 elementwise: bool = False, composite: Callable[..., Any] | None = None,
                 outputs: int = 1, differentiable: int | None = None,
                 direct: str | Callable[..., Any] | None = None):
        self.fn = fn
        self.name = name or fn.__name__
        self.__name__ = self.name
        self.__doc__ = fn.__doc__
        code = inspect.unwrap(fn).__code__    # quicker than a signature: import time counts
        named, start = code.co_varnames, code.co_argcount + code.co_kwonlyargcount
        variadic = named[start:start + bool(code.co_flags & inspect.CO_VARARGS)]
        self.arg_names = named[1:code.co_argcount] + variadic
        self.keywords = set(named[1:code.co_argcount])
        self.elementwise = elementwise
        self.direct = direct
        self.composite = composite
        self.outputs = outputs
        self.differentiable = outputs if differentiable is None else differentiable
        self.impl: dict[type, Callable[..., Any]] = {}   # array type -> what runs
        self.large: dict[type, Callable[..., Any]] = {}  # the same from `smallest` elements on
        self.smallest = 0                                # 0: the size does not matter
        self.rules: tuple[Callable[..., Any] | None, ...] = ()
        self._writes: Any = ()
        self.variadic_rule: Callable[..., Any] | None = None
        self.joint: Primitive | None = None
        self.reason: Callable[..., str | None] | None = None

    @functools.cached_property
    def __signature__(self) -> inspect.Signature:
        """The function's signature without `xp`."""
        return inspect.Signature(list(inspect.signature(self.fn).parameters.values())[1:])

    @property
    def writes(self) -> Any:
        """Positions of the inputs that it changes in place, or a function of its attributes."""
        return self._writes

    @writes.setter
    def writes(self, places: Any) -> None:
        self._writes = places
        self.__class__ = Update         # of its own, so that other calls need not ask

    # -- calling ----------------------------------------------------------------------------

    def __call__(self, *inputs: Any, **attrs: Any) -> Any:
        if attrs and not self.keywords.isdisjoint(attrs):
            inputs, attrs = self._by_position(inputs, attrs)
        if len(inputs) == 2:            # by hand: 0.25 us less than the loop
            a, b = inputs
            is_a, is_b = isinstance(a, Tensor), isinstance(b, Tensor)
            arrays = [a.data if is_a else a, b.data if is_b else b]
            lifted = is_a or is_b
            tracked = (is_a and a.requires_grad) or (is_b and b.requires_grad)
        else:
            arrays = []
            lifted = tracked = False
            for x in inputs:
                if isinstance(x, Tensor):
                    arrays.append(x.data)
                    lifted = True
                    if x.requires_grad:
                        tracked = True
                else:
                    arrays.append(x)
        try:
            impl = self.impl.get(type(arrays[0])) if inputs else None
            if impl is None:
                impl = self._choose(arrays, attrs)
            elif self.smallest and arrays[0].size >= self.smallest:
                impl = self.large.get(type(arrays[0]), impl)
            y = impl(*arrays, **attrs) if attrs else impl(*arrays)
        except Exception as error:
            raise explain(self, error, inputs, attrs) from None
        mode = local.mode
        if mode & ~RECORD or type(y) is not _ndarray or y.dtype is not _F32:
            if not lifted and mode & RAW:
                return y
            return self._wrap(y, arrays, inputs, attrs, tracked, mode)
        out = _new(Tensor)              # by hand: half a microsecond less than `_wrap`
        out.data = y
        out._grad = out.hooks = None
        if tracked and mode:
            out.requires_grad = True
            out.op, out.inputs, out.attrs = self, inputs, attrs
        else:
            out.requires_grad = False
            out.op, out.inputs, out.attrs = None, (), _none
        out.seq = _next()
        return out

    def _wrap(self, y: Any, arrays: list[Any], inputs: tuple[Any, ...], attrs: dict[str, Any],
              tracked: bool, mode: int) -> Any:
        """A result as a tensor, or as several, for any mode and type."""
        if self.outputs > 1:
            if self._meets_first_half(y[0] if y else None, attrs):
                return self(*inputs, **attrs)
            return self._wrap_many(y, inputs, attrs, tracked and mode & RECORD)
        if type(y) is not _ndarray and isinstance(y, np.generic):
            y = np.asarray(y)
        if y.dtype is not _F32 and self._meets_first_half(y, attrs):
            return self(*inputs, **attrs)
        if y.dtype is _F64 and attrs.get("dtype") is None:   # astype("float64") asks for it
            y = _no_upcast(y, arrays)
        out = Tensor.wrap(y)
        if tracked and mode & RECORD and y.dtype.kind in FLOATS:
            out.requires_grad = True
            out.op, out.inputs, out.attrs = self, inputs, attrs
        if mode & TAPE:
            local.tape.record(self, inputs, attrs, (out,))
        return out

    def _meets_first_half(self, y: Any, attrs: dict[str, Any]) -> bool:
        """Is this the first result of 16 bits in the process, so that dispatch did not look out
        for it? The call is made once more then, in float32, unless that would do anything twice."""
        if backend.halves[0] or y is None or not backend.is_half(y.dtype):
            return False
        backend.notice_halves(y.dtype)
        return "generator" not in attrs and not self.writes

    def _by_position(self, inputs: tuple[Any, ...],
                     attrs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Inputs given by name, `linear(x, weight=w)`, in their places."""
        try:
            bound = self.__signature__.bind(*inputs, **attrs)
        except TypeError as error:
            raise TypeError(f"[{self.name}] {error}") from None
        given = bound.arguments.keys()
        last = max(i for i, name in enumerate(self.arg_names) if name in given)
        bound.apply_defaults()
        return bound.args[:last + 1], {k: v for k, v in attrs.items() if k not in self.keywords}

    def _wrap_many(self, ys: tuple[Any, ...], inputs: tuple[Any, ...], attrs: dict[str, Any],
                   tracked: int | bool) -> tuple[Tensor | None, ...]:
        """Several outputs: one hidden node that holds them all, and a tensor that picks each."""
        node = None
        if tracked:
            node = Tensor.wrap(ys)
            node.requires_grad, node.op, node.inputs, node.attrs = True, self, inputs, attrs
        if node is None:
            arrays = [np.asarray(y) if isinstance(y, np.generic) else y for y in ys]
            made = tuple([None if y is None else Tensor.wrap(y) for y in arrays])
        else:
            made = tuple([None if y is None else pick_output(node, y, i)
                          for i, y in enumerate(ys)])
        if local.mode & TAPE:
            local.tape.record(self, inputs, attrs, made)
        return made

    def _choose(self, arrays: list[Any], attrs: dict[str, Any]) -> Callable[..., Any]:
        """The implementation for these arguments; slow, and remembered per array type."""
        for x in arrays:
            if backend.is_array(x):
                kind = np.ndarray if isinstance(x, np.ndarray) else type(x)
                if kind not in self.impl:
                    self.impl[kind] = self._resolve(kind)
                    if self.smallest and x is arrays[0] and x.size >= self.smallest:
                        return self.large.get(kind, self.impl[kind])
                return self.impl[kind]
        generator = attrs.get("generator")
        if generator is not None and generator.device != "cpu":
            kind = importlib.import_module("cupy").ndarray
            if kind not in self.impl:
                self.impl[kind] = self._resolve(kind)
            return self.impl[kind]
        for i, x in enumerate(arrays):  # numbers and lists only
            if x is not None:
                arrays[i] = backend.as_array(x)
        return partial(self.fn, np)

    def _resolve(self, kind: type) -> Callable[..., Any]:
        xp = backend.module_of_type(kind)
        plain: Callable[..., Any] = partial(self.fn, xp)
        if self.direct is not None:
            plain = self.direct if callable(self.direct) else getattr(xp, self.direct)
        _load_kernels(kind)
        native = KERNELS.get((self.name, kind))
        fast = plain if native is None else native.or_else(plain)
        if backend.halves[0] and self._is_known:
            from .halves import wrapped
            plain, fast = wrapped(self, plain), wrapped(self, fast, native)
        if kind is not np.ndarray and backend.device_count() > 1:
            plain, fast = backend.following(plain), backend.following(fast)
        if native is None or not native.smallest:
            return fast
        self.smallest, self.large[kind] = native.smallest, fast
        return plain

    @property
    def _is_known(self) -> bool:
        """Is it in the table, itself or as a rule? Others, made for one call, pass arrays on."""
        owner = PRIMITIVES.get(self.name.removesuffix("_vjp"))
        return PRIMITIVES.get(self.name) is self or (owner is not None and owner.joint is self)

    # -- derivative rules ---------------------------------------------------------------------

    def vjp(self, *rules: Callable[..., Any] | None) -> None:
        """Give one rule per input: `rule(g, y, *inputs, **attrs)` is the input's gradient.

        `g` is the gradient of the output `y`. None, or a missing rule, marks an input through
        which no gradient flows. The walker sums a rule's result down to the input's shape.
        """
        self.rules = rules

    def vjp_each(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Give one rule for any number of inputs: `rule(i, g, y, *inputs, **attrs)`."""
        self.variadic_rule = rule
        return rule

    def vjp_joint(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Give one rule for all inputs: `rule(needs, g, y, *inputs, **attrs)` -> gradients.

        It may use bare-array tricks, is read raw or captured only, and needs a `composite`.
        `needs` says for each input whether its gradient is wanted; None may be returned for
        the others. With several outputs `g` and `y` are tuples (`g` of the differentiable ones).
        The rule is a primitive of its own, `NAME_vjp`, so that kernels and tapes know it.
        """
        if self.composite is None:
            raise TypeError(f"[{self.name}] a joint rule is first order only: name a composite "
                            "(@primitive(composite=...)) for gradients of gradients")
        n, m, many = self.differentiable, self.outputs, self.outputs > 1

        def backward(xp: Any, *args: Any, needs: tuple[bool, ...], **attrs: Any) -> tuple[Any, ...]:
            g, y = (args[:n], args[n:n + m]) if many else (args[0], args[1])
            before, local.mode = local.mode, RAW
            try:
                return rule(needs, g, y, *args[n + m:], **attrs)
            finally:
                local.mode = before

        backward.__doc__ = f"Gradients of {self.name} with respect to its inputs."
        self.joint = Primitive(backward, f"{self.name}_vjp", outputs=99)
        self.joint.arg_names = ("g", "y", *self.arg_names)
        return rule

    def explains(self, reason: Callable[..., str | None]) -> Callable[..., str | None]:
        """Give `reason(*inputs, **attrs)`, which says in words what does not fit (or None)."""
        self.reason = reason
        return reason

    def __repr__(self) -> str:
        return f"<primitive {self.name}{self.__signature__}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        return PRIMITIVES.__getitem__, (self.name,)


class Update(Primitive):
    """A primitive that changes some of its inputs, and says so to a tape before it does."""

    def __call__(self, *inputs: Any, **attrs: Any) -> Any:
        if local.mode & TAPE:
            if not self.keywords.isdisjoint(attrs):
                inputs, attrs = self._by_position(inputs, attrs)
            local.tape.changes(self, inputs, attrs)
        return Primitive.__call__(self, *inputs, **attrs)


def primitive(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function on arrays a primitive: `@primitive` or `@primitive(elementwise=True)`.

    Options: `name` (default: the function's), `elementwise` (each output element depends on one
    element of each broadcast input), `composite` (see the module's text), `outputs` and
    `differentiable` (how many arrays come out, and how many of them carry gradients), and `direct`
    (a function of xp, by name, or of the arrays alone, that does the same: called in its place, it
    saves 0.25 us).
    """
    if fn is None:
        return partial(primitive, **options)
    made = Primitive(fn, **options)
    if made.name in PRIMITIVES:
        raise ValueError(f"a primitive named {made.name!r} exists already")
    PRIMITIVES[made.name] = made
    return made


class Unavailable(Exception):
    """Raised by a kernel whose compiler or library does not work on this machine."""


class Kernel:
    """A native function for a primitive and one array type, and what became of its last call.

    Calls whose first argument is not such an array, or has fewer than `smallest` elements, are
    not even offered to it.
    """

    __slots__ = ("dtypes", "function", "kind", "last", "name", "smallest")

    def __init__(self, name: str, kind: type, function: Callable[..., Any], smallest: int = 0,
                 dtypes: tuple[str, ...] = ("float32", "float64")):
        self.name, self.kind, self.function, self.smallest = name, kind, function, smallest
        self.dtypes = dtypes       # for people; the function itself declines others
        self.last: Any = None      # None: never called; True: it ran; else why it declined

    def __call__(self, *arrays: Any, **attrs: Any) -> Any:
        y = self.function(*arrays, **attrs)
        return NotImplemented if type(y) is str else y

    def or_else(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        """What runs for the primitive: this kernel where it takes the call, else `plain`."""
        function, kind = self.function, self.kind

        def run(*arrays: Any, **attrs: Any) -> Any:
            try:
                y = function(*arrays, **attrs)
            except Unavailable as error:
                _give_up(kind, error)
                return plain(*arrays, **attrs)
            if y is NotImplemented or type(y) is str:
                self.last = y
                return plain(*arrays, **attrs)
            self.last = True
            return y
        return run


def kernel(name: str, kind: type, *, smallest: int = 0,
           dtypes: tuple[str, ...] = ("float32", "float64"),
           ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a native function for primitive `name` on arrays of type `kind`.

    It takes the same arguments as the primitive without `xp`, and returns `NotImplemented`, or a
    string that says why, to decline a call; the primitive's own function runs then. `smallest` is
    the size of the first argument from which on it is asked at all, `dtypes` what it can take.
    """
    def register(fn: Callable[..., Any]) -> Callable[..., Any]:
        KERNELS[name, kind] = Kernel(name, kind, fn, smallest, dtypes)
        forget_implementations()
        return fn
    return register


def _give_up(kind: type, error: Unavailable) -> None:
    """Take all kernels of an array type out of the table, with a warning."""
    for key in [key for key in KERNELS if key[1] is kind]:
        del KERNELS[key]
    _loaded[kind] = f"none ({error})"
    forget_implementations()
    warnings.warn(f"tinygen runs without its kernels: {error}", RuntimeWarning, stacklevel=2)


def forget_implementations() -> None:
    """Empty every primitive's `impl`, so that the next call chooses again."""
    for p in PRIMITIVES.values():
        for op in (p, p.joint):
            if op is not None:
                op.impl.clear()
                op.large.clear()
                op.smallest = 0


backend.when_halves_come(forget_implementations)

_plain_call = Primitive.__call__
_around: dict[str, Callable[..., Any]] = {}


def around_calls(name: str, make: Callable[..., Any] | None) -> None:
    """Run `make(call)` in place of every primitive's `call`, under a name; None takes it away.

    Whoever needs to see all calls (autocast, the search for NaN) costs nothing while it is away.
    """
    _around.pop(name, None)
    if make is not None:
        _around[name] = make
    call = _plain_call
    for wrap in _around.values():
        call = wrap(call)
    Primitive.__call__ = call  # type: ignore[method-assign]


_loaded: dict[type, str] = {}   # array type -> what came of loading its kernels, in words


def kernel_status(kind: type = np.ndarray) -> str:
    """What came of loading the kernels for an array type, in words (`tinygen info` shows it)."""
    _load_kernels(kind)
    return _loaded[kind]


def _load_kernels(kind: type) -> None:
    """Import the kernels for an array type, once; `TINYGEN_KERNELS=numpy` keeps them out."""
    if kind in _loaded:
        return
    if os.environ.get("TINYGEN_KERNELS", "").lower() == "numpy":
        _loaded[kind] = "off (TINYGEN_KERNELS=numpy)"
        return
    _loaded[kind] = "loading"    # a kernel file may call primitives while it is imported
    try:
        importlib.import_module(f"{__package__}.kernels.{'cpu' if kind is np.ndarray else 'gpu'}")
    except ModuleNotFoundError as error:
        where = "a bare checkout needs `pip install -e .`" if "kernels" in str(error.name) else (
            f"{error.name} is not installed")
        _loaded[kind] = f"none ({where})"
        return
    count = sum(1 for _, k in KERNELS if k is kind)
    _loaded[kind] = f"{count} registered" if count else "none registered"


@primitive
def pick(xp, y, *, index):
    """One of several outputs. The walker gathers their gradients; no rule is needed."""
    return y[index]


def pick_output(node: Tensor, array: Any, index: int) -> Tensor:
    """The tensor that stands for output `index` of a node with several outputs."""
    if type(array) is not _ndarray and isinstance(array, np.generic):
        array = np.asarray(array)
    out = Tensor.wrap(array)
    if node.requires_grad and index < node.op.differentiable:
        out.requires_grad, out.op, out.inputs, out.attrs = True, pick, (node,), {"index": index}
    return out


def _no_upcast(y: Any, arrays: list[Any]) -> Any:
    """Float64 that no input asked for (an integer met a float32, or was divided) goes back."""
    widest = None
    for x in arrays:
        if isinstance(x, np.generic) or not hasattr(x, "dtype"):
            continue
        if x.dtype is _F64:
            return y
        if x.dtype.kind in FLOATS and (widest is None or x.dtype.itemsize > widest.itemsize):
            widest = x.dtype
    if not arrays:
        return y
    return y.astype(widest or _F32)
