// Memory that lives as long as a scope and is kept for the next one: pages are faulted in once, not at every call.
//
//   Scratch scratch;
//   float* p = scratch.take(count);      // 64-byte aligned, not initialised; gone when `scratch` is
//
// Scopes of one thread nest like a stack. What a thread keeps is the most that it ever needed at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace b4r {

class Scratch {
 public:
  Scratch() : block_(arena().block), used_(arena().used) { ++arena().depth; }
  ~Scratch() {
    Arena& a = arena();
    a.block = block_;
    a.used = used_;
    if (--a.depth == 0 && a.blocks.size() > 1) a.merge();
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  float* take(int64_t count) { return static_cast<float*>(arena().take(static_cast<size_t>(count) * sizeof(float))); }

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
      bytes = (bytes + 63) / 64 * 64;
      while (block < blocks.size() && used + bytes > blocks[block].size) {
        ++block;
        used = 0;
      }
      if (block == blocks.size()) blocks.push_back(allocate(bytes));
      void* p = blocks[block].data + used;
      used += bytes;
      return p;
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
