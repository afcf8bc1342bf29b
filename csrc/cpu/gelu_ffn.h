// The feed-forward network, forward and backward; gelu_ffn.cpp has the maths.
#pragma once

#include <cstdint>

namespace b4r {

struct FfnShape {
  int64_t rows, d, f;
};

void gelu_ffn(const float* x, const float* w1, const float* b1, const float* w2, const float* b2,
              float* y, const FfnShape& shape, bool tanh, int threads);

void gelu_ffn_backward(const float* dy, const float* x, const float* w1, const float* b1,
                       const float* w2, float* dx, float* dw1, float* db1, float* dw2, float* db2,
                       const FfnShape& shape, bool tanh, int threads);

}  // namespace b4r
