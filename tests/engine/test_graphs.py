"""Graphs are freed, stale ones refuse, and in-place changes keep gradients right."""

import weakref

import numpy as np
import pytest

import tinygen as tg
from tests.checking import close, leaf, same

# -- graphs are freed, and stale ones refuse -------------------------------------------------------


def test_a_graph_is_freed_by_backward():
    x = leaf([2.0])
    y = x * x
    z = y * 2
    z.backward()
    with pytest.raises(RuntimeError, match=r"freed by an earlier backward.*retain_graph=True"):
        z.backward()
    with pytest.raises(RuntimeError, match="freed"):
        (y * 3).backward()          # the part behind y is gone
    same(x.grad, [8])


def test_one_of_several_outputs_says_that_its_graph_was_freed():
    values, vectors = tg.linalg.eigh(leaf(np.eye(2)))
    values.sum().backward()
    with pytest.raises(RuntimeError, match=r"freed by an earlier backward.*retain_graph=True"):
        vectors.sum().backward()


def test_retain_graph_allows_another_walk():
    x = leaf([2.0])
    z = x * x * x
    z.backward(retain_graph=True)
    z.backward()
    same(x.grad, [24])
    with pytest.raises(RuntimeError, match="freed"):
        z.backward()


def test_memory_of_a_walked_graph_is_released():
    released = []
    x = leaf(np.ones(3))
    y = x * 2
    inner = y * y
    weakref.finalize(inner, released.append, "inner")
    z = inner.sum()
    del inner
    z.backward()
    assert released == ["inner"]     # z is alive, what led to it is not
    assert z.item() == 12


@pytest.mark.parametrize("update", [
    lambda p: p.assign_([5.0, 6.0]),
    lambda p: p.__iadd__(1.0),
    lambda p: p.__imul__(2.0),
    lambda p: p.__setitem__(0, 9.0),
    lambda p: (np.add(p.data, 1, out=p.data), p.touch()),    # what optimizers do
    lambda p: p.zero_(),
], ids=["assign_", "+=", "*=", "setitem", "touch", "zero_"])
def test_stale_inputs_are_found(update):
    p = leaf([1.0, 2.0])
    y = (p * p).sum()
    with tg.no_grad():
        update(p)
    with pytest.raises(RuntimeError, match=r"\[multiply\] x \(float32 \(2,\)\) was modified after"):
        y.backward()
    fresh = (p * p).sum()
    fresh.backward()                                   # a graph of the new values is fine
    close(p.grad, 2 * p.detach().numpy())


def test_a_constant_that_changes_makes_the_graph_stale():
    x, c = leaf([1.0, 2.0]), tg.Tensor([3.0, 4.0])
    y = (x * c).sum()
    c += 1
    with pytest.raises(RuntimeError, match="modified after it was used"):
        y.backward()


def test_leaves_that_require_grad_are_not_changed_while_recording():
    x = leaf([1.0, 2.0])
    with pytest.raises(RuntimeError, match=r"\[add\] `\+=` on a leaf.*no_grad"):
        x += 1
    with pytest.raises(RuntimeError, match=r"\[setitem\] a leaf that requires grad"):
        x[0] = 1.0
    same(x, [1, 2])
    y = x * 1
    with pytest.raises(RuntimeError, match=r"\[assign_\].*multiply"):
        y.assign_([0.0, 0.0])


def test_in_place_operators_on_computed_tensors_rebind():
    x = leaf([1.0, 2.0])
    y = x * 3
    kept = y
    y += 1
    y *= x
    y -= 2
    y /= 2
    y.sum().backward()
    close(x.grad, (6 * np.array([1.0, 2.0]) + 1) / 2)
    same(kept, [3, 6])


def test_in_place_operators_on_plain_tensors_change_the_memory():
    x = tg.Tensor([1.0, 2.0])
    data = x.data
    x += 1
    x *= tg.Tensor([2.0, 3.0])
    x -= 1
    x /= 2
    assert x.data is data
    same(x, [1.5, 4])
    with pytest.raises(ValueError, match=r"cannot grow a tensor of shape \(2,\) to \(3, 2\)"):
        x += tg.ones((3, 2))
    whole = tg.Tensor([1, 2])
    whole += 1
    same(whole, np.array([2, 3]))


# -- setitem ---------------------------------------------------------------------------------------


def test_setitem_sends_gradients_to_old_and_new_values():
    x, v = leaf([1.0, 2.0, 3.0]), leaf([10.0])
    y = x * 2
    y[1:2] = v * 5
    (y * tg.Tensor([1.0, 10.0, 100.0])).sum().backward()
    same(x.grad, [2, 0, 200])
    same(v.grad, [50])


def test_setitem_of_a_tracked_value_into_a_plain_tensor():
    v = leaf([2.0, 3.0])
    out = tg.zeros((2, 2))
    out[0] = v
    out[1] = v * v
    assert out.requires_grad
    out.sum().backward()
    same(v.grad, [5, 7])


def test_setitem_after_use_makes_that_use_stale():
    x = leaf([1.0, 2.0])
    y = x * 3
    before = (y * y).sum()
    y[0] = 0.0
    after = (y * y).sum()
    with pytest.raises(RuntimeError, match="modified after it was used"):
        (before + after).backward()
    x.grad = None
    y = x * 3
    z = y.clone()                               # change a copy, and both have their gradients
    z[0] = 0.0
    ((y * y).sum() + (z * z).sum()).backward()
    close(x.grad, [18, 36 + 36])
