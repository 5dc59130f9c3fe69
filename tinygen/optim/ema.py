"""EMA: an exponential moving average of weights, kept beside the weights that learn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..autograd import no_grad
from ..backend import array_module
from ..nn.module import Module
from ..primitive import primitive
from ..tensor import Tensor
from .update import blocks, cast, least, number

__all__ = ["EMA", "count_up", "ema_update", "mix_update"]


@primitive
def mix_update(xp, mean, x, *, weight):
    """mean += weight * (x - mean), in place."""
    return _mix(xp, mean, x, weight)
mix_update.writes = (0,)


@primitive
def mean_update(xp, mean, x, n, *, single):
    """mean += (x - mean) / (n + 1), in place: the mean of n + 1 values.

    Means of integers are cut off; `single` makes the share a float32 number.
    """
    share = 1 / (number(xp, n) + 1)
    if single:
        share = float(np.float32(share)) if isinstance(share, float) else share.astype(np.float32)
    if mean.dtype.kind in "fV":
        return _mix(xp, mean, x, cast(mean, share))
    mean[...] = mean * (1 - share) + x * share
    return mean
mean_update.writes = (0,)


@primitive
def count_up(xp, n):
    """n += 1, in place."""
    n += 1
    return n
count_up.writes = (0,)


@primitive
def ema_update(xp, mean, x, updates, *, decay, warm_up):
    """mean = d * mean + (1 - d) * x, in place, where d is the decay of that update."""
    n = number(xp, updates) if warm_up else 0.0
    weight = 1 - (least(xp, decay, (1 + n) / (10 + n)) if warm_up else decay)
    return _mix(xp, mean, x, cast(mean, weight))
ema_update.writes = (0,)


@primitive
def ema_updates(xp, updates, *arrays, count, decay, warm_up):
    """`ema_update` for several: first `count` means, then what they follow."""
    for mean, x in zip(arrays[:count], arrays[count:], strict=True):
        ema_update.fn(xp, mean, x, updates, decay=decay, warm_up=warm_up)
    return arrays[0]
ema_updates.writes = lambda count, **_: tuple(range(1, count + 1))


def _mix(xp: Any, mean: Any, x: Any, weight: Any) -> Any:
    if mean.dtype.kind not in "fV":                 # a counter is copied: it has no mean
        mean[...] = x
        return mean
    for m, v, s in blocks(xp, 1, mean, x):
        xp.subtract(v, m, out=s)
        xp.multiply(s, weight, out=s)
        xp.add(m, s, out=m)
    return mean


class EMA:
    """The moving average of weights that many generative models are sampled from.

    After update n, average = d average + (1 - d) weight, with d = decay or, with `warm_up`,
    d = min(decay, (1 + n) / (10 + n)), so that the random first weights are soon forgotten.

    Args:
        source: a module, whose parameters and saved buffers are averaged (integer buffers are
            copied), or an iterable of tensors.
        decay: in [0, 1]; 0.999 looks back over about a thousand updates.
        warm_up: begin with a small decay.

    Source: the decay's warm-up is that of TensorFlow's ExponentialMovingAverage.

    >>> import tinygen as tg
    >>> w = tg.Tensor([1.0], requires_grad=True)
    >>> ema = EMA([w], decay=0.75)
    >>> for value in (2.0, 3.0):
    ...     w.assign_(value)        # a step of an optimizer, say
    ...     ema.update()
    Tensor([2.], dtype=float32, requires_grad=True)
    Tensor([3.], dtype=float32, requires_grad=True)
    >>> with ema.average_parameters():
    ...     w
    Tensor([1.6875], dtype=float32, requires_grad=True)
    >>> w
    Tensor([3.], dtype=float32, requires_grad=True)
    """

    def __init__(self, source: Module | Iterable[Tensor], decay: float = 0.999,
                 warm_up: bool = False):
        if not 0 <= decay <= 1:
            raise ValueError(f"[EMA] decay must be in [0, 1], got {decay!r}")
        self.decay, self.warm_up = decay, warm_up
        self._live = _named(source)
        if not self._live:
            raise ValueError("[EMA] there is nothing to average: no parameters were given")
        self.averages = {name: Tensor.wrap(t.data.copy()) for name, t in self._live.items()}
        first = next(iter(self._live.values()))
        self._updates = Tensor.wrap(array_module(first.data).zeros((), np.int64))
        self._stored: dict[str, Any] | None = None

    @property
    def updates(self) -> int:
        """How often `update` was called."""
        return int(self._updates.data)

    def update(self) -> None:
        """Move the averages towards the weights; call it after each step of the optimizer."""
        with no_grad():
            count_up(self._updates)
            how = {"decay": self.decay, "warm_up": self.warm_up}
            alone, together = self._parts()
            for name in alone:
                ema_update(self.averages[name], self._live[name], self._updates, **how)
            for names in together:
                ema_updates(self._updates, *[self.averages[n] for n in names],
                            *[self._live[n] for n in names], count=len(names), **how)

    def _parts(self) -> tuple[list[str], list[list[str]]]:
        """Names that are updated alone, and those of one type that are together.

        On a GPU a launch costs more than the arithmetic of most tensors; on a CPU it is a few us.
        """
        alone: list[str] = []
        alike: dict[Any, list[str]] = {}
        for name, t in self._live.items():
            if t.device == "cpu" or t.dtype.kind not in "fV":
                alone.append(name)
            else:
                alike.setdefault((t.device, t.dtype), []).append(name)
        return alone, list(alike.values())

    def copy_to(self, target: Module | Iterable[Tensor] | None = None) -> None:
        """Write the averages into the weights, or into another module of the same kind."""
        live = self._live if target is None else _named(target)
        if target is not None:
            _check_names("copy_to", live, self.averages)
        for name, average in self.averages.items():
            live[name].assign_(average)

    def store(self) -> None:
        """Keep a copy of the weights, for `restore`."""
        self._stored = {name: t.data.copy() for name, t in self._live.items()}

    def restore(self) -> None:
        """Write back the weights that `store` kept."""
        if self._stored is None:
            raise RuntimeError("[EMA] restore() without store(): no weights were kept")
        for name, kept in self._stored.items():
            self._live[name].assign_(kept)
        self._stored = None

    @contextmanager
    def average_parameters(self) -> Iterator[None]:
        """Inside, the weights are the averages; afterwards they are what they were, bit for bit."""
        outer = self._stored
        self.store()
        try:
            self.copy_to()
            yield
        finally:
            self.restore()
            self._stored = outer

    def state_dict(self) -> dict[str, Any]:
        """The averages (not copied) and what they were made with."""
        return {"decay": self.decay, "warm_up": self.warm_up, "updates": self.updates,
                "averages": dict(self.averages)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a `state_dict()`; the decay is taken from it too.

        Raises:
            KeyError, ValueError: it is of other weights; nothing is changed then.
        """
        saved = state_dict["averages"]
        _check_names("load_state_dict", saved, self.averages)
        for name, average in self.averages.items():
            average.assign_(saved[name])
        self.decay, self.warm_up = state_dict["decay"], state_dict["warm_up"]
        self._updates.assign_(state_dict["updates"])

    def __repr__(self) -> str:
        return (f"EMA({len(self.averages)} tensors, decay={self.decay}, warm_up={self.warm_up}, "
                f"updates={self.updates})")


def _named(source: Any) -> dict[str, Tensor]:
    if isinstance(source, Module):
        saved = source.state_dict().keys()
        every = [*source.named_parameters(), *source.named_buffers()]
        return {name: t for name, t in every if name in saved}
    if isinstance(source, Tensor) or not isinstance(source, Iterable):
        raise TypeError("[EMA] source must be a module or an iterable of tensors, got a "
                        f"{type(source).__name__}")
    found = {str(i): t for i, t in enumerate(source)}
    for name, t in found.items():
        if not isinstance(t, Tensor):
            raise TypeError(f"[EMA] parameter {name} must be a Tensor, got {type(t).__name__}")
    return found


def _check_names(what: str, given: Mapping[str, Any], own: Mapping[str, Tensor]) -> None:
    """Raise unless both hold tensors of the same names and shapes."""
    if given.keys() != own.keys():
        name = min(given.keys() ^ own.keys())
        where = "is not averaged here" if name in given else "is missing"
        raise KeyError(f"[EMA] {what}: {name!r} {where}")
    for name, t in own.items():
        if tuple(given[name].shape) != t.shape:
            raise ValueError(f"[EMA] {what}: {name!r} is {tuple(given[name].shape)} there and "
                             f"{t.shape} here")
