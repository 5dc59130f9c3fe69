"""Packed and padded sequences beside PyTorch's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tests.nn.parity import close
from tinygen.nn.utils import rnn

torch = pytest.importorskip("torch")
theirs = torch.nn.utils.rnn

LENGTHS = st.lists(st.integers(1, 5), min_size=1, max_size=5)
TAIL = st.sampled_from([(), (2,), (2, 3)])


def both(array):
    return tg.Tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)


def same_packed(a, b):
    close(a.data, b.data, "float64", "data")
    for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
        ours, other = getattr(a, name), getattr(b, name)
        assert (ours is None) == (other is None), name
        if other is not None:
            np.testing.assert_array_equal(ours.numpy(), other.numpy(), strict=True)


def same_gradients(pairs, results):
    weight = np.random.default_rng(3).standard_normal(results[1].shape)
    results[0].backward(weight)
    results[1].backward(torch.tensor(weight))
    for a, b in pairs:
        close(a.grad, b.grad, "float64", "gradient")


@given(lengths=LENGTHS, tail=TAIL, first=st.booleans(), enforce=st.booleans(),
       value=st.sampled_from([0.0, -1.5]), more=st.integers(0, 2), spare=st.integers(0, 2))
def test_pack_and_unpack(lengths, tail, first, enforce, value, more, spare):
    if enforce:
        lengths = sorted(lengths, reverse=True)
    shape = (max(lengths) + spare, len(lengths))
    x, other = both(np.random.default_rng(0).standard_normal(
        (shape[::-1] if first else shape) + tail))
    a = rnn.pack_padded_sequence(x, lengths, first, enforce)
    b = theirs.pack_padded_sequence(other, lengths, first, enforce)
    same_packed(a, b)
    total = None if not more else max(lengths) + more
    (y, n), (r, m) = (rnn.pad_packed_sequence(a, first, value, total),
                      theirs.pad_packed_sequence(b, first, value, total))
    np.testing.assert_array_equal(n.numpy(), m.numpy(), strict=True)
    close(y, r, "float64", "padded")
    for p, q in zip(rnn.unpack_sequence(a), theirs.unpack_sequence(b), strict=True):
        close(p, q, "float64", "unpacked")
    same_gradients([(x, other)], (y, r))


@given(lengths=LENGTHS, tail=TAIL, first=st.booleans(), side=st.sampled_from(["right", "left"]),
       value=st.sampled_from([0.0, 7.0]))
def test_pad_pack_and_unpad_lists(lengths, tail, first, side, value):
    rng = np.random.default_rng(0)
    pairs = [both(rng.standard_normal((n, *tail))) for n in lengths]
    ours, others = [p[0] for p in pairs], [p[1] for p in pairs]
    y = rnn.pad_sequence(ours, first, value, side)
    r = theirs.pad_sequence(others, first, value, side)
    close(y, r, "float64", "padded")
    # PyTorch's unpad_sequence transposes its argument in place
    for a, b in zip(rnn.unpad_sequence(y, lengths, first),
                    theirs.unpad_sequence(r.clone(), torch.tensor(lengths), first), strict=True):
        close(a, b, "float64", "unpadded")
    same_packed(rnn.pack_sequence(ours, False), theirs.pack_sequence(others, False))
    same_gradients(pairs, (y, r))


def test_packed_sequences_are_named_tuples_that_convert():
    packed = rnn.pack_sequence([tg.Tensor([1.0]), tg.Tensor([2.0, 3.0])], enforce_sorted=False)
    data, sizes, order, back = packed
    assert data.numpy().tolist() == [2, 1, 3] and sizes.numpy().tolist() == [2, 1]
    assert order.numpy().tolist() == [1, 0] and back.numpy().tolist() == [1, 0]
    assert packed.double().data.dtype == np.float64 and packed.to("float16").data.dtype == "float16"
    assert packed.half().float().data.dtype == "float32" and packed.long().data.dtype == "int64"
    assert packed.cpu() is packed and packed.to("cpu") is packed and not packed.is_cuda
    assert packed.double().unsorted_indices is back
    again = rnn.PackedSequence(data, sizes, order)
    np.testing.assert_array_equal(again.unsorted_indices.numpy(), back.numpy())


@given(st.permutations(range(6)))
def test_invert_permutation(order):
    inverse = rnn.invert_permutation(tg.Tensor(order)).numpy()
    assert [order[i] for i in inverse] == list(range(6))
    assert rnn.invert_permutation(None) is None


X = tg.zeros((4, 2, 3))
ERRORS = [
    (lambda: rnn.pack_padded_sequence(X, [2, 3]), r"lengths \[2, 3\] must be in decreasing order"),
    (lambda: rnn.pack_padded_sequence(X, [3]), r"1 lengths for a batch of 2"),
    (lambda: rnn.pack_padded_sequence(X, [3, 0]), r"lengths must be at least 1"),
    (lambda: rnn.pack_padded_sequence(X, [5, 1]), r"lengths has 5, and input \(4, 2, 3\) has 4"),
    (lambda: rnn.pack_padded_sequence(X, [2.0, 1.5]), r"must be a list of integers, got float64"),
    (lambda: rnn.pack_padded_sequence(tg.zeros((3,)), [3]), r"axes for time and batch"),
    (lambda: rnn.pack_padded_sequence(tg.zeros((3, 0)), []), r"the batch is empty"),
    (lambda: rnn.pad_packed_sequence(rnn.pack_padded_sequence(X, [3, 2]), total_length=2),
     r"total_length 2 is less than the longest sequence, 3"),
    (lambda: rnn.pad_packed_sequence(X), r"a PackedSequence is needed, got Tensor"),
    (lambda: rnn.pad_sequence([]), r"there are no sequences"),
    (lambda: rnn.pad_sequence([X, tg.zeros((4, 1, 3))]), r"sequence 1 has shape \(4, 1, 3\)"),
    (lambda: rnn.pad_sequence([tg.zeros(())]), r"sequence 0 is a number"),
    (lambda: rnn.pad_sequence([X], padding_side="both"), r"padding_side must be 'left' or 'right'"),
    (lambda: rnn.unpad_sequence(X, [5, 1]), r"lengths has 5"),
    (lambda: rnn.pack_sequence([X[:1], X]), r"pass enforce_sorted=False"),
    (lambda: rnn.PackedSequence(tg.zeros((3, 1)), [1, 2]), r"batch_sizes must be positive and"),
    (lambda: rnn.PackedSequence(tg.zeros((4, 1)), [2, 1]), r"add up to 3, data has 4 rows"),
]


@pytest.mark.parametrize("call, message", ERRORS)
def test_bad_input_is_named(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
