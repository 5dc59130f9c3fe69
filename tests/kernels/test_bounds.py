"""No kernel touches what lies past the end of an array: the page behind it is protected.

A mistake here ends the process with a segmentation fault.
"""

import ctypes
import mmap
import sys

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn
from tinygen.nn import functional as F
from tinygen.primitive import kernel_status

pytest.importorskip("numba")
if "registered" not in kernel_status():
    pytest.skip(f"kernels: {kernel_status()}", allow_module_level=True)
if not sys.platform.startswith("linux"):
    pytest.skip("pages are protected by mprotect", allow_module_level=True)

both = pytest.mark.parametrize("dtype", ["float32", "float64"])


def at_the_end(array):
    """A copy whose last byte is the last one before a page that cannot be touched."""
    size = -(-array.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    pages = mmap.mmap(-1, size + mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(start + size), mmap.PAGESIZE, 0) == 0
    copy = np.frombuffer(pages, array.dtype, array.size, size - array.nbytes).reshape(array.shape)
    copy[...] = array
    return copy


def drawn(*shape, dtype="float32"):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    return tg.asarray(at_the_end(x)).requires_grad_()


def run(function, *tensors):
    """Forward and backward; the results are numbers."""
    y = function(*tensors)
    g = drawn(*y.shape, dtype=y.dtype)
    for x in (y, *tg.autograd.grad([y], list(tensors), grad_outputs=[g.detach()])):
        assert np.isfinite(x.data).all()


def test_the_page_is_protected():
    """Writing there fails: asked of the system, which returns an error in place of a fault."""
    x = at_the_end(np.zeros(3, "f"))
    with open("/dev/zero", "rb") as zeros:
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.read(zeros.fileno(), ctypes.c_void_p(x.ctypes.data), 12) == 12
        assert libc.read(zeros.fileno(), ctypes.c_void_p(x.ctypes.data + 12), 4) == -1


@both
@pytest.mark.parametrize(("m", "k", "n"), [(70, 100, 45), (300, 784, 33), (64, 8192, 1),
                                           (64, 8192, 3), (3, 512, 300), (700, 37, 70)])
def test_products(dtype, m, k, n):
    run(F.linear, *(drawn(*s, dtype=dtype) for s in ((m, k), (n, k), (n,))))
    run(lambda a, b: a @ b, drawn(m, k, dtype=dtype), drawn(k, n, dtype=dtype))


@both
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("b", "h", "q", "k", "e", "ev"), [
    (1, 1, 1, 5, 8, 8), (1, 2, 1, 33, 24, 24), (2, 2, 1, 7, 80, 80), (1, 1, 3, 5, 5, 7),
    (2, 2, 64, 64, 32, 32), (1, 2, 20, 24, 24, 24), (1, 1, 65, 70, 8, 40), (1, 1, 40, 40, 3, 3)])
def test_attention(dtype, causal, b, h, q, k, e, ev):
    shapes = (b, h, q, e), (b, h, k, e), (b, h, k, ev)
    run(lambda *x: F.scaled_dot_product_attention(*x, is_causal=causal),
        *(drawn(*s, dtype=dtype) for s in shapes))


@pytest.mark.parametrize(("i", "o", "size", "k", "stride"), [
    (3, 64, 33, 4, 2), (5, 7, 17, 3, 1), (64, 3, 16, 4, 2), (33, 65, 9, 3, 1), (16, 16, 13, 5, 1),
    (1, 32, 28, 3, 2)])
def test_convolutions(i, o, size, k, stride):
    run(lambda x, w: F.conv2d(x, w, stride=stride, padding=1),
        drawn(5, i, size, size), drawn(o, i, k, k))
    run(lambda x, w: F.conv_transpose2d(x, w, stride=stride, padding=1),
        drawn(5, i, size // 2, size // 2), drawn(i, o, k, k))


@both
@pytest.mark.parametrize("shape", [(37, 65), (513, 129), (7, 1000)])
def test_rows_and_elements(dtype, shape):
    last = shape[-1:]
    run(lambda x, w, b: F.layer_norm(x, last, w, b),
        *(drawn(*s, dtype=dtype) for s in (shape, last, last)))
    for f in (F.softmax, F.log_softmax, lambda x, _: F.gelu(x), lambda x, _: F.silu(x).sum(0)):
        run(lambda x, f=f: f(x, -1), drawn(*shape, dtype=dtype))


@pytest.mark.parametrize("shape", [(5, 37, 13, 13), (64, 33, 4, 4), (9, 5)])
def test_norms_and_windows(shape):
    run(lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        drawn(*shape), drawn(shape[1]), drawn(shape[1]))
    if len(shape) == 4:
        run(lambda x: F.max_pool2d(x, 2), drawn(*shape))
        run(lambda x: F.avg_pool2d(x, 3, 2), drawn(*shape))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("batch", [9, 33])
def test_recurrences(kind, batch):
    layer = kind(19, 37)
    for p in layer.parameters():
        p.data = at_the_end(p.data)
    run(lambda x: layer(x)[0], drawn(7, batch, 19))


@both
@pytest.mark.parametrize("shape", [(7, 33), (301, 333), (1000, 97), (5, 20011)])
def test_programs(dtype, shape):
    """Generated loops, and the steps of small programs."""
    last = shape[-1:]
    scale, shift, w = drawn(*last, dtype=dtype), drawn(shape[0], 1, dtype=dtype), drawn(
        9, *last, dtype=dtype)
    w = w[:, :100]
    x = drawn(*shape, dtype=dtype).detach()

    @tg.jit
    def step(x):
        y = F.relu(x * scale + shift) * tg.tanh(x) - x / (1 + x * x)
        loss = (y * y).mean() + y.sum(-1).square().mean() + F.layer_norm(x + y, last).mean()
        loss = loss + F.linear(y[:, :w.shape[1]], w.detach()).sum()
        return loss.detach(), *tg.autograd.grad([loss], [scale, shift]), y.detach()
    for _ in range(2):
        for y in step(x):
            assert np.isfinite(y.data).all()
