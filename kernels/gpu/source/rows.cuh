// A row of n values that a team works on together: `team` in launch.py chooses the block for it.
//
// Held keeps the row in registers, 32 bytes to a thread, so that a kernel reads it from memory
// once, however often it passes over it. Streamed reads it anew in each pass, for rows that are too
// long. Both have the same members, and kernels are written once:
//   row.each([&](int column, int slot) {...})      the columns of this thread
//   row.at(column, slot)                           a value, as float
//   row.write(y, [&](int column, int slot) {...})  y[column] = ..., for all columns of this thread
// Several rows of one n can be read in the same pass: columns and slots are the same, also for a
// row of another type, R::Of<U>. The address nullptr makes a row whose values must not be used.

#include "common.cuh"

// Values of a row that a thread holds: two packs, so that enough reads are under way at once.
template <class T> constexpr int HOLD = 32 / sizeof(T);

template <class T, int WIDTH, int SLOTS = HOLD<T>> struct Held {
  static constexpr int PACKS = SLOTS / WIDTH, TOTALS = SLOTS;
  static constexpr bool HELD = true;
  template <class U> using Of = Held<U, WIDTH, SLOTS>;
  float values[SLOTS];
  int n;

  INLINE Held(const T* row, int n) : n(n) {
#pragma unroll
    for (int p = 0; p < PACKS; p++) {
      int first = column(p);
      if (first >= n || row == nullptr) break;
      Pack<T, WIDTH> pack = load_pack<T, WIDTH>(row + first);
#pragma unroll
      for (int i = 0; i < WIDTH; i++) values[p * WIDTH + i] = to_float(pack.at[i]);
    }
  }

  INLINE int column(int pack) const {
    return (pack * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x)) * WIDTH;
  }
  INLINE float at(int, int slot) const { return values[slot]; }

  template <class F> INLINE void each(F f) const {
#pragma unroll
    for (int p = 0; p < PACKS; p++) {
      int first = column(p);
      if (first >= n) break;
#pragma unroll
      for (int i = 0; i < WIDTH; i++) f(first + i, p * WIDTH + i);
    }
  }

  template <class U, class F> INLINE void write(U* y, F f) const {
#pragma unroll
    for (int p = 0; p < PACKS; p++) {
      int first = column(p);
      if (first >= n) break;
      Pack<U, WIDTH> pack;
#pragma unroll
      for (int i = 0; i < WIDTH; i++) pack.at[i] = from_float<U>(f(first + i, p * WIDTH + i));
      store_pack<U, WIDTH>(y + first, pack);
    }
  }
};

template <class T> struct Streamed {
  static constexpr int TOTALS = 1;
  static constexpr bool HELD = false;
  template <class U> using Of = Streamed<U>;
  const T* row;
  int n;

  INLINE Streamed(const T* row, int n) : row(row), n(n) {}
  INLINE float at(int column, int) const { return to_float(row[column]); }

  template <class F> INLINE void each(F f) const {
#pragma unroll 4
    for (int column = threadIdx.x; column < n; column += blockDim.x) f(column, 0);
  }
  template <class U, class F> INLINE void write(U* y, F f) const {
#pragma unroll 4
    for (int column = threadIdx.x; column < n; column += blockDim.x)
      y[column] = from_float<U>(f(column, 0));
  }
};

// Calls f(Kind<R>()) with the kind of row that n values are: R is Held or Streamed.
template <class R> struct Kind { using Row = R; };

template <class T, class F> INLINE void with_rows_of(int n, F f) {
  if (n > HOLD<T> * static_cast<int>(blockDim.x)) f(Kind<Streamed<T>>());
  else if (n % WIDE<T> == 0) f(Kind<Held<T, WIDE<T>>>());
  else f(Kind<Held<T, 1>>());
}

// The same for kernels whose rows have odd lengths seldom: those are streamed, and the kernel takes
// two thirds of the time to compile.
template <class T, class F> INLINE void with_packed_rows(int n, F f) {
  if (n > HOLD<T> * static_cast<int>(blockDim.x) || n % WIDE<T> != 0) f(Kind<Streamed<T>>());
  else f(Kind<Held<T, WIDE<T>>>());
}

// The same for n that the team can hold; `packs` says whether rows begin at multiples of 16 bytes.
template <class T, class F> INLINE void with_held_rows(bool packs, F f) {
  if (packs) f(Kind<Held<T, WIDE<T>>>());
  else f(Kind<Held<T, 1>>());
}

template <class R, class F> INLINE float row_sum(const R& row, F f) {
  float sum = 0.0f;
  row.each([&](int column, int slot) { sum += f(column, slot); });
  return team_sum(sum);
}
