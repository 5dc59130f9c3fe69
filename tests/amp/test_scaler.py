"""GradScaler beside PyTorch's, with overflows, in recordings, and on gradients that underflow."""

import math

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn, optim
from tinygen.primitive import PRIMITIVES


def test_the_scale_follows_pytorchs():
    """A script of steps with and without overflow: the same scales, weights and state."""
    torch = pytest.importorskip("torch")
    options = {"init_scale": 8.0, "growth_factor": 4.0, "backoff_factor": 0.25,
               "growth_interval": 2}
    start = np.float32([[1.0, -2.0, 0.5]])
    w, v = tg.Tensor(start, requires_grad=True), torch.tensor(start, requires_grad=True)
    ours, theirs = tg.GradScaler("cpu", **options), torch.amp.GradScaler("cpu", **options)
    mine = optim.AdamW([w], lr=0.1)
    other = torch.optim.AdamW([v], lr=0.1)
    for factor in (1.0, 2.0, math.inf, 1.0, math.nan, 3.0, 1.0, 1.0):
        for p, optimizer, scaler in ((w, mine, ours), (v, other, theirs)):
            optimizer.zero_grad()
            scaler.scale((p * p).sum() * factor).backward()
            scaler.step(optimizer)
            scaler.update()
        assert ours.get_scale() == theirs.get_scale()
        assert ours.state_dict() == theirs.state_dict()
        np.testing.assert_allclose(w.data, v.detach().numpy(), rtol=1e-5)
    assert mine.state[w]["step"].item() == other.state[v]["step"].item() == 6
    again = tg.GradScaler("cpu")
    again.load_state_dict(theirs.state_dict())
    assert again.state_dict() == ours.state_dict()


def test_several_optimizers_share_a_scale():
    a, b = (tg.Tensor([1.0], requires_grad=True) for _ in range(2))
    one, two = optim.SGD([a], lr=1.0), optim.SGD([b], lr=1.0)
    scaler = tg.GradScaler("cpu", init_scale=16.0)
    scaler.scale((a * 0.25).sum() + (b * math.inf).sum()).backward()
    scaler.unscale_(one)
    assert a.grad.tolist() == [0.25]                 # as if the loss had not been scaled
    nn.utils.clip_grad_norm_([a], 0.125)
    scaler.step(one)
    scaler.step(two)
    assert a.tolist() == [pytest.approx(0.875)] and b.tolist() == [1.0]
    scaler.update()
    assert scaler.get_scale() == 8.0
    scaler.update(32.0)
    assert scaler.get_scale() == 32.0


def test_small_gradients_survive_float16():
    """1e-8 is 0 in float16; times 65536 it is not."""
    pytest.importorskip("ml_dtypes")
    x = tg.Tensor(np.full((1, 4), 1e-4, np.float32))
    found = []
    for scaler in (tg.GradScaler("cpu", enabled=False), tg.GradScaler("cpu")):
        layer = nn.Linear(4, 4, bias=False)
        optimizer = optim.SGD(layer.parameters(), lr=0.0)
        with tg.autocast("cpu", dtype=tg.float16):
            loss = layer(x).astype("float32").sum() * 1e-4
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        found.append(layer.weight.grad.data)
    assert (found[0] == 0).all()
    np.testing.assert_allclose(found[1], 1e-8, rtol=1e-2)


def test_backward_inside_of_scaling_is_scaled():
    w = tg.Tensor([2.0], requires_grad=True)
    scaler = tg.GradScaler("cpu", init_scale=4.0)
    with scaler.scaling():
        (w * 3).sum().backward()
        assert w.grad.tolist() == [12.0]
        (g,) = tg.autograd.grad((w * w).sum(), [w], create_graph=True)
        assert g.tolist() == [4.0]                   # gradients that a loss is made of are not
        w.grad = None
        g.sum().backward()
        assert w.grad.tolist() == [8.0]
    w.grad = None
    (w * 3).sum().backward()
    assert w.grad.tolist() == [3.0]


@pytest.mark.parametrize("make", [lambda p: optim.AdamW(p, lr=0.1, amsgrad=True),
                                  lambda p: optim.SGD(p, lr=0.1, momentum=0.9)])
