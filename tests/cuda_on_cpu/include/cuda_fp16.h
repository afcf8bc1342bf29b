// fp16, as the compiler has it.
#pragma once

#include "cuda_runtime.h"

struct __half {
  uint16_t bits;
};

inline float __half2float(__half x) { return static_cast<float>(on_cpu::bits<_Float16>(x.bits)); }
inline __half __float2half_rn(float x) {
  return {on_cpu::bits<uint16_t>(static_cast<_Float16>(x))};
}
