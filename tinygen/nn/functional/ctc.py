"""The CTC loss: texts from frames, without an alignment."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import ops
from ...mode import TAPE, local, reads
from ...ops.ctc import ctc_p
from ...ops.host import numpy_function
from ...ops.loss import checked
from ...tensor import Tensor

__all__ = ["ctc_loss"]


def ctc_loss(log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any,
             blank: int = 0, reduction: str = "mean", zero_infinity: bool = False) -> Tensor:
    """-log of the probability that frames with these log-probabilities read as the targets.

    Args:
        log_probs: (T, N, C) or (T, C), as `log_softmax` over C gives them.
        targets: class numbers (N, S), padded at will, or all end to end (sum of the lengths,).
        input_lengths: (N,) or a number: how many of the T frames count.
        target_lengths: (N,) or a number: how many labels count.
        reduction: ``"mean"`` divides each loss by its target length, then averages.
        zero_infinity: targets that do not fit into their frames give 0 instead of infinity.

    The gradient to log_probs is PyTorch's: exp(log_probs) less the posterior probability of each
    class at each frame. It is the true one for what `log_softmax` has made. Targets that do not
    fit get no gradient (PyTorch: nan).

    Source: A. Graves et al., "Connectionist Temporal Classification", ICML 2006.
    """
    op = "ctc_loss"
    checked(reduction, op)
    if log_probs.ndim not in (2, 3):
        raise ValueError(f"[{op}] log_probs must be (T, N, C) or (T, C), got "
                         f"{tuple(log_probs.shape)}")
    batched = log_probs.ndim == 3
    if not batched:
        log_probs = ops.expand_dims(log_probs, 1)
    steps, n, classes = log_probs.shape
    if not 0 <= blank < classes:
        raise ValueError(f"[{op}] blank={blank} is none of the {classes} classes")
    device, recorded = getattr(log_probs, "device", "cpu"), bool(local.mode & TAPE)
    if recorded and np.ndim(getattr(targets, "data", targets)) != 2:
        reads(op, targets, target_lengths, instead="Give targets (N, S), padded to one length")
    # Arranged by NumPy, in every replay anew
    lengths = numpy_function(lambda given: _lengths(
        given, n, steps, "input_lengths", f"the {steps} frames", op), input_lengths).to(device)
    counts = numpy_function(lambda given: _lengths(
        given, n, None, "target_lengths", "", op), target_lengths)
    labels = numpy_function(lambda given, counts: _labels(
        given, counts, n, op, classes, recorded), targets, counts).to(device)
    counts = counts.to(device)
    loss: Any = ctc_p(log_probs, labels, lengths, counts, blank=blank)
    loss = loss + _nothing(log_probs, lengths, ops.isfinite(loss))
    if zero_infinity:
        loss = ops.where(ops.isinf(loss), 0, loss)
    if reduction == "none":
        return loss if batched else loss[0]
    if reduction == "sum":
        return ops.sum(loss)
    return ops.mean(loss / ops.maximum(counts, 1).astype(loss.dtype))


def _nothing(log_probs: Any, lengths: Tensor, possible: Tensor) -> Any:
    """0 for each sequence, with the gradient exp(log_probs) at the frames that count.

    It is what `log_softmax` adds to the gradient of its input, so that it does no harm there.
    """
    steps = log_probs.shape[0]
    counts = (ops.arange(steps)[:, None].to(lengths.device) < lengths) & possible     # (T, N)
    total = ops.sum(ops.where(counts[:, :, None], ops.exp(log_probs), 0), axis=(0, 2))
    return total - total.detach() if isinstance(total, Tensor) else total * 0


def _lengths(lengths: np.ndarray, n: int, most: int | None, name: str, what: str,
             op: str) -> np.ndarray:
    lengths = lengths.reshape(-1)
    if lengths.size == 1 and n != 1:
        lengths = np.repeat(lengths, n)
    if lengths.shape != (n,) or lengths.dtype.kind not in "iu":
        raise ValueError(f"[{op}] {name} must hold {n} integers, one per sequence, got "
                         f"{lengths.dtype} {lengths.shape}")
    if lengths.size and (lengths.min() < 0 or (most is not None and lengths.max() > most)):
        raise ValueError(f"[{op}] {name} go from {lengths.min()} to {lengths.max()}: they must "
                         f"lie between 0 and {what or 'the width of the targets'}")
    return lengths.astype(np.int64)


def _labels(numbers: np.ndarray, counts: np.ndarray, n: int, op: str, classes: int,
            wide: bool) -> np.ndarray:
    """Targets padded to (N, longest), with a label that occurs where nothing counts.

    `wide`: with all S columns, so that other lengths have the same shape.
    """
    if numbers.dtype.kind not in "iu":
        raise TypeError(f"[{op}] targets must hold integers, got {numbers.dtype}")
    longest = int(counts.max(initial=0))
    if wide and numbers.ndim == 2:
        longest = max(longest, numbers.shape[1])
    if numbers.ndim == 2 and numbers.shape[0] == n:
        if longest > numbers.shape[1]:
            raise ValueError(f"[{op}] targets {numbers.shape} are shorter than the longest "
                             f"target length {longest}")
        padded = numbers[:, :longest].astype(np.int64)
    elif numbers.ndim == 1 and numbers.size >= counts.sum():
        padded = np.zeros((n, longest), np.int64)
        ends = np.cumsum(counts)
        for i, (end, count) in enumerate(zip(ends, counts, strict=True)):
            padded[i, :count] = numbers[end - count:end]
    else:
        raise ValueError(f"[{op}] targets have shape {numbers.shape}; ({n}, S) or all "
                         f"{counts.sum()} labels end to end fit")
    labels = np.where(np.arange(longest) < counts[:, None], padded, 0)
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        raise ValueError(f"[{op}] targets hold numbers from {labels.min()} to {labels.max()}; "
                         f"there are {classes} classes")
    return labels
