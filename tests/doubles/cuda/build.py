"""`build`: CUDA C in, launchable functions out, by way of a C++ compiler and `shim.h`.

What was compiled is kept in the cache folder of the user, by a hash of all that goes into it.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import itertools
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["ORDERS", "CompileError", "Kernel", "KernelError", "build", "cache_dir", "compiler",
           "thread_order"]

HERE = Path(__file__).parent
FLAGS = ("-std=c++17", "-O1", "-g0", "-w", "-fPIC", "-shared", "-fvisibility=hidden",
         "-fno-strict-aliasing", "-ffp-contract=off", "-fsanitize=bounds")
ORDERS = (0, 1, 2)               # first thread to last, last to first, shuffled
MAX_SHARED = 232448              # bytes of dynamic shared memory on sm_90, opted in
_order = 0

# C++'s names of what a parameter can be; a pointer to void takes any array.
_TYPES = {"float": ("float32",), "double": ("float64",), "int": ("int32",), "bool": ("bool",),
          "unsigned int": ("uint32",), "long long int": ("int64",), "long int": ("int64",),
          "long long unsigned int": ("uint64",), "long unsigned int": ("uint64",),
          "unsigned char": ("uint8", "bool"), "signed char": ("int8",), "short int": ("int16",),
          "short unsigned int": ("uint16",), "bf16": ("bfloat16",), "f16": ("float16",)}
_GLOBAL = re.compile(r'extern\s+"C"\s+__attribute__\(\(cuda_global\)\)\s+void\s+'
                     r"(?:__attribute__\(\(cuda_bounds\(([^,)]+)[^)]*\)\)\)\s+)?(\w+)\s*\(")


class CompileError(RuntimeError):
    """The source is no C++ that the compiler takes, or a kernel is not declared as expected."""


class KernelError(RuntimeError):
    """A launch that a GPU would refuse, hang in, or answer with a wrong result."""


@functools.cache
def compiler() -> str | None:
    """The path of a C++ compiler, or None."""
    wanted = os.environ.get("CXX")
    return next(filter(None, map(shutil.which, filter(None, (wanted, "g++", "c++")))), None)


@contextlib.contextmanager
def thread_order(order: int) -> Iterator[None]:
    """Run the threads of a block, and the blocks, in one of the `ORDERS` meanwhile."""
    global _order
    before, _order = _order, ORDERS[order]
    try:
        yield
    finally:
        _order = before


# -- compiling -------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def build(source: str, defines: tuple[str, ...] = ()) -> dict[str, Kernel]:
    """The kernels of a source by name, each `extern "C" __global__ void [bounds] name(...)`.

    Raises:
        CompileError: with the compiler's message.
        RuntimeError: there is no C++ compiler.
    """
    found = compiler()
    if found is None:
        raise RuntimeError("no C++ compiler was found (g++ or c++, or $CXX)")
    headers = [(HERE / name).read_text() for name in ("fiber.h", "block.h", "shim.h")]
    parts = (found, *FLAGS, *defines, __file__, Path(__file__).read_text(), *headers, source)
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    library = cache_dir("cuda-on-cpu") / f"{key}.so"
    if not library.exists():
        _tidy(library.parent)
        _compile(found, source, defines, library)
    return _load(library)


def cache_dir(name: str) -> Path:
    """A folder of tinygen's cache, made where it is missing."""
    root = os.environ.get("TINYGEN_CACHE") or "~/.cache/tinygen"
    folder = Path(root).expanduser() / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@functools.cache
def _tidy(folder: Path) -> None:
    """Remove what was compiled a month ago: sources change, and each text has a file of its own."""
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):      # another process tidies too
            if path.stat().st_mtime < time.time() - 30 * 86400:
                path.unlink()


def _run(*command: str, given: str) -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True)
    if done.returncode:
        raise CompileError(done.stderr[:4000])
    return done.stdout


def _compile(found: str, source: str, defines: tuple[str, ...], library: Path) -> None:
    """Preprocess, so that kernels which macros make are seen; then compile with their table.

    The namespace without a name keeps static variables of templates out of sight of the linker:
    it would refuse to put some of them into the section of shared memory.
    """
    text = f'#include "shim.h"\nnamespace {{\n#line 1 "source.cu"\n{source}\n}}\n'
    flags = (f"-I{HERE}", *FLAGS, *defines, "-x", "c++")
    plain = _run(found, *flags, "-E", "-", given=text)
    kernels = _GLOBAL.findall(plain)
    if len(kernels) != plain.count("__attribute__((cuda_global))"):
        raise CompileError('a kernel must read: extern "C" __global__ void name(...), with '
                           "__launch_bounds__(n) in front of the name where there are any")
    rows = "".join(f'  {{"{name}", {bounds or 1024}, cuda_cpu::Entry<{name}>::run, '
                   f"cuda_cpu::Entry<{name}>::parameter, cuda_cpu::Entry<{name}>::size}},\n"
                   for bounds, name in kernels)
    table = (f"static const cuda_cpu::Row rows[] = {{\n{rows}  {{}}}};\n"
             'extern "C" __attribute__((visibility("default")))\n'
             "const cuda_cpu::Row* cuda_cpu_rows() { return rows; }\n"
             'extern "C" __attribute__((visibility("default")))\n'
             "const char* cuda_cpu_run(int i, const unsigned* size, unsigned long shared,\n"
             "                         int order, void** args) {\n"
             "  return cuda_cpu::run_grid(dim3(size[0], size[1], size[2]),\n"
             "      dim3(size[3], size[4], size[5]), shared, order, rows[i].run, args);\n}\n")
    part = library.with_suffix(f".{os.getpid()}.tmp")
    _run(found, *flags, "-o", str(part), "-", given=text + table)
    os.replace(part, library)      # whole or not at all: several processes may compile the same


