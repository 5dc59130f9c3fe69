"""Special functions over their whole range against SciPy, and beside PyTorch with gradients."""

import numpy as np
import pytest
from scipy import special

import tinygen as tg
import tinygen.special as ours
from tinygen.ops.special.incomplete import beta_quantile_slope, gamma_quantile_slope

RNG = np.random.default_rng(0)
EDGES = np.array([0.0, -0.0, 1, 2, -1, -2, 0.5, -0.5, 1e-10, -1e-10, 1e-300, np.inf, -np.inf,
                  np.nan])
POSITIVE = np.concatenate([EDGES[EDGES != -np.inf], np.exp(RNG.uniform(-20, 20, 1000))])
REAL = np.concatenate([EDGES, np.exp(RNG.uniform(-20, 9, 300)) * RNG.choice([-1, 1], 300),
                       RNG.uniform(-10, 10, 1000)])
UNIT = np.concatenate([[0, 1, 0.5, -0.1, 1.1, np.nan], RNG.uniform(0, 1, 1000),
                       10.0 ** RNG.uniform(-300, 0, 300), 1 - 10.0 ** RNG.uniform(-15, 0, 300)])
FINITE = REAL[np.isfinite(REAL)]


def agrees(name, reference, *xs, rtol=1e-13, atol=0.0):
    """Equal in float64 to `rtol`; float32 equal to the reference at the rounded inputs."""
    function = getattr(ours, name)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(function(*map(tg.Tensor, xs)).numpy(), reference(*xs),
                                   rtol=rtol, atol=atol, err_msg=name)
        narrow = [x.astype("float32") for x in xs]
        wanted = np.asarray(reference(*[x.astype("float64") for x in narrow])).astype("float32")
    found = function(*map(tg.Tensor, narrow))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.numpy(), wanted, rtol=3e-7, atol=1e-38 + atol)


@pytest.mark.parametrize("name, xs, rtol", [
    ("gammaln", POSITIVE, 3e-13), ("psi", POSITIVE, 1e-13),
    ("gamma", np.concatenate([EDGES, RNG.uniform(-20, 100, 1000)]), 3e-13),
    ("erfc", REAL, 2e-13), ("erfcx", REAL, 2e-13), ("ndtr", REAL, 3e-13),
    ("log_ndtr", REAL[REAL < 30], 1e-13), ("erfinv", np.concatenate([UNIT, -UNIT]), 1e-13),
    ("ndtri", UNIT, 1e-13), ("erfcinv", 2 * UNIT, 1e-13), ("entr", REAL, 1e-13),
    ("logit", UNIT, 1e-13), ("i0e", FINITE, 1e-13), ("i1e", FINITE, 1e-13),
    ("i0", FINITE, 1e-13), ("i1", FINITE, 1e-13),
    *((name, POSITIVE[POSITIVE < 1e3], 1e-13) for name in ("k0", "k0e", "k1", "k1e")),
])
def test_functions_of_one_argument(name, xs, rtol):
    agrees(name, getattr(special, name), xs, rtol=rtol)


@pytest.mark.parametrize("name", ["j0", "j1", "y0", "y1"])
def test_bessel_functions_close_to_their_zeros_too(name):
    xs = RNG.uniform(-60 if name[0] == "j" else 0.1, 60, 1000)
    agrees(name, getattr(special, name), xs, rtol=1e-13, atol=3e-15)


def test_left_of_zero():
    xs = RNG.uniform(-8, -0.1, 500)
    agrees("gammaln", special.gammaln, xs, atol=1e-14)
    agrees("psi", special.psi, xs, atol=1e-13)


@pytest.mark.parametrize("n", [0, 1, 2, 5, 12])
def test_polygamma(n):
    xs = np.exp(RNG.uniform(-5, 8, 500))
    found = ours.polygamma(n, tg.Tensor(xs))
    np.testing.assert_allclose(found.numpy(), special.polygamma(n, xs), rtol=1e-13)


def test_polygamma_reflects():
    """psi'(1 - x) + psi'(x) = (pi / sin(pi x))^2, and the like for psi''."""
    xs = RNG.uniform(0.1, 0.9, 50) + RNG.integers(0, 5, 50)
    one = ours.polygamma(1, tg.Tensor(1 - xs)) + ours.polygamma(1, tg.Tensor(xs))
    np.testing.assert_allclose(one.numpy(), (np.pi / np.sin(np.pi * xs)) ** 2, rtol=1e-12)
    two = ours.polygamma(2, tg.Tensor(1 - xs)) - ours.polygamma(2, tg.Tensor(xs))
    wanted = 2 * np.pi ** 3 * np.cos(np.pi * xs) / np.sin(np.pi * xs) ** 3
    np.testing.assert_allclose(two.numpy(), wanted, rtol=1e-12, atol=1e-11)


