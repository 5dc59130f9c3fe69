"""How a run looks while it goes: a bar in a terminal, plain lines everywhere else."""

from __future__ import annotations

import sys
import time
from typing import IO, TYPE_CHECKING, Any

from .callbacks import Callback

if TYPE_CHECKING:
    from .trainer import Trainer

__all__ = ["Progress", "describe_seconds"]


class Progress(Callback):
    """Losses, samples per second and time left.

    A rich progress bar where the stream is a terminal and rich is installed, else a line each
    few seconds. Losses are read from the device only when they are shown.

    Args:
        stream: where to write (default: standard error).
        seconds: the time between two plain lines.
    """

    def __init__(self, stream: IO[str] | None = None, seconds: float = 5.0):
        self.stream = sys.stderr if stream is None else stream
        self.seconds = seconds
        self._bar: _Bar | None = None
        self._shown = self._started = 0.0
        self._speed = _Speed()

    def on_train_begin(self, trainer: Trainer) -> None:
        """Start the clock, and the bar where there is one."""
        self._started = time.monotonic()
        self._shown = self._started - self.seconds + min(self.seconds, 1.0)   # an early first line
        self._speed = _Speed()
        if is_terminal(self.stream):
            self._bar = _Bar(self.stream, trainer)
        if trainer.step and not trainer.finished:
            trainer.say(f"Continuing at step {trainer.step} of {trainer.total_steps}")

    def on_step_end(self, trainer: Trainer) -> None:
        """Show the state of things when the last time is long enough ago."""
        self._speed.count(trainer.batch_images)
        if time.monotonic() - self._shown >= (0.1 if self._bar else self.seconds):
            self._show(trainer)

    def on_train_end(self, trainer: Trainer) -> None:
        """Show the last step."""
        self._show(trainer)
        self._close()

    def on_exception(self, trainer: Trainer, error: BaseException) -> None:
        """Leave the terminal as it was."""
        self._close()

    def say(self, text: str) -> None:
        """A line of its own, above the bar where there is one."""
        if self._bar:
            self._bar.say(text)
        else:
            print(text, file=self.stream, flush=True)

    def _show(self, trainer: Trainer) -> None:
        self._shown = time.monotonic()
        images, steps = self._speed.per_second()
        losses = "  ".join(f"{k} {float(v):.4g}" for k, v in trainer.losses.items())
        left = (trainer.total_steps - trainer.step) / steps if steps else None
        if self._bar:
            self._bar.show(trainer, losses, images, left)
            return
        parts = [f"step {trainer.step}/{trainer.total_steps}", _epoch(trainer), losses]
        if images:
            parts.append(f"{images:.0f} samples/s")
        if trainer.step < trainer.total_steps and left is not None:
            parts.append(f"{describe_seconds(left)} left")
        else:
            parts.append(f"{describe_seconds(time.monotonic() - self._started)} in all")
        print("  ".join(p for p in parts if p), file=self.stream, flush=True)

    def _close(self) -> None:
        if self._bar:
            self._bar.close()
            self._bar = None


class _Speed:
    """Images and steps per second over the last seconds, without the very first step's warm-up."""

    def __init__(self, window: float = 10.0):
        self.window = window
        self._images = self._steps = 0
        self._marks: list[tuple[float, int, int]] = []

    def count(self, images: int) -> None:
        self._images += images
        self._steps += 1
        now = time.monotonic()
        if not self._marks or now - self._marks[-1][0] > self.window / 20:
            self._marks.append((now, self._images, self._steps))
            while len(self._marks) > 2 and now - self._marks[1][0] > self.window:
                self._marks.pop(0)

    def per_second(self) -> tuple[float, float]:
        if not self._marks or self._steps <= self._marks[0][2]:
            return 0.0, 0.0
        then, images, steps = self._marks[0]
        seconds = max(time.monotonic() - then, 1e-6)
        return (self._images - images) / seconds, (self._steps - steps) / seconds


class _Bar:
    """The rich progress bar."""

    def __init__(self, stream: IO[str], trainer: Trainer):
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        columns = (TextColumn("{task.fields[epoch]}"), BarColumn(bar_width=None),
                   TextColumn("{task.completed:.0f}/{task.total:.0f}"),
                   TextColumn("[cyan]{task.fields[losses]}"),
                   TextColumn("{task.fields[speed]}"), TextColumn("[green]{task.fields[left]}"))
        # expand: the bar takes the width that the text leaves; no redirect, the text is ours
        self._bar = RichProgress(*columns, console=Console(file=stream), expand=True,
                                 auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._task: Any = self._bar.add_task("", total=trainer.total_steps, completed=trainer.step,
                                             epoch=_epoch(trainer), losses="", speed="", left="")
        self._bar.start()

    def show(self, trainer: Trainer, losses: str, images: float, left: float | None) -> None:
        done = trainer.step >= trainer.total_steps
        self._bar.update(self._task, completed=trainer.step, epoch=_epoch(trainer), losses=losses,
                         speed=f"{images:.0f}/s" if images else "", refresh=True,
                         left="" if done or left is None else f"{describe_seconds(left)} left")

    def say(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        self._bar.stop()


def is_terminal(stream: IO[str]) -> bool:
    """Whether a moving bar can be drawn: a terminal that can move its cursor, and rich."""
    import importlib.util
    import os

    return (stream.isatty() and os.environ.get("TERM") != "dumb"
            and importlib.util.find_spec("rich") is not None)


def describe_seconds(seconds: float) -> str:
    """`42s`, `3m 20s` or `1h 05m`."""
    whole = max(int(seconds + 0.5), 0)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


def _epoch(trainer: Trainer) -> str:
    n = trainer.steps_per_epoch
    number = max((trainer.step + n - 1) // n, 1)
    return f"epoch {number}/{max((trainer.total_steps + n - 1) // n, 1)}"
