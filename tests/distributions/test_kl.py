"""Divergences: every pair that PyTorch registers among these families, and Monte Carlo."""

import numpy as np
import pytest

import tinygen as tg
import tinygen.distributions as ours
from tests.distributions.test_parity import close, same_gradients

torch = pytest.importorskip("torch")
theirs = torch.distributions

WEIGHTS = np.array([[0.2, 0.3, 0.5], [0.6, 0.1, 0.3]])
EYE = np.eye(2)
FAMILIES = {
    "Normal": [((-0.3, 0.7), (1.1, 0.6)), ((0.5, -0.2), (0.8, 1.4))],
    "Laplace": [((-0.3, 0.7), (1.1, 0.6)), ((0.5, -0.2), (0.8, 1.4))],
    "Gumbel": [((-0.3, 0.7), (1.1, 0.6)), ((0.5, -0.2), (0.8, 1.4))],
    "Uniform": [((0.2, 0.3), (0.7, 0.8)), ((0.1, 0.4), (0.9, 0.9)), ((-1.0, 0.1), (2.0, 3.0))],
    "Exponential": [((0.7, 1.3),), ((1.9, 0.4),)],
    "Gamma": [((1.2, 3.0), (0.7, 1.6)), ((2.5, 0.9), (1.1, 0.5))],
    "Beta": [((1.2, 3.0), (0.7, 1.6)), ((2.5, 0.9), (1.1, 0.5))],
    "ContinuousBernoulli": [((0.3, 0.8),), ((0.5001, 0.2),)],
    "LowRankMultivariateNormal": [
        (np.array([[0.1, 0.7], [1.0, 2.0]]), np.array([[0.5], [0.3]]), np.array([1.0, 2.0])),
        (np.array([0.4, 0.7]), np.array([[0.1], [0.9]]), np.array([0.7, 0.6]))],
    "Pareto": [((0.7, 1.3), (2.4, 3.5)), ((0.2, 1.4), (2.1, 5.0)), ((0.1, 0.2), (1.5, 0.8))],
    "Bernoulli": [((0.3, 0.8),), ((0.6, 0.2),), ((0.0, 1.0),)],
    "Poisson": [((0.7, 3.0),), ((1.4, 2.0),)],
    "Geometric": [((0.3, 0.8),), ((0.6, 0.2),)],
    "HalfNormal": [((0.3, 0.8),), ((0.6, 1.2),)],
    "LogNormal": [((-0.3, 0.7), (1.1, 0.6)), ((0.5, -0.2), (0.8, 1.4))],
    "Categorical": [(WEIGHTS,), (WEIGHTS[::-1].copy(),)],
    "OneHotCategorical": [(WEIGHTS,), (WEIGHTS[::-1].copy(),)],
    "Dirichlet": [(WEIGHTS * 9,), (WEIGHTS + 0.4,)],
    "MultivariateNormal": [(np.array([[0.1, 0.7], [1.0, 2.0]]), EYE + 0.3),
                           (np.array([0.5, -0.4]), EYE * 2 - 0.5)],
    "Binomial": [((4.0, 4.0), (0.3, 0.8)), ((4.0, 4.0), (0.6, 0.2)), ((2.0, 3.0), (0.5, 0.5))],
}


def made(name, parameters):
    arrays = [np.array(p) for p in parameters]
    mine = {i: tg.Tensor(a, requires_grad=True) for i, a in enumerate(arrays)}
    yours = {i: torch.tensor(a, requires_grad=True) for i, a in enumerate(arrays)}
    return (getattr(ours, name)(*mine.values()), getattr(theirs, name)(*yours.values()),
            mine, yours)


