"""Long short-term memory: one layer, one direction and all time steps in one primitive.

How sequences of different lengths, `reverse` and the kept states work is told in `recurrent.py`.
"""

from __future__ import annotations

from .. import backend
from ..primitive import primitive
from .activation import sigmoid
from .dense import linear
from .elementwise import tanh
from .recurrent import (
    _blocks,
    _clean,
    _input_products,
    _misfit,
    _order,
    _past_end,
    _scan,
    _start,
    _state_weight,
    _weight_gradients,
)

__all__ = ["lstm_sequence"]


def _lstm_definition(x, h0, c0, w_ih, w_hh, b_ih=None, b_hh=None, w_hr=None, lengths=None, *,
                     reverse=False):
    size = c0.shape[1]

    def cell(x, h, c):
        a = linear(x, w_ih, b_ih) + linear(h, w_hh, b_hh)
        i, f, o = (sigmoid(a[:, k * size:(k + 1) * size]) for k in (0, 1, 3))
        c = f * c + i * tanh(a[:, 2 * size:3 * size])
        h = o * tanh(c)
        return (h if w_hr is None else linear(h, w_hr)), c
    return _scan(cell, x, (h0, c0), lengths, reverse)


@primitive(composite=_lstm_definition, outputs=7, differentiable=3)
def lstm_sequence(xp, x, h0, c0, w_ih, w_hh, b_ih=None, b_hh=None, w_hr=None, lengths=None, *,
                  reverse=False):
    """Long short-term memory over all t: c_t = f c_(t-1) + i g and h_t = o tanh(c_t), where

        i, f, o = sigmoid(W_i. x_t + b_i. + W_h. h_(t-1) + b_h.)
        g = tanh(W_ig x_t + b_ig + W_hg h_(t-1) + b_hg)

    With `w_hr` the state is projected: h_t = W_hr (o tanh(c_t)).

    Shapes: x (T, N, I), h0 (N, P), c0 (N, H), w_ih (4H, I), w_hh (4H, P), biases (4H,) with the
    rows of i, f, g and o in this order, w_hr (P, H), lengths (N,) integers; P is H without `w_hr`.

    Returns:
        The outputs (T, N, P), the last states (N, P) and (N, H), and what the gradient needs.

    Sources: S. Hochreiter and J. Schmidhuber, "Long Short-Term Memory", Neural Computation, 1997;
    H. Sak, A. Senior and F. Beaufays, "Long Short-Term Memory Based Recurrent Neural Network
    Architectures for Large Vocabulary Speech Recognition", 2014 (the projection).
    """
    steps, size = len(x), c0.shape[1]
    full, pad = _past_end(xp, lengths, steps)
    # sigmoid(a) = (tanh(a / 2) + 1) / 2: one tanh for all four gates
    scale = xp.full(c0.shape[:1] + (4 * size,), 0.5, w_ih.dtype)
    scale[:, 2 * size:3 * size] = 1
    shift, w = 1 - scale, _state_weight(xp, w_hh, steps)
    bias = b_ih if b_hh is None else b_hh if b_ih is None else b_ih + b_hh
    gates = _input_products(xp, _clean(xp, x, pad), w_ih, bias)          # (T, N, 4H)
    if steps > 1:                     # halved once instead of in each step
        gates *= scale
        w[:, :2 * size] *= 0.5
        w[:, 3 * size:] *= 0.5
    order, before, after = _order(steps, reverse)
    states, cells = (_start(xp, s, steps, before, gates.dtype) for s in (h0, c0))
    squashed = xp.empty((steps, *c0.shape), gates.dtype)                 # tanh(c)
    product, spare = xp.empty_like(gates[0]), xp.empty_like(squashed[0])
    for t in order:
        last_h, now_h, last_c, now_c = (s[t + k] for s in (states, cells) for k in (before, after))
        a = gates[t]
        a += xp.matmul(last_h, w, out=product)
        if steps == 1:
            a *= scale
        xp.tanh(a, out=a)
        a *= scale
        a += shift
        i, f, g, o = (a[:, k * size:(k + 1) * size] for k in range(4))
        xp.multiply(f, last_c, out=now_c)
        now_c += xp.multiply(i, g, out=spare)
        xp.tanh(now_c, out=squashed[t])
        if w_hr is None:
            xp.multiply(o, squashed[t], out=now_h)
        else:
            xp.matmul(xp.multiply(o, squashed[t], out=spare), w_hr.T, out=now_h)
        if t >= full:
            xp.copyto(now_h, last_h, where=pad[t])
            xp.copyto(now_c, last_c, where=pad[t])
    end = 0 if reverse else steps
    return (_clean(xp, states[after:after + steps], pad), states[end].copy(), cells[end].copy(),
            gates, squashed, states, cells)


