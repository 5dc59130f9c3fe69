"""Row kernels: softmax, cross entropy, layer and root-mean-square norm against NumPy's code."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import threads
from tinygen.primitive import KERNELS, PRIMITIVES, kernel_status

pytest.importorskip("numba")
if "registered" not in kernel_status():
    pytest.skip(f"kernels: {kernel_status()}", allow_module_level=True)

both = pytest.mark.parametrize("dtype", [np.float32, np.float64])
AXES = ["softmax", "softmax_grad", "log_softmax", "log_softmax_grad"]
CLASSES = {"ignore_index": -100, "reduction": "mean", "label_smoothing": 0.0}


def drawn(shape, dtype, seed=0, scale=2.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale + 0.5).astype(dtype)


def kernel_of(name):
    return KERNELS[name, np.ndarray].function


def same(got, expected, dtype, loose=1.0):
    tolerance = (1e-5 if dtype == np.float32 else 1e-12) * loose
    if not isinstance(expected, tuple):
        got, expected = (got,), (expected,)
    for a, b in zip(got, expected, strict=True):
        if b is not None:
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def axis_inputs(name, shape, dtype):
    first, second = drawn(shape, dtype, 1), drawn(shape, dtype, 2)
    if not name.endswith("_grad"):
        return (first,)
    with np.errstate(over="ignore"):
        return first, PRIMITIVES[name.removesuffix("_grad")].fn(np, second, axis=0)


@both
@pytest.mark.parametrize("name", AXES)
@pytest.mark.parametrize("shape", [(1,), (5, 1), (33, 65), (3, 4, 130), (2, 7, 3, 5), (3, 2100),
                                   (2, 3, 700)], ids=str)
def test_softmax_along_every_axis(name, shape, dtype):
    inputs = axis_inputs(name, shape, dtype)
    for axis in range(-1, len(shape)):
        same(kernel_of(name)(*inputs, axis=axis), PRIMITIVES[name].fn(np, *inputs, axis=axis),
             dtype, 20)


@pytest.mark.parametrize("name", AXES)
def test_softmax_of_any_memory_order_and_of_nothing(name):
    inputs = axis_inputs(name, (6, 8), np.float32)
    expected = PRIMITIVES[name].fn(np, *inputs, axis=1)
    for turn in (lambda a: np.asfortranarray(a), lambda a: np.repeat(a, 2, 1)[:, ::2],
                 lambda a: a[::-1].copy()[::-1]):
        same(kernel_of(name)(*map(turn, inputs), axis=1), expected, np.float32, 20)
    frozen = [a.copy() for a in inputs]
    for a in frozen:
        a.flags.writeable = False
    same(kernel_of(name)(*frozen, axis=1), expected, np.float32, 20)
    nothing = [np.ones((3, 0), np.float32)] * len(inputs)
    assert kernel_of(name)(*nothing, axis=1) == "nothing to do"
    assert kernel_of(name)(*[a.astype(np.float16) for a in inputs], axis=1).startswith("neither")


@both
def test_softmax_of_infinities_and_nan(dtype):
    inf, nan = np.inf, np.nan
    x = np.array([[0, 1, nan], [-inf, -inf, -inf], [inf, 0, 1], [-inf, 0, 0], [1e4, 1e4, -1e4]],
                 dtype)
    soft, log = kernel_of("softmax"), kernel_of("log_softmax")
    for y in (soft(x, axis=1), soft(np.ascontiguousarray(x.T), axis=0).T, log(x, axis=1),
              log(np.ascontiguousarray(x.T), axis=0).T):
        assert np.isnan(y[:3]).all()
    np.testing.assert_allclose(soft(x, axis=1)[3:], [[0, 0.5, 0.5], [0.5, 0.5, 0]])
    np.testing.assert_allclose(log(x, axis=1)[3:], np.log(0.5) + np.array(
        [[-inf, 0, 0], [0, 0, -2e4]]), rtol=1e-6)
    wide = np.full((1, 3000), -1.0, dtype)
    wide[0, 1717] = nan
    assert np.isnan(soft(wide, axis=1)).all()


@both
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy(dtype, reduction, smoothing, weighted):
    attrs = {"ignore_index": -100, "reduction": reduction, "label_smoothing": smoothing}
    op = PRIMITIVES["cross_entropy"]
    for n, c in ((1, 1), (7, 65), (300, 10), (4, 3000)):
        rng = np.random.default_rng(n)
        x, target = drawn((n, c), dtype), rng.integers(0, c, n)
        target[1::4] = -100
        inputs = (x, target, rng.uniform(0.5, 2, c).astype(dtype) if weighted else None)
        expected = op.fn(np, *inputs, **attrs)
        same(kernel_of("cross_entropy")(*inputs, **attrs), expected, dtype, 3)
        g = drawn(np.shape(expected[0]), dtype, 3)
        args = (g, *expected, *inputs)
        needs = (True, False, False)
        found = kernel_of("cross_entropy_vjp")(*args, needs=needs, **attrs)[0]
        same(found, op.joint.fn(np, *args, needs=needs, **attrs)[0], dtype, 3)


def test_cross_entropy_at_the_edges():
    run = kernel_of("cross_entropy")
    x = np.array([[0, -np.inf], [1e4, 1e4], [-1e4, 1e4], [np.nan, 0]], np.float32)
    loss = run(x, np.array([1, 0, 0, 0]), **CLASSES | {"reduction": "none"})[0]
    np.testing.assert_allclose(loss, [np.inf, np.log(2), 2e4, np.nan], rtol=1e-6)
    assert np.isnan(run(x, np.full(4, -100), **CLASSES)[0])          # only ignored rows
    for wrong in (2, -1):
        target = np.array([0, 1, wrong, 0])
        assert run(x, target, **CLASSES) == "a class number is out of range"
    logits = tg.Tensor(drawn((9, 5), np.float32), requires_grad=True)
    tg.cross_entropy(logits, tg.Tensor(np.full(9, -100))).backward()
    assert (logits.grad.numpy() == 0).all()
    small = tg.Tensor(np.array([-100, 3, -1], np.int8))      # unsigned, these are 156, 3 and 255
    with pytest.raises(ValueError, match="class -1"):
        tg.cross_entropy(tg.zeros((3, 300)), small)


def norm_calls(shape, axes, dtype):
    """Inputs of both normalisations, with and without parameters."""
    x = drawn(shape, dtype)
    weight, bias = (drawn(shape[axes[0]:], dtype, k) for k in (1, 2))
    for w, b in ((weight, bias), (weight, None), (None, bias), (None, None)):
        yield "layer_norm", (x, w, b)
        if b is None:
            yield "rms_norm", (x, w)


@both
@pytest.mark.parametrize("shape, axes", [((33, 65), (1,)), ((3, 4, 130), (2,)), ((4, 1), (1,)),
                                         ((5, 3, 2, 700), (2, 3)), ((2000, 17), (1,)),
                                         ((7,), (0,)), ((2, 5000), (1,))], ids=str)
def test_norms(shape, axes, dtype):
    for name, inputs in norm_calls(shape, axes, dtype):
        op, attrs = PRIMITIVES[name], {"axes": axes, "eps": 1e-3}
        expected = op.fn(np, *inputs, **attrs)
        same(kernel_of(name)(*inputs, **attrs), expected, dtype, 2)
        g = drawn(shape, dtype, 4)
        for grad in (g, np.broadcast_to(dtype(0.5), shape)):
            args = (grad, *expected, *inputs)
            attrs["needs"] = (True,) * len(inputs)
            reference = op.joint.fn(np, *args, **attrs)
            found = kernel_of(f"{name}_vjp")(*args, **attrs)
            for x, a, b in zip(inputs, found, reference, strict=True):
                if x is not None:
                    same(a, b, dtype, 2 + np.abs(b).max())
            del attrs["needs"]


@both
@pytest.mark.parametrize("shape, axes", [((33, 65), (1,)), ((5, 3, 2, 700), (2, 3)), ((7,), (0,)),
                                         ((2, 5000), (1,))], ids=str)
def test_norms_of_sums(shape, axes, dtype):
    other, past, g = (drawn(shape, dtype, k) for k in (5, 6, 7))
    for name, (x, *params) in norm_calls(shape, axes, dtype):
        name, inputs = f"add_{name}", (x, other, *params)
        op, attrs = PRIMITIVES[name], {"axes": axes, "eps": 1e-3}
        expected = op.fn(np, *inputs, **attrs)
        same(kernel_of(name)(*inputs, **attrs), expected, dtype, 2)
        attrs["needs"] = (True,) * len(inputs)
        for given in (past, np.broadcast_to(dtype(0.5), shape)):
            args = (given, g, *expected, *inputs)
            reference = op.joint.fn(np, *args, **attrs)
            found = kernel_of(f"{name}_vjp")(*args, **attrs)
            for x, a, b in zip(inputs, found, reference, strict=True):
                if x is not None:
                    same(a, b, dtype, 2 + np.abs(b).max())


def test_sums_of_unlike_arrays_are_declined():
    x, wide = drawn((4, 6), np.float32), drawn((4, 6), np.float64)
    run, rule = kernel_of("add_rms_norm"), kernel_of("add_rms_norm_vjp")
    attrs, rstd = {"axes": (1,), "eps": 1e-5}, np.ones((4, 1), np.float32)
    for other in (x[0], wide):
        assert run(x, other, **attrs) == "what is added has another type or shape"
        assert rule(other, x, x, x, rstd, x, x, needs=(True, True), **attrs) == (
            "what is added has another type or shape")


def test_long_rows_far_from_zero_keep_their_digits():
    x = drawn((3, 300_000), np.float32, scale=1.0) + np.float32(1000)
    wide = x.astype(np.float64)
    y, mean, rstd = kernel_of("layer_norm")(x, None, None, axes=(1,), eps=1e-5)
    np.testing.assert_allclose(mean[:, 0], wide.mean(1), rtol=1e-7)
    np.testing.assert_allclose(rstd[:, 0], 1 / wide.std(1), rtol=2e-5)
    np.testing.assert_allclose(y, (wide - wide.mean(1, keepdims=True)) * rstd, atol=1e-4)


def test_parameters_of_many_rows_keep_their_digits():
    x, g = drawn((60_000, 8), np.float32), drawn((60_000, 8), np.float32, 1) + 3
    w = np.ones(8, np.float32)
    y, mean, rstd = kernel_of("layer_norm")(x, w, w, axes=(1,), eps=1e-5)
    _, gw, gb = kernel_of("layer_norm_vjp")(g, y, mean, rstd, x, w, w, needs=(True,) * 3, axes=(1,),
                                            eps=1e-5)
    hat = (x.astype(np.float64) - mean) * rstd
    np.testing.assert_allclose(gb, g.sum(0, dtype=np.float64), rtol=2e-6)
    np.testing.assert_allclose(gw, (g * hat).sum(0), rtol=1e-5, atol=0.05)


def test_the_same_bits_whatever_the_threads(monkeypatch):
    x, g = drawn((700, 301), np.float32), drawn((700, 301), np.float32, 1)
    w, target = x[0].copy(), np.arange(700) % 301
    needs = (True,) * 3

    def everything():
        y, mean, rstd = kernel_of("layer_norm")(x, w, w, axes=(1,), eps=1e-5)
        loss, kept = kernel_of("cross_entropy")(x, target, **CLASSES)
        soft = kernel_of("softmax")(x, axis=0)
        return [y, mean, rstd, loss, kept, soft, kernel_of("softmax_grad")(g, soft, axis=1),
                *kernel_of("layer_norm_vjp")(g, y, mean, rstd, x, w, w, needs=needs, axes=(1,),
                                             eps=1e-5),
                kernel_of("cross_entropy_vjp")(loss, loss, kept, x, target, needs=needs,
                                               **CLASSES)[0]]
    runs = []
    for count in (1, 2, 4, 2):
        monkeypatch.setattr(threads.count, "value", count)
        runs.append([np.asarray(a).tobytes() for a in everything()])
    assert all(run == runs[0] for run in runs)


def test_gradients_own_their_memory():
    """A gradient that is a view would be copied when it becomes `.grad`."""
    x, w = drawn((4, 6, 8), np.float32), np.ones(8, np.float32)
    y, mean, rstd = kernel_of("layer_norm")(x, w, w, axes=(2,), eps=1e-5)
    found = kernel_of("layer_norm_vjp")(x, y, mean, rstd, x, w, w, needs=(True,) * 3, axes=(2,),
                                        eps=1e-5)
    assert all(a.flags.owndata for a in (y, *found))
