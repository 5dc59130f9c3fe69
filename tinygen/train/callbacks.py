"""What happens beside the training steps: metrics files, pictures of samples, curves.

A callback sees the trainer at fixed moments. Whatever it draws or measures leaves the training
alone: `trainer.undisturbed()` gives back the random stream and the modes of the layers.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backend import Generator
from ..serialization import write_atomically
from ..tensor import Tensor
from .state import derive_seed

if TYPE_CHECKING:
    from .trainer import Trainer

__all__ = ["Callback", "Curves", "EarlyStop", "Metrics", "SampleGrid"]


class Callback:
    """The moments of a run; a subclass defines those that it wants.

    A callback with a state of its own defines `state_dict` and `load_state_dict` too (numbers,
    strings, lists, dictionaries, tensors): it is saved in every checkpoint.
    """

    def on_train_begin(self, trainer: Trainer) -> None:
        """Before the first step; a resumed run's state has been loaded."""

    def on_step_end(self, trainer: Trainer) -> None:
        """After every step; `trainer.losses` holds its losses as 0-d tensors."""

    def on_log(self, trainer: Trainer, row: dict[str, Any]) -> None:
        """Every `log_every` steps and at the end of an epoch: the row of means to log."""

    def on_epoch_end(self, trainer: Trainer) -> None:
        """After the last step of an epoch."""

    def on_train_end(self, trainer: Trainer) -> None:
        """After the last step of the run; the last checkpoint is written after this."""

    def on_exception(self, trainer: Trainer, error: BaseException) -> None:
        """When the run ends early: an error, Ctrl-C, a full disk."""

    def sync(self) -> None:
        """Make what was written last through a power cut; called before each checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to know."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict()`."""


class Metrics(Callback):
    """`metrics.jsonl`, one JSON object per logged step, and `metrics.csv`, the same as a table.

    A resumed run first drops the rows that came after its checkpoint, so no step appears twice.
    There are no clock times in them: an interrupted run leaves the same bytes as one that ran
    through.
    """

    def __init__(self, folder: Path):
        self.jsonl, self.csv = folder / "metrics.jsonl", folder / "metrics.csv"
        self._columns: list[str] = []

    def on_train_begin(self, trainer: Trainer) -> None:
        """Bring both files to the step that training starts from."""
        rows = [row for row in read_rows(self.jsonl) if row["step"] <= trainer.step]
        trainer.history[:] = rows
        write_atomically(self.jsonl, b"".join(map(_json_line, rows)))
        self._columns = _columns(rows)
        self._write_csv(rows)

    def on_log(self, trainer: Trainer, row: dict[str, Any]) -> None:
        """Append the row to both files."""
        append(self.jsonl, _json_line(row))
        if set(row) <= set(self._columns):
            append(self.csv, _csv_lines([row], self._columns))
        else:  # a metric that was not there before: the table gets a column
            self._columns = _columns(trainer.history)
            self._write_csv(trainer.history)

    def sync(self) -> None:
        """Sync both files: a checkpoint must not outlive the rows before it."""
        for path in (self.jsonl, self.csv):
            descriptor = os.open(path, os.O_RDWR)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _write_csv(self, rows: list[dict[str, Any]]) -> None:
        header = (",".join(self._columns) + "\n").encode()
        write_atomically(self.csv, header + _csv_lines(rows, self._columns))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl; a last line that was cut off is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_bytes().split(b"\n"):
        try:
            row = json.loads(line)
        except ValueError:  # cut off by a kill or a full disk, or the empty end of the file
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows


def append(path: Path, data: bytes) -> None:
    """Append bytes to a file at once: no buffer that a kill could lose."""
    with open(path, "ab", buffering=0) as out:
        while data:
            data = data[out.write(data) or 0:]


def _json_line(row: Mapping[str, Any]) -> bytes:
    # JSON has no NaN: null stands for it, so that any reader can read the file
    clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v
             for k, v in row.items()}
    return json.dumps(clean).encode() + b"\n"


def _columns(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(["step", "epoch", *(name for row in rows for name in row)]))