@pytest.mark.parametrize("first", FAMILIES)
def test_pairs_like_pytorch(first):
    """All second families; where PyTorch has no closed form neither have we."""
    compared = 0
    for second, choices in FAMILIES.items():
        for a in FAMILIES[first]:
            for b in choices:
                p, r, mine_p, yours_p = made(first, a)
                q, s, mine_q, yours_q = made(second, b)
                if (first, second) == ("ContinuousBernoulli", "Uniform") and b[0][0] > 0:
                    b = ((-0.1, -0.2), (1.1, 1.2))   # touching ends are infinite in PyTorch
                    q, s, mine_q, yours_q = made(second, b)
                try:
                    wanted = theirs.kl_divergence(r, s)
                except NotImplementedError:
                    with pytest.raises(NotImplementedError, match=r"\[kl_divergence\]"):
                        ours.kl_divergence(p, q)
                    continue
                found = ours.kl_divergence(p, q)
                what = f"{first}{a} {second}{b}"
                a0, b0 = found.detach().numpy(), wanted.detach().numpy()
                np.testing.assert_allclose(a0, b0, rtol=1e-7, atol=1e-10, err_msg=what)
                compared += 1
                if not np.isfinite(b0).all() or "0.0, 1.0" in what:
                    continue
                for mine, yours in ((mine_p, yours_p), (mine_q, yours_q)):
                    if not (first == "Binomial" or found.requires_grad is False):
                        same_gradients(found, wanted, mine, yours, f"y: gradient {what}",
                                       "float64")
    assert compared


@pytest.mark.parametrize("p, q", [
    (ours.Normal(0.3, 1.2), ours.Gumbel(0.1, 2.0)), (ours.Gamma(2.0, 1.5), ours.Normal(1.0, 2.0)),
    (ours.Beta(2.0, 3.0), ours.Gamma(1.5, 2.0)), (ours.Laplace(0.2, 0.7), ours.Normal(0.0, 1.0)),
    (ours.Normal(0.3, 1.2), ours.Laplace(0.0, 1.0)), (ours.Pareto(1.0, 4.0), ours.Gamma(2.0, 1.0)),
    (ours.Dirichlet([2.0, 3.0, 1.0]), ours.Dirichlet([1.0, 1.0, 2.0])),
    (ours.Poisson(2.0), ours.Poisson(3.0)), (ours.Bernoulli(0.3), ours.Poisson(0.5)),
    (ours.Uniform(0.2, 0.7), ours.Beta(2.0, 2.0)),
], ids=lambda d: type(d).__name__)
def test_monte_carlo_agrees(p, q):
    tg.manual_seed(0)
    x = p.sample((40_000,))
    terms = (p.log_prob(x) - q.log_prob(x)).numpy().astype("f8")
    error = 4.5 * terms.std() / np.sqrt(len(terms))
    assert abs(terms.mean() - ours.kl_divergence(p, q).item()) < error


def test_independent_and_transformed():
    loc, scale = np.array([[0.1, 0.7], [1.0, 2.0]]), np.array([0.5, 1.5])
    def build(d, make):
        p = d.Independent(d.Normal(make(loc), make(scale)), 1)
        q = d.Independent(d.Normal(make(0 * loc), make(scale + 1)), 1)
        steps = [d.transforms.ExpTransform()]
        return (d.kl_divergence(p, q), d.kl_divergence(d.TransformedDistribution(p, steps),
                                                       d.TransformedDistribution(q, steps)))
    for a, b in zip(build(ours, tg.Tensor), build(theirs, torch.tensor), strict=True):
        close(a, b, "kl")


def test_a_pair_can_be_registered_and_a_missing_one_is_named():
    class Mine(ours.Normal):
        pass
    p, q = Mine(0.0, 1.0), ours.Cauchy(0.0, 1.0)
    with pytest.raises(NotImplementedError, match=r"closed form is known for Mine and Cauchy"):
        ours.kl_divergence(p, q)

    @ours.register_kl(Mine, ours.Cauchy)
    def _(p, q):
        return p.loc + 7
    assert ours.kl_divergence(p, q).item() == 7
    assert ours.kl_divergence(p, ours.Normal(0.0, 1.0)).item() == 0      # a subclass of Normal
    with pytest.raises(TypeError, match=r"\[register_kl\] expected subclasses"):
        ours.register_kl(int, Mine)
