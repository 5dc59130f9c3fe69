"""Every distribution beside PyTorch's: densities, moments and their gradients, on drawn batches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
import tinygen.distributions as ours

torch = pytest.importorskip("torch")
theirs = torch.distributions

# makers of a parameter of a shape, and of a value in the support
REAL = lambda rng, s: rng.normal(0, 1.5, s)
SCALE = lambda rng, s: rng.uniform(0.4, 3, s)
LARGE = lambda rng, s: rng.uniform(2.3, 5, s)
PROB = lambda rng, s: rng.uniform(0.05, 0.95, s)
WEIGHTS = lambda rng, s: rng.uniform(0.1, 1, (*s, 4))
VECTOR = lambda rng, s: rng.normal(0, 1, (*s, 4))
RATES = lambda rng, s: rng.uniform(0.4, 4, (*s, 4))
BITS = lambda rng, s: rng.integers(0, 2, s) * 1.0
COUNT = lambda rng, s: rng.integers(0, 6, s) * 1.0
INDEX = lambda rng, s: rng.integers(0, 4, s)
HOT = lambda rng, s: np.eye(4)[rng.integers(0, 4, s)]
SIMPLEX = lambda rng, s: rng.dirichlet(np.ones(4), s)
COUNTS = lambda rng, s: rng.multinomial(5, np.ones(4) / 4, s) * 1.0
HIGHER = lambda rng, s: rng.uniform(3.1, 9, s)


def covariance(rng, s):
    a = rng.normal(0, 1, (*s, 4, 4))
    return a @ a.swapaxes(-1, -2) + np.eye(4)


def factor(rng, s):
    return np.tril(rng.normal(0, 0.5, (*s, 4, 4)), -1) + np.eye(4) * rng.uniform(0.5, 2, (*s, 1, 4))


# (name, parameters, value, other arguments)
TABLE = [
    ("Normal", {"loc": REAL, "scale": SCALE}, REAL, {}),
    ("Laplace", {"loc": REAL, "scale": SCALE}, REAL, {}),
    ("Cauchy", {"loc": REAL, "scale": SCALE}, REAL, {}),
    ("Gumbel", {"loc": REAL, "scale": LARGE}, REAL, {}),
    ("StudentT", {"df": LARGE, "loc": REAL, "scale": SCALE}, REAL, {}),
    ("VonMises", {"loc": REAL, "concentration": SCALE}, REAL, {}),
    ("Uniform", {"low": REAL, "high": lambda rng, s: rng.uniform(9, 12, s)},
     lambda rng, s: rng.uniform(7, 8, s), {}),
    ("LogNormal", {"loc": REAL, "scale": SCALE}, SCALE, {}),
    ("HalfNormal", {"scale": SCALE}, SCALE, {}),
    ("HalfCauchy", {"scale": SCALE}, SCALE, {}),
    ("Exponential", {"rate": SCALE}, SCALE, {}),
    ("Gamma", {"concentration": SCALE, "rate": SCALE}, SCALE, {}),
    ("Chi2", {"df": SCALE}, SCALE, {}),
    ("InverseGamma", {"concentration": LARGE, "rate": SCALE}, SCALE, {}),
    ("Weibull", {"scale": SCALE, "concentration": LARGE}, SCALE, {}),
    ("Pareto", {"scale": SCALE, "alpha": LARGE}, HIGHER, {}),
    ("Beta", {"concentration1": LARGE, "concentration0": LARGE}, PROB, {}),
    ("FisherSnedecor", {"df1": HIGHER, "df2": lambda rng, s: rng.uniform(5, 9, s)}, SCALE, {}),
    ("Kumaraswamy", {"concentration1": LARGE, "concentration0": LARGE}, PROB, {}),
    ("ContinuousBernoulli", {"probs": lambda rng, s: rng.uniform(0.05, 0.3, s)}, PROB, {}),
    ("ContinuousBernoulli", {"logits": lambda rng, s: rng.uniform(-1e-3, 1e-3, s)}, PROB, {}),
    ("LowRankMultivariateNormal", {
        "loc": VECTOR, "cov_factor": lambda rng, s: rng.normal(0, 1, (*s, 4, 2)),
        "cov_diag": lambda rng, s: rng.uniform(0.5, 2, (*s, 4))}, VECTOR, {}),
    ("Dirichlet", {"concentration": RATES}, SIMPLEX, {}),
    ("Bernoulli", {"probs": PROB}, BITS, {}),
    ("Bernoulli", {"logits": REAL}, BITS, {}),
    ("Geometric", {"probs": PROB}, COUNT, {}),
    ("Geometric", {"logits": REAL}, COUNT, {}),
    ("Binomial", {"probs": PROB}, COUNT, {"total_count": 6}),
    ("Binomial", {"logits": REAL}, COUNT, {"total_count": 6}),
    ("NegativeBinomial", {"total_count": LARGE, "probs": PROB}, COUNT, {}),
    ("NegativeBinomial", {"total_count": LARGE, "logits": REAL}, COUNT, {}),
    ("Poisson", {"rate": SCALE}, COUNT, {}),
    ("Categorical", {"probs": WEIGHTS}, INDEX, {}),
    ("Categorical", {"logits": VECTOR}, INDEX, {}),
    ("OneHotCategorical", {"probs": WEIGHTS}, HOT, {}),
    ("OneHotCategoricalStraightThrough", {"logits": VECTOR}, HOT, {}),
    ("Multinomial", {"probs": WEIGHTS}, COUNTS, {"total_count": 5}),
    ("Multinomial", {"logits": VECTOR}, COUNTS, {"total_count": 5}),
    ("RelaxedBernoulli", {"probs": PROB}, PROB, {"temperature": 0.7}),
    ("RelaxedBernoulli", {"logits": REAL}, PROB, {"temperature": 0.7}),
    ("RelaxedOneHotCategorical", {"logits": VECTOR}, SIMPLEX, {"temperature": 0.7}),
    ("RelaxedOneHotCategorical", {"probs": WEIGHTS}, SIMPLEX, {"temperature": 0.7}),
    ("LogisticNormal", {"loc": lambda r, s: r.normal(0, 1, (*s, 3)),
                        "scale": lambda r, s: r.uniform(0.5, 2, (*s, 3))}, SIMPLEX, {}),
    ("MultivariateNormal", {"loc": VECTOR, "covariance_matrix": covariance}, VECTOR, {}),
    ("MultivariateNormal", {"loc": VECTOR, "precision_matrix": covariance}, VECTOR, {}),
    ("MultivariateNormal", {"loc": VECTOR, "scale_tril": factor}, VECTOR, {}),
]
FACTS = ["mean", "mode", "variance", "stddev", "entropy", "perplexity"]


def close(a, b, what, dtype="float64"):
    b = b.detach().numpy()
    a = a.detach().numpy()
    assert a.shape == b.shape, (what, a.shape, b.shape)
    if b.dtype.kind == "f":
        assert a.dtype == b.dtype, (what, a.dtype, b.dtype)
    # PyTorch's trigamma (gradients of entropies), I0 of VonMises and the lgamma of a count in the
    # multinomial's entropy have fewer digits than float64 holds: 9, 7 and 7
    loose = 1e-6 if what.startswith(("von", "Mul")) else 2e-8 if "y: gradient" in what else 1e-9
    rtol = loose if dtype == "float64" else 5e-4
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * 0.1, err_msg=what)


def pair(name, arrays, options):
    """Our distribution and theirs with parameters that require gradients."""
    mine = {k: tg.Tensor(v, requires_grad=True) for k, v in arrays.items()}
    yours = {k: torch.tensor(v, requires_grad=True) for k, v in arrays.items()}
    for k, v in options.items():
        fixed = k == "temperature"
        like = next(iter(arrays.values())).dtype.type(v)
        mine[k], yours[k] = (tg.Tensor(like), torch.tensor(like)) if fixed else (v, v)
    return getattr(ours, name)(**mine), getattr(theirs, name)(**yours), mine, yours


def same_gradients(a, b, mine, yours, what, dtype):
    """d/d(parameters) of the weighted sums of two results."""
    if not b.requires_grad:
        return
    weight = np.random.default_rng(3).standard_normal(b.shape).astype(dtype)
    left = {k: t for k, t in mine.items() if isinstance(t, tg.Tensor) and t.requires_grad}
    right = [yours[k] for k in left]
    found = tg.autograd.grad((a * weight).sum(), list(left.values()), allow_unused=True,
                             retain_graph=True)
    wanted = torch.autograd.grad((b * torch.tensor(weight)).sum(), right, allow_unused=True,
                                 retain_graph=True)
    for k, g, w in zip(left, found, wanted, strict=True):
        w = torch.zeros_like(yours[k]) if w is None else w
        g = tg.zeros_like(mine[k]) if g is None else g
        close(g, w, f"{what}: gradient to {k}", dtype)


@pytest.mark.parametrize("name, parameters, value, options", TABLE,
                         ids=[f"{t[0]}-{'-'.join(t[1])}" for t in TABLE])
@given(data=st.data())
def test_like_pytorch(name, parameters, value, options, data):
    dtype = data.draw(st.sampled_from(["float64", "float64", "float32"]))
    batch = data.draw(st.sampled_from([(), (1,), (3,), (2, 3)]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2 ** 20)))
    arrays = {k: make(rng, batch).astype(dtype) for k, make in parameters.items()}
    p, q, mine, yours = pair(name, arrays, options)
    assert (p.batch_shape, p.event_shape) == (tuple(q.batch_shape), tuple(q.event_shape))
    assert (p.has_rsample, p.has_enumerate_support) == (q.has_rsample, q.has_enumerate_support)
    assert list(p.arg_constraints) == list(q.arg_constraints) or set(p.arg_constraints) == set(
        q.arg_constraints)
    sample = data.draw(st.sampled_from([(), (2,)]))
    x = np.asarray(value(rng, sample + p.batch_shape))
    if x.dtype.kind == "f":
        x = x.astype(dtype)
    mine["value"], yours["value"] = tg.Tensor(x), torch.tensor(x)
    if p.has_rsample and name != "OneHotCategoricalStraightThrough":
        mine["value"].requires_grad_()
        yours["value"].requires_grad_()
    a, b = p.log_prob(mine["value"]), q.log_prob(yours["value"])
    note = {"VonMises": "von Mises ", "Multinomial": "Multinomial "}.get(name, "")
    close(a, b, f"{note}log_prob", dtype)
    same_gradients(a, b, mine, yours, f"{note}log_prob", dtype)
    for fact in FACTS:
        if (name, fact) == ("Kumaraswamy", "mode"):      # PyTorch takes the log of 1 - a there
            continue
        try:
            b = getattr(q, fact)
            b = b() if callable(b) else b
        except NotImplementedError:
            continue
        a = getattr(p, fact)
        a = a() if callable(a) else a
        close(a, b, note + fact, dtype)
        same_gradients(a, b, mine, yours, note + fact, dtype)
    for function, at in (("cdf", mine["value"]), ("icdf", None)):
        u = rng.uniform(0.1, 0.9, sample + p.batch_shape).astype(dtype)
        theirs_at = yours["value"] if at is not None else torch.tensor(u)
        try:
            b = getattr(q, function)(theirs_at)
        except NotImplementedError:
            continue
        a = getattr(p, function)(at if at is not None else tg.Tensor(u))
        close(a, b, function, dtype)
        if name not in ("Gamma", "Chi2", "InverseGamma"):      # PyTorch has no gradient to a
            same_gradients(a, b, mine, yours, function, dtype)
    if p.has_enumerate_support:
        for expand in (True, False):
            close(p.enumerate_support(expand).astype("float64"),
                  q.enumerate_support(expand).double(), "enumerate_support")


@pytest.mark.parametrize("name, parameters, value, options", TABLE,
                         ids=[f"{t[0]}-{'-'.join(t[1])}" for t in TABLE])
def test_expand_and_sample(name, parameters, value, options):
    tg.manual_seed(0)
    rng = np.random.default_rng(0)
    arrays = {k: make(rng, (3, 1)) for k, make in parameters.items()}
    p, q, *_ = pair(name, arrays, options)
    wide, reference = p.expand((2, 3, 4)), q.expand((2, 3, 4))
    assert type(wide) is type(p)
    assert (wide.batch_shape, wide.event_shape) == (tuple(reference.batch_shape),
                                                    tuple(reference.event_shape))
    x = wide.sample((5,))
    assert x.shape == (5, 2, 3, 4, *p.event_shape)
    assert not x.requires_grad
    if x.dtype.kind == "f":
        assert x.dtype == np.float64
    close(wide.log_prob(x), reference.log_prob(torch.tensor(x.numpy())),
          "von Mises" if name == "VonMises" else "log_prob")
    assert q.support.check(torch.tensor(x.numpy())).all()
    assert p.support.check(x).numpy().all()
    if p.has_rsample:
        assert p.rsample((2,)).requires_grad
    assert name in repr(p)


def test_the_mode_of_kumaraswamy_is_where_the_density_is_highest():
    x = np.linspace(0.001, 0.999, 9999)
    p = ours.Kumaraswamy(np.array(2.5), np.array(3.0))
    assert abs(x[p.log_prob(x).numpy().argmax()] - p.mode.item()) < 1e-3
