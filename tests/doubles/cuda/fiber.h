// A fiber: a stack of its own, entered and left by hand. One stands for each thread of a block.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#if defined(__x86_64__) && defined(__linux__) && !defined(CUDA_CPU_UCONTEXT)
#define CUDA_CPU_ASSEMBLY 1
#else
#include <ucontext.h>
#endif

namespace cuda_cpu {

constexpr size_t STACK = 128 * 1024;    // pages that are never touched cost nothing
constexpr uint64_t CANARY = 0x5afe57ac5afe57acull;

#ifdef CUDA_CPU_ASSEMBLY

// Keeps the registers that a call preserves on the stack it leaves, and takes them from the other.
extern "C" void cuda_cpu_switch(void** leaving, void* entering);
asm(R"(
.text
.type cuda_cpu_switch, @function
cuda_cpu_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cuda_cpu_switch, . - cuda_cpu_switch
)");

struct Context { void* top = nullptr; };

inline void switch_to(Context& from, Context& to) { cuda_cpu_switch(&from.top, to.top); }

inline void prepare(Context& context, char* stack, void (*entry)(), Context&) {
  void** top = reinterpret_cast<void**>(stack + STACK - 64);
  *--top = nullptr;                              // where `entry` would return to: it never does
  *--top = reinterpret_cast<void*>(entry);
  context.top = top - 6;                         // six registers, of any value
}

#else

struct Context { ucontext_t saved; };

inline void switch_to(Context& from, Context& to) { swapcontext(&from.saved, &to.saved); }

inline void prepare(Context& context, char* stack, void (*entry)(), Context& after) {
  getcontext(&context.saved);
  context.saved.uc_stack.ss_sp = stack;
  context.saved.uc_stack.ss_size = STACK;
  context.saved.uc_link = &after.saved;
  makecontext(&context.saved, entry, 0);
}

#endif

struct Stack {
  char* memory = nullptr;

  void renew() {
    if (!memory) memory = static_cast<char*>(std::aligned_alloc(4096, STACK));
    std::memcpy(memory, &CANARY, sizeof CANARY);
  }
  bool overflown() const { return std::memcmp(memory, &CANARY, sizeof CANARY) != 0; }
};

}  // namespace cuda_cpu
