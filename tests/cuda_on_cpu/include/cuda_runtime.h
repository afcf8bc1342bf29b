// What the kernels use of CUDA's own header, on the fibers of runtime.h.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>

#include "runtime.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))

namespace on_cpu {
// The number that it is for the thread that reads it.
struct Coordinate {
  struct X {
    dim3 Place::* which;
    operator unsigned() const { return (place().*which).x; }
  } x;
};
}  // namespace on_cpu

inline constexpr on_cpu::Coordinate threadIdx = {{&on_cpu::Place::thread}},
                                    blockIdx = {{&on_cpu::Place::block}};
inline constexpr on_cpu::Coordinate blockDim = {{&on_cpu::Place::block_size}},
                                    gridDim = {{&on_cpu::Place::grid_size}};

using std::isnan;
using std::max;
using std::min;

struct uint4 {
  unsigned x, y, z, w;
};
struct __align__(16) float4 {
  float x, y, z, w;
};

inline void __syncthreads() { on_cpu::wait_for_block(); }
inline void __syncwarp(unsigned = 0xFFFFFFFFu) { on_cpu::wait_for_warp(); }

namespace on_cpu {

template <class To, class From>
To bits(From x) {
  static_assert(sizeof(To) == sizeof(From));
  To result;
  std::memcpy(&result, &x, sizeof x);
  return result;
}

// Of what lanes left in a collective.
template <class T>
T left_by(const unsigned char* slots, int lane, int index = 0) {
  T value;
  read_slot(slots, lane, sizeof(T) * index, &value, sizeof value);
  return value;
}

inline void check_mask(unsigned mask) {
  if (mask != 0xFFFFFFFFu) fault("a collective of a part of a warp, which is not written here");
}

template <class T>
T shuffle(unsigned mask, T value, int from) {
  check_mask(mask);
  return left_by<T>(meet(Collective::shuffle, &value, sizeof value), from);
}

template <class T, class Join>
T reduce(unsigned mask, T value, const Join& join) {
  check_mask(mask);
  const unsigned char* slots = meet(Collective::reduction, &value, sizeof value);
  T result = left_by<T>(slots, 0);
  for (int lane = 1; lane < 32; ++lane) result = join(result, left_by<T>(slots, lane));
  return result;
}

}  // namespace on_cpu

template <class T>
T __shfl_sync(unsigned mask, T value, int from) {
  return on_cpu::shuffle(mask, value, from & 31);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int offset) {
  return on_cpu::shuffle(mask, value, on_cpu::lane() ^ offset);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, int offset) {
  return on_cpu::shuffle(mask, value,
                         on_cpu::lane() < offset ? on_cpu::lane() : on_cpu::lane() - offset);
}
inline unsigned __ballot_sync(unsigned mask, bool vote) {
  on_cpu::check_mask(mask);
  const unsigned char* slots = on_cpu::meet(on_cpu::Collective::vote, &vote, sizeof vote);
  unsigned votes = 0;
  for (int lane = 0; lane < 32; ++lane)
    votes |= unsigned{on_cpu::left_by<bool>(slots, lane)} << lane;
  return votes;
}
inline unsigned __reduce_min_sync(unsigned mask, unsigned value) {
  return on_cpu::reduce(mask, value, [](unsigned a, unsigned b) { return a < b ? a : b; });
}
inline int __reduce_add_sync(unsigned mask, int value) {
  return on_cpu::reduce(mask, value, [](int a, int b) { return a + b; });
}

inline int atomicAdd(int* to, int value) { return __atomic_fetch_add(to, value, __ATOMIC_RELAXED); }

inline int __float_as_int(float x) { return on_cpu::bits<int>(x); }
inline float __int_as_float(int x) { return on_cpu::bits<float>(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(unsigned x) { return __builtin_ffs(static_cast<int>(x)); }
inline int __clzll(long long x) {
  return x == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(x));
}
// Compiled with -ffp-contract=off.
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess, cudaErrorInvalidValue };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
};

inline const char* cudaGetErrorString(cudaError_t) { return "invalid argument"; }

namespace on_cpu {
// Bytes that a kernel has asked for.
inline std::map<const void*, size_t> shared_limits;
constexpr size_t kSharedByDefault = 48 << 10, kSharedOfA100 = 163 << 10;
}  // namespace on_cpu

inline cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int bytes) {
  if (static_cast<size_t>(bytes) > on_cpu::kSharedOfA100) return cudaErrorInvalidValue;
  on_cpu::shared_limits[kernel] = static_cast<size_t>(bytes);
  return cudaSuccess;
}

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments... arguments) {
  const auto limit = on_cpu::shared_limits.find(reinterpret_cast<const void*>(kernel));
  if (config->dynamicSmemBytes >
      (limit == on_cpu::shared_limits.end() ? on_cpu::kSharedByDefault : limit->second))
    return cudaErrorInvalidValue;
  if (on_cpu::only_noted(reinterpret_cast<const void*>(kernel), config->gridDim, config->blockDim,
                         config->dynamicSmemBytes))
    return cudaSuccess;
  on_cpu::launch(config->gridDim, config->blockDim, config->dynamicSmemBytes,
                 [&] { kernel(arguments...); });
  return cudaSuccess;
}
