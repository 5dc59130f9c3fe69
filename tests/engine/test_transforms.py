"""grad, value_and_grad, vjp, jvp, jacobian and hessian."""

import numpy as np
import pytest

import tinygen as tg
from tinygen.autograd import grad_of

RNG = np.random.default_rng(0)
A = RNG.standard_normal((3, 3))
X = RNG.standard_normal(3)


def close(tensor, expected, rtol=1e-10, atol=1e-12):
    np.testing.assert_allclose(tensor.detach().numpy(), expected, rtol=rtol, atol=atol)


def quadratic(x):
    """x^T A x: gradient (A + A^T) x, Hessian A + A^T."""
    return x @ (tg.Tensor(A) @ x)


# -- grad and value_and_grad -----------------------------------------------------------------------


def test_grad():
    g = tg.grad(quadratic)(X)
    close(g, (A + A.T) @ X)
    assert g.dtype == np.float64 and not g.requires_grad


def test_grad_of_numbers_is_float32():
    g = tg.grad(lambda x: x * x)(3.0)
    assert (g.item(), g.dtype, g.shape) == (6.0, np.float32, ())


def test_value_and_grad():
    y, g = tg.value_and_grad(quadratic)(X)
    close(y, X @ A @ X)
    close(g, (A + A.T) @ X)
    assert not y.requires_grad


def test_argnums_pick_arguments():
    def f(x, y, scale=1.0):
        return (x * y).sum() * scale
    x, y = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    close(tg.grad(f)(x, y), y)
    close(tg.grad(f, argnums=1)(x, y), x)
    close(tg.grad(f, argnums=-1)(x, y), x)
    gx, gy = tg.grad(f, argnums=(0, 1))(x, y, scale=2.0)
    close(gx, 2 * y)
    close(gy, 2 * x)
    with pytest.raises(ValueError, match=r"argnums=2, but 2 arguments"):
        tg.grad(f, argnums=2)(x, y)


def test_auxiliary_output():
    def f(x):
        h = x * x
        return h.sum(), {"h": h.detach()}
    g, aux = tg.grad(f, has_aux=True)(X)
    close(g, 2 * X)
    close(aux["h"], X * X)
    (y, aux), g = tg.value_and_grad(f, has_aux=True)(X)
    close(y, (X * X).sum())
    with pytest.raises(TypeError, match="has_aux=True"):
        tg.grad(lambda x: x.sum(), has_aux=True)(X)


def test_nested_arguments_give_nested_gradients():
    def f(params, x):
        return ((x * params["w"] + params["b"][0]) ** 2.0).sum() + params["b"][1].sum() * 0
    params = {"w": np.array([2.0]), "b": [np.array([1.0]), np.array([5.0, 6.0])]}
    g = tg.grad(f)(params, np.array([3.0]))
    close(g["w"], [2 * 7 * 3])
    close(g["b"][0], [14])
    close(g["b"][1], [0, 0])


def test_arguments_that_are_not_used_have_zero_gradients():
    g = tg.grad(lambda x, y: x.sum(), argnums=1)(tg.Tensor(X), A)
    close(g, np.zeros_like(A))
    g = tg.grad(lambda x: tg.Tensor(1.0))(X)
    close(g, np.zeros(3))


def test_what_cannot_be_differentiated_is_named():
    with pytest.raises(TypeError, match=r"\[grad\] arguments .* floating point, got int64 \(2,\)"):
        tg.grad(lambda x: x.sum())(np.array([1, 2]))
    with pytest.raises(TypeError, match=r"one-element tensor, got float64 \(3,\).*jacobian"):
        tg.grad(lambda x: x)(X)
    with pytest.raises(TypeError, match="a function is needed, got float"):
        tg.grad(3.0)


def test_grad_called_with_tensors_is_pytorchs():
    x = tg.Tensor(X, requires_grad=True)
    g, = tg.grad((x * x).sum(), x, create_graph=True)
    h, = tg.grad(g.sum(), [x])
    close(h, [2, 2, 2])


