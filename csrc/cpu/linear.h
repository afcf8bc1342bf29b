// A linear layer, forward and backward; linear.cpp has the maths.
#pragma once

#include <cstdint>

namespace b4r {

struct LinearShape {
  int64_t rows, in, out;
};

void linear(const float* x, const float* w, const float* b, float* y, const LinearShape& shape,
            int threads);

void linear_backward(const float* dy, const float* x, const float* w, float* dx, float* dw,
                     float* db, const LinearShape& shape, int threads);

}  // namespace b4r
