// The part of CUDA C that kernels/gpu/source uses, in C++, so that the same text runs on the CPU.
#pragma once
#include <cmath>
#include <utility>

#include "block.h"

#define CUDA_CPU 1
#define __global__ __attribute__((cuda_global))
#define __launch_bounds__(...) __attribute__((cuda_bounds(__VA_ARGS__)))
#define __device__
#define __host__
#define __constant__ const
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static __attribute__((section("cuda_shared")))
#define threadIdx (cuda_cpu::current->thread)
#define blockIdx (cuda_cpu::block_index)
#define blockDim (cuda_cpu::block_size)
#define gridDim (cuda_cpu::grid_size)
#define warpSize 32

// ---- barriers, shuffles, votes ------------------------------------------------------------------
// The line of the call tells barriers apart; __builtin_LINE() as a default is the caller's.

inline void __syncthreads(int line = __builtin_LINE()) { cuda_cpu::wait(cuda_cpu::AT_BLOCK, line); }
inline void __syncwarp(unsigned mask = ~0u, int line = __builtin_LINE()) {
  cuda_cpu::exchange(0, mask, line);
}
// Whether the condition holds for any thread of the block: a barrier before and after the vote.
inline int __syncthreads_or(int yes, int line = __builtin_LINE()) {
  static int votes;
  cuda_cpu::wait(cuda_cpu::AT_BLOCK, line);
  votes = 0;
  cuda_cpu::wait(cuda_cpu::AT_BLOCK, -line);
  votes |= yes != 0;
  cuda_cpu::wait(cuda_cpu::AT_BLOCK, line);
  return votes;
}
inline void __threadfence() {}
inline void __threadfence_block() {}

// A lane of the same segment of `width` lanes, or the own one where `from` lies outside.
inline unsigned cuda_cpu_source(int from, int width) {
  int own = static_cast<int>(cuda_cpu::lane()), first = own & ~(width - 1);
  return from >= first && from < first + width ? from : own;
}

template <class T>
T __shfl_sync(unsigned mask, T x, int lane, int width = 32, int line = __builtin_LINE()) {
  int first = static_cast<int>(cuda_cpu::lane()) & ~(width - 1);
  return cuda_cpu::exchange(x, mask, line)[first + (lane & (width - 1))];
}
template <class T>
T __shfl_xor_sync(unsigned mask, T x, int bits, int width = 32, int line = __builtin_LINE()) {
  return cuda_cpu::exchange(x, mask, line)[cuda_cpu_source(cuda_cpu::lane() ^ bits, width)];
}
template <class T>
T __shfl_down_sync(unsigned mask, T x, unsigned step, int width = 32, int line = __builtin_LINE()) {
  return cuda_cpu::exchange(x, mask, line)[cuda_cpu_source(cuda_cpu::lane() + step, width)];
}
template <class T>
T __shfl_up_sync(unsigned mask, T x, unsigned step, int width = 32, int line = __builtin_LINE()) {
  int from = static_cast<int>(cuda_cpu::lane()) - static_cast<int>(step);
  return cuda_cpu::exchange(x, mask, line)[cuda_cpu_source(from, width)];
}

inline unsigned __ballot_sync(unsigned mask, int yes, int line = __builtin_LINE()) {
  auto lanes = cuda_cpu::exchange(yes, mask, line);
  unsigned votes = 0;
  for (unsigned i = 0; i < 32; i++)
    if (lanes.met >> i & 1 && lanes[i]) votes |= 1u << i;
  return votes;
}
inline int __any_sync(unsigned mask, int yes, int line = __builtin_LINE()) {
  return __ballot_sync(mask, yes, line) != 0;
}
inline int __all_sync(unsigned mask, int yes, int line = __builtin_LINE()) {
  return __ballot_sync(mask, !yes, line) == 0;
}

// ---- atomics: one thread runs at a time ---------------------------------------------------------

template <class T> T atomicAdd(T* at, T x) { T old = *at; *at = old + x; return old; }
template <class T> T atomicMax(T* at, T x) { T old = *at; if (x > old) *at = x; return old; }
template <class T> T atomicMin(T* at, T x) { T old = *at; if (x < old) *at = x; return old; }
template <class T> T atomicOr(T* at, T x) { T old = *at; *at = old | x; return old; }
template <class T> T atomicExch(T* at, T x) { T old = *at; *at = x; return old; }
template <class T> T atomicCAS(T* at, T expected, T x) {
  T old = *at;
  if (old == expected) *at = x;
  return old;
}

