"""Learning-rate schedules: PyTorch's numbers, step by step."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygen as tg
from tests.optim.schedules import (
    BASE,
    NAMES,
    RECURSIVE,
    build,
    drawn,
    metric,
    optimizer,
    pytorch,
    rates,
)
from tinygen import optim
from tinygen.optim import lr_scheduler as schedules


def assert_close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=12)
@given(data=st.data())
def test_sixty_epochs_equal_pytorchs(name, data):
    """Learning rates and momenta, of SGD and of Adam."""
    case = data.draw(drawn([name]))
    kind = data.draw(st.sampled_from(["SGD", "Adam"]))
    ours, (theirs, room) = optimizer(kind=kind), pytorch(kind)
    assert_close(rates(ours, build(schedules, ours, *case)),
                 rates(theirs, build(room, theirs, *case)))


@pytest.mark.parametrize("name", NAMES)
def test_arguments_and_defaults_are_pytorchs(name):
    _, room = pytorch()
    ours, theirs = (list(inspect.signature(getattr(r, name)).parameters.values())
                    for r in (schedules, room))
    assert [(p.name, p.kind, p.default) for p in ours] == [
        (p.name, p.kind, p.default) for p in theirs]


@given(drawn((*RECURSIVE, "MultiplicativeLR", "CosineAnnealingWarmRestarts")), st.integers(0, 20))
def test_going_on_from_an_epoch_equals_pytorch(case, last_epoch):
    ours, (theirs, room) = optimizer(), pytorch()
    for opt in (ours, theirs):
        for group in opt.param_groups:
            group["initial_lr"] = 2 * group["lr"]
    ours_on = getattr(schedules, case[0])(ours, **case[1], last_epoch=last_epoch)
    theirs_on = getattr(room, case[0])(theirs, **case[1], last_epoch=last_epoch)
    assert_close(rates(ours, ours_on, 30), rates(theirs, theirs_on, 30))


@pytest.mark.parametrize("name", ["OneCycleLR", "CyclicLR"])
@settings(max_examples=5)
@given(data=st.data())
def test_a_cycle_goes_on_in_the_same_groups(name, data):
    """A second schedule with last_epoch takes up what the first left in the groups."""
    case = data.draw(drawn([name]))
    seen = []
    for opt, room in ((optimizer(), schedules), pytorch()):
        rates(opt, build(room, opt, *case), 7)
        seen.append(rates(opt, build(room, opt, name, {**case[1], "last_epoch": 7}), 20))
    assert_close(*seen)


@pytest.mark.filterwarnings("ignore:The epoch parameter:UserWarning")
@pytest.mark.parametrize("name", [*RECURSIVE, "LambdaLR", "CosineAnnealingWarmRestarts",
                                  "OneCycleLR", "CyclicLR"])
@settings(max_examples=6)
@given(data=st.data())
def test_steps_to_an_epoch_equal_pytorchs(name, data):
    case = data.draw(drawn([name]))
    epochs = data.draw(st.lists(st.integers(0, 40), min_size=1, max_size=6))
    if name == "CosineAnnealingWarmRestarts":
        epochs = [e + data.draw(st.sampled_from([0.0, 0.25, 0.7])) for e in epochs]
    seen = []
    for opt, room in ((optimizer(), schedules), pytorch()):
        schedule = build(room, opt, *case)
        opt.step()
        for epoch in epochs:
            schedule.step(epoch)
            seen.append([*schedule.get_last_lr(), schedule.last_epoch])
            schedule.step()
            seen.append([*schedule.get_last_lr(), schedule.last_epoch])
    assert_close(seen[:len(seen) // 2], seen[len(seen) // 2:])


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
    seen = rates(ours, schedules.WarmupCosine(ours, warmup, total, eta_min), 30)[:, :, 0]
    cosine = room.CosineAnnealingLR(theirs, fall, eta_min)
    peer = cosine if not warmup else room.SequentialLR(
        theirs, [room.LinearLR(theirs, 1 / (warmup + 1), 1.0, warmup), cosine], [warmup])
    assert_close(seen[:total + 1], rates(theirs, peer, 30)[:total + 1, :, 0])
    np.testing.assert_array_equal(seen[total:], eta_min)
    np.testing.assert_allclose(seen[warmup], BASE)


@given(st.integers(1, 10), drawn(RECURSIVE))
def test_a_schedule_with_warmup_equals_two_of_pytorchs(steps, case):
    ours, (theirs, room) = optimizer(), pytorch()
    seen = rates(ours, schedules.with_warmup(build(schedules, ours, *case), steps, 0.1), 30)
    then = build(room, theirs, *case)
    peer = room.SequentialLR(theirs, [room.LinearLR(theirs, 0.1, total_iters=steps), then], [steps])
    assert_close(seen, rates(theirs, peer, 30))


def test_a_sequence_inside_a_sequence_starts_over():
    """In PyTorch a later part must not be a sequence, and the first one runs an epoch ahead."""
    def part(opt):
        return schedules.SequentialLR(opt, [schedules.ConstantLR(opt, 0.5, 100),
                                            schedules.ExponentialLR(opt, 0.5)], [2])
    ours = optimizer((1.0,))
    inner = part(ours)
    outer = schedules.SequentialLR(ours, [schedules.ConstantLR(ours, 0.1, 100), inner], [3])
    assert rates(ours, outer, 8)[:, 0, 0].tolist() == [0.1, 0.1, 0.1, 0.5, 0.5, 1.0, 0.5, 0.25]
    ours = optimizer((1.0,))
    outer = schedules.SequentialLR(ours, [part(ours), schedules.ConstantLR(ours, 0.1, 100)], [4])
    assert rates(ours, outer, 6)[:, 0, 0].tolist() == [0.5, 0.5, 1.0, 0.5, 0.1, 0.1]


def test_a_chain_inside_a_sequence_starts_over():
    ours = optimizer((1.0,))
    chain = schedules.ChainedScheduler([schedules.ConstantLR(ours, 0.5, 2),
                                        schedules.ExponentialLR(ours, 0.5)])
    outer = schedules.SequentialLR(ours, [schedules.ConstantLR(ours, 0.1, 100), chain], [2])
    assert rates(ours, outer, 6)[:, 0, 0].tolist() == [0.1, 0.1, 0.5, 0.25, 0.25, 0.125]
    ours = optimizer((1.0,))
    chain = schedules.ChainedScheduler([schedules.ConstantLR(ours, 0.5, 2),
                                        schedules.ExponentialLR(ours, 0.5)])
    alone = schedules.SequentialLR(ours, [chain], [])
    assert rates(ours, alone, 4)[:, 0, 0].tolist() == [0.5, 0.25, 0.25, 0.125]


def test_a_constant_of_zero():
    ours = optimizer((1.0,))
    schedule = schedules.ConstantLR(ours, 0.0, 2)
    assert rates(ours, schedule, 4)[:, 0, 0].tolist() == [0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=3)
@given(data=st.data())
def test_a_tensor_is_written_into(name, data):
    """Where `lr` is a tensor it stays that tensor, and has PyTorch's values to float32."""
    torch = pytest.importorskip("torch")
    case = data.draw(drawn([name]))
    seen = []
    for library, room in ((tg, schedules), (torch, torch.optim.lr_scheduler)):
        made = library.asarray(0.4) if library is tg else torch.tensor(0.4)
        o = library.optim.SGD([{"params": [library.zeros(2, requires_grad=True)], "lr": made},
                               {"params": [library.zeros(2, requires_grad=True)], "lr": 1e-3}],
                              momentum=0.5)
        schedule = build(room, o, *case)
        seen.append([])
        for t in range(20):
            o.step()
            schedule.step(*([metric(t)] if name == "ReduceLROnPlateau" else []))
            seen[-1].append(float(made))
        assert o.param_groups[0]["lr"] is made
    np.testing.assert_allclose(*seen, rtol=1e-4, atol=1e-7)


