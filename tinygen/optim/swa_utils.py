"""Stochastic weight averaging, and moving averages, with PyTorch's names.

Sources: Izmailov et al. 2018, arXiv:1803.05407 (SWA); Polyak and Juditsky 1992.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np

from ..autograd import no_grad
from ..mode import decide
from ..nn.module import Module
from ..nn.norm import _BatchNorm
from ..tensor import Tensor
from .ema import EMA, count_up, mean_update, mix_update
from .lr_scheduler import LRScheduler
from .lr_scheduler.base import per_group, rate
from .optimizer import Optimizer

__all__ = ["EMA", "SWALR", "AveragedModel", "get_ema_avg_fn", "get_ema_multi_avg_fn",
           "get_swa_avg_fn", "get_swa_multi_avg_fn", "update_bn"]

AvgFn = Callable[[Tensor, Tensor, Any], Any]
MultiAvgFn = Callable[[Sequence[Tensor], Sequence[Tensor], Any], None]


def _check_decay(decay: float) -> float:
    if not 0 <= decay <= 1:
        raise ValueError(f"decay must be in [0, 1], got {decay!r}")
    return decay


def get_ema_avg_fn(decay: float = 0.999) -> AvgFn:
    """A function of (average, value, n) that returns decay * average + (1 - decay) * value."""
    _check_decay(decay)

    def ema_update(average: Tensor, value: Tensor, num_averaged: Any) -> Any:
        with no_grad():
            return decay * average + (1 - decay) * value
    return ema_update


def get_ema_multi_avg_fn(decay: float = 0.999) -> MultiAvgFn:
    """The same in place, for lists of averages and values."""
    _check_decay(decay)

    def ema_update(averages: Sequence[Tensor], values: Sequence[Tensor], num_averaged: Any) -> None:
        _mix_all(averages, values, 1 - decay)
    return ema_update


def get_swa_avg_fn() -> AvgFn:
    """A function of (average, value, n) that returns the mean of n + 1 values."""
    def swa_update(average: Tensor, value: Tensor, num_averaged: Any) -> Any:
        with no_grad():
            n = num_averaged
            more = n.astype(average.dtype) + 1 if isinstance(n, Tensor) else n + 1
            return average + (value - average) / more
    return swa_update


def get_swa_multi_avg_fn() -> MultiAvgFn:
    """The same in place, for lists of averages and values."""
    def swa_update(averages: Sequence[Tensor], values: Sequence[Tensor], num_averaged: Any) -> None:
        if not isinstance(num_averaged, Tensor):
            return _mix_all(averages, values, 1 / (num_averaged + 1))
        return _take_in(averages, values, num_averaged, single=True)   # as PyTorch divides it
    return swa_update


def _take_in(averages: Sequence[Tensor], values: Sequence[Tensor], n: Tensor, single: bool) -> None:
    with no_grad():
        for average, value in zip(averages, values, strict=True):
            mean_update(average, value, n, single=single)
            average.touch()


def _mix_all(averages: Sequence[Tensor], values: Sequence[Tensor], weight: float) -> None:
    with no_grad():
        for average, value in zip(averages, values, strict=True):
            if average.dtype.kind in "fV":
                mix_update(average, value, weight=weight)
                average.touch()
            else:                            # as PyTorch: computed as a float, then cut off
                mixed = average.astype("float64") * (1 - weight) + value * weight
                average.assign_(mixed.astype(average.dtype))


class AveragedModel(Module):
    """A copy of a model whose weights are an average of the model's, over calls.

    Args:
        model: the model that learns; it is copied, and not kept.
        device: where the average is to live (default: with the model).
        avg_fn: gives the new average of (average, value, number averaged so far).
        multi_avg_fn: the same in place, for lists; neither: the plain mean (SWA).
        use_buffers: average buffers too, instead of copying them at each update.

    >>> import tinygen as tg
    >>> from tinygen import nn
    >>> model = nn.Linear(1, 1, bias=False)
    >>> averaged = AveragedModel(model)
    >>> for value in (1.0, 2.0, 6.0):
    ...     _ = model.weight.assign_(value)
    ...     averaged.update_parameters(model)
    >>> averaged.module.weight.item()
    3.0
    """

    n_averaged: Tensor

    def __init__(self, model: Module, device: Any = None, avg_fn: AvgFn | None = None,
                 multi_avg_fn: MultiAvgFn | None = None, use_buffers: bool = False):
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("[AveragedModel] give avg_fn or multi_avg_fn, not both")
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device=device)
        self.register_buffer("n_averaged", Tensor(np.zeros((), np.int64)))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The averaged model's result."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Take the model's weights into the average; the first call copies them."""
        averages, values = self._tensors(self.module), self._tensors(model)
        values = [v.detach().to(device=a.device) for a, v in zip(averages, values)]
        begins = decide(lambda: int(self.n_averaged.data) == 0, "whether an average begins")
        if begins:
            for average, value in zip(averages, values):
                average.assign_(value)
        elif self.avg_fn is not None:
            for average, value in zip(averages, values):
                average.assign_(self.avg_fn(average.detach(), value, self.n_averaged))
        else:
            within = [a.detach() for a in averages]
            if self.multi_avg_fn is None:
                _take_in(within, values, self.n_averaged, single=False)
            else:
                self.multi_avg_fn(within, values, self.n_averaged)
            for average in averages:
                average.touch()
        if not self.use_buffers:
            for mine, theirs in zip(self.module.buffers(), model.buffers()):
                mine.assign_(theirs)
        with no_grad():
            count_up(self.n_averaged)
        self.n_averaged.touch()

    def _tensors(self, model: Module) -> list[Tensor]:
        return [*model.parameters(), *(model.buffers() if self.use_buffers else ())]


