"""tg.jit: a function that is recorded at its first call and replayed at the next ones."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..autograd import is_grad_enabled
from ..mode import TAPE, CaptureError, local
from ..tensor import Tensor
from ..transforms import flatten, unflatten
from .guards import Guards
from .program import Program
from .tape import capture, surroundings

__all__ = ["Jitted", "jit"]

LIMIT = 8      # programs of one function; with more, its arguments have no small set of shapes


def jit(function: Callable[..., Any] | None = None, *, limit: int = LIMIT) -> Any:
    """`function`, recorded once for each kind of arguments, and replayed from then on.

    The function may hold a whole training step: forward and backward passes, updates of
    parameters, draws, statistics of batch norm. It runs as it is, and is recorded, when its
    arguments have shapes, dtypes or static values that are new, or when what it found outside has
    changed: a model went from training to evaluation, an optimizer got another option than its
    learning rate, a variable of the enclosing function another value. Everything else that Python
    does in it (printing a text, counting) happens then and only then.

    Args:
        function: takes tensors (arrays become tensors), nested in lists, tuples and dicts, and
            static values, which are compared by `==`.
        limit: how many programs are kept; further kinds of arguments run as they are, with a
            warning that says which argument changed.

    Raises:
        CaptureError: the function looks at values (`item()`, `if x > 0`), returns a tensor with a
            graph behind it, or adds to gradients of an earlier call.
        TypeError: an argument is neither a tensor nor hashable.

    >>> import tinygen as tg
    >>> w = tg.ones((2,), requires_grad=True)
    >>> optimizer = tg.optim.SGD([w], lr=0.5)
    >>> @tg.jit
    ... def step(x):
    ...     optimizer.zero_grad()
    ...     loss = (w * x).sum()
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss.detach()
    >>> [step(tg.ones((2,))).item() for _ in range(3)]
    [2.0, 1.0, 0.0]
    >>> len(step.programs)
    1
    """
    if function is None:
        return functools.partial(jit, limit=limit)
    if not callable(function):
        raise TypeError(f"[jit] takes a function, got {type(function).__name__}")
    return Jitted(function, limit)


class Jitted:
    """What `jit` returns: call it like the function. `programs` are those recorded so far."""

    def __init__(self, function: Callable[..., Any], limit: int = LIMIT):
        if limit < 1:
            raise ValueError(f"[jit] limit must be at least 1, got {limit}")
        functools.update_wrapper(self, function)
        self.function, self.limit = function, limit
        self._recorded: list[tuple[Any, Guards, Program]] = []
        self.programs: list[Program] = []         # after all passes, in the order of recording
        self._warned = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = (args, kwargs)
        if local.mode & TAPE:                   # within another function that is recorded
            return self.function(*args, **kwargs)
        leaves = [Tensor.wrap(x) if isinstance(x, np.ndarray) else x for x in flatten(given)]
        region = local.autocast
        key = (is_grad_enabled(), region and region.key, *map(_kind, leaves), *_structure(given))
        for known, guards, program in self._recorded:
            if known == key and guards.hold():
                results = program.replay(*[x for x in leaves if isinstance(x, Tensor)])
                if guards.modes:
                    guards.settle()
                return results
        if len(self._recorded) >= self.limit:
            self._warn(key)
            args, kwargs = unflatten(given, iter(leaves))
            return self.function(*args, **kwargs)
        return self._record(key, given, leaves)

    def _record(self, key: Any, given: Any, leaves: list[Any]) -> Any:
        tensors = [x for x in leaves if isinstance(x, Tensor)]
        results: list[Any] = []

        def run(*now: Tensor) -> Any:
            new = iter(now)
            args, kwargs = unflatten(given, (next(new) if isinstance(x, Tensor) else x
                                             for x in leaves))
            results.append(self.function(*args, **kwargs))
            for y in flatten(results[0]):
                if isinstance(y, Tensor) and y.requires_grad and y.op is not None:
                    raise CaptureError(
                        f"[jit] a result ({y.dtype} {y.shape}) has a graph behind it, which a "
                        "replay has not: take its gradients inside the function, detach() it, or "
                        "call the function inside no_grad()")
            return results[0]
        around = surroundings(self.function, given)
        guards = Guards(self.function, around)
        program = capture(run, *tensors, around=around)
        guards.after(program)
        self.programs.append(program.optimized())
        self._recorded.append((key, guards, self.programs[-1]))
        return results[0]

    def _warn(self, key: Any) -> None:
        if self._warned:
            return
        self._warned = True
        last, guards, _ = self._recorded[-1]
        what = guards.broken() if last == key else _difference(last, key)
        warnings.warn(f"[jit] {getattr(self, '__name__', 'a function')} was recorded {self.limit} "
                      f"times and runs as it is from now on: {what}", RuntimeWarning, stacklevel=3)

    def program(self) -> Program:
        """The program recorded last."""
        if not self._recorded:
            raise RuntimeError("[jit] nothing is recorded before the first call")
        return self._recorded[-1][2]

    def source(self) -> str:
        """The Python function that a replay of it is, as text."""
        return self.program().source()

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """As a method: `self` is a static argument, told apart by identity."""
        return self if instance is None else functools.partial(self, instance)


def _kind(x: Any) -> Any:
    """What an argument has to have in common with that of a recording."""
    if isinstance(x, Tensor):
        return (x.dtype.name, x.shape, x.device, x.requires_grad)
    try:
        hash(x)
    except TypeError:
        raise TypeError(f"[jit] an argument is a {type(x).__name__}, which is neither a tensor nor "
                        "hashable; give tensors, numbers, texts, or nested lists and dicts of "
                        "them") from None
    return (type(x), x)


def _structure(tree: Any) -> Iterator[Any]:
    """How arguments are nested, without their values."""
    if isinstance(tree, dict):
        yield ("dict", *tree)
        for value in tree.values():
            yield from _structure(value)
    elif isinstance(tree, (list, tuple)):
        yield (type(tree), len(tree))
        for value in tree:
            yield from _structure(value)


_MODES = "whether gradients are recorded", "the type that autocast chooses"


def _difference(old: Any, new: Any) -> str:
    """Where two keys differ, in words."""
    if len(old) != len(new):
        return "it is called with another number of arguments each time"
    for i, (a, b) in enumerate(zip(old, new, strict=True)):
        if a != b:
            what = f"argument {i - 2}" if i > 1 else _MODES[i]
            return f"{what} changes: {_words(a)}, then {_words(b)}"
    return "nothing changes"


def _words(kind: Any) -> str:
    if isinstance(kind, tuple) and len(kind) == 4 and isinstance(kind[0], str):
        return f"{kind[0]} {kind[1]}"
    return repr(kind[1] if isinstance(kind, tuple) and len(kind) == 2 else kind)
