"""The CTC loss against a sum over all readings."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import strategies as st

from tests.drawing import Case, Sample, between


def ctc_sample(draw):
    steps, n, classes = draw(st.integers(2, 4)), draw(st.integers(1, 2)), draw(st.integers(2, 3))
    longest = draw(st.integers(0, min(2, steps // 2)))
    blank = draw(st.integers(0, classes - 1))
    others = [c for c in range(classes) if c != blank]
    frames = np.array([draw(st.integers(max(1, 2 * longest), steps)) for _ in range(n)])
    counts = np.array([draw(st.integers(0, longest)) for _ in range(n)])
    return Sample((between((steps, n, classes), -2, 0),
                   lambda rng: rng.choice(others, (n, longest)),
                   lambda rng: frames.copy(), lambda rng: counts.copy()), {"blank": blank})


def merged(path, blank):
    return [k for k, _ in itertools.groupby(path) if k != blank]


def ctc_reference(log_probs, labels, input_lengths, label_lengths, blank):
    """Every path of classes through the frames that reads as the labels, one after the other."""
    losses = []
    for i in range(log_probs.shape[1]):
        wanted = labels[i, :label_lengths[i]].tolist()
        total = 0.0
        for path in itertools.product(range(log_probs.shape[2]), repeat=int(input_lengths[i])):
            if merged(path, blank) == wanted:
                total += np.exp(sum(log_probs[t, i, c] for t, c in enumerate(path)))
        losses.append(-np.log(total))
    return np.array(losses)


CASES = [Case("ctc", ctc_sample, ctc_reference, half=None)]
