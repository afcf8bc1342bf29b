// The scheduler of runtime.h. Compiled without sanitizers, which it tells what they cannot know:
// which fiber runs, and what barriers order.
#include "runtime.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

#define WEAK extern "C" __attribute__((weak))
WEAK void* __tsan_get_current_fiber();
WEAK void* __tsan_create_fiber(unsigned);
WEAK void __tsan_destroy_fiber(void*);
WEAK void __tsan_switch_to_fiber(void*, unsigned);
WEAK void __tsan_acquire(void*);
WEAK void __tsan_release(void*);
WEAK void AnnotateIgnoreReadsBegin(const char*, int);
WEAK void AnnotateIgnoreReadsEnd(const char*, int);
WEAK void AnnotateIgnoreWritesBegin(const char*, int);
WEAK void AnnotateIgnoreWritesEnd(const char*, int);
WEAK void __sanitizer_start_switch_fiber(void**, const void*, size_t);
WEAK void __sanitizer_finish_switch_fiber(void*, const void**, size_t*);
#undef WEAK

namespace on_cpu {
namespace {

constexpr size_t kStackBytes = 256 << 10;
constexpr int kWarpSize = 32, kSlotBytes = 64;
constexpr unsigned kNoOrder = 1;  // of __tsan_switch_to_fiber: a switch is no synchronisation

void acquire(void* what) {
  if (__tsan_acquire) __tsan_acquire(what);
}
void release(void* what) {
  if (__tsan_release) __tsan_release(what);
}

// While the scheduler allocates and frees: else ThreadSanitizer would see it write what blocks have
// used, which nothing orders.
struct Unseen {
  Unseen() {
    if (AnnotateIgnoreReadsBegin)
      AnnotateIgnoreReadsBegin(__FILE__, __LINE__), AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~Unseen() {
    if (AnnotateIgnoreReadsEnd)
      AnnotateIgnoreWritesEnd(__FILE__, __LINE__), AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
};

// Not memcpy, which sanitizers look into: registers of lanes know no races.
void copy_unseen(void* to, const void* from, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i)
    static_cast<volatile unsigned char*>(to)[i] =
        static_cast<const volatile unsigned char*>(from)[i];
}

enum class State { ready, at_block_barrier, at_collective, ended };

struct Warp {
  unsigned char slots[2][kWarpSize][kSlotBytes];  // of this collective and the last one, which some
                                                  // may still read
  char barriers[2];
};

struct Thread {
  ucontext_t context;
  void* stack;
  void* tsan_fiber = nullptr;
  Place place;
  int number;
  State state = State::ready;
  Collective collective = Collective::barrier;
  unsigned collectives = 0, barriers = 0;
  std::deque<std::pair<int, Copy>> copies;  // by group
  int group = 0;
};

struct Stacks {
  size_t bytes;
  char* memory;

