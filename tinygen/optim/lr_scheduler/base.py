"""LRScheduler: counting epochs, and writing what a schedule computes into the groups."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from types import FunctionType
from typing import Any

from ...tensor import Tensor
from ..optimizer import Optimizer

__all__ = ["LRScheduler", "count", "fields_of", "per_group", "rate", "set_rate"]


def rate(group: dict[str, Any]) -> float:
    """A group's learning rate as a number."""
    return float(group["lr"])


def set_rate(group: dict[str, Any], lr: float) -> None:
    """Set a group's learning rate; a tensor stays the same tensor, with another value."""
    if isinstance(group["lr"], Tensor):
        group["lr"].assign_(lr)
    else:
        group["lr"] = lr


def per_group(owner: str, name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """`value` once for each group, or a list that has one for each already."""
    count = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"[{owner}] {name} must be one value, or one for each of the {count} "
                         f"groups, got {len(value)} values")
    return list(value)


class LRScheduler:
    """What all schedules share. One of your own defines `get_lr`.

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

    _unsaved: tuple[str, ...] = ("optimizer",)
    _is_initial = False                   # the first call may not advance a recursion
    _get_lr_called_within_step = False    # what schedules written for PyTorch look at

    optimizer: Optimizer
    _last_lr: list[float]

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1):
        self._take(optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", rate(group))
            elif "initial_lr" not in group:
                raise KeyError(f"[{self.name}] group {i} has no 'initial_lr', which going on from "
                               f"epoch {last_epoch} needs: load the optimizer's state first")
        self.base_lrs: list[float] = [float(g["initial_lr"]) for g in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._initial_step()

    def _take(self, optimizer: Any) -> None:
        """Keep the optimizer, which must be one; for what comes before `__init__` as well."""
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"[{self.name}] optimizer must be a tinygen.optim.Optimizer, got "
                            f"{type(optimizer).__name__}")
        self.optimizer = optimizer

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    # -- what a subclass gives --------------------------------------------------------------------

    def get_lr(self) -> list[float]:
        """The learning rates of `last_epoch`, from those that the groups have now.

        A subclass may also have `_get_closed_form_lr()`, which does not look at those.
        """
        raise NotImplementedError(f"{self.name} must define get_lr()")

    # -- stepping ---------------------------------------------------------------------------------

    def step(self, epoch: int | None = None) -> None:
        """Go one epoch (or step) further, or to `epoch`, and set the groups' learning rates.

        Call it after the optimizer's `step`; the first call warns if that had none.
        """
        self._check_groups()
        if self._step_count == 1 and not self.optimizer._opt_called:
            warnings.warn(f"[{self.name}] step() was called before the optimizer's: the first "
                          "learning rate of the schedule was never used", UserWarning,
                          stacklevel=2)
        self._step_count += 1
        self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        if epoch is None:
            self.last_epoch += 1
            compute = self.get_lr
        else:
            self.last_epoch = epoch
            compute = getattr(self, "_get_closed_form_lr", self.get_lr)
        self._get_lr_called_within_step = True
        try:
            self._set(compute())
        finally:
            self._get_lr_called_within_step = False

    def _set(self, rates: Sequence[float]) -> None:
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            set_rate(group, lr)
        self._last_lr = self._lrs()

    def get_last_lr(self) -> list[float]:
        """The learning rates that the last `step` set."""
        return self._last_lr

    # -- saving -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer, in numbers and lists, under PyTorch's names."""
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
        """The attributes that `saved` sets."""
        own = [k for k in self.__dict__ if k not in self._unsaved]
        missing = [k for k in own if k not in saved and not k.startswith("_")]
        unknown = [k for k in saved if not (k in self.__dict__ or k.startswith("_"))]
        if missing or unknown:
            which = f"{missing[0]!r} is missing" if missing else f"{unknown[0]!r} is unknown"
            raise KeyError(f"[{self.name}] load_state_dict: {which}; a {self.name} has "
                           f"{', '.join(k for k in own if not k.startswith('_'))}")
        count = len(self.optimizer.param_groups)
        for key in ("base_lrs", "_last_lr"):
            if key in saved and len(saved[key]) != count:
                raise ValueError(f"[{self.name}] load_state_dict: saved for {len(saved[key])} "
                                 f"parameter groups, the optimizer has {count}")
        found = {k: list(saved[k]) if isinstance(saved[k], (list, tuple)) else saved[k]
                 for k in own if k in saved}
        for key in ("base_lrs", "_last_lr"):
            if key in found:
                found[key] = [float(lr) for lr in found[key]]
        return found

    # -- small things -----------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The schedule's name in messages."""
        return type(self).__name__

    def _lrs(self) -> list[float]:
        return [rate(group) for group in self.optimizer.param_groups]

    def _scaled(self, factor: float) -> list[float]:
        return [rate(group) * factor for group in self.optimizer.param_groups]

    def _check_groups(self) -> None:
        if len(self.optimizer.param_groups) != len(self.base_lrs):
            raise RuntimeError(f"[{self.name}] was made for {len(self.base_lrs)} parameter groups, "
                               f"the optimizer has {len(self.optimizer.param_groups)} now; make a "
                               "new schedule after add_param_group")

    def __repr__(self) -> str:
        return f"{self.name}(last_epoch={self.last_epoch}, lr={self._last_lr})"


def count(owner: str, name: str, value: Any, low: int = 1) -> int:
    """`value` if it is an integer of at least `low`; else ValueError."""
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ValueError(f"[{owner}] {name} must be an integer of at least {low}, got {value!r}")
    return value


def fields_of(function: Any) -> dict[str, Any] | None:
    """What is saved of a callable: the attributes of an object, nothing of a plain function."""
    if isinstance(function, FunctionType) or not hasattr(function, "__dict__"):
        return None
    return dict(function.__dict__)
