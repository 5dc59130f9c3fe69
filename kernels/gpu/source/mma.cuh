// The product of two fragments on tensor cores, and what it computes in plain C++.
//
// D (16 x 8, float32) += A (16 x 16) B (16 x 8), all spread over the 32 lanes of a warp. With
// group = lane / 4 and pair = lane % 4 * 2, a lane holds of
//   A: a[0] row group, columns pair and pair + 1;       a[1] row group + 8, the same columns;
//      a[2] row group, columns pair + 8 and pair + 9;   a[3] row group + 8, those columns;
//   B: b[0] rows pair and pair + 1 of column group;     b[1] rows pair + 8 and pair + 9 of it;
//   D: d[0], d[1] row group, columns pair and pair + 1; d[2], d[3] the same of row group + 8.
// Two values of 16 bits share a register, the first in the lower half.
// Source: the PTX manual, "Matrix Fragments for mma.m16n8k16".

template <class T> INLINE unsigned pack_two(float first, float second);

template <> INLINE unsigned pack_two<bf16>(float first, float second) {
#if !defined(CUDA_CPU) && __CUDA_ARCH__ >= 800
  unsigned y;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(second), "f"(first));
  return y;
#else
  return bf16_bits(first) | static_cast<unsigned>(bf16_bits(second)) << 16;
#endif
}

template <> INLINE unsigned pack_two<f16>(float first, float second) {
  return f16_bits(first) | static_cast<unsigned>(f16_bits(second)) << 16;
}

#ifdef CUDA_CPU

struct Fragments { unsigned a[4], b[2]; };

template <class T> INLINE float half_of(unsigned pair, int which) {
  return to_float(T{static_cast<unsigned short>(which ? pair >> 16 : pair)});
}

// Exact products, added in float32 one after the other; the hardware's order is its own.
template <class T> INLINE void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  auto lanes = cuda_cpu::exchange(
      Fragments{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}}, ~0u, __LINE__);
  int lane = cuda_cpu::lane();
  for (int e = 0; e < 4; e++) {
    int row = lane / 4 + (e >= 2 ? 8 : 0), column = lane % 4 * 2 + e % 2;
    for (int k = 0; k < 16; k++) {
      unsigned left = lanes[row % 8 * 4 + k % 8 / 2].a[row / 8 + k / 8 * 2];
      unsigned right = lanes[column * 4 + k % 8 / 2].b[k / 8];
      d[e] += half_of<T>(left, k % 2) * half_of<T>(right, k % 2);
    }
  }
}

#else

template <class T> INLINE void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]);

#define MMA(T, name) \
  template <> INLINE void mma<T>(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." name "." name ".f32 " \
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};" \
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])); \
  }
MMA(bf16, "bf16")
MMA(f16, "f16")
#undef MMA

#endif
