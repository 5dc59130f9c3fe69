"""Sorting, reductions and moving elements, against NumPy."""


import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tests.checking import close, same
from tests.drawing import shapes
from tinygen.autograd import grad_of

# -- functions against NumPy -----------------------------------------------------------------------


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
    (lambda x: tg.diagonal(x, 1), lambda a: np.diagonal(a, 1)),
    (lambda x: tg.diagonal(x, -1, -2, -1), lambda a: np.diagonal(a, -1, -2, -1)),
    (lambda x: tg.pad(x, ((0, 1), (2, 0), (1, 1)), mode="reflect"),
     lambda a: np.pad(a, ((0, 1), (2, 0), (1, 1)), "reflect")),
    (lambda x: tg.take(x, [[2, 0], [1, 1]], axis=1), lambda a: np.take(a, [[2, 0], [1, 1]], 1)),
    (lambda x: tg.take(x, 1, axis=0), lambda a: np.take(a, 1, 0)),
    (lambda x: tg.take(x, [5, -1, 5]), lambda a: np.take(a, [5, -1, 5])),
    (lambda x: x.clip(-0.5, 0.5), lambda a: np.clip(a, -0.5, 0.5)),
    (lambda x: x.clip(tg.Tensor(-0.5), np.full(4, 0.7)), lambda a: np.clip(a, -0.5, 0.7)),
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
    numeric = ((numpys(a + eps * u) ** 2 - numpys(a - eps * u) ** 2) * w).sum() / (2 * eps)
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
