// Tiles of 16-bit numbers in shared memory, and their products by warps: for attention.cu.
// Included behind mma.cuh, fetch.cuh, HEAD and the type T. A block has four warps; a tile has HEAD
// columns, and a warp 16 M of its rows.

constexpr int WARPS = 4, THREADS = 32 * WARPS;
constexpr int PITCH = HEAD + 8;        // 16 bytes more, so that eight rows lie on different banks

// Rows `first` and on of a matrix, as a tile: zeros beyond the matrix. `whole`: 16 bytes at a time.
template <int ROWS>
INLINE void fetch(T* tile, const T* from, long long step, int first, int rows, int width,
                  bool whole) {
  constexpr int CHUNKS = HEAD / 8;
#pragma unroll
  for (int i = threadIdx.x; i < ROWS * CHUNKS; i += THREADS) {
    int row = i / CHUNKS, column = i % CHUNKS * 8;
    int left = first + row < rows ? width - column : 0;
    const T* source = from + (first + row) * step + column;
    T* to = tile + row * PITCH + column;
    if (whole) {
      copy_async(to, left > 0 ? source : from, left > 0);
    } else {
#pragma unroll
      for (int j = 0; j < 8; j++) to[j] = j < left ? source[j] : from_float<T>(0.f);
    }
  }
}

// The other way: rows that a warp has written to its part of a tile.
INLINE void put(const T* tile, int rows_of_warp, T* to, long long step, int first, int rows,
                int width, bool whole) {
  constexpr int CHUNKS = HEAD / 8;
  for (int i = threadIdx.x % 32; i < rows_of_warp * CHUNKS; i += 32) {
    int row = i / CHUNKS, column = i % CHUNKS * 8;
    if (first + row >= rows || column >= width) continue;
    const T* source = tile + row * PITCH + column;
    T* there = to + (first + row) * step + column;
    if (whole) {
      *(uint4*)there = *(const uint4*)source;
    } else {
      for (int j = 0; j < 8 && column + j < width; j++) there[j] = source[j];
    }
  }
}

// Sums (16 M x HEAD) of a warp, times `by[row]`, as numbers of type T into its part of a tile.
template <int M>
INLINE void settle(T* tile, const float (&sums)[M][HEAD / 8][4], const float (&by)[M][2]) {
  int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int d = 0; d < HEAD / 8; d++)
#pragma unroll
      for (int half = 0; half < 2; half++)
        *(unsigned*)(tile + (m * 16 + g + 8 * half) * PITCH + d * 8 + 2 * t) = pack_two<T>(
            sums[m][d][2 * half] * by[m][half], sums[m][d][2 * half + 1] * by[m][half]);
}

INLINE void load_left(unsigned (&to)[4], const T* row) {
  unsigned pairs[2][2];
  load_matrices(pairs, row);
#pragma unroll
  for (int i = 0; i < 4; i++) to[i] = pairs[i / 2][i % 2];
}

// Sixteen columns of 16 M rows of a tile, as left operands.
template <int M> struct Left { unsigned of[M][4]; };

template <int M> INLINE Left<M> left_at(const T* a, int k) {
  int lane = threadIdx.x % 32;
  Left<M> left;
#pragma unroll
  for (int m = 0; m < M; m++)
    load_left(left.of[m], a + (m * 16 + (lane & 15)) * PITCH + (lane >> 4) * 8 + k * 16);
  return left;
}

// C += A B^T over the columns of tiles: 16 M rows of A, of which `left(k)` is sixteen columns, and
// 8 N rows of B.
template <int M, int N, class F>
INLINE void left_by_rows(float (&sums)[M][N][4], F left, const T* b) {
  int lane = threadIdx.x % 32;
  const T* of_b = b + ((lane & 7) + (lane >> 4) * 8) * PITCH + (lane >> 3 & 1) * 8;
#pragma unroll
  for (int k = 0; k < HEAD / 16; k++) {
    Left<M> a = left(k);
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      unsigned right[2][2];
      load_matrices(right, of_b + n * 8 * PITCH + k * 16);
#pragma unroll
      for (int m = 0; m < M; m++) {
        mma<T>(sums[m][n], a.of[m], right[0]);
        mma<T>(sums[m][n + 1], a.of[m], right[1]);
      }
    }
  }
}

template <int M, int N>
INLINE void rows_by_rows(float (&sums)[M][N][4], const T* a, const T* b) {
  left_by_rows(sums, [=](int k) { return left_at<M>(a, k); }, b);
}

// C += A B with A (16 M x 8 K) in registers, as sums of another product, and B (8 K x HEAD) a tile.
template <int M, int K>
INLINE void sums_by_tile(float (&sums)[M][HEAD / 8][4], const float (&a)[M][K][4], const T* b) {
  int lane = threadIdx.x % 32;
  const T* of_b = b + (lane & 15) * PITCH + (lane >> 4) * 8;
#pragma unroll
  for (int k = 0; k < K; k += 2) {
    unsigned left[M][4];
#pragma unroll
    for (int m = 0; m < M; m++) {
      left[m][0] = pack_two<T>(a[m][k][0], a[m][k][1]);
      left[m][1] = pack_two<T>(a[m][k][2], a[m][k][3]);
      left[m][2] = pack_two<T>(a[m][k + 1][0], a[m][k + 1][1]);
      left[m][3] = pack_two<T>(a[m][k + 1][2], a[m][k + 1][3]);
    }
#pragma unroll
    for (int d = 0; d < HEAD / 8; d += 2) {
      unsigned right[2][2];
      load_matrices_turned(right, of_b + k * 8 * PITCH + d * 8);
#pragma unroll
      for (int m = 0; m < M; m++) {
        mma<T>(sums[m][d], left[m], right[0]);
        mma<T>(sums[m][d + 1], left[m], right[1]);
      }
    }
  }
}

// Each element of the sums (16 M x 8 N) that a thread holds: where it is kept, and where it lies.
template <int M, int N, class F> INLINE void for_each(F f) {
  int lane = threadIdx.x % 32;
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int e = 0; e < 4; e++)
        f(m, n, e, m * 16 + lane / 4 + e / 2 * 8, n * 8 + lane % 4 * 2 + e % 2);
}

template <int M, int N> INLINE void clear(float (&sums)[M][N][4]) {
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) sums[m][n][e] = 0.f;
}
