// The norm of GELU, forward and backward; linear_gelu_layer_norm.cpp has the maths.
#pragma once

#include <cstdint>

namespace b4r {

void gelu_layer_norm(const float* u, const float* weight, const float* bias, float* y, float* mean,
                     float* rstd, int64_t rows, int64_t d, float eps, bool tanh, int threads);

void gelu_layer_norm_backward(const float* dy, const float* u, const float* weight,
                              const float* mean, const float* rstd, float* du, float* dweight,
                              float* dbias, int64_t rows, int64_t d, bool tanh, int threads);

}  // namespace b4r
