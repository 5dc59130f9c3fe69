// Attention in float32 or float64 without tensor cores: what attention.cu does, in plain products.
//
// A block is 16 x 16 threads (ty, tx). Of a tile of 16 R rows and 16 R columns a thread holds rows
// ty + 16 i and columns tx + 16 j: a row belongs to half a warp, which adds it up with shuffles.
// Operands come from shared memory, WIDE numbers at a time.
//
// Source: T. Dao, "FlashAttention-2: Faster Attention with Better Parallelism and Work
// Partitioning", ICLR 2024.
#include "common.cuh"

#ifndef ELEMENT                        // kernels/gpu/attention.py says what is compiled
#define ELEMENT float
#define HEAD 64
#define EACH 4
#endif

typedef ELEMENT T;
typedef ELEMENT Real;
INLINE T widen(T x) { return x; }

#include "attention.cuh"

constexpr int THREADS = 256, V = WIDE<T>, PITCH = HEAD + V, COLUMNS = HEAD / 16;

INLINE float exponential(float x) { return expf(x); }
INLINE double exponential(double x) { return exp(x); }
INLINE float logarithm(float x) { return logf(x); }
INLINE double logarithm(double x) { return log(x); }

// Rows `first` and on of a matrix, as a tile: zeros beyond the matrix.
template <int ROWS>
INLINE void fetch(T* tile, const T* from, long long step, int first, int rows, int width) {
  for (int i = threadIdx.x; i < ROWS * HEAD; i += THREADS) {
    int row = i / HEAD, column = i % HEAD;
    tile[row * PITCH + column] =
        first + row < rows && column < width ? from[(first + row) * step + column] : T(0);
  }
}

// s_ij += a_i . b_j, the rows of two tiles.
template <int R> INLINE void rows_by_rows(Real (&s)[R][R], const T* a, const T* b) {
  int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
#pragma unroll 4
  for (int d = 0; d < HEAD; d += V) {
    Pack<T, V> left[R], right[R];
#pragma unroll
    for (int i = 0; i < R; i++) {
      left[i] = load_pack<T, V>(a + (ty + 16 * i) * PITCH + d);
      right[i] = load_pack<T, V>(b + (tx + 16 * i) * PITCH + d);
    }
#pragma unroll
    for (int e = 0; e < V; e++)
#pragma unroll
      for (int i = 0; i < R; i++)
#pragma unroll
        for (int j = 0; j < R; j++) s[i][j] += left[i].at[e] * right[j].at[e];
  }
}

// sums += p b: rows of weights in shared memory times a tile. A row of `p` is half a warp's own.
template <int R>
INLINE void weights_by_tile(Real (&sums)[R][COLUMNS], T* p, const Real (&weights)[R][R],
                            const T* b) {
  constexpr int STEP = 16 * R + V;
  int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
  __syncwarp();                                  // the last weights are used
#pragma unroll
  for (int i = 0; i < R; i++)
#pragma unroll
    for (int j = 0; j < R; j++) p[(ty + 16 * i) * STEP + tx + 16 * j] = weights[i][j];
  __syncwarp();
#pragma unroll 2
  for (int k = 0; k < 16 * R; k += V) {
    Pack<T, V> left[R];
#pragma unroll
    for (int i = 0; i < R; i++) left[i] = load_pack<T, V>(p + (ty + 16 * i) * STEP + k);
#pragma unroll
    for (int e = 0; e < V; e++)
#pragma unroll
      for (int d = 0; d < COLUMNS; d++) {
        T right = b[(k + e) * PITCH + tx + 16 * d];
#pragma unroll
        for (int i = 0; i < R; i++) sums[i][d] += left[i].at[e] * right;
      }
  }
}

template <int N, int M> INLINE void clear(Real (&sums)[N][M]) {
#pragma unroll
  for (int i = 0; i < N; i++)
#pragma unroll
    for (int j = 0; j < M; j++) sums[i][j] = 0;
}

template <int R>
INLINE void put(const Real (&sums)[R][COLUMNS], const Real (&by)[R], T* to, long long step,
                int first, int rows, int width) {
  int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
#pragma unroll
  for (int i = 0; i < R; i++)
#pragma unroll
    for (int d = 0; d < COLUMNS; d++) {
      int row = first + ty + 16 * i, column = tx + 16 * d;
      if (row < rows && column < width) to[row * step + column] = sums[i][d] * by[i];
    }
}

// Over the 16 threads that share a row.
INLINE Real row_sum(Real x) {
#pragma unroll
  for (int step = 8; step; step /= 2) x += __shfl_xor_sync(~0u, x, step);
  return x;
}
INLINE Real row_max(Real x) {
#pragma unroll
  for (int step = 8; step; step /= 2) {
    Real other = __shfl_xor_sync(~0u, x, step);
    x = x < other ? other : x;
  }
  return x;
}

