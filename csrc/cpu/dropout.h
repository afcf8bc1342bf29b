// Dropout by counters, forward and backward; dropout.cpp has the maths.
#pragma once

#include <cstdint>

#include "core/philox.h"

namespace b4r {

void dropout(const float* x, float* y, int64_t rows, int64_t d, const Dropout& dropout,
             int threads);

}  // namespace b4r
