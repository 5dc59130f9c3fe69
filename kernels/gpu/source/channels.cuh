// Where the values of a channel lie, and how sums over parts of them are put together.
//
// Planes: x is (examples, channels, length), cut into pieces of `piece` values, so that few long
// planes keep many blocks busy; a team to a piece. Columns: x is (rows, channels), cut into parts
// of rows; a thread to a column of a part. Statistics belong to a channel, or (each != 0) to a
// group of `each` channels of one example.
#include "rows.cuh"

struct Piece {
  long long first;           // its first value
  int n, channel, statistic;
  bool inside;
};

INLINE Piece piece_of(long long planes, int channels, int length, int piece, int pieces, int each) {
  long long p = team_row(), plane = p / pieces;
  int k = static_cast<int>(p % pieces);
  Piece found;
  found.inside = plane < planes;
  found.first = plane * length + static_cast<long long>(k) * piece;
  found.n = min(piece, length - k * piece);
  found.channel = static_cast<int>(plane % channels);
  found.statistic = each ? static_cast<int>(plane / each) : found.channel;
  return found;
}

// The parts of one result: `count` of them, in runs of `run`. Part j is number base + j / run *
// outer + j % run * inner; it stands for `full` values, or for `last` at the end of a run.
struct Parts {
  long long base, outer, inner;
  int count, run, full, last;
  INLINE long long number(int j) const {
    return base + static_cast<long long>(j / run) * outer + static_cast<long long>(j % run) * inner;
  }
  INLINE float values(int j) const { return static_cast<float>(j % run == run - 1 ? last : full); }
};

// Mean, sum of squares around it, and number of values: of two sets at once.
// Source: T. Chan, G. Golub and R. LeVeque, "Updating Formulae and a Pairwise Algorithm for
// Computing Sample Variances", 1979.
struct Moments { float mean, squares, n; };

INLINE Moments together(Moments a, Moments b) {
  float n = a.n + b.n;
  if (n == 0.0f) return a;
  float d = b.mean - a.mean, share = b.n / n;
  return {a.mean + d * share, a.squares + b.squares + d * d * a.n * share, n};
}

// Lanes of a warp in a fixed order; all get the result.
INLINE Moments warp_together(Moments m) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    Moments other{__shfl_xor_sync(~0u, m.mean, step), __shfl_xor_sync(~0u, m.squares, step),
                  __shfl_xor_sync(~0u, m.n, step)};
    bool second = threadIdx.x & step;
    m = second ? together(other, m) : together(m, other);
  }
  return m;
}
