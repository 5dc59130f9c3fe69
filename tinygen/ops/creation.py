"""Tensors from nothing: constants, ranges, and arrays that are shared rather than copied."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from .. import backend
from ..constants import constant
from ..mode import TAPE, local
from ..tensor import Tensor
from .shape import as_shape, as_tensor, broadcast_arrays, reshape


def _make(array: Any, device: Any, requires_grad: bool) -> Tensor:
    out = Tensor.wrap(backend.to_device(array, backend.canonical_device(device)))
    return out.requires_grad_() if requires_grad else out


def _there(device: Any, requires_grad: bool, name: str, *args: Any, **options: Any) -> Tensor:
    """`np.NAME(...)`, on a GPU made there rather than copied."""
    where = backend.canonical_device(device)
    if where == "cpu":
        out = Tensor.wrap(getattr(np, name)(*args, **options))
    else:
        with backend.on_device(where) as cupy:
            out = Tensor.wrap(getattr(cupy, name)(*args, **options))
    return out.requires_grad_() if requires_grad else out


def tensor(data: Any, dtype: Any = None, device: Any = None,
           requires_grad: bool = False) -> Tensor:
    """A new tensor with a copy of `data`: PyTorch's name for `Tensor(data, ...)`."""
    return Tensor(data, requires_grad, dtype, device)


def full(shape: Any, fill_value: Any, dtype: Any = None, device: Any = None,
         requires_grad: bool = False) -> Tensor:
    """A tensor of `shape` that holds `fill_value` everywhere (a Python float gives float32)."""
    value = fill_value.item() if isinstance(fill_value, Tensor) else fill_value
    kind = backend.as_array(value).dtype if dtype is None else backend.canonical_dtype(dtype)
    return _there(device, requires_grad, "full", as_shape(shape), value, kind)


def zeros(*shape: Any, dtype: Any = None, device: Any = None,
          requires_grad: bool = False) -> Tensor:
    """A tensor of zeros, float32 by default: `zeros((2, 3))` or `zeros(2, 3)`."""
    kind = backend.canonical_dtype(dtype or np.float32)
    return _there(device, requires_grad, "zeros", as_shape(shape), kind)


def ones(*shape: Any, dtype: Any = None, device: Any = None,
         requires_grad: bool = False) -> Tensor:
    """A tensor of ones, float32 by default: `ones((2, 3))` or `ones(2, 3)`."""
    kind = backend.canonical_dtype(dtype or np.float32)
    return _there(device, requires_grad, "ones", as_shape(shape), kind)


def empty(*shape: Any, dtype: Any = None, device: Any = None,
          requires_grad: bool = False) -> Tensor:
    """A tensor whose values are not set, float32 by default."""
    kind = backend.canonical_dtype(dtype or np.float32)
    return _there(device, requires_grad, "empty", as_shape(shape), kind)


def _like(fill: str, x: Any, dtype: Any, device: Any, requires_grad: bool, *value: Any) -> Tensor:
    array = x.data if isinstance(x, Tensor) else np.asarray(x)
    kind = array.dtype if dtype is None else backend.canonical_dtype(dtype)
    where = backend.device_of(array) if device is None else backend.canonical_device(device)
    return _there(where, requires_grad, fill, array.shape, *value, dtype=kind)


def zeros_like(x: Any, dtype: Any = None, device: Any = None,
               requires_grad: bool = False) -> Tensor:
    """Zeros with the shape, dtype and device of `x`."""
    return _like("zeros", x, dtype, device, requires_grad)


def ones_like(x: Any, dtype: Any = None, device: Any = None,
              requires_grad: bool = False) -> Tensor:
    """Ones with the shape, dtype and device of `x`."""
    return _like("ones", x, dtype, device, requires_grad)


def empty_like(x: Any, dtype: Any = None, device: Any = None,
               requires_grad: bool = False) -> Tensor:
    """Values that are not set, with the shape, dtype and device of `x`."""
    return _like("empty", x, dtype, device, requires_grad)


def full_like(x: Any, fill_value: Any, dtype: Any = None, device: Any = None,
              requires_grad: bool = False) -> Tensor:
    """`fill_value` everywhere, with the shape, dtype and device of `x`."""
    return _like("full", x, dtype, device, requires_grad, fill_value)


def arange(start: float, stop: float | None = None, step: float = 1, dtype: Any = None,
           device: Any = None, requires_grad: bool = False) -> Tensor:
    """Evenly spaced values in [start, stop): int64 for integers, else float32."""
    if stop is None:
        start, stop = 0, start
    integral = all(isinstance(v, (int, np.integer)) for v in (start, stop, step))
    kind = backend.canonical_dtype(dtype or (np.int64 if integral else np.float32))
    out = _there(device, False, "arange", start, stop, step)
    if out.data.dtype != kind:
        out.data = out.data.astype(kind)
    return out.requires_grad_() if requires_grad else out


def linspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None,
             device: Any = None, requires_grad: bool = False) -> Tensor:
    """`num` evenly spaced values from `start` to `stop` (numbers or 0-d tensors)."""
    if isinstance(start, Tensor) or isinstance(stop, Tensor):     # they may receive gradients
        like = start if isinstance(start, Tensor) else stop
        share = linspace(0.0, 1.0, num, endpoint, dtype=dtype or like.dtype,
                         device=device or like.device)
        return start * (1 - share) + stop * share
    kind = backend.canonical_dtype(dtype or np.float32)
    values = np.linspace(start, stop, num, endpoint=endpoint).astype(kind)
    place = backend.canonical_device(device)
    return _make(values if place == "cpu" else constant(values, place).copy(), place, requires_grad)


def eye(n_rows: int, n_cols: int | None = None, k: int = 0, dtype: Any = None,
        device: Any = None, requires_grad: bool = False) -> Tensor:
    """The identity matrix: ones on diagonal `k`, zeros elsewhere."""
    kind = backend.canonical_dtype(dtype or np.float32)
    return _there(device, requires_grad, "eye", n_rows, n_cols, k, dtype=kind)


def logspace(start: float, stop: float, num: int = 50, endpoint: bool = True, base: float = 10.0,
             dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """base ** linspace(start, stop, num), float32 by default."""
    kind = backend.canonical_dtype(dtype or np.float32)
    values = np.logspace(start, stop, num, endpoint=endpoint, base=base).astype(kind)
    return _make(values, device, requires_grad)


def geomspace(start: float, stop: float, num: int = 50, endpoint: bool = True, dtype: Any = None,
              device: Any = None, requires_grad: bool = False) -> Tensor:
    """`num` values from `start` to `stop` with equal ratios, float32 by default."""
    kind = backend.canonical_dtype(dtype or np.float32)
    values = np.geomspace(start, stop, num, endpoint=endpoint).astype(kind)
    return _make(values, device, requires_grad)


def identity(n: int, dtype: Any = None) -> Tensor:
    """The n x n identity matrix."""
    return eye(n, dtype=dtype)


def asarray(data: Any, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor that shares memory with an array where it can (PyTorch's `as_tensor`).

    A Tensor is returned as it is when nothing has to change. `copy=True` gives it memory of its
    own, `copy=False` raises where sharing is not possible.
    """
    if copy is False:
        _no_copy_needed(data, dtype, device)
    if isinstance(data, Tensor):
        if copy:
            data = data.clone()
        return data.to(dtype=dtype, device=device) if dtype is not None or device else data
    if isinstance(data, (list, tuple)):
        return Tensor(data, dtype=dtype, device=device)
    out = Tensor.wrap(backend.as_array(data, dtype, device, copy=bool(copy)))
    if local.mode & TAPE and not copy:      # someone may write into the array that it shares
        local.tape.share(out)
    return out


def _no_copy_needed(data: Any, dtype: Any, device: Any) -> None:
    array = data.data if isinstance(data, Tensor) else data
    shared = backend.is_array(array) or hasattr(array, "__array_interface__")
    if shared and backend.is_array(array):
        shared = ((dtype is None or backend.canonical_dtype(dtype) == array.dtype)
                  and (device is None or backend.canonical_device(device)
                       == backend.device_of(array)))
    if not shared:
        raise ValueError(f"[asarray] copy=False: {type(data).__name__} needs a copy"
                         f"{'' if dtype is None else f' to become {dtype}'}")


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor that shares memory with a NumPy array."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"[from_numpy] a NumPy array is needed, got {type(array).__name__}")
    return asarray(array)


def meshgrid(*xs: Any, indexing: Literal["xy", "ij"] = "xy") -> list[Tensor]:
    """Coordinate grids of 1-D tensors: grid i has the values of `xs[i]` along axis i.

    With ``"xy"`` (NumPy's default) the first two axes are exchanged, as in pictures.
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"[meshgrid] indexing must be 'xy' or 'ij', got {indexing!r}")
    tensors = [as_tensor(x) for x in xs]
    order = list(range(len(tensors)))
    if indexing == "xy" and len(order) > 1:
        order[:2] = 1, 0
    wide = [reshape(x, tuple(-1 if a == order[i] else 1 for a in range(len(order))))
            for i, x in enumerate(tensors)]
    return broadcast_arrays(*wide)
