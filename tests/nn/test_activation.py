"""Activations against PyTorch's: at random points and on their kinks, to the second derivative."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen import nn
from tinygen.jit import capture
from tinygen.nn import functional as F

torch = pytest.importorskip("torch")
import torch.nn.functional as T  # noqa: E402

from tests.nn.parity import arrays, same_function, same_layer  # noqa: E402
from tests.ops.against_torch import same  # noqa: E402

LAYERS = [
    ("ReLU", {}), ("ReLU6", {}), ("SELU", {}), ("SiLU", {}), ("Mish", {}), ("Hardswish", {}),
    ("Sigmoid", {}), ("Tanh", {}), ("LogSigmoid", {}), ("Softsign", {}),
    ("Tanhshrink", {}), ("LeakyReLU", {}), ("LeakyReLU", {"negative_slope": -0.5}),
    ("RReLU", {"lower": 0.1, "upper": 0.5}), ("ELU", {}), ("ELU", {"alpha": 2.5}), ("CELU", {}),
    ("CELU", {"alpha": 2.5}), ("CELU", {"alpha": -0.5}), ("GELU", {}),
    ("GELU", {"approximate": "tanh"}), ("Hardtanh", {}),
    ("Hardtanh", {"min_val": -0.5, "max_val": 2.5}), ("Threshold", {"threshold": 0.5, "value": 3}),
    ("Hardshrink", {}), ("Hardshrink", {"lambd": 1.5}), ("Softshrink", {}),
    ("Softshrink", {"lambd": 0.0}), ("Softplus", {"beta": 2.0, "threshold": 3.0}),
    ("GLU", {"dim": 1}), ("Softmax", {"dim": 1}), ("Softmin", {"dim": -1}),
    ("LogSoftmax", {"dim": 0}), ("Softmax2d", {}), ("PReLU", {}), ("PReLU", {"num_parameters": 4}),
]
SMOOTH = {"GLU", "Softmax", "Softmin", "LogSoftmax", "Softmax2d", "PReLU"}
layers = pytest.mark.parametrize(("name", "kwargs"), LAYERS,
                                 ids=lambda v: v if isinstance(v, str) else ",".join(
                                     f"{k}={x}" for k, x in v.items()) or "default")


@layers
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_layers_on_grids_that_hold_the_kinks(name, kwargs, dtype):
    """Multiples of 1/2 from -4 to 4: every limit, threshold and corner is among them."""
    x = np.random.default_rng(0).integers(-8, 9, (3, 4, 2, 3)).astype(dtype) / 2
    ours, theirs = getattr(nn, name)(**kwargs).eval(), getattr(torch.nn, name)(**kwargs).eval()
    same_layer(ours, theirs, [x], dtype)
    assert repr(ours) == repr(theirs)


@layers
def test_second_derivatives(name, kwargs):
    x = np.random.default_rng(1).uniform(-4, 4, (2, 4, 3))
    ours, theirs = getattr(nn, name)(**kwargs).eval(), getattr(torch.nn, name)(**kwargs).eval()
    same(ours.double(), theirs.double(), x)


@given(shape=st.lists(st.integers(0, 3), max_size=4).map(tuple), kind=st.sampled_from(
    [(n, k) for n, k in LAYERS if n not in SMOOTH]), dtype=st.sampled_from(["float64", "float32"]))
def test_any_shape(shape, kind, dtype):
    name, kwargs = kind
    same_layer(getattr(nn, name)(**kwargs).eval(), getattr(torch.nn, name)(**kwargs).eval(),
               arrays(np.random.default_rng(2), dtype, shape), dtype)


@pytest.mark.parametrize("name", ["relu6", "hardtanh", "hardsigmoid", "hardswish", "hardshrink",
                                  "softshrink", "celu", "tanhshrink", "mish", "softsign"])
def test_nan_stays_nan_and_infinities_saturate(name):
    with np.errstate(invalid="ignore"):
        ours = getattr(F, name)(tg.Tensor([np.nan, 1e30, -1e30])).numpy()
    np.testing.assert_allclose(
        ours, getattr(T, name)(torch.tensor([np.nan, 1e30, -1e30])).numpy(), rtol=1e-6)


def test_hardsigmoid():
    """PyTorch's float64 gradient has a sixth in float32: 3e-8 away from ours."""
    x = np.arange(-8, 9) / 2
    same_layer(nn.Hardsigmoid(), torch.nn.Hardsigmoid(), [x.astype("f4")], "float32")
    same(F.hardsigmoid, T.hardsigmoid, x, tolerance=1e-7, second=False)
    t = tg.Tensor(x, requires_grad=True)
    F.hardsigmoid(t).sum().backward()
    np.testing.assert_allclose(t.grad.numpy(), (np.abs(x) < 3) / 6, rtol=1e-15)


