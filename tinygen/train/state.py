"""Parts of a run's state: running means, seeds for each purpose, copies and checks of tensors."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .. import backend
from ..tensor import Tensor

__all__ = ["Averages", "copy_state", "derive_seed", "first_non_finite"]


def derive_seed(seed: int, purpose: str) -> int:
    """A seed for one purpose, so that streams for different purposes share no numbers."""
    digest = hashlib.sha256(f"tinygen {seed} {purpose}".encode()).digest()
    return int.from_bytes(digest[:7], "little")


def copy_state(value: Any) -> Any:
    """A nested state with copies of its tensors, in main memory."""
    if isinstance(value, Tensor):
        return Tensor.wrap(backend.to_device(value.data, "cpu").copy())
    if isinstance(value, Mapping):
        return {k: copy_state(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(copy_state(v) for v in value)
    return value


def first_non_finite(value: Any, path: str = "") -> str | None:
    """The path of the first tensor in a nested state that holds a NaN or Inf, or None."""
    return next((where for where, tensor in _tensors(value, path)
                 if tensor.dtype.kind in "fV"
                 and not backend.array_module(tensor.data).isfinite(tensor.data).all()), None)


def _tensors(value: Any, path: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _tensors(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (list, tuple)):
        for i, inner in enumerate(value):
            yield from _tensors(inner, f"{path}.{i}")


class Averages:
    """Means of the losses since the last log point, and since the epoch began.

    A step's losses are kept as 0-d tensors, and read (on a GPU: waited for) only in `drain`.
    Sums grow step by step in order, so neither draining early nor a stop changes a mean's bits.
    """

    def __init__(self) -> None:
        self._pending: list[tuple[int, dict[str, Any]]] = []
        self._sums: dict[str, dict[str, list[float]]] = {"interval": {}, "epoch": {}}

    def add(self, step: int, losses: Mapping[str, Any]) -> None:
        """Keep the losses of one step."""
        self._pending.append((step, dict(losses)))

    def drain(self) -> tuple[int, str, float] | None:
        """Read what is pending; the first (step, name, value) that is not finite, or None."""
        for step, values in self._read():
            for name, value in values.items():
                if not math.isfinite(value):
                    return step, name, value
            for sums in self._sums.values():
                for name, value in values.items():
                    total = sums.setdefault(name, [0.0, 0])
                    total[0] += value
                    total[1] += 1
        self._pending.clear()
        return None

    def _read(self) -> list[tuple[int, dict[str, float]]]:
        """What is pending, as numbers: a GPU is waited for once."""
        values = [value for _, losses in self._pending for value in losses.values()]
        bare = [v.data if isinstance(v, Tensor) else np.asarray(v) for v in values]
        read = iter(backend.to_numbers(bare))
        return [(step, {name: float(next(read)) for name in losses})
                for step, losses in self._pending]

    def take(self, scope: str) -> dict[str, float]:
        """The means over `"interval"` or `"epoch"`, which starts anew."""
        means = {name: total / n for name, (total, n) in self._sums[scope].items()}
        self._sums[scope] = {}
        return means

    def state_dict(self) -> dict[str, Any]:
        """The sums; call `drain` first."""
        return {scope: {k: list(v) for k, v in sums.items()} for scope, sums in self._sums.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict()`."""
        self._pending.clear()
        self._sums = {scope: {k: list(v) for k, v in state[scope].items()}
                      for scope in ("interval", "epoch")}
