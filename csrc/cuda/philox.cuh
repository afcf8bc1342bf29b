// Random bits as a pure function of (seed, counter), the same as everywhere: docs/dropout.md.
#pragma once

#include "cuda/ptx.cuh"

namespace b4r::cuda {

// Philox4x32-7 (Salmon et al., SC 2011).
__device__ __forceinline__ uint4 philox(uint64_t seed, uint32_t c0, uint32_t c1, uint32_t c2,
                                        uint32_t c3) {
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
#pragma unroll
  for (int round = 0; round < 7; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0, p1 = uint64_t{0xCD9E8D57u} * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {c0, c1, c2, c3};
}

// Words 4 call to 4 call + 3 of a stream.
__device__ __forceinline__ uint4 random_words(uint64_t seed, int64_t call, uint32_t stream) {
  return philox(seed, static_cast<uint32_t>(call), static_cast<uint32_t>(call >> 32), 0, stream);
}

}  // namespace b4r::cuda
