"""Attention forward on the register tile, a block of queries and keys at a time."""

from __future__ import annotations

import numpy as np

from .attention_parts import (
    ALL,
    BLOCK,
    BOOLEAN,
    CAUSAL,
    CODES,
    COUNT,
    EV,
    GROUP,
    KEEP,
    KEPT,
    KEYS,
    LENGTH,
    LINE,
    LSE,
    MASK,
    OFFSET,
    OWN,
    PANELS,
    SCALE,
    STEP,
    E,
    K,
    M,
    Q,
    V,
    Y,
    fill,
    index_of,
    matrix,
    multiply,
    numbers,
    rows_at_hand,
    scores,
    visible,
)
from .base import jit
from .launch import call, size_of
from .panel import (
    WIDTH,
    panel_exp,
    panel_max,
    panel_scale,
    panel_times,
)
from .panel_rows import row_dot, rows_scale
from .tile import ROWS, VECTOR_BYTES, address
from .vecmath import log

__all__ = ["few", "forward"]


@jit
def _raise_top(kind, s, keys, top, shift, old, total, sink, out, step, queries, ev, begun):
    """Take the maximum over new keys into `top`, and bring earlier sums to the new scale."""
    width = WIDTH // size_of(kind)
    tops, olds = numbers(kind, top, width), numbers(kind, old, width)
    shifts = numbers(kind, shift, width)
    low = kind(-np.inf)
    for j in range(width):
        olds[j] = tops[j]
    panel_max(kind, s, WIDTH, keys, top)
    for j in range(width):
        shifts[j] = tops[j] if tops[j] != low else kind(0)
    if begun:
        panel_exp(kind, old, WIDTH, 1, shift, sink)
        panel_scale(kind, total, WIDTH, 1, old)
        rows_scale(kind, out, step, out, step, queries, ev, old)


@jit
def _finish(kind, top, total, lse, queries):
    """Write the log of each query's sum, and turn the sums into what weights are multiplied by."""
    width = WIDTH // size_of(kind)
    tops, totals = numbers(kind, top, width), numbers(kind, total, width)
    out = numbers(kind, lse, queries)
    for j in range(queries):
        out[j] = log(totals[j]) + tops[j] if totals[j] != 0 else kind(0)
    for j in range(width):
        totals[j] = kind(1) / totals[j] if totals[j] != 0 else kind(0)


