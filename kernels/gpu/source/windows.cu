// Pooling: maxima and means of windows, and their gradients; and a banded matrix along an axis.
//
// A thread to an element of the result, in the result's memory order; what is read is found by
// strides. Backward a pixel asks the windows that contain it: no atomics, every element written.

#include "common.cuh"
#include "division.cuh"

// registers: 64

struct Layout {                     // strides of (N, C, H, W), in elements
  long long image, channel, row, column;
};

struct Windows {
  Layout x, y;                      // the image's side and the windows' side
  int images, channels, height, width, high, wide;
  int kh, kw, sh, sw, top, left, dh, dw;
  int channels_last;                // the order in which elements of the result are numbered
  int include_pad;
  Divisor by_channels, by_height, by_width, by_high, by_wide;
  float divisor;                    // 0: the number of elements that a window counts
};

struct Place {
  int n, c, h, w;
};

INLINE Place place_of(unsigned i, const Windows& s, const Divisor& high, const Divisor& wide) {
  Place p;
  if (s.channels_last) {
    p.c = split(i, s.by_channels);
    p.w = split(i, wide);
    p.h = split(i, high);
    p.n = i;
  } else {
    p.w = split(i, wide);
    p.h = split(i, high);
    p.c = split(i, s.by_channels);
    p.n = i;
  }
  return p;
}

INLINE long long at(const Layout& l, const Place& p, int h, int w) {
  return p.n * l.image + p.c * l.channel + h * l.row + w * l.column;
}

// Windows whose taps reach `place` along an axis: from the first to the last.
struct Range {
  int first, last;
};

INLINE Range meeting(int place, int before, int kernel, int stride, int dilation, int windows) {
  int from = place + before - (kernel - 1) * dilation, to = place + before;
  return {from > 0 ? (from + stride - 1) / stride : 0, min(to / stride, windows - 1)};
}

// -- the largest element --------------------------------------------------------------------------

// The first tap of a window at or behind 0 along an axis, or the last.
INLINE int first_tap(int start, int dilation, int kernel) {
  return min(start < 0 ? (dilation - 1 - start) / dilation : 0, kernel - 1);
}

// The largest element of each window and its tap: the first of equal ones, the last NaN.
template <class T, class Tap>
INLINE void max_pool(const Windows& s, const T* x, T* y, Tap* taps, unsigned n) {
  unsigned i = blockIdx.x * 256 + threadIdx.x;
  if (i >= n) return;
  Place p = place_of(i, s, s.by_high, s.by_wide);
  int h0 = p.h * s.sh - s.top, w0 = p.w * s.sw - s.left, tap = -1;
  float best = -INFINITY;
  for (int u = 0; u < s.kh; u++) {
    int h = h0 + u * s.dh;
    if (h < 0 || h >= s.height) continue;
    for (int v = 0; v < s.kw; v++) {
      int w = w0 + v * s.dw;
      if (w < 0 || w >= s.width) continue;
      float now = to_float(x[at(s.x, p, h, w)]);
      if (tap < 0 || now > best || now != now) {
        best = now;
        tap = u * s.kw + v;
      }
    }
  }
  long long to = at(s.y, p, p.h, p.w);
  y[to] = from_float<T>(best);
  if (tap < 0)                         // no tap lies inside, as dilated windows may have it
    tap = first_tap(h0, s.dh, s.kh) * s.kw + first_tap(w0, s.dw, s.kw);
  taps[to] = (Tap)tap;
}

// Each pixel is given what the windows have whose maximum it was; g and taps are laid out alike.
template <class T, class Tap>
INLINE void max_unpool(const Windows& s, const T* g, const Tap* taps, T* x, unsigned n) {
  unsigned i = blockIdx.x * 256 + threadIdx.x;
  if (i >= n) return;
  Place p = place_of(i, s, s.by_height, s.by_width);
  Range rows = meeting(p.h, s.top, s.kh, s.sh, s.dh, s.high);
  Range columns = meeting(p.w, s.left, s.kw, s.sw, s.dw, s.wide);
  float sum = 0.f;
  for (int a = rows.first; a <= rows.last; a++) {
    int u = p.h + s.top - a * s.sh;
    if (u % s.dh) continue;
    for (int b = columns.first; b <= columns.last; b++) {
      int v = p.w + s.left - b * s.sw;
      if (v % s.dw) continue;
      long long from = at(s.y, p, a, b);
      if ((int)taps[from] == u / s.dh * s.kw + v / s.dw) sum += to_float(g[from]);
    }
  }
  x[at(s.x, p, p.h, p.w)] = from_float<T>(sum);
}

// -- the mean -------------------------------------------------------------------------------------

// How many elements a window counts along an axis.
INLINE int counted(int window, int kernel, int stride, int before, int size, int include_pad) {
  int start = window * stride - before, end = min(start + kernel, size + before);
  int found = include_pad ? end - start : min(end, size) - max(start, 0);
  return max(found, 1);
}

INLINE float share(const Windows& s, int i, int j) {
  if (s.divisor != 0.f) return 1.f / s.divisor;
  return 1.f / ((float)counted(i, s.kh, s.sh, s.top, s.height, s.include_pad) *
                (float)counted(j, s.kw, s.sw, s.left, s.width, s.include_pad));
}

