"""Attention on the register tile, forward and backward, a block of queries and keys at a time.

The scores of a block lie transposed, in panels: one row per key, one column per query (see
`panel`). So K and V are read where they lie, whatever the distance of their rows: only the queries
of a block, and the output, are turned, which is little. Nothing of size L x S exists.

Calls get one array of int64 that says where everything is, because 4-D arrays as arguments would
mean one compilation per combination of layouts, and several microseconds per call to look at them.
"""

from __future__ import annotations

import numpy as np
from numba import carray, types
from numba.extending import intrinsic

from .base import inline, jit
from .launch import call, entry, launch, size_of
from .panel import (
    CLEAR,
    HIDDEN,
    WIDTH,
    next_part,
    panel_add,
    panel_add_keys,
    panel_causal,
    panel_exp,
    panel_gradient,
    panel_hide,
    panel_hide_keys,
    panel_max,
    panel_scale,
    panel_times,
    row_add,
    row_dot,
    row_of_bytes,
    row_of_numbers,
    row_put,
    transpose_block,
    transpose_bytes,
)
from .tile import ROWS, VECTOR_BYTES, address, columns_tile, copy_row, rows_tile
from .vecmath import log

__all__ = ["BLOCK", "codes", "launch"]

# Places in the array that describes a call (kernels/cpu/attention.py fills it). From Q on there are
# five numbers per array: address, three strides of leading axes, distance of rows; all in bytes.
LENGTH, KEYS, E, EV, CAUSAL, OFFSET, MASK, KEEP, OWN, GROUP = 0, 1, 2, 3, 4, 5, 6, 7, 8, 11
PIECES, PIECE_BYTES, NEED_Q, NEED_K, NEED_V, SCALE, NEXT, CODES = 14, 15, 16, 17, 18, 19, 20, 21
Q, K, V, M, KEPT, Y, LSE, G, GQ, GK, GV = range(25, 25 + 5 * 11, 5)
COUNT = GV + 5
STEP = 4
BOOLEAN, ADDED = 1, 2

BLOCK = 64       # keys worked on at a time: weights and d scores of 64 queries fill 32 KB of L1
PANELS = 4       # panels of queries that share a block of keys while it is in L1 and L2
LINE = 64


@intrinsic
def _pointer(typingctx, dtype, place):
    kind = types.CPointer(dtype.dtype)

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[1], context.get_value_type(kind))
    return kind(dtype, types.int64), codegen


@inline
def _at(kind, place, n):
    """The n numbers at an address."""
    return carray(_pointer(kind, place), (n,))


@jit
def _fill(kind, place, n, value):
    x = _at(kind, place, n)
    for i in range(n):
        x[i] = value


@jit
def _scale(kind, place, n, factor):
    x = _at(kind, place, n)
    for i in range(n):
        x[i] *= factor


# -- products and turns: compiled once, called by address ------------------------------------------


@inline
def _even(rows):
    """`rows` rows in as few tiles as possible: rows of each, and how many have one more."""
    rows = np.uint64(rows)
    count = (rows + np.uint64(ROWS - 1)) // np.uint64(ROWS)
    low = rows // max(count, np.uint64(1))
    return np.int64(low), np.int64(rows - low * count)


@jit
def _rows_product(kind, table, rows, deep, b, ldb, c, ldc, n, add):
    """C (+)= A B for `rows` rows of A at the addresses in `table`, and n columns."""
    low, more = _even(rows)
    width = WIDTH // size_of(kind)
    for j in range(0, n, width):
        left, i = more, 0
        while i < rows:
            m = low + (left > 0)
            rows_tile(kind, m, table + 8 * i, deep, b + j * size_of(kind), ldb,
                      c + i * ldc + j * size_of(kind), ldc, min(width, n - j), add)
            i += m
            left -= 1


