"""Attention backward on the register tile: scores and weights again, block by block."""

from __future__ import annotations

import numpy as np

from .attention_parts import (
    ALL,
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
    matrix,
    multiply,
    numbers,
    scores,
    visible,
)
from .base import jit
from .launch import call, size_of
from .panel import (
    WIDTH,
    panel_exp,
    panel_gradient,
    panel_inner,
    panel_times,
    panel_zero,
)
from .panel_rows import row_dot
from .tile import ROWS, address

__all__ = ["backward"]


@jit
def _queries(kind, p, x, step, columns, rows, padded, panels):
    """Copy the rows of all queries of a head to `rows`, and turn them into panels."""
    length, size, width = p[LENGTH], size_of(kind), WIDTH // size_of(kind)
    copy_rows(kind, x, step, length, columns, rows, padded)
    for i in range(0, length, width):
        call(p[CODES + 2], (rows + i * padded * size, padded * size, min(width, length - i),
                            columns, panels + i * columns * size, WIDTH, width))


@jit
def _shifts(kind, p, lse, shift):
    """The log of each query's sum, which panels subtract."""
    length, width = p[LENGTH], WIDTH // size_of(kind)
    given, logs = numbers(kind, lse, length), numbers(kind, shift, length + width)
    for i in range(length):
        logs[i] = given[i]
    for i in range(length, (length + width - 1) // width * width):
        logs[i] = 0


@jit
def _inner(kind, p, g, y, inner):
    """Per query the sum of g * y over the row, which is that of weights times d weights."""
    sums = numbers(kind, inner, p[LENGTH])
    for i in range(p[LENGTH]):
        sums[i] = row_dot(kind, g + i * p[G + STEP], y + i * p[Y + STEP], p[EV])


@jit
def _panel(kind, p, i, side, first, count, kb, k_step, vb, qt, gt, gq, shift, inner, mask, kept,
           s, ds, dropped, m, sink, scale, add, table):
    """Weights and d scores of one panel of queries, beside another; and what dQ gets from them.

    Below the keys that the last query sees, products read up to a tile of zeros.

    Returns:
        Whether there are any; then the panel is zero.
    """
    wide, width, size = np.int64(WIDTH), WIDTH // size_of(kind), size_of(kind)
    apart, query, e, ev = 2 * wide, i * width, p[E], p[EV]
    queries = min(width, p[LENGTH] - query)
    n, at = max(visible(p, query, queries, first, count), 0), i * wide
    s, ds, dropped = s + side, ds + side, dropped + side
    if n and not scores(kind, p, kb, k_step, n, qt + at * e, s, apart, query, queries, first, mask,
                        m, table):
        n = 0
    more = min(ROWS, count - n) if n else count
    panel_zero(kind, s + n * apart, apart, more)
    panel_zero(kind, ds + n * apart, apart, more)
    if p[KEEP]:
        panel_zero(kind, dropped + n * apart, apart, more)
    if n == 0:
        return False
    panel_exp(kind, s, apart, n, shift + at, sink)
    if p[KEEP]:
        call(p[CODES + 2], (kept + query * p[KEPT + STEP] + first * size, p[KEPT + STEP], queries,
                            n, m, WIDTH, width))
        panel_times(kind, s, apart, n, m, dropped)
    if p[NEED_Q] or p[NEED_K]:
        call(p[CODES], (vb, ev * size, n, ev, gt + at * ev, WIDTH, ds, apart, width, 0, ALL, table))
        if p[KEEP]:
            panel_times(kind, ds, apart, n, m, ds)
        if p[KEYS] <= BLOCK:
            panel_inner(kind, s, ds, apart, n, inner + at)
        panel_gradient(kind, s, ds, apart, n, inner + at, scale)
    if p[NEED_Q]:
        seen = query + p[OFFSET] - first if p[CAUSAL] else n
        call(p[CODES + 1], (ds, apart, queries, n, kb, k_step, gq + query * p[GQ + STEP],
                            p[GQ + STEP], e, add, seen))
    return True


@jit
def backward(kind, place, part, parts):
    """Groups of heads that share keys, or pieces of their keys: part `part` of `parts` of them.

    For each block of keys and each two panels of queries: scores and weights again,
    d weights = V dO^T, d scores = weights (d weights - inner), dQ += d scores^T K,
    dV += weights dO, and dK += d scores Q; the weights of a panel lie transposed. Of a triangle,
    the last three leave out what is zero to within a tile.
    """
    size, width, wide = size_of(kind), WIDTH // size_of(kind), np.int64(WIDTH)
    p = numbers(np.int64, place, COUNT)
    scale = kind(numbers(np.float64, place + 8 * SCALE, 1)[0])
    length, keys, e, ev = p[LENGTH], p[KEYS], p[E], p[EV]
    groups, members = p[OWN] * p[OWN + 1] * p[OWN + 2], p[GROUP] * p[GROUP + 1] * p[GROUP + 2]
    panels = (length + width - 1) // width
    ep, evp = (e + width - 1) // width * width, (ev + width - 1) // width * width
    owner = np.empty(2 * LINE + wide * (7 * BLOCK + panels * (e + ev + 2) + 3)
                     + size * (BLOCK * (ep + ev) + length * (ep + evp)), np.uint8)
    s = (address(owner) + LINE - 1) // LINE * LINE
    pair = 2 * wide                    # rows of scores, weights and their gradients
    ds, dropped, m = s + BLOCK * pair, s + 2 * BLOCK * pair, s + 3 * BLOCK * pair
    kb = m + BLOCK * wide
    qb = kb + BLOCK * ep * size
    gb = qb + length * ep * size
    vb = gb + length * evp * size
    qt = (vb + BLOCK * ev * size + wide + LINE - 1) // LINE * LINE
    gt = qt + panels * e * wide
    inner = gt + panels * ev * wide
    shift = inner + panels * wide
    sink = shift + panels * wide
    begun, table = np.zeros(panels, np.int64), np.empty(ROWS, np.int64)
    weights, tiles = dropped if p[KEEP] else s, address(table)
    cuts, pieces = (keys + BLOCK - 1) // BLOCK, p[PIECES]
    for t in range(groups * pieces * part // parts, groups * pieces * (part + 1) // parts):
        own, piece = t // pieces, t % pieces
        for member in range(members):
            at = index_of(p, own, member)
            k, v, g, mask = matrix(p, K, at), matrix(p, V, at), matrix(p, G, at), matrix(p, M, at)
            kept = matrix(p, KEPT, at)
            gq, gq_step = matrix(p, GQ, at) + piece * p[PIECE_BYTES], p[GQ + STEP]
            _queries(kind, p, matrix(p, Q, at), p[Q + STEP], e, qb, ep, qt)
            multiply(kind, qt, panels * e * width, scale)
            _queries(kind, p, g, p[G + STEP], ev, gb, evp, gt)
            _shifts(kind, p, matrix(p, LSE, at), shift)
            if cuts > 1:
                _inner(kind, p, g, matrix(p, Y, at), inner)
            fill(np.int64, address(begun), panels, 0)
            for cut in range(cuts * piece // pieces, cuts * (piece + 1) // pieces):
                first = keys * cut // cuts
                count = keys * (cut + 1) // cuts - first
                copy_rows(kind, k + first * p[K + STEP], p[K + STEP], count, e, kb, ep)
                copy_rows(kind, v + first * p[V + STEP], p[V + STEP], count, ev, vb, ev)
                gk, gk_step = matrix(p, GK, at) + first * p[GK + STEP], p[GK + STEP]
                gv, gv_step = matrix(p, GV, at) + first * p[GV + STEP], p[GV + STEP]
                add = np.int64(member > 0)
                begin = max(0, first - p[OFFSET]) // width if p[CAUSAL] else 0
                for i in range(begin, panels, 2):
                    shown = False
                    for j in range(i, min(i + 2, panels)):
                        if _panel(kind, p, j, (j - i) * wide, first, count, kb, ep * size, vb, qt,
                                  gt, gq, shift, inner, mask, kept, s, ds, dropped, m, sink, scale,
                                  begun[j], tiles):
                            shown, begun[j] = True, 1
                    if not shown:
                        continue
                    queries = min(2 * width, length - i * width)
                    n = visible(p, i * width, queries, first, count) if add else count
                    hidden = first - p[OFFSET] - i * width if p[CAUSAL] else ALL
                    if p[NEED_V]:
                        call(p[CODES], (weights, pair, n, queries, gb + i * width * evp * size,
                                        evp * size, gv, gv_step, ev, add, hidden, tiles))
                    if p[NEED_K]:
                        call(p[CODES], (ds, pair, n, queries, qb + i * width * ep * size,
                                        ep * size, gk, gk_step, e, add, hidden, tiles))
                    add = 1
                if add == 0 and p[NEED_V]:             # all of it is hidden: sums of none
                    call(p[CODES], (s, pair, count, 0, gb, 0, gv, gv_step, ev, 0, ALL, tiles))
                if add == 0 and p[NEED_K]:
                    call(p[CODES], (s, pair, count, 0, qb, 0, gk, gk_step, e, 0, ALL, tiles))
            for i in range(panels):
                if p[NEED_Q] and not begun[i]:
                    call(p[CODES + 1], (s, pair, min(width, length - i * width), 0, kb, 0,
                                        gq + i * width * gq_step, gq_step, e, 0, 0))
    owner[0] = table[0] = 0     # they live until here