class _Row(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("bounds", ctypes.c_int), ("run", ctypes.c_void_p),
                ("parameter", ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_uint)),
                ("size", ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_uint))]


def _load(path: Path) -> dict[str, Kernel]:
    library = ctypes.CDLL(str(path))
    library.cuda_cpu_rows.restype = ctypes.POINTER(_Row)
    library.cuda_cpu_run.restype = ctypes.c_char_p
    rows, kernels = library.cuda_cpu_rows(), {}
    for i in itertools.count():
        if rows[i].name is None:
            return kernels
        name, texts = rows[i].name.decode(), []
        while (text := rows[i].parameter(len(texts))) is not None:
            texts.append((text.decode().partition("T = ")[2].rstrip("]"), rows[i].size(len(texts))))
        kernels[name] = Kernel(name, library, i, rows[i].bounds, texts)


# -- launching -------------------------------------------------------------------------------------


class Parameter:
    """What one argument of a kernel has to be: a scalar's type, or that of an array's elements."""

    def __init__(self, text: str, size: int):
        self.size = size
        self.text = text.replace("{anonymous}::", "").replace("(anonymous namespace)::", "")
        base = self.text.replace("const", "").replace("__restrict__", "").replace("__restrict", "")
        self.pointer = "*" in base
        self.written = self.pointer and "const" not in self.text.partition("*")[0]
        name = base.partition("*")[0].strip()
        self.dtypes = _TYPES.get(name, ())
        self.struct = not self.dtypes and not self.pointer

    def convert(self, x: Any) -> Any:
        """The argument as a C value; raises where a GPU would read something else."""
        if self.struct:
            if not isinstance(x, np.ndarray) or x.dtype.names is None or x.nbytes != self.size:
                raise KernelError(f"{self.text} was given {_told(x)}; pass a structured array of "
                                  f"one element of {self.size} bytes")
            return (ctypes.c_char * self.size).from_buffer_copy(x)
        if not self.pointer:
            if not isinstance(x, np.generic) or x.dtype.name not in self.dtypes:
                raise KernelError(f"{self.text} was given {_told(x)}; pass "
                                  f"np.{self.dtypes[0]}(...)")
            return np.ctypeslib.as_ctypes_type(x.dtype)(x)
        if isinstance(x, np.uint64) and x == 0:
            return ctypes.c_void_p(None)
        if not isinstance(x, np.ndarray):
            raise KernelError(f"{self.text} was given {_told(x)}; pass an array")
        if self.dtypes and x.dtype.name not in self.dtypes:
            raise KernelError(f"{self.text} was given an array of {x.dtype}; pass one of "
                              f"{self.dtypes[0]}")
        if self.written and not x.flags.writeable:
            raise KernelError(f"{self.text} was given a read-only array")
        return ctypes.c_void_p(x.ctypes.data)


def _told(x: Any) -> str:
    return f"a {type(x).__name__}"


class Kernel:
    """A kernel: `kernel(grid, block, args, shared_mem=0)`; arguments are checked by type."""

    def __init__(self, name: str, library: ctypes.CDLL, number: int, bounds: int,
                 parameters: Sequence[tuple[str, int]]):
        self.name, self.bounds = name, bounds
        self.parameters = [Parameter(text, size) for text, size in parameters]
        self._run, self._number, self._library = library.cuda_cpu_run, number, library

    def __call__(self, grid: Sequence[int], block: Sequence[int], args: Sequence[Any], *,
                 shared_mem: int = 0, order: int | None = None) -> None:
        grid, block = ((*sizes, 1, 1)[:3] for sizes in (grid, block))
        threads = block[0] * block[1] * block[2]
        if min(grid) < 1 or max(grid[1:]) > 65535 or grid[0] >= 1 << 31:
            self._refuse(f"grid {grid}: each number must be at least 1, the second and third at "
                         "most 65535")
        if min(block) < 1 or threads > min(self.bounds, 1024) or block[2] > 64:
            self._refuse(f"block {block}: at most {min(self.bounds, 1024)} threads fit")
        if not 0 <= shared_mem <= MAX_SHARED:
            self._refuse(f"{shared_mem} bytes of shared memory; at most {MAX_SHARED} fit")
        if len(args) != len(self.parameters):
            self._refuse(f"{len(args)} arguments for {len(self.parameters)} parameters")
        values = []
        for i, (parameter, x) in enumerate(zip(self.parameters, args)):
            try:
                values.append(parameter.convert(x))
            except KernelError as error:
                self._refuse(f"argument {i}, {error}")
        pointers = (ctypes.c_void_p * max(1, len(values)))(*map(ctypes.addressof, values))
        sizes = (ctypes.c_uint * 6)(*map(int, (*grid, *block)))
        failure = self._run(self._number, sizes, ctypes.c_ulong(shared_mem),
                            _order if order is None else order, pointers)
        if failure is not None:
            self._refuse(failure.decode())

    def _refuse(self, why: str) -> None:
        raise KernelError(f"{self.name}: {why}")
