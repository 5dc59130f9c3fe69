// Elementwise functions and their gradients: where CuPy would run several kernels, one.
//
// The formulas stand in formulas.cuh; arrays are read and written 16 bytes at a time. Arrays may
// have any memory order without gaps, the same for all.

#include "common.cuh"
#include "formulas.cuh"

// registers: 40

template <class T, int N, class Formula>
INLINE void apply(const T* first, const T* second, T* y, long long n, int packs, float a, float b,
                  Formula formula) {
  constexpr int wide = WIDE<T>;
  long long i = ((long long)blockIdx.x * 256 + threadIdx.x) * wide;
  if (i >= n) return;
  if (packs && i + wide <= n) {
    Pack<T, wide> one = load_pack<T, wide>(first + i), two = one;
    if (N == 2) two = load_pack<T, wide>(second + i);
#pragma unroll
    for (int k = 0; k < wide; k++)
      one.at[k] = from_float<T>(formula(to_float(one.at[k]), to_float(two.at[k]), a, b));
    store_pack<T, wide>(y + i, one);
  } else {
    for (long long e = i; e < i + wide && e < n; e++) {
      float x = to_float(first[e]);
      y[e] = from_float<T>(formula(x, N == 2 ? to_float(second[e]) : x, a, b));
    }
  }
}

#define ENTRY_1(name, suffix, T) \
  extern "C" __global__ void __launch_bounds__(256) \
  name##_##suffix(const T* x, T* y, long long n, int packs, float a, float b) { \
    apply<T, 1>(x, x, y, n, packs, a, b, [](float x, float, float a, float b) { \
      return name##_formula<T>(x, a, b); \
    }); \
  }

#define ENTRY_2(name, suffix, T) \
  extern "C" __global__ void __launch_bounds__(256) \
  name##_##suffix(const T* g, const T* x, T* y, long long n, int packs, float a, float b) { \
    apply<T, 2>(g, x, y, n, packs, a, b, [](float g, float x, float a, float b) { \
      return name##_formula<T>(g, x, a, b); \
    }); \
  }

#define OF_ONE(name) ENTRY_1(name, f32, float) ENTRY_1(name, bf16, bf16) ENTRY_1(name, f16, f16)
#define OF_TWO(name) ENTRY_2(name, f32, float) ENTRY_2(name, bf16, bf16) ENTRY_2(name, f16, f16)

OF_ONE(sigmoid)
OF_ONE(log_sigmoid)
OF_ONE(softplus)
OF_ONE(silu)
OF_ONE(mish)
OF_ONE(gelu_exact)
OF_ONE(gelu_tanh)
OF_ONE(leaky_relu)
OF_ONE(elu)
OF_ONE(erf)

OF_TWO(tanh_grad)
OF_TWO(relu_grad)
OF_TWO(sigmoid_grad)
OF_TWO(log_sigmoid_grad)
OF_TWO(softplus_grad)
OF_TWO(silu_grad)
OF_TWO(mish_grad)
OF_TWO(gelu_exact_grad)
OF_TWO(gelu_tanh_grad)
OF_TWO(leaky_relu_grad)
OF_TWO(elu_grad)
