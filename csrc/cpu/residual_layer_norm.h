// The layer norm at the end of a sublayer, forward and backward; residual_layer_norm.cpp has the
// maths.
#pragma once

#include <cstdint>

#include "core/philox.h"

namespace b4r {

void residual_layer_norm(const float* x, const float* sublayer, const float* weight,
                         const float* bias, float* y, float* mean, float* rstd, int64_t rows,
                         int64_t d, float eps, const Dropout& dropout, int threads);

void residual_layer_norm_backward(const float* dy, const float* x, const float* sublayer,
                                  const float* weight, const float* mean, const float* rstd,
                                  float* dx, float* dsublayer, float* dweight, float* dbias,
                                  int64_t rows, int64_t d, const Dropout& dropout, int threads);

}  // namespace b4r
