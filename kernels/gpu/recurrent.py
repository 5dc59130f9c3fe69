"""Recurrent sequences: for each step a matrix product, and one launch for all that is beside it."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from tinygen.ops.recurrent import _clean, _order, _start
from tinygen.primitive import kernel

from .division import LIMIT
from .gemm import gemm
from .launch import EMPTY, HALVES, MIXED, NOT_FLOAT, SUFFIXES, Source, blocks, plain

__all__: list[str] = []

native = Source("recurrent")


def _declines(gates: int, x: Any, h0: Any, c0: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any,
              lengths: Any, *gradients: Any) -> str | None:
    """Why these arrays are not for the kernels, which check no index."""
    if x.dtype not in SUFFIXES:
        return NOT_FLOAT
    if any(a is not None and a.dtype != x.dtype
           for a in (h0, c0, w_ih, w_hh, b_ih, b_hh, *gradients)):
        return MIXED
    if x.ndim != 3 or w_hh.ndim != 2 or not x.size or not w_hh.size:
        return EMPTY
    (_, batch, size), (rows, hidden) = x.shape, w_hh.shape
    if (rows != gates * hidden or w_ih.shape != (rows, size)
            or any(a is not None and a.shape != (batch, hidden) for a in (h0, c0))
            or any(a is not None and a.shape != (rows,) for a in (b_ih, b_hh))
            or any(g.shape[-2:] != (batch, hidden) for g in gradients)
            or (lengths is not None and lengths.shape != (batch,))):
        return "shapes do not fit"
    return None if batch * hidden < LIMIT else "2^31 states or more"


def _ends(lengths: Any, steps: int) -> tuple[Any, Any]:
    """Lengths as the kernels take them, and which steps are past the end: (T, N, 1), or None."""
    if lengths is None:
        return None, None
    return (plain(lengths.astype(np.int64, copy=False)),
            cupy.arange(steps)[:, None, None] >= lengths[:, None])


def _input_products(x: Any, w: Any, b: Any) -> Any:
    """x w^T + b of all steps at once: (T, N, K)."""
    z = gemm(x, w.T)
    if b is not None:
        z += b
    return z


def _weight_gradients(needs: Any, dx: Any, dh: Any, x: Any, states: Any, w_ih: Any) -> list[Any]:
    """Gradients of x, w_ih, w_hh, b_ih and b_hh: a product each over all steps.

    `dx` and `dh` (T, N, K) are the gradients of the products of the input and of the state.
    """
    wanted = [*needs, *(False,) * 7]
    of_x, of_h = (a.reshape(-1, a.shape[2]) for a in (dx, dh))
    ones = cupy.ones((1, len(of_x)), dx.dtype)
    gb = gemm(ones, of_x)[0] if wanted[4] or (wanted[5] and dh is dx) else None
    gb_h = gb if dh is dx else gemm(ones, of_h)[0] if wanted[5] else None
    return [gemm(dx, w_ih) if wanted[0] else None,
            gemm(of_x.T, x.reshape(len(of_x), -1)) if wanted[2] else None,
            gemm(of_h.T, states.reshape(len(of_h), -1)) if wanted[3] else None, gb, gb_h]


class _Launch:
    """Launches of a sequence's steps: a thread to each hidden unit of each row."""

    def __init__(self, dtype: Any, batch: int, hidden: int):
        self.suffix, self.size = SUFFIXES[dtype], (np.int32(batch), np.int32(hidden))
        self.grid = blocks(batch * hidden, 256)

    def __call__(self, name: str, *args: Any) -> None:
        native(f"{name}_{self.suffix}", self.grid, 256, *args, *self.size)


def _sum_of_biases(b_ih: Any, b_hh: Any) -> Any:
    return b_ih if b_hh is None else b_hh if b_ih is None else b_ih + b_hh


