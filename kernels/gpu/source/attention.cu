// Attention in 16-bit floats on tensor cores, forward and backward, without the scores in memory.
//
//     y_i = sum_j p_ij keep_ij v_j,   p_ij = exp(s_ij - lse_i),   s_ij = scale q_i . k_j + mask_ij
//
// Forward walks over the keys once and corrects what it has summed when a larger score appears
// (the running maximum of "online" softmax). Backward makes the weights again from lse, twice: once
// for blocks of queries (dQ), once for blocks of keys (dK, dV). That is seven products instead of
// five, but every sum is made by one thread in one order: the same bits in every run.
//
// Compiled once for each width: HEAD (32, 64 or 128) is the width that heads are padded to with
// zeros, ELEMENT the number type, EXTRAS whether there may be a mask or dropout.
//
// Source: T. Dao, "FlashAttention-2: Faster Attention with Better Parallelism and Work
// Partitioning", ICLR 2024.
#include "common.cuh"
#include "mma.cuh"
#include "fetch.cuh"

#ifndef ELEMENT                        // kernels/gpu/attention.py says what is compiled
#define ELEMENT bf16
#define HEAD 128
#define EXTRAS 0
#define FORWARD_M 2
#define QUERIES_M 1
#define QUERIES_N 64
#define KEYS_M 1
#define KEYS_N 32
#endif

typedef ELEMENT T;
typedef float Real;
INLINE float widen(T x) { return to_float(x); }

#include "attention.cuh"
#include "tiles.cuh"

constexpr float LOG2E = 1.4426950408889634f, LN2 = 0.6931471805599453f;

// -- forward --------------------------------------------------------------------------------------

// Scores times `unit` are exponents of two. Without extras the factor waits for the exponential.
INLINE float score(const Call& c, const Head& h, float x, float unit, int query, int key) {
  if (!visible(c, query, key)) return -INFINITY;
  return EXTRAS ? x * unit + LOG2E * mask_at(c, h, query, key) : x;
}

