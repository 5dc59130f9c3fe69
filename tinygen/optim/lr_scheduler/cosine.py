"""Schedules along a cosine: down, down again and again, and down after a warm-up."""

from __future__ import annotations

import math
from typing import Any

from ..optimizer import Optimizer
from .base import LRScheduler, count
from .compose import SequentialLR
from .decay import LinearLR

__all__ = ["CosineAnnealingLR", "CosineAnnealingWarmRestarts", "WarmupCosine", "with_warmup"]


class CosineAnnealingLR(LRScheduler):
    """lr = eta_min + (base_lr - eta_min) (1 + cos(pi epoch / T_max)) / 2.

    Half a period down, then up again; without the restarts of SGDR (Loshchilov and Hutter 2016,
    arXiv:1608.03983), where the formula comes from.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0,
                 last_epoch: int = -1):
        self.T_max, self.eta_min = count("CosineAnnealingLR", "T_max", T_max), eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        if self._is_initial:
            return self._lrs()
        t, period = self.last_epoch, self.T_max
        if self._step_count == 1 and t > 0:              # going on: there is no step before
            return self._get_closed_form_lr()
        if (t - 1 - period) % (2 * period) == 0:         # from the lowest point: no ratio exists
            rise = (1 - math.cos(math.pi / period)) / 2
            return [lr + (base - self.eta_min) * rise
                    for lr, base in zip(self._lrs(), self.base_lrs)]
        ratio = (1 + math.cos(math.pi * t / period)) / (1 + math.cos(math.pi * (t - 1) / period))
        return [ratio * (lr - self.eta_min) + self.eta_min for lr in self._lrs()]

    def _get_closed_form_lr(self) -> list[float]:
        height = (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]


class CosineAnnealingWarmRestarts(LRScheduler):
    """A cosine from base_lr to `eta_min`, again and again: SGDR.

    The first takes `T_0` epochs, each further one `T_mult` times as many as the one before it.
    `step(epoch)` also takes fractions: `step(epoch + batch / batches)` after every batch.

    Source: Loshchilov and Hutter 2016, arXiv:1608.03983.
    """

    def __init__(self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0,
                 last_epoch: int = -1):
        self.T_0 = self.T_i = count(self.name, "T_0", T_0)
        self.T_mult = count(self.name, "T_mult", T_mult)
        if not isinstance(eta_min, (float, int)):
            raise ValueError(f"[{self.name}] eta_min must be a number, got {eta_min!r}")
        self.eta_min = eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        height = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """Go one epoch further, or to `epoch`, which may be a fraction."""
        self._check_groups()
        if epoch is None and self.last_epoch >= 0:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur %= self.T_i
                self.T_i *= self.T_mult
        else:
            epoch = 0 if epoch is None else epoch
            if epoch < 0:
                raise ValueError(f"[{self.name}] epoch must be at least 0, got {epoch}")
            self._go_to(epoch)
        self.last_epoch = math.floor(epoch)
        self._set(self.get_lr())

    def _go_to(self, epoch: float) -> None:
        """How far into which period an epoch lies."""
        if epoch < self.T_0:
            self.T_i, self.T_cur = self.T_0, epoch
        elif self.T_mult == 1:
            self.T_cur = epoch % self.T_0
        else:
            grown = epoch / self.T_0 * (self.T_mult - 1) + 1
            n = int(math.log(grown, self.T_mult))
            self.T_cur = epoch - self.T_0 * (self.T_mult ** n - 1) / (self.T_mult - 1)
            self.T_i = self.T_0 * self.T_mult ** n


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


def with_warmup(schedule: Any, steps: int, start_factor: float = 1e-3) -> SequentialLR:
    """`schedule`, after `steps` steps in which lr rises on a line from start_factor * base_lr.

    The schedule begins at its own epoch 0 when the warm-up ends.

    >>> import tinygen as tg
    >>> optimizer = tg.optim.SGD([tg.zeros(3, requires_grad=True)], lr=1.0)
    >>> fall = tg.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> schedule = with_warmup(fall, steps=2, start_factor=0.5)
    >>> rates = []
    >>> for epoch in range(5):
    ...     rates += schedule.get_last_lr()
    ...     optimizer.step()
    ...     schedule.step()
    >>> rates
    [0.5, 0.75, 1.0, 0.5, 0.25]
    """
    if not isinstance(schedule, LRScheduler):
        raise TypeError("[with_warmup] schedule must be a learning-rate schedule, got "
                        f"{type(schedule).__name__}")
    optimizer = schedule.optimizer
    count("with_warmup", "steps", steps)
    rise = LinearLR(optimizer, start_factor, total_iters=steps)
    return SequentialLR(optimizer, [rise, schedule], [steps])
