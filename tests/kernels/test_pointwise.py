"""Elementwise kernels and dropout: NumPy's numbers, in the memory order that came in."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import threads
from tinygen.primitive import KERNELS, PRIMITIVES, kernel_status

pytest.importorskip("numba")
if "registered" not in kernel_status():
    pytest.skip(f"kernels: {kernel_status()}", allow_module_level=True)

from tinygen.kernels.cpu import pointwise

ATTRS = {"leaky_relu": {"slope": 0.2}, "elu": {"alpha": 1.3},
         "softplus": {"beta": 2.0, "threshold": 4.0}}
UNARY = ["exp", "expm1", "log", "log1p", "tanh", "sigmoid", "log_sigmoid", "silu", "mish", "erf",
         "gelu_exact", "gelu_tanh", "sqrt", "rsqrt", "relu", "leaky_relu", "elu", "softplus"]
GRADIENTS = [name for name in UNARY if f"{name}_grad" in PRIMITIVES]
ARITHMETIC = ["add", "subtract", "multiply", "divide"]
both = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def drawn(shape, dtype, seed=0):
    """Numbers away from 0, with both signs unless the seed is 0."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.1, 3, shape) * (rng.choice([-1, 1], shape) if seed else 1)
    return np.asarray(x, dtype)


LAYOUTS = {
    "flat": lambda dtype, seed=0: drawn((1027,), dtype, seed),
    "column-major": lambda dtype, seed=0: drawn((31, 7), dtype, seed).T,
    "channels-last": lambda dtype, seed=0: drawn((2, 3, 5, 4), dtype, seed).transpose(0, 3, 1, 2),
    "one image": lambda dtype, seed=0: drawn((1, 3, 5, 4), dtype, seed).transpose(0, 3, 1, 2),
    "a number": lambda dtype, seed=0: drawn((), dtype, seed),
    "one": lambda dtype, seed=0: drawn((1, 1), dtype, seed),
    "nothing": lambda dtype, seed=0: drawn((3, 0, 2), dtype, seed),
}
layouts = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())


def agree(name, dtype, *inputs, lead=None, **attrs):
    """The kernel's result, which is NumPy's in value, type and memory order."""
    y = KERNELS[name, np.ndarray](*inputs, **attrs)
    expected = PRIMITIVES[name].fn(np, *inputs, **attrs)
    assert y is not NotImplemented
    assert (y.shape, y.dtype) == (np.shape(expected), expected.dtype)
    if y.size > 1:
        assert y.strides == (inputs[0] if lead is None else lead).strides
    tolerance = 2e-6 if dtype == np.float32 else 1e-14
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)
    return y


@both
@layouts
def test_functions_agree_with_numpy(layout, dtype):
    for name in UNARY:
        agree(name, dtype, layout(dtype), **ATTRS.get(name, {}))


@both
@layouts
def test_gradients_agree_with_numpy(layout, dtype):
    x = layout(dtype, 1)
    for name in GRADIENTS:
        attrs = ATTRS.get(name, {})
        number = np.broadcast_to(np.asarray(0.5, dtype), x.shape)       # the gradient of a sum
        scattered = np.repeat(layout(dtype, 2)[..., None], 2, -1)[..., 0]
        for g in (layout(dtype, 2), number, scattered):
            agree(f"{name}_grad", dtype, g, x, lead=x, **attrs)


@both
@layouts
def test_arithmetic_agrees_with_numpy(layout, dtype):
    x = layout(dtype, 1)
    for name in ARITHMETIC:
        for y in (layout(dtype, 2), 2.5, 3, np.asarray(0.7, dtype)):
            agree(name, dtype, x, y)


def test_what_does_not_fit_is_declined():
    x = drawn((4, 6), np.float32)
    declined = {
        pointwise.NOT_FLOAT: (x.astype(np.float16), x.astype(np.float16)),
        pointwise.GAPS: (x[:, ::2], x[:, ::2]),
        pointwise.SHAPES: (x, x[:1]),
        pointwise.TYPES: (x, x.astype(np.float64)),
    }
    for reason, inputs in declined.items():
        assert KERNELS["add", np.ndarray].function(*inputs) == reason
    assert KERNELS["add", np.ndarray].function(x, x.T.copy().T) == pointwise.GAPS
    assert KERNELS["tanh_grad", np.ndarray].function(x, x[:1]) == pointwise.SHAPES
    assert KERNELS["add", np.ndarray].function(x, np.float64(2)) == pointwise.TYPES


@pytest.fixture
def parallel():
    """Threads to choose from; the number that was set comes back."""
    before = threads.count.value
    yield lambda n: setattr(threads.count, "value", n)
    threads.count.value = before


