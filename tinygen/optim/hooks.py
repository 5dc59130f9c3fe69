"""Hooks around an optimizer's step, state_dict and load_state_dict, with PyTorch's signatures."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from ..nn.module import HookHandle

__all__ = ["Hooked", "hooked", "register_optimizer_step_post_hook",
           "register_optimizer_step_pre_hook"]

_global_pre: dict[int, Callable[..., Any]] = {}
_global_post: dict[int, Callable[..., Any]] = {}


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> HookHandle:
    """Call `hook(optimizer, args, kwargs)` before each step of every optimizer."""
    return HookHandle(_global_pre, hook)


def register_optimizer_step_post_hook(hook: Callable[..., Any]) -> HookHandle:
    """Call `hook(optimizer, args, kwargs)` after each step of every optimizer."""
    return HookHandle(_global_post, hook)


def hooked(step: Callable[..., Any]) -> Callable[..., Any]:
    """A `step` that runs the hooks of all optimizers and of its own around itself."""
    @wraps(step)
    def run(self: Hooked, *args: Any, **kwargs: Any) -> Any:
        self._opt_called = True              # schedules ask, to warn of calls in the wrong order
        own_pre, own_post = self._step_pre, self._step_post
        if not (own_pre or own_post or _global_pre or _global_post):
            return step(self, *args, **kwargs)
        given: tuple[Any, ...] = (self, *args)
        for hook in (*_global_pre.values(), *own_pre.values()):
            changed = hook(self, given, kwargs)
            if changed is None:
                continue
            if not (isinstance(changed, tuple) and len(changed) == 2):
                raise RuntimeError(f"[{type(self).__name__}] a step pre-hook must return None or "
                                   f"(args, kwargs), got {changed!r:.60}")
            given, kwargs = changed
        result = step(*given, **kwargs)
        for hook in (*own_post.values(), *_global_post.values()):
            hook(self, given, kwargs)
        return result
    run.hooked = True  # type: ignore[attr-defined]
    return run


class Hooked:
    """The hooks of one optimizer; a subclass that defines `step` has it wrapped by `hooked`."""

    _opt_called = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        step = cls.__dict__.get("step")
        if step is not None and not hasattr(step, "hooked"):
            cls.step = hooked(step)  # type: ignore[attr-defined]

    def _forget_hooks(self) -> None:
        self._step_pre: dict[int, Any] = {}
        self._step_post: dict[int, Any] = {}
        self._save_pre: dict[int, Any] = {}
        self._save_post: dict[int, Any] = {}
        self._load_pre: dict[int, Any] = {}
        self._load_post: dict[int, Any] = {}

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Call `hook(optimizer, args, kwargs)` before each step; returns a handle to remove it.

        `args` begins with the optimizer. A hook may return `(args, kwargs)` to step with instead.
        """
        return HookHandle(self._step_pre, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Call `hook(optimizer, args, kwargs)` after each step; returns a handle to remove it."""
        return HookHandle(self._step_post, hook)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any],
                                     prepend: bool = False) -> HookHandle:
        """Call `hook(optimizer)` before `state_dict` looks at anything."""
        return _register(self._save_pre, hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable[..., Any],
                                      prepend: bool = False) -> HookHandle:
        """Call `hook(optimizer, state_dict)` on what `state_dict` made.

        It may change the dictionary, or return another one.
        """
        return _register(self._save_post, hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any],
                                          prepend: bool = False) -> HookHandle:
        """Call `hook(optimizer, state_dict)` on a shallow copy of what is to be loaded.

        It may change the dictionary, or return another one.
        """
        return _register(self._load_pre, hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any],
                                           prepend: bool = False) -> HookHandle:
        """Call `hook(optimizer)` after a state was loaded."""
        return _register(self._load_post, hook, prepend)


def _register(hooks: dict[int, Any], hook: Callable[..., Any], prepend: bool) -> HookHandle:
    handle = HookHandle(hooks, hook)
    if prepend:
        newest = hooks.popitem()
        others = dict(hooks)
        hooks.clear()
        hooks.update([newest, *others.items()])
    return handle
