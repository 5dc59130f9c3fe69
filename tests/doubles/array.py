"""`cupy.ndarray`, made of a NumPy array in guarded memory.

Where CuPy converts or copies without a word, this class either refuses (a host array in an
expression, as an index, as a value) or counts it (a list as an index, a number set through an
index array).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import capture, memory, names
from .counting import count

__all__ = ["ArgumentError", "devices_of", "ndarray", "run", "unwrap", "wrap"]

SCALARS = (bool, int, float, complex, np.generic)


class ArgumentError(TypeError):
    """CuPy has no such function, or it has no such argument."""


def no_conversion(what: str) -> TypeError:
    """The error of CuPy's `__array__`."""
    return TypeError(f"Implicit conversion to a NumPy array is not allowed ({what}). "
                     "Please use `.get()` to construct a NumPy array explicitly.")


# -- in and out of the double --------------------------------------------------------------------


def unwrap(x: Any, name: str, depth: int = 0) -> Any:
    """What NumPy may compute with; host arrays and arrays of another device are refused."""
    if isinstance(x, ndarray):
        if x._device != memory.current_device():
            raise ValueError("Array device must be same as the current device: array device = "
                             f"{x._device} while current = {memory.current_device()} ({name})")
        return x._a
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type {type(x)}: a host array was passed to cupy.{name}")
    if isinstance(x, (list, tuple)) and depth < 4:
        return type(x)([unwrap(y, name, depth + 1) for y in x])
    return x


def devices_of(args: Any) -> set[int]:
    """The devices on which the arrays among the arguments lie."""
    found: set[int] = set()
    for x in args:
        if isinstance(x, ndarray):
            found.add(x._device)
        elif isinstance(x, (list, tuple)):
            found |= devices_of(x)
    return found


def wrap(y: Any) -> Any:
    """NumPy's result as the device's: scalars become arrays without axes."""
    if isinstance(y, np.ndarray):
        return ndarray._of(y if memory.block_of(y) is not None else memory.like(y))
    if isinstance(y, np.generic):
        return ndarray._of(memory.like(np.asarray(y)))
    if isinstance(y, tuple):
        made = [wrap(v) for v in y]
        return type(y)(*made) if hasattr(y, "_fields") else tuple(made)
    if isinstance(y, list):
        return [wrap(v) for v in y]
    return y


