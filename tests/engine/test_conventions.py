"""Choices that could go either way, checked against PyTorch where we promise to agree with it."""

import numpy as np
import pytest

import tinygen as tg

torch = pytest.importorskip("torch")


def both(ours, theirs, *values, dtype="float64", tolerance=1e-12):
    """Values and gradients of two functions of the same arrays agree."""
    arrays = [np.array(v, dtype) for v in values]
    xs = [tg.Tensor(a, requires_grad=True) for a in arrays]
    ts = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, t = ours(*xs), theirs(*ts)
    np.testing.assert_allclose(y.detach().numpy(), t.detach().numpy(), rtol=tolerance,
                               atol=tolerance)
    y.sum().backward()
    t.sum().backward()
    for x, s in zip(xs, ts, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), s.grad.numpy(), rtol=tolerance, atol=tolerance)


EDGES = [-3.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 3.0, 25.0]
F = torch.nn.functional


@pytest.mark.parametrize("ours, theirs", [
    (tg.relu, F.relu), (tg.leaky_relu, F.leaky_relu), (tg.elu, F.elu), (tg.silu, F.silu),
    (lambda x: tg.leaky_relu(x, 0.3), lambda t: F.leaky_relu(t, 0.3)),
    (lambda x: tg.elu(x, 2.0), lambda t: F.elu(t, 2.0)),
    (tg.gelu, F.gelu), (lambda x: tg.gelu(x, "tanh"), lambda t: F.gelu(t, approximate="tanh")),
    (tg.sigmoid, torch.sigmoid), (tg.log_sigmoid, F.logsigmoid), (tg.softplus, F.softplus),
    (lambda x: tg.softplus(x, 2.0, 1.0), lambda t: F.softplus(t, 2.0, 1.0)),
    (tg.erf, torch.erf), (tg.absolute, torch.abs), (tg.square, torch.square),
    (lambda x: x.clip(-1, 1), lambda t: t.clamp(-1, 1)),
    (lambda x: x.clip(min=0.5), lambda t: t.clamp(min=0.5)),
    (lambda x: x.clip(max=1.0), lambda t: t.clamp(max=1.0)),
    (lambda x: x ** 2, lambda t: t ** 2), (lambda x: x ** 3.0, lambda t: t ** 3.0),
    (lambda x: x ** 0, lambda t: t ** 0), (lambda x: x ** 1, lambda t: t ** 1),
    (lambda x: x % 2, lambda t: t % 2), (tg.round, torch.round) if hasattr(tg, "round")
    else (lambda x: x.round(), torch.round),
    (lambda x: tg.maximum(x, 0.0), lambda t: torch.maximum(t, torch.zeros_like(t))),
    (lambda x: x.max(), torch.amax), (lambda x: x.min(), torch.amin),
    (lambda x: x.prod(), torch.prod), (lambda x: x.cumprod(0), lambda t: t.cumprod(0)),
    (lambda x: tg.logsumexp(x, axis=0), lambda t: torch.logsumexp(t, 0)),
    (lambda x: x.var(correction=1), torch.var), (lambda x: x.std(correction=1), torch.std),
    (lambda x: tg.sort(x, descending=True) * np.arange(9.0),
     lambda t: torch.sort(t, descending=True, stable=True).values * torch.arange(9.0)),
    (lambda x: tg.where(x > 0, x, 0.1 * x), lambda t: torch.where(t > 0, t, 0.1 * t)),
])
def test_functions_agree_at_kinks_and_zeros(ours, theirs):
    both(lambda x: ours(x) + 0 * x, lambda t: theirs(t) + 0 * t, EDGES)


@pytest.mark.parametrize("base, exponent", [
    ([0.0, 0.0, 2.0], [1.0, 2.0, 0.0]), ([0.0, 1.0, 2.0], [0.0, 0.0, 3.0]),
    ([-2.0, -1.5, 0.5], [2.0, 3.0, -1.0]),
])
def test_power_at_zeros_and_of_negative_numbers(base, exponent):
    """With exponents that require no gradient: both sides define 0 * log 0 differently."""
    e = np.array(exponent)
    both(lambda x: x ** tg.Tensor(e), lambda t: t ** torch.tensor(e), base)
    x = tg.Tensor(np.array([0.0, 2.0]), requires_grad=True)
    p = tg.Tensor(np.array([2.0, 3.0]), requires_grad=True)
    (x ** p).sum().backward()
    np.testing.assert_allclose(p.grad.numpy(), [0, 8 * np.log(2)])


