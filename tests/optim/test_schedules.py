"""Learning-rate schedules: PyTorch's numbers, saved and continued, and what is refused."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.optim import SGD
from tinygen.optim import lr_scheduler as schedules

BASE = (0.4, 1e-3)
counts = st.integers(1, 12)
factors = st.floats(0.05, 0.95)


def optimizer(lrs=BASE):
    return SGD([{"params": [tg.zeros(2, requires_grad=True)], "lr": lr} for lr in lrs])


def pytorch():
    torch = pytest.importorskip("torch")
    return torch.optim.SGD([{"params": [torch.zeros(2, requires_grad=True)], "lr": lr}
                            for lr in BASE]), torch.optim.lr_scheduler


def rates(opt, schedule, epochs=30):
    seen = []
    for _ in range(epochs):
        seen.append([group["lr"] for group in opt.param_groups])
        assert schedule.get_last_lr() == seen[-1]
        opt.step()
        schedule.step()
    return np.array(seen)


def build(room, opt, name, kwargs):
    """A schedule of tinygen or PyTorch; of several for SequentialLR."""
    if name != "SequentialLR":
        return getattr(room, name)(opt, **kwargs)
    parts = [build(room, opt, n, kw) for n, kw in kwargs["schedulers"]]
    return room.SequentialLR(opt, parts, milestones=kwargs["milestones"])


@st.composite
def drawn(draw, names=("StepLR", "MultiStepLR", "ExponentialLR", "CosineAnnealingLR", "LinearLR",
                       "ConstantLR", "LambdaLR", "SequentialLR")):
    name = draw(st.sampled_from(names))
    if name == "StepLR":
        return name, dict(step_size=draw(counts), gamma=draw(factors))
    if name == "MultiStepLR":
        return name, dict(milestones=draw(st.lists(st.integers(1, 30), max_size=5)),
                          gamma=draw(factors))
    if name == "ExponentialLR":
        return name, dict(gamma=draw(factors))
    if name == "CosineAnnealingLR":
        return name, dict(T_max=draw(counts), eta_min=draw(st.sampled_from([0.0, 1e-4, 0.5])))
    if name == "LinearLR":
        return name, dict(start_factor=draw(factors), end_factor=draw(factors),
                          total_iters=draw(counts))
    if name == "ConstantLR":
        return name, dict(factor=draw(factors), total_iters=draw(counts))
    if name == "LambdaLR":
        gamma = draw(factors)
        return name, dict(lr_lambda=[lambda t: gamma ** t, lambda t: 1 / (t + 1)])
    # PyTorch's recursions start again only where a closed form exists: no LambdaLR later
    parts = [draw(drawn(names[:6])) for _ in range(draw(st.integers(1, 3)))]
    milestones = sorted(draw(st.sets(st.integers(1, 25), min_size=len(parts) - 1,
                                     max_size=len(parts) - 1)))
    return name, dict(schedulers=parts, milestones=milestones)


@given(drawn())
def test_thirty_epochs_equal_pytorchs(case):
    ours, (theirs, room) = optimizer(), pytorch()
    np.testing.assert_allclose(rates(ours, build(schedules, ours, *case)),
                               rates(theirs, build(room, theirs, *case)), rtol=1e-9, atol=1e-15)


@given(drawn(("StepLR", "ExponentialLR", "CosineAnnealingLR", "LinearLR")), st.integers(0, 20))
def test_going_on_from_an_epoch_equals_pytorch(case, last_epoch):
    ours, (theirs, room) = optimizer(), pytorch()
    for opt in (ours, theirs):
        for group in opt.param_groups:
            group["initial_lr"] = 2 * group["lr"]
    ours_on = getattr(schedules, case[0])(ours, **case[1], last_epoch=last_epoch)
    theirs_on = getattr(room, case[0])(theirs, **case[1], last_epoch=last_epoch)
    np.testing.assert_allclose(rates(ours, ours_on), rates(theirs, theirs_on), rtol=1e-9,
                               atol=1e-15)


def test_two_schedules_on_one_optimizer_multiply():
    ours, (theirs, room) = optimizer(), pytorch()
    one, two = (schedules.ExponentialLR(ours, 0.9), schedules.StepLR(ours, 3))
    uno, due = (room.ExponentialLR(theirs, 0.9), room.StepLR(theirs, 3))
    for _ in range(10):
        for s in (ours, one, two, theirs, uno, due):
            s.step()
    np.testing.assert_allclose(two.get_last_lr(), due.get_last_lr(), rtol=1e-12)


@given(st.integers(0, 10), st.integers(1, 15), st.sampled_from([0.0, 1e-4]))
def test_warmup_cosine_equals_three_of_pytorchs(warmup, fall, eta_min):
    ours, (theirs, room) = optimizer(), pytorch()
    total = warmup + fall
    seen = rates(ours, schedules.WarmupCosine(ours, warmup, total, eta_min))
    cosine = room.CosineAnnealingLR(theirs, fall, eta_min)
    peer = cosine if not warmup else room.SequentialLR(
        theirs, [room.LinearLR(theirs, 1 / (warmup + 1), 1.0, warmup), cosine], [warmup])
    np.testing.assert_allclose(seen[:total + 1], rates(theirs, peer)[:total + 1], rtol=1e-9,
                               atol=1e-15)
    np.testing.assert_array_equal(seen[total:], eta_min)
    np.testing.assert_allclose(seen[warmup], BASE)


def test_a_sequence_inside_a_sequence_starts_over():
    ours = optimizer((1.0,))
    inner = schedules.SequentialLR(ours, [schedules.ConstantLR(ours, 0.5, 100),
                                          schedules.ExponentialLR(ours, 0.5)], [2])
    outer = schedules.SequentialLR(ours, [schedules.ConstantLR(ours, 0.1, 100), inner], [3])
    assert rates(ours, outer, 8)[:, 0].tolist() == [0.1, 0.1, 0.1, 0.5, 0.5, 1.0, 0.5, 0.25]


@given(drawn(), st.integers(0, 20))
def test_saved_as_json_and_continued(case, epochs):
    """The optimizer's state carries the rates, the schedule's the rest."""
    first = optimizer()
    schedule = build(schedules, first, *case)
    rates(first, schedule, epochs)
    second = optimizer()
    other = build(schedules, second, *case)
    second.load_state_dict(first.state_dict())
    other.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
    assert other.get_last_lr() == schedule.get_last_lr()
    np.testing.assert_array_equal(rates(first, schedule, 10), rates(second, other, 10))


@given(drawn(), st.integers(0, 20))
def test_continues_a_schedule_that_pytorch_saved(case, epochs):
    theirs, room = pytorch()
    peer = build(room, theirs, *case)
    rates(theirs, peer, epochs)
    ours = optimizer()
    schedule = build(schedules, ours, *case)
    schedule.load_state_dict(peer.state_dict())
    for group, other in zip(ours.param_groups, theirs.param_groups, strict=True):
        group["lr"] = other["lr"]
    np.testing.assert_allclose(rates(ours, schedule, 10), rates(theirs, peer, 10), rtol=1e-9,
                               atol=1e-15)


def test_callable_objects_save_their_attributes():
    class Decay:
        def __init__(self, rate):
            self.rate = rate

        def __call__(self, epoch):
            return self.rate ** epoch

    first, second = optimizer(), optimizer()
    schedule = schedules.LambdaLR(first, Decay(0.5))
    other = schedules.LambdaLR(second, Decay(0.1))
    other.load_state_dict(schedule.state_dict())
    other.step()
    assert other.get_last_lr() == [lr * 0.5 for lr in BASE]


@pytest.mark.parametrize("make, error, message", [
    (lambda o: schedules.StepLR(o, 0), ValueError, r"\[StepLR\] step_size .* at least 1, got 0"),
    (lambda o: schedules.StepLR("Adam", 3), TypeError, r"tinygen.optim.Optimizer, got str"),
    (lambda o: schedules.CosineAnnealingLR(o, 0), ValueError, r"T_max"),
    (lambda o: schedules.LinearLR(o, 0.0), ValueError, r"start_factor must be in \(0, 1\], got 0"),
    (lambda o: schedules.LinearLR(o, 0.5, 1.5), ValueError, r"end_factor .* got 1.5"),
    (lambda o: schedules.ConstantLR(o, 2.0), ValueError, r"factor"),
    (lambda o: schedules.LambdaLR(o, [abs]), ValueError, r"1 functions for 2 groups"),
    (lambda o: schedules.WarmupCosine(o, 5, 5), ValueError, r"below total_steps, got 5 and 5"),
    (lambda o: schedules.StepLR(o, 3, last_epoch=4), KeyError, r"group 0 has no 'initial_lr'"),
    (lambda o: schedules.SequentialLR(o, [schedules.StepLR(o, 1)], [1]), ValueError,
     r"1 schedulers need 0 milestones between them, got 1"),
    (lambda o: schedules.SequentialLR(o, [schedules.StepLR(o, 1)] * 3, [4, 2]), ValueError,
     r"positive and increasing, got \[4, 2\]"),
    (lambda o: schedules.SequentialLR(o, [schedules.StepLR(optimizer(), 1)], []), ValueError,
     r"schedulers\[0\], a StepLR, must be a schedule of the same optimizer"),
])
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make(optimizer())


def test_state_of_another_schedule_is_refused_and_changes_nothing():
    opt = optimizer()
    schedule = schedules.StepLR(opt, 3)
    schedule.step()
    before = schedule.state_dict()
    with pytest.raises(KeyError, match=r"\[StepLR\] load_state_dict: 'step_size' is missing"):
        schedule.load_state_dict(schedules.ExponentialLR(optimizer(), 0.5).state_dict())
    with pytest.raises(KeyError, match="'milestones' is unknown"):
        schedule.load_state_dict({**before, "milestones": [3]})
    with pytest.raises(ValueError, match="saved for 1 parameter groups, the optimizer has 2"):
        schedule.load_state_dict(schedules.StepLR(optimizer((1.0,)), 3).state_dict())
    both = schedules.SequentialLR(opt, [schedule, schedules.ExponentialLR(opt, 0.5)], [5])
    saved = both.state_dict()
    saved["_schedulers"] = saved["_schedulers"][::-1]
    with pytest.raises(KeyError):
        both.load_state_dict(saved)
    assert both.state_dict()["_schedulers"][0]["step_size"] == 3


def test_a_group_added_later_is_named():
    opt = optimizer()
    schedule = schedules.ExponentialLR(opt, 0.5)
    opt.add_param_group({"params": [tg.zeros(1, requires_grad=True)]})
    with pytest.raises(RuntimeError, match=r"made for 2 parameter groups, the optimizer has 3"):
        schedule.step()
    assert math.isclose(opt.param_groups[0]["lr"], BASE[0])