class _Backward:
    """What all backward loops share: the gradient of the state, in two parts (see the source)."""

    def __init__(self, gy: Any, dh: Any, lengths: Any, reverse: bool):
        self.lengths, self.pad = _ends(lengths, len(gy))
        self.gy = plain(_clean(cupy, gy, self.pad))
        self.order, self.before, self.after = _order(len(gy), reverse)
        self.carry, self.product = cupy.array(dh, order="C"), cupy.empty(dh.shape, dh.dtype)

    def steps(self) -> Any:
        """Each step as an index and as a kernel takes it, and whether it is the first."""
        return ((t, np.int32(t), t == self.order[-1]) for t in reversed(self.order))

    def gradient(self) -> Any:
        """The gradient of the first state."""
        return self.carry + self.product


# -- LSTM -----------------------------------------------------------------------------------------


@kernel("lstm_sequence", cupy.ndarray, dtypes=HALVES)
def _(x, h0, c0, w_ih, w_hh, b_ih=None, b_hh=None, w_hr=None, lengths=None, *, reverse=False):
    why = "a projection" if w_hr is not None else _declines(
        4, x, h0, c0, w_ih, w_hh, b_ih, b_hh, lengths)
    if why:
        return why
    steps, (batch, hidden) = len(x), c0.shape
    ends, pad = _ends(lengths, steps)
    gates = _input_products(_clean(cupy, x, pad), w_ih, _sum_of_biases(b_ih, b_hh))
    order, before, after = _order(steps, reverse)
    states, cells = (_start(cupy, s, steps, before, x.dtype) for s in (h0, c0))
    squashed = cupy.empty((steps, batch, hidden), x.dtype)
    product, run = cupy.empty_like(gates[0]), _Launch(x.dtype, batch, hidden)
    for t in order:
        gemm(states[t + before], w_hh.T, product)
        run("lstm_step", gates[t], product, states[t + before], cells[t + before],
            states[t + after], cells[t + after], squashed[t], ends, np.int32(t))
    end = 0 if reverse else steps
    return (_clean(cupy, states[after:after + steps], pad), states[end].copy(),
            cells[end].copy(), gates, squashed, states, cells)


@kernel("lstm_sequence_vjp", cupy.ndarray, dtypes=HALVES)
def _(gy, dh, dc, y, h, c, gates, squashed, states, cells, x, h0, c0, w_ih, w_hh, b_ih=None,
      b_hh=None, w_hr=None, lengths=None, *, needs, reverse=False):
    why = "a projection" if w_hr is not None else _declines(
        4, x, h0, c0, w_ih, w_hh, b_ih, b_hh, lengths, gy, dh, dc)
    if why:
        return why
    back, (batch, hidden) = _Backward(gy, dh, lengths, reverse), c0.shape
    d, dc, run = cupy.empty_like(gates), cupy.array(dc, order="C"), _Launch(x.dtype, batch, hidden)
    for t, now, first in back.steps():
        run("lstm_back", gates[t], squashed[t], cells[t + back.before], back.gy[t], back.carry, dc,
            back.product, d[t], back.lengths, now, first)
        gemm(d[t], w_hh, back.product)
    gx, gw_ih, gw_hh, gb, _ = _weight_gradients(
        needs[:2] + needs[3:], d, d, _clean(cupy, x, back.pad),
        states[back.before:back.before + len(x)], w_ih)
    return gx, back.gradient(), dc, gw_ih, gw_hh, gb, gb, None


# -- GRU ------------------------------------------------------------------------------------------


@kernel("gru_sequence", cupy.ndarray, dtypes=HALVES)
def _(x, h0, w_ih, w_hh, b_ih=None, b_hh=None, lengths=None, *, reverse=False):
    why = _declines(3, x, h0, None, w_ih, w_hh, b_ih, b_hh, lengths)
    if why:
        return why
    steps, (batch, hidden) = len(x), h0.shape
    ends, pad = _ends(lengths, steps)
    gates = _input_products(_clean(cupy, x, pad), w_ih, b_ih)
    bias = None
    if b_hh is not None:
        gates[:, :, :2 * hidden] += b_hh[:2 * hidden]
        bias = plain(b_hh)[2 * hidden:]
    order, before, after = _order(steps, reverse)
    states = _start(cupy, h0, steps, before, x.dtype)
    inner = cupy.empty((steps, batch, hidden), x.dtype)
    product, run = cupy.empty_like(gates[0]), _Launch(x.dtype, batch, hidden)
    for t in order:
        gemm(states[t + before], w_hh.T, product)
        run("gru_step", gates[t], product, bias, states[t + before], states[t + after], inner[t],
            ends, np.int32(t))
    return (_clean(cupy, states[after:after + steps], pad), states[0 if reverse else steps].copy(),
            gates, inner, states)


