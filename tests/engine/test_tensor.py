"""Tensors as values: dtypes, operators, copies and pickles, methods, reductions, sorting, einsum."""

import copy
import io
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygen as tg
from tests.cases import shapes
from tinygen.autograd import grad_of


def same(tensor, expected, strict=True):
    np.testing.assert_array_equal(tensor.detach().numpy(), expected, strict=strict)


def close(tensor, expected, rtol=1e-10, atol=1e-12):
    np.testing.assert_allclose(tensor.detach().numpy(), expected, rtol=rtol, atol=atol)


# -- construction ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("data, dtype", [
    (1.5, "float32"), ([1.0, 2.0], "float32"), ([[1.0], [2.0]], "float32"), (3, "int64"),
    ([1, 2], "int64"), (True, "bool"), ([True, False], "bool"), ([1, 2.5], "float32"), ([], "float32"),
    (np.float64(1.5), "float64"), (np.float32(1.5), "float32"), (np.float16(1), "float16"),
    (np.arange(3), "int64"), (np.ones(2, np.float64), "float64"), (np.ones(2, np.uint8), "uint8"),
    (np.ones(2, np.int32), "int32"), (np.bool_(True), "bool"),
])
def test_arrays_keep_their_dtype_and_python_floats_are_float32(data, dtype):
    assert tg.Tensor(data).dtype == dtype
    assert tg.asarray(data).dtype == dtype


def test_construction_copies_and_asarray_shares():
    a = np.array([1.0, 2.0])
    t, s = tg.Tensor(a), tg.asarray(a)
    a[0] = 9
    same(t, [1.0, 2.0], strict=False)
    same(s, [9.0, 2.0], strict=False)
    assert tg.asarray(s) is s
    assert tg.asarray(s, copy=True) is not s
    assert tg.from_numpy(a).data is a
    assert tg.Tensor(t).data is not t.data


def test_dtype_and_requires_grad_arguments():
    assert tg.Tensor([1, 2], dtype="float64").dtype == np.float64
    assert tg.Tensor([1, 2], dtype=float).dtype == np.float32
    assert tg.Tensor([1.0], requires_grad=True).requires_grad
    assert tg.Tensor([tg.Tensor(1.0), 2.0]).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool"])
def test_only_floating_point_tensors_require_gradients(dtype):
    with pytest.raises(TypeError, match=f"only floating point.*{dtype} \\(2,\\)"):
        tg.Tensor([1, 0], dtype=dtype, requires_grad=True)
    with pytest.raises(TypeError, match="only floating point"):
        tg.zeros((2,), dtype=dtype).requires_grad_()


@pytest.mark.parametrize("bad, error", [
    ("text", TypeError), ([[1.0], [1.0, 2.0]], ValueError), (object(), TypeError),
    (np.array(["a"]), TypeError), (1 + 2j, TypeError), (np.ones(2, np.complex64), TypeError),
    (None, TypeError), ([None], TypeError), (np.array([object()]), TypeError),
    ([tg.ones((2,)), tg.ones((2,))], TypeError),
])
def test_data_that_are_no_numbers_are_refused(bad, error):
    with pytest.raises(error, match="tensor"):
        tg.Tensor(bad)


def test_unknown_dtypes_and_devices():
    with pytest.raises(TypeError, match="'complex64' is not supported; use one of float16"):
        tg.zeros((2,), dtype="complex64")
    with pytest.raises(ValueError, match="unknown device 'tpu': use 'cpu', 'cuda'"):
        tg.zeros((2,), device="tpu")
    with pytest.raises(TypeError, match="not supported"):
        tg.ones((2,)).astype("no such type")


CREATION = [
    (lambda: tg.zeros((2, 3)), np.zeros((2, 3), np.float32)),
    (lambda: tg.zeros(2, 3, dtype="int32"), np.zeros((2, 3), np.int32)),
    (lambda: tg.ones(4), np.ones(4, np.float32)),
    (lambda: tg.full((2,), 7), np.full((2,), 7)),
    (lambda: tg.full((2,), 7.5), np.full((2,), 7.5, np.float32)),
    (lambda: tg.full((2,), True), np.full((2,), True)),
    (lambda: tg.arange(4), np.arange(4)),
    (lambda: tg.arange(1, 4, 2), np.arange(1, 4, 2)),
    (lambda: tg.arange(0, 1, 0.25), np.arange(0, 1, 0.25, dtype=np.float32)),
    (lambda: tg.linspace(0, 1, 5), np.linspace(0, 1, 5, dtype=np.float32)),
    (lambda: tg.eye(3), np.eye(3, dtype=np.float32)),
    (lambda: tg.eye(2, 3, 1), np.eye(2, 3, 1, dtype=np.float32)),
    (lambda: tg.zeros(()), np.zeros((), np.float32)),
]


