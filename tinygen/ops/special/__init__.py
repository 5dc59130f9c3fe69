"""Special functions: accurate to the last digits over the whole range, with their derivatives.

`tinygen.special` is the public namespace; SciPy is the reference that the tests compare with.
"""

# ruff: noqa: F401
from .bessel import (
    bessel_j0, bessel_j1, bessel_y0, bessel_y1, i0, i0e, i1, i1e, k0, k0e, k1, k1e,
)
from .entropy import (
    entr, logaddexp, logaddexp2, logit, sinc, spherical_bessel_j0, xlog1py, xlogy,
)
from .error import erfc, erfcinv, erfcx, erfinv, log_ndtr, ndtr, ndtri
from .gamma import beta, betaln, digamma, gamma, lgamma, multigammaln, polygamma, zeta
from .incomplete import betainc, gammainc, gammaincc

# What stands beside `sqrt` and `exp` in the main namespace; the rest is in `tinygen.special`.
__all__ = [
    "digamma", "erfc", "erfinv", "i0", "lgamma", "logaddexp", "logaddexp2", "logit", "polygamma",
    "sinc", "xlogy",
]
