// How every kernel is launched, and what a failure says.
#pragma once

#include <stdexcept>
#include <string>

#include "cuda/ptx.cuh"
#include "cuda/tensors.h"

namespace b4r::cuda {

constexpr uint32_t kWarp = 0xFFFFFFFFu;        // the mask of what all lanes do together
constexpr size_t kSharedByDefault = 48 << 10;  // bytes that a block may have without asking

__host__ __device__ constexpr int64_t blocks_of(int64_t count, int64_t size) {
  return (count + size - 1) / size;
}

inline void check(cudaError_t error, const char* kernel) {
  if (error != cudaSuccess)
    throw std::runtime_error(std::string("CUDA kernel ") + kernel + ": " +
                             cudaGetErrorString(error));
}

// Of a parameter, so that arguments convert to it and do not decide what it is.
template <class T>
struct Given {
  using type = T;
};

// A one-dimensional grid, where there is a block at all. shared: bytes.
template <class... Parameters>
void launch(const char* name, void (*kernel)(Parameters...), int64_t blocks, int threads,
            size_t shared, Stream stream, typename Given<Parameters>::type... arguments) {
  if (blocks == 0) return;
  if (shared > kSharedByDefault)
    check(
        cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                             cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)),
        name);
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared;
  config.stream = static_cast<cudaStream_t>(stream);
  check(cudaLaunchKernelEx(&config, kernel, arguments...), name);
}

}  // namespace b4r::cuda
