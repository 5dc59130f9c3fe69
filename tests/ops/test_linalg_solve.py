"""Factors, solutions and determinants beside PyTorch's, and what they say of unfit matrices."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import tinygen as tg
from tests.ops.linalg_parity import agree, definite, general, torch

L, TL = tg.linalg, torch.linalg
batches = st.sampled_from([(), (2,), (3, 2), (0,)])
sides = st.integers(1, 5)
dtypes = st.sampled_from(["float64", "float64", "float32"])
seeds = st.integers(0, 1000)

SQUARE = {
    "det": (L.det, TL.det, general),
    "slogdet": (L.slogdet, lambda x: (TL.slogdet(x)[0].detach(), TL.slogdet(x)[1]), general),
    "logdet": (L.logdet, torch.logdet, definite),
    "inv": (L.inv, TL.inv, general),
    "inverse": (L.inverse, torch.inverse, general),
    "cholesky": (L.cholesky, TL.cholesky, definite),
    "cholesky upper": (lambda x: L.cholesky(x, upper=True),
                       lambda x: TL.cholesky(x, upper=True), definite),
    "cholesky_inverse": (lambda x: L.cholesky_inverse(L.cholesky(x)),
                         lambda x: torch.cholesky_inverse(TL.cholesky(x)), definite),
    "cholesky_inverse upper": (
        lambda x: L.cholesky_inverse(L.cholesky(x, upper=True), upper=True),
        lambda x: torch.cholesky_inverse(TL.cholesky(x, upper=True), upper=True), definite),
}


@pytest.mark.parametrize("name", SQUARE)
@given(batch=batches, n=sides, dtype=dtypes, seed=seeds)
def test_square(name, batch, n, dtype, seed):
    ours, theirs, make = SQUARE[name]
    agree(ours, theirs, [make(np.random.default_rng(seed), *batch, n, n)], dtype)


@given(batches=st.sampled_from([((), ()), ((2,), (2,)), ((2, 1), (3,)), ((), (4,)), ((2,), ())]),
       n=sides, k=sides, left=st.booleans(), dtype=dtypes, seed=seeds)
def test_solve(batches, n, k, left, dtype, seed):
    rng = np.random.default_rng(seed)
    a = general(rng, *batches[0], n, n)
    b = rng.standard_normal((*batches[1], *((n, k) if left else (k, n))))
    assume(b.shape != a.shape[:-1])       # a batch of vectors in PyTorch, not in NumPy
    agree(lambda a, b: L.solve(a, b, left=left), lambda a, b: TL.solve(a, b, left=left), [a, b],
          dtype)


@given(batches=st.sampled_from([((), ()), ((2,), (2,)), ((2, 1), (3,)), ((), (4,)), ((2,), ())]),
       n=sides, k=sides, left=st.booleans(), upper=st.booleans(), unit=st.booleans(),
       dtype=dtypes, seed=seeds)
def test_solve_triangular(batches, n, k, left, upper, unit, dtype, seed):
    rng = np.random.default_rng(seed)
    a = 0.5 * rng.standard_normal((*batches[0], n, n)) + 2 * np.eye(n)
    a = np.triu(a) if upper else np.tril(a)
    b = rng.standard_normal((*batches[1], *((n, k) if left else (k, n))))
    options = {"upper": upper, "left": left, "unitriangular": unit}
    agree(lambda a, b: L.solve_triangular(a, b, **options),
          lambda a, b: TL.solve_triangular(a, b, **options), [a, b], dtype)


@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("unit", [False, True])
def test_large_triangles_are_solved_in_halves(upper, unit):
    rng = np.random.default_rng(0)
    a = 0.1 * rng.standard_normal((150, 150)) + 3 * np.eye(150)
    if unit:
        a = 0.02 * a
    b = rng.standard_normal((2, 150, 3))
    agree(lambda a, b: L.solve_triangular(a, b, upper=upper, unitriangular=unit),
          lambda a, b: TL.solve_triangular((torch.triu if upper else torch.tril)(a), b,
                                           upper=upper, unitriangular=unit), [a, b])


@given(batch=batches, n=sides, k=sides, upper=st.booleans(), dtype=dtypes, seed=seeds)
def test_cholesky_solve(batch, n, k, upper, dtype, seed):
    rng = np.random.default_rng(seed)
    factor = np.tril(rng.standard_normal((*batch, n, n))) * 0.3 + 2 * np.eye(n)
    factor = factor.swapaxes(-1, -2) if upper else factor
    b = rng.standard_normal((*batch, n, k))
    half = torch.triu if upper else torch.tril   # PyTorch leaves numbers in the other triangle
    agree(lambda b, f: L.cholesky_solve(b, f, upper=upper),
          lambda b, f: torch.cholesky_solve(b, half(f), upper=upper), [b, factor], dtype)


def test_solve_takes_one_vector():
    rng = np.random.default_rng(1)
    a, b = general(rng, 2, 3, 3), rng.standard_normal(3)
    x = L.solve(tg.Tensor(a), tg.Tensor(b))
    np.testing.assert_allclose(x.numpy(), np.linalg.solve(a, b), rtol=1e-12)


def test_only_one_triangle_is_read():
    rng = np.random.default_rng(2)
    a = definite(rng, 3, 3)
    below = np.where(np.tri(3, dtype=bool), a, np.nan)
    np.testing.assert_allclose(L.cholesky(tg.Tensor(below)).numpy(), np.linalg.cholesky(a))
    b = rng.standard_normal((3, 2))
    with np.errstate(invalid="ignore"):
        x = L.solve_triangular(tg.Tensor(below), tg.Tensor(b), upper=False)
    np.testing.assert_allclose(x.numpy(), np.linalg.solve(np.tril(a), b))


# -- singular matrices ---


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
@pytest.mark.parametrize("lifted", [False, True])
def test_the_determinant_of_a_singular_matrix_has_its_cofactors_as_gradient(rank, lifted):
    rng = np.random.default_rng(rank)
    rows = rng.integers(-2, 3, (4, 4)).astype(float)
    rows[rank:] = 0                       # exactly singular below rank 4
    cofactors = np.array([[(-1) ** (i + j) * np.linalg.det(
        np.delete(np.delete(rows, i, 0), j, 1)) for j in range(4)] for i in range(4)])
    x = tg.Tensor(np.stack([rows, np.eye(4)]), requires_grad=True)
    (g,) = tg.autograd.grad(L.det(x).sum(), [x], create_graph=lifted)
    np.testing.assert_allclose(g.data, [cofactors, np.eye(4)], atol=1e-12)


def test_second_derivatives_of_the_determinant_of_a_singular_matrix():
    x = tg.Tensor(np.diag([1.0, 0.0, 0.0]), requires_grad=True, dtype="float64")
    (g,) = tg.autograd.grad(L.det(x), [x], create_graph=True)
    (h,) = tg.autograd.grad(g[1, 1], [x])          # d cof_11 = dx00 x22 + x00 dx22 - ...
    np.testing.assert_allclose(h.numpy(), np.diag([0.0, 0.0, 1.0]), atol=1e-14)


def test_slogdet_of_a_singular_matrix():
    with np.errstate(divide="ignore"):
        sign, logabs = L.slogdet(tg.zeros((2, 2)))
    assert sign.item() == 0 and logabs.item() == -np.inf


def test_logdet_of_a_negative_determinant_is_nan():
    assert np.isnan(L.logdet(tg.Tensor([[0.0, 1.0], [1.0, 0.0]])).item())


@pytest.mark.parametrize("call, text", [
    (lambda x: L.inv(x), r"\[inv\] .*matrix 1 of the batch is singular"),
    (lambda x: L.solve(x, tg.ones((2, 1))), r"\[solve\] .*matrix 1 of the batch is singular"),
    (lambda x: L.cholesky(x), r"\[cholesky\] .*matrix 1 of the batch is not positive definite"),
    (lambda x: L.solve_triangular(x, tg.ones((2, 1)), upper=True),
     r"\[solve_triangular\] .*matrix 1 of the batch has a zero on its diagonal"),
])
def test_unfit_matrices_are_named(call, text):
    with pytest.raises(np.linalg.LinAlgError, match=text):
        call(tg.Tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 0.0]]]))


@pytest.mark.parametrize("call, text", [
    (lambda: L.inv(tg.ones((2, 3))), r"\[inv\] x has shape \(2, 3\)"),
    (lambda: L.det(tg.ones((3,))), r"\[det\] x has shape \(3,\): \(..., m, n\) is needed"),
    (lambda: L.solve(tg.eye(2), tg.ones((3, 1))), "a has 2 rows and b 3"),
    (lambda: L.solve(tg.ones((2, 3, 3)), tg.ones((2, 3))), r"solve\(a, b\[..., None\]\)"),
    (lambda: L.solve(tg.ones((2, 3, 3)), tg.ones((4, 3, 1))), "do not broadcast"),
])
def test_shapes_that_do_not_fit(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_float16_and_complex_results_are_refused():
    with pytest.raises(TypeError, match="float16"):
        L.inv(tg.eye(2).half())
    with pytest.raises(AttributeError, match="complex"):
        L.eigvals


def test_integers_become_float32():
    assert L.det(tg.Tensor([[2, 0], [0, 3]])).dtype == np.float32
