"""The batched GEMM: every layout is multiplied where it lies, by the fewest calls of cuBLAS."""

import importlib
import sys
import types

import numpy as np
import pytest

import tinygen as tg
from tests.doubles import cublas, cublaslt
from tests.gpu.running import needs_compiler
from tinygen import primitive
from tinygen.backend import bfloat16
from tinygen.primitive import KERNELS, Unavailable

pytestmark = needs_compiler

TOLERANCE = {"float64": 1e-14, "float32": 3e-7, "float16": 1e-3, "bfloat16": 8e-3}


@pytest.fixture(scope="module")
def gemm(cupy):
    return importlib.import_module("tinygen.kernels.gpu.gemm")


@pytest.fixture(autouse=True)
def calls():
    """What cuBLAS is asked for in a test."""
    cublas.calls.clear()
    return cublas.calls


def type_of(name):
    return bfloat16() if name == "bfloat16" else np.dtype(name)


def draw(cupy, rng, shape, dtype="float32"):
    """A device array, and its values in float64."""
    x = rng.standard_normal(shape).astype(type_of(dtype))
    return cupy.asarray(x), x.astype(np.float64)


def close(found, wanted, dtype="float32"):
    assert found.shape == wanted.shape
    error = np.abs(found.get().astype(np.float64) - wanted).max(initial=0)
    assert error <= TOLERANCE[dtype] * max(1, np.abs(wanted).max(initial=0))


def packed(cupy, rng, dtype="float32"):
    """q, k, v (3, 4, 10, 8) as slices of (3, 10, 3, 4, 8)."""
    x, x64 = draw(cupy, rng, (3, 10, 3, 4, 8), dtype)
    return [(x[:, :, i].transpose(0, 2, 1, 3), x64[:, :, i].transpose(0, 2, 1, 3))
            for i in range(3)]


# name -> (what makes the operands of a case, calls of cuBLAS, launches of other kernels)
def _plain(cupy, rng, t):
    return draw(cupy, rng, (5, 6), t), draw(cupy, rng, (6, 7), t)


def _turned(cupy, rng, t):
    return draw(cupy, rng, (5, 6), t), tuple(x.T for x in draw(cupy, rng, (7, 6), t))


def _both_turned(cupy, rng, t):
    return (tuple(x.swapaxes(-1, -2) for x in draw(cupy, rng, (2, 3, 6, 5), t)),
            tuple(x.swapaxes(-1, -2) for x in draw(cupy, rng, (2, 3, 7, 6), t)))


def _scores(cupy, rng, t):
    q, k, _ = packed(cupy, rng, t)
    return q, tuple(x.swapaxes(-1, -2) for x in k)


def _weighted(cupy, rng, t):
    return draw(cupy, rng, (3, 4, 10, 10), t), packed(cupy, rng, t)[2]


def _weight(cupy, rng, t):
    return draw(cupy, rng, (4, 3, 5, 6), t), tuple(x.T for x in draw(cupy, rng, (7, 6), t))


def _rows(cupy, rng, t):
    return draw(cupy, rng, (9, 1, 6), t), draw(cupy, rng, (6, 7), t)


def _vectors(cupy, rng, t):
    return draw(cupy, rng, (4, 1, 6), t), draw(cupy, rng, (4, 6, 1), t)


def _left_same(cupy, rng, t):
    return draw(cupy, rng, (5, 6), t), draw(cupy, rng, (4, 6, 7), t)


def _crossed(cupy, rng, t):
    return draw(cupy, rng, (3, 1, 5, 6), t), draw(cupy, rng, (1, 4, 6, 7), t)


def _part(cupy, rng, t):
    return (tuple(x[1:4, 2:8] for x in draw(cupy, rng, (5, 9), t)),
            tuple(x[:6, 1:] for x in draw(cupy, rng, (8, 8), t)))


def _every_other(cupy, rng, t):
    return (tuple(x[:, ::2] for x in draw(cupy, rng, (5, 12), t)),
            tuple(x[::-1] for x in draw(cupy, rng, (6, 7), t)))


def _one_turned_around(cupy, rng, t):
    """An axis of one element keeps the stride of what it was cut from, and no copy changes that."""
    return (tuple(x[::-1, ::-1] for x in draw(cupy, rng, (1, 1), t)),
            draw(cupy, rng, (1, 1), t))


