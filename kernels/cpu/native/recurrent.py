"""Recurrent sequences: all time steps in one call, the state's product on the register tile.

The loop nest of one thread, which has a range of the batch's rows and meets no other thread:

    pack W for this thread                   once per call; it stays in this core's L2
    for each step t
        for each block of k, panel of W
            for each tile of its rows        product of h_(t-1), added to the input's product
        for each of its rows                 nonlinearities, c_t and h_t, in L1

Where the batch has too few rows to fill tiles, or W does not fit into one L2, threads have ranges
of the hidden units instead, and of W: then they meet once per step, which takes 1 us.

No result depends on who does what, except for the sums of the biases' gradients, which are added
up in the order of the threads.

Arrays are matrices whose rows are (step, row of the batch); T + 1 states are kept as the
primitives define it. The number of `gates` names the cell: 4 LSTM, 3 GRU, 1 simple recurrence.
"""

from __future__ import annotations

import numpy as np

from .base import jit
from .borrow import borrowed
from .gemm import LINE, aligned
from .pool import fork
from .recurrent_cells import (
    gru_back,
    gru_cell,
    lstm_back,
    lstm_gates,
    lstm_output,
    rnn_back,
    rnn_cell,
)
from .recurrent_product import bytes_of, pack, product_code, row_at, times, units
from .tile import keep, stays_apart

__all__ = ["backward", "forward", "product_code"]

# -- forward --------------------------------------------------------------------------------------


@jit
def _pack_gates(w, gates, left, right, target):
    """Pack what computes units left to right: one range where that is all, else one of each gate.

    Of a GRU, the new state is always apart: its product is kept.
    """
    h = w.shape[0] // gates
    if right - left < h:
        for g in range(gates):
            target = pack(w, g * h + left, g * h + right, 1, target)
    else:
        target = pack(w, 0, 2 * h if gates == 3 else gates * h, 1, target)
        if gates == 3:
            target = pack(w, 2 * h, 3 * h, 1, target)
    return target


@jit
def _forward_step(product, gates, relu, reverse, a, inner_bias, states, cells, kept, lengths,
                  batch, packed, projection, out, s, lo, hi, left, right):
    """Step s of rows lo to hi and units left to right; all units where there is a projection."""
    stays_apart()
    a, states, cells, kept, out = (borrowed(a), borrowed(states), borrowed(cells),
                                   borrowed(kept), borrowed(out))
    steps, m, k, h = a.shape[0] // batch, hi - lo, states.shape[1], a.shape[1] // gates
    size, one = np.int64(a.itemsize), np.int64(1)
    table, n, projects = np.empty(m, np.int64), right - left, out.size > 0
    t = steps - 1 - s if reverse else s
    now = t * batch
    old, new = (now + batch, now) if reverse else (now, now + batch)
    if steps > 1:
        whole = n == h
        count, wide = (1, gates * h) if whole and gates != 3 else (
            (1, 2 * h) if whole else (min(gates, 2) if gates == 3 else gates, n))
        for g in range(count):
            times(product, table, states, old + lo, packed,
                   row_at(a, now + lo) + (g * h + left) * size, a.shape[1] * size, wide, one)
            packed += bytes_of(k, wide, size)
        if gates == 3:
            for r in range(now + lo, now + hi):
                kept[r, left:right] = inner_bias[left:right]
            times(product, table, states, old + lo, packed, row_at(kept, now + lo) + left * size,
                   h * size, n, one)
    for r in range(lo, hi):
        row, new_state = a[now + r], states[new + r]
        if gates == 4:
            cell = cells[new + r, left:right]
            lstm_gates(row[left:right], row[h + left:h + right], row[2 * h + left:2 * h + right],
                       cells[old + r, left:right], cell)
            lstm_output(row[3 * h + left:3 * h + right], cell, kept[now + r, left:right],
                        out[r - lo] if projects else new_state[left:right])
        elif gates == 3:
            gru_cell(row[left:right], row[h + left:h + right], row[2 * h + left:2 * h + right],
                     kept[now + r, left:right], states[old + r, left:right],
                     new_state[left:right])
        else:
            rnn_cell(row[left:right], relu, new_state[left:right])
    if projects:
        times(product, table, out, np.int64(0), projection, row_at(states, new + lo), k * size, k,
               np.int64(0))
    if lengths.size:
        end = k if projects else right
        for r in range(lo, hi):
            if t >= lengths[r]:
                states[new + r, left:end] = states[old + r, left:end]
                if gates == 4:
                    cells[new + r, left:right] = cells[old + r, left:right]
    keep(table)


