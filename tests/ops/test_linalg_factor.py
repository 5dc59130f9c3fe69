"""Spectra, factors and least squares beside PyTorch's, with what does not depend on signs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tests.ops.linalg_parity import agree, definite, general, symmetric, torch

L, TL = tg.linalg, torch.linalg
batches = st.sampled_from([(), (2,), (3, 2)])
sides = st.integers(1, 5)
dtypes = st.sampled_from(["float64", "float64", "float32"])
seeds = st.integers(0, 1000)


def turned(vectors):
    """Vectors (columns) multiplied by the sign of their first element: no choice is left."""
    bare = vectors.detach().numpy() if isinstance(vectors, torch.Tensor) else vectors.data
    sign = np.where(bare[..., :1, :] < 0, -1, 1).astype(bare.dtype)
    return vectors * (torch.tensor(sign) if isinstance(vectors, torch.Tensor) else sign)


def mT(x):
    return x.swapaxes(-1, -2)


def spectrum(lib, uplo):
    def call(x):
        found = lib.eigh(x, UPLO=uplo)
        assert found.eigenvalues is found[0] and found.eigenvectors is found[1]
        return found[0], turned(found[1])
    return call


@given(batch=batches, n=sides, uplo=st.sampled_from("LU"), dtype=dtypes, seed=seeds)
def test_eigh(batch, n, uplo, dtype, seed):
    x = symmetric(np.random.default_rng(seed), *batch, n, n)
    agree(spectrum(L, uplo), spectrum(TL, uplo), [x], dtype)
    agree(lambda x: L.eigvalsh(x, UPLO=uplo), lambda x: TL.eigvalsh(x, UPLO=uplo), [x], dtype)


@given(batch=batches, m=sides, n=sides, full=st.booleans(), dtype=dtypes, seed=seeds)
def test_svd(batch, m, n, full, dtype, seed):
    x = general(np.random.default_rng(seed), *batch, m, n)

    def joint(lib):
        def call(x):
            u, s, vh = lib.svd(x, full_matrices=full)
            k = s.shape[-1]
            u, v = u[..., :k], mT(vh[..., :k, :])
            return u * u, s, v * v, (u * s[..., None, :] ** 2) @ mT(v)   # signs do not matter
        return call
    agree(joint(L), joint(TL), [x], dtype)
    u, _, vh = L.svd(tg.Tensor(x), full_matrices=full)
    theirs = TL.svd(torch.tensor(x), full_matrices=full)
    assert (u.shape, vh.shape) == (tuple(theirs[0].shape), tuple(theirs[2].shape))
    agree(L.svdvals, TL.svdvals, [x], dtype)


@given(batch=batches, m=sides, n=sides, mode=st.sampled_from(["reduced", "complete"]),
       dtype=dtypes, seed=seeds)
def test_qr(batch, m, n, mode, dtype, seed):
    x = general(np.random.default_rng(seed), *batch, m, n)
    if mode == "complete" and m > n:
        q, r = L.qr(tg.Tensor(x, requires_grad=True), mode)
        np.testing.assert_allclose((q @ r).detach().numpy(), x, atol=1e-10)
        with pytest.raises(RuntimeError, match="arbitrary"):
            q.sum().backward()
        return
    agree(lambda x: L.qr(x, mode), lambda x: TL.qr(x, mode), [x], dtype)
    agree(lambda x: L.qr(x, "r"), lambda x: TL.qr(x).R, [x], dtype)


@given(batch=batches, m=sides, n=sides, dtype=dtypes, seed=seeds)
def test_lu(batch, m, n, dtype, seed):
    x = np.random.default_rng(seed).standard_normal((*batch, m, n))
    agree(lambda x: L.lu(x)[1:], lambda x: TL.lu(x)[1:], [x], dtype, second=min(m, n) < 4)
    agree(lambda x: L.lu_factor(x)[0], lambda x: TL.lu_factor(x)[0], [x], dtype, second=False)
    same = L.lu(tg.Tensor(x)), TL.lu(torch.tensor(x))
    np.testing.assert_array_equal(same[0].P.numpy(), same[1].P.numpy())
    np.testing.assert_array_equal(L.lu_factor(tg.Tensor(x)).pivots.numpy(),
                                  TL.lu_factor(torch.tensor(x)).pivots.numpy())


def test_lu_of_large_and_of_singular_matrices():
    rng = np.random.default_rng(3)
    for shape in [(70, 70), (2, 40, 90), (90, 40)]:
        x = rng.standard_normal(shape)
        p, low, up = L.lu(tg.Tensor(x))
        np.testing.assert_allclose((p @ low @ up).numpy(), x, atol=1e-12)
        np.testing.assert_array_equal(p.numpy(), TL.lu(torch.tensor(x)).P.numpy())
    p, low, up = L.lu(tg.zeros((3, 3)))
    assert np.isfinite(low.numpy()).all() and not up.numpy().any()


@given(batch=batches, n=sides, k=sides, left=st.booleans(), adjoint=st.booleans(), seed=seeds)
def test_lu_solve(batch, n, k, left, adjoint, seed):
    rng = np.random.default_rng(seed)
    a = general(rng, *batch, n, n)
    b = rng.standard_normal((*batch, *((n, k) if left else (k, n))))
    options = {"left": left, "adjoint": adjoint}
    agree(lambda a, b: L.lu_solve(*L.lu_factor(a), b, **options),
          lambda a, b: TL.lu_solve(*TL.lu_factor(a), b, **options), [a, b])


@given(batch=batches, m=sides, n=sides, rank=sides, dtype=dtypes, seed=seeds)
def test_pinv_and_rank(batch, m, n, rank, dtype, seed):
    rng = np.random.default_rng(seed)
    left, right = general(rng, *batch, m, min(rank, m)), general(rng, *batch, min(rank, m), n)
    agree(L.pinv, TL.pinv, [general(rng, *batch, m, n)], dtype)
    # of lower rank: through its factors, so that the rank stays when they move
    agree(lambda a, b: L.pinv(a @ b, rtol=1e-4), lambda a, b: TL.pinv(a @ b, rtol=1e-4),
          [left, right], "float64")
    x = (left @ right).astype(dtype)
    for options in ({}, {"rtol": 1e-3}, {"atol": 0.9}, {"tol": 0.9}):
        np.testing.assert_array_equal(L.matrix_rank(tg.Tensor(x), **options).numpy(),
                                      TL.matrix_rank(torch.tensor(x), **options).numpy())


@given(batch=batches, n=sides, seed=seeds)
def test_hermitian_options(batch, n, seed):
    x = symmetric(np.random.default_rng(seed), *batch, n, n)
    agree(lambda x: L.pinv(x, hermitian=True), lambda x: TL.pinv(x, hermitian=True), [x])
    np.testing.assert_array_equal(L.matrix_rank(tg.Tensor(x), hermitian=True).numpy(), n)


def test_tolerances_may_differ_within_a_batch():
    x = tg.Tensor(np.stack([np.diag([1.0, 0.1])] * 2))
    assert L.matrix_rank(x, atol=tg.Tensor([0.2, 0.05])).tolist() == [1, 2]
    np.testing.assert_allclose(L.pinv(x, atol=tg.Tensor([0.2, 0.05])).numpy()[:, 1, 1], [0, 10])


@given(batch=batches, m=sides, n=sides, k=sides, dtype=dtypes, seed=seeds)
def test_lstsq(batch, m, n, k, dtype, seed):
    rng = np.random.default_rng(seed)
    a, b = general(rng, *batch, m, n), rng.standard_normal((*batch, m, k))
    agree(lambda a, b: L.lstsq(a, b)[0],
          lambda a, b: TL.lstsq(a, b, driver="gelsd")[0], [a, b], dtype)
    found = L.lstsq(tg.Tensor(a), tg.Tensor(b))
    theirs = TL.lstsq(torch.tensor(a), torch.tensor(b), driver="gelsd")
    for name in ("residuals", "rank", "singular_values"):
        mine, yours = getattr(found, name).numpy(), getattr(theirs, name).numpy()
        if not (name == "residuals" and m <= n):
            np.testing.assert_allclose(mine, yours, rtol=1e-9, atol=1e-12)


@given(batch=batches, n=sides, scale=st.sampled_from([0.1, 1.0, 9.0]), dtype=dtypes, seed=seeds)
def test_matrix_exp(batch, n, scale, dtype, seed):
    x = scale * np.random.default_rng(seed).standard_normal((*batch, n, n)) / n
    agree(L.matrix_exp, TL.matrix_exp, [x], dtype, second=scale < 9)
    assert L.expm is L.matrix_exp


@given(batch=batches, n=sides, extra=st.integers(0, 3), less=st.integers(0, 2), seed=seeds)
def test_householder_product(batch, n, extra, less, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((*batch, n + extra, n))
    tau = rng.standard_normal((*batch, max(n - less, 1)))
    agree(L.householder_product, TL.householder_product, [x, tau], second=False)


# -- degenerate matrices ---


def test_equal_eigenvalues_give_finite_gradients():
    x = tg.Tensor(np.eye(3), requires_grad=True)
    w, v = L.eigh(x)
    (w * w).sum().backward(retain_graph=True)
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.eye(3))         # of sum(x^2)
    x.grad = None
    (v * v).sum().backward()                                          # is 3, whatever V is
    np.testing.assert_allclose(x.grad.numpy(), np.zeros((3, 3)), atol=1e-15)


def test_equal_and_zero_singular_values_give_finite_gradients():
    x = tg.Tensor(np.diag([2.0, 2.0, 0.0]), requires_grad=True)
    L.svdvals(x).sum().backward()
    assert np.isfinite(x.grad.numpy()).all()
    np.testing.assert_allclose(x.grad.numpy()[:2, :2], np.eye(2), atol=1e-15)
    wide = tg.Tensor(np.zeros((2, 3)), requires_grad=True)
    u, _, vh = L.svd(wide, full_matrices=False)
    (u.sum() + vh.sum()).backward()
    np.testing.assert_array_equal(wide.grad.numpy(), np.zeros((2, 3)))


def test_only_the_named_triangle_is_read():
    a = definite(np.random.default_rng(0), 3, 3)
    for uplo, kept in (("L", np.tril(a)), ("U", np.triu(a))):
        np.testing.assert_allclose(L.eigvalsh(tg.Tensor(kept), UPLO=uplo).numpy(),
                                   np.linalg.eigvalsh(a))


def test_qr_of_dependent_columns_has_no_gradient():
    x = tg.Tensor(np.array([[1.0, 0.0], [0.0, 0.0]]), requires_grad=True)
    q, _ = L.qr(x)
    with pytest.raises(np.linalg.LinAlgError, match="zero on its diagonal"):
        q.sum().backward()


@pytest.mark.parametrize("shape", [(0, 3, 3), (2, 0, 0), (0, 0)])
def test_empty(shape):
    x = tg.Tensor(np.zeros(shape), requires_grad=True)
    for call in (L.eigvalsh, L.svdvals, L.pinv, L.matrix_exp, L.inv, L.cholesky, L.det,
                 lambda x: L.qr(x)[0], lambda x: L.lu(x)[1]):
        y = call(x)
        y.sum().backward()
        assert x.grad.shape == shape


@pytest.mark.parametrize("call, text", [
    (lambda: L.eigh(tg.eye(2), UPLO="X"), "UPLO='X'"),
    (lambda: L.qr(tg.eye(2), mode="full"), "mode='full'"),
    (lambda: L.lstsq(tg.eye(2), tg.ones(3)), "b needs 2 rows"),
    (lambda: L.lstsq(tg.eye(2), tg.ones(2), driver="x"), "driver='x'"),
    (lambda: L.lu_solve(*L.lu_factor(tg.eye(2)), tg.ones(3, 1)), "B needs 2 rows"),
    (lambda: L.matrix_exp(tg.ones(2, 3)), "equally long"),
    (lambda: L.householder_product(tg.ones(2, 3), tg.ones(2)), "m >= n >= k"),
])
def test_unfit_arguments(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_lu_without_pivoting_is_refused():
    with pytest.raises(NotImplementedError, match="pivot=False"):
        L.lu(tg.eye(2), pivot=False)
