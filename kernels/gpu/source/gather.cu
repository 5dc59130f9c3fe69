// Rows of a table by number, and gradients added up by number.
//
// Adding up is done by the row's first number of a launch: its block looks for the others and adds
// their gradients in their order. No atomics: the same bits in every run. Looking takes
// numbers x numbers comparisons, 8192 x 8192 / 2 at most to a launch; larger inputs are cut.

#include "common.cuh"

// registers: 32
// registers add_rows: 64

constexpr int THREADS = 256, COLUMNS = 4;   // a block has 256 columns four times

// out[i] = table[numbers[i]], a warp to a row; NaN where the number is no row of the table.
template <class T>
INLINE void take_rows(const T* table, const long long* numbers, T* out, long long count,
                      long long height, long long width, int packs) {
  long long i = (long long)blockIdx.x * 8 + threadIdx.x / 32;
  if (i >= count) return;
  int lane = threadIdx.x % 32;
  long long row = numbers[i];
  T* to = out + i * width;
  if (row < 0 || row >= height) {
    for (long long c = lane; c < width; c += 32) to[c] = from_float<T>(NAN);
    return;
  }
  const T* from = table + row * width;
  if (packs) {
    for (long long c = lane * 4; c < width; c += 128)
      store_pack<T, 4>(to + c, load_pack<T, 4>(from + c));
  } else {
    for (long long c = lane; c < width; c += 32) to[c] = from[c];
  }
}

// table[numbers[i]] += g[i] for i < count, negative numbers from the end, others left out.
template <class T>
INLINE void add_rows(const T* g, const long long* numbers, T* table, int count, long long height,
                     long long width) {
  constexpr int WARPS = THREADS / 32, LOOKS = 4;    // numbers that a thread looks at together
  __shared__ int found[THREADS * LOOKS], ends[WARPS * LOOKS];
  int own = blockIdx.x, thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  long long row = numbers[own];
  long long other = row < 0 ? row + height : row - height;        // its other name
  if (row < -height || row >= height) return;
  for (int start = 0; start < own; start += THREADS * LOOKS) {     // is there an earlier one?
    bool same = false;
#pragma unroll
    for (int k = 0; k < LOOKS; k++) {
      int i = start + k * THREADS + thread;
      same |= i < own && (numbers[i] == row || numbers[i] == other);
    }
    if (__syncthreads_or(same)) return;
  }
  long long column = (long long)blockIdx.y * (THREADS * COLUMNS) + thread;
  T* to = table + (row < 0 ? row + height : row) * width;
  float sum[COLUMNS];
#pragma unroll
  for (int k = 0; k < COLUMNS; k++) {
    long long c = column + k * THREADS;
    sum[k] = c < width ? to_float(to[c]) : 0.f;
  }
  for (int start = own; start < count; start += THREADS * LOOKS) {
    unsigned lanes[LOOKS];
#pragma unroll
    for (int k = 0; k < LOOKS; k++) {
      int i = start + k * THREADS + thread;
      lanes[k] = __ballot_sync(~0u, i < count && (numbers[i] == row || numbers[i] == other));
      if (lane == 0) ends[k * WARPS + warp] = __popc(lanes[k]);
    }
    __syncthreads();                                               // and `found` has been used
    int total = 0;
#pragma unroll
    for (int e = 0; e < WARPS * LOOKS; e++) {
      int k = e / WARPS;
      if (e % WARPS == warp && lanes[k] >> lane & 1)
        found[total + __popc(lanes[k] & ((1u << lane) - 1))] = start + k * THREADS + thread;
      total += ends[e];
    }
    __syncthreads();
    for (int j = 0; j < total; j++) {
      const T* from = g + (long long)found[j] * width;
#pragma unroll
      for (int k = 0; k < COLUMNS; k++) {
        long long c = column + k * THREADS;
        if (c < width) sum[k] += to_float(from[c]);
      }
    }
  }
#pragma unroll
  for (int k = 0; k < COLUMNS; k++) {
    long long c = column + k * THREADS;
    if (c < width) to[c] = from_float<T>(sum[k]);
  }
}

#define GATHER(suffix, T) \
  extern "C" __global__ void __launch_bounds__(256) \
  take_rows_##suffix(const T* table, const long long* numbers, T* out, long long count, \
                     long long height, long long width, int packs) { \
    take_rows<T>(table, numbers, out, count, height, width, packs); \
  } \
  extern "C" __global__ void __launch_bounds__(256) \
  add_rows_##suffix(const T* g, const long long* numbers, T* table, int count, long long height, \
                    long long width) { \
    add_rows<T>(g, numbers, table, count, height, width); \
  }
FOR_TYPES(GATHER)