@jit
def _forward_rows(product, gates, relu, reverse, a, inner_bias, states, cells, kept, w_hh, w_hr,
                  lengths, batch, part, parts):
    """All steps of a range of the rows."""
    steps, k, h = a.shape[0] // batch, w_hh.shape[1], a.shape[1] // gates
    lo, hi = batch * part // parts, batch * (part + 1) // parts
    size = np.int64(a.itemsize)
    room = bytes_of(k, gates * h, size) + bytes_of(k, h, size) + bytes_of(w_hr.shape[1], k, size)
    buffer = np.empty(room + LINE, np.uint8)
    out = np.empty((hi - lo if w_hr.size else 0, h), a.dtype)
    packed = aligned(buffer)
    projection = _pack_gates(w_hh, gates, 0, h, packed) if steps > 1 else packed
    pack(w_hr, 0, w_hr.shape[0], 1, projection)
    for s in range(steps):
        _forward_step(product, gates, relu, reverse, a, inner_bias, states, cells, kept, lengths,
                      batch, packed, projection, out, s, lo, hi, np.int64(0), h)
    keep(buffer)


@jit
def _forward_pack(w, gates, packed, room, part, parts):
    """Pack a part's weights."""
    left, right = units(w.shape[0] // gates, np.int64(w.itemsize), part, parts)
    _pack_gates(w, gates, left, right, packed + part * room)


@jit
def _forward_units(product, gates, relu, reverse, a, inner_bias, states, cells, kept, lengths,
                   batch, packed, room, out, s, part, parts):
    """Step s of a range of the units."""
    left, right = units(a.shape[1] // gates, np.int64(a.itemsize), part, parts)
    _forward_step(product, gates, relu, reverse, a, inner_bias, states, cells, kept, lengths,
                  batch, packed + part * room, packed, out, s, np.int64(0), batch, left, right)


@jit
def forward(product, gates, relu, reverse, a, inner_bias, states, cells, kept, w_hh, w_hr,
            lengths, batch, by_units, nt):
    """All steps of a recurrence, from the products of the inputs on.

    a (T N, gates H) holds these products, biases included, and receives the gates; kept (T N, H)
    receives tanh(c) of an LSTM and W_hn h + b_hn of a GRU; states (T+1 N, P) and cells (T+1 N, H)
    hold the first ones already. With one step the product of the state is in `a` (`kept` of a GRU)
    already: packing the weights would take longer than using them. w_hr and lengths are empty
    without. `product` is `product_code` of the dtype.
    """
    if not by_units:
        fork(_forward_rows, (product, gates, relu, reverse, a, inner_bias, states, cells, kept,
                             w_hh, w_hr, lengths, batch), nt)
        return
    size, h = np.int64(a.itemsize), a.shape[1] // gates
    left, right = units(h, size, nt - 1, nt)
    room = gates * bytes_of(h, right - left, size)        # the last part has as many as any
    buffer, out = np.empty(nt * room + LINE, np.uint8), np.empty((0, h), a.dtype)
    fork(_forward_pack, (w_hh, gates, aligned(buffer), room), nt)
    for s in range(a.shape[0] // batch):
        fork(_forward_units, (product, gates, relu, reverse, a, inner_bias, states, cells, kept,
                              lengths, batch, aligned(buffer), room, out, s), nt)
    keep(buffer)


# -- backward -------------------------------------------------------------------------------------


@jit
def _add_to(x, y):
    for j in range(x.size):
        x[j] += y[j]


@jit
def _add_gates(sums, d, gates, left, right):
    """Add a row of gradients of units left to right."""
    h = d.size // gates
    if right - left == h:
        _add_to(sums, d)
    else:
        for g in range(gates):
            _add_to(sums[g * h + left:g * h + right], d[g * h + left:g * h + right])


@jit
def _clear(d, gates, left, right):
    h = d.size // gates
    for g in range(gates):
        d[g * h + left:g * h + right] = 0


@jit
def _backward_step(product, gates, relu, reverse, a, kept, states, cells, gy, dh, dc, d, dx,
                   projects, projected, lengths, sums, sums_x, batch, packed, projection, inside,
                   held, s, lo, hi, left, right):
    """Step s backwards of rows lo to hi and units left to right; s = T ends the step before.

    dh receives the product of the step before first: its units are the same, so a thread that has
    a range of them waits for the others once per step.
    """
    stays_apart()
    a, kept, states, cells, gy = (borrowed(a), borrowed(kept), borrowed(states),
                                  borrowed(cells), borrowed(gy))
    dh, dc, d, dx, inside, held = (borrowed(dh), borrowed(dc), borrowed(d), borrowed(dx),
                                   borrowed(inside), borrowed(held))
    size, zero = np.int64(gy.itemsize), np.int64(0)
    steps, m, k, h = gy.shape[0] // batch, hi - lo, states.shape[1], d.shape[1] // gates
    table, end = np.empty(m, np.int64), k if projects else right
    holds = gates == 3 or lengths.size > 0
    if s:
        now = (s - 1 if reverse else steps - s) * batch
        times(product, table, d, now + lo, packed, row_at(dh, lo) + left * size, k * size,
               end - left, zero)
        if holds:
            for r in range(lo, hi):
                _add_to(dh[r, left:end], held[r, left:end])
    if s < steps:
        t = s if reverse else steps - 1 - s
        now = t * batch
        old, new = (now + batch, now) if reverse else (now, now + batch)
        for r in range(lo, hi):
            if not lengths.size or t < lengths[r]:
                _add_to(dh[r, left:end], gy[now + r, left:end])
            if projects:
                projected[now + r, :] = dh[r]
        if projects:
            times(product, table, dh, lo, projection, row_at(inside, lo), h * size, h, zero)
        step_sum = np.zeros((2, d.shape[1]), d.dtype)
        for r in range(lo, hi):
            own = dh[r, left:end]
            if lengths.size and t >= lengths[r]:
                _clear(d[now + r], gates, left, right)
                if gates == 3:
                    _clear(dx[now + r], gates, left, right)
                held[r, left:end] = own
                continue
            if gates == 4:
                lstm_back(a[now + r], cells[old + r, left:right], kept[now + r, left:right],
                          inside[r] if projects else own, dc[r, left:right], d[now + r], left,
                          right)
            elif gates == 3:
                gru_back(a[now + r], kept[now + r, left:right], states[old + r, left:right], own,
                         d[now + r], dx[now + r], left, right)
                held[r, left:end] = own
                _add_gates(step_sum[1], dx[now + r], gates, left, right)
            else:
                rnn_back(states[new + r, left:right], own, relu, d[now + r, left:right])
            if gates != 3 and holds:
                held[r, left:end] = 0
            _add_gates(step_sum[0], d[now + r], gates, left, right)
        _add_to(sums, step_sum[0])
        if gates == 3:
            _add_to(sums_x, step_sum[1])
    keep(table)


@jit
def _backward_rows(product, gates, relu, reverse, a, kept, states, cells, gy, dh, dc, d, dx, w_hh,
                   w_hr, projected, lengths, sums, sums_x, batch, inside, held, part, parts):
    """All steps of a range of the rows."""
    lo, hi = batch * part // parts, batch * (part + 1) // parts
    size, k, h = np.int64(gy.itemsize), states.shape[1], d.shape[1] // gates
    room = bytes_of(d.shape[1], k, size) + bytes_of(w_hr.shape[0], w_hr.shape[1], size)
    buffer = np.empty(room + LINE, np.uint8)
    packed = aligned(buffer)
    projection = pack(w_hh, 0, k, 0, packed)
    pack(w_hr, 0, w_hr.shape[1], 0, projection)
    for s in range(gy.shape[0] // batch + 1):
        _backward_step(product, gates, relu, reverse, a, kept, states, cells, gy, dh, dc, d, dx,
                       w_hr.size > 0, projected, lengths, sums[part], sums_x[part], batch, packed,
                       projection, inside, held, s, lo, hi, np.int64(0), h)
    keep(buffer)


@jit
def _backward_pack(w, packed, room, part, parts):
    """Pack a part's weights."""
    left, right = units(w.shape[1], np.int64(w.itemsize), part, parts)
    pack(w, left, right, 0, packed + part * room)


@jit
def _backward_units(product, gates, relu, reverse, a, kept, states, cells, gy, dh, dc, d, dx,
                    projected, lengths, sums, sums_x, batch, packed, room, inside, held, s, part,
                    parts):
    """Step s of a range of the units."""
    left, right = units(states.shape[1], np.int64(gy.itemsize), part, parts)
    _backward_step(product, gates, relu, reverse, a, kept, states, cells, gy, dh, dc, d, dx,
                   False, projected, lengths, sums[part], sums_x[part], batch,
                   packed + part * room, packed, inside, held, s, np.int64(0), batch, left, right)


@jit
def backward(product, gates, relu, reverse, a, kept, states, cells, gy, dh, dc, d, dx, w_hh,
             w_hr, projected, lengths, sums, sums_x, batch, by_units, nt):
    """Gradients d (T N, gates H) of the products of a recurrence, and of its first states.

    gy (T N, P) is the gradient of the outputs, dh (N, P) and dc (N, H) those of the last states,
    which become those of the first. Of a GRU, dx is the gradient of the input's products and d of
    the state's. projected (T N, P) receives the gradient of the projected states. sums and
    sums_x (nt, gates H) receive each thread's sums of d and dx, of a step first, so that rounding
    errors do not grow with the number of terms.
    """
    size, k, h = np.int64(gy.itemsize), states.shape[1], d.shape[1] // gates
    inside = np.empty((batch if w_hr.size else 0, h), d.dtype)
    held = np.empty((batch if gates == 3 or lengths.size else 0, k), d.dtype)
    if not by_units:
        fork(_backward_rows, (product, gates, relu, reverse, a, kept, states, cells, gy, dh, dc,
                              d, dx, w_hh, w_hr, projected, lengths, sums, sums_x, batch, inside,
                              held), nt)
        return
    left, right = units(k, size, nt - 1, nt)
    room = bytes_of(d.shape[1], right - left, size)
    buffer = np.empty(nt * room + LINE, np.uint8)
    fork(_backward_pack, (w_hh, aligned(buffer), room), nt)
    for s in range(gy.shape[0] // batch + 1):
        fork(_backward_units, (product, gates, relu, reverse, a, kept, states, cells, gy, dh, dc,
                               d, dx, projected, lengths, sums, sums_x, batch, aligned(buffer),
                               room, inside, held, s), nt)
    keep(buffer)
