"""Embedding, EmbeddingBag and one_hot against PyTorch's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen import nn
from tinygen.jit import capture
from tinygen.nn import functional as F
from tinygen.ops.table import limit_rows

torch = pytest.importorskip("torch")
import torch.nn.functional as T  # noqa: E402

from tests.nn.parity import close, same_layer  # noqa: E402

DTYPES = st.sampled_from(["float64", "float32"])
NORMS = st.sampled_from([(None, 2.0), (1.0, 2.0), (0.7, 1.0), (0.5, 3.0)])


@given(shape=st.lists(st.integers(0, 4), max_size=3).map(tuple), padding=st.integers(-6, 5),
       padded=st.booleans(), norm=NORMS, by_freq=st.booleans(), dtype=DTYPES)
def test_embedding(shape, padding, padded, norm, by_freq, dtype):
    args = (6, 3, padding if padded else None, *norm, by_freq)
    ours, theirs = nn.Embedding(*args), torch.nn.Embedding(*args)
    numbers = np.random.default_rng(0).integers(0, 6, shape)
    same_layer(ours, theirs, [], dtype, others=[numbers])
    if norm == (None, 2.0):
        assert repr(ours).split("scale")[0] == repr(theirs).split("scale")[0]


def bag_arguments(data):
    """(kwargs of the layer, input, offsets or None)."""
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    mode = data.draw(st.sampled_from(["sum", "mean", "max"]))
    max_norm, norm_type = data.draw(NORMS)
    kwargs = {"mode": mode, "max_norm": max_norm, "norm_type": norm_type,
              "padding_idx": data.draw(st.sampled_from([None, 2, -1]))}
    if data.draw(st.booleans()):
        shape = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
        return kwargs, rng.integers(0, 6, shape), None
    n, bags = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 4))
    kwargs["include_last_offset"] = data.draw(st.booleans())
    offsets = np.sort(rng.integers(0, n + 1, bags))
    offsets[0] = 0
    if kwargs["include_last_offset"]:
        offsets = np.append(offsets, n)
    return kwargs, rng.integers(0, 6, n), offsets


@given(data=st.data(), dtype=DTYPES)
def test_embedding_bag(data, dtype):
    kwargs, numbers, offsets = bag_arguments(data)
    ours, theirs = nn.EmbeddingBag(6, 3, **kwargs), torch.nn.EmbeddingBag(6, 3, **kwargs)
    same_layer(ours, theirs, [], dtype,
               others=[numbers] if offsets is None else [numbers, offsets])


@given(data=st.data(), dtype=DTYPES)
def test_weighted_bags(data, dtype):
    kwargs, numbers, offsets = bag_arguments(data)
    kwargs["mode"] = "sum"
    ours, theirs = nn.EmbeddingBag(6, 3, **kwargs), torch.nn.EmbeddingBag(6, 3, **kwargs)
    theirs.to(getattr(torch, dtype))
    ours.to(dtype).load_state_dict(theirs.state_dict())
    weights = np.random.default_rng(1).standard_normal(numbers.shape).astype(dtype)
    a, b = tg.Tensor(weights, requires_grad=True), torch.tensor(weights, requires_grad=True)
    y = ours(tg.Tensor(numbers), None if offsets is None else tg.Tensor(offsets), a)
    z = theirs(torch.tensor(numbers), None if offsets is None else torch.tensor(offsets), b)
    close(y, z, dtype, "output")
    (y * y).sum().backward()
    (z * z).sum().backward()
    close(a.grad, b.grad, dtype, "gradient of the weights")
    close(ours.weight.grad, theirs.weight.grad, dtype, "gradient of the table")


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_bags_with_gradients_scaled_by_frequency(mode):
    """Against PyTorch's Embedding: its EmbeddingBag divides by the counts of other rows (2.13)."""
    table = np.random.default_rng(0).standard_normal((6, 3))
    numbers = np.array([[5, 3, 3], [0, 3, 5]])
    a, b = tg.Tensor(table, requires_grad=True), torch.tensor(table, requires_grad=True)
    y = F.embedding_bag(tg.Tensor(numbers), a, mode=mode, scale_grad_by_freq=True)
    z = getattr(T.embedding(torch.tensor(numbers), b, scale_grad_by_freq=True), mode)(1)
    close(y, z, "float64", "output")
    (y * y).sum().backward()
    (z * z).sum().backward()
    close(a.grad, b.grad, "float64", "gradient")


def test_empty_bags_and_the_first_of_equal_rows():
    table = np.array([[1.0, 5.0], [1.0, 2.0], [0.0, 5.0]])
    for mode in ("sum", "mean", "max"):
        a, b = tg.Tensor(table, requires_grad=True), torch.tensor(table, requires_grad=True)
        numbers, offsets = np.array([1, 0, 2, 0]), np.array([0, 0, 4])
        y = F.embedding_bag(tg.Tensor(numbers), a, tg.Tensor(offsets), mode=mode)
        z = T.embedding_bag(torch.tensor(numbers), b, torch.tensor(offsets), mode=mode)
        close(y, z, "float64", mode)
        y.sum().backward()
        z.sum().backward()
        close(a.grad, b.grad, "float64", mode)
        none = F.embedding_bag(tg.Tensor(numbers[:0]), a, tg.Tensor([0, 0]), mode=mode)
        assert none.tolist() == [[0, 0], [0, 0]]


