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
from .recurrent_cells import (
    gru_back,
    gru_cell,
    lstm_back,
    lstm_gates,
    lstm_output,
    rnn_back,
    rnn_cell,
)
from .tile import VECTOR_BYTES, address, keep, rows_tile

__all__ = ["backward", "forward", "product_code"]

# -- products with packed weights -----------------------------------------------------------------

DEEP = 512      # rows of a panel: with more, the rows of A that a tile needs would not stay in L1


@inline
def _blocks(k):
    """In how many blocks k is cut."""
    return (k + DEEP - 1) // DEEP


@inline
def _room(k, size):
    """Bytes from one packed panel to the next: the rows of a block, rounded up to whole vectors."""
    width, blocks = VECTOR_BYTES // size, _blocks(k)
    return ((k + blocks - 1) // blocks + width - 1) // width * width * PANEL_BYTES


@jit
def _packed(w, first, last, transposed):
    """A buffer with the panels of w[:, first:last], or w[first:last].T where `transposed` is 1.

    The panels of a block of k lie together.
    """
    size = np.int64(w.itemsize)
    wide, stride = PANEL_BYTES // size, w.shape[1] * size
    k = w.shape[1] if transposed else w.shape[0]
    blocks, room = _blocks(k), _room(k, size)
    buffer = np.empty((last - first + wide - 1) // wide * blocks * room + LINE, np.uint8)
    target = aligned(buffer)
    for b in range(blocks):
        top = k * b // blocks
        for j in range(first, last, wide):
            source = address(w) + (j * stride + top * size if transposed else
                                   top * stride + j * size)
            pack_panel(w, source, k * (b + 1) // blocks - top, stride, min(wide, last - j),
                       transposed != 0, target)
            target += room
    return buffer


@jit
def _product(kind, table, m, k, panels, room, c, ldc, n, add):
    """C[0:m, 0:n] (+)= A W: the rows of A are at the addresses in `table`, panels `room` apart."""
    size = size_of(kind)
    wide, count = PANEL_BYTES // size, tiles_of(m)
    for j in range(0, n, wide):
        for t in range(count):
            i = m * t // count
            rows_tile(kind, m * (t + 1) // count - i, table + 8 * i, k, panels, PANEL_BYTES,
                      c + i * ldc + j * size, ldc, min(wide, n - j), add)
        panels += room


@functools.cache
def product_code(dtype: Any) -> int:
    """The address of `_product`, which is compiled once for all its callers."""
    return entry(_product, dtype.type, 9)


@jit
def _times(product, table, x, first, packed, c, ldc, n, add):
    """C (+)= A W for rows of x from `first` on, as many as the table has, and a packed W."""
    size, k = np.int64(x.itemsize), x.shape[1]
    blocks, room, panels = _blocks(k), _room(k, size), aligned(packed)
    for b in range(blocks):
        top = k * b // blocks
        for i in range(table.size):
            table[i] = address(x) + ((first + i) * k + top) * size
        call(product, (address(table), table.size, k * (b + 1) // blocks - top, panels, room, c,
                       ldc, n, np.int64(1) if b else add))
        panels += (n * size + PANEL_BYTES - 1) // PANEL_BYTES * room


@inline
def _row(x, i):
    return address(x) + i * x.shape[1] * np.int64(x.itemsize)


# -- forward --------------------------------------------------------------------------------------
@jit
def _forward(product, gates, relu, reverse, a, inner_bias, states, cells, kept, w_hh, w_hr,
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
            _times(product, table, states, old + lo, first, _row(a, now + lo), a.shape[1] * size,
                   split, one)
            if gates == 3:
                for r in range(now + lo, now + hi):
                    kept[r, :] = inner_bias
                _times(product, table, states, old + lo, second, _row(kept, now + lo), h * size,
                       h, one)
        for r in range(lo, hi):
            row = a[now + r]
            if gates == 4:
                cell = cells[new + r]
                lstm_gates(row[:h], row[h:2 * h], row[2 * h:3 * h], cells[old + r], cell)
                lstm_output(row[3 * h:], cell, kept[now + r],
                             out[r - lo] if projects else states[new + r])
            elif gates == 3:
                gru_cell(row[:h], row[h:2 * h], row[2 * h:], kept[now + r], states[old + r],
                          states[new + r])
            else:
                rnn_cell(row, relu, states[new + r])
        if projects:
            _times(product, table, out, zero, third, _row(states, new + lo), k * size, k, zero)
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
def forward(product, gates, relu, reverse, a, inner_bias, states, cells, kept, w_hh, w_hr,
            lengths, batch, nt):
    """All steps of a recurrence, from the products of the inputs on.

    a (T N, gates H) holds these products, biases included, and receives the gates; kept (T N, H)
    receives tanh(c) of an LSTM and W_hn h + b_hn of a GRU; states (T+1 N, P) and cells (T+1 N, H)
    hold the first ones already. With one step the product of the state is in `a` (`kept` of a GRU)
    already: packing the weights would take longer than using them. w_hr and lengths are empty
    without. `product` is `product_code` of the dtype.
    """
    for p in prange(nt):
        part = np.int64(p)         # unsigned, it would make the compiler do all of it once more
        _forward(product, gates, relu, reverse, a, inner_bias, states, cells, kept, w_hh, w_hr,
                 lengths, batch, batch * part // nt, batch * (part + 1) // nt)


# -- backward -------------------------------------------------------------------------------------


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
            _times(product, table, dh, lo, second, address(inside), h * size, h, zero)
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
                lstm_back(a[now + r], cells[old + r], kept[now + r],
                           inside[r - lo] if projects else dh[r], dc[r], d[now + r])
            elif gates == 3:
                gru_back(a[now + r], kept[now + r], states[old + r], dh[r], d[now + r],
                          dx[now + r])
                held[r - lo, :] = dh[r]
                _add_to(step_sum[1], dx[now + r])
            else:
                rnn_back(states[new + r], dh[r], relu, d[now + r])
                if lengths.size:
                    held[r - lo, :] = 0
            if gates == 4 and lengths.size:
                held[r - lo, :] = 0
            _add_to(step_sum[0], d[now + r])
        _add_to(sums, step_sum[0])
        if gates == 3:
            _add_to(sums_x, step_sum[1])
        _times(product, table, d, now + lo, first, _row(dh, lo), k * size, k, zero)
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
