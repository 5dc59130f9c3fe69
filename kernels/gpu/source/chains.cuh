// What generated chains (chains.py) share: packs with an end, and sums of all elements.

// N values from element `first` on, one access where that is possible; zeros behind the end. An
// array that is one number N times and more is read as that.
template <int N, class T>
INLINE Pack<T, N> fetch(const T* x, long long first, long long n, int packs, bool one) {
  if (!one && packs && first + N <= n) return load_pack<T, N>(x + first);
  Pack<T, N> found{};
#pragma unroll
  for (int k = 0; k < N; k++)
    if (first + k < n) found.at[k] = x[one ? 0 : first + k];
  return found;
}

template <int N, class T>
INLINE void put(T* y, long long first, long long n, int packs, const Pack<T, N>& made) {
  if (packs && first + N <= n) {
    store_pack<T, N>(y + first, made);
  } else {
#pragma unroll
    for (int k = 0; k < N; k++)
      if (first + k < n) y[first + k] = made.at[k];
  }
}

// What a block has added up: times `share` it is the result where there is no other block, else a
// part for `total`.
template <class T> INLINE void finish(double mine, double* parts, double share, T* y) {
  double sum = block_sum(mine);
  if (threadIdx.x == 0) {
    if (gridDim.x == 1) *y = from_float<T>((float)(sum * share));
    else parts[blockIdx.x] = sum;
  }
  __syncthreads();          // before the shared memory of block_sum is used again
}

template <class T> INLINE void total(const double* parts, long long count, double share, T* y) {
  double sum = sum_of(parts, count);
  if (threadIdx.x == 0) *y = from_float<T>((float)(sum * share));
}
