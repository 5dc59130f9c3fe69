"""What a gradient is: broadcasting, sharing, accumulation, higher orders, fused primitives."""

import numpy as np
import pytest

import tinygen as tg
from tests.checking import close, leaf, same
from tinygen.autograd import grad_of
from tinygen.primitive import PRIMITIVES, primitive

# -- what a gradient is ----------------------------------------------------------------------------


@pytest.mark.parametrize("shape, other", [
    ((), (3,)), ((1,), (3,)), ((3, 1), (1, 4)), ((2, 1, 3), (4, 1)), ((1, 1), (2, 3)),
    ((4,), (2, 3, 4)), ((2, 3), ()), ((0,), (1,)), ((3, 1), (0,)), ((1,), (2, 0)),
])
def test_broadcast_gradients_are_summed_to_the_input_shape(shape, other):
    rng = np.random.default_rng(0)
    x, y = leaf(rng.standard_normal(shape)), leaf(rng.standard_normal(other))
    out = x * y
    g = rng.standard_normal(out.shape)
    out.backward(g)
    for t, partner in ((x, y), (y, x)):
        full = g * np.broadcast_to(partner.detach().numpy(), out.shape)
        lead = tuple(range(full.ndim - t.ndim))
        full = full.sum(lead)
        axes = tuple(i for i, n in enumerate(t.shape) if n == 1)
        close(t.grad, full.sum(axes, keepdims=True), 1e-12)
        assert (t.grad.shape, t.grad.dtype) == (t.shape, t.dtype)


def test_shared_subexpressions_are_walked_once():
    calls = []

    @primitive(name="test_only_counting")
    def counting(xp, x):
        return x * 1
    counting.vjp(lambda g, y, x: (calls.append(1), g)[1])
    try:
        x = leaf([2.0])
        y = counting(x)
        z = y * y + y + (y * 3)
        z.backward()
        same(x.grad, [8.0])
        assert len(calls) == 1
    finally:
        del PRIMITIVES["test_only_counting"]


def test_a_ladder_of_shared_nodes_takes_linear_time():
    x = leaf([1.0])
    y = x
    for _ in range(60):           # 2**60 paths
        y = y + y
    y.backward()
    same(x.grad, [2.0 ** 60])


def test_the_same_gradient_array_may_serve_twice():
    """add returns g itself for both inputs: neither may be changed through the other."""
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    c = a + b
    (c + a).sum().backward()
    same(a.grad, [2, 2])
    same(b.grad, [1, 1])
    a.grad.data[...] = 7
    same(b.grad, [1, 1])


def test_leaves_own_their_gradients():
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    g = np.array([5, 6], np.float32)
    (a + b).backward(g)
    a.grad.data[...] = 0
    same(b.grad, [5, 6])
    np.testing.assert_array_equal(g, [5, 6])
    c = leaf([1.0, 2.0])
    c.backward(g)                 # the seed itself reaches the leaf
    c.grad.data[...] = 0
    np.testing.assert_array_equal(g, [5, 6])
    d = leaf([[1.0, 2.0], [3.0, 4.0]])
    d.T.reshape((2, 2)).sum().backward()
    assert d.grad.data.flags.writeable
    np.add(d.grad.data, 1, out=d.grad.data)
    same(d.grad, [[2, 2], [2, 2]])


def test_every_gradient_that_is_handed_out_may_be_changed():
    """No two share memory, with each other or with what the caller gave, and none is read-only."""
    seed = np.ones(3, np.float32)
    a, b = leaf([1.0, 2.0, 3.0]), leaf([1.0, 2.0, 3.0])
    given = [grad_of(a + b, [a, b], seed), tg.grad(lambda x, y: (x + y).sum(), (0, 1))(a, b),
             tg.vjp(lambda x, y: x + y, a, b)[1](seed), grad_of(a.sum(), [a])]
    (a + b).backward(seed, inputs=[a, b])
    given.append((a.grad, b.grad))
    for gradients in given:
        for g in gradients:
            g *= 5
        for g in gradients:
            same(g, [5, 5, 5])
    np.testing.assert_array_equal(seed, [1, 1, 1])


