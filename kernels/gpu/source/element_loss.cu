// Losses of single elements, -t log p - (1 - t) log(1 - p) and (x - t)^2, summed up, and a gradient.
//
// A block sums 4096 elements, the last launch adds up the blocks: in float64, always in one order.
// The target and the gradient may be one number for all elements: their step is 0 then.

#include "common.cuh"
#include "formulas.cuh"
#include "sums.cuh"

// registers: 40

constexpr int THREADS = 256, CHUNK = 4096;      // kernels/gpu/element_loss.py knows

struct TwoClasses {
  INLINE float operator()(float x, float t) const { return bce_with_logits_formula<float>(x, t); }
};

struct Squares {
  INLINE float operator()(float x, float t) const { return mse_loss_formula<float>(x, t); }
};

template <class T, class Loss>
INLINE void each(const T* x, const T* target, int step, T* y, long long n, Loss loss) {
  long long i = (long long)blockIdx.x * THREADS + threadIdx.x;
  if (i < n) y[i] = from_float<T>(loss(to_float(x[i]), to_float(target[i * step])));
}

template <class T, class Loss>
INLINE void sums(const T* x, const T* target, int step, double* parts, long long n, Loss loss) {
  long long first = (long long)blockIdx.x * CHUNK, last = first + CHUNK < n ? first + CHUNK : n;
  double sum = 0.;
  for (long long i = first + threadIdx.x; i < last; i += THREADS)
    sum += (double)loss(to_float(x[i]), to_float(target[i * step]));
  sum = block_sum(sum);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// All parts times `share`: one block.
template <class T> INLINE void total(const double* parts, long long count, double share, T* y) {
  double sum = sum_of(parts, count);
  if (threadIdx.x == 0) *y = from_float<T>((float)(sum * share));
}

// g (sigmoid(x) - t).
template <class T>
INLINE void two_classes_grad(const T* x, const T* target, int step, const T* g, int step_g, T* y,
                             long long n) {
  long long i = (long long)blockIdx.x * THREADS + threadIdx.x;
  if (i >= n) return;
  y[i] = from_float<T>(bce_with_logits_grad_formula<T>(
      to_float(x[i]), to_float(target[i * step]), to_float(g[i * step_g])));
}

#define LOSS(name, suffix, T, Loss) \
  extern "C" __global__ void __launch_bounds__(256) \
  name##_##suffix(const T* x, const T* target, int step, T* y, long long n) { \
    each<T>(x, target, step, y, n, Loss()); \
  } \
  extern "C" __global__ void __launch_bounds__(256) \
  name##_sums_##suffix(const T* x, const T* target, int step, double* parts, long long n) { \
    sums<T>(x, target, step, parts, n, Loss()); \
  }

#define LOSSES(suffix, T) \
  LOSS(two_classes, suffix, T, TwoClasses) \
  LOSS(square, suffix, T, Squares) \
  extern "C" __global__ void __launch_bounds__(256) \
  total_##suffix(const double* parts, long long count, double share, T* y) { \
    total<T>(parts, count, share, y); \
  } \
  extern "C" __global__ void __launch_bounds__(256) \
  two_classes_grad_##suffix(const T* x, const T* target, int step, const T* g, int step_g, T* y, \
                            long long n) { \
    two_classes_grad<T>(x, target, step, g, step_g, y, n); \
  }
FOR_TYPES(LOSSES)
