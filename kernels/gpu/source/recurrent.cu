// What a step of a recurrence does beside its matrix product: gates, states, and their gradients.
//
// A thread has one hidden unit of one row of the batch. `product` (N, gates H) is the product of
// the last state and the weights; gates (N, gates H) holds the products of the input and the
// biases, and is left with the gates. A row with lengths[n] <= t is past its end: its state is
// carried through.
//
// Backward, the gradient of a state is what the later step left in `carry` and what it left in
// `product`, the gradients of its gates times the weights: zeros for a row past its end.

#include "common.cuh"

// registers: 32

INLINE float sigmoid(float x) { return 1.f / (1.f + expf(-x)); }

INLINE bool past_end(const long long* lengths, int n, int t) { return lengths && lengths[n] <= t; }

struct Unit {
  int n, h, at;             // `at` in (N, H)
};

INLINE Unit unit_of(int hidden) {
  int i = blockIdx.x * 256 + threadIdx.x, n = i / hidden;
  return {n, i - n * hidden, i};
}

// The gradient of a state that a step receives; the first one has no product yet.
template <class T>
INLINE float received(const Unit& u, const T* carry, const T* product, const T* gy, int first) {
  float d = to_float(carry[u.at]) + to_float(gy[u.at]);
  return first ? d : d + to_float(product[u.at]);
}

// ---- LSTM: gates i, f, g, o ---------------------------------------------------------------------

template <class T>
INLINE void lstm_step(T* gates, const T* product, const T* last_h, const T* last_c, T* now_h,
                      T* now_c, T* squashed, const long long* lengths, int t, int batch,
                      int hidden) {
  Unit u = unit_of(hidden);
  if (u.n >= batch) return;
  long long row = (long long)u.n * 4 * hidden + u.h;
  float a[4];
#pragma unroll
  for (int k = 0; k < 4; k++) {
    float x = to_float(gates[row + k * hidden]) + to_float(product[row + k * hidden]);
    a[k] = k == 2 ? tanhf(x) : sigmoid(x);
    gates[row + k * hidden] = from_float<T>(a[k]);
  }
  float c = a[1] * to_float(last_c[u.at]) + a[0] * a[2], tanh_c = tanhf(c);
  squashed[u.at] = from_float<T>(tanh_c);
  bool over = past_end(lengths, u.n, t);
  now_c[u.at] = over ? last_c[u.at] : from_float<T>(c);
  now_h[u.at] = over ? last_h[u.at] : from_float<T>(a[3] * tanh_c);
}

template <class T>
INLINE void lstm_back(const T* gates, const T* squashed, const T* last_c, const T* gy, T* carry,
                      T* dc, const T* product, T* d, const long long* lengths, int t, int first,
                      int batch, int hidden) {
  Unit u = unit_of(hidden);
  if (u.n >= batch) return;
  long long row = (long long)u.n * 4 * hidden + u.h;
  float dh = received(u, carry, product, gy, first);
  float slopes[4] = {0.f, 0.f, 0.f, 0.f};
  if (past_end(lengths, u.n, t)) {
    carry[u.at] = from_float<T>(dh);
  } else {
    float i = to_float(gates[row]), f = to_float(gates[row + hidden]);
    float g = to_float(gates[row + 2 * hidden]), o = to_float(gates[row + 3 * hidden]);
    float s = to_float(squashed[u.at]);
    float of_c = to_float(dc[u.at]) + dh * (o * (1.f - s * s));
    slopes[0] = of_c * g * (i * (1.f - i));
    slopes[1] = of_c * to_float(last_c[u.at]) * (f * (1.f - f));
    slopes[2] = of_c * i * (1.f - g * g);
    slopes[3] = dh * s * (o * (1.f - o));
    carry[u.at] = from_float<T>(0.f);
    dc[u.at] = from_float<T>(of_c * f);
  }
#pragma unroll
  for (int k = 0; k < 4; k++) d[row + k * hidden] = from_float<T>(slopes[k]);
}

// ---- GRU: gates r, z, n -------------------------------------------------------------------------

template <class T>
INLINE void gru_step(T* gates, const T* product, const T* bias, const T* last, T* now, T* inner,
                     const long long* lengths, int t, int batch, int hidden) {
  Unit u = unit_of(hidden);
  if (u.n >= batch) return;
  long long row = (long long)u.n * 3 * hidden + u.h;
  float q = to_float(product[row + 2 * hidden]) + (bias ? to_float(bias[u.h]) : 0.f);
  float r = sigmoid(to_float(gates[row]) + to_float(product[row]));
  float z = sigmoid(to_float(gates[row + hidden]) + to_float(product[row + hidden]));
  float n = tanhf(to_float(gates[row + 2 * hidden]) + r * q), h = to_float(last[u.at]);
  gates[row] = from_float<T>(r);
  gates[row + hidden] = from_float<T>(z);
  gates[row + 2 * hidden] = from_float<T>(n);
  inner[u.at] = from_float<T>(q);
  now[u.at] = past_end(lengths, u.n, t) ? last[u.at] : from_float<T>(n + z * (h - n));
}