def test_gradients_do_not_share_memory_with_hooks():
    a, kept = leaf([1.0, 2.0]), []
    other = tg.Tensor([7.0, 7.0])
    a.register_hook(kept.append)
    (a * 3).sum().backward()
    a.grad *= 0
    same(kept[0], [3, 3])
    b = leaf([1.0, 2.0])
    b.register_hook(lambda g: other)
    (b * 3).sum().backward()
    b.grad *= 0
    same(other, [7, 7])


def test_one_tensor_used_twice_by_one_op():
    x = leaf([[1.0, 2.0], [3.0, 4.0]], "float64")
    (x @ x).sum().backward()
    ones = np.ones((2, 2))
    a = x.detach().numpy()
    close(x.grad, ones @ a.T + a.T @ ones)
    y = leaf([1.0, 2.0])
    tg.concat([y, y, y]).sum().backward()
    same(y.grad, [3, 3])
    z = leaf([3.0])
    tg.where(tg.Tensor([True]), z, z).backward()
    same(z.grad, [1])


def test_gradients_accumulate_in_leaves_only():
    x = leaf([1.0, 2.0])
    y = x * x
    y.sum().backward()
    (3 * x).sum().backward()
    same(x.grad, [5, 7])
    assert y.grad is None
    first = x.grad
    x.sum().backward()
    same(first, [5, 7])           # a new tensor: whoever kept the old one sees no change
    same(x.grad, [6, 8])


def test_accumulation_of_scalars_keeps_tensors_whole():
    x = leaf(2.0)
    for _ in range(3):
        (x * x).backward()
    same(x.grad, 12.0)
    assert isinstance(x.grad.data, np.ndarray)
    assert x.grad.device == "cpu"
    assert (x.grad + 1).item() == 13


def test_a_leaf_can_be_the_output():
    x = leaf([4.0])
    x.backward()
    same(x.grad, [1])
    s = leaf(4.0)
    s.backward()
    same(s.grad, 1)


def test_backward_reaches_only_what_requires_grad():
    x, w = leaf([1.0]), tg.Tensor([2.0])
    (x * w + w).backward()
    assert w.grad is None
    same(x.grad, [2])
    assert not (w * w).requires_grad
    with pytest.raises(RuntimeError, match="does not require grad"):
        (w * w).backward()


def test_backward_with_inputs_fills_only_those():
    x, y = leaf([2.0]), leaf([3.0])
    z = x * y
    w = z * z
    w.backward(inputs=[x])
    same(x.grad, [36])
    assert y.grad is None
    z = x * y
    (z * z).backward(inputs=z)
    same(z.grad, [12])


def test_seeds_are_checked():
    x = leaf([1.0, 2.0])
    with pytest.raises(RuntimeError, match=r"shape \(2,\) needs a gradient"):
        (x * 2).backward()
    with pytest.raises(ValueError, match=r"gradient has shape \(3,\).*\(2,\)"):
        (x * 2).backward(np.ones(3))
    (x * 2).backward([1.0, 10.0])
    same(x.grad, [2, 20])


def test_integer_paths_carry_no_gradient():
    x = leaf([1.5, 2.5])
    assert not (x > 2).requires_grad
    assert not x.argmax().requires_grad
    assert not x.astype("int64").requires_grad
    y = x * (x > 2)
    y.sum().backward()
    same(x.grad, [0, 1])


def test_gradients_come_back_in_the_dtype_of_each_input():
    x = leaf(np.ones(2, np.float32))
    w = leaf(np.ones(2, np.float64))
    h = leaf(np.ones(2, np.float16))
    (x * w * h).sum().backward()
    assert [t.grad.dtype.name for t in (x, w, h)] == ["float32", "float64", "float16"]
    x.grad = None
    x.astype("float64").sum().backward()
    assert x.grad.dtype == np.float32


# -- autograd.grad, PyTorch's ----------------------------------------------------------------------


def test_grad_of_several_outputs_and_inputs():
    x, y = leaf([2.0]), leaf([3.0])
    gx, gy = grad_of([x * y, x * x], [x, y], [np.array([1.0]), np.array([10.0])])
    close(gx, [43])
    close(gy, [2])
    assert x.grad is None