INLINE Real score(const Call& c, const Head& h, Real x, int query, int key) {
  return visible(c, query, key) ? x * Real(c.scale) + mask_at(c, h, query, key) : Real(-INFINITY);
}

template <int R> INLINE void forward(const Call& c) {
  constexpr int BLOCK = 16 * R;
  DYN_SMEM(T, room);
  T *of_q = room, *of_k = of_q + BLOCK * PITCH, *of_v = of_k + BLOCK * PITCH,
    *p = of_v + BLOCK * PITCH;
  int blocks = (c.length + BLOCK - 1) / BLOCK, first = (blocks - 1 - blockIdx.x % blocks) * BLOCK;
  Head h = head(c, blockIdx.x / blocks);
  int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
  int last = c.causal ? min(c.keys, max(0, first + BLOCK + c.offset)) : c.keys;
  fetch<BLOCK>(of_q, at<T>(c.q, h), c.q.row, first, c.length, c.width);
  Real out[R][COLUMNS], top[R], sum[R];
  clear(out);
#pragma unroll
  for (int i = 0; i < R; i++) top[i] = -INFINITY, sum[i] = 0;
  for (int start = 0; start < last; start += BLOCK) {
    __syncthreads();                             // the last tiles are used
    fetch<BLOCK>(of_k, at<T>(c.k, h), c.k.row, start, c.keys, c.width);
    fetch<BLOCK>(of_v, at<T>(c.v, h), c.v.row, start, c.keys, c.value_width);
    __syncthreads();
    Real s[R][R];
    clear(s);
    rows_by_rows(s, of_q, of_k);
#pragma unroll
    for (int i = 0; i < R; i++) {
      Real now = top[i];
#pragma unroll
      for (int j = 0; j < R; j++) {
        s[i][j] = score(c, h, s[i][j], first + ty + 16 * i, start + tx + 16 * j);
        now = now < s[i][j] ? s[i][j] : now;
      }
      now = row_max(now);
      Real zero = now == Real(-INFINITY) ? Real(0) : now;   // no key yet: every weight is 0
      Real shrink = exponential(top[i] - zero);
      top[i] = now;
      sum[i] *= shrink;
#pragma unroll
      for (int d = 0; d < COLUMNS; d++) out[i][d] *= shrink;
#pragma unroll
      for (int j = 0; j < R; j++) {
        s[i][j] = exponential(s[i][j] - zero);
        sum[i] += s[i][j];
        s[i][j] *= keep_at(c, h, first + ty + 16 * i, start + tx + 16 * j);
      }
    }
    weights_by_tile<R>(out, p, s, of_v);
  }
  Real by[R];
#pragma unroll
  for (int i = 0; i < R; i++) {
    Real total = row_sum(sum[i]);
    by[i] = total > 0 ? 1 / total : Real(0);
    int query = first + ty + 16 * i;
    if (tx == 0 && query < c.length)
      c.lse[(long long)h.number * c.length + query] =
          total > 0 ? top[i] + logarithm(total) : Real(0);
  }
  put<R>(out, by, at<T>(c.y, h), c.y.row, first, c.length, c.value_width);
}

