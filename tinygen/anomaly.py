"""detect_anomaly: find the first operation that made a NaN or an infinity, and the user's line.

While it is on, every call of a primitive is checked; while it is off, nothing on the hot path
knows of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import backend
from .errors import describe, user_line
from .primitive import RAW, Primitive, around_calls, local
from .tensor import Tensor

__all__ = ["AnomalyError", "detect_anomaly"]

active = 0                                  # how many detect_anomaly blocks are open
_lines: dict[int, str] = {}                 # a tensor's seq -> the line that made it


class AnomalyError(RuntimeError):
    """An operation made a NaN or an infinity out of finite numbers."""


class detect_anomaly:
    """Inside the block the first op that makes a NaN or Inf raises, forward or backward.

    The error names the op, its inputs and the user's line; in backward also the line that
    created the op in the forward pass. Every op is checked, so expect it to run slower.

    >>> with detect_anomaly():
    ...     pass
    """

    def __enter__(self) -> detect_anomaly:
        global active
        active += 1
        if active == 1:
            around_calls("anomaly", _checking)
        return self

    def __exit__(self, *_: object) -> None:
        global active
        active -= 1
        if not active:
            around_calls("anomaly", None)
            _lines.clear()


def _bad(x: Any) -> str | None:
    """`NaN` or `Inf` if an array or tensor holds one."""
    array = x.data if isinstance(x, Tensor) else x
    if isinstance(array, tuple):
        return next((b for b in map(_bad, array) if b), None)
    if isinstance(array, (float, np.floating)):   # arithmetic on 0-d arrays gives NumPy scalars
        if math.isfinite(array):
            return None
        return "NaN" if math.isnan(array) else "Inf"
    if not backend.is_array(array) or array.dtype.kind not in "fV":
        return None
    xp = backend.array_module(array)
    if xp.isfinite(array).all():
        return None
    return "NaN" if xp.isnan(array).any() else "Inf"


def _checking(call: Callable[..., Any]) -> Callable[..., Any]:
    def checked(self: Primitive, *inputs: Any, **attrs: Any) -> Any:
        return _checked(self, inputs, call(self, *inputs, **attrs))
    return checked


def _checked(self: Primitive, inputs: tuple[Any, ...], out: Any) -> Any:
    outs = out if isinstance(out, tuple) else (out,)
    raw = local.mode & RAW
    line = None if raw else user_line()
    for y in outs:
        if isinstance(y, Tensor) and line:
            _lines[y.seq] = line
            if y.op is not None and y.op.name == "pick":
                _lines[y.inputs[0].seq] = line
        # -inf is a legitimate constant of masks: only finite inputs make an output suspicious
        kind = None if raw else _bad(y)
        if kind and not any(_bad(x) for x in inputs):
            raise AnomalyError(_message(self, kind, inputs, line))
    return out


def _message(op: Primitive, kind: str, inputs: tuple[Any, ...], line: str | None) -> str:
    shown = ", ".join(f"{n}: {describe(x)}{_range(x)}"
                      for n, x in zip(op.arg_names, inputs, strict=False))
    return f"[{op.name}] made the first {kind} from finite inputs ({shown})" + (
        f"\n  at {line}" if line else "")


def _range(x: Any) -> str:
    array = x.data if isinstance(x, Tensor) else x
    if not backend.is_array(array) or not array.size or array.dtype.kind not in "fV":
        return ""
    return f" in [{array.min():.4g}, {array.max():.4g}]"


def check_gradient(op: Primitive, x: Tensor, g: Any, node: Tensor) -> None:
    """Raise if the gradient that `op`'s rule gave for an input is not finite."""
    kind = _bad(g)
    if not kind:
        return
    index = next(i for i, other in enumerate(node.inputs) if other is x)
    name = op.arg_names[index] if index < len(op.arg_names) else f"input {index}"
    line = _lines.get(node.seq)
    raise AnomalyError(f"[{op.name}] backward made the first {kind}, in the gradient of {name} "
                       f"({describe(g)})" + (f"\n  the op was created at {line}" if line else ""))
