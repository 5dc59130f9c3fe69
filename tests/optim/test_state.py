"""Saved optimizers: continued bit for bit, exchanged with PyTorch, loaded whole or not at all."""

import copy
import json
import pickle

import numpy as np
import pytest

import tinygen as tg
from tinygen.optim import SGD, Adam, AdamW, RMSprop

SHAPES = [(3, 2), (4,), (), (4100,), (7,)]
MAKE = {
    "SGD": lambda o, ps: o.SGD(ps, lr=0.05, momentum=0.9, dampening=0.2, weight_decay=1e-3),
    "plain SGD": lambda o, ps: o.SGD(ps, lr=0.05),
    "RMSprop": lambda o, ps: o.RMSprop(ps, lr=0.01, momentum=0.5, centered=True),
    "Adam": lambda o, ps: o.Adam(ps, lr=0.01, amsgrad=True, weight_decay=0.1),
    "AdamW": lambda o, ps: o.AdamW(ps, lr=0.01, maximize=True),
    "Adagrad": lambda o, ps: o.Adagrad(ps, lr=0.05, initial_accumulator_value=0.1, lr_decay=0.1),
    "Adadelta": lambda o, ps: o.Adadelta(ps, weight_decay=0.1),
    "Adamax": lambda o, ps: o.Adamax(ps, lr=0.01, weight_decay=0.1),
    "NAdam": lambda o, ps: o.NAdam(ps, lr=0.01, momentum_decay=0.1),
    "RAdam": lambda o, ps: o.RAdam(ps, lr=0.01, betas=(0.9, 0.6)),
    "ASGD": lambda o, ps: o.ASGD(ps, lr=0.05, lambd=0.1, t0=2),
    "Rprop": lambda o, ps: o.Rprop(ps, etas=(0.4, 1.3)),
    "Adafactor": lambda o, ps: o.Adafactor(ps, lr=0.05, d=1.5, weight_decay=0.1),
}
every = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE.keys())


def arrays(seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(s)).astype(dtype) for s in SHAPES]


def leaves(values):
    return [tg.Tensor(v, requires_grad=True) for v in values]


def walk(optimizer, params, seed, steps, wrap=tg.Tensor):
    """Steps with random gradients; a different parameter has none in each."""
    for t in range(steps):
        for i, (p, g) in enumerate(zip(params, arrays(seed + t), strict=True)):
            p.grad = None if i == t % 6 else wrap(g.astype(str(p.dtype).removeprefix("torch.")))
        optimizer.step()


def assert_same(params, others):
    for p, q in zip(params, others, strict=True):
        np.testing.assert_array_equal(p.data, q.data, strict=True)


# -- saving and going on ---------------------------------------------------------------------------


