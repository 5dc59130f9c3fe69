// Arithmetic on numbers of 16 bits: read as float, computed, rounded once. In CuPy's terms that
// would be a cast of each operand, the operation, and a cast of its result.
//
// An operand is an array of the result's size, an array that repeats itself (period values, the
// last axes), or, where the address is nullptr, a number.
#include "common.cuh"
#include "formulas.cuh"

template <class T, int N> INLINE Pack<T, N> operand(const T* x, long long i, long long period) {
  if (x) return load_pack<T, N>(x + (period ? i % period : i));
  return Pack<T, N>{};
}

template <class T, int N, class F>
INLINE void combine(const T* a, const T* b, T* y, long long size, long long period_a,
                    long long period_b, float number, F f) {
  long long i = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * N;
  if (i >= size) return;
  Pack<T, N> of_a = operand<T, N>(a, i, period_a);
  Pack<T, N> of_b = operand<T, N>(b, i, period_b);
#pragma unroll
  for (int k = 0; k < N; k++)
    of_a.at[k] = from_float<T>(f(a ? to_float(of_a.at[k]) : number,
                                 b ? to_float(of_b.at[k]) : number));
  store_pack<T, N>(y + i, of_a);
}

template <class T, int N, class F> INLINE void apply(const T* x, T* y, long long size, F f) {
  long long i = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * N;
  if (i >= size) return;
  Pack<T, N> pack = load_pack<T, N>(x + i);
#pragma unroll
  for (int k = 0; k < N; k++) pack.at[k] = from_float<T>(f(to_float(pack.at[k])));
  store_pack<T, N>(y + i, pack);
}

// `packs` says whether the size and the periods are multiples of 16 bytes.
#define BINARY_OF(name, suffix, T) \
  extern "C" __global__ void __launch_bounds__(256, 4) \
  name##_##suffix(const T* __restrict__ x, const T* __restrict__ z, T* __restrict__ y, \
                  long long size, long long period_x, long long period_z, float number, \
                  int packs) { \
    auto f = [](float a, float b) { return name##_formula<T>(a, b); }; \
    if (packs) combine<T, WIDE<T>>(x, z, y, size, period_x, period_z, number, f); \
    else combine<T, 1>(x, z, y, size, period_x, period_z, number, f); \
  }
#define UNARY_OF(name, suffix, T) \
  extern "C" __global__ void __launch_bounds__(256, 4) \
  name##_##suffix(const T* __restrict__ x, T* __restrict__ y, long long size, int packs) { \
    auto f = [](float a) { return name##_formula<T>(a); }; \
    if (packs) apply<T, WIDE<T>>(x, y, size, f); \
    else apply<T, 1>(x, y, size, f); \
  }
#define BINARY(name) BINARY_OF(name, bf16, bf16) BINARY_OF(name, f16, f16)
#define UNARY(name) UNARY_OF(name, bf16, bf16) UNARY_OF(name, f16, f16)

// registers: 48
BINARY(add)
BINARY(subtract)
BINARY(multiply)
BINARY(divide)
BINARY(maximum)
BINARY(minimum)

UNARY(negative)
UNARY(absolute)
UNARY(square)
UNARY(relu)
UNARY(exp)
UNARY(log)
UNARY(sqrt)
UNARY(rsqrt)
UNARY(tanh)