CASES = {"plain": (_plain, 1, 0), "turned": (_turned, 1, 0), "both turned": (_both_turned, 1, 0),
         "scores of packed heads": (_scores, 3, 0), "packed values": (_weighted, 3, 0),
         "weight for a batch": (_weight, 1, 0), "rows": (_rows, 1, 0), "vectors": (_vectors, 1, 0),
         "the same left": (_left_same, 1, 0), "crossed batches": (_crossed, 3, 0),
         "parts": (_part, 1, 0), "every other": (_every_other, 1, 2),
         "one turned around": (_one_turned_around, 1, 0)}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_layouts(cupy, gemm, counts, case, dtype):
    make, products, others = CASES[case]
    (a, a64), (b, b64) = make(cupy, np.random.default_rng(0), dtype)
    before = counts.launches
    y = gemm.gemm(a, b)
    assert y.dtype == type_of(dtype)
    assert len(cublas.calls) == products
    assert counts.launches - before == products + others        # no copies but these
    close(y, a64 @ b64, dtype)


def test_a_result_that_lies_transposed(cupy, gemm, counts):
    (a, a64), (b, b64) = _both_turned(cupy, np.random.default_rng(1), "float32")
    out = cupy.empty((2, 3, 7, 5), np.float32).swapaxes(-1, -2)
    assert gemm.gemm(a, b, out).data.ptr == out.data.ptr
    close(out, a64 @ b64)
    into = cupy.zeros((3, 10, 4, 10), np.float32).transpose(0, 2, 1, 3)
    (q, q64), (k, k64), _ = packed(cupy, np.random.default_rng(2))
    gemm.gemm(q, k.swapaxes(-1, -2), into)
    close(into, q64 @ k64.swapaxes(-1, -2))


@pytest.mark.parametrize("dtype,of_out", [("float32", "float32"), ("bfloat16", "bfloat16"),
                                          ("bfloat16", "float32"), ("float64", "float64")])
def test_results_are_added_up(cupy, gemm, dtype, of_out):
    rng = np.random.default_rng(3)
    (a, a64), (b, b64) = _plain(cupy, rng, dtype)
    out, out64 = draw(cupy, rng, (5, 7), of_out)
    gemm.gemm(a, b, out, alpha=0.5, beta=1.0)
    close(out, out64 + 0.5 * (a64 @ b64), of_out)
    gemm.gemm(a, b, out, beta=0.0)
    close(out, a64 @ b64, of_out)
    strange = draw(cupy, rng, (5, 14), of_out)[0][:, ::2]         # neither axis has neighbours
    gemm.gemm(a, b, strange)
    gemm.gemm(a, b, strange, beta=1.0)
    close(strange, 2 * (a64 @ b64), of_out)


def test_nothing_to_add_up(cupy, gemm, calls):
    y = gemm.gemm(cupy.ones((2, 3, 0), np.float32), cupy.ones((2, 0, 4), np.float32))
    close(y, np.zeros((2, 3, 4)))
    y += 1
    gemm.gemm(cupy.ones((2, 3, 0), np.float32), cupy.ones((2, 0, 4), np.float32), y, beta=1.0)
    close(y, np.ones((2, 3, 4)))
    assert gemm.gemm(cupy.ones((0, 3, 5), np.float32), cupy.ones((5, 4), np.float32)).shape == (
        0, 3, 4)
    assert not calls


def test_tf32_is_asked_for(cupy, gemm, calls, monkeypatch):
    (a, a64), (b, b64) = _plain(cupy, np.random.default_rng(4), "float32")
    monkeypatch.setattr(gemm, "allow_tf32", [True])
    error = np.abs(gemm.gemm(a, b).get() - a64 @ b64).max()
    assert 1e-5 < error < 1e-2
    assert calls[-1]["compute"] == 77
    gemm.gemm(*(x.astype(np.float64) for x in (a, b)))
    assert calls[-1]["compute"] == 70


