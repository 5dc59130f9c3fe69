"""What CUDA C on the CPU catches: barriers, warps, bounds, poisoned memory, arguments."""

import os
import time

import numpy as np
import pytest

from tests.doubles import memory
from tests.doubles.cuda.build import CompileError, KernelError, build, cache_dir, thread_order

from .running import BF16, needs_compiler

pytestmark = needs_compiler

# Small kernels that go wrong, or not, by their arguments.
SOURCE = r"""
struct bf16 { unsigned short bits; };
struct Sizes { int n; float scale; };

extern "C" __global__ void __launch_bounds__(64) numbers(float* y) {
  y[blockIdx.x * blockDim.x + threadIdx.x] = blockIdx.x * 1000 + threadIdx.y * 100 + threadIdx.x;
}
extern "C" __global__ void reversed(const float* x, float* y, int wait) {
  __shared__ float row[128];
  row[threadIdx.x] = x[threadIdx.x];
  if (wait) __syncthreads();
  y[threadIdx.x] = row[blockDim.x - 1 - threadIdx.x];
}
extern "C" __global__ void half_waits(float* y) {
  if (threadIdx.x < blockDim.x / 2) __syncthreads();
  y[threadIdx.x] = 1;
}
extern "C" __global__ void two_barriers(float* y) {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
  y[threadIdx.x] = 1;
}
extern "C" __global__ void some_lanes(float* y, unsigned mask) {
  float x = threadIdx.x;
  if (threadIdx.x < 16) x = __shfl_xor_sync(mask, x, 1);
  __syncthreads();
  y[threadIdx.x] = x;
}
extern "C" __global__ void shuffles(float* y, int which) {
  float x = threadIdx.x;
  if (which == 0) x = __shfl_sync(~0u, x, 5);
  if (which == 1) x = __shfl_down_sync(~0u, x, 3, 8);
  if (which == 2) x = __shfl_up_sync(~0u, x, 2);
  if (which == 3) x = __ballot_sync(~0u, threadIdx.x % 2) == 0xaaaaaaaau;
  if (which == 4) x = __all_sync(~0u, threadIdx.x < 31) * 2 + __any_sync(~0u, threadIdx.x == 31);
  if (which == 5) x = __shfl_sync(0xffffu << (threadIdx.x / 16 * 16), x, 3);
  y[threadIdx.x] = x;
}
extern "C" __global__ void beyond(float* y, int index) {
  __shared__ float row[32];
  row[threadIdx.x] = 0;
  row[index] = 1;
  y[threadIdx.x] = row[threadIdx.x];
}
extern "C" __global__ void dynamic(float* y, int index) {
  float* row = static_cast<float*>(cuda_cpu::dynamic_memory());
  y[threadIdx.x] = row[threadIdx.x];
  row[index] = 1;
}
extern "C" __global__ void counted(unsigned* y) { atomicAdd(y, 1u); }
extern "C" __global__ void typed(const bf16* a, const long long* b, const void* c, int n, float x,
                                 unsigned long long m, Sizes s, float* y) {
  *y = n + x + m + s.n * s.scale;
}
extern "C" __global__ void wild(const float* x, float* y, long long at, int divisor) {
  y[threadIdx.x] = x[at] + 7 / divisor;
}
extern "C" __global__ void aligned(const float* x, float* y, int at) {
  cuda_cpu::check_aligned(x + at, 16);
  y[threadIdx.x] = x[at];
}
extern "C" __global__ void copied(const float* x, float* y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i <= n) y[i] = x[i];
}
"""


@pytest.fixture(scope="module")
def kernels():
    return build(SOURCE)


def _run(kernel, threads, *args, grid=1, shared=0):
    kernel((grid,), (threads,) if isinstance(threads, int) else threads, args, shared_mem=shared)