def test_the_argument_is_not_touched():
    x = tg.Tensor(X, requires_grad=True)
    tg.grad(quadratic)(x)
    assert x.grad is None and x.is_leaf
    copy = x.detach().numpy().copy()
    np.testing.assert_array_equal(x.detach().numpy(), copy)


def test_grad_works_inside_no_grad():
    with tg.no_grad():
        close(tg.grad(quadratic)(X), (A + A.T) @ X)
        close(tg.grad(tg.grad(lambda x: x ** 3))(np.array(2.0)), 12.0)


# -- nesting ---------------------------------------------------------------------------------------


def test_nested_grads():
    def f(x):
        return x ** 5
    values = [5 * 16, 20 * 8, 60 * 4, 120 * 2, 120, 0]
    for expected in values:
        f = tg.grad(f)
        close(f(np.array(2.0)), expected)


def test_grad_inside_a_function_of_a_parameter():
    """An outer backward sees through an inner tg.grad: a gradient penalty."""
    w = tg.Tensor(np.array([3.0]), requires_grad=True)
    g = tg.grad(lambda x: (w * x * x).sum())(np.array([2.0]))     # 2 w x
    assert g.requires_grad
    (g * g).sum().backward()                                      # d/dw (2 w x)^2 = 8 w x^2
    close(w.grad, [8 * 3 * 4])


def test_grad_with_respect_to_a_tracked_argument():
    x = tg.Tensor(np.array([2.0]), requires_grad=True)
    g = tg.grad(lambda v: (v ** 3).sum())(x)
    g.sum().backward()
    close(x.grad, [12])


def test_perturbation_confusion_does_not_happen():
    """d/dx (x * d/dy (x + y)) at 1 is 1: the two derivatives are kept apart."""
    outer = tg.grad(lambda x: x * tg.grad(lambda y: x + y)(1.0))
    assert outer(1.0).item() == 1.0


# -- vjp and jvp -----------------------------------------------------------------------------------


def f_vector(x):
    return tg.sin(tg.Tensor(A) @ x) * x


def jacobian_of_f(x):
    u = A @ x
    return np.diag(np.sin(u)) + (x * np.cos(u))[:, None] * A


def test_vjp():
    y, pull = tg.vjp(f_vector, X)
    close(y, np.sin(A @ X) * X)
    for _ in range(2):                           # as often as one likes
        u = RNG.standard_normal(3)
        g, = pull(u)
        close(g, u @ jacobian_of_f(X))


def test_vjp_of_several_inputs_and_outputs():
    def f(x, y):
        return {"sum": x + y, "products": [x * y, x * x]}
    x, y = np.array([2.0]), np.array([3.0])
    out, pull = tg.vjp(f, x, y)
    close(out["products"][0], [6])
    gx, gy = pull({"sum": np.array([1.0]), "products": [np.array([10.0]), np.array([100.0])]})
    close(gx, [1 + 30 + 400])
    close(gy, [1 + 20])
    with pytest.raises(ValueError, match="3 outputs, but 1 gradients"):
        pull(np.array([1.0]))


def test_vjp_with_auxiliary_output():
    _, pull, aux = tg.vjp(lambda x: (x * 2, "aux"), X, has_aux=True)
    assert aux == "aux"
    close(pull(np.ones(3))[0], [2, 2, 2])


def test_jvp():
    u = RNG.standard_normal(3)
    y, t = tg.jvp(f_vector, (X,), (u,))
    close(y, np.sin(A @ X) * X)
    close(t, jacobian_of_f(X) @ u)


def test_jvp_of_several_inputs_outputs_and_constants():
    def f(x, y):
        return x * y, x + 1, tg.Tensor(np.array(5.0))
    (a, _, _), (ta, tb, tc) = tg.jvp(f, (np.array(2.0), np.array(3.0)),
                                     (np.array(10.0), np.array(100.0)))
    close(ta, 30 + 200)
    close(tb, 10)
    close(tc, 0)
    close(a, 6)


