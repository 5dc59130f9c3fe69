"""scipy.stats outside of traces; inside, its densities written with tinygen's functions."""

import math
import sys
import types

import numpy as onp
import scipy.stats

import tinygen as tg

from ..core import as_tensor, plain, traced

sp = tg.special


def _standard(x, loc, scale):
    scale = as_tensor(scale)
    return (as_tensor(x) - loc) / scale, tg.log(scale)


def norm(kind, x, loc=0.0, scale=1.0):
    z, log_scale = _standard(x, loc, scale)
    return {"logpdf": lambda: -0.5 * z * z - log_scale - 0.5 * math.log(2 * math.pi),
            "cdf": lambda: sp.ndtr(z), "sf": lambda: sp.ndtr(-z),
            "logcdf": lambda: sp.log_ndtr(z), "logsf": lambda: sp.log_ndtr(-z)}[kind]()


def t(kind, x, df, loc=0.0, scale=1.0):
    df = as_tensor(df)
    z, log_scale = _standard(x, loc, scale)
    if kind == "logpdf":
        return (sp.gammaln((df + 1) / 2) - sp.gammaln(df / 2) - 0.5 * tg.log(df * math.pi)
                - log_scale - (df + 1) / 2 * tg.log1p(z * z / df))
    tail = 0.5 * sp.betainc(df / 2, 0.5 + 0 * df, df / (df + z * z))
    below = tg.where(z > 0, 1 - tail, tail)
    return {"cdf": lambda: below, "logcdf": lambda: tg.log(below)}[kind]()


def gamma(kind, x, a):
    x, a = as_tensor(x), as_tensor(a)
    return {"logpdf": lambda: sp.xlogy(a - 1, x) - x - sp.gammaln(a),
            "cdf": lambda: sp.gammainc(a, x)}[kind]()


def chi2(kind, x, df):
    x, df = as_tensor(x), as_tensor(df)
    y = FORMULAS["gamma"](kind, x / 2, df / 2)
    return y - math.log(2) if kind == "logpdf" else y


def beta(kind, x, a, b):
    x, a, b = as_tensor(x), as_tensor(a), as_tensor(b)
    return {"logpdf": lambda: sp.xlogy(a - 1, x) + sp.xlog1py(b - 1, -x) - sp.betaln(a, b),
            "cdf": lambda: sp.betainc(a, b, x)}[kind]()


def poisson(kind, k, mu):
    k, mu = as_tensor(k), as_tensor(mu)
    return {"logpmf": lambda: sp.xlogy(k, mu) - mu - sp.gammaln(k + 1),
            "cdf": lambda: sp.gammaincc(k + 1, mu)}[kind]()


def dirichlet(kind, x, alpha):
    assert kind == "logpdf"
    x, alpha = as_tensor(x), as_tensor(alpha)
    return (tg.sum(sp.xlogy(alpha - 1, x), axis=-1) + sp.gammaln(tg.sum(alpha, axis=-1))
            - tg.sum(sp.gammaln(alpha), axis=-1))


def _normal(x, mean, inverse, log_det, rank):
    d = as_tensor(x) - mean
    return -0.5 * (tg.sum(d @ inverse * d, axis=-1) + log_det + rank * math.log(2 * math.pi))


def multivariate_normal(kind, *args, allow_singular=False):
    if kind == "entropy":
        _, cov = args
        log_det = tg.linalg.slogdet(as_tensor(cov))[1]
        return 0.5 * (log_det + len(plain(cov)) * (1 + math.log(2 * math.pi)))
    assert kind == "logpdf"
    x, mean, cov = args
    if allow_singular:                          # constant here: only x and mean are variables
        values = onp.linalg.eigvalsh(plain(cov))
        values = values[values > 1e-10]
        return _normal(x, mean, as_tensor(onp.linalg.pinv(plain(cov))),
                       float(onp.log(values).sum()), len(values))
    cov = as_tensor(cov)
    return _normal(x, mean, tg.linalg.inv(cov), tg.linalg.slogdet(cov)[1], len(plain(cov)))


class Family(types.ModuleType):
    """One distribution of scipy.stats; densities and probabilities are exp of their logarithms."""

    def __init__(self, name, formula):
        super().__init__(f"{__name__}.{name}")
        self.formula, self.original = formula, getattr(scipy.stats, name)

    def __getattr__(self, kind):
        original = getattr(self.original, kind)

        def call(*args, **kwargs):
            if not traced(args):
                return original(*args, **kwargs)
            if kind in ("pdf", "pmf"):
                return tg.exp(self.formula("log" + kind, *args, **kwargs))
            return self.formula(kind, *args, **kwargs)
        return call


FORMULAS = {f.__name__: f for f in (norm, t, gamma, chi2, beta, poisson, dirichlet,
                                    multivariate_normal)}
for _name, _formula in FORMULAS.items():
    globals()[_name] = sys.modules[f"{__name__}.{_name}"] = Family(_name, _formula)
