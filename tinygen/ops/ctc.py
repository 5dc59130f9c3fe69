"""Connectionist temporal classification: the likelihood of a text under framewise predictions.

All ways to read a sequence of labels off T frames, with blanks between and repetitions merged,
are summed by dynamic programming in the logarithmic domain.

Source: A. Graves et al., "Connectionist Temporal Classification", ICML 2006.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..primitive import primitive
from ..tensor import Tensor
from .elementwise import where
from .index import take_along_axis_p
from .reduce import logsumexp
from .shape import concat_p, stack

NEVER = -math.inf


def _paths(labels: Any, blank: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N, S) with blanks around, (N, 2 S + 1), and where a step over a blank is allowed."""
    n, s = labels.shape
    states = np.full((n, 2 * s + 1), blank, np.int64)
    states[:, 1::2] = labels
    skip = np.zeros(states.shape, bool)
    skip[:, 3::2] = labels[:, 1:] != labels[:, :-1]
    return states, skip


def _definition(log_probs: Any, labels: Any, input_lengths: Any, label_lengths: Any, *,
                blank: int) -> Any:
    """The forward recursion, one frame after the other, made of primitives."""
    numbers = labels.data if isinstance(labels, Tensor) else labels
    frames = np.asarray(getattr(input_lengths, "data", input_lengths))
    states, skip = _paths(numbers, blank)
    n, width = states.shape
    never = np.full((n, 2), NEVER, np.asarray(getattr(log_probs, "data", log_probs)).dtype)
    start = np.arange(width) < 2
    scores = None
    for t in range(log_probs.shape[0]):
        emitted = take_along_axis_p(log_probs[t], states, axis=1)             # (N, 2 S + 1)
        if scores is None:
            scores = where(start, emitted, NEVER)
            continue
        one, two = (concat_p(never[:, :k], scores[:, :-k], axis=1)[:, :width] for k in (1, 2))
        ways = stack([scores, one, where(skip, two, NEVER)], axis=0)
        moved = _log_sum(ways) + emitted
        scores = where((t < frames)[:, None], moved, scores)
    return _ends(scores, label_lengths)


def _log_sum(ways: Any) -> Any:
    """logsumexp over axis 0, without a gradient through what can never happen."""
    data = np.asarray(getattr(ways, "data", ways))
    nothing = np.isneginf(data).all(axis=0)
    return where(nothing, NEVER, logsumexp(where(nothing, 0, ways), axis=0))


def _ends(scores: Any, label_lengths: Any) -> Any:
    last = 2 * np.asarray(getattr(label_lengths, "data", label_lengths))
    rows = np.arange(len(last))
    full, before = scores[rows, last], where(last > 0, scores[rows, np.maximum(last - 1, 0)],
                                             NEVER)
    return -_log_sum(stack([full, before], axis=0))


@primitive(name="ctc", composite=_definition)
def ctc_p(xp, log_probs, labels, input_lengths, label_lengths, *, blank):
    """-log of the summed probability of all readings, one number per sequence."""
    scores = _forward(log_probs, labels, input_lengths, blank)
    with np.errstate(all="ignore"):
        return _last(scores, input_lengths, label_lengths)


def _forward(log_probs: Any, labels: Any, frames: Any, blank: int) -> np.ndarray:
    """alpha[t, n, s]: log-probability of all readings of the first t + 1 frames that end in s."""
    states, skip = _paths(labels, blank)
    steps, n, _ = log_probs.shape
    alpha = np.full((steps, n, states.shape[1]), NEVER, log_probs.dtype)
    if not steps:
        return alpha
    emitted = np.take_along_axis(log_probs, np.broadcast_to(states, (steps, *states.shape)), 2)
    alpha[0, :, :2] = emitted[0, :, :2]
    with np.errstate(invalid="ignore"):
        for t in range(1, steps):
            ways = alpha[t - 1].copy()
            ways[:, 1:] = np.logaddexp(ways[:, 1:], alpha[t - 1, :, :-1])
            ways[:, 2:] = np.where(skip[:, 2:], np.logaddexp(ways[:, 2:], alpha[t - 1, :, :-2]),
                                   ways[:, 2:])
            alpha[t] = ways + emitted[t]
    return alpha


def _last(alpha: np.ndarray, frames: Any, label_lengths: Any) -> np.ndarray:
    rows = np.arange(alpha.shape[1])
    final = alpha[np.maximum(frames - 1, 0), rows]                            # (N, 2 S + 1)
    end = final[rows, 2 * label_lengths]
    before = np.where(label_lengths > 0, final[rows, np.maximum(2 * label_lengths - 1, 0)], NEVER)
    loss = -np.logaddexp(end, before)
    return np.where(frames > 0, loss, np.where(label_lengths > 0, math.inf, 0)).astype(alpha.dtype)


@ctc_p.vjp_joint
def _(needs, g, out, log_probs, labels, input_lengths, label_lengths, *, blank):
    """-(posterior probability of each class at each frame), by the backward recursion."""
    states, skip = _paths(labels, blank)
    steps, n, _ = log_probs.shape
    gradient = np.zeros_like(log_probs)
    alpha = _forward(log_probs, labels, input_lengths, blank)
    emitted = np.take_along_axis(log_probs, np.broadcast_to(states, (steps, *states.shape)), 2)
    beta = np.full(states.shape, NEVER, log_probs.dtype)   # readings of what follows frame t
    place = np.arange(states.shape[1])
    ends = (place == 2 * label_lengths[:, None]) | (
        (place == 2 * label_lengths[:, None] - 1) & (label_lengths[:, None] > 0))
    rows = np.arange(n)[:, None]
    possible = np.isfinite(out)
    out, g = np.where(possible, out, 0), np.where(possible, g, 0)   # no reading: no slope
    with np.errstate(invalid="ignore"):
        for t in range(steps - 1, -1, -1):
            if t + 1 < steps:
                after = beta + emitted[t + 1]
                ways = after.copy()
                ways[:, :-1] = np.logaddexp(ways[:, :-1], after[:, 1:])
                ways[:, :-2] = np.where(skip[:, 2:], np.logaddexp(ways[:, :-2], after[:, 2:]),
                                        ways[:, :-2])
                beta = ways
            beta = np.where((t == input_lengths - 1)[:, None], np.where(ends, 0, NEVER), beta)
            share = np.exp(alpha[t] + beta + out[:, None])
            share *= (t < input_lengths)[:, None]
            np.add.at(gradient[t], (rows, states), -share * g[:, None])
    return gradient.astype(log_probs.dtype, copy=False), None, None, None


def centred(log_probs: Any) -> Any:
    """log_probs, with the gradient of log_softmax: equal for what log_softmax has made."""
    from .norm import log_softmax
    normal = log_softmax(log_probs, -1)
    return normal + (log_probs - normal).detach()


__all__ = ["centred", "ctc_p"]
