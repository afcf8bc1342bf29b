// Threads of a GPU on a CPU: every CUDA thread is a fiber, a stack of its own that runs until it
// waits for others.
//
// What kernels may do together, and what is checked of it:
//
//   barriers      of a block and of a warp. A thread that never comes, and one that ended before,
//   are faults collectives   shuffles, votes, loads of matrices, products: the 32 lanes of a warp
//   meet in the same one, or it is a fault copies        asynchronous ones land when they are
//   waited for, or at once (B4R_CUDA_ON_CPU_COPIES=eager): a missing wait shows in the one, a
//                 missing barrier before a buffer's next use in the other. Misaligned ones, and
//                 ones that nobody waits for, are faults
//   order         threads run in the order of their numbers, or in a shuffled one
//   (B4R_CUDA_ON_CPU_ORDER=a seed) memory        shared memory is allocated anew for every block,
//   with its exact size, and filled with NaN: AddressSanitizer sees what
//                 lies outside. ThreadSanitizer knows every thread of every block apart, and takes
//                 barriers alone for order: it sees a missing barrier, and two blocks that write to
//                 one place
//
// A fault is a std::runtime_error out of the launch. Not covered: warps that run apart within a
// collective's mask, memory fences, speed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace on_cpu {

struct Place {
  dim3 thread, block, block_size, grid_size;
};

// Of the thread that asks.
const Place& place();
int lane();

// body() once for every thread of every block.
void launch(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& body);

// Whether launches are written to the file that B4R_CUDA_ON_CPU_LAUNCHES names, and not run: a line
// each, with the kernel's place in the module, blocks, threads, and bytes of shared memory.
bool only_noted(const void* kernel, dim3 grid, dim3 block, size_t shared_bytes);

// Of the running block.
void* shared_memory();

void wait_for_block();

// What the lanes of a warp do together.
enum class Collective { barrier, shuffle, vote, reduction, load_matrices, multiply_add };

// Leaves up to 64 bytes, waits for the other lanes, and returns what read_slot reads theirs from,
// until this lane's next collective. Orders no memory; wait_for_warp does.
const unsigned char* meet(Collective kind, const void* mine, size_t bytes);
void read_slot(const unsigned char* slots, int lane, size_t offset, void* to, size_t bytes);
void wait_for_warp();

// Ends the launch with this message.
[[noreturn]] void fault(const std::string& message);

// Asynchronous copies of the running thread. The copying itself is in ptx.cuh, where sanitizers see
// it.
struct Copy {
  void* to;
  const void* from;  // null: zeros
};
bool copies_are_eager();
void begin_copy(const Copy& copy);
void commit_copies();
// The next copy that is not among the newest `groups` groups, or false.
bool next_copy(int groups, Copy* copy);

}  // namespace on_cpu
