"""The attention kernels against NumPy's code: shapes, layouts, masks, special values, threads."""

import threading
import tracemalloc

import numpy as np
import pytest

import tinygen as tg
from tinygen import threads
from tinygen.nn import functional as F
from tinygen.primitive import KERNELS, PRIMITIVES, kernel_status

pytest.importorskip("numba")
if "registered" not in kernel_status():
    pytest.skip(f"kernels: {kernel_status()}", allow_module_level=True)

OP = PRIMITIVES["attention"]
both = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def forward_kernel(*inputs, **attrs):
    return KERNELS["attention", np.ndarray].function(*inputs, **attrs)


def backward_kernel(*inputs, **attrs):
    return KERNELS["attention_vjp", np.ndarray].function(*inputs, **attrs)


def drawn(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def inputs(q, k, v, dtype):
    return [drawn(shape, dtype, seed) for seed, shape in enumerate((q, k, v))]


def settings(q, causal=False, offset=0):
    return {"causal": causal, "offset": offset, "scale": q.shape[-1] ** -0.5}


def close(got, expected, dtype):
    tolerance = 2e-5 if dtype == np.float32 else 1e-12
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


def agree(q, k, v, mask=None, keep=None, needs=(True, True, True), **attrs):
    """Forward and backward of the kernels equal those of NumPy's code."""
    y, lse = OP.fn(np, q, k, v, mask, keep, **attrs)
    got = forward_kernel(q, k, v, mask, keep, **attrs)
    assert not isinstance(got, str), got
    close(got[0], y, q.dtype)
    close(got[1], lse, q.dtype)
    g = drawn(y.shape, q.dtype, 9)
    expected = OP.joint.fn(np, g, y, lse, q, k, v, mask, keep, needs=needs, **attrs)
    gradients = backward_kernel(g, *got, q, k, v, mask, keep, needs=needs, **attrs)
    for a, b in zip(gradients, expected, strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            close(a, b, q.dtype)


@both
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length, keys, e, ev", [
    (1, 1, 1, 1), (1, 300, 64, 64), (4, 37, 5, 3), (5, 1, 16, 16), (31, 33, 17, 32),
    (64, 64, 32, 32), (130, 129, 40, 24), (200, 260, 64, 96), (33, 128, 130, 16)])
def test_odd_lengths_and_widths(length, keys, e, ev, causal, dtype):
    q, k, v = inputs((2, 3, length, e), (2, 3, keys, e), (2, 3, keys, ev), dtype)
    agree(q, k, v, **settings(q, causal))


@both
@pytest.mark.parametrize("offset", [-400, -70, -1, 0, 7, 90, 129, 500])
def test_causal_offsets(offset, dtype):
    for length in (3, 140):
        q, k, v = inputs((1, 2, length, 16), (1, 2, 200, 16), (1, 2, 200, 16), dtype)
        agree(q, k, v, **settings(q, True, offset))


