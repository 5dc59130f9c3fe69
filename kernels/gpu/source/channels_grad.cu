// The gradients of batch, group and instance norm, and of one scale and shift per channel.
//
// With hat = (x - mean) rstd and w the weight of a value's channel, over the m values of a
// statistic:
//   gx = rstd (w g - mean(w g) - hat mean(w g hat));  g_weight = sum(g hat);  g_bias = sum(g).
#include "channels.cuh"

constexpr int COLUMNS = 32, LANES = 8;

// sums = sum(g), products = sum(g (x - mean)) of each piece; x and mean may be missing.
template <class T>
INLINE void sums_planes(const T* g, const T* x, const float* mean, float* sums, float* products,
                        long long planes, int channels, int length, int piece, int pieces,
                        int each) {
  Piece p = piece_of(planes, channels, length, piece, pieces, each);
  if (!p.inside) return;
  float centre = mean ? mean[p.statistic] : 0.0f;
  with_held_rows<T>(length % WIDE<T> == 0, [&](auto kind) {
    using R = typename decltype(kind)::Row;
    R of_g(g + p.first, p.n), of_x(x ? x + p.first : nullptr, p.n);
    float sum = 0.0f, product = 0.0f;
    of_g.each([&](int c, int s) {
      sum += of_g.at(c, s);
      if (x) product += of_g.at(c, s) * (of_x.at(c, s) - centre);
    });
    sum = team_sum(sum);
    if (x) product = team_sum(product);
    if (threadIdx.x == 0) {
      sums[team_row()] = sum;
      if (x) products[team_row()] = product;
    }
  });
}

template <class T>
INLINE void sums_columns(const T* g, const T* x, const float* mean, float* sums, float* products,
                         long long rows, int channels, long long rows_of_part) {
  __shared__ float kept[2][LANES][COLUMNS];
  int lane = threadIdx.x % COLUMNS, warp = threadIdx.x / COLUMNS;
  int column = blockIdx.x * COLUMNS + lane;
  long long first = blockIdx.y * rows_of_part, last = min(first + rows_of_part, rows);
  float sum = 0.0f, product = 0.0f;
  if (column < channels) {
    float centre = mean ? mean[column] : 0.0f;
#pragma unroll 4
    for (long long r = first + warp; r < last; r += LANES) {
      float slope = to_float(g[r * channels + column]);
      sum += slope;
      if (x) product += slope * (to_float(x[r * channels + column]) - centre);
    }
  }
  kept[0][warp][lane] = sum;
  kept[1][warp][lane] = product;
  __syncthreads();
  if (warp > 0 || column >= channels) return;
  for (int k = 1; k < LANES; k++) {
    sum += kept[0][k][lane];
    product += kept[1][k][lane];
  }
  long long part = static_cast<long long>(blockIdx.y) * channels + column;
  sums[part] = sum;
  if (x) products[part] = product;
}

// total = sum(w sums), inner = sum(w products rstd) over the parts of each result; a warp to each.
// Planes: part number / pieces is the plane, which says what w and rstd are. Columns (pieces = 0):
// the result is the channel. Everything but sums may be missing.
template <class W>
INLINE void merge_sums(const float* sums, const float* products, const float* var, const W* weight,
                       float* total, float* inner, int results, long long base, Parts parts,
                       int channels, int pieces, int each, float eps) {
  int r = static_cast<int>(team_row());
  if (r >= results) return;
  parts.base = r * base;
  float a = 0.0f, b = 0.0f;
  for (int j = threadIdx.x; j < parts.count; j += 32) {
    long long at = parts.number(j), plane = pieces ? at / pieces : r;
    int channel = static_cast<int>(plane % channels);
    float w = weight ? to_float(weight[channel]) : 1.0f;
    a += w * sums[at];
    if (!products) continue;
    float rstd = var ? 1.0f / sqrtf(var[each ? plane / each : channel] + eps) : 1.0f;
    b += w * rstd * products[at];
  }
  a = warp_sum(a);
  b = warp_sum(b);
  if (threadIdx.x > 0) return;
  total[r] = a;
  if (products) inner[r] = b;
}

// gx = slope g + (x - centre) tilt + shift of a channel. `each` says that total and inner are those
// of a group and have the weights in them; else they are a channel's, without.
struct Plane { float slope, centre, tilt, shift; };

