"""Transforms beside PyTorch's: values, inverses, Jacobians, shapes, gradients; errors."""

import numpy as np
import pytest

import tinygen as tg
import tinygen.distributions as ours

torch = pytest.importorskip("torch")
theirs = torch.distributions

RNG = np.random.default_rng(0)
REAL, POSITIVE = RNG.normal(0, 1, (2, 4)), RNG.uniform(0.2, 3, (2, 4))

TRANSFORMS = [
    (lambda d, t: d.transforms.ExpTransform(), REAL),
    (lambda d, t: d.transforms.SigmoidTransform(), REAL),
    (lambda d, t: d.transforms.TanhTransform(), REAL),
    (lambda d, t: d.transforms.SoftplusTransform(), REAL),
    (lambda d, t: d.transforms.AffineTransform(1.5, -0.5), REAL),
    (lambda d, t: d.transforms.AffineTransform(t(REAL[0]), t(POSITIVE[1]), event_dim=1), REAL),
    (lambda d, t: d.transforms.PowerTransform(t(np.array(2.0))), POSITIVE),
    (lambda d, t: d.transforms.PowerTransform(t(np.array(-0.5))), POSITIVE),
    (lambda d, t: d.transforms.StickBreakingTransform(), REAL),
    (lambda d, t: d.transforms.ReshapeTransform((4,), (2, 2)), REAL),
    (lambda d, t: d.transforms.IndependentTransform(d.transforms.ExpTransform(), 1), REAL),
    (lambda d, t: d.transforms.CumulativeDistributionTransform(d.Normal(0.5, 2.0)), REAL),
    (lambda d, t: d.transforms.ComposeTransform([d.transforms.AffineTransform(0.5, 2.0),
                                                 d.transforms.SigmoidTransform()]), REAL),
    (lambda d, t: d.transforms.ComposeTransform([d.transforms.ExpTransform().inv,
                                                 d.transforms.StickBreakingTransform()]), POSITIVE),
    (lambda d, t: d.transforms.CatTransform([d.transforms.ExpTransform(),
                                             d.transforms.TanhTransform()], 1, [1, 3]), REAL),
    (lambda d, t: d.transforms.StackTransform([d.transforms.ExpTransform(),
                                               d.transforms.AffineTransform(1.0, 2.0)], 0), REAL),
]


def equal(a, b, what):
    a, b = a.detach().numpy(), b.detach().numpy()
    assert (a.shape, a.dtype) == (b.shape, b.dtype), what
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11, err_msg=what)


@pytest.mark.parametrize("make, x", TRANSFORMS)
def test_bijections(make, x):
    a, b = make(ours, tg.Tensor), make(theirs, torch.tensor)
    u, v = tg.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = a(u), b(v)
    equal(y, z, "forward")
    j, k = a.log_abs_det_jacobian(u, y), b.log_abs_det_jacobian(v, z)
    equal(j, k, "jacobian")
    (j.sum() + (y * y).sum()).backward()
    (k.sum() + (z * z).sum()).backward()
    equal(u.grad, v.grad, "gradient")
    equal(a.inv(y.detach()), b.inv(z.detach()), "inverse")
    equal(a.inv(y.detach()), torch.tensor(x), "there and back")
    equal(a.inv.log_abs_det_jacobian(y, u), b.inv.log_abs_det_jacobian(z, v), "inverse jacobian")
    assert a.forward_shape(x.shape) == tuple(b.forward_shape(torch.Size(x.shape)))
    assert a.inverse_shape(y.shape) == tuple(b.inverse_shape(z.shape))
    assert (a.domain.event_dim, a.codomain.event_dim, a.bijective) == (
        b.domain.event_dim, b.codomain.event_dim, b.bijective)
    assert a.inv.inv == a
    assert bool(a.codomain.check(y).numpy().all())


def test_the_jacobian_is_the_determinant():
    """Of stick breaking: 3 numbers to the first 3 of 4 parts."""
    x = RNG.normal(0, 1, 3)
    t = ours.StickBreakingTransform()
    matrix = tg.jacobian(lambda v: t(v)[:-1])(tg.Tensor(x))
    found = t.log_abs_det_jacobian(tg.Tensor(x), t(tg.Tensor(x)))
    np.testing.assert_allclose(found.item(), np.linalg.slogdet(matrix.numpy())[1], rtol=1e-10)


