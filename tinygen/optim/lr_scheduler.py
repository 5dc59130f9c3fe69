"""Schedules: the learning rate as a function of the number of epochs (or steps) gone by.

As in PyTorch a schedule computes each learning rate from the one before, so that several of them,
and changes by hand, combine. Call `step()` after the optimizer's.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .optimizer import Optimizer

__all__ = ["ConstantLR", "CosineAnnealingLR", "ExponentialLR", "LRScheduler", "LambdaLR",
           "LinearLR", "MultiStepLR", "SequentialLR", "StepLR", "WarmupCosine"]


class LRScheduler:
    """What all schedules share: counting, and writing `lr` into the optimizer's groups.

    Args:
        optimizer: whose groups are scheduled. Each group's `"initial_lr"` is set to its `"lr"`.
        last_epoch: the last epoch that was finished, when training goes on from there; the
            groups must have an `"initial_lr"` then.

    Attributes:
        base_lrs: the initial learning rate of each group.
        last_epoch: how often `step` was called.

    Raises:
        TypeError: `optimizer` is no Optimizer.
        KeyError: training goes on and a group has no `"initial_lr"`.
    """

    _unsaved: tuple[str, ...] = ("optimizer", "_first")

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1):
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"[{self.name}] optimizer must be a tinygen.optim.Optimizer, got "
                            f"{type(optimizer).__name__}")
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", float(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(f"[{self.name}] group {i} has no 'initial_lr', which going on from "
                               f"epoch {last_epoch} needs: load the optimizer's state first")
        self.optimizer = optimizer
        self.base_lrs: list[float] = [g["initial_lr"] for g in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._first = True                # PyTorch: the first call may not advance the recursion
        self.step()
        self._first = False

    def get_lr(self) -> list[float]:
        """The learning rates of `last_epoch`, from those that the groups have now."""
        raise NotImplementedError(f"{self.name} must define get_lr()")

    def step(self) -> None:
        """Go one epoch (or step) further and set the groups' learning rates."""
        self._check_groups()
        self.last_epoch += 1
        for group, lr in zip(self.optimizer.param_groups, self.get_lr()):
            group["lr"] = lr
        self._last_lr = self._lrs()

    def get_last_lr(self) -> list[float]:
        """The learning rates that the last `step` set."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer, in numbers and lists."""
        return {k: list(v) if isinstance(v, list) else v for k, v in self.__dict__.items()
                if k not in self._unsaved}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a `state_dict()`. The optimizer's own state holds the learning rates.

        Raises:
            KeyError, ValueError: it is the state of another kind of schedule, or of an optimizer
                with another number of groups; nothing is changed then.
        """
        self.__dict__.update(self._checked(state_dict))

    def _checked(self, saved: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes that `saved` sets; what only PyTorch's schedules have is left out."""
        own = [k for k in self.__dict__ if k not in self._unsaved]
        missing = [k for k in own if k not in saved]
        unknown = [k for k in saved if not (k in self.__dict__ or k.startswith("_"))]
        if missing or unknown:
            which = f"{missing[0]!r} is missing" if missing else f"{unknown[0]!r} is unknown"
            raise KeyError(f"[{self.name}] load_state_dict: {which}; a {self.name} has "
                           f"{', '.join(own)}")
        if len(saved["base_lrs"]) != len(self.base_lrs):
            raise ValueError(f"[{self.name}] load_state_dict: saved for {len(saved['base_lrs'])} "
                             f"parameter groups, the optimizer has {len(self.base_lrs)}")
        return {k: list(saved[k]) if isinstance(saved[k], (list, tuple)) else saved[k]
                for k in own}

    @property
    def name(self) -> str:
        """The schedule's name in messages."""
        return type(self).__name__

    def _lrs(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def _scaled(self, factor: float) -> list[float]:
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def _check_groups(self) -> None:
        if len(self.optimizer.param_groups) != len(self.base_lrs):
            raise RuntimeError(f"[{self.name}] was made for {len(self.base_lrs)} parameter groups, "
                               f"the optimizer has {len(self.optimizer.param_groups)} now; make a "
                               "new schedule after add_param_group")

    def _restart(self) -> None:
        """Begin again at epoch 0, from the initial learning rates."""
        for group, lr in zip(self.optimizer.param_groups, self.base_lrs):
            group["lr"] = lr
        self.last_epoch, self._first = -1, True
        LRScheduler.step(self)
        self._first = False

    def __repr__(self) -> str:
        return f"{self.name}(last_epoch={self.last_epoch}, lr={self._last_lr})"


class LambdaLR(LRScheduler):
    """lr = base_lr * lr_lambda(epoch), with one function, or one for each group.

    `state_dict` holds the attributes of callable objects; functions are not saved.
    """

    _unsaved = ("optimizer", "_first", "lr_lambdas")

    def __init__(self, optimizer: Optimizer,
                 lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
                 last_epoch: int = -1):
        count = len(getattr(optimizer, "param_groups", ()))
        self.lr_lambdas = list(lr_lambda) if isinstance(lr_lambda, Sequence) else (
            [lr_lambda] * count)
        if len(self.lr_lambdas) != count:
            raise ValueError(f"[LambdaLR] {len(self.lr_lambdas)} functions for {count} groups")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [lr * f(self.last_epoch) for lr, f in zip(self.base_lrs, self.lr_lambdas)]

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "lr_lambdas": [
            dict(f.__dict__) if getattr(f, "__dict__", None) else None for f in self.lr_lambdas]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for f, fields in zip(self.lr_lambdas, state_dict.get("lr_lambdas", ())):
            if fields:
                f.__dict__.update(fields)


class StepLR(LRScheduler):
    """Multiply lr by `gamma` every `step_size` epochs."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1,
                 last_epoch: int = -1):
        self.step_size, self.gamma = _count("StepLR", "step_size", step_size), gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        if self.last_epoch == 0 or self.last_epoch % self.step_size:
            return self._lrs()
        return self._scaled(self.gamma)


class MultiStepLR(LRScheduler):
    """Multiply lr by `gamma` at each of the epochs in `milestones`."""

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1,
                 last_epoch: int = -1):
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        times = self.milestones.count(self.last_epoch)
        return self._scaled(self.gamma ** times) if times else self._lrs()

    def _checked(self, saved: Mapping[str, Any]) -> dict[str, Any]:
        counts = saved.get("milestones")
        if isinstance(counts, Mapping):                # PyTorch counts how often each one comes
            milestones = sorted(m for m, times in counts.items() for _ in range(times))
            saved = {**saved, "milestones": milestones}
        return super()._checked(saved)


class ExponentialLR(LRScheduler):
    """Multiply lr by `gamma` every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1):
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return self._lrs() if self._first else self._scaled(self.gamma)


