"""The adaptive softmax, containers, sparse starts, and names that are refused."""

import re
from collections import OrderedDict

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn
from tinygen.jit import capture
from tinygen.nn.refused import REFUSED

torch = pytest.importorskip("torch")
from tests.nn.parity import close  # noqa: E402


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("cutoffs", "div_value", "bias"), [
    ([3], 4.0, False), ([2, 5, 9], 2.0, True)])
def test_adaptive_log_softmax(cutoffs, div_value, bias, dtype):
    args = (16, 12, cutoffs, div_value, bias)
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(*args).to(getattr(torch, dtype))
    ours = nn.AdaptiveLogSoftmaxWithLoss(*args).to(dtype)
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).standard_normal((24, 16)).astype(dtype)
    target = np.arange(24) % 12
    a, b = tg.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    mine, yours = ours(a, tg.Tensor(target)), theirs(b, torch.tensor(target))
    close(mine.output, yours.output, dtype, "output")
    close(mine.loss, yours.loss, dtype, "loss")
    (mine.loss + (mine.output * mine.output).sum()).backward()
    (yours.loss + (yours.output * yours.output).sum()).backward()
    close(a.grad, b.grad, dtype, "gradient of x")
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        close(p.grad, q.grad, dtype, f"gradient of {name}")
    close(ours.log_prob(a), theirs.log_prob(b), dtype, "log_prob")
    assert np.array_equal(ours.predict(a).data, theirs.predict(b).numpy())
    one = ours(a.detach()[3], tg.Tensor(7))
    assert one.output.shape == ()
    assert one.output.item() == pytest.approx(ours.log_prob(a).data[3, 7], rel=1e-5)
    np.testing.assert_allclose(np.exp(ours.log_prob(a).data).sum(1), 1, rtol=1e-5)


def test_adaptive_log_softmax_is_replayed_with_other_targets():
    layer = nn.AdaptiveLogSoftmaxWithLoss(8, 6, [2, 4]).double()
    x = tg.Tensor(np.random.default_rng(0).standard_normal((4, 8)))
    program = capture(lambda x, t: layer(x, t), x, tg.Tensor([0, 1, 2, 4]))
    other = tg.Tensor([5, 3, 3, 0])
    np.testing.assert_allclose(program.replay(x, other)[0].data, layer(x, other).output.data,
                               rtol=1e-12)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 6, [4, 2]), "cutoffs must be increasing"),
    (lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 6, [2, 6]), "between 1 and n_classes - 1 = 5"),
    (lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 6, []), "cutoffs must be increasing"),
    (lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 6, [2])(tg.ones((3, 8)), tg.Tensor([0, 6, 1])),
     "there are classes 0 to 5"),
    (lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 6, [2])(tg.ones((3, 7)), tg.Tensor([0, 5, 1])),
     "expected (N, 8) or (8,)"),
    (lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 6, [2])(tg.ones((3, 8)), tg.Tensor([0, 5])),
     "needs targets (3,), got (2,)"),
    (lambda: nn.init.sparse_(tg.empty((3,)), 0.5), "[sparse_] needs a matrix"),
    (lambda: nn.init.sparse_(tg.empty((3, 3)), 1.5), "sparsity must be in [0, 1]"),
    (lambda: nn.Sequential(nn.ReLU()) * 0, "a positive integer, got 0"),
])
def test_bad_input(call, words):
    with pytest.raises(ValueError) as caught:
        call()
    assert words in str(caught.value)


def test_sparse_columns():
    w = nn.init.sparse_(tg.empty((50, 40)), 0.33, 0.5, generator=tg.Generator(0)).data
    assert ((w == 0).sum(axis=0) == 17).all()                   # 16.5, rounded up
    assert len({tuple(column) for column in (w == 0).T}) > 30    # columns differ in where
    assert abs(w[w != 0].std() - 0.5) < 0.05


# -- containers ----------------------------------------------------------------------------------