// d (N, 3 H) is of the state's products, dx (N, 3 H) of the input's: they differ in n alone.
template <class T>
INLINE void gru_back(const T* gates, const T* inner, const T* last, const T* gy, T* carry,
                     const T* product, T* d, T* dx, const long long* lengths, int t, int first,
                     int batch, int hidden) {
  Unit u = unit_of(hidden);
  if (u.n >= batch) return;
  long long row = (long long)u.n * 3 * hidden + u.h;
  float dh = received(u, carry, product, gy, first);
  float of_r = 0.f, of_z = 0.f, of_n = 0.f, r = 0.f;
  if (past_end(lengths, u.n, t)) {
    carry[u.at] = from_float<T>(dh);
  } else {
    float z = to_float(gates[row + hidden]), n = to_float(gates[row + 2 * hidden]);
    r = to_float(gates[row]);
    of_n = dh * (1.f - z) * (1.f - n * n);
    of_r = of_n * to_float(inner[u.at]) * (r * (1.f - r));
    of_z = dh * (to_float(last[u.at]) - n) * (z * (1.f - z));
    carry[u.at] = from_float<T>(dh * z);
  }
  d[row] = dx[row] = from_float<T>(of_r);
  d[row + hidden] = dx[row + hidden] = from_float<T>(of_z);
  d[row + 2 * hidden] = from_float<T>(of_n * r);
  dx[row + 2 * hidden] = from_float<T>(of_n);
}

// ---- the simple recurrence ----------------------------------------------------------------------

template <class T>
INLINE void rnn_step(const T* inputs, const T* product, const T* last, T* now,
                     const long long* lengths, int t, int relu, int batch, int hidden) {
  Unit u = unit_of(hidden);
  if (u.n >= batch) return;
  float x = to_float(inputs[u.at]) + to_float(product[u.at]);
  float h = relu ? (x > 0.f || x != x ? x : 0.f) : tanhf(x);
  now[u.at] = past_end(lengths, u.n, t) ? last[u.at] : from_float<T>(h);
}

template <class T>
INLINE void rnn_back(const T* now, const T* gy, T* carry, const T* product, T* d,
                     const long long* lengths, int t, int first, int relu, int batch,
                     int hidden) {
  Unit u = unit_of(hidden);
  if (u.n >= batch) return;
  float dh = received(u, carry, product, gy, first), h = to_float(now[u.at]);
  bool over = past_end(lengths, u.n, t);
  float slope = relu ? (h > 0.f ? 1.f : 0.f) : 1.f - h * h;
  carry[u.at] = from_float<T>(over ? dh : 0.f);
  d[u.at] = from_float<T>(over ? 0.f : dh * slope);
}

#define RECURRENT(suffix, T) \
  extern "C" __global__ void __launch_bounds__(256) \
  lstm_step_##suffix(T* gates, const T* product, const T* last_h, const T* last_c, T* now_h, \
                     T* now_c, T* squashed, const long long* lengths, int t, int batch, \
                     int hidden) { \
    lstm_step<T>(gates, product, last_h, last_c, now_h, now_c, squashed, lengths, t, batch, \
                 hidden); \
  } \
  extern "C" __global__ void __launch_bounds__(256) \
  lstm_back_##suffix(const T* gates, const T* squashed, const T* last_c, const T* gy, T* carry, \
                     T* dc, const T* product, T* d, const long long* lengths, int t, int first, \
                     int batch, int hidden) { \
    lstm_back<T>(gates, squashed, last_c, gy, carry, dc, product, d, lengths, t, first, batch, \
                 hidden); \
  } \
  extern "C" __global__ void __launch_bounds__(256) \
  gru_step_##suffix(T* gates, const T* product, const T* bias, const T* last, T* now, T* inner, \
                    const long long* lengths, int t, int batch, int hidden) { \
    gru_step<T>(gates, product, bias, last, now, inner, lengths, t, batch, hidden); \
  } \
  extern "C" __global__ void __launch_bounds__(256) \
  gru_back_##suffix(const T* gates, const T* inner, const T* last, const T* gy, T* carry, \
                    const T* product, T* d, T* dx, const long long* lengths, int t, int first, \
                    int batch, int hidden) { \
    gru_back<T>(gates, inner, last, gy, carry, product, d, dx, lengths, t, first, batch, hidden); \
  } \
  extern "C" __global__ void __launch_bounds__(256) \
  rnn_step_##suffix(const T* inputs, const T* product, const T* last, T* now, \
                    const long long* lengths, int t, int relu, int batch, int hidden) { \
    rnn_step<T>(inputs, product, last, now, lengths, t, relu, batch, hidden); \
  } \
  extern "C" __global__ void __launch_bounds__(256) \
  rnn_back_##suffix(const T* now, const T* gy, T* carry, const T* product, T* d, \
                    const long long* lengths, int t, int first, int relu, int batch, \
                    int hidden) { \
    rnn_back<T>(now, gy, carry, product, d, lengths, t, first, relu, batch, hidden); \
  }
FOR_TYPES(RECURRENT)
