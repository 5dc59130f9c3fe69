"""GradScaler: keep float16 gradients within range, and pass over steps where they left it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import backend, ops
from ..autograd import no_grad
from ..mode import TAPE, local
from ..primitive import primitive
from ..tensor import Tensor

__all__ = ["GradScaler"]


@primitive
def unscale(xp, scale, *grads):
    """grads /= scale, in place; 1 if one of their elements is not finite, else 0."""
    found = xp.zeros((), "float32")
    for g in grads:
        found = xp.maximum(found, xp.logical_not(xp.isfinite(g).all()))
        xp.multiply(g, (1 / scale).astype(g.dtype), out=g)
    return found.astype("float32")
unscale.writes = slice(1, None)


@primitive
def restore_where(xp, skip, *arrays, count):
    """Where `skip` is not 0: the first `count` arrays become the other ones again, in place."""
    for x, old in zip(arrays[:count], arrays[count:], strict=True):
        xp.copyto(x, old, where=skip != 0)
    return skip
restore_where.writes = lambda count: range(1, 1 + count)


@primitive
def update_scale(xp, scale, steps, found, *, growth, backoff, interval):
    """In place: scale *= backoff if `found` is not 0, *= growth after `interval` steps without."""
    bad, due = found != 0, steps + 1 >= interval
    larger = scale * growth
    larger = xp.where(xp.isfinite(larger), larger, scale)
    scale[...] = xp.where(bad, scale * backoff, xp.where(due, larger, scale))
    steps[...] = xp.where(xp.logical_or(bad, due), 0, steps + 1)
    return scale
update_scale.writes = (0, 1)


class GradScaler:
    """Multiply the loss, divide the gradients: small float16 gradients do not become 0.

    The scale grows until a gradient overflows; that step is passed over and the scale shrinks.
    Whether it is, is decided where the gradients are: on a GPU, and in a recorded program, nobody
    waits for the answer.

    Args:
        device: where `scale` lives, "cpu" or "cuda".
        init_scale: the first scale.
        growth_factor: its factor after `growth_interval` steps without an overflow.
        backoff_factor: its factor after an overflow.
        enabled: False makes every method do nothing: `step` is the optimizer's.

    >>> import tinygen as tg
    >>> layer = tg.nn.Linear(3, 1)
    >>> optimizer = tg.optim.SGD(layer.parameters(), lr=0.1)
    >>> scaler = tg.GradScaler("cpu", init_scale=1024.0)
    >>> with tg.autocast("cpu", dtype=tg.float16):
    ...     loss = layer(tg.ones((4, 3))).square().mean()
    >>> scaler.scale(loss).backward()
    >>> scaler.step(optimizer)
    >>> scaler.update()
    >>> scaler.get_scale()
    1024.0
    """

    def __init__(self, device: Any = "cuda", init_scale: float = 65536.0,
                 growth_factor: float = 2.0, backoff_factor: float = 0.5,
                 growth_interval: int = 2000, enabled: bool = True):
        if not growth_factor > 1:
            raise ValueError(f"[GradScaler] growth_factor must be above 1, got {growth_factor!r}")
        if not 0 < backoff_factor < 1:
            raise ValueError("[GradScaler] backoff_factor must be between 0 and 1, got "
                             f"{backoff_factor!r}")
        if growth_interval < 1 or not init_scale > 0:
            raise ValueError("[GradScaler] init_scale and growth_interval must be positive, got "
                             f"{init_scale!r} and {growth_interval!r}")
        reason = None
        if str(device).startswith("cuda") and enabled:
            reason = backend.unavailable_reason()
            if reason:
                warnings.warn(f"GradScaler('cuda') does nothing: {reason}", RuntimeWarning,
                              stacklevel=2)
        self._enabled = bool(enabled) and not reason
        self._growth, self._backoff = float(growth_factor), float(backoff_factor)
        self._interval = int(growth_interval)
        place = device if self._enabled else "cpu"
        self._scale = ops.full((), init_scale, dtype=np.float32, device=place)
        self._steps = ops.zeros((), dtype=np.int32, device=place)   # since the scale changed
        self._found: dict[int, Tensor] = {}         # by optimizer: 1 if a gradient overflowed
        self._stepped: set[int] = set()

    # -- a step -----------------------------------------------------------------------------------

    def scale(self, outputs: Any) -> Any:
        """A loss, or several in lists and dictionaries, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self._scale.to(device=outputs.device)
        if isinstance(outputs, Mapping):
            return {name: self.scale(x) for name, x in outputs.items()}
        if isinstance(outputs, (list, tuple)):
            return type(outputs)([self.scale(x) for x in outputs])
        raise TypeError(f"[GradScaler] scale() takes tensors, got {type(outputs).__name__}")

    @contextmanager
    def scaling(self) -> Iterator[None]:
        """Inside, `loss.backward()` means `scaler.scale(loss).backward()`: for training steps that
        call it themselves. Calls with a gradient of their own are as always."""
        before = local.loss_scale
        local.loss_scale = self._scale if self._enabled else None
        try:
            yield
        finally:
            local.loss_scale = before

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of an optimizer's parameters by the scale, in place.

        `step` does this if it was not done before; do it to clip gradients.

        Raises:
            RuntimeError: it was done since the last `update()`.
            ValueError: a gradient is float16: keep parameters in float32.
        """
        if not self._enabled:
            return
        if id(optimizer) in self._found:
            raise RuntimeError("[GradScaler] unscale_() has been called on this optimizer since "
                               "the last update()")
        if id(optimizer) in self._stepped:
            raise RuntimeError("[GradScaler] unscale_() was called after step()")
        by_device: dict[str, list[Any]] = {}
        for p in _learning(optimizer):
            if p.grad.dtype == np.float16:
                raise ValueError(f"[GradScaler] a parameter {p.shape} has float16 gradients, which "
                                 "cannot be unscaled without loss: keep parameters in float32, and "
                                 "use autocast")
            by_device.setdefault(p.device, []).append(p)
        if not by_device:
            raise RuntimeError("[GradScaler] no parameter of the optimizer has a gradient: call "
                               "scaler.scale(loss).backward() first")
        found = None
        with no_grad(), np.errstate(all="ignore"):
            for device, learning in by_device.items():
                if local.mode & TAPE:       # a recorded gradient may be a view, or that of two
                    for p in learning:
                        p.grad = ops.positive(p.grad)
                grads = [p.grad for p in learning]
                part = unscale(self._scale.to(device=device), *grads).to(device=self._scale.device)
                found = part if found is None else ops.maximum(found, part)
                for g in grads:
                    g.touch()
        assert found is not None
        self._found[id(optimizer)] = found

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """`optimizer.step()`, unless a gradient is infinite or NaN: then nothing changes.

        Raises:
            RuntimeError: called twice since the last `update()`, or with a closure.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs or (args and callable(args[0])):
            raise RuntimeError("[GradScaler] step() does not work with a closure")
        if id(optimizer) in self._stepped:
            raise RuntimeError("[GradScaler] step() has been called on this optimizer since the "
                               "last update()")
        if id(optimizer) not in self._found:
            self.unscale_(optimizer)
        self._stepped.add(id(optimizer))
        found = self._found[id(optimizer)]
        if found.device == "cpu" and not local.mode & TAPE:        # nobody has to wait for it
            return None if found.item() else optimizer.step(*args, **kwargs)
        changed: list[Tensor] = optimizer.changes()
        with no_grad():
            before = [ops.positive(x) for x in changed]
        result = optimizer.step(*args, **kwargs)
        with no_grad():
            restore_where(found, *changed, *before, count=len(changed))
        for x in changed:
            x.touch()
        return result

    def update(self, new_scale: Any = None) -> None:
        """Let the scale grow or shrink by what the steps since the last `update()` found.

        Args:
            new_scale: the scale from now on, a number or a tensor.

        Raises:
            RuntimeError: no gradients were looked at since the last `update()`.
        """
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale.assign_(new_scale)
        else:
            if not self._found:
                raise RuntimeError("[GradScaler] update() was called before unscale_() or step()")
            with no_grad(), np.errstate(all="ignore"):
                found = None
                for part in self._found.values():
                    found = part if found is None else ops.maximum(found, part)
                update_scale(self._scale, self._steps, found, growth=self._growth,
                             backoff=self._backoff, interval=self._interval)
            self._scale.touch()
            self._steps.touch()
        self._found.clear()
        self._stepped.clear()

    @property
    def waits(self) -> bool:
        """Whether gradients were looked at since the last `update()`."""
        return bool(self._found)

    # -- looking at it ----------------------------------------------------------------------------

    def is_enabled(self) -> bool:
        """Whether it does anything."""
        return self._enabled

    def get_scale(self) -> float:
        """The scale as a number (1 if it is not enabled); on a GPU this waits."""
        return float(self._scale.item()) if self._enabled else 1.0

    def get_growth_factor(self) -> float:
        """What the scale is multiplied by after a time without overflows."""
        return self._growth

    def get_backoff_factor(self) -> float:
        """What the scale is multiplied by after an overflow."""
        return self._backoff

    def get_growth_interval(self) -> int:
        """How many steps without an overflow let the scale grow."""
        return self._interval

    def state_dict(self) -> dict[str, Any]:
        """Scale and options under PyTorch's names; empty if it is not enabled."""
        if not self._enabled:
            return {}
        return {"scale": self.get_scale(), "growth_factor": self._growth,
                "backoff_factor": self._backoff, "growth_interval": self._interval,
                "_growth_tracker": int(self._steps.item())}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a `state_dict()`, PyTorch's too.

        Raises:
            KeyError: something is missing.
        """
        if not self._enabled:
            return
        missing = [name for name in self.state_dict() if name not in state_dict]
        if missing:
            raise KeyError(f"[GradScaler] the state has no {', '.join(missing)}: it comes from a "
                           "scaler that was not enabled, or from something else")
        self._growth = float(state_dict["growth_factor"])
        self._backoff = float(state_dict["backoff_factor"])
        self._interval = int(state_dict["growth_interval"])
        self._scale.assign_(float(state_dict["scale"]))
        self._steps.assign_(int(state_dict["_growth_tracker"]))


def _learning(optimizer: Any) -> list[Any]:
    """The parameters of an optimizer that have a gradient."""
    return [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