def test_bad_operands_raise(cupy, gemm):
    x = cupy.ones((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"\[gemm\] \(2, 3\) and \(2, 3\): a \(..., m, k\)"):
        gemm.gemm(x, x)
    with pytest.raises(TypeError, match=r"\[gemm\] a and b must have one of the types"):
        gemm.gemm(x, x.T.astype(np.float64))
    wide = cupy.lib.stride_tricks.as_strided(x, (2, 1 << 31), (4, 0))
    with pytest.raises(ValueError, match=r"cuBLAS takes sizes below 2\^31"):
        gemm.gemm(x.T[:, :2], wide)
    with pytest.raises(ValueError, match=r"\[gemm\] out is float32 \(3, 3\); float32 \(2, 2\)"):
        gemm.gemm(x, x.T, cupy.ones((3, 3), np.float32))


def test_without_cublas_cupy_stays_in_charge(cupy, gemm, monkeypatch):
    def missing():
        raise Unavailable("cuBLAS does not work here: it is not there")
    given_up = []
    monkeypatch.setattr(gemm, "_cublas", missing)
    monkeypatch.setattr(primitive, "_give_up", lambda kind, error: given_up.append(str(error)))
    a, b = (cupy.asarray(np.ones(s, np.float32)) for s in ((2, 3), (3, 2)))
    y = KERNELS["matmul", cupy.ndarray].or_else(cupy.matmul)(a, b)
    close(y, np.full((2, 2), 3.0))
    assert given_up == ["cuBLAS does not work here: it is not there"]


# -- while a stream captures ---


@pytest.fixture
def lt(gemm, monkeypatch):
    """A double of the bindings of cuBLASLt."""
    of = gemm.cublaslt
    package = types.ModuleType("nvmath.bindings")
    package.cublasLt = cublaslt
    monkeypatch.setitem(sys.modules, "nvmath", types.ModuleType("nvmath"))
    monkeypatch.setitem(sys.modules, "nvmath.bindings", package)
    monkeypatch.setitem(sys.modules, "nvmath.bindings.cublasLt", cublaslt)
    monkeypatch.setattr(of, "_plans", {})
    cached = of.ready, of._bindings, of._handle, of._workspace
    for function in cached:
        function.cache_clear()
    yield of
    for function in cached:
        function.cache_clear()


@pytest.mark.parametrize("case", ["plain", "both turned", "scores of packed heads", "parts"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_products_in_a_graph(cupy, gemm, lt, calls, case, dtype):
    (a, a64), (b, b64) = CASES[case][0](cupy, np.random.default_rng(7), dtype)
    out = cupy.zeros(np.matmul(a64, b64).shape, type_of(dtype))
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        lt.prepare()
        stream.begin_capture()
        gemm.gemm(a, b, out, alpha=0.5, beta=1.0)
        graph = stream.end_capture()
        for _ in range(2):
            graph.launch()
        stream.synchronize()
    assert not calls and len(lt._plans) >= 1
    close(out, a64 @ b64, dtype)


def test_without_the_bindings_a_capture_is_refused(cupy, gemm, monkeypatch):
    monkeypatch.setattr(gemm.cublaslt, "ready", lambda: False)
    a = cupy.ones((2, 2), np.float32)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        with pytest.raises(NotImplementedError, match="stream capture"):
            gemm.gemm(a, a)
        stream.end_capture()


# -- the primitives ---


@pytest.fixture(scope="module", autouse=True)
def kernels(cupy):
    importlib.import_module("tinygen.kernels.gpu.matmul")


@pytest.mark.parametrize("a,b", [((4,), (4,)), ((4,), (4, 3)), ((2, 4), (4,)), ((3, 2, 4), (4,)),
                                 ((4,), (3, 4, 5)), ((2, 1, 3, 4), (5, 4, 2)), ((2, 0), (0, 3))])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_matmul_of_any_axes(cupy, a, b, dtype):
    rng = np.random.default_rng(5)
    (a, a64), (b, b64) = draw(cupy, rng, a, dtype), draw(cupy, rng, b, dtype)
    y = KERNELS["matmul", cupy.ndarray](a, b)
    close(y, np.asarray(a64 @ b64), dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("shape", [(6,), (5, 6), (2, 3, 6), (0, 6)])
def test_linear_and_its_gradients(cupy, shape, dtype):
    rng = np.random.default_rng(6)
    (x, x64), (w, w64), (b, b64) = (draw(cupy, rng, s, dtype) for s in (shape, (7, 6), (7,)))
    y = KERNELS["linear", cupy.ndarray](x, w, b)
    close(y, x64 @ w64.T + b64, dtype)
    g, g64 = draw(cupy, rng, y.shape, dtype)
    gx, gw, gb = KERNELS["linear_vjp", cupy.ndarray](g, y, x, w, b, needs=(True, True, True))
    rows = g64.reshape(-1, 7)
    close(gx, g64 @ w64, dtype)
    close(gw, rows.T @ x64.reshape(-1, 6), dtype)
    close(gb, rows.sum(0), dtype)


def test_what_does_not_fit_is_named(cupy):
    x = tg.ones((2, 3), device="cuda")
    with pytest.raises(ValueError, match="inner sizes 3 and 2 differ"):
        tg.matmul(x, x)
    with pytest.raises(TypeError, match=r"a is on cuda:0 and b is on cpu"):
        tg.matmul(x, tg.ones((3, 2)))
    assert tg.matmul(x, x.T).tolist() == [[3.0, 3.0], [3.0, 3.0]]