@jit
def forward(kind, place, part, parts):
    """Blocks of queries, one after the other: part `part` of `parts` of them.

    For each block of keys and each panel of the block: scores = K Q^T, their exponentials below
    the largest so far, and output += weights^T V. Where there is one block of keys, weights are
    divided by their sum before; else the output gathers in scratch and is divided at the end.
    """
    size, width, wide = size_of(kind), WIDTH // size_of(kind), np.int64(WIDTH)
    p = numbers(np.int64, place, COUNT)
    scale = kind(numbers(np.float64, place + 8 * SCALE, 1)[0])
    length, keys, e, ev = p[LENGTH], p[KEYS], p[E], p[EV]
    groups, members = p[OWN] * p[OWN + 1] * p[OWN + 2], p[GROUP] * p[GROUP + 1] * p[GROUP + 2]
    span, lanes = PANELS * width, VECTOR_BYTES // size
    blocks, evp = (length + span - 1) // span, (ev + width - 1) // width * width
    owner = np.empty(LINE + wide * (2 * BLOCK + PANELS * (e + 2) + 4)
                     + size * (span * ev + BLOCK * (e + evp)), np.uint8)
    s = (address(owner) + LINE - 1) // LINE * LINE
    m, shift = s + BLOCK * wide, s + 2 * BLOCK * wide
    old, sink, qt = shift + wide, shift + 2 * wide, shift + 3 * wide
    tops = qt + PANELS * e * wide
    totals = tops + PANELS * wide
    vb = totals + PANELS * wide
    kb = vb + BLOCK * evp * size
    sums = kb + BLOCK * e * size + wide
    begun, table = np.zeros(PANELS, np.int64), np.empty(ROWS, np.int64)
    cuts = (keys + BLOCK - 1) // BLOCK
    tasks = groups * members * blocks
    for t in range(tasks * part // parts, tasks * (part + 1) // parts):
        at = index_of(p, t // blocks // members, t // blocks % members)
        # Parts are taken from both ends: the long blocks of a triangle first from either.
        late = 2 * (t // blocks) >= groups * members
        start = (t % blocks if late else blocks - 1 - t % blocks) * span
        q, k, v = matrix(p, Q, at), matrix(p, K, at), matrix(p, V, at)
        mask, kept = matrix(p, M, at), matrix(p, KEPT, at)
        lse, y, y_step = matrix(p, LSE, at), matrix(p, Y, at), p[Y + STEP]
        out, step = (y + start * y_step, y_step) if cuts == 1 else (sums, ev * size)
        stop = min(length, start + span)
        panels = (stop - start + width - 1) // width
        for query in range(start, stop, width):
            call(p[CODES + 2], (q + query * p[Q + STEP], p[Q + STEP], min(width, length - query),
                                e, qt + (query - start) * size * e, WIDTH, width))
        multiply(kind, qt, panels * e * width, scale)
        fill(kind, tops, span, kind(-np.inf))
        fill(kind, totals, span, kind(0))
        fill(np.int64, address(begun), PANELS, 0)
        for cut in range(cuts):
            first = keys * cut // cuts
            count = visible(p, start, stop - start, first, keys * (cut + 1) // cuts - first)
            if count <= 0:
                break
            kc, k_step = rows_at_hand(kind, k + first * p[K + STEP], p[K + STEP], count, e, 1,
                                      kb, e)
            vc, v_step = rows_at_hand(kind, v + first * p[V + STEP], p[V + STEP], count, ev, lanes,
                                      vb, evp)
            for i in range(panels):
                query = start + i * width
                queries = min(width, length - query)
                n = visible(p, query, queries, first, count)
                top, total, at_out = tops + i * wide, totals + i * wide, out + i * width * step
                if n <= 0 or not scores(kind, p, kc, k_step, n, qt + i * e * wide, s, wide,
                                        query, queries, first, mask, m, address(table)):
                    continue
                _raise_top(kind, s, n, top, shift, old, total, sink, at_out, step, queries, ev,
                           begun[i])
                panel_exp(kind, s, wide, n, shift, total)
                if cuts == 1:
                    _finish(kind, top, total, lse + query * size, queries)
                    panel_scale(kind, s, wide, n, total)
                if p[KEEP]:
                    call(p[CODES + 2], (kept + query * p[KEPT + STEP] + first * size,
                                        p[KEPT + STEP], queries, n, m, WIDTH, width))
                    panel_times(kind, s, wide, n, m, s)
                seen = query + p[OFFSET] - first if p[CAUSAL] else n
                call(p[CODES + 1], (s, wide, queries, n, vc, v_step, at_out, step, ev, begun[i],
                                    seen))
                begun[i] = 1
        for i in range(panels):
            query = start + i * width
            queries, total, rows = min(width, length - query), totals + i * wide, y + query * y_step
            if cuts > 1 or not begun[i]:
                _finish(kind, tops + i * wide, total, lse + query * size, queries)
            if not begun[i]:                         # nobody sees a key: sums of none
                call(p[CODES + 1], (s, wide, queries, 0, vb, evp * size, rows, y_step, ev, 0, 0))
            elif cuts > 1:
                rows_scale(kind, rows, y_step, sums + i * width * step, step, queries, ev, total)
    owner[0] = table[0] = 0     # they live until here: Numba frees an array after its last use


@jit
def _few_scores(kind, p, q, k, mask, keys, s, scale):
    """The scores of one query."""
    for j in range(keys):
        s[j] = row_dot(kind, q, k + j * p[K + STEP], p[E]) * scale
    if p[MASK] == BOOLEAN:
        seen = numbers(np.uint8, mask, keys)
        for j in range(keys):
            s[j] = s[j] if seen[j] else kind(-np.inf)
    elif p[MASK]:
        more = numbers(kind, mask, keys)
        for j in range(keys):
            s[j] += more[j]


@jit
def _few_columns(kind, s, n, v, step, y, columns):
    """y = s V for fewer columns than a vector has lanes."""
    out = numbers(kind, y, columns)
    out[:] = 0
    for r in range(n):
        row = numbers(kind, v + r * step, columns)
        for j in range(columns):
            out[j] += s[r] * row[j]


@jit
def few(kind, place, part, parts):
    """Single queries, one after the other, part `part` of `parts` of them: decoding.

    A panel would be empty but for a few columns: scores are one row here, each a product of two
    rows, and the output is a sum of rows of V.
    """
    size, width, wide = size_of(kind), WIDTH // size_of(kind), np.int64(WIDTH)
    p = numbers(np.int64, place, COUNT)
    scale = kind(numbers(np.float64, place + 8 * SCALE, 1)[0])
    length, keys, ev = p[LENGTH], p[KEYS], p[EV]
    groups, members = p[OWN] * p[OWN + 1] * p[OWN + 2], p[GROUP] * p[GROUP + 1] * p[GROUP + 2]
    owner = np.empty((keys // width + 3) * wide + LINE, np.uint8)
    shift = (address(owner) + LINE - 1) // LINE * LINE
    total = shift + wide
    s = numbers(kind, total + wide, (keys // width + 1) * width)
    table = np.empty(ROWS, np.int64)
    tasks = groups * members * length
    for t in range(tasks * part // parts, tasks * (part + 1) // parts):
        at, i = index_of(p, t // length // members, t // length % members), t % length
        k, v = matrix(p, K, at), matrix(p, V, at)
        y = matrix(p, Y, at) + i * p[Y + STEP]
        n = max(0, min(keys, i + p[OFFSET] + 1)) if p[CAUSAL] else keys
        _few_scores(kind, p, matrix(p, Q, at) + i * p[Q + STEP], k,
                    matrix(p, M, at) + i * p[M + STEP], n, s, scale)
        rows = (n + width - 1) // width
        for j in range(n, rows * width):
            s[j] = -np.inf
        fill(kind, shift, width, kind(-np.inf))
        panel_max(kind, address(s), wide, rows, shift)
        lanes, top = numbers(kind, shift, width), kind(-np.inf)
        for j in range(width):
            top = max(top, lanes[j])
        top = top if top > -np.inf else kind(0)
        fill(kind, shift, width, top)
        fill(kind, total, width, kind(0))
        panel_exp(kind, address(s), wide, rows, shift, total)
        lanes, whole = numbers(kind, total, width), kind(0)
        for j in range(width):
            whole += lanes[j]
        numbers(kind, matrix(p, LSE, at) + i * size, 1)[0] = (
            log(whole) + top if whole != 0 else kind(0))
        factor = kind(1) / whole if whole != 0 else kind(0)
        for j in range(n):
            s[j] *= factor
        if p[KEEP]:
            kept = numbers(kind, matrix(p, KEPT, at) + i * p[KEPT + STEP], n)
            for j in range(n):
                s[j] *= kept[j]
        even = ev * size // VECTOR_BYTES * VECTOR_BYTES // size     # tiles read whole vectors
        call(p[CODES], (address(s), 0, 1, n, v, p[V + STEP], y, 0, even, 0, ALL, address(table)))
        if even < ev:
            _few_columns(kind, s, n, v + even * size, p[V + STEP], y + even * size, ev - even)
    owner[0] = table[0] = 0        # they live until here