  explicit Stacks(size_t threads) : bytes(threads * kStackBytes) {
    memory = static_cast<char*>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (memory == MAP_FAILED) throw std::bad_alloc();
  }
  Stacks(const Stacks&) = delete;
  ~Stacks() { munmap(memory, bytes); }
};

// The launch that runs; one at a time.
struct Launch {
  const std::function<void()>* body;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  void* shared = nullptr;
  Thread* running = nullptr;
  ucontext_t scheduler;
  void* scheduler_fiber = nullptr;
  const void* scheduler_stack = nullptr;
  size_t scheduler_stack_bytes = 0;
  std::string fault;
  char barriers[2], begin, end;
};
Launch* current = nullptr;

// From the running thread to the scheduler.
void yield() {
  Thread& thread = *current->running;
  const bool last = thread.state == State::ended;
  void* fake_stack = nullptr;
  if (__sanitizer_start_switch_fiber)
    __sanitizer_start_switch_fiber(last ? nullptr : &fake_stack, current->scheduler_stack,
                                   current->scheduler_stack_bytes);
  if (__tsan_switch_to_fiber) __tsan_switch_to_fiber(current->scheduler_fiber, kNoOrder);
  swapcontext(&thread.context, &current->scheduler);
  if (__sanitizer_finish_switch_fiber)
    __sanitizer_finish_switch_fiber(fake_stack, &current->scheduler_stack,
                                    &current->scheduler_stack_bytes);
}

void resume(Thread& thread) {
  current->running = &thread;
  void* fake_stack = nullptr;
  if (__sanitizer_start_switch_fiber)
    __sanitizer_start_switch_fiber(&fake_stack, thread.stack, kStackBytes);
  if (__tsan_switch_to_fiber) __tsan_switch_to_fiber(thread.tsan_fiber, kNoOrder);
  swapcontext(&current->scheduler, &thread.context);
  if (__sanitizer_finish_switch_fiber)
    __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
}

void run_thread() {
  if (__sanitizer_finish_switch_fiber)
    __sanitizer_finish_switch_fiber(nullptr, &current->scheduler_stack,
                                    &current->scheduler_stack_bytes);
  acquire(&current->begin);
  (*current->body)();
  if (!current->running->copies.empty()) fault("a thread ends with copies under way");
  release(&current->end);
  current->running->state = State::ended;
  yield();
}

std::string name(const Thread& thread) {
  return "thread " + std::to_string(thread.number) + " of block " +
         std::to_string(thread.place.block.x);
}

// Lets go the lanes of a warp that have all come to one collective. Whether they were there.
bool meet_in_warp(Thread* lanes, int count) {
  const int waiting = static_cast<int>(std::count_if(
      lanes, lanes + count, [](const Thread& t) { return t.state == State::at_collective; }));
  const bool all_stopped =
      std::none_of(lanes, lanes + count, [](const Thread& t) { return t.state == State::ready; });
  if (waiting == 0 || !all_stopped) return false;
  for (int i = 0; i < count; ++i) {
    if (lanes[i].state != State::at_collective) {
      const char* where =
          lanes[i].state == State::ended ? " has ended" : " waits at a barrier of the block";
      throw std::runtime_error("lanes of a warp wait in a collective, but " + name(lanes[i]) +
                               where);
    }
    if (lanes[i].collective != lanes[0].collective || lanes[i].collectives != lanes[0].collectives)
      throw std::runtime_error("lanes of a warp wait in different collectives: " + name(lanes[0]) +
                               " and " + name(lanes[i]));
  }
  for (int i = 0; i < count; ++i) lanes[i].state = State::ready;
  return true;
}

void run_block(Launch& launch, std::mt19937* shuffle) {
  const int count = static_cast<int>(launch.threads.size());
  std::vector<int> order(count);
  for (int i = 0; i < count; ++i) order[i] = i;
  for (;;) {
    if (shuffle != nullptr) std::shuffle(order.begin(), order.end(), *shuffle);
    bool moved = false;
    for (int i : order) {
      if (launch.threads[i].state != State::ready) continue;
      moved = true;
      resume(launch.threads[i]);
      if (!launch.fault.empty()) throw std::runtime_error(launch.fault);
    }
    for (int first = 0; first < count; first += kWarpSize)
      moved = meet_in_warp(&launch.threads[first], std::min(kWarpSize, count - first)) || moved;
    if (moved) continue;
    const auto in = [&](State state) {
      return std::count_if(launch.threads.begin(), launch.threads.end(),
                           [&](const Thread& t) { return t.state == state; });
    };
    if (in(State::ended) == count) return;
    if (in(State::ended) > 0)
      throw std::runtime_error("threads wait at a barrier of the block, but " +
                               std::to_string(in(State::ended)) + " have ended");
    for (Thread& thread : launch.threads) thread.state = State::ready;
  }
}

void make_thread(Thread& thread, int number, const Place& place, char* stacks) {
  thread.number = number;
  thread.place = place;
  thread.stack = stacks + number * kStackBytes;
  if (__tsan_create_fiber) thread.tsan_fiber = __tsan_create_fiber(0);
  getcontext(&thread.context);
  thread.context.uc_stack.ss_sp = thread.stack;
  thread.context.uc_stack.ss_size = kStackBytes;
  thread.context.uc_link = nullptr;
  makecontext(&thread.context, run_thread, 0);
}

struct Fibers {
  Launch& launch;
  ~Fibers() {
    for (Thread& thread : launch.threads)
      if (thread.tsan_fiber != nullptr) __tsan_destroy_fiber(thread.tsan_fiber);
  }
};

}  // namespace

const Place& place() { return current->running->place; }
int lane() { return current->running->number % kWarpSize; }
void* shared_memory() { return current->shared; }

bool only_noted(const void* kernel, dim3 grid, dim3 block, size_t shared_bytes) {
  const char* file = std::getenv("B4R_CUDA_ON_CPU_LAUNCHES");
  if (file == nullptr) return false;
  Dl_info module;
  if (dladdr(kernel, &module) == 0) throw std::runtime_error("a kernel that is in no module");
  const auto place = static_cast<const char*>(kernel) - static_cast<const char*>(module.dli_fbase);
  std::ofstream(file, std::ios::app)
      << place << ' ' << grid.x << ' ' << block.x << ' ' << shared_bytes << '\n';
  return true;
}

void launch(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& body) {
  const int count = static_cast<int>(block.x);
  if (grid.y != 1 || grid.z != 1 || block.y != 1 || block.z != 1)
    throw std::runtime_error("only grids and blocks of one dimension run here");
  if (count > 1024 || count % kWarpSize != 0)
    throw std::runtime_error("a block must have whole warps, and 1,024 threads at most");
  const char* seed = std::getenv("B4R_CUDA_ON_CPU_ORDER");
  std::mt19937 shuffle(seed != nullptr ? static_cast<unsigned>(std::atoi(seed)) : 0);
  const Unseen unseen;
  Launch launch;
  launch.body = &body;
  struct Current {
    explicit Current(Launch* launch) { current = launch; }
    ~Current() { current = nullptr; }
  } now(&launch);
  if (__tsan_get_current_fiber) launch.scheduler_fiber = __tsan_get_current_fiber();
  release(&launch.begin);
  auto stacks = std::make_unique<Stacks>(count);
  for (unsigned number = 0; number < grid.x; ++number) {
    // To ThreadSanitizer a stack that is used again would be a place where two blocks write.
    if (number > 0 && __tsan_create_fiber) stacks = std::make_unique<Stacks>(count);
    std::unique_ptr<void, decltype(&std::free)> shared(nullptr, &std::free);
    if (shared_bytes > 0) {
      void* memory;
      if (posix_memalign(&memory, 128, shared_bytes) != 0) throw std::bad_alloc();
      shared.reset(std::memset(memory, 0xFF, shared_bytes));
    }
    launch.shared = shared.get();
    launch.warps = std::vector<Warp>(count / kWarpSize);
    launch.threads = std::vector<Thread>(count);
    const Fibers fibers{launch};
    for (int i = 0; i < count; ++i)
      make_thread(launch.threads[i], i, {dim3(i), dim3(number), block, grid}, stacks->memory);
    run_block(launch, seed != nullptr ? &shuffle : nullptr);
  }
  acquire(&launch.end);
}

// Two of each barrier in turn: a fast thread comes to the next one before a slow one has left this,
// and must not be in its past.
void wait_for_block() {
  char* barrier = &current->barriers[current->running->barriers++ % 2];
  release(barrier);
  current->running->state = State::at_block_barrier;
  yield();
  acquire(barrier);
}

const unsigned char* meet(Collective kind, const void* mine, size_t bytes) {
  Thread& thread = *current->running;
  auto& slots = current->warps[thread.number / kWarpSize].slots[thread.collectives++ % 2];
  copy_unseen(slots[thread.number % kWarpSize], mine, bytes);
  thread.collective = kind;
  thread.state = State::at_collective;
  yield();
  return slots[0];
}

void read_slot(const unsigned char* slots, int lane, size_t offset, void* to, size_t bytes) {
  copy_unseen(to, slots + lane * kSlotBytes + offset, bytes);
}

void wait_for_warp() {
  Thread& thread = *current->running;
  char* barrier = &current->warps[thread.number / kWarpSize].barriers[thread.collectives % 2];
  release(barrier);
  meet(Collective::barrier, nullptr, 0);
  acquire(barrier);
}

void fault(const std::string& message) {
  current->fault = message + ": " + name(*current->running);
  yield();
  std::abort();  // nobody resumes a thread after a fault
}

bool copies_are_eager() {
  const char* copies = std::getenv("B4R_CUDA_ON_CPU_COPIES");
  return copies != nullptr && std::strcmp(copies, "eager") == 0;
}
void begin_copy(const Copy& copy) {
  current->running->copies.emplace_back(current->running->group, copy);
}
void commit_copies() { ++current->running->group; }
bool next_copy(int groups, Copy* copy) {
  auto& copies = current->running->copies;
  if (copies.empty() || copies.front().first >= current->running->group - groups) return false;
  *copy = copies.front().second;
  copies.pop_front();
  return true;
}

}  // namespace on_cpu
