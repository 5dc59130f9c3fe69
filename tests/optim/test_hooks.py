"""Hooks around steps and state dicts: PyTorch's signatures, order and effects."""

import copy
import pickle
import sys

import numpy as np
import pytest

import tinygen as tg
from tests.optim.helpers import leaves
from tinygen import optim


def optimizer_of(library, **options):
    if library is tg:
        p = tg.Tensor(np.ones(2), requires_grad=True)
        p.grad = tg.Tensor(np.ones(2))
        return optim.SGD([p], lr=0.5, **options)
    p = library.ones(2, dtype=library.float64, requires_grad=True)
    p.grad = library.ones(2, dtype=library.float64)
    return library.optim.SGD([p], lr=0.5, **options)


def libraries():
    return [tg, pytest.importorskip("torch")]


def test_order_and_arguments_are_pytorchs():
    seen = []
    for library in libraries():
        calls = []
        o = optimizer_of(library)
        module = optim if library is tg else sys.modules["torch.optim.optimizer"]

        def note(name, o=o, calls=calls):
            return lambda opt, args, kwargs: calls.append(
                (name, opt is o, [a is o for a in args], sorted(kwargs)))

        handles = [o.register_step_post_hook(note("post")),
                   module.register_optimizer_step_pre_hook(note("all, pre")),
                   o.register_step_pre_hook(note("pre 1")), o.register_step_pre_hook(note("pre 2")),
                   module.register_optimizer_step_post_hook(note("all, post"))]
        o.step()
        o.step(lambda: None)
        o.step(closure=lambda: None)
        for handle in handles:
            handle.remove()
        o.step()
        seen.append(calls)
    assert seen[0] == seen[1] and len(seen[0]) == 15


def test_a_pre_hook_may_change_the_arguments():
    for library in libraries():
        o = optimizer_of(library)
        o.register_step_pre_hook(lambda opt, args, kwargs: ((opt,), {"closure": lambda: 7.0}))
        assert o.step() == 7.0
    o = optimizer_of(tg)
    o.register_step_pre_hook(lambda opt, args, kwargs: 3)
    with pytest.raises(RuntimeError, match=r"\[SGD\] a step pre-hook must return None or"):
        o.step()


def test_state_dict_hooks_are_pytorchs():
    seen = []
    for library in libraries():
        calls = []
        o = optimizer_of(library, momentum=0.9)
        o.step()
        o.register_state_dict_pre_hook(lambda opt, calls=calls: calls.append("pre 2"))
        o.register_state_dict_pre_hook(lambda opt, calls=calls: calls.append("pre 1"), prepend=True)
        o.register_state_dict_post_hook(lambda opt, made: made.update(extra=1))
        o.register_state_dict_post_hook(lambda opt, made: {**made, "more": made["extra"] + 1})
        saved = o.state_dict()
        calls.append((saved.pop("extra"), saved.pop("more")))
        o.register_load_state_dict_pre_hook(
            lambda opt, made: {**made, "param_groups": [{**made["param_groups"][0], "lr": 0.25}]})
        o.register_load_state_dict_post_hook(
            lambda opt, calls=calls: calls.append(opt.param_groups[0]["lr"]))
        o.load_state_dict(saved)
        calls.append(saved["param_groups"][0]["lr"])          # a copy was changed
        seen.append(calls)
    assert seen[0] == seen[1] == ["pre 1", "pre 2", (1, 2), 0.25, 0.5]


def test_copies_leave_their_hooks_behind():
    o = optimizer_of(tg)
    o.register_step_pre_hook(lambda *args: (_ for _ in ()).throw(AssertionError))
    for twin in (copy.deepcopy(o), pickle.loads(pickle.dumps(o))):
        twin.step()
        assert twin.param_groups[0]["params"][0].tolist() == [0.5, 0.5]


def test_an_optimizer_of_ones_own_has_hooks_around_its_step():
    class Half(optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {"lr": 0.0})

        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    p.assign_(p.data / 2)

    (p,) = leaves([np.ones(2)])
    o, calls = Half([p]), []
    o.register_step_post_hook(lambda opt, args, kwargs: calls.append(opt is o))
    o.step()
    assert calls == [True] and p.tolist() == [0.5, 0.5]


def test_parameters_that_do_not_require_grad_are_let_be():
    """As in PyTorch: they may be given, have no gradient, and can be freed later."""
    torch = pytest.importorskip("torch")
    frozen, free = tg.Tensor(np.ones(2)), tg.Tensor(np.ones(3), requires_grad=True)
    cold, warm = torch.ones(2, dtype=torch.float64), torch.ones(3, dtype=torch.float64,
                                                                requires_grad=True)
    o, peer = optim.Adam([frozen, free], lr=0.1), torch.optim.Adam([cold, warm], lr=0.1)
    for step in range(4):
        if step == 2:
            frozen.requires_grad_()
            cold.requires_grad_()
        for opt, params in ((o, (frozen, free)), (peer, (cold, warm))):
            opt.zero_grad()
            sum((p * p).sum() for p in params).backward()
            opt.step()
    np.testing.assert_allclose(frozen.data, cold.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(free.data, warm.detach().numpy(), rtol=1e-12)
    assert [e["step"].item() for e in o.state_dict()["state"].values()] == [2.0, 4.0]


@pytest.mark.parametrize("kind", ["Adam", "SGD"])
def test_other_parameters_swapped_in(kind):
    """As PyTorch's: the given tensors are stepped, the optimizer's own are as they were."""
    seen = []
    for library in libraries():
        tensor = tg.Tensor if library is tg else library.tensor
        options = {"momentum": 0.9} if kind == "SGD" else {}
        own, given = ([tensor(np.full(n, v), requires_grad=True) for n in (2, 3)]
                      for v in (1.0, 2.0))
        for p in (*own, *given):
            p.grad = tensor(np.full(p.shape[0], 0.5))
        o = getattr(library.optim, kind)([{"params": [own[0]]}, {"params": [own[1]], "lr": 0.25}],
                                         lr=0.5, **options)
        o.step()
        state = o.state_dict() if library is tg else copy.deepcopy(o.state_dict())
        state["param_groups"][0]["lr"] = 0.125
        swap = library.optim.swap_in_optimizer_params_and_state
        with swap(o, dict(zip("ab", given, strict=True)), state):
            o.step()
            assert o.param_groups[0]["params"][0] is given[0]
        o.step()
        assert o.param_groups[1]["params"][0] is own[1] and o.param_groups[0]["lr"] == 0.5
        kept = [v for i in (0, 1) for _, v in sorted(state["state"][i].items())]
        seen.append([x.detach().numpy().copy() for x in (*own, *given, *kept)])
        for bad in ({**state, "param_groups": state["param_groups"][:1]}, 3,
                    {**state, "state": {7: {}}}):
            with pytest.raises(RuntimeError), swap(o, dict(zip("ab", given, strict=True)), bad):
                pass
        with pytest.raises(RuntimeError), swap(o, {"a": given[0]}, state):
            pass
    for a, b in zip(*seen, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)
    with pytest.raises(RuntimeError, match="has no state yet: let it make a step first"), \
            optim.swap_in_optimizer_params_and_state(optim.Adam(leaves([np.ones(2)])), {}, {}):
        pass
