"""conv2d and conv_transpose2d against PyTorch, and against their own definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import tinygen as tg
from tinygen.autograd import grad_of

from .against_torch import DTYPES, LAYOUTS, SEEDS, array, same, torch

few = settings(max_examples=40, deadline=None)
ints = st.integers


each = pytest.mark.parametrize("axes", [1, 2, 3])


def several(draw, axes, low, high):
    """One int for all axes, or one for each."""
    one = st.integers(low, high)
    return draw(one | st.tuples(*[one] * axes))


def on_each(value, axes):
    return (value,) * axes if isinstance(value, int) else value


@each
@few
@given(data=st.data(), dtype=DTYPES, layout=LAYOUTS, seed=SEEDS)
def test_conv_agrees_with_torch(axes, data, dtype, layout, seed):
    draw = data.draw
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    n, c, o = draw(ints(1, 3)), groups * draw(ints(1, 4 - axes // 2)), groups * draw(ints(1, 3))
    kernel = tuple(draw(ints(1, 4 if axes < 3 else 3)) for _ in range(axes))
    how = {"stride": several(draw, axes, 1, 3), "padding": several(draw, axes, 0, 3),
           "dilation": several(draw, axes, 1, 2), "groups": groups}
    size = tuple(max(1, d * (k - 1) + 1 - 2 * p) + draw(ints(0, 6 if axes < 3 else 2))
                 for d, k, p in zip(on_each(how["dilation"], axes), kernel,
                                    on_each(how["padding"], axes)))
    rng = np.random.default_rng(seed)
    arrays = [array(rng, (n, c, *size), dtype, layout),
              array(rng, (o, c // groups, *kernel), dtype)]
    if draw(st.booleans()):
        arrays.append(array(rng, (o,), dtype))
    name = f"conv{axes}d"
    same(lambda x, w, b=None: getattr(tg, name)(x, w, b, **how),
         lambda x, w, b=None: getattr(torch.nn.functional, name)(x, w, b, **how), *arrays,
         seed=seed)


@each
@few
@given(data=st.data(), dtype=DTYPES, layout=LAYOUTS, seed=SEEDS)
def test_conv_transpose_agrees_with_torch(axes, data, dtype, layout, seed):
    draw = data.draw
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    n, c, o = draw(ints(1, 3)), groups * draw(ints(1, 4 - axes // 2)), draw(ints(1, 3))
    kernel = tuple(draw(ints(1, 4 if axes < 3 else 3)) for _ in range(axes))
    stride, dilation = (tuple(draw(ints(1, 3)) for _ in range(axes)) for _ in range(2))
    how = {"stride": stride, "dilation": dilation, "groups": groups,
           "padding": tuple(draw(ints(0, 3)) for _ in range(axes)),
           "output_padding": tuple(draw(ints(0, max(s, d) - 1)) for s, d in zip(stride, dilation))}
    size = tuple(draw(ints(1, 6 if axes < 3 else 3)) for _ in range(axes))
    for m, s, d, k, p, e in zip(size, stride, dilation, kernel, how["padding"],
                                how["output_padding"]):
        assume((m - 1) * s - 2 * p + d * (k - 1) + 1 + e > 0)
    rng = np.random.default_rng(seed)
    arrays = [array(rng, (n, c, *size), dtype, layout), array(rng, (c, o, *kernel), dtype)]
    if draw(st.booleans()):
        arrays.append(array(rng, (o * groups,), dtype))
    name = f"conv_transpose{axes}d"
    same(lambda x, w, b=None: getattr(tg, name)(x, w, b, **how),
         lambda x, w, b=None: getattr(torch.nn.functional, name)(x, w, b, **how), *arrays,
         seed=seed)


@pytest.mark.parametrize("shape, weight, stride, padding, groups", [
    ((5, 3, 32, 32), (16, 3, 4, 4), 2, 1, 1),       # few channels: an image
    ((5, 24, 16, 16), (48, 24, 4, 4), 2, 1, 1),     # DCGAN
    ((3, 64, 28, 28), (64, 64, 3, 3), 1, 1, 1),     # more than one tile
    ((4, 16, 12, 12), (32, 16, 1, 1), 1, 0, 1),     # 1x1
    ((4, 16, 13, 13), (32, 16, 1, 1), 2, 0, 1),
    ((4, 16, 12, 12), (16, 1, 3, 3), 1, 1, 16),     # depthwise
    ((4, 16, 12, 12), (32, 1, 5, 5), 2, 2, 16),     # depthwise, two outputs per channel
    ((4, 12, 9, 9), (24, 4, 3, 3), 1, 1, 3),
    ((6, 40, 8, 8), (10, 40, 8, 8), 1, 0, 1),       # the kernel is the image
])
@pytest.mark.parametrize("layout", ["C", "channels-last"])
def test_sizes_that_take_other_paths(shape, weight, stride, padding, groups, layout):
    rng = np.random.default_rng(3)
    x, w = array(rng, shape, "float32", layout), array(rng, weight, "float32")
    b = array(rng, weight[:1], "float32")
    how = {"stride": stride, "padding": padding, "groups": groups}
    same(lambda *a: tg.conv2d(*a, **how),
         lambda *a: torch.nn.functional.conv2d(*a, **how), x, w, b, tolerance=1e-4)
    y = array(rng, tg.conv2d(x, w, **how).shape, "float32", layout)
    b = array(rng, (shape[1],), "float32")
    same(lambda *a: tg.conv_transpose2d(*a, **how),
         lambda *a: torch.nn.functional.conv_transpose2d(*a, **how), y, w, b, tolerance=1e-4)


@pytest.mark.filterwarnings("ignore:Using padding=.same:UserWarning")
@pytest.mark.parametrize("kernel", [(4,), (3, 3), (2, 5), (4, 1), (2, 3, 4)])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_named_paddings(kernel, padding):
    rng = np.random.default_rng(0)
    axes = len(kernel)
    x = array(rng, (2, 3, 7, 11, 8)[:axes + 2], "float64")
    w = array(rng, (4, 3, *kernel), "float64")
    how = {"padding": padding, "dilation": (1, 2, 1)[-axes:]}
    same(lambda *a: getattr(tg, f"conv{axes}d")(*a, **how),
         lambda *a: getattr(torch.nn.functional, f"conv{axes}d")(*a, **how), x, w)


@each
def test_one_image_without_a_batch(axes):
    rng = np.random.default_rng(0)
    x = array(rng, (3, 7, 8, 4)[:axes + 1], "float64")
    w = array(rng, (3, 4) + (3,) * axes, "float64")
    conv, transpose = f"conv{axes}d", f"conv_transpose{axes}d"
    same(lambda x, w: getattr(tg, conv)(x, w.swapaxes(0, 1)),
         lambda x, w: getattr(torch.nn.functional, conv)(x, w.transpose(0, 1)), x, w)
    same(lambda *a: getattr(tg, transpose)(*a, stride=2),
         lambda *a: getattr(torch.nn.functional, transpose)(*a, stride=2), x, w)


@pytest.mark.parametrize("how", [{}, {"stride": 2, "padding": 1}, {"dilation": 2, "padding": 3}])
def test_one_volume_kernel_per_channel(how):
    rng = np.random.default_rng(0)
    x, w, b = (array(rng, s, "float64") for s in ((2, 4, 6, 7, 5), (4, 1, 3, 2, 3), (4,)))
    same(lambda *a: tg.conv3d(*a, **how, groups=4),
         lambda *a: torch.nn.functional.conv3d(*a, **how, groups=4), x, w, b)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("kernel, stride, padding", [(1, 10, 2), (2, 10, 3), (1, 7, 4), (2, 5, 4)])
def test_strides_that_leave_only_padding(groups, kernel, stride, padding):
    rng = np.random.default_rng(0)
    x = array(rng, (2, 3, 3, 4), "float64")
    w, b = array(rng, (3, 3 // groups, kernel, kernel), "float64"), array(rng, (3,), "float64")
    how = {"stride": stride, "padding": padding, "groups": groups}
    same(lambda *a: tg.conv2d(*a, **how),
         lambda *a: torch.nn.functional.conv2d(*a, **how), x, w, b)


def test_a_long_signal_is_cut_into_tiles():
    rng = np.random.default_rng(0)
    x, w = array(rng, (2, 16, 9000), "float32"), array(rng, (16, 16, 9), "float32")
    same(lambda *a: tg.conv1d(*a, padding=4),
         lambda *a: torch.nn.functional.conv1d(*a, padding=4), x, w, second=False)


def test_an_empty_batch_gives_zero_gradients():
    x = tg.zeros((0, 3, 8, 8), requires_grad=True)
    w = tg.ones((4, 3, 3, 3), requires_grad=True)
    y = tg.conv2d(x, w, padding=1)
    assert y.shape == (0, 4, 8, 8)
    y.sum().backward()
    assert x.grad.shape == x.shape and not w.grad.data.any()
    assert tg.conv_transpose2d(x, tg.ones((3, 4, 3, 3)), stride=2).shape == (0, 4, 17, 17)


def test_third_derivative():
    """The gradient of a gradient penalty's gradient, along one direction, against differences."""
    rng = np.random.default_rng(1)
    x, w = (rng.standard_normal(s) for s in [(2, 2, 5, 5), (3, 2, 3, 3)])
    direction = rng.standard_normal(w.shape)

    def penalty_gradient(weight):
        x_, w_ = tg.Tensor(x, requires_grad=True), tg.Tensor(weight, requires_grad=True)
        y = tg.conv2d(x_, w_, stride=2, padding=1)
        (g,) = grad_of((y * y * y).sum(), [x_], create_graph=True)
        (dw,) = grad_of((g * g).sum(), [w_], create_graph=True)
        return w_, (dw * dw).sum()

    w_, value = penalty_gradient(w)
    value.backward()
    h = 1e-5
    up, down = (penalty_gradient(w + s * h * direction)[1].item() for s in (1, -1))
    assert float((w_.grad.data * direction).sum()) == pytest.approx((up - down) / (2 * h), rel=1e-6)


