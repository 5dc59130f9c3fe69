"""Recurrences: one layer, one direction, all steps."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from scipy.special import expit

from tests.drawing import Case, Sample, between, whole


def sequence(gates, cell=False, ramp=False):
    """Calls with drawn sizes; biases and lengths may be left out. `ramp`: clear of relu's kink."""
    def sample(draw):
        steps, n, size, hidden = (draw(st.integers(1, 3)) for _ in range(4))
        out = draw(st.integers(1, 3)) if cell and draw(st.booleans()) else None
        bias = between((gates * hidden,))
        makers = [between((steps, n, size), -1, 1), between((n, out or hidden), -1, 1),
                  *([between((n, hidden))] if cell else []),
                  between((gates * hidden, size), -1, 1),
                  between((gates * hidden, out or hidden), -1, 1)]
        if ramp:     # each unit is far above zero at all steps, or far below
            makers[2:] = [between((hidden, size), -0.3, 0.3), between((hidden, hidden), -0.1, 0.1)]
            bias = lambda rng: rng.choice([-3.0, 3.0], hidden)
            makers += [bias, None]
        else:
            makers += [bias if draw(st.booleans()) else None for _ in range(2)]
        if cell:
            makers.append(between((out, hidden), -1, 1) if out else None)
        makers.append(whole((n,), 0, steps + 1, np.int64) if draw(st.booleans()) else None)
        attrs = {"reverse": draw(st.booleans())}
        return Sample(tuple(makers), {**attrs, "nonlinearity": "relu"} if ramp else attrs)
    return sample


class Loop:
    """The loop over time that the references share: who is active, and what is kept."""

    def __init__(self, x, lengths, reverse):
        steps, n, _ = x.shape
        self.valid = np.arange(steps)[:, None] < (np.full(n, steps) if lengths is None else lengths)
        self.x = np.where(self.valid[:, :, None], x, 0)
        self.order = range(steps)[::-1] if reverse else range(steps)
        self.reverse = reverse

    def run(self, step, *carry):
        """Outputs, last states, what `step` keeps at each t, and the states at all times."""
        steps = len(self.x)
        states = [[None] * steps + [s] for s in carry]
        kept = [None] * steps
        for t in self.order:
            new, kept[t] = step(self.x[t], *carry)
            carry = [np.where(self.valid[t][:, None], a, b)
                     for a, b in zip(new, carry, strict=True)]
            for s, c in zip(states, carry, strict=True):
                s[t] = c
        y = np.stack([np.where(v[:, None], h, 0)
                      for v, h in zip(self.valid, states[0], strict=False)])
        roll = 0 if self.reverse else 1        # the first state stands before, or past the end
        return (y, *carry, *map(np.stack, zip(*kept, strict=True)),
                *(np.roll(np.stack(s), roll, 0) for s in states))


def rnn(x, h0, w_ih, w_hh, b_ih=None, b_hh=None, lengths=None, *, nonlinearity="tanh", reverse):
    bias = (0 if b_ih is None else b_ih) + (0 if b_hh is None else b_hh)

    def step(x, h):
        a = x @ w_ih.T + h @ w_hh.T + bias
        return [np.tanh(a) if nonlinearity == "tanh" else np.maximum(a, 0)], ()
    return Loop(x, lengths, reverse).run(step, h0)


def gru(x, h0, w_ih, w_hh, b_ih=None, b_hh=None, lengths=None, *, reverse):
    def step(x, h):
        a = np.split(x @ w_ih.T + (0 if b_ih is None else b_ih), 3, 1)
        b = np.split(h @ w_hh.T + (0 if b_hh is None else b_hh), 3, 1)
        r, z = expit(a[0] + b[0]), expit(a[1] + b[1])
        n = np.tanh(a[2] + r * b[2])
        return [(1 - z) * n + z * h], (np.concatenate([r, z, n], 1), b[2])
    return Loop(x, lengths, reverse).run(step, h0)


def lstm(x, h0, c0, w_ih, w_hh, b_ih=None, b_hh=None, w_hr=None, lengths=None, *, reverse):
    bias = (0 if b_ih is None else b_ih) + (0 if b_hh is None else b_hh)

    def step(x, h, c):
        i, f, g, o = np.split(x @ w_ih.T + h @ w_hh.T + bias, 4, 1)
        i, f, g, o = expit(i), expit(f), np.tanh(g), expit(o)
        c = f * c + i * g
        h = o * np.tanh(c)
        return [h if w_hr is None else h @ w_hr.T, c], (np.concatenate([i, f, g, o], 1), np.tanh(c))
    return Loop(x, lengths, reverse).run(step, h0, c0)


CASES = [
    Case("rnn_sequence", sequence(1), rnn, inputs=(0, 1, 2, 3, 4, 5)),
    Case("rnn_sequence", sequence(1, ramp=True), rnn, inputs=(0, 1, 2, 3, 4), note="relu"),
    Case("gru_sequence", sequence(3), gru, inputs=(0, 1, 2, 3, 4, 5)),
    Case("lstm_sequence", sequence(4, cell=True), lstm, inputs=(0, 1, 2, 3, 4, 5, 6, 7)),
]
