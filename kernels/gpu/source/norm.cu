// Layer and root-mean-square normalisation over rows, forward and backward.
#include "rows.cuh"

// y = (x - mean) rstd weight + bias, with rstd = 1 / sqrt(variance + eps); the mean of squares and
// no mean where `mean` is nullptr. Weight and bias may be missing.
template <class T, class W>
INLINE void norm_rows(const T* x, const W* weight, const W* bias, T* y, float* mean, float* rstd,
                      long long rows, int n, float eps) {
  long long r = team_row();
  if (r >= rows) return;
  with_packed_rows<T>(n, [&](auto kind) {
    using R = typename decltype(kind)::Row;
    R row(x + r * n, n);
    float m = mean ? row_sum(row, [&](int c, int s) { return row.at(c, s); }) / n : 0.0f;
    float squares = row_sum(row, [&](int c, int s) {
      float d = row.at(c, s) - m;
      return d * d;
    });
    float inverse = 1.0f / sqrtf(squares / n + eps);
    typename R::template Of<W> w(weight, n), b(bias, n);
    row.write(y + r * n, [&](int c, int s) {
      float z = (row.at(c, s) - m) * inverse;
      if (weight) z *= w.at(c, s);
      return bias ? z + b.at(c, s) : z;
    });
    if (threadIdx.x == 0) {
      if (mean) mean[r] = m;
      rstd[r] = inverse;
    }
  });
}

// Sums over the rows that a team works on, of the columns of each thread: in registers where rows
// are held, else in memory, where no other thread touches them.
template <class R> struct Totals {
  float held[R::TOTALS];
  float* out;

  INLINE Totals(float* out, const R& row) : out(out) {
#pragma unroll
    for (int s = 0; s < R::TOTALS; s++) held[s] = 0.0f;
    if (!R::HELD && out) row.each([&](int c, int) { out[c] = 0.0f; });
  }
  INLINE void add(int column, int slot, float x) {
    if (R::HELD) held[slot] += x;
    else if (out) out[column] += x;
  }
  INLINE void write(const R& row) {
    if (R::HELD && out) row.write(out, [&](int, int s) { return held[s]; });
  }
};

// gx = rstd (w g - mean(w g) - hat mean(w g hat)), with hat = (x - mean) rstd. Each team takes rows
// at a distance, and leaves its sums of g hat and g in a row of their own of the two `totals`.
template <class T, class W>
INLINE void norm_grad_rows(const T* g, const T* x, const W* weight, const float* mean,
                           const float* rstd, T* gx, float* weight_totals, float* bias_totals,
                           long long rows, int n) {
  with_packed_rows<T>(n, [&](auto kind) {
    using R = typename decltype(kind)::Row;
    long long team = team_row(), teams = static_cast<long long>(gridDim.x) * blockDim.y;
    R first(g, n);
    Totals<R> of_weight(weight_totals ? weight_totals + team * n : nullptr, first);
    Totals<R> of_bias(bias_totals ? bias_totals + team * n : nullptr, first);
    typename R::template Of<W> w(weight, n);
    for (long long r = team; r < rows; r += teams) {
      R of_g(g + r * n, n), of_x(x + r * n, n);
      float m = mean ? mean[r] : 0.0f, inverse = rstd[r], sum = 0.0f, inner = 0.0f;
      of_x.each([&](int c, int s) {
        float slope = of_g.at(c, s), hat = (of_x.at(c, s) - m) * inverse;
        of_weight.add(c, s, slope * hat);
        of_bias.add(c, s, slope);
        if (weight) slope *= w.at(c, s);
        sum += slope;
        inner += slope * hat;
      });
      sum = mean ? team_sum(sum) / n : 0.0f;
      inner = team_sum(inner) / n;
      of_g.write(gx + r * n, [&](int c, int s) {
        float slope = of_g.at(c, s), hat = (of_x.at(c, s) - m) * inverse;
        if (weight) slope *= w.at(c, s);
        return inverse * (slope - sum - hat * inner);
      });
    }
    of_weight.write(first);
    of_bias.write(first);
  });
}

// registers: 64
// registers norm_grad: 128
#define NORM(suffix, T, W) \
  extern "C" __global__ void __launch_bounds__(1024, 1) \
  norm_##suffix(const T* __restrict__ x, const W* __restrict__ weight, \
                const W* __restrict__ bias, T* __restrict__ y, float* mean, float* rstd, \
                long long rows, int n, float eps) { \
    norm_rows(x, weight, bias, y, mean, rstd, rows, n, eps); \
  } \
  extern "C" __global__ void __launch_bounds__(512, 1) \
  norm_grad_##suffix(const T* __restrict__ g, const T* __restrict__ x, \
                     const W* __restrict__ weight, const float* mean, const float* rstd, \
                     T* __restrict__ gx, float* weight_totals, float* bias_totals, \
                     long long rows, int n) { \
    norm_grad_rows(g, x, weight, mean, rstd, gx, weight_totals, bias_totals, rows, n); \
  }
FOR_PAIRS(NORM)
