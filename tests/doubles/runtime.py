"""`cupy.cuda`: two devices that compute at once, their streams, events, pools and graphs."""

from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import capture, memory
from .counting import count

__all__ = ["CUDARuntimeError", "Device", "Event", "Graph", "MemoryPool", "Stream", "cuda",
           "runtime"]

DEVICES = 2
GIB = 1 << 30
CAPABILITY = "90"


class CUDARuntimeError(RuntimeError):
    """An error of the CUDA runtime."""


class Device:
    """A device by its number; a context in which it is the current one."""

    def __init__(self, device: Any = None):
        number = memory.current_device() if device is None else int(getattr(device, "id", device))
        if not 0 <= number < DEVICES:
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        self.id = number
        self._before: list[int] = []

    def use(self) -> Device:
        """Make it current."""
        memory.use_device(self.id)
        return self

    def __enter__(self) -> Device:
        self._before.append(memory.current_device())
        return self.use()

    def __exit__(self, *error: Any) -> None:
        memory.use_device(self._before.pop())

    def synchronize(self) -> None:
        """Wait for all of its work."""
        capture.refuse("Device.synchronize")
        count("syncs", "Device.synchronize")

    compute_capability = CAPABILITY
    cublas_handle = property(lambda self: 0xB1A5 + self.id)

    @property
    def mem_info(self) -> tuple[int, int]:
        """Free and total bytes."""
        return 80 * GIB - memory.used(self.id), 80 * GIB

    @property
    def attributes(self) -> dict[str, int]:
        """What the runtime says of the device."""
        return {"MultiProcessorCount": 132, "MaxSharedMemoryPerBlockOptin": 232448,
                "MaxSharedMemoryPerBlock": 49152, "WarpSize": 32}

    def __int__(self) -> int:
        return self.id

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"


class Graph:
    """What a stream captured."""

    def __init__(self, recorded: capture.Capture):
        self._recorded = recorded

    def launch(self, stream: Any = None) -> None:
        """Run all of it: one launch."""
        count("launches", "Graph")
        self._recorded.launch()

    def upload(self, stream: Any = None) -> None:
        """Send it to the device ahead of its launch."""


class Stream:
    """A queue of work; everything on it is done when the call returns."""

    null: Any = None
    ptds: Any = None

    def __init__(self, null: bool = False, non_blocking: bool = False, ptds: bool = False, *,
                 priority: Any = None):
        self.ptr = 0 if null else id(self)
        self._capture: capture.Capture | None = None
        self._before: list[Any] = []

    def use(self) -> Stream:
        """Make it current."""
        _streams[-1] = self
        return self

    def __enter__(self) -> Stream:
        _streams.append(self)
        return self

    def __exit__(self, *error: Any) -> None:
        _streams.pop()

    def synchronize(self) -> None:
        """Wait for its work."""
        capture.refuse("Stream.synchronize")
        count("syncs", "Stream.synchronize")

    done = True

    def record(self, event: Any = None) -> Any:
        """Mark the place in the queue."""
        return event or Event()

    def wait_event(self, event: Any) -> None:
        """Let the device wait for a mark; the host does not."""

    def begin_capture(self, mode: Any = None) -> None:
        """Record from now on."""
        if self.ptr == 0:
            raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: the null stream")
        if _streams[-1] is not self:
            raise RuntimeError("The stream must be current when its capture begins")
        self._capture = capture.Capture()
        capture.current.append(self._capture)

    def end_capture(self) -> Graph:
        """What was recorded."""
        if self._capture is None:
            raise CUDARuntimeError("cudaErrorIllegalState: the stream is not capturing")
        capture.current.remove(self._capture)
        graph, self._capture = Graph(self._capture), None
        return graph

    def is_capturing(self) -> bool:
        """Whether work is recorded."""
        return self._capture is not None


Stream.null = Stream(null=True)
Stream.ptds = Stream(ptds=True)
_streams = [Stream.null]


def get_current_stream(device_id: int = -1) -> Stream:
    """The stream on which work is put."""
    return _streams[-1]


class ExternalStream(Stream):
    """A stream that another library made."""

    def __init__(self, ptr: int, device_id: int = -1):
        super().__init__()
        self.ptr = ptr


class Event:
    """A mark in a stream."""

    def __init__(self, block: bool = False, disable_timing: bool = False,
                 interprocess: bool = False):
        self.ptr, self.done = id(self), True

    def record(self, stream: Any = None) -> None:
        """Put the mark."""

    def synchronize(self) -> None:
        """Wait until the device passed it."""
        capture.refuse("Event.synchronize")
        count("syncs", "Event.synchronize")


def get_elapsed_time(start: Event, end: Event) -> float:
    """Milliseconds between two marks: a double has no time to tell."""
    return 0.0


