// What this machine can do at most: the floors that benchmarks hold kernels against.
// machine_limits.cpp says how.
#pragma once

#include <cstdint>

namespace b4r {

double fma_rate(double seconds, int threads);                             // GFLOP/s
double read_bandwidth(const float* numbers, int64_t count, int threads);  // GB/s

}  // namespace b4r
