"""Channel kernels: batch, group and instance norm in both memory orders against NumPy's code."""

import numpy as np
import pytest

import tinygen as tg
import tinygen.nn.functional as F
from tinygen import threads
from tinygen.primitive import KERNELS, PRIMITIVES, kernel_status

pytest.importorskip("numba")
if "registered" not in kernel_status():
    pytest.skip(f"kernels: {kernel_status()}", allow_module_level=True)

both = pytest.mark.parametrize("dtype", [np.float32, np.float64])
ORDERS = {
    "planes": lambda a: a,
    "channels last": lambda a: np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1),
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "cut": lambda a: np.repeat(a, 2, -1)[..., ::2],
}
orders = pytest.mark.parametrize("turn", ORDERS.values(), ids=ORDERS.keys())
SHAPES = [(33, 6), (3, 4, 130), (5, 8, 2, 7), (4, 2, 40, 33), (700, 4, 3, 1), (3, 2, 1, 1),
          (2, 8, 600), (2, 1500, 2, 3), (2, 2, 3, 1), (3, 2, 2, 2, 5)]


def drawn(shape, dtype, seed=0):
    return (np.random.default_rng(seed).standard_normal(shape) * 2 + 3).astype(dtype)


def kernel_of(name):
    return KERNELS[name, np.ndarray].function


def close(got, expected, dtype, loose=1.0):
    assert (got.shape, got.dtype) == (expected.shape, dtype)
    tolerance = (2e-5 if dtype == np.float32 else 1e-11) * loose
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


def check(name, inputs, g, dtype, attrs):
    """Forward and backward against NumPy's code in float64; every result owns its memory."""
    op, needs = PRIMITIVES[name], tuple(v is not None for v in inputs)
    wide = [None if v is None else v.astype(np.float64) for v in inputs]
    expected, got = op.fn(np, *wide, **attrs), kernel_of(name)(*inputs, **attrs)
    if op.outputs == 1:
        expected, got = (expected,), (got,)
    for a, b in zip(got, expected, strict=True):
        close(a, b, dtype)
    reference = op.joint.fn(np, g.astype(np.float64), *expected, *wide, needs=needs, **attrs)
    found = kernel_of(f"{name}_vjp")(g, *got, *inputs, needs=needs, **attrs)
    for a, b, need in zip(found, reference, needs, strict=True):
        if need:
            close(a, b, dtype, 2 + np.abs(b).max())
            assert a.flags.owndata
    assert got[0].flags.owndata


@both
@orders
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_group_and_fixed_norm(shape, turn, dtype):
    c = shape[1]
    x, g = turn(drawn(shape, dtype)), drawn(shape, dtype, 1)
    weight, bias = drawn(c, dtype, 2), drawn(c, dtype, 3)
    check("scale_channels", (x, weight, bias), turn(g), dtype, {})
    for w, b in ((weight, bias), (None, bias), (None, None)):
        check("batch_norm", (x, w, b), g, dtype, {"eps": 0.01})
        for slope in (0.0, 0.3):
            check("batch_norm_activation", (x, w, b), turn(g), dtype,
                  {"eps": 0.01, "slope": slope})
        for groups in {1, 2, c} - ({2} if c % 2 else set()):
            check("group_norm", (x, w, b), turn(g), dtype, {"eps": 0.01, "groups": groups})


@pytest.mark.parametrize("name", ["batch_norm", "group_norm"])
def test_channels_last_stays_channels_last(name):
    x = ORDERS["channels last"](drawn((3, 8, 5, 4), np.float32))
    attrs = {"eps": 1e-5} | ({"groups": 2} if name == "group_norm" else {})
    y, mean, var = kernel_of(name)(x, **attrs)
    assert y.strides == x.strides
    g = kernel_of(f"{name}_vjp")(y, y, mean, var, x, needs=(True,), **attrs)[0]
    assert g.strides == x.strides


@pytest.mark.parametrize("turn", [ORDERS["planes"], ORDERS["channels last"]])
@pytest.mark.parametrize("shape", [(4, 3, 300, 300), (3000, 3, 8, 8)], ids=str)
def test_large_batches_far_from_zero_keep_their_digits(turn, shape):
    x = turn(drawn(shape, np.float32) / 2 + np.float32(1000))
    x[0, 0, 0, 0] = -1e4       # an outlier first: no guess of the mean may start from it
    y, mean, var = kernel_of("batch_norm")(x, eps=1e-5)
    wide = x.astype(np.float64)
    exact = wide.mean((0, 2, 3)), wide.var((0, 2, 3))
    np.testing.assert_allclose(mean, exact[0], rtol=1e-7)
    np.testing.assert_allclose(var, exact[1], rtol=1e-4)
    hat = (wide - exact[0][:, None, None]) / np.sqrt(exact[1] + 1e-5)[:, None, None]
    np.testing.assert_allclose(y[1:], hat[1:], atol=2e-4)


