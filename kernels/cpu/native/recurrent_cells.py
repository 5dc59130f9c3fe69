"""One step of one row of a recurrence, after the products: nonlinearities, and their gradients."""

from __future__ import annotations

import math

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .base import inline, jit
from .bits import both, by_type, copysign, fabs, like, polynomial, times_normal
from .vecmath import tanh

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


# log2(e); log(2) in two parts; what leaves round(x) when added; then the least x for which exp(x)
# is a normal number, and for which tanh(x / 2) is not -1 yet
_REDUCE = both((math.log2(math.e), 0.693359375, -2.12194440e-4, 1.5 * 2.0 ** 23, -87.0, -40.0),
               (math.log2(math.e), 6.93147180369123816490e-1, 1.90821492927058770002e-10,
                1.5 * 2.0 ** 52, -708.0, -80.0))
_EXPM1 = both(      # (exp(r) - 1 - r) / r^2 for |r| <= log(2) / 2, error 1.4e-9 and 1.4e-18
    (0.000198910008, 0.0013933659, 0.00833331092, 0.0416664648, 0.166666667, 0.500000001),
    (2.09146945603515916e-9, 2.51052276365517591e-8, 2.75572736248664763e-7,
     2.75572553746587421e-6, 0.0000248015873255621258, 0.000198412698748407686,
     0.00138888888888837442, 0.00833333333332612936, 0.0416666666666666698, 0.16666666666666671,
     0.5))


@inline
def _reduced(x, y):
    """exp(y) - 1 without the power of two that belongs to it, and that power; x gives the type."""
    log2e, high, low, turn, _, _ = by_type(x, _REDUCE)
    power = y * log2e + turn
    k = power - turn
    r = (y - k * high) - k * low
    return r + r * r * polynomial(r, by_type(x, _EXPM1)), power


@inline
def _sigmoid(x):
    """sigmoid(x) as a numerator and a divisor."""
    one = like(x, 1)
    _, _, _, _, least, _ = by_type(x, _REDUCE)
    y = -fabs(x)
    p, power = _reduced(x, least if y < least else y)
    e = times_normal(one + p, power)
    return (e if x < like(x, 0) else one), one + e


@inline
def _tanh(x):
    """tanh(x) as a numerator and a divisor: with e = exp(-2 |x|) - 1 it is -e / (2 + e)."""
    one, two = like(x, 1), like(x, 2)
    _, _, _, _, _, least = by_type(x, _REDUCE)
    y = -two * fabs(x)
    p, power = _reduced(x, least if y < least else y)
    scale = times_normal(one, power)
    e = scale * p + (scale - one)
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
def lstm_back(a, last, squashed, dr, dc, d, left, right):
    """Gradients d of the gates before their nonlinearities; dc becomes that of the cell before.

    a and d hold all units, the others left to right.
    """
    n, h = right - left, a.size // 4
    i, f, g, o = (a[left:right], a[h + left:h + right], a[2 * h + left:2 * h + right],
                  a[3 * h + left:3 * h + right])
    di, df, dg, do = (d[left:right], d[h + left:h + right], d[2 * h + left:2 * h + right],
                      d[3 * h + left:3 * h + right])
    one = like(dc[0], 1)
    for j in range(n):
        s = squashed[j]
        dc[j] += dr[j] * o[j] * (one - s * s)
    for j in range(n):
        do[j] = dr[j] * squashed[j] * o[j] * (one - o[j])
    for j in range(n):
        di[j] = dc[j] * g[j] * i[j] * (one - i[j])
    for j in range(n):
        dg[j] = dc[j] * i[j] * (one - g[j] * g[j])
    for j in range(n):
        df[j] = dc[j] * last[j] * f[j] * (one - f[j])
    for j in range(n):
        dc[j] *= f[j]


@jit
def gru_back(a, inner, last, dh, d, dx, left, right):
    """Gradients of the state's products (d) and of the input's (dx); dh becomes what z lets by.

    a, d and dx hold all units, the others left to right.
    """
    m, h = right - left, a.size // 3
    r, z, n = a[left:right], a[h + left:h + right], a[2 * h + left:2 * h + right]
    dr, dz, dn = d[left:right], d[h + left:h + right], d[2 * h + left:2 * h + right]
    xr, xz, slope = dx[left:right], dx[h + left:h + right], dx[2 * h + left:2 * h + right]
    one = like(dh[0], 1)
    for j in range(m):
        slope[j] = dh[j] * (one - z[j]) * (one - n[j] * n[j])
    for j in range(m):
        dn[j] = slope[j] * r[j]
    for j in range(m):
        dr[j] = dn[j] * inner[j] * (one - r[j])
    for j in range(m):
        dz[j] = dh[j] * (last[j] - n[j]) * z[j] * (one - z[j])
    for j in range(m):
        xr[j] = dr[j]
    for j in range(m):
        xz[j] = dz[j]
    for j in range(m):
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
