"""Recurrent sequences: all time steps in one call, the state's product on the register tile.

The loop nest of one thread, which has a range of the batch's rows and meets no other thread:

    for each step t
        for each panel of W                  packed once per call, stays in this core's L2
            for each tile of its rows        product of h_(t-1), added to the input's product
        for each of its rows                 bias, nonlinearities, c_t and h_t, in L1

Rows of a batch never touch each other, so no result depends on the number of threads, except
for the sums of the biases' gradients, which are added up in the order of the threads.

Arrays are matrices whose rows are (step, row of the batch); T + 1 states are kept as the
primitives define it. The number of `gates` names the cell: 4 LSTM, 3 GRU, 1 simple recurrence.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic

from .base import inline, jit, parallel, prange
from .gemm import LINE, PANEL_BYTES, aligned, pack_panel, tiles_of
from .tile import VECTOR_BYTES, address, rows_tile
from .vecmath import like, sigmoid, tanh

__all__ = ["backward", "forward"]

# Constants are given as int64 variables: for a literal 0 or 1, and for the unsigned index of a
# parallel loop, the functions that they are given to would be compiled once more.

# -- products with packed weights -----------------------------------------------------------------


@intrinsic
def _apart(typingctx):
    """Keep the function that calls this out of its callers: one copy of the tile to compile."""
    def codegen(context, builder, signature, args):
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()
    return types.none(), codegen


@inline
def _step(k, size):
    """Bytes from one packed panel to the next: k rows, rounded up to whole vectors."""
    width = VECTOR_BYTES // size
    return (k + width - 1) // width * width * PANEL_BYTES


@inline
def _panels(columns, size):
    wide = PANEL_BYTES // size
    return (columns + wide - 1) // wide


@jit
def _room(k, columns, size):
    """A buffer for the panels of k rows and so many columns."""
    return np.empty(_panels(columns, size) * _step(k, size) + LINE, np.uint8)


@inline
def _keep(buffer):
    """Use a buffer whose address was used until here: the compiler frees it after its last use."""
    buffer[0] = 0


@jit
def _pack(w, first, last, transposed, target, part, parts):
    """One part of the panels of w[:, first:last], or of w[first:last].T, from `target` on."""
    _apart()
    size = np.int64(w.itemsize)
    wide, stride = PANEL_BYTES // size, w.shape[1] * size
    k = w.shape[1] if transposed else w.shape[0]
    count = _panels(last - first, size)
    for p in range(count * part // parts, count * (part + 1) // parts):
        j = first + p * wide
        source = address(w) + j * (stride if transposed else size)
        pack_panel(w, source, k, stride, min(wide, last - j), transposed != 0,
                   target + p * _step(k, size))


@jit
def _product(like, table, m, k, panels, c, ldc, n, add):
    """C[0:m, 0:n] (+)= A W, the rows of A at the addresses in `table`, W in panels of k rows."""
    _apart()
    size = np.int64(like.itemsize)
    wide, count = PANEL_BYTES // size, tiles_of(m)
    for j in range(0, n, wide):
        for t in range(count):
            i = m * t // count
            rows_tile(like.dtype, m * (t + 1) // count - i, table + 8 * i, k, panels, PANEL_BYTES,
                      c + i * ldc + j * size, ldc, min(wide, n - j), add)
        panels += _step(k, size)


@inline
def _rows_at(table, x, first):
    """Fill the table with the addresses of the rows of x from `first` on."""
    stride = x.shape[1] * np.int64(x.itemsize)
    for i in range(table.size):
        table[i] = address(x) + (first + i) * stride


# -- forward --------------------------------------------------------------------------------------
# Short loops over few arrays: with many, the compiler gives up showing that they do not overlap.


@jit
def _sigmoid_of(a, b):
    for j in range(a.size):
        a[j] = sigmoid(a[j] + b[j])


@jit
def _tanh_of(a, b, y):
    for j in range(a.size):
        y[j] = tanh(a[j] + b[j])


@jit
def _lstm_cell(a, bias, last, cell, squashed, out):
    """i, f, g and o in place; the cell, its tanh, and o times that."""
    h = last.size
    _sigmoid_of(a[:2 * h], bias[:2 * h])
    _tanh_of(a[2 * h:3 * h], bias[2 * h:3 * h], a[2 * h:3 * h])
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
    _tanh_of(n, bias[2 * h:], n)
    for j in range(h):
        out[j] = n[j] + z[j] * (last[j] - n[j])


@jit
def _relu_of(a, b, y):
    for j in range(a.size):
        v = a[j] + b[j]
        y[j] = like(v, 0) if v < like(v, 0) else v


@jit
def _forward(gates, relu, reverse, a, bias, inner_bias, states, cells, kept, w, w_more, proj,
             lengths, batch, lo, hi):
    """All steps of rows lo to hi. w, w_more (GRU: the new state's part) and proj: panels, or 0."""
    _apart()
    size, zero, one = np.int64(a.itemsize), np.int64(0), np.int64(1)
    steps, m, k = a.shape[0] // batch, hi - lo, states.shape[1]
    h = a.shape[1] // gates
    table = np.empty(m, np.int64)
    before, after = (1, 0) if reverse else (0, 1)
    spare = np.empty((m if proj else 1, h), a.dtype)
    for s in range(steps):
        t = steps - 1 - s if reverse else s
        now, old, new = t * batch, (t + before) * batch, (t + after) * batch
        if w:
            _rows_at(table, states, old + lo)
            row = address(a) + (now + lo) * a.shape[1] * size
            if gates == 3:
                for r in range(now + lo, now + hi):
                    kept[r, :] = inner_bias
                _product(a, address(table), m, k, w, row, 3 * h * size, 2 * h, one)
                _product(a, address(table), m, k, w_more,
                         address(kept) + (now + lo) * h * size, h * size, h, one)
            else:
                _product(a, address(table), m, k, w, row, gates * h * size, gates * h, one)
        for r in range(lo, hi):
            if gates == 4:
                _lstm_cell(a[now + r], bias, cells[old + r], cells[new + r], kept[now + r],
                           spare[r - lo] if proj else states[new + r])
            elif gates == 3:
                _gru_cell(a[now + r], bias, kept[now + r], states[old + r], states[new + r])
            elif relu:
                _relu_of(a[now + r], bias, states[new + r])
            else:
                _tanh_of(a[now + r], bias, states[new + r])
        if proj:
            _rows_at(table, spare, zero)
            _product(a, address(table), m, h, proj, address(states) + (new + lo) * k * size,
                     k * size, k, zero)
        if lengths.size:
            for r in range(lo, hi):
                if t >= lengths[r]:
                    states[new + r, :] = states[old + r]
                    if gates == 4:
                        cells[new + r, :] = cells[old + r]


@parallel
def forward(gates, relu, reverse, a, bias, inner_bias, states, cells, kept, w_hh, w_hr, lengths,
            batch, nt):
    """All steps of a recurrence, from the products of the inputs on.

    a (T N, gates H) holds these products and receives the gates; kept (T N, H) receives tanh(c)
    of an LSTM and W_hn h + b_hn of a GRU; states (T+1 N, P) and cells (T+1 N, H) hold the first
    ones already. With one step the product of the state is in `a` (`kept` of a GRU) already:
    packing the weights would take longer than using them. w_hr and lengths are empty without.
    """
    size, zero, one = np.int64(a.itemsize), np.int64(0), np.int64(1)
    rows, k = w_hh.shape[0], w_hh.shape[1]
    h = a.shape[1] // gates
    split = 2 * h if gates == 3 else rows
    packing = a.shape[0] > batch
    first = _room(k, split if packing else 0, size)
    second = _room(k, rows - split if packing else 0, size)
    third = _room(h, w_hr.shape[0], size)
    w = aligned(first) if packing else 0
    w_more = aligned(second) if packing else 0
    proj = aligned(third) if w_hr.size else 0
    if packing or proj:
        for p in prange(nt):
            part = np.int64(p)
            if packing:
                _pack(w_hh, zero, split, one, w, part, nt)
                _pack(w_hh, split, rows, one, w_more, part, nt)
            if proj:
                _pack(w_hr, zero, w_hr.shape[0], one, proj, part, nt)
    for p in prange(nt):
        part = np.int64(p)
        _forward(gates, relu, reverse, a, bias, inner_bias, states, cells, kept, w, w_more, proj,
                 lengths, batch, batch * part // nt, batch * (part + 1) // nt)
    _keep(first)
    _keep(second)
    _keep(third)


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
def _backward(gates, relu, reverse, a, kept, states, cells, gy, dh, dc, d, dx, w, proj, projected,
              lengths, sums, sums_x, batch, lo, hi):
    """All steps of rows lo to hi, backwards; dh and dc end as gradients of the first states.

    sums and sums_x receive the sums of d and dx over steps and rows: within a step first, so that
    rounding errors do not grow with the number of terms.
    """
    _apart()
    size, zero, one = np.int64(a.itemsize), np.int64(0), np.int64(1)
    steps, m, k, h = gy.shape[0] // batch, hi - lo, states.shape[1], d.shape[1] // gates
    table = np.empty(m, np.int64)
    before, after = (1, 0) if reverse else (0, 1)
    inside = np.empty((m if proj else 1, h), a.dtype)
    held = np.zeros((m if gates == 3 or lengths.size else 1, k), a.dtype)
    step_sum = np.empty((2, d.shape[1]), a.dtype)
    for s in range(steps):
        t = s if reverse else steps - 1 - s
        now, old, new = t * batch, (t + before) * batch, (t + after) * batch
        for r in range(lo, hi):
            if not lengths.size or t < lengths[r]:
                _add_to(dh[r], gy[now + r])
            if proj:
                projected[now + r, :] = dh[r]
        if proj:
            _rows_at(table, dh, lo)
            _product(a, address(table), m, k, proj, address(inside), h * size, h, zero)
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
                           inside[r - lo] if proj else dh[r], dc[r], d[now + r])
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
        _product(a, address(table), m, d.shape[1], w, address(dh) + lo * k * size, k * size, k, zero)
        if gates == 3 or lengths.size:
            for r in range(lo, hi):
                _add_to(dh[r], held[r - lo])


@parallel
def backward(gates, relu, reverse, a, kept, states, cells, gy, dh, dc, d, dx, w_hh, w_hr,
             projected, lengths, sums, sums_x, batch, nt):
    """Gradients d (T N, gates H) of the products of a recurrence, and of its first states.

    gy (T N, P) is the gradient of the outputs, dh (N, P) and dc (N, H) those of the last states,
    which become those of the first. Of a GRU, dx is the gradient of the input's products and d of
    the state's. projected (T N, P) receives the gradient of the projected states. sums and
    sums_x (nt, gates H) receive each thread's sums of d and dx.
    """
    size, zero, k = np.int64(a.itemsize), np.int64(0), w_hh.shape[1]
    first = _room(w_hh.shape[0], k, size)
    second = _room(w_hr.shape[0], w_hr.shape[1], size)
    w = aligned(first)
    proj = aligned(second) if w_hr.size else 0
    for p in prange(nt):
        part = np.int64(p)
        _pack(w_hh, zero, k, zero, w, part, nt)
        if proj:
            _pack(w_hr, zero, w_hr.shape[1], zero, proj, part, nt)
    for p in prange(nt):
        part = np.int64(p)
        _backward(gates, relu, reverse, a, kept, states, cells, gy, dh, dc, d, dx, w, proj,
                  projected, lengths, sums[part], sums_x[part], batch, batch * part // nt,
                  batch * (part + 1) // nt)
    _keep(first)
    _keep(second)
