"""A layer or function of tinygen beside PyTorch's, forward and backward, on the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

import tinygen as tg

torch = pytest.importorskip("torch")

TOLERANCE = {"float64": 1e-10, "float32": 2e-5}


def close(ours, theirs, dtype, what):
    """Equal to the tolerance of the dtype, relative to the largest number."""
    a = np.asarray(ours.data if isinstance(ours, tg.Tensor) else ours)
    b = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else np.asarray(theirs)
    assert a.shape == b.shape, (what, a.shape, b.shape)
    assert a.dtype == b.dtype, (what, a.dtype, b.dtype)
    scale = max(1.0, float(np.abs(b).max(initial=0)))
    worst = float(np.abs(a.astype("f8") - b.astype("f8")).max(initial=0)) / scale
    assert worst <= TOLERANCE[dtype], f"{what}: off by {worst}"


def arrays(rng, dtype, *shapes, positive=False):
    drawn = [rng.standard_normal(s).astype(dtype) for s in shapes]
    return [np.abs(a) + 0.1 for a in drawn] if positive else drawn


def same_function(ours, theirs, floats, dtype, others=()):
    """`ours(*floats, *others)` against `theirs(...)`: the output and every gradient."""
    mine = [tg.Tensor(a, requires_grad=True) for a in floats]
    yours = [torch.tensor(a, requires_grad=True) for a in floats]
    out = ours(*mine, *[tg.Tensor(a) for a in others])
    ref = theirs(*yours, *[torch.tensor(a) for a in others])
    close(out, ref, dtype, "output")
    weight = np.random.default_rng(7).standard_normal(ref.shape).astype(dtype)
    out.backward(weight)
    ref.backward(torch.tensor(weight))
    for i, (a, b) in enumerate(zip(mine, yours, strict=True)):
        if b.grad is None:
            assert a.grad is None, f"input {i} has a gradient"
        else:
            close(a.grad, b.grad, dtype, f"gradient of input {i}")


def same_layer(ours, theirs, floats, dtype, others=(), calls=1):
    """Like `same_function` for modules with PyTorch's weights, buffers and their gradients too."""
    ours.to(dtype)
    theirs.to(getattr(torch, dtype))
    ours.load_state_dict(theirs.state_dict())
    for _ in range(calls):
        ours.zero_grad()
        theirs.zero_grad()
        same_function(ours, theirs, floats, dtype, others)
    mine, yours = dict(ours.named_parameters()), dict(theirs.named_parameters())
    assert list(mine) == list(yours)
    for name, p in yours.items():
        close(mine[name].grad, p.grad, dtype, f"gradient of {name}")
    state = ours.state_dict()
    assert set(state) == set(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        close(state[name], value, dtype, name)
