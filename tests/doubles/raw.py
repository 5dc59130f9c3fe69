"""`cupy.RawModule` and `cupy.RawKernel`: CUDA C, compiled as C++ and run on the host.

`tests.doubles.cuda.build` compiles the source; here the launch is checked as CUDA would (sizes of
grid and block, shared memory, devices), counted, and followed by a look at the guard zones.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from . import capture, memory
from .array import ndarray
from .counting import count

__all__ = ["RawKernel", "RawModule"]

MAX_THREADS = 1024
STATIC_SHARED = 49152        # bytes of shared memory without opting in
OPTIN_SHARED = 232448        # bytes that sm_90 allows at most


def _triple(what: str, given: Any) -> tuple[int, int, int]:
    sizes = (given,) if isinstance(given, (int, np.integer)) else tuple(given)
    if not 1 <= len(sizes) <= 3 or any(int(n) < 1 for n in sizes):
        raise RuntimeError(f"cudaErrorInvalidConfiguration: {what} {sizes}")
    return tuple(int(n) for n in (*sizes, 1, 1)[:3])  # type: ignore[return-value]


class _Function:
    """A kernel of a module."""

    def __init__(self, name: str, kernel: Any):
        self.name, self._kernel = name, kernel
        self.max_dynamic_shared_size_bytes = STATIC_SHARED
        self.attributes = {"max_dynamic_shared_size_bytes": STATIC_SHARED, "num_regs": 0,
                           "local_size_bytes": 0, "max_threads_per_block": MAX_THREADS}

    def __call__(self, grid: Any, block: Any, args: Any, *, shared_mem: int = 0,
                 enable_cooperative_groups: bool = False, stream: Any = None) -> None:
        grid, block = _triple("grid", grid), _triple("block", block)
        if block[0] * block[1] * block[2] > MAX_THREADS or max(grid[1:]) > 65535:
            raise RuntimeError(f"cudaErrorInvalidConfiguration: grid {grid}, block {block}")
        if shared_mem > min(self.max_dynamic_shared_size_bytes, OPTIN_SHARED):
            raise RuntimeError(f"CUDA_ERROR_INVALID_VALUE: {shared_mem} bytes of shared memory; "
                               f"{self.max_dynamic_shared_size_bytes} were asked for")
        given = [self._argument(i, x) for i, x in enumerate(args)]
        count("launches", self.name)
        arrays = [x for x in given if isinstance(x, np.ndarray)]

        def launch() -> None:
            self._kernel(grid, block, given, shared_mem=shared_mem)
            memory.check(arrays)
        capture.do(launch)

    def _argument(self, i: int, x: Any) -> Any:
        if isinstance(x, ndarray):
            if x._device != memory.current_device():
                raise ValueError(f"{self.name}: argument {i} lies on device {x._device}, the "
                                 f"current one is {memory.current_device()}")
            return x._a
        if isinstance(x, np.ndarray):
            if x.size == 1 and x.dtype.names is not None:
                return x                     # a struct, passed by value
            raise TypeError(f"{self.name}: argument {i} is a host array")
        if isinstance(x, memory.MemoryPointer):
            return memory.find(x.ptr)
        if not isinstance(x, (bool, int, float, np.generic, np.ndarray)):
            raise TypeError(f"{self.name}: unsupported type {type(x)} of argument {i}")
        return x


class RawModule:
    """A source with several kernels."""

    def __init__(self, *, code: str | None = None, path: str | None = None, options: Any = (),
                 backend: str = "nvrtc", translate_cucomplex: bool = False,
                 enable_cooperative_groups: bool = False, name_expressions: Any = None,
                 jitify: bool = False):
        if code is None or not isinstance(options, tuple):
            raise TypeError("RawModule takes code=... and options as a tuple")
        self.code, self.options = code, options
        self._kernels: dict[str, Any] | None = None

    def compile(self, log_stream: Any = None) -> None:
        """Compile it now."""
        if self._kernels is None:
            build = importlib.import_module("tests.doubles.cuda.build").build
            defines = tuple(o for o in self.options if o.startswith("-D"))
            self._kernels = build(self.code, defines)

    def get_function(self, name: str) -> _Function:
        """A kernel by its name."""
        self.compile()
        assert self._kernels is not None
        if name not in self._kernels:
            raise RuntimeError(f"CUDA_ERROR_NOT_FOUND: named symbol {name!r} not found")
        return _Function(name, self._kernels[name])


class RawKernel(_Function):
    """A source of which one kernel is meant."""

    def __init__(self, code: str, name: str, options: Any = (), backend: str = "nvrtc",
                 translate_cucomplex: bool = False, *, enable_cooperative_groups: bool = False,
                 jitify: bool = False):
        module = RawModule(code=code, options=options)
        super().__init__(name, module.get_function(name)._kernel)
        self.code, self.options = code, options


RawModule.__module__ = RawKernel.__module__ = "cupy"
