"""Which operation made the NaN: the steps since the last good state, run again and watched."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..anomaly import AnomalyError, detect_anomaly
from .errors import NonFiniteError
from .session import capture, restore
from .state import first_non_finite

if TYPE_CHECKING:
    from .trainer import Trainer

__all__ = ["find_culprit"]


def find_culprit(trainer: Trainer, seen: str, last_step: int) -> NonFiniteError:
    """Replay from the trainer's snapshot up to `last_step`; the error that names the op.

    Training is exact, so the replay meets the same numbers: plain steps, each after a copy of the
    state, until one leaves a loss or a weight that is not finite; that one again, without jit, with
    `detect_anomaly`. The model is left as it was before that step.

    Args:
        trainer: at any state; it has a snapshot from before the trouble.
        seen: what was noticed, for the message.
        last_step: where to give up.
    """
    restore(trainer, trainer.snapshot)
    batches = trainer.batches()
    while trainer.step < last_step:
        before = capture(trainer, copy=True)
        images, labels = next(batches)
        losses = trainer.train_step(images, labels)
        step = trainer.step
        weights = first_non_finite(trainer.model.state_dict())
        if weights is None and all(math.isfinite(float(v)) for v in losses.values()):
            continue
        restore(trainer, before)
        text = _watch(trainer, images, labels, weights)
        restore(trainer, before)
        return NonFiniteError(_message(trainer, step, seen, text))
    return NonFiniteError(_message(trainer, last_step, seen, (
        "running the same steps again gave finite numbers, so a faulty memory or a change of the "
        "data while training is likely")))


def _watch(trainer: Trainer, images: Any, labels: Any, weights: str | None) -> str:
    """Run one step under `detect_anomaly`; what happened, in words."""
    bad = first_non_finite({"images": images})
    if bad:
        return "the batch of images itself holds a NaN or Inf"
    try:
        with detect_anomaly():
            trainer.train_step(images, labels)
    except AnomalyError as error:
        return str(error)
    if weights is None:
        return "no operation made it from finite numbers; the loss was computed outside of ops"
    rates = {f"{name}: lr {group['lr']:g}" for name, optimizer in trainer.optimizers.items()
             for group in optimizer.param_groups if "lr" in group}
    return f"the optimizer's update made {weights} overflow ({', '.join(sorted(rates))})"


def _message(trainer: Trainer, step: int, seen: str, cause: str) -> str:
    kept = trainer.last_checkpoint
    lines = [f"training stopped at step {step}: {seen}", f"  cause: {cause}",
             "  The model holds its weights from before that step."]
    if kept is not None:
        lines.append(f"  The last good checkpoint is {kept}")
    lines.append("  A lower learning rate or clipping the gradients often helps.")
    return "\n".join(lines)