def test_functions_of_two_arguments():
    a, x = np.exp(RNG.uniform(-7, 6, (2, 3000)))
    agrees("zeta", special.zeta, 1 + a[a < 50], x[a < 50], rtol=1e-13)
    agrees("betaln", special.betaln, a, x, rtol=1e-12, atol=1e-12)
    around = a * np.exp(RNG.normal(0, 2 / np.sqrt(1 + a)))
    for y in (x, around):
        agrees("gammainc", special.gammainc, a, y, rtol=1e-10, atol=1e-14)
        agrees("gammaincc", special.gammaincc, a, y, rtol=1e-10, atol=1e-14)
    large = np.exp(RNG.uniform(6, 12, 300))
    close = large * (1 + RNG.normal(0, 2, 300) / np.sqrt(large))
    agrees("gammainc", special.gammainc, large, close, rtol=1e-11)
    pairs = np.array([(p, q) for p in EDGES for q in EDGES]).T
    for name in ("xlogy", "xlog1py"):
        agrees(name, getattr(special, name), *pairs)
    b, u = np.exp(RNG.uniform(-3, 5, 1000)), RNG.uniform(0, 1, 1000)
    agrees("betainc", special.betainc, a[:1000] + 0.05, b, u, rtol=1e-11, atol=1e-13)


def test_incomplete_gamma_at_its_edges():
    a, x = np.meshgrid([0, 0.5, 1, 300, np.inf, -1, np.nan], [0, 0.5, 5, 300, np.inf, -1, np.nan])
    agrees("gammainc", special.gammainc, a, x, rtol=1e-12)
    agrees("gammaincc", special.gammaincc, a, x, rtol=1e-12)
    a, b, x = np.meshgrid([-1, 0.5, 2], [-1, 0.5, 3], [-0.1, 0, 0.3, 1, 1.1, np.nan])
    agrees("betainc", special.betainc, a, b, x, rtol=1e-12)


def difference(quantile, a, h=1e-3):
    """The derivative of a quantile function to the parameter a, by differences of order four."""
    return (8 * (quantile(a + h) - quantile(a - h)) - (quantile(a + 2 * h) - quantile(a - 2 * h))
            ) / (12 * h)


def test_quantiles_move_with_the_parameters_as_differences_say():
    a = np.exp(RNG.uniform(-1, 6.5, 300))
    p = RNG.uniform(0.02, 0.98, 300)
    x = special.gammaincinv(a, p)
    wanted = difference(lambda c: special.gammaincinv(c, p), a)
    np.testing.assert_allclose(gamma_quantile_slope(a, x).numpy(), wanted, rtol=1e-7, atol=1e-9)
    a, b = np.exp(RNG.uniform(-0.5, 4, (2, 300)))
    x = special.betaincinv(a, b, p)
    wanted = difference(lambda c: special.betaincinv(c, b, p), a)
    np.testing.assert_allclose(beta_quantile_slope(a, b, x).numpy(), wanted, rtol=1e-6, atol=1e-9)


def test_gradients_to_the_parameters_of_incomplete_functions():
    a, b, x = RNG.uniform(0.6, 5, (3, 50))
    u = x / 6
    for f, reference, values in (
            (ours.gammainc, special.gammainc, (a, x)), (ours.gammaincc, special.gammaincc, (a, x)),
            (ours.betainc, special.betainc, (a, b, u))):
        leaves = [tg.Tensor(v, requires_grad=True) for v in values]
        f(*leaves).sum().backward()
        for i, leaf in enumerate(leaves):
            def along(v, f=reference, i=i, values=values):
                return f(*values[:i], v, *values[i + 1:])
            wanted = difference(along, values[i])
            np.testing.assert_allclose(leaf.grad.numpy(), wanted, rtol=1e-7, atol=1e-9)


