"""x[index] and x[index] = value: every NumPy form, with gradients against a dense scatter-add."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygen as tg
from tests.drawing import shapes
from tinygen.autograd import grad_of


def scattered(shape, index, g):
    """The gradient of x[index] by the definition: g added at every place that was read."""
    out = np.zeros(shape)
    np.add.at(out, index, g)
    return out


def check(a, index, ours=None):
    """x[index] as NumPy's, its gradient, and the gradient of that gradient."""
    x = tg.Tensor(a, requires_grad=True)
    y = x[index if ours is None else ours]
    expected = a[index]
    np.testing.assert_array_equal(y.detach().numpy(), expected)
    assert y.shape == np.shape(expected)
    rng = np.random.default_rng(0)
    g = tg.Tensor(rng.standard_normal(y.shape), requires_grad=True)
    gx, = grad_of(y, x, g, create_graph=True)
    np.testing.assert_allclose(gx.detach().numpy(), scattered(a.shape, index, g.detach().numpy()),
                               rtol=1e-12, atol=1e-12)
    u = rng.standard_normal(a.shape)
    gg, = grad_of((gx * u).sum(), g)
    np.testing.assert_allclose(gg.numpy(), u[index], rtol=1e-12)


@given(st.data())
def test_basic_indices(data):
    shape = data.draw(shapes())
    index = data.draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True,
                                        max_dims=6))
    check(np.random.default_rng(0).standard_normal(shape), index)


@given(st.data())
def test_integer_array_indices(data):
    shape = data.draw(shapes(min_dims=1, empty=False))
    index = data.draw(hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(
        min_dims=0, max_dims=3, max_side=4)))
    a = np.random.default_rng(0).standard_normal(shape)
    check(a, index)
    check(a, index, tuple(tg.Tensor(i) for i in index))          # tensors are indices too


@given(st.data())
def test_boolean_masks(data):
    shape = data.draw(shapes(min_dims=1))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    width = data.draw(st.integers(1, len(shape)))
    mask = rng.random(shape[:width]) < data.draw(st.sampled_from([0.0, 0.5, 1.0]))
    a = rng.standard_normal(shape)
    check(a, mask)
    check(a, mask, tg.Tensor(mask))


A = np.random.default_rng(1).standard_normal((4, 3, 5))
M = A[:, :, 0] > 0
FORMS = [
    0, -1, np.int64(2), slice(None), slice(1, 3), slice(None, None, -1), slice(3, 0, -2), ...,
    None, (0, 1, 2), (..., 0), (0, ...), (slice(None), 1), (None, 0, None),
    (slice(1, None), ..., None, 2),
    [0, 2], [0, 0, -1], [[0, 1], [2, 3]], [], np.array([], int), (0, [1, 2]), ([1, 2], 0),
    ([0, 1], slice(None), [1, 2]), (slice(None), [0, 1], [1, 2]), ([0, 1], [1, 2], slice(None)),
    ([0, 1], None, [1, 2]), ([[0], [1]], [1, 2]), (..., [0, 4], None), (0, slice(None), [1, 2]),
    M, (M, 2), (M, slice(1, 3)), (M, [0]), (slice(None), M[0]), A > 0, (M[:, 0], ..., [1]),
    [True, False, True, False], (np.array([True, False, True, False]), 1), True, False,
    (np.uint8(1), np.array([0, 1], np.uint8)), np.array(2), (np.array([0, 1], np.int32),) * 3,
]


@pytest.mark.parametrize("index", FORMS, ids=lambda i: f"{type(i).__name__}-{str(i)[:20]}")
def test_every_form(index):
    check(A, index)


@pytest.mark.parametrize("index", FORMS, ids=lambda i: f"{type(i).__name__}-{str(i)[:20]}")
def test_setitem_of_every_form(index):
    b = A.copy()
    b[index] = 7.0
    plain = tg.Tensor(A)
    memory = plain.data
    plain[index] = 7.0
    np.testing.assert_array_equal(plain.numpy(), b)
    assert plain.data is memory                                   # in place
    x = tg.Tensor(A, requires_grad=True)
    v = tg.Tensor(np.array(7.0), requires_grad=True)
    y = x * 1
    y[index] = v
    np.testing.assert_array_equal(y.detach().numpy(), b)
    w = np.random.default_rng(0).standard_normal(A.shape)
    (y * w).sum().backward()
    kept = w.copy()
    kept[index] = 0
    np.testing.assert_allclose(x.grad.numpy(), kept)
    written = w[np.nonzero(kept != w)].sum()
    assert v.grad.item() == pytest.approx(written, abs=1e-12) or _repeats(index)


def _repeats(index):
    """Whether an index meets an element twice; then each meeting counts for the value."""
    count = np.zeros(A.shape)
    np.add.at(count, index, 1)
    return count.max() > 1


def test_repeated_rows_add_up_as_in_an_embedding():
    rng = np.random.default_rng(0)
    for rows, width in ((7, ()), (7, (3,)), (200, (2, 2))):
        table = rng.standard_normal((rows, *width)).astype(np.float32)
        x = tg.Tensor(table, requires_grad=True)
        index = rng.integers(-rows, rows, (5, 9))
        y = x[index]
        g = rng.standard_normal(y.shape).astype(np.float32)
        y.backward(g)
        np.testing.assert_allclose(x.grad.numpy(), scattered(table.shape, index, g), rtol=1e-5,
                                   atol=1e-6)
        assert x.grad.dtype == np.float32


