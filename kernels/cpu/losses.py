"""Cross entropy with its gradient: one exponential of each logit for both."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygen.primitive import kernel

from .rows import EXP_GRAIN, OUT_OF_RANGE, _loss_inputs, _parts, plain, soft


def _both(over: bool, logits: Any, g: Any, target: Any, weight: Any, ignore_index: int,
          reduction: str, label_smoothing: float) -> Any:
    found = _loss_inputs(logits, target, weight)
    if type(found) is str:
        return found
    x, target, w = found
    g = plain(np.asarray(g, x.dtype)).reshape(-1)
    in_place = over or x is not logits          # a copy that was made here is free to be changed
    loss, gx = np.empty(len(x), x.dtype), x if in_place else np.empty(x.shape, x.dtype)
    total, valid = soft.cross_entropy_and_gradient(
        g, x, target, w, weight is not None, ignore_index, float(label_smoothing),
        reduction == "mean", in_place, loss, gx, _parts(x, EXP_GRAIN))
    if not valid:
        return OUT_OF_RANGE
    return loss if reduction == "none" else x.dtype.type(total), gx


@kernel("cross_entropy_and_gradient", np.ndarray)
def cross_entropy_and_gradient(logits: Any, g: Any, target: Any, weight: Any = None, *,
                               ignore_index: int, reduction: str, label_smoothing: float) -> Any:
    """Maximum, exponentials with their sum, loss and gradient of a row while it is in the cache."""
    return _both(False, logits, g, target, weight, ignore_index, reduction, label_smoothing)


def _over(logits: Any, g: Any, target: Any, weight: Any = None, *, ignore_index: int,
          reduction: str, label_smoothing: float) -> Any:
    return _both(True, logits, g, target, weight, ignore_index, reduction, label_smoothing)


cross_entropy_and_gradient.over = _over     # may write the gradient over the logits
