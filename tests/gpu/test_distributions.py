"""Distributions on the double: draws and densities are on the device, and nobody waits."""

import numpy as np
import pytest

import tinygen as tg
from tests.doubles.counting import counted
from tinygen import distributions

KERNELS = False

_rng = np.random.default_rng(0)
POSITIVE, OTHER = np.abs(_rng.standard_normal((2, 3))) + 0.5
SHARE, SHARES = np.array([0.2, 0.5, 0.7]), np.array([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4]])
COVARIANCE, FIVE, WARM = np.eye(3) * 2 + 0.1, np.full(3, 5.0), np.array(0.7)

ARGUMENTS = {
    **dict.fromkeys(("Normal", "Beta", "Gamma", "Laplace", "Cauchy", "Gumbel", "LogNormal",
                     "Pareto", "Weibull", "Kumaraswamy", "VonMises", "InverseGamma",
                     "LogisticNormal"), (POSITIVE, OTHER)),
    **dict.fromkeys(("Exponential", "HalfNormal", "HalfCauchy", "Poisson", "Chi2", "Dirichlet"),
                    (POSITIVE,)),
    **dict.fromkeys(("Bernoulli", "Geometric", "ContinuousBernoulli"), (SHARE,)),
    **dict.fromkeys(("Categorical", "OneHotCategorical"), (SHARES,)),
    **dict.fromkeys(("Binomial", "NegativeBinomial"), (FIVE, SHARE)),
    "Uniform": (POSITIVE - 3, POSITIVE), "StudentT": (POSITIVE + 3,),
    "FisherSnedecor": (POSITIVE + 5, OTHER + 5), "MultivariateNormal": (POSITIVE, COVARIANCE),
    "LowRankMultivariateNormal": (POSITIVE, COVARIANCE[:, :2], OTHER),
    "RelaxedBernoulli": (WARM, SHARE), "RelaxedOneHotCategorical": (WARM, SHARES),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_draws_and_densities_are_on_the_device(name):
    kind = getattr(distributions, name)
    host = kind(*map(tg.Tensor, ARGUMENTS[name]))
    given = [tg.Tensor(x, device="cuda") for x in ARGUMENTS[name]]
    for _ in range(2):                     # constants are there the second time
        with counted() as seen:
            there = kind(*given)
            draws = there.sample((2,))
            density = there.log_prob(draws)
    assert (seen.syncs, seen.h2d, seen.d2h) == (0, 0, 0), seen
    drawn = host.sample((2,))
    assert (draws.device, draws.dtype, draws.shape) == ("cuda:0", drawn.dtype, drawn.shape)
    expected = host.log_prob(draws.cpu())
    np.testing.assert_allclose(density.cpu().numpy(), expected.numpy(), rtol=1e-6)
    for what in ("mean", "variance"):
        try:
            expected = getattr(host, what)
        except NotImplementedError:
            continue
        found = getattr(there, what)
        assert found.device == "cuda:0"
        np.testing.assert_allclose(found.cpu().numpy(), expected.numpy(), rtol=1e-9)
