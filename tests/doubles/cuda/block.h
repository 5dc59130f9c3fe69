// Runs the threads of a block one at a time, each until it waits: at __syncthreads for the block,
// at a shuffle, a vote or __syncwarp for its warp. The order of the threads is the caller's to
// choose.
#pragma once
#include <csignal>
#include <cstdio>

#include "fiber.h"

struct uint3 { unsigned x, y, z; };
struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

// All static shared variables lie in one section, so that they can be poisoned before each block.
extern "C" char __start_cuda_shared[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_cuda_shared[] __attribute__((weak, visibility("hidden")));

namespace cuda_cpu {

constexpr unsigned MOST_THREADS = 1024, SLOT = 64;
constexpr size_t GUARD = 4096;

enum State { READY, AT_BLOCK, AT_WARP, DONE };

struct Fiber {
  Context context;
  Stack stack;
  State state;
  uint3 thread;
  unsigned mask;              // the lanes that it waits for
  int line;                   // of the source, where it waits
  unsigned size;              // bytes that it hands to the other lanes
  unsigned char given[SLOT];
  unsigned char seen[SLOT];   // what it handed over when its warp met last, for the others to read
  unsigned met;               // the lanes of that meeting
};

static Fiber fibers[MOST_THREADS];
static Fiber* current;
static Context scheduler;
static dim3 grid_size, block_size;
static uint3 block_index;
static unsigned threads;
static int order;             // 0: first to last, 1: last to first, 2: shuffled
static char* dynamic;         // guard, the block's dynamic memory, guard
static size_t dynamic_size;
static char message[512];
static void (*kernel)(void**);
static void** arguments;

inline bool failed() { return message[0] != 0; }

template <class... Args> inline void fail(const char* format, Args... args) {
  if (failed()) return;       // the first one says most
  int n = std::snprintf(message, sizeof message, "block (%u, %u, %u): ", block_index.x,
                        block_index.y, block_index.z);
  std::snprintf(message + n, sizeof message - n, format, args...);
}

// The same in a thread that cannot go on: the scheduler never comes back to it.
template <class... Args> inline void stop(const char* format, Args... args) {
  fail(format, args...);
  switch_to(current->context, scheduler);
}

inline void wait(State state, int line) {
  current->state = state;
  current->line = line;
  switch_to(current->context, scheduler);
}

inline void enter() {
  kernel(arguments);
  current->state = DONE;
  switch_to(current->context, scheduler);
}

inline void* dynamic_memory() { return dynamic + GUARD; }
inline unsigned number() { return static_cast<unsigned>(current - fibers); }
inline unsigned lane() { return number() % 32; }

// The k-th of n in the order that was chosen.
inline unsigned ordered(unsigned k, unsigned n) {
  if (order == 0) return k;
  if (order == 1) return n - 1 - k;
  unsigned step = 7;          // 7, 11, 13, ...: the first that does not divide n visits all
  while (n % step == 0) step += step == 7 ? 4 : 2;
  return (k * static_cast<unsigned long long>(step) + n / 3) % n;
}

// ---- warps --------------------------------------------------------------------------------------

// Let go the lanes that wait for each other and have all arrived. Says whether there were any.
inline bool release(unsigned first, unsigned last) {
  bool released = false;
  for (unsigned i = first; i < last; i++) {
    if (fibers[i].state != AT_WARP) continue;
    unsigned mask = fibers[i].mask, arrived = 0;
    bool all = true;
    for (unsigned j = first; j < last; j++) {
      if (!(mask >> (j - first) & 1) || fibers[j].state == DONE) continue;
      all &= fibers[j].state == AT_WARP && fibers[j].mask == mask
             && fibers[j].line == fibers[i].line;
      arrived |= 1u << (j - first);
    }
    if (!all) continue;
    for (unsigned j = first; j < last; j++) {
      if (!(arrived >> (j - first) & 1)) continue;
      Fiber& f = fibers[j];
      std::memcpy(f.seen, f.given, f.size);
      f.met = arrived;
      f.state = READY;
    }
    released = true;
  }
  return released;
}

inline void run_warp(unsigned first, unsigned last) {
  do {
    for (unsigned k = 0; k < last - first; k++) {
      Fiber& f = fibers[first + ordered(k, last - first)];
      if (f.state != READY) continue;
      current = &f;
      switch_to(scheduler, f.context);
      if (f.stack.overflown()) fail("the stack of a thread is full: too many local variables");
      if (failed()) return;
    }
  } while (release(first, last));
  for (unsigned i = first; i < last; i++)
    if (fibers[i].state == AT_WARP)
      return fail("warp %u: lane %u waits at line %d for lanes %08x, of which some are elsewhere",
                  first / 32, i - first, fibers[i].line, fibers[i].mask);
}

// What the lanes of a warp handed over, by lane. Those that took no part give poison.
template <class T> struct Lanes {
  const Fiber* first;
  unsigned met, last;
  T operator[](unsigned lane) const {
    T value;
    std::memset(&value, 0xff, sizeof value);
    if (lane <= last && met >> lane & 1) std::memcpy(&value, first[lane].seen, sizeof value);
    return value;
  }
};

// A meeting of the lanes in `mask`. What it returns is to be read before the next one.
template <class T> inline Lanes<T> exchange(T value, unsigned mask, int line) {
  static_assert(sizeof(T) <= SLOT, "too much for one exchange");
  if (!(mask >> lane() & 1))
    stop("lane %u, line %d: the mask %08x does not name the lane itself", lane(), line, mask);
  std::memcpy(current->given, &value, sizeof value);
  current->size = sizeof value;
  current->mask = mask;
  wait(AT_WARP, line);
  unsigned first = number() / 32 * 32, count = threads - first < 32 ? threads - first : 32;
  return {fibers + first, current->met, count - 1};
}

// ---- blocks -------------------------------------------------------------------------------------

inline void poison() {
  if (__start_cuda_shared)
    std::memset(__start_cuda_shared, 0xff, __stop_cuda_shared - __start_cuda_shared);
  std::memset(dynamic, 0xff, dynamic_size + 2 * GUARD);
}

inline void check_guards() {
  for (size_t i = 0; i < GUARD; i++) {
    if (static_cast<unsigned char>(dynamic[i]) != 0xff)
      return fail("write at byte -%zu of the dynamic shared memory", GUARD - i);
    if (static_cast<unsigned char>(dynamic[GUARD + dynamic_size + i]) != 0xff)
      return fail("write at byte %zu of %zu of the dynamic shared memory", dynamic_size + i,
                  dynamic_size);
  }
}

// Let the block pass __syncthreads; false when nothing is left to run.
inline bool pass_barrier() {
  unsigned waiting = 0, done = 0;
  int line = 0;
  for (unsigned i = 0; i < threads; i++) {
    done += fibers[i].state == DONE;
    if (fibers[i].state != AT_BLOCK) continue;
    if (waiting++ && fibers[i].line != line)
      fail("threads wait at __syncthreads of lines %d and %d at once", line, fibers[i].line);
    line = fibers[i].line;
  }
  if (waiting && done)
    fail("__syncthreads of line %d was reached by %u of %u threads, the others have ended", line,
         waiting, threads);
  if (failed() || !waiting) return false;
  for (unsigned i = 0; i < threads; i++) fibers[i].state = READY;
  return true;
}

inline void run_block() {
  poison();
  for (unsigned i = 0; i < threads; i++) {
    Fiber& f = fibers[i];
    f.thread = {i % block_size.x, i / block_size.x % block_size.y,
                i / (block_size.x * block_size.y)};
    f.state = READY;
    f.stack.renew();
    prepare(f.context, f.stack.memory, enter, scheduler);
  }
  unsigned warps = (threads + 31) / 32;
  do {
    for (unsigned k = 0; k < warps && !failed(); k++) {
      unsigned first = ordered(k, warps) * 32;
      run_warp(first, first + 32 < threads ? first + 32 : threads);
    }
  } while (!failed() && pass_barrier());
  if (!failed()) check_guards();
}

// A wild address ends the thread and the launch, not the process. The handler does not return: it
// goes to the scheduler, as a thread that waits does.
inline void faulted(int, siginfo_t* info, void*) {
  stop("thread (%u, %u, %u) used the address %p, where there is no memory or not for this type",
       current->thread.x, current->thread.y, current->thread.z, info->si_addr);
}

struct Faults {
  static constexpr int SIGNALS[] = {SIGSEGV, SIGBUS, SIGFPE};
  struct sigaction before[3];
  Faults() {
    struct sigaction ours = {};
    ours.sa_sigaction = faulted;
    ours.sa_flags = SA_SIGINFO | SA_NODEFER;
    for (int i = 0; i < 3; i++) sigaction(SIGNALS[i], &ours, &before[i]);
  }
  ~Faults() {
    for (int i = 0; i < 3; i++) sigaction(SIGNALS[i], &before[i], nullptr);
  }
};

inline void check_aligned(const void* address, size_t size) {
  if (reinterpret_cast<uintptr_t>(address) % size)
    stop("thread (%u, %u, %u) reads or writes %zu bytes at once at %p, no multiple of %zu",
         current->thread.x, current->thread.y, current->thread.z, size, address, size);
}

inline const char* run_grid(dim3 grid, dim3 block, size_t shared, int which, void (*fn)(void**),
                            void** args) {
  grid_size = grid;
  block_size = block;
  threads = block.x * block.y * block.z;
  order = which;
  kernel = fn;
  arguments = args;
  message[0] = 0;
  dynamic_size = shared;
  dynamic = static_cast<char*>(std::aligned_alloc(4096, (shared + 2 * GUARD + 4095) / 4096 * 4096));
  Faults handled;
  unsigned long long blocks = 1ull * grid.x * grid.y * grid.z;
  for (unsigned long long k = 0; k < blocks && !failed(); k++) {
    unsigned long long b = blocks < 1u << 31 ? ordered(static_cast<unsigned>(k), blocks) : k;
    block_index = {static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
                   static_cast<unsigned>(b / grid.x / grid.y)};
    run_block();
  }
  std::free(dynamic);
  return failed() ? message : nullptr;
}

}  // namespace cuda_cpu
