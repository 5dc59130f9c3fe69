"""Tensors as values: construction, conversion, repr, copies and pickles."""

import copy
import io
import pickle

import numpy as np
import pytest

import tinygen as tg
from tests.checking import same

# -- construction ----------------------------------------------------------------------------------


@pytest.mark.parametrize("data, dtype", [
    (1.5, "float32"), ([1.0, 2.0], "float32"), ([[1.0], [2.0]], "float32"), (3, "int64"),
    ([1, 2], "int64"), (True, "bool"), ([True, False], "bool"), ([1, 2.5], "float32"),
    ([], "float32"),
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
    same(t, [1.0, 2.0])
    same(s, [9.0, 2.0])
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
    with pytest.raises(TypeError, match="'complex64' is not supported; use one of bfloat16, floa"):
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


# -- conversions -----------------------------------------------------------------------------------


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
    with pytest.raises(RuntimeError, match=r"requires grad.*detach"):
        y.numpy()
    assert y.detach().data is y.data
    assert np.asarray(x).dtype == np.float32
    assert np.array(x, dtype=np.float64).dtype == np.float64
    assert np.array(x) is not x.data


def test_iteration_and_length():
    x = tg.Tensor(np.arange(6.0).reshape(3, 2), requires_grad=True)
    assert len(x) == 3
    sum((row * k).sum() for k, row in enumerate(x)).backward()
    same(x.grad, [[0.0, 0], [1, 1], [2, 2]])


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
    with pytest.raises(RuntimeError, match=r"leaf tensors only.*detach"):
        (x.requires_grad_() * 2).requires_grad_(False)


def test_misspelt_attributes_get_a_hint():
    with pytest.raises(AttributeError, match="no attribute 'reshap'; did you mean 'reshape'"):
        tg.ones((2,)).reshap
    assert not hasattr(tg.ones((2,)), "completely_different")


# -- repr ------------------------------------------------------------------------------------------


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


# -- pickles and copies ----------------------------------------------------------------------------


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
