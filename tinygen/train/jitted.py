"""The training step of a run under `tg.jit`, with the way back to the step as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from ..jit import Jitted
from .accumulate import accumulated_step

__all__ = ["JittedStep", "batches_vary", "training_step"]

OFTEN = 4        # recordings of one kind of batch; with more, something changes all the time
LIMIT = 16       # programs of a run: texts of many lengths have as many kinds of batches


def training_step(model: Any, parts: int) -> Callable[..., Any]:
    """The step of a model on a batch, in so many parts (see `accumulated_step`)."""
    def step(images: Any, labels: Any, optimizers: Any) -> Any:
        return accumulated_step(model, images, labels, optimizers, parts)
    return step


def batches_vary(loader: Any) -> bool:
    """May the batches of a loader have many shapes, as texts have that are padded together?"""
    return any(getattr(loader, name, None) is not None for name in ("collate_fn", "batch_sampler"))


class JittedStep(Jitted):
    """A step that is recorded for each kind of batch, if it can be.

    A step that cannot be recorded runs as it is, this time and from then on: a recording that
    fails leaves everything as it was before. `say` is told why, once; `reason` keeps it.

    A run that is stopped and resumed gives the same bits as one that is not. So the steps of a
    loader whose batches are of one shape are those of a fused program from the first one on, and
    where batches vary (`varies`), nothing is fused: then a program's bits are those of the step as
    it is, which runs where a recording would not pay, for kinds of batches that come once.

    A step that rests on something that changes all the time (a number of the model that a callback
    sets) runs as it is after `OFTEN` recordings; a run that is stopped just then, between the first
    change and that, goes on with the same numbers up to rounding.
    """

    def __init__(self, step: Callable[..., Any], name: str, say: Callable[[str], None],
                 varies: bool):
        super().__init__(step, LIMIT, after=int(varies), fuse=not varies, again=not varies)
        self._name, self._say = name, say
        self._times: Counter[Any] = Counter()     # how often each kind of batch was recorded
        self.reason: str | None = None
        self.unsteady = False       # given up after some recordings: a resumed run has to know

    def restart(self, reason: str | None) -> None:
        """Go on as a run did that had given up for a reason, or had not."""
        self._times.clear()
        if reason is not None or self.unsteady:
            self.reason, self.unsteady = reason, reason is not None

    def __call__(self, *args: Any) -> Any:
        return super().__call__(*args) if self.reason is None else self.function(*args)

    def _record(self, key: Any, given: Any, leaves: list[Any]) -> Any:
        self._times[key] += 1
        if self._times[key] > OFTEN:
            self._give_up(f"what it rests on changes too often: {self._differs(key)}")
            self.unsteady = True
            return self._plain(given, leaves)
        try:
            return super()._record(key, given, leaves)
        except Exception as error:           # it may have to do with the recording, or not
            results = self._plain(given, leaves)
            self._give_up(f"one could not be recorded: {error or type(error).__name__}")
            return results

    def _give_up(self, why: str) -> None:
        self.reason = why
        self._say(f"Steps of {self._name} run as they are, without jit: {why}")

    def _full(self, key: Any, given: Any, leaves: list[Any]) -> Any:
        """Where batches vary, no more is recorded; else the oldest program is forgotten."""
        if not self.fuse:
            return self._plain(given, leaves)
        self._recorded.pop(0)
        self.programs.pop(0)
        return self._record(key, given, leaves)
