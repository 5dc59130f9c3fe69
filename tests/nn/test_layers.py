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


@st.composite
def conv_arguments(draw):
    """(channels, kwargs, image) that fit together."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 3)))
    dilation = (draw(st.integers(1, 2)), draw(st.integers(1, 3)))
    kwargs = {"kernel_size": kernel, "dilation": dilation, "groups": groups,
              "stride": draw(st.sampled_from([1, 2, (1, 3)])), "bias": draw(st.booleans()),
              "padding": draw(st.sampled_from([0, 1, (2, 1), "valid", "same"])),
              "padding_mode": draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))}
    if kwargs["padding"] == "same":
        kwargs["stride"] = 1
    channels = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    image = tuple(max(d * (k - 1) + 1, 6) + draw(st.integers(0, 4))
                  for k, d in zip(kernel, dilation, strict=True))
    return channels, kwargs, image


@drawn
@given(arguments=conv_arguments(), n=st.integers(1, 3),
       dtype=st.sampled_from(["float64", "float32"]))
def test_conv2d(arguments, n, dtype):
    channels, kwargs, image = arguments
    x = arrays(rng(), dtype, (n, channels[0], *image))
    same_layer(nn.Conv2d(*channels, **kwargs), torch.nn.Conv2d(*channels, **kwargs), x, dtype)


@drawn
@given(groups=st.integers(1, 2), kernel=st.integers(1, 4), stride=st.integers(1, 3),
       padding=st.integers(0, 1), dilation=st.integers(1, 2), bias=st.booleans(),
       data=st.data(), dtype=st.sampled_from(["float64", "float32"]))
def test_conv_transpose2d(groups, kernel, stride, padding, dilation, bias, data, dtype):
    kwargs = {"kernel_size": (kernel, 3), "stride": (stride, 2), "padding": (padding, 1),
              "dilation": dilation, "groups": groups, "bias": bias,
              "output_padding": (data.draw(st.integers(0, max(stride, dilation) - 1)),
                                 data.draw(st.integers(0, 1)))}
    x = arrays(rng(), dtype, (2, 2 * groups, 4, 5))
    same_layer(nn.ConvTranspose2d(2 * groups, 3 * groups, **kwargs),
               torch.nn.ConvTranspose2d(2 * groups, 3 * groups, **kwargs), x, dtype)


def test_conv_transpose2d_output_size():
    ours, theirs = nn.ConvTranspose2d(2, 3, 3, 2), torch.nn.ConvTranspose2d(2, 3, 3, 2)
    ours.load_state_dict(theirs.state_dict())
    x = rng().standard_normal((1, 2, 4, 4)).astype("f4")
    a = ours(tg.Tensor(x), output_size=(10, 9))
    b = theirs(torch.tensor(x), output_size=(10, 9)).detach().numpy()
    np.testing.assert_allclose(a.detach().numpy(), b, atol=1e-5)
    with pytest.raises(ValueError, match=r"\(11, 9\) cannot be reached.*\(9, 9\) to \(10, 10\)"):
        ours(tg.Tensor(x), output_size=(11, 9))


@both
def test_one_image_without_batch_axis(dtype):
    x = arrays(rng(), dtype, (3, 6, 6))
    same_layer(nn.Conv2d(3, 4, 3), torch.nn.Conv2d(3, 4, 3), x, dtype)
    same_layer(nn.ConvTranspose2d(3, 4, 3), torch.nn.ConvTranspose2d(3, 4, 3), x, dtype)
    same_layer(nn.MaxPool2d(2), torch.nn.MaxPool2d(2), x, dtype)


POOLS = [
    ("MaxPool2d", {"kernel_size": 2}), ("MaxPool2d", {"kernel_size": (3, 2), "stride": 2,
                                                      "padding": 1, "ceil_mode": True}),
    ("MaxPool2d", {"kernel_size": 2, "stride": 1, "dilation": 2}),
    ("AvgPool2d", {"kernel_size": 2}), ("AvgPool2d", {"kernel_size": 3, "stride": 2, "padding": 1}),
    ("AvgPool2d", {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True,
                   "count_include_pad": False}),
    ("AdaptiveAvgPool2d", {"output_size": 1}), ("AdaptiveAvgPool2d", {"output_size": (3, 4)}),
    ("AdaptiveAvgPool2d", {"output_size": (None, 2)}),
    ("ZeroPad2d", {"padding": (1, 2, 0, 3)}), ("ZeroPad2d", {"padding": 2}),
    ("Upsample", {"scale_factor": 2}), ("Upsample", {"size": (10, 5)}),
    ("Upsample", {"scale_factor": 1.7}),
    ("Upsample", {"scale_factor": 2, "mode": "bilinear"}),
    ("Upsample", {"size": (9, 4), "mode": "bilinear", "align_corners": True}),
    ("Upsample", {"scale_factor": 1.5, "mode": "bilinear", "align_corners": False}),
]


@both
@pytest.mark.parametrize(("name", "kwargs"), POOLS)
def test_pooling_padding_resizing(name, kwargs, dtype):
    x = arrays(rng(), dtype, (2, 3, 7, 8))
    same_layer(getattr(nn, name)(**kwargs), getattr(torch.nn, name)(**kwargs), x, dtype)


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
