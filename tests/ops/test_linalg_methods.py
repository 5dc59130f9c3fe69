"""Linear algebra and bits as methods: the same call on a tensor of PyTorch's and of ours."""

import numpy as np
import pytest

import tinygen as tg
from tests.ops.linalg_parity import definite, torch

SQUARE = definite(np.random.default_rng(0), 3, 3)
NUMBERS = np.array([[12, 18, 7], [3, 5, 12], [7, 7, 7]])

PLAIN = """det logdet slogdet inverse pinverse cholesky cholesky_inverse matrix_exp corrcoef cov
    adjoint qr conj"""
CALLS = [
    *((SQUARE, name, ()) for name in PLAIN.split()),
    (SQUARE, "cholesky", (True,)), (SQUARE, "cholesky_solve", (SQUARE,)),
    (SQUARE, "matrix_power", (3,)), (SQUARE, "kron", (SQUARE,)), (SQUARE, "cross", (SQUARE.T,)),
    (SQUARE, "cross", (SQUARE.T,), {"dim": 1}), (SQUARE, "inner", (SQUARE,)),
    (SQUARE, "cov", (), {"correction": 0}), (SQUARE, "logaddexp", (SQUARE.T,)),
    *((NUMBERS, f"bitwise_{name}", (NUMBERS.T,)) for name in ("and", "or", "xor")),
    (NUMBERS, "bitwise_not", ()), (NUMBERS, "bitwise_left_shift", (NUMBERS.T // 4,)),
    (NUMBERS, "bitwise_right_shift", (NUMBERS.T // 4,)), (NUMBERS, "bitwise_xor_", (NUMBERS.T,)),
    (NUMBERS, "gcd", (NUMBERS.T,)), (NUMBERS, "lcm", (NUMBERS.T,)), (NUMBERS, "unique", ()),
    (NUMBERS, "unique", (True, True, True)), (NUMBERS, "unique", (), {"dim": 0}),
]


@pytest.mark.filterwarnings("ignore:.*deprecated:UserWarning")
@pytest.mark.parametrize("x, name, args, options", [(*c, {})[:4] for c in CALLS],
                         ids=[c[1] for c in CALLS])
def test_same_as_torch(x, name, args, options):
    def call(make):
        given = [make(a.copy()) if isinstance(a, np.ndarray) else a for a in args]
        found = getattr(make(x.copy()), name)(*given, **options)
        return list(found) if isinstance(found, tuple) else [found]
    for ours, theirs in zip(call(tg.Tensor), call(torch.tensor), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-10, atol=1e-12)


def test_svd_gives_v_itself():
    u, s, v = tg.Tensor(SQUARE[:2]).svd()
    np.testing.assert_allclose((u * s @ v.mH).numpy(), SQUARE[:2], atol=1e-12)
    assert tg.Tensor(SQUARE[:2]).svd(some=False)[2].shape == (3, 3)
