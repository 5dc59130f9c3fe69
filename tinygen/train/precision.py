"""Training steps in mixed precision: `Trainer(precision="bf16-mixed")`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["PRECISIONS", "ScaledOptimizer", "check_precision", "mixed_step", "scaled"]

# Name -> the type of products; float16 needs its losses scaled.
PRECISIONS = {"32": None, "bf16-mixed": "bfloat16", "16-mixed": "float16"}


def check_precision(precision: str) -> None:
    """Raise for a name that is not among `PRECISIONS`."""
    if precision not in PRECISIONS:
        raise ValueError(f"[Trainer] precision must be one of {', '.join(PRECISIONS)}, got "
                         f"{precision!r}")


class ScaledOptimizer:
    """An optimizer whose `step` divides the gradients by the scale, and passes over overflows.

    All else is the optimizer's own.
    """

    def __init__(self, optimizer: Any, scaler: Any):
        self._optimizer, self._scaler = optimizer, scaler

    def step(self, *args: Any, **kwargs: Any) -> Any:
        """Unscale, and step if all gradients are finite (clipped, where the optimizer clips)."""
        return self._scaler.step(self._optimizer, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._optimizer, name)


def scaled(optimizers: Mapping[str, Any], precision: str,
           device: str) -> tuple[dict[str, Any], Any]:
    """The optimizers as a precision needs them, and the `GradScaler` (None where none is)."""
    if precision != "16-mixed":
        return dict(optimizers), None
    from ..amp import GradScaler

    scaler = GradScaler(device)
    return {name: ScaledOptimizer(o, scaler) for name, o in optimizers.items()}, scaler


def mixed_step(step: Callable[..., Any], precision: str, device: str,
               scaler: Any = None) -> Callable[..., Any]:
    """`step(images, labels, optimizers)` inside of autocast; its `backward()` calls are scaled."""
    dtype = PRECISIONS[precision]
    if dtype is None:
        return step
    from ..amp import autocast

    kind = device.partition(":")[0]

    def run(images: Any, labels: Any, optimizers: Any) -> Any:
        with autocast(kind, dtype=dtype):
            if scaler is None:
                return step(images, labels, optimizers)
            with scaler.scaling():
                losses = step(images, labels, optimizers)
            if scaler.waits:
                scaler.update()
            return losses
    return run