@lstm_sequence.vjp_joint
def _(needs, gs, ys, x, h0, c0, w_ih, w_hh, b_ih=None, b_hh=None, w_hr=None, lengths=None, *,
      reverse=False):
    xp, steps = backend.array_module(x), len(x)
    gates, squashed, states, cells = ys[3:]
    batch, size = c0.shape
    full, pad = _past_end(xp, lengths, steps)
    order, before, _ = _order(steps, reverse)
    gy, dh, dc = _clean(xp, gs[0], pad), gs[1].copy(), gs[2].copy()
    gates = gates.reshape(steps, batch, 4, size)
    i, f, g, o = (gates[:, :, k] for k in range(4))
    d = xp.empty_like(gates)            # of the gates before their nonlinearities
    projected = None if w_hr is None else xp.empty_like(gy)
    dr, spare = dh, xp.empty_like(dc)
    for block, part in _blocks(order, 4 * dc.size):
        into = d[block]
        xp.subtract(1, gates[block], out=into)
        into *= gates[block]                                             # s (1 - s) of the sigmoids
        into[:, :, 0] *= g[block]
        into[:, :, 1] *= cells[block.start + before:block.stop + before]
        xp.multiply(g[block], g[block], out=into[:, :, 2])
        xp.subtract(1, into[:, :, 2], out=into[:, :, 2])
        into[:, :, 2] *= i[block]
        into[:, :, 3] *= squashed[block]
        slope = (1 - squashed[block] ** 2) * o[block]                    # of h with respect to c
        if pad is not None:
            xp.copyto(into, 0, where=pad[block][..., None])
        for t in part:
            dh += gy[t]
            if w_hr is not None:
                projected[t] = dh
                dr = dh @ w_hr
            if t >= full:
                held_h, held_c = dh.copy(), dc.copy()
            dc += xp.multiply(dr, slope[t - block.start], out=spare)
            d[t, :, :3] *= dc[:, None]
            d[t, :, 3] *= dr
            dc *= f[t]
            xp.matmul(d[t].reshape(batch, 4 * size), w_hh, out=dh)
            if t >= full:
                xp.copyto(dh, held_h, where=pad[t])
                xp.copyto(dc, held_c, where=pad[t])
    rows = d.reshape(steps, batch, 4 * size)
    gx, gw_ih, gw_hh, gb, _ = _weight_gradients(
        xp, needs[:2] + needs[3:], rows, rows, _clean(xp, x, pad),
        states[before:before + steps], w_ih)
    wanted = projected is not None and needs[7]
    gw_hr = _projection_gradient(xp, projected, pad, o, squashed) if wanted else None
    return gx, dh, dc, gw_ih, gw_hh, gb, gb, gw_hr


def _projection_gradient(xp, projected, pad, o, squashed):
    """The gradient of w_hr (P, H): one product over all steps."""
    rows = _clean(xp, projected, pad)
    return rows.reshape(-1, rows.shape[2]).T @ (o * squashed).reshape(-1, o.shape[2])


@lstm_sequence.explains
def _(x, h0, c0, w_ih, w_hh, b_ih=None, b_hh=None, w_hr=None, lengths=None, **_):
    hidden = w_ih.shape[0] // 4
    if tuple(c0.shape) != (x.shape[1], hidden):
        return f"c0 has shape {tuple(c0.shape)}, {(x.shape[1], hidden)} would fit"
    if w_hr is not None and (len(w_hr.shape) != 2 or w_hr.shape[1] != hidden):
        return f"w_hr has shape {tuple(w_hr.shape)}, (P, {hidden}) would fit"
    return _misfit(4, x, h0, w_ih, w_hh, {"b_ih": b_ih, "b_hh": b_hh}, lengths,
                   None if w_hr is None else w_hr.shape[0])