@pytest.mark.parametrize("make, expected", CREATION)
def test_creation(make, expected):
    same(make(), expected)


@pytest.mark.parametrize("name, value", [("zeros", 0), ("ones", 1)])
def test_likes_copy_shape_dtype_and_take_overrides(name, value):
    like = getattr(tg, f"{name}_like")
    x = tg.Tensor(np.ones((2, 3), np.float16), requires_grad=True)
    same(like(x), np.full((2, 3), value, np.float16))
    assert not like(x).requires_grad
    assert like(x, dtype="float64", requires_grad=True).requires_grad
    assert like(x, dtype="float64").dtype == np.float64
    assert tg.full_like(x, 5).tolist() == [[5.0] * 3] * 2
    assert tg.empty_like(x).shape == (2, 3)


def test_meshgrid():
    for indexing in ("xy", "ij"):
        got = tg.meshgrid(tg.arange(2), tg.arange(3), indexing=indexing)
        for g, r in zip(got, np.meshgrid(np.arange(2), np.arange(3), indexing=indexing),
                        strict=True):
            same(g, r)


# -- no silent upcast ----------------------------------------------------------------------------------


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


# -- operators ----------------------------------------------------------------------------------------------


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


# -- conversions --------------------------------------------------------------------------------------------


def test_items_lists_and_numpy():
    x = tg.Tensor([[1.5]])
    assert x.item() == 1.5 and float(x) == 1.5 and int(x) == 1
    assert tg.Tensor([1, 2]).tolist() == [1, 2]
    assert list(range(5))[tg.Tensor(2)] == 2
    assert bool(tg.Tensor(1.0)) and not bool(tg.Tensor([0]))
    assert f"{tg.Tensor(1.23456):.2f}" == "1.23"
    with pytest.raises(ValueError, match=r"exactly one element.*\(2,\) \(2 elements\)"):
        tg.ones((2,)).item()
    with pytest.raises(ValueError, match=r"truth value .*\(2,\) is ambiguous"):
        bool(tg.ones((2,)))
    with pytest.raises(TypeError, match="float32 tensor cannot be used as an index"):
        range(5)[tg.Tensor(2.0)]
    with pytest.raises(TypeError, match="0-d"):
        len(tg.Tensor(1.0))
    with pytest.raises(TypeError, match="0-d"):
        iter(tg.Tensor(1.0))


