"""What the forward and the backward kernel of attention share: where things lie, products, masks.

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
from .launch import call, size_of
from .panel import (
    CLEAR,
    HIDDEN,
    WIDTH,
    panel_add,
    panel_add_keys,
    panel_causal,
    panel_hide,
    panel_hide_keys,
    transpose_block,
    transpose_bytes,
)
from .panel_rows import columns_narrow, row_of_bytes, row_of_numbers
from .tile import ROWS, VECTOR_BYTES, columns_tile, copy_row, narrow_tile, rows_tile

__all__ = ["ADDED", "ALL", "BLOCK", "BOOLEAN", "CAUSAL", "CODES", "COUNT", "E", "EV", "G", "GK",
           "GQ", "GROUP", "GV", "K", "KEEP", "KEPT", "KEYS", "LENGTH", "LINE", "LSE", "M", "MASK",
           "NEED_K", "NEED_Q", "NEED_V", "OFFSET", "OWN", "PANELS", "PIECES", "PIECE_BYTES", "Q",
           "SCALE", "STEP", "V", "Y", "columns_product", "copy_rows", "fill", "index_of", "matrix",
           "multiply", "numbers", "rows_at_hand", "rows_product", "scores", "turn", "turn_bytes",
           "visible"]

# Places in the array that describes a call (kernels/cpu/attention.py fills it). From Q on there are
# five numbers per array: address, three strides of leading axes, distance of rows; all in bytes.
LENGTH, KEYS, E, EV, CAUSAL, OFFSET, MASK, KEEP, OWN, GROUP = 0, 1, 2, 3, 4, 5, 6, 7, 8, 11
PIECES, PIECE_BYTES, NEED_Q, NEED_K, NEED_V, SCALE, CODES = 14, 15, 16, 17, 18, 19, 20
Q, K, V, M, KEPT, Y, LSE, G, GQ, GK, GV = range(24, 24 + 5 * 11, 5)
COUNT = GV + 5
STEP = 4
BOOLEAN, ADDED = 1, 2
ALL = -1 << 40   # for products without zeros at the beginning of rows

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
def numbers(kind, place, n):
    """The n numbers at an address."""
    return carray(_pointer(kind, place), (n,))


@jit
def fill(kind, place, n, value):
    x = numbers(kind, place, n)
    for i in range(n):
        x[i] = value


@jit
def multiply(kind, place, n, factor):
    x = numbers(kind, place, n)
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
def rows_product(kind, a, lda, rows, deep, b, ldb, c, ldc, n, add, hidden, table):
    """C (+)= A B for `rows` rows of A and n columns; of B whole vectors are read.

    The first `hidden` + i numbers of row i of A are 0: most of them are left out. `table` is
    scratch for ROWS addresses.
    """
    low, left = _even(rows)
    size, i = size_of(kind), 0
    width, places = WIDTH // size, numbers(np.int64, table, ROWS)
    while i < rows:
        m = low + (left > 0)
        begin = min(max(hidden + i, 0), deep)
        for r in range(m):
            places[r] = a + (i + r) * lda + begin * size
        for j in range(0, n, width):
            at, to, deep_left = b + begin * ldb + j * size, c + i * ldc + j * size, deep - begin
            if 2 * (n - j) <= width:
                narrow_tile(kind, m, table, deep_left, at, ldb, to, ldc, n - j, add)
            else:
                rows_tile(kind, m, table, deep_left, at, ldb, to, ldc, min(width, n - j), add)
        i += m
        left -= 1


@jit
def columns_product(kind, a, lda, rows, deep, b, ldb, c, ldc, n, add, seen):
    """C (+)= A^T B for `rows` columns of A and n columns of B, of which whole vectors are read.

    Of column i of A all but the first `seen` + i + 1 numbers count as 0; most are left out.
    """
    low, left = _even(rows)
    size, i = size_of(kind), 0
    width = WIDTH // size
    while i < rows:
        m = low + (left > 0)
        shown = min(max(seen + i + m, 0), deep)
        for j in range(0, n, width):
            of, at, to = a + i * size, b + j * size, c + i * ldc + j * size
            if 2 * (n - j) <= width:
                columns_narrow(kind, m, of, lda, shown, at, ldb, to, ldc, n - j, add)
            else:
                columns_tile(kind, m, of, lda, shown, at, ldb, to, ldc, min(width, n - j), add)
        i += m
        left -= 1


@jit
def turn(kind, x, step, rows, columns, y, ystep, filled):
    """y[j, i] = x[i, j]; lanes of y from `rows` to `filled` become 0."""
    lanes = VECTOR_BYTES // size_of(kind)
    for i in range(0, max(rows, filled), lanes):
        for j in range(0, columns, lanes):
            transpose_block(kind, x + i * step + j * size_of(kind), step, rows - i, columns - j,
                            y + j * ystep + i * size_of(kind), ystep, max(rows, filled) - i)


@jit
def turn_bytes(kind, x, step, rows, columns, y, ystep, filled):
    """The same for the bytes of a boolean mask, as numbers."""
    lanes = VECTOR_BYTES // size_of(kind)
    for i in range(0, max(rows, filled), lanes):
        for j in range(0, columns, lanes):
            transpose_bytes(kind, x + i * step + j, step, rows - i, columns - j,
                            y + j * ystep + i * size_of(kind), ystep, max(rows, filled) - i)


# -- what forward and backward share ---------------------------------------------------------------


@inline
def index_of(p, own, member):
    """Where the head `member` of group `own` is along the three leading axes."""
    a, b = np.uint64(own), np.uint64(member)
    a1, b1 = np.uint64(p[OWN + 1]), np.uint64(p[GROUP + 1])
    a2, b2 = np.uint64(p[OWN + 2]), np.uint64(p[GROUP + 2])
    return (np.int64(a // a2 // a1 + b // b2 // b1), np.int64(a // a2 % a1 + b // b2 % b1),
            np.int64(a % a2 + b % b2))


@inline
def matrix(p, array, at):
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
def scores(kind, p, k, k_step, keys, qt, s, apart, query, queries, first, mask, m, table):
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
    call(p[CODES], (k, k_step, keys, p[E], qt, WIDTH, s, apart, width, 0, ALL, table))
    if p[CAUSAL]:
        clear = min(max(query + p[OFFSET] + 1 - first, 0), keys)     # keys that all of them see
        panel_causal(kind, s + clear * apart, apart, keys - clear,
                     clear + first - query - p[OFFSET])
    if not says & CLEAR:
        _apply_mask(kind, p, mask, queries, first, keys, s, apart, m)
    return True


@inline
def visible(p, query, queries, first, keys):
    """How many of `keys` keys from `first` on the last of the queries sees."""
    return min(keys, query + queries + p[OFFSET] - first) if p[CAUSAL] else keys


@jit
def copy_rows(kind, x, step, rows, columns, y, padded):
    """Rows of x back to back at y, each followed by zeros up to `padded` numbers.

    Up to WIDTH bytes after the last row may be written, too.
    """
    size = size_of(kind)
    for i in range(rows):
        for j in range(0, columns, WIDTH // size):
            copy_row(kind, x + i * step + j * size, y + (i * padded + j) * size, columns - j)


@jit
def rows_at_hand(kind, x, step, rows, columns, unit, y, padded):
    """Where rows lie, and their distance: in place, or copied to y.

    They are copied if their length is no multiple of `unit`, where whole vectors are read, and if
    they are a multiple of 1 KB apart: such rows share so few sets of L1 that they drive each other
    out (9.7 instead of 4.6 ms for (8, 8, 256, 64) whose heads are slices).
    """
    if columns % unit == 0 and (step % 1024 or step == columns * size_of(kind)):
        return x, step
    copy_rows(kind, x, step, rows, columns, y, padded)
    return y, padded * size_of(kind)
