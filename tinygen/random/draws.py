"""Random draws: every draw is a primitive that holds its generator, so programs can be replayed.

`manual_seed(n)` restarts the default stream; same seed, same machine, same numbers.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from .. import backend
from ..backend import Generator
from ..mode import RECORD, local
from ..ops.shape import as_shape
from ..primitive import primitive
from ..tensor import Tensor

__all__ = ["bernoulli", "default_generator", "get_state", "manual_seed", "normal", "permutation",
           "rand", "randint", "randn", "set_state", "uniform"]

_defaults: dict[str, Generator] = {}
_seed = [1]           # of the generators of devices that are still to be used


def default_generator(device: Any = "cpu") -> Generator:
    """The generator that draws use when none is given: one per device."""
    name = backend.canonical_device(device)
    if name not in _defaults:
        mode, local.mode = local.mode, RECORD       # it stays: no tape has to know of it
        try:
            _defaults[name] = Generator(0 if name == "cpu" else _seed[0], name)
        finally:
            local.mode = mode
    return _defaults[name]


def manual_seed(seed: int) -> Generator:
    """Restart the default generators of all devices from `seed`; returns the CPU's."""
    cpu = default_generator()
    _seed[0] = seed
    for generator in _defaults.values():
        generator.manual_seed(seed)
    return cpu


def get_state(device: Any = "cpu") -> dict[str, Any]:
    """The state of a device's default generator, as a JSON-serialisable dictionary.

    That of the CPU holds those of the GPUs that drew, too: it is the state of all draws.
    """
    state = default_generator(device).state()
    others = {name: g.state() for name, g in _defaults.items() if name != "cpu"}
    return {**state, "devices": others} if device == "cpu" and others else state


def set_state(state: dict[str, Any], device: Any = "cpu") -> None:
    """Continue a device's default generator from a `get_state(device)`.

    States of GPUs that are not here are passed over.
    """
    default_generator(device).set_state(state)
    for name, other in state.get("devices", {}).items():
        if int(name.partition(":")[2]) < backend.device_count():
            default_generator(name).set_state(other)


def snapshot() -> dict[str, Any]:
    """Where all default streams are, for `restore` in this process: no GPU is waited for."""
    default_generator()
    return {name: generator.snapshot() for name, generator in _defaults.items()}


def restore(kept: dict[str, Any]) -> None:
    """Go back to a `snapshot()`; streams that it does not know begin anew."""
    for name, generator in _defaults.items():
        if name in kept:
            generator.restore(kept[name])
        else:
            generator.manual_seed(generator.seed)


# -- the draws ----------------------------------------------------------------------------------


@primitive(name="random_normal")
def normal_p(xp, *, generator, shape, dtype):
    """Standard normal numbers."""
    if backend.is_half(dtype):
        return generator.stream.standard_normal(shape, np.float32).astype(dtype)
    return generator.stream.standard_normal(shape, dtype)


@primitive(name="random_uniform")
def uniform_p(xp, *, generator, shape, dtype):
    """Uniform numbers in [0, 1)."""
    if backend.is_half(dtype):      # multiples of 2^-11 (2^-8), which are not rounded up to 1
        steps = 2048 if dtype.kind == "f" else 256
        return (xp.floor(generator.stream.random(shape, np.float32) * steps) / steps).astype(dtype)
    return generator.stream.random(shape, dtype)


@primitive(name="random_integers")
def integers_p(xp, *, generator, shape, low, high, dtype):
    """Uniform integers in [low, high)."""
    return generator.stream.integers(low, high, shape, dtype)


@primitive(name="random_permutation")
def permutation_p(xp, *, generator, n):
    """The numbers 0 to n - 1 in random order."""
    return generator.stream.permutation(n)


def _stream(generator: Generator | None, device: Any) -> Generator:
    if generator is None:
        return default_generator(device)
    if not isinstance(generator, Generator):
        raise TypeError("[random] generator must be a tinygen.Generator, got "
                        f"{type(generator).__name__}")
    if device is not None and generator.device != backend.canonical_device(device):
        raise ValueError(f"[random] the generator draws on {generator.device}, device={device!r} "
                         "was asked for")
    return generator