@pytest.mark.parametrize("order", range(3))
def test_every_thread_of_every_block_runs_once(kernels, order):
    with thread_order(order):
        y = np.zeros(64, np.float32)
        _run(kernels["numbers"], 32, y, grid=2)
        np.testing.assert_array_equal(y, [*range(32), *range(1000, 1032)])
        count = np.zeros(1, np.uint32)
        _run(kernels["counted"], (40, 3, 2), count, grid=7)
        assert count[0] == 240 * 7


def test_a_barrier_makes_all_writes_seen_and_its_lack_shows(kernels):
    x, wrong = np.arange(96, dtype=np.float32), []
    for order in range(3):
        with thread_order(order):
            y = np.zeros_like(x)
            _run(kernels["reversed"], 96, x, y, np.int32(1))
            np.testing.assert_array_equal(y, x[::-1])
            _run(kernels["reversed"], 96, x, y, np.int32(0))
            wrong.append((y != x[::-1]).any())
    assert all(wrong)


def test_barriers_that_not_all_threads_reach(kernels):
    y = np.zeros(64, np.float32)
    with pytest.raises(KernelError, match="reached by 32 of 64 threads"):
        _run(kernels["half_waits"], 64, y)
    with pytest.raises(KernelError, match=r"__syncthreads of lines \d+ and \d+ at once"):
        _run(kernels["two_barriers"], 64, y)
    with pytest.raises(KernelError, match=r"waits at line \d+ for lanes ffffffff"):
        _run(kernels["some_lanes"], 32, y, np.uint32(0xffffffff))
    with pytest.raises(KernelError, match="does not name the lane itself"):
        _run(kernels["some_lanes"], 32, y, np.uint32(0x0fff))
    _run(kernels["some_lanes"], 32, y, np.uint32(0xffff))
    np.testing.assert_array_equal(y[:4], [1, 0, 3, 2])


def test_shuffles_and_votes(kernels):
    lane = np.arange(32)
    wanted = [np.full(32, 5), np.where(lane % 8 < 5, lane + 3, lane),
              np.where(lane < 2, lane, lane - 2), np.ones(32), np.ones(32),
              np.where(lane < 16, 3, np.nan)]       # lane 3 takes no part in the second half
    for which, want in enumerate(wanted):
        for order in range(3):
            y = np.zeros(32, np.float32)
            kernels["shuffles"]((1,), (32,), (y, np.int32(which)), order=order)
            np.testing.assert_array_equal(y, want)


def test_indices_outside_of_arrays(kernels):
    y = np.zeros(32, np.float32)
    _run(kernels["beyond"], 32, y, np.int32(31))
    for index in (32, -1):
        with pytest.raises(KernelError, match="outside of the array"):
            _run(kernels["beyond"], 32, y, np.int32(index))
    _run(kernels["dynamic"], 32, y, np.int32(31), shared=128)
    assert np.isnan(y[:31]).all()        # nothing had been written there
    for index in (32, -1):
        with pytest.raises(KernelError, match="of the dynamic shared memory"):
            _run(kernels["dynamic"], 32, y, np.int32(index), shared=128)


def test_reading_and_writing_past_an_array(kernels):
    x, y = memory.allocate((5,), np.float32), memory.allocate((6,), np.float32)
    x[:] = 1
    _run(kernels["copied"], 32, x, y, np.int32(5))
    assert np.isnan(y[5])                # x[5] is in the guard zone
    x = np.ones(7, np.float32)
    _run(kernels["copied"], 32, x, y, np.int32(6))
    with pytest.raises(memory.OutOfBounds):
        memory.check([y])


def test_wild_addresses_end_the_launch_and_not_the_process(kernels):
    x, y = memory.allocate((8,), np.float32), np.zeros(1, np.float32)
    for at, divisor in ((1 << 45, 1), (0, 0)):
        with pytest.raises(KernelError, match=r"thread \(0, 0, 0\) used the address"):
            _run(kernels["wild"], 1, x, y, np.int64(at), np.int32(divisor))
    _run(kernels["aligned"], 1, x, y, np.int32(4))
    with pytest.raises(KernelError, match=r"16 bytes at once at .* no multiple of 16"):
        _run(kernels["aligned"], 1, x, y, np.int32(5))