def test_a_schedule_of_ones_own_as_for_pytorch():
    """get_lr, _get_closed_form_lr, _step_count and the flag that get_lr is called in a step."""
    seen = []
    for opt, room in ((optimizer(), schedules), pytorch()):
        class Halving(room.LRScheduler):
            def get_lr(self):
                assert self._get_lr_called_within_step
                if self._is_initial:
                    return [g["lr"] for g in self.optimizer.param_groups]
                return [g["lr"] / 2 + self._step_count for g in self.optimizer.param_groups]

            def _get_closed_form_lr(self):
                return [lr * 100 + self.last_epoch for lr in self.base_lrs]

        schedule = Halving(opt)
        seen.append(rates(opt, room.SequentialLR(opt, [schedule, Halving(opt)], [4]), 9))
    assert_close(*seen)


def test_a_step_before_the_optimizers_is_warned_of():
    for opt, room in ((optimizer(), schedules), pytorch()):
        schedule = room.StepLR(opt, 2)
        with pytest.warns(UserWarning, match="before .*optimizer"):
            schedule.step()
        schedule.step()
    resumed, saved = optimizer(), optimizer()
    first = schedules.StepLR(saved, 2)
    saved.step()
    first.step()
    other = schedules.StepLR(resumed, 2)
    other.load_state_dict(first.state_dict())
    other.step()                           # the steps before were made elsewhere: no warning


@pytest.mark.parametrize("kind", ["Adagrad", "Adam", "LBFGS"])
def test_every_optimizer_can_be_scheduled(kind):
    o = getattr(optim, kind)([tg.zeros(2, requires_grad=True)], lr=1.0)
    schedule = schedules.StepLR(o, 1, 0.5)
    o.step(lambda: tg.zeros(()))
    schedule.step()
    assert o.param_groups[0]["lr"] == 0.5
