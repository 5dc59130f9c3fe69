"""Padding, one-hot rows and masks: Keras's documented examples, and properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.text import causal_mask, pad_sequences, padding_mask, sequence_mask, to_categorical

EXAMPLE = [[1], [2, 3], [4, 5, 6]]


@pytest.mark.parametrize("options, expected", [
    ({}, [[0, 0, 1], [0, 2, 3], [4, 5, 6]]),
    ({"value": -1}, [[-1, -1, 1], [-1, 2, 3], [4, 5, 6]]),
    ({"padding": "post"}, [[1, 0, 0], [2, 3, 0], [4, 5, 6]]),
    ({"maxlen": 2}, [[0, 1], [2, 3], [5, 6]]),
    ({"maxlen": 2, "truncating": "post"}, [[0, 1], [2, 3], [4, 5]]),
    ({"maxlen": 4, "padding": "post"}, [[1, 0, 0, 0], [2, 3, 0, 0], [4, 5, 6, 0]]),
    ({"maxlen": 0}, [[], [], []]),
])
def test_padding_as_keras_documents_it(options, expected):
    found = pad_sequences(EXAMPLE, **options)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.int32


@given(st.lists(st.lists(st.integers(1, 99), max_size=6), max_size=5), st.integers(0, 7),
       st.sampled_from(["pre", "post"]), st.sampled_from(["pre", "post"]))
def test_padding_keeps_what_fits(sequences, maxlen, padding, truncating):
    found = pad_sequences(sequences, maxlen, padding=padding, truncating=truncating, dtype="int64")
    assert found.shape == (len(sequences), maxlen)
    for row, s in zip(found.tolist(), sequences, strict=True):
        kept = s[len(s) - maxlen:] if truncating == "pre" and len(s) > maxlen else s[:maxlen]
        rest = [0] * (maxlen - len(kept))
        assert row == (rest + kept if padding == "pre" else kept + rest)


def test_padding_of_vectors_tensors_and_text():
    rows = [np.ones((2, 3)), np.zeros((0,)), tg.ones((1, 3))]
    found = pad_sequences(rows, dtype="float32", value=0.5, padding="post")
    assert found.shape == (3, 2, 3) and found.dtype == np.float32
    np.testing.assert_array_equal(found[:, :, 0], [[1, 1], [0.5, 0.5], [1, 0.5]])
    words = pad_sequences([["a"], ["b", "c"]], dtype=object, value="-")
    assert words.tolist() == [["-", "a"], ["b", "c"]]
    assert pad_sequences([]).shape == (0, 0)


def test_categorical_as_keras_documents_it():
    a = to_categorical([0, 1, 2, 3], num_classes=4)
    np.testing.assert_array_equal(a, np.eye(4))
    b = np.array([.9, .04, .03, .03, .3, .45, .15, .13, .04, .01, .94, .05, .12, .21, .5, .17])
    b = b.reshape(4, 4)
    loss = -np.log((a * b / b.sum(1, keepdims=True)).sum(1))
    np.testing.assert_allclose(loss, [0.10536, 0.82807, 0.1011, 1.77196], atol=6e-6)


@given(st.lists(st.integers(0, 5), max_size=6), st.integers(0, 2))
def test_categorical_is_undone_by_argmax(classes, more):
    n = max(classes, default=0) + 1 + more
    found = to_categorical(classes, n)
    assert found.shape == (len(classes), n) and found.dtype == np.float32
    assert found.argmax(1).tolist() == classes and (found.sum(1) == 1).all()
    if classes:
        assert to_categorical(classes).shape == (len(classes), max(classes) + 1)


def test_categorical_shapes():
    assert to_categorical(np.array([[1], [0]])).tolist() == [[0, 1], [1, 0]]
    assert to_categorical(np.array([[1, 0]]), 3).shape == (1, 2, 3)
    assert to_categorical(2).tolist() == [0, 0, 1]
    assert to_categorical(tg.Tensor([1]), dtype="int64").dtype == np.int64


def test_masks():
    mask = sequence_mask([1, 3, 0], 4)
    assert isinstance(mask, tg.Tensor) and mask.dtype == bool
    assert mask.tolist() == [[i < n for i in range(4)] for n in (1, 3, 0)]
    assert sequence_mask(tg.Tensor([2]), dtype="float32").numpy().tolist() == [[1, 1]]
    assert sequence_mask([[1], [2]]).shape == (2, 1, 2) and sequence_mask([]).shape == (0, 0)
    assert sequence_mask([5], 2).tolist() == [[True, True]]
    ids = np.array([[7, 0, 5], [1, 0, 0]])
    assert padding_mask(ids).tolist() == (ids == 0).tolist()
    assert padding_mask(tg.Tensor(ids), 5).tolist() == (ids == 5).tolist()
    np.testing.assert_array_equal(causal_mask(4).numpy(), np.triu(np.ones((4, 4), bool), 1))
    assert causal_mask(0).shape == (0, 0)


@pytest.mark.parametrize("call, message", [
    (lambda: pad_sequences(EXAMPLE, padding="x"), r"padding must be 'pre' or 'post', got 'x'"),
    (lambda: pad_sequences(EXAMPLE, truncating="x"), r"truncating must be 'pre' or 'post'"),
    (lambda: pad_sequences(EXAMPLE, -1), r"maxlen must not be negative"),
    (lambda: pad_sequences(iter(EXAMPLE)), r"must be a list of sequences, got list_iterator"),
    (lambda: pad_sequences([[1], 2]), r"sequence 1 is a int, not a sequence"),
    (lambda: pad_sequences(EXAMPLE, value="-"), r"dtype int32 cannot hold the value '-'"),
    (lambda: pad_sequences([np.ones((2, 3)), np.ones((2, 4))]),
     r"sequence 1 has shape \(2, 4\); \('L', 3\) is needed"),
    (lambda: to_categorical([0, 4], 4), r"class numbers from 0 to 4 do not lie in \[0, 4\)"),
    (lambda: to_categorical([-1]), r"class numbers from -1"),
    (lambda: to_categorical([0.5]), r"must be whole numbers"),
    (lambda: sequence_mask(tg.Tensor([1.5])), r"lengths must be integers, got float32"),
    (lambda: causal_mask(-1), r"size must not be negative, got -1"),
])
def test_bad_arguments_are_named(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
