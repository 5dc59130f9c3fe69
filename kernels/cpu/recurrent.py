"""Kernels of the recurrent sequences: the loop over time is compiled, and so are the big products.

Whatever the layout of x and of the incoming gradients, they are brought into the order (T, N, ...)
once: the copy is small beside the products.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygen.primitive import kernel
from tinygen.threads import count

from .lazy import F32, F64, NOT_FLOAT, Native, threads_for
from .matmul import COLUMNS, SMALLEST, THREAD, _product

native, products = Native("recurrent"), Native("recurrent_weight")

_none: dict[Any, np.ndarray] = {t: np.empty((0, 1), t) for t in (F32, F64)}
_no_lengths = np.empty(0, np.int64)
FEWEST = 4      # rows of which a product is worth a tile
ROWS = 2        # rows that a thread should have: a step takes 27 us with one and 29 with two
FEW = 6         # with fewer rows a tile does not reach its speed
LARGE = 5 << 18       # bytes of weights that leave too little of an L2 for the rest
STEP = 1 << 18        # products of a step for which it pays to divide each


def _declines(gates: int, x: Any, h0: Any, c0: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any,
              w_hr: Any, lengths: Any) -> str | None:
    """Why these arrays are not for the kernels: compiled code checks no index."""
    dtype = x.dtype
    if dtype is not F32 and dtype is not F64:
        return NOT_FLOAT
    for a in (h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr):
        if a is not None and a.dtype is not dtype:
            return "mixed dtypes"
    if x.ndim != 3 or w_hh.ndim != 2 or not x.size or not w_hh.size:
        return "empty"
    (_, batch, size), (rows, out) = x.shape, w_hh.shape
    hidden = rows // gates
    if (w_ih.shape != (rows, size) or rows % gates or h0.shape != (batch, out)
            or (out != hidden and w_hr is None)
            or (c0 is not None and c0.shape != (batch, hidden))
            or (b_ih is not None and b_ih.shape != (rows,))
            or (b_hh is not None and b_hh.shape != (rows,))
            or (w_hr is not None and w_hr.shape != (out, hidden))
            or (lengths is not None and lengths.shape != (batch,))):
        return "shapes do not fit"
    return None


def _plan(batch: int, steps: int, w_hh: Any, w_hr: Any) -> tuple[bool, int]:
    """Whether threads have ranges of the hidden units, not of the rows; and how many threads."""
    if steps == 1 or count.value == 1:
        return False, 1
    if (w_hr is None and w_hh.shape[1] >= 32 * count.value and batch * w_hh.size >= STEP
            and (batch < FEW * count.value or w_hh.nbytes > LARGE)):
        return True, count.value
    return False, min(count.value, max(1, batch // ROWS))


def _times(a: Any, b: Any, ta: bool = False, tb: bool = False, bias: Any = None,
           shape: tuple[int, ...] | None = None) -> Any:
    """a @ b + bias of matrices, in a given shape; `ta` and `tb` say which of them to transpose."""
    k, m = a.shape if ta else a.shape[::-1]
    n = len(b) if tb else b.shape[1]
    if m * n * k >= SMALLEST and m >= FEWEST and n >= COLUMNS:
        return _product(a, b, bias, m, n, k, ta, tb, 1, shape or (m, n))
    y = (a.T if ta else a) @ (b.T if tb else b)
    if bias is not None:
        y += bias
    return y.reshape(shape) if shape else y


def _weight_gradients(d: Any, x: Any, h: Any) -> list[Any]:
    """d.T @ x and d.T @ h; None for a side that is None."""
    (k, m), sizes = d.shape, [0 if a is None else a.shape[1] for a in (x, h)]
    if min((n for n in sizes if n), default=0) < COLUMNS or k * m * sum(sizes) < SMALLEST:
        return [None if a is None else _times(d, a, ta=True) for a in (x, h)]
    sides = [np.empty((k, 0), d.dtype) if a is None else a for a in (x, h)]
    found = [np.empty((m, n), d.dtype) for n in sizes]
    products.weights(native.product_code(d.dtype), d, sides[0], found[0], sides[1], found[1],
                     threads_for(k * m * sum(sizes), THREAD))
    return [g if n else None for g, n in zip(found, sizes, strict=True)]


def _flat(a: Any) -> Any:
    """A matrix with a row per step and row of the batch."""
    return np.ascontiguousarray(a).reshape(-1, a.shape[-1])


def _valid(x: Any, lengths: Any) -> tuple[Any, Any]:
    """The lengths as the compiled code takes them, and which steps are past the end, or None."""
    if lengths is None:
        return _no_lengths, None
    pad = np.arange(len(x))[:, None, None] >= lengths[:, None]
    return np.ascontiguousarray(lengths, np.int64), pad


def _clean(a: Any, pad: Any) -> Any:
    return a if pad is None else np.where(pad, a.dtype.type(0), a)


# -- forward --------------------------------------------------------------------------------------


def _run(gates: int, x: Any, h0: Any, c0: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any,
         w_hr: Any, lengths: Any, reverse: bool, relu: bool = False) -> tuple[Any, ...]:
    """Outputs, last states, and what the gradient needs: gates, kept, states and cells."""
    steps, batch, _ = x.shape
    rows, p, hidden, dtype = len(w_hh), w_hh.shape[1], len(w_hh) // gates, x.dtype
    lengths, pad = _valid(x, lengths)
    h0, w_ih, w_hh = map(np.ascontiguousarray, (h0, w_ih, w_hh))
    split = 2 * hidden if gates == 3 else rows       # of a GRU, the bias of the new state is apart
    bias, inner = b_ih, np.zeros(rows - split, dtype) if b_hh is None else b_hh[split:]
    if b_hh is not None:
        bias = np.zeros(rows, dtype) if b_ih is None else b_ih.copy()
        bias[:split] += b_hh[:split]
    a = _times(_flat(_clean(x, pad)), w_ih, tb=True, bias=bias)          # (T N, gates H)
    after, first = (0, steps) if reverse else (1, 0)
    states = np.empty((steps + 1, batch, p), dtype)
    states[first] = h0
    cells, kept = _none[dtype], _none[dtype]
    if gates == 4:
        cells = np.empty((steps + 1, batch, hidden), dtype)
        cells[first] = c0
    if gates > 1:
        kept = np.empty((steps * batch, hidden), dtype)
    if steps == 1:
        product = _times(h0, w_hh, tb=True)
        if gates == 3:
            a[:, :2 * hidden] += product[:, :2 * hidden]
            np.add(product[:, 2 * hidden:], inner, out=kept)
        else:
            a += product
    native.forward(native.product_code(dtype), gates, relu, reverse, a,
                   np.ascontiguousarray(inner), states.reshape(-1, p),
                   cells.reshape(-1, cells.shape[-1]), kept, w_hh,
                   _none[dtype] if w_hr is None else np.ascontiguousarray(w_hr), lengths, batch,
                   *_plan(batch, steps, w_hh, w_hr))
    end = 0 if reverse else steps
    y = _clean(states[after:after + steps], pad)
    return y, states[end].copy(), a, kept, states, cells, end


@kernel("lstm_sequence", np.ndarray)
def _(x, h0, c0, w_ih, w_hh, b_ih=None, b_hh=None, w_hr=None, lengths=None, *, reverse=False):
    why = _declines(4, x, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr, lengths)
    if why:
        return why
    y, h, a, kept, states, cells, end = _run(4, x, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr, lengths,
                                             reverse)
    rows = x.shape[:2]
    return (y, h, cells[end].copy(), a.reshape(*rows, -1), kept.reshape(*rows, -1), states, cells)


@kernel("gru_sequence", np.ndarray)
def _(x, h0, w_ih, w_hh, b_ih=None, b_hh=None, lengths=None, *, reverse=False):
    why = _declines(3, x, h0, None, w_ih, w_hh, b_ih, b_hh, None, lengths)
    if why:
        return why
    y, h, a, kept, states, _, _ = _run(3, x, h0, None, w_ih, w_hh, b_ih, b_hh, None, lengths,
                                       reverse)
    rows = x.shape[:2]
    return y, h, a.reshape(*rows, -1), kept.reshape(*rows, -1), states


@kernel("rnn_sequence", np.ndarray)
def _(x, h0, w_ih, w_hh, b_ih=None, b_hh=None, lengths=None, *, nonlinearity="tanh",
      reverse=False):
    why = _declines(1, x, h0, None, w_ih, w_hh, b_ih, b_hh, None, lengths)
    if why:
        return why
    y, h, _, _, states, _, _ = _run(1, x, h0, None, w_ih, w_hh, b_ih, b_hh, None, lengths, reverse,
                                    nonlinearity == "relu")
    return y, h, states


# -- backward -------------------------------------------------------------------------------------


def _back(gates: int, needs: Any, gy: Any, dh: Any, dc: Any, a: Any, kept: Any, states: Any,
          cells: Any, x: Any, w_ih: Any, w_hh: Any, w_hr: Any, lengths: Any, reverse: bool,
          relu: bool = False) -> tuple[Any, ...]:
    """Gradients of x, h0, c0, w_ih, w_hh, b_ih, b_hh and w_hr; `needs` is of x and the weights."""
    steps, batch, _ = x.shape
    rows, dtype = len(w_hh), x.dtype
    none = _none[dtype]
    lengths, pad = _valid(x, lengths)
    w_ih, w_hh = np.ascontiguousarray(w_ih), np.ascontiguousarray(w_hh)
    d = np.empty((steps * batch, rows), dtype)
    dx = np.empty_like(d) if gates == 3 else none
    dh = np.array(dh, order="C")
    dc = none if dc is None else np.array(dc, order="C")
    projected = none if w_hr is None else np.empty((steps * batch, states.shape[2]), dtype)
    by_units, nt = _plan(batch, steps, w_hh, w_hr)
    sums = np.zeros((2, nt, rows), dtype)
    states = _flat(states)
    native.backward(native.product_code(dtype), gates, relu, reverse,
                    none if a is None else _flat(a), none if kept is None else _flat(kept),
                    states, none if cells is None else _flat(cells), _flat(gy), dh, dc, d, dx,
                    w_hh, none if w_hr is None else np.ascontiguousarray(w_hr), projected, lengths,
                    sums[0], sums[1], batch, by_units, nt)
    dx = dx if gates == 3 else d
    last = states[batch:] if reverse else states[:-batch]
    need_x, need_ih, need_hh, need_b, need_bh, need_hr = needs
    gb = sums[0].sum(0) if need_bh or (need_b and gates != 3) else None
    gx = _times(dx, w_ih, shape=x.shape) if need_x else None
    flat, last = _flat(_clean(x, pad)) if need_ih else None, last if need_hh else None
    if dx is d:
        gw_ih, gw_hh = _weight_gradients(d, flat, last)
    else:
        gw_ih, gw_hh = _weight_gradients(dx, flat, None)[0], _weight_gradients(d, None, last)[1]
    gb_ih = gb if gates != 3 else sums[1].sum(0) if need_b else None
    gw_hr = None
    if need_hr:
        h = dc.shape[1]
        out = a.reshape(-1, rows)[:, 3 * h:] * _flat(kept)
        projected = _flat(_clean(projected.reshape(steps, batch, -1), pad))
        gw_hr = _times(projected, out, ta=True)
    return gx, dh, dc, gw_ih, gw_hh, gb_ih, gb, gw_hr


def _misfits(*pairs: Any) -> str | None:
    """Why the gradients do not go with what they are gradients of."""
    if any(g.dtype is not y.dtype or g.shape != y.shape for g, y in pairs):
        return "gradients of another dtype or shape"
    return None


def _wanted(needs: Any, parameters: int) -> list[bool]:
    """The needs of x, w_ih, w_hh, b_ih, b_hh and w_hr; the states come before `parameters`."""
    wanted = [*needs, *(False,) * 9]
    return [wanted[0], *wanted[parameters:parameters + 5]]


@kernel("lstm_sequence_vjp", np.ndarray)
def _(gy, dh, dc, y, h, c, a, kept, states, cells, x, h0, c0, w_ih, w_hh, b_ih=None, b_hh=None,
      w_hr=None, lengths=None, *, needs, reverse=False):
    why = (_declines(4, x, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr, lengths)
           or _misfits((gy, y), (dh, h), (dc, c)))
    if why:
        return why
    wanted = _wanted(needs, 3)
    wanted[5] = wanted[5] and w_hr is not None
    return _back(4, wanted, gy, dh, dc, a, kept, states, cells, x, w_ih, w_hh, w_hr, lengths,
                 reverse)


@kernel("gru_sequence_vjp", np.ndarray)
def _(gy, dh, y, h, a, inner, states, x, h0, w_ih, w_hh, b_ih=None, b_hh=None, lengths=None, *,
      needs, reverse=False):
    why = (_declines(3, x, h0, None, w_ih, w_hh, b_ih, b_hh, None, lengths)
           or _misfits((gy, y), (dh, h)))
    if why:
        return why
    gx, dh, _, *weights, _ = _back(3, [*_wanted(needs, 2)[:5], False], gy, dh, None, a, inner,
                                   states, None, x, w_ih, w_hh, None, lengths, reverse)
    return gx, dh, *weights, None


@kernel("rnn_sequence_vjp", np.ndarray)
def _(gy, dh, y, h, states, x, h0, w_ih, w_hh, b_ih=None, b_hh=None, lengths=None, *, needs,
      nonlinearity="tanh", reverse=False):
    why = (_declines(1, x, h0, None, w_ih, w_hh, b_ih, b_hh, None, lengths)
           or _misfits((gy, y), (dh, h)))
    if why:
        return why
    gx, dh, _, *weights, _ = _back(1, [*_wanted(needs, 2)[:5], False], gy, dh, None, None, None,
                                   states, None, x, w_ih, w_hh, None, lengths, reverse,
                                   nonlinearity == "relu")
    return gx, dh, *weights, None