def test_ties_between_two_tensors_share_the_gradient():
    both(tg.maximum, torch.maximum, [1.0, 2.0, 3.0], [1.0, 5.0, 0.0])
    both(tg.minimum, torch.minimum, [1.0, 2.0, 3.0], [1.0, 5.0, 0.0])


def test_ties_within_a_reduction_share_the_gradient():
    both(lambda x: x.max(axis=1), lambda t: t.amax(1), [[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])


def test_std_of_equal_numbers_has_gradient_zero():
    both(lambda x: x.std(axis=1, correction=1), lambda t: t.std(1), [[2.0, 2.0], [1.0, 3.0]])


def test_indices_and_gathers():
    index = np.array([[0, 2, 2], [1, 1, 0]])
    rows = np.random.default_rng(0).standard_normal((3, 3))
    both(lambda x: tg.take_along_axis(x, index, 0) * np.arange(1.0, 4),
         lambda t: t.gather(0, torch.tensor(index)) * torch.arange(1.0, 4), rows)
    both(lambda x: x[index], lambda t: t[torch.tensor(index)], rows)
    both(lambda x, s: tg.scatter_add(x, index, s, 0),
         lambda t, u: t.scatter_add(0, torch.tensor(index), u), rows, rows[:2])


def test_matmul_and_linear_in_float32():
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(s) for s in ((2, 5, 3), (4, 3), (4,)))
    both(tg.linear, F.linear, x, w, b, dtype="float32", tolerance=1e-5)
    both(lambda a, c: a @ c.T, lambda a, c: a @ c.T, x, w, dtype="float32", tolerance=1e-5)


def test_second_derivatives_agree():
    values = np.array([-2.0, -0.3, 0.4, 1.7])
    for ours, theirs in ((tg.gelu, F.gelu), (tg.silu, F.silu), (tg.softplus, F.softplus),
                         (tg.sigmoid, torch.sigmoid), (tg.elu, F.elu), (tg.tanh, torch.tanh),
                         (lambda x: tg.gelu(x, "tanh"), lambda t: F.gelu(t, approximate="tanh"))):
        x = tg.Tensor(values, requires_grad=True)
        t = torch.tensor(values, requires_grad=True)
        g, = tg.grad(ours(x).sum(), x, create_graph=True)
        h, = torch.autograd.grad(theirs(t).sum(), t, create_graph=True)
        g.sum().backward()
        h.sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_hooks_run_in_second_order_walks_too():
    def run(make, grad):
        x = make([3.0])
        y = x * x
        y.register_hook(lambda g: g * y)
        g, = grad(y * 2, x, create_graph=True)
        h, = grad(g, x)
        return g.item(), h.item()
    assert run(lambda v: tg.Tensor(v, requires_grad=True), tg.grad) == run(
        lambda v: torch.tensor(v, requires_grad=True), torch.autograd.grad)


def test_float_results_of_integers_have_the_default_type():
    assert str(torch.exp(torch.tensor([1])).dtype) == "torch.float32"
    assert tg.exp(tg.Tensor([1])).dtype == np.float32
    assert (tg.Tensor([1]) / 2).dtype == np.float32


@pytest.mark.parametrize("spec", ["bij,bjk->bik", "bhqd,bhkd->bhqk", "ii->i", "...i,i->..."])
def test_einsum(spec):
    shapes = {"bij,bjk->bik": [(2, 3, 4), (2, 4, 5)], "bhqd,bhkd->bhqk": [(2, 2, 3, 4)] * 2,
              "ii->i": [(3, 3)], "...i,i->...": [(2, 3, 4), (4,)]}[spec]
    rng = np.random.default_rng(0)
    both(lambda *xs: tg.einsum(spec, *xs), lambda *ts: torch.einsum(spec, *ts),
         *(rng.standard_normal(s) for s in shapes))