template <class T>
INLINE void avg_pool(const Windows& s, const T* x, T* y, unsigned n) {
  unsigned i = blockIdx.x * 256 + threadIdx.x;
  if (i >= n) return;
  Place p = place_of(i, s, s.by_high, s.by_wide);
  int h0 = p.h * s.sh - s.top, w0 = p.w * s.sw - s.left;
  float sum = 0.f;
  for (int h = max(h0, 0); h < min(h0 + s.kh, s.height); h++)
    for (int w = max(w0, 0); w < min(w0 + s.kw, s.width); w++)
      sum += to_float(x[at(s.x, p, h, w)]);
  y[at(s.y, p, p.h, p.w)] = from_float<T>(sum * share(s, p.h, p.w));
}

template <class T>
INLINE void avg_unpool(const Windows& s, const T* g, T* x, unsigned n) {
  unsigned i = blockIdx.x * 256 + threadIdx.x;
  if (i >= n) return;
  Place p = place_of(i, s, s.by_height, s.by_width);
  Range rows = meeting(p.h, s.top, s.kh, s.sh, 1, s.high);
  Range columns = meeting(p.w, s.left, s.kw, s.sw, 1, s.wide);
  float sum = 0.f;
  for (int a = rows.first; a <= rows.last; a++)
    for (int b = columns.first; b <= columns.last; b++)
      sum += to_float(g[at(s.y, p, a, b)]) * share(s, a, b);
  x[at(s.x, p, p.h, p.w)] = from_float<T>(sum);
}

// -- a banded matrix along an axis ------------------------------------------------------------------

// The first and the last column of each row that is not 0; a warp to a row.
template <class T>
INLINE void bands(const T* matrix, long long row, long long column, int m, int n, int* found) {
  int i = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (i >= m) return;
  int first = n, last = -1;
  for (int j = lane; j < n; j += 32)
    if (to_float(matrix[i * row + j * column]) != 0.f) first = min(first, j), last = j;
  for (int other = 16; other; other /= 2) {
    first = min(first, __shfl_xor_sync(~0u, first, other));
    last = max(last, __shfl_xor_sync(~0u, last, other));
  }
  if (lane == 0) found[2 * i] = first, found[2 * i + 1] = last;
}

// y (lead, m, trail) = matrix (m, n) times x (lead, n, trail), over the band of each row.
template <class T>
INLINE void resample(const T* matrix, long long row, long long column, const int* band, const T* x,
                     T* y, unsigned total, unsigned m, unsigned n, unsigned trail) {
  unsigned e = blockIdx.x * 256 + threadIdx.x;
  if (e >= total) return;
  unsigned after = e % trail, i = e / trail % m, before = e / trail / m;
  const T* from = x + (long long)before * n * trail + after;
  float sum = 0.f;
  for (int j = band[2 * i]; j <= band[2 * i + 1]; j++)
    sum += to_float(matrix[i * row + j * column]) * to_float(from[(long long)j * trail]);
  y[e] = from_float<T>(sum);
}

#define WINDOWS(suffix, T) \
  extern "C" __global__ void __launch_bounds__(256, 4) \
  max_pool_##suffix(const Windows s, const T* x, T* y, unsigned char* taps, unsigned n) { \
    max_pool<T, unsigned char>(s, x, y, taps, n); \
  } \
  extern "C" __global__ void __launch_bounds__(256, 4) \
  max_pool_many_##suffix(const Windows s, const T* x, T* y, int* taps, unsigned n) { \
    max_pool<T, int>(s, x, y, taps, n); \
  } \
  extern "C" __global__ void __launch_bounds__(256, 4) \
  max_unpool_##suffix(const Windows s, const T* g, const unsigned char* taps, T* x, unsigned n) { \
    max_unpool<T, unsigned char>(s, g, taps, x, n); \
  } \
  extern "C" __global__ void __launch_bounds__(256, 4) \
  max_unpool_many_##suffix(const Windows s, const T* g, const int* taps, T* x, unsigned n) { \
    max_unpool<T, int>(s, g, taps, x, n); \
  } \
  extern "C" __global__ void __launch_bounds__(256, 4) \
  avg_pool_##suffix(const Windows s, const T* x, T* y, unsigned n) { avg_pool<T>(s, x, y, n); } \
  extern "C" __global__ void __launch_bounds__(256, 4) \
  avg_unpool_##suffix(const Windows s, const T* g, T* x, unsigned n) { \
    avg_unpool<T>(s, g, x, n); \
  } \
  extern "C" __global__ void __launch_bounds__(256, 4) \
  bands_##suffix(const T* matrix, long long row, long long column, int m, int n, int* found) { \
    bands<T>(matrix, row, column, m, n, found); \
  } \
  extern "C" __global__ void __launch_bounds__(256, 4) \
  resample_##suffix(const T* matrix, long long row, long long column, const int* band, const T* x, \
                    T* y, unsigned total, unsigned m, unsigned n, unsigned trail) { \
    resample<T>(matrix, row, column, band, x, y, total, m, n, trail); \
  }
FOR_TYPES(WINDOWS)
