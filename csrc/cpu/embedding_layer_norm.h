// The layer norm of item and position embeddings, forward and backward; embedding_layer_norm.cpp
// has the maths.
#pragma once

#include <cstdint>

#include "core/philox.h"

namespace b4r {

// The tokens' rows of items (V, d) and of position_table (P, d).
struct Embeddings {
  const int64_t *values, *positions;
  const float *items, *position_table;
  int64_t tokens, d;
};

void embedding_layer_norm(const Embeddings& in, const float* weight, const float* bias, float* y,
                          float* mean, float* rstd, float eps, const Dropout& dropout, int threads);

void embedding_layer_norm_backward(const float* dy, const Embeddings& in, const int64_t* item_row,
                                   int64_t num_rows, int64_t num_positions, const float* weight,
                                   const float* mean, const float* rstd, float* ditems,
                                   float* dposition_table, float* dweight, float* dbias,
                                   const Dropout& dropout, int threads);

}  // namespace b4r
