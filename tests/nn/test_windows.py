"""Layers of convolution, pooling, padding and resizing with PyTorch's weights: equal, and alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen import nn

from .parity import arrays, same_layer, torch

DTYPES = st.sampled_from(["float64", "float32"])
SHAPES = {1: (2, 4, 9), 2: (2, 4, 7, 8), 3: (2, 4, 5, 6, 7)}
both = pytest.mark.parametrize("dtype", ["float64", "float32"])
each = pytest.mark.parametrize("axes", [1, 2, 3])


def rng():
    return np.random.default_rng(0)


@each
@pytest.mark.filterwarnings("ignore:Using padding=.same:UserWarning")
@given(data=st.data(), dtype=DTYPES)
def test_conv_layers(axes, data, dtype):
    draw = data.draw
    groups = draw(st.sampled_from([1, 1, 2]))
    kernel = tuple(draw(st.integers(1, 3)) for _ in range(axes))
    kwargs = {"kernel_size": draw(st.sampled_from([kernel, kernel[0]])), "groups": groups,
              "dilation": draw(st.integers(1, 2)), "bias": draw(st.booleans()),
              "padding": draw(st.sampled_from([0, 1, (2,) * axes, "valid", "same"])),
              "padding_mode": draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))}
    if kwargs["padding"] != "same":
        kwargs["stride"] = draw(st.integers(1, 2))
    channels = 2 * groups, groups * draw(st.integers(1, 2))
    x = arrays(rng(), dtype, (2, channels[0], *SHAPES[axes][2:])[draw(st.integers(0, 1)):])
    name = f"Conv{axes}d"
    ours, theirs = (getattr(lib, name)(*channels, **kwargs) for lib in (nn, torch.nn))
    assert repr(ours) == repr(theirs)
    same_layer(ours, theirs, x, dtype)


@each
@given(data=st.data(), dtype=DTYPES)
def test_conv_transpose_layers(axes, data, dtype):
    draw = data.draw
    groups, stride, dilation = (draw(st.integers(1, 2)) for _ in range(3))
    kwargs = {"kernel_size": draw(st.integers(1, 3)), "stride": stride, "dilation": dilation,
              "groups": groups, "padding": draw(st.integers(0, 1)), "bias": draw(st.booleans()),
              "output_padding": draw(st.integers(0, max(stride, dilation) - 1))}
    x = arrays(rng(), dtype, (2, 2 * groups, 4, 3, 5)[:axes + 2])
    name = f"ConvTranspose{axes}d"
    channels = 2 * groups, 3 * groups
    ours, theirs = (getattr(lib, name)(*channels, **kwargs) for lib in (nn, torch.nn))
    assert repr(ours) == repr(theirs)
    same_layer(ours, theirs, x, dtype)


@each
def test_conv_transpose_output_size(axes):
    name, shape = f"ConvTranspose{axes}d", (1, 2, 4, 4, 4)[:axes + 2]
    ours, theirs = getattr(nn, name)(2, 3, 3, 2), getattr(torch.nn, name)(2, 3, 3, 2)
    ours.load_state_dict(theirs.state_dict())
    x = rng().standard_normal(shape).astype("f4")
    for size in ((10, 9, 10)[:axes], (1, 3, 9, 10, 9)[:axes + 2]):
        a = ours(tg.Tensor(x), output_size=size).detach().numpy()
        b = theirs(torch.tensor(x), output_size=size).detach().numpy()
        np.testing.assert_allclose(a, b, atol=1e-5)
    with pytest.raises(ValueError, match=r"\(11,.* cannot be reached.*\(9,.* to \(10,"):
        ours(tg.Tensor(x), output_size=(11,) * axes)
    with pytest.raises(ValueError, match="output_size must hold"):
        ours(tg.Tensor(x), output_size=(9,) * (axes + 3))


LAYERS = [
    ("MaxPool", {"kernel_size": 2}, "123"),
    ("MaxPool", {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}, "123"),
    ("MaxPool", {"kernel_size": 2, "stride": 1, "dilation": 2}, "123"),
    ("AvgPool", {"kernel_size": 2}, "123"),
    ("AvgPool", {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True,
                 "count_include_pad": False}, "123"),
    ("AvgPool", {"kernel_size": 2, "stride": 1, "divisor_override": 3}, "23"),
    ("LPPool", {"norm_type": 2, "kernel_size": 2}, "123"),
    ("LPPool", {"norm_type": 4.0, "kernel_size": 3, "stride": 2, "ceil_mode": True}, "123"),
    ("AdaptiveAvgPool", {"output_size": 1}, "123"),
    ("AdaptiveAvgPool", {"output_size": 4}, "123"),
    ("AdaptiveMaxPool", {"output_size": 1}, "123"),
    ("AdaptiveMaxPool", {"output_size": 4}, "123"),
    *((f"{kind}Pad", {"padding": 2}, "123") for kind in
      ("Zero", "Reflection", "Replication", "Circular")),
    ("ConstantPad", {"padding": 1, "value": 3.5}, "123"),
]
OTHERS = [
    *((f"{kind}Pad1d", {"padding": (1, 3)}) for kind in
      ("Zero", "Reflection", "Replication", "Circular")),
    *((f"{kind}Pad2d", {"padding": (1, 2, 0, 3)}) for kind in
      ("Zero", "Reflection", "Replication", "Circular")),
    *((f"{kind}Pad3d", {"padding": (1, 2, 0, 3, 2, 1)}) for kind in
      ("Zero", "Reflection", "Replication", "Circular")),
    ("ZeroPad2d", {"padding": (-1, 2, 1, -2)}), ("ConstantPad1d", {"padding": (-2, 1), "value": 1}),
    ("AdaptiveAvgPool2d", {"output_size": (None, 2)}),
    ("AdaptiveMaxPool3d", {"output_size": (2, None, 9)}),
    ("Upsample", {"size": (10, 5)}), ("Upsample", {"scale_factor": 1.7}),
    ("Upsample", {"scale_factor": (2.0, 1.5), "mode": "bilinear", "align_corners": True}),
    ("Upsample", {"scale_factor": 1.5, "mode": "bicubic", "recompute_scale_factor": True}),
    ("UpsamplingNearest2d", {"scale_factor": 2}), ("UpsamplingBilinear2d", {"size": (9, 4)}),
    ("PixelShuffle", {"upscale_factor": 2}), ("PixelUnshuffle", {"downscale_factor": 1}),
    ("ChannelShuffle", {"groups": 2}),
    ("Unfold", {"kernel_size": (2, 3), "dilation": 2, "padding": 1, "stride": (2, 1)}),
]


@both
@pytest.mark.parametrize(("name", "kwargs"), OTHERS + [
    (f"{kind}{n}d", kwargs) for kind, kwargs, axes in LAYERS for n in axes])
def test_layers_without_weights(name, kwargs, dtype):
    axes = next((int(n) for n in "123" if name.endswith(f"{n}d")), 2)
    ours, theirs = getattr(nn, name)(**kwargs), getattr(torch.nn, name)(**kwargs)
    assert repr(ours) == repr(theirs)
    same_layer(ours, theirs, arrays(rng(), dtype, SHAPES[axes]), dtype)
    if axes == 1 or "Pool" in name or "Pad" in name:
        same_layer(ours, theirs, arrays(rng(), dtype, SHAPES[axes][1:]), dtype)


@both
def test_fold(dtype):
    kwargs = {"output_size": (6, 7), "kernel_size": (2, 3), "dilation": 2, "padding": 1,
              "stride": (2, 1)}
    ours, theirs = nn.Fold(**kwargs), torch.nn.Fold(**kwargs)
    assert repr(ours) == repr(theirs)
    same_layer(ours, theirs, arrays(rng(), dtype, (2, 18, 15)), dtype)
    same_layer(ours, theirs, arrays(rng(), dtype, (18, 15)), dtype)


@both
@each
@pytest.mark.parametrize("kwargs", [{"kernel_size": 2}, {"kernel_size": 3, "stride": 2},
                                    {"kernel_size": 3, "stride": 1, "padding": 1}])
def test_max_unpool_puts_the_maxima_back(axes, kwargs, dtype):
    """Windows that overlap share maxima: each of them gets the whole gradient, as in PyTorch."""
    def autoencoder(lib):
        class Both(lib.Module):
            def __init__(self):
                super().__init__()
                self.pool = getattr(lib, f"MaxPool{axes}d")(**kwargs, return_indices=True)
                self.unpool = getattr(lib, f"MaxUnpool{axes}d")(**kwargs)

            def forward(self, x):
                return self.unpool(*self.pool(x), output_size=x.shape)
        return Both()
    same_layer(autoencoder(nn), autoencoder(torch.nn), arrays(rng(), dtype, SHAPES[axes]), dtype)


@both
@pytest.mark.parametrize("axes, size", [(2, {"output_size": (3, 5)}), (2, {"output_ratio": 0.6}),
                                        (3, {"output_size": (2, 3, 1)}),
                                        (3, {"output_ratio": (0.5, 0.6, 0.7)})])
def test_fractional_max_pool_with_given_samples(axes, size, dtype):
    samples = rng().random((2, 4, axes)).astype(dtype)
    name = f"FractionalMaxPool{axes}d"
    ours = getattr(nn, name)(2, **size, _random_samples=tg.Tensor(samples))
    theirs = getattr(torch.nn, name)(2, **size, _random_samples=torch.tensor(samples))
    x = arrays(rng(), dtype, SHAPES[axes])
    same_layer(ours, theirs, x, dtype)
    ours.return_indices = theirs.return_indices = True
    places, expected = ours(tg.Tensor(x[0]))[1], theirs(torch.tensor(x[0]))[1]
    assert np.array_equal(places.numpy(), expected.numpy())


def test_fractional_max_pool_draws_windows_of_its_own():
    x = tg.randn(2, 3, 16, 16)
    layer = nn.FractionalMaxPool2d(2, output_ratio=0.7, return_indices=True)
    tg.manual_seed(1)
    y, places = layer(x)
    tg.manual_seed(1)
    assert np.array_equal(layer(x)[1].numpy(), places.numpy())
    assert not np.array_equal(layer(x)[1].numpy(), places.numpy())
    assert y.shape == (2, 3, 11, 11)
    found = np.take_along_axis(x.numpy().reshape(2, 3, -1), places.numpy().reshape(2, 3, -1), 2)
    assert np.array_equal(found.reshape(y.shape), y.numpy())


@each
def test_an_empty_batch_stays_empty(axes):
    functions = [lambda f, x: getattr(f, f"adaptive_max_pool{axes}d")(x, 4),
                 lambda f, x: getattr(f, f"lp_pool{axes}d")(x, 2, 2),
                 lambda f, x: getattr(f, f"max_unpool{axes}d")(
                     *getattr(f, f"max_pool{axes}d")(x, 2, return_indices=True), 2),
                 lambda f, x: f.interpolate(x, size=4), lambda f, x: f.pad(x, (1, 1) * axes)]
    if axes > 1:
        functions += [lambda f, x: getattr(f, f"fractional_max_pool{axes}d")(x, 2, 3),
                      lambda f, x: f.grid_sample(x, x.reshape(0, *x.shape[2:], axes),
                                                 align_corners=True)]
    for call in functions:
        x = tg.zeros((0, 3, 6, 7, 5)[:axes + 2], requires_grad=True)
        y = call(nn.functional, x)
        assert y.shape == tuple(call(torch.nn.functional, torch.zeros(x.shape)).shape)
        y.sum().backward()
        assert x.grad.shape == x.shape


def test_adaptive_pools_of_size_zero():
    for size in (0, (0, 3)):
        x = tg.zeros(2, 3, 5, 5)
        assert tg.adaptive_avg_pool2d(x, size).shape[2:] == ((0, 0) if size == 0 else size)
        y, places = tg.adaptive_max_pool2d(x, size, return_indices=True)
        assert y.shape == places.shape and y.size == 0 and places.dtype == np.int64


@pytest.mark.parametrize("call, words", [
    (lambda: nn.Conv3d(2, 4, (3, 3)), ["Conv3d", "kernel_size", "three ints"]),
    (lambda: nn.Conv1d(2, 4, 3)(tg.zeros(2, 3, 8)), ["Conv1d", "2 input channels", "got 3"]),
    (lambda: nn.Conv1d(2, 4, 3)(tg.zeros(8)), ["(N, C, L)", "(8,)"]),
    (lambda: nn.ConvTranspose3d(2, 4, 3, padding_mode="reflect"), ["padding_mode", "zeros"]),
    (lambda: nn.MaxUnpool2d(2)(tg.zeros(1, 1, 2, 2), tg.zeros(1, 1, 2, 2)), ["indices", "float32"]),
    (lambda: nn.MaxUnpool2d(2)(tg.zeros(1, 1, 1, 1), tg.full((1, 1, 1, 1), 7).astype("int64")),
     ["indices", "between 0 and 3"]),
    (lambda: nn.MaxUnpool1d(2)(tg.zeros(1, 1, 1), tg.zeros(1, 1, 1).astype("int64"), (5,)),
     ["output_size", "(5,)", "stride (2,)"]),
    (lambda: nn.FractionalMaxPool2d(2), ["output_size or output_ratio"]),
    (lambda: nn.FractionalMaxPool2d(2, output_ratio=1.5), ["output_ratio", "1.5"]),
    (lambda: nn.FractionalMaxPool2d(3, 7)(tg.zeros(1, 8, 8)), ["7 windows of 3", "8"]),
    (lambda: nn.ReflectionPad2d((1, 2)), ["ReflectionPad2d", "4 ints", "(1, 2)"]),
    (lambda: nn.PixelShuffle(3)(tg.zeros(1, 8, 2, 2)), ["8 channels", "3 squared"]),
    (lambda: nn.PixelUnshuffle(3)(tg.zeros(1, 8, 2, 2)), ["height and width", "3"]),
    (lambda: nn.ChannelShuffle(3)(tg.zeros(1, 8, 2, 2)), ["groups=3", "(1, 8, 2, 2)"]),
    (lambda: nn.Fold((4, 4), 2)(tg.zeros(1, 8, 5)), ["(N, C * 4, 9)", "(1, 8, 5)"]),
    (lambda: nn.Unfold(5)(tg.zeros(1, 1, 4, 4)), ["(4, 4)", "spans 5"]),
])
def test_errors_name_the_layer_and_what_would_fit(call, words):
    with pytest.raises(ValueError) as error:
        call()
    for word in words:
        assert word in str(error.value)


def test_lazy_layers_say_what_to_use():
    with pytest.raises(AttributeError, match=r"LazyConv2d.*nn\.Conv2d\(in_channels"):
        nn.LazyConv2d(4, 3)
