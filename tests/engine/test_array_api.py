"""The array API's protocols: the namespace of a tensor, DLPack, operators, in-place forms."""

import numpy as np
import pytest

import tinygen as tg
from tests.checking import close, leaf, same


def test_a_tensor_names_its_namespace():
    x = tg.ones((2,))
    for version in (None, "2021.12", "2022.12", "2023.12", "2024.12"):
        assert x.__array_namespace__(api_version=version) is tg
    with pytest.raises(ValueError, match=r"2030\.12"):
        x.__array_namespace__(api_version="2030.12")


def test_the_namespace_tells_what_it_can():
    info = tg.__array_namespace_info__()
    assert info.capabilities()["boolean indexing"] and info.capabilities()["data-dependent shapes"]
    assert info.default_device() == "cpu" == info.devices()[0]
    assert info.default_dtypes()["real floating"] == tg.float32
    assert info.default_dtypes(device="cpu")["indexing"] == tg.int64
    assert set(info.dtypes(kind="signed integer")) == {"int8", "int16", "int32", "int64"}
    assert set(info.dtypes(kind=("bool", "real floating"))) == {"bool", "float32", "float64"}
    assert info.dtypes(kind="complex floating") == {} and len(info.dtypes()) == 11


def test_constants_and_types():
    assert (tg.pi, tg.e, tg.inf, tg.newaxis) == (np.pi, np.e, np.inf, None) and np.isnan(tg.nan)
    assert tg.zeros((1,), dtype=tg.bool).dtype == tg.bool_ == tg.bool
    assert tg.zeros((1,), dtype=tg.uint64).dtype == tg.uint64
    with pytest.raises(AttributeError, match="real"):
        tg.complex64
    with pytest.raises(AttributeError, match="real"):
        tg.fft


# -- DLPack ---


def test_memory_is_shared_with_numpy_both_ways():
    a = np.arange(3.0)
    t = tg.from_dlpack(a)
    a[0] = 7
    assert t.tolist() == [7, 1, 2]
    b = np.from_dlpack(t)
    assert np.shares_memory(a, b)
    assert t.__dlpack_device__() == (1, 0)
    own = tg.from_dlpack(a, copy=True)
    assert not np.shares_memory(own.data, a)


def test_memory_is_shared_with_pytorch_both_ways():
    torch = pytest.importorskip("torch")
    theirs = torch.arange(4, dtype=torch.float32)
    ours = tg.from_dlpack(theirs)
    theirs[0] = 9
    assert ours.tolist() == [9, 1, 2, 3] and ours.dtype == np.float32
    back = torch.from_dlpack(tg.ones((2, 3)).T)
    assert tuple(back.shape) == (3, 2) and back.stride() == (1, 3)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float32", "float64"])
def test_every_type_travels(dtype):
    x = np.array([[0, 1], [1, 0]], dtype)
    same(tg.from_dlpack(tg.from_dlpack(x)), x)


def test_what_dlpack_refuses():
    with pytest.raises(BufferError, match="detach"):
        np.from_dlpack(leaf([1.0]))
    with pytest.raises(TypeError, match="complex128"):
        tg.from_dlpack(np.zeros(1, complex))
    with pytest.raises(TypeError, match="no __dlpack__"):
        tg.from_dlpack([1.0])


# -- operators ---


def test_bits_of_integers_and_booleans():
    x, y = tg.Tensor([6, -5]), tg.Tensor([3, 1])
    same(x & y, [2, 1])
    same(x | y, [7, -5])
    same(x ^ y, [5, -6])
    same(~x, [-7, 4])
    same(x << y, [48, -10])
    same(x >> y, [0, -3])
    same(2 & x, [2, 2])
    same(1 << y, [8, 2])
    same(~tg.Tensor([True, False]), [False, True])
    same((x > 0) & (y > 1), [True, False])
    for call in (lambda: tg.ones(2) & tg.ones(2), lambda: ~tg.ones(2), lambda: tg.gcd(1.5, x)):
        with pytest.raises(TypeError, match="integers"):
            call()


