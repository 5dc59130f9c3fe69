"""Schedules saved, continued, exchanged with PyTorch; and what is refused."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygen as tg
from tests.optim.schedules import BASE, build, drawn, optimizer, pytorch, rates
from tinygen.optim import lr_scheduler as schedules


@settings(max_examples=40)
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


@settings(max_examples=40)
@given(drawn(), st.integers(0, 20))
def test_pytorch_continues_a_schedule_that_we_saved(case, epochs):
    """And the other way round: see below. The keys are the same but for a few private ones."""
    ours, (theirs, room) = optimizer(), pytorch()
    schedule, peer = build(schedules, ours, *case), build(room, theirs, *case)
    rates(ours, schedule, epochs)
    saved = schedule.state_dict()
    assert {k for k in saved if not k.startswith("_")} == {
        k for k in peer.state_dict() if not k.startswith("_")}
    peer.load_state_dict(saved)
    copy_groups(ours, theirs)
    theirs.step()
    np.testing.assert_allclose(rates(ours, schedule, 10), rates(theirs, peer, 10), rtol=1e-9,
                               atol=1e-15)


def copy_groups(source, target):
    for group, other in zip(target.param_groups, source.param_groups, strict=True):
        group.update({k: v for k, v in other.items() if k != "params"})


@settings(max_examples=40)
@given(drawn(), st.integers(0, 20))
def test_continues_a_schedule_that_pytorch_saved(case, epochs):
    theirs, room = pytorch()
    peer = build(room, theirs, *case)
    rates(theirs, peer, epochs)
    ours = optimizer()
    schedule = build(schedules, ours, *case)
    schedule.load_state_dict(peer.state_dict())
    copy_groups(theirs, ours)
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
    second.step()
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
    (lambda o: schedules.MultiplicativeLR(o, [abs, 3]), TypeError,
     r"\[MultiplicativeLR\] lr_lambda should be a function .* got a int"),
    (lambda o: schedules.PolynomialLR(o, 0), ValueError, r"total_iters .* at least 1, got 0"),
    (lambda o: schedules.CosineAnnealingWarmRestarts(o, 0), ValueError, r"T_0 .* got 0"),
    (lambda o: schedules.CosineAnnealingWarmRestarts(o, 2, 1.5), ValueError, r"T_mult .* got 1.5"),
    (lambda o: schedules.CosineAnnealingWarmRestarts(o, 2, eta_min="a"), ValueError, r"eta_min"),
    (lambda o: schedules.CosineAnnealingWarmRestarts(o, 2).step(-1), ValueError,
     r"epoch must be at least 0, got -1"),
    (lambda o: schedules.OneCycleLR(o, 0.1), ValueError, r"give total_steps, or epochs and"),
    (lambda o: schedules.OneCycleLR(o, 0.1, 10.5), ValueError, r"total_steps must be an integer"),
    (lambda o: schedules.OneCycleLR(o, 0.1, epochs=3, steps_per_epoch=0), ValueError,
     r"steps_per_epoch must be an integer of at least 1, got 0"),
    (lambda o: schedules.OneCycleLR(o, 0.1, 9, pct_start=1), ValueError, r"pct_start .* got 1"),
    (lambda o: schedules.OneCycleLR(o, 0.1, 9, anneal_strategy="x"), ValueError, r"got 'x'"),
    (lambda o: schedules.OneCycleLR(o, [0.1], 9), ValueError, r"max_lr must be .* got 1 values"),
    (lambda o: schedules.OneCycleLR("Adam", 0.1, 9), TypeError, r"got str"),
    (lambda o: schedules.OneCycleLR(tg.optim.Adagrad([tg.zeros(1)]), 0.1, 9), ValueError,
     r"\[OneCycleLR\] Adagrad has no momentum and no betas to cycle: give cycle_momentum=False"),
    (lambda o: schedules.CyclicLR(o, 0.1, 1.0, mode="x"), ValueError, r"mode must be .* got 'x'"),
    (lambda o: schedules.CyclicLR(o, 0.1, 1.0, scale_mode="x"), ValueError, r"scale_mode must be"),
    (lambda o: schedules.ReduceLROnPlateau(o, "up"), ValueError, r"mode must be 'min' or 'max'"),
    (lambda o: schedules.ReduceLROnPlateau(o, threshold_mode="x"), ValueError, r"threshold_mode"),
    (lambda o: schedules.ReduceLROnPlateau(o, factor=1.0), ValueError, r"factor must be below 1"),
    (lambda o: schedules.ReduceLROnPlateau(o, min_lr=[0.1]), ValueError, r"min_lr must be one"),
    (lambda o: schedules.ChainedScheduler([]), ValueError, r"at least one schedule is needed"),
    (lambda o: schedules.ChainedScheduler([schedules.ReduceLROnPlateau(o)]), ValueError,
     r"schedulers\[0\], a ReduceLROnPlateau, needs a metric at each step"),
    (lambda o: schedules.SequentialLR(o, [schedules.StepLR(o, 1)], []).step(3), TypeError,
     r"\[SequentialLR\] step\(\) takes no epoch"),
    (lambda o: schedules.with_warmup(3, 3), TypeError, r"\[with_warmup\] schedule must be"),
    (lambda o: schedules.with_warmup(schedules.StepLR(o, 1), 0), ValueError, r"steps must be"),
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


def test_a_run_past_the_end_of_one_cycle_is_named():
    opt = optimizer()
    schedule = schedules.OneCycleLR(opt, 0.1, 3)
    rates(opt, schedule, 3)
    with pytest.raises(ValueError, match=r"step 4 is past the end: it was made for 3 steps"):
        schedule.step()


def test_groups_added_to_an_optimizer_on_a_plateau():
    """One least rate covers new groups; a list of them has to grow by hand, as in PyTorch."""
    for least in (0.0, [0.0, 0.0]):
        opt = optimizer()
        schedule = schedules.ReduceLROnPlateau(opt, patience=0, min_lr=least)
        opt.add_param_group({"params": [tg.zeros(1)], "lr": 0.5})
        schedule.step(1.0)
        if least == 0.0:
            schedule.step(1.0)
            np.testing.assert_allclose(schedule.get_last_lr(), [0.04, 1e-4, 0.05])
        else:
            with pytest.raises(RuntimeError, match="min_lr has 2 values, the optimizer 3 groups"):
                schedule.step(1.0)


def test_a_group_added_later_is_named():
    opt = optimizer()
    schedule = schedules.ExponentialLR(opt, 0.5)
    opt.add_param_group({"params": [tg.zeros(1, requires_grad=True)]})
    with pytest.raises(RuntimeError, match=r"made for 2 parameter groups, the optimizer has 3"):
        schedule.step()
    assert math.isclose(opt.param_groups[0]["lr"], BASE[0])


def test_a_rate_that_a_schedule_took_below_zero_is_loaded():
    """The run went on with it, and so does the run that continues it."""
    first, second = optimizer(), optimizer()
    first.param_groups[0]["lr"] = -0.25
    second.load_state_dict(first.state_dict())
    assert second.param_groups[0]["lr"] == -0.25
    second.step()
    first.param_groups[0]["lr"] = float("nan")
    with pytest.raises(ValueError, match="lr must be finite"):
        second.load_state_dict(first.state_dict())