def test_from_pretrained_takes_every_option():
    table = tg.Tensor(np.random.default_rng(0).standard_normal((4, 2)))
    layer = nn.Embedding.from_pretrained(table, True, 1, 0.5, 1.0, True)
    assert (layer.padding_idx, layer.max_norm, layer.norm_type) == (1, 0.5, 1.0)
    assert layer.scale_grad_by_freq and not layer.weight.requires_grad
    assert layer.weight.data[1].any()       # PyTorch does not clear a given padding row either
    bag = nn.EmbeddingBag.from_pretrained(table, freeze=False, mode="max", padding_idx=2)
    assert bag.weight.requires_grad and (bag.mode, bag.padding_idx) == ("max", 2)


def test_limit_rows_writes_the_rows_that_are_used_and_no_others():
    table = tg.Tensor(np.full((4, 4), 3.0))
    limit_rows(table, tg.Tensor([1, 1, 3]), max_norm=2.0, norm_type=2.0)
    assert limit_rows.writes == (0,)
    np.testing.assert_allclose(np.linalg.norm(table.data, axis=1), [6, 2, 6, 2], rtol=1e-6)


def test_bags_are_replayed_with_other_numbers_and_offsets():
    weight = tg.Tensor(np.random.default_rng(0).standard_normal((5, 3)))
    for mode in ("sum", "mean", "max"):
        def step(numbers, offsets, mode=mode):
            w = weight.detach().requires_grad_()
            y = F.embedding_bag(numbers, w, offsets, mode=mode, padding_idx=1)
            return y.detach(), tg.autograd.grad_of((y * y).sum(), w)[0]
        program = capture(step, tg.Tensor([0, 1, 2, 3]), tg.Tensor([0, 1]))
        other = tg.Tensor([4, 4, 1, 0]), tg.Tensor([0, 3])
        for got, expected in zip(program.replay(*other), step(*other), strict=True):
            np.testing.assert_allclose(got.data, expected.data, rtol=1e-12)


def test_one_hot():
    for numbers, n in [([[0, 2], [1, 1]], -1), ([3], 5), ([], 4)]:
        a = F.one_hot(tg.Tensor(np.array(numbers, int)), n)
        assert np.array_equal(a.data, T.one_hot(torch.tensor(numbers, dtype=torch.long), n))
    for bad, n, words in [([1.5], -1, "must be integers"), ([1], 0, "must be positive"),
                          ([4], 3, "do not fit"), ([-1], 3, "do not fit")]:
        with pytest.raises((TypeError, ValueError), match=words):
            F.one_hot(tg.Tensor(bad), n)


ids, table = np.array([0, 1, 2]), np.zeros((3, 2))


@pytest.mark.parametrize(("call", "kind", "words"), [
    (lambda: F.embedding(tg.Tensor([3]), tg.Tensor(table)), IndexError, "rows 0 to 2"),
    (lambda: F.embedding(tg.Tensor([0.5]), tg.Tensor(table)), TypeError, "must hold integers"),
    (lambda: F.embedding(tg.Tensor(ids), tg.ones(3)), ValueError, "weight must be a table"),
    (lambda: F.embedding(tg.Tensor(ids), tg.Tensor(table), 3), ValueError, "padding_idx 3"),
    (lambda: nn.Embedding(3, 2, sparse=True), NotImplementedError, "[Embedding] sparse gradients"),
    (lambda: nn.EmbeddingBag(3, 2, mode="min"), ValueError, "'sum', 'mean' or 'max', got 'min'"),
    (lambda: nn.EmbeddingBag(3, 2)(tg.Tensor(ids)), ValueError, "needs offsets"),
    (lambda: nn.EmbeddingBag(3, 2)(tg.Tensor(ids[None]), tg.Tensor([0])), ValueError,
     "has a bag per row"),
    (lambda: nn.EmbeddingBag(3, 2)(tg.Tensor(ids), tg.Tensor([1])), ValueError, "begin with 0"),
    (lambda: nn.EmbeddingBag(3, 2)(tg.Tensor(ids), tg.Tensor([0, 4])), ValueError, "got [0, 4]"),
    (lambda: nn.EmbeddingBag(3, 2)(tg.Tensor(ids[None]), per_sample_weights=tg.ones((1, 3))),
     NotImplementedError, "need mode='sum'"),
    (lambda: nn.EmbeddingBag(3, 2, mode="max", scale_grad_by_freq=True)(tg.Tensor(ids[None])),
     ValueError, "does not go with mode='max'"),
    (lambda: nn.Embedding(3, 2, _weight=tg.ones((2, 2))), ValueError, "expected (3, 2)"),
])
def test_bad_input(call, kind, words):
    with pytest.raises(kind) as caught:
        call()
    assert words in str(caught.value)
