"""The short way into a program gives what the long way gives, or leaves it to that."""

from typing import NamedTuple

import numpy as np
import pytest

import tinygen as tg
from tinygen.jit.entry import MISS


class Pair(NamedTuple):
    a: object
    b: object


def taken(fast, *args, **kwargs):
    """The result of a call, and whether an entry gave it."""
    ways = [r.enter(args, kwargs) for r in fast._recorded if r.enter is not None]
    return fast(*args, **kwargs), any(way is not MISS for way in ways)


def settled(fast, *args, **kwargs):
    """Recorded, and replayed once the long way."""
    for _ in range(2):
        fast(*args, **kwargs)
    return fast


def test_arguments_of_any_structure():
    constant = tg.Tensor([1.0, 2.0])

    def f(xs, *, scale, how=None):
        total = xs["a"] * scale + xs["b"][0] + xs["b"][1].sum()
        return {"total": total, "more": [total * 2, (how, constant)], "pair": Pair(total, 3)}
    fast, rng = tg.jit(f, fuse=False), np.random.default_rng(0)

    def given():
        return {"a": tg.Tensor(rng.random(2, np.float32)),
                "b": (tg.Tensor(rng.random(2, np.float32)), tg.Tensor(rng.random(3)))}
    settled(fast, given(), scale=2.0, how="up")
    for _ in range(2):
        xs = given()
        found, short = taken(fast, xs, scale=2.0, how="up")
        right = f(xs, scale=2.0, how="up")
        assert short and type(found["pair"]) is Pair and found["pair"].b == 3
        assert found["more"][1][0] == "up"
        np.testing.assert_array_equal(found["total"].data, right["total"].data)
        np.testing.assert_array_equal(found["more"][0].data, right["more"][0].data)
    for change in ({"scale": 2}, {"scale": 3.0}, {"how": "down"}, {"how": None}):
        _, short = taken(fast, given(), **{"scale": 2.0, "how": "up", **change})
        assert not short


@pytest.mark.parametrize("other", [
    lambda x: tg.Tensor(x.data.astype("float64")), lambda x: x[:1], lambda x: x.data,
    lambda x: tg.nn.Parameter(x), lambda x: tg.Tensor(x.data, requires_grad=True)])
def test_other_arguments_take_the_long_way(other):
    fast = tg.jit(lambda x: (x * 2).detach(), fuse=False)
    settled(fast, tg.ones((2,)))
    x = other(tg.Tensor([3.0, 4.0]))
    found, short = taken(fast, x)
    assert not short
    np.testing.assert_array_equal(found.data, np.asarray(getattr(x, "data", x)) * 2)


def test_modes_and_guards_are_looked_at():
    w, factor = tg.ones((2,)), 2.0
    fast = settled(tg.jit(lambda x: x * w * factor, fuse=False), tg.ones((2,)))
    assert taken(fast, tg.ones((2,)))[1]
    with tg.no_grad():
        assert not taken(fast, tg.ones((2,)))[1]
    w.data = np.full(2, 3, np.float32)              # another array of the same kind
    found, short = taken(fast, tg.ones((2,)))
    assert not short and found.tolist() == [6, 6]
    assert taken(fast, tg.ones((2,)))[1]
    w.data = np.full(1, 3, np.float32)
    assert fast(tg.ones((2,))).tolist() == [6, 6]
    factor = 5.0
    assert fast(tg.ones((2,))).tolist() == [15, 15]


def test_bare_arrays_are_arguments_too():
    fast = settled(tg.jit(lambda x: x * 2, fuse=False), np.ones(2, np.float32))
    found, short = taken(fast, np.array([2, 3], np.float32))
    assert short and found.tolist() == [4, 6]


def test_what_is_changed_in_place_is_touched():
    """A graph from before the call is found to be stale."""
    w = tg.ones((2,), requires_grad=True)
    optimizer = tg.optim.SGD([w], lr=0.5)

    def step(x):
        optimizer.zero_grad()
        (w * x).sum().backward()
        optimizer.step()
    fast = settled(tg.jit(step), tg.ones((2,)))
    loss = (w * w).sum()
    assert taken(fast, tg.ones((2,)))[1]
    with pytest.raises(RuntimeError, match="modified"):
        loss.backward()
