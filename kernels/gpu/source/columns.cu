// The patches of images as a matrix, and the sum of a matrix of patches back into images.
//
// A convolution is a product of patches and weights: tap (u, v) of window (i, j) reads the pixel
// (i sh + u dh - top, j sw + v dw - left), and zero outside of the image. The two orders of a patch
// are those of memory: channels last, a row (u, v, c) for each window, where a warp copies the taps
// of one window; or planes, a row (c, u, v) of all windows, where a warp copies neighbouring
// windows of one tap. Images are read and written by strides, so any layout will do.
//
// Backward each pixel gathers what its windows say about it: no atomics, the same bits every run.

#include "common.cuh"
#include "division.cuh"

// registers: 48

struct Patches {
  long long image, channel, row, column;          // strides of the image, in elements
  int images, channels, height, width;            // channels of one group
  int high, wide;                                 // windows along the height and the width
  int kh, kw, sh, sw, dh, dw, top, left;
  int packs, windows;                             // packs: may 4 channels be moved at a time?
  Divisor by_high, by_wide, by_height, by_width, by_kw, by_chunks;
};

template <class T> INLINE Pack<T, 4> no_pack() {
  Pack<T, 4> zero;
#pragma unroll
  for (int k = 0; k < 4; k++) zero.at[k] = from_float<T>(0.f);
  return zero;
}

// cols (groups, windows, kh kw channels): a warp to a window, eight warps to a block.
template <class T> INLINE void patches_last(const Patches& p, const T* x, T* cols) {
  unsigned window = blockIdx.x * 8 + threadIdx.x / 32;
  if (window >= p.windows) return;
  int group = blockIdx.y, lane = threadIdx.x % 32, taps = p.kh * p.kw;
  T* to = cols + ((long long)group * p.windows + window) * taps * p.channels;
  int j = split(window, p.by_wide), i = split(window, p.by_high);
  const T* from = x + window * p.image + (long long)group * p.channels * p.channel;
  int step = p.packs ? 4 : 1, chunks = p.by_chunks.by;
  for (int k = lane; k < taps * chunks; k += 32) {
    unsigned u = k;                               // k is (u, v, chunk)
    int c = split(u, p.by_chunks) * step, v = split(u, p.by_kw);
    int h = i * p.sh + (int)u * p.dh - p.top, w = j * p.sw + v * p.dw - p.left;
    bool inside = h >= 0 && h < p.height && w >= 0 && w < p.width;
    const T* pixel = from + h * p.row + w * p.column + c * p.channel;
    if (p.packs) {
      store_pack<T, 4>(to + k * 4, inside ? load_pack<T, 4>(pixel) : no_pack<T>());
    } else {
      to[k] = inside ? *pixel : from_float<T>(0.f);
    }
  }
}

// cols (channels kh kw, windows): a thread to a window, a row of blocks to a tap of a channel.
template <class T> INLINE void patches_planes(const Patches& p, const T* x, T* cols) {
  unsigned window = blockIdx.x * 256 + threadIdx.x;
  if (window >= p.windows) return;
  int v = blockIdx.y % p.kw, u = blockIdx.y / p.kw % p.kh, c = blockIdx.y / (p.kw * p.kh);
  T* to = cols + (long long)blockIdx.y * p.windows + window;
  int j = split(window, p.by_wide), i = split(window, p.by_high);
  int h = i * p.sh + u * p.dh - p.top, w = j * p.sw + v * p.dw - p.left;
  bool inside = h >= 0 && h < p.height && w >= 0 && w < p.width;
  *to = inside ? x[window * p.image + c * p.channel + h * p.row + w * p.column]
               : from_float<T>(0.f);
}

// Which window has its tap at `place`, or -1: place = window * stride.
INLINE int window_at(int place, int stride, int windows) {
  if (place < 0 || place % stride) return -1;
  int window = place / stride;
  return window < windows ? window : -1;
}