def _float(dtype: Any) -> np.dtype:
    kind = backend.canonical_dtype(dtype or np.float32)
    if kind.kind not in "fV":
        raise TypeError(f"[random] dtype must be a floating point type, got {kind}")
    return kind


def _size(shape: Any) -> tuple[int, ...]:
    size = as_shape(shape)
    if any(n < 0 for n in size):
        raise ValueError(f"[random] lengths must not be negative, got shape {size}")
    return size


def normal(shape: Any = (), mean: Any = 0.0, std: Any = 1.0, dtype: Any = None, device: Any = None,
           generator: Generator | None = None, requires_grad: bool = False) -> Tensor:
    """Normal numbers with mean `mean` and standard deviation `std` (floats or tensors).

    >>> _ = manual_seed(0)
    >>> normal((2, 3)).shape
    (2, 3)
    """
    if isinstance(std, (int, float)) and std < 0:
        raise ValueError(f"[normal] std must not be negative, got {std}")
    out = normal_p(generator=_stream(generator, device), shape=_size(shape), dtype=_float(dtype))
    if not (isinstance(std, (int, float)) and std == 1):
        out = out * std
    if not (isinstance(mean, (int, float)) and mean == 0):
        out = out + mean
    return out.requires_grad_() if requires_grad else out


def uniform(shape: Any = (), low: Any = 0.0, high: Any = 1.0, dtype: Any = None, device: Any = None,
            generator: Generator | None = None, requires_grad: bool = False) -> Tensor:
    """Uniform numbers in [low, high)."""
    out = uniform_p(generator=_stream(generator, device), shape=_size(shape), dtype=_float(dtype))
    if not (isinstance(low, (int, float)) and low == 0
            and isinstance(high, (int, float)) and high == 1):
        out = out * (high - low) + low
    return out.requires_grad_() if requires_grad else out


def randint(low: int, high: int | None = None, shape: Any = (), dtype: Any = None,
            device: Any = None, generator: Generator | None = None) -> Tensor:
    """Uniform integers in [low, high), or in [0, low) when `high` is left out."""
    if high is None:
        low, high = 0, low
    if operator.index(high) <= operator.index(low):
        raise ValueError(f"[randint] the range [{low}, {high}) is empty")
    return integers_p(generator=_stream(generator, device), shape=_size(shape),
                      low=operator.index(low), high=operator.index(high),
                      dtype=backend.canonical_dtype(dtype or np.int64))


def permutation(x: Any, device: Any = None, generator: Generator | None = None) -> Tensor:
    """The numbers 0 to x - 1 in random order, or a tensor's rows in random order."""
    stream = _stream(generator, device)
    if isinstance(x, Tensor):
        return x[permutation_p(generator=stream, n=x.shape[0]).to(x.device)]
    return permutation_p(generator=stream, n=operator.index(x))


def bernoulli(p: Any, shape: Any = None, dtype: Any = None, device: Any = None,
              generator: Generator | None = None) -> Tensor:
    """1 with probability `p` (a number, or a tensor of them), else 0; float32 by default."""
    values = p.data if isinstance(p, Tensor) else np.asarray(p)
    host = isinstance(values, np.ndarray)           # a GPU is not waited for
    if host and values.size and not (0 <= values.min() and values.max() <= 1):
        raise ValueError(f"[bernoulli] p must lie in [0, 1], got values from {values.min()} "
                         f"to {values.max()}")
    size = tuple(np.shape(values)) if shape is None else _size(shape)
    if device is None and generator is None and isinstance(p, Tensor):
        device = p.device
    draws = uniform_p(generator=_stream(generator, device), shape=size, dtype=np.dtype(np.float32))
    kind = dtype or (p.dtype if isinstance(p, Tensor) and p.dtype.kind in "fV" else np.float32)
    return (draws < (p.detach() if isinstance(p, Tensor) else p)).astype(kind)


def randn(*shape: Any, **options: Any) -> Tensor:
    """`normal` with PyTorch's call form: `randn(2, 3)`."""
    return normal(as_shape(shape) if shape else (), **options)


def rand(*shape: Any, **options: Any) -> Tensor:
    """`uniform` with PyTorch's call form: `rand(2, 3)`."""
    return uniform(as_shape(shape) if shape else (), **options)
