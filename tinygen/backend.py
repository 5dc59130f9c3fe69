"""Where arrays live: array type -> NumPy or CuPy, device names, number types, random streams.

Nothing else in tinygen asks whether an array is a NumPy or a CuPy one: it asks this file.
A device is a string, ``"cpu"`` or ``"cuda:0"``.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from .mode import stays

__all__ = [
    "DTYPES", "FLOATS", "Generator", "array_module", "as_array", "bfloat16", "canonical_device",
    "canonical_dtype", "device_of", "is_array", "is_half", "module_of_type", "notice_halves",
    "to_device", "unavailable_reason",
]

def _keep_freed_memory() -> bool:
    """Let the C library reuse the memory of large arrays instead of returning it to the system.

    glibc maps every block above 32 MB at most anew, and the first touch of new pages costs more
    than the arithmetic: an elementwise op on 10 M floats took 50 ms mapped and 33 ms reused.
    `TINYGEN_MALLOC=system` leaves the C library as it is.
    """
    if sys.platform != "linux" or os.environ.get("TINYGEN_MALLOC", "") == "system":
        return False
    try:
        import ctypes

        mallopt = ctypes.CDLL(None).mallopt
    except (ImportError, OSError, AttributeError):   # another C library: nothing to tune
        return False
    trim_threshold, mmap_threshold = -1, -3          # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
    return bool(mallopt(mmap_threshold, 1 << 30) and mallopt(trim_threshold, (1 << 31) - 1))


keeps_memory = _keep_freed_memory()

Array = Any  # numpy.ndarray or cupy.ndarray: both follow the same interface
Device = str

# The number types that tinygen computes with, under the names that NumPy gives them. bfloat16 comes
# from ml_dtypes, which is imported when it is first asked for.
DTYPES = ("bfloat16", "float16", "float32", "float64", "int8", "int16", "int32", "int64",
          "uint8", "uint16", "uint32", "uint64", "bool")
FLOATS = "fV"       # kinds of floating point types: NumPy files bfloat16 under V, "other"
# `dtype.name` takes 1.5 us to make. Floats of 16 bits join when one is first asked for.
_KNOWN = {np.dtype(name) for name in DTYPES[2:]}

# Whether a float of 16 bits has been seen. From then on dispatch looks out for them (`halves.py`);
# until then nothing does.
halves = [False]
_waiting: list[Callable[[], None]] = []

_MODULES: dict[type, ModuleType] = {np.ndarray: np}


def module_of_type(kind: type) -> ModuleType:
    """The array module (numpy or cupy) that owns the array type `kind`."""
    xp = _MODULES.get(kind)
    if xp is None:
        owner = kind.__module__.partition(".")[0]
        if owner != "cupy":
            raise TypeError(f"{kind.__module__}.{kind.__qualname__} is no array type that tinygen "
                            "knows; pass a Tensor, a NumPy array, a number or a list of numbers")
        xp = _MODULES[kind] = sys.modules["cupy"]
    return xp


def array_module(array: Array) -> ModuleType:
    """The module whose functions act on `array`."""
    return module_of_type(type(array))


def is_array(x: Any) -> bool:
    """True for NumPy and CuPy arrays, false for tensors, numbers and lists."""
    return isinstance(x, np.ndarray) or type(x).__module__.partition(".")[0] == "cupy"


_gpus = [0]     # how many devices were found; a search without success is repeated


def unavailable_reason() -> str | None:
    """What a ``cuda`` device lacks here: package, driver or device; None where there is one."""
    if _gpus[0]:
        return None
    if importlib.util.find_spec("cupy") is None:
        return "CuPy is not installed (pip install 'tinygen[cuda]')"
    try:
        runtime = importlib.import_module("cupy").cuda.runtime
        driver = runtime.driverGetVersion()
        if not driver:
            return ("CuPy is installed, but there is no NVIDIA driver (where one works, the "
                    "program nvidia-smi lists the devices)")
        built = runtime.runtimeGetVersion()
        if driver // 1000 < built // 1000:
            return (f"the NVIDIA driver is too old: it is for CUDA {_dotted(driver)}, and CuPy was "
                    f"built for CUDA {_dotted(built)}")
        _gpus[0] = runtime.getDeviceCount()
    except Exception as error:  # a broken driver can fail in any way; the reason is reported
        if "NoDevice" not in str(error):
            return f"CuPy does not work here: {error}"
    if _gpus[0]:
        return None
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "there is an NVIDIA driver, but no device" + (
        "" if hidden is None else f" (CUDA_VISIBLE_DEVICES={hidden!r} may hide it)")


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def device_count() -> int:
    """How many ``cuda`` devices there are."""
    return 0 if unavailable_reason() else _gpus[0]


def forget_devices() -> None:
    """Look for devices anew when next asked: for tests, which put a double in CuPy's place."""
    _gpus[0] = 0