def test_in_place_operators_keep_the_tensor():
    x = tg.Tensor([6, 5])
    before = x
    x //= 2
    x **= 2
    x %= 7
    x |= 8
    x &= 14
    x ^= 1
    x <<= 2
    x >>= 1
    assert x is before
    same(x, [22, 26])
    m = tg.eye(2)
    m @= tg.ones((2, 2))
    same(m, np.ones((2, 2), "float32"))


def test_in_place_operators_do_not_change_the_type_silently():
    x = tg.Tensor([6, 5])
    with pytest.raises(TypeError, match="would turn a int64 tensor into float32"):
        x /= 2
    with pytest.raises(TypeError, match=r"x = x \+ y"):
        x += 0.5
    same(x, [6, 5])


def test_numbers_from_tensors():
    assert complex(tg.Tensor(2.5)) == 2.5 + 0j
    assert [10, 20, 30][tg.Tensor(1)] == 20
    with pytest.raises(TypeError):
        [10][tg.Tensor(0.0)]
    assert tg.ones((2,)).to_device("cpu").device == "cpu"
    with pytest.raises(ValueError, match="stream"):
        tg.ones((2,)).to_device("cpu", stream=1)


# -- copies ---


def test_copy_false_never_copies():
    a = np.ones((2, 3), np.float32)
    assert tg.asarray(a, copy=False).data is a
    for call in (lambda: tg.asarray([1.0], copy=False),
                 lambda: tg.asarray(a, dtype="float64", copy=False)):
        with pytest.raises(ValueError, match="needs a copy"):
            call()
    t = tg.asarray(a)
    assert np.shares_memory(tg.reshape(t, (6,), copy=False).data, a)
    assert not np.shares_memory(tg.reshape(t, (6,), copy=True).data, a)
    with pytest.raises(ValueError, match="without a copy"):
        tg.reshape(t.T, (6,), copy=False)
    assert tg.astype(t, "float32", copy=False, device="cpu") is t


def test_numbers_with_a_type_keep_it():
    torch = pytest.importorskip("torch")
    assert tg.asarray(torch.ones(2, dtype=torch.float64)).dtype == np.float64


# -- distinct values ---


def test_unique_in_numpys_form():
    x = np.array([[2.0, 1.0], [2.0, 1.0], [np.nan, np.nan]])
    for axis in (None, 0, 1):
        ours = tg.unique(tg.Tensor(x), True, True, True, axis=axis)
        for a, b in zip(ours, np.unique(x, True, True, True, axis=axis), strict=True):
            np.testing.assert_array_equal(a.numpy(), b)
    assert tg.unique_all(tg.Tensor(x)).values.shape == (4,)      # each NaN is distinct
    same(tg.unique(tg.Tensor([3, 1, 3])), [1, 3])


def test_gradients_of_distinct_values_flow_to_the_first_places():
    x = leaf([3.0, 1.0, 3.0])
    (tg.unique_values(x) * np.array([2.0, 5.0], np.float32)).sum().backward()
    same(x.grad, [5, 2, 0])


def test_result_type_is_what_operations_give():
    f, i = tg.ones((1,)), tg.ones((1,), dtype="int64")
    assert tg.result_type(f, i) == (f + i).dtype == np.float32
    assert tg.result_type(i, 1.5) == (i + 1.5).dtype == np.float32
    assert tg.result_type("float64", f) == np.float64
    assert tg.result_type(tg.uint8, 1) == np.uint8 and tg.result_type(True, 2) == np.int64
    assert tg.promote_types(tg.int8, tg.uint8) == np.int16
    with pytest.raises(ValueError, match="at least one"):
        tg.result_type()
    for call in (lambda: tg.finfo(tg.int8), lambda: tg.iinfo(tg.float32)):
        with pytest.raises(TypeError, match="is not a"):
            call()
    with pytest.raises(ValueError, match="kind='float'"):
        tg.isdtype(tg.float32, "float")
    assert tg.finfo(f).tiny == float(np.finfo("f4").tiny)
    close(tg.finfo("f8").resolution * tg.ones((), dtype="float64"), 1e-15)
