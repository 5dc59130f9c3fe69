"""What stands in the modules `cupy`, `cupy.linalg` and `cupy.fft`.

A name is looked up in CuPy's table first: what CuPy does not have raises, and so do arguments that
its function does not take. NumPy's function of the same name computes then. Functions that differ
are written out here.
"""

from __future__ import annotations

import functools
import importlib
import sys
import types
from typing import Any

import numpy as np

from . import capture, memory, names
from .array import SCALARS, ArgumentError, ndarray, run, unwrap, wrap
from .counting import count

__all__ = ["Function", "Ufunc", "array", "asarray", "asnumpy", "empty", "lookup", "module"]

# Functions whose result has a size that depends on values: the host waits for it.
WAITS = {"nonzero", "argwhere", "flatnonzero", "unique", "unique_all", "unique_counts",
         "unique_inverse", "unique_values", "bincount", "extract", "delete", "trim_zeros",
         "setdiff1d", "intersect1d", "union1d", "compress", "histogram", "block", "place"}
# Functions that only look at shapes and types: any argument will do.
METADATA = {"shape", "ndim", "size", "isscalar", "result_type", "can_cast", "promote_types",
            "broadcast_shapes", "issubdtype", "common_type", "min_scalar_type", "iscomplexobj",
            "isrealobj", "isfortran", "iterable"}
CHANGES = {"copyto", "fill_diagonal", "place", "put", "putmask"}
REDUCERS = {"add", "multiply"}                    # ufunc.reduce and accumulate are there for these
SCATTERERS = {"add", "subtract", "maximum", "minimum", "bitwise_and", "bitwise_or", "bitwise_xor"}


class Ufunc:
    """An elementwise function: device arrays and numbers in, device arrays out."""

    def __init__(self, name: str):
        self.name = self.__name__ = name
        self.ufunc: Any = getattr(np, name, None)
        self.nin, self.nout = map(int, names.TABLE["cupy"][name].split()[1:])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        out = kwargs.get("out")
        if set(kwargs) - {"out", "dtype", "casting"}:
            raise ArgumentError(f"Wrong arguments {sorted(kwargs)} for cupy.{self.name}")
        if not self.nin <= len(args) <= self.nin + self.nout:
            raise ArgumentError(f"cupy.{self.name} takes {self.nin} inputs, got {len(args)}")
        for x in args[:self.nin]:
            if not isinstance(x, (ndarray, *SCALARS)):
                raise TypeError(f"Unsupported type {type(x)} for cupy.{self.name}")
        if out is not None and not isinstance(out, (ndarray, tuple)):
            raise TypeError(f"out of cupy.{self.name} must be a device array, got {type(out)}")
        if len(args) > self.nin:
            kwargs["out"], args = args[self.nin], args[:self.nin]
        if isinstance(kwargs.get("out"), tuple):
            kwargs["out"], = kwargs["out"]
        return run(self.name, self.ufunc or _by_hand(self.name), args, kwargs)

    def reduce(self, array: Any, axis: Any = 0, dtype: Any = None, out: Any = None,
               keepdims: bool = False) -> Any:
        """Along an axis; CuPy has it for sums and products alone."""
        return self._only("reduce", REDUCERS)(array, axis=axis, dtype=dtype, out=out,
                                              keepdims=keepdims)

    def accumulate(self, array: Any, axis: Any = 0, dtype: Any = None, out: Any = None) -> Any:
        """Running results; CuPy has it for sums and products alone."""
        return self._only("accumulate", REDUCERS)(array, axis=axis, dtype=dtype, out=out)

    def outer(self, a: Any, b: Any, **kwargs: Any) -> Any:
        """Every pair."""
        return run(f"{self.name}.outer", self.ufunc.outer, (a, b), kwargs)

    def at(self, a: ndarray, indices: Any, b: Any = None) -> None:
        """In place, places may come twice."""
        self._only("at", SCATTERERS)
        from .indexing import scatter
        scatter(self.ufunc, a, indices, b)

    def _only(self, method: str, known: set[str]) -> Any:
        if self.name not in known:
            raise NotImplementedError(f"`{self.name}.{method}` is not supported yet")
        return lambda *args, **kwargs: run(f"{self.name}.{method}", getattr(self.ufunc, method),
                                           args, kwargs)

    def __repr__(self) -> str:
        return f"<ufunc 'cupy_{self.name}'>"


def _by_hand(name: str) -> Any:
    """Elementwise functions that NumPy does not have as ufuncs."""
    raise NotImplementedError(f"the double has no cupy.{name}")


