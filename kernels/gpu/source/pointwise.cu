// Elementwise functions and their gradients: where CuPy would run several kernels, one.
//
// A formula is written once, on floats; arrays are read and written 16 bytes at a time. Arrays may
// have any memory order without gaps, the same for all.

#include "common.cuh"

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
    apply<T, 1>(x, x, y, n, packs, a, b, name##_formula()); \
  }

#define ENTRY_2(name, suffix, T) \
  extern "C" __global__ void __launch_bounds__(256) \
  name##_##suffix(const T* g, const T* x, T* y, long long n, int packs, float a, float b) { \
    apply<T, 2>(g, x, y, n, packs, a, b, name##_formula()); \
  }

// A function of x, with constants a and b.
#define FUNCTION(name, expression) \
  struct name##_formula { \
    INLINE float operator()(float x, float, float a, float b) const { return expression; } \
  }; \
  ENTRY_1(name, f32, float) ENTRY_1(name, bf16, bf16) ENTRY_1(name, f16, f16)

// A gradient g times the slope at x (or at the function's result: tanh and sigmoid).
#define GRADIENT(name, expression) \
  struct name##_formula { \
    INLINE float operator()(float g, float x, float a, float b) const { return expression; } \
  }; \
  ENTRY_2(name, f32, float) ENTRY_2(name, bf16, bf16) ENTRY_2(name, f16, f16)

INLINE float logistic(float x) { return 1.f / (1.f + expf(-x)); }
INLINE float soft(float x) { return fmaxf(x, 0.f) + log1pf(expf(-fabsf(x))); }
INLINE float normal_up_to(float x) { return 0.5f * (1.f + erff(x * 0.70710678f)); }
INLINE float of_gelu(float x) { return 0.79788456f * (x + 0.044715f * x * x * x); }

FUNCTION(sigmoid, logistic(x))
FUNCTION(log_sigmoid, fminf(x, 0.f) - log1pf(expf(-fabsf(x))))
FUNCTION(softplus, a * x > b ? x : soft(a * x) / a)
FUNCTION(silu, x * logistic(x))
FUNCTION(mish, x * tanhf(soft(x)))
FUNCTION(gelu_exact, x * normal_up_to(x))
FUNCTION(gelu_tanh, 0.5f * x * (1.f + tanhf(of_gelu(x))))
FUNCTION(leaky_relu, x > 0.f ? x : a * x)
FUNCTION(elu, x > 0.f ? x : a * expm1f(x))
FUNCTION(erf, erff(x))

INLINE float mish_slope(float x) {
  float t = tanhf(soft(x));
  return t + x * ((1.f - t * t) * logistic(x));
}

INLINE float silu_slope(float x) {
  float s = logistic(x);
  return s + x * (s * (1.f - s));
}

INLINE float gelu_tanh_slope(float x) {
  float t = tanhf(of_gelu(x));
  return 0.5f * (1.f + t) +
         0.5f * x * (1.f - t * t) * 0.79788456f * (1.f + 3.f * 0.044715f * x * x);
}

GRADIENT(tanh_grad, g * (1.f - x * x))
GRADIENT(relu_grad, g * (x > 0.f ? 1.f : 0.f))
GRADIENT(sigmoid_grad, g * (x * (1.f - x)))
GRADIENT(log_sigmoid_grad, g * logistic(-x))
GRADIENT(softplus_grad, a * x > b ? g : g * logistic(a * x))
GRADIENT(silu_grad, g * silu_slope(x))
GRADIENT(mish_grad, g * mish_slope(x))
GRADIENT(gelu_exact_grad, g * (normal_up_to(x) + x * expf(-0.5f * x * x) * 0.39894228f))
GRADIENT(gelu_tanh_grad, g * gelu_tanh_slope(x))
GRADIENT(leaky_relu_grad, g * (x > 0.f ? 1.f : a))
GRADIENT(elu_grad, g * (x > 0.f ? 1.f : a * expf(x)))
