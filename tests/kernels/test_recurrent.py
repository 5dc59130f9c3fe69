"""Recurrent kernels: the numbers of the definition, whatever the sizes, lengths and threads."""

from itertools import product

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn, threads
from tinygen.primitive import KERNELS, PRIMITIVES, kernel_status

pytest.importorskip("numba")
if "registered" not in kernel_status():
    pytest.skip(f"kernels: {kernel_status()}", allow_module_level=True)

GATES = {"lstm": 4, "gru": 3, "rnn": 1}
# steps, batch, input, hidden: one of each; ragged panels and row tiles; one step, one row; the last
# is divided by hidden units, and its product of the weights' gradients is compiled
SIZES = [(1, 1, 1, 1), (5, 7, 6, 9), (1, 3, 4, 5), (4, 1, 3, 33), (3, 40, 16, 32), (7, 29, 20, 70),
         (4, 11, 20, 155)]
cells = pytest.mark.parametrize("name", GATES)
both = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def call(name, sizes, dtype, lengths=False, bias=True, projection=None, **attrs):
    """Drawn inputs of a sequence, and its attributes."""
    steps, n, size, hidden = sizes
    rng = np.random.default_rng(sum(sizes))
    draw = lambda *shape: rng.uniform(-0.5, 0.5, shape).astype(dtype)
    rows, out = GATES[name] * hidden, projection or hidden
    inputs = [draw(steps, n, size), draw(n, out)]
    if name == "lstm":
        inputs.append(draw(n, hidden))
    inputs += [draw(rows, size), draw(rows, out)]
    inputs += [draw(rows), draw(rows)] if bias else [None, None]
    if name == "lstm":
        inputs.append(draw(out, hidden) if projection else None)
    inputs.append(rng.integers(0, steps + 1, n) if lengths else None)
    return inputs, {"reverse": False, **attrs}


def run(name, inputs, attrs, plain=False, seed=0):
    """What the kernels (or NumPy) give: the outputs and what is kept, and the gradients."""
    op = PRIMITIVES[f"{name}_sequence"]

    def of(primitive, *args, **kw):
        if plain:
            return primitive.fn(np, *args, **kw)
        ys = KERNELS[primitive.name, np.ndarray](*args, **kw)
        assert ys is not NotImplemented
        return ys
    ys = of(op, *inputs, **attrs)
    rng = np.random.default_rng(seed)
    gs = [rng.standard_normal(y.shape).astype(y.dtype) for y in ys[:op.differentiable]]
    needs = tuple(x is not None and x.dtype.kind == "f" for x in inputs)
    return [*ys, *of(op.joint, *gs, *ys, *inputs, needs=needs, **attrs)]


def same(ours, others, tolerance):
    for a, b in zip(ours, others, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(
                1, np.abs(b).max(initial=0)))


@both
@cells
@pytest.mark.parametrize("sizes", SIZES)
def test_agrees_with_numpy(name, sizes, dtype):
    for lengths, bias, reverse in product((False, True), repeat=3):
        inputs, attrs = call(name, sizes, dtype, lengths, bias, reverse=reverse)
        ours, others = run(name, inputs, attrs), run(name, inputs, attrs, plain=True)
        same(ours, others, 1e-5 if dtype == np.float32 else 1e-12)


@both
@pytest.mark.parametrize("lengths", [False, True])
def test_projected_states_and_relu(lengths, dtype):
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    for sizes in SIZES[1:]:
        inputs, attrs = call("lstm", sizes, dtype, lengths, projection=sizes[3] // 2)
        same(run("lstm", inputs, attrs), run("lstm", inputs, attrs, plain=True), tolerance)
        inputs, attrs = call("rnn", sizes, dtype, lengths, nonlinearity="relu", reverse=True)
        same(run("rnn", inputs, attrs), run("rnn", inputs, attrs, plain=True), tolerance)


@cells
def test_layouts_of_inputs_and_of_gradients_do_not_matter(name):
    inputs, attrs = call(name, (6, 5, 8, 16), np.float32)
    expected = run(name, inputs, attrs)
    turned = [None if x is None else np.asfortranarray(x) for x in inputs]
    same(run(name, turned, attrs), expected, 1e-6)
    layer = getattr(nn, name.upper())(8, 16, batch_first=True)
    x = tg.Tensor(inputs[0].swapaxes(0, 1), requires_grad=True)
    layer(x)[0].sum().backward()            # a gradient with strides of 0
    assert x.grad.shape == x.shape and np.isfinite(x.grad.numpy()).all()


@cells
def test_the_number_of_threads_changes_only_the_order_of_bias_sums(name, monkeypatch):
    _compare_threads(call(name, (9, 23, 24, 48), np.float32, lengths=True), name, monkeypatch)
    _compare_threads(call(name, (5, 7, 24, 200), np.float32, lengths=True), name, monkeypatch)


def _compare_threads(case, name, monkeypatch):
    inputs, attrs = case
    results = []
    for n in (1, 2, 4):
        monkeypatch.setattr(threads.count, "value", n)
        first, again = run(name, inputs, attrs), run(name, inputs, attrs)
        for a, b in zip(first, again, strict=True):
            assert (a is None and b is None) or (a == b).all()
        results.append(first)
    for other in results[1:]:
        same(other, results[0], 1e-6)


@cells
def test_what_stands_past_the_end_is_not_seen(name):
    inputs, attrs = call(name, (6, 4, 5, 7), np.float32, lengths=True)
    expected = run(name, inputs, attrs)
    inputs[0][np.arange(6)[:, None] >= inputs[-1]] = np.nan
    for a, b in zip(run(name, inputs, attrs), expected, strict=True):
        assert (a is None and b is None) or (a == b).all()


@cells
def test_a_nan_stays_in_its_row_and_large_numbers_saturate(name):
    inputs, attrs = call(name, (4, 3, 5, 20), np.float32)
    inputs[0][1, 0] = np.nan
    inputs[0][0, 1] = 1e30
    y = run(name, inputs, attrs)[0]
    assert np.isnan(y[1:, 0]).all() and np.isfinite(y[:, 1:]).all() and np.isfinite(y[0]).all()


@cells
def test_declines_say_why(name):
    kernel = KERNELS[f"{name}_sequence", np.ndarray]
    inputs, attrs = call(name, (3, 2, 4, 5), np.float32)
    assert kernel.function(*[None if x is None else x.astype(np.float16) for x in inputs],
                           **attrs) == "neither float32 nor float64"
    mixed = [inputs[0].astype(np.float64), *inputs[1:]]
    assert kernel.function(*mixed, **attrs) == "mixed dtypes"
    empty = [inputs[0][:, :0], inputs[1][:0], *inputs[2:]]
    assert kernel.function(*empty, **attrs) == "empty"
    for i, x in enumerate(inputs):
        if x is not None:
            other = [*inputs[:i], np.concatenate([x, x], -1), *inputs[i + 1:]]
            assert kernel.function(*other, **attrs) == "shapes do not fit"
