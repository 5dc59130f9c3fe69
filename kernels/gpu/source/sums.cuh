// Sums over the 256 threads of a block in float64, always in the same order.

// For all threads; a kernel may call it once.
INLINE double block_sum(double mine) {
  __shared__ double sums[256];
  sums[threadIdx.x] = mine;
  __syncthreads();
  for (int half = 128; half; half /= 2) {
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    __syncthreads();
  }
  return sums[0];
}

// Of numbers in memory, by one block.
INLINE double sum_of(const double* parts, long long count) {
  double sum = 0.;
  for (long long i = threadIdx.x; i < count; i += 256) sum += parts[i];
  return block_sum(sum);
}
