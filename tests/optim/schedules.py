"""What the tests of schedules share: two groups, and every schedule with drawn arguments."""

import functools

import numpy as np
import pytest
from hypothesis import strategies as st

import tinygen as tg
from tinygen import optim

BASE = (0.4, 1e-3)
counts = st.integers(1, 12)
factors = st.floats(0.05, 0.95)
flags = st.booleans()


def optimizer(lrs=BASE, kind="SGD"):
    options = {"momentum": 0.5} if kind == "SGD" else {}
    return getattr(optim, kind)([{"params": [tg.zeros(2, requires_grad=True)], "lr": lr}
                                 for lr in lrs], **options)


def pytorch(kind="SGD"):
    torch = pytest.importorskip("torch")
    options = {"momentum": 0.5} if kind == "SGD" else {}
    return getattr(torch.optim, kind)([{"params": [torch.zeros(2, requires_grad=True)], "lr": lr}
                                       for lr in BASE], **options), torch.optim.lr_scheduler


def rates(opt, schedule, epochs=60):
    """Learning rate and momentum of each group in each epoch."""
    seen = []
    for t in range(epochs):
        seen.append([(float(g["lr"]), g["betas"][0] if "betas" in g else g["momentum"])
                     for g in opt.param_groups])
        assert [float(lr) for lr in schedule.get_last_lr()] == [lr for lr, _ in seen[-1]]
        opt.step()
        if type(schedule).__name__ == "ReduceLROnPlateau":
            schedule.step(metric(t))
        else:
            schedule.step()
    return np.array(seen).reshape(epochs, len(BASE) if opt.param_groups[1:] else 1, 2)


def metric(t):
    """A loss that falls, stands still, and falls again, with noise."""
    return 2.0 - 0.05 * min(t, 10) - 0.03 * max(0, t - 30) + 0.02 * np.sin(7.0 * t)


def build(room, opt, name, kwargs):
    """A schedule of tinygen or PyTorch; of several for SequentialLR and ChainedScheduler."""
    if name == "SequentialLR":
        parts = [build(room, opt, n, kw) for n, kw in kwargs["schedulers"]]
        return room.SequentialLR(opt, parts, milestones=kwargs["milestones"])
    if name == "ChainedScheduler":
        return room.ChainedScheduler([build(room, opt, n, kw) for n, kw in kwargs["schedulers"]])
    return getattr(room, name)(opt, **kwargs)


RECURSIVE = ("StepLR", "MultiStepLR", "ExponentialLR", "CosineAnnealingLR", "LinearLR",
             "ConstantLR", "PolynomialLR")     # with a closed form of PyTorch's
NAMES = (*RECURSIVE, "LambdaLR", "MultiplicativeLR", "CosineAnnealingWarmRestarts", "OneCycleLR",
         "CyclicLR", "ReduceLROnPlateau", "SequentialLR", "ChainedScheduler")


def power(base, t):
    return base ** t


def scale(base, x):
    return base ** (x % 7)


@st.composite
def drawn(draw, names=NAMES):
    name = draw(st.sampled_from(names))
    momentum = dict(cycle_momentum=draw(flags), base_momentum=draw(st.sampled_from(
        [0.7, [0.5, 0.8]])), max_momentum=draw(st.sampled_from([0.9, [0.95, 0.85]])))
    if name == "StepLR":
        return name, dict(step_size=draw(counts), gamma=draw(factors))
    if name == "MultiStepLR":
        return name, dict(milestones=draw(st.lists(st.integers(1, 30), max_size=5)),
                          gamma=draw(factors))
    if name == "ExponentialLR":
        return name, dict(gamma=draw(factors))
    if name == "CosineAnnealingLR":
        return name, dict(T_max=draw(counts), eta_min=draw(st.sampled_from([0.0, 1e-4, 0.5])))
    if name == "CosineAnnealingWarmRestarts":
        return name, dict(T_0=draw(counts), T_mult=draw(st.integers(1, 3)),
                          eta_min=draw(st.sampled_from([0.0, 1e-4])))
    if name == "LinearLR":
        return name, dict(start_factor=draw(factors), end_factor=draw(factors),
                          total_iters=draw(counts))
    if name == "ConstantLR":
        return name, dict(factor=draw(factors), total_iters=draw(counts))
    if name == "PolynomialLR":
        return name, dict(total_iters=draw(counts), power=draw(st.sampled_from([0.5, 1.0, 2.3])))
    if name in ("LambdaLR", "MultiplicativeLR"):
        f = functools.partial(power, draw(factors))
        return name, dict(lr_lambda=draw(st.sampled_from([[f, lambda t: 1 / (t + 1)], f])))
    if name == "OneCycleLR":
        length = draw(st.sampled_from([dict(total_steps=60), dict(epochs=12, steps_per_epoch=5)]))
        return name, dict(max_lr=draw(st.sampled_from([0.5, [0.1, 0.7]])), **length, **momentum,
                          pct_start=draw(st.floats(0.1, 0.45)), div_factor=draw(
                              st.floats(2, 30)), final_div_factor=draw(st.floats(2, 1e4)),
                          anneal_strategy=draw(st.sampled_from(["cos", "linear"])),
                          three_phase=draw(flags))
    if name == "CyclicLR":
        own = functools.partial(scale, draw(factors))
        return name, dict(base_lr=draw(st.sampled_from([0.01, [0.02, 0.003]])),
                          max_lr=draw(st.sampled_from([0.5, [0.3, 0.1]])), **momentum,
                          step_size_up=draw(counts),
                          step_size_down=draw(st.one_of(st.none(), counts)),
                          mode=draw(st.sampled_from(["triangular", "triangular2", "exp_range"])),
                          gamma=draw(factors), scale_fn=draw(st.sampled_from([None, own])),
                          scale_mode=draw(st.sampled_from(["cycle", "iterations"])))
    if name == "ReduceLROnPlateau":
        return name, dict(mode=draw(st.sampled_from(["min", "max"])), factor=draw(factors),
                          patience=draw(st.integers(0, 5)), cooldown=draw(st.integers(0, 4)),
                          threshold=draw(st.sampled_from([1e-4, 0.02])),
                          threshold_mode=draw(st.sampled_from(["rel", "abs"])),
                          min_lr=draw(st.sampled_from([0.0, 0.01, [0.1, 1e-5]])),
                          eps=draw(st.sampled_from([1e-8, 1e-3])))
    if name == "ChainedScheduler":
        return name, dict(schedulers=[draw(drawn((*RECURSIVE, "MultiplicativeLR")))
                                      for _ in range(draw(st.integers(1, 3)))])
    parts = [draw(drawn((*RECURSIVE, "LambdaLR", "CosineAnnealingWarmRestarts")))
             for _ in range(draw(st.integers(1, 3)))]
    milestones = sorted(draw(st.sets(st.integers(1, 25), min_size=len(parts) - 1,
                                     max_size=len(parts) - 1)))
    return name, dict(schedulers=parts, milestones=milestones)
