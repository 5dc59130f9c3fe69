"""Elementwise loops, made from one-line formulas, and the one parallel loop that runs them all.

A loop is a C function of addresses: result, inputs, how many elements, three constants. It is
compiled when it is first needed (0.3 s), and because `launch` takes its address, none of them pays
for a parallel loop of its own (0.6 s more each, over 60 of them with both types).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import carray, types
from numba.core.ccallback import CFunc

from ..formulas import FORMULAS, MORE
from . import vecmath
from .base import FAST, jit
from .bits import fabs
from .cache import KernelCache
from .loops import run_loop
from .pool import fork
from .vecmath import __all__ as _names  # written so, the cache sees what loops are made of

__all__ = ["BLOCK", "launch", "launch_blocks", "loop"]

# Sums are taken of blocks: bits do not depend on the number of threads, and an error grows with
# the length of a block, not of the array.
BLOCK = 1 << 12

_FORMULAS = {**FORMULAS, **MORE}
_functions = {"fabs": fabs} | {name: getattr(vecmath, name) for name in _names}
_loops: dict[tuple[str, Any, str, str], tuple[int, Callable[..., None]]] = {}
_prototype = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, ctypes.c_int64, *[ctypes.c_double] * 3)


def loop(name: str, dtype: Any, numbers: str = "",
         form: str = "loop") -> tuple[int, Callable[..., None]]:
    """The compiled loop of a formula: its address, and a function that runs it on this thread.

    `numbers` are the inputs that are one number: they are the last of the constants a, b, c. As
    a "total" it gives the sum over the elements instead of each; "in_place" x is the result's own
    memory, and no address of it is read.
    """
    found = _loops.get((name, dtype, numbers, form))
    if found is None:
        found = _loops[name, dtype, numbers, form] = _compiled(name, dtype, numbers, form)
    return found


def _source(function: str, formula: str, numbers: str, form: str) -> str:
    used = [v for v in "xyz" if v in compile(formula, "formula", "eval").co_names]
    constant = dict(zip(reversed(numbers), "cba", strict=False))
    # With one array in the loop, the compiler need not ask whether two overlap.
    source = dict.fromkeys("xyz", "{}s[i]") | ({"x": "out[i]"} if form == "in_place" else {})
    lines = [f"def {function}(out, x_at, y_at, z_at, n, a, b, c):",
             "    out, a, b, c = carray(out, n), kind(a), kind(b), kind(c)"]
    lines += [f"    {v} = {constant[v]}" if v in numbers else f"    {v}s = carray({v}_at, n)"
              for v in used if v in numbers or source[v] != "out[i]"]
    lines += ["    s = zero"] if form == "total" else []
    lines += ["    for i in range(n):"]
    lines += [f"        {v} = {source[v].format(v)}" for v in used if v not in numbers]
    lines += [f"        s += {formula}", "    out[0] = s"] if form == "total" else [
        f"        out[i] = {formula}"]
    return "\n".join(lines)


def _compiled(name: str, dtype: Any, numbers: str, form: str) -> tuple[int, Callable[..., None]]:
    kind, function = dtype.type, f"{name}_{form}_{numbers}"
    scope = {"__name__": __name__, **_functions, "carray": carray, "sqrt": np.sqrt, "kind": kind,
             "zero": kind(0), "one": kind(1)}
    exec(compile(_source(function, _FORMULAS[name], numbers, form), __file__, "exec"), scope)
    pointer = types.CPointer(types.float32 if kind is np.float32 else types.float64)
    made = CFunc(scope[function], ((*[pointer] * 4, types.int64, *[types.float64] * 3), types.void),
                 {}, {"nopython": True, "boundscheck": False, "error_model": "numpy",
                      "fastmath": FAST if form == "total" else {"contract"}})
    made._cache = KernelCache(scope[function])
    made.compile()
    _kept.append(made)
    return made.address, _prototype(made.address)


_kept: list[CFunc] = []         # machine code lives as long as its object


@jit
def _piece(address, out, x, y, z, size, n, a, b, c, t, pieces):
    """Piece t of n elements; from the first line of the result on, all begin where a line does."""
    head = min(n, (-out & 63) // size)
    lines = (n - head + 63) // 64
    first, last = head + lines * t // pieces * 64, min(n, head + lines * (t + 1) // pieces * 64)
    if t == 0 and head:
        run_loop(address, out, x, y, z, head, a, b, c)
    at = first * size
    run_loop(address, out + at, x + at, y + at, z + at, last - first, a, b, c)


@jit
def launch(address, out, x, y, z, size, n, a, b, c, pieces):
    """Run the loop at `address` on n elements of `size` bytes, cut into pieces.

    With more pieces than threads, one that starts late, or whose core is shared, takes fewer.
    """
    fork(_piece, (address, out, x, y, z, size, n, a, b, c), pieces)


@jit
def _blocks(address, out, x, y, z, size, n, a, b, c, t, pieces):
    blocks = (n + BLOCK - 1) // BLOCK
    for k in range(blocks * t // pieces, blocks * (t + 1) // pieces):
        at = k * BLOCK * size
        m = min(BLOCK, n - k * BLOCK)
        run_loop(address, out + k * size, x + at, y + at, z + at, m, a, b, c)


@jit
def launch_blocks(address, out, x, y, z, size, n, a, b, c, pieces):
    """Run the loop at `address`, which adds up, on each block of BLOCK elements: one sum each."""
    fork(_blocks, (address, out, x, y, z, size, n, a, b, c), pieces)
