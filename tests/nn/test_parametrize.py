"""Weight, spectral and orthogonal parametrizations against PyTorch's, over steps of training."""

import copy
import pickle

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn
from tinygen.jit import capture
from tinygen.nn.utils import parametrizations, parametrize
from tinygen.nn.utils.normed import power_iteration

torch = pytest.importorskip("torch")
from tests.nn.parity import close  # noqa: E402

LAYERS = {
    "Linear": (lambda lib: lib.Linear(4, 3), (5, 4)),
    "Conv2d": (lambda lib: lib.Conv2d(2, 3, 3), (2, 2, 5, 4)),
    "ConvTranspose2d": (lambda lib: lib.ConvTranspose2d(2, 3, 2), (2, 2, 3, 3)),
}
old = "old"
CASES = [
    (old, "weight_norm", {}), (old, "weight_norm", {"dim": 1}), (old, "weight_norm", {"dim": None}),
    (old, "spectral_norm", {}), (old, "spectral_norm", {"n_power_iterations": 3, "dim": 1}),
    ("new", "weight_norm", {}), ("new", "weight_norm", {"dim": 1}),
    ("new", "weight_norm", {"dim": None}), ("new", "spectral_norm", {}),
    ("new", "spectral_norm", {"n_power_iterations": 2, "dim": 1}),
]


def made(age, name, kwargs, layer):
    """The same parametrized layer of both libraries, in float64, with PyTorch's numbers."""
    pair = []
    for lib, utils in ((nn, nn.utils), (torch.nn, torch.nn.utils)):
        module = LAYERS[layer][0](lib).double()
        rule = getattr(utils if age == old else utils.parametrizations, name)
        pair.append(rule(module, **kwargs))
    ours, theirs = pair
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def steps(ours, theirs, x, count=3):
    """SGD on both; the states agree after every step, the outputs in evaluation too."""
    weight = np.random.default_rng(3)
    for _ in range(count):
        a, b = ours(tg.Tensor(x)), theirs(torch.tensor(x))
        close(a, b, "float64", "output")
        v = weight.standard_normal(a.shape)
        ours.zero_grad()
        theirs.zero_grad()
        (a * a * tg.Tensor(v)).sum().backward()
        (b * b * torch.tensor(v)).sum().backward()
        mine, yours = dict(ours.named_parameters()), dict(theirs.named_parameters())
        assert list(mine) == list(yours)
        for name, p in yours.items():
            close(mine[name].grad, p.grad, "float64", f"gradient of {name}")
            mine[name].assign_(mine[name].data - 0.05 * mine[name].grad.data)
            p.data -= 0.05 * p.grad
        state = theirs.state_dict()
        assert set(ours.state_dict()) == set(state)
        for name, value in ours.state_dict().items():
            close(value, state[name], "float64", name)
    before = {k: v.data.copy() for k, v in ours.state_dict().items()}
    close(ours.eval()(tg.Tensor(x)), theirs.eval()(torch.tensor(x)), "float64", "in evaluation")
    assert all(np.array_equal(v.data, before[k]) for k, v in ours.state_dict().items())


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(("age", "name", "kwargs"), CASES)
def test_three_steps_of_training(age, name, kwargs, layer):
    ours, theirs = made(age, name, kwargs, layer)
    steps(ours, theirs, np.random.default_rng(0).standard_normal(LAYERS[layer][1]))
    assert repr(ours).split("(")[0] == repr(theirs).split("(")[0]


@pytest.mark.parametrize(("age", "name", "kwargs"), CASES)
def test_removing_leaves_the_computed_weight(age, name, kwargs):
    ours, theirs = made(age, name, kwargs, "Linear")
    x = np.random.default_rng(0).standard_normal((5, 4))
    steps(ours, theirs, x, 1)
    expected = ours(tg.Tensor(x)).data
    if age == old:
        getattr(nn.utils, f"remove_{name}")(ours)
    else:
        parametrize.remove_parametrizations(ours, "weight")
    assert type(ours) is nn.Linear and isinstance(ours.weight, nn.Parameter)
    assert sorted(ours.state_dict()) == ["bias", "weight"]
    np.testing.assert_allclose(ours(tg.Tensor(x)).data, expected, rtol=1e-12)


ORTHOGONAL = [(shape, how, trivial) for shape in [(4, 4), (5, 3), (3, 5), (2, 4, 3)]
              for how in ("householder", "cayley", "matrix_exp", None) for trivial in (True, False)]


class Holder:
    """A module with one weight, of either library."""

    def __new__(cls, lib, weight):
        class Holding(lib.Module):
            def __init__(self):
                super().__init__()
                self.weight = lib.Parameter(weight)

            def forward(self, x):
                return x * self.weight
        return Holding()


