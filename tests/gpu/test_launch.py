"""How kernels of kernels/gpu are compiled and launched."""

import importlib

import numpy as np
import pytest

from tinygen.primitive import Unavailable

from .running import needs_compiler


@pytest.fixture
def launcher(cupy):
    cupy.ones(1)
    from tinygen.kernels.gpu import launch
    return launch


@pytest.fixture
def source(launcher, monkeypatch):
    """A source of the text that a test gives."""
    def make(text):
        monkeypatch.setattr(launcher, "read", lambda name: text)
        return launcher.Source("made_up")
    return make


def test_included_files_are_pasted_once(launcher):
    text = launcher.read("softmax.cu")
    assert text.count("struct bf16 { unsigned short bits; };") == 1      # common.cuh
    assert text.count("struct Streamed {") == 1                          # rows.cuh, by softmax.cuh
    assert "#include" not in text and '#line 1 "rows.cuh"' in text


def test_every_source_includes_what_it_needs(launcher):
    for path in sorted(launcher.SOURCES.glob("*.cu")):
        text = launcher.read(path.name)
        assert "FOR_TYPES" not in text or "#define FOR_TYPES" in text, path.name


@needs_compiler
def test_the_example_of_the_readme(cupy, launcher, source):
    text = (launcher.SOURCES.parent / "README.md").read_text()
    code = text.split("```c++\n")[1].split("```")[0]
    native = source(code.replace('#include "common.cuh"', launcher.read("common.cuh") + "//"))
    x = cupy.arange(300, dtype="float16")
    y = cupy.empty_like(x)
    native("twice_f16", launcher.blocks(x.size, 256), 256, x, y, x.size)
    np.testing.assert_array_equal(y.get(), 2 * np.arange(300))


@needs_compiler
def test_arguments_become_what_kernels_declare(cupy, source):
    native = source('extern "C" __global__ void sum(double* y, const float* none, int flag, '
                    "long long n, float x, unsigned u) {\n"
                    "  *y = (none == nullptr) + 10 * flag + 100 * n + 1000 * x + 10000 * u; }")
    y = cupy.zeros(1)
    native("sum", 1, 1, y, None, True, 2, 3.0, np.uint32(4))
    assert y.get()[0] == 43211


@needs_compiler
def test_large_shared_memory_is_asked_for(cupy, source):
    native = source('extern "C" __global__ void f(float* y) {\n'
                    "  float* row = static_cast<float*>(cuda_cpu::dynamic_memory());\n"
                    "  row[threadIdx.x + 20000] = threadIdx.x;\n"
                    "  y[threadIdx.x] = row[threadIdx.x + 20000]; }")
    y = cupy.zeros(64, "float32")
    native("f", (1,), (64,), y, shared=20064 * 4)
    np.testing.assert_array_equal(y.get(), np.arange(64))
    with pytest.raises(Exception, match="300000"):
        native("f", (1,), (64,), y, shared=300000)


def test_tensor_cores_are_not_asked_of_older_devices(cupy, launcher, monkeypatch):
    assert launcher.capability() == 90
    attention = importlib.import_module("tinygen.kernels.gpu.attention")
    monkeypatch.setattr(attention, "capability", lambda: 75)
    q = cupy.ones((2, 4, 8), "float16")
    assert "before sm_80" in attention._refused(q, q, q, None, None, 1.0)
    q = cupy.ones((2, 4, 8), "float32")
    assert attention._refused(q, q, q, None, None, 1.0) is None


@needs_compiler
def test_each_device_has_functions_of_its_own(cupy, source):
    native = source('extern "C" __global__ void f(float* y) { *y = 1; }')
    for device in (0, 1, 0):
        with cupy.cuda.Device(device):
            y = cupy.zeros(1, "float32")
            native("f", 1, 1, y)
            assert y.get()[0] == 1
    assert sorted(native._functions) == [("f", 0), ("f", 1)]


def test_a_compiler_that_does_not_work_leaves_cupy_in_charge(cupy, launcher, monkeypatch):
    def fail(**_):
        raise RuntimeError("libnvrtc.so.13 cannot be loaded")
    monkeypatch.setattr(cupy, "RawModule", fail)
    with pytest.raises(Unavailable, match="NVRTC does not work here: libnvrtc"):
        launcher.Source("softmax")("softmax_f32", 1, 32)


def test_other_errors_are_not_taken_for_a_missing_compiler(cupy, launcher, monkeypatch):
    def fail(**_):
        raise RuntimeError("out of memory")
    monkeypatch.setattr(cupy, "RawModule", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        launcher.Source("softmax")("softmax_f32", 1, 32)


def test_arrays_are_copied_only_where_they_lie_otherwise(cupy, launcher):
    x = cupy.ones((6, 8), "float32")
    assert launcher.plain(x) is x and launcher.plain(x[2:]).data.ptr == x[2:].data.ptr
    for view in (x.T, x[:, 1:], x.reshape(-1)[1:]):
        made = launcher.plain(view)
        assert made.flags.c_contiguous and made.data.ptr % 16 == 0 and made.shape == view.shape


@pytest.mark.parametrize("kind", ["float32", "float16"])
@pytest.mark.parametrize("n", [1, 32, 256, 257, 1000, 4096, 8192, 8193, 100000])
def test_teams(launcher, n, kind):
    threads, rows = launcher.team(n, np.dtype(kind))
    assert threads % 32 == 0 and threads * rows <= 1024
    assert rows == 1 or threads == 32
    assert threads * launcher.HOLD >= n * np.dtype(kind).itemsize or threads == 512
    assert launcher.team(n, np.dtype(kind), 512)[0] <= 512
