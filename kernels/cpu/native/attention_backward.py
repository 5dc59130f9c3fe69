"""Attention backward on the register tile: scores and weights again, block by block."""

from __future__ import annotations

import numpy as np

from .attention_parts import (
    BLOCK,
    CAUSAL,
    CODES,
    COUNT,
    EV,
    GK,
    GQ,
    GROUP,
    GV,
    KEEP,
    KEPT,
    KEYS,
    LENGTH,
    LINE,
    LSE,
    NEED_K,
    NEED_Q,
    NEED_V,
    OFFSET,
    OWN,
    PIECE_BYTES,
    PIECES,
    SCALE,
    STEP,
    E,
    G,
    K,
    M,
    Q,
    V,
    Y,
    copy_rows,
    fill,
    index_of,
    list_rows,
    matrix,
    multiply,
    numbers,
    rows_of_block,
    scores,
    turn_queries,
    visible,
)
from .base import jit
from .launch import call, size_of
from .panel import (
    WIDTH,
    panel_exp,
    panel_gradient,
    panel_times,
    row_add,
    row_dot,
    row_put,
)
from .tile import address

__all__ = ["backward"]


@jit
def _put_rows(kind, x, padded, rows, columns, y, step, factor, add):
    """y (+)= x * factor, from scratch to the rows of a result."""
    for i in range(rows):
        if add:
            row_add(kind, y + i * step, x + i * padded * size_of(kind), columns, factor)
        else:
            row_put(kind, y + i * step, x + i * padded * size_of(kind), columns, factor)


@jit
def _inner(kind, p, g, y, lse, inner, shift):
    """Per query: sum of g * y over the row, and the log of the sum, which panels subtract."""
    length, ev = p[LENGTH], p[EV]
    width = WIDTH // size_of(kind)
    padded = (length + width - 1) // width * width
    sums, given = numbers(kind, inner, padded), numbers(kind, lse, length)
    logs = numbers(kind, shift, padded)
    for i in range(length, padded):
        sums[i] = logs[i] = 0
    for i in range(length):
        sums[i] = row_dot(kind, g + i * p[G + STEP], y + i * p[Y + STEP], ev)
        logs[i] = given[i]


