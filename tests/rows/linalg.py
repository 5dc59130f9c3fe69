"""Linear algebra: factors, solutions, determinants, norms."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.drawing import Case, Sample, broadcastable, shapes


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


def square(name, reference, make=regular, attrs=None, least=0, **options):
    """A function of square matrices."""
    def sample(draw):
        n = draw(st.integers(least, 3))
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

CASES = SOLVING