def test_jvp_of_a_linear_function_and_of_zero_slope():
    close(tg.jvp(lambda x: x * 3, (X,), (np.ones(3),))[1], [3, 3, 3])
    close(tg.jvp(tg.floor, (X,), (np.ones(3),))[1], [0, 0, 0])
    close(tg.jvp(lambda x: tg.Tensor(X), (X,), (np.ones(3),))[1], [0, 0, 0])


def test_jvp_checks_its_tangents():
    with pytest.raises(ValueError, match="1 primals, but 2 tangents"):
        tg.jvp(tg.sin, (X,), (X, X))
    with pytest.raises(ValueError, match=r"tangent 0 has shape \(2,\), its primal \(3,\)"):
        tg.jvp(tg.sin, (X,), (np.ones(2),))


def test_jvp_and_vjp_agree():
    u, v = RNG.standard_normal(3), RNG.standard_normal(3)
    _, t = tg.jvp(f_vector, (X,), (u,))
    _, pull = tg.vjp(f_vector, X)
    assert (t.numpy() @ v) == pytest.approx(pull(v)[0].numpy() @ u, rel=1e-12)


def test_jvp_can_be_differentiated():
    """d/dx of (J(x) u) along w is the second directional derivative."""
    x = np.array([0.3])
    g = tg.grad(lambda v: tg.jvp(tg.sin, (v,), (np.ones(1),))[1].sum())(x)
    close(g, -np.sin(x))


def test_jvp_through_fused_and_several_output_primitives():
    from tinygen.primitive import PRIMITIVES
    x, w = RNG.standard_normal((4, 3)), RNG.standard_normal((2, 3))
    u = RNG.standard_normal(x.shape)

    def f(v):
        return tg.linear(PRIMITIVES["layer_norm"](v, axes=(1,), eps=1e-5)[0], w)
    _, t = tg.jvp(f, (x,), (u,))
    eps = 1e-6
    with tg.no_grad():
        after, before = f(tg.Tensor(x + eps * u)), f(tg.Tensor(x - eps * u))
    close(t, (after.numpy() - before.numpy()) / (2 * eps), 1e-6, 1e-8)


# -- jacobian and hessian --------------------------------------------------------------------------


def test_jacobian():
    close(tg.jacobian(f_vector)(X), jacobian_of_f(X))
    close(tg.jacobian(f_vector, tg.Tensor(X)), jacobian_of_f(X))


def test_jacobian_shapes():
    j = tg.jacobian(lambda m: m.sum(axis=0))(np.ones((2, 3)))
    assert j.shape == (3, 2, 3)
    close(j, np.broadcast_to(np.eye(3)[:, None], (3, 2, 3)))
    assert tg.jacobian(lambda x: x[:0])(X).shape == (0, 3)
    a, b = tg.jacobian(lambda x, y: x * y, argnums=(0, 1))(X, X + 1)
    close(a, np.diag(X + 1))
    close(b, np.diag(X))


def test_hessian():
    close(tg.hessian(quadratic)(X), A + A.T)
    h = tg.hessian(lambda m: (m ** 3).sum())(np.ones((2, 2)))
    close(h, 6 * np.eye(4).reshape(2, 2, 2, 2))
    assert tg.hessian(lambda x: x.sum())(X).shape == (3, 3)
    close(tg.hessian(lambda x: x.sum())(X), np.zeros((3, 3)))


def test_rosenbrock_newton_step_reaches_the_minimum():
    def rosenbrock(v):
        return (1 - v[0]) ** 2 + 100 * (v[1] - v[0] ** 2) ** 2
    x = np.array([1.2, 1.2])
    for _ in range(8):
        g, h = tg.grad(rosenbrock)(x).numpy(), tg.hessian(rosenbrock)(x).numpy()
        x = x - np.linalg.solve(h, g)
    np.testing.assert_allclose(x, [1, 1], rtol=1e-12)


def test_grad_stops_at_computed_inputs_and_frees_nothing_behind_them():
    x = tg.Tensor(X, requires_grad=True)
    h = tg.exp(x)
    g, = grad_of((h * h).sum(), h)
    close(g, 2 * h.detach().numpy())
    h.sum().backward()                           # h's own graph is still whole
    close(x.grad, np.exp(x.detach().numpy()))