@jit
def _pair(kind, p, pair, most, first, count, k_rows, v_rows, kc, k_step, qt, gt, dqt, shift, inner,
          mask, kept, s, ds, dropped, m, sink):
    """Weights and d scores of `most` keys for two panels side by side; d scores go into dQ^T, too.

    dV and dK then run over 64 queries: over 32, loading and storing their tiles took a fifth.

    Returns:
        False where all of it is hidden.
    """
    wide, width = np.int64(WIDTH), WIDTH // size_of(kind)
    apart, shown = 2 * wide, False
    for i in range(pair, min(pair + 2, (p[LENGTH] + width - 1) // width)):
        query = i * width
        queries = min(width, p[LENGTH] - query)
        n = visible(p, query, queries, first, count)
        side = (i - pair) * wide
        if n <= 0 or not scores(kind, p, k_rows, n, qt + i * p[E] * wide, s + side, apart, query,
                                 queries, first, mask, m):
            n = 0
        for k in range(max(n, 0), most):
            for x in (s, ds, dropped):
                fill(kind, x + side + k * apart, width, kind(0))
        if n == 0:
            continue
        shown = True
        panel_exp(kind, s + side, apart, n, shift + i * wide, sink)
        if p[KEEP]:
            call(p[CODES + 2], (kept + query * p[KEPT + STEP] + first * size_of(kind),
                                p[KEPT + STEP], queries, n, m, WIDTH, width))
            panel_times(kind, s + side, apart, n, m, dropped + side)
        if p[NEED_Q] or p[NEED_K]:
            call(p[CODES], (v_rows, n, p[EV], gt + i * p[EV] * wide, WIDTH, ds + side, apart,
                            width, 0))
            if p[KEEP]:
                panel_times(kind, ds + side, apart, n, m, ds + side)
            panel_gradient(kind, s + side, ds + side, apart, n, inner + i * wide)
        if p[NEED_Q]:
            call(p[CODES + 1], (kc, k_step, p[E], n, ds + side, apart, dqt + i * p[E] * wide, 1))
    return shown


@jit
def backward(kind, place, part, parts):
    """Groups of heads that share keys, or pieces of their keys, as long as there are some left.

    For each block of keys and each panel of queries: scores and weights again, dV += weights dO,
    d weights = V dO^T, d scores = weights (d weights - inner), dK += d scores Q, and
    dQ^T += K^T d scores. dK and dV of a block and dQ^T of a head gather in scratch.
    """
    size, width, wide = size_of(kind), WIDTH // size_of(kind), np.int64(WIDTH)
    p = numbers(np.int64, place, COUNT)
    scale = kind(numbers(np.float64, place + 8 * SCALE, 1)[0])
    length, keys, e, ev = p[LENGTH], p[KEYS], p[E], p[EV]
    groups, members = p[OWN] * p[OWN + 1] * p[OWN + 2], p[GROUP] * p[GROUP + 1] * p[GROUP + 2]
    panels = (length + width - 1) // width
    ep, evp = (e + width - 1) // width * width, (ev + width - 1) // width * width
    owner = np.empty(LINE + wide * (7 * BLOCK + panels * (2 * e + ev + 2) + 1)
                     + size * (BLOCK * (e + ev + ep + evp) + length * (ep + evp)), np.uint8)
    s = (address(owner) + LINE - 1) // LINE * LINE
    pair = 2 * wide                    # rows of scores, weights and their gradients
    ds, dropped, m = s + BLOCK * pair, s + 2 * BLOCK * pair, s + 3 * BLOCK * pair
    qt = m + BLOCK * wide
    gt = qt + panels * e * wide
    dqt = gt + panels * ev * wide
    inner = dqt + panels * e * wide
    shift = inner + panels * wide
    sink = shift + panels * wide
    kb = sink + wide
    vb = kb + BLOCK * e * size
    dk = vb + BLOCK * ev * size
    dv = dk + BLOCK * ep * size
    qb = dv + BLOCK * evp * size
    gb = qb + length * ep * size
    tables = np.empty(5 * BLOCK, np.int64)
    k_rows, v_rows = tables[:BLOCK], tables[BLOCK:2 * BLOCK]
    s_rows, ds_rows = tables[2 * BLOCK:3 * BLOCK], tables[3 * BLOCK:4 * BLOCK]
    w_rows = tables[4 * BLOCK:]
    list_rows(s_rows, s, pair, BLOCK)
    list_rows(ds_rows, ds, pair, BLOCK)
    list_rows(w_rows, dropped, pair, BLOCK)
    weights = address(w_rows if p[KEEP] else s_rows)
    cuts = (keys + BLOCK - 1) // BLOCK
    pieces = p[PIECES]
    for t in range(groups * pieces * part // parts, groups * pieces * (part + 1) // parts):
        own, piece = t // pieces, t % pieces
        for member in range(members):
            at = index_of(p, own, member)
            q, k, v = matrix(p, Q, at), matrix(p, K, at), matrix(p, V, at)
            mask, kept = matrix(p, M, at), matrix(p, KEPT, at)
            g = matrix(p, G, at)
            _inner(kind, p, g, matrix(p, Y, at), matrix(p, LSE, at), inner, shift)
            turn_queries(kind, p, q, p[Q + STEP], e, qt)
            multiply(kind, qt, panels * e * width, scale)
            turn_queries(kind, p, g, p[G + STEP], ev, gt)
            fill(kind, dqt, panels * e * width, kind(0))
            q_step, g_step = p[Q + STEP], p[G + STEP]
            if e % width or q_step % 1024 == 0:
                copy_rows(kind, q, q_step, length, e, qb, ep)
                q, q_step = qb, ep * size
            if ev % width or g_step % 1024 == 0:
                copy_rows(kind, g, g_step, length, ev, gb, evp)
                g, g_step = gb, evp * size
            for cut in range(cuts * piece // pieces, cuts * (piece + 1) // pieces):
                first = keys * cut // cuts
                count = keys * (cut + 1) // cuts - first
                kc, k_step, vc, v_step = rows_of_block(kind, p, k, v, first, count, kb, vb)
                list_rows(k_rows, kc, k_step, count)
                list_rows(v_rows, vc, v_step, count)
                add = np.int64(p[CAUSAL] != 0)        # there the first panel leaves rows out
                fill(kind, dk, BLOCK * (ep + evp) * add, kind(0))
                begin = max(0, first - p[OFFSET]) // width if p[CAUSAL] else 0
                for i in range(begin, panels, 2):
                    queries = min(2 * width, length - i * width)
                    n = visible(p, i * width, queries, first, count)
                    if n <= 0 or not _pair(kind, p, i, n, first, count, address(k_rows),
                                           address(v_rows), kc, k_step, qt, gt, dqt, shift, inner,
                                           mask, kept, s, ds, dropped, m, sink):
                        continue
                    if p[NEED_V]:
                        call(p[CODES], (weights, n, queries, g + i * width * g_step, g_step, dv,
                                        evp * size, ev, add))
                    if p[NEED_K]:
                        call(p[CODES], (address(ds_rows), n, queries, q + i * width * q_step,
                                        q_step, dk, ep * size, e, add))
                    add = 1
                if add == 0:
                    fill(kind, dk, BLOCK * (ep + evp), kind(0))       # all of it was hidden
                if p[NEED_K]:
                    step = p[GK + STEP]
                    _put_rows(kind, dk, ep, count, e, matrix(p, GK, at) + first * step, step,
                              scale, member > 0)
                if p[NEED_V]:
                    step = p[GV + STEP]
                    _put_rows(kind, dv, evp, count, ev, matrix(p, GV, at) + first * step, step,
                              kind(1), member > 0)
            if p[NEED_Q]:
                multiply(kind, dqt, panels * e * width, scale)
                gq, step = matrix(p, GQ, at) + piece * p[PIECE_BYTES], p[GQ + STEP]
                for i in range(panels):
                    call(p[CODES + 2], (dqt + i * e * wide, WIDTH, e,
                                        min(width, length - i * width), gq + i * width * step,
                                        step, 0))
    owner[0] = tables[0] = 0     # they live until here
