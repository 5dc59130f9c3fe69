"""A function of tinygen.linalg beside PyTorch's: values, gradients, and gradients of gradients."""

from __future__ import annotations

import numpy as np
import pytest

import tinygen as tg

torch = pytest.importorskip("torch")

TOLERANCE = {"float64": 1e-10, "float32": 3e-4}


def listed(result):
    return list(result) if isinstance(result, tuple | list) else [result]


def close(ours, theirs, tolerance, what):
    a = np.asarray(ours.data if isinstance(ours, tg.Tensor) else ours)
    b = theirs.detach().numpy()
    assert a.shape == b.shape, (what, a.shape, b.shape)
    assert a.dtype == b.dtype, (what, a.dtype, b.dtype)
    scale = max(1.0, float(np.abs(b[np.isfinite(b)]).max(initial=0)))
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale, err_msg=what)


def agree(ours, theirs, arrays, dtype="float64", second=True):
    """`ours(*tensors)` and `theirs(*tensors)`, which return a tensor or several of them."""
    arrays = [np.asarray(a, dtype) for a in arrays]
    mine = [tg.Tensor(a, requires_grad=True) for a in arrays]
    yours = [torch.tensor(a, requires_grad=True) for a in arrays]
    outs, refs = listed(ours(*mine)), listed(theirs(*yours))
    assert len(outs) == len(refs)
    rng = np.random.default_rng(5)
    pairs = []
    for i, (out, ref) in enumerate(zip(outs, refs, strict=True)):
        close(out, ref, TOLERANCE[dtype], f"output {i}")
        if ref.requires_grad and ref.dtype.is_floating_point:
            pairs.append((out, ref, rng.standard_normal(tuple(ref.shape)).astype(dtype)))
    if not pairs:
        return
    used = [i for i, g in enumerate(torch.autograd.grad(
        [r for _, r, _ in pairs], yours, [torch.tensor(w) for *_, w in pairs],
        retain_graph=True, allow_unused=True)) if g is not None]
    if not used:                                  # a function that is flat everywhere
        return
    mine, yours = [mine[i] for i in used], [yours[i] for i in used]
    grads = tg.autograd.grad([o for o, *_ in pairs], mine, [w for *_, w in pairs],
                             create_graph=second)
    expected = torch.autograd.grad([r for _, r, _ in pairs], yours,
                                   [torch.tensor(w) for *_, w in pairs], create_graph=second)
    for i, (g, e) in enumerate(zip(grads, expected, strict=True)):
        close(g, e, 10 * TOLERANCE[dtype], f"gradient {i}")
    if not second or not any(e.requires_grad for e in expected):
        return
    along = [rng.standard_normal(tuple(e.shape)).astype(dtype) for e in expected]
    again = tg.autograd.grad([sum((g * u).sum() for g, u in zip(grads, along, strict=True))],
                             mine, allow_unused=True)
    theirs2 = torch.autograd.grad([sum((e * torch.tensor(u)).sum()
                                       for e, u in zip(expected, along, strict=True))],
                                  yours, allow_unused=True)
    for i, (g, e) in enumerate(zip(again, theirs2, strict=True)):
        if e is None:
            assert g is None or not np.abs(g.data).max(initial=0), f"second gradient {i}"
        elif g is None:
            assert not e.abs().sum(), f"second gradient {i} is missing"
        else:
            close(g, e, 100 * TOLERANCE[dtype], f"second gradient {i}")


def general(rng, *shape):
    """Rectangular matrices with well separated singular values, none small."""
    m, n = shape[-2:]
    k = min(m, n)
    u = np.linalg.qr(rng.standard_normal((*shape[:-2], m, k)))[0]
    v = np.linalg.qr(rng.standard_normal((*shape[:-2], n, k)))[0]
    s = 0.8 + 0.7 * np.arange(k)[::-1] + rng.uniform(0, 0.3, (*shape[:-2], k))
    return (u * s[..., None, :]) @ v.swapaxes(-1, -2)


def symmetric(rng, *shape):
    """Symmetric matrices with well separated eigenvalues of either sign."""
    n = shape[-1]
    q = np.linalg.qr(rng.standard_normal(shape))[0]
    w = 0.8 * np.arange(n) - 0.4 * n + rng.uniform(0.1, 0.3, (*shape[:-2], n))
    return (q * w[..., None, :]) @ q.swapaxes(-1, -2)


def definite(rng, *shape):
    """Symmetric positive definite matrices."""
    m = rng.standard_normal(shape)
    return m @ m.swapaxes(-1, -2) / shape[-1] + np.eye(shape[-1])