class MemoryPool:
    """Keeps freed memory; here it knows how much is in use."""

    def __init__(self, allocator: Any = None):
        self._limit = 0
        self.blocks: list[Any] = []       # all that came from it

    def used_bytes(self) -> int:
        """Bytes of live arrays on the current device."""
        return memory.used(memory.current_device())

    def total_bytes(self) -> int:
        """Bytes taken from the device."""
        return self.used_bytes()

    def free_bytes(self) -> int:
        """Bytes kept for later."""
        return 0

    def free_all_blocks(self, stream: Any = None) -> None:
        """Give what is kept back to the device."""

    def n_free_blocks(self) -> int:
        """How many blocks are kept."""
        return 0

    def set_limit(self, size: Any = None, fraction: Any = None) -> None:
        """Refuse more than this."""
        self._limit = size or 0

    def get_limit(self) -> int:
        """What `set_limit` set."""
        return self._limit

    def malloc(self, size: int) -> memory.MemoryPointer:
        """Bytes of the device."""
        return alloc(size)


def alloc(size: int) -> memory.MemoryPointer:
    """Bytes of the current device, poisoned."""
    made = memory.allocate((size,), np.uint8)
    return memory.MemoryPointer(memory.owner_of(made), made.ctypes.data, memory.current_device())


class _Runtime(types.SimpleNamespace):
    """The functions of `cupy.cuda.runtime` that the project calls."""

    CUDARuntimeError = CUDARuntimeError
    streamCaptureModeGlobal, streamCaptureModeThreadLocal, streamCaptureModeRelaxed = 0, 1, 2

    @staticmethod
    def getDeviceCount() -> int:
        return DEVICES

    @staticmethod
    def getDevice() -> int:
        return memory.current_device()

    @staticmethod
    def setDevice(device: int) -> None:
        Device(device).use()

    @staticmethod
    def getDeviceProperties(device: int) -> dict[str, Any]:
        Device(device)
        return {"name": b"double of a GPU", "totalGlobalMem": 80 * GIB, "major": 9, "minor": 0,
                "multiProcessorCount": 132, "sharedMemPerBlockOptin": 232448, "warpSize": 32}

    @staticmethod
    def runtimeGetVersion() -> int:
        return 13000

    @staticmethod
    def driverGetVersion() -> int:
        return 13000

    @staticmethod
    def deviceSynchronize() -> None:
        capture.refuse("deviceSynchronize")
        count("syncs", "deviceSynchronize")

    @staticmethod
    def streamSynchronize(stream: int) -> None:
        capture.refuse("streamSynchronize")
        count("syncs", "streamSynchronize")

    @staticmethod
    def memGetInfo() -> tuple[int, int]:
        return Device().mem_info


runtime = _Runtime()
_pool = MemoryPool()


def get_default_memory_pool() -> MemoryPool:
    """The pool of all arrays."""
    return _pool


def is_available() -> bool:
    """The double is always there."""
    return True


def get_device_id() -> int:
    """The current device's number."""
    return memory.current_device()


def get_cublas_handle() -> int:
    """A handle for cuBLAS on the current device."""
    return Device().cublas_handle


@contextlib.contextmanager
def using_allocator(allocator: Any = None) -> Iterator[None]:
    """Allocate through another function, such as a pool's `malloc`, inside of the block."""
    memory.pools.append(getattr(allocator, "__self__", None))
    try:
        yield
    finally:
        memory.pools.pop()


def set_allocator(allocator: Any = None) -> None:
    """Allocate through another function; here it changes nothing."""


def cuda() -> dict[str, types.ModuleType]:
    """The modules `cupy.cuda` and what hangs below it, under their names."""
    here = sys.modules[__name__]
    main = types.ModuleType("cupy.cuda")
    public = ("CUDARuntimeError", "Device", "Event", "ExternalStream", "Graph", "MemoryPool",
              "Stream", "alloc", "get_cublas_handle", "get_current_stream", "get_device_id",
              "get_elapsed_time", "is_available", "set_allocator", "using_allocator")
    for name in public:
        setattr(main, name, getattr(here, name))
    main.MemoryPointer = memory.MemoryPointer  # type: ignore[attr-defined]
    below = {"device": ("Device", "get_cublas_handle", "get_device_id"),
             "stream": ("Event", "ExternalStream", "Stream", "get_current_stream"),
             "memory": ("MemoryPool", "alloc", "set_allocator", "using_allocator"),
             "graph": ("Graph",)}
    made = {"cupy.cuda": main}
    for part, held in below.items():
        module = types.ModuleType(f"cupy.cuda.{part}")
        for name in held:
            setattr(module, name, getattr(here, name))
        setattr(main, part, module)
        made[module.__name__] = module
    made["cupy.cuda.memory"].MemoryPointer = memory.MemoryPointer  # type: ignore[attr-defined]
    made["cupy.cuda.runtime"] = main.runtime = _runtime_module()  # type: ignore[attr-defined]
    return made


def _runtime_module() -> types.ModuleType:
    module = types.ModuleType("cupy.cuda.runtime")
    for name in dir(_Runtime):
        if not name.startswith("_"):
            setattr(module, name, getattr(runtime, name))
    return module