class ConstantLR(LRScheduler):
    """lr * `factor` for the first `total_iters` epochs, lr after that."""

    def __init__(self, optimizer: Optimizer, factor: float = 1 / 3, total_iters: int = 5,
                 last_epoch: int = -1):
        if not 0 < factor <= 1:
            raise ValueError(f"[ConstantLR] factor must be in (0, 1], got {factor}")
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        if self.last_epoch == 0:
            return self._scaled(self.factor)
        return self._scaled(1 / self.factor) if self.last_epoch == self.total_iters else self._lrs()


class LinearLR(LRScheduler):
    """lr times a factor that goes from `start_factor` to `end_factor` in `total_iters` epochs."""

    def __init__(self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0,
                 total_iters: int = 5, last_epoch: int = -1):
        if not 0 < start_factor <= 1:
            raise ValueError(f"[LinearLR] start_factor must be in (0, 1], got {start_factor}")
        if not 0 <= end_factor <= 1:
            raise ValueError(f"[LinearLR] end_factor must be in [0, 1], got {end_factor}")
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        if self.last_epoch == 0:
            return self._scaled(self.start_factor)
        if self._first or self.last_epoch > self.total_iters:
            return self._lrs()
        rise = self.end_factor - self.start_factor
        before = self.total_iters * self.start_factor + (self.last_epoch - 1) * rise
        return self._scaled(1 + rise / before)


