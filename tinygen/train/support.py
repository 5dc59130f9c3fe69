"""Small parts of the trainer: arguments in one form, clipped optimizers, what a run is."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import random
from .._version import __version__
from ..autograd import no_grad
from ..optim.lr_scheduler import ReduceLROnPlateau
from ..tensor import Tensor
from .errors import TrainingError

__all__ = ["ClippedOptimizer", "as_parts", "check_arguments", "run_config", "split_batch",
           "step_plateaus", "stop_on_full_disk", "undisturbed"]


class ClippedOptimizer:
    """An optimizer whose `step` first clips the gradients to a norm; all else is its own."""

    def __init__(self, optimizer: Any, max_norm: float):
        if not max_norm > 0:
            raise ValueError(f"[Trainer] clip_norm must be positive, got {max_norm!r}")
        self._optimizer, self._max_norm = optimizer, max_norm

    def step(self, *args: Any, **kwargs: Any) -> Any:
        """Clip, then step."""
        from ..nn.utils import clip_grad_norm_

        clip_grad_norm_([p for group in self._optimizer.param_groups for p in group["params"]],
                        self._max_norm)
        return self._optimizer.step(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._optimizer, name)


def as_parts(parts: Any, name: str) -> dict[str, Any]:
    """None, one object, several or a dictionary of them, as a dictionary."""
    if parts is None:
        return {}
    if isinstance(parts, Mapping):
        return dict(parts)
    if isinstance(parts, Sequence):
        return {f"{name}{i}": part for i, part in enumerate(parts)}
    return {name: parts}


def step_plateaus(schedulers: Mapping[str, Any], value: float | None) -> None:
    """Give the watched metric of an epoch to the schedulers that wait for it to stop falling."""
    for name, scheduler in schedulers.items():
        if isinstance(scheduler, ReduceLROnPlateau):
            if value is None:
                raise TrainingError(f"the scheduler {name}, a ReduceLROnPlateau, needs a metric at "
                                    "the end of each epoch: Trainer(..., monitor=...) names one")
            scheduler.step(value)


def split_batch(batch: Any, device: str = "cpu") -> tuple[Tensor, Tensor | None]:
    """(images, labels) of what a loader gives; labels are None where there are none."""
    images, labels = (batch if isinstance(batch, (tuple, list)) and len(batch) > 1
                      else (batch[0] if isinstance(batch, (tuple, list)) else batch, None))
    if device == "cpu":
        return images, labels
    return images.to(device), None if labels is None else labels.to(device)


def check_arguments(loader: Any, epochs: int | None, steps: int | None, schedule_per: str,
                    **counts: int | None) -> None:
    """Raise for arguments of a Trainer that cannot be meant."""
    if (epochs is None) == (steps is None):
        raise TypeError("[Trainer] give epochs or steps, one of them")
    for name, value in {"epochs": epochs, "steps": steps, **counts}.items():
        if value is not None and (not isinstance(value, (int, np.integer)) or value < 1):
            raise ValueError(f"[Trainer] {name} must be an integer of at least 1, got {value!r}")
    if schedule_per not in ("epoch", "step"):
        raise ValueError(f"[Trainer] schedule_per must be 'epoch' or 'step', got {schedule_per!r}")
    if not all(hasattr(loader, name) for name in ("state_dict", "load_state_dict", "__len__")):
        raise TypeError("[Trainer] loader must be a tinygen.data.DataLoader, or have its "
                        f"state_dict, load_state_dict and len; got {type(loader).__name__}")


def run_config(model: Any, loader: Any, seed: int, total_steps: int,
               extra: Mapping[str, Any]) -> dict[str, Any]:
    """What config.json says about a run: the model, the training, the versions."""
    return {
        "format": 1, "model": getattr(model, "name", type(model).__name__),
        "model_config": model.config() if hasattr(model, "config") else None,
        "seed": seed, "batch_size": getattr(loader, "batch_size", None),
        "steps_per_epoch": len(loader), "total_steps": total_steps, **extra,
        "versions": {"tinygen": __version__, "numpy": np.__version__,
                     "python": platform.python_version()},
    }


@contextlib.contextmanager
def undisturbed(model: Any, ema: Any = None) -> Iterator[None]:
    """Inside, the model evaluates, with averaged weights if there are some, and records nothing.

    Afterwards weights, modes and the random stream are what they were.
    """
    stream = random.get_state()
    modes = [(m, m.training) for m in model.modules()]
    try:
        model.eval()
        average = ema.average_parameters() if ema is not None else contextlib.nullcontext()
        with average, no_grad(), np.errstate(all="ignore"):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        random.set_state(stream)


@contextlib.contextmanager
def stop_on_full_disk(trainer: Any) -> Iterator[None]:
    """Inside, a file that cannot be written becomes a TrainingError that says how to go on."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None), errno.EFBIG)
        what = f"no room is left to write {_name(error) or trainer.out}" if full else (
            f"cannot write {_name(error) or trainer.out}")
        kept: Path | None = trainer.last_checkpoint
        then = ("There is no checkpoint yet." if kept is None else
                f"The last good checkpoint is {kept}. "
                f"{'Free some space, then continue' if full else 'Continue'} with: "
                f"{trainer.resume_with}")
        raise TrainingError(f"training stopped at step {trainer.step}: {what} "
                            f"({error.strerror or error}). {then}") from error


def _name(error: OSError) -> str | None:
    return None if error.filename is None else os.fsdecode(error.filename)
