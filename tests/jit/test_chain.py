"""Chains of elementwise operations on large arrays as one generated loop."""

import numpy as np
import pytest

import tinygen as tg
from tests.jit.parts import names
from tinygen import nn
from tinygen.jit import capture
from tinygen.jit.passes.together import has_kernel

F = nn.functional
pytestmark = pytest.mark.skipif(has_kernel() is None, reason="without kernels nothing is fused")
RNG = np.random.default_rng(0)
N, M = 200, 301


def draw(*shape, dtype="float32"):
    return tg.Tensor(RNG.standard_normal(shape).astype(dtype))


def close(found, expected, bound=2e-6):
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        size = np.nanmax(np.abs(b.data), where=np.isfinite(b.data), initial=1.0)
        np.testing.assert_allclose(a.data, b.data, rtol=bound, atol=bound * size)


def mixed(x, row, column):
    """Rows, columns, numbers, a value that leaves, and sums at the end."""
    y = tg.tanh(x * row + 0.5) * F.leaky_relu(x, 0.1)
    z = y - column
    return [z, (z * z).mean(), (z + 3).sum(), tg.absolute(z) * 2]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_chain_is_one_row_and_gives_the_same(dtype):
    program = capture(mixed, draw(N, M, dtype=dtype), draw(M, dtype=dtype),
                      draw(N, 1, dtype=dtype)).optimized()
    assert names(program) == ["fused"]
    args = draw(N, M, dtype=dtype), draw(M, dtype=dtype), draw(N, 1, dtype=dtype)
    close(program.replay(*args), mixed(*args), 2e-6 if dtype == "float32" else 1e-13)


def test_any_order_of_memory_gives_the_same_and_keeps_it():
    def f(x, y):
        return [tg.exp(-x * x) * y + 1]
    program = capture(f, draw(N, M), draw(N, M)).optimized()
    a, b = draw(M, N).T, draw(M, N).T
    found, = program.replay(a, b)
    close([found], f(a, b))
    assert found.data.strides == a.data.strides
    for pair in ((a, draw(N, M)), (draw(N, 2 * M)[:, ::2], b), (draw(N, M), a * 0.5)):
        close(program.replay(*pair), f(*pair))


def test_sums_are_the_same_for_any_number_of_threads():
    def f(x):
        return [F.softplus(x * 2).sum(), (x * x).mean()]
    x = draw(701, 300)
    program = capture(f, x).optimized()
    before, found = tg.get_num_threads(), []
    try:
        for threads in (1, before):
            tg.set_num_threads(threads)
            found.append([y.item() for y in program.replay(x)])
    finally:
        tg.set_num_threads(before)
    assert found[0] == found[1]
    x64 = x.data.astype("float64")
    np.testing.assert_allclose(found[0], [np.log1p(np.exp(2 * x64)).sum(), (x64 ** 2).mean()],
                               rtol=1e-6)


def test_a_loss_written_by_hand_and_its_gradient():
    def step(x, y):
        x = x.detach().requires_grad_()
        loss = (tg.sigmoid(x) * (1 - y) - F.logsigmoid(x) * y).mean()
        loss.backward()
        return [loss.detach(), x.grad]
    fast, x, y = tg.jit(step), draw(N, M), tg.Tensor(RNG.random((N, M), dtype=np.float32))
    fast(x, y)
    close(fast(x, y), step(x, y))
    assert "fused" in names(fast.program()) and len(fast.program().rows) < 8


def test_what_stands_between_is_kept_apart():
    def f(x):
        y = x * 2 + 1
        z = y @ y.T                       # no element by itself
        return [(tg.tanh(z) * z).sum(axis=1), y.sum() * y.sum()]
    x = draw(210, 210)
    program = capture(f, x).optimized()
    assert "linear" in names(program) and names(program).count("fused") >= 2
    close(program.replay(x), f(x), 1e-5)


def test_its_source_can_be_read_and_alike_chains_share_it():
    def f(x):
        return tg.exp(x) * x - 1
    one, other = (capture(f, draw(N, M)).optimized() for _ in range(2))
    assert one.rows[0].attrs["group"].key == other.rows[0].attrs["group"].key
    text = one.source()
    assert "exp(x0)" in text and "for i in range(first, last):" in text


def test_axes_of_length_one_in_front():
    def f(x, y):
        return [tg.tanh(x) * y + 1, (y * 2 - x).sum()]
    program = capture(f, draw(N, M), draw(1, N, M)).optimized()
    assert "fused" in names(program)
    args = draw(N, M), draw(1, N, M)
    close(program.replay(*args), f(*args))
    turned = draw(M, N).T, draw(1, N, M)
    close(program.replay(*turned), f(*turned))


def test_rows_are_added_up_on_the_way():
    def f(x, y):
        z = tg.exp(x - y) * x
        return [z.sum(axis=-1), z.mean(axis=1, keepdims=True), z * 2, z.sum()]
    program = capture(f, draw(N, M), draw(N, M)).optimized()
    assert names(program) == ["fused"]
    for args in ((draw(N, M), draw(N, M)), (draw(M, N).T, draw(N, M))):
        close(program.replay(*args), f(*args), 5e-6)
    three = capture(lambda x, y: (tg.tanh(x) * y).mean(axis=2), draw(5, 70, 99),
                    draw(5, 70, 1))
    args = draw(5, 70, 99), draw(5, 70, 1)
    assert names(three.optimized()) == ["fused"]
    close([three.optimized().replay(*args)], [three.replay(*args)])


def test_a_softmax_written_out():
    def f(x):
        e = tg.exp(x - x.max(axis=-1, keepdims=True))
        return [e / e.sum(axis=-1, keepdims=True)]
    program = capture(f, draw(N, M)).optimized()
    assert names(program).count("fused") >= 1 and len(program.rows) < 5
    x = draw(N, M)
    close(program.replay(x), f(x))


def test_arrays_that_no_loop_covers_are_done_one_by_one():
    def f(x, y, z):
        return [tg.tanh(x * y) + z, (x * 2).sum(axis=2)]
    args = draw(7, 60, 99), draw(99), draw(7, 1, 1)      # rows of 99 and columns of 60 * 99
    program = capture(f, *args).optimized()
    assert "fused" in names(program)
    new = draw(7, 60, 99), draw(99), draw(7, 1, 1)
    close(program.replay(*new), f(*new))
    assert new[0].requires_grad is False and f(*new)[0].op is None


SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 1e38, -1e38, 104.0, 3e-8]


@pytest.mark.parametrize("ends", [lambda y: y, lambda y: (y, tg.where(tg.isnan(y), 0, y).sum())])
@pytest.mark.parametrize("f", [lambda x: 2 / tg.sqrt(x) + 1, lambda x: x / x * 2,
                               lambda x: 1 / x / x,
                               lambda x: F.hardswish(x) * 2, lambda x: tg.exp(x) - x * 0.5,
                               lambda x: tg.sqrt(x * x) - abs(x),
                               lambda x: F.gelu(x) * x])
def test_special_values_are_what_they_are_without_jit(f, ends):
    """The compiler may order a sum anew, and nothing else: 1 / sqrt(0) is no estimate."""
    x = tg.Tensor(np.tile(np.float32(SPECIAL), 3000))
    with np.errstate(all="ignore"):
        expected = f(x)
        fast = tg.jit(lambda x: ends(f(x)))
        fast(x)
        found = fast(x)
    found = found[0] if isinstance(found, tuple) else found
    assert any("group" in name for name in fast.program().kernels())
    np.testing.assert_allclose(found.data, expected.data, rtol=1e-5, atol=1e-6)