@both
@pytest.mark.parametrize("offset", [-50, -33, -7, 0, 13, 40])
def test_one_block_of_keys(offset, dtype):
    """Weights are divided before the product, and triangles cut to within a tile."""
    for length, keys in ((64, 64), (75, 50), (24, 24), (40, 17)):
        q, k, v = inputs((2, 2, length, 32), (2, 2, keys, 32), (2, 2, keys, 16), dtype)
        agree(q, k, v, **settings(q, True, offset))
        seen = np.ones((length, keys), bool)
        seen[:35, keys // 2:] = seen[10:, :5] = False         # whole panels and parts of them
        keep = 2.0 * np.random.default_rng(1).integers(0, 2, (2, 2, length, keys)).astype(dtype)
        agree(q, k, v, seen, keep, **settings(q, True, offset))
        seen[:32] = False
        agree(q, k, v, seen, **settings(q))


def masks(kind, dtype, batch, heads, length, keys):
    """Masks of every shape that broadcasts, each of which hides some query from all keys."""
    rng = np.random.default_rng(5)
    for shape in ((keys,), (length, keys), (batch, 1, 1, keys), (1, heads, length, keys),
                  (batch, heads, length, keys), (batch, 1, length, keys)):
        seen = rng.random(shape) < 0.4
        seen[..., keys // 2:] &= rng.random() < 0.5
        if seen.ndim > 1 and seen.shape[-2] > 1:
            seen[..., 0, :] = False
        yield seen if kind == "flags" else np.where(seen, rng.standard_normal(shape),
                                                    -np.inf).astype(dtype)
    yield np.zeros((batch, 1, 1, keys), bool if kind == "flags" else dtype)
    yield np.tri(length, keys, dtype=bool) if kind == "flags" else np.where(
        np.tri(length, keys, dtype=bool), 0, -np.inf).astype(dtype)


@both
@pytest.mark.parametrize("kind", ["flags", "numbers"])
@pytest.mark.parametrize("length", [2, 70])
def test_masks(kind, length, dtype):
    q, k, v = inputs((2, 3, length, 16), (2, 3, 150, 16), (2, 3, 150, 16), dtype)
    for mask in masks(kind, dtype, 2, 3, length, 150):
        agree(q, k, v, mask, **settings(q))
        agree(q, k, v, mask, **settings(q, True, 60))


@both
@pytest.mark.parametrize("length", [2, 70])
def test_dropout(length, dtype):
    q, k, v = inputs((2, 3, length, 16), (2, 3, 150, 16), (2, 3, 150, 16), dtype)
    keep = 2.0 * np.random.default_rng(1).integers(0, 2, (2, 3, length, 150)).astype(dtype)
    agree(q, k, v, None, keep, **settings(q, True, 60))
    agree(q, k, v, drawn((150,), dtype), keep, **settings(q))


@pytest.mark.parametrize("needs", [(True, False, False), (False, True, False),
                                   (False, False, True), (False, True, True)])
def test_only_what_is_needed(needs):
    q, k, v = inputs((2, 3, 50, 16), (2, 3, 150, 16), (2, 3, 150, 8), np.float32)
    agree(q, k, v, needs=needs, **settings(q))


def _heads(shape, dtype, seed):
    """(N, H, L, E) as nn.MultiheadAttention makes it: a view of (N, L, H * E)."""
    n, h, length, e = shape
    return drawn((n, length, h, e), dtype, seed).transpose(0, 2, 1, 3)


@both
def test_views_are_read_in_place_and_results_lie_alike(dtype):
    q, k, v = (_heads((2, 4, 50, 16), dtype, seed) for seed in range(3))
    agree(q, k, v, **settings(q))
    y, lse = forward_kernel(q, k, v, **settings(q))
    assert y.transpose(0, 2, 1, 3).flags.c_contiguous
    for gradient in backward_kernel(y, y, lse, q, k, v, needs=(True,) * 3, **settings(q))[:3]:
        assert gradient.transpose(0, 2, 1, 3).flags.c_contiguous
    packed = drawn((2, 140, 3, 4, 64), dtype).transpose(2, 0, 3, 1, 4)   # rows 3 KB or 6 KB apart
    agree(*packed, **settings(packed[0], True))
    agree(*(x[:, :, ::3] for x in packed), **settings(packed[0]))
    wide = drawn((2, 100, 4, 64), np.float32).transpose(0, 2, 1, 3)      # 1 KB apart
    agree(wide, wide[:, ::-1], wide, **settings(wide))


@both
def test_leading_axes_broadcast(dtype):
    cases = [((70, 8), (60, 8), (60, 8)), ((3, 70, 8), (60, 8), (3, 60, 8)),
             ((2, 1, 70, 8), (1, 3, 60, 8), (3, 60, 8)), ((2, 2, 3, 40, 8),) * 3,
             ((2, 2, 3, 40, 8), (2, 2, 1, 60, 8), (2, 2, 1, 60, 16)),
             ((1, 1, 2, 8), (4, 1, 60, 8), (5, 60, 8))]
    for q, k, v in cases:
        agree(*inputs(q, k, v, dtype), **settings(np.empty(q), False))
    q, k, v = inputs(*cases[4], dtype)
    agree(q, k, v, drawn((2, 1, 1, 40, 60), dtype), **settings(q))


def test_few_heads_are_cut_in_pieces_of_keys():
    q, k, v = inputs((1, 1, 300, 16), (1, 1, 700, 16), (1, 1, 700, 16), np.float32)
    agree(q, k, v, **settings(q))
    agree(q, k, v, **settings(q, True, 200))


def test_what_is_declined():
    q, k, v = inputs((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 4), np.float32)
    s = settings(q)
    for arrays in ((q.astype(np.float16), k, v), (q, k, v.astype(np.float64)), (q[:, :, :0], k, v),
                   (q, k.transpose(0, 1, 3, 2).copy().transpose(0, 1, 3, 2), v),
                   (q[None, None], k, v), (q, k, v, np.ones((5, 1), bool)),
                   (q, k, v, np.ones((5, 6))), (q, k, v, None, np.ones((5, 1), np.float32)),
                   (q, k, v, np.ones((6, 5), np.float32).T)):
        assert isinstance(forward_kernel(*arrays, **s), str)
    y, lse = forward_kernel(q, k, v, drawn((6,)), **s)
    assert "mask" in backward_kernel(y, y, lse, q, k, v, drawn((6,)), needs=(True,) * 4, **s)


@pytest.mark.parametrize("length", [2, 40])
def test_special_values(length):
    q, k, v = inputs((1, 1, length, 8), (1, 1, 150, 8), (1, 1, 150, 8), np.float32)
    y, lse = forward_kernel(q, k, v, np.zeros(150, bool), **settings(q))
    assert not y.any() and not lse.any()                      # nobody sees a key
    for poison in (np.nan, np.inf):
        spoilt = q.copy()
        spoilt[0, 0, 1] = poison
        with np.errstate(invalid="ignore"):
            expected = OP.fn(np, spoilt, k, v, **settings(q))[0]
        y = forward_kernel(spoilt, k, v, **settings(q))[0]
        assert np.isnan(y[0, 0, 1]).all() and not np.isnan(y[0, 0, 0]).any()
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    wide = [x.astype(np.float64) for x in (60 * q, k, v)]     # weights from 1 to below 1e-300
    agree(*wide, **settings(q))
    large = drawn((150,)) * np.float32(1e4)                   # weights of 1 and of 0
    agree(q, k, v, large, **settings(q))
    hidden = np.arange(150) < 100
    k[..., 100:, :] = np.nan                                  # a hidden score is not looked at
    assert np.isfinite(forward_kernel(q, k, v, hidden, **settings(q))[0]).all()


def results(causal=True, shape=(2, 3, 150, 16)):
    q, k, v = inputs(shape, shape, shape, np.float32)
    y, lse = forward_kernel(q, k, v, **settings(q, causal))
    return [y, lse, *backward_kernel(y, y, lse, q, k, v, needs=(True,) * 3,
                                     **settings(q, causal))[:3]]


@pytest.mark.parametrize("shape", [(2, 6, 150, 32), (1, 1, 600, 32), (3, 3, 3, 600)])
def test_the_same_bits_for_any_number_of_threads(shape, monkeypatch):
    expected = results(shape=shape)
    for n in (1, 2, 4, 2):
        monkeypatch.setattr(threads.count, "value", n)
        for a, b in zip(results(shape=shape), expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_two_threads_of_python_at_once():
    expected, found = results(), []

    def work():
        for _ in range(5):
            found.append(results())
    workers = [threading.Thread(target=work) for _ in range(2)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert len(found) == 10
    for got in found:
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_memory_grows_with_the_length_not_its_square():
    def step(length):
        q, k, v = (tg.Tensor(x, requires_grad=True) for x in inputs(
            *[(1, 1, length, 16)] * 3, np.float32))
        F.scaled_dot_product_attention(q, k, v, is_causal=True).sum().backward()
        return q
    step(128)
    tracemalloc.start()
    try:
        q = step(4096)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert KERNELS["attention_vjp", np.ndarray].last is True
    # four pieces of keys have a gradient of q each; the scores would be 256 times as large as q
    assert peak < 30 * q.data.nbytes


def test_grouped_heads_and_their_gradients():
    q, k, v = inputs((2, 6, 40, 16), (2, 2, 40, 16), (2, 2, 40, 16), np.float64)
    found = []
    for repeat in (False, True):
        tensors = [tg.Tensor(x, requires_grad=True) for x in (q, k, v)]
        a, b, c = tensors
        if repeat:
            b, c = tg.repeat(b, 3, axis=1), tg.repeat(c, 3, axis=1)
        y = F.scaled_dot_product_attention(a, b, c, is_causal=True, enable_gqa=not repeat)
        (y * y).sum().backward()
        found.append([y.detach().numpy(), *(t.grad.numpy() for t in tensors)])
    for x, y in zip(*found, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-12)
