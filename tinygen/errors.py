"""Errors that explain themselves: which op, which arguments, what does not fit, whose line.

`[matmul] a: float32 (4, 4), b: float32 (3, 3): inner sizes 4 and 3 differ`
"""

from __future__ import annotations

import linecache
import os
import sys
from typing import Any

import numpy as np

from . import backend
from .tensor import Tensor

__all__ = ["describe", "explain", "user_line"]

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_KERNELS = os.path.join(os.path.dirname(_HERE.rstrip(os.sep)), "kernels") + os.sep


def describe(x: Any) -> str:
    """An argument in short: `float32 (4, 4)` for arrays, the value for the rest."""
    if isinstance(x, Tensor):
        x = x.data
    if hasattr(x, "dtype") and hasattr(x, "shape"):
        return f"{x.dtype} {tuple(x.shape)}"
    text = repr(x)
    return text if len(text) <= 60 else text[:57] + "..."


def user_line() -> str | None:
    """The innermost line on the stack that is not tinygen's own: `file:line, in f: source`."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith((_HERE, _KERNELS, "<")):
            source = linecache.getline(name, frame.f_lineno).strip()
            return f'File "{name}", line {frame.f_lineno}, in {frame.f_code.co_name}: {source}'
        frame = frame.f_back  # type: ignore[assignment]
    return None


def explain(op: Any, error: Exception, inputs: tuple[Any, ...],
            attrs: dict[str, Any]) -> Exception:
    """The error to raise in place of `error`, which op's function raised on these arguments."""
    if str(error).startswith("["):
        return error  # an op inside this one has explained itself
    names = list(op.arg_names)
    if len(inputs) > len(names) and names:
        last = names.pop()
        names += [f"{last}[{i}]" for i in range(len(inputs) - len(names))]
    shown = [f"{n}: {describe(x)}" for n, x in zip(names, inputs, strict=False)]
    shown += [f"{k}={describe(v)}" for k, v in attrs.items() if v is not None]
    reason = _devices(names, inputs)
    kind: type[Exception] = TypeError if reason else type(error)
    if reason is None and op.reason is not None:
        try:
            reason = op.reason(*inputs, **attrs)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            reason = None  # the explainer met arguments stranger than it expects
    if reason is None and op.elementwise:
        reason = _broadcast(names, inputs)
    message = f"[{op.name}] {', '.join(shown)}: {reason or _plain(error)}"
    if kind not in (ValueError, TypeError, IndexError, ZeroDivisionError, OverflowError,
                    MemoryError, RuntimeError, KeyError, NotImplementedError,
                    np.linalg.LinAlgError):
        kind = _nearest(kind)
    made = kind(message)
    line = user_line()
    if line:
        made.add_note(f"  called from {line}")
    return made


def _nearest(kind: type[Exception]) -> type[Exception]:
    for base in (IndexError, ValueError, TypeError, MemoryError):
        if issubclass(kind, base):
            return base
    return RuntimeError


def _plain(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text.replace("_UFuncNoLoopError", "").strip()


def _devices(names: list[str], inputs: tuple[Any, ...]) -> str | None:
    seen: dict[str, str] = {}
    for name, x in zip(names, inputs, strict=False):
        array = x.data if isinstance(x, Tensor) else x
        if backend.is_array(array):
            seen.setdefault(backend.device_of(array), name)
    if len(seen) < 2:
        return None
    where = " and ".join(f"{name} is on {device}" for device, name in seen.items())
    return f"{where}; use .to(...) to bring them to one device"


def _broadcast(names: list[str], inputs: tuple[Any, ...]) -> str | None:
    shapes = [(n, np.shape(x.data if isinstance(x, Tensor) else x))
              for n, x in zip(names, inputs, strict=False) if not isinstance(x, (int, float))]
    depth = max((len(s) for _, s in shapes), default=0)
    for axis in range(1, depth + 1):
        sizes: dict[int, str] = {}
        for name, shape in shapes:
            if axis <= len(shape) and shape[-axis] != 1:
                sizes.setdefault(shape[-axis], name)
        if len(sizes) > 1:
            (m, a), (n, b) = list(sizes.items())[:2]
            return (f"shapes do not broadcast: axis -{axis} is {m} in {a} and {n} in {b}; "
                    "sizes must be equal or 1")
    return None