def _csv_lines(rows: list[dict[str, Any]], columns: list[str]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    for row in rows:
        writer.writerow({k: "" if v is None or v != v else v for k, v in row.items()})
    return text.getvalue().encode()


class SampleGrid(Callback):
    """Pictures of what the model generates, always from the same noise.

    `samples/step-00000100.png` and so on are the history, `samples.png` is the newest. The noise
    has a generator of its own, so drawing it, or not, changes nothing in the training.

    Args:
        folder: the run's folder.
        every: how often, in steps; None for the end of every epoch.
        n: how many images.
        seed: of the noise.
    """

    suffix = ".png"

    def __init__(self, folder: Path, every: int | None = None, n: int = 64, seed: int = 0):
        self.folder, self.every, self.n, self.seed = folder, every, n, seed
        self._inputs: tuple[Tensor, Tensor | None] | None = None

    def on_train_begin(self, trainer: Trainer) -> None:
        """Draw what the model makes before it has learnt anything."""
        if trainer.step == 0 or not (self.folder / f"samples{self.suffix}").exists():
            self.draw(trainer)

    def on_step_end(self, trainer: Trainer) -> None:
        """Draw when it is time."""
        due = trainer.epoch_ended if self.every is None else trainer.step % self.every == 0
        if due or trainer.step == trainer.total_steps:
            self.draw(trainer)

    def on_train_end(self, trainer: Trainer) -> None:
        """Draw the last model, if a callback stopped the run early."""
        if not self._path(trainer).exists():
            self.draw(trainer)

    def _path(self, trainer: Trainer) -> Path:
        return self.folder / "samples" / f"step-{trainer.step:08d}{self.suffix}"

    def draw(self, trainer: Trainer) -> None:
        """Write both pictures."""
        from ..provenance import embed
        from ..viz.png import encode_png, write_atomic
        from .origin import origin

        model = trainer.model
        cols, n = grid_layout(model, self.n)
        with trainer.undisturbed():
            if self._inputs is None:
                self._inputs = sample_inputs(model, n, self.seed)
            images = model.generate(*self._inputs)
        picture = embed(encode_png(grid_of(images, model.value_range, cols)), "png",
                        origin(trainer.config, self.seed, trainer.step))
        write_atomic(self._path(trainer), picture)
        write_atomic(self.folder / "samples.png", picture)


def grid_of(images: Tensor, value_range: tuple[float, float], cols: int | None = None,
            side: int = 512) -> np.ndarray:
    """A picture of a batch of images, enlarged by whole pixels as far as `side` pixels allow."""
    from ..viz import image_grid

    n, _, height, width = images.shape
    cols = min(cols or math.ceil(math.sqrt(n)), n)
    rows = math.ceil(n / cols)
    scale = max(1, min(side // (cols * width), side // (rows * height)))
    return image_grid(images.detach().to("cpu"), rows, cols, scale=scale, value_range=value_range)


def grid_layout(model: Any, n: int) -> tuple[int | None, int]:
    """Columns and images of a grid of about `n`: one column for each class, where there are some.

    None columns stands for a grid close to square.
    """
    classes = getattr(model, "num_classes", None)
    if classes is None or classes > min(n, 16):
        return None, n
    return classes, n // classes * classes


def sample_inputs(model: Any, n: int, seed: int, label: int | None = None,
                  ) -> tuple[Tensor, Tensor | None]:
    """Noise for `n` images and, for a conditional model, labels: `label`, or all in turn."""
    generator = Generator(derive_seed(seed, "samples"))
    z = model.noise(n, generator=generator)
    if not is_conditional(model):
        return z, None
    classes = np.arange(n) % model.num_classes if label is None else np.full(n, label)
    return z, Tensor(classes.astype(np.int64), device=z.device)


def is_conditional(model: Any) -> bool:
    """Whether the model wants labels to generate."""
    return getattr(model, "num_classes", None) is not None


class Curves(Callback):
    """`curves.png`, the logged losses over the steps; needs matplotlib, else there is none.

    Drawing takes about half a second, so it happens at most every `seconds`, and at the end.
    """

    def __init__(self, folder: Path, seconds: float = 20.0):
        self.folder, self.seconds = folder, seconds
        self._last = time.monotonic()

    def on_log(self, trainer: Trainer, row: dict[str, Any]) -> None:
        """Draw when the last picture is old."""
        if time.monotonic() - self._last >= self.seconds:
            self.draw(trainer)

    def on_train_end(self, trainer: Trainer) -> None:
        """Draw the whole run."""
        self.draw(trainer)

    def on_exception(self, trainer: Trainer, error: BaseException) -> None:
        """Draw what there is, unless the disk is what failed."""
        if not isinstance(error, OSError):
            self.draw(trainer)

    def draw(self, trainer: Trainer) -> None:
        """Write the picture; without matplotlib, or before the first logged step, nothing."""
        from ..viz import plot_curves

        self._last = time.monotonic()
        if not any(len(row) > 2 for row in trainer.history):
            return
        try:
            plot_curves(trainer.history, self.folder / "curves.png")
        except ModuleNotFoundError as error:
            if not trainer.told("curves"):
                trainer.say(f"No curves.png: {error}")


class EarlyStop(Callback):
    """Stop when a metric has not fallen for `patience` evaluations.

    Args:
        monitor: a name in the logged rows, such as `"eval_loss"`.
        patience: how many rows with this metric may pass without a new lowest value.
        min_delta: how much lower counts as lower.
    """

    def __init__(self, monitor: str = "eval_loss", patience: int = 5, min_delta: float = 0.0):
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.best, self.waited = math.inf, 0

    def on_log(self, trainer: Trainer, row: dict[str, Any]) -> None:
        """Look at the metric where the row has it."""
        if self.monitor not in row:
            return
        if row[self.monitor] < self.best - self.min_delta:
            self.best, self.waited = row[self.monitor], 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            trainer.stop(f"{self.monitor} has not fallen below {self.best:.6g} for "
                         f"{self.patience} evaluations")

    def state_dict(self) -> dict[str, Any]:
        """The lowest value and how long ago it was."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue counting."""
        self.best, self.waited = state["best"], state["waited"]