@kernel("gru_sequence_vjp", cupy.ndarray, dtypes=HALVES)
def _(gy, dh, y, h, gates, inner, states, x, h0, w_ih, w_hh, b_ih=None, b_hh=None, lengths=None,
      *, needs, reverse=False):
    why = _declines(3, x, h0, None, w_ih, w_hh, b_ih, b_hh, lengths, gy, dh)
    if why:
        return why
    back, (batch, hidden) = _Backward(gy, dh, lengths, reverse), h0.shape
    d, dx, run = cupy.empty_like(gates), cupy.empty_like(gates), _Launch(x.dtype, batch, hidden)
    for t, now, first in back.steps():
        run("gru_back", gates[t], inner[t], states[t + back.before], back.gy[t], back.carry,
            back.product, d[t], dx[t], back.lengths, now, first)
        gemm(d[t], w_hh, back.product)
    gx, gw_ih, gw_hh, gb_ih, gb_hh = _weight_gradients(
        needs, dx, d, _clean(cupy, x, back.pad), states[back.before:back.before + len(x)], w_ih)
    return gx, back.gradient(), gw_ih, gw_hh, gb_ih, gb_hh, None


# -- the simple recurrence ------------------------------------------------------------------------


@kernel("rnn_sequence", cupy.ndarray, dtypes=HALVES)
def _(x, h0, w_ih, w_hh, b_ih=None, b_hh=None, lengths=None, *, nonlinearity="tanh",
      reverse=False):
    why = _declines(1, x, h0, None, w_ih, w_hh, b_ih, b_hh, lengths)
    if why:
        return why
    steps, (batch, hidden) = len(x), h0.shape
    ends, pad = _ends(lengths, steps)
    inputs = _input_products(_clean(cupy, x, pad), w_ih, _sum_of_biases(b_ih, b_hh))
    order, before, after = _order(steps, reverse)
    states = _start(cupy, h0, steps, before, x.dtype)
    product, run = cupy.empty_like(states[0]), _Launch(x.dtype, batch, hidden)
    for t in order:
        gemm(states[t + before], w_hh.T, product)
        run("rnn_step", inputs[t], product, states[t + before], states[t + after], ends,
            np.int32(t), nonlinearity == "relu")
    return (_clean(cupy, states[after:after + steps], pad), states[0 if reverse else steps].copy(),
            states)


@kernel("rnn_sequence_vjp", cupy.ndarray, dtypes=HALVES)
def _(gy, dh, y, h, states, x, h0, w_ih, w_hh, b_ih=None, b_hh=None, lengths=None, *, needs,
      nonlinearity="tanh", reverse=False):
    why = _declines(1, x, h0, None, w_ih, w_hh, b_ih, b_hh, lengths, gy, dh)
    if why:
        return why
    back, (batch, hidden) = _Backward(gy, dh, lengths, reverse), h0.shape
    d, run = cupy.empty((len(x), batch, hidden), x.dtype), _Launch(x.dtype, batch, hidden)
    for t, now, first in back.steps():
        run("rnn_back", states[t + back.after], back.gy[t], back.carry, back.product, d[t],
            back.lengths, now, first, nonlinearity == "relu")
        gemm(d[t], w_hh, back.product)
    gx, gw_ih, gw_hh, gb, _ = _weight_gradients(
        needs, d, d, _clean(cupy, x, back.pad), states[back.before:back.before + len(x)], w_ih)
    return gx, back.gradient(), gw_ih, gw_hh, gb, gb, None
