// The elements of tensors, fp32, bf16 and fp16, as floats; and 16 bytes of them at a time.
#pragma once

#include <type_traits>

#include "cuda/ptx.cuh"
#include "cuda/tensors.h"

namespace b4r::cuda {

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(__half x) { return __half2float(x); }
__device__ __forceinline__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

template <class T>
__device__ __forceinline__ T from_float(float x) {
  if constexpr (sizeof(T) == 4)
    return x;
  else if constexpr (std::is_same_v<T, __half>)
    return __float2half_rn(x);
  else
    return __float2bfloat16_rn(x);
}

// N neighbouring elements, aligned to their size: one load or store.
template <class T, int N>
struct __align__(sizeof(T) * N) Elements {
  T x[N];
};

inline bool aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

// call(T{}) for the dtype's element T.
template <class Call>
void for_dtype(Dtype dtype, const Call& call) {
  switch (dtype) {
    case Dtype::fp32:
      return call(float{});
    case Dtype::bf16:
      return call(__nv_bfloat16{});
    case Dtype::fp16:
      return call(__half{});
  }
}

}  // namespace b4r::cuda