def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Compute the running statistics of the batch normalisation layers anew, over `loader`.

    Averaged weights need statistics of their own. Batches are tensors, or tuples whose first
    entry is one; `device` moves them. The mode of the model stays as it was.
    """
    layers = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    was_training = model.training
    try:
        model.train()
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None                  # the plain mean of all batches
        with no_grad():
            for batch in loader:
                x = batch[0] if isinstance(batch, (list, tuple)) else batch
                model(x if device is None else x.to(device=device))
    finally:
        for layer, momentum in zip(layers, momenta):
            layer.momentum = momentum
        model.train(was_training)


class SWALR(LRScheduler):
    """lr goes from what it is to `swa_lr` in `anneal_epochs` epochs, and stays there.

    Args:
        optimizer: whose groups are scheduled.
        swa_lr: the last learning rate, one or one for each group.
        anneal_epochs: how long it takes.
        anneal_strategy: "cos" or "linear".
        last_epoch: the last epoch that was finished, to go on from there.
    """

    def __init__(self, optimizer: Optimizer, swa_lr: float | Sequence[float],
                 anneal_epochs: int = 10, anneal_strategy: str = "cos", last_epoch: int = -1):
        self._take(optimizer)
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"[SWALR] anneal_strategy must be 'cos' or 'linear', got "
                             f"{anneal_strategy!r}")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"[SWALR] anneal_epochs must be an integer of at least 0, got "
                             f"{anneal_epochs!r}")
        for group, lr in zip(optimizer.param_groups,
                             per_group("SWALR", "swa_lr", optimizer, swa_lr)):
            group["swa_lr"] = lr
        self._anneal_strategy, self.anneal_epochs = anneal_strategy, anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _share(self, step: int) -> float:
        """How much of the way is done at a step."""
        t = max(0, min(1, step / max(1, self.anneal_epochs)))
        return t if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * t)) / 2

    def get_lr(self) -> list[float]:
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._share(step - 1), self._share(step)
        rates = []
        for group in self.optimizer.param_groups:
            goal, lr = float(group["swa_lr"]), rate(group)
            start = goal if before == 1 else (lr - before * goal) / (1 - before)
            rates.append(goal * now + start * (1 - now))
        return rates

    def _checked(self, saved: Mapping[str, Any]) -> dict[str, Any]:
        return super()._checked({k: v for k, v in saved.items() if k != "anneal_func"})
