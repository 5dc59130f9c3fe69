"""Every layer against PyTorch's: same weights, same numbers, same gradients."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygen as tg
from tinygen import nn

torch = pytest.importorskip("torch")
from tests.nn.parity import arrays, close, same_layer  # noqa: E402

both = pytest.mark.parametrize("dtype", ["float64", "float32"])
drawn = settings(max_examples=40, deadline=None)


def rng(seed=0):
    return np.random.default_rng(seed)


ELEMENTWISE = [
    ("ReLU", {}), ("ReLU6", {}), ("LeakyReLU", {"negative_slope": 0.2}), ("ELU", {"alpha": 0.7}),
    ("SELU", {}), ("SiLU", {}), ("Mish", {}), ("GELU", {}), ("GELU", {"approximate": "tanh"}),
    ("Sigmoid", {}), ("Tanh", {}), ("Softplus", {"beta": 2.0, "threshold": 3.0}),
    ("Hardtanh", {"min_val": -0.5, "max_val": 0.25}), ("LogSigmoid", {}), ("Softsign", {}),
    ("Softmax", {"dim": 1}), ("Softmin", {"dim": -1}), ("LogSoftmax", {"dim": 0}),
    ("PReLU", {"num_parameters": 3}), ("PReLU", {}), ("Identity", {}),
    ("Flatten", {}), ("Flatten", {"start_dim": 0, "end_dim": 1}),
    ("Unflatten", {"dim": 1, "unflattened_size": (3, 1)}),
]


@both
@pytest.mark.parametrize(("name", "kwargs"), ELEMENTWISE)
def test_activations_and_shapes(name, kwargs, dtype):
    x = arrays(rng(), dtype, (4, 3, 5))
    same_layer(getattr(nn, name)(**kwargs), getattr(torch.nn, name)(**kwargs), x, dtype)


@drawn
@given(lead=st.lists(st.integers(1, 4), max_size=3), n=st.integers(1, 6), m=st.integers(1, 6),
       bias=st.booleans(), dtype=st.sampled_from(["float64", "float32"]))
def test_linear(lead, n, m, bias, dtype):
    x = arrays(rng(n), dtype, (*lead, n))
    same_layer(nn.Linear(n, m, bias=bias), torch.nn.Linear(n, m, bias=bias), x, dtype)


BATCH_NORMS = [
    ("BatchNorm1d", (6, 4), {}), ("BatchNorm1d", (3, 4, 5), {"eps": 1e-3, "momentum": 0.3}),
    ("BatchNorm2d", (3, 4, 2, 5), {}), ("BatchNorm2d", (2, 4, 3, 3), {"momentum": None}),
    ("BatchNorm2d", (2, 4, 3, 3), {"affine": False}),
    ("BatchNorm2d", (2, 4, 3, 3), {"track_running_stats": False}),
]


@both
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(("name", "shape", "kwargs"), BATCH_NORMS)
def test_batch_norm(name, shape, kwargs, train, dtype):
    """Three calls: the running statistics and the count of batches move like PyTorch's."""
    ours, theirs = getattr(nn, name)(4, **kwargs), getattr(torch.nn, name)(4, **kwargs)
    for p in theirs.parameters():
        torch.nn.init.normal_(p)
    for name_, b in theirs.named_buffers():
        if name_ != "num_batches_tracked":
            torch.nn.init.uniform_(b, 0.5, 2)
    same_layer(ours.train(train), theirs.train(train), arrays(rng(), dtype, shape), dtype, calls=3)


@both
@pytest.mark.parametrize(("shape", "kwargs"), [
    (5, {}), ((3, 5), {"eps": 1e-2}), ((2, 3, 5), {"elementwise_affine": False}),
    (5, {"bias": False})])
def test_layer_norm(shape, kwargs, dtype):
    same_layer(nn.LayerNorm(shape, **kwargs), torch.nn.LayerNorm(shape, **kwargs),
               arrays(rng(), dtype, (2, 3, 5)), dtype)