@pytest.mark.parametrize(("shape", "how", "trivial"), ORTHOGONAL)
def test_orthogonal(shape, how, trivial):
    start = np.random.default_rng(0).standard_normal(shape)
    options = {"orthogonal_map": how, "use_trivialization": trivial}
    ours = parametrizations.orthogonal(Holder(nn, tg.Tensor(start)), **options)
    theirs = torch.nn.utils.parametrizations.orthogonal(
        Holder(torch.nn, torch.tensor(start)), **options)
    if not trivial:
        close(ours.weight, theirs.weight, "float64", "the start")
    ours.load_state_dict(theirs.state_dict())
    steps(ours, theirs, np.random.default_rng(1).standard_normal(shape))
    q = ours.weight.detach().numpy()
    q = q if shape[-2] >= shape[-1] else q.swapaxes(-1, -2)
    eye = np.broadcast_to(np.eye(q.shape[-1]), (*q.shape[:-2], *[q.shape[-1]] * 2))
    np.testing.assert_allclose(q.swapaxes(-1, -2) @ q, eye, atol=1e-12)


def test_orthogonal_starts_at_an_orthogonal_weight_and_can_be_assigned_to():
    q = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]
    layer = parametrizations.orthogonal(Holder(nn, tg.Tensor(q)), orthogonal_map="cayley")
    np.testing.assert_allclose(layer.weight.data, q, atol=1e-14)
    layer.weight = tg.Tensor(q.T.copy())
    np.testing.assert_allclose(layer.weight.data, q.T, atol=1e-14)


# -- the power iteration ---------------------------------------------------------------------------


@pytest.mark.parametrize("u_first", [True, False])
def test_power_iteration_finds_the_largest_singular_vectors(u_first):
    rng = np.random.default_rng(0)
    w, u, v = (tg.Tensor(rng.standard_normal(s)) for s in [(4, 6), (4,), (6,)])
    before = w.data.copy()
    a, b = power_iteration(w, u, v, steps=200, eps=1e-12, u_first=u_first)
    left, values, right = np.linalg.svd(w.data)
    assert abs(abs(u.data @ left[:, 0]) - 1) < 1e-10 and abs(abs(v.data @ right[0]) - 1) < 1e-10
    assert abs(u.data @ w.data @ v.data - values[0]) < 1e-10
    assert np.array_equal(a.data, u.data) and a.data is not u.data
    assert np.array_equal(b.data, v.data) and b.data is not v.data
    assert power_iteration.writes == (1, 2) and np.array_equal(w.data, before)


def test_a_replayed_step_moves_the_vectors_like_an_eager_one():
    eager = parametrizations.spectral_norm(nn.Linear(4, 3).double())
    captured = copy.deepcopy(eager)
    x = tg.Tensor(np.random.default_rng(0).standard_normal((5, 4)))

    def step(layer, x):
        y = layer(x)
        return y.detach(), *tg.autograd.grad_of((y ** 3.0).sum(), list(layer.parameters()))
    program = capture(lambda x: step(captured, x), x)
    step(eager, x)
    for _ in range(2):
        for a, b in zip(program.replay(x), step(eager, x), strict=True):
            np.testing.assert_allclose(a.data, b.data, rtol=1e-12)


# -- parametrizations in general -------------------------------------------------------------------


class Symmetric(nn.Module):
    def forward(self, x):
        return tg.triu(x) + tg.triu(x, 1).T


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x

    def right_inverse(self, x):
        return x / 2


def test_two_parametrizations_one_after_the_other():
    layer = nn.Linear(3, 3)
    start = layer.weight.data.copy()
    parametrize.register_parametrization(layer, "weight", Symmetric())
    parametrize.register_parametrization(layer, "weight", Doubled())
    expected = 2 * (np.triu(start) + np.triu(start, 1).T)
    np.testing.assert_allclose(layer.weight.data, expected, rtol=1e-6)
    assert list(layer.state_dict()) == ["bias", "parametrizations.weight.original"]
    assert repr(layer).startswith("ParametrizedLinear(")
    assert parametrize.is_parametrized(layer, "weight")
    assert not parametrize.is_parametrized(layer, "bias")
    assert parametrize.type_before_parametrizations(layer) is nn.Linear
    with pytest.raises(RuntimeError, match="Symmetric has no right_inverse"):
        layer.weight = tg.zeros((3, 3))
    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
    assert np.array_equal(layer.weight.data, start) and type(layer) is nn.Linear


