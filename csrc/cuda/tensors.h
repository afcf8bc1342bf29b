// What the launchers take beside addresses, for host code that knows no CUDA.
#pragma once

#include <cstdint>

namespace b4r::cuda {

using Stream = void*;  // a cudaStream_t

enum class Dtype { fp32, bf16, fp16 };

}  // namespace b4r::cuda