class CosineAnnealingLR(LRScheduler):
    """lr = eta_min + (base_lr - eta_min) (1 + cos(pi epoch / T_max)) / 2.

    Half a period down, then up again; without the restarts of SGDR (Loshchilov and Hutter 2016,
    arXiv:1608.03983), where the formula comes from.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0,
                 last_epoch: int = -1):
        self.T_max, self.eta_min = _count("CosineAnnealingLR", "T_max", T_max), eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        if self._first:
            return self._lrs()
        t, period = self.last_epoch, self.T_max
        if (t - 1 - period) % (2 * period) == 0:         # from the lowest point: no ratio exists
            rise = (1 - math.cos(math.pi / period)) / 2
            return [lr + (base - self.eta_min) * rise
                    for lr, base in zip(self._lrs(), self.base_lrs)]
        ratio = (1 + math.cos(math.pi * t / period)) / (1 + math.cos(math.pi * (t - 1) / period))
        return [ratio * (lr - self.eta_min) + self.eta_min for lr in self._lrs()]


class WarmupCosine(LRScheduler):
    """A linear rise to the base learning rate, then half a cosine down to `eta_min`, for good.

    lr = base_lr (t + 1) / (warmup_steps + 1) for t < warmup_steps, then
    eta_min + (base_lr - eta_min) (1 + cos(pi s)) / 2, where s = (t - warmup_steps) /
    (total_steps - warmup_steps) is at most 1. PyTorch needs three schedules for it.
    """

    def __init__(self, optimizer: Optimizer, warmup_steps: int, total_steps: int,
                 eta_min: float = 0.0, last_epoch: int = -1):
        if not 0 <= warmup_steps < total_steps:
            raise ValueError("[WarmupCosine] warmup_steps must be at least 0 and below "
                             f"total_steps, got {warmup_steps} and {total_steps}")
        self.warmup_steps, self.total_steps, self.eta_min = warmup_steps, total_steps, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        t, warm = self.last_epoch, self.warmup_steps
        if t < warm:
            return [base * (t + 1) / (warm + 1) for base in self.base_lrs]
        done = min(1.0, (t - warm) / (self.total_steps - warm))
        height = (1 + math.cos(math.pi * done)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]


class SequentialLR(LRScheduler):
    """One schedule after the other: `schedulers[i + 1]` takes over at epoch `milestones[i]`.

    Each begins at its own epoch 0, from the initial learning rates.

    >>> import tinygen as tg
    >>> optimizer = tg.optim.SGD([tg.zeros(3, requires_grad=True)], lr=1.0)
    >>> rise = LinearLR(optimizer, start_factor=0.5, total_iters=2)
    >>> fall = ExponentialLR(optimizer, gamma=0.5)
    >>> schedule = SequentialLR(optimizer, [rise, fall], milestones=[2])
    >>> for epoch in range(4):
    ...     print(schedule.get_last_lr())
    ...     schedule.step()
    [0.5]
    [0.75]
    [1.0]
    [0.5]
    """

    _unsaved = ("optimizer", "_schedulers", "base_lrs")

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler],
                 milestones: Sequence[int]):
        if not schedulers or len(milestones) != len(schedulers) - 1:
            raise ValueError(f"[SequentialLR] {len(schedulers)} schedulers need "
                             f"{max(len(schedulers) - 1, 0)} milestones between them, got "
                             f"{len(milestones)}")
        if list(milestones) != sorted(set(milestones)) or any(m < 1 for m in milestones):
            raise ValueError("[SequentialLR] milestones must be positive and increasing, got "
                             f"{list(milestones)}")
        for i, s in enumerate(schedulers):
            if not isinstance(s, LRScheduler) or s.optimizer is not optimizer:
                raise ValueError(f"[SequentialLR] schedulers[{i}], a {type(s).__name__}, must be a "
                                 "schedule of the same optimizer")
        self.optimizer = optimizer
        self.base_lrs = [g["initial_lr"] for g in optimizer.param_groups]
        self._schedulers, self._milestones = list(schedulers), list(milestones)
        self._restart()

    def step(self) -> None:
        self._check_groups()
        self.last_epoch += 1
        i = bisect_right(self._milestones, self.last_epoch)
        active = self._schedulers[i]
        if i and self._milestones[i - 1] == self.last_epoch:
            active._restart()
        else:
            active.step()
        self._last_lr = active.get_last_lr()

    def _restart(self) -> None:
        self.last_epoch = 0
        self._schedulers[0]._restart()
        self._last_lr = self._schedulers[0].get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "_schedulers": [s.state_dict() for s in self._schedulers]}

    def _checked(self, saved: Mapping[str, Any]) -> dict[str, Any]:
        parts = saved.get("_schedulers", ())
        if len(parts) != len(self._schedulers):
            raise ValueError(f"[SequentialLR] load_state_dict: saved with {len(parts)} schedules, "
                             f"this one has {len(self._schedulers)}")
        for schedule, part in zip(self._schedulers, parts):
            schedule._checked(part)
        return super()._checked({"base_lrs": self.base_lrs, **saved})

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for schedule, part in zip(self._schedulers, state_dict["_schedulers"]):
            schedule.load_state_dict(part)


def _count(owner: str, name: str, value: int) -> int:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"[{owner}] {name} must be an integer of at least 1, got {value!r}")
    return value