@each
def test_results_are_channels_last_and_stay_so(axes):
    size, kernel = (10, 10, 6)[:axes], (3,) * axes
    conv, transpose = getattr(tg, f"conv{axes}d"), getattr(tg, f"conv_transpose{axes}d")
    y = conv(tg.randn(4, 8, *size), tg.randn(16, 8, *kernel), padding=1)
    z = transpose(tg.relu(y), tg.randn(16, 6, *kernel), stride=2, padding=1)
    for t in (y, tg.relu(y), z):
        assert np.moveaxis(t.data, 1, -1).flags.c_contiguous


@pytest.mark.parametrize("call, words", [
    (lambda: tg.conv2d(tg.zeros(1, 3, 8, 8), tg.zeros(4, 2, 3, 3)),
     ["conv2d", "(1, 3, 8, 8)", "(4, 2, 3, 3)", "takes 2", "input has 3"]),
    (lambda: tg.conv2d(tg.zeros(1, 3, 2, 8), tg.zeros(4, 3, 3, 3)), ["height 2", "spans 3"]),
    (lambda: tg.conv1d(tg.zeros(1, 3, 8), tg.zeros(4, 3, 9)), ["conv1d", "length 8", "spans 9"]),
    (lambda: tg.conv3d(tg.zeros(1, 3, 2, 8, 8), tg.zeros(4, 3, 3, 3, 3)), ["conv3d", "depth 2"]),
    (lambda: tg.conv3d(tg.zeros(1, 3, 8, 8, 8), tg.zeros(4, 3, 3, 3, 3), stride=(1, 2)),
     ["stride", "three ints", "(1, 2)"]),
    (lambda: tg.conv2d(tg.zeros(3, 8), tg.zeros(4, 3, 3, 3)), ["input must be", "(3, 8)"]),
    (lambda: tg.conv2d(tg.zeros(1, 3, 8, 8), tg.zeros(4, 3, 3)), ["weight must have 4 axes"]),
    (lambda: tg.conv2d(tg.zeros(1, 3, 8, 8), tg.zeros(4, 3, 3, 3), tg.zeros(3)),
     ["bias", "(3,)", "(4,)"]),
    (lambda: tg.conv2d(tg.zeros(1, 4, 8, 8), tg.zeros(5, 2, 3, 3), groups=2), ["5", "2 groups"]),
    (lambda: tg.conv2d(tg.zeros(1, 3, 8, 8), tg.zeros(4, 3, 3, 3), stride=0), ["stride", "0"]),
    (lambda: tg.conv2d(tg.zeros(1, 3, 8, 8), tg.zeros(4, 3, 3, 3), padding=-1), ["padding"]),
    (lambda: tg.conv2d(tg.zeros(1, 3, 8, 8), tg.zeros(4, 3, 3, 3), padding="full"), ["'full'"]),
    (lambda: tg.conv2d(tg.zeros(1, 3, 8, 8), tg.zeros(4, 3, 3, 3), padding="same", stride=2),
     ["'same'", "stride 1"]),
    (lambda: tg.conv_transpose2d(tg.zeros(1, 3, 8, 8), tg.zeros(4, 3, 3, 3)),
     ["conv_transpose2d", "takes 4", "input has 3"]),
    (lambda: tg.conv_transpose2d(tg.zeros(1, 3, 8, 8), tg.zeros(3, 4, 3, 3), output_padding=1),
     ["output_padding", "(1, 1)", "stride"]),
    (lambda: tg.conv_transpose2d(tg.zeros(1, 3, 1, 1), tg.zeros(3, 4, 2, 2), padding=1),
     ["nothing is left"]),
])
def test_errors_name_the_argument_and_the_sizes(call, words):
    with pytest.raises(ValueError) as error:
        call()
    for word in words:
        assert word in str(error.value)
