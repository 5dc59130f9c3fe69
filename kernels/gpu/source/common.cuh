// What all kernels share: types of 16 bits, packs of values, sums and maxima of warps and blocks.
//
// Nothing of CUDA's headers is included, so NVRTC alone compiles these files (NVRTC has the
// device's own functions built in), and so does a C++ compiler behind tests/doubles/cuda/shim.h,
// which defines CUDA_CPU. What is not C++ stands in this file and in mma.cuh, each time with a twin
// for the CPU.

#ifdef CUDA_CPU
#define DYN_SMEM(T, name) T* name = static_cast<T*>(cuda_cpu::dynamic_memory())
#else
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
// The block's memory of the size that the launch asks for, aligned to 16 bytes.
#define DYN_SMEM(T, name) \
  extern __shared__ __align__(16) unsigned char dynamic_memory[]; \
  T* name = reinterpret_cast<T*>(dynamic_memory)
#endif

#define INLINE __device__ __forceinline__

// ---- numbers of 16 bits -------------------------------------------------------------------------
// Storage only: kernels read them as float, compute, and round once on the way out.

struct bf16 { unsigned short bits; };
struct f16 { unsigned short bits; };

INLINE float to_float(float x) { return x; }

INLINE float to_float(bf16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }

INLINE float to_float(f16 x) {
#ifdef CUDA_CPU
  return cuda_cpu::half_to_float(x.bits);
#else
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
#endif
}

// Rounds to the nearest number, to even between two. NaN stays NaN.
INLINE unsigned short bf16_bits(float x) {
#if !defined(CUDA_CPU) && __CUDA_ARCH__ >= 800
  unsigned short y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y) : "f"(x));
  return y;
#else
  unsigned u = __float_as_uint(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
  return static_cast<unsigned short>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
#endif
}

INLINE unsigned short f16_bits(float x) {
#ifdef CUDA_CPU
  return cuda_cpu::float_to_half(x);
#else
  unsigned short y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x));
  return y;
#endif
}

template <class T> INLINE T from_float(float x);
template <> INLINE float from_float<float>(float x) { return x; }
template <> INLINE bf16 from_float<bf16>(float x) { return bf16{bf16_bits(x)}; }
template <> INLINE f16 from_float<f16>(float x) { return f16{f16_bits(x)}; }

// Names and types of the kernels that exist for each type, softmax_f32, softmax_bf16, softmax_f16:
//   #define SOFTMAX(suffix, T) extern "C" __global__ void softmax_##suffix(const T* x, ...) {...}
//   FOR_TYPES(SOFTMAX)
// FOR_PAIRS has a second type, that of parameters: the array's, or float (softmax_bf16_f32).
#define FOR_TYPES(M) M(f32, float) M(bf16, bf16) M(f16, f16)
#define FOR_PAIRS(M) \
  M(f32, float, float) M(bf16, bf16, bf16) M(f16, f16, f16) M(bf16_f32, bf16, float) \
  M(f16_f32, f16, float)

// ---- packs --------------------------------------------------------------------------------------

// N values that lie one behind the other, read and written at once. The address must be a multiple
// of the pack's size: launch.py hands over arrays whose first element is aligned to 16 bytes.
template <class T, int N> struct __align__(sizeof(T) * N) Pack { T at[N]; };

template <class T, int N> INLINE Pack<T, N> load_pack(const T* from) {
#ifdef CUDA_CPU
  cuda_cpu::check_aligned(from, sizeof(Pack<T, N>));
#endif
  return *reinterpret_cast<const Pack<T, N>*>(from);
}

template <class T, int N> INLINE void store_pack(T* to, const Pack<T, N>& pack) {
#ifdef CUDA_CPU
  cuda_cpu::check_aligned(to, sizeof(Pack<T, N>));
#endif
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

// How many values of type T are 16 bytes, the most that a thread can read at once.
template <class T> constexpr int WIDE = 16 / sizeof(T);

// ---- reductions ---------------------------------------------------------------------------------

struct Sum {
  static INLINE float none() { return 0.0f; }
  static INLINE float combine(float a, float b) { return a + b; }
};

// NaN is dropped, as fmaxf does: kernels see it in a sum.
struct Maximum {
  static INLINE float none() { return -INFINITY; }
  static INLINE float combine(float a, float b) { return fmaxf(a, b); }
};

// All lanes of a warp get the result; all 32 must call it.
template <class Op> INLINE float warp_reduce(float x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) x = Op::combine(x, __shfl_xor_sync(~0u, x, step));
  return x;
}

// A team is the threads with one threadIdx.y: a warp, of which a block can hold several, or the
// whole block (blockDim.y is 1 then). blockDim.x is a multiple of 32. All its threads get the
// result and all must call it. In float32, in a fixed order: equal inputs give equal bits.
template <class Op> INLINE float team_reduce(float x) {
  x = warp_reduce<Op>(x);
  if (blockDim.x > 32) {
    __shared__ float of_warps[32];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    __syncthreads();   // what the call before left here has been read by all
    if (lane == 0) of_warps[warp] = x;
    __syncthreads();
    x = lane < blockDim.x / 32 ? of_warps[lane] : Op::none();
    x = warp_reduce<Op>(x);
  }
  return x;
}

INLINE float warp_sum(float x) { return warp_reduce<Sum>(x); }
INLINE float warp_max(float x) { return warp_reduce<Maximum>(x); }
INLINE float team_sum(float x) { return team_reduce<Sum>(x); }
INLINE float team_max(float x) { return team_reduce<Maximum>(x); }

// The row that a team works on, where each takes one.
INLINE long long team_row() {
  return static_cast<long long>(blockIdx.x) * blockDim.y + threadIdx.y;
}
