"""Compare a function with PyTorch's: values, gradients, and gradients of gradients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st

import tinygen as tg
from tinygen.autograd import grad_of

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

TOLERANCE = {"float64": 1e-9, "float32": 2e-4}
DTYPES = st.sampled_from(["float64", "float32"])
SEEDS = st.integers(0, 2**32 - 1)


def close(ours, theirs, tolerance, what):
    ours, theirs = np.asarray(ours), theirs.detach().numpy(force=True)
    assert ours.shape == theirs.shape, what
    scale = max(1.0, float(np.abs(theirs[np.isfinite(theirs)]).max(initial=0)))
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * scale, err_msg=what)


def same(ours, theirs, *arrays, seed=0, second=True, tolerance=None):
    """Do `ours(*tensors)` and `theirs(*tensors)` agree, to the second derivative?

    Floating point arrays require grad. The second derivative is that of sum(u * dx), where dx are
    the gradients of sum(v * y), for random u and v; it is taken to the arrays and to v.
    """
    rng = np.random.default_rng(seed)
    dtype = next(a.dtype for a in arrays if a.dtype.kind == "f")
    tolerance = tolerance or TOLERANCE[dtype.name]
    mine = [tg.asarray(a) for a in arrays]
    # C order: PyTorch 2.13's own batch_norm is wrong for channels-last input without a weight
    yours = [torch.tensor(np.array(a, order="C")) for a in arrays]
    for x, z, a in zip(mine, yours, arrays, strict=True):
        if a.dtype.kind == "f":
            x.requires_grad_()
            z.requires_grad_()
    y, z = ours(*mine), theirs(*yours)
    assert y.dtype == dtype
    close(y.data, z, tolerance, "value")
    seed_array = np.asarray(rng.standard_normal(y.shape), dtype)
    v, w = tg.Tensor(seed_array, requires_grad=True), torch.tensor(seed_array, requires_grad=True)

    y.backward(v.detach(), retain_graph=True)      # the raw reading of the rules
    z.backward(w.detach(), retain_graph=True)
    leaves = [(x, t) for x, t in zip(mine, yours, strict=True) if x.requires_grad]
    for i, (x, t) in enumerate(leaves):
        assert x.grad.dtype == dtype
        close(x.grad.data, t.grad, tolerance, f"gradient {i}")
    if not second:
        return

    dx = grad_of(y, [x for x, _ in leaves], v, create_graph=True)   # the lifted reading
    dz = torch.autograd.grad(z, [t for _, t in leaves], w, create_graph=True)
    total, reference = 0, 0
    for i, (a, b) in enumerate(zip(dx, dz, strict=True)):
        close(a.data, b, tolerance, f"lifted gradient {i}")
        u = np.asarray(rng.standard_normal(a.shape), dtype)
        total = total + (a * tg.asarray(u)).sum()
        reference = reference + (b * torch.tensor(u)).sum()
    ddx = grad_of(total, [*(x for x, _ in leaves), v], allow_unused=True)
    ddz = torch.autograd.grad(reference, [*(t for _, t in leaves), w], allow_unused=True)
    for i, (a, b) in enumerate(zip(ddx, ddz, strict=True)):
        if a is None or b is None:
            known = a if a is not None else b
            assert known is None or not known.detach().any().item(), f"second gradient {i}"
        else:
            close(a.data, b, 10 * tolerance, f"second gradient {i}")


def array(rng, shape, dtype, layout="C"):
    """Random numbers; an image batch (N, C, H, W) in channels-last or odd memory order."""
    x = rng.standard_normal(shape).astype(dtype)
    if layout == "channels-last":
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    if layout == "strided":
        wide = np.zeros((*shape[:-1], 2 * shape[-1]), dtype)
        wide[..., ::2] = x
        return wide[..., ::2]
    return x


LAYOUTS = st.sampled_from(["C", "channels-last", "strided"])