def run(name: str, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call NumPy's function on device arrays; counts a launch unless the result is a view."""
    given = [unwrap(x, name) for x in args]
    named = {k: unwrap(v, name) for k, v in kwargs.items()}
    out = kwargs.get("out")
    with np.errstate(all="ignore"):
        y = capture.run(fn, given, named)
    if isinstance(out, tuple):
        out = out[0]
    if isinstance(out, ndarray):
        count("launches", name)
        return out
    owners = {id(memory.owner_of(x)) for x in (*given, *named.values())
              if isinstance(x, np.ndarray)}
    first = y[0] if isinstance(y, (tuple, list)) and y else y
    if not (isinstance(first, np.ndarray) and id(memory.owner_of(first)) in owners):
        count("launches", name)
    return capture.results(wrap(y), fn, given, named)


class Flags:
    """What CuPy says of an array's memory; there is no `writeable`."""

    def __init__(self, array: np.ndarray):
        self.c_contiguous = array.flags.c_contiguous
        self.f_contiguous = array.flags.f_contiguous
        self.owndata = memory.owner_of(array) is array.base
        self.fnc = self.f_contiguous and not self.c_contiguous
        self.forc = self.f_contiguous or self.c_contiguous

    def __getitem__(self, name: str) -> bool:
        return {"C_CONTIGUOUS": self.c_contiguous, "F_CONTIGUOUS": self.f_contiguous,
                "OWNDATA": self.owndata}[name]


class ndarray:
    """An array on a device of the double; `_a` is the NumPy array behind it."""

    __slots__ = ("__weakref__", "_a", "_base", "_block", "_device")
    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, shape: Any, dtype: Any = float, memptr: Any = None, strides: Any = None,
                 order: str = "C"):
        shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
        kind = np.dtype(dtype)
        self._base: Any = None
        self._device = memory.current_device()
        if memptr is not None:
            raw = memory.find(memptr.ptr)
            strides = None if strides is None else tuple(strides)
            self._a = np.ndarray(shape, kind, buffer=raw, strides=strides,
                                 order="F" if order == "F" else "C")
            self._base, self._device = memptr.mem, memptr.device_id
        elif order == "F":
            self._a = memory.allocate(shape[::-1], kind).T
        else:
            self._a = memory.allocate(shape, kind, strides)
        self._hold(memory.block_of(self._a))

    @classmethod
    def _of(cls, array: np.ndarray, base: Any = None) -> ndarray:
        self = object.__new__(cls)
        self._a, self._base = array, base
        block = memory.block_of(array)
        self._device = memory.current_device() if block is None else block.device
        self._hold(block)
        return self

    def _hold(self, block: Any) -> None:
        self._block = block
        if block is not None:
            block.users += 1

    def __del__(self) -> None:
        if getattr(self, "_block", None) is not None:
            self._block.users -= 1

    # -- what it is ---

    @property
    def shape(self) -> tuple[int, ...]:
        return self._a.shape

    @shape.setter
    def shape(self, shape: Any) -> None:
        if not self._a.size or np.shares_memory(self._a.reshape(shape), self._a):
            self._a = self._a.reshape(shape)
        else:
            raise AttributeError("incompatible shape for a non-contiguous array")

    @property
    def data(self) -> memory.MemoryPointer:
        return memory.MemoryPointer(memory.owner_of(self._a), self._a.ctypes.data, self._device)

    @property
    def device(self) -> Any:
        from .runtime import Device
        return Device(self._device)

    @property
    def flags(self) -> Flags:
        return Flags(self._a)

    @property
    def base(self) -> Any:
        return self._base

    @property
    def flat(self) -> Any:
        return (self.ravel()[i] for i in range(self.size))

    dtype = property(lambda self: self._a.dtype)
    ndim = property(lambda self: self._a.ndim)
    size = property(lambda self: self._a.size)
    nbytes = property(lambda self: self._a.nbytes)
    strides = property(lambda self: self._a.strides)
    itemsize = property(lambda self: self._a.itemsize)
    T = property(lambda self: self._view(self._a.T))
    mT = property(lambda self: self._view(self._a.mT))
    real = property(lambda self: self if self._a.dtype.kind != "c" else self._view(self._a.real))

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": self.shape, "typestr": self.dtype.str, "version": 3, "stream": 1,
                "strides": None if self._a.flags.c_contiguous else self.strides,
                "data": (self._a.ctypes.data, False)}

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self._device                     # CUDA

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None,
                   copy: bool | None = None) -> Any:
        return self._view(self._a)                 # only the double can read it

    def _view(self, array: np.ndarray) -> ndarray:
        return self._of(array, self if self._base is None else self._base)

    # -- off the device: each of these waits for it ---

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise no_conversion(f"{self.dtype} {self.shape}")

    def _read(self, name: str) -> np.ndarray:
        capture.refuse(name)
        count("syncs", name)
        count("d2h", name)
        return self._a

    def get(self, stream: Any = None, order: str = "C", out: Any = None,
            blocking: bool = True) -> np.ndarray:
        a = self._read("get")
        if out is not None:
            out[...] = a
            return out
        return np.array(a, order="F" if a.flags.fnc else "C")   # ordinary memory, own strides

    def set(self, arr: Any, stream: Any = None) -> None:
        if not isinstance(arr, np.ndarray):
            raise TypeError(f"Only numpy.ndarray can be set to cupy.ndarray, not {type(arr)}")
        if arr.shape != self.shape or arr.dtype != self.dtype:
            raise ValueError(f"{arr.dtype} {arr.shape} array is set to a {self.dtype} "
                             f"{self.shape} one")
        count("h2d", "set")
        self._a[...] = arr

    def item(self) -> Any:
        return self._read("item").item()

    def tolist(self) -> Any:
        return self._read("tolist").tolist()

    def tobytes(self, order: str = "C") -> bytes:
        return self._read("tobytes").tobytes(order)  # type: ignore[arg-type]

    def __bool__(self) -> bool:
        return bool(self._read("bool"))

    def __int__(self) -> int:
        return int(self._read("int"))

    def __float__(self) -> float:
        return float(self._read("float"))

    def __index__(self) -> int:
        return self._read("index").item().__index__()

    def __repr__(self) -> str:
        return repr(self._read("repr"))

    def __str__(self) -> str:
        return str(self._read("str"))

    def __format__(self, spec: str) -> str:
        return format(self._read("format"), spec)

    def __reduce__(self) -> Any:
        from .functions import array
        return array, (self.get(),)

    def __copy__(self) -> ndarray:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> ndarray:
        return self.copy()

    # -- parts ---

    def __len__(self) -> int:
        if not self._a.ndim:
            raise TypeError("len() of unsized object")
        return len(self._a)

    def __iter__(self) -> Any:
        if not self._a.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self._a)))

    def __getitem__(self, index: Any) -> ndarray:
        from .indexing import get
        return get(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        from .indexing import put
        put(self, index, value)

    def fill(self, value: Any) -> None:
        if isinstance(value, (np.ndarray, ndarray)) and value.ndim:
            raise ValueError("fill() takes a number")
        value = value._a if isinstance(value, ndarray) else value
        count("launches", "fill")
        array = self._a
        capture.do(lambda: array.fill(value))

    def scatter_add(self, slices: Any, value: Any) -> None:
        from .indexing import scatter
        scatter(np.add, self, slices, value)

    def scatter_max(self, slices: Any, value: Any) -> None:
        from .indexing import scatter
        scatter(np.maximum, self, slices, value)

    def scatter_min(self, slices: Any, value: Any) -> None:
        from .indexing import scatter
        scatter(np.minimum, self, slices, value)

    # -- NumPy's functions on device arrays: CuPy dispatches them to its own ---

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        from . import functions
        if method != "__call__" or not hasattr(functions.module(), ufunc.__name__):
            return NotImplemented
        if "out" in kwargs:
            kwargs["out"] = kwargs["out"][0]
        return getattr(functions.module(), ufunc.__name__)(*inputs, **kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from . import functions
        owner = functions.module()
        if func.__module__ == "numpy.linalg":
            owner = owner.linalg
        found = getattr(owner, func.__name__, None)
        return NotImplemented if found is None else found(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in names.TABLE["ndarray"]:
            raise AttributeError(f"'cupy.ndarray' object has no attribute {name!r}")
        return _Method(self, name)


class _Method:
    """A method of CuPy's class whose work NumPy's method of the same name does."""

    __slots__ = ("name", "owner")

    def __init__(self, owner: ndarray, name: str):
        self.owner, self.name = owner, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        names.check("ndarray", self.name, (self.owner, *args), kwargs)
        if self.name in ("take", "repeat"):            # they differ from NumPy's
            from . import functions
            return getattr(functions, self.name)(self.owner, *args, **kwargs)
        if self.name in ("compress", "nonzero"):
            capture.refuse(self.name)
            count("syncs", self.name)
        if self.name == "astype":
            kwargs.pop("casting", None), kwargs.pop("subok", None)
        y = run(self.name, getattr(np.ndarray, self.name), (self.owner, *args), kwargs)
        if isinstance(y, ndarray) and y is not self.owner and (
                memory.owner_of(y._a) is memory.owner_of(self.owner._a)):
            y._base = self.owner if self.owner._base is None else self.owner._base
        if isinstance(y, ndarray) and y._a is not self.owner._a and _same(y._a, self.owner._a):
            return self.owner if self.name == "astype" else y
        return y


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return (a.ctypes.data == b.ctypes.data and a.shape == b.shape and a.strides == b.strides
            and a.dtype == b.dtype)


def _operator(name: str) -> Any:
    function = getattr(np.ndarray, name)
    inplace = name[2] == "i" and name != "__invert__"

    def method(self: ndarray, *other: Any) -> Any:
        for x in other:
            if isinstance(x, np.ndarray):
                raise TypeError(f"Unsupported type {type(x)}: a host array met a device array "
                                f"in {name.strip('_')}")
            if not isinstance(x, (ndarray, *SCALARS)):
                return NotImplemented
        if inplace:
            run(name.strip("_"), lambda a, b, out: function(a, b), (self, *other), {"out": self})
            return self
        return run(name.strip("_"), function, (self, *other), {})
    method.__name__ = name
    return method


_TWO = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor",
        "lshift", "rshift")
for _name in [f"__{p}{n}__" for n in _TWO for p in ("", "r", "i")] + [
        f"__{n}__" for n in ("lt", "le", "gt", "ge", "eq", "ne", "neg", "pos", "abs", "invert",
                             "divmod", "rdivmod")]:
    setattr(ndarray, _name, _operator(_name))

ndarray.__module__ = "cupy"
ndarray.__qualname__ = "ndarray"