def test_numpy_shares_memory_and_refuses_tracked_tensors():
    x = tg.Tensor([1.0, 2.0])
    x.numpy()[0] = 5
    same(x, np.array([5, 2], np.float32))
    y = tg.Tensor([1.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="requires grad.*detach"):
        y.numpy()
    assert y.detach().data is y.data
    assert np.asarray(x).dtype == np.float32
    assert np.array(x, dtype=np.float64).dtype == np.float64
    assert np.array(x) is not x.data


def test_iteration_and_length():
    x = tg.Tensor(np.arange(6.0).reshape(3, 2), requires_grad=True)
    assert len(x) == 3
    sum((row * k).sum() for k, row in enumerate(x)).backward()
    same(x.grad, [[0.0, 0], [1, 1], [2, 2]], strict=False)


def test_to_and_casts():
    x = tg.Tensor([1.5, 2.5], requires_grad=True)
    assert x.to("cpu") is x and x.to(tg.float32) is x
    y = x.to(tg.float64)
    assert y.dtype == np.float64
    y.sum().backward()
    assert x.grad.dtype == np.float32
    assert [t.dtype.name for t in (x.double(), x.half(), x.long(), x.int(), x.bool())] == [
        "float64", "float16", "int64", "int32", "bool"]
    assert x.to(tg.Tensor(np.ones(1))).dtype == np.float64
    assert x.astype("float32") is not x
    assert x.astype("float32", copy=False) is x


def test_requires_grad_can_be_switched():
    x = tg.ones((2,)).requires_grad_()
    assert x.requires_grad
    assert not x.requires_grad_(False).requires_grad
    with pytest.raises(RuntimeError, match="leaf tensors only.*detach"):
        (x.requires_grad_() * 2).requires_grad_(False)


def test_misspelt_attributes_get_a_hint():
    with pytest.raises(AttributeError, match="no attribute 'reshap'; did you mean 'reshape'"):
        tg.ones((2,)).reshap
    assert not hasattr(tg.ones((2,)), "completely_different")


# -- repr ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make, text", [
    (lambda: tg.Tensor([1.0, 2.5]), "Tensor([1. , 2.5], dtype=float32)"),
    (lambda: tg.Tensor(3), "Tensor(3, dtype=int64)"),
    (lambda: tg.Tensor([1.0], requires_grad=True),
     "Tensor([1.], dtype=float32, requires_grad=True)"),
    (lambda: tg.Tensor([1.0], requires_grad=True) * 2, "Tensor([2.], dtype=float32, op=multiply)"),
    (lambda: tg.zeros((0, 3)), "Tensor([], dtype=float32, shape=(0, 3))"),
    (lambda: tg.Tensor([[1, 2], [3, 4]]), "Tensor([[1, 2],\n        [3, 4]], dtype=int64)"),
])
def test_repr(make, text):
    assert repr(make()) == text


def test_repr_of_large_tensors_is_short_and_says_the_shape():
    text = repr(tg.zeros((100, 200)))
    assert len(text) < 500 and "shape=(100, 200)" in text and "..." in text
    assert "matmul" in repr(tg.einsum) or repr(tg.matmul) == "<primitive matmul(a, b)>"


# -- pickles and copies --------------------------------------------------------------------------------------


def through_pickle(x):
    return pickle.loads(pickle.dumps(x))


def through_stream(x):
    stream = io.BytesIO()
    pickle.dump({"x": x, "again": x}, stream)
    stream.seek(0)
    got = pickle.load(stream)
    assert got["x"] is got["again"]
    return got["x"]


@pytest.mark.parametrize("clone", [through_pickle, through_stream, copy.deepcopy],
                         ids=["pickle", "stream", "deepcopy"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "bool"])
def test_a_pickled_or_copied_tensor_is_whole(clone, dtype):
    x = tg.Tensor(np.array([[1, 0], [2, 3]]).astype(dtype))
    if x.dtype.kind == "f":
        x.requires_grad_()
        (x * x).sum().backward()
    y = clone(x)
    assert type(y) is type(x) and y is not x
    same(y, x.detach().numpy())
    assert (y.requires_grad, y.is_leaf) == (x.requires_grad, True)
    assert (y.grad is None) == (x.grad is None)
    y.data[...] = 0                                     # memory of its own
    assert x.detach().numpy().any()
    if x.grad is not None:
        same(y.grad, x.grad.numpy())
        y.grad.data[...] = 7
        assert not (x.grad.numpy() == 7).any()
        (y * 3).sum().backward()
        same(y.grad, np.full((2, 2), 10, dtype))


@pytest.mark.parametrize("clone", [through_pickle, copy.deepcopy], ids=["pickle", "deepcopy"])
def test_parameters_stay_parameters(clone):
    from tinygen import nn
    p = nn.Parameter(tg.ones((2, 2)))
    q = clone(p)
    assert type(q) is nn.Parameter and q.requires_grad
    layer = nn.Linear(2, 3)
    other = clone(layer)
    assert type(other.weight) is nn.Parameter and other.weight is not layer.weight
    same(other.weight, layer.weight.detach().numpy())


def test_copies_of_computed_tensors():
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    y = x * 3
    for clone in (through_pickle, copy.deepcopy):
        z = clone(y)
        same(z, np.array([3, 6], np.float32))
        assert z.is_leaf
    z = copy.copy(y)                                     # shallow: the same place in the graph
    assert z.data is y.data
    (z * y).sum().backward()
    same(x.grad, np.array([18, 36], np.float32))


