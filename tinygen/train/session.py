"""The state of a run between two steps: taken out, put back, found again after a stop."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import random
from .checkpoint import read_checkpoint
from .errors import CheckpointError, TrainingError, TrainingWarning
from .state import copy_state

if TYPE_CHECKING:
    from .trainer import Trainer

__all__ = ["capture", "restore", "resume"]

# What makes a run that run: a checkpoint with other values is of another one.
IDENTITY = ("model", "model_config", "seed", "batch_size")


def capture(trainer: Trainer, copy: bool = False) -> dict[str, Any]:
    """All that the next step depends on. Tensors share the model's memory unless `copy`."""
    state = {
        "step": trainer.step, "config": trainer.config, "model": trainer.model.state_dict(),
        **{kind: {name: part.state_dict() for name, part in parts.items()}
           for kind, parts in _parts(trainer).items()},
        "loader": trainer.loader.state_dict(), "random": random.get_state(),
        "averages": trainer.averages.state_dict(), "best": trainer.best,
        "stopped": trainer.stopped,
    }
    if trainer._jitted is not None and trainer._jitted.unsteady:    # the next steps run as they are
        state["jit"] = trainer._jitted.reason
    return copy_state(state) if copy else state


def restore(trainer: Trainer, state: Mapping[str, Any]) -> None:
    """Go to a captured state."""
    for kind, parts in _parts(trainer).items():
        found = state.get(kind, {})                  # older checkpoints have no `ema`
        if set(parts) != set(found):
            raise ValueError(f"it has the {kind} {sorted(found)}, this trainer "
                             f"{sorted(parts)}")
    trainer.model.load_state_dict(state["model"])
    for kind, parts in _parts(trainer).items():
        for name, part in parts.items():
            part.load_state_dict(state[kind][name])
    trainer.loader.load_state_dict(state["loader"])
    random.set_state(state["random"])
    trainer.averages.load_state_dict(state["averages"])
    trainer.step, trainer.best = state["step"], state["best"]
    trainer.stopped = state["stopped"]
    if trainer._jitted is not None:
        trainer._jitted.restart(state.get("jit"))


def _parts(trainer: Trainer) -> dict[str, dict[str, Any]]:
    """What keeps a state of its own, by kind and by a name that lasts."""
    callbacks = {f"{i}-{type(c).__name__}": c for i, c in enumerate(trainer.user_callbacks)
                 if c.state_dict()}
    return {"optimizers": trainer.optimizers, "schedulers": trainer.schedulers,
            "callbacks": callbacks, "ema": {} if trainer.ema is None else {"model": trainer.ema},
            "scaler": {} if trainer.scaler is None else {"loss": trainer.scaler}}


def resume(trainer: Trainer, source: bool | str | Path) -> Path | None:
    """Load the newest whole checkpoint (`source` is True) or the one at a path; which it was.

    None: there is no checkpoint yet. Later checkpoints, and damaged ones, are renamed to
    `NAME.old`, so that none is taken for the newest of what follows.
    """
    if trainer.checkpoints is None:
        raise TrainingError("[Trainer] resume=True needs the run's folder: Trainer(..., out=...)")
    if source is True:
        found = trainer.checkpoints.newest(lambda text: warnings.warn(
            text, TrainingWarning, stacklevel=6))
        if found is None:
            return None
        path, state = found
    else:
        path = Path(str(source))
        state = read_checkpoint(path)
    saved = state["config"]
    different = [f"{key} is {saved.get(key)!r} there and {trainer.config[key]!r} here"
                 for key in IDENTITY if saved.get(key) != trainer.config[key]]
    if different:
        raise CheckpointError(f"{path} is of another run: " + "; ".join(different))
    try:
        restore(trainer, state)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"the checkpoint {path} does not fit: {error}") from error
    moved = trainer.checkpoints.set_aside_after(trainer.step)
    if moved and source is not True:   # else all of them are damaged, and have been named
        warnings.warn(f"set aside, because later than {path.name}: "
                      + ", ".join(p.name for p in moved), TrainingWarning, stacklevel=4)
    if trainer.best and trainer.best["step"] == trainer.step:
        if path == trainer.checkpoints.path(trainer.step):
            trainer.checkpoints.make_best(trainer.step)  # a kill may have come between the two
    return path
