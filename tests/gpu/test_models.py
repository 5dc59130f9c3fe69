"""A training step of every model on the double: the CPU's losses and weights, and no waits."""

import numpy as np
import pytest

import tinygen as tg
from tests.doubles.counting import counted
from tests.gpu.training import CASES, HostStream, tensors
from tinygen.random.draws import default_generator

KERNELS = False       # what CuPy alone computes; kernels are compared with it in other files


def prepared(name, device, dtype=None):
    """The model and its optimizers on a device, and a batch there."""
    make, batch = CASES[name]
    tg.manual_seed(0)
    model = make().to(device, dtype)
    return model, model.configure_optimizers(), tensors(batch(), device)


def first_step(name, device):
    """The model, optimizers and batch, the losses of a step with NumPy's random numbers, and the
    state after it."""
    model, optimizers, batch = prepared(name, device, "float64")
    tg.manual_seed(1)
    if device != "cpu":
        default_generator(device).stream = HostStream(1)
    losses = model.training_step(*batch, optimizers)
    return (model, optimizers, batch, {k: v.item() for k, v in losses.items()},
            {k: v.cpu().numpy() for k, v in model.state_dict().items()})


@pytest.mark.parametrize("name", CASES)
def test_training_is_that_of_the_cpu_and_neither_waits_nor_copies(name):
    """The first step makes plans and puts constants onto the device; the next one is counted."""
    *_, expected, state = first_step(name, "cpu")
    model, optimizers, batch, found, there = first_step(name, "cuda")
    assert found == pytest.approx(expected, rel=1e-8, abs=1e-10)
    for key, value in state.items():
        np.testing.assert_allclose(there[key], value, rtol=1e-6, atol=1e-8, err_msg=key)

    default_generator("cuda").manual_seed(2)                  # the device's own stream again
    with counted() as seen:
        losses = model.training_step(*batch, optimizers)
    assert (seen.syncs, seen.h2d, seen.d2h) == (0, 0, 0), seen
    assert seen.launches > 10
    assert {v.device for v in losses.values()} == {"cuda:0"}
    assert {p.device for p in model.parameters()} == {"cuda:0"}
    assert all(np.isfinite(v.item()) for v in losses.values())


def test_gradient_clipping_schedules_and_averages_do_not_wait():
    model, optimizers, batch = prepared("gpt", "cuda")
    optimizer = optimizers["model"]
    schedule = tg.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    average = tg.optim.EMA(model, 0.9, warm_up=True)
    averaged = tg.optim.swa_utils.AveragedModel(model)

    def step():
        optimizer.zero_grad()
        loss = tg.nn.functional.cross_entropy(model(batch[0]).reshape(-1, 20), batch[1].reshape(-1))
        loss.backward()
        norm = tg.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        tg.nn.utils.clip_grad_value_(model.parameters(), 0.5)
        optimizer.step()
        schedule.step()
        average.update()
        averaged.update_parameters(model)
        return norm
    step()
    with counted() as seen:
        norm = step()
    assert (seen.syncs, seen.h2d, seen.d2h) == (0, 0, 0), seen
    assert norm.device == "cuda:0"
    assert average.updates == 2


OPTIMIZERS = [name for name, kind in vars(tg.optim).items() if isinstance(kind, type)
              and issubclass(kind, tg.optim.Optimizer) and kind is not tg.optim.Optimizer
              and name != "LBFGS"]         # whose line search reads losses


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_moves_as_on_the_cpu(name):
    def run(device):
        rng = np.random.default_rng(0)
        weights = [tg.Tensor(rng.standard_normal(shape), device=device).requires_grad_()
                   for shape in ((3, 4), (5, 2), (2, 2))]
        optimizer = getattr(tg.optim, name)(weights, lr=0.01)
        for i in range(8):
            optimizer.zero_grad()
            sum((w * w).sum() for w in weights).backward()
            with counted() as seen:
                optimizer.step()
            assert i == 0 or (seen.syncs, seen.h2d, seen.d2h) == (0, 0, 0), seen
        return [w.detach().cpu().numpy() for w in weights]
    for found, expected in zip(run("cuda"), run("cpu"), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9)