// A block of 64 M queries, 16 M to a warp, walks over the keys by 64.
template <int M> INLINE void forward(const Call& c) {
  constexpr int QUERIES = 16 * M * WARPS, KEYS = 64;
  DYN_SMEM(T, room);
  T *of_q = room, *of_k = of_q + QUERIES * PITCH, *of_v = of_k + KEYS * PITCH;
  int blocks = (c.length + QUERIES - 1) / QUERIES, block = blocks - 1 - blockIdx.x % blocks;
  Head h = head(c, blockIdx.x / blocks);
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  int first = block * QUERIES, mine = first + 16 * M * warp;
  int last = c.causal ? min(c.keys, max(0, first + QUERIES + c.offset)) : c.keys;
  const T *k = at<T>(c.k, h), *v = at<T>(c.v, h);
  T* of_warp = of_q + 16 * M * warp * PITCH;
  const float factor = float(c.scale) * LOG2E, unit = EXTRAS ? 1.f : factor;

  fetch<QUERIES>(of_q, at<T>(c.q, h), c.q.row, first, c.length, c.width, c.whole);
  fetch<KEYS>(of_k, k, c.k.row, 0, c.keys, c.width, c.whole);
  copies_started();
  float out[M][HEAD / 8][4], top[M][2], sum[M][2];
  constexpr bool KEPT = HEAD <= 64;                      // queries stay in registers
  Left<M> kept[KEPT ? HEAD / 16 : 1];
  clear(out);
#pragma unroll
  for (int m = 0; m < M; m++) top[m][0] = top[m][1] = -INFINITY, sum[m][0] = sum[m][1] = 0.f;

  for (int start = 0; start < last; start += KEYS) {
    copies_done();
    __syncthreads();                                     // the keys are here, the values used
    fetch<KEYS>(of_v, v, c.v.row, start, c.keys, c.value_width, c.whole);
    copies_started();
    float s[M][KEYS / 8][4];
    clear(s);
    if (KEPT) {
      if (start == 0) {
#pragma unroll
        for (int k = 0; k < HEAD / 16; k++) kept[k] = left_at<M>(of_warp, k);
      }
      left_by_rows(s, [&](int k) { return kept[k]; }, of_k);
    } else {
      rows_by_rows(s, of_warp, of_k);
    }
    if (EXTRAS || start + KEYS > c.keys || (c.causal && start + KEYS - 1 > mine + c.offset)) {
      for_each<M, KEYS / 8>([&](int m, int n, int e, int row, int column) {
        s[m][n][e] = score(c, h, s[m][n][e], factor, mine + row, start + column);
      });
    }
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        float now = top[m][half];
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
          now = fmaxf(now, fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
        now = fmaxf(now, __shfl_xor_sync(~0u, now, 1));
        now = fmaxf(now, __shfl_xor_sync(~0u, now, 2));
        float zero = now == -INFINITY ? 0.f : now * unit;  // no key yet: every power is 0
        float shrink = power_of_two(top[m][half] * unit - zero);
        top[m][half] = now;
        sum[m][half] *= shrink;
#pragma unroll
        for (int d = 0; d < HEAD / 8; d++) {
          out[m][d][2 * half] *= shrink;
          out[m][d][2 * half + 1] *= shrink;
        }
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
          for (int e = 2 * half; e < 2 * half + 2; e++) {
            s[m][n][e] = power_of_two(s[m][n][e] * unit - zero);
            sum[m][half] += s[m][n][e];
          }
      }
    if (EXTRAS)
      for_each<M, KEYS / 8>([&](int m, int n, int e, int row, int column) {
        s[m][n][e] *= keep_at(c, h, mine + row, start + column);
      });
    copies_done();
    __syncthreads();                                     // the values are here, the keys used
    if (start + KEYS < last)
      fetch<KEYS>(of_k, k, c.k.row, start + KEYS, c.keys, c.width, c.whole);
    copies_started();
    sums_by_tile(out, s, of_v);
  }
  copies_done();

  float by[M][2];
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float total = sum[m][half];
      total += __shfl_xor_sync(~0u, total, 1);
      total += __shfl_xor_sync(~0u, total, 2);
      by[m][half] = total > 0.f ? 1.f / total : 0.f;
      int query = mine + m * 16 + g + 8 * half;
      if (t == 0 && query < c.length)
        c.lse[(long long)h.number * c.length + query] =
            total > 0.f ? (top[m][half] * unit + log2f(total)) * LN2 : 0.f;
    }
  if (last <= 0) __syncthreads();                        // the queries' copies by other warps
  settle<M>(of_warp, out, by);                           // the queries of this warp are used
  __syncwarp();
  put(of_warp, 16 * M, at<T>(c.y, h), c.y.row, mine, c.length, c.value_width, c.whole);
}

// -- backward -------------------------------------------------------------------------------------

// inner_i = g_i . y_i = sum_j p_ij dp_ij, one warp to a row.
extern "C" __global__ void __launch_bounds__(256) attention_inner(const Call c) {
  long long row = (long long)blockIdx.x * 8 + threadIdx.x / 32;
  int lane = threadIdx.x % 32;
  bool valid = row < (long long)c.heads * c.length;
  Head h = head(c, valid ? row / c.length : 0);
  long long i = valid ? row % c.length : 0;
  const T *g = at<T>(c.g, h) + i * c.g.row, *y = at<T>(c.y, h) + i * c.y.row;
  float sum = 0.f;
  for (int j = lane; j < c.value_width; j += 32) sum += to_float(g[j]) * to_float(y[j]);
  for (int other = 16; other; other >>= 1) sum += __shfl_xor_sync(~0u, sum, other);
  if (lane == 0 && valid) c.inner[row] = sum;
}

// The weight of a pair, from its product q . k and the row's lse in powers of two. `whole`: all
// pairs of the tile are visible.
INLINE float weight(const Call& c, const Head& h, float x, float factor, int query, int key,
                    float lse2, bool whole) {
  if (EXTRAS) return power_of_two(score(c, h, x, factor, query, key) - lse2);
  return whole || visible(c, query, key) ? power_of_two(x * factor - lse2) : 0.f;
}