def test_prelu_function_with_one_weight_or_one_per_channel():
    rng = np.random.default_rng(0)
    for shape, n in [((), 1), ((4,), 1), ((2, 3), 3), ((2, 3, 4), 3), ((2, 3, 4), 1), ((5,), 1)]:
        same(F.prelu, T.prelu, rng.standard_normal(shape), rng.standard_normal(n))
    same_function(lambda x, w: F.prelu(x, w.reshape(())), lambda x, w: T.prelu(x, w.reshape(())),
                  arrays(rng, "float64", (3, 2), (1,)), "float64")


@given(ndim=st.integers(0, 4), name=st.sampled_from(["Softmax", "Softmin", "LogSoftmax"]))
def test_softmax_without_a_dim_takes_pytorchs_and_warns(ndim, name):
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 2)[:ndim])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = getattr(torch.nn, name)()(torch.tensor(x)).numpy()
    with pytest.warns(UserWarning, match="no dim was given"):
        np.testing.assert_allclose(getattr(nn, name)()(tg.Tensor(x)).numpy(), expected, rtol=1e-12)


def test_softmax_in_another_dtype():
    x = np.random.default_rng(0).standard_normal((3, 4)).astype("f4")
    for name in ("softmax", "softmin", "log_softmax"):
        a = getattr(F, name)(tg.Tensor(x), 1, dtype="float64")
        b = getattr(T, name)(torch.tensor(x), 1, dtype=torch.float64)
        assert a.dtype == np.float64
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)


def test_swiglu_is_the_formula():
    x = np.random.default_rng(0).standard_normal((3, 2, 8))
    for dim in (-1, 2):
        same(lambda x, d=dim: F.swiglu(x, d),
             lambda x: T.silu(x.chunk(2, -1)[0]) * x.chunk(2, -1)[1], x)
    assert repr(nn.SwiGLU()) == "SwiGLU(dim=-1)"
    net = nn.Sequential(nn.Linear(4, 12), nn.SwiGLU(), nn.Linear(6, 4))
    assert net(tg.zeros((2, 4))).shape == (2, 4)


def test_hardtanh_takes_its_older_names():
    layer = nn.Hardtanh(min_value=-0.5, max_value=2.5)
    assert layer(tg.Tensor([-1.0, 1.0, 3.0])).tolist() == [-0.5, 1.0, 2.5]


def test_rrelu_draws_a_slope_per_element():
    x = tg.Tensor(-np.ones((200, 100)), requires_grad=True)
    y = nn.RReLU(0.2, 0.6, generator=tg.Generator(0))(x)
    slopes = -y.detach().numpy().ravel()
    assert 0.2 <= slopes.min() and slopes.max() < 0.6
    assert abs(slopes.mean() - 0.4) < 5 * 0.4 / math.sqrt(12 * slopes.size)
    assert len(np.unique(slopes)) > 19000
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy().ravel(), slopes, rtol=1e-12)
    again = F.rrelu(x, 0.2, 0.6, training=True, generator=tg.Generator(0))
    assert np.array_equal(again.detach().numpy(), y.detach().numpy())
    assert F.rrelu(tg.Tensor([2.0, -2.0]), 0.2, 0.6, training=True).data[0] == 2
    same_function(lambda x: F.rrelu(x, 0.3, 0.3, True), lambda x: T.rrelu(x, 0.3, 0.3, True),
                  arrays(np.random.default_rng(0), "float32", (3, 4)), "float32")


