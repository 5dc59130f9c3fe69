"""Special functions, against SciPy."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from scipy import special

from tests.drawing import Case, Sample, between, broadcastable, shapes
from tests.families import binary, unary


def in_range(low, high):
    return lambda shape: between(shape, low, high)


def polygamma_sample(draw):
    return Sample((between(draw(shapes()), 0.5, 6),), {"n": draw(st.integers(1, 3))})


def spherical_sample(draw):
    return Sample((between(draw(shapes()), -6, 6),), {"order": draw(st.integers(0, 2))})


def spherical_reference(x, order):
    """SciPy's j0 and its derivatives: j0' = -j1, j0'' = (j2 - j0 / 2) * 2 / 3."""
    j0, j1, j2 = (special.spherical_jn(n, x) for n in range(3))
    return (j0, -j1, (2 * j2 - j0) / 3)[order]


def three(draw):
    a, b, x = draw(broadcastable(3))
    return Sample((between(a, 0.5, 5), between(b, 0.5, 5), between(x, 0.1, 0.9)))


CASES = [
    unary("lgamma", special.gammaln, 0.3, 12),
    unary("gamma", special.gamma, 0.5, 4, half=0.05),
    unary("digamma", special.digamma, 0.5, 12),
    Case("polygamma", polygamma_sample, lambda x, n: special.polygamma(n, x), half=0.05),
    binary("zeta", special.zeta, x=in_range(1.5, 6), y=in_range(0.7, 4), inputs=(1,), half=0.05),
    binary("betaln", special.betaln, x=in_range(0.5, 20), y=in_range(0.5, 20)),
    unary("erfc", special.erfc, -3, 6),
    unary("erfcx", special.erfcx, -1.5, 10),
    unary("erfinv", special.erfinv, -0.8, 0.8),
    unary("ndtr", special.ndtr, -5, 5),
    unary("log_ndtr", special.log_ndtr, -9, 4),
    unary("erfcinv", special.erfcinv, 0.2, 1.8),
    unary("ndtri", special.ndtri, 0.1, 0.9),
    binary("xlogy", special.xlogy, y=in_range(0.3, 4)),
    binary("xlog1py", special.xlog1py, y=in_range(-0.6, 4)),
    unary("entr", special.entr, 0.2, 3),
    unary("logit", special.logit, 0.15, 0.85),
    binary("logaddexp", np.logaddexp),
    binary("logaddexp2", np.logaddexp2),
    Case("spherical_bessel_j0", spherical_sample, spherical_reference),
    # their second derivatives to the first parameters are refused: tests/ops/test_special.py
    binary("gammainc", special.gammainc, x=in_range(0.5, 6), y=in_range(0.3, 8), inputs=(1,)),
    binary("gammaincc", special.gammaincc, x=in_range(0.5, 6), y=in_range(0.3, 8), inputs=(1,)),
    Case("betainc", three, special.betainc, inputs=(2,)),
    *(unary(name, getattr(special, name), *bounds) for name, *bounds in (
        ("i0", -4, 12), ("i1", -4, 4), ("i0e", 0.2, 20), ("i1e", 0.2, 20), ("k0", 0.5, 6),
        ("k1", 0.5, 6), ("k0e", 0.5, 12), ("k1e", 0.5, 12))),
    *(unary(f"bessel_{name}", getattr(special, name), *bounds) for name, *bounds in (
        ("j0", -20, 20), ("j1", 0.5, 20), ("y0", 1, 20), ("y1", 1, 20))),
]

EXEMPT = {
    "gamma_quantile_slope": "a derivative that has none itself; tests/ops/test_special.py",
    "beta_quantile_slope": "a derivative that has none itself; tests/ops/test_special.py",
}
EXEMPT |= {f"random_{name}": "its values come from a generator; tests/engine/test_laws.py"
           for name in ("gamma", "dirichlet", "poisson", "geometric", "binomial", "multinomial",
                        "von_mises")}