@both
@pytest.mark.parametrize("shape", [(3, 6), (2, 6, 4), (2, 6, 3, 4)])
def test_group_norm(shape, dtype):
    ours, theirs = nn.GroupNorm(3, 6), torch.nn.GroupNorm(3, 6)
    torch.nn.init.normal_(theirs.weight)
    same_layer(ours, theirs, arrays(rng(), dtype, shape), dtype)


@both
@pytest.mark.parametrize("padding_idx", [None, 2, -1])
def test_embedding(padding_idx, dtype):
    ours = nn.Embedding(7, 3, padding_idx=padding_idx)
    theirs = torch.nn.Embedding(7, 3, padding_idx=padding_idx)
    same_layer(ours, theirs, [], dtype, others=[np.array([[0, 2, 2], [6, 5, 0]])])


def test_embedding_padding_row_starts_at_zero_and_max_norm_scales_rows():
    assert not nn.Embedding(5, 3, padding_idx=1).weight[1].data.any()
    theirs = torch.nn.Embedding(5, 3, max_norm=0.5)
    ours = nn.Embedding(5, 3, max_norm=0.5)
    ours.load_state_dict(theirs.state_dict())
    index = np.array([0, 3, 3])
    a, b = ours(tg.Tensor(index)), theirs(torch.tensor(index))
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-6)
    np.testing.assert_allclose(ours.weight.data, theirs.weight.detach().numpy(), rtol=1e-6)


def test_embedding_from_pretrained_is_frozen():
    table = tg.Tensor(rng().standard_normal((4, 2)))
    layer = nn.Embedding.from_pretrained(table)
    assert not layer.weight.requires_grad
    assert np.array_equal(layer(tg.Tensor([3, 1])).data, table.data[[3, 1]])


@both
def test_a_whole_network(dtype):
    """Layers together, in training mode, to the gradient of the first weight."""
    def build(lib):
        return lib.Sequential(
            lib.Conv2d(1, 4, 3, padding=1), lib.BatchNorm2d(4), lib.LeakyReLU(0.2),
            lib.MaxPool2d(2), lib.Conv2d(4, 6, 3, padding="same", bias=False), lib.BatchNorm2d(6),
            lib.SiLU(), lib.ConvTranspose2d(6, 3, 4, 2, 1), lib.GroupNorm(3, 3), lib.GELU(),
            lib.Flatten(), lib.Linear(3 * 64, 16), lib.LayerNorm(16), lib.Tanh(),
            lib.Linear(16, 5), lib.LogSoftmax(dim=1))
    same_layer(build(nn), build(torch.nn), arrays(rng(), dtype, (3, 1, 8, 8)), dtype)


@both
def test_gradient_penalty(dtype):
    """WGAN-GP's penalty: the gradient of a gradient's norm, with respect to every weight."""
    def build(lib):
        return lib.Sequential(
            lib.Conv2d(2, 4, 3, 2, 1), lib.LeakyReLU(0.2), lib.Conv2d(4, 4, 3, padding=1),
            lib.BatchNorm2d(4), lib.GELU(), lib.AvgPool2d(2), lib.Flatten(), lib.LayerNorm(16),
            lib.SiLU(), lib.Linear(16, 8), lib.Tanh(), lib.Linear(8, 1))
    ours, theirs = build(nn).to(dtype), build(torch.nn).to(getattr(torch, dtype))
    ours.load_state_dict(theirs.state_dict())
    (x,) = arrays(rng(), dtype, (3, 2, 8, 8))
    a, b = tg.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    (ga,) = tg.autograd.grad_of(ours(a).sum(), a, create_graph=True)
    (gb,) = torch.autograd.grad(theirs(b).sum(), b, create_graph=True)
    close(ga, gb, dtype, "gradient")
    pa = ((((ga * ga).sum(axis=(1, 2, 3)) + 1e-12).sqrt() - 1) ** 2).mean()
    pb = ((((gb * gb).sum(dim=(1, 2, 3)) + 1e-12).sqrt() - 1) ** 2).mean()
    close(pa, pb, dtype, "penalty")
    pa.backward()
    pb.backward()
    yours = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        if yours[name].grad is not None:
            close(p.grad, yours[name].grad, dtype, f"gradient of {name}")
    close(a.grad, b.grad, dtype, "gradient of x")
