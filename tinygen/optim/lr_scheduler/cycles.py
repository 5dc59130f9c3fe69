"""Schedules that rise and fall, and move the momentum the other way: OneCycleLR and CyclicLR."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..optimizer import Optimizer
from .base import LRScheduler, count, fields_of, per_group, set_rate

__all__ = ["CyclicLR", "OneCycleLR"]

Numbers = float | Sequence[float]


class _Cycling(LRScheduler):
    """What the two share: a momentum, or Adam's beta1, that moves with the learning rate."""

    cycle_momentum: bool

    def _take_momentum(self, base: Numbers, largest: Numbers,
                       begin: bool) -> tuple[list[float], list[float]]:
        """The least and the greatest momentum of each group; all begin with the greatest."""
        defaults = self.optimizer.defaults
        if "momentum" not in defaults and "betas" not in defaults:
            raise ValueError(f"[{self.name}] {self.optimizer.name} has no momentum and no betas to "
                             "cycle: give cycle_momentum=False")
        self.use_beta1 = "betas" in defaults
        bases = per_group(self.name, "base_momentum", self.optimizer, base)
        most = per_group(self.name, "max_momentum", self.optimizer, largest)
        if begin:
            for group, low, high in zip(self.optimizer.param_groups, bases, most):
                self._set_momentum(group, high)
                group["base_momentum"], group["max_momentum"] = low, high
        return bases, most

    def _checked(self, saved: Mapping[str, Any]) -> dict[str, Any]:
        return super()._checked({k: v for k, v in saved.items() if k != "anneal_func"})  # of old

    def _set_momentum(self, group: dict[str, Any], momentum: float) -> None:
        if self.use_beta1:
            group["betas"] = (momentum, *group["betas"][1:])
        else:
            group["momentum"] = momentum


