// The instructions that CUDA C++ has no name for, and shared memory of a size that the launch
// decides.
//
// tests/cuda_on_cpu has a file of this name with the same functions in plain C++, which is found
// first when kernels are compiled for the CPU. So kernels use these alone: no inline assembly, no
// <<< >>>, no shared array of their own.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace b4r::cuda {

template <class T>
__device__ __forceinline__ T* shared_memory() {
  extern __shared__ __align__(128) unsigned char memory[];
  return reinterpret_cast<T*>(memory);
}

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// 16 bytes from global to shared memory, both aligned to 16, there after a wait; zeros, and nothing
// is read, where they do not exist.
__device__ __forceinline__ void copy_async(void* to, const void* from, bool exists) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(exists ? 16 : 0)
               : "memory");
}

__device__ __forceinline__ void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// Until all but the newest N groups of this thread's copies are there.
template <int N>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// Matrices of 8 x 8 halves: lane l names row l mod 8 of matrix l div 8, aligned to 16 bytes; of
// each matrix lane l gets the two neighbours at row l div 4, column 2 (l mod 4).
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

// Two of them, named by lanes 0 to 15.
__device__ __forceinline__ void load_matrices(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row))
               : "memory");
}

// c (16, 8) += a (16, 16) b (16, 8) by a warp, products of halves, sums in fp32. Of c lane l holds
// rows l div 4 and that + 8, columns 2 (l mod 4) and that + 1; a as load_matrices gives its
// quarters, down first; b as it gives the rows of its transpose.
#define B4R_MMA(TYPE, NAME)                                                           \
  __device__ __forceinline__ void multiply_add(float (&c)[4], const uint32_t (&a)[4], \
                                               const uint32_t (&b)[2], TYPE) {        \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." NAME "." NAME               \
                 ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "                \
                 "{%0, %1, %2, %3};"                                                  \
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                     \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])); \
  }
B4R_MMA(__half, "f16")
B4R_MMA(__nv_bfloat16, "bf16")
#undef B4R_MMA

}  // namespace b4r::cuda
