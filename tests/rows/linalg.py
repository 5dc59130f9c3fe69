"""Linear algebra: factors, solutions, determinants, norms."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.drawing import Case, Sample, axes_of, between, broadcastable, shapes


def batch(draw):
    """The axes before the matrix."""
    return draw(shapes(max_dims=2, max_side=2))


def regular(shape):
    """Square matrices far from singular, whose determinants have either sign."""
    def make(rng):
        n = shape[-1]
        signs = rng.choice([-1.0, 1.0], (*shape[:-1], 1))
        return signs * (rng.uniform(-0.5, 0.5, shape) + 1.5 * np.eye(n))
    return make


def positive_definite(shape):
    def make(rng):
        m = rng.uniform(-1, 1, shape)
        return m @ m.swapaxes(-1, -2) + np.eye(shape[-1])
    return make


def uniform(shape):
    return lambda rng: rng.uniform(-1, 1, shape)


def square(name, reference, make=regular, attrs=None, least=0, most=3, **options):
    """A function of square matrices."""
    def sample(draw):
        n = draw(st.integers(least, most))
        return Sample((make((*batch(draw), n, n)),), attrs or {})
    return Case(name, sample, reference, **{"half": None, "single": 1e-4, **options})


def system_sample(draw):
    a, b = draw(broadcastable(2, max_dims=2, max_side=2))
    n, k = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return Sample((regular((*a, n, n)), uniform((*b, n, k))))


def triangular_sample(draw):
    made = system_sample(draw)
    made.attrs = {"upper": draw(st.booleans()), "unit": draw(st.booleans())}
    return made


def solve_triangular(a, b, upper, unit):
    full = np.triu(a) if upper else np.tril(a)
    if unit:
        full = np.where(np.eye(a.shape[-1], dtype=bool), 1, full)
    return np.linalg.solve(full, b)


def logabs_and_sign(x):
    sign, logabs = np.linalg.slogdet(x)
    return logabs, sign


SOLVING = [
    square("cholesky", lambda x, uplo: np.linalg.cholesky((x + x.swapaxes(-1, -2)) / 2),
           positive_definite, {"uplo": None}),
    square("det", np.linalg.det),
    square("slogdet", logabs_and_sign),
    square("inv", np.linalg.inv),
    Case("solve", system_sample, np.linalg.solve, inputs=(0, 1), half=None, single=1e-4),
    Case("solve_triangular", triangular_sample, solve_triangular, inputs=(0, 1), half=None,
         single=1e-4),
]


def rectangular_sample(make, attrs=None, tall=None, most=3):
    def sample(draw):
        m, n = draw(st.integers(1, most)), draw(st.integers(1, most))
        if tall:
            m, n = max(m, n), min(m, n)
        chosen = {k: v if isinstance(v, str | bool) else draw(v) for k, v in (attrs or {}).items()}
        return Sample((make((*batch(draw), m, n)),), chosen)
    return sample


def leaning(rng, shape):
    """Off-diagonal elements of either sign, none near 0: LAPACK chooses signs by them."""
    return rng.uniform(0.08, 0.16, shape) * rng.choice([-1, 1], shape)


def separated(shape):
    """Near diagonal, with singular values that differ, none of them small."""
    def make(rng):
        n = min(shape[-2:])
        diagonal = np.zeros(shape)
        diagonal[..., range(n), range(n)] = 0.9 * rng.permuted(
            np.broadcast_to(np.arange(1, n + 1), (*shape[:-2], n)), axis=-1)
        return diagonal + leaning(rng, shape)
    return make


def spread_spectrum(shape):
    """Near diagonal, with eigenvalues that differ, and an antisymmetric part that is not read."""
    def make(rng):
        n = shape[-1]
        low = np.tril(leaning(rng, shape), -1)
        skew = rng.standard_normal(shape)
        return (low + low.swapaxes(-1, -2) + np.eye(n) * (1.2 * np.arange(n) - 1)
                + 0.2 * (skew - skew.swapaxes(-1, -2)))
    return make


def pivoting(shape):
    """Matrices whose order of rows does not change when an element moves a little."""
    def make(rng):
        m, n = shape[-2:]
        low = np.tril(rng.uniform(-0.7, 0.7, (*shape[:-2], m, min(m, n))), -1)
        low = low + np.eye(m, min(m, n))
        up = np.triu(rng.uniform(-1, 1, (*shape[:-2], min(m, n), n)), 1)
        up = up + np.eye(min(m, n), n) * rng.choice([-1.5, 1.5], (*shape[:-2], min(m, n), 1))
        return (low @ up)[..., rng.permutation(m), :]
    return make


def packed_lu(x):
    """Elimination with row exchanges in plain loops, matrix by matrix."""
    m, n = x.shape[-2:]
    packed, order = x.copy(), np.empty((*x.shape[:-2], m), int)
    pivots = np.empty((*x.shape[:-2], min(m, n)), np.int32)
    for at in np.ndindex(x.shape[:-2]):
        a, rows = packed[at], np.arange(m)
        for j in range(min(m, n)):
            p = j + np.abs(a[j:, j]).argmax()
            a[[j, p]], rows[[j, p]], pivots[(*at, j)] = a[[p, j]], rows[[p, j]], p + 1
            for i in range(j + 1, m):
                a[i, j] /= a[j, j]
                a[i, j + 1:] -= a[i, j] * a[j, j + 1:]
        order[at] = rows
    return packed, order, pivots


def taylor(x):
    total = term = np.broadcast_to(np.eye(x.shape[-1]), x.shape)
    for k in range(1, 40):
        term = term @ x / k
        total = total + term
    return total


def norm_sample(draw):
    shape = draw(shapes(empty=False))
    axes = draw(axes_of(len(shape)))
    ord = draw(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, 3.5, -1.0, -2.5]))
    return Sample((between(shape, avoid=(0,), gap=0.4),),
                  {"ord": ord, "axis": axes, "keepdims": draw(st.booleans())})


def vector_norm(x, ord, axis, keepdims):
    axis = tuple(range(x.ndim)) if axis is None else axis
    size = np.abs(x)
    if ord == 0:
        return np.sum(size > 0, axis=axis, keepdims=keepdims).astype(float)
    return np.sum(size ** ord, axis=axis, keepdims=keepdims) ** (1 / ord)


def pivots_sample(draw):
    m = draw(st.integers(1, 4))
    k = draw(st.integers(1, m))
    shape = (*batch(draw), k)
    return Sample((lambda rng: rng.integers(np.arange(1, k + 1), m + 1, shape),), {"m": m})


def row_order(pivots, m):
    order = np.empty((*pivots.shape[:-1], m), int)
    for at in np.ndindex(pivots.shape[:-1]):
        rows = list(range(m))
        for i, p in enumerate(pivots[at]):
            rows[i], rows[p - 1] = rows[p - 1], rows[i]
        order[at] = rows
    return order


FACTORS = [
    # from 3 by 3 on LAPACK may turn a vector's sign when an element moves a little; larger ones
    # are compared with PyTorch in tests/ops/test_linalg_factor.py
    square("eigh", lambda x, uplo: np.linalg.eigh((x + x.swapaxes(-1, -2)) / 2), spread_spectrum,
           {"uplo": None}, least=1, most=2),
    # from 3 x 3 on LAPACK chooses the signs of vectors by numbers that may pass through 0
    Case("svd", rectangular_sample(separated, {"full": False}, most=2), lambda x, full:
         np.linalg.svd(x, full_matrices=False), half=None, single=1e-4),
    Case("qr", rectangular_sample(separated, {"mode": "reduced"}), np.linalg.qr, half=None,
         single=1e-4),
    Case("qr", rectangular_sample(lambda s: separated((*s[:-2], s[-1], s[-2])),
                                  {"mode": "complete"}, tall=True), np.linalg.qr,
         note="complete", half=None, single=1e-4),
    Case("lu_factor", rectangular_sample(pivoting), packed_lu, half=None, single=1e-4),
    Case("pivots_to_order", pivots_sample, row_order, inputs=()),
    Case("pinv", rectangular_sample(separated, {"hermitian": False}),
         lambda x, hermitian: np.linalg.pinv(x), half=None, single=1e-4),
    Case("matrix_rank", rectangular_sample(separated, {"hermitian": False}),
         lambda x, hermitian: np.linalg.matrix_rank(x), inputs=(), half=None),
    square("matrix_exp", taylor, uniform),
    Case("vector_norm", norm_sample, vector_norm, half=0.05),
]

CASES = SOLVING + FACTORS
