"""Grad mode: whether operations are recorded, in each thread for itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from .primitive import RAW, RECORD, local

__all__ = ["enable_grad", "is_grad_enabled", "mode", "no_grad", "set_grad_enabled"]


def is_grad_enabled() -> bool:
    """True while operations in this thread are recorded."""
    return bool(local.mode & RECORD)


class _GradMode:
    """A context and a decorator that turns recording on or off; it may be nested and shared."""

    enabled: bool

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        made = object.__new__(cls)
        made.before = []
        return made if function is None else made(function)

    before: list[int]

    def __enter__(self) -> None:
        self.before.append(local.mode)
        local.mode = _with_recording(self.enabled)

    def __exit__(self, *_: object) -> None:
        local.mode = self.before.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        enabled = self.enabled

        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with mode(_with_recording(enabled)):
                return function(*args, **kwargs)
        return run


class no_grad(_GradMode):
    """Record nothing inside: `with no_grad(): ...`, or `@no_grad()` on a function."""

    enabled = False


class enable_grad(_GradMode):
    """Record again inside a `no_grad` block."""

    enabled = True


class set_grad_enabled:
    """Turn recording on or off in this thread, at once; as a context it is undone at the end.

    >>> with set_grad_enabled(False):
    ...     is_grad_enabled()
    False
    """

    def __init__(self, enabled: bool):
        self.before = local.mode
        local.mode = _with_recording(bool(enabled))

    def __enter__(self) -> set_grad_enabled:
        return self

    def __exit__(self, *_: object) -> None:
        local.mode = self.before


def _with_recording(enabled: bool) -> int:
    return ((local.mode | RECORD) if enabled else (local.mode & ~RECORD)) & ~RAW


@contextmanager
def mode(bits: int) -> Iterator[None]:
    """Run the block with the mode `bits` (see `primitive.py`)."""
    before = local.mode
    local.mode = bits
    try:
        yield
    finally:
        local.mode = before