@jit
def _columns_product(kind, a, lda, rows, deep, b, ldb, c, add):
    """The panel C (+)= A^T B for A with `rows` columns and a panel B with `deep` rows."""
    low, left = _even(rows)
    i = 0
    while i < rows:
        m = low + (left > 0)
        columns_tile(kind, m, a + i * size_of(kind), lda, deep, b, ldb, c + i * WIDTH,
                     np.int64(WIDTH), WIDTH // size_of(kind), add)
        i += m
        left -= 1


@jit
def _turn(kind, x, step, rows, columns, y, ystep, filled):
    """y[j, i] = x[i, j]; lanes of y from `rows` to `filled` become 0."""
    lanes = VECTOR_BYTES // size_of(kind)
    for i in range(0, max(rows, filled), lanes):
        for j in range(0, columns, lanes):
            transpose_block(kind, x + i * step + j * size_of(kind), step, rows - i, columns - j,
                            y + j * ystep + i * size_of(kind), ystep, max(rows, filled) - i)


@jit
def _turn_bytes(kind, x, step, rows, columns, y, ystep, filled):
    """The same for the bytes of a boolean mask, as numbers."""
    lanes = VECTOR_BYTES // size_of(kind)
    for i in range(0, max(rows, filled), lanes):
        for j in range(0, columns, lanes):
            transpose_bytes(kind, x + i * step + j, step, rows - i, columns - j,
                            y + j * ystep + i * size_of(kind), ystep, max(rows, filled) - i)


# -- what forward and backward share ---------------------------------------------------------------


@inline
def _index(p, own, member):
    """Where the head `member` of group `own` is along the three leading axes."""
    a, b = np.uint64(own), np.uint64(member)
    a1, b1 = np.uint64(p[OWN + 1]), np.uint64(p[GROUP + 1])
    a2, b2 = np.uint64(p[OWN + 2]), np.uint64(p[GROUP + 2])
    return (np.int64(a // a2 // a1 + b // b2 // b1), np.int64(a // a2 % a1 + b // b2 % b1),
            np.int64(a % a2 + b % b2))


@inline
def _head(p, array, at):
    """The address of an array's matrix for the head at these indices."""
    return (p[array] + at[0] * p[array + 1] + at[1] * p[array + 2] + at[2] * p[array + 3])


@jit
def _mask_says(kind, p, mask, queries, first, keys):
    """HIDDEN if the mask hides all scores of a block, CLEAR if it changes none, as bits."""
    says = HIDDEN | CLEAR
    step = p[M + STEP]
    for i in range(queries if step else 1):
        if p[MASK] == BOOLEAN:
            says &= row_of_bytes(kind, mask + i * step + first, keys)
        else:
            says &= row_of_numbers(kind, mask + i * step + first * size_of(kind), keys)
        if not says:
            break
    return says


@jit
def _apply_mask(kind, p, mask, queries, first, keys, s, apart, m):
    """Hide scores of a block, or add to them; m is scratch for the mask as a panel."""
    width = WIDTH // size_of(kind)
    step = p[M + STEP]
    if p[MASK] == BOOLEAN:
        if step == 0:                                  # the same for all queries
            panel_hide_keys(kind, s, apart, keys, mask + first)
        else:
            call(p[CODES + 3], (mask + first, step, queries, keys, m, WIDTH, width))
            panel_hide(kind, s, apart, keys, m, s)
    else:
        mask += first * size_of(kind)
        if step == 0:
            panel_add_keys(kind, s, apart, keys, mask)
        else:
            call(p[CODES + 2], (mask, step, queries, keys, m, WIDTH, width))
            panel_add(kind, s, apart, keys, m, s)


@jit
def _scores(kind, p, table, keys, qt, s, apart, query, queries, first, mask, m):
    """s[k, i] = score of key first + k for query query + i; -inf where it is hidden.

    Rows of s are `apart` bytes from each other.

    Returns:
        False where all of them are hidden; nothing is computed then.
    """
    says = CLEAR
    if p[MASK]:
        mask += query * p[M + STEP]
        says = _mask_says(kind, p, mask, queries, first, keys)
        if says & HIDDEN:
            return False
    width = WIDTH // size_of(kind)
    call(p[CODES], (table, keys, p[E], qt, WIDTH, s, apart, width, 0))
    if p[CAUSAL]:
        clear = min(max(query + p[OFFSET] + 1 - first, 0), keys)     # keys that all of them see
        panel_causal(kind, s + clear * apart, apart, keys - clear,
                     clear + first - query - p[OFFSET])
    if not says & CLEAR:
        _apply_mask(kind, p, mask, queries, first, keys, s, apart, m)
    return True


@inline
def _seen(p, query, queries, first, keys):
    """How many of `keys` keys from `first` on the last of the queries sees."""
    return min(keys, query + queries + p[OFFSET] - first) if p[CAUSAL] else keys


@inline
def _list_rows(table, place, step, rows):
    for i in range(rows):
        table[i] = place + i * step


@jit
def _turn_queries(kind, p, q, step, e, qt):
    """All panels of q^T at qt, for the queries of a head from address q on."""
    length = p[LENGTH]
    width = WIDTH // size_of(kind)
    for i in range(0, length, width):
        call(p[CODES + 2], (q + i * step, step, min(width, length - i), e,
                            qt + i * size_of(kind) * e, WIDTH, width))


@jit
def _copy_rows(kind, x, step, rows, columns, y, padded):
    """Rows of x back to back at y, each followed by zeros up to `padded` numbers.

    Up to WIDTH bytes after the last row may be written, too.
    """
    size = size_of(kind)
    for i in range(rows):
        for j in range(0, columns, WIDTH // size):
            copy_row(kind, x + i * step + j * size, y + (i * padded + j) * size, columns - j)


@jit
def _block(kind, p, k, v, first, count, kb, vb):
    """Where a block of keys and values lies, and the distance of rows: in place, or copied to kb
    and vb: rows 1 or 2 KB apart share so few sets of L1 that they drive each other out (9.7
    instead of 4.6 ms for (8, 8, 256, 64) whose heads are slices)."""
    size = size_of(kind)
    kc, k_step, e = k + first * p[K + STEP], p[K + STEP], p[E]
    vc, v_step, ev = v + first * p[V + STEP], p[V + STEP], p[EV]
    if k_step != e * size and k_step % 1024 == 0:
        _copy_rows(kind, kc, k_step, count, e, kb, e)
        kc, k_step = kb, e * size
    if v_step != ev * size and v_step % 1024 == 0:
        _copy_rows(kind, vc, v_step, count, ev, vb, ev)
        vc, v_step = vb, ev * size
    return kc, k_step, vc, v_step


# -- forward ---------------------------------------------------------------------------------------


@jit
def _raise_top(kind, s, keys, top, shift, old, total, sink, ot, rows, begun):
    """Take the maximum over new keys into `top`, and bring earlier sums to the new scale."""
    width = WIDTH // size_of(kind)
    tops, olds, shifts = _at(kind, top, width), _at(kind, old, width), _at(kind, shift, width)
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
    tops, totals, out = _at(kind, top, width), _at(kind, total, width), _at(kind, lse, queries)
    for j in range(queries):
        out[j] = log(totals[j]) + tops[j] if totals[j] != 0 else kind(0)
    for j in range(width):
        totals[j] = kind(1) / totals[j] if totals[j] != 0 else kind(0)
    if not begun:
        _fill(kind, ot, rows * width, kind(0))
    panel_scale(kind, ot, WIDTH, rows, total)
    call(p[CODES + 2], (ot, WIDTH, rows, queries, y, p[Y + STEP], 0))


@jit
def _forward(kind, place):
    """Blocks of queries, one after the other, as long as there are some left.

    For each block of keys and each panel of the block: scores = K Q^T, their exponentials below
    the largest so far, and output^T += V^T weights. The output is divided and turned at the end.
    """
    size, width, wide = size_of(kind), WIDTH // size_of(kind), np.int64(WIDTH)
    p = _at(np.int64, place, COUNT)
    scale = kind(_at(np.float64, place + 8 * SCALE, 1)[0])
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
    while True:
        t = next_part(place + 8 * NEXT)
        if t >= groups * members * blocks:
            break
        at = _index(p, t // blocks // members, t // blocks % members)
        start = (blocks - 1 - t % blocks) * span       # the long ones of a triangle first
        q, k, v = _head(p, Q, at), _head(p, K, at), _head(p, V, at)
        mask, kept = _head(p, M, at), _head(p, KEPT, at)
        stop = min(length, start + span)
        for query in range(start, stop, width):
            qi = qt + (query - start) * size * e
            call(p[CODES + 2], (q + query * p[Q + STEP], p[Q + STEP], min(width, length - query),
                                e, qi, WIDTH, width))
        _scale(kind, qt, (stop - start + width - 1) // width * e * width, scale)
        _fill(kind, tops, span, kind(-np.inf))
        _fill(kind, totals, span, kind(0))
        _fill(np.int64, address(begun), PANELS, 0)
        for cut in range(cuts):
            first = keys * cut // cuts
            count = keys * (cut + 1) // cuts - first
            kc, k_step, vc, v_step = _block(kind, p, k, v, first, count, kb, vb)
            _list_rows(table, kc, k_step, count)
            for i in range((stop - start + width - 1) // width):
                query = start + i * width
                queries = min(width, length - query)
                n = _seen(p, query, queries, first, count)
                if n <= 0:
                    continue
                total, out = totals + i * wide, ot + i * ev * wide
                if not _scores(kind, p, address(table), n, qt + i * e * wide, s, wide, query,
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
        lse, y = _head(p, LSE, at), _head(p, Y, at)
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
        seen = _at(np.uint8, mask, keys)
        for j in range(keys):
            s[j] = s[j] if seen[j] else kind(-np.inf)
    elif p[MASK]:
        more = _at(kind, mask, keys)
        for j in range(keys):
            s[j] += more[j]


@jit
def _few(kind, place):
    """Single queries, one after the other, as long as there are some left: decoding.

    A panel would be empty but for a few columns: scores are one row here, each a product of two
    rows, and the output is a sum of rows of V.
    """
    size, width, wide = size_of(kind), WIDTH // size_of(kind), np.int64(WIDTH)
    p = _at(np.int64, place, COUNT)
    scale = kind(_at(np.float64, place + 8 * SCALE, 1)[0])
    length, keys, ev = p[LENGTH], p[KEYS], p[EV]
    groups, members = p[OWN] * p[OWN + 1] * p[OWN + 2], p[GROUP] * p[GROUP + 1] * p[GROUP + 2]
    owner = np.empty((keys // width + 3) * wide + LINE, np.uint8)
    shift = (address(owner) + LINE - 1) // LINE * LINE
    total = shift + wide
    s = _at(kind, total + wide, (keys // width + 1) * width)
    while True:
        t = next_part(place + 8 * NEXT)
        if t >= groups * members * length:
            break
        at, i = _index(p, t // length // members, t // length % members), t % length
        k, v = _head(p, K, at), _head(p, V, at)
        y = _head(p, Y, at) + i * p[Y + STEP]
        n = max(0, min(keys, i + p[OFFSET] + 1)) if p[CAUSAL] else keys
        _few_scores(kind, p, _head(p, Q, at) + i * p[Q + STEP], k,
                    _head(p, M, at) + i * p[M + STEP], n, s, scale)
        top = kind(-np.inf)
        for j in range(n):
            top = max(top, s[j])
        rows = (n + width - 1) // width
        for j in range(n, rows * width):
            s[j] = -np.inf
        top = top if top > -np.inf else kind(0)
        _fill(kind, shift, width, top)
        _fill(kind, total, width, kind(0))
        panel_exp(kind, address(s), wide, rows, shift, total)
        part, whole = _at(kind, total, width), kind(0)
        for j in range(width):
            whole += part[j]
        _at(kind, _head(p, LSE, at) + i * size, 1)[0] = (
            log(whole) + top if whole != 0 else kind(0))
        factor = kind(1) / whole if whole != 0 else kind(0)
        kept = _at(kind, _head(p, KEPT, at) + i * p[KEPT + STEP], keys)
        _fill(kind, y, ev, kind(0))
        for j in range(n):
            weight = s[j] * factor
            if p[KEEP]:
                weight *= kept[j]
            row_add(kind, y, v + j * p[V + STEP], ev, weight)
    owner[0] = 0        # it lives until here


# -- backward --------------------------------------------------------------------------------------


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
    sums, given = _at(kind, inner, padded), _at(kind, lse, length)
    logs = _at(kind, shift, padded)
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
        n = _seen(p, query, queries, first, count)
        side = (i - pair) * wide
        if n <= 0 or not _scores(kind, p, k_rows, n, qt + i * p[E] * wide, s + side, apart, query,
                                 queries, first, mask, m):
            n = 0
        for k in range(max(n, 0), most):
            for x in (s, ds, dropped):
                _fill(kind, x + side + k * apart, width, kind(0))
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
def _backward(kind, place):
    """Groups of heads that share keys, or pieces of their keys, as long as there are some left.

    For each block of keys and each panel of queries: scores and weights again, dV += weights dO,
    d weights = V dO^T, d scores = weights (d weights - inner), dK += d scores Q, and
    dQ^T += K^T d scores. dK and dV of a block and dQ^T of a head gather in scratch.
    """
    size, width, wide = size_of(kind), WIDTH // size_of(kind), np.int64(WIDTH)
    p = _at(np.int64, place, COUNT)
    scale = kind(_at(np.float64, place + 8 * SCALE, 1)[0])
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
    _list_rows(s_rows, s, pair, BLOCK)
    _list_rows(ds_rows, ds, pair, BLOCK)
    _list_rows(w_rows, dropped, pair, BLOCK)
    weights = address(w_rows if p[KEEP] else s_rows)
    cuts = (keys + BLOCK - 1) // BLOCK
    pieces = p[PIECES]
    while True:
        t = next_part(place + 8 * NEXT)
        if t >= groups * pieces:
            break
        own, piece = t // pieces, t % pieces
        for member in range(members):
            at = _index(p, own, member)
            q, k, v = _head(p, Q, at), _head(p, K, at), _head(p, V, at)
            mask, kept = _head(p, M, at), _head(p, KEPT, at)
            g = _head(p, G, at)
            _inner(kind, p, g, _head(p, Y, at), _head(p, LSE, at), inner, shift)
            _turn_queries(kind, p, q, p[Q + STEP], e, qt)
            _scale(kind, qt, panels * e * width, scale)
            _turn_queries(kind, p, g, p[G + STEP], ev, gt)
            _fill(kind, dqt, panels * e * width, kind(0))
            q_step, g_step = p[Q + STEP], p[G + STEP]
            if e % width or q_step % 1024 == 0:
                _copy_rows(kind, q, q_step, length, e, qb, ep)
                q, q_step = qb, ep * size
            if ev % width or g_step % 1024 == 0:
                _copy_rows(kind, g, g_step, length, ev, gb, evp)
                g, g_step = gb, evp * size
            for cut in range(cuts * piece // pieces, cuts * (piece + 1) // pieces):
                first = keys * cut // cuts
                count = keys * (cut + 1) // cuts - first
                kc, k_step, vc, v_step = _block(kind, p, k, v, first, count, kb, vb)
                _list_rows(k_rows, kc, k_step, count)
                _list_rows(v_rows, vc, v_step, count)
                add = np.int64(p[CAUSAL] != 0)        # there the first panel leaves rows out
                _fill(kind, dk, BLOCK * (ep + evp) * add, kind(0))
                begin = max(0, first - p[OFFSET]) // width if p[CAUSAL] else 0
                for i in range(begin, panels, 2):
                    queries = min(2 * width, length - i * width)
                    n = _seen(p, i * width, queries, first, count)
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
                    _fill(kind, dk, BLOCK * (ep + evp), kind(0))       # all of it was hidden
                if p[NEED_K]:
                    step = p[GK + STEP]
                    _put_rows(kind, dk, ep, count, e, _head(p, GK, at) + first * step, step,
                              scale, member > 0)
                if p[NEED_V]:
                    step = p[GV + STEP]
                    _put_rows(kind, dv, evp, count, ev, _head(p, GV, at) + first * step, step,
                              kind(1), member > 0)
            if p[NEED_Q]:
                _scale(kind, dqt, panels * e * width, scale)
                gq, step = _head(p, GQ, at) + piece * p[PIECE_BYTES], p[GQ + STEP]
                for i in range(panels):
                    call(p[CODES + 2], (dqt + i * e * wide, WIDTH, e,
                                        min(width, length - i * width), gq + i * width * step,
                                        step, 0))
    owner[0] = tables[0] = 0     # they live until here


_found: dict[str, tuple[int, ...]] = {}


def codes(kind):
    """Addresses by type of numbers: forward, backward, few queries, and the four that they call."""
    name = np.dtype(kind).name
    if name not in _found:
        called = ((_forward, 1), (_backward, 1), (_few, 1), (_rows_product, 9),
                  (_columns_product, 8), (_turn, 7), (_turn_bytes, 7))
        _found[name] = tuple(entry(function, kind, n) for function, n in called)
    return _found[name]
