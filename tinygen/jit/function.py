"""tg.jit: a function that is recorded at its first call and replayed at the next ones."""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import anomaly, ops
from ..autograd import is_grad_enabled
from ..mode import TAPE, CaptureError, local
from ..tensor import Tensor
from ..transforms import flatten, unflatten
from .entry import MISS, entry
from .graph import wanted as graphs_wanted
from .guards import Guards
from .program import Program
from .recording import capture, surroundings
from .undo import Undo

__all__ = ["Jitted", "jit"]

LIMIT = 8      # programs of one function; with more, its arguments have no small set of shapes
_recording = threading.RLock()      # one recording at a time: it looks at what is around it
MET = 4096     # kinds of arguments that are remembered before they are recorded


def jit(function: Callable[..., Any] | None = None, *, limit: int = LIMIT,
        fuse: bool = True, graph: bool | None = None) -> Any:
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
        fuse: put operations together where a kernel can run several in one pass. Results then
            agree with those of the function itself to rounding (sums have another order, a * b + c
            is rounded once); without it, to the last bit.
        graph: on a GPU, replay a program as one CUDA graph where that is possible (see
            `tinygen.jit.graph`; `program().graph_reason` says why not). Not run on a card yet. By
            default, what TINYGEN_CUDA_GRAPHS says.

    Raises:
        CaptureError: the function looks at values (`item()`, `if x > 0`), returns a tensor with a
            graph behind it, or uses gradients of an earlier call.
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
        return functools.partial(jit, limit=limit, fuse=fuse, graph=graph)
    if not callable(function):
        raise TypeError(f"[jit] takes a function, got {type(function).__name__}")
    return Jitted(function, limit, fuse=fuse, graph=graph)


class Jitted:
    """What `jit` returns: call it like the function. `programs` are those recorded so far.

    `after`: how often a kind of arguments runs as it is before it is recorded. `again`: the call
    that is recorded gives the results of the program too, so that fused programs round alike from
    the first call on; everything is put back and done again for that.
    """

    def __init__(self, function: Callable[..., Any], limit: int = LIMIT, after: int = 0,
                 fuse: bool = True, again: bool = False, graph: bool | None = None):
        if limit < 1:
            raise ValueError(f"[jit] limit must be at least 1, got {limit}")
        functools.update_wrapper(self, function)
        self.function, self.limit, self.after = function, limit, after
        self.fuse, self.again = fuse, again
        self.graph = graphs_wanted() if graph is None else graph
        self._met: dict[Any, int] = {}            # kinds of arguments that have run as they are
        self._recorded: list[_Recorded] = []
        self.programs: list[Program] = []         # after all passes, in the order of recording
        self._warned = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for recorded in self._recorded:
            if recorded.enter is not None:
                results = recorded.enter(args, kwargs)
                if results is not MISS:
                    return results
        given = (args, kwargs)
        if local.mode & TAPE or anomaly.active:   # within another that is recorded, or watched
            return self.function(*args, **kwargs)
        leaves = [Tensor.wrap(x) if isinstance(x, np.ndarray) else x for x in flatten(given)]
        region = local.autocast
        tensors = [x for x in leaves if isinstance(x, Tensor)]
        key = (is_grad_enabled(), region and region.key, *map(_kind, leaves), *_structure(given))
        for found in self._recorded:
            if found.fits(key, tensors):
                return found.first(args, kwargs, tensors)
        if self.after and self._is_new(key):
            return self._plain(given, leaves)
        with _recording:                        # another thread may have recorded it meanwhile
            for found in self._recorded:
                if found.fits(key, tensors):
                    break
            else:
                if len(self._recorded) < self.limit:
                    return self._record(key, given, leaves)
                return self._full(key, given, leaves)
        return found.run(tensors)

    def _full(self, key: Any, given: Any, leaves: list[Any]) -> Any:
        """What is done with a kind of arguments for which there is no room."""
        self._warn(key)
        return self._plain(given, leaves)

    def _plain(self, given: Any, leaves: list[Any]) -> Any:
        """The function as it is."""
        args, kwargs = unflatten(given, iter(leaves))
        return self.function(*args, **kwargs)

    def _is_new(self, key: Any) -> bool:
        """Has this kind of arguments come fewer than `after` times before?"""
        times = self._met.get(key, 0)
        if times < self.after and len(self._met) < MET:
            self._met[key] = times + 1
        return times < self.after

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
        guards = Guards(around)
        program = capture(run, *tensors, around=around)
        if not self.again:
            del around              # with its copies of what the step has changed
            results[0] = _owned(program, results[0])
            made = self._made(key, guards, program, tensors)
        else:
            around.values_back()
            try:
                made = self._made(key, guards, program, tensors)
                results[0] = made.run(tensors)
            except BaseException:
                around.back()
                raise
        self.programs.append(made.program)
        self._recorded.append(made)
        return results[0]

    def _made(self, key: Any, guards: Guards, program: Program,
              tensors: list[Tensor]) -> _Recorded:
        """What is kept of a recording: the program after all passes, and what it rests on."""
        guards.after(program, tensors)
        program = program.optimized(self.fuse)
        program.graph = self.graph
        return _Recorded(key, guards, program)

    def _warn(self, key: Any) -> None:
        if self._warned:
            return
        self._warned = True
        warnings.warn(f"[jit] {getattr(self, '__name__', 'a function')} was recorded {self.limit} "
                      f"times and runs as it is from now on: {self._differs(key)}", RuntimeWarning,
                      stacklevel=3)

    def _differs(self, key: Any) -> str | None:
        """Why the program that was recorded last does not fit, in words."""
        last = self._recorded[-1]
        return last.guards.broken() if last.key == key else _difference(last.key, key)

    def program(self) -> Program:
        """The program recorded last."""
        if not self._recorded:
            raise RuntimeError("[jit] nothing is recorded before the first call")
        return self._recorded[-1].program

    def source(self) -> str:
        """The Python function that a replay of it is, as text."""
        return self.program().source()

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """As a method: `self` is a static argument, told apart by identity."""
        return self if instance is None else functools.partial(self, instance)


class _Recorded:
    """A program with the kind of arguments that it is for, and what it takes for granted."""

    __slots__ = ("enter", "guards", "key", "program", "tried", "undo")

    def __init__(self, key: Any, guards: Guards, program: Program):
        self.key, self.guards, self.program, self.undo = key, guards, program, Undo(program)
        self.enter: Any = None              # the short way, once there is one
        self.tried = False

    def fits(self, key: Any, tensors: list[Tensor]) -> bool:
        """Is it for such arguments, and all that it rests on as it was?"""
        return (self.key == key and self.guards.hold()
                and self.guards.lie_alike([x.data for x in tensors]))

    def first(self, args: Any, kwargs: Any, tensors: list[Tensor]) -> Any:
        """The long way, after which there is a short one."""
        results = self.run(tensors)
        if not self.tried:
            self.tried, self.enter = True, entry(self, args, kwargs)
        return results

    def run(self, tensors: list[Tensor]) -> Any:
        """A replay: all of it, or nothing."""
        back = self.undo.keep(tensors) if self.undo.needed else None
        try:
            results = self.program.replay(*tensors)
        except BaseException:
            if back is not None:
                back()
            raise
        if self.guards.modes:
            self.guards.settle()
        return results


def _owned(program: Program, results: Any) -> Any:
    """What a recording gives: copies of what is the same in every replay, as replays give."""
    leaves = flatten(results)
    for i in program.own:
        if i < len(leaves):
            leaves[i] = ops.positive(leaves[i])
    return unflatten(results, iter(leaves))


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
