"""What a call of an operation does besides computing: it may be recorded, for gradients or a tape.

A program that is recorded once and replayed on other values must not depend on a value that was
read while it was recorded. `reads` is called wherever values leave the tensors, or decide about
shapes and branches: it refuses there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

__all__ = ["RAW", "RECORD", "TAPE", "CaptureError", "copies", "decide", "edits", "fetches",
           "local", "reads", "stays"]

# What a call does, per thread: bits of `local.mode`.
RECORD = 1   # link results to their inputs, so that gradients can be taken
RAW = 2      # bare arrays in, bare arrays out: a derivative rule is being read
TAPE = 4     # append every call to `local.tape`


class _Local(threading.local):
    mode: int = RECORD
    tape: Any = None
    autocast: Any = None      # the innermost region of `amp.autocast`
    loss_scale: Any = None    # what `backward()` starts with in place of 1: see `amp.GradScaler`


local = _Local()

edits = [0]     # how often an attribute of any layer was set: while it stays, none has changed


class CaptureError(RuntimeError):
    """A function cannot be recorded: what it does depends on values, not on shapes alone."""


def reads(what: str, *values: Any, instead: str = "Do that outside the recorded function, or "
          "choose by values with where()") -> None:
    """Say that `what` looks at the values of tensors; while a tape records, that is refused.

    Values that were made from nothing since the recording began (ranges, masks) are the same in
    every replay, and may be read.

    Raises:
        CaptureError: a value depends on the program's inputs, or lies outside of it and may change.
    """
    if local.mode & TAPE:
        for x in values:
            if hasattr(x, "seq") and not local.tape.is_constant(x):
                from .errors import user_line

                line = user_line()
                raise CaptureError(
                    f"[{what}] looks at the values of a {x.dtype} {x.shape} tensor while a program "
                    f"is recorded; a replay would go on using what it saw. {instead}"
                    + (f"\n  called from {line}" if line else ""))


def stays(name: str, what: str) -> None:
    """Say that `name` is going to change `what`, which no replay would do again.

    Raises:
        CaptureError: a tape records.
    """
    if local.mode & TAPE:
        raise CaptureError(f"[{name}] changes {what} while a program is recorded; a replay would "
                           "not. Do that outside the recorded function")


def fetches(what: str) -> None:
    """Say that `what` hands out something new; while a tape records, that is refused.

    Raises:
        CaptureError: a replay would get the same thing again.
    """
    if local.mode & TAPE:
        raise CaptureError(f"[{what}] a batch is fetched while a program is recorded; a replay "
                           "would get it again. Fetch it outside and give it as an argument")


def copies(array: Any, frame: Any) -> None:
    """Say that code at `frame` copies an array into a tensor, while a tape records.

    Raises:
        CaptureError: that code is not tinygen's own: a replay would use the same copy each time.
    """
    if not frame.f_globals.get("__name__", "").startswith("tinygen"):
        raise CaptureError(
            f"[Tensor] a {array.dtype} {array.shape} array is copied while a program is recorded; "
            "a replay would use that copy again. Give the array as an argument, or use "
            "tg.asarray(array), which is read anew")


def decide(read: Callable[[], T], what: str) -> T:
    """`read()`, on which a branch depends: a jitted function reads it anew before every call.

    For decisions that are not made by the tensors of a step, such as which of its batches this is.
    """
    if local.mode & TAPE:
        local.tape.guard(read, what)
    return read()
