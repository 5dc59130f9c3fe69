// Softmax and log-softmax along the last axis (rows) or another one (columns), and their gradients.
#include "softmax.cuh"

// ---- along the last axis: a team to a row -------------------------------------------------------

template <class T> INLINE void softmax_rows(const T* x, T* y, long long rows, int n, int log) {
  long long r = team_row();
  if (r >= rows) return;
  with_rows_of<T>(n, [&](auto kind) {
    typename decltype(kind)::Row row(x + r * n, n);
    Mass m = row_mass(row);
    if (log) {
      float shift = logf(m.sum);
      row.write(y + r * n, [&](int c, int s) { return row.at(c, s) - m.top - shift; });
    } else {
      float scale = 1.0f / m.sum;
      row.write(y + r * n, [&](int c, int s) { return expf(row.at(c, s) - m.top) * scale; });
    }
  });
}

// (g - sum(g y)) y, and g - exp(y) sum(g) for the logarithm.
template <class T>
INLINE void softmax_grad_rows(const T* g, const T* y, T* gx, long long rows, int n, int log) {
  long long r = team_row();
  if (r >= rows) return;
  with_rows_of<T>(n, [&](auto kind) {
    typename decltype(kind)::Row gr(g + r * n, n), yr(y + r * n, n);
    float sum = row_sum(gr, [&](int c, int s) {
      return gr.at(c, s) * (log ? 1.0f : yr.at(c, s));
    });
    gr.write(gx + r * n, [&](int c, int s) {
      return log ? gr.at(c, s) - expf(yr.at(c, s)) * sum : (gr.at(c, s) - sum) * yr.at(c, s);
    });
  });
}

// ---- along another axis: (outer, n, inner), a thread to each of outer * inner columns ------------

template <class T>
INLINE void softmax_columns(const T* x, T* y, long long columns, int n, long long inner, int log) {
  long long k = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (k >= columns) return;
  long long first = k / inner * n * inner + k % inner;
  Mass m{-INFINITY, 0.0f};
  for (int i = 0; i < n; i++) add_mass(m, to_float(x[first + i * inner]));
  m = no_infinity(m);
  float shift = logf(m.sum), scale = 1.0f / m.sum;
  for (int i = 0; i < n; i++) {
    float z = to_float(x[first + i * inner]) - m.top;
    y[first + i * inner] = from_float<T>(log ? z - shift : expf(z) * scale);
  }
}

template <class T>
INLINE void softmax_grad_columns(const T* g, const T* y, T* gx, long long columns, int n,
                                 long long inner, int log) {
  long long k = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (k >= columns) return;
  long long first = k / inner * n * inner + k % inner;
  float sum = 0.0f;
  for (int i = 0; i < n; i++) {
    long long at = first + i * inner;
    sum += to_float(g[at]) * (log ? 1.0f : to_float(y[at]));
  }
  for (int i = 0; i < n; i++) {
    long long at = first + i * inner;
    float a = to_float(g[at]), b = to_float(y[at]);
    gx[at] = from_float<T>(log ? a - expf(b) * sum : (a - sum) * b);
  }
}

// registers: 64
#define SOFTMAX(suffix, T) \
  extern "C" __global__ void __launch_bounds__(1024, 1) \
  softmax_##suffix(const T* __restrict__ x, T* __restrict__ y, long long rows, int n, int log) { \
    softmax_rows(x, y, rows, n, log); \
  } \
  extern "C" __global__ void __launch_bounds__(1024, 1) \
  softmax_grad_##suffix(const T* __restrict__ g, const T* __restrict__ y, T* __restrict__ gx, \
                        long long rows, int n, int log) { \
    softmax_grad_rows(g, y, gx, rows, n, log); \
  } \
  extern "C" __global__ void __launch_bounds__(256) \
  softmax_columns_##suffix(const T* __restrict__ x, T* __restrict__ y, long long columns, int n, \
                           long long inner, int log) { \
    softmax_columns(x, y, columns, n, inner, log); \
  } \
  extern "C" __global__ void __launch_bounds__(256) \
  softmax_grad_columns_##suffix(const T* __restrict__ g, const T* __restrict__ y, \
                                T* __restrict__ gx, long long columns, int n, long long inner, \
                                int log) { \
    softmax_grad_columns(g, y, gx, columns, n, inner, log); \
  }
FOR_TYPES(SOFTMAX)