def test_maps_without_an_inverse():
    x = tg.Tensor(REAL)
    np.testing.assert_array_equal(ours.AbsTransform()(x).numpy(), np.abs(REAL))
    equal(ours.SoftmaxTransform()(x), theirs.transforms.SoftmaxTransform()(torch.tensor(REAL)), "")
    square = RNG.normal(0, 1, (2, 3, 3))
    a, b = ours.LowerCholeskyTransform(), theirs.transforms.LowerCholeskyTransform()
    y = a(tg.Tensor(square))
    equal(y, b(torch.tensor(square)), "cholesky")
    equal(a.inv(y), b.inv(torch.tensor(y.numpy())), "cholesky inverse")
    assert not a.bijective
    with pytest.raises(NotImplementedError, match=r"\[SoftmaxTransform\] is not bijective"):
        ours.SoftmaxTransform().log_abs_det_jacobian(x, x)


def test_a_cache_keeps_what_the_inverse_would_lose():
    x = tg.Tensor(np.array([17.0]))
    assert abs(ours.TanhTransform().inv(tg.tanh(x)).item() - 17) > 1e-4
    t = ours.TanhTransform(cache_size=1)
    assert t.inv(t(x)) is x
    assert t.with_cache(0).inv(t(x)) is not x
    with pytest.raises(ValueError, match=r"cache_size must be 0 or 1, got 2"):
        ours.ExpTransform(cache_size=2)


def test_equal_transforms():
    assert ours.ExpTransform() == ours.ExpTransform()
    assert ours.ExpTransform() != ours.TanhTransform()
    assert ours.AffineTransform(0.0, 2.0) == ours.AffineTransform(0.0, 2.0)
    assert ours.AffineTransform(0.0, 2.0) != ours.AffineTransform(1.0, 2.0)


@pytest.mark.parametrize("base, steps", [
    (lambda d, t: d.Normal(t(np.zeros(3)), t(np.ones(3))),
     lambda d: [d.transforms.AffineTransform(1.0, 2.0), d.transforms.TanhTransform()]),
    (lambda d, t: d.Normal(t(np.zeros((2, 3))), t(np.ones((2, 3)))),
     lambda d: [d.transforms.StickBreakingTransform()]),
    (lambda d, t: d.Independent(d.Normal(t(np.zeros((2, 3))), t(np.ones((2, 3)))), 1),
     lambda d: [d.transforms.ExpTransform()]),
    (lambda d, t: d.Normal(t(np.zeros((2, 4))), t(np.ones((2, 4)))),
     lambda d: [d.transforms.ReshapeTransform((4,), (2, 2))]),
    (lambda d, t: d.Uniform(t(np.zeros(3)), t(np.ones(3))),
     lambda d: [d.transforms.SigmoidTransform().inv, d.transforms.AffineTransform(0.0, -2.0)]),
])
def test_transformed_distributions(base, steps):
    p = ours.TransformedDistribution(base(ours, tg.Tensor), steps(ours))
    q = theirs.TransformedDistribution(base(theirs, torch.tensor), steps(theirs))
    assert (p.batch_shape, p.event_shape) == (tuple(q.batch_shape), tuple(q.event_shape))
    tg.manual_seed(0)
    x = p.rsample((5,))
    assert x.shape == tuple(q.rsample((5,)).shape)
    equal(p.log_prob(x), q.log_prob(torch.tensor(x.numpy())), "log_prob")
    wide, reference = p.expand((7, *p.batch_shape)), q.expand((7, *q.batch_shape))
    assert (wide.batch_shape, wide.event_shape) == (tuple(reference.batch_shape),
                                                    tuple(reference.event_shape))
    if not p.event_shape:
        equal(p.cdf(x), q.cdf(torch.tensor(x.numpy())), "cdf")
        equal(p.icdf(p.cdf(x)), torch.tensor(x.numpy()), "icdf")
