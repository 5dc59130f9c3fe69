"""functional_call: a module as a function of its parameters, against PyTorch's."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn
from tinygen.nn.utils.stateless import functional_call


def net(lib=nn):
    return lib.Sequential(lib.Linear(3, 4), lib.BatchNorm1d(4), lib.Tanh(), lib.Linear(4, 2))


def test_given_tensors_take_the_place_of_the_modules_own():
    torch = pytest.importorskip("torch")
    ours, theirs = net().double(), net(torch.nn).double()
    rng = np.random.default_rng(0)
    given = {name: rng.standard_normal(p.shape) for name, p in ours.named_parameters()}
    stats = {"1.running_mean": np.zeros(4), "1.running_var": np.ones(4)}
    x = rng.standard_normal((5, 3))
    before = {k: v.data.copy() for k, v in ours.state_dict().items()}
    a = {k: tg.Tensor(v, requires_grad=True) for k, v in given.items()}
    b = {k: torch.tensor(v, requires_grad=True) for k, v in given.items()}
    sa = {k: tg.Tensor(v) for k, v in stats.items()}
    sb = {k: torch.tensor(v) for k, v in stats.items()}
    y = functional_call(ours, (a, sa), tg.Tensor(x))
    z = torch.func.functional_call(theirs, (b, sb), torch.tensor(x))
    np.testing.assert_allclose(y.data, z.detach().numpy(), rtol=1e-10)
    (y * y).sum().backward()
    (z * z).sum().backward()
    for name in given:
        np.testing.assert_allclose(a[name].grad.data, b[name].grad.numpy(), rtol=1e-9, atol=1e-12)
    for name in stats:       # what the call writes in place, it writes into the given tensors
        np.testing.assert_allclose(sa[name].data, sb[name].numpy(), rtol=1e-10)
    for name, value in ours.state_dict().items():
        if name != "1.num_batches_tracked":
            assert np.array_equal(value.data, before[name])
    assert all(p.grad is None for p in ours.parameters())


def test_the_hessian_of_a_layer():
    layer = nn.Linear(2, 1, bias=False)
    x = tg.Tensor([[1.0, 2.0], [3.0, -1.0]])
    h = tg.hessian(lambda w: (functional_call(layer, {"weight": w}, (x,)) ** 2).sum())
    np.testing.assert_allclose(h(layer.weight.detach()).data.reshape(2, 2), 2 * x.data.T @ x.data)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 2, bias=False)
        self.second = nn.Linear(2, 2, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x, scale=1.0):
        return self.second(self.first(x)) * scale


def test_tied_weights_are_replaced_together():
    model, w, x = Tied(), 2 * tg.eye(2), tg.eye(2)
    both = functional_call(model, {"first.weight": w}, (x,), {"scale": 3.0})
    assert both.tolist() == [[12, 0], [0, 12]]
    own = model.first.weight.detach().data
    one = functional_call(model, {"first.weight": w}, (x,), tie_weights=False)
    np.testing.assert_allclose(one.detach().data, 2 * own.T, rtol=1e-6)
    with pytest.raises(ValueError, match="shares its tensor"):
        functional_call(model, {"first.weight": w, "second.weight": x}, (x,))


def test_the_module_comes_back_after_an_error():
    layer = nn.Linear(2, 2)
    weight = layer.weight
    with pytest.raises(ValueError):
        functional_call(layer, {"weight": tg.ones((2, 5))}, (tg.ones((1, 2)),))
    assert layer.weight is weight


@pytest.mark.parametrize(("given", "options", "kind", "words"), [
    ({"weights": tg.ones(1)}, {}, KeyError, "has no .'weights'"),
    ({"weight": tg.ones((2, 2))}, {"strict": True}, KeyError, "also has .'bias'"),
    (({"weight": tg.ones(1)}, {"weight": tg.ones(1)}), {}, ValueError, "given twice"),
    ({"weight": 1.0}, {}, TypeError, "must be a tensor, got float"),
    ("weight", {}, TypeError, "must be a mapping"),
])
def test_bad_input(given, options, kind, words):
    with pytest.raises(kind, match=words):
        functional_call(nn.Linear(2, 2), given, (tg.ones((1, 2)),), **options)


def test_clipping_with_a_norm_that_is_known():
    torch = pytest.importorskip("torch")
    ours, theirs = nn.Parameter(np.zeros(3)), torch.nn.Parameter(torch.zeros(3).double())
    ours.grad, theirs.grad = tg.Tensor(np.array([3.0, 0, 4])), torch.tensor([3.0, 0, 4]).double()
    total = nn.utils.get_total_norm([ours.grad])
    nn.utils.clip_grads_with_norm_(ours, 2.0, total)
    torch.nn.utils.clip_grads_with_norm_(theirs, 2.0, torch.nn.utils.get_total_norm([theirs.grad]))
    np.testing.assert_allclose(ours.grad.data, theirs.grad.numpy(), rtol=1e-12)
    with pytest.raises(ValueError, match="max_norm must be at least 0"):
        nn.utils.clip_grads_with_norm_(ours, -1.0, total)