def current_device() -> Device:
    """The ``cuda`` device that is meant where no number is given."""
    return f"cuda:{importlib.import_module('cupy').cuda.runtime.getDevice()}"


def canonical_device(device: Any) -> Device:
    """``None`` and ``"cpu"`` give ``"cpu"``; ``"cuda"`` is the current device, 1 is cuda:1.

    Raises:
        ValueError: the name is not a device name.
        RuntimeError: a GPU is asked for and cannot be had; the message says what is missing.
    """
    if device is None or device == "cpu":
        return "cpu"
    if isinstance(device, int) and device >= 0:         # PyTorch's x.cuda(1)
        device = f"cuda:{device}"
    name, _, index = str(device).partition(":")
    if name in ("cuda", "gpu") and (not index or index.isdigit()):
        reason = unavailable_reason()
        if reason:
            raise RuntimeError(f"device {device!r} cannot be used: {reason}")
        if index and int(index) >= _gpus[0]:
            raise RuntimeError(f"device {device!r} cannot be used: there "
                               + ("is one, cuda:0" if _gpus[0] == 1 else
                                  f"are {_gpus[0]}, cuda:0 to cuda:{_gpus[0] - 1}"))
        return f"cuda:{int(index)}" if index else current_device()
    raise ValueError(f"unknown device {device!r}: use 'cpu', 'cuda' or 'cuda:N'")


def device_of(array: Array) -> Device:
    """The name of the device that holds `array`."""
    return "cpu" if isinstance(array, np.ndarray) else f"cuda:{array.device.id}"


def to_device(array: Array, device: Device) -> Array:
    """`array` on `device`; the same object when it is there already."""
    if device_of(array) == device:
        return array
    if device == "cpu":
        return array.get()
    with on_device(device) as cupy:
        return cupy.asarray(array)


@contextlib.contextmanager
def on_device(device: Device) -> Iterator[Any]:
    """CuPy, with a device `"cuda:N"` current inside of the block: new arrays lie there."""
    cupy = importlib.import_module("cupy")
    with cupy.cuda.Device(int(device.partition(":")[2])):
        yield cupy


def to_numbers(arrays: Sequence[Array]) -> list[Any]:
    """The values of arrays of one element; those of a GPU are waited for once, not one by one."""
    found: list[Any] = [None] * len(arrays)
    alike: dict[tuple[Device, np.dtype], list[int]] = {}
    for i, x in enumerate(arrays):
        if isinstance(x, np.ndarray):
            found[i] = x.item()
        else:
            alike.setdefault((device_of(x), x.dtype), []).append(i)
    for places in alike.values():
        with home(arrays[places[0]]):
            together = array_module(arrays[places[0]]).stack([
                arrays[i].reshape(()) for i in places])
            for i, value in zip(places, to_device(together, "cpu").tolist(), strict=True):
                found[i] = value
    return found


def home(array: Array) -> contextlib.AbstractContextManager[Any]:
    """A block in which the device of `array` is the current one: CuPy computes on that one."""
    if _gpus[0] < 2 or isinstance(array, np.ndarray) or not is_array(array):
        return contextlib.nullcontext()
    return on_device(device_of(array))