def test_a_recorded_step_is_passed_over_without_looking_at_values(make):
    """The decision is taken by the recorded program: one program for good and bad steps."""
    def build():
        w = tg.Tensor([[1.0, -2.0, 0.5]], requires_grad=True)
        b = tg.Tensor([0.5], requires_grad=True)
        optimizer, scaler = make([w, b]), tg.GradScaler("cpu", init_scale=8.0, growth_interval=2)

        def step(factor):
            optimizer.zero_grad()
            loss = ((w * w).sum() + b.sum()) * factor
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            return loss.detach()
        return [w, b], optimizer, scaler, step
    (ours, o1, s1, eager), (theirs, o2, s2, step) = build(), build()
    recorded = tg.jit(step)
    for factor in (1.0, math.inf, 2.0, math.nan, 1.0, 1.0, 1.0):
        f = tg.Tensor(np.float32(factor))
        with np.errstate(all="ignore"):
            eager(f)
            recorded(f)
        assert s1.get_scale() == s2.get_scale()
        for p, q in zip([*ours, *o1.changes()], [*theirs, *o2.changes()], strict=True):
            np.testing.assert_allclose(p.data, q.data, rtol=1e-6)
    assert len(recorded.programs) == 1 and s1.get_scale() == 4.0


def test_what_cannot_be_meant():
    w = tg.Tensor([1.0], requires_grad=True)
    optimizer, scaler = optim.SGD([w], lr=0.1), tg.GradScaler("cpu")
    with pytest.raises(RuntimeError, match="no parameter of the optimizer has a gradient"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match=r"before unscale_\(\) or step\(\)"):
        scaler.update()
    scaler.scale(w.sum()).backward()
    with pytest.raises(RuntimeError, match="closure"):
        scaler.step(optimizer, lambda: None)
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="has been called"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="has been called"):
        scaler.step(optimizer)
    narrow = tg.Tensor([1.0], dtype="float16", requires_grad=True)
    narrow.sum().backward()
    with pytest.raises(ValueError, match="keep parameters in float32"):
        scaler.unscale_(optim.SGD([narrow], lr=0.1))
    with pytest.raises(TypeError, match="takes tensors, got str"):
        scaler.scale("loss")
    with pytest.raises(KeyError, match="_growth_tracker"):
        scaler.load_state_dict({"scale": 1.0})
    for bad in ({"growth_factor": 1.0}, {"backoff_factor": 1.5}, {"init_scale": 0.0},
                {"growth_interval": 0}):
        with pytest.raises(ValueError, match=r"\[GradScaler\]"):
            tg.GradScaler("cpu", **bad)


def test_off_it_does_nothing():
    w = tg.Tensor([1.0], requires_grad=True)
    optimizer = optim.SGD([w], lr=0.5)
    if tg.backend.unavailable_reason():
        with pytest.warns(RuntimeWarning, match=r"GradScaler\('cuda'\) does nothing"):
            scaler = tg.GradScaler()
    else:
        scaler = tg.GradScaler(enabled=False)
    loss = w.sum()
    assert scaler.scale(loss) is loss and not scaler.is_enabled() and scaler.get_scale() == 1.0
    with scaler.scaling():
        loss.backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert w.tolist() == [0.5] and scaler.state_dict() == {}
    assert tg.GradScaler("cpu").scale({"a": [loss]})["a"][0].item() == 65536.0


def test_the_primitives():
    """In place on arrays of several shapes; the last three arguments of `restore_where` are old."""
    grads = [np.float32([[2, 4]]), np.float32(6), np.zeros((0, 3), np.float32)]
    tensors = [tg.Tensor(g) for g in grads]
    assert PRIMITIVES["unscale"](tg.Tensor(2.0), *tensors).item() == 0
    assert [t.tolist() for t in tensors] == [[[1, 2]], 3, []]
    assert PRIMITIVES["unscale"](tg.Tensor(2.0), tg.Tensor([1.0, math.inf])).item() == 1
    old = [tg.Tensor(g) for g in grads]
    PRIMITIVES["restore_where"](tg.Tensor(0.0), *tensors, *old, count=3)
    assert tensors[0].tolist() == [[1, 2]]
    PRIMITIVES["restore_where"](tg.Tensor(1.0), *tensors, *old, count=3)
    assert [t.tolist() for t in tensors] == [[[2, 4]], 6, []]
    scale, steps = tg.Tensor(2.0 ** 127), tg.Tensor(np.int32(0))
    with np.errstate(over="ignore"):
        PRIMITIVES["update_scale"](scale, steps, tg.Tensor(0.0), growth=2.0, backoff=0.5,
                                   interval=1)
    assert scale.item() == 2.0 ** 127 and steps.item() == 0        # not beyond float32
