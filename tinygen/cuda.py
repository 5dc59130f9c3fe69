"""GPUs under PyTorch's names: what there is, which one is meant, waiting for it, its memory.

Everything else about a GPU is an argument or a method: `device="cuda"`, `x.to("cuda")`, `x.cpu()`.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

from . import backend

__all__ = ["current_device", "device", "device_count", "empty_cache", "get_device_name",
           "is_available", "mem_get_info", "memory_allocated", "memory_reserved", "set_device",
           "synchronize", "unavailable_reason"]

unavailable_reason = backend.unavailable_reason


def is_available() -> bool:
    """Whether there is a GPU that tinygen can use; `unavailable_reason()` says why there is none.

    >>> import tinygen as tg
    >>> tg.cuda.is_available() == (tg.cuda.device_count() > 0)
    True
    """
    return backend.unavailable_reason() is None


def device_count() -> int:
    """How many GPUs there are; 0 without CuPy, a driver or a device."""
    return backend.device_count()


def _number(device: Any = None) -> int:
    """The number of a device that is given as `None` (the current one), 1, "cuda" or "cuda:1"."""
    name = f"cuda:{device}" if isinstance(device, int) else device or "cuda"
    place = backend.canonical_device(name)
    if place == "cpu":
        raise ValueError("[cuda] a GPU is meant here, and device is 'cpu'")
    return int(place.partition(":")[2])


def _cupy() -> Any:
    return importlib.import_module("cupy")


def current_device() -> int:
    """The number of the GPU that "cuda" means."""
    return _number()


def set_device(device: Any) -> None:
    """Let "cuda" mean this GPU from now on, in the calling thread."""
    _cupy().cuda.Device(_number(device)).use()


@contextlib.contextmanager
def device(device: Any) -> Iterator[None]:
    """Inside of the block "cuda" means this GPU."""
    with _cupy().cuda.Device(_number(device)):
        yield


def synchronize(device: Any = None) -> None:
    """Wait until a GPU has done all that it was given: before a time is taken, say."""
    _cupy().cuda.Device(_number(device)).synchronize()


def get_device_name(device: Any = None) -> str:
    """What the driver calls a GPU."""
    return _cupy().cuda.runtime.getDeviceProperties(_number(device))["name"].decode()


def memory_allocated(device: Any = None) -> int:
    """The bytes that arrays take on a GPU."""
    with _cupy().cuda.Device(_number(device)):
        return _cupy().get_default_memory_pool().used_bytes()


def memory_reserved(device: Any = None) -> int:
    """The bytes that are held for arrays on a GPU, in use or free for the next one."""
    with _cupy().cuda.Device(_number(device)):
        return _cupy().get_default_memory_pool().total_bytes()


def empty_cache() -> None:
    """Give held memory that no array uses back to the GPU, for other programs."""
    _cupy().get_default_memory_pool().free_all_blocks()


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """The free and the total bytes of a GPU, as the driver counts them."""
    return tuple(_cupy().cuda.Device(_number(device)).mem_info)
