"""What is refused, and in which words; constraints."""

import numpy as np
import pytest

import tinygen as tg
import tinygen.distributions as D

C = D.constraints


@pytest.mark.parametrize("call, message", [
    (lambda: D.Normal(0.0, -1.0), r"\[Normal\] scale: every value must satisfy GreaterThan"),
    (lambda: D.Normal(float("nan"), 1.0), r"\[Normal\] loc: every value must satisfy Real"),
    (lambda: D.Bernoulli(1.5), r"\[Bernoulli\] probs: every value must satisfy Interval"),
    (lambda: D.Bernoulli(), r"\[Bernoulli\] give either probs or logits, neither was given"),
    (lambda: D.Categorical(probs=[1.0], logits=[1.0]), r"\[Categorical\].*not both"),
    (lambda: D.Categorical(0.5), r"\[Categorical\] probs must have at least one axis"),
    (lambda: D.Geometric(0.0), r"\[Geometric\] probs: every value must be positive"),
    (lambda: D.Uniform(1.0, 1.0), r"\[Uniform\] low must lie below high"),
    (lambda: D.Dirichlet(1.0), r"\[Dirichlet\] concentration must have at least one axis"),
    (lambda: D.Gamma(1.0, 1.0).log_prob(-1.0), r"\[Gamma\] value must lie within the support"),
    (lambda: D.Poisson(1.0).log_prob(0.5), r"\[Poisson\].*the support IntegerG"),
    (lambda: D.Normal(tg.zeros((3,)), 1.0).log_prob(tg.zeros((2,))),
     r"\[Normal\] value has shape \(2,\), which does not broadcast"),
    (lambda: D.Dirichlet([1.0, 2.0]).log_prob([1.0, 0.0, 0.0]), r"must be the event_shape \(2,\)"),
    (lambda: D.MultivariateNormal(tg.zeros((2,))), r"exactly one of covariance_matrix"),
    (lambda: D.MultivariateNormal(tg.zeros((2,)), tg.eye(3)), r"loc \(2,\) needs \(..., 2, 2\)"),
    (lambda: D.MultivariateNormal(tg.zeros((2,)), -tg.eye(2)), r"PositiveDefinite"),
    (lambda: D.Independent(D.Normal(0.0, 1.0), 1), r"reinterpreted_batch_ndims is 1"),
    (lambda: D.MixtureSameFamily(D.Categorical([1.0, 2.0]), D.Normal([0.0] * 3, 1.0)),
     r"chooses among 2 components, there are 3"),
    (lambda: D.TransformedDistribution(D.Normal(0.0, 1.0), D.StickBreakingTransform()),
     r"need at least 1 axes"),
])
def test_bad_values(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("call, message", [
    (lambda: D.Poisson(1.0).rsample(), r"\[Poisson\] has no rsample"),
    (lambda: D.Gamma(1.0, 1.0).icdf(0.5), r"\[Gamma\] has no icdf"),
    (lambda: D.Binomial([1, 2], 0.5).enumerate_support(), r"needs one total_count"),
    (lambda: D.Multinomial([1, 2], [0.5, 0.5]), r"\[Multinomial\] total_count must be one integer"),
])
def test_what_is_missing(call, message):
    with pytest.raises(NotImplementedError, match=message):
        call()


def test_checks_can_be_left_out():
    assert D.Normal(0.0, -1.0, validate_args=False).scale.item() == -1
    assert D.Poisson(1.0, validate_args=False).log_prob(0.5).shape == ()
    D.Distribution.set_default_validate_args(False)
    try:
        D.Bernoulli(1.5)
    finally:
        D.Distribution.set_default_validate_args(True)
    with pytest.raises(ValueError):
        D.Bernoulli(1.5)


@pytest.mark.parametrize("constraint, good, bad", [
    (C.boolean, 1.0, 0.5), (C.positive, 0.1, 0.0), (C.nonnegative, 0.0, -0.1),
    (C.real, 3.0, np.nan),
    (C.nonnegative_integer, 0.0, 1.5), (C.positive_integer, 1.0, 0.0), (C.unit_interval, 1.0, 1.1),
    (C.half_open_interval(0, 1), 0.0, 1.0), (C.less_than(2), 1.0, 2.0),
    (C.greater_than(2), 3.0, 2.0),
    (C.greater_than_eq(2), 2.0, 1.0), (C.integer_interval(0, 2), 2.0, 3.0),
    (C.simplex, [0.5, 0.5], [0.5, 0.6]), (C.one_hot, [0.0, 1.0], [1.0, 1.0]),
    (C.multinomial(3), [1.0, 2.0], [2.0, 2.0]), (C.real_vector, [1.0, 2.0], [1.0, np.nan]),
    (C.lower_triangular, [[1.0, 0.0], [1.0, 1.0]], [[1.0, 1.0], [0.0, 1.0]]),
    (C.lower_cholesky, [[1.0, 0.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, -1.0]]),
    (C.symmetric, [[1.0, 2.0], [2.0, 1.0]], [[1.0, 2.0], [0.0, 1.0]]),
    (C.positive_definite, [[2.0, 1.0], [1.0, 2.0]], [[1.0, 2.0], [2.0, 1.0]]),
    (C.positive_semidefinite, [[1.0, 1.0], [1.0, 1.0]], [[1.0, 2.0], [2.0, 1.0]]),
    (C.corr_cholesky, [[1.0, 0.0], [0.6, 0.8]], [[1.0, 0.0], [0.6, 0.9]]),
    (C.square, [[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.0, 3.0], [1.0, 1.0, 1.0]]),
], ids=repr)
def test_constraints(constraint, good, bad):
    assert constraint.check(tg.Tensor(good)).numpy().all()
    assert not constraint.check(tg.Tensor(bad)).numpy().any()
    assert constraint.check(tg.Tensor(good)).ndim == np.ndim(good) - constraint.event_dim
