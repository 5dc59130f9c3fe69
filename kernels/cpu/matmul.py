"""Matrix products: `matmul`, `linear`, activations behind it, gradients, from a certain size on.

Small products, vectors, and matrices whose rows do not lie one behind the other are left to NumPy's
BLAS, which needs a microsecond less to start. Measured on one core, GFLOP/s here and with OpenBLAS
0.3.31: 128^3 149 and 124, 512^3 161 and 152, 768x128x512 164 and 148, 64x256x784 transposed 135 and
99, 96^3 138 and 146. On two cores OpenBLAS loses more below 512^3: it starts threads too early.

From 2^18 products on it starts them at all, and after the last product they look out for more for
2^28 ticks of the clock. For that tenth of a second the kernels' pool has half a core less: one
gradient of a layer with a single output, 64x8192, cost 40 ms of the convolutions behind it. So on
several threads no product that OpenBLAS would share is left to it, but for one with few columns.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygen.primitive import PRIMITIVES, kernel
from tinygen.threads import count

from .lazy import F32, F64, NOT_FLOAT, Native, threads_for
from .pointwise import native as loops
from .pointwise import run, run_in_place

native, single = Native("gemm"), Native("dots")

SMALLEST = 1 << 20     # products m * n * k: 100^3
TURNED = 1 << 18       # the same where an operand lies transposed: 64^3, 97 and 67 GFLOP/s
# Products that pay for one more thread: 7 us of one core; at 128^3 two take 20 us and one 32, hot.
THREAD = 1 << 19
# Fewer leave most of a tile empty. 4x512x512 with the matrix transposed: 36 us and 107 with BLAS,
# 128x784x10: 24 and 36, 64x8192x7 264 and 224, x4 270 and 113.
# Two rows are twice as fast as with BLAS where both sides lie row behind row, one is half as fast.
ROWS, COLUMNS = 2, 8
DOTS = 1 << 15         # weights of which a single row is worth a second thread: 4.6 us and 6.7

LOOP = 1 << 13         # results from which on an activation is worth a call of its loop

SMALL = "small, or one row, or fewer than 8 columns"
LAYOUT = "matrices that do not lie row behind row, or stacks that broadcast"
_NO_BIAS = {F32: np.empty(0, np.float32), F64: np.empty(0, np.float64)}


def _product(a: Any, b: Any, bias: Any, m: int, n: int, k: int, ta: bool, tb: bool, batch: int,
             shape: tuple[int, ...], f: tuple[int, float] = (0, 0.0)) -> Any:
    """f(A B + bias) of stacks that lie as `a` and `b`, 2-D and C-contiguous, say.

    The result has memory of its own: autograd copies a gradient that is a view.
    """
    out = np.empty(shape, a.dtype)
    native.gemm(a, b, out if len(shape) == 2 else out.reshape(batch * m, n),
                _NO_BIAS[a.dtype] if bias is None else bias, f, ta, tb, batch,
                threads_for(batch * m * n * k, THREAD))
    return out


def _lies(x: Any) -> tuple[Any, bool] | None:
    """A stack of matrices as one C-contiguous matrix, and whether each lies transposed."""
    if x.flags.c_contiguous:
        return (x if x.ndim == 2 else x.reshape(-1, x.shape[-1])), False
    x = x.swapaxes(-1, -2)
    if x.flags.c_contiguous:
        return (x if x.ndim == 2 else x.reshape(-1, x.shape[-1])), True
    return None


@kernel("matmul", np.ndarray, smallest=512)    # of a: its products can still be many
def _(a, b):
    if type(a) is not np.ndarray or type(b) is not np.ndarray or a.ndim < 2 or b.ndim < 2:
        return SMALL
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    size = a.size * n
    if size < TURNED or n < COLUMNS or b.shape[-2] != k:
        return SMALL
    if a.dtype is not b.dtype or (a.dtype is not F32 and a.dtype is not F64):
        return NOT_FLOAT
    shape = (*a.shape[:-1], n)
    if b.ndim == 2 and a.ndim > 2:
        if not a.flags.c_contiguous:
            return LAYOUT
        a, m = a.reshape(-1, k), a.size // k
    elif a.shape[:-2] != b.shape[:-2]:
        return LAYOUT
    if m < ROWS:
        return SMALL
    left, right = _lies(a), _lies(b)
    if left is None or right is None:
        return LAYOUT
    if size < SMALLEST and not (left[1] or right[1]) and count.value == 1:
        return SMALL
    batch = math.prod(a.shape[:-2])
    return _product(left[0], right[0], None, m, n, k, left[1], right[1], batch, shape)


@kernel("linear", np.ndarray, smallest=128)
def _linear(x, weight, bias=None, f=None):
    n, k = weight.shape if weight.ndim == 2 else (0, 0)
    one = x.size == k          # a single row, which is what a model samples from
    if (weight.size < DOTS if one else x.size * n < TURNED) or x.shape[-1] != k:
        return SMALL
    kind = x.dtype
    if kind is not weight.dtype or (kind is not F32 and kind is not F64):
        return NOT_FLOAT
    if not (x.flags.c_contiguous and weight.flags.c_contiguous):
        return LAYOUT
    if bias is not None and (bias.dtype is not kind or bias.shape != (n,)):
        return NOT_FLOAT
    if one:
        out = np.empty((*x.shape[:-1], n), kind)
        single.dots(x.reshape(-1), weight, _NO_BIAS[kind] if bias is None else bias,
                    out.reshape(-1), threads_for(weight.size, DOTS // 2))
        if f:
            run_in_place(f[0], out, f[1])
        return out
    rows = x if x.ndim == 2 else x.reshape(-1, k)
    if n < COLUMNS:
        return _few_columns(rows, weight, bias, f, (*x.shape[:-1], n))
    applied = (loops.loop(f[0], kind, "", "in_place")[0], f[1]) if f else (0, 0.0)
    return _product(rows, weight, bias, len(rows), n, k, False, True, 1, (*x.shape[:-1], n),
                    applied)


def _few_columns(x: Any, weight: Any, bias: Any, f: Any, shape: tuple[int, ...]) -> Any:
    """f(x W^T + bias) for a W of few rows: a column is the product of x with a single row.

    64x8192 takes 23 us with one column, 47 with BLAS, 217 on the tile; with four 92, 96 and 301.
    """
    turned = np.empty((len(weight), len(x)), x.dtype)
    for row, column in zip(weight, turned, strict=True):
        single.dots(row, x, _NO_BIAS[x.dtype], column, threads_for(x.size, DOTS // 2))
    y = np.empty(shape, x.dtype)
    y.reshape(turned.T.shape)[...] = turned.T
    if bias is not None:
        y += bias
    if f:
        run_in_place(f[0], y, f[1])
    return y


@kernel("linear_activation", np.ndarray, smallest=128)
def _(x, weight, bias=None, *, activation, slope):
    y = _linear(x, weight, bias, (activation, slope))
    if y is not SMALL or x.size * len(weight) < LOOP * x.shape[-1]:
        return y
    y = PRIMITIVES["linear"].fn(np, x, weight, bias)
    if y.dtype is not F32 and y.dtype is not F64:
        return NOT_FLOAT
    run_in_place(activation, y, slope)
    return y


@kernel("linear_vjp", np.ndarray, smallest=32)    # of g: as for matmul
def _linear_vjp(g, y, x, weight, bias=None, *, needs):
    n, k = weight.shape
    if g.size * k < TURNED or k < COLUMNS:
        return SMALL
    kind = g.dtype
    if kind is not weight.dtype or kind is not x.dtype or (kind is not F32 and kind is not F64):
        return NOT_FLOAT
    if not (x.flags.c_contiguous and weight.flags.c_contiguous):
        return LAYOUT
    # The gradient of a mean repeats one number: it is copied, being small beside the products.
    rows, g = x.reshape(-1, k), np.ascontiguousarray(g).reshape(-1, n)
    m = len(g)
    g_bias = None
    if len(needs) > 2 and needs[2]:
        g_bias = np.empty(n, kind)
        native.column_sums(g, g_bias, threads_for(g.size, 1 << 15) if n >= 64 else 1)
    gx = None
    if needs[0] and m >= ROWS:
        gx = _product(g, weight, None, m, k, n, False, False, 1, x.shape)
    elif needs[0]:      # of one row: 1x1024x4096 260 us with BLAS, on one thread, 634 on the tile
        gx = np.empty(x.shape, kind)
        np.matmul(g, weight, out=gx.reshape(1, k))
    return (gx,
            _product(g, rows, None, n, k, m, True, False, 1, weight.shape) if needs[1] else None,
            g_bias)


@kernel("linear_activation_vjp", np.ndarray, smallest=LOOP)
def _(g, y, x, weight, bias=None, *, needs, activation, slope):
    inner = run(f"{activation}_grad", y, (g, y), slope)
    if type(inner) is str:
        return inner
    found = _linear_vjp(inner, y, x, weight, bias, needs=needs)
    return found if type(found) is not str else PRIMITIVES["linear"].joint.fn(
        np, inner, y, x, weight, bias, needs=needs)