@pytest.mark.parametrize("hard", [False, True])
def test_gumbel_softmax_gradient_is_that_of_the_soft_draw(hard):
    logits = np.random.default_rng(0).standard_normal((5, 4))
    x = tg.Tensor(logits, requires_grad=True)
    y = F.gumbel_softmax(x, 0.7, hard, 1e-10, 0, generator=tg.Generator(3))
    soft = F.gumbel_softmax(x, 0.7, dim=0, generator=tg.Generator(3)).detach().numpy()
    v = np.random.default_rng(1).standard_normal((5, 4))
    y.backward(v)
    expected = soft * (v - (v * soft).sum(0)) / 0.7
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-9, atol=1e-12)
    if hard:
        np.testing.assert_allclose(y.detach().numpy(), soft == soft.max(0), atol=1e-12)


# -- in place --------------------------------------------------------------------------------------

IN_PLACE = [("relu_", ()), ("threshold_", (0.5, 2.0)), ("hardtanh_", (-0.5, 1.0)),
            ("leaky_relu_", (0.3,)), ("elu_", (0.5,)), ("celu_", (0.5,)), ("selu_", ()),
            ("rrelu_", (0.1, 0.5, False))]


@pytest.mark.parametrize(("name", "args"), IN_PLACE)
def test_underscore_forms_change_their_input(name, args):
    x = np.random.default_rng(0).standard_normal((3, 4))
    a = tg.Tensor(x)
    assert getattr(F, name)(a, *args) is a
    np.testing.assert_allclose(a.numpy(), getattr(T, name)(torch.tensor(x), *args).numpy(),
                               rtol=1e-12)

    def through(f, leaf):
        h = leaf * 2.0
        assert getattr(f, name)(h, *args) is h
        return h * h
    same(lambda x: through(F, x), lambda x: through(T, x), x)
    with pytest.raises(RuntimeError, match=rf"\[{name}\] a leaf that requires grad"):
        getattr(F, name)(tg.Tensor(x, requires_grad=True), *args)


def test_a_value_that_was_used_before_it_was_overwritten_is_noticed():
    x = tg.randn(3, requires_grad=True)
    h = x * 2.0
    y = h * h
    F.relu_(h)
    with pytest.raises(RuntimeError, match="modified"):
        y.sum().backward()


@pytest.mark.parametrize(("call", "words"), [
    (lambda x: F.glu(x, 0), "[glu] axis 0 of (3, 4) has an odd length"),
    (lambda x: F.swiglu(x, 0), "[swiglu] axis 0 of (3, 4)"),
    (lambda x: F.celu(x, 0.0), "[celu] alpha must not be 0"),
    (lambda x: nn.CELU(0.0), "[CELU] alpha"),
    (lambda x: F.softshrink(x, -1.0), "[softshrink] lambd must not be negative"),
    (lambda x: F.rrelu(x, 0.5, 0.3), "[rrelu] lower must not be above upper"),
    (lambda x: nn.RReLU(0.5, 0.3), "[RReLU] lower"),
    (lambda x: F.prelu(x, tg.ones((3,))), "3 elements, input (3, 4) has 4 channels"),
    (lambda x: F.prelu(x, tg.ones((3, 1))), "must have one axis"),
    (lambda x: nn.Softmax2d()(x), "[Softmax2d] expected (N, C, H, W)"),
    (lambda x: F.gumbel_softmax(x, 0), "[gumbel_softmax] tau must be positive"),
    (lambda x: nn.Hardtanh(1.0, 1.0), "min_val must be below max_val"),
])
def test_bad_input(call, words):
    with pytest.raises(ValueError) as caught:
        call(tg.ones((3, 4)))
    assert words in str(caught.value)


def test_random_slopes_are_drawn_anew_in_every_replay():
    layer = nn.RReLU(generator=tg.Generator(0))
    program = capture(lambda x: layer(x), tg.Tensor(-np.ones(50)))
    one, two = (program.replay(tg.Tensor(-np.ones(50))).numpy() for _ in range(2))
    assert not np.array_equal(one, two)
