// Random numbers: Philox4x32-10, a function of (seed, number of the draw), and dropout.
//
// A block of four words belongs to each number; a launch takes as many numbers as it needs, in the
// order of the elements, and moves the stream on. The state (seed, next number, tickets) lies on
// the device, so that a captured graph draws anew at every replay.
//
// Source: J. Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.
// tinygen/philox.py is the definition of what is drawn.

#include "common.cuh"

// registers: 32

typedef unsigned long long word64;

struct Words {
  unsigned at[4];
};

INLINE Words philox(word64 counter, word64 seed) {
  unsigned a = (unsigned)counter, b = (unsigned)(counter >> 32), c = 0, d = 0;
  unsigned k0 = (unsigned)seed, k1 = (unsigned)(seed >> 32);
#pragma unroll
  for (int round = 0; round < 10; round++) {
    unsigned high0 = __umulhi(0xD2511F53u, a), low0 = 0xD2511F53u * a;
    unsigned high1 = __umulhi(0xCD9E8D57u, c), low1 = 0xCD9E8D57u * c;
    a = high1 ^ b ^ k0;
    c = high0 ^ d ^ k1;
    b = low1;
    d = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{a, b, c, d}};
}

// The number that this launch begins with. The last block to have read it moves the stream on.
INLINE word64 begin(word64* state, word64 numbers) {
  __shared__ word64 first;
  if (threadIdx.x == 0) {
    first = *(volatile word64*)(state + 1);
    __threadfence();
    if (atomicAdd(state + 2, 1ull) == gridDim.x - 1) {
      state[1] = first + numbers;
      state[2] = 0;
    }
  }
  __syncthreads();
  return first;
}

struct Draw {
  Words words;
  word64 start;       // of the four elements that are this thread's
  int count;          // of them that exist
};

INLINE Draw draw(word64* state, word64 n) {
  word64 first = begin(state, (n + 3) / 4), i = (word64)blockIdx.x * 256 + threadIdx.x;
  if (4 * i >= n) return {{}, 0, 0};
  return {philox(first + i, state[0]), 4 * i, n - 4 * i < 4 ? (int)(n - 4 * i) : 4};
}

// The bits themselves.
extern "C" __global__ void __launch_bounds__(256)
draw_words(word64* state, unsigned* y, word64 n) {
  Draw d = draw(state, n);
#pragma unroll
  for (int k = 0; k < 4; k++)
    if (k < d.count) y[d.start + k] = d.words.at[k];
}

// How many bits of a number in [0, 1) a type holds exactly.
template <class T> constexpr int BITS = 24;
template <> constexpr int BITS<f16> = 11;
template <> constexpr int BITS<bf16> = 8;

// Uniform in [0, 1): as many of the upper bits as T holds.
template <class T> INLINE void draw_uniform(word64* state, T* y, word64 n) {
  constexpr int bits = BITS<T>;
  Draw d = draw(state, n);
#pragma unroll
  for (int k = 0; k < 4; k++)
    if (k < d.count)
      y[d.start + k] = from_float<T>((float)(d.words.at[k] >> (32 - bits)) / (float)(1u << bits));
}

// Standard normal: two words make two numbers (G. Box and M. Muller, 1958).
template <class T> INLINE void draw_normal(word64* state, T* y, word64 n) {
  Draw d = draw(state, n);
  const float unit = 1.f / 4294967296.f;
  float z[4];
#pragma unroll
  for (int k = 0; k < 4; k += 2) {
    float radius = sqrtf(-2.f * logf(((float)d.words.at[k] + 0.5f) * unit));
    sincospif((float)d.words.at[k + 1] * (2.f * unit), &z[k + 1], &z[k]);
    z[k] *= radius;
    z[k + 1] *= radius;
  }
#pragma unroll
  for (int k = 0; k < 4; k++)
    if (k < d.count) y[d.start + k] = from_float<T>(z[k]);
}

// Integers in [low, low + range), or all of 64 bits where range is 0: the upper half of range times
// 64 random bits. Two elements to a thread.
extern "C" __global__ void __launch_bounds__(256)
draw_integers(word64* state, long long* y, word64 n, long long low, word64 range) {
  word64 first = begin(state, (n + 1) / 2), i = (word64)blockIdx.x * 256 + threadIdx.x;
  if (2 * i >= n) return;
  Words w = philox(first + i, state[0]);
#pragma unroll
  for (int k = 0; k < 2; k++) {
    word64 bits = w.at[2 * k] | (word64)w.at[2 * k + 1] << 32;
    if (2 * i + k < n) y[2 * i + k] = low + (long long)(range ? __umul64hi(bits, range) : bits);
  }
}

// ---- dropout ------------------------------------------------------------------------------------

// A word of SplitMix64 from its counter, for two elements: tinygen/random/drop.py is the definition.
constexpr word64 STEP = 0x9E3779B97F4A7C15ull;

INLINE word64 mixed(word64 z) {
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ z >> 27) * 0x94D049BB133111EBull;
  return z ^ z >> 31;
}

// y = x times `scale`, or times 0 where the element's number in the key's stream is below `limit`:
// 16 bytes to a thread.
template <class T>
INLINE void drop(const T* x, const word64* key, T* y, word64 n, unsigned limit, float scale) {
  constexpr int wide = WIDE<T>;
  word64 i = ((word64)blockIdx.x * 256 + threadIdx.x) * wide;
  if (i >= n) return;
  word64 counter = *key + (i / 2 + 1) * STEP;
  float by[wide];
#pragma unroll
  for (int k = 0; k < wide; k += 2, counter += STEP) {
    word64 bits = mixed(counter);
    by[k] = (unsigned)bits >= limit ? scale : 0.f;
    by[k + 1] = (unsigned)(bits >> 32) >= limit ? scale : 0.f;
  }
  if (i + wide <= n) {
    Pack<T, wide> pack = load_pack<T, wide>(x + i);
#pragma unroll
    for (int k = 0; k < wide; k++) pack.at[k] = from_float<T>(to_float(pack.at[k]) * by[k]);
    store_pack<T, wide>(y + i, pack);
  } else {
#pragma unroll
    for (int k = 0; k < wide; k++)
      if (i + k < n) y[i + k] = from_float<T>(to_float(x[i + k]) * by[k]);
  }
}

#define RANDOM(suffix, T) \
  extern "C" __global__ void __launch_bounds__(256) \
  draw_uniform_##suffix(word64* state, T* y, word64 n) { draw_uniform<T>(state, y, n); } \
  extern "C" __global__ void __launch_bounds__(256) \
  draw_normal_##suffix(word64* state, T* y, word64 n) { draw_normal<T>(state, y, n); } \
  extern "C" __global__ void __launch_bounds__(256) \
  drop_##suffix(const T* x, const word64* key, T* y, word64 n, unsigned limit, float scale) { \
    drop<T>(x, key, y, n, limit, scale); \
  }
FOR_TYPES(RANDOM)
