"""Operators: no silent upcast, NumPy on either side, and powers."""


import numpy as np
import pytest

import tinygen as tg
from tests.checking import close, same
from tinygen.autograd import grad_of

# -- no silent upcast ------------------------------------------------------------------------------


F16, F32, F64 = (tg.Tensor(np.ones(2, t)) for t in (np.float16, np.float32, np.float64))
I64, U8, B = (tg.Tensor(np.ones(2, t)) for t in (np.int64, np.uint8, np.bool_))
SCALARS = [2, 2.0, True, np.int64(2), np.float32(2)]


@pytest.mark.parametrize("x", [F16, F32, F64], ids=lambda t: t.dtype.name)
@pytest.mark.parametrize("op", ["+", "-", "*", "/", "**", "//", "%"])
@pytest.mark.parametrize("other", [2, 2.0, True, tg.Tensor(2), tg.Tensor([2, 2]), [2, 2],
                                   np.array([2, 2]), tg.Tensor([True, True])], ids=repr)
def test_integers_and_python_numbers_never_widen_floats(x, op, other):
    f = eval(f"lambda a, b: a {op} b")
    for value in (f(x, other), f(other, x) if not isinstance(other, list) else f(x, other)):
        assert value.dtype == x.dtype


@pytest.mark.parametrize("a, b, dtype", [
    (F32, F64, "float64"), (F32, np.ones(2), "float64"), (F16, F32, "float32"),
    (F16, F64, "float64"), (F32, np.ones(2, np.float16), "float32"),
    (I64, 2.0, "float32"), (I64, 2, "int64"), (I64, F32, "float32"), (U8, I64, "int64"),
    (F32, np.float64(2), "float32"), (F16, np.float64(2), "float16"), (F32, np.int64(2), "float32"),
    (B, 1.0, "float32"), (B, 1, "int64"), (U8, 1, "uint8"), (U8, 1.5, "float32"),
    (I64, np.float32(1), "float32"), (U8, np.ones(2, np.int32), "int32"),
])
def test_the_widest_floating_type_wins(a, b, dtype):
    assert (a + b).dtype == dtype
    assert (b + a).dtype == dtype
    assert (a * b).dtype == dtype


@pytest.mark.parametrize("x", [I64, U8, B], ids=lambda t: t.dtype.name)
def test_functions_of_integers_give_float32(x):
    for f in (tg.exp, tg.sin, tg.sqrt, tg.sigmoid, tg.mean, tg.erf, tg.log1p, tg.tanh, tg.silu,
              tg.softplus, tg.var, tg.std, tg.logsumexp, tg.gelu, tg.reciprocal):
        assert f(x).dtype.name in ("float32", "float16"), f
    assert (x / 2).dtype == np.float32
    assert (x / x).dtype == np.float32


@pytest.mark.parametrize("x", [F16, F32], ids=lambda t: t.dtype.name)
def test_functions_keep_narrow_floats(x):
    functions = [tg.exp, tg.mean, tg.std, tg.prod, tg.cumsum, tg.softplus, tg.gelu, tg.erf,
                 tg.logsumexp, tg.cumprod, tg.relu, tg.elu, tg.leaky_relu, tg.log_sigmoid,
                 lambda t: tg.clip(t, -1.0, 1.0), lambda t: tg.where(t > 0, t, 0.0),
                 lambda t: tg.maximum(t, 0.5), lambda t: t ** 0.5, lambda t: 2.0 ** t,
                 lambda t: tg.concat([t, t]), lambda t: tg.pad(t, 1), lambda t: 1 / t,
                 lambda t: t.sum() / 3, lambda t: t @ t, lambda t: tg.einsum("i,i->", t, t)]
    for f in functions:
        assert f(x).dtype == x.dtype


def test_zero_dimensional_results_are_tensors_of_the_same_dtype():
    x = F32.sum()
    assert (x.shape, x.dtype) == ((), np.float32)
    for y in (x + 1, x * 2.5, x / 3, tg.exp(x), -x, x ** 2, x.reshape(1)[0]):
        assert isinstance(y.data, np.ndarray)
        assert y.dtype == np.float32


# -- operators -------------------------------------------------------------------------------------


def test_arrays_on_the_left_give_tensors():
    a = np.array([1.0, 2.0], np.float32)
    x = tg.Tensor([3.0, 4.0], requires_grad=True)
    for value, expected in ((a * x, a * [3, 4]), (a + x, a + [3, 4]), (a - x, a - [3, 4]),
                            (a / x, a / [3, 4]), (a @ x, a @ [3, 4]), (a ** x, a ** [3, 4]),
                            (np.float32(2) * x, [6, 8]), (a // x, a // [3, 4])):
        assert isinstance(value, tg.Tensor) and value.requires_grad
        close(value, expected, 1e-6)
    same(a < x, [True, True])
    same(np.float64(3) == x, [True, False])
    (a * x).sum().backward()
    same(x.grad, a)


def test_operators_against_numpy():
    a, b = np.array([5.0, -7.0, 2.5]), np.array([2.0, 3.0, -1.5])
    x, y = tg.Tensor(a), tg.Tensor(b)
    pairs = [(x + y, a + b), (x - y, a - b), (x * y, a * b), (x / y, a / b), (x // y, a // b),
             (x % y, a % b), (-x, -a), (+x, a), (abs(x), abs(a)), (x ** 2, a ** 2),
             (2 - x, 2 - a), (2 / x, 2 / a), (7 // x, 7 // a), (7 % x, 7 % a), (2 ** y, 2 ** b),
             (x == y, a == b), (x != y, a != b), (x < y, a < b), (x <= y, a <= b),
             (x > y, a > b), (x >= y, a >= b), (~(x > 0), ~(a > 0)),
             ((x > 0) & (y > 0), (a > 0) & (b > 0)), ((x > 0) | (y > 0), (a > 0) | (b > 0)),
             ((x > 0) ^ (y > 0), (a > 0) ^ (b > 0)), (1 < x, 1 < a), ([1, 2, 3] @ x, [1, 2, 3] @ a)]
    for got, expected in pairs:
        close(got, expected)


def test_inputs_may_be_given_by_name():
    """They are inputs all the same: their gradients are not lost."""
    a, b = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])
    for f in (lambda x, y: tg.maximum(x, y=y), lambda x, y: tg.where(x > 9, x=x, y=y),
              lambda x, y: tg.linear(x, weight=y, bias=None), lambda x, y: tg.matmul(b=y.T, a=x),
              lambda x, y: tg.add(y=y, x=x)):
        x, y = tg.Tensor(a, requires_grad=True), tg.Tensor(b, requires_grad=True)
        out = f(x, y)
        out.sum().backward()
        assert y.grad is not None and y.grad.numpy().any()


def test_comparison_with_a_list_or_nothing_that_broadcasts():
    with pytest.raises(ValueError, match=r"\[equal\].*broadcast"):
        tg.ones((2,)) == tg.ones((3,))
    x = tg.ones((2,))
    assert {x: 1}[x] == 1                       # keys by identity


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, -1, 0.5, 2.0, -2])
def test_powers_and_their_gradients(exponent):
    x = tg.Tensor(np.array([0.5, 2.0]), requires_grad=True)
    y = x ** exponent
    close(y, np.array([0.5, 2.0]) ** exponent)
    g, = grad_of(y.sum(), x, create_graph=True)
    e = float(exponent)
    close(g, e * np.array([0.5, 2.0]) ** (e - 1))
    if exponent not in (0, 1):
        h, = grad_of(g.sum(), x)
        close(h, e * (e - 1) * np.array([0.5, 2.0]) ** (e - 2))
