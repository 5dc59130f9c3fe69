"""Gradient clipping: PyTorch's numbers, in place, and what is refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.nn.utils import get_total_norm
from tinygen.optim import clip_grad_norm_, clip_grad_value_

shapes = st.lists(st.sampled_from([(), (3,), (2, 5), (0,), (70000,)]), min_size=1, max_size=4)
dtypes = st.sampled_from([np.float32, np.float64])


def parameters(seed, shapes, dtype, scale=1.0):
    """Parameters with gradients; the second has none."""
    rng = np.random.default_rng(seed)
    params = [tg.zeros(s, dtype=dtype, requires_grad=True) for s in shapes]
    for i, p in enumerate(params):
        if i != 1:
            p.grad = tg.Tensor(np.asarray(scale * rng.standard_normal(p.shape)).astype(dtype))
    return params


def peers(torch, params):
    made = []
    for p in params:
        q = torch.zeros(p.shape, dtype=getattr(torch, p.dtype.name), requires_grad=True)
        q.grad = None if p.grad is None else torch.tensor(p.grad.data)
        made.append(q)
    return made


def assert_grads_close(params, others, rtol):
    for p, q in zip(params, others, strict=True):
        if p.grad is None:
            assert q.grad is None
        else:
            assert p.grad.dtype == p.dtype
            np.testing.assert_allclose(p.grad.data, q.grad.numpy(), rtol=rtol)


@given(st.integers(0, 2**20), shapes, dtypes, st.sampled_from([0.1, 2.0, 1e6]),
       st.sampled_from([1.0, 2.0, 3.5, math.inf]))
def test_norm_clipping_equals_pytorch(seed, shapes, dtype, max_norm, norm_type):
    torch = pytest.importorskip("torch")
    params = parameters(seed, shapes, dtype)
    others = peers(torch, params)
    rtol = 1e-4 if dtype == np.float32 else 1e-12      # PyTorch sums float32 in float32
    if norm_type == math.inf:                    # PyTorch has no largest element of none
        params = [p for p in params if p.grad is None or p.size]
        others = [q for q in others if q.grad is None or q.numel()]
    total = clip_grad_norm_(params, max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(others, max_norm, norm_type)
    assert total.shape == ()
    assert total.dtype == dtype or not any(p.grad is not None for p in params)
    np.testing.assert_allclose(total.numpy(), expected.numpy(), rtol=rtol)
    assert_grads_close(params, others, rtol)


@given(st.integers(0, 2**20), shapes, st.sampled_from([1.0, 2.0, 3.5, math.inf]))
def test_float32_norms_are_exact_to_float32(seed, shapes, norm_type):
    grads = [p.grad for p in parameters(seed, shapes, np.float32) if p.grad is not None]
    flat = np.concatenate([g.data.reshape(-1) for g in grads]).astype(np.float64)
    exact = np.linalg.norm(flat, norm_type) if flat.size else 0.0
    np.testing.assert_allclose(get_total_norm(grads, norm_type).item(), exact, rtol=3e-7)


@given(st.integers(0, 2**20), shapes, dtypes)
def test_value_clipping_equals_pytorch(seed, shapes, dtype):
    torch = pytest.importorskip("torch")
    params = parameters(seed, shapes, dtype)
    others = peers(torch, params)
    clip_grad_value_(params, 0.5)
    torch.nn.utils.clip_grad_value_(others, 0.5)
    assert_grads_close(params, others, 0)


def test_the_norm_of_three_million():
    """Summed in float32 alone, the last digits would be lost."""
    g = np.random.default_rng(0).standard_normal(3_000_000).astype(np.float32)
    exact = np.linalg.norm(g.astype(np.float64))
    assert abs(get_total_norm(tg.asarray(g)).item() / exact - 1) < 1e-7


@pytest.mark.parametrize("dtype, size, norm", [(np.float16, 300.0, 6e4), (np.float32, 1e30, 2e32)])
def test_squares_that_overflow(dtype, size, norm):
    p = tg.zeros(40000, dtype=dtype, requires_grad=True)
    p.grad = tg.full((40000,), size, dtype=dtype)
    assert clip_grad_norm_(p, 1.0).item() == pytest.approx(norm, rel=1e-3)
    assert p.grad.dtype == dtype
    np.testing.assert_allclose(p.grad.data, 1 / 200, rtol=2e-3)


def test_small_gradients_keep_their_bits():
    params = parameters(0, [(3,), (2,), (4,)], np.float32)
    before = [p.grad.data.copy() for p in params[::2]]
    clip_grad_norm_((p for p in params), 1e3)
    for p, old in zip(params[::2], before, strict=True):
        np.testing.assert_array_equal(p.grad.data, old)


def test_transposed_gradients_are_clipped_in_place():
    p = tg.zeros((2, 3), requires_grad=True)
    own = np.full((3, 2), 2.0, np.float32).T
    p.grad = tg.Tensor.wrap(own)
    assert clip_grad_norm_(p, 1.0).item() == pytest.approx(math.sqrt(24))
    np.testing.assert_allclose(own, 1 / math.sqrt(6), rtol=1e-6)


def test_no_gradients():
    assert clip_grad_norm_([], 1.0).item() == 0.0
    assert clip_grad_norm_([tg.zeros(2, requires_grad=True)], 1.0).item() == 0.0
    clip_grad_value_([tg.zeros(2, requires_grad=True)], 1.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nonfinite_norms(bad):
    p = tg.zeros(2, requires_grad=True)
    p.grad = tg.Tensor([bad, 1.0])
    with pytest.raises(RuntimeError, match=r"\[clip_grad_norm_\] the norm of order 2.0 is "
                                           r"(nan|inf); nothing was changed"):
        clip_grad_norm_([p], 1.0, error_if_nonfinite=True)
    assert p.grad.data[1] == 1.0
    assert not np.isfinite(clip_grad_norm_([p], 1.0).item())   # and no warning


def test_a_graph_that_used_the_gradient_is_stale():
    x = tg.Tensor([3.0], requires_grad=True)
    (x * x * x).sum().backward(create_graph=True)
    penalty = (x.grad * x.grad).sum()
    clip_grad_norm_([x], 1.0)
    with pytest.raises(RuntimeError, match="modified after it was used"):
        penalty.backward()


@pytest.mark.parametrize("call, error, message", [
    (lambda p: clip_grad_norm_([p], -1.0), ValueError, r"max_norm must be at least 0, got -1"),
    (lambda p: clip_grad_norm_([p], math.nan), ValueError, r"max_norm"),
    (lambda p: clip_grad_norm_([p], 1.0, 0.0), ValueError, r"norm_type must be positive, got 0"),
    (lambda p: clip_grad_value_([p], -1.0), ValueError, r"clip_value must be at least 0, got -1"),
    (lambda p: clip_grad_norm_([p.data], 1.0), TypeError, r"must be tensors, got a ndarray"),
])
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call(tg.zeros(2, requires_grad=True))