@pytest.mark.parametrize("make", [*MAKE.values(), lambda o, ps: o.Lion(ps, lr=0.01)],
                         ids=[*MAKE, "Lion"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_loaded_into_a_new_optimizer_it_goes_on_bit_for_bit(make, dtype):
    params = leaves(arrays(0, dtype))
    optimizer = make(tg.optim, params)
    walk(optimizer, params, 1, 5)
    saved, copies = optimizer.state_dict(), leaves([p.data for p in params])
    walk(optimizer, params, 50, 7)                  # what was saved is a copy, not a view
    other = make(tg.optim, copies)
    other.load_state_dict(saved)
    walk(other, copies, 50, 7)
    assert_same(params, copies)


@every
def test_through_a_file(make, tmp_path):
    pytest.importorskip("safetensors")
    params = leaves(arrays(0))
    optimizer = make(tg.optim, params)
    walk(optimizer, params, 1, 5)
    tg.save(optimizer.state_dict(), tmp_path / "optimizer.safetensors")
    copies = leaves([p.data for p in params])
    other = make(tg.optim, copies)
    other.load_state_dict(tg.load(tmp_path / "optimizer.safetensors"))
    walk(optimizer, params, 50, 3)
    walk(other, copies, 50, 3)
    assert_same(params, copies)


@every
def test_pickled_together_with_its_parameters(make):
    params = leaves(arrays(0))
    optimizer = make(tg.optim, params)
    walk(optimizer, params, 1, 5)
    copies, other = pickle.loads(pickle.dumps((params, optimizer)))
    walk(optimizer, params, 50, 3)
    walk(other, copies, 50, 3)
    assert_same(params, copies)


def test_layout_is_pytorchs():
    """Indices, names and groups; a parameter that never had a gradient has no state."""
    a, b, c = leaves([np.zeros(2), np.zeros((2, 3)), np.zeros(1)])
    optimizer = Adam([{"params": [("net.a", a)], "lr": 0.5}, {"params": [("b", b), ("c", c)]}])
    a.grad, b.grad = tg.ones(2, dtype="float64"), tg.ones((2, 3), dtype="float64")
    optimizer.step()
    saved = optimizer.state_dict()
    assert [list(saved["state"]), [g["params"] for g in saved["param_groups"]]] == [
        [0, 1], [[0], [1, 2]]]
    assert saved["param_groups"][1]["param_names"] == ["b", "c"]
    assert saved["param_groups"][0]["lr"] == 0.5
    assert {k: (v.shape, v.dtype.name) for k, v in saved["state"][1].items()} == {
        "step": ((), "float32"), "exp_avg": ((2, 3), "float64"),
        "exp_avg_sq": ((2, 3), "float64")}
    json.dumps(saved["param_groups"])


# -- PyTorch's optimizers -------------------------------------------------------------------------


def both(make):
    torch = pytest.importorskip("torch")
    ours = leaves(arrays(0))
    theirs = [torch.tensor(v, requires_grad=True) for v in arrays(0)]
    return torch, ours, theirs, make(tg.optim, ours), make(torch.optim, theirs)


def assert_close(ours, theirs, rtol=1e-12):
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=rtol, atol=rtol / 10)


@every
@pytest.mark.parametrize("as_arrays", [True, False])
def test_continues_what_pytorch_began(make, as_arrays):
    torch, ours, theirs, optimizer, peer = both(make)
    walk(peer, theirs, 1, 5, torch.tensor)
    saved = peer.state_dict()
    if as_arrays:
        saved["state"] = {i: {k: None if v is None else v.numpy() for k, v in entry.items()}
                          for i, entry in saved["state"].items()}
    for p, q in zip(ours, theirs, strict=True):
        p.assign_(q.detach().numpy())
    optimizer.load_state_dict(saved)
    walk(optimizer, ours, 50, 7)
    walk(peer, theirs, 50, 7, torch.tensor)
    assert_close(ours, theirs)


@every
def test_pytorch_continues_what_we_began(make):
    torch, ours, theirs, optimizer, peer = both(make)
    walk(optimizer, ours, 1, 5)
    saved = optimizer.state_dict()
    saved["state"] = {i: {k: torch.tensor(v.numpy()) for k, v in entry.items()}
                      for i, entry in saved["state"].items()}
    for p, q in zip(ours, theirs, strict=True):
        q.data[...] = torch.tensor(p.data)
    peer.load_state_dict(saved)
    walk(optimizer, ours, 50, 7)
    walk(peer, theirs, 50, 7, torch.tensor)
    # PyTorch loads the float32 `mu_product`, `eta` and `mu` as numbers of the parameter's dtype
    assert_close(ours, theirs, 1e-8 if optimizer.name in ("NAdam", "ASGD") else 1e-12)


def test_adams_state_in_adamw_decays_as_adamw():
    params = leaves(arrays(0))
    adam, adamw = Adam(params), AdamW(params)
    adamw.load_state_dict(adam.state_dict())
    assert adamw.param_groups[0]["decoupled_weight_decay"] is True


# -- all or nothing -------------------------------------------------------------------------------


def trained(cls=Adam, shapes=((2, 3), (4,)), **options):
    params = leaves([np.ones(s) for s in shapes])
    optimizer = cls([{"params": [(f"net.{i}", p) for i, p in enumerate(params)]}], **options)
    for p in params:
        p.grad = tg.Tensor(np.full(p.shape, 0.5))
    optimizer.step()
    return optimizer


def damaged(change):
    def make():
        saved = trained(lr=0.25).state_dict()
        change(saved)
        return saved
    return make


def drop(key):
    return damaged(lambda s: s["state"][1].pop(key))


REFUSED = [
    (lambda: trained(shapes=((2, 3), (5,))).state_dict(), ValueError,
     r"load_state_dict: parameter 1 of group 0 \(net\.1\) needs 'exp_avg' of shape \(4,\), "
     r"the saved one is float64 \(5,\)"),
    (lambda: trained(shapes=((2, 3),)).state_dict(), ValueError,
     r"group 0 has 1 parameters in the saved optimizer and 2 in this one"),
    (damaged(lambda s: s["param_groups"].append(s["param_groups"][0])), ValueError,
     r"the saved optimizer has 2 groups, this one 1"),
    (lambda: trained(SGD, momentum=0.9).state_dict(), KeyError, r"group 0 has no option 'betas'"),
    (lambda: trained(RMSprop).state_dict(), KeyError, r"was it saved by Adam\?"),
    (drop("exp_avg_sq"), KeyError, r"parameter 1 .* has no 'exp_avg_sq' .* only step, exp_avg"),
    (damaged(lambda s: s["state"][0].update(momentum_buffer=tg.zeros((2, 3)))), KeyError,
     r"has 'momentum_buffer' in the saved state; Adam with these options keeps exp_avg"),
    (damaged(lambda s: s["state"].update({7: s["state"].pop(1)})), ValueError,
     r"state for parameter 7, which no group has"),
    (damaged(lambda s: s["state"][1].update(step=np.zeros(3))), ValueError,
     r"'step' of shape \(\)"),
    (damaged(lambda s: s["param_groups"][0].update(lr=float("inf"))), ValueError,
     r"lr must be finite and at least 0, got inf"),
    (damaged(lambda s: s.pop("state")), TypeError, r"'state' and 'param_groups' is needed"),
    (lambda: [1, 2], TypeError, r"got list"),
]


@pytest.mark.parametrize("make, error, message", REFUSED)
def test_what_does_not_fit_is_refused_and_changes_nothing(make, error, message):
    optimizer = trained(lr=0.125)
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(error, match=message):
        optimizer.load_state_dict(make())
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert list(after["state"]) == list(before["state"])
    for i, entry in before["state"].items():
        for name, value in entry.items():
            np.testing.assert_array_equal(after["state"][i][name].data, value.data, strict=True)


def test_state_takes_the_parameters_dtype():
    saved = trained(lr=0.25).state_dict()
    params = leaves([np.ones((2, 3), np.float32), np.ones(4, np.float32)])
    optimizer = Adam(params)
    optimizer.load_state_dict(saved)
    assert all(t.dtype == np.float32 for p in params for t in optimizer.state[p].values())
    assert optimizer.param_groups[0]["lr"] == 0.25


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Rprop", "ASGD", "Adagrad", "NAdam"])
def test_states_of_older_versions_of_pytorch(name):
    """Options that came later are missing, and counts are plain numbers."""
    torch = pytest.importorskip("torch")
    options = {"momentum": 0.9} if name == "SGD" else {}
    peers = [torch.tensor(v, requires_grad=True) for v in arrays(0)]
    peer = getattr(torch.optim, name)(peers, **options)
    walk(peer, peers, 1, 3, torch.tensor)
    saved = peer.state_dict()
    for group in saved["param_groups"]:
        for key in ("foreach", "fused", "capturable", "differentiable", "maximize"):
            group.pop(key, None)
    saved["state"] = {i: {k: v.item() if v.ndim == 0 and k == "step" else v
                          for k, v in entry.items()} for i, entry in saved["state"].items()}
    params = leaves([q.detach().numpy() for q in peers])
    optimizer = getattr(tg.optim, name)(params, **options)
    optimizer.load_state_dict(saved)
    walk(optimizer, params, 9, 3)
    walk(peer, peers, 9, 3, torch.tensor)
    assert_close(params, peers)


def test_an_optimizer_of_ones_own_keeps_what_it_likes():
    class Kept(tg.optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {"lr": 1.0})

        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    entry = self.state[p]
                    entry["seen"] = entry.get("seen", 0) + 1
                    entry["step"] = tg.Tensor(np.array(2.0**24 + 1))
                    entry["means"] = [tg.Tensor(p.grad.data), None]

    params = leaves([np.ones(3)])
    params[0].grad = tg.ones(3, dtype="float64")
    optimizer = Kept(params)
    optimizer.step()
    (single,) = leaves([np.ones(3, np.float32)])
    other = Kept([single])
    other.load_state_dict(optimizer.state_dict())
    entry = other.state[single]
    assert entry["seen"] == 1 and entry["step"].item() == 2.0**24 + 1
    assert entry["means"][0].dtype == np.float32 and entry["means"][1] is None


def test_numbers_given_as_tensors():
    """`weight_decay` and `betas` are read once, `lr` at each step."""
    optimizer = Adam(leaves([np.ones(2)]), betas=(tg.Tensor([[0.5]]), tg.asarray(0.25)),
                     weight_decay=tg.Tensor([0.125]))
    group = optimizer.param_groups[0]
    assert group["betas"] == (0.5, 0.25) and group["weight_decay"] == 0.125
