"""Trainer: one loop for every model, that can be stopped at any instant and goes on exactly.

A checkpoint holds all that the next step depends on: weights, optimizers, schedules, the random
stream, the loader's position and the running means. Everything else that a step writes (metrics,
pictures) is written before the checkpoint of that step, and what came after a checkpoint is
dropped or overwritten with the same bytes when the run resumes.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import random
from ..optim import EMA
from ..optim.lr_scheduler import ReduceLROnPlateau
from ..serialization import write_atomically
from ..tensor import Tensor
from .accumulate import check_accumulate
from .callbacks import Callback, Curves, Metrics, SampleGrid
from .checkpoint import Checkpoints, clean_temporaries
from .diagnose import find_culprit
from .errors import TrainingError, TrainingInterrupted
from .guard import StopSignals, locked
from .jitted import JittedStep, batches_vary, training_step
from .precision import check_precision, mixed_step, scaled
from .progress import Progress
from .session import capture, resume
from .state import Averages, derive_seed, first_non_finite
from .support import (
    ClippedOptimizer,
    as_parts,
    check_arguments,
    run_config,
    split_batch,
    step_plateaus,
    stop_on_full_disk,
    undisturbed,
)

__all__ = ["Trainer"]

SECONDS_BETWEEN_CHECKPOINTS = 60.0   # within long epochs, where nothing else was asked for
STEPS_BETWEEN_SNAPSHOTS = 50         # a copy of the state, to find out which op made a NaN


class Trainer:
    """Train a model of `tinygen.models` (or one with the same methods) on batches of images.

    Args:
        model: an `nn.Module` with `training_step(images, labels, optimizers) -> losses`,
            `configure_optimizers` and, for pictures, `noise`, `generate` and `value_range`.
        loader: a `tinygen.data.DataLoader`, or anything with its `len`, iteration and state.
        out: the folder for checkpoints, metrics and pictures; None writes nothing.
        epochs, steps: how long to train; give one of them.
        optimizers: by name, as `training_step` wants them (default: the model's own).
        lr: learning rate for the model's own optimizers (default: the model's).
        callbacks: more `Callback`s; they run after the built-in ones.
        seed: of the random numbers drawn while training, and of the samples' noise.
        log_every: steps between two rows of metrics, each the mean of the losses since the last.
        checkpoint_every: steps between checkpoints; None for every epoch, and once a minute.
        sample_every: steps between pictures of samples; None for every epoch.
        samples: how many images in a picture; 0 for no pictures.
        keep: how many of the newest checkpoints stay, beside the best.
        eval_loader: batches to evaluate on at the end of each epoch (`eval_...` in the metrics).
        monitor: the metric whose lowest value makes a checkpoint the best (default:
            `eval_loss`, or the epoch's mean `loss`, where there is one).
        schedulers: one learning-rate scheduler, several, or a dictionary of them.
        schedule_per: `"epoch"` or `"step"`: how often schedulers advance (ReduceLROnPlateau: at
            the end of each epoch, by the value of `monitor`).
        clip_norm: clip each optimizer's gradients to this norm before its step.
        accumulate: pass each batch through the model in so many parts, for one update (same
            result, less memory; see `accumulated_step`).
        ema_decay: average the weights (`trainer.ema`, an `optim.EMA` with warm-up); pictures,
            evaluations and `tinygen sample` use the average.
        jit: record steps and replay them (`tg.jit`): the same run up to rounding, sooner. A step
            that cannot be recorded runs as it is, and a message says why.
        precision: "32"; "bf16-mixed" and "16-mixed" compute the steps under `tg.autocast`, with
            weights in float32, the latter with a `GradScaler` (`trainer.scaler`). Evaluations and
            pictures are in float32.
        config: what else to keep in config.json.
        progress: a `Progress`, True for one on standard error, False for silence.
        resume_with: what to tell the user to type after a stop.

    >>> trainer = Trainer(model, loader, out="runs/vae", epochs=10)     # doctest: +SKIP
    >>> trainer.fit()                                                   # doctest: +SKIP
    """

    def __init__(self, model: Any, loader: Any, out: str | Path | None = None, *,
                 epochs: int | None = None, steps: int | None = None,
                 optimizers: Mapping[str, Any] | Any | None = None, lr: float | None = None,
                 callbacks: Sequence[Callback] = (), seed: int = 0, log_every: int = 10,
                 checkpoint_every: int | None = None, sample_every: int | None = None,
                 samples: int = 64, keep: int = 3, eval_loader: Any = None,
                 monitor: str | None = None, schedulers: Any = None, schedule_per: str = "epoch",
                 clip_norm: float | None = None, accumulate: int = 1,
                 ema_decay: float | None = None, jit: bool = True, precision: str = "32",
                 config: Mapping[str, Any] | None = None,
                 progress: Progress | bool = True, resume_with: str | None = None):
        check_arguments(loader, epochs, steps, schedule_per, log_every=log_every, keep=keep,
                        checkpoint_every=checkpoint_every, sample_every=sample_every,
                        accumulate=accumulate)
        check_accumulate(model, accumulate)
        self.model, self.loader, self.eval_loader = model, loader, eval_loader
        self.out = None if out is None else Path(out)
        self.seed, self.log_every, self.monitor = seed, log_every, monitor
        self.checkpoint_every, self.schedule_per = checkpoint_every, schedule_per
        self.steps_per_epoch = len(loader)
        self.total_steps: int = steps or (epochs or 0) * self.steps_per_epoch
        self.optimizers = as_parts(model.configure_optimizers(lr) if optimizers is None
                                   else optimizers, "optimizer")
        self._device = next((t.device for t in model.state_dict().values()), "cpu")
        check_precision(precision)
        self._stepped, self.scaler = scaled(self.optimizers if clip_norm is None else {
            name: ClippedOptimizer(o, clip_norm) for name, o in self.optimizers.items()},
            precision, self._device)
        self._step = mixed_step(training_step(model, accumulate), precision, self._device,
                                self.scaler)
        self._jitted = JittedStep(self._step, getattr(model, "name", type(model).__name__),
                                  self.say, batches_vary(loader)) if jit else None
        self.ema = None if ema_decay is None else EMA(model, ema_decay, warm_up=True)
        self.schedulers = as_parts(schedulers, "scheduler")
        self.config = run_config(model, loader, seed, self.total_steps, config or {})
        self.resume_with = resume_with or "Trainer.fit(resume=True)"

        self.step = self.first_step = 0
        self.losses: dict[str, Tensor] = {}
        self.batch_images = 0
        self.history: list[dict[str, Any]] = []
        self.averages = Averages()
        self.best: dict[str, Any] | None = None
        self.stopped: str | None = None
        self.snapshot: dict[str, Any] = {}
        self.checkpoints = None if self.out is None else Checkpoints(self.out / "checkpoints", keep)
        self.last_checkpoint: Path | None = None
        self._checkpoint_time = 0.0
        self._told: set[str] = set()
        # Every evaluation sees the same batches in the same order, in a resumed run too
        self._eval_start = eval_loader and {**eval_loader.state_dict(), "epoch": 0, "batch": 0}
        self._progress = Progress() if progress is True else progress or None
        self.user_callbacks = list(callbacks)
        self.callbacks = [*self._built_in(samples, sample_every), *callbacks]

    def _built_in(self, samples: int, sample_every: int | None) -> list[Callback]:
        made: list[Callback] = []
        if self.out is not None:
            made.append(Metrics(self.out))
            if samples:
                made.append(SampleGrid(self.out, sample_every, samples, self.seed))
            made.append(Curves(self.out))
        return [*made, self._progress] if self._progress else made

    # -- where the run stands, for callbacks -------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The epoch of the last step, counted from 1; 0 before the first step."""
        return -(-self.step // self.steps_per_epoch)

    @property
    def epoch_ended(self) -> bool:
        """Whether the last step was the last of its epoch."""
        return self.step > 0 and self.step % self.steps_per_epoch == 0

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do: all steps are done, or `stop` was called."""
        return self.step >= self.total_steps or self.stopped is not None

    def stop(self, reason: str) -> None:
        """End the run after this step, as if it had come to its end."""
        self.stopped = reason

    def say(self, text: str) -> None:
        """Tell the user something, unless the run is silent."""
        if self._progress:
            self._progress.say(text)

    def told(self, key: str) -> bool:
        """Whether this was asked before: for things to say once."""
        known = key in self._told
        self._told.add(key)
        return known

    def undisturbed(self) -> contextlib.AbstractContextManager[None]:
        """Look at the model without changing the training.

        Inside, layers are in evaluation mode, nothing is recorded, and with `ema_decay` weights
        are the averaged ones; afterwards weights, modes and the random stream are as before.
        """
        return undisturbed(self.model, self.ema)

    # -- the run -----------------------------------------------------------------------------------

    def fit(self, resume: bool | str | Path = False) -> list[dict[str, Any]]:
        """Train to the end; returns the rows of metrics.

        Args:
            resume: True continues from the newest whole checkpoint in `out` (from the start, if
                there is none yet); a path continues from that checkpoint.

        Raises:
            TrainingInterrupted: Ctrl-C or SIGTERM; a checkpoint was saved at the step boundary.
            NonFiniteError: a loss or weight became NaN or Inf; the message names the op.
            CheckpointError: the checkpoint to resume from is damaged or of another run.
            TrainingError: the folder is in use, holds another run, or cannot be written.
        """
        with contextlib.ExitStack() as stack:
            if self.out is not None:
                self._make_folders(resume)
                stack.enter_context(locked(self.out))
            signals = stack.enter_context(StopSignals())
            try:
                with stop_on_full_disk(self):
                    self._begin(resume)
                best = self._loop(signals)
                with stop_on_full_disk(self):
                    self._end(best)
            except BaseException as error:
                for callback in self.callbacks:
                    with contextlib.suppress(OSError):   # on a full disk, the first error counts
                        callback.on_exception(self, error)
                raise
        return self.history

    def _make_folders(self, resume: bool | str | Path) -> None:
        assert self.out is not None and self.checkpoints is not None
        steps = self.checkpoints.steps()
        if steps and not resume:
            raise TrainingError(f"{self.out} holds a run already, at step {steps[-1]}; continue "
                                f"it with {self.resume_with}, or choose another folder")
        try:
            for name in ("checkpoints", "samples"):
                (self.out / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(f"cannot write into {self.out}: {error.strerror}") from None

    def _begin(self, source: bool | str | Path) -> None:
        random.manual_seed(derive_seed(self.seed, "training"))
        if self.out is not None:
            for folder in (self.out, self.out / "samples", self.out / "checkpoints"):
                clean_temporaries(folder)
        if source:
            self.last_checkpoint = resume(self, source)
            self.first_step = self.step
        if self.out is not None:
            text = json.dumps(self.config, indent=2) + "\n"
            write_atomically(self.out / "config.json", text.encode())
        self.snapshot = capture(self, copy=True)
        for callback in self.callbacks:
            callback.on_train_begin(self)
        if self.last_checkpoint is None:
            self.save_checkpoint()  # step 0: what a kill in the first epoch goes back to
        self._checkpoint_time = time.monotonic()

    def _loop(self, signals: StopSignals) -> bool:
        """All steps; whether the last one made the model the best so far."""
        self._stop_if_told(signals)
        if self.finished:
            return False
        for images, labels in self.batches():
            self.losses = self.train_step(images, labels)
            self.batch_images = len(images)
            self.averages.add(self.step, self.losses)
            with stop_on_full_disk(self):
                best = self._after_step()
                if self.finished:
                    break
                if best or self._checkpoint_due():
                    self.save_checkpoint(best)
                self._stop_if_told(signals)
        return best

    def batches(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Batches from where the loader stands on, epoch after epoch."""
        while True:
            for batch in self.loader:
                yield split_batch(batch, self._device)

    def train_step(self, images: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """One step of the model, the optimizers and the schedules; returns its losses."""
        # Overflow is looked for in the results: NumPy's warnings would tear the progress bar
        with np.errstate(all="ignore"):
            losses = (self._jitted or self._step)(images, labels, self._stepped)
            if self.ema is not None:
                self.ema.update()
        self.step += 1
        if self.schedule_per == "step" or self.epoch_ended:
            for scheduler in self.schedulers.values():
                if not isinstance(scheduler, ReduceLROnPlateau):
                    scheduler.step()
        return losses

    def _after_step(self) -> bool:
        """Metrics, pictures and callbacks; whether the model is now the best."""
        row: dict[str, Any] = {}
        last = self.step >= self.total_steps
        if self.step % self.log_every == 0 or self.epoch_ended or last:
            self._check_losses()
            row.update(self.averages.take("interval"))
        if self.eval_loader is not None and (self.epoch_ended or last):
            row.update(self.evaluate())
        best = self._judge(row)
        for callback in self.callbacks:
            callback.on_step_end(self)
        if row:
            row = {"step": self.step, "epoch": self.epoch, **row}
            self.history.append(row)
            for callback in self.callbacks:
                callback.on_log(self, row)
        if self.epoch_ended:
            for callback in self.callbacks:
                callback.on_epoch_end(self)
        return best

    def _end(self, best: bool) -> None:
        for callback in self.callbacks:
            callback.on_train_end(self)
        if self.checkpoints and self.last_checkpoint != self.checkpoints.path(self.step):
            self.save_checkpoint(best)

    def evaluate(self, loader: Any = None) -> dict[str, float]:
        """Means over all images of `loader` (default: `eval_loader`), as `eval_NAME`.

        What the model draws comes from a seed of its own, the same at every evaluation.
        """
        if loader is None:
            loader = self.eval_loader
            loader.load_state_dict(self._eval_start)
        totals: dict[str, float] = {}
        count = 0
        with self.undisturbed():
            random.manual_seed(derive_seed(self.seed, "evaluation"))
            for batch in loader:
                images, labels = split_batch(batch, self._device)
                for name, value in self.model.evaluate(images, labels).items():
                    totals[name] = totals.get(name, 0.0) + float(value) * len(images)
                count += len(images)
        return {f"eval_{name}": total / count for name, total in totals.items()}

    def _judge(self, row: Mapping[str, float]) -> bool:
        """Whether the watched metric is its lowest; schedules that wait for it are told."""
        means = self.averages.take("epoch") if self.epoch_ended else {}
        if self.monitor is not None:
            value = row.get(self.monitor, means.get(self.monitor))
        else:
            value = means.get("loss") if self.eval_loader is None else row.get("eval_loss")
        if self.epoch_ended:
            step_plateaus(self.schedulers, value)
        if value is None or not value < (self.best["value"] if self.best else math.inf):
            return False
        self.best = {"value": value, "step": self.step}
        return True

    # -- stopping and saving -----------------------------------------------------------------------

    def _stop_if_told(self, signals: StopSignals) -> None:
        number = signals.received
        if number is None:
            return
        if self.checkpoints is None:
            raise TrainingInterrupted(f"stopped at step {self.step}; nothing was saved, since the "
                                      "trainer has no folder (out=...)", number)
        if self.last_checkpoint != self.checkpoints.path(self.step):
            self.save_checkpoint()
        raise TrainingInterrupted(f"stopped at step {self.step} of {self.total_steps}, all saved "
                                  f"in {self.out}; continue with: {self.resume_with}", number)

    def _check_losses(self) -> None:
        """Raise NonFiniteError if a loss was not finite since the last look."""
        bad = self.averages.drain()
        if bad is not None:
            step, name, value = bad
            raise find_culprit(self, f"{name} became {value} at step {step}", step)
        if self.step - self.snapshot["step"] >= STEPS_BETWEEN_SNAPSHOTS:
            self._check_weights()
            self.snapshot = capture(self, copy=True)

    def _check_weights(self) -> None:
        name = first_non_finite(self.model.state_dict())
        if name is not None:
            raise find_culprit(self, f"{name} is no longer finite", self.step)

    def _checkpoint_due(self) -> bool:
        if self.checkpoints is None:
            return False
        if self.checkpoint_every is not None:
            return self.step % self.checkpoint_every == 0
        late = time.monotonic() - self._checkpoint_time >= SECONDS_BETWEEN_CHECKPOINTS
        return self.epoch_ended or late

    def save_checkpoint(self, best: bool = False) -> None:
        """Write a checkpoint of this moment, which must be between two steps.

        Raises NonFiniteError, and writes nothing, if a loss or a weight is not finite.
        """
        if self.checkpoints is None:
            return
        self._check_losses()
        self._check_weights()
        for callback in self.callbacks:
            callback.sync()
        self.last_checkpoint = self.checkpoints.save(self.step, capture(self), best)
        self._checkpoint_time = time.monotonic()
