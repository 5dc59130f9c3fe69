"""Schedules made of schedules: one after the other, or all at once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from ..optimizer import Optimizer
from .base import LRScheduler, set_rate
from .plateau import ReduceLROnPlateau

__all__ = ["ChainedScheduler", "SequentialLR"]


class _Composed(LRScheduler):
    """What the two share: a list of schedules of one optimizer, saved with it."""

    _unsaved = ("optimizer", "_schedulers")

    def __init__(self, optimizer: Optimizer | None, schedulers: Sequence[LRScheduler]):
        if not schedulers:
            raise ValueError(f"[{self.name}] at least one schedule is needed, got none")
        if optimizer is None:
            optimizer = getattr(schedulers[0], "optimizer", None)
        self._take(optimizer)
        for i, s in enumerate(schedulers):
            what = f"[{self.name}] schedulers[{i}], a {type(s).__name__},"
            if not isinstance(s, LRScheduler):
                raise TypeError(f"{what} must be a schedule")
            if isinstance(s, ReduceLROnPlateau):
                raise ValueError(f"{what} needs a metric at each step and stands alone")
            if s.optimizer is not optimizer:
                raise ValueError(f"{what} must be a schedule of the same optimizer")
        self._schedulers = list(schedulers)

    def _check_groups(self) -> None:
        self._schedulers[0]._check_groups()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "_schedulers": [s.state_dict() for s in self._schedulers]}

    def _checked(self, saved: Mapping[str, Any]) -> dict[str, Any]:
        parts = saved.get("_schedulers", ())
        if len(parts) != len(self._schedulers):
            raise ValueError(f"[{self.name}] load_state_dict: saved with {len(parts)} schedules, "
                             f"this one has {len(self._schedulers)}")
        for schedule, part in zip(self._schedulers, parts):
            schedule._checked(part)
        return super()._checked(saved)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for schedule, part in zip(self._schedulers, state_dict["_schedulers"]):
            schedule.load_state_dict(part)


class SequentialLR(_Composed):
    """One schedule after the other: `schedulers[i + 1]` takes over at epoch `milestones[i]`.

    Each begins at its own epoch 0, from the initial learning rates where it has a closed form.
    A part may be a sequence or a chain itself (PyTorch 2.13 would run it an epoch ahead).

    >>> import tinygen as tg
    >>> from tinygen.optim.lr_scheduler import ExponentialLR, LinearLR
    >>> optimizer = tg.optim.SGD([tg.zeros(3, requires_grad=True)], lr=1.0)
    >>> rise = LinearLR(optimizer, start_factor=0.5, total_iters=2)
    >>> fall = ExponentialLR(optimizer, gamma=0.5)
    >>> schedule = SequentialLR(optimizer, [rise, fall], milestones=[2])
    >>> for epoch in range(4):
    ...     print(schedule.get_last_lr())
    ...     optimizer.step()
    ...     schedule.step()
    [0.5]
    [0.75]
    [1.0]
    [0.5]
    """

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler],
                 milestones: Sequence[int], last_epoch: int = -1):
        super().__init__(optimizer, schedulers)
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(f"[SequentialLR] {len(schedulers)} schedulers need "
                             f"{len(schedulers) - 1} milestones between them, got "
                             f"{len(milestones)}")
        if list(milestones) != sorted(set(milestones)) or any(m < 1 for m in milestones):
            raise ValueError("[SequentialLR] milestones must be positive and increasing, got "
                             f"{list(milestones)}")
        self._milestones = list(milestones)
        self.last_epoch = last_epoch + 1
        self._begin()

    def _begin(self) -> None:
        """To the initial learning rates, with the first schedule alone at its epoch 0."""
        for group in self.optimizer.param_groups:
            set_rate(group, float(group["initial_lr"]))
        _undo(self)
        self._schedulers[0]._initial_step()
        self._last_lr = self._schedulers[0].get_last_lr()

    def _initial_step(self) -> None:         # the first part of another sequence
        self.last_epoch = 0
        self._schedulers[0]._initial_step()
        self._last_lr = self._schedulers[0].get_last_lr()

    def _update_lr(self, epoch: int | None = None) -> None:
        """Start over, as a later part of another sequence."""
        self.last_epoch = 0
        self._schedulers[0]._update_lr(0)
        self._last_lr = self._schedulers[0].get_last_lr()

    def step(self, epoch: int | None = None) -> None:
        """Go one epoch further; `epoch` is refused, as by PyTorch."""
        if epoch is not None:
            raise TypeError(f"[{self.name}] step() takes no epoch")
        self.last_epoch += 1
        i = bisect_right(self._milestones, self.last_epoch)
        active = self._schedulers[i]
        if i and self._milestones[i - 1] == self.last_epoch:
            active._update_lr(0)
        else:
            active.step()
        self._last_lr = active.get_last_lr()


class ChainedScheduler(_Composed):
    """Several schedules at once: each step makes a step of all of them, in order.

    As each computes the learning rate from the one before, their factors multiply.
    """

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None):
        super().__init__(optimizer, schedulers)
        self._last_lr = self._lrs()

    def _initial_step(self) -> None:
        """Start over, as a part of a sequence: all factors of epoch 0, on the initial lr."""
        for group in self.optimizer.param_groups:
            set_rate(group, float(group["initial_lr"]))
        for schedule in self._schedulers:
            schedule.last_epoch = -1
            schedule._initial_step()
        self._last_lr = self._lrs()

    def _update_lr(self, epoch: int | None = None) -> None:
        self._initial_step()

    def step(self, epoch: int | None = None) -> None:
        """Go one epoch further; `epoch` is refused, as by PyTorch."""
        if epoch is not None:
            raise TypeError(f"[{self.name}] step() takes no epoch")
        for schedule in self._schedulers:
            schedule.step()
        self._last_lr = self._lrs()

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(map(repr, self._schedulers))})"


def _undo(schedule: LRScheduler) -> None:
    """Take back the step that making a schedule took, in all parts of it."""
    if isinstance(schedule, _Composed):
        for part in schedule._schedulers:
            _undo(part)
    else:
        schedule.last_epoch -= 1