def test_arguments_are_checked(kernels):
    good = [np.zeros(1, BF16), np.zeros(1, np.int64), np.zeros(3, np.uint8), np.int32(1),
            np.float32(2), np.uint64(3), np.array((4, 0.5), "i4,f4"), np.zeros(1, np.float32)]
    _run(kernels["typed"], 1, *good)
    assert good[-1] == 8
    bad = {0: np.zeros(1, np.float16), 1: np.zeros(1, np.int32), 2: 5, 3: 1, 4: 2.0,
           5: np.int64(3), 6: np.int32(4), 7: np.zeros(1)}
    for i, x in bad.items():
        with pytest.raises(KernelError, match=f"typed: argument {i}, "):
            _run(kernels["typed"], 1, *good[:i], x, *good[i + 1:])
    with pytest.raises(KernelError, match="7 arguments for 8"):
        _run(kernels["typed"], 1, *good[:7])
    good[7].flags.writeable = False
    with pytest.raises(KernelError, match="read-only"):
        _run(kernels["typed"], 1, *good)


def test_sizes_of_launches_are_checked(kernels):
    y = np.zeros(2048, np.float32)
    for threads, grid, shared in ((65, 1, 0), (0, 1, 0), (32, 0, 0), (32, 1, 1 << 20)):
        with pytest.raises(KernelError, match="numbers: "):
            _run(kernels["numbers"], threads, y, grid=grid, shared=shared)
    with pytest.raises(KernelError, match="65535"):
        kernels["numbers"]((1, 1 << 16), (32,), (y,))


def test_what_cannot_be_compiled():
    with pytest.raises(CompileError, match="nothing_at_all"):
        build('extern "C" __global__ void f(float* y) { nothing_at_all(y); }')
    with pytest.raises(CompileError, match="a kernel must read"):
        build("__global__ void f(float* y) { *y = 1; }")


def test_what_was_compiled_is_kept_for_a_month(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYGEN_CACHE", str(tmp_path))
    folder = cache_dir("cuda-on-cpu")
    for name, days in (("old.so", 31), ("young.so", 29)):
        (folder / name).touch()
        os.utime(folder / name, (time.time() - days * 86400,) * 2)
    build('extern "C" __global__ void kept(float* y) { *y = 1; }')
    found = {path.name for path in folder.iterdir()}
    assert "young.so" in found and "old.so" not in found and len(found) == 2


def test_fibers_without_assembly():
    """Where there is none for the processor, the C library switches between threads."""
    kernel = build(SOURCE, ("-DCUDA_CPU_UCONTEXT",))["reversed"]
    x, y = np.arange(96, dtype=np.float32), np.zeros(96, np.float32)
    _run(kernel, 96, x, y, np.int32(1))
    np.testing.assert_array_equal(y, x[::-1])


def test_halves_round_as_numpy_says():
    source = r"""
    extern "C" __global__ void halves(const float* x, unsigned short* y, float* back) {
      int i = blockIdx.x * blockDim.x + threadIdx.x;
      y[i] = cuda_cpu::float_to_half(x[i]);
      back[i] = cuda_cpu::half_to_float(y[i]);
    }"""
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    every = np.sort(every[np.isfinite(every)])
    middle = (every[1:] + every[:-1]) / 2          # as near to one number as to the next
    x = np.concatenate([every, middle, np.nextafter(middle, np.float32(-np.inf)),
                        np.nextafter(middle, np.float32(np.inf)),
                        np.float32([np.inf, -np.inf, 65519, 65520, 1e30])])
    x = np.resize(x, -(-x.size // 512) * 512)
    y, back = np.zeros(x.size, np.uint16), np.zeros(x.size, np.float32)
    _run(build(source)["halves"], 512, x, y, back, grid=x.size // 512)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(y, x.astype(np.float16).view(np.uint16))
    np.testing.assert_array_equal(back, y.view(np.float16).astype(np.float32))
