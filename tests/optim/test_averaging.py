"""Averages of weights: PyTorch's swa_utils number for number, and EMA by its definition."""

import copy
import inspect

import numpy as np
import pytest

import tinygen as tg
from tests.optim.helpers import arrays
from tests.optim.schedules import optimizer, pytorch
from tinygen import nn
from tinygen.optim import EMA, swa_utils
from tinygen.primitive import TAPE, local


def models(seed=0):
    """The same small network with batch normalisation in both libraries, in float64."""
    torch = pytest.importorskip("torch")
    made = []
    for n in (nn, torch.nn):
        made.append(n.Sequential(n.Linear(3, 5), n.BatchNorm1d(5), n.ReLU(), n.Linear(5, 2)))
    ours, theirs = made[0].to(dtype="float64"), made[1].double()
    fill(ours, theirs, seed)
    return torch, ours, theirs


def fill(ours, theirs, seed):
    rng = np.random.default_rng(seed)
    for p, q in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        values = rng.integers(0, 100, p.shape) if p.dtype.kind == "i" else rng.random(p.shape)
        p.assign_(values)
        q.copy_(q.new_tensor(values))


def assert_same(ours, theirs):
    mine, others = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(others)
    for name, value in mine.items():
        np.testing.assert_allclose(value.numpy(), others[name].numpy(), rtol=1e-12, err_msg=name)


CHOICES = {
    "mean": lambda u: {}, "mean, buffers": lambda u: dict(use_buffers=True),
    "ema": lambda u: dict(avg_fn=u.get_ema_avg_fn(0.9)),
    "ema, buffers": lambda u: dict(avg_fn=u.get_ema_avg_fn(0.5), use_buffers=True),
    "ema of lists": lambda u: dict(multi_avg_fn=u.get_ema_multi_avg_fn(0.9)),
    "ema of lists, buffers": lambda u: dict(multi_avg_fn=u.get_ema_multi_avg_fn(),
                                            use_buffers=True),
    "mean of one": lambda u: dict(avg_fn=u.get_swa_avg_fn()),
    "mean of lists": lambda u: dict(multi_avg_fn=u.get_swa_multi_avg_fn()),
    "own": lambda u: dict(avg_fn=lambda a, v, n: 0.5 * a + 0.25 * v + n),
}


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_averaged_models_are_pytorchs(choice):
    torch, ours, theirs = models()
    mine = swa_utils.AveragedModel(ours, **choice(swa_utils))
    peer = torch.optim.swa_utils.AveragedModel(theirs, **choice(torch.optim.swa_utils))
    for seed in range(1, 6):
        fill(ours, theirs, seed)
        mine.update_parameters(ours)
        peer.update_parameters(theirs)
        assert_same(mine, peer)
    x = arrays(0, [(4, 3)])[0]
    np.testing.assert_allclose(mine.eval()(tg.Tensor(x)).detach().numpy(),
                               peer.eval()(torch.tensor(x)).detach().numpy(), rtol=1e-10)
    assert all(not np.shares_memory(a.data, b.data) for a, b in zip(
        mine.parameters(), ours.parameters(), strict=True))


def test_update_bn_is_pytorchs():
    torch, ours, theirs = models()
    batches = arrays(3, [(6, 3), (4, 3), (5, 3)])
    for wrap in (lambda x: x, lambda x: (x, 3)):
        fill(ours, theirs, 8)
        ours.eval()
        theirs.eval()
        swa_utils.update_bn([wrap(tg.Tensor(b)) for b in batches], ours)
        torch.optim.swa_utils.update_bn([wrap(torch.tensor(b)) for b in batches], theirs)
        assert_same(ours, theirs)
        assert not ours.training and ours[1].momentum == 0.1
    plain = nn.Linear(3, 2)
    swa_utils.update_bn(iter([None]), plain)          # no layer to update: nothing is run


