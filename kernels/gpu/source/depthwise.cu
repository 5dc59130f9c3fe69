// Convolutions with one kernel for each channel: no product of matrices, nine numbers of memory to
// nine multiplications. Images are dense with channels last, weights (C, kh, kw); a thread takes a
// pixel of one channel, and a warp neighbouring channels. Sums are float32, in one order.
#include "common.cuh"
#include "division.cuh"

struct Depthwise {
  int channels, height, width, high, wide;        // of images (H, W) and of windows (oh, ow)
  int kh, kw, sh, sw, dh, dw, top, left;
  Divisor by_channels, by_height, by_width, by_high, by_wide;
};

struct Pixel {
  int c, column, row, image;
};

// Element i of (N, rows, columns, C), of which there are fewer than 2^31.
INLINE Pixel pixel_of(unsigned i, const Divisor& channels, const Divisor& rows,
                      const Divisor& columns) {
  Pixel p;
  p.c = split(i, channels);
  p.column = split(i, columns);
  p.row = split(i, rows);
  p.image = i;
  return p;
}

// y (N, oh, ow, C) = bias + sum over the taps of x (N, H, W, C) w.
template <class T>
INLINE void depthwise(const Depthwise& d, const T* x, const T* w, const T* bias, T* y,
                      int size) {
  unsigned at = blockIdx.x * 256 + threadIdx.x;
  if (at >= (unsigned)size) return;
  Pixel p = pixel_of(at, d.by_channels, d.by_high, d.by_wide);
  const T* image = x + p.image * (d.height * d.width * d.channels) + p.c;
  const T* taps = w + p.c * d.kh * d.kw;
  float sum = bias ? to_float(bias[p.c]) : 0.f;
  for (int u = 0; u < d.kh; u++) {
    int row = p.row * d.sh + u * d.dh - d.top;
    if (row < 0 || row >= d.height) continue;
    for (int v = 0; v < d.kw; v++) {
      int column = p.column * d.sw + v * d.dw - d.left;
      if (column < 0 || column >= d.width) continue;
      sum += to_float(image[(row * d.width + column) * d.channels]) *
             to_float(taps[u * d.kw + v]);
    }
  }
  y[at] = from_float<T>(sum);
}

// x (N, H, W, C) = bias + sum over the windows of y (N, oh, ow, C) whose tap lies here, times w.
template <class T>
INLINE void depthwise_spread(const Depthwise& d, const T* y, const T* w, const T* bias, T* x,
                             int size) {
  unsigned at = blockIdx.x * 256 + threadIdx.x;
  if (at >= (unsigned)size) return;
  Pixel p = pixel_of(at, d.by_channels, d.by_height, d.by_width);
  const T* image = y + p.image * (d.high * d.wide * d.channels) + p.c;
  const T* taps = w + p.c * d.kh * d.kw;
  float sum = bias ? to_float(bias[p.c]) : 0.f;
  for (int u = 0; u < d.kh; u++) {
    int row = p.row + d.top - u * d.dh;
    if (row < 0 || row % d.sh || row / d.sh >= d.high) continue;
    for (int v = 0; v < d.kw; v++) {
      int column = p.column + d.left - v * d.dw;
      if (column < 0 || column % d.sw || column / d.sw >= d.wide) continue;
      sum += to_float(image[(row / d.sh * d.wide + column / d.sw) * d.channels]) *
             to_float(taps[u * d.kw + v]);
    }
  }
  x[at] = from_float<T>(sum);
}

// sums (parts, C, kh kw): 32 channels of one tap over a part of the windows, eight warps in turn.
template <class T>
INLINE void depthwise_weight(const Depthwise& d, const T* x, const T* g, float* sums,
                             int windows, int of_part) {
  __shared__ float of_warps[8][32];
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, c = blockIdx.x * 32 + lane;
  int u = blockIdx.y / d.kw, v = blockIdx.y % d.kw;
  int first = blockIdx.z * of_part, last = min(first + of_part, windows);
  float sum = 0.f;
  if (c < d.channels) {
    for (int i = first + warp; i < last; i += 8) {
      Pixel p = pixel_of(i * d.channels + c, d.by_channels, d.by_high, d.by_wide);
      int row = p.row * d.sh + u * d.dh - d.top, column = p.column * d.sw + v * d.dw - d.left;
      if (row < 0 || row >= d.height || column < 0 || column >= d.width) continue;
      int there = ((p.image * d.height + row) * d.width + column) * d.channels + c;
      sum += to_float(x[there]) * to_float(g[i * d.channels + c]);
    }
  }
  of_warps[warp][lane] = sum;
  __syncthreads();
  if (warp == 0 && c < d.channels) {
#pragma unroll
    for (int k = 1; k < 8; k++) sum += of_warps[k][lane];
    sums[(blockIdx.z * d.channels + c) * d.kh * d.kw + blockIdx.y] = sum;
  }
}

// registers: 64
#define DEPTHWISE(suffix, T) \
  extern "C" __global__ void __launch_bounds__(256) \
  depthwise_##suffix(const Depthwise d, const T* __restrict__ x, const T* __restrict__ w, \
                     const T* __restrict__ bias, T* __restrict__ y, int size) { \
    depthwise<T>(d, x, w, bias, y, size); \
  } \
  extern "C" __global__ void __launch_bounds__(256) \
  depthwise_spread_##suffix(const Depthwise d, const T* __restrict__ y, const T* __restrict__ w, \
                            const T* __restrict__ bias, T* __restrict__ x, int size) { \
    depthwise_spread<T>(d, y, w, bias, x, size); \
  } \
  extern "C" __global__ void __launch_bounds__(256) \
  depthwise_weight_##suffix(const Depthwise d, const T* __restrict__ x, const T* __restrict__ g, \
                            float* __restrict__ sums, int windows, int of_part) { \
    depthwise_weight<T>(d, x, g, sums, windows, of_part); \
  }
FOR_TYPES(DEPTHWISE)