def test_basic_indexing_is_a_view():
    x = tg.Tensor(A)
    assert np.shares_memory(x[1:3].data, x.data)
    assert not np.shares_memory(x[[1, 2]].data, x.data)


def test_integer_tensors_can_be_indexed_and_written():
    x = tg.arange(6).reshape(2, 3)
    assert x[1, 2].item() == 5
    x[x > 2] = 0
    assert x.tolist() == [[0, 1, 2], [0, 0, 0]]
    x[:, 0] = tg.Tensor([8, 9])
    assert x[:, 0].tolist() == [8, 9]


def test_setitem_broadcasts_and_sums_the_gradient_of_the_value():
    x = tg.zeros((2, 3), dtype="float64")
    v = tg.Tensor(np.array([[2.0], [3.0]]), requires_grad=True)
    x[:, 1:] = v
    assert x.tolist() == [[0, 2, 2], [0, 3, 3]]
    (x * np.arange(6.0).reshape(2, 3)).sum().backward()
    np.testing.assert_array_equal(v.grad.numpy(), [[3], [9]])


def test_setitem_keeps_the_dtype():
    x = tg.Tensor([1.0, 2.0], requires_grad=True) * 1
    x[0] = tg.Tensor(np.array(5.5), requires_grad=True)      # float64 into float32
    assert x.dtype == np.float32
    whole = tg.Tensor([1, 2])
    whole[0] = 3
    assert whole.dtype == np.int64 and whole.tolist() == [3, 2]


def test_setitem_on_leaves_under_no_grad():
    p = tg.Tensor([1.0, 2.0], requires_grad=True)
    with tg.no_grad():
        p[0] = 5.0
    assert p.is_leaf and p.requires_grad and p.tolist() == [5.0, 2.0]


def test_put_index_leaves_its_argument_alone():
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    y = tg.ops.put_index(x, 0, 9.0)
    assert (x.tolist(), y.tolist()) == ([1.0, 2.0], [9.0, 2.0])


@given(st.data())
def test_take_along_axis(data):
    shape = data.draw(shapes(min_dims=1, empty=False))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    rows = list(shape)
    rows[axis] = data.draw(st.integers(0, 4))
    index = rng.integers(0, shape[axis], rows)
    a = rng.standard_normal(shape)
    x = tg.Tensor(a, requires_grad=True)
    y = tg.take_along_axis(x, tg.Tensor(index), axis)
    np.testing.assert_array_equal(y.detach().numpy(), np.take_along_axis(a, index, axis))
    g = rng.standard_normal(y.shape)
    y.backward(g)
    grid = list(np.indices(index.shape))
    grid[axis] = index
    np.testing.assert_allclose(x.grad.numpy(), scattered(shape, tuple(grid), g), atol=1e-12)


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize("index, error, text", [
    (4, IndexError, "index 4 is out of bounds"),
    ((0, 0, 0, 0), IndexError, "4 indices for 3 axes"),
    ([0, 9], IndexError, "out of bounds"),
    (1.5, IndexError, "got float64"),
    ("a", IndexError, "must be of integers, booleans, slices"),
    (tg.Tensor([0.5]), IndexError, r"got float32 \(1,\)"),
    (np.ones(3, bool), IndexError, "boolean"),
    (([0, 1], [0, 1, 2]), IndexError, "broadcast"), (slice(0.5, None), TypeError, "integer"),
])
def test_bad_indices_are_named(index, error, text):
    x = tg.Tensor(A)
    with pytest.raises(error, match=text) as caught:
        x[index]
    if not isinstance(index, slice):
        assert "[getitem]" in str(caught.value)
    with pytest.raises((error, ValueError)):
        x[index] = 1.0
    np.testing.assert_array_equal(x.numpy(), A)                   # nothing half-written


def test_values_that_do_not_fit_are_named():
    x = tg.zeros((4, 3))
    with pytest.raises(ValueError, match=r"\[setitem\] into float32 \(4, 3\).*\(2,\)"):
        x[0] = [1.0, 2.0]
    y = x.requires_grad_() * 1
    with pytest.raises(ValueError, match=r"\[put_index\].*value: float32 \(2,\)"):
        y[0] = tg.ones((2,))
    assert y.tolist() == np.zeros((4, 3)).tolist()


def test_gradients_reach_the_places_of_narrow_and_negative_indices():
    x = tg.zeros(300, requires_grad=True)
    for index in (np.array([3, 255, 3], np.uint8), np.array([-1, 5, -1], np.int8)):
        x.grad = None
        (x[index] * np.array([1.0, 2.0, 4.0])).sum().backward()
        expected = np.zeros(300)
        np.add.at(expected, index, [1.0, 2.0, 4.0])
        assert np.array_equal(x.grad.numpy(), expected)


def test_scatter_add_refuses_an_index_out_of_bounds():
    with pytest.raises(IndexError, match="out of bounds for axis 0 with size 2"):
        tg.scatter_add(tg.zeros(2, 3), np.array([[0, 1, 5]]), tg.ones(1, 3))