@both
@pytest.mark.parametrize("n", [1 << 18, (1 << 18) + 5])
def test_the_same_bits_on_any_number_of_threads(parallel, n, dtype):
    x, g = drawn((n,), dtype, 1), drawn((n,), dtype, 2)
    key = np.array(12345, np.uint64)
    results = []
    for count in (1, 2, 4, 1):
        parallel(count)
        results.append([KERNELS[name, np.ndarray](*inputs) for name, inputs in (
            ("tanh", (x,)), ("gelu_exact_grad", (g, x)), ("add", (x, g)))]
            + [KERNELS["dropout", np.ndarray](x, key, p=0.3)])
    for other in results[1:]:
        for y, first in zip(other, results[0], strict=True):
            assert np.array_equal(y, first)


def test_the_public_functions_use_them():
    x = tg.Tensor(drawn((1 << 15,), np.float32, 1), requires_grad=True)
    KERNELS["gelu_exact", np.ndarray].last = KERNELS["gelu_exact_grad", np.ndarray].last = None
    tg.gelu(x).sum().backward()
    assert KERNELS["gelu_exact", np.ndarray].last is True
    assert KERNELS["gelu_exact_grad", np.ndarray].last is True


@both
@pytest.mark.parametrize("shape", [(1,), (2,), (33, 7), (0, 4), (70001,), ()])
def test_dropout_has_numpys_bits(shape, dtype):
    for seed, p in ((0, 0.1), (2 ** 64 - 1, 0.5), (2 ** 63, 1 - 1e-12)):
        x, key = drawn(shape, dtype, 1), np.array(seed, np.uint64)
        expected = PRIMITIVES["dropout"].fn(np, x, key, p=p)
        y = KERNELS["dropout", np.ndarray](x, key, p=p)
        assert (y.shape, y.dtype) == (shape, dtype)
        np.testing.assert_array_equal(y, expected)
        turned = np.asfortranarray(x)       # elements are numbered in C order, wherever they lie
        np.testing.assert_array_equal(KERNELS["dropout", np.ndarray](turned, key, p=p), expected)


@both
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_losses_agree_with_numpy(reduction, dtype):
    tolerance = 2e-6 if dtype == np.float32 else 1e-13
    for shape in ((1,), (7, 3), (3, 4099), (1 << 17,)):
        x, t = drawn(shape, dtype, 1), drawn(shape, dtype)
        for name in ("bce_with_logits", "mse_loss"):
            for target in (t, 1.0, np.asfortranarray(t)):
                y = KERNELS[name, np.ndarray](x, target, reduction=reduction)
                expected = PRIMITIVES[name].fn(np, x, target, reduction=reduction)
                assert (np.shape(y), y.dtype) == (np.shape(expected), dtype)
                np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)
        for g in (0.25, dtype(0.25), t):
            agree("bce_with_logits_grad", dtype, x, t, g)


@both
def test_sums_are_close_to_exact_and_the_same_on_any_number_of_threads(parallel, dtype):
    for shape in ((5,), (3, 4099), (1 << 18,), (513, 1025)):
        x = drawn(shape, dtype, 1)
        for values in (x, x.T):
            found = []
            for count in (1, 2, 4):
                parallel(count)
                found.append(KERNELS["sum", np.ndarray](values))
            assert found[0] == found[1] == found[2] and found[0].dtype == dtype
            exact = np.sum(values, dtype=np.longdouble)
            scale = np.abs(values).sum()
            assert abs(found[0] - exact) <= 4 * np.finfo(dtype).eps * scale
            mean = KERNELS["mean", np.ndarray](values, keepdims=True)
            assert mean.shape == (1,) * values.ndim
            assert abs(mean.item() - exact / x.size) <= 4 * np.finfo(dtype).eps * scale / x.size
    assert np.isnan(KERNELS["sum", np.ndarray](np.array([1, np.nan, 2], dtype)))
    assert KERNELS["sum", np.ndarray](np.array([1, np.inf, 2], dtype)) == np.inf
    assert KERNELS["sum", np.ndarray].function(drawn((3, 4), dtype), axis=0) == "not over all axes"


def test_the_loss_of_a_gan_uses_them():
    x = tg.Tensor(drawn((1 << 14,), np.float32, 1), requires_grad=True)
    t = tg.Tensor(np.ones(1 << 14, np.float32))
    for name in ("bce_with_logits", "bce_with_logits_grad"):
        KERNELS[name, np.ndarray].last = None
    tg.nn.functional.binary_cross_entropy_with_logits(x, t).backward()
    assert KERNELS["bce_with_logits", np.ndarray].last is True
    assert KERNELS["bce_with_logits_grad", np.ndarray].last is True
    expected = (1 / (1 + np.exp(-x.data.astype(np.float64))) - 1) / x.size
    np.testing.assert_allclose(x.grad.data, expected, rtol=1e-5, atol=1e-10)