def test_a_shallow_copy_of_a_leaf_is_a_leaf_of_its_own():
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    y = copy.copy(x)
    (x * y * y).sum().backward()
    same(x.grad, np.array([1, 4], np.float32))
    same(y.grad, np.array([2, 8], np.float32))


def test_a_deep_copy_keeps_sharing():
    x = tg.ones((2,))
    a, b = copy.deepcopy([x, x])
    assert a is b and a is not x


# -- functions against NumPy --------------------------------------------------------------------------------------


def arrays(draw, **options):
    shape = draw(shapes(**options))
    return np.random.default_rng(draw(st.integers(0, 1000))).integers(-3, 4, shape).astype(float)


@given(st.data())
def test_sort_and_argsort_with_ties(data):
    a = arrays(data.draw, min_dims=1)
    axis = data.draw(st.integers(-a.ndim, a.ndim - 1))
    descending = data.draw(st.booleans())
    x = tg.Tensor(a, requires_grad=True)
    expected = np.argsort(-a if descending else a, axis=axis, kind="stable")
    same(tg.argsort(x, axis, descending), expected)
    y = tg.sort(x, axis, descending)
    close(y, np.take_along_axis(a, expected, axis))
    weights = np.random.default_rng(0).standard_normal(a.shape)
    (y * weights).sum().backward()
    scattered = np.zeros_like(a)
    np.put_along_axis(scattered, expected, weights, axis)
    close(x.grad, scattered)
    same(x.argsort(axis, descending), expected)


@given(st.data())
def test_topk(data):
    a = arrays(data.draw, min_dims=1, empty=False)
    axis = data.draw(st.integers(-a.ndim, a.ndim - 1))
    k = data.draw(st.integers(0, a.shape[axis]))
    largest = data.draw(st.booleans())
    x = tg.Tensor(a, requires_grad=True)
    values, indices = tg.topk(x, k, axis, largest)
    ranked = np.sort(a, axis)
    ranked = np.flip(ranked, axis) if largest else ranked
    close(values, np.take(ranked, np.arange(k), axis))
    close(values, np.take_along_axis(a, indices.numpy(), axis))      # ties: any, but distinct
    distinct = np.sort(indices.numpy(), axis)
    assert (np.diff(distinct, axis=axis) > 0).all()
    values.sum().backward()
    assert x.grad.numpy().sum() == values.size
    assert set(np.unique(x.grad.numpy())) <= {0.0, 1.0}


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool", "float16"])
def test_topk_and_sort_of_other_dtypes(dtype):
    a = np.array([1, 0, 3, 2, 0]).astype(dtype)
    same(tg.topk(tg.Tensor(a), 2)[0], np.sort(a)[::-1][:2])
    same(tg.topk(tg.Tensor(a), 5, largest=False)[0], np.sort(a))
    same(tg.sort(tg.Tensor(a), descending=True), np.sort(a)[::-1])


def test_sort_with_nan_and_infinities():
    a = np.array([2.0, np.nan, -np.inf, np.inf, 1.0])
    same(tg.sort(tg.Tensor(a)), np.sort(a))


@given(st.data())
def test_reductions_agree_with_numpy(data):
    a = arrays(data.draw, empty=False)
    axis = data.draw(st.sampled_from([None, *range(-a.ndim, a.ndim)]))
    keep = data.draw(st.booleans())
    x = tg.Tensor(a)
    for name in ("sum", "mean", "max", "min", "prod", "var", "std", "any", "all", "argmax",
                 "argmin"):
        expected = getattr(np, name)(a, axis=axis, keepdims=keep)
        close(getattr(tg, name)(x, axis=axis, keepdims=keep), expected)
        close(getattr(x, name)(axis=axis, keepdims=keep), expected)
    close(tg.count_nonzero(x, axis, keep), np.count_nonzero(a, axis=axis, keepdims=keep))
    close(tg.cumsum(x, axis), np.cumsum(a, axis))
    if a.ndim:
        close(tg.cumprod(x, axis or 0), np.cumprod(a, axis or 0))


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_])
def test_reductions_of_integers(dtype):
    a = np.array([[1, 0, 1], [1, 1, 1]]).astype(dtype)
    x = tg.Tensor(a)
    assert x.sum().item() == 5 and x.sum().dtype == a.sum().dtype
    same(x.sum(axis=0), a.sum(0))
    assert x.mean().dtype == np.float32
    assert x.max().dtype == dtype
    assert x.prod().item() == 0


