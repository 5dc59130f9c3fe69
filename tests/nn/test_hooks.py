"""Hooks around the forward and backward of a module, beside PyTorch's."""

import gc

import numpy as np
import pytest

import tinygen as tg
from tests.nn.parity import torch
from tinygen import nn


def pair():
    """tanh(linear) twice with the same weights, with an input for each."""
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh()).double()
    ours = nn.Sequential(nn.Linear(3, 2), nn.Tanh()).double()
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).standard_normal((2, 3))
    return (ours, tg.Tensor(x, requires_grad=True)), (theirs, torch.tensor(x, requires_grad=True))


def numbers(x):
    return x.detach().numpy()


def same(a, b):
    assert len(a) == len(b) > 0
    for x, y in zip(a, b, strict=True):
        assert (x is None) == (y is None)
        if x is not None:
            np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-14)


def test_backward_hooks_see_and_replace_gradients():
    logs = []
    for net, x in pair():
        log = []
        net[0].register_full_backward_hook(
            lambda m, gi, go, log=log: log.extend(numbers(g) for g in (*gi, *go)))
        net[0].register_full_backward_hook(lambda m, gi, go: (gi[0] * 3,))
        net[0].register_full_backward_pre_hook(lambda m, go: (go[0] * 2,))
        (net(x) ** 2).sum().backward()
        log += [numbers(x.grad), numbers(net[0].weight.grad)]
        logs.append(log)
    same(*logs)


@pytest.mark.filterwarnings("ignore:Full backward hook")    # PyTorch says that it does the same
def test_a_backward_hook_without_a_tracked_input():
    logs = []
    for net, x in pair():
        log = []
        net[0].register_full_backward_hook(
            lambda m, gi, go, log=log: log.extend([gi[0], numbers(go[0])]))
        net(x.detach()).sum().backward()
        logs.append(log)
    same(*logs)


def test_second_derivatives_pass_a_backward_hook():
    found = []
    for (net, x), grad in zip(pair(), (tg.grad, torch.autograd.grad), strict=True):
        net[0].register_full_backward_hook(lambda m, gi, go: (gi[0] * 2,))
        (slope,) = grad(net(x).sum(), x, create_graph=True)
        (slope * slope).sum().backward()
        found.append([numbers(x.grad)])
    same(*found)


def test_a_backward_hook_of_several_outputs():
    class Listed(nn.Module):
        def forward(self, x):
            return [x]
    listed, seen = Listed(), []
    listed.register_full_backward_hook(lambda *_: None)
    with pytest.raises(TypeError, match="must return a tensor or a tuple, got list"):
        listed(tg.ones((4, 2)).requires_grad_())

    class Two(nn.Module):
        def forward(self, x, y):
            return x * 2, x * y
    two = Two()
    two.register_full_backward_hook(
        lambda m, gi, go: seen.append([g.numpy().tolist() for g in (*gi, *go)]))
    x, y = (tg.Tensor([v], requires_grad=True) for v in (2.0, 3.0))
    a, b = two(x, y)
    (a + 5 * b).sum().backward()
    assert seen == [[[17.0], [10.0], [1.0], [5.0]]]


def test_options_of_forward_hooks():
    log = []
    layer = nn.Linear(2, 1)
    layer.register_forward_pre_hook(lambda m, args, kwargs: ((), {"input": kwargs["input"] * 0}),
                                    with_kwargs=True)
    layer.register_forward_hook(lambda m, args, kwargs, out: log.append(kwargs["input"].data.sum()),
                                with_kwargs=True)
    layer.register_forward_hook(lambda m, args, out: log.append("first"), prepend=True)
    layer.register_forward_hook(lambda m, args, out: log.append(out is None), always_call=True)
    assert (layer(input=tg.ones((1, 2))).data == layer.bias.data).all()
    with pytest.raises(ValueError, match="linear"):
        layer(input=tg.ones((1, 5)))
    assert log == ["first", 0, False, True]
    layer.register_forward_pre_hook(lambda m, args, kwargs: args, with_kwargs=True)
    with pytest.raises(RuntimeError, match=r"must return None or \(args, kwargs\)"):
        layer(input=tg.ones((1, 2)))


def test_hooks_that_return_too_few_gradients_and_no_cycles():
    layer = nn.Linear(2, 1)
    x = tg.ones((1, 2)).requires_grad_()
    with layer.register_full_backward_hook(lambda m, gi, go: (gi[0], gi[0])), pytest.raises(
            RuntimeError, match="return None or 1 gradients, got 2"):
        layer(x).sum().backward()
    layer.register_full_backward_hook(lambda m, gi, go: None)
    layer(x).sum().backward()
    gc.collect()
    gc.disable()
    try:
        layer(x).sum().backward()
        assert gc.collect() == 0
    finally:
        gc.enable()