def test_grad_of_computed_tensors():
    x = leaf([2.0])
    h = x * x
    z = h * h * x
    gh, gx = grad_of(z, [h, x])
    close(gh, [16])
    close(gx, [16 + 16 * 4])


def test_unused_inputs_are_refused_unless_allowed():
    x, y = leaf([2.0]), leaf([3.0])
    with pytest.raises(RuntimeError, match="do not depend on input 1"):
        grad_of(x * 2, [x, y])
    gx, gy = grad_of(x * 2, [x, y], allow_unused=True)
    assert gy is None
    close(gx, [2])


def test_the_same_output_twice_counts_twice():
    x = leaf([2.0])
    y = x * x
    g, = grad_of([y, y], x)
    close(g, [8])


def test_an_output_that_leads_to_another():
    x = leaf([2.0])
    y = x * x
    z = y * y
    g, = grad_of([y, z], x)
    close(g, [4 + 4 * 8])


# -- higher order ----------------------------------------------------------------------------------


def test_third_derivative():
    x = leaf(np.array([0.7]))
    y = (x ** 4.0).sum()
    for expected in (4 * 0.7 ** 3, 12 * 0.7 ** 2, 24 * 0.7):
        y, = grad_of(y, x, create_graph=True)
        close(y, [expected], 1e-12)


def test_backward_with_create_graph_leaves_differentiable_gradients():
    x = leaf(np.array([2.0]))
    (x ** 3.0).backward(create_graph=True)
    g, x.grad = x.grad, None
    (g * g).backward()
    close(x.grad, [2 * 12 * 12], 1e-12)         # d/dx (3x^2)^2 = 2 * 3x^2 * 6x


def test_gradient_penalty():
    """The gradient of a function of a gradient, as WGAN-GP needs it."""
    rng = np.random.default_rng(0)
    w = leaf(rng.standard_normal((3, 4)))
    x = leaf(rng.standard_normal((5, 3)))

    def penalty(weight):
        g, = grad_of(tg.tanh(x @ weight).sum(), x, create_graph=True)
        return (((g * g).sum(axis=1) ** 0.5 - 1) ** 2).mean()
    penalty(w).backward()
    u, eps = rng.standard_normal(w.shape), 1e-6

    def value(k):
        return penalty(tg.Tensor(w.detach().numpy() + k * u, requires_grad=True)).item()
    numeric = (value(eps) - value(-eps)) / (2 * eps)
    assert (w.grad.numpy() * u).sum() == pytest.approx(numeric, rel=1e-6)


# -- definitions of primitives are checked ---------------------------------------------------------


def test_a_joint_rule_without_composite_is_refused():
    p = primitive(lambda xp, x: x, name="test_only_joint")
    try:
        with pytest.raises(TypeError, match="composite"):
            p.vjp_joint(lambda needs, g, y, x: (g,))
    finally:
        del PRIMITIVES["test_only_joint"]


def test_a_name_is_used_once():
    with pytest.raises(ValueError, match="exists already"):
        primitive(lambda xp, x: x, name="exp")


def test_the_gradient_of_a_fused_op_can_be_differentiated():
    """DESIGN section 2's example, defined here: joint rule raw, composite under create_graph."""
    def definition(x, w, b):
        return tg.relu(x @ w + b)

    @primitive(composite=definition, name="test_only_linear_relu")
    def linear_relu(xp, x, w, b):
        return xp.maximum(x @ w + b, 0)

    @linear_relu.vjp_joint
    def _(needs, g, y, x, w, b):
        g = g * (y > 0)
        return g @ w.T, x.T @ g, g.sum(0)
    try:
        rng = np.random.default_rng(0)
        arrays = [rng.standard_normal(s) for s in ((5, 3), (3, 4), (4,))]

        def second(f):
            xs = [leaf(a) for a in arrays]
            gs = grad_of((f(*xs) ** 3.0).sum(), xs, create_graph=True)
            sum((g * g).sum() for g in gs).backward()
            return [*gs, *(x.grad for x in xs)]
        for fused, plain in zip(second(linear_relu), second(definition), strict=True):
            close(fused, plain.detach().numpy())
    finally:
        del PRIMITIVES["test_only_linear_relu"]
