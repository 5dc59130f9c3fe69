// What stands behind a product of matrices: the bias with an activation, the gradient of both, and
// sums of columns. Activations are those whose slope follows from their result.
#include "common.cuh"

enum Activation { NONE, RELU, LEAKY_RELU, TANH, SIGMOID };

INLINE float activated(float z, int which, float slope) {
  if (which == RELU) return z <= 0.0f ? 0.0f : z;              // NaN stays NaN
  if (which == LEAKY_RELU) return z > 0.0f ? z : slope * z;
  if (which == TANH) return tanhf(z);
  return which == SIGMOID ? 1.0f / (1.0f + expf(-z)) : z;
}

INLINE float slope_at(float y, int which, float slope) {
  if (which == RELU) return y > 0.0f ? 1.0f : 0.0f;
  if (which == LEAKY_RELU) return y > 0.0f ? 1.0f : slope;
  if (which == TANH) return 1.0f - y * y;
  return which == SIGMOID ? y * (1.0f - y) : 1.0f;
}

// y (rows, n) = f(y + bias), in place; N values to a thread.
template <class T, int N>
INLINE void bias_activation(T* y, const T* bias, long long size, int n, int which, float slope) {
  long long i = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * N;
  if (i >= size) return;
  Pack<T, N> pack = load_pack<T, N>(y + i), of_bias;
  if (bias) of_bias = load_pack<T, N>(bias + i % n);
#pragma unroll
  for (int k = 0; k < N; k++) {
    float z = to_float(pack.at[k]);
    if (bias) z += to_float(of_bias.at[k]);
    pack.at[k] = from_float<T>(activated(z, which, slope));
  }
  store_pack<T, N>(y + i, pack);
}

// ---- sums of columns ----------------------------------------------------------------------------

constexpr int COLUMNS = 32, LANES = 8;

// out[part, column] = the sum of value(row, column) over the rows of a part: blockIdx.y says which,
// blockIdx.x which 32 columns. A warp reads a piece of a row, eight warps take rows in turn.
template <class Out, class F>
INLINE void sum_columns(Out* out, long long rows, int n, long long rows_of_part, F value) {
  __shared__ float sums[LANES][COLUMNS];
  int lane = threadIdx.x % COLUMNS, warp = threadIdx.x / COLUMNS;
  int column = blockIdx.x * COLUMNS + lane;
  long long first = blockIdx.y * rows_of_part, last = min(first + rows_of_part, rows);
  float sum = 0.0f;
  if (column < n) {
#pragma unroll 4
    for (long long r = first + warp; r < last; r += LANES) sum += value(r * n + column);
  }
  sums[warp][lane] = sum;
  __syncthreads();
  if (warp == 0 && column < n && out) {
#pragma unroll
    for (int k = 1; k < LANES; k++) sum += sums[k][lane];
    out[static_cast<long long>(blockIdx.y) * n + column] = from_float<Out>(sum);
  }
}

// registers: 40
#define COLUMN_SUMS(suffix, T, Out) \
  extern "C" __global__ void __launch_bounds__(256, 4) \
  column_sums_##suffix(const T* __restrict__ x, Out* __restrict__ out, long long rows, int n, \
                       long long rows_of_part) { \
    sum_columns(out, rows, n, rows_of_part, [=](long long i) { return to_float(x[i]); }); \
  }
COLUMN_SUMS(f32, float, float)
COLUMN_SUMS(bf16, bf16, float)
COLUMN_SUMS(f16, f16, float)
COLUMN_SUMS(f32_bf16, float, bf16)
COLUMN_SUMS(f32_f16, float, f16)

// inner = g f'(y), and its sums of columns by parts where they are asked for.
#define LINEAR(suffix, T) \
  extern "C" __global__ void __launch_bounds__(256, 4) \
  bias_activation_##suffix(T* __restrict__ y, const T* __restrict__ bias, long long size, int n, \
                           int which, float slope, int packs) { \
    if (packs) bias_activation<T, WIDE<T>>(y, bias, size, n, which, slope); \
    else bias_activation<T, 1>(y, bias, size, n, which, slope); \
  } \
  extern "C" __global__ void __launch_bounds__(256, 4) \
  activation_grad_##suffix(const T* __restrict__ g, const T* __restrict__ y, \
                           T* __restrict__ inner, float* __restrict__ parts, long long rows, \
                           int n, long long rows_of_part, int which, float slope) { \
    sum_columns(parts, rows, n, rows_of_part, [=](long long i) { \
      T rounded = from_float<T>(to_float(g[i]) * slope_at(to_float(y[i]), which, slope)); \
      inner[i] = rounded; \
      return to_float(rounded); \
    }); \
  }
FOR_TYPES(LINEAR)
