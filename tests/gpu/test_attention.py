"""Flash attention: the CUDA C of kernels/gpu, run on the CPU, against float64 in plain NumPy."""

import importlib
import math

import numpy as np
import pytest

import tinygen as tg
from tests.doubles.cuda import nvrtc
from tests.doubles.cuda.build import thread_order
from tests.gpu.running import needs_compiler
from tinygen.backend import bfloat16
from tinygen.ops.attention import attention, split_heads
from tinygen.primitive import KERNELS, PRIMITIVES

pytestmark = needs_compiler

TOLERANCE = {"bfloat16": 2e-2, "float16": 3e-3, "float32": 2e-6, "float64": 1e-13}


def type_of(name):
    return bfloat16() if name == "bfloat16" else np.dtype(name)


def reference(q, k, v, g, mask=None, keep=None, causal=False, offset=0, scale=1.0):
    """y, lse, dq, dk, dv in float64; leading axes broadcast, gradients of the broadcast inputs."""
    s = q @ k.swapaxes(-1, -2) * scale
    hidden = np.zeros(s.shape, bool)
    if causal:
        hidden |= np.arange(s.shape[-1]) > np.arange(s.shape[-2])[:, None] + offset
    if mask is not None and mask.dtype == bool:
        hidden |= ~mask
    elif mask is not None:
        s = s + mask
    s = np.where(hidden, -math.inf, s)
    top = s.max(-1, keepdims=True)
    top = np.where(top == -math.inf, 0, top)
    p = np.exp(s - top)
    total = p.sum(-1, keepdims=True)
    total[total == 0] = 1
    p /= total
    kept = p if keep is None else p * keep
    y = kept @ v
    dp = g @ v.swapaxes(-1, -2)
    dp = dp if keep is None else dp * keep
    ds = p * (dp - (p * dp).sum(-1, keepdims=True)) * scale
    lse = (top + np.log(total))[..., 0]
    return y, lse, ds @ k, ds.swapaxes(-1, -2) @ q, kept.swapaxes(-1, -2) @ g


def close(found, wanted, tolerance):
    found = found.get().astype(np.float64)
    assert found.shape == wanted.shape
    size = max(np.linalg.norm(wanted), 0.1 * wanted.size ** 0.5)    # all may cancel
    assert np.isfinite(found).all()
    error = np.linalg.norm(found - wanted) / size
    assert error <= tolerance, error


def draw(cupy, rng, shape, dtype):
    """A device array, and its values in float64."""
    x = rng.standard_normal(shape).astype(type_of(dtype))
    return cupy.asarray(x), x.astype(np.float64)


def summed(x, shape):
    for axis, (n, m) in enumerate(zip(x.shape, shape)):
        if n != m:
            x = x.sum(axis, keepdims=True)
    return x


def check(cupy, dtype, q, k, v, mask=None, keep=None, causal=False, offset=0, scale=None,
          tolerance=None):
    """Forward and gradients of one call; the arrays are pairs of a device array and its values."""
    (q, q64), (k, k64), (v, v64) = q, k, v
    tolerance = tolerance or TOLERANCE[dtype]
    rng = np.random.default_rng(0)
    lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    g, g64 = draw(cupy, rng, (*lead, q.shape[-2], v.shape[-1]), dtype)
    how = {"causal": causal, "offset": offset, "scale": scale or q.shape[-1] ** -0.5}
    extras = [None if m is None else m[0] for m in (mask, keep)]
    wide = [None if m is None else m[1] for m in (mask, keep)]
    attention = PRIMITIVES["attention"]
    forward = KERNELS["attention", cupy.ndarray](q, k, v, *extras, **how)
    assert forward is not NotImplemented
    y, lse = forward
    ref = reference(q64, k64, v64, g64, *wide, **how)
    close(y, ref[0], tolerance)
    assert lse.dtype == (np.float64 if dtype == "float64" else np.float32)
    close(lse, ref[1], 1e-5 if dtype != "float64" else 1e-13)
    needs = (True, True, True, *(False for m in extras if m is not None))
    backward = KERNELS[attention.joint.name, cupy.ndarray](
        g, y, lse, q, k, v, *extras, needs=needs, **how)
    assert backward is not NotImplemented
    for found, wanted, x in zip(backward, ref[2:], (q, k, v)):
        close(found, summed(wanted, x.shape), tolerance)
    return forward, backward


def packed(cupy, rng, n, length, heads, width, dtype):
    """q, k and v (N, H, L, E) as slices of one projection (N, L, 3, H, E)."""
    x, x64 = draw(cupy, rng, (n, length, 3, heads, width), dtype)
    return [(x[:, :, i].transpose(0, 2, 1, 3), x64[:, :, i].transpose(0, 2, 1, 3))
            for i in range(3)]


@pytest.fixture(scope="module", autouse=True)
def kernels(cupy):
    importlib.import_module("tinygen.kernels.gpu.attention")


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_packed_heads_in_every_order_of_threads(cupy, dtype, order):
    with thread_order(order):
        check(cupy, dtype, *packed(cupy, np.random.default_rng(order), 1, 100, 2, 64, dtype),
              causal=True)


@pytest.mark.parametrize("length,keys", [(1, 1), (17, 17), (130, 130), (5, 70), (70, 5), (3, 257)])
@pytest.mark.parametrize("dtype,width", [("bfloat16", 64), ("float32", 32)])
@pytest.mark.parametrize("causal", [False, True])
def test_lengths(cupy, dtype, width, length, keys, causal):
    rng = np.random.default_rng(length + keys)
    q, k, v = (draw(cupy, rng, (1, n, width), dtype) for n in (length, keys, keys))
    check(cupy, dtype, q, k, v, causal=causal, offset=max(-2, keys - length) if causal else 0)