def test_a_buffer_two_tensors_of_one_module_and_assignment():
    layer = nn.BatchNorm1d(3)
    for name in ("weight", "running_var"):
        parametrize.register_parametrization(layer, name, Doubled())
    np.testing.assert_allclose(layer.running_var.data, 1)
    layer.weight = tg.Tensor([2.0, 4.0, 6.0])
    assert layer.parametrizations["weight"].original.data.tolist() == [1, 2, 3]
    parametrize.remove_parametrizations(layer, "weight")
    assert layer.weight.data.tolist() == [2, 4, 6]
    assert "running_var" not in dict(layer.named_buffers(recurse=False))
    assert not parametrize.is_parametrized(layer, "weight")
    assert parametrize.is_parametrized(layer, "running_var")


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_whole_and_separate(clone):
    layer = parametrizations.weight_norm(nn.Linear(3, 2))
    twin = clone(layer)
    parametrize.remove_parametrizations(layer, "weight")
    assert parametrize.is_parametrized(twin, "weight")
    assert np.array_equal(twin.weight.data, layer.weight.data)
    twin.parametrizations["weight"].original0.assign_(0)
    assert layer.weight.data.any() and not twin.weight.data.any()


def test_cached_computes_once():
    layer = parametrize.register_parametrization(nn.Linear(3, 3), "weight", Doubled())
    assert layer.weight is not layer.weight
    with parametrize.cached():
        first = layer.weight
        assert layer.weight is first
    assert layer.weight is not first


def test_transfer_shares_modules_and_originals():
    one = parametrize.register_parametrization(nn.Linear(3, 3), "weight", Doubled())
    two = parametrize.transfer_parametrizations_and_params(one, nn.Linear(3, 3))
    assert two.parametrizations["weight"].original is one.parametrizations["weight"].original
    assert np.array_equal(one.weight.data, two.weight.data)


class Rows(nn.Module):
    def forward(self, x):
        return x[:1]


@pytest.mark.parametrize(("call", "kind", "words"), [
    (lambda m: parametrize.register_parametrization(m, "weights", Doubled()), ValueError,
     "no parameter, buffer or parametrized tensor 'weights'"),
    (lambda m: parametrize.register_parametrization(m, "weight", Rows()), ValueError,
     "makes float32 (1, 3) of float32 (2, 3)"),
    (lambda m: parametrize.remove_parametrizations(m, "weight"), ValueError,
     "has no parametrization of 'weight'"),
    (lambda m: parametrize.remove_parametrizations(parametrizations.weight_norm(m), "weight",
                                                   leave_parametrized=False), ValueError,
     "made of 2 tensors"),
    (lambda m: parametrizations.spectral_norm(m, "gain"), ValueError, "no parameter or buffer"),
    (lambda m: parametrizations.spectral_norm(m, n_power_iterations=0), ValueError, "at least 1"),
    (lambda m: parametrizations.weight_norm(m, dim=2), ValueError, "dim must be None, -1"),
    (lambda m: parametrizations.orthogonal(m, "bias"), ValueError, "a matrix or a batch"),
    (lambda m: parametrizations.orthogonal(m, orthogonal_map="qr"), ValueError, "got 'qr'"),
    (lambda m: nn.utils.weight_norm(nn.utils.weight_norm(m)), ValueError, "no parameter 'weight'"),
    (lambda m: nn.utils.spectral_norm(m, n_power_iterations=0), ValueError, "at least 1"),
    (lambda m: nn.utils.remove_weight_norm(m), ValueError, "has no weight_norm"),
    (lambda m: nn.utils.remove_spectral_norm(m), ValueError, "has no spectral_norm"),
])
def test_bad_input(call, kind, words):
    with pytest.raises(kind) as caught:
        call(nn.Linear(3, 2))
    assert words in str(caught.value)


def test_unsafe_allows_another_shape():
    layer = parametrize.register_parametrization(nn.Linear(3, 2), "weight", Rows(), unsafe=True)
    assert layer.weight.shape == (1, 3)


# -- batch norm folded into the layer before it ----------------------------------------------------


@pytest.mark.parametrize("layer", LAYERS)
def test_fusion_with_batch_norm(layer):
    make, shape = LAYERS[layer]
    conv = make(nn).double()
    bn = (nn.BatchNorm1d if layer == "Linear" else nn.BatchNorm2d)(3).double()
    for p in [*bn.parameters(), bn.running_mean, bn.running_var]:
        nn.init.uniform_(p, 0.5, 2)
    x = tg.Tensor(np.random.default_rng(0).standard_normal(shape))
    if layer == "Linear":
        with pytest.raises(ValueError, match="call eval"):
            nn.utils.fuse_linear_bn_eval(conv, bn)
        fused = nn.utils.fuse_linear_bn_eval(conv.eval(), bn.eval())
    else:
        fused = nn.utils.fuse_conv_bn_eval(conv.eval(), bn.eval(), layer == "ConvTranspose2d")
    np.testing.assert_allclose(fused(x).data, bn(conv(x)).data, rtol=1e-10, atol=1e-12)
    assert fused.weight is not conv.weight
