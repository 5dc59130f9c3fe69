"""The Python array API standard, 2024.12: what the namespace offers, and how arrays travel.

`tinygen` itself is the namespace, `Tensor` the array. Numbers are real: the standard's complex
types, its `fft` extension and `imag` of complex numbers are outside. Tensors share memory with
other libraries through DLPack (`__dlpack__`, `from_dlpack`).

Source: https://data-apis.org/array-api/2024.12/
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from . import backend
from .ops.dtypes import isdtype
from .tensor import Tensor

__all__ = ["ArrayNamespaceInfo", "from_dlpack"]

VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12")
_CUDA = 2    # DLPack's number for NVIDIA devices


class ArrayNamespaceInfo:
    """What the namespace can do: `tinygen.__array_namespace_info__()`."""

    def capabilities(self) -> dict[str, Any]:
        """Boolean indexing and results whose shape depends on the data: both are there."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> str:
        """The device of tensors that are made without naming one."""
        return "cpu"

    def default_dtypes(self, *, device: Any = None) -> dict[str, np.dtype]:
        """The types of results that name none; there is no complex one."""
        backend.canonical_device(device)
        return {"real floating": np.dtype(np.float32), "integral": np.dtype(np.int64),
                "indexing": np.dtype(np.int64)}

    def devices(self) -> list[str]:
        """The devices that can be used here."""
        if backend.unavailable_reason():
            return ["cpu"]
        count = importlib.import_module("cupy").cuda.runtime.getDeviceCount()
        return ["cpu", *(f"cuda:{i}" for i in range(count))]

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, np.dtype]:
        """The standard's types that there are, by name; `kind` as in `isdtype`."""
        backend.canonical_device(device)
        every = {name: np.dtype(name) for name in backend.DTYPES if "float16" not in name}
        return {name: t for name, t in every.items() if kind is None or isdtype(t, kind)}


def _namespace(self: Tensor, *, api_version: str | None = None) -> Any:
    """The module whose functions take this array: `tinygen`."""
    if api_version is not None and api_version not in VERSIONS:
        raise ValueError(f"[__array_namespace__] api_version={api_version!r}: the versions are "
                         f"{', '.join(VERSIONS)}")
    return importlib.import_module(__package__)


def _to_device(self: Tensor, device: Any, /, *, stream: Any = None) -> Tensor:
    """The tensor on another device."""
    if stream is not None:
        raise ValueError("[to_device] stream: only None (the current stream) is supported")
    return self.to(device=backend.canonical_device(device))


def _complex(self: Tensor) -> complex:
    return complex(self.item())


def _dlpack(self: Tensor, *, stream: Any = None, max_version: Any = None, dl_device: Any = None,
            copy: bool | None = None) -> Any:
    """The data as a DLPack capsule, without a copy.

    Raises:
        BufferError: the tensor requires grad; another library would not record what it does.
    """
    if self.requires_grad:
        raise BufferError("[__dlpack__] this tensor requires grad; use .detach()")
    options: dict[str, Any] = {"stream": stream, "max_version": max_version,
                               "dl_device": dl_device, "copy": copy}
    return self.data.__dlpack__(**{k: v for k, v in options.items() if v is not None})


def _dlpack_device(self: Tensor) -> tuple[int, int]:
    """DLPack's numbers of the device: (1, 0) for the CPU, (2, N) for cuda:N."""
    return self.data.__dlpack_device__()


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor that shares memory with an array of another library, through DLPack.

    Args:
        device: move it there (this copies).
        copy: True for memory of its own; False raises where sharing is not possible; None shares
            where possible.

    >>> import numpy as np, tinygen as tg
    >>> a = np.zeros(2, np.float32)
    >>> t = tg.from_dlpack(a)
    >>> a[0] = 1
    >>> t
    Tensor([1., 0.], dtype=float32)
    """
    if not hasattr(x, "__dlpack__"):
        raise TypeError(f"[from_dlpack] {type(x).__name__} has no __dlpack__; asarray(x) copies "
                        "numbers and lists")
    on_gpu = x.__dlpack_device__()[0] == _CUDA
    source = importlib.import_module("cupy") if on_gpu else np
    array = source.from_dlpack(x)
    if array.dtype.name not in backend.DTYPES:
        raise TypeError(f"[from_dlpack] {array.dtype} is not supported; use one of "
                        f"{', '.join(backend.DTYPES)}")
    where = backend.device_of(array)
    target = where if device is None else backend.canonical_device(device)
    if target != where:
        if copy is False:
            raise ValueError(f"[from_dlpack] from {where} to {target} needs a copy")
        return Tensor.wrap(backend.to_device(array, target))
    return Tensor.wrap(array.copy() if copy else array)


Tensor.__array_namespace__ = _namespace  # type: ignore[attr-defined]
Tensor.to_device = _to_device  # type: ignore[attr-defined]
Tensor.__complex__ = _complex  # type: ignore[attr-defined]
Tensor.__dlpack__ = _dlpack  # type: ignore[attr-defined]
Tensor.__dlpack_device__ = _dlpack_device  # type: ignore[attr-defined]