def test_what_has_no_derivative_says_so():
    s = tg.Tensor([2.0], requires_grad=True)
    with pytest.raises(NotImplementedError, match=r"\[zeta\] the derivative with respect to x"):
        ours.zeta(s, 1.0).sum().backward()
    g, = tg.grad(ours.gammainc(s, 1.0).sum(), s, create_graph=True)
    with pytest.raises(NotImplementedError, match=r"\[gammainc\] second derivatives"):
        g.sum().backward()
    with pytest.raises(ValueError, match=r"\[polygamma\] n must not be negative, got -1"):
        ours.polygamma(-1, s)
    with pytest.raises(ValueError, match=r"\[multigammaln\] d must be at least 1, got 0"):
        ours.multigammaln(s, 0)


def test_sinc_is_smooth_at_zero():
    """Derivatives of order 0 to 4 at 0: 1, 0, -pi^2 / 3, 0, pi^4 / 5."""
    x = tg.Tensor(np.zeros(()), requires_grad=True)
    y, found = ours.sinc(x), []
    for _ in range(5):
        found.append(y.item())
        y, = tg.grad(y, x, create_graph=True)
    np.testing.assert_allclose(found, [1, 0, -np.pi ** 2 / 3, 0, np.pi ** 4 / 5], atol=1e-13)


def test_gradients_beside_pytorch():
    torch = pytest.importorskip("torch")
    t = torch.special
    positive, unit = RNG.uniform(0.1, 9, 60), RNG.uniform(0.02, 0.98, 60)
    real = RNG.normal(0, 3, 60)
    edges = np.array([0.0, 1.0, 0.5])
    cases = [
        (ours.gammaln, t.gammaln, [positive]), (ours.psi, t.psi, [positive]),
        (lambda x: ours.polygamma(2, x), lambda x: t.polygamma(2, x), [positive]),
        (lambda x: ours.multigammaln(x + 2, 3), lambda x: t.multigammaln(x + 2, 3), [positive]),
        (ours.erfc, t.erfc, [real]), (ours.erfcx, t.erfcx, [real]),
        (ours.erfinv, t.erfinv, [2 * unit - 1]), (ours.ndtr, t.ndtr, [real]),
        (ours.log_ndtr, t.log_ndtr, [real]), (ours.ndtri, t.ndtri, [unit]),
        (ours.entr, t.entr, [positive]), (ours.logit, t.logit, [unit]),
        (lambda x: ours.logit(x, eps=0.3), lambda x: t.logit(x, eps=0.3), [unit]),
        (ours.sinc, t.sinc, [np.append(real, 0)]), (ours.i0, t.i0, [real]),
        (ours.i0e, t.i0e, [real]), (ours.i1, t.i1, [np.append(real, 0)]),
        (ours.i1e, t.i1e, [np.append(real, 0)]), (ours.xlogy, t.xlogy, [real, positive]),
        (ours.xlog1py, t.xlog1py, [real, positive]), (ours.xlogy, t.xlogy, [edges, positive[:3]]),
        (ours.logaddexp, torch.logaddexp, [real, real[::-1].copy()]),
        (ours.logaddexp2, torch.logaddexp2, [real, real[::-1].copy()]),
    ]
    for f, reference, values in cases:
        xs = [tg.Tensor(v, requires_grad=True) for v in values]
        ts = [torch.tensor(v, requires_grad=True) for v in values]
        y, r = f(*xs), reference(*ts)
        np.testing.assert_allclose(y.detach().numpy(), r.detach().numpy(), rtol=1e-10, atol=1e-12)
        y.sum().backward()
        r.sum().backward()
        for a, b in zip(xs, ts, strict=True):
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-8, atol=1e-10)


def test_methods_under_pytorchs_names():
    torch = pytest.importorskip("torch")
    values, other = RNG.uniform(0.1, 0.9, 5), RNG.uniform(0.5, 2, 5)
    x, t = tg.Tensor(values), torch.tensor(values)
    for name in ("digamma", "erf", "erfc", "erfinv", "i0", "lgamma", "logit", "sinc"):
        np.testing.assert_allclose(getattr(x, name)().numpy(), getattr(t, name)().numpy(), 1e-9)
    for name in ("xlogy", "igamma", "igammac", "logaddexp", "logaddexp2"):
        wanted = getattr(t, name)(torch.tensor(other))
        np.testing.assert_allclose(getattr(x, name)(tg.Tensor(other)).numpy(), wanted.numpy(), 1e-9)
    np.testing.assert_allclose((x + 2).mvlgamma(3).numpy(), (t + 2).mvlgamma(3).numpy(), 1e-9)
    np.testing.assert_allclose(x.polygamma(2).numpy(), t.polygamma(2).numpy(), 1e-9)
    np.testing.assert_allclose(x.lgamma_().numpy(), t.lgamma_().numpy(), 1e-9)
