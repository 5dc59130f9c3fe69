"""Number types: limits, kinds, and what type the result of an operation has."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import backend
from ..halves import half_of
from ..tensor import Tensor

__all__ = ["can_cast", "finfo", "iinfo", "isdtype", "promote_types", "result_type"]


def _dtype_of(x: Any) -> np.dtype:
    if isinstance(x, (Tensor, np.generic)) or backend.is_array(x):
        return x.dtype
    return backend.canonical_dtype(x)


@dataclass(frozen=True)
class FloatInfo:
    """Limits of a floating point type."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: np.dtype

    @property
    def tiny(self) -> float:
        """PyTorch's and NumPy's other name for `smallest_normal`."""
        return self.smallest_normal

    @property
    def resolution(self) -> float:
        """10^-p, where p is the number of decimal digits that always survive."""
        return float(_limits(self.dtype).resolution)


@dataclass(frozen=True)
class IntInfo:
    """Limits of an integer type."""

    bits: int
    max: int
    min: int
    dtype: np.dtype


def finfo(type: Any) -> FloatInfo:
    """The limits of a floating point type (or of a tensor's type), as Python numbers.

    >>> import tinygen as tg
    >>> tg.finfo(tg.float32).eps == 2.0 ** -23
    True
    """
    kind = _dtype_of(type)
    if kind.kind not in "fV":
        raise TypeError(f"[finfo] {kind} is not a floating point type")
    f = _limits(kind)
    return FloatInfo(int(f.bits), float(f.eps), float(f.max), float(f.min),
                     float(f.smallest_normal), kind)


def _limits(kind: np.dtype) -> Any:
    if kind.kind == "V":        # bfloat16
        return importlib.import_module("ml_dtypes").finfo(kind)
    return np.finfo(kind)


def iinfo(type: Any) -> IntInfo:
    """The limits of an integer type (or of a tensor's type)."""
    kind = _dtype_of(type)
    if kind.kind not in "iu":
        raise TypeError(f"[iinfo] {kind} is not an integer type")
    i = np.iinfo(kind)
    return IntInfo(int(i.bits), int(i.max), int(i.min), kind)


_KINDS = {"bool": "b", "signed integer": "i", "unsigned integer": "u", "integral": "iu",
          "real floating": "fV", "complex floating": "c", "numeric": "iufVc"}


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether a number type is of a kind: a type, a name, or a tuple of them.

    Names: 'bool', 'signed integer', 'unsigned integer', 'integral', 'real floating',
    'complex floating' (never true here), 'numeric'.
    """
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in kind)
    found = backend.canonical_dtype(dtype)
    if isinstance(kind, str):
        if kind not in _KINDS:
            raise ValueError(f"[isdtype] kind={kind!r}: a type, or one of {', '.join(_KINDS)}")
        return found.kind in _KINDS[kind]
    return found == backend.canonical_dtype(kind)


def can_cast(from_: Any, to: Any) -> bool:
    """Whether every value of a type (or of a tensor's type) fits into another type."""
    return bool(np.can_cast(_dtype_of(from_), backend.canonical_dtype(to)))


def result_type(*arrays_and_dtypes: Any) -> np.dtype:
    """The type that tensors, types and Python numbers have together in an operation.

    The array API's table, and the engine's rule where the table is silent: an integer that meets
    a float takes the float's type, and only float64 gives float64.
    """
    if not arrays_and_dtypes:
        raise ValueError("[result_type] at least one argument is needed")
    scalars = [x for x in arrays_and_dtypes if isinstance(x, (bool, int, float))]
    kinds = [_dtype_of(x) for x in arrays_and_dtypes if not isinstance(x, (bool, int, float))]
    if not kinds:
        return np.asarray(np.result_type(*scalars).type(0)).dtype if not any(
            isinstance(s, float) for s in scalars) else np.dtype(np.float32)
    floats = [k for k in kinds if k.kind in "fV"]
    half = half_of(floats)
    if half is not None:                                   # integers and numbers have no say
        return half
    wide = [np.dtype(np.float32) if backend.is_half(k) else k for k in kinds]
    found = np.result_type(*wide, *scalars)
    if found == np.float64 and found not in kinds:
        return np.dtype(np.float32)
    return found


def promote_types(type1: Any, type2: Any) -> np.dtype:
    """The type of an operation on two types: `result_type` of both."""
    return result_type(_dtype_of(type1), _dtype_of(type2))


def same_kind(source: Tensor, target: Tensor, symbol: str, op: str) -> None:
    """Refuse an in-place operation whose result does not fit the type of the tensor."""
    floats = source.dtype.kind in "fV" and target.dtype.kind in "fV"
    if not floats and not np.can_cast(source.dtype, target.dtype, "same_kind"):
        raise TypeError(f"[{op}] `{symbol}` would turn a {target.dtype} tensor into "
                        f"{source.dtype}; write x = x {symbol[:-1]} y for a new one")
