// csrc/cuda/ptx.cuh for the CPU: the same functions. Which lane holds which element is written down
// here once more, as the PTX manual has it for ldmatrix and for mma.m16n8k16;
// tests/cuda_on_cpu/test_runtime.cpp holds both against its tables.
#pragma once

#include "cuda_bf16.h"
#include "cuda_fp16.h"

namespace b4r::cuda {

template <class T>
T* shared_memory() {
  return static_cast<T*>(on_cpu::shared_memory());
}

inline void copy_now(const on_cpu::Copy& copy) {
  for (int i = 0; i < 16; ++i)
    static_cast<unsigned char*>(copy.to)[i] =
        copy.from == nullptr ? 0 : static_cast<const unsigned char*>(copy.from)[i];
}

inline void copy_async(void* to, const void* from, bool exists) {
  if ((reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) % 16 != 0)
    on_cpu::fault("a misaligned asynchronous copy");
  const on_cpu::Copy copy = {to, exists ? from : nullptr};
  if (on_cpu::copies_are_eager())
    copy_now(copy);
  else
    on_cpu::begin_copy(copy);
}
inline void commit_copies() { on_cpu::commit_copies(); }
template <int N>
void wait_for_copies() {
  for (on_cpu::Copy copy; on_cpu::next_copy(N, &copy);) copy_now(copy);
}

// r[m]: matrix m's row l div 4, columns 2 (l mod 4) and the next.
template <int MATRICES>
void load_matrices(uint32_t (&r)[MATRICES], const void* row) {
  const auto address = reinterpret_cast<uintptr_t>(row);
  // Of two matrices, lanes 16 to 31 name nothing.
  if (address % 16 != 0 && on_cpu::lane() < MATRICES * 8)
    on_cpu::fault("a misaligned row of a matrix");
  const unsigned char* slots =
      on_cpu::meet(on_cpu::Collective::load_matrices, &address, sizeof address);
  const int lane = on_cpu::lane();
  for (int m = 0; m < MATRICES; ++m)
    r[m] = reinterpret_cast<const uint32_t*>(
        on_cpu::left_by<uintptr_t>(slots, m * 8 + lane / 4))[lane % 4];
}

inline float half_of(uint32_t pair, int which, __half) {
  return __half2float({static_cast<uint16_t>(pair >> 16 * which)});
}
inline float half_of(uint32_t pair, int which, __nv_bfloat16) {
  return __bfloat162float({static_cast<uint16_t>(pair >> 16 * which)});
}

// a: register i of lane l holds row l div 4 (+ 8 where i is odd), columns 2 (l mod 4) and the next
// (+ 8 where i >= 2). b: register i of lane l holds rows 2 (l mod 4) and the next (+ 8 i), column l
// div 4. c: rows l div 4 (+ 8 where i >= 2), columns 2 (l mod 4) + i mod 2.
template <class T>
void multiply_add(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], T type) {
  const uint32_t mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
  const unsigned char* slots = on_cpu::meet(on_cpu::Collective::multiply_add, mine, sizeof mine);
  const int lane = on_cpu::lane();
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    for (int k = 0; k < 16; ++k) {
      const uint32_t from_a =
          on_cpu::left_by<uint32_t>(slots, row % 8 * 4 + k % 8 / 2, row / 8 + k / 8 * 2);
      const uint32_t from_b = on_cpu::left_by<uint32_t>(slots, column * 4 + k % 8 / 2, 4 + k / 8);
      c[i] += half_of(from_a, k % 2, type) * half_of(from_b, k % 2, type);
    }
  }
}

}  // namespace b4r::cuda
