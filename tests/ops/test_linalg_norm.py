"""Norms, products and constructions beside PyTorch's and NumPy's."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tests.ops.linalg_parity import agree, general, torch

L, TL = tg.linalg, torch.linalg
batches = st.sampled_from([(), (2,), (3, 2)])
sides = st.integers(1, 5)
dtypes = st.sampled_from(["float64", "float64", "float32"])
seeds = st.integers(0, 1000)
orders = st.sampled_from([0, 0.5, 1, 1.5, 2, 3, 4.5, -1, -2, -0.5, math.inf, -math.inf])


def away_from_zero(rng, shape):
    x = rng.standard_normal(shape)
    return x + np.sign(x) * 0.1


@st.composite
def shape_and_axes(draw, count=None):
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=count or 1, max_size=4)))
    axes = draw(st.permutations(range(len(shape))))[:count or draw(st.integers(1, len(shape)))]
    return shape, tuple(a - len(shape) if draw(st.booleans()) else a for a in axes)


@given(drawn=shape_and_axes(), ord=orders, keep=st.booleans(), whole=st.booleans(),
       dtype=dtypes, seed=seeds)
def test_vector_norm(drawn, ord, keep, whole, dtype, seed):
    shape, axes = drawn
    axes = None if whole else axes
    agree(lambda x: L.vector_norm(x, ord, axis=axes, keepdims=keep),
          lambda x: TL.vector_norm(x, ord, dim=axes, keepdim=keep),
          [away_from_zero(np.random.default_rng(seed), shape)], dtype)


@given(drawn=shape_and_axes(2), keep=st.booleans(), dtype=dtypes, seed=seeds,
       ord=st.sampled_from(["fro", "nuc", math.inf, -math.inf, 1, -1, 2, -2]))
def test_matrix_norm(drawn, ord, keep, dtype, seed):
    shape, axes = drawn
    x = np.random.default_rng(seed).standard_normal(shape)
    singular = np.linalg.svd(np.moveaxis(x, axes, (-2, -1)), compute_uv=False)
    gap = np.abs(np.diff(singular)).min(initial=1)
    plain = bool(min(gap, singular.min()) > 0.05)
    agree(lambda x: L.matrix_norm(x, ord, axis=axes, keepdims=keep),
          lambda x: TL.matrix_norm(x, ord, dim=axes, keepdim=keep), [x],
          dtype if plain else "float64", second=plain and ord not in ("nuc", 2, -2))


@given(n=sides, m=sides, keep=st.booleans(), seed=seeds, case=st.sampled_from(
    [(None, None), (None, 0), (None, (0, 1)), (2, 1), ("fro", None), (1, None), (3, 0),
     ("nuc", (0, 1)), (math.inf, (1, 0))]))
def test_norm(n, m, keep, seed, case):
    ord, axis = case
    x = general(np.random.default_rng(seed), n, m)
    agree(lambda x: L.norm(x, ord, axis=axis, keepdims=keep),
          lambda x: TL.norm(x, ord, dim=axis, keepdim=keep), [x])
    if ord in (None, 1, "fro"):
        np.testing.assert_allclose(L.norm(tg.Tensor(x), ord).numpy(), np.linalg.norm(x, ord))


@pytest.mark.parametrize("ord", [0, 0.5, 1, 1.5, 2, 3, -1, -2, math.inf, -math.inf])
@pytest.mark.parametrize("values", [[0.0, 0.0], [0.0, 2.0], [-3.0, 3.0]])
def test_subgradients_are_those_of_pytorch(ord, values):
    if ord < 0 and math.isfinite(ord) and 0 in values:
        x = tg.Tensor(values, requires_grad=True)      # PyTorch divides by zero there
        y = L.vector_norm(x, ord)
        y.backward()
        assert y.item() == 0 and x.grad.tolist() == [0, 0]
        return
    agree(lambda x: L.vector_norm(x, ord), lambda x: TL.vector_norm(x, ord), [values],
          second=False)


@given(batch=batches, n=sides, m=sides, seed=seeds, dtype=dtypes,
       p=st.sampled_from([None, 2, -2, "fro", "nuc", math.inf, -math.inf, 1, -1]))
def test_cond(batch, n, m, p, seed, dtype):
    m = m if p in (None, 2, -2) else n
    x = general(np.random.default_rng(seed), *batch, n, m)
    def theirs(x):       # the gradient of TL.cond(x, "fro") fails: it changes inv(x) in place
        if p in (None, 2, -2):
            return TL.cond(x, p)
        return TL.matrix_norm(x, p) * TL.matrix_norm(TL.inv(x), p)
    agree(lambda x: L.cond(x, p), theirs, [x], dtype, second=False)


def test_cond_of_a_singular_matrix_is_infinite():
    x = np.stack([np.eye(2), np.diag([1.0, 0.0])])
    for p in ("fro", 1, math.inf):
        np.testing.assert_allclose(L.cond(tg.Tensor(x), p).numpy(),
                                   TL.cond(torch.tensor(x), p).numpy())


# -- products ---


@given(batch=batches, n=sides, power=st.integers(-3, 6), dtype=dtypes, seed=seeds)
def test_matrix_power(batch, n, power, dtype, seed):
    x = general(np.random.default_rng(seed), *batch, n, n) / 2
    agree(lambda x: L.matrix_power(x, power), lambda x: TL.matrix_power(x, power), [x], dtype,
          second=power != 0)


@given(sizes=st.lists(st.integers(1, 6), min_size=3, max_size=6), first=st.booleans(),
       last=st.booleans(), seed=seeds)
def test_multi_dot(sizes, first, last, seed):
    rng = np.random.default_rng(seed)
    xs = [rng.standard_normal(s) for s in zip(sizes[:-1], sizes[1:], strict=True)]
    xs[0] = xs[0][0] if first else xs[0]
    xs[-1] = xs[-1][:, 0] if last else xs[-1]
    agree(lambda *xs: L.multi_dot(xs), lambda *xs: TL.multi_dot(xs), xs)


def test_multi_dot_takes_the_cheap_way():
    from tinygen.ops.linalg_products import _best_cuts
    assert _best_cuts([10, 100, 5, 50])[0, 2] == 1            # (A B) C
    assert _best_cuts([50, 5, 100, 10])[0, 2] == 0            # A (B C)


@given(a=st.lists(sides, max_size=3), b=st.lists(sides, max_size=3), seed=seeds)
def test_kron(a, b, seed):
    rng = np.random.default_rng(seed)
    agree(tg.kron, torch.kron, [rng.standard_normal(a), rng.standard_normal(b)])


@given(shapes=st.sampled_from([((3,), (3,)), ((2, 3), (3,)), ((2, 1, 3), (4, 3))]), seed=seeds)
def test_cross_and_vecdot(shapes, seed):
    rng = np.random.default_rng(seed)
    xs = [rng.standard_normal(s) for s in shapes]
    agree(L.cross, lambda a, b: TL.cross(*torch.broadcast_tensors(a, b)), xs)
    agree(L.vecdot, TL.vecdot, xs)
    flipped = [x[..., None] for x in xs]
    agree(lambda a, b: L.cross(a, b, axis=-2),
          lambda a, b: TL.cross(*torch.broadcast_tensors(a, b), dim=-2), flipped)
    agree(lambda a, b: L.vecdot(a, b, axis=-2), lambda a, b: TL.vecdot(a, b, dim=-2), flipped)


def test_inner_and_vdot():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 3)), rng.standard_normal((4, 3))
    agree(tg.inner, torch.inner, [a, b])
    agree(tg.vdot, lambda a, b: torch.vdot(a.reshape(-1), b.reshape(-1)), [a, b[:2]])


def test_tensorinv_and_tensorsolve():
    rng = np.random.default_rng(1)
    a = rng.standard_normal((2, 3, 6))
    agree(L.tensorinv, TL.tensorinv, [a])
    agree(lambda a: L.tensorinv(a, ind=1), lambda a: TL.tensorinv(a, ind=1),
          [np.moveaxis(a, 2, 0)])
    agree(L.tensorsolve, TL.tensorsolve, [a, rng.standard_normal((2, 3))])
    b = rng.standard_normal(6)
    agree(lambda a, b: L.tensorsolve(a, b, axes=(0, 1)),
          lambda a, b: TL.tensorsolve(a, b, dims=(0, 1)), [a, b])


@given(shape=st.lists(sides, min_size=2, max_size=4), offset=st.integers(-3, 3), seed=seeds)
def test_diagonal_and_trace(shape, offset, seed):
    x = np.random.default_rng(seed).standard_normal(shape)
    agree(lambda x: L.diagonal(x, offset=offset), lambda x: TL.diagonal(x, offset=offset), [x])
    agree(lambda x: L.diagonal(x, offset, -1, 0), lambda x: torch.diagonal(x, offset, -1, 0), [x])
    np.testing.assert_allclose(L.trace(tg.Tensor(x), offset).numpy(),
                               np.trace(x, offset, -2, -1), rtol=1e-12, atol=1e-12)


@given(batch=batches, n=sides, N=st.one_of(st.none(), st.integers(0, 5)), seed=seeds)
def test_vander(batch, n, N, seed):
    x = np.random.default_rng(seed).standard_normal((*batch, n))
    x[..., 0] = 0
    if (n if N is None else N) > 1:         # PyTorch's least
        agree(lambda x: L.vander(x, N=N), lambda x: TL.vander(x, N=N), [x], second=False)
    if not batch:
        np.testing.assert_allclose(tg.vander(tg.Tensor(x), N).numpy(), np.vander(x, N))


def test_block_diag():
    rng = np.random.default_rng(2)
    xs = [rng.standard_normal(s) for s in [(2, 3), (4,), (), (1, 1)]]
    agree(tg.block_diag, torch.block_diag, xs)


@given(n=st.integers(1, 4), k=st.integers(3, 6), correction=st.integers(0, 2),
       f=st.booleans(), a=st.booleans(), seed=seeds)
def test_cov_and_corrcoef(n, k, correction, f, a, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((n, k)), rng.standard_normal((2, k))
    counts = rng.integers(1, 4, k) if f else None
    weights = rng.uniform(0.5, 2, k) if a else None
    agree(lambda x: tg.cov(x, correction=correction, fweights=counts, aweights=weights),
          lambda x: torch.cov(x, correction=correction,
                              fweights=None if counts is None else torch.tensor(counts),
                              aweights=None if weights is None else torch.tensor(weights)), [x])
    np.testing.assert_allclose(tg.cov(tg.Tensor(x), tg.Tensor(y), bias=True).numpy(),
                               np.cov(x, y, bias=True), atol=1e-12)
    np.testing.assert_allclose(tg.cov(tg.Tensor(x.T), rowvar=False, ddof=0).numpy(),
                               np.cov(x.T, rowvar=False, ddof=0) if n > 1 else np.cov(x, ddof=0))
    if n > 1:
        agree(tg.corrcoef, torch.corrcoef, [x], second=False)


# -- what does not fit ---


@pytest.mark.parametrize("call, text", [
    (lambda: L.vector_norm(tg.eye(2), "fro"), "a number is needed"),
    (lambda: L.matrix_norm(tg.eye(2), 3), "ord=3: 'fro'"),
    (lambda: L.matrix_norm(tg.eye(2), axis=(0, 0)), "two different axes"),
    (lambda: L.norm(tg.ones((2, 2, 2)), 2), "a vector or a matrix is needed"),
    (lambda: L.norm(tg.ones((2, 2, 2)), 2, axis=(0, 1, 2)), "one axis or two"),
    (lambda: L.cross(tg.ones(2), tg.ones(3)), "must have 3 elements"),
    (lambda: L.vecdot(tg.ones(2), tg.ones(3)), "2 and 3 elements"),
    (lambda: L.multi_dot([tg.eye(2)]), "at least two"),
    (lambda: L.multi_dot([tg.ones((2, 3)), tg.ones((2, 3))]), "inner sizes differ"),
    (lambda: L.matrix_power(tg.ones((2, 3)), 2), "square matrices"),
    (lambda: L.tensorinv(tg.ones((2, 3)), ind=1), "equally many"),
    (lambda: L.tensorsolve(tg.ones((2, 3)), tg.ones(2)), "must each hold 2"),
    (lambda: tg.block_diag(tg.ones((1, 1, 1))), "at most two axes"),
    (lambda: tg.cov(tg.ones((2, 3)), fweights=tg.ones(3)), None),
    (lambda: tg.cov(tg.ones((2, 3)), aweights=tg.ones(2)), "each of the 3 observations"),
    (lambda: L.diagonal(tg.eye(2), 0, 1, -1), "axis1 and axis2 must differ"),
])
def test_unfit_arguments(call, text):
    with pytest.raises(ValueError if text else TypeError, match=text):
        call()


def test_names_that_are_refused_say_why():
    for name in ("eig", "ldl_factor", "inv_ex"):
        with pytest.raises(AttributeError, match=f"no '{name}': "):
            getattr(L, name)
