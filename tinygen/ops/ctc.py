"""Connectionist temporal classification: the likelihood of a text under framewise predictions.

All ways to read a sequence of labels off T frames, with blanks between and repetitions merged,
are summed by dynamic programming in the logarithmic domain.

Source: A. Graves et al., "Connectionist Temporal Classification", ICML 2006.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import backend
from ..primitive import primitive
from ..tensor import Tensor
from .elementwise import where
from .index import take_along_axis_p
from .reduce import logsumexp
from .shape import concat_p, stack

NEVER = -math.inf


def _bare(x: Any) -> Any:
    return x.data if isinstance(x, Tensor) else x


def _paths(xp: Any, labels: Any, blank: int) -> tuple[Any, Any]:
    """Labels (N, S) with blanks around, (N, 2 S + 1), and where a step over a blank is allowed."""
    n, s = labels.shape
    states = xp.full((n, 2 * s + 1), blank, np.int64)
    states[:, 1::2] = labels
    skip = xp.zeros(states.shape, bool)
    skip[:, 3::2] = labels[:, 1:] != labels[:, :-1]
    return states, skip


# -- the definition, made of primitives -----------------------------------------------------------


def _definition(log_probs: Any, labels: Any, input_lengths: Any, label_lengths: Any, *,
                blank: int) -> Any:
    """The forward recursion, one frame after the other."""
    xp = backend.array_module(_bare(log_probs))
    frames = _bare(input_lengths)
    states, skip = _paths(xp, _bare(labels), blank)
    n, width = states.shape
    never = xp.full((n, 2), NEVER, log_probs.dtype)
    start = xp.arange(width) < 2
    scores: Any = None
    for t in range(log_probs.shape[0]):
        emitted = take_along_axis_p(log_probs[t], states, axis=1)             # (N, 2 S + 1)
        if scores is None:
            scores = where(start, emitted, NEVER)
            continue
        one, two = (concat_p(never[:, :k], scores[:, :-k], axis=1)[:, :width] for k in (1, 2))
        ways = stack([scores, one, where(skip, two, NEVER)], axis=0)
        scores = where((t < frames)[:, None], _log_sum(ways) + emitted, scores)
    last = 2 * _bare(label_lengths)
    rows = xp.arange(n)
    before = where(last > 0, scores[rows, xp.maximum(last - 1, 0)], NEVER)
    return -_log_sum(stack([scores[rows, last], before], axis=0))


def _log_sum(ways: Any) -> Any:
    """logsumexp over axis 0, without a gradient through what can never happen."""
    nothing = (_bare(ways) == NEVER).all(axis=0)
    return where(nothing, NEVER, logsumexp(where(nothing, 0, ways), axis=0))


# -- the fused form --------------------------------------------------------------------------------


@primitive(name="ctc", composite=_definition)
def ctc_p(xp, log_probs, labels, input_lengths, label_lengths, *, blank):
    """-log of the summed probability of all readings, one number per sequence."""
    with np.errstate(all="ignore"):
        scores = _forward(xp, _emitted(xp, log_probs, labels, blank), labels, blank)
        return _last(xp, scores, input_lengths, label_lengths)


def _emitted(xp: Any, log_probs: Any, labels: Any, blank: int) -> Any:
    """log_probs of the states of every frame: (T, N, 2 S + 1)."""
    states, _ = _paths(xp, labels, blank)
    shape = (len(log_probs), *states.shape)
    return xp.take_along_axis(log_probs, xp.broadcast_to(states, shape), 2)


def _forward(xp: Any, emitted: Any, labels: Any, blank: int) -> Any:
    """alpha[t, n, s]: log-probability of all readings of the first t + 1 frames that end in s."""
    _, skip = _paths(xp, labels, blank)
    alpha = xp.full(emitted.shape, NEVER, emitted.dtype)
    alpha[:1, :, :2] = emitted[:1, :, :2]
    no_skip = xp.where(skip, 0, NEVER).astype(alpha.dtype)
    for t in range(1, len(emitted)):
        alpha[t] = _three(xp, alpha[t - 1], no_skip) + emitted[t]
    return alpha


def _three(xp: Any, scores: Any, no_skip: Any) -> Any:
    """log of the summed exp: of a state, the one before it, and the one before a skipped blank.

    Three exponentials and one logarithm of whole arrays: twice as fast as xp.logaddexp twice.
    """
    n, width = scores.shape
    wide = xp.full((n, width + 2), NEVER, scores.dtype)
    wide[:, 2:] = scores
    ways = xp.stack([scores, wide[:, 1:-1], wide[:, :-2] + no_skip])          # (3, N, 2 S + 1)
    top = ways.max(axis=0)
    top = xp.where(top == NEVER, 0, top).astype(scores.dtype)
    return xp.log(xp.exp(ways - top).sum(axis=0)) + top


def _last(xp: Any, alpha: Any, frames: Any, label_lengths: Any) -> Any:
    rows = xp.arange(alpha.shape[1])
    if not len(alpha):
        return xp.where(label_lengths > 0, math.inf, 0).astype(alpha.dtype)
    final = alpha[xp.maximum(frames - 1, 0), rows]                            # (N, 2 S + 1)
    end = final[rows, 2 * label_lengths]
    before = xp.where(label_lengths > 0, final[rows, xp.maximum(2 * label_lengths - 1, 0)], NEVER)
    loss = -xp.logaddexp(end, before)
    return xp.where(frames > 0, loss, xp.where(label_lengths > 0, math.inf, 0)).astype(alpha.dtype)


@ctc_p.vjp_joint
def _(needs, g, out, log_probs, labels, input_lengths, label_lengths, *, blank):
    """-(posterior probability of each class at each frame), by the backward recursion."""
    xp = backend.array_module(log_probs)
    states, skip = _paths(xp, labels, blank)
    emitted = _emitted(xp, log_probs, labels, blank)
    steps, n, width = emitted.shape
    with np.errstate(all="ignore"):
        share = _forward(xp, emitted, labels, blank)       # alpha, then the posterior in its place
        place, end = xp.arange(width), 2 * label_lengths[:, None]
        ends = (place == end) | ((place == end - 1) & (end > 0))
        finish = xp.where(ends, 0, NEVER).astype(emitted.dtype)
        possible = xp.isfinite(out)
        out, g = xp.where(possible, out, 0), xp.where(possible, g, 0)   # no reading: no slope
        back = xp.full(states.shape, NEVER, emitted.dtype)
        back[:, 2:] = xp.where(skip[:, 2:], 0, NEVER)[:, ::-1]
        beta = xp.full(states.shape, NEVER, emitted.dtype)     # readings of what follows frame t
        for t in range(steps - 1, -1, -1):
            if t + 1 < steps:                              # the same steps, read backwards
                beta = _three(xp, (beta + emitted[t + 1])[:, ::-1], back)[:, ::-1]
            beta = xp.where((t == input_lengths - 1)[:, None], finish, beta)
            share[t] = xp.exp(share[t] + beta + out[:, None]) * (t < input_lengths)[:, None]
    gradient = xp.zeros_like(log_probs)
    frame, row = xp.arange(steps)[:, None, None], xp.arange(n)[:, None]
    xp.add.at(gradient, (frame, row, states), -share * g[:, None])
    return gradient, None, None, None


__all__ = ["ctc_p"]
