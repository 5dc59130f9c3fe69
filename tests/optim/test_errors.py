"""Bad input is refused where it is given, in words, and an update is done whole or not at all."""

import math
from collections import OrderedDict

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn, optim
from tinygen.optim import SGD, Adam, AdamW, RMSprop


def leaf(*shape, dtype=None):
    return tg.zeros(shape, dtype=dtype, requires_grad=True)


SHARED = leaf(2)

PARAMETERS = [
    (lambda: [], ValueError, r"\[SGD\] there are no parameters to optimize"),
    (lambda: [{"params": []}], ValueError, r"no parameters to optimize"),
    (lambda: leaf(2), TypeError, r"must be an iterable of tensors .* got a Tensor; put it into a"),
    (lambda: nn.Linear(2, 3), TypeError, r"got a Linear; pass its \.parameters\(\)"),
    (lambda: nn.Sequential(nn.Linear(2, 3)), TypeError, r"pass its \.parameters\(\)"),
    (lambda: {leaf(2)}, TypeError, r"must have an order; a set has none"),
    (lambda: OrderedDict(a=leaf(2)), TypeError, r"got a OrderedDict"),
    (lambda: [leaf(2), np.zeros(2)], TypeError,
     r"parameter 1 of group 0 must be a Tensor, got ndarray"),
    (lambda: [leaf(2) * 2], ValueError,
     r"parameter 0 of group 0, float32 \(2,\), was computed by multiply; only leaf"),
    (lambda: [leaf(1), SHARED, SHARED], ValueError,
     r"parameter 2 of group 0 is given twice: it is parameter 1 of group 0 too"),
    (lambda: [{"params": [SHARED]}, {"params": [("b", SHARED)]}], ValueError,
     r"parameter 0 of group 1 \(b\) is given twice: it is parameter 0 of group 0 too"),
    (lambda: [("a", leaf(1)), leaf(2)], ValueError, r"name all parameters or none"),
    (lambda: [{"params": [leaf(1)]}, {"params": [("b", leaf(2))]}], ValueError,
     r"group 1 is named, group 0 is not: name the parameters of all groups or of none"),
    (lambda: [{"params": {leaf(2)}}], TypeError, r"group 0: params must have an order"),
    (lambda: [{"params": leaf(1)}, leaf(2)], TypeError, r"group 1 must be a dictionary with 'pa"),
    (lambda: [{"parameters": [leaf(2)]}], TypeError, r"group 0 must be a dictionary with 'params'"),
    (lambda: [{"params": [leaf(2)], "weigth_decay": 1.0}], TypeError,
     r"unknown option 'weigth_decay'; did you mean 'weight_decay'"),
    (lambda: [{"params": [leaf(2)], "lr": -1.0}], ValueError, r"\[SGD\] lr must be finite"),
]


@pytest.mark.parametrize("make, error, message", PARAMETERS)
def test_parameters(make, error, message):
    with pytest.raises(error, match=message):
        SGD(make(), lr=0.1)


@pytest.mark.parametrize("cls, options, error, message", [
    (SGD, dict(lr=-0.1), ValueError, r"\[SGD\] lr must be finite and at least 0, got -0.1"),
    (SGD, dict(lr=math.nan), ValueError, r"lr"),
    (SGD, dict(lr="fast"), TypeError, r"lr must be a number, got 'fast'"),
    (SGD, dict(momentum=-1), ValueError, r"momentum"),
    (SGD, dict(nesterov=True), ValueError, r"nesterov needs momentum > 0 and dampening 0"),
    (SGD, dict(nesterov=True, momentum=0.9, dampening=0.1), ValueError, r"dampening=0.1"),
    (RMSprop, dict(alpha=-0.1), ValueError, r"\[RMSprop\] alpha"),
    (RMSprop, dict(weight_decay=-0.1), ValueError, r"weight_decay"),
    (Adam, dict(betas=(0.9, 1.0)), ValueError, r"betas must both be in \[0, 1\), got \(0.9, 1.0\)"),
    (Adam, dict(betas=0.9), TypeError, r"betas must be two numbers, got 0.9"),
    (AdamW, dict(eps=-1e-8), ValueError, r"\[AdamW\] eps"),
    (SGD, dict(lr=tg.zeros(2)), ValueError, r"lr must be one number, got a tensor of shape \(2,\)"),
    (Adam, dict(betas=(0.9, tg.asarray(0.9))), ValueError, r"betas must be two numbers or two ten"),
    (Adam, dict(differentiable=True), NotImplementedError,
     r"\[Adam\] differentiable=True is not supported: steps change parameters in place"),
    (SGD, dict(foreach=True, fused=True), RuntimeError, r"foreach and fused cannot both be True"),
    (optim.Adagrad, dict(lr_decay=-1), ValueError, r"\[Adagrad\] lr_decay"),
    (optim.Adadelta, dict(rho=1.1), ValueError, r"rho must be in \[0, 1\], got 1.1"),
    (optim.Adamax, dict(betas=(0.0, 1.0)), ValueError, r"\[Adamax\] betas must both be in"),
    (optim.NAdam, dict(momentum_decay=-0.2), ValueError, r"momentum_decay"),
    (optim.RAdam, dict(weight_decay=-1), ValueError, r"\[RAdam\] weight_decay"),
    (optim.ASGD, dict(alpha="x"), TypeError, r"\[ASGD\] alpha must be a number"),
    (optim.Rprop, dict(etas=(1.0, 0.5)), ValueError, r"etas must be 0 < etas\[0\] < 1 < etas\[1\]"),
    (optim.Rprop, dict(step_sizes=3), TypeError, r"step_sizes must be two numbers, got 3"),
    (optim.Lion, dict(betas=(1, 0)), ValueError, r"\[Lion\] betas must both be in"),
    (optim.Adafactor, dict(d=0.0), ValueError, r"d must be at least 1, got 0.0"),
    (optim.Adafactor, dict(beta2_decay=0.8), ValueError, r"beta2_decay must be at most 0, got 0.8"),
    (optim.Adafactor, dict(eps=(-1e-30, 1e-3)), ValueError, r"eps must not be negative"),
    (optim.Adafactor, dict(eps=1e-3), TypeError, r"eps must be two numbers"),
    (optim.Muon, dict(), ValueError, r"\[Muon\] takes matrices only, not .* float32 \(2,\)"),
    (optim.SparseAdam, dict(), NotImplementedError, r"\[SparseAdam\] needs sparse gradients"),
])
def test_options(cls, options, error, message):
    with pytest.raises(error, match=message):
        cls([leaf(2)], **options)