// ---- vectors ------------------------------------------------------------------------------------

struct __align__(8) float2 { float x, y; };
struct __align__(16) float4 { float x, y, z, w; };
struct __align__(8) int2 { int x, y; };
struct __align__(16) int4 { int x, y, z, w; };
struct __align__(8) uint2 { unsigned x, y; };
struct __align__(16) uint4 { unsigned x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

// ---- functions ----------------------------------------------------------------------------------

template <class To, class From> inline To cuda_cpu_bits(From x) {
  static_assert(sizeof(To) == sizeof(From), "sizes differ");
  To y;
  std::memcpy(&y, &x, sizeof y);
  return y;
}
inline unsigned __float_as_uint(float x) { return cuda_cpu_bits<unsigned>(x); }
inline int __float_as_int(float x) { return cuda_cpu_bits<int>(x); }
inline float __uint_as_float(unsigned x) { return cuda_cpu_bits<float>(x); }
inline float __int_as_float(int x) { return cuda_cpu_bits<float>(x); }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<unsigned long long>(a) * b >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
template <class T> inline T __ldg(const T* at) { return *at; }
template <class T> inline T min(T a, T b) { return b < a ? b : a; }
template <class T> inline T max(T a, T b) { return a < b ? b : a; }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline void sincospif(float x, float* sine, float* cosine) {
  double turn = 3.14159265358979323846 * static_cast<double>(x);
  *sine = static_cast<float>(std::sin(turn));
  *cosine = static_cast<float>(std::cos(turn));
}
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float rcbrtf(float x) { return 1.0f / cbrtf(x); }

namespace cuda_cpu {

inline float half_to_float(unsigned short h) {
  unsigned sign = (h & 0x8000u) << 16, exponent = h >> 10 & 31u, fraction = h & 1023u;
  if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | fraction << 13);
  if (exponent == 0) {                        // below the normal numbers: steps of 2^-24
    float x = static_cast<float>(fraction) * 0x1p-24f;
    return sign ? -x : x;
  }
  return __uint_as_float(sign | (exponent + 112) << 23 | fraction << 13);
}

inline unsigned short float_to_half(float x) {
  unsigned bits = __float_as_uint(x), sign = bits >> 16 & 0x8000u;
  float size = fabsf(x);
  if (size != size) return 0x7fff;
  if (size >= 65520.0f) return sign | 0x7c00u;
  if (size < 0x1p-14f) return sign | static_cast<unsigned>(rintf(size * 0x1p24f));
  bits &= 0x7fffffffu;
  return sign | (((bits + 0xfffu + (bits >> 13 & 1u)) >> 13) - (112u << 10));
}

// ---- the table of kernels -----------------------------------------------------------------------

template <class T> const char* type_text() { return __PRETTY_FUNCTION__; }

template <auto Function> struct Entry;
template <class... P, void (*Function)(P...)> struct Entry<Function> {
  template <size_t... I> static void call(void** args, std::index_sequence<I...>) {
    Function(*static_cast<P*>(args[I])...);
  }
  static void run(void** args) { call(args, std::index_sequence_for<P...>{}); }
  static const char* parameter(unsigned i) {
    const char* texts[] = {type_text<P>()..., nullptr};
    return i < sizeof...(P) ? texts[i] : nullptr;
  }
  static unsigned size(unsigned i) {
    const unsigned sizes[] = {sizeof(P)..., 0};
    return i < sizeof...(P) ? sizes[i] : 0;
  }
};

struct Row {
  const char* name;
  int bounds;
  void (*run)(void**);
  const char* (*parameter)(unsigned);
  unsigned (*size)(unsigned);
};

}  // namespace cuda_cpu

// ---- indices of arrays whose size is known: g++ -fsanitize=bounds calls these -------------------

struct cuda_cpu_location { const char* file; unsigned line, column; };
extern "C" void __ubsan_handle_out_of_bounds(cuda_cpu_location* where, size_t index) {
  cuda_cpu::stop("line %u: index %zd is outside of the array", where->line,
                 static_cast<ptrdiff_t>(index));
}
