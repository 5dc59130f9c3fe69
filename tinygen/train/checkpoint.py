"""Checkpoints: one file each, whole or absent, checked before it is believed.

A checkpoint is a safetensors file of `tinygen.save`: written beside its name, synchronised to the
disk and renamed, so that neither `kill -9` nor a full disk leaves half a file under a
checkpoint's name, and with a SHA-256 of all that is in it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .. import serialization
from ..provenance import metadata
from .errors import CheckpointError
from .origin import origin

__all__ = ["BEST", "Checkpoints", "clean_temporaries", "read_checkpoint"]

FORMAT = 1
BEST = "best.safetensors"
_NAME = re.compile(r"step-(\d{8,})\.safetensors")
_TEMPORARY = (".*.part", ".*.tmp")  # what a killed process may leave in a run's folders


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state in a checkpoint, after a check of every byte.

    Raises CheckpointError, naming the file, if it is missing, cut off, changed, or no checkpoint.
    """
    try:
        state = serialization.load(path)
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {path}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error.strerror}") from error
    except serialization.DamagedFileError as error:
        raise CheckpointError(f"the checkpoint cannot be used: {error}") from None
    version = state.get("format")
    if not isinstance(version, int):
        raise CheckpointError(f"{path} holds tensors, but no training state: it was not written "
                              "by tinygen's Trainer")
    if version != FORMAT:
        raise CheckpointError(f"the checkpoint {path} has format {version}; this tinygen reads "
                              f"format {FORMAT}")
    return state


class Checkpoints:
    """The checkpoints of one run: `FOLDER/step-00001234.safetensors`, and `best.safetensors`.

    `keep` is how many of the newest stay; the best stays beside them.
    """

    def __init__(self, folder: Path, keep: int = 3):
        self.folder, self.keep = folder, keep
        self.best = folder / BEST

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step is, or would be."""
        return self.folder / f"step-{step:08d}.safetensors"

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, in order; whether it is whole is not looked at."""
        if not self.folder.is_dir():
            return []
        found = (_NAME.fullmatch(entry.name) for entry in self.folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def save(self, step: int, state: Mapping[str, Any], best: bool = False) -> Path:
        """Write the checkpoint of a step, make it the best one if told so, drop the oldest.

        Raises OSError where it cannot be written; the checkpoints that were there stay.
        """
        path = self.path(step)
        notes = metadata(origin(state["config"], state["config"].get("seed"), step)) if (
            "config" in state) else None
        serialization.save({"format": FORMAT, **state}, path, notes)
        if best:
            self.make_best(step)
        for old in self.steps()[:-self.keep]:
            if old != step:
                self.path(old).unlink(missing_ok=True)
        return path

    def make_best(self, step: int) -> None:
        """Let `best.safetensors` be the checkpoint of a step: a second name, where links exist."""
        part = self.folder / f".{BEST}.{os.getpid()}.part"
        part.unlink(missing_ok=True)
        try:
            os.link(self.path(step), part)
        except OSError:  # a file system without hard links: a copy does as well
            serialization.write_atomically(self.best, self.path(step).read_bytes())
            return
        os.replace(part, self.best)
        part.unlink(missing_ok=True)  # os.replace leaves two names of one file as they are

    def newest(self, warn: Callable[[str], None]) -> tuple[Path, dict[str, Any]] | None:
        """The newest checkpoint that is whole, and its state; None where there is none.

        `warn` hears of each damaged one that was passed over. Raises CheckpointError if
        checkpoints exist and all are damaged.
        """
        refused: list[str] = []
        for step in reversed(self.steps()):
            path = self.path(step)
            try:
                state = read_checkpoint(path)
            except CheckpointError as error:
                refused.append(str(error))
                continue
            for text in refused:
                warn(f"{text}; going back to {path.name}")
            return path, state
        if refused:
            raise CheckpointError("no checkpoint can be used:\n  " + "\n  ".join(refused))
        return None

    def set_aside_after(self, step: int) -> list[Path]:
        """Rename the checkpoints of later steps to `NAME.old`, so that none is taken for newest."""
        moved = []
        for later in self.steps():
            if later > step:
                path = self.path(later)
                moved.append(path.replace(path.with_name(path.name + ".old")))
        return moved


def clean_temporaries(folder: Path) -> None:
    """Remove from a folder the unfinished files of a process that was killed while writing."""
    for pattern in _TEMPORARY:
        for left in folder.glob(pattern):
            left.unlink(missing_ok=True)