def test_cumprod_gradient():
    x = tg.Tensor(np.array([[2.0, 0.0, 3.0, 4.0]]), requires_grad=True)
    g, = grad_of((tg.cumprod(x, 1) * np.array([1.0, 10, 100, 1000])).sum(), x)
    close(g, [[1, 2 * (10 + 300 + 12000), 0, 0]])


def test_var_and_std():
    a = np.random.default_rng(0).standard_normal((4, 5))
    x = tg.Tensor(a)
    close(x.var(axis=0, correction=1), a.var(0, ddof=1))
    close(x.std(axis=(0, 1), ddof=1), a.std(ddof=1))


def test_ties_share_the_gradient_of_extremes():
    x = tg.Tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]], requires_grad=True)
    x.max(axis=1).sum().backward()
    close(x.grad, [[0, 0.5, 0.5], [1 / 3] * 3], 1e-6)
    x.grad = None
    x.min().backward()
    same(x.grad, np.array([[1, 0, 0], [0, 0, 0]], np.float32))
    a, b = tg.Tensor([1.0, 2.0], requires_grad=True), tg.Tensor([1.0, 0.0], requires_grad=True)
    tg.maximum(a, b).sum().backward()
    same(a.grad, np.array([0.5, 1], np.float32))
    same(b.grad, np.array([0.5, 0], np.float32))


MOVING = [
    (lambda x: x.T, lambda a: a.T), (lambda x: x.mT, lambda a: a.swapaxes(-1, -2)),
    (lambda x: x.transpose(2, 0, 1), lambda a: a.transpose(2, 0, 1)),
    (lambda x: x.transpose((1, 0, 2)), lambda a: a.transpose(1, 0, 2)),
    (lambda x: x.transpose(0, 2), lambda a: a.swapaxes(0, 2)),
    (lambda x: x.permute(2, 1, 0), lambda a: a.transpose(2, 1, 0)),
    (lambda x: x.reshape(6, -1), lambda a: a.reshape(6, -1)),
    (lambda x: x.reshape((4, 6)), lambda a: a.reshape(4, 6)),
    (lambda x: x.flatten(), lambda a: a.reshape(-1)),
    (lambda x: x.flatten(1), lambda a: a.reshape(2, 12)),
    (lambda x: x.unsqueeze(1), lambda a: a[:, None]),
    (lambda x: x.unsqueeze(-1).squeeze(), lambda a: a),
    (lambda x: tg.expand_dims(x, (0, -1)), lambda a: a[None, ..., None]),
    (lambda x: x[:, :1].squeeze(1), lambda a: a[:, 0]),
    (lambda x: x.swapaxes(0, -1), lambda a: a.swapaxes(0, -1)),
    (lambda x: x.moveaxis(0, 2), lambda a: np.moveaxis(a, 0, 2)),
    (lambda x: tg.flip(x, 1), lambda a: np.flip(a, 1)), (lambda x: tg.flip(x), np.flip),
    (lambda x: tg.roll(x, (1, -2), (0, 2)), lambda a: np.roll(a, (1, -2), (0, 2))),
    (lambda x: x.tile(2, 1), lambda a: np.tile(a, (2, 1))),
    (lambda x: tg.tile(x, (2, 1, 1, 3)), lambda a: np.tile(a, (2, 1, 1, 3))),
    (lambda x: tg.repeat(x, 2), lambda a: np.repeat(a, 2)),
    (lambda x: tg.repeat(x, 3, axis=-1), lambda a: np.repeat(a, 3, -1)),
    (lambda x: tg.repeat(x, [0, 2, 1], axis=1), lambda a: np.repeat(a, [0, 2, 1], 1)),
    (lambda x: tg.stack([x, 2 * x], axis=1), lambda a: np.stack([a, 2 * a], 1)),
    (lambda x: tg.stack([x, x], axis=-1), lambda a: np.stack([a, a], -1)),
    (lambda x: tg.concat([x, x], axis=None), lambda a: np.concatenate([a, a], None)),
    (lambda x: tg.concat(tg.split(x, 2, axis=2)[::-1], axis=2),
     lambda a: np.concatenate(np.split(a, 2, 2)[::-1], 2)),
    (lambda x: tg.split(x, [1, 1, 3], axis=1)[2], lambda a: np.split(a, [1, 1, 3], 1)[2]),
    (lambda x: x.expand(3, -1, -1, 4), lambda a: np.broadcast_to(a, (3, 2, 3, 4))),
    (lambda x: x.broadcast_to((2, 2, 3, 4)), lambda a: np.broadcast_to(a, (2, 2, 3, 4))),
    (lambda x: tg.tril(x, 1), lambda a: np.tril(a, 1)), (lambda x: x.triu(), np.triu),
    (lambda x: tg.trace(x), lambda a: np.trace(a, axis1=-2, axis2=-1)),
    (lambda x: tg.diagonal(x, 1), lambda a: np.diagonal(a, 1, -2, -1)),
    (lambda x: tg.diagonal(x, -1), lambda a: np.diagonal(a, -1, -2, -1)),
    (lambda x: tg.pad(x, ((0, 1), (2, 0), (1, 1)), mode="reflect"),
     lambda a: np.pad(a, ((0, 1), (2, 0), (1, 1)), "reflect")),
    (lambda x: tg.take(x, [[2, 0], [1, 1]], axis=1), lambda a: np.take(a, [[2, 0], [1, 1]], 1)),
    (lambda x: tg.take(x, 1, axis=0), lambda a: np.take(a, 1, 0)),
    (lambda x: tg.take(x, [5, -1, 5]), lambda a: np.take(a, [5, -1, 5])),
    (lambda x: x.clip(-0.5, 0.5), lambda a: np.clip(a, -0.5, 0.5)),
    (lambda x: x.clip(tg.Tensor(-0.5), x.detach() + 1), lambda a: np.clip(a, -0.5, a + 1)),
    (lambda x: x.masked_fill(x > 0, 0.25), lambda a: np.where(a > 0, 0.25, a)),
]


