"""What can stop a training run, each with a message that says what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["CheckpointError", "NonFiniteError", "TrainingError", "TrainingInterrupted",
           "TrainingWarning", "UsageError", "refuse_options"]


class TrainingError(RuntimeError):
    """Training cannot start or go on; the message says why and what helps."""


class CheckpointError(TrainingError):
    """A checkpoint is missing, damaged, or belongs to another model."""


class NonFiniteError(TrainingError):
    """A loss or a weight became NaN or infinite; the message names the op that made it."""


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM ended training at a step boundary; the message says how to resume."""

    def __init__(self, message: str, signal: int):
        super().__init__(message)
        self.signal = signal


class TrainingWarning(UserWarning):
    """Training goes on, but not quite as it was asked to; the message says how."""


class UsageError(TrainingError):
    """What the command line asks for does not fit together."""


def refuse_options(name: str, options: Mapping[str, Any], others: Iterable[str],
                   own: Sequence[str]) -> None:
    """Raise for options of models of images that the model `name` does not have.

    Args:
        options: what was given. others: the options of all models. own: those that this one has.
    """
    def flag(key: str) -> str:
        return f"--{key.replace('_', '-')}"
    for key in (k for k in ("size", "conditional", *others) if k not in own):
        if key in options:
            raise UsageError(f"{flag(key)} does not apply to {name}; these do: "
                             + ", ".join(map(flag, own)))
