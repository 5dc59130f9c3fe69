// Arrays made larger at their edges, and the transpose of that: each copy added to its original.
//
// Position q of an axis of n, which may lie outside of [0, n), is a copy of
//     edge       the nearest end
//     wrap       q mod n
//     symmetric  r or 2 n - 1 - r, with r = q mod 2 n
//     reflect    r or 2 n - 2 - r, with r = q mod (2 n - 2)
// whichever lies inside. Backward an element asks for all its copies: those at steps of a period.

#include "common.cuh"
#include "division.cuh"

// registers: 40

enum Mode { CONSTANT, EDGE, WRAP, SYMMETRIC, REFLECT };

struct Pad {                            // at most four axes, the last one dense
  int n[4], before[4];
  Divisor padded[4];                    // the sizes of the result
  int mode;
  float value;
};

INLINE int period(int n, int mode) {
  return mode == WRAP ? n : mode == SYMMETRIC ? 2 * n : n > 1 ? 2 * n - 2 : 1;
}

INLINE int inside(int q, int n, int mode) {
  if (mode == EDGE) return min(max(q, 0), n - 1);
  if (q >= 0 && q < n) return q;
  int all = period(n, mode), r = q % all;
  if (r < 0) r += all;
  return r < n ? r : (mode == SYMMETRIC ? 2 * n - 1 : 2 * n - 2) - r;
}

template <class T> INLINE void pad(const Pad& p, const T* x, T* y, unsigned count) {
  unsigned e = blockIdx.x * 256 + threadIdx.x, left = e;
  if (e >= count) return;
  long long from = 0, step = 1;
  bool copy = true;
#pragma unroll
  for (int axis = 3; axis >= 0; axis--) {
    int n = p.n[axis], q = split(left, p.padded[axis]) - p.before[axis];
    if (p.mode == CONSTANT) copy = copy && q >= 0 && q < n;
    else q = inside(q, n, p.mode);
    from += q * step;
    step *= n;
  }
  y[e] = copy ? x[from] : from_float<T>(p.value);
}

// y (lead, n, trail) from g (lead, total, trail).
template <class T>
INLINE void unpad(const T* g, T* y, unsigned count, const Divisor& by_n, const Divisor& by_trail,
                  int before, int total, int mode) {
  unsigned e = blockIdx.x * 256 + threadIdx.x, lead = e;
  if (e >= count) return;
  int after = split(lead, by_trail), i = split(lead, by_n), n = by_n.by, trail = by_trail.by;
  const T* from = g + (long long)lead * total * trail + after;
  float sum = 0.f;
  if (mode == EDGE) {
    int last = i == n - 1 ? total - 1 : i + before;
    for (int p = i ? i + before : 0; p <= last; p++)
      sum += to_float(from[(long long)p * trail]);
  } else {
    int all = period(n, mode), first = (i + before) % all;
    for (int p = first; p < total; p += all) sum += to_float(from[(long long)p * trail]);
    int turned = (before + (mode == SYMMETRIC ? -1 : 0) - i) % all;
    if (turned < 0) turned += all;
    if (mode != WRAP && turned != first)
      for (int p = turned; p < total; p += all) sum += to_float(from[(long long)p * trail]);
  }
  y[e] = from_float<T>(sum);
}

#define PAD(suffix, T) \
  extern "C" __global__ void __launch_bounds__(256) \
  pad_##suffix(const Pad p, const T* x, T* y, unsigned count) { pad<T>(p, x, y, count); } \
  extern "C" __global__ void __launch_bounds__(256) \
  unpad_##suffix(const T* g, T* y, unsigned count, const Divisor by_n, const Divisor by_trail, \
                 int before, int total, int mode) { \
    unpad<T>(g, y, count, by_n, by_trail, before, total, mode); \
  }
FOR_TYPES(PAD)
