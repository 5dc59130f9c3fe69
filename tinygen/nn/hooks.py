"""What runs before and after a module's forward and backward: hooks, in PyTorch's four kinds."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from ..grad_mode import mode
from ..mode import edits
from ..primitive import RAW, Primitive, local
from ..tensor import Tensor

if TYPE_CHECKING:
    from .module import Module

__all__ = ["Hook", "HookHandle", "call_hooked"]


class HookHandle:
    """Removes the hook that it was returned for: `handle.remove()`, or at the end of a `with`."""

    _ids = count(1)

    def __init__(self, hooks: dict[int, Any], hook: Any, prepend: bool = False):
        self._hooks, self._id = hooks, next(self._ids)
        later = dict(hooks) if prepend else {}
        if prepend:
            hooks.clear()
        hooks[self._id] = hook
        hooks.update(later)
        edits[0] += 1

    def remove(self) -> None:
        """Remove the hook; a second call does nothing."""
        self._hooks.pop(self._id, None)
        edits[0] += 1

    def __enter__(self) -> HookHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class Hook(NamedTuple):
    """A hook that was registered with an option, or that runs in the backward pass."""

    fn: Callable[..., Any]
    kind: str = "forward"               # "forward", "backward" or "backward_pre"
    with_kwargs: bool = False
    always_call: bool = False


def call_hooked(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`module.forward(*args, **kwargs)` with the module's hooks around it."""
    for hook in list(module._pre_hooks.values()):
        args, kwargs = _before(hook, module, args, kwargs)
    backward = [h for h in module._hooks.values() if type(h) is Hook and h.kind != "forward"]
    boundary = _Boundary(module, backward) if backward else None
    waiting = [h for h in module._hooks.values() if type(h) is not Hook or h.kind == "forward"]
    try:
        out = module.forward(*(args if boundary is None else boundary.enter(args)), **kwargs)
        while waiting:
            out = _after(waiting.pop(0), module, args, kwargs, out)
    except Exception:
        for hook in waiting:
            if type(hook) is Hook and hook.always_call:
                _after(hook, module, args, kwargs, None)
        raise
    return out if boundary is None else boundary.leave(out)


def _before(hook: Any, module: Module, args: tuple[Any, ...],
            kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if type(hook) is not Hook:
        changed = hook(module, args)
        if changed is not None:
            args = changed if isinstance(changed, tuple) else (changed,)
        return args, kwargs
    changed = hook.fn(module, args, kwargs)
    if changed is None:
        return args, kwargs
    if not isinstance(changed, tuple) or len(changed) != 2 or not isinstance(changed[1], dict):
        raise RuntimeError(f"[{type(module).__name__}] a forward pre-hook with_kwargs must return "
                           f"None or (args, kwargs), got {type(changed).__name__}")
    return changed if isinstance(changed[0], tuple) else ((changed[0],), changed[1])


def _after(hook: Any, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any],
           out: Any) -> Any:
    if type(hook) is not Hook:
        changed = hook(module, args, out)
    elif hook.with_kwargs:
        changed = hook.fn(module, args, kwargs, out)
    else:
        changed = hook.fn(module, args, out)
    return out if changed is None else changed


class _Boundary:
    """The edges of a module in the graph: where its gradients come in, and where they leave.

    Tensors that require grad pass a node of their own on each edge; its rule calls the hooks.
    """

    def __init__(self, module: Module, hooks: list[Hook]):
        self.module = module
        self.pre = [h.fn for h in hooks if h.kind == "backward_pre"]
        self.hooks = [h.fn for h in hooks if h.kind == "backward"]
        self.inputs = 0
        self.tracked_inputs = False
        self.grad_output: tuple[Any, ...] = ()

    def enter(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self.inputs = len(args)
        self.tracked_inputs = any(isinstance(x, Tensor) and x.requires_grad for x in args)
        return self._pass(args, self._gradients_leave)

    def leave(self, out: Any) -> Any:
        if not isinstance(out, (Tensor, tuple)):
            raise TypeError(f"[{type(self.module).__name__}] a module with backward hooks must "
                            f"return a tensor or a tuple, got {type(out).__name__}")
        outs = out if isinstance(out, tuple) else (out,)
        self.grad_output = (None,) * len(outs)
        passed = self._pass(outs, self._gradients_come)
        if isinstance(out, tuple):
            return type(out)(*passed) if hasattr(out, "_fields") else passed
        return passed[0]

    def _pass(self, values: tuple[Any, ...], hook: Callable[..., Any]) -> tuple[Any, ...]:
        """The values; those that require grad come out of one node, whose rule asks `hook`."""
        places = [i for i, x in enumerate(values) if isinstance(x, Tensor) and x.requires_grad]
        if not places:
            return values
        edge = Primitive(lambda xp, *xs: xs if len(xs) > 1 else xs[0], "module_hooks",
                         outputs=len(places))
        known: list[Any] = [None, ()]     # the gradients asked for, and the hook's answer

        def rule(i: int, g: Any, y: Any, *_: Any) -> Any:
            if known[0] is not g:
                known[:] = g, _called(hook, places, len(values), g if len(places) > 1 else (g,))
            return known[1][i]
        edge.vjp_each(rule)
        found = edge(*(values[i] for i in places))
        out = list(values)
        for i, x in zip(places, found if len(places) > 1 else (found,), strict=True):
            out[i] = x
        return tuple(out)

    def _gradients_come(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        for hook in self.pre:
            grads = self._checked(hook(self.module, grads), grads, "backward pre-hook")
        self.grad_output = grads
        if not self.tracked_inputs:       # the hooks will not be asked again
            for hook in self.hooks:
                hook(self.module, (None,) * self.inputs, grads)
        return grads

    def _gradients_leave(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        for hook in self.hooks:
            grads = self._checked(hook(self.module, grads, self.grad_output), grads,
                                  "backward hook")
        return grads

    def _checked(self, changed: Any, grads: tuple[Any, ...], what: str) -> tuple[Any, ...]:
        if changed is None:
            return grads
        changed = changed if isinstance(changed, tuple) else (changed,)
        if len(changed) != len(grads):
            raise RuntimeError(f"[{type(self.module).__name__}] a {what} must return None or "
                               f"{len(grads)} gradients, got {len(changed)}")
        return changed


def _called(hook: Callable[..., Any], places: list[int], n: int,
            grads: tuple[Any, ...]) -> list[Any]:
    """What `hook` makes of gradients, given as tensors and in their places among n values."""
    raw = not isinstance(grads[0], Tensor)
    given: list[Any] = [None] * n
    for i, g in zip(places, grads, strict=True):
        given[i] = Tensor(g) if raw else g
    with mode(local.mode & ~RAW):
        answer = hook(tuple(given))
    found = [answer[i] for i in places]
    return [g.data if raw and isinstance(g, Tensor) else g for g in found]