@pytest.mark.parametrize("options, message", [
    (dict(adjust_lr_fn="mine"), r"adjust_lr_fn must be None, 'original' or .* got 'mine'"),
    (dict(ns_steps=100), r"ns_steps must be an integer in \[0, 100\), got 100"),
    (dict(ns_coefficients=(1, 2)), r"ns_coefficients must be three numbers, got \(1, 2\)"),
])
def test_options_of_muon(options, message):
    with pytest.raises(ValueError, match=message):
        optim.Muon([leaf(2, 3)], **options)


def test_a_group_that_is_refused_is_not_added():
    optimizer = Adam([leaf(2)])
    for bad in ({"params": [leaf(2) * 2]}, {"params": [leaf(2)], "eps": -1}):
        with pytest.raises(ValueError):
            optimizer.add_param_group(bad)
    assert len(optimizer.param_groups) == 1


GRADIENTS = [
    (lambda: tg.zeros((3, 2)), ValueError,
     r"\[Adam\] parameter 2 of group 1 \(c\) is float32 \(2, 3\) on cpu, its gradient float32 "
     r"\(3, 2\) on cpu; nothing was updated"),
    (lambda: tg.zeros((2, 3), dtype="float64"), ValueError, r"its gradient float64 \(2, 3\)"),
    (lambda: np.zeros((2, 3), np.float32), TypeError, r"must be a Tensor, got ndarray"),
]


@pytest.mark.parametrize("steps_before", [0, 2])
@pytest.mark.parametrize("bad, error, message", GRADIENTS)
def test_one_bad_gradient_leaves_every_parameter_and_state_as_it_was(bad, error, message,
                                                                     steps_before):
    first = leaf(5000)
    rest = [leaf(2), leaf(4), leaf(2, 3)]
    optimizer = Adam([{"params": [("big", first)]},
                      {"params": list(zip("abc", rest, strict=True))}])
    params = [first, *rest]
    for p in params:
        p.grad = tg.ones_like(p)
    for _ in range(steps_before):
        optimizer.step()
    before = [p.data.copy() for p in params]
    steps = {i: e["step"].item() for i, e in optimizer.state_dict()["state"].items()}
    rest[-1].grad = bad()
    with pytest.raises(error, match=message):
        optimizer.step()
    for p, old in zip(params, before, strict=True):
        np.testing.assert_array_equal(p.data, old)
    assert steps == {i: e["step"].item() for i, e in optimizer.state_dict()["state"].items()}
    rest[-1].grad = tg.ones_like(rest[-1])
    optimizer.step()
    for p, old in zip(params, before, strict=True):
        np.testing.assert_allclose(p.data, old - 1e-3, rtol=1e-4)


def test_a_read_only_parameter_is_named():
    frozen = np.zeros(3, np.float32)
    frozen.flags.writeable = False
    params = [leaf(2), tg.Tensor.wrap(frozen).requires_grad_()]
    for p in params:
        p.grad = tg.ones_like(p)
    with pytest.raises(ValueError, match=r"parameter 1 of group 0, float32 \(3,\), is a read-only"):
        SGD(params).step()
    assert params[0].tolist() == [0.0, 0.0]


def test_a_parameter_cast_after_the_first_step_is_named():
    p = leaf(3)
    optimizer = Adam([p])
    p.grad = tg.ones(3)
    optimizer.step()
    p.data, p.grad = p.data.astype(np.float64), tg.ones(3, dtype="float64")
    with pytest.raises(ValueError, match=r"is float64 \(3,\) on cpu, its state 'exp_avg' float32 "
                                         r"\(3,\) on cpu: .* make a new optimizer"):
        optimizer.step()


def test_an_option_that_was_broken_later_stops_the_step_before_it_begins():
    params = [leaf(2), leaf(2)]
    optimizer = SGD([{"params": [p]} for p in params])
    for p in params:
        p.grad = tg.ones(2)
    optimizer.step()
    optimizer.param_groups[1]["lr"] = "0.1x"
    before = params[0].data.copy()
    with pytest.raises(ValueError, match=r"0\.1x"):
        optimizer.step()
    np.testing.assert_array_equal(params[0].data, before)


def test_repr_names_groups_sizes_and_options():
    text = repr(Adam([{"params": [leaf(1000, 2)], "lr": 0.5}, {"params": [leaf(3), leaf(4)]}]))
    assert text.splitlines()[1:3] == [
        "  group 0: 1 tensor, 2,000 parameters, lr=0.5, betas=(0.9, 0.999), eps=1e-08, "
        "weight_decay=0.0, amsgrad=False, maximize=False, decoupled_weight_decay=False",
        "  group 1: 2 tensors, 7 parameters, lr=0.001, betas=(0.9, 0.999), eps=1e-08, "
        "weight_decay=0.0, amsgrad=False, maximize=False, decoupled_weight_decay=False"]
