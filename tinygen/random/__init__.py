"""Random draws: every draw is a primitive that holds its generator, so programs can be replayed.

`manual_seed(n)` restarts the default stream; same seed, same machine, same numbers.
"""

from .draws import (
    bernoulli, default_generator, get_state, manual_seed, normal, permutation, rand, randint,
    randn, set_state, uniform,
)
from .laws import (
    beta, binomial, categorical, cauchy, chi2, dirichlet, exponential, gamma, geometric, gumbel,
    laplace, log_normal, multinomial, negative_binomial, poisson, standard_gamma, student_t,
    von_mises,
)

__all__ = [
    "bernoulli", "beta", "binomial", "categorical", "cauchy", "chi2", "default_generator",
    "dirichlet", "exponential", "gamma", "geometric", "get_state", "gumbel", "laplace",
    "log_normal", "manual_seed", "multinomial", "negative_binomial", "normal", "permutation",
    "poisson", "rand", "randint", "randn", "set_state", "standard_gamma", "student_t", "uniform",
    "von_mises",
]
