// Sums over neighbours in memory: of rows, or of parts of them when there are few.
#include "common.cuh"

// out[row, part] = scale * the sum of a part of a row of n values; a team to each.
template <class T, class Out, int N>
INLINE void sum_rows(const T* x, Out* out, long long rows, long long n, long long size,
                     long long parts, float scale) {
  long long team = team_row(), row = team / parts, first = team % parts * size;
  if (row >= rows) return;
  long long last = min(first + size, n);
  float sum = 0.0f;
#pragma unroll 2
  for (long long i = first + threadIdx.x * N; i < last; i += blockDim.x * N) {
    Pack<T, N> pack = load_pack<T, N>(x + row * n + i);
    float some = to_float(pack.at[0]);
#pragma unroll
    for (int k = 1; k < N; k++) some += to_float(pack.at[k]);
    sum += some;
  }
  sum = team_sum(sum);
  if (threadIdx.x == 0) out[team] = from_float<Out>(sum * scale);
}

// registers: 40
#define SUMS(suffix, T, Out) \
  extern "C" __global__ void __launch_bounds__(256, 4) \
  sum_rows_##suffix(const T* __restrict__ x, Out* __restrict__ out, long long rows, long long n, \
                    long long size, long long parts, float scale, int packs) { \
    if (packs) sum_rows<T, Out, WIDE<T>>(x, out, rows, n, size, parts, scale); \
    else sum_rows<T, Out, 1>(x, out, rows, n, size, parts, scale); \
  }
SUMS(bf16, bf16, bf16)
SUMS(f16, f16, f16)
SUMS(bf16_f32, bf16, float)
SUMS(f16_f32, f16, float)
SUMS(f32_bf16, float, bf16)
SUMS(f32_f16, float, f16)
