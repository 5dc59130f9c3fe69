"""Gradient clipping and parameter vectors, against PyTorch's."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn
from tinygen.nn import utils


def with_grads(scale, dtype="float64"):
    rng = np.random.default_rng(0)
    params = [nn.Parameter(np.zeros(s, dtype)) for s in [(3, 4), (5,), ()]]
    for p in params:
        p.grad = tg.Tensor(scale * rng.standard_normal(p.shape).astype(dtype))
    return [*params, nn.Parameter(np.zeros(2, dtype))]


def torchs(params):
    torch = pytest.importorskip("torch")
    out = []
    for p in params:
        q = torch.nn.Parameter(torch.tensor(p.data))
        q.grad = None if p.grad is None else torch.tensor(p.grad.data.copy())
        out.append(q)
    return torch, out


@pytest.mark.parametrize("norm_type", [1, 2, 3.5, float("inf")])
@pytest.mark.parametrize("scale", [0.01, 10])
def test_clip_grad_norm(norm_type, scale):
    ours = with_grads(scale)
    torch, theirs = torchs(ours)
    a = utils.clip_grad_norm_(ours, 1.5, norm_type)
    b = torch.nn.utils.clip_grad_norm_(theirs, 1.5, norm_type)
    np.testing.assert_allclose(a.item(), b.item(), rtol=1e-12)
    for p, q in zip(ours[:3], theirs, strict=False):
        np.testing.assert_allclose(p.grad.data, q.grad.numpy(), rtol=1e-10)
    assert ours[3].grad is None


def test_clip_grad_value():
    ours = with_grads(3)
    torch, theirs = torchs(ours)
    utils.clip_grad_value_(iter(ours), 0.5)
    torch.nn.utils.clip_grad_value_(theirs, 0.5)
    for p, q in zip(ours[:3], theirs, strict=False):
        assert np.array_equal(p.grad.data, q.grad.numpy())


def test_not_finite_gradients():
    params = with_grads(1)
    params[0].grad.data[0, 0] = np.inf
    before = params[1].grad.data.copy()
    with pytest.raises(RuntimeError, match=r"norm of order 2\.0 is inf; nothing was"):
        utils.clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    assert np.array_equal(params[1].grad.data, before)


def test_float16_gradients_do_not_overflow_and_empty_lists_have_norm_zero():
    params = with_grads(300, "float16")
    total = utils.clip_grad_norm_(params, 1.0).item()
    assert np.isfinite(total) and total > 300
    assert all(p.grad.dtype == np.float16 for p in params[:3])
    assert utils.clip_grad_norm_([], 1.0).item() == 0
    assert utils.clip_grad_norm_(nn.Parameter(tg.ones((2,))), 1.0).item() == 0


def test_parameters_as_a_vector_and_back():
    net, twin = nn.Linear(3, 2), nn.Linear(3, 2)
    vec = utils.parameters_to_vector(net.parameters())
    assert vec.shape == (8,)
    (vec * vec).sum().backward()
    np.testing.assert_allclose(net.weight.grad.data, 2 * net.weight.data)
    utils.vector_to_parameters(vec, twin.parameters())
    assert np.array_equal(twin.weight.data, net.weight.data) and twin.weight.is_leaf
    with pytest.raises(ValueError, match=r"hold 8 elements, vec has shape \(7,\)"):
        utils.vector_to_parameters(vec.detach()[:7], twin.parameters())
