"""A run's folder, found and read: which model, which data, which checkpoint."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checkpoint import Checkpoints, read_checkpoint
from .errors import CheckpointError, TrainingError, UsageError

__all__ = ["ELSEWHERE", "MODELS", "RECIPES", "TEXT_MODELS", "Run", "choose", "device_named",
           "is_folder", "load_data", "open_run"]

TEXT_MODELS = ("gpt", "translator", "text-vae")
MODELS = ("gan", "dcgan", "wgan-gp", "vae", "conv-vae", "vae-gan", *TEXT_MODELS)
# Trained as recipes.py says, each with its data; `--data` knows more names than those of pictures.
RECIPES = {"restorer": "digits", "inpainter": "digits", "cycle-gan": "pictures",
           "sentiment": "rt-polarity", "mult-vae": "ml-latest-small",
           "factorization": "ml-latest-small", "summarizer": "csl-title"}
RECIPE_DATA = ("pictures", "drawn", "rt-polarity", "ml-latest-small", "csl-title")
# No recipe: batches of three parts, or a training loop of their own. The example of each.
ELSEWHERE = {"video-moments": "video_moments", "captioner": "caption_images",
             "image-text": "match_images_text", "image-text-matcher": "match_images_text",
             "style-network": "style_network", "style-transfer": "style_transfer",
             "spoken-digits": "spoken_digits", "private-vae": "private_vae",
             "classifier": "classify_mnist"}


@dataclass
class Run:
    """A run on disk: its folder, what config.json says, and a checkpoint that was asked for."""

    folder: Path
    config: dict[str, Any]
    checkpoint: Path | None = None

    @property
    def checkpoints(self) -> Checkpoints:
        """The checkpoints in the folder."""
        return Checkpoints(self.folder / "checkpoints")

    def state(self, which: str | None, warn: Any) -> dict[str, Any]:
        """The state in a checkpoint: the newest whole one, `best`, a step, or a file."""
        if which in (None, "newest") and self.checkpoint is not None:
            return read_checkpoint(self.checkpoint)
        if which in (None, "newest"):
            found = self.checkpoints.newest(warn)
            if found is None:
                raise TrainingError(f"{self.folder} has no checkpoint yet")
            return found[1]
        if which == "best":
            return read_checkpoint(self.checkpoints.best)
        if which.isdigit() and int(which) in self.checkpoints.steps():
            return read_checkpoint(self.checkpoints.path(int(which)))
        if not Path(which).is_file():
            steps = ", ".join(map(str, self.checkpoints.steps())) or "none"
            raise UsageError(f"--checkpoint {which}: neither newest, best, a file, nor a step that "
                             f"was kept (those are: {steps})")
        return read_checkpoint(Path(which))

    def model(self, which: str | None, device: str, warn: Any) -> Any:
        """The trained model, in evaluation mode; its averaged weights, if the run has some."""
        from .. import models

        state = self.state(which, warn)
        config = state["config"]["model_config"] or {}
        if config.get("name") not in MODELS:
            raise TrainingError(f"{self.folder} holds a model of your own "
                                f"({state['config']['model']}); load it in Python: build it, then "
                                "model.load_state_dict(read_checkpoint(path)['model'])")
        model = models.build(**config)
        try:
            model.load_state_dict({**state["model"], **state.get("ema", {}).get("model", {}).get(
                "averages", {})})
        except RuntimeError as error:
            raise CheckpointError(f"the weights of {self.folder} do not fit: {error}") from None
        return model.to(device=device_named(device)).eval()


def open_run(path: str) -> Run:
    """The run in a folder, or of a checkpoint file.

    Raises UsageError where there is none.
    """
    place = Path(path)
    if place.is_file():
        folder = place.parent.parent if place.parent.name == "checkpoints" else place.parent
        return Run(folder, read_checkpoint(place)["config"], place)
    if not place.exists():
        others = [str(p.parent) for p in sorted(place.parent.glob("*/config.json"))]
        raise UsageError(f"there is no run {path}" + _did_you_mean(path, others))
    try:
        config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        newest = Checkpoints(place / "checkpoints").newest(lambda text: None)
        config = newest[1]["config"] if newest else None   # every checkpoint carries it too
    if isinstance(config, dict) and "model_config" in config:
        return Run(place, config)
    raise UsageError(f"{path} is no run: it has no config.json (a run is the folder that "
                     "`tinygen train` was given as --out)")


def choose(kind: str, given: str, known: tuple[str, ...]) -> str:
    """`given` if it is known; else a UsageError that names the nearest."""
    if given not in known:
        raise UsageError(f"there is no {kind} {given!r}{_did_you_mean(given, list(known))} "
                         f"({kind}s: {', '.join(known)})")
    return given


def _did_you_mean(given: str, known: list[str]) -> str:
    close = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def load_data(name: str, size: int | None, train: bool = True) -> Any:
    """The data set of that name, or the pictures in that folder.

    Raises UsageError for a name that is neither.
    """
    from .. import data

    if not Path(name).expanduser().exists() and name.lower().replace("_", "-") not in data.DATASETS:
        if not any(mark in name for mark in "/\\."):
            choose("data set", name, data.DATASETS)
        raise UsageError(f"--data {name}: the folder does not exist")
    return data.load(name, train=train, size=size)


def is_folder(name: str) -> bool:
    """Whether `--data` names a folder of pictures, which has no test part, or a text file."""
    from ..data import DATASETS, PAIRS, TEXTS

    return name.lower().replace("_", "-") not in (*DATASETS, *TEXTS, *PAIRS, *RECIPE_DATA)


def device_named(name: str) -> str:
    """The device's full name; UsageError, with the reason, if it cannot be had."""
    from ..backend import canonical_device

    try:
        return canonical_device(name)
    except (RuntimeError, ValueError) as error:
        raise UsageError(f"--device {name}: {error}") from None

