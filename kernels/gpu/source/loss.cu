// Softmax with cross entropy over rows of logits, forward and backward.
//
// q is the target: 1 at the class t, or with smoothing e, of its weight w_t the part 1 - e, and of
// every weight e / C. The loss of a row is -sum(q log softmax(x)). A class number outside of [0, C)
// that is not to be ignored gives NaN.
#include "softmax.cuh"

struct Target {
  long long number;
  float weight;
  bool used, valid;
};

template <class T>
INLINE Target target_of(const long long* targets, const T* weights, long long row, int n,
                        long long ignored) {
  Target t{targets[row], 1.0f, true, true};
  t.used = t.number != ignored;
  t.valid = t.number >= 0 && t.number < n;
  if (!t.used) t.weight = 0.0f;
  else if (!t.valid) t.weight = NAN;
  else if (weights) t.weight = to_float(weights[t.number]);
  return t;
}

// loss[row] and, for the gradient, (maximum, log of the sum of exp(x - maximum)).
template <class T>
INLINE void cross_entropy_rows(const T* x, const long long* targets, const T* weights, float* loss,
                               float* kept, long long rows, int n, long long ignored, float e) {
  long long r = team_row();
  if (r >= rows) return;
  Target t = target_of(targets, weights, r, n, ignored);
  with_rows_of<T>(n, [&](auto kind) {
    typename decltype(kind)::Row row(x + r * n, n);
    Mass m = row_mass(row);
    float lse = logf(m.sum), all = static_cast<float>(n), spread = 0.0f;
    if (e > 0.0f) {
      spread = row_sum(row, [&](int c, int s) {
        return (row.at(c, s) - m.top) * (weights ? to_float(weights[c]) : 1.0f);
      });
      if (weights) all = row_sum(row, [&](int c, int) { return to_float(weights[c]); });
    }
    if (threadIdx.x == 0) {
      float z = t.used && t.valid ? to_float(x[r * n + t.number]) - m.top : 0.0f;
      float own = (lse - z) * t.weight;
      float even = t.used ? (lse * all - spread) * (e / n) : 0.0f;
      if (e > 0.0f) own = own * (1.0f - e) + even;
      loss[r] = own;
      kept[2 * r] = m.top;
      kept[2 * r + 1] = lse;
    }
  });
}

// One block: out = sum(loss), for the mean divided by the weights of the rows' classes. And
// sums = (those weights, the weights of all classes). Without loss the sums alone are found.
template <class T>
INLINE void cross_entropy_total(const float* loss, const long long* targets, const T* weights,
                                T* out, float* sums, long long rows, int n, long long ignored,
                                int mean) {
  float total = 0.0f, share = 0.0f, all = 0.0f;
  for (long long r = threadIdx.x; r < rows; r += blockDim.x) {
    if (loss) total += loss[r];
    share += target_of(targets, weights, r, n, ignored).weight;
  }
  for (int c = threadIdx.x; weights && c < n; c += blockDim.x) all += to_float(weights[c]);
  total = team_sum(total);
  share = team_sum(share);
  all = weights ? team_sum(all) : static_cast<float>(n);
  if (threadIdx.x == 0) {
    if (loss) *out = from_float<T>(mean ? total / share : total);
    if (sums) {
      sums[0] = share;
      sums[1] = all;
    }
  }
}

// softmax(x) sum(q) - q, times the gradient of the row's loss.
template <class T>
INLINE void cross_entropy_grad(const T* g, const float* kept, const T* x, const long long* targets,
                               const T* weights, const float* sums, T* gx, long long rows, int n,
                               long long ignored, float e, int mean, int each) {
  long long r = team_row();
  if (r >= rows) return;
  Target t = target_of(targets, weights, r, n, ignored);
  float slope = to_float(g[each ? r : 0]);
  if (mean) slope = sums[0] == 0.0f ? slope : slope / sums[0];   // only ignored rows: no slope
  float own = t.weight * (1.0f - e) * slope;
  float around = t.used ? slope * (e / n) : 0.0f;
  float top = kept[2 * r], lse = kept[2 * r + 1];
  float whole = own + around * sums[1];
  with_rows_of<T>(n, [&](auto kind) {
    typename decltype(kind)::Row row(x + r * n, n);
    row.write(gx + r * n, [&](int c, int s) {
      float p = expf(row.at(c, s) - top - lse) * whole;
      if (e > 0.0f) p -= around * (weights ? to_float(weights[c]) : 1.0f);
      return c == t.number ? p - own : p;
    });
  });
}

// registers: 64
#define LOSS(suffix, T) \
  extern "C" __global__ void __launch_bounds__(1024, 1) \
  cross_entropy_##suffix(const T* __restrict__ x, const long long* targets, const T* weights, \
                         float* loss, float* kept, long long rows, int n, long long ignored, \
                         float smoothing) { \
    cross_entropy_rows(x, targets, weights, loss, kept, rows, n, ignored, smoothing); \
  } \
  extern "C" __global__ void __launch_bounds__(1024, 1) \
  cross_entropy_total_##suffix(const float* loss, const long long* targets, const T* weights, \
                               T* out, float* sums, long long rows, int n, long long ignored, \
                               int mean) { \
    cross_entropy_total(loss, targets, weights, out, sums, rows, n, ignored, mean); \
  } \
  extern "C" __global__ void __launch_bounds__(1024, 1) \
  cross_entropy_grad_##suffix(const T* g, const float* kept, const T* __restrict__ x, \
                              const long long* targets, const T* weights, const float* sums, \
                              T* __restrict__ gx, long long rows, int n, long long ignored, \
                              float smoothing, int mean, int each) { \
    cross_entropy_grad(g, kept, x, targets, weights, sums, gx, rows, n, ignored, smoothing, mean, \
                       each); \
  }
FOR_TYPES(LOSS)