@pytest.mark.parametrize("options", [
    dict(swa_lr=0.05), dict(swa_lr=[0.5, 0.01], anneal_epochs=4, anneal_strategy="linear"),
    dict(swa_lr=0.2, anneal_epochs=0), dict(swa_lr=0.2, anneal_epochs=0, anneal_strategy="linear"),
    dict(swa_lr=0.0, anneal_epochs=1)])
def test_swalr_is_pytorchs(options):
    """After an exponential decay, as it is used; saved and continued on either side."""
    ours, (theirs, room) = optimizer(), pytorch()
    torch = pytest.importorskip("torch")
    seen, states = [], []
    for opt, r, u in ((ours, __import__("tinygen").optim.lr_scheduler, swa_utils),
                      (theirs, room, torch.optim.swa_utils)):
        first, rates = r.ExponentialLR(opt, 0.9), []
        for schedule in [first] * 5 + [u.SWALR(opt, **options)] * 12:
            opt.step()
            schedule.step()
            rates.append([g["lr"] for g in opt.param_groups])
        seen.append(rates)
        states.append(schedule.state_dict())
    np.testing.assert_allclose(*seen, rtol=1e-9, atol=1e-15)
    fresh = swa_utils.SWALR(optimizer(), **options)
    fresh.load_state_dict(states[1])
    assert fresh.last_epoch == 12 and set(states[0]) - {"_anneal_func"} <= set(states[1])


def test_arguments_are_pytorchs():
    torch = pytest.importorskip("torch")
    for name in ("AveragedModel", "SWALR", "update_bn", "get_ema_avg_fn", "get_ema_multi_avg_fn",
                 "get_swa_avg_fn", "get_swa_multi_avg_fn"):
        mine, theirs = ([(p.name, p.default) for p in inspect.signature(
            getattr(u, name)).parameters.values()] for u in (swa_utils, torch.optim.swa_utils))
        assert mine == theirs


@pytest.mark.parametrize("call, error, message", [
    (lambda: swa_utils.get_ema_avg_fn(1.5), ValueError, r"decay must be in \[0, 1\], got 1.5"),
    (lambda: swa_utils.AveragedModel(nn.Linear(1, 1), avg_fn=max, multi_avg_fn=max),
     AssertionError, r"avg_fn or multi_avg_fn, not both"),
    (lambda: swa_utils.SWALR(optimizer(), 0.1, anneal_strategy="x"), ValueError, r"got 'x'"),
    (lambda: swa_utils.SWALR(optimizer(), 0.1, -1), ValueError, r"anneal_epochs must be an integ"),
    (lambda: swa_utils.SWALR(optimizer(), [0.1]), ValueError, r"swa_lr must be one value, or one"),
    (lambda: EMA(nn.Linear(1, 1), 1.5), ValueError, r"\[EMA\] decay must be in \[0, 1\], got 1.5"),
    (lambda: EMA([]), ValueError, r"\[EMA\] there is nothing to average"),
    (lambda: EMA(tg.zeros(3)), TypeError, r"module or an iterable of tensors, got a Tensor"),
    (lambda: EMA([np.zeros(2)]), TypeError, r"parameter 0 must be a Tensor, got ndarray"),
    (lambda: EMA(nn.Linear(1, 1)).restore(), RuntimeError, r"restore\(\) without store\(\)"),
    (lambda: EMA(nn.Linear(1, 1)).copy_to(nn.Linear(1, 1, bias=False)), KeyError, r"'bias' is mis"),
    (lambda: EMA(nn.Linear(1, 1, bias=False)).copy_to(nn.Linear(1, 1)), KeyError,
     r"'bias' is not averaged here"),
    (lambda: EMA(nn.Linear(1, 1)).load_state_dict(EMA(nn.Linear(2, 1)).state_dict()), ValueError,
     r"'weight' is \(1, 2\) there and \(1, 1\) here"),
])
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


