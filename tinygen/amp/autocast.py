"""autocast: products in 16 bits, everything delicate in float32, weights in float32 throughout."""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import backend
from ..halves import in_float32
from ..mode import RAW, RECORD, TAPE, local
from ..ops.shape import astype_p
from ..primitive import Primitive, around_calls
from ..tensor import Tensor
from .policy import FLOAT32, HALF

__all__ = ["autocast", "is_autocast_enabled"]

_DEFAULTS = {"cpu": "bfloat16", "cuda": "float16"}       # PyTorch's
_F32 = np.dtype(np.float32)
_open = 0                       # regions in all threads
_lock = threading.Lock()


class Region:
    """What an open `autocast` block does in its thread; `dtype` None: nothing.

    Weights are cast once: the cast of a float32 leaf that learns is kept until the outermost block
    of the thread ends, unless the leaf is changed in place or a backward pass has freed the cast.
    """

    __slots__ = ("cache", "device", "dtype", "outer")

    def __init__(self, device: str, dtype: np.dtype | None, keep: bool, outer: Region | None):
        self.device, self.dtype, self.outer = device, dtype, outer
        self.cache: dict[Any, Any] | None = None
        if keep:
            self.cache = {} if outer is None or outer.cache is None else outer.cache

    @property
    def key(self) -> Any:
        """What a recorded program has to have in common with this block."""
        return None if self.dtype is None else (self.device, self.dtype.name)

    def again(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function in a block like this one, whenever it is called."""
        block = autocast.__new__(autocast)
        block.device, block.dtype, block.cache_enabled = self.device, self.dtype, True
        return block(function)

    def cast_for(self, name: str, inputs: Any, attrs: Any = None) -> tuple[Any, Any]:
        """The inputs of an operation as its place in the policy has it."""
        if self.dtype is None:
            return inputs, attrs
        to = self.to_half if name in HALF else self.to_float32 if name in FLOAT32 else None
        if to is None:
            return inputs, attrs
        return [to(x) for x in inputs], attrs and {k: to(v) for k, v in attrs.items()}

    def _takes(self, x: Any) -> bool:
        return isinstance(x, Tensor) and x.device.startswith(self.device)

    def to_float32(self, x: Any) -> Any:
        """A tensor of 16 bits as float32; all else as it is."""
        return in_float32(x) if isinstance(x, Tensor) and self._takes(x) else x

    def to_half(self, x: Any) -> Any:
        """A float32 tensor, or one of the other 16 bits, in this block's type; float64 stays."""
        dtype = self.dtype
        if not isinstance(x, Tensor) or x.data.dtype is dtype or not (
                x.data.dtype == _F32 or (x.data.dtype != dtype and backend.is_half(x.data.dtype))):
            return x
        if not self._takes(x):
            return x
        if self.cache is None or x.op is not None or not x.requires_grad:
            return astype_p(x, dtype=dtype)
        return self._kept(self.cache, x)

    def _kept(self, cache: dict[Any, Any], x: Tensor) -> Tensor:
        tape = local.tape if local.mode & TAPE else None
        key = (id(x), self.dtype, bool(local.mode & RECORD))
        found = cache.get(key)
        if found is not None:
            seq, leaf, recorded_by, cast = found
            if leaf is x and seq == x.seq and recorded_by is tape and (
                    cast.op is astype_p or not cast.requires_grad):
                return cast
        cast = astype_p(x, dtype=self.dtype)
        cache[key] = (x.seq, x, tape, cast)
        return cast


def _casting(call: Callable[..., Any]) -> Callable[..., Any]:
    """A primitive's call whose inputs are cast where a region is open."""
    def cast_and_call(self: Primitive, *inputs: Any, **attrs: Any) -> Any:
        region = local.autocast
        if region is None or local.mode & RAW:
            return call(self, *inputs, **attrs)
        if attrs and not self.keywords.isdisjoint(attrs):
            inputs, attrs = self._by_position(inputs, attrs)
        inputs, _ = region.cast_for(self.name, inputs)
        return call(self, *inputs, **attrs)
    return cast_and_call


class autocast:
    """Inside the block operations choose the type that suits them: products of matrices,
    convolutions, attention and recurrent layers 16 bits, norms, softmax, sums and losses float32.

    Weights stay float32 and get float32 gradients; each is cast once per block. Compute the loss
    inside and call `backward()` outside or inside, it makes no difference. With float16 use a
    `GradScaler`. Blocks may be nested, shared by threads (each has its own), and used as a
    decorator; `enabled=False` inside a block runs a part in the types that its inputs have.

    Args:
        device_type: "cpu" or "cuda": tensors on the other device are left alone.
        dtype: `tg.bfloat16` or `tg.float16` (default: bfloat16 on the CPU, float16 on CUDA).
        cache_enabled: keep the casts of weights until the outermost block ends.

    Source: P. Micikevicius et al., "Mixed Precision Training", ICLR 2018.

    >>> import tinygen as tg
    >>> layer = tg.nn.Linear(3, 2)
    >>> with tg.autocast("cpu", dtype=tg.float16):
    ...     y = layer(tg.ones((1, 3)))
    >>> y.dtype.name, y.sum().dtype.name
    ('float16', 'float16')
    >>> y.astype("float32").sum().backward()
    >>> layer.weight.grad.dtype.name
    'float32'
    """

    def __init__(self, device_type: str = "cuda", dtype: Any = None, enabled: bool = True,
                 cache_enabled: bool = True):
        if device_type not in _DEFAULTS:
            raise ValueError(f"[autocast] device_type={device_type!r}: 'cpu' or 'cuda'")
        kind = None
        if enabled or dtype:
            kind = backend.canonical_dtype(dtype or _DEFAULTS[device_type])
            if not backend.is_half(kind):
                raise ValueError(f"[autocast] dtype={kind}: bfloat16 and float16 can be cast to")
        reason = backend.unavailable_reason() if device_type == "cuda" and enabled else None
        if reason:
            warnings.warn(f"autocast('cuda') does nothing: {reason}", RuntimeWarning, stacklevel=2)
        self.device, self.cache_enabled = device_type, bool(cache_enabled)
        self.dtype = kind if enabled and not reason else None

    def __enter__(self) -> autocast:
        global _open
        if self.dtype is not None:
            backend.notice_halves(self.dtype)
        local.autocast = Region(self.device, self.dtype, self.cache_enabled, local.autocast)
        with _lock:
            _open += 1
            if _open == 1:
                around_calls("autocast", _casting)
        return self

    def __exit__(self, *_: object) -> None:
        global _open
        local.autocast = local.autocast.outer
        with _lock:
            _open -= 1
            if not _open:
                around_calls("autocast", None)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)
        return run


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether operations on such a device choose their types in this thread now."""
    region = local.autocast
    return region is not None and region.dtype is not None and region.device == device_type
