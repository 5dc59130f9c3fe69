"""matmul, einsum, tensordot: values, first and second derivatives."""


import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygen as tg
from tests.checking import close
from tests.drawing import shapes
from tinygen.autograd import grad_of

# -- products --------------------------------------------------------------------------------------


@given(st.data())
def test_matmul_from_vectors_to_stacks(data):
    """Shapes drawn from NumPy's own signature (m?,n),(n,p?)->(m?,p?)."""
    drawn = data.draw(hnp.mutually_broadcastable_shapes(
        signature=np.matmul.signature, max_dims=2, min_side=1, max_side=3))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    a, b = (rng.standard_normal(s) for s in drawn.input_shapes)
    x, y = tg.Tensor(a, requires_grad=True), tg.Tensor(b, requires_grad=True)
    out = x @ y
    close(out, a @ b)
    g = rng.standard_normal(out.shape)
    out.backward(g)
    u, v = rng.standard_normal(a.shape), rng.standard_normal(b.shape)
    numeric = (g * (u @ b + a @ v)).sum()                    # bilinear: exact
    assert (x.grad.numpy() * u).sum() + (y.grad.numpy() * v).sum() == pytest.approx(
        numeric, rel=1e-9, abs=1e-9)


EINSUM = ["ij,jk->ik", "ij,jk", "ii->i", "ii", "ii->", "ij->ji", "ij->", "i,j->ij", "bij,bjk->bik",
          "...ij,...jk->...ik", "...i,...i->...", "...i->...", "...ii->...i", "i...->...",
          "ij,ij,ij->i", "iij,jk->k", "iji->j", "ij,kj->", "ijj,jji->ij", "abc,cd,d->ab",
          "b...i,...->b...", "i,i", "ij,j", "...,...", "->", ",->", "i,->i"]


@pytest.mark.parametrize("spec", EINSUM)
def test_einsum_specs(spec):
    """Values, first and second derivatives against numpy.einsum and differences."""
    rng = np.random.default_rng(0)
    size = dict(zip("abcdijk", (2, 3, 2, 3, 2, 3, 2), strict=True))
    terms = spec.split("->")[0].split(",")
    lead = {"b...i,...->b...": (4,)}.get(spec, (4, 1))
    operands = []
    for term in terms:
        letters = term.replace("...", ".")
        shape = []
        for c in letters:
            shape += list(lead) if c == "." else [size["i"] if term.count(c) > 1 else size[c]]
        operands.append(rng.standard_normal(shape))
    if "iji" in spec or "ijj" in spec or "iij" in spec:      # repeated letters share one length
        operands = [rng.standard_normal([2] * len(t)) for t in terms]
    check_einsum(spec, operands, rng)


def check_einsum(spec, operands, rng):
    xs = [tg.Tensor(a, requires_grad=True) for a in operands]
    y = tg.einsum(spec, *xs)
    close(y, np.einsum(spec, *operands))
    w = rng.standard_normal(y.shape)
    us = [rng.standard_normal(a.shape) for a in operands]

    def value(e):
        return (np.einsum(spec, *(a + e * u for a, u in zip(operands, us, strict=True))) * w).sum()

    def slope(e):
        shifted = [tg.Tensor(a + e * u, requires_grad=True)
                   for a, u in zip(operands, us, strict=True)]
        gs = grad_of((tg.einsum(spec, *shifted) * w).sum(), shifted)
        return sum((g.numpy() * u).sum() for g, u in zip(gs, us, strict=True))
    eps = 1e-3
    gs = grad_of((y * w).sum(), xs, create_graph=True)
    first = sum((g * u).sum() for g, u in zip(gs, us, strict=True))
    numeric = (8 * (value(eps) - value(-eps)) - (value(2 * eps) - value(-2 * eps))) / (12 * eps)
    assert first.item() == pytest.approx(numeric, rel=1e-6, abs=1e-8)
    if first.requires_grad:
        hs = grad_of(first, xs, allow_unused=True)
        second = sum((h.numpy() * u).sum() for h, u in zip(hs, us, strict=True) if h is not None)
        numeric = (8 * (slope(eps) - slope(-eps)) - (slope(2 * eps) - slope(-2 * eps))) / (12 * eps)
        assert second == pytest.approx(numeric, rel=1e-6, abs=1e-7)


@given(st.data())
def test_einsum_with_drawn_specs(data):
    letters = "ijk"
    dots = data.draw(st.booleans())
    terms = data.draw(st.lists(st.text(letters, max_size=3), min_size=1, max_size=3))
    used = sorted(set("".join(terms)))
    out = "".join(data.draw(st.permutations(used))[:data.draw(st.integers(0, len(used)))])
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    lead = data.draw(shapes(max_dims=2, max_side=2, empty=False))
    specs, operands = [], []
    for term in terms:
        shape = tuple({"i": 2, "j": 3, "k": 1}[c] for c in term)
        if dots and data.draw(st.booleans()):
            mine = tuple(1 if data.draw(st.integers(0, 2)) == 0 else n
                         for n in lead[data.draw(st.integers(0, len(lead))):])
            specs.append("..." + term)
            shape = mine + shape
        else:
            specs.append(term)
        operands.append(rng.standard_normal(shape))
    dotted = any(s.startswith("...") for s in specs)
    spec = ",".join(specs)
    if data.draw(st.booleans()):
        spec += "->" + ("..." if dotted else "") + out
    check_einsum(spec, operands, rng)


def test_tensordot_outer_and_dot():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 3, 4)), rng.standard_normal((4, 3, 5))
    x, y = tg.Tensor(a, requires_grad=True), tg.Tensor(b)
    close(tg.tensordot(x, y, ([1, 2], [1, 0])), np.tensordot(a, b, ([1, 2], [1, 0])))
    close(tg.tensordot(x, y, 1), np.tensordot(a, b, 1))
    close(tg.tensordot(x, y, 0), np.tensordot(a, b, 0))
    close(tg.tensordot(x, y, (-1, 0)), np.tensordot(a, b, (-1, 0)))
    close(tg.outer(x[0, 0], y[0, 0]), np.outer(a[0, 0], b[0, 0]))
    close(tg.dot(x[0, 0], y[:, 0, 0]), a[0, 0] @ b[:, 0, 0])
    tg.tensordot(x, y, ([1, 2], [1, 0])).sum().backward()
    close(x.grad, np.broadcast_to(b.sum(2).T, (2, 3, 4)))