class OneCycleLR(_Cycling):
    """One rise to `max_lr` and a long fall far below the start, within `total_steps` steps.

    lr goes from max_lr / div_factor to max_lr in the first `pct_start` of the steps, then down to
    max_lr / div_factor / final_div_factor; the momentum goes from its largest value to its base
    and back. With `three_phase` the fall mirrors the rise, and a third phase goes on down.
    Call `step()` after every batch.

    Args:
        optimizer: whose groups are scheduled.
        max_lr: the highest learning rate, one or one for each group.
        total_steps, epochs, steps_per_epoch: total_steps, or the product of the other two.
        pct_start: the share of the steps in which lr rises.
        anneal_strategy: "cos" or "linear".
        cycle_momentum: whether `momentum` (or beta1) moves against lr,
        base_momentum, max_momentum: between these values.
        div_factor, final_div_factor: see above.
        three_phase: see above.
        last_epoch: the last step that was finished, to go on from there.

    Source: Smith and Topin 2017, arXiv:1708.07120.
    """

    def __init__(self, optimizer: Optimizer, max_lr: Numbers, total_steps: int | None = None,
                 epochs: int | None = None, steps_per_epoch: int | None = None,
                 pct_start: float = 0.3, anneal_strategy: str = "cos",
                 cycle_momentum: bool = True, base_momentum: Numbers = 0.85,
                 max_momentum: Numbers = 0.95, div_factor: float = 25.0,
                 final_div_factor: float = 1e4, three_phase: bool = False, last_epoch: int = -1):
        self._take(optimizer)
        self.total_steps = self._length(total_steps, epochs, steps_per_epoch)
        if not isinstance(pct_start, float) or not 0 <= pct_start <= 1:
            raise ValueError(f"[{self.name}] pct_start must be a float in [0, 1], "
                             f"got {pct_start!r}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"[{self.name}] anneal_strategy must be 'cos' or 'linear', got "
                             f"{anneal_strategy!r}")
        self._anneal_func_type = anneal_strategy
        self._schedule_phases = self._phases(pct_start, three_phase)
        rates = per_group(self.name, "max_lr", optimizer, max_lr)
        if last_epoch == -1:
            for group, top in zip(optimizer.param_groups, rates):
                group["initial_lr"], group["max_lr"] = top / div_factor, top
                group["min_lr"] = group["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self._take_momentum(base_momentum, max_momentum, last_epoch == -1)
        super().__init__(optimizer, last_epoch)

    def _length(self, total: int | None, epochs: int | None, per_epoch: int | None) -> int:
        if total is not None:
            return count(self.name, "total_steps", total)
        if epochs is None or per_epoch is None:
            raise ValueError(f"[{self.name}] give total_steps, or epochs and steps_per_epoch")
        return (count(self.name, "epochs", epochs)
                * count(self.name, "steps_per_epoch", per_epoch))

    def _phases(self, share: float, three: bool) -> list[dict[str, Any]]:
        """Where each phase ends, and which of a group's values it leads from and to."""
        def phase(end: float, rates: str, momenta: str) -> dict[str, Any]:
            first, last = rates.split()
            before, after = momenta.split()
            return {"end_step": end, "start_lr": f"{first}_lr", "end_lr": f"{last}_lr",
                    "start_momentum": f"{before}_momentum", "end_momentum": f"{after}_momentum"}

        end = self.total_steps - 1
        rise = phase(share * self.total_steps - 1, "initial max", "max base")
        if not three:
            return [rise, phase(end, "max min", "base max")]
        return [rise, phase(2 * share * self.total_steps - 2, "max initial", "base max"),
                phase(end, "initial min", "max max")]

    def _between(self, start: float, end: float, share: float) -> float:
        if self._anneal_func_type == "linear":
            return (end - start) * share + start
        return end + (start - end) / 2 * (1 + math.cos(math.pi * share))

    def get_lr(self) -> list[float]:
        t = self.last_epoch
        if t > self.total_steps:
            raise ValueError(f"[{self.name}] step {t} is past the end: it was made for "
                             f"{self.total_steps} steps")
        begin = 0.0
        for phase in self._schedule_phases:
            if t <= phase["end_step"] or phase is self._schedule_phases[-1]:
                break
            begin = phase["end_step"]
        share = (t - begin) / (phase["end_step"] - begin)
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(self._between(group[phase["start_lr"]], group[phase["end_lr"]], share))
            if self.cycle_momentum:
                self._set_momentum(group, self._between(
                    group[phase["start_momentum"]], group[phase["end_momentum"]], share))
        return rates


class CyclicLR(_Cycling):
    """lr goes up and down between `base_lr` and `max_lr`, in triangles.

    Args:
        optimizer: whose groups are scheduled.
        base_lr, max_lr: the ends, one number or one for each group.
        step_size_up, step_size_down: how many steps each way (down: as many as up).
        mode: "triangular": all triangles alike; "triangular2": each half as high as the one
            before; "exp_range": the height is scaled by gamma^step.
        gamma: for "exp_range".
        scale_fn: a function that gives the scale of the height instead of `mode`,
        scale_mode: of the number of the "cycle", from 1, or of the "iterations".
        cycle_momentum: whether `momentum` (or beta1) moves against lr,
        base_momentum, max_momentum: between these values.
        last_epoch: the last step that was finished, to go on from there.

    Source: Smith 2015, arXiv:1506.01186.
    """

    _unsaved = ("optimizer", "_scale_fn_custom")

    def __init__(self, optimizer: Optimizer, base_lr: Numbers, max_lr: Numbers,
                 step_size_up: int = 2000, step_size_down: int | None = None,
                 mode: str = "triangular", gamma: float = 1.0,
                 scale_fn: Callable[[float], float] | None = None, scale_mode: str = "cycle",
                 cycle_momentum: bool = True, base_momentum: Numbers = 0.8,
                 max_momentum: Numbers = 0.9, last_epoch: int = -1):
        self._take(optimizer)
        if mode not in ("triangular", "triangular2", "exp_range") and scale_fn is None:
            raise ValueError(f"[{self.name}] mode must be 'triangular', 'triangular2' or "
                             f"'exp_range', or a scale_fn given; got {mode!r}")
        if scale_mode not in ("cycle", "iterations"):
            raise ValueError(f"[{self.name}] scale_mode must be 'cycle' or 'iterations', got "
                             f"{scale_mode!r}")
        lows = [float(lr) for lr in per_group(self.name, "base_lr", optimizer, base_lr)]
        if last_epoch == -1:
            for group, low in zip(optimizer.param_groups, lows):
                set_rate(group, low)
        self.max_lrs = per_group(self.name, "max_lr", optimizer, max_lr)
        up = float(step_size_up)
        down = up if step_size_down is None else float(step_size_down)
        self.total_size, self.step_ratio = up + down, up / (up + down)
        self.mode, self.gamma, self._scale_fn_custom = mode, gamma, scale_fn
        if scale_fn is None:
            scale_mode = "iterations" if mode == "exp_range" else "cycle"
        self.scale_mode = scale_mode
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.base_momentums, self.max_momentums = self._take_momentum(
                base_momentum, max_momentum, last_epoch == -1)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = lows

    def scale_fn(self, x: float) -> float:
        """The scale of the height in cycle x, or at step x: see `scale_mode`."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        if self.mode == "triangular2":
            return 0.5 ** (x - 1)
        return self.gamma ** x if self.mode == "exp_range" else 1.0

    def get_lr(self) -> list[float]:
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1 + self.last_epoch / self.total_size - cycle
        height = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        scale = self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            for group, low, high in zip(self.optimizer.param_groups, self.base_momentums,
                                        self.max_momentums):
                self._set_momentum(group, high - (high - low) * height * scale)
        return [low + (high - low) * height * scale
                for low, high in zip(self.base_lrs, self.max_lrs)]

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "_scale_fn_custom": fields_of(self._scale_fn_custom)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        fields = state_dict.get("_scale_fn_custom")
        if fields and self._scale_fn_custom is not None:
            self._scale_fn_custom.__dict__.update(fields)