// dQ of 64 M queries: ds = p (dp - inner), dQ = scale ds K, over the keys by N.
template <int M, int N> INLINE void backward_queries(const Call& c) {
  constexpr int QUERIES = 16 * M * WARPS;
  DYN_SMEM(T, room);
  T *of_q = room, *of_g = of_q + QUERIES * PITCH, *of_k = of_g + QUERIES * PITCH,
    *of_v = of_k + N * PITCH;
  int blocks = (c.length + QUERIES - 1) / QUERIES, block = blocks - 1 - blockIdx.x % blocks;
  Head h = head(c, blockIdx.x / blocks);
  int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4;
  int first = block * QUERIES, mine = first + 16 * M * warp;
  int last = c.causal ? min(c.keys, max(0, first + QUERIES + c.offset)) : c.keys;
  const T *k = at<T>(c.k, h), *v = at<T>(c.v, h);
  int own = 16 * M * warp * PITCH;

  fetch<QUERIES>(of_q, at<T>(c.q, h), c.q.row, first, c.length, c.width, c.whole);
  fetch<QUERIES>(of_g, at<T>(c.g, h), c.g.row, first, c.length, c.value_width, c.whole);
  const float factor = float(c.scale) * LOG2E;
  float lse2[M][2], inner[M][2], dq[M][HEAD / 8][4];
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      int query = min(mine + m * 16 + g + 8 * half, c.length - 1);
      long long row = (long long)h.number * c.length + query;
      lse2[m][half] = c.lse[row] * LOG2E;
      inner[m][half] = c.inner[row];
    }
  clear(dq);
  for (int start = 0; start < last; start += N) {
    __syncthreads();                                     // the last tiles are used
    fetch<N>(of_k, k, c.k.row, start, c.keys, c.width, c.whole);
    fetch<N>(of_v, v, c.v.row, start, c.keys, c.value_width, c.whole);
    copies_started();
    copies_done();
    __syncthreads();
    float s[M][N / 8][4], dp[M][N / 8][4];
    clear(s);
    clear(dp);
    rows_by_rows(s, of_q + own, of_k);
    rows_by_rows(dp, of_g + own, of_v);
    bool whole = start + N <= c.keys && !(c.causal && start + N - 1 > mine + c.offset);
    for_each<M, N / 8>([&](int m, int n, int e, int row, int column) {
      float d = dp[m][n][e];
      if (EXTRAS) d *= keep_at(c, h, mine + row, start + column);
      s[m][n][e] = weight(c, h, s[m][n][e], factor, mine + row, start + column, lse2[m][e / 2],
                          whole) * (d - inner[m][e / 2]);
    });
    sums_by_tile(dq, s, of_k);
  }
  float by[M][2];
#pragma unroll
  for (int m = 0; m < M; m++) by[m][0] = by[m][1] = float(c.scale);
  copies_started();
  copies_done();
  __syncthreads();
  settle<M>(of_q + own, dq, by);
  __syncwarp();
  put(of_q + own, 16 * M, at<T>(c.dq, h), c.dq.row, mine, c.length, c.width, c.whole);
}

