"""What a function does besides operations on tensors: found when recorded, and taken back."""

import itertools

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn, optim
from tinygen.jit import CaptureError
from tinygen.optim.lr_scheduler import StepLR

F = nn.functional


class Model(nn.Module):
    """Dropout, running statistics, an optimizer, and things that Python keeps."""

    def __init__(self, what=None):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.3),
                                 nn.Linear(4, 2))
        self.optimizer = optim.Adam(self.net.parameters(), lr=0.01)
        self.schedule = StepLR(self.optimizer, 10)
        self.what, self.calls, self.seen, self.table, self.last = what, 0, [], {"n": 0}, None
        self.notes, self.rng = np.zeros(3), np.random.default_rng(0)

    def training_step(self, x, y):
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.net(x), y)
        loss.backward()
        self.optimizer.step()
        if self.what is not None:
            self.what(self, loss.detach())
        return loss.detach()


def count(model, loss):
    model.calls += 1


def append(model, loss):
    model.seen.append("step")


def enter(model, loss):
    model.table["n"] += 1


def keep(model, loss):
    model.last = loss


def make(model, loss):
    model.fresh = 3


def rebind(model, loss):
    model.net[0].bias.data = model.net[0].bias.data * 0.5


def clip(model, loss):
    np.clip(model.net[0].weight.data, -0.01, 0.01, out=model.net[0].weight.data)


def note(model, loss):
    model.notes[1] += 1


def draw(model, loss):
    model.rng.normal()


def schedule(model, loss):
    model.schedule.step()


def slower(model, loss):
    model.optimizer.param_groups[0]["lr"] *= 0.5


def freeze(model, loss):
    model.net[0].bias.requires_grad_(False)


def look(model, loss):
    model.calls += 1
    loss.item()


def fail(model, loss):
    model.calls += 1
    raise ZeroDivisionError


REFUSED = [(count, r"changes Model\.calls, from 0 to 1"),
           (append, r"the list Model\.seen, from 0 entries to 1"),
           (enter, r"the entry 'n' of Model\.table, from 0 to 1"),
           (keep, r"Model\.last, from None to a float32 \(\) tensor"),
           (make, r"Model\.fresh, which was not there before"),
           (rebind, r"the array of Linear\.bias"),
           (clip, r"values of a float32 .* by other means"),
           (note, r"values of Model\.notes, a float64 \(3,\) ndarray"),
           (draw, r"the generator Model\.rng.*tinygen\.random"),
           (schedule, r"StepLR\.\w+, from 0 to 1"),
           (slower, r"the entry 'lr' of Adam\.param_groups, from 0\.01 to 0\.005"),
           (freeze, r"whether Linear\.bias learns"),
           (look, r"\[item\] looks at the values"), (fail, "^$")]


def state(model):
    """All that a step may change."""
    fields = {k: v for k, v in vars(model).items() if not k.startswith("_")
              and k not in ("net", "optimizer", "schedule")}
    return {"tensors": {k: (v.data.tobytes(), v.requires_grad)
                        for k, v in model.state_dict().items()},
            "gradients": [None if p.grad is None else p.grad.data.tobytes()
                          for p in model.parameters()],
            "optimizer": {i: {k: v.data.tobytes() for k, v in entry.items()}
                          for i, entry in model.optimizer.state_dict()["state"].items()},
            "groups": repr(model.optimizer.state_dict()["param_groups"]),
            "schedule": repr(model.schedule.state_dict()), "random": repr(tg.random.get_state()),
            "python": repr({**fields, "seen": list(model.seen), "what": None}),
            "rng": repr(model.rng.bit_generator.state)}


def batch(seed):
    rng = np.random.default_rng(seed)
    return tg.Tensor(rng.random((6, 3), np.float32)), tg.Tensor(rng.integers(0, 2, 6))


@pytest.mark.parametrize(("what", "message"), REFUSED, ids=[f.__name__ for f, _ in REFUSED])
@pytest.mark.parametrize("started", [False, True])
def test_a_recording_that_fails_leaves_everything_as_it_was(what, message, started):
    """Its values, and what Python keeps; the function runs as it is from there on."""
    tg.manual_seed(0)
    model = Model()
    fast = tg.jit(model.training_step)
    for seed in range(2 * started):
        fast(*batch(seed))
    before = state(model)
    model.what = what
    with pytest.raises(ZeroDivisionError if what is fail else CaptureError, match=message):
        fast(*batch(5))
    model.what = None
    assert state(model) == before
    assert len(fast.programs) == started
    tg.manual_seed(0)
    other = Model()
    for seed in range(2 * started):
        other.training_step(*batch(seed))
    found = []
    for step in (fast, other.training_step):
        tg.manual_seed(9)
        found.append(step(*batch(6)).item())
    assert found[0] == found[1]


def test_what_is_made_once_and_kept_is_no_change_the_next_time():
    """A cache is filled by a call before the recording."""
    cache = {}

    def double(x):
        if "two" not in cache:
            cache["two"] = 2.0
        return x * cache["two"]
    fast = tg.jit(double)
    with pytest.raises(CaptureError, match=r"the dict cache, from 0 entries to 1"):
        fast(tg.ones(()))
    double(tg.ones(()))
    assert fast(tg.ones(())).item() == 2


def test_variables_that_it_sets_are_found():
    last = None

    def inner(x):
        nonlocal last
        last = x * 2
        return last

    def outer(x):
        global LAST
        LAST = x
        return x
    with pytest.raises(CaptureError, match="the variable last, from None to a float32"):
        tg.jit(inner)(tg.ones(()))
    with pytest.raises(CaptureError, match="the variable LAST, from None to a float32"):
        tg.jit(outer)(tg.ones(()))
    assert last is None and LAST is None


@pytest.mark.parametrize("make", [
    lambda: iter([tg.ones(()), tg.zeros(())]), lambda: (tg.full((), i) for i in range(3)),
    lambda: itertools.count(), lambda: (x for x, _ in zip([tg.ones(())] * 3, [1, 2, 3])),
    lambda: map(float, range(5))])
def test_what_it_takes_from_an_iterator_is_found(make):
    it = make()
    with pytest.raises(CaptureError, match="the iterator it: it takes what comes next"):
        tg.jit(lambda x: x + next(it))(tg.ones(()))


def test_batches_are_fetched_outside():
    loader = tg.data.DataLoader(tg.data.ArrayDataset(np.ones((6, 2), np.float32)), 2, prefetch=0)
    it = iter(loader)
    for step in (lambda x: x + next(it)[0], lambda x: sum(b[0].sum() for b in loader) + x):
        with pytest.raises(CaptureError, match=r"^\[DataLoader\] a batch is fetched .* argument"):
            tg.jit(step)(tg.ones((2, 2)))


LAST = None
