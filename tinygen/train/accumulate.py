"""Gradient accumulation: one update from a batch that passes through the model in parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..autograd import no_grad
from ..tensor import Tensor

__all__ = ["accumulated_step", "check_accumulate"]


def check_accumulate(model: Any, parts: int) -> None:
    """Raise for a model that cannot learn from parts of a batch."""
    if parts > 1 and getattr(model, "n_critic", 1) > 1:
        raise ValueError(f"[Trainer] accumulate={parts} does not go with n_critic="
                         f"{model.n_critic}: the model counts batches, and parts are not any")


class _Accumulator:
    """An optimizer whose `step` keeps the gradients' share of a sum; `finish` steps with it.

    All else is the optimizer's own. `share` is the part's share of the batch.
    """

    def __init__(self, optimizer: Any):
        self._optimizer = optimizer
        self._sums: dict[int, tuple[Tensor, Tensor]] = {}
        self._stepped, self.share = False, 0.0

    def step(self, closure: Any = None) -> Any:
        """Add the gradients that there are, and forget them."""
        loss = None if closure is None else closure()
        self._stepped = True
        for group in self._optimizer.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                with no_grad():
                    part = p.grad * self.share
                    before = self._sums.get(id(p))
                    self._sums[id(p)] = p, part if before is None else before[1] + part
                p.grad = None
        return loss

    def finish(self) -> None:
        """The optimizer's own step with the sum, if there is one."""
        if not self._stepped:
            return
        self._optimizer.zero_grad()
        for p, total in self._sums.values():
            p.grad = total
        self._optimizer.step()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._optimizer, name)


def accumulated_step(model: Any, images: Tensor, labels: Tensor | None,
                     optimizers: Mapping[str, Any], parts: int) -> dict[str, Tensor]:
    """`model.training_step` with one update for the batch, which is passed in `parts` parts.

    Each part's gradients and losses count by its share of the images, so that for losses that
    are means over images, the update is that of the whole batch up to rounding. What looks at a
    whole batch (batch normalisation) looks at a part instead.
    """
    count = len(images)
    parts = min(parts, count)
    if parts < 2:
        return model.training_step(images, labels, optimizers)
    wrapped = {name: _Accumulator(o) for name, o in optimizers.items()}
    sums: dict[str, tuple[Any, float]] = {}
    bounds = [count * i // parts for i in range(parts + 1)]
    for start, end in zip(bounds, bounds[1:]):
        share = (end - start) / count
        for optimizer in wrapped.values():
            optimizer.share = share
        losses = model.training_step(images[start:end],
                                     None if labels is None else labels[start:end], wrapped)
        for name, value in losses.items():
            total, weight = sums.get(name, (0.0, 0.0))
            sums[name] = total + value * share, weight + share
    for optimizer in wrapped.values():
        optimizer.finish()
    return {name: total / weight for name, (total, weight) in sums.items()}
