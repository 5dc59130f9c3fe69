// Steps of optimizers, averages and clipping: many tensors to a launch, in place.
//
// A table of addresses is a parameter of the kernel, so nothing is copied to the device before it.
// What depends on the step (the bias corrections of Adam) is worked out on the device too, by one
// thread in float64 as Python does it: the host never waits for a number.
//
// A block updates CHUNK elements of one tensor; small tensors have a block each.

#include "common.cuh"
#include "sums.cuh"

// registers: 32
// registers adam: 64

constexpr int ROOM = 64, KINDS = 5, CHUNK = 4096, THREADS = 256;   // kernels/gpu/updates.py knows

struct Table {
  unsigned long long at[KINDS][ROOM];   // of parameters, gradients, and what the optimizer keeps
  long long size[ROOM];
  int last[ROOM];                       // the first block behind those of each tensor
  int count, packs;                     // packs: are all addresses multiples of 4 elements?
};

struct Part {                           // what a block works on
  int tensor;
  long long start, stop;
};

INLINE Part part_of(const Table& t) {
  int block = blockIdx.x, low = 0, high = t.count - 1;
  while (low < high) {                  // the first tensor whose blocks end behind this one
    int middle = (low + high) / 2;
    if (t.last[middle] > block) high = middle; else low = middle + 1;
  }
  long long start = (long long)(block - (low ? t.last[low - 1] : 0)) * CHUNK;
  long long stop = start + CHUNK;
  return {low, start, stop < t.size[low] ? stop : t.size[low]};
}

// A formula is given one element of each of READS kinds as float; the kinds in WRITES go back.
template <class T, int READS, int WRITES, class Formula>
INLINE void each(const Table& t, Formula formula) {
  Part part = part_of(t);
  T* at[READS];
#pragma unroll
  for (int k = 0; k < READS; k++) at[k] = reinterpret_cast<T*>(t.at[k][part.tensor]);
  for (long long i = part.start + threadIdx.x * 4; i < part.stop; i += THREADS * 4) {
    float x[READS];
    if (t.packs && i + 4 <= part.stop) {
      Pack<T, 4> four[READS];
#pragma unroll
      for (int k = 0; k < READS; k++) four[k] = load_pack<T, 4>(at[k] + i);
#pragma unroll
      for (int j = 0; j < 4; j++) {
#pragma unroll
        for (int k = 0; k < READS; k++) x[k] = to_float(four[k].at[j]);
        formula(x);
#pragma unroll
        for (int k = 0; k < READS; k++)
          if (WRITES >> k & 1) four[k].at[j] = from_float<T>(x[k]);
      }
#pragma unroll
      for (int k = 0; k < READS; k++)
        if (WRITES >> k & 1) store_pack<T, 4>(at[k] + i, four[k]);
    } else {
      for (long long e = i; e < i + 4 && e < part.stop; e++) {
#pragma unroll
        for (int k = 0; k < READS; k++) x[k] = to_float(at[k][e]);
        formula(x);
#pragma unroll
        for (int k = 0; k < READS; k++)
          if (WRITES >> k & 1) at[k][e] = from_float<T>(x[k]);
      }
    }
  }
}

// ---- Adam ---------------------------------------------------------------------------------------

// Counts the step and leaves in `how`: lr root / bias1, eps root, and what decay leaves of p.
extern "C" __global__ void adam_begin(float* step, const double* lr_at, double lr, double beta1,
                                      double beta2, double eps, double decay, float* how) {
  float now = *step + 1.f;
  *step = now;
  if (lr_at) lr = *lr_at;
  double root = sqrt(1. - pow(beta2, (double)now));
  how[0] = (float)(lr * root / (1. - pow(beta1, (double)now)));
  how[1] = (float)(eps * root);
  how[2] = (float)(1. - lr * decay);
}

struct Adam {
  float coupled, sign, towards1, beta2, towards2;
  int largest;                          // whether the largest v so far is kept (AMSGrad)
};

template <class T> INLINE void adam(const Table& t, const float* how, const Adam& a) {
  float size = how[0], floor = how[1], keep = how[2];
  auto moved = [&](float* x) {          // the new v; p moves by what is made of it
    float g = a.sign * x[1];
    if (a.coupled != 0.f) g += a.coupled * x[0];
    x[2] += a.towards1 * (g - x[2]);
    x[3] = a.beta2 * x[3] + a.towards2 * (g * g);
  };
  auto step = [&](float* x, float v) { x[0] = keep * x[0] - size * (x[2] / (sqrtf(v) + floor)); };
  if (a.largest) {
    each<T, 5, 29>(t, [&](float* x) {
      moved(x);
      if (!(x[4] > x[3])) x[4] = x[3];  // also where v is NaN
      step(x, x[4]);
    });
  } else {
    each<T, 4, 13>(t, [&](float* x) {
      moved(x);
      step(x, x[3]);
    });
  }
}

// ---- SGD ----------------------------------------------------------------------------------------

struct Sgd {
  double lr;
  float coupled, sign, momentum, share;
  int buffer, nesterov;
};

template <class T> INLINE void sgd(const Table& t, const double* lr_at, const Sgd& s) {
  float lr = (float)(lr_at ? *lr_at : s.lr);
  auto direction = [&](float* x) { return s.sign * x[1] + (s.coupled != 0.f ? s.coupled * x[0] : 0.f); };
  if (s.buffer) {
    each<T, 3, 5>(t, [&](float* x) {
      float g = direction(x);
      x[2] = s.momentum * x[2] + s.share * g;
      x[0] -= lr * (s.nesterov ? g + s.momentum * x[2] : x[2]);
    });
  } else {
    each<T, 2, 1>(t, [&](float* x) { x[0] -= lr * direction(x); });
  }
}

