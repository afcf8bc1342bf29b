// Memory that lives as long as a scope and is kept for the next one: pages are faulted in once, not
// at every call.
//
//   Scratch scratch;
//   float* p = scratch.take(count);      // 64-byte aligned, not initialised; gone when `scratch`
//                                        is
//
// Scopes of one thread nest like a stack. What a thread keeps is the most that it ever needed at
// once.
//
// AddressSanitizer learns which bytes are taken, and those come as NaN: it would not see a kernel
// run from one piece of a block into the next, nor read what an earlier scope left.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#if defined(B4R_SANITIZE_ADDRESS)
#include <sanitizer/asan_interface.h>

#include <cstring>
#endif

namespace b4r {

#if defined(B4R_SANITIZE_ADDRESS)
constexpr size_t kScratchGap = 64;
inline void open_scratch(void* data, size_t bytes) {
  ASAN_UNPOISON_MEMORY_REGION(data, bytes);
  std::memset(data, 0xFF, bytes);
}
inline void close_scratch(void* data, size_t bytes) { ASAN_POISON_MEMORY_REGION(data, bytes); }
#else
constexpr size_t kScratchGap = 0;
inline void open_scratch(void*, size_t) {}
inline void close_scratch(void*, size_t) {}
#endif

class Scratch {
 public:
  Scratch() : block_(arena().block), used_(arena().used) { ++arena().depth; }
  ~Scratch() {
    Arena& a = arena();
    a.rewind(block_, used_);
    if (--a.depth == 0 && a.blocks.size() > 1) a.merge();
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  float* take(int64_t count) {
    return static_cast<float*>(arena().take(static_cast<size_t>(count) * sizeof(float)));
  }

 private:
  struct Block {
    char* data;
    size_t size;
  };

  struct Arena {
    std::vector<Block> blocks;
    size_t block = 0, used = 0;
    int depth = 0;

    ~Arena() {
      for (const Block& b : blocks) std::free(b.data);
    }

    void* take(size_t bytes) {
      const size_t size = (bytes + 63) / 64 * 64 + kScratchGap;
      while (block < blocks.size() && used + size > blocks[block].size) {
        ++block;
        used = 0;
      }
      if (block == blocks.size()) blocks.push_back(allocate(size));
      void* p = blocks[block].data + used;
      open_scratch(p, bytes);
      used += size;
      return p;
    }

    void rewind(size_t to_block, size_t to_used) {
      if (to_block < blocks.size())
        close_scratch(blocks[to_block].data + to_used, blocks[to_block].size - to_used);
      for (size_t b = to_block + 1; b < blocks.size(); ++b)
        close_scratch(blocks[b].data, blocks[b].size);
      block = to_block;
      used = to_used;
    }

    // One block in place of several, as large as all of them.
    void merge() {
      size_t total = 0;
      for (const Block& b : blocks) {
        total += b.size;
        std::free(b.data);
      }
      blocks.clear();
      blocks.push_back(allocate(total));
      block = used = 0;
    }

    static Block allocate(size_t bytes) {
      constexpr size_t kHugePage = size_t{1} << 21;
      const size_t alignment = bytes >= kHugePage ? kHugePage : 64;
      const size_t size = (bytes + alignment - 1) / alignment * alignment;
      void* data = std::aligned_alloc(alignment, size);
      if (data == nullptr) throw std::bad_alloc();
#if defined(__linux__)
      if (size >= kHugePage) madvise(data, size, MADV_HUGEPAGE);
#endif
      close_scratch(data, size);
      return {static_cast<char*>(data), size};
    }
  };

  static Arena& arena() {
    static thread_local Arena a;
    return a;
  }

  size_t block_, used_;
};

}  // namespace b4r