// dK and dV of 64 M keys, over the queries by N, of every head that shares these keys.
template <int M, int N> INLINE void backward_keys(const Call& c) {
  constexpr int KEYS = 16 * M * WARPS;
  DYN_SMEM(T, room);
  T *of_k = room, *of_v = of_k + KEYS * PITCH, *of_q = of_v + KEYS * PITCH,
    *of_g = of_q + N * PITCH;
  float *lse2 = (float*)(of_g + N * PITCH), *inner = lse2 + N;
  int blocks = (c.keys + KEYS - 1) / KEYS;
  int block = blockIdx.x % blocks, shared = blockIdx.x / blocks;
  int warp = threadIdx.x / 32;
  int first = block * KEYS, mine = first + 16 * M * warp;
  int begin = c.causal ? max(0, first - c.offset) / N * N : 0;
  int own = 16 * M * warp * PITCH;
  Head h = sharing_head(c, shared, 0);
  fetch<KEYS>(of_k, at<T>(c.k, h), c.k.row, first, c.keys, c.width, c.whole);
  fetch<KEYS>(of_v, at<T>(c.v, h), c.v.row, first, c.keys, c.value_width, c.whole);
  const float factor = float(c.scale) * LOG2E;
  float dk[M][HEAD / 8][4], dv[M][HEAD / 8][4];
  clear(dk);
  clear(dv);
  for (int member = 0; member < c.members; member++) {
    h = sharing_head(c, shared, member);
    const T *q = at<T>(c.q, h), *dy = at<T>(c.g, h);
    long long row = (long long)h.number * c.length;
    for (int start = begin; start < c.length; start += N) {
      __syncthreads();                                   // the last tiles are used
      fetch<N>(of_q, q, c.q.row, start, c.length, c.width, c.whole);
      fetch<N>(of_g, dy, c.g.row, start, c.length, c.value_width, c.whole);
      copies_started();
      for (int i = threadIdx.x; i < N; i += THREADS) {
        bool inside = start + i < c.length;
        lse2[i] = inside ? c.lse[row + start + i] * LOG2E : 0.f;
        inner[i] = inside ? c.inner[row + start + i] : 0.f;
      }
      copies_done();
      __syncthreads();
      bool whole = first + KEYS <= c.keys && start + N <= c.length &&
                   !(c.causal && mine + 16 * M - 1 > start + c.offset);
      float p[M][N / 8][4], ds[M][N / 8][4];             // of keys (rows) and queries (columns)
      clear(p);
      rows_by_rows(p, of_k + own, of_q);
      for_each<M, N / 8>([&](int m, int n, int e, int row, int column) {
        p[m][n][e] =
            weight(c, h, p[m][n][e], factor, start + column, mine + row, lse2[column], whole);
        if (EXTRAS)
          ds[m][n][e] = p[m][n][e] * keep_at(c, h, start + column, mine + row);
      });
      sums_by_tile(dv, EXTRAS ? ds : p, of_g);
      clear(ds);
      rows_by_rows(ds, of_v + own, of_g);
      for_each<M, N / 8>([&](int m, int n, int e, int row, int column) {
        float d = ds[m][n][e];
        if (EXTRAS) d *= keep_at(c, h, start + column, mine + row);
        ds[m][n][e] = p[m][n][e] * (d - inner[column]);
      });
      sums_by_tile(dk, ds, of_q);
    }
  }
  float by[M][2];
  copies_started();
  copies_done();
  __syncthreads();
#pragma unroll
  for (int m = 0; m < M; m++) by[m][0] = by[m][1] = float(c.scale);
  settle<M>(of_k + own, dk, by);
#pragma unroll
  for (int m = 0; m < M; m++) by[m][0] = by[m][1] = 1.f;
  settle<M>(of_v + own, dv, by);
  __syncwarp();
  h = sharing_head(c, shared, 0);
  if (c.dk.base) put(of_k + own, 16 * M, at<T>(c.dk, h), c.dk.row, mine, c.keys, c.width, c.whole);
  if (c.dv.base)
    put(of_v + own, 16 * M, at<T>(c.dv, h), c.dv.row, mine, c.keys, c.value_width, c.whole);
}

// registers: 255
// registers attention_inner: 40
// tensor cores: attention_forward attention_queries attention_keys
extern "C" __global__ void __launch_bounds__(THREADS) attention_forward(const Call c) {
  forward<FORWARD_M>(c);
}

extern "C" __global__ void __launch_bounds__(THREADS) attention_forward_short(const Call c) {
  forward<1>(c);
}

extern "C" __global__ void __launch_bounds__(THREADS) attention_queries(const Call c) {
  backward_queries<QUERIES_M, QUERIES_N>(c);
}

extern "C" __global__ void __launch_bounds__(THREADS) attention_keys(const Call c) {
  backward_keys<KEYS_M, KEYS_N>(c);
}