// ---- averages and clipping ----------------------------------------------------------------------

// mean += weight (x - mean). With a number of updates n, weight is 1 - decay, or with a warm-up
// 1 - min(decay, (1 + n) / (10 + n)).
template <class T>
INLINE void mix(const Table& t, double weight, const long long* updates, double decay,
                int warm_up) {
  if (updates) {
    double n = (double)*updates, early = (1. + n) / (10. + n);
    weight = 1. - (warm_up && early < decay ? early : decay);
  }
  float w = (float)weight;
  each<T, 2, 1>(t, [&](float* x) { x[0] += w * (x[1] - x[0]); });
}

// Statistics of channels that follow those of batches, r += momentum (batch - r): one block. With
// `even` all batches weigh alike; `tracked` counts them.
template <class T>
INLINE void follow(const T* mean, const T* var, T* running_mean, T* running_var,
                   long long* tracked, int channels, double momentum, double correction,
                   int even) {
  long long count = tracked ? *tracked + 1 : 1;
  __syncthreads();                      // all have read it
  if (tracked && threadIdx.x == 0) *tracked = count;
  double share = even ? 1. / (double)count : momentum;
  float keep = (float)(1. - share), add = (float)share, unbiased = (float)correction;
  for (int c = threadIdx.x; c < channels; c += THREADS) {
    if (running_mean)
      running_mean[c] = from_float<T>(to_float(running_mean[c]) * keep + add * to_float(mean[c]));
    if (running_var)
      running_var[c] = from_float<T>(to_float(running_var[c]) * keep +
                                     add * (to_float(var[c]) * unbiased));
  }
}

// x *= max_norm / (norm + 1e-6) if that is below 1; NaN goes on into the arrays.
template <class T> INLINE void scale_to(const Table& t, const float* norm, double max_norm) {
  double scale = max_norm / ((double)*norm + 1e-6);
  if (scale >= 1.) return;
  float s = (float)scale;
  each<T, 1, 1>(t, [&](float* x) { x[0] *= s; });
}

// ---- scaled losses ------------------------------------------------------------------------------

// x /= scale; `found` becomes 1 if an element is not finite. All who write it write the same.
template <class T> INLINE void unscale(const Table& t, const float* scale, float* found) {
  float by = 1.f / *scale;
  bool bad = false;
  each<T, 1, 1>(t, [&](float* x) {
    bad |= !(fabsf(x[0]) < INFINITY);
    x[0] *= by;
  });
  if (bad) *found = 1.f;
}

// x becomes what it was if `skip` is not 0.
template <class T> INLINE void restore(const Table& t, const float* skip) {
  if (*skip == 0.f) return;
  each<T, 2, 1>(t, [&](float* x) { x[0] = x[1]; });
}

// The scale shrinks if something was found, and grows after `interval` steps without.
extern "C" __global__ void rescale(float* scale, int* steps, const float* found, float growth,
                                   float backoff, int interval) {
  bool bad = *found != 0.f, due = *steps + 1 >= interval;
  float larger = *scale * growth;
  if (bad) *scale *= backoff;
  else if (due && larger < INFINITY) *scale = larger;
  *steps = bad || due ? 0 : *steps + 1;
}

// ---- norms --------------------------------------------------------------------------------------

// The sum of squares of each chunk, in float64: float32 overflows at 1.8e19 squared.
template <class T> INLINE void squares(const Table& t, double* sums) {
  double sum = 0.;
  each<T, 1, 0>(t, [&](float* x) { sum += (double)x[0] * (double)x[0]; });
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// The root of the sum of all chunks: one block.
extern "C" __global__ void __launch_bounds__(256)
norm_of(const double* sums, long long count, float* norm) {
  double sum = sum_of(sums, count);
  if (threadIdx.x == 0) *norm = (float)sqrt(sum);
}

#define UPDATES(suffix, T) \
  extern "C" __global__ void __launch_bounds__(256, 4) \
  adam_##suffix(const Table t, const float* how, const Adam a) { adam<T>(t, how, a); } \
  extern "C" __global__ void __launch_bounds__(256) \
  sgd_##suffix(const Table t, const double* lr_at, const Sgd s) { sgd<T>(t, lr_at, s); } \
  extern "C" __global__ void __launch_bounds__(256) \
  mix_##suffix(const Table t, double weight, const long long* updates, double decay, \
               int warm_up) { \
    mix<T>(t, weight, updates, decay, warm_up); \
  } \
  extern "C" __global__ void __launch_bounds__(256) \
  follow_##suffix(const T* mean, const T* var, T* running_mean, T* running_var, \
                  long long* tracked, int channels, double momentum, double correction, \
                  int even) { \
    follow<T>(mean, var, running_mean, running_var, tracked, channels, momentum, correction, \
              even); \
  } \
  extern "C" __global__ void __launch_bounds__(256) \
  unscale_##suffix(const Table t, const float* scale, float* found) { \
    unscale<T>(t, scale, found); \
  } \
  extern "C" __global__ void __launch_bounds__(256) \
  restore_##suffix(const Table t, const float* skip) { restore<T>(t, skip); } \
  extern "C" __global__ void __launch_bounds__(256) \
  scale_to_##suffix(const Table t, const float* norm, double max_norm) { \
    scale_to<T>(t, norm, max_norm); \
  } \
  extern "C" __global__ void __launch_bounds__(256) \
  squares_##suffix(const Table t, double* sums) { squares<T>(t, sums); }
FOR_TYPES(UPDATES)
