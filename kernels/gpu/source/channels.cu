// Batch, group and instance norm: sums of pieces, their totals, and one pass that applies them.
#include "channels.cuh"

constexpr int COLUMNS = 32, LANES = 8;

// The column of a thread and its rows r, r + LANES, ... below `last`, for a block of 32 x 8
// threads.
struct Walk {
  long long first, last;
  int column, lane, warp;
  INLINE Walk(long long rows, long long rows_of_part) {
    lane = threadIdx.x % COLUMNS;
    warp = threadIdx.x / COLUMNS;
    column = blockIdx.x * COLUMNS + lane;
    long long start = blockIdx.y * rows_of_part;
    first = start + warp;
    last = min(start + rows_of_part, rows);
  }
  INLINE long long part(int channels) const {
    return static_cast<long long>(blockIdx.y) * channels + column;
  }
};

// ---- mean and variance --------------------------------------------------------------------------

template <class T>
INLINE void moments_planes(const T* x, float* means, float* squares, long long planes, int channels,
                           int length, int piece, int pieces) {
  Piece p = piece_of(planes, channels, length, piece, pieces, 0);
  if (!p.inside) return;
  with_held_rows<T>(length % WIDE<T> == 0, [&](auto kind) {
    typename decltype(kind)::Row row(x + p.first, p.n);
    float mean = row_sum(row, [&](int c, int s) { return row.at(c, s); }) / p.n;
    float sum = row_sum(row, [&](int c, int s) {
      float d = row.at(c, s) - mean;
      return d * d;
    });
    if (threadIdx.x == 0) {
      means[team_row()] = mean;
      squares[team_row()] = sum;
    }
  });
}

// Sums around the first value of each thread: it is off the mean by a few deviations, no more.
template <class T>
INLINE void moments_columns(const T* x, float* means, float* squares, long long rows, int channels,
                            long long rows_of_part) {
  __shared__ float kept[3][LANES][COLUMNS];
  Walk w(rows, rows_of_part);
  Moments m{0.0f, 0.0f, 0.0f};
  if (w.column < channels && w.first < w.last) {
    float guess = to_float(x[w.first * channels + w.column]), sum = 0.0f, square = 0.0f, n = 0.0f;
#pragma unroll 4
    for (long long r = w.first; r < w.last; r += LANES) {
      float d = to_float(x[r * channels + w.column]) - guess;
      sum += d;
      square += d * d;
      n += 1.0f;
    }
    m = {guess + sum / n, square - sum * (sum / n), n};
  }
  kept[0][w.warp][w.lane] = m.mean;
  kept[1][w.warp][w.lane] = m.squares;
  kept[2][w.warp][w.lane] = m.n;
  __syncthreads();
  if (w.warp > 0 || w.column >= channels) return;
  for (int k = 1; k < LANES; k++)
    m = together(m, Moments{kept[0][k][w.lane], kept[1][k][w.lane], kept[2][k][w.lane]});
  means[w.part(channels)] = m.mean;
  squares[w.part(channels)] = m.squares;
}

// A warp to a result; variances are those of the values at hand (divided by n).
INLINE void merge_moments(const float* means, const float* squares, float* mean, float* var,
                          int results, long long base, Parts parts) {
  int r = static_cast<int>(team_row());
  if (r >= results) return;
  parts.base = r * base;
  Moments m{0.0f, 0.0f, 0.0f};
  for (int j = threadIdx.x; j < parts.count; j += 32) {
    long long at = parts.number(j);
    m = together(m, Moments{means[at], squares[at], parts.values(j)});
  }
  m = warp_together(m);
  if (threadIdx.x > 0) return;
  mean[r] = m.mean;
  var[r] = m.squares / m.n;
}

// ---- applying them ------------------------------------------------------------------------------

// What becomes of a channel: (x - centre) scale + shift. Everything may be missing.
struct Line { float centre, scale, shift; };

template <class W>
INLINE Line line_of(const float* mean, const float* var, const W* weight, const W* bias,
                    int channel, int statistic, float eps) {
  float scale = var ? 1.0f / sqrtf(var[statistic] + eps) : 1.0f;
  if (weight) scale *= to_float(weight[channel]);
  return {mean ? mean[statistic] : 0.0f, scale, bias ? to_float(bias[channel]) : 0.0f};
}

template <class T, class W>
INLINE void scale_planes(const T* x, const float* mean, const float* var, const W* weight,
                         const W* bias, T* y, long long planes, int channels, int length, int piece,
                         int pieces, int each, float eps) {
  Piece p = piece_of(planes, channels, length, piece, pieces, each);
  if (!p.inside) return;
  Line f = line_of(mean, var, weight, bias, p.channel, p.statistic, eps);
  with_held_rows<T>(length % WIDE<T> == 0, [&](auto kind) {
    typename decltype(kind)::Row row(x + p.first, p.n);
    row.write(y + p.first, [&](int c, int s) {
      return (row.at(c, s) - f.centre) * f.scale + f.shift;
    });
  });
}

template <class T, class W>
INLINE void scale_columns(const T* x, const float* mean, const float* var, const W* weight,
                          const W* bias, T* y, long long rows, int channels,
                          long long rows_of_part, float eps) {
  Walk w(rows, rows_of_part);
  if (w.column >= channels) return;
  Line f = line_of(mean, var, weight, bias, w.column, w.column, eps);
#pragma unroll 4
  for (long long r = w.first; r < w.last; r += LANES) {
    long long i = r * channels + w.column;
    y[i] = from_float<T>((to_float(x[i]) - f.centre) * f.scale + f.shift);
  }
}

// registers: 48
#define CHANNELS(suffix, T, W) \
  extern "C" __global__ void __launch_bounds__(1024, 1) \
  scale_planes_##suffix(const T* __restrict__ x, const float* mean, const float* var, \
                        const W* weight, const W* bias, T* __restrict__ y, long long planes, \
                        int channels, int length, int piece, int pieces, int each, float eps) { \
    scale_planes(x, mean, var, weight, bias, y, planes, channels, length, piece, pieces, each, \
                 eps); \
  } \
  extern "C" __global__ void __launch_bounds__(256, 4) \
  scale_columns_##suffix(const T* __restrict__ x, const float* mean, const float* var, \
                         const W* weight, const W* bias, T* __restrict__ y, long long rows, \
                         int channels, long long rows_of_part, float eps) { \
    scale_columns(x, mean, var, weight, bias, y, rows, channels, rows_of_part, eps); \
  }
FOR_PAIRS(CHANNELS)

#define MOMENTS(suffix, T) \
  extern "C" __global__ void __launch_bounds__(1024, 1) \
  moments_planes_##suffix(const T* __restrict__ x, float* means, float* squares, \
                          long long planes, int channels, int length, int piece, int pieces) { \
    moments_planes(x, means, squares, planes, channels, length, piece, pieces); \
  } \
  extern "C" __global__ void __launch_bounds__(256, 4) \
  moments_columns_##suffix(const T* __restrict__ x, float* means, float* squares, \
                           long long rows, int channels, long long rows_of_part) { \
    moments_columns(x, means, squares, rows, channels, rows_of_part); \
  }
FOR_TYPES(MOMENTS)

extern "C" __global__ void __launch_bounds__(256, 4)
merge_moments_f32(const float* means, const float* squares, float* mean, float* var, int results,
                  long long base, long long outer, long long inner, int count, int run, int full,
                  int last) {
  merge_moments(means, squares, mean, var, results, base,
                Parts{0, outer, inner, count, run, full, last});
}