@pytest.mark.parametrize("ours, numpys", MOVING)
def test_functions_made_of_primitives(ours, numpys):
    """Values as NumPy's; gradients as differences say; second derivatives exist."""
    rng = np.random.default_rng(0)
    a, u = rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 3, 4))
    x = tg.Tensor(a, requires_grad=True)
    y = ours(x)
    np.testing.assert_array_equal(y.detach().numpy(), numpys(a), strict=True)
    w = rng.standard_normal(y.shape)
    g, = grad_of((y * y * w).sum(), x, create_graph=True)
    eps = 1e-6
    numeric = ((numpys(a + eps * u) ** 2 * w).sum() - (numpys(a - eps * u) ** 2 * w).sum()) / (2 * eps)
    assert (g.detach().numpy() * u).sum() == pytest.approx(numeric, rel=1e-5)
    h, = grad_of(g.sum(), x)
    assert h.shape == x.shape


def test_split_of_an_empty_axis_and_scatter_add():
    assert [p.shape for p in tg.split(tg.zeros((0, 2)), 2)] == [(0, 2), (0, 2)]
    x = tg.Tensor(np.zeros((3, 2)), requires_grad=True)
    s = tg.Tensor(np.arange(1.0, 5).reshape(2, 2), requires_grad=True)
    index = np.array([[0, 2], [0, 0]])
    y = tg.scatter_add(x, index, s, axis=0)
    close(y, [[4, 4], [0, 0], [0, 2]])
    (y * np.arange(6.0).reshape(3, 2)).sum().backward()
    close(s.grad, [[0, 5], [0, 1]])
    close(x.grad, np.arange(6.0).reshape(3, 2))


def test_one_hot_and_nonzero():
    same(tg.one_hot(tg.Tensor([0, 2]), 3), np.array([[1, 0, 0], [0, 0, 1]]))
    assert tg.one_hot([1], 2, dtype="float32").dtype == np.float32
    with pytest.raises(ValueError, match=r"classes from 0 to 3 do not fit into num_classes=3"):
        tg.one_hot(tg.Tensor([0, 3]), 3)
    for got, expected in zip(tg.nonzero(tg.Tensor([[0, 1], [2, 0]])),
                             np.nonzero(np.array([[0, 1], [2, 0]])), strict=True):
        same(got, expected)


# -- products ---------------------------------------------------------------------------------------------------


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