class Function:
    """A function of CuPy that NumPy's function of the same name stands for."""

    def __init__(self, owner: str, name: str, function: Any):
        self.owner, self.name, self.function = owner, name, function
        self.__name__ = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        names.check(self.owner, self.name, args, kwargs)
        label = f"{self.owner}.{self.name}".partition(".")[2]
        if self.name in METADATA:
            return self.function(*[_described(x) for x in args], **kwargs)
        if self.name in WAITS or (self.name == "where" and len(args) == 1):
            capture.refuse(label)
            count("syncs", label)
        if self.name in CHANGES:
            return self._change(label, args, kwargs)
        return run(label, self.function, args, kwargs)

    def _change(self, label: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Functions that write into their first argument and return nothing."""
        given = [unwrap(x, label) for x in args]
        named = {k: unwrap(v, label) for k, v in kwargs.items()}
        count("launches", label)
        with np.errstate(all="ignore"):
            capture.do(lambda: self.function(*given, **named))

    def __repr__(self) -> str:
        return f"<function {self.owner}.{self.name} of the double>"


def _described(x: Any) -> Any:
    """An array of the same shape and type, for functions that look at nothing else."""
    if not isinstance(x, ndarray):
        return x
    return np.broadcast_to(np.zeros((), x.dtype), x.shape)


def _or_nan(function: Any) -> Any:
    """A factorisation that marks what it cannot factor instead of raising, as cuSOLVER does."""
    @functools.wraps(function)
    def factor(a: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return function(a, *args, **kwargs)
        except np.linalg.LinAlgError as error:
            if a.ndim < 2 or a.shape[-2] != a.shape[-1]:
                raise
            healthy = np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape)
            y = function(healthy, *args, **kwargs)
            if "dimension" in str(error):
                raise
            for part in y if isinstance(y, tuple) else (y,):
                if part.dtype.kind == "f":
                    part[...] = np.nan
            return y
    return factor


# -- arrays from elsewhere -------------------------------------------------------------------------


def array(obj: Any, dtype: Any = None, copy: Any = True, order: str = "K", subok: bool = False,
          ndmin: int = 0, *, blocking: bool = False) -> ndarray:
    """A device array; from the host it is a transfer."""
    if isinstance(obj, ndarray):
        kind = obj.dtype if dtype is None else np.dtype(dtype)
        c_order = order != "C" or obj.flags.c_contiguous
        if not copy and kind == obj.dtype and obj.ndim >= ndmin and c_order:
            return obj
        return run("array", np.array, (obj,), {"dtype": kind, "order": order, "ndmin": ndmin})
    if isinstance(obj, (list, tuple)) and _holds_arrays(obj):
        return run("array", np.array, (obj,), {"dtype": dtype, "ndmin": ndmin})
    made = np.array(obj, dtype=dtype, order=order, ndmin=ndmin)  # type: ignore[call-overload]
    if made.dtype.kind not in "biufcV" or made.dtype.itemsize > 16 or made.dtype == np.longdouble:
        raise ValueError(f"Unsupported dtype {made.dtype}")
    capture.refuse("a copy from the host")
    count("h2d", "array")
    return wrap(made)


def _holds_arrays(obj: Any) -> bool:
    return any(isinstance(x, ndarray) or (isinstance(x, (list, tuple)) and _holds_arrays(x))
               for x in obj)


def asarray(a: Any, dtype: Any = None, order: Any = None, *, copy: Any = None,
            blocking: bool = False) -> ndarray:
    """The same array where it is on the device already."""
    return array(a, dtype, bool(copy), order or "K", blocking=blocking)


def ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    """In C order, with at least one axis."""
    return array(a, dtype, False, "C", ndmin=1)


def asnumpy(a: Any, stream: Any = None, order: str = "C", out: Any = None, *,
            blocking: bool = True) -> np.ndarray:
    """A copy on the host."""
    return a.get(stream, order, out) if isinstance(a, ndarray) else np.asarray(a)


def _shape(shape: Any) -> tuple[int, ...]:
    if isinstance(shape, (int, np.integer)):
        return (int(shape),)
    return tuple([int(n) for n in shape])


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    """Memory full of poison."""
    return ndarray(_shape(shape), dtype, order=order)


def _filled(name: str, value: Any, shape: Any, dtype: Any, order: str = "C") -> ndarray:
    made = ndarray(_shape(shape), dtype, order=order)
    number, array = unwrap(value, name), made._a
    count("launches", name)

    def fill() -> None:
        with np.errstate(all="ignore"):
            array[...] = number
    capture.do(fill)
    return made


def zeros(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    """Zeros."""
    return _filled("zeros", 0, shape, dtype, order)


def ones(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    """Ones."""
    return _filled("ones", 1, shape, dtype, order)


def full(shape: Any, fill_value: Any, dtype: Any = None, order: str = "C") -> ndarray:
    """One number, or an array that is broadcast."""
    if dtype is None:
        dtype = fill_value.dtype if isinstance(fill_value, ndarray) else np.array(fill_value).dtype
    return _filled("full", fill_value, shape, dtype, order)


def _like(a: Any, dtype: Any, order: str, shape: Any) -> tuple[Any, Any, str]:
    if not isinstance(a, ndarray):
        raise TypeError(f"a device array is needed, got {type(a)}")
    same = "F" if order in "FA" and a.flags.fnc else "C"
    return a.shape if shape is None else shape, a.dtype if dtype is None else dtype, same


def empty_like(prototype: Any, dtype: Any = None, order: str = "K", subok: Any = None,
               shape: Any = None) -> ndarray:
    """Poison in the shape of another array; the order of its axes in memory too."""
    if order == "K" and isinstance(prototype, ndarray):
        made = np.empty_like(prototype._a, dtype=dtype,
                             shape=None if shape is None else _shape(shape))
        kept = ndarray._of(memory.like(made))
        kept._a[...] = np.frombuffer(b"\xff" * made.itemsize, made.dtype)[0]
        return kept
    return empty(*_like(prototype, dtype, order, shape))


def zeros_like(a: Any, dtype: Any = None, order: str = "K", subok: Any = None,
               shape: Any = None) -> ndarray:
    """Zeros in the shape of another array."""
    made = empty_like(a, dtype, order, subok, shape)
    made.fill(0)
    return made


def ones_like(a: Any, dtype: Any = None, order: str = "K", subok: Any = None,
              shape: Any = None) -> ndarray:
    """Ones in the shape of another array."""
    made = empty_like(a, dtype, order, subok, shape)
    made.fill(1)
    return made


def full_like(a: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: Any = None,
              shape: Any = None) -> ndarray:
    """A number in the shape of another array."""
    made = empty_like(a, dtype, order, subok, shape)
    made.fill(fill_value)
    return made


def get_array_module(*args: Any) -> types.ModuleType:
    """This module where an argument is a device array, else NumPy."""
    return module() if any(isinstance(x, ndarray) for x in args) else np


def take(a: Any, indices: Any, axis: Any = None, out: Any = None, mode: Any = None) -> Any:
    """Entries along an axis; places outside of it wrap around."""
    def function(a: Any, indices: Any, **rest: Any) -> Any:
        return np.take(a, indices, mode="wrap", **rest)
    if isinstance(indices, (list, tuple)):
        count("h2d", "take")
    return run("take", function, (a, indices), {"axis": axis, "out": out})


def take_along_axis(a: Any, indices: Any, axis: Any = -1) -> Any:
    """Entries along an axis, one per place; places outside of it wrap around."""
    if not isinstance(indices, ndarray):
        raise TypeError(f"`indices` must be a device array, got {type(indices)}")

    def function(a: Any, indices: Any) -> Any:
        n = a.size if axis is None else a.shape[axis]
        return np.take_along_axis(a, indices % n if n else indices, axis)
    return run("take_along_axis", function, (a, indices), {})


def repeat(a: Any, repeats: Any, axis: Any = None) -> Any:
    """Entries several times, as often as numbers of the host say."""
    if isinstance(repeats, (ndarray, np.ndarray)):
        raise ValueError("cupy.repeat takes numbers of the host as `repeats`")
    return run("repeat", np.repeat, (a, repeats), {"axis": axis})


def from_dlpack(array: Any, *, device: Any = None, copy: Any = None) -> ndarray:
    """An array that shares memory with one of another library: here, of the double."""
    if array.__dlpack_device__()[0] != 2:
        raise BufferError("the array is not on a CUDA device")
    return array.__dlpack__()


def as_strided(x: Any, shape: Any = None, strides: Any = None) -> Any:
    """A view by strides; it must stay inside of the allocation."""
    a = unwrap(x, "as_strided")
    shape = a.shape if shape is None else tuple(shape)
    strides = a.strides if strides is None else tuple(strides)
    owner = memory.owner_of(a)
    return x._view(np.ndarray(shape, a.dtype, buffer=owner, strides=strides,
                              offset=a.ctypes.data - owner.ctypes.data))


CUSTOM: dict[str, dict[str, Any]] = {
    "cupy": {"ndarray": ndarray, "array": array, "asarray": asarray, "asanyarray": asarray,
             "ascontiguousarray": ascontiguousarray, "asnumpy": asnumpy, "empty": empty,
             "zeros": zeros, "ones": ones, "full": full, "empty_like": empty_like,
             "zeros_like": zeros_like, "ones_like": ones_like, "full_like": full_like,
             "get_array_module": get_array_module, "take": take, "repeat": repeat,
             "take_along_axis": take_along_axis, "from_dlpack": from_dlpack, "ufunc": Ufunc},
    "cupy.linalg": {}, "cupy.fft": {},
}
_NUMPY = {"cupy": np, "cupy.linalg": np.linalg, "cupy.fft": np.fft}


def lookup(owner: str, name: str) -> Any:
    """The attribute `name` of one of the modules, made when it is asked for."""
    spec = names.TABLE[owner].get(name)
    if spec is None:
        raise AttributeError(f"module '{owner}' has no attribute {name!r}")
    if name in CUSTOM[owner]:
        return CUSTOM[owner][name]
    if spec == "module":
        return importlib.import_module(f"{owner}.{name}")
    if spec.startswith("ufunc"):
        return Ufunc(name)
    found = getattr(_NUMPY[owner], name, None)
    if found is None:
        raise NotImplementedError(f"the double of {owner}.{name} is not written; its arguments "
                                  f"are ({spec})")
    if spec in ("value", "type") or isinstance(found, type) or name in ("finfo", "iinfo", "dtype"):
        return found
    return Function(owner, name, _or_nan(found) if owner == "cupy.linalg" else found)


def module() -> Any:
    """The double that is installed as `cupy`."""
    return sys.modules["cupy"]
