"""Probability distributions under PyTorch's names: sampling, densities, divergences.

>>> import tinygen as tg
>>> from tinygen.distributions import Normal, kl_divergence
>>> kl_divergence(Normal(tg.zeros((2,)), 1.0), Normal(1.0, 1.0)).tolist()
[0.5, 0.5]
"""

from . import constraints, transforms
from .categorical import (
    Categorical, Multinomial, OneHotCategorical, OneHotCategoricalStraightThrough,
)
from .discrete import Bernoulli, Binomial, Geometric, NegativeBinomial, Poisson
from .distribution import Distribution
from .kl import kl_divergence, register_kl
from .location import Cauchy, Gumbel, Laplace, Normal, StudentT, Uniform, VonMises
from .mixture import Independent, MixtureSameFamily
from .multivariate import LowRankMultivariateNormal, MultivariateNormal
from .positive import Beta, Chi2, Dirichlet, Exponential, Gamma
from .relaxed import RelaxedBernoulli, RelaxedOneHotCategorical
from .transformed import (
    HalfCauchy, HalfNormal, InverseGamma, LogisticNormal, LogNormal, Pareto,
    TransformedDistribution, Weibull,
)
from .transforms import (
    AbsTransform, AffineTransform, CatTransform, ComposeTransform,
    CumulativeDistributionTransform, ExpTransform, IndependentTransform, LowerCholeskyTransform,
    PowerTransform, ReshapeTransform, SigmoidTransform, SoftmaxTransform, SoftplusTransform,
    StackTransform, StickBreakingTransform, TanhTransform, Transform, identity_transform,
)
from .unit import ContinuousBernoulli, FisherSnedecor, Kumaraswamy

__all__ = [
    "AbsTransform", "AffineTransform", "Bernoulli", "Beta", "Binomial", "CatTransform",
    "Categorical", "Cauchy", "Chi2", "ComposeTransform", "ContinuousBernoulli",
    "CumulativeDistributionTransform", "Dirichlet", "Distribution", "ExpTransform", "Exponential",
    "FisherSnedecor", "Gamma", "Geometric", "Gumbel", "HalfCauchy", "HalfNormal", "Independent",
    "IndependentTransform", "InverseGamma", "Kumaraswamy", "Laplace", "LogNormal",
    "LogisticNormal", "LowRankMultivariateNormal", "LowerCholeskyTransform", "MixtureSameFamily",
    "Multinomial", "MultivariateNormal", "NegativeBinomial", "Normal", "OneHotCategorical",
    "OneHotCategoricalStraightThrough", "Pareto", "Poisson", "PowerTransform", "RelaxedBernoulli",
    "RelaxedOneHotCategorical", "ReshapeTransform", "SigmoidTransform", "SoftmaxTransform",
    "SoftplusTransform", "StackTransform", "StickBreakingTransform", "StudentT", "TanhTransform",
    "Transform", "TransformedDistribution", "Uniform", "VonMises", "Weibull", "constraints",
    "identity_transform", "kl_divergence", "register_kl", "transforms",
]
