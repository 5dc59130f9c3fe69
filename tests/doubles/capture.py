"""Streams that record what is launched on them instead of running it: the double of CUDA graphs.

While a stream captures, nothing is computed: results hold poison until the graph is launched, and
whatever would have to wait for the device is refused, as CUDA refuses it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["Capture", "FreedMemory", "current", "do", "refuse", "results", "run"]

Action = Callable[[], Any]


class FreedMemory(RuntimeError):
    """A graph is launched whose arrays were freed since it was captured: others may have them."""


class Capture:
    """The list of what a capturing stream was given, and the memory that it is about."""

    def __init__(self) -> None:
        self.actions: list[Action] = []
        self.blocks: dict[int, Any] = {}

    def add(self, action: Action) -> None:
        """Note an action, which holds its arrays in its closure."""
        from . import memory

        self.actions.append(action)
        for cell in action.__closure__ or ():
            for array in _arrays(cell.cell_contents):
                block = memory.block_of(array)
                if block is not None:
                    self.blocks[block.ptr] = block

    def launch(self) -> None:
        """Do all of it, in order.

        CUDA's graph holds addresses: arrays that were freed since have to lie in a pool of their
        own that still lives (`cupy.cuda.using_allocator`), or something else may be there now.
        """
        for block in self.blocks.values():
            if block.users <= 0 and (block.pool is None or block.pool() is None):
                raise FreedMemory(f"the graph uses {block.nbytes} bytes that were freed since it "
                                  "was captured; keep the array, or the pool that it is from")
        for action in self.actions:
            action()


def _arrays(x: Any) -> list[np.ndarray]:
    if isinstance(x, np.ndarray):
        return [x]
    if isinstance(x, dict):
        x = list(x.values())
    return [a for y in x for a in _arrays(y)] if isinstance(x, (list, tuple)) else []


current: list[Capture] = []      # the capture of the calling thread's stream, innermost last


def refuse(what: str) -> None:
    """Raise where a capturing stream is asked for something that waits."""
    if current:
        raise RuntimeError(f"cudaErrorStreamCaptureUnsupported: {what} while a stream is capturing")


def do(action: Action) -> None:
    """Run an action without results, or note it."""
    if current:
        current[-1].add(action)
    else:
        action()


def run(fn: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
    """A function's result. While a stream captures, its shape: arrays that are written stay."""
    if not current:
        return fn(*args, **kwargs)
    out = kwargs.get("out")
    if isinstance(out, np.ndarray):
        current[-1].add(lambda: fn(*args, **kwargs))
        return out
    return fn(*args, **kwargs)


def results(y: Any, fn: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
    """The results of `run` in device memory: while a stream captures, they are set by the graph."""
    if not current:
        return y
    from . import memory

    given = {id(memory.owner_of(x)) for x in (*args, *kwargs.values()) if isinstance(x, np.ndarray)}
    made = [v._a for v in (y if isinstance(y, (tuple, list)) else (y,)) if hasattr(v, "_a")]
    made = [a for a in made if id(memory.owner_of(a)) not in given]
    if not made:
        return y
    for a in made:
        a.fill(np.iinfo(a.dtype).max if a.dtype.kind in "iu" else np.nan)

    def again() -> None:
        with np.errstate(all="ignore"):
            found = fn(*args, **kwargs)
        for a, v in zip(made, found if isinstance(found, (tuple, list)) else (found,)):
            a[...] = v
    current[-1].add(again)
    return y
