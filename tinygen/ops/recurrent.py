"""Recurrences over a sequence: one layer, one direction and all time steps in one primitive.

x is (T, N, I): time first. The products of all inputs with `w_ih` are one matrix product; the loop
over time is left with the product of the state. Weight gradients are one product over all steps.

`lengths` (N,) holds the number of valid steps of each sequence. A step past the end changes
nothing: the state is carried through, the output is 0, and no gradient flows. With `reverse` the
loop runs from the last step to the first, so that each sequence starts at its own end.

Kept states are stored with T + 1 entries: the step at t reads entry `t + before` and writes entry
`t + after`, where (before, after) is (0, 1), or (1, 0) with `reverse`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import backend
from ..primitive import primitive
from .activation import relu, sigmoid
from .creation import arange
from .dense import linear
from .elementwise import greater, less, tanh, where
from .shape import stack

__all__ = ["gru_sequence", "rnn_sequence"]

TILE = 1 << 16   # elements of the block of steps whose slopes are worked out at once

# -- what all cells share -------------------------------------------------------------------------


def _order(steps: int, reverse: bool) -> tuple[range, int, int]:
    """The steps in the order of the loop, and the offsets of the states before and after."""
    return (range(steps - 1, -1, -1), 1, 0) if reverse else (range(steps), 0, 1)


def _past_end(xp: Any, lengths: Any, steps: int) -> tuple[int, Any]:
    """How many leading steps are valid for all, and which steps are not: (T, N, 1), or None."""
    if lengths is None or not lengths.size:
        return steps, None
    pad = xp.arange(steps)[:, None, None] >= lengths[:, None]
    # On a GPU nobody waits to learn how many: every step is masked.
    return int(lengths.min()) if xp is np else 0, pad


def _clean(xp: Any, x: Any, pad: Any) -> Any:
    """x with zeros past the ends: whatever stands there, NaN too, must not be seen."""
    return x if pad is None else xp.where(pad, 0, x)


def _input_products(xp: Any, x: Any, w: Any, b: Any) -> Any:
    """x @ w.T + b of all steps at once: (T, N, K)."""
    t, n, size = x.shape
    z = x.reshape(t * n, size) @ w.T
    if b is not None:
        z += b
    return z.reshape(t, n, len(w))


def _state_weight(xp: Any, w: Any, steps: int) -> Any:
    """w.T for the products of the loop: over many steps a copy in the order of memory pays.

    8 rows times (64, 256) took 12 us with the transposed view and 4 us with the copy.
    """
    return xp.array(w.T, order="C") if steps > 1 else w.T


def _start(xp: Any, initial: Any, steps: int, before: int, dtype: Any) -> Any:
    """Room for T + 1 states, the first one filled in."""
    states = xp.empty((steps + 1, *initial.shape), dtype)
    states[steps if before else 0] = initial
    return states


def _blocks(order: range, row: int) -> Iterator[tuple[slice, list[int]]]:
    """The steps backwards in blocks that stay in the cache: a slice of time, and its steps."""
    steps = list(reversed(order))
    size = max(1, TILE // max(1, row))
    for i in range(0, len(steps), size):
        part = steps[i:i + size]
        yield slice(min(part), max(part) + 1), part


def _weight_gradients(xp: Any, needs: tuple[bool, ...], dx: Any, dh: Any, x: Any, states: Any,
                      w_ih: Any) -> list[Any]:
    """Gradients of x, w_ih, w_hh, b_ih and b_hh, by one product each over all steps.

    `dx` and `dh` (T, N, K) are the gradients of the products of the input and of the state.
    """
    t, n, k = dx.shape
    rows, recurrent = dx.reshape(t * n, k), dh.reshape(t * n, k)
    ones = xp.ones((1, t * n), dx.dtype)
    wanted = [*needs, *(False,) * (7 - len(needs))]
    gb = (ones @ rows)[0] if wanted[4] or (wanted[5] and dh is dx) else None
    gb_h = gb if dh is dx else (ones @ recurrent)[0] if wanted[5] else None
    return [(rows @ w_ih).reshape(x.shape) if wanted[0] else None,
            rows.T @ x.reshape(t * n, x.shape[2]) if wanted[2] else None,
            recurrent.T @ states.reshape(t * n, states.shape[2]) if wanted[3] else None, gb, gb_h]


def _misfit(gates: int, x: Any, h0: Any, w_ih: Any, w_hh: Any, biases: Any, lengths: Any,
            out: int | None = None) -> str | None:
    """What does not fit, in words."""
    if len(x.shape) != 3 or len(w_ih.shape) != 2 or len(w_hh.shape) != 2:
        return (f"x (T, N, I), w_ih ({gates}H, I) and w_hh ({gates}H, H) are needed, got "
                f"{tuple(x.shape)}, {tuple(w_ih.shape)} and {tuple(w_hh.shape)}")
    hidden = w_ih.shape[0] // gates
    expected = [("w_ih", w_ih, (gates * hidden, x.shape[2])),
                ("w_hh", w_hh, (gates * hidden, out or hidden)),
                ("h0", h0, (x.shape[1], out or hidden)), ("lengths", lengths, (x.shape[1],)),
                *((name, b, (gates * hidden,)) for name, b in biases.items())]
    for name, array, shape in expected:
        if array is not None and tuple(array.shape) != shape:
            return f"{name} has shape {tuple(array.shape)}, {shape} would fit"
    return None


def _scan(cell: Callable[..., tuple[Any, ...]], x: Any, carry: tuple[Any, ...], lengths: Any,
          reverse: bool) -> tuple[Any, ...]:
    """The definition of a recurrence: the outputs of all steps, and the last carry."""
    steps = x.shape[0]
    if lengths is not None:
        valid = less(arange(steps, device=lengths.device)[:, None], lengths)
        x = where(valid[:, :, None], x, 0)
    ys = [None] * steps
    for t in _order(steps, reverse)[0]:
        new = cell(x[t], *carry)
        ys[t] = new[0]
        if lengths is not None:
            now = greater(lengths, t)[:, None]
            new = tuple(where(now, a, b) for a, b in zip(new, carry, strict=True))
            ys[t] = where(now, new[0], 0)
        carry = new
    return stack(ys), *carry


# -- the simple recurrence ------------------------------------------------------------------------


def _rnn_definition(x, h0, w_ih, w_hh, b_ih=None, b_hh=None, lengths=None, *,
                    nonlinearity="tanh", reverse=False):
    squash = tanh if nonlinearity == "tanh" else relu

    def cell(x, h):
        return (squash(linear(x, w_ih, b_ih) + linear(h, w_hh, b_hh)),)
    return _scan(cell, x, (h0,), lengths, reverse)


@primitive(composite=_rnn_definition, outputs=3, differentiable=2)
def rnn_sequence(xp, x, h0, w_ih, w_hh, b_ih=None, b_hh=None, lengths=None, *,
                 nonlinearity="tanh", reverse=False):
    """h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh) for all t, or relu instead of tanh.

    Shapes: x (T, N, I), h0 (N, H), w_ih (H, I), w_hh (H, H), biases (H,), lengths (N,) integers.

    Returns:
        The outputs (T, N, H), the last state (N, H), and what the gradient needs.

    Source: J. Elman, "Finding Structure in Time", Cognitive Science, 1990.
    """
    steps = len(x)
    full, pad = _past_end(xp, lengths, steps)
    bias = b_ih if b_hh is None else b_hh if b_ih is None else b_ih + b_hh
    z = _input_products(xp, _clean(xp, x, pad), w_ih, bias)
    order, before, after = _order(steps, reverse)
    states, w = _start(xp, h0, steps, before, z.dtype), _state_weight(xp, w_hh, steps)
    for t in order:
        last, now = states[t + before], states[t + after]
        xp.matmul(last, w, out=now)
        now += z[t]
        if nonlinearity == "tanh":
            xp.tanh(now, out=now)
        else:
            xp.maximum(now, 0, out=now)
        if t >= full:
            xp.copyto(now, last, where=pad[t])
    y = states[after:after + steps]
    return _clean(xp, y, pad), states[0 if reverse else steps].copy(), states


@rnn_sequence.vjp_joint
def _(needs, gs, ys, x, h0, w_ih, w_hh, b_ih=None, b_hh=None, lengths=None, *,
      nonlinearity="tanh", reverse=False):
    xp, states, steps = backend.array_module(x), ys[2], len(x)
    full, pad = _past_end(xp, lengths, steps)
    order, before, after = _order(steps, reverse)
    gy, dh = _clean(xp, gs[0], pad), gs[1].copy()
    d = xp.empty(gy.shape, states.dtype)
    for block, part in _blocks(order, dh.size):
        h = states[block.start + after:block.stop + after]
        if nonlinearity == "tanh":
            xp.multiply(h, h, out=d[block])
            xp.subtract(1, d[block], out=d[block])
        else:
            xp.greater(h, 0, out=d[block])
        if pad is not None:
            xp.copyto(d[block], 0, where=pad[block])
        for t in part:
            dh += gy[t]
            d[t] *= dh
            carried = dh * pad[t] if t >= full else None
            xp.matmul(d[t], w_hh, out=dh)
            if carried is not None:
                dh += carried
    gx, gw_ih, gw_hh, gb, _ = _weight_gradients(
        xp, needs, d, d, _clean(xp, x, pad), states[before:before + steps], w_ih)
    return gx, dh, gw_ih, gw_hh, gb, gb, None


@rnn_sequence.explains
def _(x, h0, w_ih, w_hh, b_ih=None, b_hh=None, lengths=None, **_):
    return _misfit(1, x, h0, w_ih, w_hh, {"b_ih": b_ih, "b_hh": b_hh}, lengths)


# -- the gated recurrent unit ---------------------------------------------------------------------


def _gru_definition(x, h0, w_ih, w_hh, b_ih=None, b_hh=None, lengths=None, *, reverse=False):
    size = w_hh.shape[1]

    def cell(x, h):
        a, b = linear(x, w_ih, b_ih), linear(h, w_hh, b_hh)
        reset = sigmoid(a[:, :size] + b[:, :size])
        update = sigmoid(a[:, size:2 * size] + b[:, size:2 * size])
        new = tanh(a[:, 2 * size:] + reset * b[:, 2 * size:])
        return (new + update * (h - new),)
    return _scan(cell, x, (h0,), lengths, reverse)


@primitive(composite=_gru_definition, outputs=5, differentiable=2)
def gru_sequence(xp, x, h0, w_ih, w_hh, b_ih=None, b_hh=None, lengths=None, *, reverse=False):
    """The gated recurrent unit over all t: h_t = (1 - z) n + z h_(t-1), where

        r = sigmoid(W_ir x_t + b_ir + W_hr h_(t-1) + b_hr)
        z = sigmoid(W_iz x_t + b_iz + W_hz h_(t-1) + b_hz)
        n = tanh(W_in x_t + b_in + r (W_hn h_(t-1) + b_hn))

    Shapes: x (T, N, I), h0 (N, H), w_ih (3H, I), w_hh (3H, H), biases (3H,) with the rows of r, z
    and n in this order, lengths (N,) integers.

    Returns:
        The outputs (T, N, H), the last state (N, H), and what the gradient needs.

    Source: K. Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", 2014.
    """
    steps, size = len(x), w_hh.shape[1]
    full, pad = _past_end(xp, lengths, steps)
    gates = _input_products(xp, _clean(xp, x, pad), w_ih, b_ih)          # (T, N, 3H)
    sigmoids = gates[:, :, :2 * size]
    if b_hh is not None:
        sigmoids += b_hh[:2 * size]
    w = _state_weight(xp, w_hh, steps)
    if steps > 1:       # sigmoid(a) = (tanh(a / 2) + 1) / 2, halved once instead of in each step
        sigmoids *= 0.5
        w[:, :2 * size] *= 0.5
    order, before, after = _order(steps, reverse)
    states = _start(xp, h0, steps, before, gates.dtype)
    inner = xp.empty(gates.shape[:2] + (size,), gates.dtype)             # W_hn h + b_hn
    product, spare = xp.empty(gates.shape[1:], gates.dtype), xp.empty_like(states[0])
    for t in order:
        last, now = states[t + before], states[t + after]
        xp.matmul(last, w, out=product)
        q = inner[t]
        if b_hh is None:
            q[...] = product[:, 2 * size:]
        else:
            xp.add(product[:, 2 * size:], b_hh[2 * size:], out=q)
        rz, n = gates[t, :, :2 * size], gates[t, :, 2 * size:]
        rz += product[:, :2 * size]
        if steps == 1:
            rz *= 0.5
        xp.tanh(rz, out=rz)
        rz *= 0.5
        rz += 0.5
        n += xp.multiply(rz[:, :size], q, out=spare)
        xp.tanh(n, out=n)
        xp.subtract(last, n, out=now)
        now *= rz[:, size:]
        now += n
        if t >= full:
            xp.copyto(now, last, where=pad[t])
    y = states[after:after + steps]
    return (_clean(xp, y, pad), states[0 if reverse else steps].copy(), gates, inner, states)


@gru_sequence.vjp_joint
def _(needs, gs, ys, x, h0, w_ih, w_hh, b_ih=None, b_hh=None, lengths=None, *, reverse=False):
    xp, steps = backend.array_module(x), len(x)
    gates, inner, states = ys[2:]
    batch, size = h0.shape
    full, pad = _past_end(xp, lengths, steps)
    order, before, _ = _order(steps, reverse)
    gy, dh = _clean(xp, gs[0], pad), gs[1].copy()
    r, z, n = (gates[:, :, i * size:(i + 1) * size] for i in range(3))
    # gradients of the state's products, (T, N, 3, H), and of the inputs' products
    d = xp.empty((steps, batch, 3, size), gates.dtype)
    dx, through = xp.empty_like(d), xp.empty_like(dh)
    for block, part in _blocks(order, 3 * dh.size):
        slope = dx[block, :, 2]                                          # of n
        xp.subtract(1, z[block], out=slope)
        slope *= 1 - n[block] ** 2
        xp.multiply(slope, r[block], out=d[block, :, 2])
        xp.multiply(d[block, :, 2], inner[block] * (1 - r[block]), out=d[block, :, 0])
        xp.multiply(states[block.start + before:block.stop + before] - n[block],
                    z[block] * (1 - z[block]), out=d[block, :, 1])
        if pad is not None:
            xp.copyto(d[block], 0, where=pad[block][..., None])
            xp.copyto(slope, 0, where=pad[block])
        for t in part:
            dh += gy[t]
            d[t] *= dh[:, None]
            dx[t, :, 2] *= dh
            carried = dh * pad[t] if t >= full else None
            xp.multiply(dh, z[t], out=through)
            xp.matmul(d[t].reshape(batch, 3 * size), w_hh, out=dh)
            if carried is None:
                dh += through
            else:
                dh += xp.where(pad[t], carried, through)
    dx[:, :, :2] = d[:, :, :2]
    rows = (steps, batch, 3 * size)
    gx, gw_ih, gw_hh, gb_ih, gb_hh = _weight_gradients(
        xp, needs, dx.reshape(rows), d.reshape(rows), _clean(xp, x, pad),
        states[before:before + steps], w_ih)
    return gx, dh, gw_ih, gw_hh, gb_ih, gb_hh, None


@gru_sequence.explains
def _(x, h0, w_ih, w_hh, b_ih=None, b_hh=None, lengths=None, **_):
    return _misfit(3, x, h0, w_ih, w_hh, {"b_ih": b_ih, "b_hh": b_hh}, lengths)
