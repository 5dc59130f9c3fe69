"""Recurrent sequences: all time steps in one call, the state's product on the register tile.

The loop nest of one thread, which has a range of the batch's rows and meets no other thread:

    pack W for this thread                   once per call; it stays in this core's L2
    for each step t
        for each panel of W
            for each tile of its rows        product of h_(t-1), added to the input's product
        for each of its rows                 bias, nonlinearities, c_t and h_t, in L1

Rows of a batch never touch each other, so no result depends on the number of threads, except
for the sums of the biases' gradients, which are added up in the order of the threads.

Arrays are matrices whose rows are (step, row of the batch); T + 1 states are kept as the
primitives define it. The number of `gates` names the cell: 4 LSTM, 3 GRU, 1 simple recurrence.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .base import inline, jit, parallel, prange
from .gemm import LINE, PANEL_BYTES, aligned, pack_panel, tiles_of
from .launch import call, entry, size_of
from .tile import VECTOR_BYTES, address, keep, rows_tile
from .vecmath import like, sigmoid, tanh

__all__ = ["backward", "forward", "product_code"]

# -- products with packed weights -----------------------------------------------------------------


@inline
def _step(k, size):
    """Bytes from one packed panel to the next: k rows, rounded up to whole vectors."""
    width = VECTOR_BYTES // size
    return (k + width - 1) // width * width * PANEL_BYTES


@jit
def _packed(w, first, last, transposed):
    """A buffer with the panels of w[:, first:last], or w[first:last].T where `transposed` is 1."""
    size = np.int64(w.itemsize)
    wide, stride = PANEL_BYTES // size, w.shape[1] * size
    k = w.shape[1] if transposed else w.shape[0]
    buffer = np.empty((last - first + wide - 1) // wide * _step(k, size) + LINE, np.uint8)
    target = aligned(buffer)
    for j in range(first, last, wide):
        source = address(w) + j * (stride if transposed else size)
        pack_panel(w, source, k, stride, min(wide, last - j), transposed != 0, target)
        target += _step(k, size)
    return buffer


@jit
def _product(kind, table, m, k, panels, c, ldc, n, add):
    """C[0:m, 0:n] (+)= A W, the rows of A at the addresses in `table`, W in panels of k rows."""
    size = size_of(kind)
    wide, count = PANEL_BYTES // size, tiles_of(m)
    for j in range(0, n, wide):
        for t in range(count):
            i = m * t // count
            rows_tile(kind, m * (t + 1) // count - i, table + 8 * i, k, panels, PANEL_BYTES,
                      c + i * ldc + j * size, ldc, min(wide, n - j), add)
        panels += _step(k, size)


@functools.cache
def product_code(dtype: Any) -> int:
    """The address of `_product`, which is compiled once for all its callers."""
    return entry(_product, dtype.type, 8)


@inline
def _rows_at(table, x, first):
    """Fill the table with the addresses of the rows of x from `first` on."""
    stride = x.shape[1] * np.int64(x.itemsize)
    for i in range(table.size):
        table[i] = address(x) + (first + i) * stride


@inline
def _row(x, i):
    return address(x) + i * x.shape[1] * np.int64(x.itemsize)


# -- forward --------------------------------------------------------------------------------------
# Short loops over few arrays: with many, the compiler gives up showing that they do not overlap;
# and where two arrays turn out to be the same, it takes the loop without vectors (10 times slower).


@jit
def _sigmoid_of(a, b):
    for j in range(a.size):
        a[j] = sigmoid(a[j] + b[j])


@jit
def _tanh_of(a, b):
    for j in range(a.size):
        a[j] = tanh(a[j] + b[j])


@jit
def _lstm_cell(a, bias, last, cell, squashed, out):
    """i, f, g and o in place; the cell, its tanh, and o times that."""
    h = last.size
    _sigmoid_of(a[:2 * h], bias[:2 * h])
    _tanh_of(a[2 * h:3 * h], bias[2 * h:3 * h])
    _sigmoid_of(a[3 * h:], bias[3 * h:])
    i, f, g, o = a[:h], a[h:2 * h], a[2 * h:3 * h], a[3 * h:]
    for j in range(h):
        cell[j] = f[j] * last[j] + i[j] * g[j]
    for j in range(h):
        squashed[j] = tanh(cell[j])
    for j in range(h):
        out[j] = o[j] * squashed[j]


@jit
def _gru_cell(a, bias, inner, last, out):
    """r, z and n in place, and (1 - z) n + z h."""
    h = last.size
    _sigmoid_of(a[:2 * h], bias[:2 * h])
    r, z, n = a[:h], a[h:2 * h], a[2 * h:]
    for j in range(h):
        n[j] += r[j] * inner[j]
    _tanh_of(n, bias[2 * h:])
    for j in range(h):
        out[j] = n[j] + z[j] * (last[j] - n[j])


@jit
def _rnn_cell(a, bias, relu, out):
    """tanh or relu in place, and a copy of it."""
    if relu:
        for j in range(a.size):
            v = a[j] + bias[j]
            a[j] = like(v, 0) if v < like(v, 0) else v
    else:
        _tanh_of(a, bias)
    for j in range(a.size):
        out[j] = a[j]


@jit
def _forward(product, gates, relu, reverse, a, bias, inner_bias, states, cells, kept, w_hh, w_hr,
             lengths, batch, lo, hi):
    """All steps of rows lo to hi."""
    steps, m, k, h = a.shape[0] // batch, hi - lo, w_hh.shape[1], a.shape[1] // gates
    size, none, zero, one = np.int64(a.itemsize), np.int64(0), np.int64(0), np.int64(1)
    rows = w_hh.shape[0] if steps > 1 else none
    split = 2 * h if gates == 3 and steps > 1 else rows       # of a GRU, the new state is apart
    first, second = _packed(w_hh, zero, split, one), _packed(w_hh, split, rows, one)
    third = _packed(w_hr, zero, w_hr.shape[0], one)
    table, projects = np.empty(m, np.int64), w_hr.size > 0
    out = np.empty((m if projects else 1, h), a.dtype)
    before, after = (1, 0) if reverse else (0, 1)
    for s in range(steps):
        t = steps - 1 - s if reverse else s
        now, old, new = t * batch, (t + before) * batch, (t + after) * batch
        if steps > 1:
            _rows_at(table, states, old + lo)
            call(product, (address(table), m, k, aligned(first), _row(a, now + lo),
                           a.shape[1] * size, split, one))
            if gates == 3:
                for r in range(now + lo, now + hi):
                    kept[r, :] = inner_bias
                call(product, (address(table), m, k, aligned(second), _row(kept, now + lo),
                               h * size, h, one))
        for r in range(lo, hi):
            if gates == 4:
                _lstm_cell(a[now + r], bias, cells[old + r], cells[new + r], kept[now + r],
                           out[r - lo] if projects else states[new + r])
            elif gates == 3:
                _gru_cell(a[now + r], bias, kept[now + r], states[old + r], states[new + r])
            else:
                _rnn_cell(a[now + r], bias, relu, states[new + r])
        if projects:
            _rows_at(table, out, zero)
            call(product, (address(table), m, h, aligned(third), _row(states, new + lo),
                           k * size, k, zero))
        if lengths.size:
            for r in range(lo, hi):
                if t >= lengths[r]:
                    states[new + r, :] = states[old + r]
                    if gates == 4:
                        cells[new + r, :] = cells[old + r]
    keep(first)
    keep(second)
    keep(third)


@parallel
def forward(product, gates, relu, reverse, a, bias, inner_bias, states, cells, kept, w_hh, w_hr,
            lengths, batch, nt):
    """All steps of a recurrence, from the products of the inputs on.

    a (T N, gates H) holds these products and receives the gates; kept (T N, H) receives tanh(c)
    of an LSTM and W_hn h + b_hn of a GRU; states (T+1 N, P) and cells (T+1 N, H) hold the first
    ones already. With one step the product of the state is in `a` (`kept` of a GRU) already:
    packing the weights would take longer than using them. w_hr and lengths are empty without.
    `product` is `product_code` of the dtype.
    """
    for p in prange(nt):
        part = np.int64(p)         # unsigned, it would make the compiler do all of it once more
        _forward(product, gates, relu, reverse, a, bias, inner_bias, states, cells, kept, w_hh,
                 w_hr, lengths, batch, batch * part // nt, batch * (part + 1) // nt)


# -- backward -------------------------------------------------------------------------------------


@jit
def _lstm_back(a, last, squashed, dr, dc, d):
    """Gradients d of the gates before their nonlinearities; dc becomes that of the cell before."""
    h = dc.size
    i, f, g, o = a[:h], a[h:2 * h], a[2 * h:3 * h], a[3 * h:]
    di, df, dg, do = d[:h], d[h:2 * h], d[2 * h:3 * h], d[3 * h:]
    one = like(dc[0], 1)
    for j in range(h):
        s = squashed[j]
        dc[j] += dr[j] * o[j] * (one - s * s)
    for j in range(h):
        do[j] = dr[j] * squashed[j] * o[j] * (one - o[j])
    for j in range(h):
        di[j] = dc[j] * g[j] * i[j] * (one - i[j])
    for j in range(h):
        dg[j] = dc[j] * i[j] * (one - g[j] * g[j])
    for j in range(h):
        df[j] = dc[j] * last[j] * f[j] * (one - f[j])
    for j in range(h):
        dc[j] *= f[j]


@jit
def _gru_back(a, inner, last, dh, d, dx):
    """Gradients of the state's products (d) and of the input's (dx); dh becomes what z lets by."""
    h = dh.size
    r, z, n = a[:h], a[h:2 * h], a[2 * h:]
    dr, dz, dn, slope = d[:h], d[h:2 * h], d[2 * h:], dx[2 * h:]
    one = like(dh[0], 1)
    for j in range(h):
        slope[j] = dh[j] * (one - z[j]) * (one - n[j] * n[j])
    for j in range(h):
        dn[j] = slope[j] * r[j]
    for j in range(h):
        dr[j] = dn[j] * inner[j] * (one - r[j])
    for j in range(h):
        dz[j] = dh[j] * (last[j] - n[j]) * z[j] * (one - z[j])
    for j in range(2 * h):
        dx[j] = d[j]
    for j in range(h):
        dh[j] *= z[j]


@jit
def _rnn_back(y, dh, relu, d):
    one = like(dh[0], 1)
    if relu:
        for j in range(dh.size):
            d[j] = dh[j] if y[j] > like(y[j], 0) else like(y[j], 0)
    else:
        for j in range(dh.size):
            d[j] = dh[j] * (one - y[j] * y[j])


@jit
def _add_to(x, y):
    for j in range(x.size):
        x[j] += y[j]


@jit
def _backward(product, gates, relu, reverse, a, kept, states, cells, gy, dh, dc, d, dx, w_hh,
              w_hr, projected, lengths, sums, sums_x, batch, lo, hi):
    """All steps of rows lo to hi, backwards; dh and dc end as gradients of the first states.

    sums and sums_x receive the sums of d and dx over steps and rows: within a step first, so that
    rounding errors do not grow with the number of terms.
    """
    size, zero = np.int64(a.itemsize), np.int64(0)
    steps, m, k, h = gy.shape[0] // batch, hi - lo, states.shape[1], d.shape[1] // gates
    first, second = _packed(w_hh, zero, k, zero), _packed(w_hr, zero, w_hr.shape[1], zero)
    table, projects = np.empty(m, np.int64), w_hr.size > 0
    before, after = (1, 0) if reverse else (0, 1)
    inside = np.empty((m if projects else 1, h), a.dtype)
    held = np.zeros((m if gates == 3 or lengths.size else 1, k), a.dtype)
    step_sum = np.empty((2, d.shape[1]), a.dtype)
    for s in range(steps):
        t = s if reverse else steps - 1 - s
        now, old, new = t * batch, (t + before) * batch, (t + after) * batch
        for r in range(lo, hi):
            if not lengths.size or t < lengths[r]:
                _add_to(dh[r], gy[now + r])
            if projects:
                projected[now + r, :] = dh[r]
        if projects:
            _rows_at(table, dh, lo)
            call(product, (address(table), m, k, aligned(second), address(inside), h * size, h,
                           zero))
        step_sum[:] = 0
        for r in range(lo, hi):
            past = lengths.size and t >= lengths[r]
            if past:
                d[now + r, :] = 0
                if gates == 3:
                    dx[now + r, :] = 0
                held[r - lo, :] = dh[r]
                continue
            if gates == 4:
                _lstm_back(a[now + r], cells[old + r], kept[now + r],
                           inside[r - lo] if projects else dh[r], dc[r], d[now + r])
            elif gates == 3:
                _gru_back(a[now + r], kept[now + r], states[old + r], dh[r], d[now + r],
                          dx[now + r])
                held[r - lo, :] = dh[r]
                _add_to(step_sum[1], dx[now + r])
            else:
                _rnn_back(states[new + r], dh[r], relu, d[now + r])
                if lengths.size:
                    held[r - lo, :] = 0
            if gates == 4 and lengths.size:
                held[r - lo, :] = 0
            _add_to(step_sum[0], d[now + r])
        _add_to(sums, step_sum[0])
        if gates == 3:
            _add_to(sums_x, step_sum[1])
        _rows_at(table, d, now + lo)
        call(product, (address(table), m, d.shape[1], aligned(first), _row(dh, lo), k * size, k,
                       zero))
        if gates == 3 or lengths.size:
            for r in range(lo, hi):
                _add_to(dh[r], held[r - lo])
    keep(first)
    keep(second)


@parallel
def backward(product, gates, relu, reverse, a, kept, states, cells, gy, dh, dc, d, dx, w_hh,
             w_hr, projected, lengths, sums, sums_x, batch, nt):
    """Gradients d (T N, gates H) of the products of a recurrence, and of its first states.

    gy (T N, P) is the gradient of the outputs, dh (N, P) and dc (N, H) those of the last states,
    which become those of the first. Of a GRU, dx is the gradient of the input's products and d of
    the state's. projected (T N, P) receives the gradient of the projected states. sums and
    sums_x (nt, gates H) receive each thread's sums of d and dx.
    """
    for p in prange(nt):
        part = np.int64(p)
        _backward(product, gates, relu, reverse, a, kept, states, cells, gy, dh, dc, d, dx, w_hh,
                  w_hr, projected, lengths, sums[part], sums_x[part], batch, batch * part // nt,
                  batch * (part + 1) // nt)
