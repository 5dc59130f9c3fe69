"""Attention forward on the register tile, a block of queries and keys at a time."""

from __future__ import annotations

import numpy as np

from .attention_parts import (
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
    list_rows,
    matrix,
    multiply,
    numbers,
    rows_of_block,
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
    row_dot,
)
from .tile import address
from .vecmath import log

__all__ = ["few", "forward"]


@jit
def _raise_top(kind, s, keys, top, shift, old, total, sink, ot, rows, begun):
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
        panel_scale(kind, ot, WIDTH, rows, old)


@jit
def _finish(kind, p, top, total, lse, queries, ot, y, begun):
    """Divide by the sums, write the rows of the output and their log of the sum."""
    rows = p[EV]
    width = WIDTH // size_of(kind)
    tops, totals = numbers(kind, top, width), numbers(kind, total, width)
    out = numbers(kind, lse, queries)
    for j in range(queries):
        out[j] = log(totals[j]) + tops[j] if totals[j] != 0 else kind(0)
    for j in range(width):
        totals[j] = kind(1) / totals[j] if totals[j] != 0 else kind(0)
    if not begun:
        fill(kind, ot, rows * width, kind(0))
    panel_scale(kind, ot, WIDTH, rows, total)
    call(p[CODES + 2], (ot, WIDTH, rows, queries, y, p[Y + STEP], 0))


@jit
def forward(kind, place, part, parts):
    """Blocks of queries, one after the other: part `part` of `parts` of them.

    For each block of keys and each panel of the block: scores = K Q^T, their exponentials below
    the largest so far, and output^T += V^T weights. The output is divided and turned at the end.
    """
    size, width, wide = size_of(kind), WIDTH // size_of(kind), np.int64(WIDTH)
    p = numbers(np.int64, place, COUNT)
    scale = kind(numbers(np.float64, place + 8 * SCALE, 1)[0])
    length, keys, e, ev = p[LENGTH], p[KEYS], p[E], p[EV]
    groups, members = p[OWN] * p[OWN + 1] * p[OWN + 2], p[GROUP] * p[GROUP + 1] * p[GROUP + 2]
    span = PANELS * width
    blocks = (length + span - 1) // span
    owner = np.empty(wide * (2 * BLOCK + PANELS * (e + ev + 2) + 3) + LINE
                     + BLOCK * (e + ev) * size + wide, np.uint8)
    s = (address(owner) + LINE - 1) // LINE * LINE
    m, shift = s + BLOCK * wide, s + 2 * BLOCK * wide
    old, sink, qt = shift + wide, shift + 2 * wide, shift + 3 * wide
    ot = qt + PANELS * e * wide
    tops, totals = ot + PANELS * ev * wide, ot + PANELS * (ev + 1) * wide
    kb = totals + PANELS * wide
    vb = kb + BLOCK * e * size
    table = np.empty(BLOCK, np.int64)
    begun = np.zeros(PANELS, np.int64)
    cuts = (keys + BLOCK - 1) // BLOCK
    tasks = groups * members * blocks
    for t in range(tasks * part // parts, tasks * (part + 1) // parts):
        at = index_of(p, t // blocks // members, t // blocks % members)
        # Parts are taken from both ends: the long blocks of a triangle first from either.
        late = 2 * (t // blocks) >= groups * members
        block = t % blocks if late else blocks - 1 - t % blocks
        start = block * span
        q, k, v = matrix(p, Q, at), matrix(p, K, at), matrix(p, V, at)
        mask, kept = matrix(p, M, at), matrix(p, KEPT, at)
        stop = min(length, start + span)
        for query in range(start, stop, width):
            qi = qt + (query - start) * size * e
            call(p[CODES + 2], (q + query * p[Q + STEP], p[Q + STEP], min(width, length - query),
                                e, qi, WIDTH, width))
        multiply(kind, qt, (stop - start + width - 1) // width * e * width, scale)
        fill(kind, tops, span, kind(-np.inf))
        fill(kind, totals, span, kind(0))
        fill(np.int64, address(begun), PANELS, 0)
        for cut in range(cuts):
            first = keys * cut // cuts
            count = keys * (cut + 1) // cuts - first
            kc, k_step, vc, v_step = rows_of_block(kind, p, k, v, first, count, kb, vb)
            list_rows(table, kc, k_step, count)
            for i in range((stop - start + width - 1) // width):
                query = start + i * width
                queries = min(width, length - query)
                n = visible(p, query, queries, first, count)
                if n <= 0:
                    continue
                total, out = totals + i * wide, ot + i * ev * wide
                if not scores(kind, p, address(table), n, qt + i * e * wide, s, wide, query,
                               queries, first, mask, m):
                    continue
                _raise_top(kind, s, n, tops + i * wide, shift, old, total, sink, out, ev, begun[i])
                panel_exp(kind, s, wide, n, shift, total)
                if p[KEEP]:
                    call(p[CODES + 2], (kept + query * p[KEPT + STEP] + first * size,
                                        p[KEPT + STEP], queries, n, m, WIDTH, width))
                    panel_times(kind, s, wide, n, m, s)
                call(p[CODES + 1], (vc, v_step, ev, n, s, wide, out, begun[i]))
                begun[i] = 1
        lse, y = matrix(p, LSE, at), matrix(p, Y, at)
        for i in range((stop - start + width - 1) // width):
            query = start + i * width
            _finish(kind, p, tops + i * wide, totals + i * wide, lse + query * size,
                    min(width, length - query), ot + i * ev * wide, y + query * p[Y + STEP],
                    begun[i])
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
        part, top = numbers(kind, shift, width), kind(-np.inf)
        for j in range(width):
            top = max(top, part[j])
        top = top if top > -np.inf else kind(0)
        fill(kind, shift, width, top)
        fill(kind, total, width, kind(0))
        panel_exp(kind, address(s), wide, rows, shift, total)
        part, whole = numbers(kind, total, width), kind(0)
        for j in range(width):
            whole += part[j]
        numbers(kind, matrix(p, LSE, at) + i * size, 1)[0] = (
            log(whole) + top if whole != 0 else kind(0))
        factor = kind(1) / whole if whole != 0 else kind(0)
        for j in range(n):
            s[j] *= factor
        if p[KEEP]:
            kept = numbers(kind, matrix(p, KEPT, at) + i * p[KEPT + STEP], n)
            for j in range(n):
                s[j] *= kept[j]
        numbers(np.int64, shift, 1)[0] = address(s)
        call(p[CODES], (shift, 1, n, v, p[V + STEP], y, 0, ev, 0))
    owner[0] = 0        # it lives until here