def test_nan_stays_in_its_channel():
    x = drawn((4, 3, 5, 5), np.float32)
    x[0, 1, 2, 2] = np.nan
    y = kernel_of("batch_norm")(x, eps=1e-5)[0]
    assert np.isnan(y[:, 1]).all() and not np.isnan(y[:, [0, 2]]).any()


def test_constant_channels_and_what_is_declined():
    x = np.full((4, 2, 3, 3), 7, np.float32)
    y, mean, var = kernel_of("batch_norm")(x, eps=1e-5)
    assert (y == 0).all() and (mean == 7).all() and (var == 0).all()
    run = kernel_of("batch_norm")
    assert run(x.astype(np.float16), eps=1e-5).startswith("neither")
    assert run(x[:0], eps=1e-5) == "nothing to do"
    assert run(x, np.ones(2), eps=1e-5) == "inputs of several types"


@pytest.mark.parametrize("turn", [ORDERS["planes"], ORDERS["channels last"]])
@pytest.mark.parametrize("shape", [(40, 6, 30, 30), (64, 32, 8, 8)], ids=str)
def test_the_same_bits_whatever_the_threads(monkeypatch, turn, shape):
    x, g, w = turn(drawn(shape, np.float32)), turn(drawn(shape, np.float32, 1)), drawn(
        shape[1], np.float32, 2)

    def everything():
        arrays = []
        for name, attrs in (("batch_norm", {}), ("group_norm", {"groups": 2})):
            ys = kernel_of(name)(x, w, w, eps=1e-5, **attrs)
            arrays += [*ys, *kernel_of(f"{name}_vjp")(g, *ys, x, w, w, needs=(True,) * 3, eps=1e-5,
                                                      **attrs)]
        return arrays
    runs = []
    for count in (1, 2, 4, 2):
        monkeypatch.setattr(threads.count, "value", count)
        runs.append([a.tobytes() for a in everything()])
    assert all(run == runs[0] for run in runs)


def test_layers_use_them_and_agree_with_the_definition():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 4, 9, 9)).astype(np.float32)
    for call in (lambda t: F.group_norm(t, 2), F.instance_norm,
                 lambda t: F.batch_norm(t, None, None, training=True)):
        t = tg.Tensor(x, requires_grad=True)
        (call(t) ** 3).sum().backward()
        once = t.grad.numpy().copy()
        t = tg.Tensor(x, requires_grad=True)
        (call(t) ** 3).sum().backward(create_graph=True)        # through the definition
        np.testing.assert_allclose(once, t.grad.detach().numpy(), rtol=1e-3, atol=1e-3)
    assert KERNELS["batch_norm_vjp", np.ndarray].last is True


@pytest.mark.parametrize("name, attrs", [("batch_norm", {"eps": 0.1}), ("scale_channels", {}),
                                         ("group_norm", {"eps": 0.1, "groups": 1})])
def test_an_unwanted_input_gradient_is_left_out(name, attrs):
    x, w = drawn((5, 2, 4), np.float32), drawn(2, np.float32, 1)
    ys = kernel_of(name)(x, w, w, **attrs)
    ys = ys if type(ys) is tuple else (ys,)
    run = kernel_of(f"{name}_vjp")
    some = run(x, *ys, x, w, w, needs=(False, True, True), **attrs)
    every = run(x, *ys, x, w, w, needs=(True, True, True), **attrs)
    assert some[0] is None
    np.testing.assert_array_equal(some[1:], every[1:])


@both
@pytest.mark.parametrize("shape", [(16, 32, 8, 8), (65, 48, 16), (8, 16, 4, 8, 8), (9, 37, 11, 13)],
                         ids=str)
@pytest.mark.parametrize("count", [1, 3])
def test_gradients_in_another_memory_order_give_the_same_bits(shape, dtype, count, monkeypatch):
    """Large ones are turned around in vectors, where their sizes are whole vectors."""
    monkeypatch.setattr(threads.count, "value", count)
    x, g = drawn(shape, dtype), drawn(shape, dtype, 1)
    planes, last = ORDERS["planes"], ORDERS["channels last"]
    for mine, other in ((planes, last), (last, planes)):
        _, mean, var = kernel_of("batch_norm")(mine(x), eps=0.01)
        same, turned = (kernel_of("batch_norm_vjp")(order(g), None, mean, var, mine(x), eps=0.01,
                                                    needs=(True,)) for order in (mine, other))
        for a, b in zip(same, turned, strict=True):
            np.testing.assert_array_equal(a, b)