template <class W>
INLINE Plane plane_of(const float* mean, const float* var, const W* weight, const float* total,
                      const float* inner, int channel, int statistic, int each, float values,
                      float eps) {
  float rstd = 1.0f / sqrtf(var[statistic] + eps), w = weight ? to_float(weight[channel]) : 1.0f;
  float outer = each ? rstd : rstd * w;
  return {rstd * w, mean[statistic], -outer * rstd * inner[statistic] / values,
          -outer * total[statistic] / values};
}

template <class T, class W>
INLINE void norm_grad_planes(const T* g, const T* x, const float* mean, const float* var,
                             const W* weight, const float* total, const float* inner, T* gx,
                             long long planes, int channels, int length, int piece, int pieces,
                             int each, float values, float eps) {
  Piece p = piece_of(planes, channels, length, piece, pieces, each);
  if (!p.inside) return;
  Plane f = plane_of(mean, var, weight, total, inner, p.channel, p.statistic, each, values, eps);
  with_held_rows<T>(length % WIDE<T> == 0, [&](auto kind) {
    using R = typename decltype(kind)::Row;
    R of_g(g + p.first, p.n), of_x(x + p.first, p.n);
    of_g.write(gx + p.first, [&](int c, int s) {
      return f.slope * of_g.at(c, s) + (of_x.at(c, s) - f.centre) * f.tilt + f.shift;
    });
  });
}

template <class T, class W>
INLINE void norm_grad_columns(const T* g, const T* x, const float* mean, const float* var,
                              const W* weight, const float* total, const float* inner, T* gx,
                              long long rows, int channels, long long rows_of_part, float values,
                              float eps) {
  int column = blockIdx.x * COLUMNS + threadIdx.x % COLUMNS;
  if (column >= channels) return;
  Plane f = plane_of(mean, var, weight, total, inner, column, column, 0, values, eps);
  long long first = blockIdx.y * rows_of_part, last = min(first + rows_of_part, rows);
#pragma unroll 4
  for (long long r = first + threadIdx.x / COLUMNS; r < last; r += LANES) {
    long long i = r * channels + column;
    gx[i] = from_float<T>(f.slope * to_float(g[i]) + (to_float(x[i]) - f.centre) * f.tilt
                          + f.shift);
  }
}

// registers: 64
#define SUMS(suffix, T) \
  extern "C" __global__ void __launch_bounds__(1024, 1) \
  sums_planes_##suffix(const T* __restrict__ g, const T* __restrict__ x, const float* mean, \
                       float* sums, float* products, long long planes, int channels, int length, \
                       int piece, int pieces, int each) { \
    sums_planes(g, x, mean, sums, products, planes, channels, length, piece, pieces, each); \
  } \
  extern "C" __global__ void __launch_bounds__(256, 4) \
  sums_columns_##suffix(const T* __restrict__ g, const T* __restrict__ x, const float* mean, \
                        float* sums, float* products, long long rows, int channels, \
                        long long rows_of_part) { \
    sums_columns(g, x, mean, sums, products, rows, channels, rows_of_part); \
  } \
  extern "C" __global__ void __launch_bounds__(256, 4) \
  merge_sums_##suffix(const float* sums, const float* products, const float* var, \
                      const T* weight, float* total, float* inner, int results, long long base, \
                      long long outer, long long step, int count, int run, int channels, \
                      int pieces, int each, float eps) { \
    merge_sums(sums, products, var, weight, total, inner, results, base, \
               Parts{0, outer, step, count, run, 0, 0}, channels, pieces, each, eps); \
  }
FOR_TYPES(SUMS)

#define GRADS(suffix, T, W) \
  extern "C" __global__ void __launch_bounds__(1024, 1) \
  norm_grad_planes_##suffix(const T* __restrict__ g, const T* __restrict__ x, const float* mean, \
                            const float* var, const W* weight, const float* total, \
                            const float* inner, T* __restrict__ gx, long long planes, \
                            int channels, int length, int piece, int pieces, int each, \
                            float values, float eps) { \
    norm_grad_planes(g, x, mean, var, weight, total, inner, gx, planes, channels, length, piece, \
                     pieces, each, values, eps); \
  } \
  extern "C" __global__ void __launch_bounds__(256, 4) \
  norm_grad_columns_##suffix(const T* __restrict__ g, const T* __restrict__ x, \
                             const float* mean, const float* var, const W* weight, \
                             const float* total, const float* inner, T* __restrict__ gx, \
                             long long rows, int channels, long long rows_of_part, float values, \
                             float eps) { \
    norm_grad_columns(g, x, mean, var, weight, total, inner, gx, rows, channels, rows_of_part, \
                      values, eps); \
  }
FOR_PAIRS(GRADS)
