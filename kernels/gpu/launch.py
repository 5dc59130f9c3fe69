"""From a file in `source/` to a launch: compiling on first use, arguments, sizes of grids.

    native = Source("softmax")                              # source/softmax.cu
    native("softmax_f32", rows, (32, 8), x, y, n)           # grid and block: numbers or tuples
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import cupy
import numpy as np

from tinygen.primitive import Unavailable

__all__ = ["EMPTY", "F16", "F32", "HALVES", "MIXED", "NOT_FLOAT", "SUFFIXES", "Source", "WIDE",
           "blocks", "capability", "plain", "processors", "read", "team"]

SOURCES = Path(__file__).parent / "source"
OPTIONS = ("-std=c++17",)

F32, F16 = np.dtype(np.float32), np.dtype(np.float16)
SUFFIXES: dict[Any, str] = {F32: "f32", F16: "f16"}     # the ends of kernels' names by dtype
try:
    import ml_dtypes
except ImportError:             # then CuPy has no bfloat16 arrays either
    pass
else:
    SUFFIXES[np.dtype(ml_dtypes.bfloat16)] = "bf16"

HALVES = ("float32", "bfloat16", "float16")             # what most kernels name as theirs
WIDE = {dtype: 16 // dtype.itemsize for dtype in SUFFIXES}   # values that a thread reads at once

NOT_FLOAT = "neither float32, bfloat16 nor float16"
MIXED = "inputs of several types"
EMPTY = "nothing to do"

_current = cupy.cuda.runtime.getDevice
NULL = np.uint64(0)             # None would be the address of an argument, not an argument
FREE_SHARED = 48 * 1024         # bytes of shared memory that need not be asked for
HOLD = 32                       # bytes of a row that a thread of rows.cuh keeps in registers


# -- sources ---------------------------------------------------------------------------------------


@functools.cache
def read(name: str) -> str:
    """The text of `source/NAME` with the files that it includes in place, each once.

    CuPy keeps what it compiled by the text that it was given, and would not see that an included
    file has changed.
    """
    return _paste(name, (SOURCES / name).read_text(encoding="utf-8"), set())


def _paste(name: str, text: str, seen: set[str]) -> str:
    lines = []
    for i, line in enumerate(text.splitlines()):
        included = re.fullmatch(r'#include "([\w.]+)"', line)
        if included is None:
            lines.append(line)
        elif included[1] not in seen:
            seen.add(included[1])
            inner = (SOURCES / included[1]).read_text(encoding="utf-8")
            lines += [f'#line 1 "{included[1]}"', _paste(included[1], inner, seen),
                      f'#line {i + 2} "{name}"']
    return "\n".join(lines) + "\n"


class Source:
    """The kernels of one file, or of a generated text, compiled when the first is launched.

    Raises:
        Unavailable: NVRTC is missing or does not work here; CuPy's code stays in charge.
    """

    def __init__(self, name: str, options: tuple[str, ...] = (), text: str | None = None):
        self.name, self.options, self.text = name, (*OPTIONS, *options), text
        self._functions: dict[tuple[str, int], Any] = {}   # by name and device
        self._shared: dict[Any, int] = {}
        self._modules: dict[int, Any] = {}

    def __call__(self, kernel: str, grid: Any, block: Any, *args: Any, shared: int = 0) -> None:
        """Launch a kernel on the current stream.

        Arguments: arrays; None for a null pointer; a bool for an int, an int for a long long, a
        float for a float; NumPy's numbers for C types of their own. `shared` is in bytes.
        """
        key = kernel, _current()
        function = self._functions.get(key)
        if function is None:
            function = self._functions[key] = self._find(*key)
        if shared > FREE_SHARED and shared > self._shared.get(key, 0):
            function.max_dynamic_shared_size_bytes = self._shared[key] = shared
        function(grid if type(grid) is tuple else (grid,),
                 block if type(block) is tuple else (block,),
                 tuple([_argument(x) for x in args]), shared_mem=shared)

    def code(self) -> str:
        """The text that is compiled."""
        name = f"{self.name}.cu"
        return read(name) if self.text is None else _paste(name, self.text, set())

    def find(self, kernel: str) -> None:
        """Compile it for the current device now, and see that it has this kernel."""
        key = kernel, _current()
        if key not in self._functions:
            self._functions[key] = self._find(*key)

    def _find(self, kernel: str, device: int) -> Any:
        try:
            if device not in self._modules:
                self._modules[device] = cupy.RawModule(
                    code=self.code(), options=self.options, backend="nvrtc")
            return self._modules[device].get_function(kernel)
        except (ImportError, OSError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "nvrtc" not in str(error).lower():
                raise
            raise Unavailable(f"NVRTC does not work here: {error}") from error


def _argument(x: Any) -> Any:
    kind = type(x)
    if kind is int:
        return np.int64(x)
    if kind is float:
        return np.float32(x)
    if kind is bool:
        return np.int32(x)
    return NULL if x is None else x


# -- arrays ----------------------------------------------------------------------------------------


def plain(x: Any) -> Any:
    """`x`, or a copy that lies in memory in order and begins at a multiple of 16 bytes."""
    if x.flags.c_contiguous and x.data.ptr % 16 == 0:
        return x
    return cupy.array(x, order="C", copy=True)


# -- sizes of grids --------------------------------------------------------------------------------


def blocks(n: int, size: int) -> int:
    """How many blocks of `size` hold n."""
    return -(-n // size)


def team(n: int, dtype: Any = F32, most: int = 1024) -> tuple[int, int]:
    """The block (threads to a row, rows) for rows of n values, see rows.cuh.

    A warp takes a row of up to 1 KB, eight of them share a block. A longer row has the threads that
    hold it in registers, `most` of them; a longer one (32 KB) is read anew for each pass, by 512
    threads: a block that waits at a barrier leaves room for three others.
    """
    hold = HOLD // dtype.itemsize
    if n <= 32 * hold:
        return 32, 8
    if n > most * hold:
        return 512, 1
    return blocks(n, 32 * hold) * 32, 1


@functools.cache
def _processors(device: int) -> int:
    return int(cupy.cuda.Device(device).attributes["MultiProcessorCount"])


@functools.cache
def _capability(device: int) -> int:
    return int(cupy.cuda.Device(device).compute_capability)


def capability() -> int:
    """What the current device can do, as a number: 80 for sm_80."""
    return _capability(_current())


def processors() -> int:
    """How many multiprocessors the current device has."""
    return _processors(_current())
