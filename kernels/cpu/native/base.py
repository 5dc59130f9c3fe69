"""How every compiled function is made: `@jit`, or `@inline` for what is part of its callers.

A kernel is a serial function of a range of rows, and a thin one that lets the threads of `pool.py`
run it, each on ranges of its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any


def _wide_vectors() -> None:
    """Let LLVM use 512-bit registers where the processor has them: exp on 4096 floats took 0.56 ns
    an element with the 256 bits that it prefers by default, and 0.36 with 512."""
    if "NUMBA_CPU_FEATURES" in os.environ or "NUMBA_CPU_NAME" in os.environ:
        return
    from llvmlite import binding
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        text = features.flatten() + ",-prefer-256-bit"
        os.environ["NUMBA_CPU_FEATURES"] = text
        os.environ["NUMBA_CPU_NAME"] = binding.get_host_cpu_name()
        if "numba" in sys.modules:
            from numba import config
            config.CPU_FEATURES, config.CPU_NAME = text, os.environ["NUMBA_CPU_NAME"]


_wide_vectors()

import numba  # noqa: E402

from .cache import KernelCache  # noqa: E402

__all__ = ["EXACT", "FAST", "inline", "jit"]

# What the compiler may do with floating point numbers. NaN and infinity always keep their meaning.
# FAST may also change the order of sums, so that they run on vectors; the order is fixed when the
# function is compiled, so results are the same from run to run. EXACT only fuses a * b + c.
FAST = {"contract", "nsz", "reassoc", "arcp"}
EXACT = {"contract", "nsz"}

_common: dict[str, Any] = {"nogil": True, "boundscheck": False, "error_model": "numpy"}


def _compiled(fn: Callable[..., Any], **options: Any) -> Any:
    made = numba.njit(**{**_common, **options})(fn)
    made._cache = KernelCache(fn)
    return made


def jit(fn: Callable[..., Any] | None = None, *, fastmath: Any = FAST) -> Any:
    """A serial function, compiled on first call for each combination of types."""
    if fn is None:
        return lambda fn: jit(fn, fastmath=fastmath)
    return _compiled(fn, fastmath=fastmath)


def inline(fn: Callable[..., Any] | None = None, *, fastmath: Any = EXACT) -> Any:
    """A small function that is always put in place of its call, with its own rules for floats."""
    if fn is None:
        return lambda fn: inline(fn, fastmath=fastmath)
    return numba.njit(forceinline=True, fastmath=fastmath, **_common)(fn)
