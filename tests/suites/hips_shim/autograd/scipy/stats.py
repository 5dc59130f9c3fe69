"""scipy.stats outside of traces, tinygen.distributions inside."""

import sys
import types

import scipy.stats

from tinygen import distributions as td

from ..core import as_tensor, traced


def _normal(loc=0.0, scale=1.0):
    return td.Normal(as_tensor(loc), as_tensor(scale), validate_args=False)


def _student(df, loc=0.0, scale=1.0):
    return td.StudentT(as_tensor(df), as_tensor(loc), as_tensor(scale), validate_args=False)


FAMILIES = {
    "norm": _normal, "t": _student,
    "gamma": lambda a: td.Gamma(as_tensor(a), as_tensor(1.0), validate_args=False),
    "beta": lambda a, b: td.Beta(as_tensor(a), as_tensor(b), validate_args=False),
    "chi2": lambda df: td.Chi2(as_tensor(df), validate_args=False),
    "poisson": lambda mu: td.Poisson(as_tensor(mu), validate_args=False),
    "dirichlet": lambda alpha: td.Dirichlet(as_tensor(alpha), validate_args=False),
    "multivariate_normal": lambda mean, cov, allow_singular=False: td.MultivariateNormal(
        as_tensor(mean), as_tensor(cov), validate_args=False),
}
KINDS = {
    "pdf": lambda d, x: d.log_prob(x).exp(), "logpdf": lambda d, x: d.log_prob(x),
    "pmf": lambda d, x: d.log_prob(x).exp(), "logpmf": lambda d, x: d.log_prob(x),
    "cdf": lambda d, x: d.cdf(x), "logcdf": lambda d, x: d.cdf(x).log(),
    "sf": lambda d, x: 1 - d.cdf(x), "logsf": lambda d, x: (1 - d.cdf(x)).log(),
}


class Family(types.ModuleType):
    """One distribution of scipy.stats."""

    def __init__(self, name):
        super().__init__(f"{__name__}.{name}")
        self.family, self.original = name, getattr(scipy.stats, name)

    def __getattr__(self, kind):
        original = getattr(self.original, kind)

        def call(*args, **kwargs):
            if not traced(args):
                return original(*args, **kwargs)
            if kind == "entropy":
                return FAMILIES[self.family](*args, **kwargs).entropy()
            x, *parameters = args
            return KINDS[kind](FAMILIES[self.family](*parameters, **kwargs), as_tensor(x))
        return call


for _name in FAMILIES:
    globals()[_name] = sys.modules[f"{__name__}.{_name}"] = Family(_name)