// The other way from `patches_last`: a warp to a pixel of a group.
template <class T> INLINE void sum_patches_last(const Patches& p, const T* cols, T* x) {
  unsigned image = blockIdx.x * 8 + threadIdx.x / 32;          // and the pixel, split off
  if (image >= (unsigned)(p.images * p.height * p.width)) return;
  int group = blockIdx.y, lane = threadIdx.x % 32;
  int w = split(image, p.by_width), h = split(image, p.by_height);
  int taps = p.kh * p.kw, step = p.packs ? 4 : 1;
  T* to = x + image * p.image + (long long)group * p.channels * p.channel + h * p.row +
          w * p.column;
  for (int c = lane * step; c < p.channels; c += 32 * step) {
    float sum[4] = {0.f, 0.f, 0.f, 0.f};
    for (int u = 0; u < p.kh; u++) {
      int i = window_at(h + p.top - u * p.dh, p.sh, p.high);
      if (i < 0) continue;
      for (int v = 0; v < p.kw; v++) {
        int j = window_at(w + p.left - v * p.dw, p.sw, p.wide);
        if (j < 0) continue;
        long long window = (long long)group * p.windows + (image * p.high + i) * p.wide + j;
        const T* from = cols + (window * taps + u * p.kw + v) * p.channels + c;
        if (p.packs) {
          Pack<T, 4> part = load_pack<T, 4>(from);
#pragma unroll
          for (int k = 0; k < 4; k++) sum[k] += to_float(part.at[k]);
        } else {
          sum[0] += to_float(*from);
        }
      }
    }
    if (p.packs) {
      Pack<T, 4> part;
#pragma unroll
      for (int k = 0; k < 4; k++) part.at[k] = from_float<T>(sum[k]);
      store_pack<T, 4>(to + c, part);
    } else {
      to[c * p.channel] = from_float<T>(sum[0]);
    }
  }
}

// The other way from `patches_planes`: a thread to a pixel, a row of blocks to a channel.
template <class T> INLINE void sum_patches_planes(const Patches& p, const T* cols, T* x) {
  unsigned image = blockIdx.x * 256 + threadIdx.x;             // and the pixel, split off
  if (image >= (unsigned)(p.images * p.height * p.width)) return;
  int w = split(image, p.by_width), h = split(image, p.by_height), c = blockIdx.y;
  float sum = 0.f;
  for (int u = 0; u < p.kh; u++) {
    int i = window_at(h + p.top - u * p.dh, p.sh, p.high);
    if (i < 0) continue;
    for (int v = 0; v < p.kw; v++) {
      int j = window_at(w + p.left - v * p.dw, p.sw, p.wide);
      if (j < 0) continue;
      unsigned window = (image * p.high + i) * p.wide + j;
      sum += to_float(cols[((c * p.kh + u) * p.kw + v) * (long long)p.windows + window]);
    }
  }
  x[image * p.image + c * p.channel + h * p.row + w * p.column] = from_float<T>(sum);
}

#define COLUMNS(suffix, T) \
  extern "C" __global__ void __launch_bounds__(256) \
  patches_last_##suffix(const Patches p, const T* x, T* cols) { patches_last<T>(p, x, cols); } \
  extern "C" __global__ void __launch_bounds__(256) \
  patches_planes_##suffix(const Patches p, const T* x, T* cols) { \
    patches_planes<T>(p, x, cols); \
  } \
  extern "C" __global__ void __launch_bounds__(256, 4) \
  sum_patches_last_##suffix(const Patches p, const T* cols, T* x) { \
    sum_patches_last<T>(p, cols, x); \
  } \
  extern "C" __global__ void __launch_bounds__(256) \
  sum_patches_planes_##suffix(const Patches p, const T* cols, T* x) { \
    sum_patches_planes<T>(p, cols, x); \
  }
FOR_TYPES(COLUMNS)