@pytest.mark.parametrize("dtype,width,of_values", [
    ("bfloat16", 32, 32), ("bfloat16", 20, 7), ("bfloat16", 128, 128), ("bfloat16", 128, 96),
    ("float16", 64, 64), ("float16", 64, 40), ("float32", 128, 128), ("float32", 64, 7),
    ("float32", 20, 32), ("float64", 32, 32), ("float64", 20, 7)])
def test_widths(cupy, dtype, width, of_values):
    rng = np.random.default_rng(width)
    q, k, v = (draw(cupy, rng, (2, 66, n), dtype) for n in (width, width, of_values))
    check(cupy, dtype, q, k, v, causal=width != 20, scale=0.2)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_grouped_heads_share_keys(cupy, dtype):
    rng = np.random.default_rng(0)
    q = draw(cupy, rng, (2, 3, 2, 33, 32), dtype)
    k, v = draw(cupy, rng, (2, 3, 1, 40, 32), dtype), draw(cupy, rng, (1, 3, 1, 40, 32), dtype)
    check(cupy, dtype, q, k, v)


def masks(cupy, rng, kind, dtype):
    """A mask for (2, 2, 70, 90), as a pair of an array and its values."""
    if kind == "padding":
        m = np.arange(90) < rng.integers(1, 90, (2, 1, 1, 1))
        return cupy.asarray(m), m
    if kind == "boolean":
        m = rng.random((2, 1, 70, 90)) < 0.3
        m[0, 0, 5] = False                       # a query that sees nothing
        return cupy.asarray(m), m
    m = draw(cupy, rng, (1, 2, 70, 90), dtype)
    m[0][0, 0, :, 3], m[1][0, 0, :, 3] = -math.inf, -math.inf
    return m


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("kind", ["padding", "boolean", "added"])
def test_masks_and_dropout(cupy, dtype, kind):
    rng = np.random.default_rng(3)
    q, k, v = (draw(cupy, rng, (2, 2, n, 32), dtype) for n in (70, 90, 90))
    kept = ((rng.random((2, 2, 70, 90)) < 0.8) / 0.8).astype(type_of(dtype))
    keep = None if kind == "padding" else (cupy.asarray(kept), kept.astype(np.float64))
    check(cupy, dtype, q, k, v, masks(cupy, rng, kind, dtype), keep, causal=kind == "added",
          offset=20)


def test_rows_and_scores_far_from_zero(cupy):
    rng = np.random.default_rng(1)
    q, k, v = (draw(cupy, rng, (1, 80, 32), "float32") for _ in range(3))
    q = (q[0] * 40, q[1] * 40)
    check(cupy, "float32", q, k, v, tolerance=1e-5)


def test_addresses_that_16_does_not_divide(cupy):
    rng = np.random.default_rng(2)
    q, k, v = (tuple(x[..., 1:] for x in draw(cupy, rng, (1, 20, 65), "bfloat16"))
               for _ in range(3))
    check(cupy, "bfloat16", q, k, v)
    q, k, v = (tuple(x[..., :64] for x in draw(cupy, rng, (1, 20, 67), "bfloat16"))
               for _ in range(3))
    check(cupy, "bfloat16", q, k, v, causal=True)


# -- machine code ---


@pytest.mark.skipif(nvrtc.library() is None, reason="no NVRTC: pip install -e '.[gputest]'")
@pytest.mark.parametrize("dtype,head,extras,architecture", [      # and the default: test_nvrtc.py
    ("bfloat16", 64, False, "sm_80"), ("bfloat16", 64, False, "sm_90"),
    ("float16", 32, True, "sm_90"), ("float32", 128, False, "sm_90")])
def test_nothing_is_spilled_and_products_are_on_tensor_cores(dtype, head, extras, architecture):
    of = importlib.import_module("tinygen.kernels.gpu.attention")
    read = importlib.import_module("tinygen.kernels.gpu.launch").read
    name = "attention_plain.cu" if dtype == "float32" else "attention.cu"
    defines = [f"#define {k} {v}\n" for k, v in of.variant(dtype, head, extras).items()]
    found = nvrtc.usages("".join(defines) + read(name), name, architecture)
    assert len(found) == (4 if dtype == "float32" else 5)
    for kernel, used in found.items():
        assert used.spills == used.stack == 0, (kernel, used)
        products = kernel != "attention_inner" and dtype != "float32"
        assert (used.tensor_cores > 0) == products, (kernel, used)


@pytest.mark.parametrize("batch", [0, 1])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_of_a_packed_projection_are_not_copied(cupy, counts, dtype, batch):
    rng = np.random.default_rng(8)
    x = tg.asarray(rng.standard_normal((2, 10, 96)).astype(type_of(dtype))).to("cuda")
    x.requires_grad = True
    y = attention(*split_heads(x, 4, batch), causal=True)
    g = tg.asarray(rng.standard_normal(y.shape).astype(type_of(dtype))).to("cuda")
    before = counts.launches
    y.backward(g)
    assert counts.launches - before == 3, counts.by["launches"]      # no copies among them
    parts = [g.numpy().astype(np.float64)] + [
        h.numpy().astype(np.float64) for h in split_heads(x.detach(), 4, batch)]
    g64, *heads = parts
    _, _, *wanted = reference(*heads, g64, causal=True, scale=8 ** -0.5)
    together = [w.transpose((0, 2, 1, 3) if batch == 0 else (2, 0, 1, 3)) for w in wanted]
    close(x.grad.data, np.stack(together, 2).reshape(x.shape), TOLERANCE[dtype])