def test_sequential_arithmetic():
    for lib in (nn, torch.nn):
        a, b = lib.Sequential(lib.ReLU(), lib.Tanh()), lib.Sequential(lib.Sigmoid())
        assert [type(m).__name__ for m in a + b] == ["ReLU", "Tanh", "Sigmoid"]
        assert [m is a[0] for m in 2 * a] == [True, False, True, False]
        assert len(a * 3) == 6
        assert a.insert(1, lib.SiLU()) is a and type(a[1]).__name__ == "SiLU"
        before = a
        a += b
        a *= 2
        assert a is before and len(a) == 8 and a[4] is a[0]
        c = lib.ModuleList([lib.ReLU()])
        c += [lib.Tanh()]
        assert isinstance(c, lib.ModuleList) and [type(m).__name__ for m in reversed(c)] == [
            "Tanh", "ReLU"]
    with pytest.raises(TypeError, match="takes another Sequential"):
        nn.Sequential() + nn.ModuleList()
    with pytest.raises(TypeError, match="takes an integer"):
        nn.Sequential() * 1.5


def dictionaries():
    ours = nn.ParameterDict({"b": tg.ones((2,)), "a": tg.zeros((3,))})
    theirs = torch.nn.ParameterDict({"b": torch.ones(2), "a": torch.zeros(3)})
    return (ours, tg.ones((1,)), nn), (theirs, torch.ones(1), torch.nn)


def test_parameter_dict_does_what_pytorchs_does():
    told = []
    for d, one, lib in dictionaries():
        log = [list(d), [*reversed(d)], "a" in d, "x" in d, len(d)]
        assert isinstance(d["a"], lib.Parameter)
        d["c"] = one
        d.setdefault("d", one)
        d.setdefault("a", one)
        log += [list(d.keys()), [tuple(v.shape) for v in d.values()], d.get("zz", 5)]
        log += [d.popitem()[0], tuple(d.pop("c").shape), [k for k, _ in d.items()]]
        d["plain"] = 3
        log += [d["plain"], list(d), sorted(d.state_dict())]
        e = d | {"z": one, "a": one}
        log += [list(e), tuple(e["a"].shape), tuple(d["a"].shape), list({"q": one} | d)]
        d |= OrderedDict([("n", one), ("m", one)])
        log += [list(d), list(d.copy()), list(d.fromkeys(["u", "v"]))]
        assert d.copy()["a"] is d["a"]
        del d["n"]
        log += [list(d)]
        d.clear()
        log += [len(d), list(d.parameters())]
        told.append(log)
    assert told[0] == told[1]


def test_parameter_dict_refuses():
    d = nn.ParameterDict()
    for call, kind, words in [
            (lambda: d["x"], KeyError, "no entry 'x'"), (lambda: d.popitem(), KeyError, "empty"),
            (lambda: d.update(3), TypeError, "mapping or pairs"),
            (lambda: d.__setitem__(3, tg.ones(1)), TypeError, "names must be strings"),
            (lambda: d.__setitem__("values", tg.ones(1)), KeyError, "exists already"),
            (lambda: d.__setitem__("a.b", tg.ones(1)), KeyError, "no '.'")]:
        with pytest.raises(kind, match=words):
            call()


@pytest.mark.parametrize("name", REFUSED)
def test_layers_that_are_not_offered_say_what_to_use(name):
    assert not hasattr(nn, name)
    with pytest.raises(AttributeError) as caught:
        getattr(nn, name)
    assert str(caught.value) == f"tinygen.nn has no {name!r}; {REFUSED[name]}"


def test_what_refusals_recommend_exists():
    """Every nn.NAME in the texts; and nothing of PyTorch's is missing without a word."""
    for words in REFUSED.values():
        for name in re.findall(r"nn\.(\w+)", words):
            assert hasattr(nn, name), words
    public = {name for name in torch.nn.__dict__ if name[0].isupper()}
    assert not {name for name in public if not hasattr(nn, name)} - set(REFUSED)
