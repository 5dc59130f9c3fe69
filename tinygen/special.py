"""Special functions, under the names of `torch.special` and `scipy.special`.

>>> import tinygen as tg
>>> tg.special.gammaln(tg.Tensor([4.0])).item() == tg.log(tg.Tensor([6.0])).item()
True
"""

from __future__ import annotations

from .ops import exp2, expm1, log1p, log_softmax, logsumexp, softmax
from .ops import log_sigmoid as log_expit
from .ops import sigmoid as expit
from .ops.activation import erf
from .ops.special.bessel import (
    bessel_j0,
    bessel_j1,
    bessel_y0,
    bessel_y1,
    i0,
    i0e,
    i1,
    i1e,
    k0,
    k0e,
    k1,
    k1e,
)
from .ops.special.entropy import (
    entr,
    logaddexp,
    logaddexp2,
    logit,
    sinc,
    spherical_bessel_j0,
    xlog1py,
    xlogy,
)
from .ops.special.error import erfc, erfcinv, erfcx, erfinv, log_ndtr, ndtr, ndtri
from .ops.special.gamma import (
    beta,
    betaln,
    digamma,
    gamma,
    gammasgn,
    lgamma,
    multigammaln,
    polygamma,
    rgamma,
    zeta,
)
from .ops.special.incomplete import betainc, gammainc, gammaincc

# The names that SciPy or PyTorch give to the same functions.
gammaln, psi, mvlgamma, igamma, igammac = lgamma, digamma, multigammaln, gammainc, gammaincc
j0, j1, y0, y1 = bessel_j0, bessel_j1, bessel_y0, bessel_y1
modified_bessel_i0, modified_bessel_i1 = i0, i1
modified_bessel_k0, modified_bessel_k1 = k0, k1
scaled_modified_bessel_k0, scaled_modified_bessel_k1 = k0e, k1e

__all__ = [
    "bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1", "beta", "betainc", "betaln", "digamma",
    "entr", "erf", "erfc", "erfcinv", "erfcx", "erfinv", "exp2", "expit", "expm1", "gamma",
    "gammainc", "gammaincc", "gammaln", "gammasgn", "i0", "i0e", "i1", "i1e", "igamma", "igammac",
    "j0", "j1", "k0", "k0e", "k1", "k1e", "lgamma", "log1p", "log_expit", "log_ndtr", "log_softmax",
    "logaddexp", "logaddexp2", "logit", "logsumexp", "modified_bessel_i0", "modified_bessel_i1",
    "modified_bessel_k0", "modified_bessel_k1", "multigammaln", "mvlgamma", "ndtr", "ndtri",
    "polygamma", "psi", "rgamma", "scaled_modified_bessel_k0", "scaled_modified_bessel_k1", "sinc",
    "softmax", "spherical_bessel_j0", "xlog1py", "xlogy", "y0", "y1", "zeta",
]
