"""A recording holds on to nothing that the function by itself would have let go, and copies what
it may have to put back no sooner than an operation changes it; a replay makes room first."""

import tracemalloc

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn, optim
from tinygen.jit import CaptureError, Jitted, capture
from tinygen.jit.around import Around
from tinygen.jit.kept import SMALL, Values


def chain(x):
    for _ in range(40):
        x = tg.tanh(x * 0.5)
    return x


def peak(f, x):
    tracemalloc.start()
    try:
        f(x)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_arrays_are_let_go_while_the_tape_records():
    x = tg.ones((256, 256))
    plain = peak(chain, x)
    assert peak(lambda x: capture(chain, x), x) < plain + 2 * x.nbytes         # of 80
    program = capture(chain, x).optimized(fuse=False)
    program.replay(x)
    assert peak(program.replay, x) < plain + x.nbytes // 2


def test_an_array_with_the_id_of_one_that_is_gone_is_another_value():
    def f(x):
        found = x
        for i in range(60):               # each array may get the place of the one before
            y = tg.exp(x * 0.01)
            found = found + y * i
            del y
            z = tg.arange(6) * 1.0        # made from nothing
            found = found + z
            del z
        return found
    program, x = capture(f, tg.ones((6,))), tg.Tensor(np.linspace(0, 1, 6).astype("f"))
    np.testing.assert_array_equal(program.replay(x).data, f(x).data)
    np.testing.assert_array_equal(program.optimized(fuse=False).replay(x).data, f(x).data)


class Wide(nn.Module):
    """One weight of 1 MB, activations of 8, and Adam."""

    def __init__(self):
        super().__init__()
        tg.manual_seed(0)
        self.net = nn.Linear(512, 512, bias=False)
        self.adam = optim.Adam(self.net.parameters(), lr=0.01)
        self.before = self.after = lambda model: None

    def training_step(self, x):
        self.adam.zero_grad()
        self.before(self)
        loss = tg.logsumexp(tg.tanh(self.net(x)))
        loss.backward()
        self.adam.step()
        self.after(self)
        return loss.detach()

    def everything(self):
        return [t.data.tobytes() for t in (self.net.weight, *self.adam.state[self.net.weight]
                                           .values())]


ROWS = tg.Tensor(np.random.default_rng(0).standard_normal((2048, 512)).astype("f"))
FEW, WEIGHT = tg.Tensor(ROWS.data[:8].copy()), 512 * 512 * 4


def test_weights_are_copied_when_the_activations_are_gone():
    """A step holds some 17 MB; the copy comes with the update, and a copy of zeros is a number."""
    Wide().training_step(ROWS)                                        # what is loaded stays
    plain = peak(Wide().training_step, ROWS)
    assert plain > 12 * WEIGHT
    assert peak(tg.jit(Wide().training_step), ROWS) < plain + WEIGHT // 2
    plain = peak(Wide().training_step, FEW)
    assert peak(tg.jit(Wide().training_step), FEW) < plain + 1.6 * WEIGHT       # of 3


def test_a_replay_lets_go_of_gradients_first():
    model, peaks = Wide(), []
    fast = tg.jit(model.training_step)
    tracemalloc.start()
    try:
        for keep in (True, False, True, False):
            fast(FEW)
            old = keep and model.net.weight.grad
            tracemalloc.reset_peak()
            fast(FEW)
            peaks.append(tracemalloc.get_traced_memory()[1])
            del old
    finally:
        tracemalloc.stop()
    assert peaks[3] < peaks[2] - 0.9 * WEIGHT
    assert model.net.weight.grad is not None


@pytest.mark.parametrize("started", [False, True])
def test_large_tensors_are_put_back(started):
    """What operations have changed, though nobody copied it beforehand."""
    model = Wide()
    if started:
        model.training_step(FEW)
    weight = model.net.weight.data.copy()
    before = started and model.everything()

    def fail(model):
        raise ZeroDivisionError
    model.after = fail
    with pytest.raises(ZeroDivisionError):
        tg.jit(model.training_step)(FEW)
    np.testing.assert_array_equal(model.net.weight.data, weight)
    assert model.everything() == before if started else not model.adam.state


def test_what_is_done_again_begins_with_the_same():
    found = []
    for make in (lambda f: f, lambda f: tg.jit(f, fuse=False),
                 lambda f: Jitted(f, fuse=False, again=True)):
        model = Wide()
        step = make(model.training_step)
        found.append([step(FEW).item() for _ in range(3)] + model.everything())
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("where", ["before", "after", "alone"])
def test_writing_past_operations_into_large_tensors_is_refused(where):
    """Before an update that would hide it, after it, and into what no operation changes."""
    model = Wide()
    model.register_buffer("other", tg.ones((64, 64)))

    def write(model):
        (model.other if where == "alone" else model.net.weight).data[3] *= 0.5
    setattr(model, where if where != "alone" else "after", write)
    with pytest.raises(CaptureError, match="by other means than"):
        tg.jit(model.training_step)(FEW)


@pytest.mark.parametrize("x", [np.zeros((64, 64), "f"), np.full((3000,), -0.0, "f"),
                               np.full((64, 64), np.nan, "f").T,
                               np.arange(4096.0).reshape(64, 64).T, np.zeros((9000,), bool)])
def test_copies_hold_the_bits(x):
    """Equal values are kept as one; any memory order comes back."""
    y = tg.Tensor(x.copy("K"))
    assert y.nbytes > SMALL
    values, bits = Values(y, "y", True), y.data.tobytes()
    assert values.copy is None
    values.keep()
    is_one = len({v.tobytes() for v in x.flat}) == 1
    assert (not any(values.copy.strides)) == is_one
    assert values.change(set()) is None
    y.data[...] = 7
    assert "by other means" in values.change(set())
    values.back()
    assert y.data.tobytes() == bits


def test_a_view_is_copied_with_the_memory_it_lies_in():
    whole = np.arange(8192, dtype="f")
    half = tg.Tensor.wrap(whole[4096:])
    around = Around()
    around.add(half, "half", owned=True)
    around.keep(whole)
    whole[...] = 0
    around.values_back()
    np.testing.assert_array_equal(whole[4096:], np.arange(4096, 8192, dtype="f"))
    whole[...] = 0
    around.back()                           # for good: the copy is gone
    assert not whole.any()