# -- EMA -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("warm_up", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ema_is_its_definition(warm_up, dtype):
    params = [tg.Tensor(v, requires_grad=True) for v in arrays(0, [(3, 2), (), (70000,)], dtype)]
    ema, expected = EMA(params, 0.6, warm_up), [p.data.copy() for p in params]
    for n in range(1, 9):
        d = min(0.6, (1 + n) / (10 + n)) if warm_up else 0.6
        for i, (p, v) in enumerate(zip(params, arrays(n, [(3, 2), (), (70000,)], dtype),
                                       strict=True)):
            p.assign_(v)
            expected[i] = d * expected[i] + (1 - d) * v
        ema.update()
    assert ema.updates == 8
    for average, e in zip(ema.averages.values(), expected, strict=True):
        assert average.dtype == dtype
        close = 1e-6 if dtype == np.float32 else 1e-14
        np.testing.assert_allclose(average.data, e, rtol=close, atol=close)


def test_a_module_with_buffers_is_averaged_and_brought_back_bit_for_bit():
    _, model, theirs = models()
    ema = EMA(model, 0.75)
    first = copy.deepcopy(model.state_dict())
    fill(model, theirs, 1)
    ema.update()
    learnt = copy.deepcopy(model.state_dict())
    with pytest.raises(ZeroDivisionError), ema.average_parameters():
        for name, value in model.state_dict().items():
            kept, now = first[name].numpy(), learnt[name].numpy()
            mean = now if value.dtype.kind == "i" else 0.75 * kept + 0.25 * now
            np.testing.assert_allclose(value.numpy(), mean, rtol=1e-12)
        raise ZeroDivisionError
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), learnt[name].numpy())
    other = copy.deepcopy(model)
    ema.copy_to(other)
    ema.copy_to()
    for a, b in zip(other.state_dict().values(), model.state_dict().values(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_stored_weights_survive_a_look_at_the_averages():
    w = tg.Tensor([1.0], requires_grad=True)
    ema = EMA([w], 0.5)
    w.assign_(2.0)
    ema.store()
    w.assign_(4.0)
    with ema.average_parameters(), ema.average_parameters():
        assert w.item() == 1.0
    assert w.item() == 4.0
    ema.restore()
    assert w.item() == 2.0


def test_ema_saved_and_continued(tmp_path):
    pytest.importorskip("safetensors")
    _, model, theirs = models()
    ema = EMA(model, 0.9, warm_up=True)
    fill(model, theirs, 1)
    ema.update()
    tg.save(ema.state_dict(), tmp_path / "ema.safetensors")
    other = EMA(copy.deepcopy(model), 0.1)
    other.load_state_dict(tg.load(tmp_path / "ema.safetensors"))
    fill(model, theirs, 2)
    other._live = ema._live
    ema.update()
    other.update()
    assert repr(other) == repr(ema) == "EMA(9 tensors, decay=0.9, warm_up=True, updates=2)"
    for name, average in ema.averages.items():
        np.testing.assert_array_equal(average.data, other.averages[name].data)


def test_an_update_can_be_recorded_and_replayed():
    """The decay of the warm-up goes on growing in a replay."""
    class Tape:
        rows = []

        def changes(self, op, inputs, attrs):
            assert op.writes

        def record(self, op, inputs, attrs, outs):
            self.rows.append((op, inputs, attrs))

    params = [tg.Tensor(v, requires_grad=True) for v in arrays(0, [(3,), (2, 2)])]
    ema, twin = EMA(params, 0.9, warm_up=True), EMA(params, 0.9, warm_up=True)
    for p in params:
        p.assign_(1.0)
    tape, before = Tape(), local.mode
    local.mode, local.tape = before | TAPE, tape
    try:
        ema.update()
    finally:
        local.mode, local.tape = before, None
    with tg.no_grad():
        for op, inputs, attrs in tape.rows:
            op(*inputs, **attrs)
    twin.update()
    twin.update()
    assert ema.updates == 2
    for name, average in ema.averages.items():
        np.testing.assert_array_equal(average.data, twin.averages[name].data)
