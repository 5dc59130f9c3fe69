"""One step of one row of a recurrence, after the products: nonlinearities, and their gradients."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .base import inline, jit
from .bits import both, by_type, copysign, fabs, like, polynomial, times_normal
from .vecmath import _EXP, _REDUCE, _TANH_RANGE, tanh

__all__ = ["gru_back", "gru_cell", "lstm_back", "lstm_gates", "lstm_output", "rnn_back", "rnn_cell"]

# -- forward --------------------------------------------------------------------------------------
# The quotients of a sigmoid and of a tanh have divisors from 1 to 2, so two of them share one
# division: 1 / a = b / (a b). A division takes as long as the 25 other instructions of a gate.


@intrinsic
def _distinct(typingctx):
    """Called in a function: its arrays do not overlap. LLVM checks that for a few arrays at most,
    and gives vectors up for more."""
    def codegen(context, builder, signature, args):
        for a in builder.function.args:
            if isinstance(getattr(a.type, "pointee", None), (ir.FloatType, ir.DoubleType)):
                a.add_attribute("noalias")
        return context.get_dummy_value()
    return types.none(), codegen


_LEAST = both((-87.0,), (-708.0,))       # where exp(x) is a normal number still


@inline
def _sigmoid(x):
    """sigmoid(x) as a numerator and a divisor."""
    one = like(x, 1)
    log2e, high, low, turn = by_type(x, _REDUCE)
    least, = by_type(x, _LEAST)
    y = -fabs(x)
    y = least if y < least else y
    power = y * log2e + turn
    k = power - turn
    r = (y - k * high) - k * low
    e = times_normal(one + (r + r * r * polynomial(r, by_type(x, _EXP))), power)
    return (e if x < like(x, 0) else one), one + e


@inline
def _tanh(x):
    """tanh(x) as a numerator and a divisor: see `vecmath.tanh`."""
    one, two = like(x, 1), like(x, 2)
    log2e, high, low, turn = by_type(x, _REDUCE)
    least, = by_type(x, _TANH_RANGE)
    y = -two * fabs(x)
    y = least if y < least else y
    power = y * log2e + turn
    k = power - turn
    r = (y - k * high) - k * low
    scale = times_normal(one, power)
    e = scale * (r + r * r * polynomial(r, by_type(x, _EXP))) + (scale - one)
    return copysign(e, x), two + e


@jit
def lstm_gates(i, f, g, last, cell):
    """i, f and g in place, and the cell."""
    _distinct()
    one = like(last[0], 1)
    for j in range(last.size):
        ni, di = _sigmoid(i[j])
        nf, df = _sigmoid(f[j])
        ng, dg = _tanh(g[j])
        pair = di * df
        r = one / (pair * dg)
        rg = r * dg
        vi, vf, vg = ni * (rg * df), nf * (rg * di), ng * (r * pair)
        i[j], f[j], g[j] = vi, vf, vg
        cell[j] = vf * last[j] + vi * vg


@jit
def lstm_output(o, cell, squashed, out):
    """o in place, the cell's tanh, and o times that."""
    _distinct()
    one = like(cell[0], 1)
    for j in range(cell.size):
        no, do = _sigmoid(o[j])
        nc, dc = _tanh(cell[j])
        r = one / (do * dc)
        vo, vc = no * (r * dc), nc * (r * do)
        o[j], squashed[j] = vo, vc
        out[j] = vo * vc


@jit
def gru_cell(r, z, n, inner, last, out):
    """r, z and n in place, and (1 - z) n + z h."""
    _distinct()
    one = like(last[0], 1)
    for j in range(last.size):
        nr, dr = _sigmoid(r[j])
        nz, dz = _sigmoid(z[j])
        q = one / (dr * dz)
        vr, vz = nr * (q * dz), nz * (q * dr)
        vn = tanh(n[j] + vr * inner[j])
        r[j], z[j], n[j] = vr, vz, vn
        out[j] = vn + vz * (last[j] - vn)


@jit
def rnn_cell(a, relu, out):
    """tanh or relu."""
    if relu:
        for j in range(a.size):
            out[j] = like(a[j], 0) if a[j] < like(a[j], 0) else a[j]
    else:
        for j in range(a.size):
            out[j] = tanh(a[j])


# -- backward -------------------------------------------------------------------------------------
# Short loops over few arrays, which vectors go through without `_distinct`: one loop for all of it
# was slower, 1.34 ns for a unit instead of 1.20.


@jit
def lstm_back(a, last, squashed, dr, dc, d):
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
def gru_back(a, inner, last, dh, d, dx):
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
def rnn_back(y, dh, relu, d):
    one = like(dh[0], 1)
    if relu:
        for j in range(dh.size):
            d[j] = dh[j] if y[j] > like(y[j], 0) else like(y[j], 0)
    else:
        for j in range(dh.size):
            d[j] = dh[j] * (one - y[j] * y[j])