// inner_i = g_i . y_i = sum_j p_ij dp_ij, one warp to a row.
extern "C" __global__ void __launch_bounds__(256) attention_inner(const Call c) {
  long long row = (long long)blockIdx.x * 8 + threadIdx.x / 32;
  if (row >= (long long)c.heads * c.length) return;
  Head h = head(c, row / c.length);
  long long i = row % c.length;
  const T *g = at<T>(c.g, h) + i * c.g.row, *y = at<T>(c.y, h) + i * c.y.row;
  Real sum = 0;
  for (int j = threadIdx.x % 32; j < c.value_width; j += 32) sum += g[j] * y[j];
#pragma unroll
  for (int step = 16; step; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
  if (threadIdx.x % 32 == 0) c.inner[row] = sum;
}

// dQ of a block of queries: ds = p (dp - inner), dQ = scale ds K.
template <int R> INLINE void backward_queries(const Call& c) {
  constexpr int BLOCK = 16 * R;
  DYN_SMEM(T, room);
  T *of_q = room, *of_g = of_q + BLOCK * PITCH, *of_k = of_g + BLOCK * PITCH,
    *of_v = of_k + BLOCK * PITCH, *weights = of_v + BLOCK * PITCH;
  int blocks = (c.length + BLOCK - 1) / BLOCK, first = (blocks - 1 - blockIdx.x % blocks) * BLOCK;
  Head h = head(c, blockIdx.x / blocks);
  int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
  int last = c.causal ? min(c.keys, max(0, first + BLOCK + c.offset)) : c.keys;
  fetch<BLOCK>(of_q, at<T>(c.q, h), c.q.row, first, c.length, c.width);
  fetch<BLOCK>(of_g, at<T>(c.g, h), c.g.row, first, c.length, c.value_width);
  Real dq[R][COLUMNS], lse[R], inner[R], by[R];
  clear(dq);
#pragma unroll
  for (int i = 0; i < R; i++) {
    long long row = (long long)h.number * c.length + min(first + ty + 16 * i, c.length - 1);
    lse[i] = c.lse[row], inner[i] = c.inner[row], by[i] = c.scale;
  }
  for (int start = 0; start < last; start += BLOCK) {
    __syncthreads();                             // the last tiles are used
    fetch<BLOCK>(of_k, at<T>(c.k, h), c.k.row, start, c.keys, c.width);
    fetch<BLOCK>(of_v, at<T>(c.v, h), c.v.row, start, c.keys, c.value_width);
    __syncthreads();
    Real s[R][R], dp[R][R];
    clear(s);
    clear(dp);
    rows_by_rows(s, of_q, of_k);
    rows_by_rows(dp, of_g, of_v);
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
      for (int j = 0; j < R; j++) {
        int query = first + ty + 16 * i, key = start + tx + 16 * j;
        Real w = exponential(score(c, h, s[i][j], query, key) - lse[i]);
        s[i][j] = w * (dp[i][j] * keep_at(c, h, query, key) - inner[i]);
      }
    weights_by_tile<R>(dq, weights, s, of_k);
  }
  put<R>(dq, by, at<T>(c.dq, h), c.dq.row, first, c.length, c.width);
}

// dK and dV of a block of keys (rows), over the queries of every head that shares them.
template <int R> INLINE void backward_keys(const Call& c) {
  constexpr int BLOCK = 16 * R;
  DYN_SMEM(T, room);
  T *of_k = room, *of_v = of_k + BLOCK * PITCH, *of_q = of_v + BLOCK * PITCH,
    *of_g = of_q + BLOCK * PITCH, *weights = of_g + BLOCK * PITCH;
  int blocks = (c.keys + BLOCK - 1) / BLOCK, first = blockIdx.x % blocks * BLOCK;
  int shared = blockIdx.x / blocks, ty = threadIdx.x / 16, tx = threadIdx.x % 16;
  int begin = c.causal ? max(0, first - c.offset) / BLOCK * BLOCK : 0;
  Head h = sharing_head(c, shared, 0);
  fetch<BLOCK>(of_k, at<T>(c.k, h), c.k.row, first, c.keys, c.width);
  fetch<BLOCK>(of_v, at<T>(c.v, h), c.v.row, first, c.keys, c.value_width);
  Real dk[R][COLUMNS], dv[R][COLUMNS], by[R], one[R];
  clear(dk);
  clear(dv);
  for (int member = 0; member < c.members; member++) {
    h = sharing_head(c, shared, member);
    long long row = (long long)h.number * c.length;
    for (int start = begin; start < c.length; start += BLOCK) {
      __syncthreads();                           // the last tiles are used
      fetch<BLOCK>(of_q, at<T>(c.q, h), c.q.row, start, c.length, c.width);
      fetch<BLOCK>(of_g, at<T>(c.g, h), c.g.row, start, c.length, c.value_width);
      __syncthreads();
      Real p[R][R], ds[R][R];
      clear(p);
      clear(ds);
      rows_by_rows(p, of_k, of_q);
      rows_by_rows(ds, of_v, of_g);
#pragma unroll
      for (int j = 0; j < R; j++) {
        int query = start + tx + 16 * j;
        long long there = row + min(query, c.length - 1);
        Real lse = c.lse[there], inner = c.inner[there];
#pragma unroll
        for (int i = 0; i < R; i++) {
          int key = first + ty + 16 * i;
          Real w = exponential(score(c, h, p[i][j], query, key) - lse);
          Real kept = keep_at(c, h, query, key);
          p[i][j] = w * kept;
          ds[i][j] = w * (ds[i][j] * kept - inner);
        }
      }
      weights_by_tile<R>(dv, weights, p, of_g);
      weights_by_tile<R>(dk, weights, ds, of_q);
    }
  }
#pragma unroll
  for (int i = 0; i < R; i++) by[i] = c.scale, one[i] = 1;
  h = sharing_head(c, shared, 0);
  if (c.dk.base) put<R>(dk, by, at<T>(c.dk, h), c.dk.row, first, c.keys, c.width);
  if (c.dv.base) put<R>(dv, one, at<T>(c.dv, h), c.dv.row, first, c.keys, c.value_width);
}

// registers: 255
// registers attention_inner: 40
extern "C" __global__ void __launch_bounds__(THREADS, 1) attention_forward(const Call c) {
  forward<EACH>(c);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) attention_queries(const Call c) {
  backward_queries<EACH>(c);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) attention_keys(const Call c) {
  backward_keys<EACH>(c);
}