def following(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of arrays, run with their device current; for machines with several."""
    def run(*arrays: Any, **attrs: Any) -> Any:
        for x in (*arrays, attrs.get("generator")):
            if isinstance(x, Generator):
                with on_device(x.device):
                    return function(*arrays, **attrs)
            if is_array(x) and not isinstance(x, np.ndarray):
                with home(x):
                    return function(*arrays, **attrs)
        return function(*arrays, **attrs)
    return run


def canonical_dtype(dtype: Any) -> np.dtype:
    """A `numpy.dtype` from a name, a NumPy type, or Python's float, int and bool.

    Python's ``float`` means float32, the engine's default; ``int`` means int64.
    """
    if dtype is float:
        return np.dtype(np.float32)
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = bfloat16() if dtype == "bfloat16" else None
    if found not in _KNOWN:
        if found is None or found.name not in DTYPES:
            raise TypeError(f"dtype {dtype!r} is not supported; use one of {', '.join(DTYPES)}")
        notice_halves(found)
    return found


# -- floats of 16 bits --------------------------------------------------------------------------


def bfloat16() -> np.dtype:
    """The type bfloat16: a float32 cut to 16 bits, with its range and 8 significant bits.

    Raises:
        ModuleNotFoundError: the library ml_dtypes, which adds it to NumPy, is not installed.
    """
    try:
        return np.dtype(importlib.import_module("ml_dtypes").bfloat16)
    except ModuleNotFoundError:
        raise ModuleNotFoundError("bfloat16 needs the library ml_dtypes: "
                                  "pip install ml_dtypes") from None


def is_half(dtype: np.dtype) -> bool:
    """True for float16 and bfloat16."""
    return dtype.itemsize == 2 and dtype.kind in FLOATS


def when_halves_come(then: Callable[[], None]) -> None:
    """Call `then` when the first float of 16 bits is seen."""
    _waiting.append(then)


def notice_halves(dtype: np.dtype) -> None:
    """Say that numbers of this type are about: if it has 16 bits, dispatch looks out for them."""
    if is_half(dtype):
        _KNOWN.add(dtype)
        if not halves[0]:
            halves[0] = True
            for then in _waiting:
                then()


def as_array(data: Any, dtype: Any = None, device: Any = None, copy: bool = False) -> Array:
    """A bare array from an array, a number or nested lists of numbers.

    Arrays keep their dtype; Python floats become float32 and Python ints int64.
    """
    target = None if dtype is None else canonical_dtype(dtype)
    if is_array(data):
        array = data
    else:
        array = _from_python(data, target is None)
    if array.dtype not in _KNOWN:
        if array.dtype.name in DTYPES:
            notice_halves(array.dtype)
        elif target is None or array.dtype.kind not in "biufV":
            raise TypeError(f"cannot make a tensor from data of dtype {array.dtype}; "
                            f"use one of {', '.join(DTYPES)}")
    if target is not None and array.dtype != target:
        array, copy = array.astype(target), False
    if device is not None:
        moved = to_device(array, canonical_device(device))
        array, copy = moved, copy and moved is array
    return array.copy() if copy else array


def _from_python(data: Any, narrow: bool = True) -> np.ndarray:
    try:
        array = np.asarray(data)
    except (ValueError, TypeError) as error:
        raise ValueError("cannot make a tensor from nested lists of unequal length: "
                         f"{error}") from None
    typed = isinstance(data, np.generic) or hasattr(data, "__array__")
    if narrow and array.dtype == np.float64 and not typed:
        array = array.astype(np.float32)  # Python floats carry no precision of their own
    if array.dtype == object:
        raise TypeError(f"cannot make a tensor from {type(data).__name__} {data!r:.60}: "
                        "numbers, arrays and nested lists of numbers fit")
    return array


class Generator:
    """A seedable stream of random numbers on one device, whose state can be saved.

    The stream is NumPy's PCG64 on the CPU and Philox on a GPU (`philox.py`). Two generators with
    the same seed draw the same numbers on the same machine and kind of device; `state`/`set_state`
    continue a stream exactly where it was.
    """

    def __init__(self, seed: int | None = None, device: Any = "cpu"):
        stays("Generator", "what is drawn")
        self.device = canonical_device(device)
        self._start(seed if seed is not None else int.from_bytes(os.urandom(7), "little"))

    def manual_seed(self, seed: int) -> Generator:
        """Restart the stream from `seed`, a non-negative integer."""
        stays("manual_seed", "the stream of a generator")
        return self._start(seed)

    def _start(self, seed: int) -> Generator:
        if not isinstance(seed, (int, np.integer)) or seed < 0:
            raise ValueError(f"seed must be a non-negative integer, got {seed!r}")
        self.seed = int(seed)
        if self.device == "cpu":
            self.stream: Any = np.random.Generator(np.random.PCG64(self.seed))
        else:
            self.stream = self._on_device()
        return self

    def _on_device(self, **position: int) -> Any:
        from .philox import Stream

        with on_device(self.device):
            return Stream(self.seed, **position)

    def state(self) -> dict[str, Any]:
        """The whole state, as a JSON-serialisable dictionary. A GPU is waited for."""
        if self.device != "cpu":
            return {"seed": self.seed, **self.stream.position()}
        return {"seed": self.seed, "bits": self.stream.bit_generator.state}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from a `state()`, which must come from a generator of the same kind."""
        stays("set_state", "the stream of a generator")
        try:
            if self.device != "cpu":
                self.seed = int(state["seed"])
                self.stream = self._on_device(number=int(state["number"]),
                                              others=int(state["others"]))
                return
            stream = np.random.Generator(np.random.PCG64(0))
            stream.bit_generator.state = state["bits"]
            self.seed, self.stream = int(state["seed"]), stream
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not the state of a tinygen Generator on {self.device}: {error!r}"
                             ) from None

    get_state = state  # PyTorch's name

    def snapshot(self) -> Any:
        """Where the stream is, for `restore` in this process: a GPU is not waited for."""
        return self.state() if self.device == "cpu" else (self.seed, self.stream.snapshot())

    def restore(self, kept: Any) -> None:
        """Go back to a `snapshot()`."""
        if self.device == "cpu":
            self.set_state(kept)
            return
        self.seed, place = kept
        self.stream.seed = self.seed
        self.stream.restore(place)

    def __getstate__(self) -> dict[str, Any]:
        return {"device": self.device, **self.state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.device = state["device"]
        self.set_state(state)

    def __repr__(self) -> str:
        return f"Generator(seed={self.seed}, device={self.device!r})"
