// Binary search.
#pragma once

#include "cuda/ptx.cuh"

namespace b4r::cuda {

// The first i from low to high - 1 for which holds(i), which then holds for all behind it too; high
// where there is none.
template <class Holds>
__device__ __forceinline__ int64_t first_where(int64_t low, int64_t high, const Holds& holds) {
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (holds(middle))
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

}  // namespace b4r::cuda
