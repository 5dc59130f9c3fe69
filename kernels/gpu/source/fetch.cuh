// How the operands of tensor cores get from memory to shared memory, and from there to registers.
//
// Included behind common.cuh. Each instruction has a twin for the CPU, as in mma.cuh.
// Source: the PTX manual, ldmatrix, cp.async, ex2.

// 2^x to 2 units in the last place; 2^-inf is 0.
INLINE float power_of_two(float x) {
#ifdef CUDA_CPU
  return exp2f(x);
#else
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}

#ifdef CUDA_CPU

struct RowOf { const unsigned short* at; };

// Register i of a lane: row lane / 4, columns 2 (lane % 4) and the next of matrix i, whose row r
// lane 8 i + r names.
INLINE void load_matrices(unsigned (&to)[2][2], const void* row) {
  auto lanes = cuda_cpu::exchange(RowOf{(const unsigned short*)row}, ~0u, __LINE__);
  int lane = cuda_cpu::lane();
  for (int i = 0; i < 4; i++)
    memcpy(&to[i / 2][i % 2], lanes[i * 8 + lane / 4].at + lane % 4 * 2, 4);
}

// The same of each matrix's transpose.
INLINE void load_matrices_turned(unsigned (&to)[2][2], const void* row) {
  auto lanes = cuda_cpu::exchange(RowOf{(const unsigned short*)row}, ~0u, __LINE__);
  int lane = cuda_cpu::lane(), first = lane % 4 * 2;
  for (int i = 0; i < 4; i++)
    to[i / 2][i % 2] = lanes[i * 8 + first].at[lane / 4] |
                       (unsigned)lanes[i * 8 + first + 1].at[lane / 4] << 16;
}

INLINE void copy_async(void* to, const void* from, bool valid) {
  if (valid) memcpy(to, from, 16);
  else memset(to, 0, 16);
}

INLINE void copies_started() {}
INLINE void copies_done() {}

#else

// Four 8 x 8 matrices of 16-bit numbers in shared memory: lane 8 i + r tells where row r of matrix
// i begins. Of matrix i register i receives row lane / 4, columns 2 (lane % 4) and the next.
INLINE void load_matrices(unsigned (&to)[2][2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0][0]), "=r"(to[0][1]), "=r"(to[1][0]), "=r"(to[1][1])
               : "r"((unsigned)__cvta_generic_to_shared(row)) : "memory");
}

// The same of each matrix's transpose.
INLINE void load_matrices_turned(unsigned (&to)[2][2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0][0]), "=r"(to[0][1]), "=r"(to[1][0]), "=r"(to[1][1])
               : "r"((unsigned)__cvta_generic_to_shared(row)) : "memory");
}

// 16 bytes into shared memory, past the registers; zeros if not `valid`. Both addresses are
// multiples of 16. They are there when the thread has called `copies_done`, and for the other
// threads behind a barrier.
INLINE void copy_async(void* to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :: "r"((unsigned)__cvta_generic_to_shared(to)), "l"(from), "r"(valid ? 16 : 0)
               : "memory");
}

INLINE void copies_started() { asm volatile("cp.async.commit_group;" ::: "memory"); }
INLINE void copies_done() { asm volatile("cp.async.wait_group 0;" ::: "memory"); }

#endif
